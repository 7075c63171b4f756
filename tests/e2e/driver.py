"""Runs `analyzer rollout` on the real API server, beside the stand-ins of the serving stacks."""

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from e2e.cluster import DIES_WITH_PARENT, Api, ApiError, Cluster, Object
from e2e.serving import STAND_INS, Requests, Route, StandIn, path_of
from e2e.stage import Service
from e2e.traffic import Behaviour, scrape_configs
from pace import pace
from prometheus_server import PrometheusServer

NAME = "fraud"
OLD, NEW = "gs://models/fraud/1", "gs://models/fraud/2"
STEPS = (5, 25, 50, 100)
POLL_SECONDS = 0.3
QUICK = (
    "--steps=5,25,50,100", "--interval=1s", "--initial-delay=1s", f"--poll={POLL_SECONDS}s", "--ready-timeout=60s"
)  # fmt: skip
PATIENCE_SECONDS = 120.0
EVENTS = "/api/v1/namespaces/{}/events"
RUNS = "/apis/argoproj.io/v1alpha1/namespaces/{}/analysisruns"


@dataclass(frozen=True)
class Stack:
    """How one kind of resource is walked.

    Attributes
    ----------
    words : of the command, up to the options
    canary, baseline : the values of the arm label
    limits : without what the profile cannot tell
    fault : what its profile can see
    resource : as the user has applied it
    weight : reads the canary's weight; None, there is no canary
    """

    words: tuple[str, ...]
    canary: str
    baseline: str
    limits: Mapping[str, Object]
    fault: Behaviour
    resource: Object
    weight: Callable[[Object], int | None]


def _predictor(name: str, traffic: int) -> Object:
    graph = {"name": "classifier", "implementation": "SKLEARN_SERVER", "modelUri": OLD}
    return {"name": name, "replicas": 1, "traffic": traffic, "graph": graph}


def _model(address: str = OLD) -> Object:
    # KServe's admission webhook fills in the name, which the definition wants in `spec.canary`.
    return {"name": "kserve-container", "modelFormat": {"name": "sklearn"}, "storageUri": address}


def _standard_weight(resource: Object) -> int | None:
    canaries = resource["spec"].get("canary") or []
    return canaries[0]["trafficPercent"] if canaries else None


ADVISORY = {"role": "advisory"}
LATENCY = {"latency_p99": {"promote": "250ms"}}  # an edge of the histograms
KSERVE = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
STACKS = {
    "knative": Stack(
        ("kserve", NAME, f"--model={NEW}"),
        f"{NAME}-predictor-00002",
        f"{NAME}-predictor-00001",
        LATENCY,
        Behaviour(errors=0.05),
        {**KSERVE, "metadata": {"name": NAME}, "spec": {"predictor": {"minReplicas": 1, "model": _model()}}},
        lambda resource: resource["spec"]["predictor"].get("canaryTrafficPercent"),
    ),
    "standard": Stack(
        ("kserve", NAME, f"--model={NEW}"),
        f"isvc.{NAME}-v2-predictor",
        f"isvc.{NAME}-predictor",
        LATENCY | {"error_rate": ADVISORY},
        Behaviour(slow=0.1),
        {
            **KSERVE,
            "metadata": {"name": NAME, "annotations": {"serving.kserve.io/deploymentMode": "Standard"}},
            "spec": {"predictor": {"minReplicas": 2, "maxReplicas": 9, "model": _model()}},
        },
        _standard_weight,
    ),
    "deployment": Stack(
        ("seldon", NAME, f"--model={NEW}"),
        "canary",
        "main",
        LATENCY,
        Behaviour(errors=0.05),
        {
            "apiVersion": "machinelearning.seldon.io/v1",
            "kind": "SeldonDeployment",
            "metadata": {"name": NAME},
            "spec": {"name": NAME, "predictors": [_predictor("main", 100), _predictor("canary", 0)]},
        },
        lambda resource: resource["spec"]["predictors"][1].get("traffic", 0),
    ),
    "experiment": Stack(
        ("seldon", f"experiment/{NAME}"),
        f"{NAME}-v2",
        f"{NAME}-v1",
        LATENCY | {"prediction_drift": ADVISORY, "business_proxy": ADVISORY},
        Behaviour(errors=0.05),
        {
            "apiVersion": "mlops.seldon.io/v1alpha1",
            "kind": "Experiment",
            "metadata": {"name": NAME},
            "spec": {
                "default": f"{NAME}-v1",
                "resourceType": "pipeline",
                "candidates": [{"name": f"{NAME}-v1", "weight": 100}, {"name": f"{NAME}-v2", "weight": 0}],
            },
        },
        lambda resource: resource["spec"]["candidates"][1]["weight"],
    ),
}


@dataclass
class Measured:
    """What many scenes share: the pages, a Prometheus that scrapes them, and an analyzer that reads it."""

    requests: Requests
    prometheus: PrometheusServer
    analyzer: Service


@contextmanager
def measuring(folder: Path) -> Iterator[Measured]:
    """Start all of it; `folder` is that of the run, with the installed wheel."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    here = folder / "driver" / f"{number}-{time.time_ns()}"
    here.mkdir(parents=True)
    requests = Requests()
    prometheus = PrometheusServer(here / "prometheus", scrape_configs(requests.port, "1s", "1s"))
    analyzer = Service(folder / "venv" / "bin" / "analyzer", prometheus.url, here)
    started = []
    try:
        for part in (requests, prometheus, analyzer):
            part.start()
            started.append(part)
        yield Measured(requests, prometheus, analyzer)
    finally:
        for part in reversed(started):
            part.stop()


class Driver:
    """The command, as a process; `lines` is what it has printed so far."""

    def __init__(self, command: list[str], kubeconfig: Path, **environment: str) -> None:
        self.began = time.time()
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*DIES_WITH_PARENT, *command],
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "KUBECONFIG": str(kubeconfig), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    @property
    def output(self) -> str:
        """Everything so far."""
        return "".join(self.lines)

    def end(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the end; the exit code."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end within {seconds:g} s:\n{self.output}") from None
        self._thread.join(10)
        return code

    def until(self, text: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until it says something, as a regular expression; on a machine that is slow just now longer."""
        ends = time.monotonic() + seconds * pace()
        while not re.search(text, self.output):
            assert time.monotonic() < ends, f"it did not say {text!r}:\n{self.output}"
            assert self.process.poll() is None, f"it ended before it said {text!r}:\n{self.output}"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as the kernel does."""
        self.process.kill()
        self.process.wait(10)
        self._thread.join(10)

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)  # line by line, as they come
        self.process.stdout.close()


@dataclass
class Scene:
    """One resource in a namespace of its own, with the stand-in of its controller and its requests.

    Attributes
    ----------
    stack : how it is walked
    stand_in : of its controller
    route : of its requests
    command : the program
    options : of every call, beside those of the stack
    since : the version at which the resource was made
    """

    cluster: Cluster
    namespace: str
    stack: Stack
    stand_in: StandIn
    route: Route
    command: Path
    options: tuple[str, ...]
    since: str = ""
    drivers: list[Driver] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Of the resource."""
        return f"{path_of(self.stand_in, self.namespace)}/{NAME}"

    @property
    def resource(self) -> Object:
        """The resource as it is now."""
        return self.cluster.api.get(self.path)

    @property
    def weight(self) -> int | None:
        """The canary's weight now."""
        return self.stack.weight(self.resource)

    @property
    def runs(self) -> list[Object]:
        """Every AnalysisRun, oldest first."""
        found = self.cluster.api.items(RUNS.format(self.namespace))
        return sorted(found, key=lambda run: run["metadata"]["creationTimestamp"])

    def prepare(self) -> None:
        """Make the resource, and wait until it serves."""
        made = self.cluster.api.create(path_of(self.stand_in, self.namespace), self.stack.resource)
        self.since = made["metadata"]["resourceVersion"]
        self.wait(lambda: self.stack.baseline in self.route.pods, "the first version serves")

    def words(self, *more: str) -> list[str]:
        """Write the command."""
        return [str(self.command), "rollout", *self.stack.words, f"--namespace={self.namespace}", *self.options, *more]

    def drive(self, *more: str, kubeconfig: Path | None = None, **environment: str) -> Driver:
        """Run the command."""
        self.drivers.append(Driver(self.words(*more), kubeconfig or self.cluster.kubeconfig, **environment))
        return self.drivers[-1]

    def close(self) -> None:
        """End everything that was started."""
        for driver in self.drivers:
            driver.kill()
        self.stand_in.stop()

    def patch(self, *operations: Object) -> Object:
        """Change the resource as somebody else does."""
        headers = {"Content-Type": "application/json-patch+json"}
        return self.cluster.api._answer(
            "PATCH", f"{self.path}?fieldManager=somebody-else", data=json.dumps(operations), headers=headers
        )

    def states(self) -> list[Object]:
        """Every state that the resource ever had."""
        return self.cluster.api.changes(path_of(self.stand_in, self.namespace), self.since)

    def weights(self) -> list[int | None]:
        """Every weight that the API server ever held, in order."""
        found: list[int | None] = []
        for state in self.states():
            if not found or found[-1] != self.stack.weight(state):
                found.append(self.stack.weight(state))
        return found

    def events(self, reason: str) -> list[Object]:
        """The Events on the resource for a reason."""
        found = self.cluster.api.items(EVENTS.format(self.namespace))
        return [one for one in found if one["reason"] == reason and one["involvedObject"]["name"] == NAME]

    def wait(self, ready: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until something holds; on a machine that is slow just now longer."""
        seconds *= pace()
        ends = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < ends, f"{what} did not come within {seconds:g} s"
            time.sleep(0.05)


def analyzer_options(stack: Stack, url: str) -> tuple[str, ...]:
    """Write the options of every call."""
    return (*QUICK, f"--limits={json.dumps(stack.limits)}", f"--analyzer-url={url}")


def make_scene(cluster: Cluster, folder: Path, measured: Measured, namespace: str, name: str) -> Scene:
    """Make a scene; its stand-in is to be stopped."""
    stack = STACKS[name]
    stand_in = STAND_INS[name](cluster.api, namespace=namespace)
    route = Route(namespace, name, lambda: stand_in.shares(namespace))
    scene = Scene(
        cluster, namespace, stack, stand_in, route, folder / "venv" / "bin" / "analyzer",
        analyzer_options(stack, measured.analyzer.url),
    )  # fmt: skip
    stand_in.start()
    measured.requests.add(route)
    return scene


def refusing(name: str, expression: str, resources: str, **selector: Any) -> list[Object]:
    """Write an admission policy that refuses what the CEL expression does not hold for."""
    group, _, plural = resources.partition("/")
    rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": [plural]}
    kind = {"apiVersion": "admissionregistration.k8s.io/v1"}
    return [
        {
            **kind,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [rule]},
                "validations": [{"expression": expression, "message": f"refused by {name}"}],
            },
        },
        {
            **kind,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": selector},
        },
    ]


@contextmanager
def refused(scene: Scene) -> Iterator[None]:
    """Have the API server refuse every change of the resource's specification for a while."""
    where = {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}}
    resources = f"{scene.stand_in.group.partition('/')[0]}/{scene.stand_in.plural}"
    scene.cluster.apply(*refusing(scene.namespace, "false", resources, namespaceSelector=where))

    def holds() -> bool:
        change = json.dumps([{"op": "add", "path": "/metadata/labels", "value": {}}])
        headers = {"Content-Type": "application/json-patch+json"}
        try:
            scene.cluster.api._answer("PATCH", f"{scene.path}?dryRun=All", data=change, headers=headers)
        except ApiError:
            return True
        return False

    scene.wait(holds, "the policy")
    yield
    for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
        scene.cluster.api.delete(f"/apis/admissionregistration.k8s.io/v1/{kind}/{scene.namespace}")


@dataclass
class Webhook:
    """Takes alerts, at an address of its own.

    Attributes
    ----------
    code, seconds : what it answers with, and after how long
    bodies : what was posted
    """

    code: int = 200
    seconds: float = 0.0
    bodies: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen on a free port."""
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                webhook.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                time.sleep(webhook.seconds)
                self.send_response(webhook.code)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def handle(self) -> None:
                with suppress(ConnectionError):  # it did not wait for the answer
                    super().handle()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/of-a-secret-address"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> "Webhook":
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def account(scene: Scene, objects: list[Object], name: str) -> Path:
    """Make a ServiceAccount with its rights, and write a kubeconfig with a token of it."""
    scene.cluster.apply(*objects)
    api: Api = scene.cluster.api
    path = f"/api/v1/namespaces/{scene.namespace}/serviceaccounts/{name}/token"
    wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = api.create(path, wanted)["status"]["token"]
    server = {"server": scene.cluster.url, "certificate-authority": str(api.certificate)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": server}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": name, "namespace": scene.namespace}}],
        "current-context": "here",
    }
    found = scene.cluster.folder / f"{scene.namespace}.kubeconfig"
    found.write_text(json.dumps(config))
    return found
