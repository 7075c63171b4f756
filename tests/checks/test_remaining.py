"""About how many more requests decide: what is said of it comes true often enough to plan with."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from checks.rollouts import drawn, failed, scored, slow, sold
from stats.looks import ALPHA, BASELINE, TO_FAIL, UNIFORM, Bools, compared, drift, events, passes, tilted, zone

from analyzer.checks import business

PASS_FACTOR = 0.6  # a drift is proved absent at a stricter level
Rollouts = tuple[str, Callable[[int], dict[str, Any]], Bools]


@dataclass(frozen=True)
class Forecast:
    """What was said of a run at a look, and what became of it: further requests, infinite where none decided."""

    point: float
    low: float
    high: float
    real: float


def errors(share: float, step: int, looks: int, look: int, runs: int) -> Rollouts:
    """Simulate error rates: the request of a run at the look, and when each run decides."""
    seen, total = events(np.random.default_rng(1), share, step, runs=runs, looks=looks)
    decided = zone(seen, total, 0.005, 0.01, TO_FAIL) | (passes(seen, total, 0.005) & (total >= 100))
    return (
        "error_rate",
        lambda run: {"canary": {"errors": seen[run, look], "requests": total[look]}},
        decided,
    )


def conversions(change: float, step: int, looks: int, look: int, runs: int) -> Rollouts:
    """Simulate conversions of 20% in the baseline."""
    rng = np.random.default_rng(2)
    canary, total = events(rng, 0.2 * (1 + change), step, runs=runs, looks=looks)
    baseline, _ = events(rng, 0.2, BASELINE * step, runs=runs, looks=looks)
    counts = canary, baseline
    good = compared(counts, 0.99, business.REACH, "above") >= -math.log(ALPHA)
    bad = compared(counts, 0.99, business.REACH, "below") >= -math.log(TO_FAIL)
    arms = ((canary, total), (baseline, BASELINE * total))
    return (
        "business_proxy",
        lambda run: {
            arm: {"successes": seen[run, look], "trials": all_[look]}
            for arm, (seen, all_) in zip(("canary", "baseline"), arms, strict=True)
        },
        (good & (total >= 100)) | (bad & (canary / np.maximum(baseline, 1) * BASELINE < 0.97)),
    )


def scores(distance: float, step: int, looks: int, look: int, runs: int) -> Rollouts:
    """Simulate scores at a PSI from uniform ones."""
    shares = tilted(distance)
    found = drift(np.random.default_rng(3), shares, step, runs, looks)
    rng = np.random.default_rng(3)  # the same counts again
    canary = rng.multinomial(step, shares, (runs, looks)).cumsum(axis=1)[:, look]
    baseline = rng.multinomial(BASELINE * step, UNIFORM, (runs, looks)).cumsum(axis=1)[:, look]
    total = step * np.arange(1, looks + 1)
    good = found.evidence(0.1, "below") >= -math.log(PASS_FACTOR * ALPHA)
    bad = (found.evidence(0.1, "above") >= -math.log(TO_FAIL)) & (found.value > 0.2)
    return (
        "prediction_drift",
        lambda run: {
            "canary": scored(1, canary[run].tolist()),
            "baseline": scored(1, baseline[run].tolist()),
        },
        (good & (total >= 100)) | (bad & (total >= 30)),
    )


def forecasts(ask: Callable[..., Any], simulated: Rollouts, step: int, look: int) -> list[Forecast]:
    """Ask for a forecast of every run that is open at a look, and see what comes of it."""
    name, request, decided = simulated
    told = []
    for run, path in enumerate(decided[:, look + 1 :]):
        found = ask(name, **request(run))
        if found["verdict"] != "inconclusive" or found["remaining"] is None:
            continue
        low, high = found["remaining"]["range"]["requests"]
        real = step * (float(path.argmax()) + 1) if path.any() else math.inf
        point = found["remaining"]["requests"]
        told.append(Forecast(point, low or 0.0, math.inf if high is None else high, real))
    return told


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("simulate", "truth", "step", "looks", "look", "at_least"),
    [
        (errors, 0.002, 50, 600, 9, 0.7),
        (errors, 0.002, 50, 600, 29, 0.7),
        (errors, 0.0, 20, 100, 9, 0.7),
        (errors, 0.02, 5, 800, 29, 0.7),
        (errors, 0.05, 2, 600, 19, 0.7),
        (conversions, -0.2, 50, 200, 9, 0.7),
        (conversions, -0.5, 10, 200, 9, 0.7),
        (conversions, 0.2, 50, 200, 9, 0.7),
        (scores, 0.0, 5, 200, 11, 0.7),
        (scores, 0.25, 5, 300, 11, 0.7),
        (scores, 0.0, 5, 200, 23, 0.6),  # near the end the PSI of some runs is below 0 without its bias
    ],
)
def test_the_range_of_the_requests_needed_is_honest(
    judge: Any, simulate: Any, truth: float, step: int, looks: int, look: int, at_least: float
) -> None:
    """Most runs decide within the range that was told them, and half of them by about the number that was told."""
    told = forecasts(judge, simulate(truth, step, looks, look, 150), step, look)

    assert len(told) > 60
    assert all(0 <= one.low <= one.point <= one.high for one in told)
    inside = np.mean([one.low <= one.real <= one.high + step for one in told])  # seen at the next look only
    assert inside >= at_least
    ratio = np.median([one.point for one in told]) / np.median([one.real for one in told])
    assert 0.5 <= ratio <= 2


@pytest.mark.parametrize("kind", ["errors", "latency", "conversions", "drift"])
@pytest.mark.parametrize("size", [30, 60, 200, 1000, 5000])
def test_the_range_is_around_the_number(judge: Any, kind: str, size: float) -> None:
    """Less if the truth is further from the limit, more if it is nearer; never less than nothing."""
    values: dict[str, tuple[Any, ...]] = {
        "errors": ("error_rate", failed, (0.0, 0.002, 0.004, 0.011, 0.015, 0.03), None),
        "latency": ("latency_p99", slow, (0.0, 0.005, 0.009, 0.011, 0.02, 0.1), None),
        "conversions": ("business_proxy", sold, (0.1, 0.15, 0.19, 0.2, 0.21, 0.3), 0.2),
        "drift": ("prediction_drift", scored, [tilted(distance) for distance in (0.0, 0.05, 0.09, 0.21, 0.3)], UNIFORM),
    }
    name, counts, shares, beside = values[kind]
    for share in shares:
        found = judge(name, counts(size, share), None if beside is None else counts(19 * size, beside))
        if found["remaining"] is not None:
            requests, (low, high) = found["remaining"]["requests"], found["remaining"]["range"]["requests"]
            assert low is None or 0 <= low <= requests
            assert high is None or requests <= high


@pytest.mark.parametrize("edges", [("0.1",), ("0.1", "0.25"), ("0.1", "0.5"), ("0.05", "0.2")])
def test_limits_between_edges_have_forecasts_too(judge: Any, edges: tuple[str, ...]) -> None:
    """A fast canary is passed by the edge below the limit, whether or not there is one above it."""
    counts = {"buckets": dict.fromkeys((*edges, "+Inf"), 200.0)}

    found = judge("latency_p99", counts)

    assert (found["verdict"], found["code"]) == ("inconclusive", "undecided")
    assert 100 < found["remaining"]["requests"] < 400


def test_requests_between_two_edges_widen_the_range_only(judge: Any) -> None:
    """What a bucket leaves open keeps the order of the range: 3 of 600 requests lie where no edge tells."""
    counts = {"buckets": {"0.1": 597, "0.25": 600, "0.5": 600, "+Inf": 600}}

    found = judge("latency_p99", counts)["remaining"]

    low, high = found["range"]["requests"]
    assert 0 < low <= found["requests"]
    assert high is None or high >= found["requests"]


def test_the_range_goes_by_the_edge_that_judges(judge: Any) -> None:
    """To pass at 150 ms the edge at 100 ms counts; to fail at 500 ms, strictly, what is quicker does not matter."""
    promote = {"promote": "150ms"}
    with_edge = {"0.1": 298, "0.15": 298, "0.2": 300, "0.5": 300, "+Inf": 300}
    without = {"0.1": 298, "0.2": 300, "0.5": 300, "+Inf": 300}
    quick = {"0.1": 18, "0.2": 18, "0.5": 18, "1": 19, "+Inf": 20}
    spread = {"0.1": 7, "0.2": 10, "0.5": 18, "1": 19, "+Inf": 20}

    for one, other, rule in ((with_edge, without, promote), (quick, spread, {"rule": "strict"})):
        found, same = (judge("latency_p99", {"buckets": counts}, **rule)["remaining"] for counts in (one, other))
        assert same == found


def test_the_time_left_is_told_at_the_present_rate(look: Any) -> None:
    """Requests and seconds, and the range of both."""
    found = look("error_rate", [failed(10, 0)] * 20)["remaining"]

    assert found["seconds"] == pytest.approx(found["requests"] * 6, rel=0.01)
    assert found["range"]["seconds"][0] == pytest.approx(found["range"]["requests"][0] * 6, rel=0.02)


def test_the_time_left_is_told_at_the_rate_of_the_present_weight(look: Any) -> None:
    """Twenty minutes with 60 requests, then one with 600: what is missing comes at 600 a minute."""
    canary, baseline = [failed(60, 0)] * 20 + [failed(600, 0)], [failed(1140, 0)] * 20 + [failed(600, 0)]

    found = look("error_rate", canary, baseline, asked={"window": "step"})["remaining"]

    assert 100 < found["requests"] < 400
    assert found["seconds"] == pytest.approx(found["requests"] / 10, rel=0.05)


def test_bursts_make_the_forecast_longer(look: Any) -> None:
    """Counts that are divided need so many times more requests."""
    errors_, requests = drawn(np.random.default_rng(5), np.full(120, 5700.0), 0.004, 0.02)
    history = [{"errors": e, "requests": n} for e, n in zip(errors_.tolist(), requests.tolist(), strict=True)]
    calm = look("error_rate", [failed(30, 0)] * 10)["remaining"]
    bursts = look("error_rate", [failed(30, 0)] * 10, history=history)["remaining"]

    assert bursts["requests"] > 1.3 * calm["requests"]


def test_seconds_leave_a_warm_up_out(look: Any) -> None:
    """Requests come at the rate of the slices that count: ten a minute, with and without 20 minutes of warm-up."""
    slices = [{"errors": 0.0, "requests": 10.0}] * 40

    for warmup, seen in (("0s", 400), ("20m", 200)):
        found = look("error_rate", slices, warmup=warmup)

        assert found["canary"]["n"] == seen
        assert found["remaining"]["seconds"] == pytest.approx(found["remaining"]["requests"] * 6, rel=0.01)


@pytest.mark.parametrize(("requests", "reaches"), [(1000, True), (950, False)])
def test_the_range_is_that_of_one_and_a_half_standard_errors(judge: Any, requests: float, reaches: bool) -> None:
    """Two errors are 1.59 standard errors below 0.5% of 1,000 requests, and 1.43 of 950: then it may never pass."""
    few, many = judge("error_rate", {"errors": 2, "requests": requests})["remaining"]["range"]["requests"]

    assert few > 0
    assert (many is not None) == reaches
