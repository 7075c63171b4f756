"""Requests to the pods of a namespace, and what these report of them.

The nodes are pretend, so nothing serves. Here each Ready pod gets its part of the requests, as the Services and the
traffic router would send them, and reports them on a page of its own that a real Prometheus discovers and scrapes.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from e2e.cluster import Api, Object
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

TICK_SECONDS = 0.25
LATENCY_EDGES = (0.05, 0.1, 0.2, 0.5, 1.0, float("inf"))
FAST = (0.4, 0.4, 0.198, 0.0015, 0.0005, 0.0)
SLOW = (0.1, 0.1, 0.2, 0.2, 0.3, 0.1)
# In milliseconds, as every sidecar has them.
ENVOY_EDGES = (
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000", "30000", "60000",
    "300000", "600000", "1800000", "3600000", "+Inf",
)  # fmt: skip
SCORE_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SCORES = (0.3, 0.2, 0.12, 0.1, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02)


@dataclass(frozen=True)
class Behaviour:
    """How a version of the model serves.

    Attributes
    ----------
    errors, slow, conversions : shares of the requests that fail, that take the time of `SLOW`, that convert
    drift : the share of the predictions that come from the reversed distribution of scores
    """

    errors: float = 0.001
    slow: float = 0.0
    drift: float = 0.0
    conversions: float = 0.1


HEALTHY = Behaviour()


@dataclass(eq=False)
class Pod(Collector):
    """What one pod has counted since its start."""

    start: float = field(default_factory=time.time)
    ok: int = 0
    failed: int = 0
    conversions: int = 0
    latencies: "np.ndarray[tuple[int], np.dtype[np.int64]]" = field(default_factory=lambda: np.zeros(6, np.int64))
    scores: "np.ndarray[tuple[int], np.dtype[np.int64]]" = field(default_factory=lambda: np.zeros(10, np.int64))

    def serve(self, requests: int, behaviour: Behaviour, draw: np.random.Generator) -> None:
        """Count requests."""
        failed = int(draw.binomial(requests, behaviour.errors))
        self.ok, self.failed = self.ok + requests - failed, self.failed + failed
        self.conversions += int(draw.binomial(requests, behaviour.conversions))
        self.latencies += draw.multinomial(requests, _mixed(FAST, SLOW, behaviour.slow))
        self.scores += draw.multinomial(requests, _mixed(SCORES, SCORES[::-1], behaviour.drift))

    def collect(self) -> Iterator[Metric]:
        """Report in the names of the profile prometheus-client."""
        yield GaugeMetricFamily("process_start_time_seconds", "Start.", self.start)
        requests = CounterMetricFamily("http_requests", "Requests.", labels=["status"])
        requests.add_metric(["200"], self.ok)
        requests.add_metric(["500"], self.failed)
        yield requests
        yield _histogram("http_request_duration_seconds", LATENCY_EDGES, self.latencies.tolist())
        yield from self.predictions()

    def predictions(self) -> Iterator[Metric]:
        """Report what only the model knows: its scores, and what callers made of its answers."""
        events = CounterMetricFamily("model_business_events", "Events.", labels=["event"])
        events.add_metric(["conversion"], self.conversions)
        yield events
        yield _histogram("model_prediction_score", (*SCORE_EDGES, float("inf")), [*self.scores.tolist(), 0])


class SidecarPod(Pod):
    """A pod in Istio's mesh: one page with the requests as its sidecar counts them, and with its predictions."""

    def collect(self) -> Iterator[Metric]:
        """Report in the names of the profile istio."""
        reporters = ["reporter", "response_code"]
        requests = CounterMetricFamily("istio_requests", "Requests.", labels=reporters)
        requests.add_metric(["destination", "200"], self.ok)
        requests.add_metric(["destination", "500"], self.failed)
        # What the model itself asks, of a store that is down: in the same series, and no request to the model.
        requests.add_metric(["source", "503"], self.ok + self.failed)
        yield requests
        durations = HistogramMetricFamily("istio_request_duration_milliseconds", "Distribution.", labels=reporters)
        # Every request as slow as its bucket of the model allows, the slowest two seconds.
        counted = [(1000 * min(edge, 2.0), count) for edge, count in zip(LATENCY_EDGES, self.latencies, strict=True)]
        durations.add_metric(
            ["destination", "200"],
            [(edge, sum(int(count) for time, count in counted if time <= float(edge))) for edge in ENVOY_EDGES],
            sum_value=sum(time * int(count) for time, count in counted),
        )
        yield durations
        yield from self.predictions()


def _mixed(usual: tuple[float, ...], other: tuple[float, ...], share: float) -> list[float]:
    return [(1 - share) * one + share * two for one, two in zip(usual, other, strict=True)]


def _histogram(name: str, edges: tuple[float, ...], counts: list[int]) -> HistogramMetricFamily:
    below = np.cumsum(counts).tolist()
    buckets = [("+Inf" if edge == float("inf") else str(edge), count) for edge, count in zip(edges, below, strict=True)]
    total = sum(count * min(edge, 2.0) for edge, count in zip(edges, counts, strict=True))
    return HistogramMetricFamily(name, "Distribution.", buckets=buckets, sum_value=total)


Split = Callable[[Api, str], Mapping[str, float]]
"""Which part of the requests each Service gets, by its name: what a router would do now."""


def to_service(name: str, *mirrors: str) -> Split:
    """Send all requests to a Service; further ones get a copy of each, unless they select the same pods."""

    def split(api: Api, namespace: str) -> dict[str, float]:
        selectors = selectors_of(api, namespace) if mirrors else {}
        return {name: 1.0} | {each: 1.0 for each in mirrors if selectors.get(each) != selectors.get(name)}

    return split


def selectors_of(api: Api, namespace: str) -> dict[str, dict[str, str]]:
    """By which labels each Service selects pods."""
    services = api.items(f"/api/v1/namespaces/{namespace}/services")
    return {each["metadata"]["name"]: each["spec"].get("selector", {}) for each in services}


def by_virtual_service(found: Iterable[Object]) -> dict[str, float]:
    """Split as the callers' sidecars do with these VirtualServices."""
    routes = [route for service in found for http in service["spec"]["http"] for route in http["route"]]
    return {route["destination"]["host"]: route.get("weight", 0) / 100 for route in routes}


def shares_of(
    pods: Mapping[str, Object], selectors: Mapping[str, Mapping[str, str]], split: Mapping[str, float]
) -> dict[str, float]:
    """Part the requests of each Service evenly among the pods that it selects; by the name of the pod."""
    shares = dict.fromkeys(pods, 0.0)
    for service, share in split.items():
        labels = selectors.get(service, {}).items()
        chosen = [name for name, pod in pods.items() if labels and labels <= pod["metadata"]["labels"].items()]
        for name in chosen:
            shares[name] += share / len(chosen)
    return shares


def tag_of(pod: Object) -> str:
    """Name the version of a pod, or of a pod's template: the tag of its image."""
    return str(pod["spec"]["containers"][0]["image"].rpartition(":")[2])


def labels_of(pod: Object) -> dict[str, str]:
    """Label what is scraped of a pod as the example's PodMonitor does."""
    metadata = pod["metadata"]
    return {
        "instance": f"{metadata['name']}:8000",
        "pod": metadata["name"],
        "namespace": metadata["namespace"],
        "job": metadata["labels"].get("app.kubernetes.io/name", ""),
        "rollouts_pod_template_hash": metadata["labels"].get("rollouts-pod-template-hash", ""),
    }


def scrape_configs(port: int, interval: str, refresh: str) -> str:
    """Write how Prometheus finds the pods; Debian's knows no Kubernetes, so it asks here for what runs there."""
    discovery = [{"url": f"http://127.0.0.1:{port}/targets", "refresh_interval": refresh}]
    times = {"scrape_interval": interval, "scrape_timeout": interval}
    return json.dumps([{"job_name": "pods", **times, "http_sd_configs": discovery}])


def targets(port: int, pods: Mapping[str, Object]) -> tuple[str, bytes]:
    """List pods for Prometheus, by the paths of their pages: the type and the content of the answer."""
    listed = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"__metrics_path__": path, **labels_of(pod)}}
        for path, pod in pods.items()
    ]
    return "application/json", json.dumps(listed).encode()


def page_of(pod: Collector) -> tuple[str, bytes]:
    """Write what a pod reports: the type and the content of the answer."""
    registry = CollectorRegistry()
    registry.register(pod)
    return "text/plain; version=0.0.4", generate_latest(registry)


def pages(answer: Callable[[str], tuple[str, bytes] | None]) -> ThreadingHTTPServer:
    """Listen on a free port for Prometheus; None is answered with 404."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, content = answer(self.path) or ("", None)
            with contextlib.suppress(ConnectionError):  # Prometheus may be stopped meanwhile
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Page)


@dataclass
class Traffic:
    """Sends requests and serves the pages.

    Attributes
    ----------
    api, namespace : where the pods are
    requests_per_second : in all, a share of 1
    split : see `Split`
    history : when, and the share of each version by its tag
    behaviours : of each version, by the tag of the pods' image; those not named are healthy
    seed : the same requests, if the same pods are there at the same time
    new_pod : makes the counters of a pod, which decide by which names it reports
    version : names the version of a pod, by which `behaviours` go
    """

    api: Api
    namespace: str
    requests_per_second: float
    split: Split
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    seed: int = 0
    new_pod: Callable[[], Pod] = Pod
    version: Callable[[Object], str] = tag_of
    pods: dict[str, Pod] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    scraped_at: dict[str, float] = field(default_factory=dict)
    history: list[tuple[float, dict[str, float]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen on a free port."""
        self._ready: dict[str, Object] = {}
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._server = pages(self._answer)
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.05,)),
            threading.Thread(target=self._send),
        ]

    @property
    def port(self) -> int:
        """Where the pages are, each under the name of its pod."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._closing.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join(10)
        self._server.server_close()

    def scrape_configs(self, interval: str) -> str:
        """Write how Prometheus finds the pods."""
        return scrape_configs(self.port, interval, "1s")

    def _answer(self, path: str) -> tuple[str, bytes] | None:
        name = path.strip("/")
        with self._lock:
            if name == "targets":
                return targets(self.port, {f"/{pod}": found for pod, found in self._ready.items()})
            if name not in self.pods:
                return None
            page = page_of(self.pods[name])
            self.scraped_at.setdefault(name, time.time())
            return page

    def _send(self) -> None:
        draw = np.random.default_rng(self.seed)
        before = time.monotonic()
        while not self._closing.wait(TICK_SECONDS):
            ready = self._ready_pods()
            split = self.split(self.api, self.namespace)
            shares = shares_of(ready, selectors_of(self.api, self.namespace), split)
            now = time.monotonic()
            with self._lock:
                self.pods = {name: self.pods.get(name) or self.new_pod() for name in ready}
                self._ready = ready
                self.shares = shares
                by_tag: dict[str, float] = {}
                for name, share in shares.items():
                    requests = int(draw.poisson(self.requests_per_second * share * (now - before)))
                    tag = self.version(ready[name])
                    by_tag[tag] = by_tag.get(tag, 0.0) + share
                    self.pods[name].serve(requests, self.behaviours.get(tag, HEALTHY), draw)
                self.history.append((time.time(), by_tag))
            before = now

    def _ready_pods(self) -> dict[str, Object]:
        pods = self.api.items(f"/api/v1/namespaces/{self.namespace}/pods")
        return {pod["metadata"]["name"]: pod for pod in pods if is_ready(pod)}


def is_ready(pod: Object) -> bool:
    """Whether a pod gets requests."""
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]
