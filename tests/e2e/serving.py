"""Stand-ins for the controllers of KServe and Seldon, and the requests that go where these say.

Nothing serves: each stand-in reads its resources from the real API server and writes the status that the real
controller would write. What it reports gets the requests, and is counted as the stack counts it.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import requests
from e2e.cluster import Api, ApiError, Object
from e2e.traffic import HEALTHY, LATENCY_EDGES, SCORE_EDGES, TICK_SECONDS, Behaviour, Pod, pages
from sources import expositions
from sources.expositions import Page, Write

LOOK_SECONDS = 0.1
READY_SECONDS = 0.5
NEVER = "never-ready"
"""A model whose address ends so is never ready."""
FIXED = ("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "autoScaling")

Shares = dict[str, float]
"""Which part of the requests each arm gets, by the value of its label."""


@dataclass
class Workload:
    """Pods that are started anew when their specification changes: a revision, or a Deployment."""

    name: str
    digest: str
    model: str
    since: float = field(default_factory=time.monotonic)

    @property
    def ready(self) -> bool:
        """Whether the pods take requests by now."""
        return not self.model.endswith(NEVER) and time.monotonic() >= self.since + READY_SECONDS


@dataclass
class Memory:
    """What a stand-in knows of one resource beside its status: what it has started, and where requests go."""

    started: list[Workload] = field(default_factory=list)
    shares: Shares = field(default_factory=dict)

    def ensure(self, name: str, content: object, model: str) -> Workload:
        """Start a workload, or start it anew where its specification has changed."""
        digest = json.dumps(content, sort_keys=True)
        for place, one in enumerate(self.started):
            if one.name == name:
                if one.digest != digest:
                    self.started[place] = Workload(name, digest, model)
                return self.started[place]
        self.started.append(Workload(name, digest, model))
        return self.started[-1]


class StandIn:
    """A controller: brings the status of every resource of its kind up to date, ten times a second.

    Parameters
    ----------
    api : of the cluster
    where : labels of the resources that are its own
    namespace : where they are; everywhere
    """

    group = "serving.kserve.io/v1beta1"
    plural = "inferenceservices"

    def __init__(self, api: Api, where: str = "", namespace: str = "") -> None:
        self.api, self.where = api, where
        self._list = path_of(self, namespace)
        self._known: dict[str, Memory] = {}
        self._reported: dict[str, Shares] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._closing.set()
        self._thread.join(10)

    def shares(self, namespace: str) -> Shares:
        """Tell where the requests of the resource in a namespace go."""
        return dict(self._reported.get(namespace, {}))

    def started(self, namespace: str) -> list[str]:
        """Name what was started for the resource in a namespace, each time it was."""
        return [one.name for one in self._known[namespace].started]

    def reconcile(self, resource: Object, memory: Memory) -> Object:
        """Give the status, and note in the memory where requests go."""
        raise NotImplementedError

    def _work(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            try:
                for resource in self.api.items(self._list, self.where):
                    self._update(resource)
            except (ApiError, requests.RequestException):
                continue  # the API server is away, or somebody was quicker

    def _update(self, resource: Object) -> None:
        metadata = resource["metadata"]
        memory = self._known.setdefault(metadata["namespace"], Memory())
        status = self.reconcile(deepcopy(resource), memory)
        if status != resource.get("status"):
            path = f"{path_of(self, metadata['namespace'])}/{metadata['name']}/status"
            self.api._answer("PUT", path, json={**resource, "status": status})
        self._reported[metadata["namespace"]] = memory.shares


def path_of(kind: type[StandIn] | StandIn, namespace: str = "") -> str:
    """Give the path of the resources of a kind."""
    return f"/apis/{kind.group}" + (f"/namespaces/{namespace}" if namespace else "") + f"/{kind.plural}"


def conditions(**found: bool) -> list[Object]:
    """Write conditions; what is not met may still come."""
    return [{"type": kind, "status": "True" if met else "Unknown"} for kind, met in found.items()]


def without(content: Mapping[str, Any], *names: str) -> Object:
    """Leave fields out."""
    return {name: value for name, value in content.items() if name not in names}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Object:
    """Lay one specification over another, field by field."""
    found = dict(below)
    for name, value in above.items():
        mine = found.get(name)
        found[name] = merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return found


class Knative(StandIn):
    """KServe and Knative: a revision for every change of what pods are made of, annotations and labels included."""

    def reconcile(self, resource: Object, memory: Memory) -> Object:
        """Split between the newest ready revision and the one that had everything last, as KServe's ksvc does."""
        metadata, predictor = resource["metadata"], resource["spec"]["predictor"]
        pods = [without(predictor, "canaryTrafficPercent"), metadata.get("annotations"), metadata.get("labels")]
        digest = json.dumps(pods, sort_keys=True)
        if not memory.started or memory.started[-1].digest != digest:
            number = len(memory.started) + 1
            name = f"{metadata['name']}-predictor-{number:05}"
            memory.started.append(Workload(name, digest, predictor["model"]["storageUri"]))
        created = memory.started[-1].name
        ready = next((one.name for one in reversed(memory.started) if one.ready), "")
        before = resource.get("status", {}).get("components", {}).get("predictor", {})
        traffic = self._traffic(predictor.get("canaryTrafficPercent"), ready, before.get("latestRolledoutRevision", ""))
        rolled, previous = self._rolled_out(before, created, ready, traffic)
        memory.shares = {one.name: 0.0 for one in memory.started if one.ready}
        for target in traffic:
            memory.shares[target["revisionName"]] += target["percent"] / 100
        found = {
            "latestCreatedRevision": created,
            "latestReadyRevision": ready,
            "latestRolledoutRevision": rolled,
            "previousRolledoutRevision": previous,
            "traffic": traffic,
        }
        met = ready == created
        return {
            "components": {"predictor": {name: value for name, value in found.items() if value}},
            "conditions": conditions(PredictorReady=met, Ready=met),
        }

    @staticmethod
    def _traffic(percent: int | None, ready: str, rolled: str) -> list[Object]:
        if not ready:
            return []
        split = percent is not None and rolled
        traffic: list[Object] = [{"revisionName": ready, "latestRevision": True, "percent": percent if split else 100}]
        if percent is not None and rolled and percent < 100:
            rest = {"revisionName": rolled, "latestRevision": False, "percent": 100 - percent, "tag": "prev"}
            traffic.append(rest)
        return traffic

    @staticmethod
    def _rolled_out(before: Object, created: str, ready: str, traffic: list[Object]) -> tuple[str, str]:
        """Tell which revision had all requests last, and which before that."""
        rolled, previous = before.get("latestRolledoutRevision", ""), before.get("previousRolledoutRevision", "")
        whole = sum(one["percent"] for one in traffic if one["revisionName"] == ready) == 100
        latest = sum(one["percent"] for one in traffic if one["latestRevision"])
        if rolled != ready and latest == 100:
            return ready, rolled
        if rolled == ready == created and latest < 100 and whole and previous:
            return previous, previous  # it had everything and is taken back: what was there before it counts again
        return rolled, previous


class Standard(StandIn):
    """KServe without Knative: a Deployment for the predictor, and one for each entry of ``spec.canary``."""

    def reconcile(self, resource: Object, memory: Memory) -> Object:
        """Give a canary its requests as soon as it is ready."""
        service, predictor = resource["metadata"]["name"], resource["spec"]["predictor"]
        stable = self._deployment(memory, service, predictor)
        shares, statuses = {}, []
        for canary in resource["spec"].get("canary") or ():
            found = self._deployment(memory, service, merged(predictor, canary["predictor"]))
            percent = canary["trafficPercent"]
            shares[found.name] = percent / 100 if found.ready else 0.0
            statuses.append({"name": canary["predictor"]["name"], "ready": found.ready, "trafficPercent": percent})
        memory.shares = {stable.name: 1 - sum(shares.values()), **shares}
        memory.started = [one for one in memory.started if one.name in memory.shares]
        canaries = {"CanaryPredictorReady": all(one["ready"] for one in statuses)} if statuses else {}
        status = {
            "deploymentMode": "Standard",
            "conditions": conditions(
                **canaries, IngressReady=stable.ready, PredictorReady=stable.ready, Ready=stable.ready
            ),
        }
        return status | ({"canaryStatuses": statuses} if statuses else {})

    @staticmethod
    def _deployment(memory: Memory, service: str, predictor: Object) -> Workload:
        name = f"isvc.{service}-{predictor['name']}-predictor" if predictor.get("name") else f"isvc.{service}-predictor"
        return memory.ensure(name, without(predictor, *FIXED), predictor["model"]["storageUri"])


class SeldonDeployment(StandIn):
    """Seldon Core v1: a Deployment for each predictor; weights hold as soon as all are available."""

    group = "machinelearning.seldon.io/v1"
    plural = "seldondeployments"

    def reconcile(self, resource: Object, memory: Memory) -> Object:
        """Be Creating while a predictor is not ready."""
        predictors = resource["spec"]["predictors"]
        found = [
            memory.ensure(one["name"], without(one, "traffic"), one["graph"].get("modelUri", "")) for one in predictors
        ]
        available = all(one.ready for one in found)
        if available or not memory.shares:
            memory.shares = {one["name"]: one.get("traffic", 0) / 100 for one in predictors}
        return {"state": "Available" if available else "Creating"}


class Experiment(StandIn):
    """Seldon Core v2: the scheduler takes over the weights."""

    group = "mlops.seldon.io/v1alpha1"
    plural = "experiments"

    def reconcile(self, resource: Object, memory: Memory) -> Object:
        """Split by the parts that the weights are of their sum; pipelines are counted by their name."""
        candidates = resource["spec"]["candidates"]
        found = [memory.ensure(one["name"], one["name"], one["name"]) for one in candidates]
        ready, total = all(one.ready for one in found), sum(one["weight"] for one in candidates)
        if ready and total:
            memory.shares = {one["name"]: one["weight"] / total for one in candidates}
        return {"conditions": conditions(CandidatesReady=ready, ExperimentReady=ready)}


EXPERIMENT_CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "experiments.mlops.seldon.io"},
    "spec": {
        "group": "mlops.seldon.io",
        "scope": "Namespaced",
        "names": {
            "kind": "Experiment",
            "listKind": "ExperimentList",
            "plural": "experiments",
            "singular": "experiment",
        },
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["candidates"],
                                "properties": {
                                    "default": {"type": "string"},
                                    "resourceType": {"type": "string"},
                                    "candidates": {
                                        "type": "array",
                                        "items": {
                                            "type": "object",
                                            "required": ["name", "weight"],
                                            "properties": {"name": {"type": "string"}, "weight": {"type": "integer"}},
                                        },
                                    },
                                    "mirror": {
                                        "type": "object",
                                        "properties": {"name": {"type": "string"}, "percent": {"type": "integer"}},
                                    },
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}
"""The structure that the driver relies on; Seldon's own definition has no open licence."""


class _Page(Page):
    """What one arm reports now."""

    def text(self) -> bytes:
        """Write it for a scrape."""
        lines = [f"{name} {value!r}" for name, value in self._fixed.items()]
        for (metric, labels), count in self._growth.items():
            written = ",".join(f'{name}="{value}"' for name, value in labels)
            lines.append(f"{metric}{{{written}}} {count!r}")
        return "\n".join([*lines, ""]).encode()


@dataclass(frozen=True)
class Shown:
    """How a stack counts.

    Attributes
    ----------
    write : writes the page of an arm
    arm_label : the label by which Prometheus tells arms apart; empty, it is in the metrics already
    """

    write: Write
    arm_label: str = ""


SHOWN = {
    "knative": Shown(expositions.kserve_knative, "revision_name"),
    "standard": Shown(expositions.kserve_python, "app"),
    "deployment": Shown(expositions.seldon_v1),
    "experiment": Shown(expositions.seldon_v2_pipeline),
}
STAND_INS: dict[str, type[StandIn]] = {
    "knative": Knative,
    "standard": Standard,
    "deployment": SeldonDeployment,
    "experiment": Experiment,
}


@dataclass
class Route:
    """Where the requests of one namespace go.

    Attributes
    ----------
    namespace : whose metrics they are counted in
    stack : a key of `SHOWN`
    shares : tells which arm gets which part
    behaviours : of each arm; those not named are healthy
    rate : requests a second, in all
    """

    namespace: str
    stack: str
    shares: Callable[[], Shares]
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    rate: float = 1000.0
    pods: dict[str, Pod] = field(default_factory=dict)
    history: list[tuple[float, Shares]] = field(default_factory=list)


@dataclass
class Requests:
    """Sends requests along routes, and serves a page for each arm, which a real Prometheus finds and scrapes."""

    routes: dict[str, Route] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Listen on a free port."""
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._server = pages(self._answer)
        self.port = int(self._server.server_address[1])
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.05,)),
            threading.Thread(target=self._send),
        ]

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

    def add(self, *routes: Route) -> None:
        """Send along these, too."""
        with self._lock:
            self.routes |= {route.namespace: route for route in routes}

    def remove(self, namespaces: Iterable[str]) -> None:
        """Send no more."""
        with self._lock:
            for namespace in namespaces:
                self.routes.pop(namespace, None)

    def _answer(self, path: str) -> tuple[str, bytes] | None:
        with self._lock:
            if path == "/targets":
                return "application/json", json.dumps([self._target(*one) for one in self._arms()]).encode()
            _, namespace, arm = path.split("/")
            route = self.routes.get(namespace)
            if route is None or arm not in route.pods:
                return None
            return "text/plain; version=0.0.4", page_of(route, arm)

    def _arms(self) -> list[tuple[Route, str]]:
        return [(route, arm) for route in self.routes.values() for arm in route.pods]

    def _target(self, route: Route, arm: str) -> Object:
        labels = {"namespace": route.namespace, "pod": f"{arm}-0", "instance": f"{arm}-0:8080", "job": route.stack}
        if name := SHOWN[route.stack].arm_label:
            labels[name] = arm
        return {
            "targets": [f"127.0.0.1:{self.port}"],
            "labels": {"__metrics_path__": f"/{route.namespace}/{arm}", **labels},
        }

    def _send(self) -> None:
        draw = np.random.default_rng(0)
        before = time.monotonic()
        while not self._closing.wait(TICK_SECONDS):
            now = time.monotonic()
            with self._lock:
                for route in self.routes.values():
                    shares = route.shares()
                    route.history.append((time.time(), shares))
                    for arm, share in shares.items():
                        pod = route.pods.setdefault(arm, Pod())
                        count = int(draw.poisson(route.rate * share * (now - before)))
                        pod.serve(count, route.behaviours.get(arm, HEALTHY), draw)
            before = now


def page_of(route: Route, arm: str) -> bytes:
    """Write what an arm has counted, as its stack does."""
    pod = route.pods[arm]
    latencies = zip(LATENCY_EDGES, pod.latencies.tolist(), strict=True)
    scores = tuple(zip((edge - 0.05 for edge in SCORE_EDGES), pod.scores.tolist(), strict=True))
    high = sum(count for value, count in scores if value > 0.5)
    traffic = expositions.Traffic(
        failed=pod.failed,
        seconds=tuple((min(edge, 2.0), count) for edge, count in latencies),
        canceled=0,
        scores=scores,
        classes={"fraud": high, "ok": expositions.total(scores) - high},
        conversions=pod.conversions,
        values=(),
    )
    page = _Page({})
    SHOWN[route.stack].write(page, arm, traffic)
    if SHOWN[route.stack].arm_label:
        page.gauge("process_start_time_seconds", pod.start)
    return page.text()
