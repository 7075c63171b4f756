"""The serving stacks: how each is started, asked, probed and scraped; and the processes that run them."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from stacks.installation import installed

PROJECT = Path(__file__).parents[2]
FILES = PROJECT / "rollouts" / "instrumentation"
SCORING = Path(__file__).with_name("scoring.py")
STARTS_WITHIN = 120.0

Features = list[float]


def _ports() -> Iterator[int]:
    """Find ports that nobody listens on, below those that connections come from: some are needed minutes later."""
    for port in range(random.randrange(20_000, 29_000), 32_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("0.0.0.0", port))
            probe.close()
            yield port


PORTS = _ports()


def _json(features: Features) -> Any:
    return {"features": features}


def _instances(features: Features) -> Any:
    return {"instances": [features]}


def _tensor(*shape: int) -> Callable[[Features], Any]:
    def body(features: Features) -> Any:
        return {"inputs": [{"name": "features", "shape": shape, "datatype": "FP64", "data": features}]}

    return body


def _rows(features: Features) -> Any:
    return {"data": {"ndarray": [features]}}


@dataclass(frozen=True)
class Answer:
    """What a server answered to a request."""

    headers: Mapping[str, str]
    body: bytes


def _header(answer: Answer) -> str:
    return answer.headers.get("x-model-version", "")


@dataclass(frozen=True)
class Stack:
    """A serving stack that pip can install, and the profile that reads it.

    Attributes
    ----------
    profile : its name, and that of the file of requirements
    command : of the server; {http}, {grpc}, {metrics}: ports, {file}: the file that it serves
    file : of rollouts/instrumentation
    path, body : of a request
    probes : paths that are no traffic; the first answers with 200 when the model is ready
    environment : variables beside MODEL_VERSION
    own_port : metrics have a port of their own
    version : what an answer says of the version
    named : as what the file is laid out, if not by its own name
    beside : other files, by name
    arm_label : what tells the arms apart
    quantile : whether its latencies have buckets
    own_edges : the example sets them, with the limits of the policy
    lag : seconds until what is counted is exported
    """

    profile: str
    command: str
    file: str
    path: str = "/predict"
    body: Callable[[Features], Any] = _json
    probes: tuple[str, ...] = ("/healthz", "/metrics")
    environment: Mapping[str, str] = field(default_factory=dict)
    own_port: bool = False
    version: Callable[[Answer], str] = _header
    named: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)
    arm_label: str = "rollouts_pod_template_hash"
    quantile: bool = True
    own_edges: bool = False
    lag: float = 0.0

    @property
    def with_header(self) -> bool:
        """Whether an application learns from a header which version answered."""
        return self.version is _header

    def arm(self, role: str) -> str:
        """Name an arm as no other stack does: the application's counts of all stacks are on one page."""
        return f"{self.profile}-{role}"


STACKS = [
    Stack(
        "fastapi",
        "uvicorn fastapi_app:app --port {http} --workers 2",
        "fastapi_app.py",
        environment={"PROMETHEUS_MULTIPROC_DIR": "."},
        own_edges=True,
    ),
    Stack(
        "flask",
        "gunicorn flask_app:app --bind 127.0.0.1:{http} --workers 2 --threads 8 --config python:flask_app",
        "flask_app.py",
        environment={"PROMETHEUS_MULTIPROC_DIR": "."},
        own_edges=True,
    ),
    Stack(
        "prometheus-client",
        "gunicorn prometheus_client_app:app --bind 127.0.0.1:{http} --threads 8",
        "prometheus_client_app.py",
        own_edges=True,
    ),
    Stack(
        "bentoml",
        "bentoml serve bentoml_service:Fraud --port {http}",
        "bentoml_service.py",
        probes=("/healthz", "/livez", "/readyz", "/metrics"),
        environment={"BENTOML_DO_NOT_TRACK": "1"},
        own_edges=True,
    ),
    Stack(
        "kserve-python",
        "python kserve_predictor.py --model_name fraud --http_port {http} --grpc_port {grpc}",
        "kserve_predictor.py",
        path="/v1/models/fraud:predict",
        body=_instances,
        probes=("/v2/models/fraud/ready", "/v1/models/fraud", "/v2/health/live", "/", "/metrics"),
    ),
    Stack(
        "mlserver",
        "mlserver start .",
        "mlserver_runtime.py",
        path="/v2/models/fraud/infer",
        body=_tensor(1, 2),
        probes=("/v2/models/fraud/ready", "/v2/health/live", "/v2/health/ready", "/v2/models/fraud"),
        environment={
            "MLSERVER_HTTP_PORT": "{http}",
            "MLSERVER_GRPC_PORT": "{grpc}",
            "MLSERVER_METRICS_PORT": "{metrics}",
            "MLSERVER_HOST": "127.0.0.1",
        },
        own_port=True,
        beside={"model-settings.json": '{"name": "fraud", "implementation": "mlserver_runtime.Fraud"}'},
    ),
    Stack(
        "ray-serve",
        f"python {Path(__file__).with_name('ray_server.py')} {{http}} {{metrics}}",
        "ray_serve_app.py",
        path="/",
        probes=("/-/healthz", "/-/routes"),
        own_port=True,
        arm_label="ray_io_cluster",
        lag=4.0,
    ),
    Stack(
        "triton",
        "tritonserver --model-repository models --backend-directory backends --http-port {http} --grpc-port {grpc} "
        "--metrics-port {metrics} --http-address 127.0.0.1 --grpc-address 127.0.0.1 --exit-timeout-secs 1",
        "triton_model.py",
        path="/v2/models/fraud/infer",
        body=_tensor(2),
        probes=("/v2/models/fraud/ready", "/v2/health/live", "/v2/health/ready", "/v2/models/fraud/stats"),
        own_port=True,
        version=lambda answer: {each["name"]: each["data"][0] for each in json.loads(answer.body)["outputs"]}[
            "version"
        ],
        named="models/fraud/1/model.py",
        quantile=False,
    ),
    Stack(
        "seldon-v1",
        "seldon-core-microservice seldon_model.Fraud --http-port {http} --grpc-port {grpc} --metrics-port {metrics}",
        "seldon_model.py",
        path="/api/v1.0/predictions",
        body=_rows,
        probes=("/health/ping", "/health/status"),
        own_port=True,
        version=lambda answer: json.loads(answer.body)["meta"]["tags"]["model-version"],
        arm_label="predictor_name",
        quantile=False,
    ),
]


@dataclass
class Server:
    """One instance of a stack, or the application."""

    name: str
    command: str
    folder: Path
    environment: Mapping[str, str]
    ready: str
    binaries: Path
    ports: dict[str, int] = field(default_factory=lambda: {each: next(PORTS) for each in ("http", "grpc", "metrics")})
    own_port: bool = False
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.ports['http']}"

    @property
    def target(self) -> str:
        """Where it is scraped."""
        return f"127.0.0.1:{self.ports['metrics' if self.own_port else 'http']}"

    def run(self) -> None:
        """Start it, in a group of its own so that all of its workers can be ended, and wait until it answers.

        Raises
        ------
        RuntimeError : it does not; with the end of its log
        """
        words = self.command.format(**self.ports).split()
        environment = {
            **os.environ,
            **{name: value.format(**self.ports) for name, value in self.environment.items()},
            "PATH": f"{self.binaries}:{os.environ['PATH']}",
        }
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                words,
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        ends = time.monotonic() + STARTS_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"{self.name} does not answer: {self.last_words()}")
            time.sleep(0.2)

    def last_words(self) -> str:
        """Give the end of its log."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-3000:]

    def _answers(self) -> bool:
        try:
            return requests.get(self.url + self.ready, timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def terminate(self) -> None:
        """Ask it to end; it ends its workers, some of which are in groups of their own."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, until: float) -> None:
        """Wait until it ended, no longer than to a moment on the monotonic clock, and end what is left."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, until - time.monotonic()))
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)


def _triton(folder: Path, environment: Path) -> dict[str, str]:
    """Lay out the server that pytriton brings along as NVIDIA's image does."""
    (packages,) = environment.glob("lib/python3.*/site-packages")
    server = packages / "pytriton" / "tritonserver"
    backend = folder / "backends" / "python"
    shutil.copytree(server / "backends" / "python", backend)
    (stub,) = server.glob(f"python_backend_stubs/{packages.parent.name.removeprefix('python')}/*_stub")
    (backend / stub.name).symlink_to(stub)
    program = environment / "bin" / "tritonserver"
    if not program.exists():
        program.symlink_to(server / "bin" / "tritonserver")
    return {
        "PYTHONPATH": str(packages),
        "LD_LIBRARY_PATH": f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}",
    }


def lay_out(stack: Stack, role: str, folder: Path) -> Server:
    """Lay out the files of one instance: the example as it is, with a model that does what it is told."""
    binaries = installed(stack.profile) / "bin"
    served = folder / (stack.named or stack.file)
    served.parent.mkdir(parents=True)
    shutil.copy(FILES / stack.file, served)
    shutil.copy(SCORING, served.parent / "scoring.py")
    for name, text in stack.beside.items():
        (folder / name).write_text(text, encoding="utf-8")
    # Some keep files at home: metrics, which instances would share, or a key.
    places = {"HOME": str(folder), "PYTHONPATH": str(folder)}
    environment = {**stack.environment, **places, "MODEL_VERSION": stack.arm(role)}
    if stack.profile == "seldon-v1":
        environment |= {"PREDICTOR_ID": stack.arm(role), "SELDON_DEPLOYMENT_ID": "fraud"}
    if stack.profile == "triton":
        environment |= _triton(folder, binaries.parent)
    return Server(
        stack.arm(role), stack.command, folder, environment, stack.probes[0], binaries, own_port=stack.own_port
    )
