"""`analyzer calibrate` from end to end, on the past of a real Prometheus."""

import json
import os
from collections.abc import Iterator

import numpy as np
import pytest
from click.testing import CliRunner, Result
from prometheus_server import Point, PrometheusServer, StartPrometheus

from analyzer.cli import cli
from analyzer.cli.planning_tables import calibration_as_json
from analyzer.config.settings import load_settings
from analyzer.model.counts import Conversions, Errors, Histogram
from analyzer.planning.calibration import calibrate
from analyzer.planning.past import read_past_of
from analyzer.verdict.wiring import build_analyzer

pytestmark = pytest.mark.prometheus

NOON = 1_767_614_400.0
STABLE, HOURS, INTERVAL = "75d4f8b9c8", 3, 30
RATE, ERRORS, SLOW, CONVERSION = 10, 0.001, 0.002, 0.05
LATENCY_EDGES, SCORE_EDGES = ("0.1", "0.2", "0.5"), ("0.25", "0.5", "0.75", "1.0")
ASKED = ("--service", "fraud", "--baseline", STABLE, "--history", f"{HOURS}h", "--length", "30m", "--at", str(NOON))


def history(seed: int = 1) -> Iterator[Point]:
    """Draw what two pods of a healthy service counted; one of them restarts on the way."""
    rng = np.random.default_rng(seed)
    for pod in ("a", "b"):
        target = {"rollouts_pod_template_hash": STABLE, "job": "fraud", "instance": f"{pod}:80", "namespace": "ml"}
        counted: dict[tuple[str, str, str], int] = {}
        start = NOON - 2 * HOURS * 3600
        for moment in np.arange(NOON - HOURS * 3600 - INTERVAL, NOON + 1, INTERVAL) + (7 if pod == "b" else 0):
            if pod == "b" and start < NOON - 5000 < moment:
                counted, start = {}, moment - 3
            for key, count in drawn(rng).items():
                counted[key] = counted.get(key, 0) + count
            yield Point("process_start_time_seconds", target, moment, float(start))
            for (metric, label, value), count in counted.items():
                yield Point(metric, {**target, label: value}, moment, float(count))


def drawn(rng: np.random.Generator) -> dict[tuple[str, str, str], int]:
    """Draw what one pod counts between two scrapes; buckets are cumulative."""
    requests = int(rng.poisson(RATE * INTERVAL / 2))
    failed, slow = (int(rng.binomial(requests, share)) for share in (ERRORS, SLOW))
    scores = np.cumsum(rng.multinomial(requests, [0.25] * 4))
    found = {
        ("http_requests_total", "status", "200"): requests - failed,
        ("http_requests_total", "status", "500"): failed,
    }
    for edge, count in zip(
        (*LATENCY_EDGES, "+Inf"), (requests - slow, requests - slow, requests, requests), strict=True
    ):
        found["http_request_duration_seconds_bucket", "le", edge] = count
    for edge, count in zip((*SCORE_EDGES, "+Inf"), (*scores, requests), strict=True):
        found["model_prediction_score_bucket", "le", edge] = int(count)
    found["model_business_events_total", "event", "conversion"] = int(rng.binomial(requests, CONVERSION))
    return found


@pytest.fixture(scope="module")
def prometheus(start_prometheus: StartPrometheus) -> PrometheusServer:
    """A Prometheus with the past of a service."""
    return start_prometheus(history())


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, prometheus: PrometheusServer) -> None:
    for name in [*filter(lambda name: name.startswith("ANALYZER_"), os.environ), "COLUMNS"]:
        if not name.startswith("ANALYZER_REQUIRE_"):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANALYZER_SOURCE", "prometheus")
    monkeypatch.setenv("ANALYZER_PROMETHEUS_URL", prometheus.url)


def run(*words: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(cli, ["calibrate", *words], prog_name="analyzer")


def test_a_healthy_service_is_not_rolled_back() -> None:
    """The command reads three hours, pretends rollouts, and ends with 0."""
    result = run(*ASKED, "--runs", "12", "--weight", "20")
    text = " ".join(result.stdout.split())

    assert result.exit_code == 0
    assert "from 2026-01-05T09:00:00Z to 2026-01-05T12:00:00Z, 9.98 requests/s: 12 pretend rollouts of 30 min" in text
    assert "0 of 12 pretend rollouts were rolled back, 95% interval 0% to 26.5%" in text
    assert "The pretend rollouts overlap" in text
    assert result.stderr == ""


def test_json_is_the_same_again() -> None:
    """Same past, same options, same bytes; and what `calibrate` gives in Python."""
    words = (*ASKED, "--runs", "3", "--json", "--seed", "5")
    first, second = run(*words), run(*words)
    answer = json.loads(first.stdout)
    analyzer = build_analyzer(load_settings())
    policy = analyzer.policies["ml-model"]
    past = read_past_of(analyzer, policy, {"service": "fraud", "baseline": STABLE, "at": str(NOON)}, HOURS * 60)

    assert first.stdout == second.stdout
    assert answer == calibration_as_json(calibrate(policy, past, share=0.05, length=30, runs=3, seed=5))
    assert answer["checks"]["error_rate"]["requests_per_second"] == pytest.approx(RATE, rel=0.02)
    assert answer["checks"]["latency_p99"]["correlation"] < 0.001


def test_the_past_is_exact() -> None:
    """Every request is counted once, also around the restart of a pod."""
    analyzer = build_analyzer(load_settings())
    fields = {"service": "fraud", "baseline": STABLE, "at": str(NOON)}
    past = read_past_of(analyzer, analyzer.policies["ml-model"], fields, HOURS * 60)
    last: dict[tuple[str, ...], float] = {}
    total = {"http_requests_total": 0.0, "500": 0.0}
    for one in history():
        if one.metric == "http_requests_total":
            key = (one.labels["instance"], one.labels["status"])
            grown = one.value - last.get(key, 0.0) if one.value >= last.get(key, 0.0) else one.value
            last[key] = one.value
            if NOON - HOURS * 3600 < one.moment <= NOON:
                total["http_requests_total"] += grown
                total["500"] += grown if one.labels["status"] == "500" else 0.0
    errors, latency, conversions = (past.by_check[name] for name in ("error_rate", "latency_p99", "business_proxy"))
    assert isinstance(errors, Errors)
    assert isinstance(latency, Histogram)
    assert isinstance(conversions, Conversions)

    assert past.minutes == HOURS * 60
    assert (errors.requests.sum(), errors.errors.sum()) == (total["http_requests_total"], total["500"])
    assert latency.counts.sum() == conversions.trials.sum() == total["http_requests_total"]
    assert len(latency.edges) == len(LATENCY_EDGES) + 1


def test_labels_select_a_part_of_the_past() -> None:
    """Of one of two pods, by a label that each of its series has."""
    analyzer = build_analyzer(load_settings())
    fields = {"service": "fraud", "baseline": STABLE, "at": str(NOON)}
    whole, part = (
        read_past_of(analyzer, analyzer.policies["ml-model"], fields | more, HOURS * 60).by_check["error_rate"]
        for more in ({}, {"labels": "instance=a:80"})
    )
    assert isinstance(whole, Errors)
    assert isinstance(part, Errors)
    assert part.requests.sum() == pytest.approx(whole.requests.sum() / 2, rel=0.02)
    assert run(*ASKED, "--labels", "instance=nowhere", "--runs", "1").exit_code != 0


def test_more_false_alarms_than_alpha_are_1() -> None:
    """The plain table on estimates rolls back what is healthy, and the command says why it ends with 1."""
    policy = '{"checks": {"error_rate": {"rule": "point", "promote": "0.05%", "rollback": "0.1%"}}}'
    result = run(*ASKED, "--runs", "12", "--policy", policy)

    assert result.exit_code == 1
    assert "more than alpha, 5%, most of them by error_rate" in " ".join(result.stdout.split())


def test_a_hash_that_nobody_has_is_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With what to look at."""
    from analyzer.cli import main

    monkeypatch.setattr("sys.argv", ["analyzer", "calibrate", *ASKED[:2], "--baseline", "nobody", *ASKED[4:]])
    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(
        "Error: --baseline: 'nobody' has no traffic in the past that was asked for"
    )
