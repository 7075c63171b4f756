"""A Kubernetes API with real controllers and pretend nodes, on the loopback interface.

etcd, kube-apiserver, kube-controller-manager, kube-scheduler and the Argo Rollouts controller are the real
programs. The nodes and what runs on them are KWOK's: pods become Ready and disappear as they would, but run nothing.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml
from e2e.components import BUILT, Components
from ports import free_port

Object = dict[str, Any]
TOKEN = "end-to-end"
START_SECONDS = 90.0
NODES = 4
MERGE = "application/merge-patch+json"
# Whatever ends the tests, the kernel ends what they have started.
DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


class ApiError(Exception):
    """The API server refused; the message is its own."""


@dataclass
class Api:
    """The API server, as JSON: paths are those of Kubernetes, from /api or /apis on."""

    url: str
    certificate: Path
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        """Never through a proxy."""
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {TOKEN}"
        self.session.verify = str(self.certificate)

    def get(self, path: str) -> Object:
        """Read an object, or a list of objects."""
        return self._answer("GET", path)

    def items(self, path: str, labels: str = "") -> list[Object]:
        """Read the objects of a list."""
        return list(self.get(f"{path}?labelSelector={labels}")["items"])

    def changes(self, path: str, since: str) -> list[Object]:
        """Read every state that the objects of a list got since a version of the list, in order."""
        wanted = {"watch": "true", "resourceVersion": since, "timeoutSeconds": "1"}
        answer = self.session.get(self.url + path, params=wanted, timeout=30)
        events = [json.loads(line) for line in answer.text.splitlines()]
        if not answer.ok or any(event["type"] == "ERROR" for event in events):
            raise ApiError(f"watching {path}: {answer.status_code} {answer.text[:500]}")
        return [event["object"] for event in events]

    def create(self, path: str, content: Object) -> Object:
        """Create an object."""
        return self._answer("POST", path, json=content)

    def patch(self, path: str, change: Object) -> Object:
        """Merge a change into an object."""
        return self._answer("PATCH", path, data=json.dumps(change), headers={"Content-Type": MERGE})

    def delete(self, path: str) -> None:
        """Delete an object and what it owns."""
        self._answer("DELETE", path)

    def _answer(self, method: str, path: str, **content: Any) -> Object:
        response = self.session.request(method, self.url + path, timeout=30, **content)
        if not response.ok:
            raise ApiError(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return dict(response.json())


@dataclass
class Cluster:
    """Starts and stops everything; `api`, `kubectl` and `kubeconfig` are the ways in.

    Attributes
    ----------
    folder : for keys, data and logs
    components : the programs
    port : of the API server
    """

    folder: Path
    components: Components
    port: int = field(default_factory=free_port)
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Address of the API server."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """For every client that wants a file."""
        return self.folder / "kubeconfig"

    @property
    def api(self) -> Api:
        """A client of the API server."""
        return Api(self.url, self.folder / "apiserver.crt")

    def start(self) -> None:
        """Start, and wait until rollouts would be acted on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_keys()
        self._start_control_plane()
        self._start_nodes()
        self._start_argo()

    def stop(self) -> None:
        """Stop everything, in the order opposite to the start."""
        for process in reversed(self._processes):
            process.kill()
            process.wait(10)
        self._processes.clear()

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl; its output."""
        done = subprocess.run(
            [self.components.programs / "kubectl", *words],
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            # Not by --kubeconfig, for kubectl gives no flags to its plugins; those are beside it.
            env={
                "HOME": str(self.folder),
                "KUBECONFIG": str(self.kubeconfig),
                "PATH": f"{self.components.programs}:{os.environ['PATH']}",
            },
        )
        if check and done.returncode != 0:
            raise ApiError(f"kubectl {' '.join(words)}: {done.stderr}")
        return done.stdout + done.stderr

    def apply(self, *objects: Object, namespace: str | None = None) -> None:
        """Apply objects, as `kubectl apply` does for a user."""
        where = [] if namespace is None else [f"--namespace={namespace}"]
        self.kubectl("apply", "--server-side", *where, "-f", "-", stdin=yaml.safe_dump_all(objects))

    def render(self, folder: Path) -> list[Object]:
        """Render a folder of manifests."""
        return [each for each in yaml.safe_load_all(self.kubectl("kustomize", str(folder))) if each]

    def _write_keys(self) -> None:
        (self.folder / "tokens.csv").write_text(f'{TOKEN},tests,tests,"system:masters"\n')
        subprocess.run(
            ["openssl", "genrsa", "-out", self.folder / "accounts.key", "2048"], check=True, capture_output=True
        )
        cluster = {"server": self.url, "certificate-authority": str(self.folder / "apiserver.crt")}
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "here", "cluster": cluster}],
                    "users": [{"name": "tests", "user": {"token": TOKEN}}],
                    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "tests"}}],
                    "current-context": "here",
                }
            )
        )

    def _start_control_plane(self) -> None:
        etcd, peers = free_port(), free_port()
        self._run(
            "etcd",
            self._built("etcd"),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peers}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        accounts = self.folder / "accounts.key"
        self._run(
            "kube-apiserver",
            self._built("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self.folder}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={accounts}",
            f"--service-account-signing-key-file={accounts}",
        )
        self._wait("the API server", lambda: self.api.session.get(f"{self.url}/readyz", timeout=2).ok)
        clients = [f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--kube-api-qps=200"]
        self._run(
            "kube-controller-manager",
            self._built("kube-controller-manager"),
            *clients,
            f"--secure-port={free_port()}",
            f"--service-account-private-key-file={accounts}",
            f"--root-ca-file={self.folder / 'apiserver.crt'}",
        )
        self._run("kube-scheduler", self._built("kube-scheduler"), *clients, f"--secure-port={free_port()}")

    def _start_nodes(self) -> None:
        stages = [
            yaml.safe_load(path.read_text())
            for part in ("node/fast", "node/heartbeat-with-lease", "pod/fast")
            for path in sorted((self.components.stages / part).glob("*.yaml"))
            if path.name not in ("kustomization.yaml", "pod-complete.yaml")  # what a Job's pod does, `jobs` says
        ]
        config = self.folder / "kwok.yaml"
        config.write_text(yaml.safe_dump_all(stages))
        for number in range(NODES):
            self.api.create("/api/v1/nodes", {"kind": "Node", "metadata": {"name": f"node-{number}"}})
        self._run(
            "kwok",
            self._built("kwok"),
            f"--kubeconfig={self.kubeconfig}",
            f"--config={config}",
            "--manage-all-nodes=true",
            "--node-lease-duration-seconds=40",
        )
        self._wait("the nodes", self._nodes_ready)

    def _nodes_ready(self) -> bool:
        nodes = self.api.items("/api/v1/nodes")
        conditions = [each for node in nodes for each in node["status"].get("conditions", ())]
        return sum(each["type"] == "Ready" and each["status"] == "True" for each in conditions) == NODES

    def _start_argo(self) -> None:
        for path in self.components.crds:
            self.kubectl("apply", "--server-side", "-f", str(path))
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argo-rollouts"}})
        health = free_port()
        self._run(
            "argo-rollouts",
            self._built("rollouts-controller"),
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            f"--metricsPort={free_port()}",
            f"--healthzPort={health}",
            "--qps=200",
            "--burst=400",
        )
        self._wait("Argo Rollouts", lambda: requests.get(f"http://127.0.0.1:{health}/healthz", timeout=2).ok)

    def _built(self, name: str) -> str:
        assert name in BUILT
        return str(self.components.programs / name)

    def _run(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen([*DIES_WITH_PARENT, *command], stdout=log, stderr=subprocess.STDOUT)
            )

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        ends = time.monotonic() + START_SECONDS
        while True:
            try:
                if ready():
                    return
            except (requests.RequestException, OSError):
                pass
            if time.monotonic() > ends or any(process.poll() is not None for process in self._processes):
                tails = {path.name: path.read_text(errors="replace")[-1500:] for path in self.folder.glob("*.log")}
                raise RuntimeError(f"{what} did not start: {json.dumps(tails, indent=1)}")
            time.sleep(0.1)
