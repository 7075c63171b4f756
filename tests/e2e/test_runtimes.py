"""KServe's and Seldon's model servers as the pods of a Rollout.

Prometheus relabels what it discovers and scrapes as the operator would have it do with the folder's PodMonitor.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pytest
import requests
import yaml
from e2e.cluster import Api, Cluster, Object
from e2e.stage import PROJECT, MakeStage, Stage
from e2e.traffic import (
    LATENCY_EDGES,
    SCORE_EDGES,
    Behaviour,
    Pod,
    SidecarPod,
    Split,
    by_virtual_service,
    is_ready,
    pages,
    to_service,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

ROLLOUTS = PROJECT / "rollouts"
META = "__meta_kubernetes"
# Of every histogram that a Python server makes without saying which.
PYTHON_EDGES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, float("inf"))


class SklearnServerPod(SidecarPod):
    """KServe's server with the predictor of the folder: its metrics on the page of the sidecar."""

    def predictions(self) -> Iterator[Metric]:
        """Report the classes, and the time of predictions, which tells no failed one."""
        classes = CounterMetricFamily("model_predictions", "Predictions.", labels=["predicted_class"])
        for name, part in (("0", self.scores[:2]), ("1", self.scores[2:6]), ("2", self.scores[6:])):
            classes.add_metric([name], int(part.sum()))
        yield classes
        yield histogram("request_predict_seconds", [(0.01, self.ok + self.failed)], model_name="iris")


class MLServerPod(Pod):
    """MLServer with the runtime of the folder."""

    def collect(self) -> Iterator[Metric]:
        """Report the requests of the REST server, those for the model's readiness among them, and the scores."""
        infer, ready = "/v2/models/{model_name}/infer", "/v2/models/{model_name}/ready"
        served = {(infer, "200"): self.ok, (infer, "500"): self.failed, (ready, "400"): 9, (ready, "500"): self.ok}
        counter = CounterMetricFamily("rest_server_requests", "Requests.", labels=["path", "status_code"])
        for labels, count in served.items():
            counter.add_metric(labels, count)
        yield counter
        # Every request as slow as its bucket of the model allows, the slowest two seconds.
        seconds = [(min(edge, 2.0), int(count)) for edge, count in zip(LATENCY_EDGES, self.latencies, strict=True)]
        yield histogram("rest_server_request_duration_seconds", seconds, path=infer, status_code="200")
        scores = [(edge - 0.05, int(count)) for edge, count in zip(SCORE_EDGES, self.scores, strict=True)]
        yield histogram("model_prediction_score", scores, model_name="iris", model_version="")


def histogram(name: str, observed: Sequence[tuple[float, int]], **labels: str) -> HistogramMetricFamily:
    """Observe values, each so many times."""
    found = HistogramMetricFamily(name, "Distribution.", labels=list(labels))
    below = [(edge, sum(count for value, count in observed if value <= edge)) for edge in PYTHON_EDGES]
    buckets = [("+Inf" if edge == float("inf") else str(edge), count) for edge, count in below]
    found.add_metric(list(labels.values()), buckets, sum_value=sum(value * count for value, count in observed))
    return found


def by_the_mesh(api: Api, namespace: str) -> Mapping[str, float]:
    """Split as the VirtualService says now."""
    return by_virtual_service(api.items(f"/apis/networking.istio.io/v1/namespaces/{namespace}/virtualservices"))


@dataclass(frozen=True)
class Runtime:
    """A folder.

    Attributes
    ----------
    name : of the folder
    new_pod : makes the counters of a pod
    page : the port and path at which such a pod has its metrics
    split : where the requests go
    weights : of the steps
    metrics : what Prometheus has of it, beside its own metrics of each scrape; buckets stand for a histogram
    """

    name: str
    new_pod: type[Pod]
    page: str
    split: Split
    weights: list[int]
    metrics: set[str]

    @property
    def change(self) -> list[dict[str, str]]:
        """What the README's command changes for a new version of the model."""
        (found,) = re.findall(
            r"patch rollout iris --type=json -p '(.+?)'", (ROLLOUTS / self.name / "README.md").read_text(), re.DOTALL
        )
        return list(json.loads(found))

    @property
    def new(self) -> str:
        """The version after it."""
        return self.change[0]["value"].rpartition("/")[2]


RUNTIMES = [
    Runtime(
        "kserve-runtime",
        SklearnServerPod,
        "15020/stats/prometheus",
        by_the_mesh,
        [5, 25, 50],
        {"istio_requests_total", "istio_request_duration_milliseconds_bucket", "model_predictions_total"},
    ),
    Runtime(
        "seldon-mlserver",
        MLServerPod,
        "8082/metrics",
        to_service("iris"),
        [10, 30, 50],
        {"rest_server_requests_total", "rest_server_request_duration_seconds_bucket", "model_prediction_score_bucket"},
    ),
]


def version_of(pod: Object) -> str:
    """The version of the model: the end of the address that the init container fetches."""
    (init,) = pod["spec"]["initContainers"]
    return str(init["args"][0]).rpartition("/")[2]


# What Prometheus would discover, and the operator would make of a PodMonitor


def label(name: str) -> str:
    """Write a name of Kubernetes as one of Prometheus."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


def discovered(api: Api, namespace: str) -> list[Object]:
    """List a target for each port of each Ready pod, with the labels that a discovery of pods gives it."""
    found = []
    for pod in filter(is_ready, api.items(f"/api/v1/namespaces/{namespace}/pods")):
        metadata, address = pod["metadata"], pod["status"]["podIP"]
        ports = {port["name"]: port["containerPort"] for each in pod["spec"]["containers"] for port in each["ports"]}
        if metadata["labels"].get("sidecar.istio.io/inject") == "true":
            ports["http-envoy-prom"] = 15090
        labels = {f"{META}_pod_label_{label(name)}": value for name, value in metadata["labels"].items()}
        labels |= {f"{META}_namespace": namespace, f"{META}_pod_name": metadata["name"], f"{META}_pod_ip": address}
        found += [
            {"targets": [f"{address}:{port}"], "labels": labels | {f"{META}_pod_container_port_name": name}}
            for name, port in ports.items()
        ]
    return found


def relabelling(rules: Sequence[Mapping[str, Any]]) -> list[Object]:
    """Write rules of a PodMonitor as Prometheus has them: sourceLabels is source_labels."""
    return [{re.sub("[A-Z]", lambda up: f"_{up[0].lower()}", key): rule[key] for key in rule} for rule in rules]


def scrape_config(monitor: Object, page: str, discovery: int, pages_of_pods: int) -> Object:
    """Scrape by a PodMonitor; at the end the page of a pod is fetched from where it is here, if it is looked for there.

    Parameters
    ----------
    page : port and path at which a pod has its page
    discovery, pages_of_pods : ports of this machine
    """
    spec = monitor["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    pod_label = f"{META}_pod_label_"
    selected = {f"{pod_label}{label(name)}": value for name, value in spec["selector"]["matchLabels"].items()}
    selected[f"{META}_pod_container_port_name"] = endpoint["port"]
    set_to = {"namespace": f"{META}_namespace", "pod": f"{META}_pod_name", "job": pod_label + label(spec["jobLabel"])}
    set_to |= {label(name): pod_label + label(name) for name in spec["podTargetLabels"]}
    return {
        "job_name": "podMonitor",
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "metrics_path": endpoint["path"],
        "http_sd_configs": [{"url": f"http://127.0.0.1:{discovery}/", "refresh_interval": "1s"}],
        "relabel_configs": [
            *({"action": "keep", "source_labels": [name], "regex": value} for name, value in selected.items()),
            *({"source_labels": [source], "target_label": name} for name, source in set_to.items()),
            *relabelling(endpoint.get("relabelings", ())),
            {
                "action": "keep",
                "source_labels": ["__address__", "__metrics_path__"],
                "separator": "",
                "regex": f".+:{page}",
            },
            {"source_labels": ["__address__"], "target_label": "instance"},
            {"source_labels": [f"{META}_pod_name"], "target_label": "__metrics_path__", "replacement": "/$1"},
            {"target_label": "__address__", "replacement": f"127.0.0.1:{pages_of_pods}"},
        ],
        "metric_relabel_configs": relabelling(endpoint.get("metricRelabelings", ())),
    }


@pytest.fixture(params=RUNTIMES, ids=lambda runtime: runtime.name)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Each of the folders."""
    return request.param


@pytest.fixture
def stage(make_stage: MakeStage, runtime: Runtime) -> Iterator[Stage]:
    """The folder at its first version, discovered and scraped as its PodMonitor says."""
    stage = make_stage(rate=2000, split=runtime.split)
    stage.traffic.new_pod, stage.traffic.version = runtime.new_pod, version_of
    objects = stage.cluster.render(ROLLOUTS / runtime.name)
    (monitor,) = (each for each in objects if each["kind"] == "PodMonitor")
    discovery = pages(
        lambda _: ("application/json", json.dumps(discovered(stage.cluster.api, stage.namespace)).encode())
    )
    thread = threading.Thread(target=discovery.serve_forever, args=(0.05,))
    thread.start()
    stage.prometheus.stop()
    config = scrape_config(monitor, runtime.page, discovery.server_address[1], stage.traffic.port)
    stage.prometheus.scrape_configs = yaml.safe_dump([config], default_flow_style=True, width=100_000)
    stage.prometheus.start()
    stage.deploy(objects)
    yield stage
    discovery.shutdown()
    thread.join(10)
    discovery.server_close()


def release(stage: Stage, runtime: Runtime) -> None:
    """Roll out a new version of the model by the README's change."""
    words = ["patch", "rollout", stage.name, "--type=json", "-p", json.dumps(runtime.change)]
    stage.cluster.kubectl(f"--namespace={stage.namespace}", *words)


def scraped(stage: Stage) -> set[str]:
    """Name the metrics that Prometheus has."""
    answer = requests.get(f"{stage.prometheus.url}/api/v1/label/__name__/values", timeout=10).json()["data"]
    return {name for name in answer if not name.startswith(("up", "scrape_")) and not name.endswith(("_sum", "_count"))}


def test_a_healthy_version_is_promoted(stage: Stage, runtime: Runtime) -> None:
    """It gets the weights of the steps, each check of a gate is proved, and the rest of the page is not stored."""
    release(stage, runtime)
    stage.until_weight(100, runtime.new)

    assert stage.until("Healthy", "Degraded") == "Healthy"
    reached = [weight for weight, _ in groupby(each for each in stage.weights(runtime.new) if each in runtime.weights)]
    assert reached == runtime.weights
    proved = [answer["reason"] for answer in stage.answers("Step") if answer["verdict"] == "pass"]
    assert proved[-1].startswith("proved good: error_rate, latency_p99, prediction_drift")
    assert scraped(stage) == runtime.metrics


@pytest.mark.parametrize(
    ("check", "behaviour"),
    [
        ("error_rate", Behaviour(errors=0.05)),
        ("latency_p99", Behaviour(slow=0.1)),
        ("prediction_drift", Behaviour(drift=0.5)),
    ],
    ids=["errors", "slow", "drift"],
)
def test_a_bad_version_goes_back_to_zero(stage: Stage, runtime: Runtime, check: str, behaviour: Behaviour) -> None:
    """It is proved bad by the check that is meant, and by no other; the old version has everything again."""
    old = version_of({"spec": stage.rollout["spec"]["template"]["spec"]})
    stage.traffic.behaviours[runtime.new] = behaviour
    release(stage, runtime)
    stage.wait(lambda: stage.weight(runtime.new) > 0, "the first request to the new version")

    assert stage.until("Healthy", "Degraded") == "Degraded"
    stage.until_weight(0, runtime.new)
    stage.until_weight(100, old)
    failed = [answer for answer in stage.answers() if answer["verdict"] == "fail"]
    assert {name for each in failed for name, found in each["checks"].items() if found["verdict"] == "fail"} == {check}
    assert 100 not in stage.weights(runtime.new)


def test_what_users_apply_is_accepted(cluster: Cluster, runtime: Runtime) -> None:
    """The folder as it is, in the namespace that it makes: its pods, init containers and all, are restricted enough."""
    cluster.kubectl("apply", "--server-side", "-k", str(ROLLOUTS / runtime.name))
    healthy = ["wait", f"--namespace={runtime.name}", "--for=jsonpath={.status.phase}=Healthy", "--timeout=50s"]
    cluster.kubectl(*healthy, "rollout/iris")
    cluster.kubectl("delete", "namespace", runtime.name, "--wait=false")
