"""Whole verdicts over a real Prometheus on rollouts that are not steady: late faults, bursts, steps, incidents."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from prometheus_server import Point, PrometheusServer, StartPrometheus
from sources.pods import PROFILE, Pod, Process, Scrape

from analyzer.config.policy import load_policies
from analyzer.config.profile import selectors
from analyzer.model.counts import Reading
from analyzer.model.findings import Kind
from analyzer.sources.assembly import Grown, Selection, assemble
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.answer import render
from analyzer.verdict.request import parse_request

pytestmark = pytest.mark.prometheus

NOON = 1_767_614_400.0
INTERVAL = 15.0
CANARY_AT = NOON - 3600
HISTORY = 7200.0
OUTAGE = NOON - 618  # begins with a few seconds left to the canary's next scrape, and more to the baseline's
DIALS = np.random.default_rng(20260105)


def pod_of(arm: str, begin: float, requests: Callable[[float], int], ratio: Callable[[float], float]) -> Pod:
    """Let a pod serve so many requests before each scrape, a share of which fails."""
    pod, process, moment = Pod(arm, f"{arm}-pod"), Process(begin - 3), begin
    while moment <= NOON:
        failed = int(DIALS.binomial(requests(moment), ratio(moment)))
        process.add("http_requests_total", "status", "500", by=failed)
        process.add("http_requests_total", "status", "200", by=requests(moment) - failed)
        pod.scrapes.append(Scrape(moment, process.start, dict(process.counters)))
        moment += INTERVAL
    return pod


def in_bursts(moment: float) -> float:
    """Let one minute in ten hold all the errors, half a percent of the requests."""
    return 0.05 if int(moment // 60) % 10 == 0 else 0.0


def in_the_outage(moment: float) -> float:
    """Let half of the requests fail in an outage of two minutes; those since the last scrape are counted."""
    return 0.5 * max(0.0, min(moment, OUTAGE + 120) - max(moment - INTERVAL, OUTAGE)) / INTERVAL + 0.002


def history() -> Iterator[Point]:
    """Write one canary with its baseline for each test."""
    since = CANARY_AT - HISTORY
    pods = [
        pod_of("late", CANARY_AT, lambda _: 150, lambda t: 0.003 if t <= NOON - 300 else 0.05),
        pod_of("late-base", since, lambda _: 2850, lambda _: 0.003),
        pod_of("bursty", CANARY_AT, lambda _: 600, in_bursts),
        pod_of("bursty-base", since, lambda _: 600, in_bursts),
        pod_of("incident", CANARY_AT, lambda _: 150, lambda t: 0.003 if t <= NOON - 300 else 0.05),
        pod_of("incident-base", since, lambda _: 2850, lambda t: 0.003 if t <= NOON - 300 else 0.05),
        pod_of("sudden", CANARY_AT, lambda _: 750, in_the_outage),
        pod_of("sudden-base", since + 9, lambda _: 750, in_the_outage),
        pod_of("steps", CANARY_AT, lambda t: 150 if t <= NOON - 120 else 750, lambda _: 0.001),
        pod_of("steps-base", since, lambda t: 2850 if t <= NOON - 120 else 2250, lambda _: 0.001),
    ]
    for pod in pods:
        yield from pod.points()


@pytest.fixture(scope="module")
def prometheus(start_prometheus: StartPrometheus) -> PrometheusServer:
    """A Prometheus with the history of all tests."""
    return start_prometheus(history())


def ask(prometheus: PrometheusServer, canary: str, **fields: Any) -> dict[str, Any]:
    """Give the finding on the error rate at noon."""
    source = PrometheusSource(PrometheusApi(Connection(prometheus.url)))
    analyzer = Analyzer(policies=load_policies(None), profiles={PROFILE.name: PROFILE}, source=source)
    body = {
        "service": "fraud", "namespace": "ml", "canary": canary, "baseline": f"{canary}-base", "at": NOON,
        "checks": "error_rate", "detail": "full", **fields,
    }  # fmt: skip
    request = parse_request(body)
    found: dict[str, Any] = render(analyzer.verdict(request), request.detail)["checks"]["error_rate"]
    return found


def test_a_fault_of_the_last_five_minutes_is_found_and_dated(prometheus: PrometheusServer) -> None:
    """An hour of health does not hide it, and the answer says since when."""
    found = ask(prometheus, "late")

    assert found["code"] == "proved_bad"
    assert "2026-01-05T11:50:00Z" <= found["since"] <= "2026-01-05T11:57:00Z"
    assert f"since {found['since'][11:]}" in found["reason"]


def test_bursts_are_known_from_the_hours_before_the_canary(prometheus: PrometheusServer) -> None:
    """The same counts are proved bad only if their bursts are not allowed for."""
    policy = {"checks": {"error_rate": {"promote": "0.3%", "rollback": "0.4%"}}}
    found, ignorant = (
        ask(prometheus, "bursty", policy=policy),
        ask(prometheus, "bursty", policy=policy | {"history": 0}, baseline=None),
    )

    assert "batches before the canary" in found["assumptions"][0]
    assert ignorant["code"] == "proved_bad"
    assert "too little of the baseline" in ignorant["assumptions"][0]
    assert found["evidence"]["fail"] < ignorant["evidence"]["fail"] / 3
    assert found["canary"]["low"] < ignorant["canary"]["low"]


def test_an_incident_of_both_arms_is_not_the_canarys(prometheus: PrometheusServer) -> None:
    """The canary is as far beyond the limit as in the first test, and so is the baseline."""
    found = ask(prometheus, "incident")

    assert (found["verdict"], found["code"]) == ("inconclusive", "common_mode")


def test_an_outage_that_the_canarys_scrapes_show_first_is_not_the_canarys(prometheus: PrometheusServer) -> None:
    """Whenever it is looked at: around its begin and its end each arm shows another part of it."""
    looks = [ask(prometheus, "sudden", at=OUTAGE + 5.0 * look) for look in range(42)]

    assert {found["verdict"] for found in looks} == {"inconclusive", "pass"}


def test_a_pass_at_the_present_weight_needs_requests_at_it(prometheus: PrometheusServer) -> None:
    """Two minutes at a quarter of the traffic do not prove what an hour at a twentieth does."""
    whole, step = ask(prometheus, "steps"), ask(prometheus, "steps", window="step", weight="25")

    assert whole["verdict"] == "pass"
    assert step["canary"]["n"] < 10_000 < whole["canary"]["n"]
    assert step["since"] is not None
    assert step["since"] >= "2026-01-05T11:57:00Z"


def test_the_past_of_a_moving_window_is_read_once(prometheus: PrometheusServer) -> None:
    """Looks at the last five minutes, a quarter of a minute apart, ask for the baseline's two hours only at first."""
    source = PrometheusSource(PrometheusApi(Connection(prometheus.url)))
    analyzer = Analyzer(policies=load_policies(None), profiles={PROFILE.name: PROFILE}, source=source)
    body = {"service": "fraud", "namespace": "ml", "canary": "steps", "baseline": "steps-base", "window": "5m"}
    asked = []
    ask_all = source.queries.run
    source.queries.run = lambda tasks, deadline: asked.append(len(tasks)) or ask_all(tasks, deadline)  # type: ignore[func-returns-value,method-assign]

    rounds = []
    for at in (NOON - 45, NOON - 30):
        asked.clear()
        analyzer.verdict(parse_request(body | {"at": at, "checks": "error_rate"}))
        rounds.append(len(asked))

    assert rounds[1] == 1


def test_one_pod_with_nearly_all_the_requests_is_named() -> None:
    """What is judged then is this pod; a pod without any requests may be gone, and two that share are none."""
    asked = Selection("fraud", "ml", "new", None, PROFILE, {"error_rate": Kind.ERROR_RATE}, NOON)
    way = PROFILE.error_rate[0]

    def notes(*requests: float) -> tuple[str, ...]:
        grown = [
            Grown("new", {"status": "200"}, np.array([one]), pod=f"new-{number}") for number, one in enumerate(requests)
        ]
        found = assemble(
            way, {selector: grown if selector in way.requests else [] for selector in selectors(way)}, asked, 1
        )
        assert isinstance(found, Reading)
        return found.notes

    assert notes(970, 10, 20) == ("new-0, one of 3 pods of the canary, got 97% of its requests lately",)
    assert notes(500, 300, 200) == notes(1000, 0) == notes(90, 1) == ()
