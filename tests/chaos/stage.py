"""Where the attacks happen: a real Prometheus, a source before it that can be made to misbehave, the real service."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
from bench.service_figures import Connection as Client
from bench.service_figures import Service
from prometheus_server import Point, PrometheusServer
from sources.hostile import Answer, Connection, HostileServer

ARM = "rollouts_pod_template_hash"
CANARY_SECONDS, BASELINE_SECONDS, SCRAPE = 1800, 10_800, 15
ERRORS = {"good": 0.001, "bad": 0.05, "v1": 0.001}
LATENCIES = {"0.05": 0.9, "0.1": 0.99, "0.2": 0.999, "0.5": 1.0, "+Inf": 1.0}
PROMISED = 1.0  # seconds for /healthz and /metrics


def history(now: float) -> Iterator[Point]:
    """Write what a good and a bad canary and their baseline counted: 20 and 80 requests a second."""
    for arm, errors in ERRORS.items():
        seconds, rate = (BASELINE_SECONDS, 80) if arm == "v1" else (CANARY_SECONDS, 20)
        labels = {"namespace": "ml", "job": "fraud", "instance": f"{arm}:8080", "pod": arm, ARM: arm}
        start = now - seconds
        for elapsed in range(0, seconds + SCRAPE, SCRAPE):
            moment, requests = start + elapsed, elapsed * rate
            yield Point("process_start_time_seconds", labels, moment, start)
            yield Point("http_requests_total", {**labels, "status": "200"}, moment, requests - int(requests * errors))
            yield Point("http_requests_total", {**labels, "status": "500"}, moment, int(requests * errors))
            for edge, part in LATENCIES.items():
                yield Point(
                    "http_request_duration_seconds_bucket", {**labels, "le": edge}, moment, int(requests * part)
                )


class Source:
    """Passes queries on to Prometheus, except those that are to be answered otherwise.

    Attributes
    ----------
    faults : answers to queries that contain a word
    everywhere : the answer to every query; None: as above
    """

    def __init__(self, prometheus: PrometheusServer) -> None:
        self.faults: dict[bytes, Answer] = {}
        self.everywhere: Answer | None = None
        self.prometheus = prometheus
        self._pool = urllib3.PoolManager(maxsize=16)
        self.server = HostileServer([self._answer])

    def _answer(self, to: Connection) -> None:
        answer = self.everywhere or next((self.faults[word] for word in self.faults if word in to.asked.body), None)
        (answer or self._pass_on)(to)

    def _pass_on(self, to: Connection) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        url = self.prometheus.url + to.asked.path
        with contextlib.suppress(urllib3.exceptions.HTTPError):  # Prometheus is not there: the connection ends
            answer = self._pool.request(to.asked.method, url, body=to.asked.body, headers=headers, retries=False)
            to.reply(answer.data, answer.status)


@dataclass
class Watch:
    """How quickly /healthz and /metrics answer meanwhile; the slowest counts."""

    port: int
    slowest: dict[str, float] = field(default_factory=lambda: {"/healthz": 0.0, "/metrics": 0.0})
    _ends: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def on(self) -> Iterator["Watch"]:
        """Watch for the length of a block."""
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield self
        finally:
            self._ends.set()
            thread.join()

    def _look(self) -> None:
        while not self._ends.wait(0.1):
            for path in self.slowest:
                began = time.monotonic()
                try:
                    with Client(self.port) as client:
                        fine = client.ask(path)[0] == 200
                except OSError:
                    fine = False
                self.slowest[path] = max(self.slowest[path], time.monotonic() - began if fine else 99.0)


@dataclass(frozen=True)
class Response:
    """What a client was answered: status, 0 without an answer, the body, and after how many seconds."""

    status: int
    body: dict[str, Any]
    seconds: float

    @property
    def verdict(self) -> str:
        """The verdict, or what came instead."""
        return str(self.body.get("verdict", self.status))

    @property
    def codes(self) -> set[str]:
        """The codes of the checks."""
        return {check["code"] for check in self.body.get("checks", {}).values()}


def ask(port: int, service: str = "good", **fields: Any) -> Response:
    """Ask for the verdict on a canary as Argo does, on a connection of its own, for ten seconds at most."""
    body = {
        "service": service,
        "namespace": "ml",
        "canary": service,
        "baseline": "v1",
        "checks": "error_rate",
        **fields,
    }
    began = time.monotonic()
    try:
        with Client(port) as client:
            client._socket.settimeout(10)
            status, answer = client.ask("/v1/verdict", body)
            return Response(status, json.loads(answer), time.monotonic() - began)
    except (OSError, ValueError):
        return Response(0, {}, time.monotonic() - began)


def until(condition: Callable[[], bool], seconds: float = 30.0) -> float:
    """Wait for a condition; return after how many seconds it held, or `seconds` where it did not."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(0.05)
    return seconds


@dataclass
class Stage:
    """The parts; `service` is the one that is attacked unless a scenario starts its own."""

    folder: Path
    source: Source
    service: Service

    @property
    def port(self) -> int:
        """Where the service listens."""
        return self.service.port

    def another(self, name: str, settings: dict[str, str] | None = None, **options: Any) -> Service:
        """Return a further service on the same source; it is not started."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return Service(folder, environment(self.source) | (settings or {}), options)


def environment(source: Source) -> dict[str, str]:
    """Return the settings of a service that reads from the source."""
    return {"ANALYZER_SOURCE": "prometheus", "ANALYZER_PROMETHEUS_URL": source.server.url}


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Start everything, and end it."""
    prometheus = PrometheusServer(folder / "prometheus")
    prometheus.write_history(history(time.time()))
    source = Source(prometheus)
    with contextlib.ExitStack() as stack:
        prometheus.start()
        stack.callback(prometheus.stop)
        source.server.start()
        stack.callback(source.server.stop)
        stage = Stage(folder, source, Service(folder, environment(source)))
        stack.enter_context(stage.service.running())
        yield stage
