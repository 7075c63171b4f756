"""Tests that counts read from a real Prometheus are exact to the unit, on history whose every sample is known."""

import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from prometheus_server import PrometheusServer, StartPrometheus
from sources.pods import (
    OTHER_WAYS,
    PROFILE,
    Pod,
    Process,
    Scrape,
    counted,
    expected,
    first_sample,
    selection,
    truth,
)

from analyzer.config.profile import Profile
from analyzer.model.counts import Reading, Readings, by_slice, requests_by_slice
from analyzer.model.findings import Code, Gap
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi

pytestmark = pytest.mark.prometheus

NOON = 1_767_614_400.0
INTERVAL = 15.0
SCENARIOS = 30


@dataclass(frozen=True)
class Plan:
    """What happens to one pod.

    Attributes
    ----------
    begin, end : of its life as a target
    restarts : moments at which its process restarts
    unscraped : segments of time in which no scrape succeeds, while its counters grow
    history : requests counted before the first scrape
    error_ratio, pace : of its requests; pace is the most requests between two scrapes
    """

    begin: float
    end: float
    restarts: tuple[float, ...] = ()
    unscraped: tuple[tuple[float, float], ...] = ()
    history: int = 0
    error_ratio: float = 0.01
    pace: int = 30
    errors_from: float = 0.0
    every: float = INTERVAL


def played(name: str, arm: str, plan: Plan, draw: random.Random) -> Pod:
    """Play what happens to a pod."""
    pod = Pod(arm, name)
    process = Process(plan.begin - 5 - plan.history)
    process.add("http_requests_total", "status", "200", by=plan.history)
    restarts = list(plan.restarts)
    moment = plan.begin + draw.randint(1, 14_000) / 1000
    while moment <= plan.end:
        while restarts and moment >= restarts[0]:  # a process that nobody scraped may lie between
            process = Process(round(restarts.pop(0), 3))
        process.serve(draw, draw.randint(0, plan.pace), plan.error_ratio if moment >= plan.errors_from else 0.0)
        if not any(begin <= moment < end for begin, end in plan.unscraped):
            pod.scrapes.append(Scrape(round(moment, 3), process.start, dict(process.counters)))
        moment += plan.every
    return pod


@cache
def rollout() -> list[Pod]:
    """Play two hours of six pods with everything that makes counting difficult."""
    draw = random.Random(1)
    begin, canary, end = NOON - 3 * 3600, NOON - 5400, NOON
    plans = {
        ("stable", "stable-a"): Plan(begin, end, history=1_000_000),
        ("stable", "stable-b"): Plan(begin, end, history=1_000_000, unscraped=((canary - 60, canary + 60),)),
        ("stable", "stable-c"): Plan(begin, end, restarts=(NOON - 3000,), unscraped=((NOON - 1500, NOON - 1380),)),
        ("canary", "canary-a"): Plan(canary, end, errors_from=canary + 1800),
        ("canary", "canary-b"): Plan(canary + 600, NOON - 700, error_ratio=0.05),
        ("canary", "canary-c"): Plan(canary + 900, end, restarts=(NOON - 2000, NOON - 1985), error_ratio=0.05),
    }
    return [played(name, arm, plan, draw) for (arm, name), plan in plans.items()]


@cache
def scenario(number: int) -> list[Pod]:
    """Draw pods to which anything happens: crash loops, outages, births and deaths."""
    draw = random.Random(1000 + number)
    begin = NOON - draw.choice((600, 1800, 5400, 10_000))
    pods = []
    for arm, most in (("stable", 3), ("canary", 3)):
        for pod in range(draw.randint(1, most)):
            old = arm == "stable" and draw.random() < 0.7
            born = begin - 3000 if old else begin + (draw.random() * 0.5 * (NOON - begin) if pod else 0)
            died = NOON if draw.random() < 0.7 else draw.uniform(born, NOON)
            crashes = sorted(draw.uniform(born, died) for _ in range(draw.choice((0, 0, 1, 3, 40))))
            outages = [draw.uniform(born, died) for _ in range(draw.choice((0, 1, 3)))]
            plan = Plan(
                begin=born,
                end=died,
                restarts=tuple(crashes),
                unscraped=tuple((moment, moment + draw.choice((20, 60, 200, 1500))) for moment in outages),
                history=draw.choice((0, 500, 1_000_000)) if old else 0,
                error_ratio=draw.choice((0.002, 0.02, 0.3)),
                pace=draw.choice((3, 20)),
            )
            pods.append(played(f"{arm}-{number}-{pod}", f"{arm}-{number}", plan, draw))
    return [pod for pod in pods if pod.scrapes]


@cache
def experiment() -> list[Pod]:
    """Play an experiment: a fresh pod of each version, born together, that had answered before its first scrape."""
    draw = random.Random(2)
    plans = {"stable-fresh": Plan(NOON - 600, NOON, history=400), "canary-fresh": Plan(NOON - 600, NOON, history=400)}
    return [played(f"{arm}-0", arm, plan, draw) for arm, plan in plans.items()]


@cache
def in_turn() -> list[Pod]:
    """Play a pod of each version, scraped every half minute, one a quarter of a minute after the other."""
    draw = random.Random(3)
    begins = {"stable-slow": NOON - 1800, "canary-slow": NOON - 1785}
    return [played(f"{arm}-0", arm, Plan(begin, NOON, every=30), draw) for arm, begin in begins.items()]


@pytest.fixture(scope="module")
def prometheus(start_prometheus: StartPrometheus) -> PrometheusServer:
    """A Prometheus with the history of all rollouts."""
    return start_prometheus(
        point
        for pods in (rollout(), experiment(), in_turn(), *map(scenario, range(SCENARIOS)))
        for pod in pods
        for point in pod.points()
    )


@pytest.fixture
def source(prometheus: PrometheusServer) -> PrometheusSource:
    """A source that knows nothing from before."""
    return PrometheusSource(PrometheusApi(Connection(prometheus.url)))


def check(
    source: PrometheusSource,
    pods: Sequence[Pod],
    at: float,
    profile: Profile = PROFILE,
    suffix: str = "",
    **window: float,
) -> None:
    """Compare what the source reads with the truth, arm by arm and count by count."""
    arms = f"canary{suffix}", f"stable{suffix}"
    asked = selection(*arms, at, profile, **window)
    readings = source.read(asked, time.monotonic() + 30)
    start = readings.window.start
    assert start is not None
    if not any(start < one.moment <= at for pod in pods if pod.arm == arms[0] for one in pod.scrapes):
        codes = {gap.code for gap in readings.by_check.values() if isinstance(gap, Gap)}
        assert codes <= {Code.NO_CANARY_TRAFFIC, Code.METRIC_MISSING}
        return
    check_pods(readings)
    notes = " ".join(note for one in readings.by_check.values() if isinstance(one, Reading) for note in one.notes)
    if left_out := re.search(r"the first (\d+) s are left out", notes):
        start += float(left_out[1])
    for role, arm in zip(("canary", "baseline"), arms, strict=True):
        want = expected(truth(pods, arm, start, at, new=not window), profile)
        got = counted(readings, role)
        if not got:  # the arm was not there
            assert not any(want.values())
            continue
        assert {key: got.get(key, 0) for key in want} == want, (role, start - NOON)


def check_pods(readings: Readings) -> None:
    """The pods of an arm add up to it, in each slice."""
    for reading in readings.by_check.values():
        if isinstance(reading, Reading):
            for counts, several in (
                (reading.canary, reading.canary_pods),
                (reading.baseline, reading.baseline_pods),
                (reading.history, reading.history_pods),
            ):
                assert bool(several) == (counts is not None)
                for name, values in by_slice(counts).items() if counts else ():
                    assert np.array_equal(sum(by_slice(pod.counts)[name] for pod in several), values)


def test_pods_have_their_names_starts_and_restarts(source: PrometheusSource) -> None:
    """A pod that was there before has no start; restarts are counted."""
    readings = source.read(selection("canary", "stable", NOON, history_seconds=3600.0), time.monotonic() + 30)
    check_pods(readings)
    reading = readings.by_check["error_rate"]
    assert isinstance(reading, Reading)
    canary = {pod.name: pod for pod in reading.canary_pods}
    baseline = {pod.name: pod for pod in reading.baseline_pods}

    assert {name: pod.start for name, pod in canary.items()} == {
        one.name: one.scrapes[0].process_start for one in rollout() if one.arm == "canary"
    }
    assert {name: pod.restarts for name, pod in canary.items()} == {"canary-a": 0, "canary-b": 0, "canary-c": 2}
    assert {name: (pod.start, pod.restarts) for name, pod in baseline.items()} == {
        "stable-a": (None, 0), "stable-b": (None, 0), "stable-c": (None, 1)
    }  # fmt: skip
    assert len(reading.history_pods) == 3


def test_many_pods_are_put_into_groups(start_prometheus: StartPrometheus) -> None:
    """Of a hundred pods there are 64 parts, which add up."""
    begin, at = NOON - 300, NOON
    arms = {"canary-many": 1, "stable-many": 100}
    pods = [
        played(f"{arm}-{number}", arm, Plan(begin, at, pace=3), random.Random(number))
        for arm, several in arms.items()
        for number in range(several)
    ]
    prometheus = start_prometheus(point for pod in pods for point in pod.points())
    source = PrometheusSource(PrometheusApi(Connection(prometheus.url)))
    readings = source.read(selection("canary-many", "stable-many", at), time.monotonic() + 30)
    reading = readings.by_check["error_rate"]
    assert isinstance(reading, Reading)
    check_pods(readings)

    assert (len(reading.canary_pods), len(reading.baseline_pods)) == (1, 64)


@pytest.mark.parametrize("profile", [PROFILE, OTHER_WAYS], ids=lambda profile: profile.name)
@pytest.mark.parametrize("at", [NOON, NOON - 7, NOON - 61.5, NOON - 1001, NOON - 4000, NOON - 5380, NOON - 5397])
def test_counts_since_the_canarys_first_sample_are_exact(source: PrometheusSource, at: float, profile: Profile) -> None:
    """Everything since the canary's first sample is counted, whatever happened to the pods."""
    check(source, rollout(), max(at, first_sample(rollout(), "canary") + 0.5), profile)


def test_the_fresh_baseline_of_an_experiment_counts_from_its_birth(source: PrometheusSource) -> None:
    """Both arms count what they had answered before they were first scraped, so that their split is the true one."""
    check(source, experiment(), NOON, suffix="-fresh")
    fresh = truth(experiment(), "stable-fresh", first_sample(experiment(), "canary-fresh") - 1, NOON, new=True)

    assert fresh["http_requests_total", "status", "200"] > 400


@pytest.mark.parametrize("arms", [("canary-fresh", "stable-fresh"), ("canary", "stable")])
def test_it_is_told_how_far_apart_scrapes_are(source: PrometheusSource, arms: tuple[str, str]) -> None:
    """A slice, where pods are scraped as often; outages of some of them change nothing."""
    readings = source.read(selection(*arms, NOON), time.monotonic() + 30)
    found = [one for one in readings.by_check.values() if isinstance(one, Reading)]

    assert {one.scrape_seconds for one in found} == {one.slice_seconds for one in found}


def test_slices_are_no_shorter_than_the_time_between_scrapes(source: PrometheusSource) -> None:
    """Pods that are scraped in turn have requests in the same slices, and all of them are counted."""
    check(source, in_turn(), NOON, suffix="-slow")
    readings = source.read(selection("canary-slow", "stable-slow", NOON), time.monotonic() + 30)
    for found in readings.by_check.values():
        assert isinstance(found, Reading)
        assert found.slice_seconds == found.scrape_seconds == 30
        assert found.canary is not None
        assert found.baseline is not None
        assert found.seconds is not None
        assert abs(found.seconds - 1785) <= 30
        both = (requests_by_slice(arm) > 0 for arm in (found.canary, found.baseline))
        assert np.mean(np.logical_and(*both)) > 0.9


@pytest.mark.parametrize("start", [NOON - 7200, NOON - 5400, NOON - 2001, NOON - 1450, NOON - 100, NOON - 9])
@pytest.mark.parametrize("at", [NOON, NOON - 4.321])
def test_counts_since_a_given_start_are_exact(source: PrometheusSource, start: float, at: float) -> None:
    """A start that the request gives is the border of what is counted, also in the middle of an outage."""
    check(source, rollout(), at, start=start)


@pytest.mark.parametrize("seconds", [10, 14.5, 60, 300, 1995, 3600])
@pytest.mark.parametrize("at", [NOON, NOON - 1400])
def test_counts_of_the_last_minutes_are_exact(source: PrometheusSource, seconds: float, at: float) -> None:
    """A window of a given length counts what happened inside it, also when it is shorter than a slice."""
    check(source, rollout(), at, window_seconds=seconds)


@pytest.mark.parametrize("number", range(SCENARIOS))
def test_counts_of_drawn_rollouts_are_exact(source: PrometheusSource, number: int) -> None:
    """Counts equal those of a walk over every sample, for drawn crashes, outages, births and deaths."""
    check_drawn(source, number)


def check_drawn(source: PrometheusSource, number: int) -> None:
    """Compare what the source reads of one drawn rollout with the truth, over windows of every kind."""
    draw = random.Random(number)
    pods, suffix = scenario(number), f"-{number}"
    begin = first_sample(pods, f"canary{suffix}")
    check(source, pods, NOON, suffix=suffix)
    check(source, pods, NOON, OTHER_WAYS, suffix=suffix)
    at = round(draw.uniform(begin + 1, NOON), 3)
    check(source, pods, at, suffix=suffix)
    check(source, pods, NOON, suffix=suffix, start=round(draw.uniform(begin - 300, NOON - 1), 3))
    check(source, pods, at, suffix=suffix, window_seconds=draw.choice((30.0, 100.0, 600.0)))


@pytest.mark.parametrize("profile", [PROFILE, OTHER_WAYS], ids=lambda profile: profile.name)
@pytest.mark.parametrize("window", [{}, {"start": NOON - 4000}, {"window_seconds": 600.0}, {"window_seconds": 14.0}])
@pytest.mark.parametrize("at", [NOON, NOON - 1001])
def test_counts_added_up_by_the_server_are_near(
    prometheus: PrometheusServer, at: float, window: dict[str, float], profile: Profile
) -> None:
    """Where there are too many series to follow, the server adds up: within 2% here, and the reading says so."""
    source = PrometheusSource(PrometheusApi(Connection(prometheus.url)), most_values=1)
    readings = source.read(selection("canary", "stable", at, profile, **window), time.monotonic() + 30)
    start = readings.window.start
    assert start is not None
    for role, arm in (("canary", "canary"), ("baseline", "stable")):
        want = expected(truth(rollout(), arm, start, at, new=not window), profile)
        got = counted(readings, role)

        assert got == pytest.approx(want, rel=0.02)
    assert all("added them up" in one.notes[0] for one in readings.by_check.values() if isinstance(one, Reading))
