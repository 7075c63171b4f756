"""Requests to the pods of many namespaces at once, as `traffic` sends them to those of one.

One thread sends, one server shows the pages, one Prometheus finds them all: many rollouts cost little more than one.
"""

import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from e2e.cluster import Api, Object
from e2e.recovery.mirror import Mirror
from e2e.traffic import (
    HEALTHY,
    Behaviour,
    Pod,
    by_virtual_service,
    is_ready,
    labels_of,
    page_of,
    pages,
    scrape_configs,
    shares_of,
    tag_of,
    targets,
)
from prometheus_server import Point

MODEL = "app.kubernetes.io/name=fraud-detector"
FOLLOWED = (
    "/api/v1/pods",
    "/api/v1/services",
    "/apis/networking.istio.io/v1/virtualservices",
    "/apis/argoproj.io/v1alpha1/rollouts",
)
REFRESH = "2s"
NONE_BAD: Callable[[Pod], int] = lambda _pod: 0  # noqa: E731


@dataclass
class Place:
    """One namespace: how its model behaves, and what was seen of it.

    Attributes
    ----------
    namespace : where the pods are
    requests_per_second : in all, a share of 1
    seed : the same requests in the same second of a version's life, wherever the seed is the same
    behaviours : of each version, by the tag of the pods' image; those not named are healthy
    bad : how many of the requests that a pod has served are what the rollout is to be rolled back for
    rollout, shares : as they were at the last tick; each pod's share of the requests
    history : when the shares of the versions changed, and to what
    first_bad, first_bad_scraped : when a version's pod first had a bad request, and when a page first showed one
    served : requests of each version
    """

    namespace: str
    requests_per_second: float
    seed: int = 0
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    bad: Callable[[Pod], int] = NONE_BAD
    rollout: Object = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    ready: dict[str, Object] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    scraped_at: dict[str, float] = field(default_factory=dict)
    history: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    first_bad: dict[str, float] = field(default_factory=dict)
    first_bad_scraped: dict[str, float] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _draws: dict[str, np.random.Generator] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """The version that the Rollout asks for."""
        return tag_of(self.rollout["spec"]["template"])

    @property
    def phase(self) -> str:
        """The Rollout's phase; empty while the controller has not seen its last change."""
        status = self.rollout.get("status", {})
        if status.get("observedGeneration") != str(self.rollout.get("metadata", {}).get("generation")):
            return ""
        return str(status.get("phase", ""))

    @property
    def pauses(self) -> list[str]:
        """Why the Rollout is paused."""
        return [each["reason"] for each in self.rollout.get("status", {}).get("pauseConditions") or ()]

    def past(self, seconds: float, step_seconds: float) -> Iterator[Point]:
        """Let the pods that are there have served for some time already, and tell how they were scraped."""
        began = time.time() - seconds
        self.pods = {name: Pod(start=began) for name in self.pods}
        for moment in np.arange(began, began + seconds, step_seconds).tolist():
            for name, pod in self.pods.items():
                mean = self.shares[name] * self.requests_per_second * step_seconds
                self._serve(pod, self.tags[name], [mean])
                labels = labels_of(self.ready[name])
                for metric in pod.collect():
                    for sample in metric.samples:
                        yield Point(sample.name, labels | sample.labels, moment, sample.value)

    def reached(self, tag: str, share: float) -> float | None:
        """When a version first had this share of the requests, after it had any; None if it never had."""
        began = False
        for moment, shares in self.history:
            found = shares.get(tag, 0.0)
            began = began or found > 0
            if began and abs(found - share) < 1e-9:
                return moment
        return None

    def began(self, tag: str) -> float | None:
        """When a version got its first share of the requests."""
        return next((moment for moment, shares in self.history if shares.get(tag, 0.0) > 0), None)

    def serve(self, ready: Mapping[str, Object], shares: Mapping[str, float], seconds: Sequence[float]) -> None:
        """Send the requests of some ticks to the pods that are there."""
        now = time.time()
        self.pods = {name: self.pods.get(name) or Pod() for name in ready}
        self.ready = dict(ready)
        self.tags = {name: tag_of(pod) for name, pod in ready.items()}
        self.shares = dict(shares)
        by_tag: dict[str, float] = {}
        for name in sorted(ready):
            share, tag = shares.get(name, 0.0), self.tags[name]
            if share > 0:
                by_tag[tag] = by_tag.get(tag, 0.0) + share
                self._serve(self.pods[name], tag, [share * self.requests_per_second * length for length in seconds])
                if self.bad(self.pods[name]):
                    self.first_bad.setdefault(tag, now)
        if not self.history or self.history[-1][1] != by_tag:
            self.history.append((now, by_tag))

    def scraped(self, name: str) -> None:
        """Note that a page is read now."""
        now = time.time()
        self.scraped_at.setdefault(name, now)
        if self.bad(self.pods[name]):
            self.first_bad_scraped.setdefault(self.tags[name], now)

    def _serve(self, pod: Pod, tag: str, expected: Sequence[float]) -> None:
        draw = self._draws.setdefault(tag, np.random.default_rng([self.seed, zlib.crc32(tag.encode())]))
        for mean in expected:
            requests = int(draw.poisson(mean))
            pod.serve(requests, self.behaviours.get(tag, HEALTHY), draw)
            self.served[tag] += requests


class Crowd:
    """Sends requests to every place that was added, and serves the pages of their pods.

    Parameters
    ----------
    new_api : makes a client of the API where the pods are
    tick_seconds : between two looks at who is there; every moment noted is as exact as that
    """

    def __init__(self, new_api: Callable[[], Api], tick_seconds: float) -> None:
        self._mirrors = [Mirror(new_api(), path, MODEL) for path in FOLLOWED]
        self._tick_seconds = tick_seconds
        self._places: dict[str, Place] = {}
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self.slowest_tick = 0.0
        self._server = pages(self._answer)
        self._server.daemon_threads = True
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True),
            threading.Thread(target=self._send, daemon=True),
        ]

    def add(self, place: Place) -> None:
        """Send requests there too."""
        with self._lock:
            self._places[place.namespace] = place

    def remove(self, place: Place) -> None:
        """Send none there any more."""
        with self._lock:
            self._places.pop(place.namespace, None)

    def start(self) -> None:
        """Begin."""
        for mirror in self._mirrors:
            mirror.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and raise what went wrong."""
        self._closing.set()
        for mirror in self._mirrors:
            mirror.stop()
        self._server.shutdown()
        for thread in self._threads:
            thread.join(30)
        self._server.server_close()
        self.check()

    def past(self, seconds: float, step_seconds: float) -> list[Point]:
        """Give every place a past; its pods go on from there."""
        with self._lock:
            return [point for place in self._places.values() for point in place.past(seconds, step_seconds)]

    def check(self) -> None:
        """Raise what ended the requests, if something did."""
        for failure in (self._failure, *(mirror.failure for mirror in self._mirrors)):
            if failure is not None:
                raise RuntimeError("no requests are sent any more") from failure

    def scrape_configs(self, interval: str) -> str:
        """Write how Prometheus finds the pods."""
        return scrape_configs(self.port, interval, REFRESH)

    @property
    def port(self) -> int:
        """Where the pages are, each under the names of its namespace and pod."""
        return int(self._server.server_address[1])

    def _answer(self, path: str) -> tuple[str, bytes] | None:
        with self._lock:
            if path == "/targets":
                places = self._places.values()
                ready = {f"/{place.namespace}/{name}": pod for place in places for name, pod in place.ready.items()}
                return targets(self.port, ready)
            namespace, _, name = path.strip("/").partition("/")
            place = self._places.get(namespace)
            if place is None or name not in place.pods:
                return None
            page = page_of(place.pods[name])
            place.scraped(name)
            return page

    def _send(self) -> None:
        began, ticks = time.monotonic(), 0
        try:
            while not self._closing.wait(max(0.0, began + (ticks + 1) * self._tick_seconds - time.monotonic())):
                # Ticks that were missed on a busy machine are made up for: no request is lost, some come late.
                due = max(1, int((time.monotonic() - began) / self._tick_seconds) - ticks)
                self._tick([self._tick_seconds] * due)
                ticks += due
        except BaseException as error:
            self._failure = error
            raise

    def _tick(self, seconds: Sequence[float]) -> None:
        pods, services, routes, rollouts = (mirror.by_namespace() for mirror in self._mirrors)
        with self._lock:
            began = time.monotonic()
            for namespace, place in self._places.items():
                ready = {each["metadata"]["name"]: each for each in pods[namespace] if is_ready(each)}
                place.rollout = next(iter(rollouts[namespace]), {})
                selectors = {each["metadata"]["name"]: each["spec"].get("selector", {}) for each in services[namespace]}
                split = by_virtual_service(routes[namespace]) or {"fraud-detector": 1.0}
                place.serve(ready, shares_of(ready, selectors, split), seconds)
            self.slowest_tick = max(self.slowest_tick, time.monotonic() - began)
