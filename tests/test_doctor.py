"""Tests of `analyzer doctor` on a real Prometheus: what it finds, what it tells to do, how it ends."""

import json
import math
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from needs import lacking
from ports import free_port
from prometheus_server import Point, PrometheusServer
from rich.console import Console
from sources.hostile import hang, say, serving
from sources.remote_write import write_histograms

from analyzer.cli.doctor_report import run
from analyzer.doctor import survey
from analyzer.doctor.delay import read_growth
from analyzer.errors import ConfigError, RequestError
from analyzer.quantity import format_instant
from analyzer.sources.prometheus_api import Series

NOON = 1_767_614_400.0
ARM, OLD, NEW = "rollouts_pod_template_hash", "75d4f8b9c8", "6d8f9c7b5d"
EDGES = (0.05, 0.1, 0.2, 0.5, 1.0)
SCORES = tuple(score / 10 for score in range(1, 11))
Rates = dict[tuple[str, str, str], float]  # growth in a second by metric, label and value of the label


def histogram(name: str, per_second: float, shares: Mapping[float, float]) -> Rates:
    """Let a histogram grow; `shares` are those of the observations up to each edge."""
    buckets = {(f"{name}_bucket", "le", f"{edge:g}"): per_second * share for edge, share in shares.items()}
    total = {(f"{name}_bucket", "le", "+Inf"): per_second, (f"{name}_count", "", ""): per_second}
    return {**buckets, **total, (f"{name}_sum", "", ""): per_second / 20}


def even(edges: Iterable[float]) -> dict[float, float]:
    """Spread observations evenly over the bins of these edges."""
    known = list(edges)
    return {edge: (place + 1) / len(known) for place, edge in enumerate(known)}


def served(per_second: float, *, failing: float = 0.001, slow: float = 0.004) -> Rates:
    """Serve requests, of which some fail and some take between 200 and 500 ms."""
    return {
        ("http_requests_total", "status", "200"): per_second * (1 - failing),
        ("http_requests_total", "status", "500"): per_second * failing,
        ("model_business_events_total", "event", "conversion"): per_second / 20,
        **histogram("http_request_duration_seconds", per_second, {edge: 1 - slow * (edge < 0.5) for edge in EDGES}),
        **histogram("model_prediction_score", per_second, even(SCORES)),
    }


@dataclass(frozen=True)
class Pod:
    """One scrape target, with the counters that grow on it; it stopped `ago` before noon, and restarts as often."""

    arm: str
    rates: Rates
    seconds: float = 3600.0
    interval: float = 15.0
    ago: float = 0.0
    restart: float = 1e9
    name: str = "pod"
    extra: tuple[tuple[str, str], ...] = ()

    def points(self, namespace: str) -> Iterator[Point]:
        """Write what was scraped."""
        name = f"{namespace}-{self.arm}-{self.name}"
        target = {"job": "fraud-detector", "instance": f"{name}:8080", "namespace": namespace, "pod": name}
        target |= {ARM: self.arm} if self.arm else {}
        target |= dict(self.extra)
        begin = NOON - self.ago - self.seconds
        for scrape in range(round(self.seconds / self.interval)):
            age = scrape * self.interval
            for (metric, label, value), rate in self.rates.items():
                labels = {**target, label: value} if label else target
                yield Point(metric, labels, begin + age, round(rate * (age % self.restart), 3))


def without(rates: Rates, *metrics: str) -> Rates:
    """Leave out metrics, named by how they begin."""
    return {key: rate for key, rate in rates.items() if not key[0].startswith(metrics)}


def both(canary: Rates, baseline: Rates | None = None, **fields: Any) -> list[Pod]:
    """Let both arms grow, alike unless said otherwise."""
    return [Pod(NEW, canary, **fields), Pod(OLD, canary if baseline is None else baseline, **fields)]


LATENCY, SCORE = "http_request_duration_seconds", "model_prediction_score"
BARE, GOOD = without(served(10.0), LATENCY), served(10.0)
UNSCORED = without(GOOD, SCORE)
UNSOLD = without(GOOD, "model_business")


def with_edges(shares: Mapping[float, float]) -> Rates:
    """Serve with other buckets of the latency."""
    return {**BARE, **histogram(LATENCY, 10.0, shares)}


REQUESTS = "http_requests_total"
MESHED = (("direction", "inbound"), ("classification", "success"))


def labelled(*pairs: tuple[str, str]) -> Rates:
    """Count requests with other labels than the status."""
    return {(REQUESTS, label, value): 5.0 for label, value in pairs}


@dataclass(frozen=True)
class Processes:
    """Four processes that answer on one port in turn, each with a start of its own."""

    arm: str

    def points(self, namespace: str) -> Iterator[Point]:
        """Write what was scraped."""
        name = f"{namespace}-{self.arm}-pod"
        target = {
            "job": "fraud-detector",
            "instance": f"{name}:8080",
            "namespace": namespace,
            "pod": name,
            ARM: self.arm,
        }
        for scrape in range(240):
            moment = NOON - 3600 + 15 * scrape
            yield Point("process_start_time_seconds", target, moment, NOON - 9000 + scrape % 4)


@dataclass(frozen=True)
class Shop:
    """A pod whose traffic rises and falls, and whose conversions follow by a fixed delay."""

    delay: float
    swing: float = 0.4

    def points(self, namespace: str) -> Iterator[Point]:
        """Write what was scraped in three hours."""
        target = {"job": "fraud-detector", "instance": "shop", "namespace": namespace, "pod": "shop", ARM: OLD}
        for scrape in range(720):
            moment = 15.0 * scrape
            served, converted = self.served(moment), self.served(moment - self.delay) / 20
            yield Point(REQUESTS, {**target, "status": "200"}, NOON - 10800 + moment, round(served, 3))
            labels = {**target, "event": "conversion"}
            yield Point("model_business_events_total", labels, NOON - 10800 + moment, round(converted, 3))

    def served(self, moment: float) -> float:
        """Return the requests until a moment, 90 a second on average."""
        waves = sum(period * math.sin(moment / period) for period in (210.0, 530.0))
        return 90.0 * (moment + 7200 + self.swing / 2 * waves)


SCENARIOS: dict[str, Sequence[Pod | Processes | Shop]] = {
    "healthy": [Pod(NEW, GOOD, seconds=1200), Pod(OLD, served(90.0)), Pod(OLD, served(90.0), name="other")],
    "unlabelled": [Pod("", GOOD)],
    "only-baseline": [Pod(OLD, GOOD), Pod("[red]5c6b[/red]", GOOD)],
    "mesh": [
        Pod(
            "meshed",
            {
                ("istio_requests_total", "response_code", "200"): 10.0,
                **histogram("istio_request_duration_milliseconds", 10.0, {100.0: 1.0, 250.0: 1.0, 500.0: 1.0}),
            },
            extra=(("reporter", "destination"),),
        )
    ],
    "outbound": [
        Pod("calling", {("istio_requests_total", "response_code", "200"): 10.0}, extra=(("reporter", "source"),))
    ],
    "seldon": [
        Pod(
            "", {("seldon_model_infer_total", "code", "200"): 10.0}, extra=(("model", "iris"), ("model_internal", name))
        )
        for name in ("iris_1", "iris2_1")
    ],
    "by-code": both({**without(GOOD, "http_requests"), ("http_requests_total", "code", "200"): 10.0}),
    "failing-baseline": both(GOOD, served(10.0, failing=0.03)),
    "quick": both(with_edges({0.1: 0.995, 0.25: 1.0, 0.5: 1.0})),
    "slow": both(with_edges({0.1: 0.9, 0.25: 1.0, 0.5: 1.0})),
    "slow-baseline": both(with_edges({0.2: 0.95, 0.5: 1.0})),
    "coarse": both(with_edges({0.25: 1.0, 0.4: 1.0})),
    "inside": both(with_edges({0.2: 1.0, 0.4: 1.0, 0.6: 1.0})),
    "new-edges": both(with_edges({0.2: 1.0, 0.5: 1.0, 0.7: 1.0}), GOOD),
    "mixed-edges": [*both(GOOD), Pod(OLD, with_edges({0.2: 1.0, 0.5: 1.0}), name="other")],
    "no-inf": both(
        {key: rate for key, rate in GOOD.items() if not (key[0] == f"{LATENCY}_bucket" and key[2] == "+Inf")}
    ),
    "native": both(BARE),
    "summed": both({**BARE, (f"{LATENCY}_sum", "", ""): 1.0, (f"{LATENCY}_count", "", ""): 10.0}),
    "triton": both({("nv_inference_request_success", "", ""): 10.0, ("nv_inference_request_duration_us", "", ""): 5e5}),
    "one-bin": both({**UNSCORED, **histogram(SCORE, 10.0, dict.fromkeys(SCORES, 1.0))}),
    "fraud-scores": both({**UNSCORED, **histogram(SCORE, 10.0, {score: 0.99 + score / 100 for score in SCORES})}),
    "zipf": [
        Pod(arm, {("model_predictions_total", "predicted_class", f"{rank}"): 9.0 / rank for rank in range(1, 201)})
        for arm in (NEW, OLD)
    ],
    "two-bins": both({**UNSCORED, **histogram(SCORE, 10.0, {0.1: 0.5, **dict.fromkeys(SCORES[1:], 1.0)})}),
    "other-bins": both(GOOD, {**UNSCORED, **histogram(SCORE, 10.0, even((0.5, 1.0)))}),
    "few-scores": both({**UNSCORED, **histogram(SCORE, 0.005, even(SCORES))}),
    "one-class": both({**UNSCORED, ("model_predictions_total", "predicted_class", "fraud"): 10.0}),
    "classes": both(
        {**UNSCORED, **{("model_predictions_total", "predicted_class", name): 5.0 for name in ("fraud", "ok")}}
    ),
    "no-class": both({**UNSCORED, ("model_predictions_total", "verdict", "fraud"): 10.0}),
    "unsold": both(UNSOLD),
    "no-sales": both({**UNSOLD, ("model_business_events_total", "event", "conversion"): 0.0}),
    "values": both({**UNSOLD, **histogram("model_business_value", 1.0, {10.0: 0.5, 100.0: 1.0})}),
    "large-values": both({**UNSOLD, **histogram("model_business_value", 1.0, {10.0: 0.5, 100.0: 0.9})}),
    "idle": both(dict.fromkeys(GOOD, 0.0)),
    "minutely": both(GOOD, interval=60.0),
    "unequal": [Pod(NEW, GOOD, interval=15), Pod(OLD, GOOD, interval=30)],
    "stale": [Pod(NEW, GOOD, seconds=1200, ago=600), Pod(OLD, GOOD)],
    "copied": [Pod(OLD, GOOD, extra=(("prometheus_replica", f"prometheus-{place}"),)) for place in (0, 1)],
    "restarting": both(GOOD, restart=300.0),
    "many": [Pod(OLD, GOOD, seconds=120, name=f"pod-{place}") for place in range(4)],
    "rare": both(served(0.001)),
    "words": both(labelled(("status", "success"), ("status", "error"))),
    "probes-only": [
        Pod(
            NEW, {(REQUESTS, "path", "/healthz"): 0.3, (REQUESTS, "path", "/predict"): 0.0}, extra=(("status", "200"),)
        ),
        Pod(
            OLD, {(REQUESTS, "path", "/healthz"): 0.3, (REQUESTS, "path", "/predict"): 9.0}, extra=(("status", "200"),)
        ),
    ],
    "probed": [
        Pod(arm, {("response_total", "path", path): rate}, extra=MESHED)
        for arm in (NEW, OLD)
        for path, rate in (("/healthz", 1.0), ("/predict", 9.0))
    ],
    "clusters": [Pod(arm, GOOD, extra=(("cluster", name),), name=name) for arm in (NEW, OLD) for name in ("eu", "us")],
    "features": both(labelled(("feature", "a"), ("feature", "b")), extra=(("status", "200"),)),
    "twice": [Pod(arm, GOOD, extra=(("job", job),)) for arm in (NEW, OLD) for job in ("ml/pods", "model-service")],
    "vanishing": [
        *(Pod(arm, {(REQUESTS, "status", "200"): 9.0}) for arm in (NEW, OLD)),
        *(Pod(arm, {(REQUESTS, "status", "404"): 1.0}, seconds=1800, ago=1800) for arm in (NEW, OLD)),
    ],
    "models": [
        Pod(arm, {("model_infer_request_success_total", "model_name", model): 9.0 for model in ("fraud", "rank")})
        for arm in (NEW, OLD)
    ],
    "late-sales": [Shop(1500.0)],
    "quick-sales": [Shop(0.0)],
    "usual-sales": [Shop(480.0)],
    "steady-sales": [Shop(480.0, swing=0.0)],
    "in-turn": [Pod(OLD, GOOD), Pod(NEW, GOOD), *(Processes(arm) for arm in (NEW, OLD))],
}


def history() -> Iterator[Point]:
    """Write what was scraped in all scenarios, each in a namespace of its own."""
    for namespace, pods in SCENARIOS.items():
        for pod in pods:
            yield from pod.points(namespace)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with every scenario."""
    server = PrometheusServer(tmp_path_factory.mktemp("prometheus"))
    server.write_history(history())
    server.start()
    for scrape in range(8):  # after the others' samples: what came before the last block is refused
        for arm in (OLD, NEW):
            labels = {"__name__": LATENCY, ARM: arm, "job": "x", "instance": arm, "namespace": "native"}
            write_histograms(server.url, labels, NOON + 15 * scrape, [9 * scrape, scrape, 0])
    yield server.url
    server.stop()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*filter(lambda name: name.startswith("ANALYZER_"), os.environ), "NO_COLOR", "FORCE_COLOR"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def source(prometheus: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment that names it, and patience with a machine that others use too."""
    monkeypatch.setattr(survey, "FIRST_ROUND", 15.0)
    monkeypatch.setattr(survey, "BOTH_ROUNDS", 30.0)
    monkeypatch.setenv("ANALYZER_SOURCE", "prometheus")
    monkeypatch.setenv("ANALYZER_PROMETHEUS_URL", prometheus)
    return prometheus


@dataclass(frozen=True)
class Told:
    """What the command said in both forms, and how it ended."""

    code: int
    text: str
    answer: dict[str, Any]

    def codes(self, check: str) -> dict[str, str]:
        """Give the status of each notice of a check by its code."""
        return {one["code"]: one["status"] for one in self.answer["checks"][check]["notices"]}

    def notice(self, check: str, code: str) -> str:
        """Give one notice of a check, with its remedy, which must be in the text as well."""
        (one,) = (one for one in self.answer["checks"][check]["notices"] if one["code"] == code)
        for line in (one["what"], f"-> {one['remedy']}"):
            assert line in " ".join(self.text.split())
        return f"{one['what']} -> {one['remedy']}"

    def notice_of(self, check: str, code: str) -> str:
        """Give the first notice of a code, with its remedy."""
        first = next(one for one in self.answer["checks"][check]["notices"] if one["code"] == code)
        return f"{first['what']} -> {first['remedy']}"


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Any:
    """Ask for both arms in a namespace unless said otherwise; nothing may be said on standard error."""

    def ask(namespace: str | None, *, at: float = NOON, **fields: str | None) -> Told:
        given = {
            "service": "fraud-detector", "namespace": namespace, "canary": NEW, "baseline": OLD, "window": "1h",
            "at": format_instant(at), **fields,
        }  # fmt: skip
        console = Console(width=80)
        code = run(given, console, json=False)
        text = capsys.readouterr()
        again = run(given, console, json=True)
        answer = capsys.readouterr()
        assert (again, text.err, answer.err) == (code, "", "")
        return Told(code, text.out, json.loads(answer.out))

    return ask


pytestmark = pytest.mark.prometheus


# What is there


@pytest.mark.usefixtures("source")
def test_everything_is_there(doctor: Any) -> None:
    """Of each check it tells what is read, of how many pods, how often, since when, and how long a pass will take."""
    began = time.monotonic()
    told = doctor("healthy")
    checks = told.answer["checks"]

    assert time.monotonic() - began < 2 * 10
    assert (told.code, told.answer["status"]) == (0, "ok")
    assert told.answer["notices"] == []
    assert [one["status"] for one in checks.values()] == ["ok"] * 4
    arms = checks["error_rate"]["arms"]
    assert arms["baseline"] == {
        "series": 4,  # two pods with two statuses
        "targets": 2,
        "first_sample": format_instant(NOON - 3600),
        "last_sample": format_instant(NOON - 15),
        "scrape_seconds": 15,
        "requests": pytest.approx(180 * 3600, rel=0.01),
        "requests_per_second": pytest.approx(180, rel=0.01),
    }
    assert (arms["canary"]["targets"], arms["canary"]["first_sample"]) == (1, format_instant(NOON - 1200))
    assert arms["canary"]["requests_per_second"] == pytest.approx(10, rel=0.02)
    assert checks["latency_p99"]["edges"] == list(EDGES)
    assert (checks["prediction_drift"]["bins"], checks["prediction_drift"]["empty_bins"]) == (10, 0)
    assert checks["prediction_drift"]["arms"]["baseline"]["requests_per_second"] == pytest.approx(180, rel=0.01)
    assert checks["prediction_drift"]["to_pass"]["requests"] == pytest.approx(240, rel=0.1)
    seconds = 120 + checks["latency_p99"]["to_pass"]["requests"] / (190 * 0.05)  # after the warm-up of a pod
    assert checks["latency_p99"]["to_pass"]["seconds"] == pytest.approx(seconds, rel=0.01)
    assert checks["business_proxy"]["to_pass"] is None  # a guardrail is not waited for


@pytest.mark.usefixtures("source")
def test_what_it_looks_like(doctor: Any) -> None:
    """Lines of at most 80 columns, with the worst at their head, and the profile's own limits at the end."""
    told = doctor("healthy")
    lines = told.text.splitlines()

    assert lines[0].startswith("Prometheus 2.")
    assert lines[1] == "profile prometheus-client, policy ml-model, the last 60 min"
    assert "ok      error_rate" in lines
    assert "ok      business_proxy  guardrail" in lines
    assert f"  canary {NEW}: 2 series of 1 target, 10.1/s, every 15 s, since" in lines
    assert "  bucket edges 50 ms, 100 ms, 200 ms, 500 ms, 1 s" in lines
    assert "  10 bins, 0 of them empty in the baseline" in lines
    assert "what the profile prometheus-client cannot tell" in lines
    assert lines[-1] == "4 ok"
    assert max(map(len, lines)) <= 80
    assert not any(line.endswith(" ") for line in lines)


@pytest.mark.usefixtures("source")
def test_without_a_canary_the_baseline_is_examined(doctor: Any) -> None:
    """Before the first canary there is one arm to look at."""
    told = doctor("healthy", canary=None)

    assert told.code == 0
    assert told.answer["canary"] is None
    assert told.answer["checks"]["prediction_drift"]["arms"].keys() == {"baseline"}


@pytest.mark.usefixtures("source")
def test_without_arms_their_names_are_listed(doctor: Any) -> None:
    """A newcomer sees what to give, literally, with the traffic of each."""
    told = doctor("only-baseline", canary=None, baseline=None)

    assert told.code == 0
    assert told.answer["values"].keys() == {OLD, "[red]5c6b[/red]"}
    assert told.answer["values"][OLD]["requests_per_second"] == pytest.approx(10, rel=0.01)
    assert told.answer["values"][OLD]["checks"] == list(SERVED_CHECKS)
    assert "  [red]5c6b[/red]  10/s, error_rate, latency_p99" in told.text
    assert f"values of {ARM}" in told.text


SERVED_CHECKS = ("error_rate", "latency_p99", "prediction_drift", "business_proxy")


@pytest.mark.usefixtures("source")
def test_without_arms_and_without_their_label(doctor: Any) -> None:
    """Where nothing could be listed it says why."""
    told = doctor("unlabelled", canary=None, baseline=None)

    assert (told.code, told.answer["values"]) == (1, {})
    assert told.codes("error_rate") == {"arm_label_missing": "missing"}


@pytest.mark.usefixtures("source")
def test_a_check_that_compares_needs_a_baseline(doctor: Any) -> None:
    """An absolute limit does not."""
    told = doctor("healthy", baseline=None)

    assert told.code == 1
    assert told.codes("error_rate") == {}
    assert "give --baseline" in told.notice("prediction_drift", "baseline_needed")


# What is missing


@pytest.mark.usefixtures("source")
def test_series_without_the_arm_label(doctor: Any) -> None:
    """The remedy is the setting of the PodMonitor, with the job that it belongs to."""
    told = doctor("unlabelled")

    assert told.code == 1
    assert told.notice("error_rate", "arm_label_missing") == (
        f"no series of http_requests_total has the label {ARM} -> podTargetLabels: [rollouts-pod-template-hash] in the "
        "PodMonitor or ServiceMonitor of job fraud-detector; without the operator, relabel_configs from "
        f"__meta_kubernetes_pod_label_{ARM}"
    )


@pytest.mark.usefixtures("source")
def test_other_values_of_the_arm_label(doctor: Any) -> None:
    """An arm that is not there is answered with those that are, printed as they are."""
    told = doctor("only-baseline")

    assert (told.code, told.answer["checks"]["latency_p99"]["status"]) == (1, "missing")
    text = told.notice("error_rate", "arm_unknown")
    assert f'with {ARM}="{NEW}" (canary); there are' in text
    assert "[red]5c6b[/red]" in text
    assert OLD in text
    assert "--canary" in text


@pytest.mark.usefixtures("source")
def test_a_missing_baseline_is_no_harm_to_absolute_limits(doctor: Any) -> None:
    """Error rate and latency are judged without it, drift and business are not."""
    told = doctor("only-baseline", canary=OLD, baseline=NEW)

    assert told.codes("error_rate") == {"arm_unknown": "warning"}
    assert told.codes("prediction_drift") == {"arm_unknown": "missing"}


@pytest.mark.usefixtures("source")
def test_another_namespace(doctor: Any) -> None:
    """It names the namespace in which the arm is, and nothing is proposed but to go there."""
    told = doctor("healthy", profile="istio", canary="meshed", checks="error_rate")

    assert told.code == 1
    assert told.notice("error_rate", "arm_elsewhere") == (
        f'no series of istio_requests_total with {ARM}="meshed" (canary) or {ARM}="{OLD}" (baseline) has '
        'namespace="healthy"; there is namespace="mesh" -> give --namespace and --service as they are there; a label '
        "that is empty must be set on the targets"
    )


@pytest.mark.usefixtures("source")
def test_another_service(doctor: Any) -> None:
    """Profiles that match the service say the same of it."""
    arms = {"canary": "iris2_1", "baseline": "iris_1"}
    told = doctor("seldon", profile="seldon-v2", checks="error_rate", **arms)
    found = doctor("seldon", profile="seldon-v2", checks="error_rate", service="iris", **arms)

    assert 'there is namespace="seldon", model="iris"' in told.notice("error_rate", "arm_elsewhere")
    assert (found.code, found.answer["checks"]["error_rate"]["arms"].keys()) == (0, {"canary", "baseline"})


@pytest.mark.usefixtures("source")
def test_the_metric_is_elsewhere_only(doctor: Any) -> None:
    """Where neither the arm nor another profile's metrics are known, the nearest is where the metric is."""
    told = doctor("healthy", profile="triton", canary="x1", baseline="x2", checks="latency_p99")
    nowhere = doctor("nowhere", profile="triton", canary="x1", baseline="x2", checks="latency_p99")

    assert "--profile " in told.notice("latency_p99", "metric_missing")
    assert 'has namespace="nowhere"; there is namespace="triton"' in nowhere.notice("latency_p99", "metric_elsewhere")


@pytest.mark.usefixtures("source")
def test_nothing_anywhere(doctor: Any) -> None:
    """Then the pods are perhaps not scraped."""
    told = doctor("nowhere", profile="torchserve", checks="error_rate")

    assert "check that the pods are scraped" in told.notice("error_rate", "metric_missing")


@pytest.mark.usefixtures("source")
def test_metrics_of_another_profile(doctor: Any) -> None:
    """Where the profile's metrics are not there, those profiles are proposed whose metrics are."""
    told = doctor("mesh", canary="meshed", baseline=None)

    for check, metric in (("error_rate", "istio_requests_total"), ("latency_p99", "istio_request_duration_m")):
        text = told.notice(check, "metric_missing")
        assert "-> try --profile istio: there is " in text
        assert metric in text


@pytest.mark.usefixtures("source")
def test_matchers_that_fit_nothing(doctor: Any) -> None:
    """The metric is there, but only of the other direction."""
    told = doctor("outbound", profile="istio", canary="calling", baseline=None, checks="error_rate")

    assert told.notice("error_rate", "matchers_miss") == (
        'istio_requests_total is there, and no series of it meets reporter="destination" -> write a profile of your '
        "own with matchers that fit: `analyzer profiles istio`"
    )


@pytest.mark.usefixtures("source")
def test_a_check_that_the_profile_lacks(doctor: Any) -> None:
    """The profile's own remedy, and the option that leaves the check out."""
    told = doctor("healthy", profile="traefik", checks="prediction_drift")

    assert told.code == 1
    text = told.notice("prediction_drift", "not_in_profile")
    assert text.startswith("profile traefik names no metric for drift -> ask for this check with the profile of the")
    assert "--checks" in text


@pytest.mark.usefixtures("source")
def test_an_advisory_check_is_only_a_warning(doctor: Any) -> None:
    """What never decides keeps no gate from passing."""
    policy = '{"checks": {"prediction_drift": {"role": "advisory"}}}'
    told = doctor("healthy", profile="traefik", checks="prediction_drift", policy=policy)

    assert (told.code, told.answer["status"], told.answer["checks"]["prediction_drift"]["status"]) == (
        0, "warning", "missing",
    )  # fmt: skip


# Error rate


@pytest.mark.usefixtures("source")
def test_the_label_of_failed_requests(doctor: Any) -> None:
    """Without it nothing could ever fail: the labels that are there are named."""
    told = doctor("by-code", checks="error_rate")

    assert told.code == 1
    text = told.notice("error_rate", "label_missing")
    assert text.startswith("no series of http_requests_total of the canary and the baseline has the label status: no")
    assert text.endswith(f"its labels are code, instance, job, namespace, pod, {ARM}")


@pytest.mark.usefixtures("source")
def test_a_counter_of_errors_that_is_nowhere(doctor: Any) -> None:
    """Among many requests it is suspicious, and no more."""
    told = doctor("triton", profile="triton", checks="error_rate")

    assert (told.code, told.answer["status"]) == (0, "warning")
    assert told.notice("error_rate", "errors_never_seen").startswith(
        "no series nv_inference_request_failure at all among 72,000 requests: 0 errors"
    )


@pytest.mark.usefixtures("source")
def test_a_baseline_that_fails_too_often_itself(doctor: Any) -> None:
    """A canary like it would never pass."""
    text = doctor("failing-baseline", checks="error_rate").notice("error_rate", "baseline_beyond_limit")

    assert text.startswith("3% of the baseline's requests failed, promote is 0.5%: a canary like it never passes")


# Latency


@pytest.mark.usefixtures("source")
def test_a_limit_inside_a_bucket(doctor: Any) -> None:
    """It is judged at the edge below: a warning where the arms are quicker, an end where they are not."""
    quick, slow = doctor("quick", checks="latency_p99"), doctor("slow", checks="latency_p99")

    assert quick.codes("latency_p99") == {"limit_inside_bucket": "warning"}
    assert quick.notice("latency_p99", "limit_inside_bucket") == (
        "promote 200 ms lies inside a bucket, and is judged at 100 ms -> "
        f'add le="0.2" to {LATENCY}, or set promote to 100 ms or 250 ms'
    )
    assert (slow.code, slow.codes("latency_p99")) == (1, {"limit_inside_bucket": "missing"})
    text = slow.notice("latency_p99", "limit_inside_bucket")
    assert "judged at 100 ms: 10% of the baseline's requests are slower than 100 ms, of which p99 permits 1%" in text


@pytest.mark.usefixtures("source")
def test_edges_in_the_unit_of_the_histogram(doctor: Any) -> None:
    """The edge to add is in milliseconds where the histogram is."""
    told = doctor("mesh", profile="istio", canary="meshed", baseline=None, checks="latency_p99")

    assert 'add le="200" to istio_request_duration_milliseconds' in told.notice("latency_p99", "limit_inside_bucket")
    assert told.answer["checks"]["latency_p99"]["edges"] == [0.1, 0.25, 0.5]


@pytest.mark.usefixtures("source")
def test_limits_beyond_all_buckets(doctor: Any) -> None:
    """Nothing can be proved good below the first edge, and nothing bad above the last."""
    told = doctor("coarse", checks="latency_p99")
    found = {one["what"].split(":")[0] for one in told.answer["checks"]["latency_p99"]["notices"]}

    assert told.code == 1
    assert found == {
        "no bucket edge at or below promote 200 ms", "no bucket edge at or above rollback 500 ms",
    }  # fmt: skip
    assert doctor("inside", checks="latency_p99").codes("latency_p99") == {"limit_inside_bucket": "warning"}


@pytest.mark.usefixtures("source")
def test_a_baseline_that_is_too_slow_itself(doctor: Any) -> None:
    """With exact edges it is the limit that is wrong."""
    text = doctor("slow-baseline", checks="latency_p99").notice("latency_p99", "baseline_beyond_limit")

    assert text.startswith("5% of the baseline's requests are slower than 200 ms, of which p99 permits 1%: a canary")


@pytest.mark.usefixtures("source")
def test_an_edge_to_compare_at(doctor: Any) -> None:
    """Rule relative needs its edge in the histogram, exactly."""
    change = {"rule": "relative", "promote": "10%", "rollback": "50%"}
    for edge, code in (("200ms", 0), ("150ms", 1)):
        policy = json.dumps({"checks": {"latency_p99": {**change, "edge": edge}}})
        told = doctor("healthy", checks="latency_p99", policy=policy)
        assert told.code == code
    text = told.notice("latency_p99", "limit_inside_bucket")
    assert text == (
        f'edge 150 ms is no bucket edge of the histogram -> add le="0.15" to {LATENCY}, or set edge to one of '
        "100 ms or 200 ms"
    )


@pytest.mark.usefixtures("source")
def test_buckets_that_differ(doctor: Any) -> None:
    """Between the arms, or between pods of one arm, or without the one that counts all."""
    arms, pods, none = (doctor(name, checks="latency_p99") for name in ("new-edges", "mixed-edges", "no-inf"))

    assert (arms.code, pods.code, none.code) == (1, 1, 1)
    text = arms.notice("latency_p99", "buckets_differ")
    assert "only the canary has le 0.7 and only the baseline has le 0.05, 0.1, 1; give all" in text.replace(" ->", ";")
    assert "pods of the baseline have different buckets: not all have le=0.05" in pods.notice(
        "latency_p99", "buckets_differ"
    )
    found = [one["what"] for one in none.answer["checks"]["latency_p99"]["notices"]]
    assert f'{LATENCY}_bucket of the canary has no bucket le="+Inf", which counts every request' in found


OWN = f"""
name: native
arm_label: {ARM}
matchers: namespace="{{namespace}}"
latency: [{{native_histogram: {LATENCY}}}]
"""


@pytest.fixture
def native_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile of the user's own, with the native histogram."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "native.yaml").write_text(OWN)
    monkeypatch.setenv("ANALYZER_CONFIG_DIR", str(tmp_path))


@pytest.mark.usefixtures("source", "native_profile")
def test_native_and_classic_histograms(doctor: Any) -> None:
    """Where the profile names the one and the other is there, it says so; the right one is found."""
    at = NOON + 110
    classic = doctor("native", checks="latency_p99", at=at)
    native = doctor("native", checks="latency_p99", profile="native", at=at)
    other = doctor("healthy", checks="latency_p99", profile="native")

    text = classic.notice("latency_p99", "other_form")
    assert text.startswith(f"{LATENCY} is a native histogram, and the profile names a classic one -> a profile of your")
    assert f"native_histogram: {LATENCY}" in text
    arms = native.answer["checks"]["latency_p99"]["arms"]
    assert (native.code, arms.keys(), arms["canary"]["scrape_seconds"]) == (0, {"canary", "baseline"}, 15)
    assert arms["canary"]["requests"] == pytest.approx(70, rel=0.15)
    assert f"with histogram: {LATENCY}, or --enable" in other.notice("latency_p99", "other_form")


@pytest.mark.usefixtures("source")
def test_a_sum_and_a_count_only(doctor: Any) -> None:
    """No quantile can be told from them, whether the profile knows it or not: the mean can be judged."""
    found, known = doctor("summed", checks="latency_p99"), doctor("triton", profile="triton", checks="latency_p99")

    assert (found.code, known.code) == (1, 1)
    assert f"only {LATENCY}_sum and {LATENCY}_count are there" in found.notice("latency_p99", "mean_only")
    for told in (found, known):
        assert "-> judge the mean: a check of kind mean_latency; or" in told.notice("latency_p99", "mean_only")
    assert known.answer["checks"]["latency_p99"]["way"] == 2


# Predictions


@pytest.mark.usefixtures("source")
def test_bins_that_show_no_drift(doctor: Any) -> None:
    """One bin shows none, two show little, and empty ones are counted."""
    one, two = doctor("one-bin", checks="prediction_drift"), doctor("two-bins", checks="prediction_drift")

    assert one.codes("prediction_drift") == {"bins": "missing"}
    assert "all predictions lie in one of 10 bins" in one.notice("prediction_drift", "bins")
    assert two.codes("prediction_drift") == {"bins": "warning"}
    assert "only 2 of 10 bins have predictions" in two.notice("prediction_drift", "bins")
    assert two.answer["checks"]["prediction_drift"]["empty_bins"] == 8
    assert "  10 bins, 8 of them empty in the baseline" in two.text


@pytest.mark.usefixtures("source")
def test_what_rare_predictions_do_not_show(doctor: Any) -> None:
    """How many predictions a pass takes is told from the baseline's own bins, and what it cannot see before."""
    scores, classes = (doctor(name, checks="prediction_drift", policy="ml-model") for name in ("fraud-scores", "zipf"))

    assert scores.answer["checks"]["prediction_drift"]["to_pass"]["requests"] > 2500
    assert "lie in one bin: this check cannot see a canary that always answers so before about" in scores.notice(
        "prediction_drift", "rare_predictions"
    )
    assert "of 200 classes are rare: this check cannot see single ones of them vanish before it passes" in (
        classes.notice("prediction_drift", "rare_predictions")
    )


@pytest.mark.usefixtures("source")
def test_a_loss_that_takes_days(doctor: Any) -> None:
    """A guardrail on few conversions guards nothing within a rollout."""
    told = doctor("rare", checks="business_proxy")

    assert "this check cannot see a loss of 20% of the conversions before" in told.notice(
        "business_proxy", "slow_decision"
    )


@pytest.mark.usefixtures("source")
def test_bins_that_differ(doctor: Any) -> None:
    """Nothing can be compared then."""
    assert doctor("other-bins", checks="prediction_drift").codes("prediction_drift") == {"buckets_differ": "missing"}


@pytest.mark.usefixtures("source")
def test_too_few_predictions(doctor: Any) -> None:
    """18 an hour are too few for a PSI."""
    text = doctor("few-scores", checks="prediction_drift").notice("prediction_drift", "few_predictions")

    assert text.startswith("only 18 of the canary and 18 of the baseline predictions were counted: a PSI needs 30")


@pytest.mark.usefixtures("source")
def test_classes(doctor: Any) -> None:
    """The second way of the profile is found; one class shows no drift, and neither does none."""
    good, one, none = (doctor(name, checks="prediction_drift") for name in ("classes", "one-class", "no-class"))

    assert (good.code, good.answer["checks"]["prediction_drift"]["way"]) == (0, 2)
    assert "  2 classes, 0 of them empty in the baseline" in good.text
    assert "all predictions lie in one of 1 class" in one.notice("prediction_drift", "bins")
    assert none.codes("prediction_drift") == {"label_missing": "missing"}
    assert "has the label predicted_class" in none.notice("prediction_drift", "label_missing")


# Business


@pytest.mark.usefixtures("source")
def test_business_events(doctor: Any) -> None:
    """A counter that is not there is missing data, one that stands still a warning."""
    none, still = doctor("unsold", checks="business_proxy"), doctor("no-sales", checks="business_proxy")

    assert (none.code, still.code) == (1, 0)
    assert none.codes("business_proxy").keys() <= {"arm_elsewhere", "metric_missing"}
    assert 'no event was counted: model_business_events_total{event="conversion"}' in still.notice(
        "business_proxy", "no_events"
    )


@pytest.mark.usefixtures("source")
def test_the_delay_of_conversions(doctor: Any) -> None:
    """Where the baseline's traffic varies, the delay is estimated, and compared with the policy's ten minutes."""
    late, quick, usual, steady = (
        doctor(f"{name}-sales", canary=None, checks="business_proxy", window="3h")
        for name in ("late", "quick", "usual", "steady")
    )

    assert late.notice("business_proxy", "delay_too_short").startswith(
        "conversions follow their requests by a mean of about 2"
    )
    assert "allows for 10 min: good canaries seem to lose conversions -> delay: 30m" in late.notice(
        "business_proxy", "delay_too_short"
    )
    assert quick.notice("business_proxy", "delay_too_long").endswith("10 min: a loss is found late -> delay: 6m")
    assert usual.notice("business_proxy", "delay").endswith("-> nothing to do: the policy's is 10m")
    assert "cannot be told: the baseline's request rate hardly varies" in steady.notice("business_proxy", "delay")
    assert [told.code for told in (late, quick, usual, steady)] == [0, 0, 0, 0]


@pytest.mark.usefixtures("source")
def test_values_above_the_last_edge(doctor: Any) -> None:
    """The edges bound the spread, but not of values beyond them."""
    good, large = doctor("values", checks="business_proxy"), doctor("large-values", checks="business_proxy")

    assert good.code == 0
    assert large.notice("business_proxy", "spread_unknown") == (
        "values of the canary and the baseline lie above the last edge of model_business_value, 100: their spread is "
        "unknown -> add an edge above the largest value"
    )


# How it is scraped


@pytest.mark.usefixtures("source")
def test_no_traffic(doctor: Any) -> None:
    """Counters that stand still are no traffic."""
    told = doctor("idle", checks="error_rate,latency_p99")

    assert told.code == 1
    assert told.codes("error_rate") == {"no_traffic": "missing"} or "no_traffic" in told.codes("error_rate")
    found = [one["what"] for one in told.answer["checks"]["error_rate"]["notices"]]
    assert found[0] == "nothing of the canary grew in the last 60 min: http_requests_total"


@pytest.mark.usefixtures("source")
def test_a_long_scrape_interval(doctor: Any) -> None:
    """It is measured, and what several checks share is told once."""
    told = doctor("minutely")

    assert told.code == 0
    for check in SERVED_CHECKS:
        assert told.codes(check).items() - {("delay", "ok")} == {("scrape_interval", "warning")}
    line = "  the canary is scraped every 60 s: a fault is seen that much later"
    assert told.text.splitlines().count(line) == 1
    assert "of several checks" in told.text


@pytest.mark.usefixtures("source")
def test_arms_scraped_unequally(doctor: Any) -> None:
    """Both intervals are named."""
    text = doctor("unequal", checks="error_rate").notice("error_rate", "intervals_differ")

    assert text.startswith("the arms are scraped unequally: the canary every 15 s and the baseline every 30 s")


@pytest.mark.usefixtures("source")
def test_a_stale_arm(doctor: Any) -> None:
    """Ten minutes without a sample, where one came every 15 seconds."""
    told = doctor("stale", checks="error_rate")

    assert told.codes("error_rate") == {"stale": "warning"}
    text = told.notice("error_rate", "stale")
    assert text.startswith("the last sample of the canary is 10.2 min old, though one comes every 15 s")
    assert "clocks" in text


@pytest.mark.usefixtures("source")
def test_copies_by_two_servers(doctor: Any) -> None:
    """Series that differ by the label of a replica only count twice."""
    told = doctor("copied", canary=None, checks="error_rate")

    assert told.codes("error_rate") == {"duplicates": "warning"}
    text = told.notice("error_rate", "duplicates")
    assert text.startswith("each series of the baseline is there 2 times, but for the label prometheus_replica")


@pytest.mark.usefixtures("source")
def test_processes_that_restart_often(doctor: Any) -> None:
    """Eleven times in an hour."""
    told = doctor("restarting", checks="error_rate")

    assert told.codes("error_rate") == {"restarts": "warning"}
    assert {one["what"] for one in told.answer["checks"]["error_rate"]["notices"]} == {
        f"counters of the {word} were reset 11 times in the last 60 min, on 1 target" for word in ("canary", "baseline")
    }


@pytest.mark.usefixtures("source")
def test_values_that_can_never_match(doctor: Any) -> None:
    """Status in words, where the profile has codes: the line of a profile that fits is given."""
    told = doctor("words", checks="error_rate")

    assert told.code == 1
    text = told.notice_of("error_rate", "values_never_match")
    assert 'has status="error", "success", which the profile' in text
    assert 'errors: http_requests_total{status="error"}' in text


@pytest.mark.usefixtures("source")
def test_probes(doctor: Any) -> None:
    """A canary that has nothing but probes, and probes that a profile counts."""
    only, counted = doctor("probes-only", checks="error_rate"), doctor("probed", checks="error_rate", profile="linkerd")

    assert (only.code, only.codes("error_rate")["no_traffic"]) == (1, "missing")
    assert "all that the canary counted were probes and scrapes (/healthz)" in only.notice_of("error_rate", "probes")
    assert (counted.code, counted.codes("error_rate")["probes"]) == (1, "missing")
    text = counted.notice_of("error_rate", "probes")
    assert text.startswith("10% of the canary's requests are probes and scrapes: /healthz")
    assert 'requests: response_total{path!~"{probes}"}' in text


@pytest.mark.usefixtures("source")
def test_several_clusters_and_models(doctor: Any) -> None:
    """Equal arms of several clusters, and several models of a process: the option that tells them apart is given."""
    clusters, one = (
        doctor("clusters", checks="error_rate"),
        doctor("clusters", checks="error_rate", labels="cluster=eu"),
    )
    models = doctor("models", checks="error_rate", profile="mlserver")
    named = doctor("models", checks="error_rate", profile="mlserver", service="fraud")

    assert (clusters.code, clusters.codes("error_rate")["several_origins"]) == (1, "missing")
    assert '--labels {"cluster": "eu"}' in clusters.notice_of("error_rate", "several_origins")
    assert (one.code, one.codes("error_rate")) == (0, {})
    assert (models.code, models.codes("error_rate")["several_origins"]) == (1, "missing")
    assert "several_origins" not in named.codes("error_rate")


@pytest.mark.usefixtures("source")
def test_labels_that_are_added_up(doctor: Any) -> None:
    """Counts of several features are one number."""
    told = doctor("features", checks="error_rate")

    assert told.codes("error_rate") == {"summed_over": "warning"}
    assert "added up over feature: a, b" in told.notice_of("error_rate", "summed_over")


@pytest.mark.usefixtures("source")
def test_pods_that_two_jobs_scrape(doctor: Any) -> None:
    """A PodMonitor and a ServiceMonitor take the same pods."""
    told = doctor("twice", checks="error_rate")

    assert told.codes("error_rate") == {"duplicates": "warning"}
    assert "by job ml/pods, model-service: each request is there 2 times" in told.notice_of("error_rate", "duplicates")


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize(("history", "code"), [("twice", "duplicates"), ("vanishing", "series_vanish")])
def test_what_sums_of_the_server_count_wrongly_is_missing(
    doctor: Any, monkeypatch: pytest.MonkeyPatch, history: str, code: str
) -> None:
    """What a verdict repairs series by series is wrong where there are too many series to follow."""
    monkeypatch.setattr("analyzer.doctor.diagnosis.FEWEST_SLICES", 100_000)
    told = doctor(history, checks="error_rate")

    assert told.code == 1
    assert told.codes("error_rate")[code] == "missing"


@pytest.mark.usefixtures("source")
def test_series_that_vanish(doctor: Any) -> None:
    """A label set that is gone while its pod lives, as a collector drops it after some minutes."""
    told = doctor("vanishing", checks="error_rate")

    assert told.codes("error_rate")["series_vanish"] == "warning"
    assert "metric_expiration" in told.notice_of("error_rate", "series_vanish")


@pytest.mark.usefixtures("source")
def test_processes_behind_one_port(doctor: Any) -> None:
    """The start of the process goes back and forth."""
    told = doctor("in-turn", checks="error_rate")

    assert told.code == 1
    assert {one["code"] for one in told.answer["notices"]} == {"several_processes"}
    assert "multiprocess" in told.text


@pytest.mark.usefixtures("source")
def test_too_many_series_to_follow(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the setting with its value."""
    monkeypatch.setenv("ANALYZER_PROMETHEUS_MAX_SAMPLES", "1000")
    told = doctor("many", canary=None)
    (notice,) = told.answer["notices"]

    assert (told.code, notice["code"], notice["status"]) == (0, "too_many_series", "warning")
    assert "raise ANALYZER_PROMETHEUS_MAX_SAMPLES, now 1,000" in notice["remedy"]
    assert notice["what"] in " ".join(told.text.split())


@pytest.mark.usefixtures("source")
def test_a_decision_that_takes_days(doctor: Any) -> None:
    """Four requests an hour prove nothing soon."""
    told = doctor("rare", checks="error_rate")

    assert "needs" in told.notice("error_rate", "slow_decision")
    assert told.answer["checks"]["error_rate"]["to_pass"]["seconds"] > 86400


# The source, and wrong usage


@pytest.mark.usefixtures("source")
def test_a_partial_answer_is_missing_data(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning of Thanos or a missing store says so in every check."""
    partial = say(
        {"status": "success", "warnings": ["a store is down"], "data": {"resultType": "vector", "result": []}}
    )
    with serving(partial) as server:
        monkeypatch.setenv("ANALYZER_PROMETHEUS_URL", server.url)
        told = doctor("healthy")

    assert told.code == 1
    assert {tuple(told.codes(check)) for check in SERVED_CHECKS} == {("query_failed",)}
    assert "a store is down" in told.notice("error_rate", "query_failed")


@pytest.mark.parametrize("arms", [{"canary": NEW, "baseline": OLD}, {}], ids=["arms", "no arms"])
@pytest.mark.parametrize("hanging", [False, True], ids=["refused", "hanging"])
def test_an_unavailable_source(
    arms: dict[str, str],
    hanging: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 4 within five seconds, with the address and the reason on standard error and as JSON."""
    monkeypatch.setenv("ANALYZER_SOURCE", "prometheus")
    monkeypatch.setenv("ANALYZER_PROMETHEUS_URL", "http://127.0.0.1:9")
    given = {"service": "fraud-detector", "window": "1h", **arms}
    with serving(hang) as server:
        if hanging:
            monkeypatch.setenv("ANALYZER_PROMETHEUS_URL", server.url)
        began = time.monotonic()
        code = run(given, Console(width=80), json=True)
        took = time.monotonic() - began
    out, err = capsys.readouterr()

    assert (code, json.loads(out)["status"]) == (4, "unavailable")
    assert err.startswith("Error: http://")
    assert took < 5


def test_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that is no Prometheus, a window, a check or an arm that cannot be: the field and the remedy."""
    given = {"service": "fraud-detector", "canary": NEW, "baseline": OLD, "window": "1h"}

    with pytest.raises(ConfigError, match=r"ANALYZER_SOURCE: is scrape, .* set it to prometheus"):
        run(given, Console(), json=False)
    monkeypatch.setenv("ANALYZER_SOURCE", "prometheus")
    for wrong, text in (
        ({"window": "2d"}, "window: must be a duration from 1m to 24h, such as 1h, got 2d"),
        ({"window": "start"}, "window: must be a duration"),
        ({"checks": "latency"}, "checks: policy ml-model has no check 'latency'; did you mean 'latency_p99'"),
        ({"profile": "istoi"}, "profile: unknown profile 'istoi'; did you mean 'istio'"),
        ({"canary": OLD}, "baseline: is the same as canary"),
    ):
        with pytest.raises(RequestError, match=text.replace("(", r"\(")):
            run({**given, **wrong}, Console(), json=False)


# VictoriaMetrics


@pytest.fixture(scope="module")
def victoria_metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A VictoriaMetrics with some of the scenarios."""
    if shutil.which("victoria-metrics") is None:
        lacking("PROMETHEUS", "victoria-metrics is not installed: install the package of this name")
    address = f"127.0.0.1:{free_port()}"
    options = ["-retentionPeriod=100y", "-search.latencyOffset=0s", "-loggerLevel=ERROR"]
    folder = tmp_path_factory.mktemp("victoria-metrics")
    process = subprocess.Popen(
        ["victoria-metrics", f"-storageDataPath={folder}", f"-httpListenAddr={address}", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        names = ("healthy", "unlabelled", "by-code", "summed", "slow", "copied")
        points = (point for name in names for pod in SCENARIOS[name] for point in pod.points(name))
        lines = [f"{str(point).rsplit(' ', 1)[0]} {round(point.moment * 1000)}" for point in points]
        with requests.Session() as session:
            session.trust_env = False
            for _ in range(200):
                try:
                    session.get(f"http://{address}/health", timeout=1).raise_for_status()
                    break
                except requests.RequestException:
                    time.sleep(0.05)
            url = f"http://{address}"
            session.post(f"{url}/api/v1/import/prometheus", data="\n".join(lines), timeout=60).raise_for_status()
            session.get(f"{url}/internal/force_flush", timeout=10).raise_for_status()
        yield url
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.victoriametrics
def test_victoria_metrics(victoria_metrics: str, doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same is found there, and the one parameter that it needs is asked for."""
    monkeypatch.setenv("ANALYZER_SOURCE", "prometheus")
    monkeypatch.setenv("ANALYZER_PROMETHEUS_URL", victoria_metrics)
    monkeypatch.setattr(survey, "FIRST_ROUND", 15.0)
    monkeypatch.setattr(survey, "BOTH_ROUNDS", 30.0)
    (notice,) = doctor("healthy").answer["notices"]
    monkeypatch.setenv("ANALYZER_PROMETHEUS_PARAMETERS", '{"nocache": "1"}')
    told = doctor("healthy")

    assert (notice["code"], notice["status"]) == ("times_moved", "warning")
    assert """ANALYZER_PROMETHEUS_PARAMETERS='{"nocache": "1"}'""" in notice["remedy"]
    assert (told.code, told.answer["status"], told.answer["source"]["engine"]) == (0, "ok", "VictoriaMetrics")
    arms = told.answer["checks"]["latency_p99"]["arms"]
    assert (arms["canary"]["first_sample"], arms["baseline"]["targets"]) == (format_instant(NOON - 1200), 2)
    assert arms["canary"]["scrape_seconds"] == 15
    assert arms["canary"]["requests_per_second"] == pytest.approx(10, rel=0.02)
    assert doctor("unlabelled").codes("error_rate") == {"arm_label_missing": "missing"}
    assert doctor("by-code").codes("error_rate") == {"label_missing": "missing"}
    assert doctor("summed").codes("latency_p99") == {"mean_only": "missing"}
    assert doctor("slow").codes("latency_p99") == {"limit_inside_bucket": "missing"}
    assert doctor("copied", canary=None).codes("error_rate") == {"duplicates": "warning"}
    assert doctor("healthy", canary=None, baseline=None).answer["values"].keys() == {OLD, NEW}


def test_samples_beside_the_slices_are_left_out() -> None:
    """A source may answer for a slice more on either side of those that were asked for."""
    series = Series({}, np.array([940.0, 1000.0, 1120.0, 1180.0]), np.array([9.0, 1.0, 3.0, 9.0]))

    np.testing.assert_array_equal(read_growth([series], 1000.0, 1120.0, 60.0), [1.0, np.nan, 3.0])
