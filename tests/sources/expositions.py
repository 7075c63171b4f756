"""What serving stacks expose, generated: names, units, labels and le as each documents them, for a known traffic.

Beside the traffic there is what a profile must not count: probes, which fail, other directions, other services, and
the same stack in another namespace. Labels that collide with those of the scrape target are renamed, as Prometheus
does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_server import Point

NOON = 1_767_614_400.0
INTERVAL = 30.0
SCRAPES = 11  # of the canary; the baseline has as many before
BASELINE, CANARY, FAULTY = "baseline", "canary", "faulty"
BEGINS = {BASELINE: NOON - 2 * (SCRAPES - 1) * INTERVAL, CANARY: NOON - (SCRAPES - 1) * INTERVAL}
BEGINS[FAULTY] = BEGINS[CANARY]
HASHES = {BASELINE: "75d4f8b9c8", CANARY: "6d8f9c7b5d", FAULTY: "5c6b8d9f7a"}
PROBES = 100  # between two scrapes

PYTHON_CLIENT = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
GO_CLIENT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ENVOY = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000,
    3_600_000,
)  # fmt: skip
KNATIVE = (
    5, 10, 20, 40, 60, 80, 100, 150, 200, 250, 300, 350, 400, 450, 500, 600, 700, 800, 900, 1000, 2000, 5000, 10_000,
    20_000, 50_000, 100_000,
)  # fmt: skip
LINKERD = (
    1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 1000, 2000, 3000, 4000, 5000, 10_000, 20_000, 30_000,
    40_000, 50_000,
)  # fmt: skip
RAY = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500, 1000, 2000, 5000, 10_000, 60_000, 120_000, 300_000, 600_000)
BENTOML = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0)
VLLM = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
TF_SERVING = tuple(10 * 1.8**power for power in range(33))
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TOKENS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)
VALUES = (10.0, 100.0)

Observations = Sequence[tuple[float, int]]
"""Values and how often each was observed."""


@dataclass(frozen=True)
class Traffic:
    """What happens to one arm between two scrapes.

    Attributes
    ----------
    failed, canceled : requests that failed, and that the client gave up; they are among the quickest
    seconds : how long all requests took
    """

    failed: int
    seconds: Observations
    canceled: int = 2
    scores: Observations = ((0.15, 300), (0.45, 300), (0.85, 200))
    tokens: Observations = ((3, 300), (30, 300), (300, 200))
    classes: Mapping[str, int] = field(default_factory=lambda: {"fraud": 80, "ok": 720})
    conversions: int = 40
    values: Observations = ((5, 20), (50, 20))

    @property
    def requests(self) -> int:
        """All requests."""
        return total(self.seconds)

    @property
    def ok(self) -> int:
        """Requests that did not fail."""
        return self.requests - self.failed

    @property
    def ok_seconds(self) -> Observations:
        """How long those took that did not fail."""
        (value, count), *others = self.seconds
        return ((value, count - self.failed), *others)

    @property
    def succeeded_seconds(self) -> Observations:
        """How long those took that neither failed nor were canceled."""
        (value, count), *others = self.ok_seconds
        return ((value, count - self.canceled), *others)

    @property
    def failed_seconds(self) -> Observations:
        """How long those took that failed."""
        return ((self.seconds[0][0], self.failed),)


# Multiples of 1/64 s, so that sums are exact in every unit.
HEALTHY = Traffic(failed=1, seconds=((1 / 64, 600), (1 / 16, 200)))
TRAFFIC = {
    BASELINE: HEALTHY,
    CANARY: HEALTHY,
    FAULTY: Traffic(failed=48, seconds=((1 / 64, 600), (1 / 16, 120), (44 / 64, 80))),
}


def total(observed: Observations) -> int:
    """Count observations."""
    return sum(count for _, count in observed)


def amount(observed: Observations) -> float:
    """Add up what was observed."""
    return sum(value * count for value, count in observed)


def up_to(edge: float, observed: Observations) -> int:
    """Count the observations of a bucket."""
    return sum(count for value, count in observed if value <= edge)


def scaled(observed: Observations, by: float) -> Observations:
    """Give the same observations in another unit."""
    return tuple((value * by, count) for value, count in observed)


def plain(edge: float) -> str:
    """Write an edge as Go and Rust do: 1, 2.5, 100000."""
    return str(int(edge)) if edge == int(edge) else repr(edge)


def six_digits(edge: float) -> str:
    """Write an edge as TensorFlow Serving does: 121440, 1.27482e+06."""
    return f"{edge:g}"


class Page:
    """One scrape target: what it counts from one scrape to the next.

    Parameters
    ----------
    target : the labels that Prometheus sets
    """

    def __init__(self, target: Mapping[str, str]) -> None:
        self._target = target
        self._growth: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._fixed: dict[str, float] = {}

    def count(self, metric: str, by: float, /, **labels: str) -> None:
        """Count up."""
        kept = {f"exported_{name}" if name in self._target else name: value for name, value in labels.items() if value}
        key = metric, tuple({**self._target, **kept}.items())
        self._growth[key] = self._growth.get(key, 0.0) + by

    def histogram(
        self,
        metric: str,
        observed: Observations,
        edges: Sequence[float],
        write: Callable[[float], str] = plain,
        /,
        **labels: str,
    ) -> None:
        """Observe; `write` is how the stack writes the edges of the buckets."""
        for edge in edges:
            self.count(f"{metric}_bucket", up_to(edge, observed), **labels, le=write(edge))
        self.count(f"{metric}_bucket", total(observed), **labels, le="+Inf")
        self.summary(metric, observed, **labels)

    def summary(self, metric: str, observed: Observations, /, **labels: str) -> None:
        """Observe without buckets."""
        self.count(f"{metric}_sum", amount(observed), **labels)
        self.count(f"{metric}_count", total(observed), **labels)

    def gauge(self, metric: str, value: float) -> None:
        """Set a value that stays."""
        self._fixed[metric] = value

    def points(self, begin: float) -> Iterator[Point]:
        """Write what Prometheus scrapes until noon."""
        for scrape in range(round((NOON - begin) / INTERVAL) + 1):
            moment = begin + scrape * INTERVAL
            for (metric, labels), by in self._growth.items():
                yield Point(metric, dict(labels), moment, by * (scrape + 1))
            for metric, value in self._fixed.items():
                yield Point(metric, self._target, moment, value)


def own(
    page: Page,
    traffic: Traffic,
    kinds: str = "scores classes events values",
    prefix: str = "",
    score_edges: Sequence[float] = SCORES,
    **labels: str,
) -> None:
    """Write what model servers count of predictions and business events, by the names of the README."""
    if "scores" in kinds:
        page.histogram(f"{prefix}model_prediction_score", traffic.scores, score_edges, str, **labels)
    if "classes" in kinds:
        for name, count in traffic.classes.items():
            page.count(f"{prefix}model_predictions_total", count, **labels, predicted_class=name)
    if "events" in kinds:
        page.count(f"{prefix}model_business_events_total", traffic.conversions, **labels, event="conversion")
        page.count(f"{prefix}model_business_events_total", 7, **labels, event="click")
    if "values" in kinds:
        page.histogram(f"{prefix}model_business_value", traffic.values, VALUES, str, **labels)


Write = Callable[[Page, str, Traffic], None]


@dataclass(frozen=True)
class Stack:
    """A serving stack and the profile that reads it.

    Attributes
    ----------
    profile : its name, and that of the namespace in which the stack runs
    write : writes the page of one arm
    arms : values of the arm label
    own_label : the arm label is the stack's own, and one target counts for all arms
    router : it serves every namespace, and names that of a request itself
    edges : of the latency histogram, in its unit
    unit : of the latency, in seconds
    score_edges : of the distribution that drift is judged on
    scores : which attribute of the traffic that is
    served : which attribute of the traffic has the requests of means and of trials
    limits : of the latency, where those of ml-model cannot be resolved
    """

    profile: str
    write: Write
    arms: Mapping[str, str] = field(default_factory=lambda: HASHES)
    own_label: bool = False
    router: bool = False
    arm_label: str = "rollouts_pod_template_hash"
    edges: Sequence[float] = PYTHON_CLIENT
    unit: float = 1.0
    score_edges: Sequence[float] = SCORES
    scores: str = "scores"
    served: str = "seconds"
    limits: Mapping[str, Any] = field(default_factory=dict)

    def points(self) -> Iterator[Point]:
        """Write the samples of all arms, in the namespace of this name and, but for routers, in another one."""
        for namespace in (self.profile,) if self.router else (self.profile, f"{self.profile}-of-others"):
            for role, arm in self.arms.items():
                pod = f"{namespace}-gateway" if self.own_label else f"{namespace}-{arm}"
                target = {"job": self.profile, "instance": f"{pod}:8080", "pod": pod, "namespace": namespace}
                if not self.own_label:
                    target[self.arm_label] = arm
                page = Page(target)
                self.write(page, arm, TRAFFIC[role])
                if not self.own_label:
                    page.gauge("process_start_time_seconds", BEGINS[role] - 3)
                yield from page.points(BEGINS[role])


def prometheus_client(page: Page, arm: str, traffic: Traffic) -> None:
    """Requests by status, of HTTP and of gRPC, probes among them; the histograms have the edges of the Go client."""
    for path, status, count in (("/predict", "200", traffic.ok), ("/predict", "500", traffic.failed),
                                ("/healthz", "503", PROBES), ("/metrics", "200", PROBES)):  # fmt: skip
        page.count("http_requests_total", count, path=path, status=status)
    page.histogram("http_request_duration_seconds", traffic.seconds, GO_CLIENT, str, path="/predict")
    page.histogram("http_request_duration_seconds", ((0.9, PROBES),), GO_CLIENT, str, path="/healthz")
    for service, code, count in (("Scorer", "OK", traffic.ok), ("Scorer", "Unavailable", traffic.failed),
                                 ("grpc.health.v1.Health", "Unavailable", PROBES)):  # fmt: skip
        page.count("grpc_server_handled_total", count, grpc_service=service, grpc_code=code)
    page.histogram("grpc_server_handling_seconds", traffic.seconds, GO_CLIENT, str, grpc_service="Scorer")
    own(page, traffic)


def fastapi(page: Page, arm: str, traffic: Traffic) -> None:
    """Statuses in classes, paths in `handler`; the scrape and the probes are requests too."""

    def requests(handler: str, status: str, count: int) -> None:
        page.count("http_requests_total", count, handler=handler, method="POST", status=status)

    requests("/predict", "2xx", traffic.ok)
    requests("/predict", "5xx", traffic.failed)
    page.histogram(
        "http_request_duration_seconds", traffic.seconds, (0.1, 0.5, 1.0), str, handler="/predict", method="POST"
    )
    page.histogram("http_request_duration_highr_seconds", traffic.seconds, PYTHON_CLIENT, str)
    for probe in ("/metrics", "/health", "/healthz"):
        requests(probe, "5xx", PROBES)
        page.histogram(
            "http_request_duration_seconds", ((0.5, PROBES),), (0.1, 0.5, 1.0), str, handler=probe, method="GET"
        )
    own(page, traffic)


def flask(page: Page, arm: str, traffic: Traffic) -> None:
    """A counter without paths, a histogram with them."""
    for path, status, observed in (
        ("/predict", "200", traffic.ok_seconds),
        ("/predict", "500", traffic.failed_seconds),
        ("/healthz", "503", ((0.5, PROBES),)),
    ):
        page.count("flask_http_request_total", total(observed), method="POST", status=status)
        page.histogram(
            "flask_http_request_duration_seconds", observed, PYTHON_CLIENT, str, method="POST", path=path, status=status
        )
    own(page, traffic)


def mlserver(page: Page, arm: str, traffic: Traffic) -> None:
    """REST by starlette_exporter, and every exception of the data plane."""
    for path, code, observed in (
        ("/v2/models/{model_name}/infer", "200", traffic.ok_seconds),
        ("/v2/models/{model_name}/infer", "500", traffic.failed_seconds),
        ("/v2/models/{model_name}/ready", "500", ((0.5, PROBES),)),
    ):
        labels = {"app_name": "mlserver", "method": "POST", "path": path, "status_code": code}
        page.count("rest_server_requests_total", total(observed), **labels)
        page.histogram("rest_server_request_duration_seconds", observed, PYTHON_CLIENT, str, **labels)
    page.count("model_infer_request_success_total", traffic.ok, model="fraud", version="None")
    page.count("model_infer_request_failure_total", traffic.failed, model="fraud", version="None")
    page.summary("model_infer_request_duration", traffic.seconds, model="fraud", version="None")
    own(page, traffic, score_edges=PYTHON_CLIENT, model_name="fraud")


def triton(page: Page, arm: str, traffic: Traffic) -> None:
    """Successes and failures apart, no _total, microseconds."""
    model = {"model": "fraud", "version": "1"}
    succeeded = traffic.succeeded_seconds
    page.count("nv_inference_request_success", total(succeeded), **model)
    reasons = {"BACKEND": traffic.failed - 1, "OTHER": 1, "REJECTED": 0, "CANCELED": traffic.canceled}
    for reason, count in reasons.items():
        page.count("nv_inference_request_failure", count, **model, reason=reason)
    page.count("nv_inference_request_duration_us", amount(succeeded) * 1e6, **model)
    page.count("nv_inference_count", traffic.ok * 8, **model)
    embed = {"model": "embed", "version": "1"}  # in the same process, and not rolled out
    page.count("nv_inference_request_success", PROBES, **embed)
    page.count("nv_inference_request_failure", PROBES, **embed, reason="BACKEND")
    page.count("nv_inference_request_duration_us", PROBES * 1e6, **embed)
    page.histogram(
        "nv_inference_first_response_histogram_ms", ((900.0, PROBES),), (100, 500, 2000, 5000), plain, **embed
    )
    milliseconds = scaled(traffic.seconds, 1e3)
    page.histogram("nv_inference_first_response_histogram_ms", milliseconds, (100, 500, 2000, 5000), plain, **model)
    own(page, traffic, "scores classes events", model_name="fraud")


def tf_serving(page: Page, arm: str, traffic: Traffic) -> None:
    """Names that begin with a colon, microseconds, edges of six digits."""
    page.count(":tensorflow:serving:request_count", traffic.ok, model_name="fraud", status="OK")
    page.count(":tensorflow:serving:request_count", traffic.failed, model_name="fraud", status="INTERNAL")
    for status, observed in (("OK", traffic.ok_seconds), ("INTERNAL", traffic.failed_seconds)):
        page.histogram(
            ":tensorflow:serving:request_latency",
            scaled(observed, 1e6),
            TF_SERVING,
            six_digits,
            model_name="fraud",
            API="predict",
            entrypoint="REST",
            status=status,
        )


def torchserve(page: Page, arm: str, traffic: Traffic) -> None:
    """HTTP statuses of the whole server, requests of the model."""
    model = {"model_name": "fraud", "model_version": "1.0", "hostname": "host"}
    page.count("ts_inference_requests_total", traffic.requests, **model)
    page.count("ts_inference_latency_microseconds", amount(traffic.seconds) * 1e6, **model)
    page.count("Requests2XX", traffic.ok + PROBES, Level="Host", Hostname="host")
    page.count("Requests5XX", traffic.failed, Level="Host", Hostname="host")
    own(page, traffic, "scores classes events", ModelName="fraud", Level="Model")


def vllm(page: Page, arm: str, traffic: Traffic) -> None:
    """The engine's metrics, and requests by the FastAPI instrumentator."""

    def requests(handler: str, status: str, count: int) -> None:
        page.count("http_requests_total", count, handler=handler, method="POST", status=status)

    model = {"model_name": "llm", "engine": "0"}
    requests("/v1/chat/completions", "2xx", traffic.ok)
    requests("/v1/chat/completions", "5xx", traffic.failed)
    requests("/v1/models", "5xx", PROBES)
    requests("/health", "5xx", PROBES)
    for prefix in ("vllm:", "kserve_vllm:", "vllm_"):  # its own, of KServe's PodMonitor, of collectors without colons
        page.histogram(f"{prefix}e2e_request_latency_seconds", traffic.seconds, VLLM, str, **model)
        page.histogram(f"{prefix}request_generation_tokens", traffic.tokens, TOKENS, str, **model)
        for reason, name in (("stop", "ok"), ("length", "fraud")):
            page.count(f"{prefix}request_success_total", traffic.classes[name], **model, finished_reason=reason)


def bentoml(page: Page, arm: str, traffic: Traffic) -> None:
    """The names of 1.2 and those before; probes are requests too."""
    for endpoint, code, observed in (
        ("/predict", "200", traffic.ok_seconds),
        ("/predict", "500", traffic.failed_seconds),
        ("/livez", "503", ((0.5, PROBES),)),
        ("/readyz", "503", ((0.5, PROBES),)),
    ):
        for prefix in ("bentoml_service", "bentoml_api_server"):
            labels = {"endpoint": endpoint, "service_name": "fraud", "service_version": "1", "http_response_code": code}
            page.count(f"{prefix}_request_total", total(observed), **labels)
            page.histogram(f"{prefix}_request_duration_seconds", observed, BENTOML, str, **labels)
    own(page, traffic)


def ray_serve(page: Page, arm: str, traffic: Traffic) -> None:
    """The proxy's metrics, with and without _total; milliseconds. What an application counts has no prefix."""
    for route, code, observed in (
        ("/", "200", traffic.ok_seconds),
        ("/", "500", traffic.failed_seconds),
        ("/-/healthz", "500", ((0.5, PROBES),)),
    ):
        labels = {"route": route, "method": "POST", "application": "default", "status_code": code}
        page.count("ray_serve_num_http_requests_total", total(observed), **labels)
        page.count("ray_serve_num_http_requests", total(observed), **labels)
        milliseconds = scaled(observed, 1e3)
        page.histogram("ray_serve_http_request_latency_ms", milliseconds, RAY, str, **labels)
    own(page, traffic, "scores classes events", prefix="ray_")
    own(page, traffic, "events values")


def kserve_python(page: Page, arm: str, traffic: Traffic) -> None:
    """Histograms of the steps, no status."""
    page.histogram("request_predict_seconds", traffic.seconds, PYTHON_CLIENT, str, model_name="fraud")
    page.histogram("request_preprocess_seconds", ((0.5, traffic.requests),), PYTHON_CLIENT, str, model_name="fraud")
    own(page, traffic)


def kserve_knative(page: Page, arm: str, traffic: Traffic) -> None:
    """The histogram of queue-proxy under both of its OpenTelemetry names."""
    for code, observed in (("200", traffic.ok_seconds), ("500", traffic.failed_seconds)):
        for name in ("kn_serving_invocation_duration_seconds", "kn_queueproxy_app_duration_seconds"):
            page.histogram(name, observed, PYTHON_CLIENT, plain, http_response_status_code=code)
    own(page, traffic)


def kserve_knative_before_opentelemetry(page: Page, arm: str, traffic: Traffic) -> None:
    """The counter and histogram of queue-proxy up to 1.18; milliseconds."""
    revision = {
        "configuration_name": "fraud-predictor", "container_name": "queue-proxy", "namespace_name": "ml",
        "pod_name": f"{arm}-deployment-0", "revision_name": arm, "service_name": "fraud-predictor",
    }  # fmt: skip
    for code, observed in (("200", traffic.ok_seconds), ("500", traffic.failed_seconds)):
        labels = {**revision, "response_code": code, "response_code_class": f"{code[0]}xx"}
        for layer in ("revision_app_request", "revision_request"):
            page.count(f"{layer}_count", total(observed), **labels)
            page.histogram(f"{layer}_latencies", scaled(observed, 1e3), KNATIVE, plain, **labels)
    own(page, traffic)


def seldon_v1(page: Page, arm: str, traffic: Traffic) -> None:
    """The executor, REST and gRPC; other services and another deployment."""
    for deployment in ("fraud", "another"):
        predictor = {"deployment_name": deployment, "predictor_name": arm, "predictor_version": ""}
        half = traffic.failed // 2
        quickest = traffic.seconds[0][0]
        for service, method, code, observed in (
            ("predictions", "post", "200", traffic.ok_seconds),
            ("predictions", "post", "500", ((quickest, half),)),
            ("/seldon.protos.Seldon/Predict", "unary", "Internal", ((quickest, traffic.failed - half),)),
            ("status", "get", "503", ((0.5, PROBES),)),
            ("/tensorflow.serving.PredictionService/GetModelMetadata", "unary", "Internal", ((0.5, PROBES),)),
        ):
            labels = {**predictor, "service": service, "method": method, "code": code}
            page.histogram("seldon_api_executor_server_requests_seconds", observed, PYTHON_CLIENT, plain, **labels)
        own(page, traffic, "classes events", **predictor, model_name="fraud")


def seldon_v2(page: Page, arm: str, traffic: Traffic) -> None:
    """The agent: counters of requests and of seconds."""
    for model in ("fraud", "another"):
        for code, observed in (("200", traffic.ok_seconds), ("500", traffic.failed_seconds)):
            labels = {
                "server": "mlserver", "server_replica": "0", "model": model, "model_internal": arm,
                "method_type": "rest", "code": code,
            }  # fmt: skip
            page.count("seldon_model_infer_total", total(observed), **labels)
            page.count("seldon_model_infer_seconds_total", amount(observed), **labels)


def seldon_v2_pipeline(page: Page, arm: str, traffic: Traffic) -> None:
    """The pipeline gateway."""
    for code, observed in (("OK", traffic.ok_seconds), ("Internal", traffic.failed_seconds)):
        labels = {"server": "pipeline-gateway", "pipeline": arm, "code": code}
        page.count("seldon_pipeline_infer_total", total(observed), **labels, method_type="grpc")
        page.histogram("seldon_pipeline_infer_api_seconds", observed, PYTHON_CLIENT, plain, **labels, method="grpc")


def istio(page: Page, arm: str, traffic: Traffic) -> None:
    """Both reporters of a request; milliseconds."""
    for reporter, code, observed in (
        ("destination", "200", traffic.ok_seconds),
        ("destination", "503", traffic.failed_seconds),
        ("source", "503", ((0.5, PROBES),)),
    ):
        labels = {
            "reporter": reporter, "response_code": code, "destination_workload": "fraud", "request_protocol": "http",
        }  # fmt: skip
        page.count("istio_requests_total", total(observed), **labels)
        page.histogram("istio_request_duration_milliseconds", scaled(observed, 1e3), ENVOY, plain, **labels)
    own(page, traffic)


def linkerd(page: Page, arm: str, traffic: Traffic) -> None:
    """Both directions and the route of probes; milliseconds."""
    for direction, route, code, kind, observed in (
        ("inbound", "default", "200", "success", traffic.ok_seconds),
        ("inbound", "default", "500", "failure", traffic.failed_seconds),
        ("inbound", "probe", "503", "failure", ((0.5, PROBES),)),
        ("outbound", "", "500", "failure", ((0.5, PROBES),)),
    ):
        labels = {"direction": direction, "route_name": route, "status_code": code, "tls": "true"}
        page.count("response_total", total(observed), **labels, classification=kind)
        page.histogram("response_latency_ms", scaled(observed, 1e3), LINKERD, plain, **labels)
    own(page, traffic)


def ingress_nginx(page: Page, arm: str, traffic: Traffic) -> None:
    """The canary in a label, its namespace and service as Prometheus renames them."""
    for namespace, ingress in (("ml", "fraud"), ("ml", "another"), ("others", "fraud")):
        for code, observed in (("200", traffic.ok_seconds), ("502", traffic.failed_seconds)):
            labels = {
                "namespace": namespace, "ingress": ingress, "service": "fraud-stable", "canary": arm, "path": "/",
                "method": "POST", "status": code, "controller_class": "k8s.io/ingress-nginx",
            }  # fmt: skip
            page.count("nginx_ingress_controller_requests", total(observed), **labels)
            page.histogram("nginx_ingress_controller_request_duration_seconds", observed, GO_CLIENT, plain, **labels)


def traefik(page: Page, arm: str, traffic: Traffic) -> None:
    """Services with their provider, four buckets."""
    for code, observed in (("200", traffic.ok_seconds), ("502", traffic.failed_seconds)):
        labels = {"code": code, "method": "POST", "protocol": "http", "service": arm}
        page.count("traefik_service_requests_total", total(observed), **labels)
        page.count("traefik_entrypoint_requests_total", total(observed), **{**labels, "entrypoint": "web"})
        page.histogram("traefik_service_request_duration_seconds", observed, (0.1, 0.3, 1.2, 5), plain, **labels)


def envoy_gateway(page: Page, arm: str, traffic: Traffic) -> None:
    """A cluster for each backend; milliseconds."""
    for code, observed in (("200", traffic.ok_seconds), ("503", traffic.failed_seconds)):
        page.count("envoy_cluster_upstream_rq", total(observed), envoy_cluster_name=arm, envoy_response_code=code)
        page.count(
            "envoy_cluster_upstream_rq_xx", total(observed), envoy_cluster_name=arm, envoy_response_code_class=code[0]
        )
    milliseconds = scaled(traffic.seconds, 1e3)
    page.histogram("envoy_cluster_upstream_rq_time", milliseconds, ENVOY, plain, envoy_cluster_name=arm)


def named(baseline: str, canary: str, faulty: str) -> dict[str, str]:
    """Name the arms."""
    return {BASELINE: baseline, CANARY: canary, FAULTY: faulty}


REVISIONS = named("fraud-predictor-00001", "fraud-predictor-00002", "fraud-predictor-00003")
OF_ANSWERS = {
    "scores": "tokens",
    "score_edges": TOKENS,
    "edges": VLLM,
    "limits": {"promote": "500ms", "rollback": "1s"},
}
STACKS = [
    Stack("prometheus-client", prometheus_client, edges=GO_CLIENT),
    Stack("fastapi", fastapi, edges=(0.1, 0.5, 1)),
    Stack("flask", flask),
    Stack("mlserver", mlserver, score_edges=PYTHON_CLIENT),
    Stack("triton", triton, edges=(100, 500, 2000, 5000), unit=1e-3, served="succeeded_seconds"),
    Stack("tf-serving", tf_serving, edges=[float(six_digits(edge)) for edge in TF_SERVING], unit=1e-6),
    Stack("torchserve", torchserve),
    Stack("vllm", vllm, **OF_ANSWERS),
    Stack("bentoml", bentoml, edges=BENTOML),
    Stack(
        "ray-serve",
        ray_serve,
        named("fraud-v1-abcde", "fraud-v2-fghij", "fraud-v3-klmno"),
        arm_label="ray_io_cluster",
        edges=RAY,
        unit=1e-3,
    ),
    Stack("kserve-python", kserve_python),
    Stack(
        "kserve-standard",
        kserve_python,
        named("isvc.fraud-predictor", "isvc.fraud-v2-predictor", "isvc.fraud-v3-predictor"),
        arm_label="app",
    ),
    Stack("kserve-knative", kserve_knative, REVISIONS, arm_label="revision_name"),
    Stack(
        "kserve-knative-1.18",
        kserve_knative_before_opentelemetry,
        REVISIONS,
        arm_label="revision_name",
        edges=KNATIVE,
        unit=1e-3,
    ),
    Stack("kserve-llm", vllm, named("llm-v1", "llm-v2", "llm-v3"), arm_label="llm_isvc_name", **OF_ANSWERS),
    Stack("seldon-v1", seldon_v1, named("main", "canary", "bad"), own_label=True),
    Stack("seldon-v2", seldon_v2, named("fraud_1", "fraud-v2_1", "fraud-v3_1"), own_label=True),
    Stack("seldon-v2-pipeline", seldon_v2_pipeline, named("fraud-v1", "fraud-v2", "fraud-v3"), own_label=True),
    Stack("istio", istio, edges=ENVOY, unit=1e-3),
    Stack("linkerd", linkerd, edges=LINKERD, unit=1e-3),
    Stack(
        "ingress-nginx",
        ingress_nginx,
        named("stable", "ml-new-80", "ml-bad-80"),
        own_label=True,
        router=True,
        edges=GO_CLIENT,
    ),
    Stack(
        "traefik",
        traefik,
        named("ml-old-80@kubernetescrd", "ml-new-80@kubernetescrd", "ml-bad-80@kubernetescrd"),
        own_label=True,
        router=True,
        edges=(0.1, 0.3, 1.2, 5),
    ),
    Stack(
        "envoy-gateway",
        envoy_gateway,
        named(*(f"httproute/ml/fraud/rule/0/backend/{number}" for number in range(3))),
        own_label=True,
        router=True,
        edges=ENVOY,
        unit=1e-3,
    ),
]
