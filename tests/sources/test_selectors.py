"""Tests on a real Prometheus of what selectors meet: other words, probes, hang-ups, second names, models, clusters."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from prometheus_server import Point, PrometheusServer, StartPrometheus

from analyzer.config.policy import load_policies
from analyzer.config.profile import load_profiles
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.answer import render
from analyzer.verdict.request import Detail, parse_request

pytestmark = pytest.mark.prometheus

NOON = 1_767_614_400.0
BEGINS = {"stable": NOON - 3600, "canary": NOON - 1800}
Rates = Mapping[Any, float]  # growth in 15 s by metric, then labels and values in turn


def pods(namespace: str, canary: Rates, stable: Rates) -> Iterator[Point]:
    """Let one pod of each arm count evenly."""
    for arm, rates in (("canary", canary), ("stable", stable)):
        target = {
            "namespace": namespace, "pod": f"{arm}-0", "job": "ml/pods", "instance": f"{arm}-0:8080",
            "rollouts_pod_template_hash": arm, "revision_name": arm, "ray_io_cluster": arm,
        }  # fmt: skip
        for (metric, *labels), rate in rates.items():
            own = dict(zip(labels[::2], labels[1::2], strict=True))
            for scrape in range(round((NOON - BEGINS[arm]) / 15) + 1):
                yield Point(metric, {**target, **own}, BEGINS[arm] + 15 * scrape, float(round(rate * scrape)))


def http(
    ok: float, failed: float, label: str = "status", words: tuple[str, str] = ("200", "500"), **more: str
) -> Rates:
    """Count requests by status."""
    labels = [part for pair in more.items() for part in pair]
    return {
        ("http_requests_total", *labels, label, words[0]): ok,
        ("http_requests_total", *labels, label, words[1]): failed,
    }


def istio(ok: float, gone: float, failed: float = 0.0, grpc: str = "") -> Rates:
    """Count requests at the sidecar; a client that hangs up has no code."""
    more = ("grpc_response_status", grpc) if grpc else ()
    names = ("istio_requests_total", "reporter", "destination", "response_code")
    return {
        (*names, "200"): ok,
        (*names, "200" if grpc else "503", *more): failed,
        (*names, "0", "response_flags", "DC"): gone,
    }


def triton(**models: tuple[float, float]) -> Rates:
    """Count successes and failures of models."""
    return {
        (f"nv_inference_request_{word}", "model", model, "reason", reason): rates[place]
        for model, rates in models.items()
        for place, (word, reason) in enumerate((("success", ""), ("failure", "BACKEND")))
    }


CALLS, ANSWERS = "grpc_server_handled_total", "vllm:e2e_request_latency_seconds"
SALES = "model_business_events_total"
SCORES = {("model_prediction_score_bucket", "le", edge): 40 * share for edge, share in
          (("0.2", 0.3), ("0.5", 0.7), ("0.8", 0.9), ("1", 1.0), ("+Inf", 1.0))}  # fmt: skip
LATENCY = {("http_request_duration_seconds_bucket", "le", edge): 40.0 for edge in ("0.1", "0.2", "0.5", "+Inf")}
PROBING = {("http_requests_total", "path", path, "status", "200"): 3.0 for path in ("/healthz", "/readyz", "/metrics")}
OF_MODELS = {"embed": (80, 0), "rank": (80, 0)}
WORLDS: dict[str, tuple[Rates, Rates]] = {
    "words": (http(30, 10, words=("success", "error")), http(40, 0, words=("success", "error"))),
    "healthy-words": (http(40, 0, words=("success", "error")), http(40, 0, words=("success", "error"))),
    "phrases": (http(30, 10, words=("OK", "Internal Server Error")), http(40, 0, words=("OK", "Bad Gateway"))),
    "grpc-names": (http(30, 10, words=("OK", "UNAVAILABLE")), http(40, 0, words=("OK", "UNAVAILABLE"))),
    "grpc-numbers": (http(30, 10, words=("0", "14")), http(40, 0, words=("0", "14"))),
    "other-label": (http(30, 10, label="code"), http(40, 0, label="code")),
    "no-error-yet": ({("http_requests_total", "status", "200"): 40.0},) * 2,
    "interceptor": (
        {(CALLS, "grpc_code", "OK"): 30, (CALLS, "grpc_code", "Internal"): 10},
        {(CALLS, "grpc_code", "OK"): 40},
    ),
    "probes": (PROBING, {**PROBING, **http(40, 0, path="/predict")}),
    "idle-probes": ({**PROBING, **http(0, 0, path="/predict")}, {**PROBING, **http(40, 0, path="/predict")}),
    "probed": ({**PROBING, **http(38, 2, path="/predict")}, {**PROBING, **http(40, 0, path="/predict")}),
    "hanging": (istio(30, 10), istio(40, 0.01)),
    "hanging-alike": (istio(39.2, 0.8), istio(392, 8)),
    "grpc-over-istio": (istio(30, 0, 10, grpc="14"), istio(40, 0)),
    "scores": (SCORES, SCORES),
    "latency": (LATENCY, LATENCY),
    "knative": ({("kn_queueproxy_app_duration_seconds_count", "http_response_status_code", "200"): 40.0},) * 2,
    "bentoml": ({("bentoml_api_server_request_total", "endpoint", "/predict", "http_response_code", "200"): 40.0},) * 2,
    "mlserver": ({("model_infer_request_success_total",): 40.0, ("model_infer_request_failure_total",): 0.0},) * 2,
    "ray": ({("ray_serve_num_http_requests", "route", "/p", "status_code", "200"): 40.0},) * 2,
    "ray-hang-ups": (
        {("ray_serve_num_http_requests_total", "route", "/p", "status_code", "200"): 40.0},
        {("ray_serve_num_http_requests_total", "route", "/p", "status_code", "200"): 40.0,
         ("ray_serve_num_http_requests_total", "route", "/p", "status_code", "disconnection"): 1.0},
    ),
    "vllm": ({(f"kserve_{ANSWERS}_bucket", "le", edge): 40.0 for edge in ("0.3", "0.5", "+Inf")},) * 2,
    "models": (triton(fraud=(38, 2), **OF_MODELS), triton(fraud=(40, 0), **OF_MODELS)),
    "clusters": (
        {**http(40, 0, cluster="eu"), **http(30, 10, cluster="us")},
        {**http(40, 0, cluster="eu"), **http(40, 0, cluster="us")},
    ),
    "customers": (
        {**http(40, 0), **{(SALES, "event", "conversion", "region", region): 4.0 for region in ("a", "b")}},
    ) * 2,
    "handlers": ({**http(40, 0, handler="/a"), **http(40, 0, handler="/b")},) * 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def prometheus(start_prometheus: StartPrometheus) -> PrometheusServer:
    """A Prometheus with every world in a namespace of its own."""
    return start_prometheus([point for name, arms in WORLDS.items() for point in pods(name, *arms)])


@pytest.fixture(scope="module")
def analyzer(prometheus: PrometheusServer) -> Analyzer:
    """Build an analyzer that reads it, with patience."""
    source = PrometheusSource(PrometheusApi(Connection(prometheus.url, timeout=30)))
    return Analyzer(load_policies(None), load_profiles(None), source, deadline_seconds=60)


def ask(analyzer: Analyzer, namespace: str, checks: str = "error_rate", **fields: Any) -> tuple[dict[str, Any], Any]:
    """Return the finding of the check, and the whole answer."""
    body = {
        "service": "fraud", "namespace": namespace, "canary": "canary", "baseline": "stable", "checks": checks,
        "at": NOON, **fields,
    }  # fmt: skip
    answer = render(analyzer.verdict(parse_request(body)), Detail.FULL)
    return answer["checks"][checks.split(",", maxsplit=1)[0]], answer


@pytest.mark.parametrize(
    ("world", "code", "verdict", "says"),
    [
        ("words", "metric_missing", "inconclusive", 'status="error", "success"'),
        ("healthy-words", "metric_missing", "inconclusive", 'status="success"'),
        ("grpc-numbers", "metric_missing", "inconclusive", 'status="0", "14"'),
        ("other-label", "metric_missing", "inconclusive", "has the label status"),
        ("no-error-yet", "proved_good", "pass", ""),
        ("phrases", "proved_bad", "fail", "25%"),
        ("grpc-names", "proved_bad", "fail", "25%"),
        ("interceptor", "proved_bad", "fail", "25%"),
        ("probes", "no_canary_traffic", "inconclusive", "http_requests_total"),
        ("idle-probes", "no_canary_traffic", "inconclusive", ""),
        ("probed", "proved_bad", "fail", "5%"),
    ],
)
def test_status_and_probes(analyzer: Analyzer, world: str, code: str, verdict: str, says: str) -> None:
    """Failed requests are told by their status or not at all; probes are no requests."""
    finding, _ = ask(analyzer, world)

    assert (finding["code"], finding["verdict"]) == (code, verdict), finding["reason"]
    assert says in finding["reason"]


def test_hang_ups_beyond_the_baselines_count_as_failed(analyzer: Analyzer) -> None:
    """A canary on which clients hang up fails; the same share in both arms is no failure."""
    hanging, answer = ask(analyzer, "hanging", profile="istio")
    alike, _ = ask(analyzer, "hanging-alike", profile="istio")
    alone, _ = ask(analyzer, "hanging", profile="istio", baseline=None)

    assert (hanging["verdict"], hanging["code"]) == ("fail", "proved_bad")
    assert "clients hung up on 25% of the canary" in str(answer)
    assert alike["verdict"] == "pass", alike["reason"]
    assert alone["verdict"] == "inconclusive", alone["reason"]


def test_grpc_fails_with_a_status_of_its_own(analyzer: Analyzer) -> None:
    """The sidecar counts HTTP 200, and beside it the status of the call."""
    finding, _ = ask(analyzer, "grpc-over-istio", profile="istio")

    assert finding["verdict"] == "fail", finding["reason"]
    assert finding["canary"]["value"] == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize(
    ("world", "profile", "check"),
    [
        ("scores", "prometheus-client", "prediction_drift"),
        ("latency", "prometheus-client", "latency_p99"),
        ("knative", "kserve-knative", "error_rate"),
        ("bentoml", "bentoml", "error_rate"),
        ("mlserver", "mlserver", "error_rate"),
        ("ray", "ray-serve", "error_rate"),
        ("ray-hang-ups", "ray-serve", "error_rate"),
    ],
)
def test_the_second_name_is_looked_for(analyzer: Analyzer, world: str, profile: str, check: str) -> None:
    """A canary of which the first metric of the profile does not exist is found by another."""
    finding, answer = ask(analyzer, world, check, profile=profile)

    assert finding["verdict"] == "pass", finding["reason"]
    assert answer["window"]["start"] == "2026-01-05T11:29:59Z"


def test_spellings_of_vllm(analyzer: Analyzer) -> None:
    """Renamed metrics are read as its own."""
    limits = {"base": "ml-model", "checks": {"latency_p99": {"promote": "300ms", "rollback": "500ms"}}}
    finding, _ = ask(analyzer, "vllm", "latency_p99", profile="vllm", policy=limits)

    assert finding["verdict"] == "pass", finding["reason"]


def test_the_model_of_the_service_is_judged(analyzer: Analyzer) -> None:
    """One of several models in a process is chosen by its name, or by a label; else nothing is judged."""
    named, answer = ask(analyzer, "models", profile="triton")
    unnamed, _ = ask(analyzer, "models", profile="triton", service="other")
    labelled, _ = ask(analyzer, "models", profile="triton", service="other", labels={"model": "rank"})

    assert (named["verdict"], named["canary"]["value"]) == ("fail", pytest.approx(0.05, rel=0.05))
    assert "only model=fraud is judged, of embed, fraud, rank" in str(answer)
    assert (unnamed["verdict"], unnamed["code"]) == ("inconclusive", "inconsistent_data")
    assert 'labels={"model": "embed"}' in unnamed["reason"]
    assert labelled["verdict"] == "pass", labelled["reason"]


def test_clusters_are_not_added_up(analyzer: Analyzer) -> None:
    """Equal hashes of several clusters are told apart by a label of the request."""
    both, _ = ask(analyzer, "clusters")
    found = {cluster: ask(analyzer, "clusters", labels=f"cluster={cluster}")[0]["verdict"] for cluster in ("eu", "us")}

    assert (both["verdict"], both["code"]) == ("inconclusive", "inconsistent_data")
    assert 'cluster is eu, us; give labels={"cluster": "eu"}' in both["reason"]
    assert found == {"eu": "pass", "us": "fail"}


def test_a_region_of_customers_is_none_of_clusters(analyzer: Analyzer) -> None:
    """A label that only some metrics have is one of the application."""
    _, answer = ask(analyzer, "customers", "error_rate,business_proxy")

    assert "several places" not in str(answer)
    assert answer["checks"]["business_proxy"]["canary"]["value"] == pytest.approx(0.2, rel=0.05)


def test_what_is_added_up_is_in_the_notes(analyzer: Analyzer) -> None:
    """Several paths are one service; the notes name them."""
    finding, answer = ask(analyzer, "handlers")

    assert finding["verdict"] == "pass"
    assert "counts are added up over handler: /a, /b" in str(answer)


def test_labels_of_a_request_are_literal(analyzer: Analyzer) -> None:
    """No value of a label can be more than a value in a query."""
    began = time.monotonic()
    finding, answer = ask(analyzer, "words", labels={"cluster": 'eu"} or vector(1) #\\'})

    assert finding["code"] == "no_canary_traffic", finding["reason"]
    assert time.monotonic() - began < 60
    assert "source_unavailable" not in str(answer)
