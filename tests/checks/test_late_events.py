"""Conversions that follow their requests by minutes: no loss of the canary's while its share of the traffic grows."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from analyzer.checks import judge
from analyzer.config.policy import Check, choose_policy, load_policies
from analyzer.errors import ConfigError, RequestError
from analyzer.model.counts import Conversions, Reading
from analyzer.model.findings import Finding, Outcome
from analyzer.stats import delays

Floats = NDArray[np.float64]
SLICE, HISTORY, SLICES = 60, 60, 120
RAMP = (0.05, 0.25, 0.5)


def converting(rng: Any, expected: Floats, share: float, delay: float) -> Conversions:
    """Draw requests, and conversions that follow by an exponential delay; those after the end are lost."""
    requests = rng.poisson(expected)
    won = rng.binomial(requests, share)
    moments = np.repeat(np.arange(len(won)), won) + rng.random(won.sum()) + rng.exponential(delay / SLICE, won.sum())
    events = np.bincount(moments.astype(int), minlength=len(won))[: len(won)]
    return Conversions(events.astype(float), requests.astype(float))


def first_fail(
    rng: Any, rate: float, weights: tuple[float, ...], delay: float, loss: float, check: Check
) -> tuple[Finding, int]:
    """Judge two hours of steps of 20 minutes until the first fail; the baseline has served for an hour and more."""
    before = HISTORY + round(8 * delay / SLICE)
    weight = np.asarray(weights)[np.minimum(np.arange(SLICES) // 20, len(weights) - 1)]
    weight = np.concatenate((np.zeros(before), weight))
    total = rate / weights[0] * SLICE
    arms = [
        converting(rng, total * weight, 0.05 * (1 - loss), delay),
        converting(rng, total * (1 - weight), 0.05, delay),
    ]
    history = Conversions(*(part[before - HISTORY : before] for part in (arms[1].successes, arms[1].trials)))
    policy = load_policies(None)["ml-model"]
    for slices in np.unique(np.geomspace(2, SLICES, 30).astype(int)):
        canary, baseline = (
            Conversions(*(part[before : before + slices] for part in (arm.successes, arm.trials))) for arm in arms
        )
        reading = Reading(canary, baseline, slice_seconds=SLICE, history=history, history_seconds=SLICE)
        finding = judge(check, reading, policy)
        if finding.outcome is Outcome.FAIL:
            break
    return finding, int(slices) * SLICE


def business(**fields: Any) -> Check:
    """Return the default check with other fields."""
    policy = choose_policy(load_policies(None), {"checks": {"business_proxy": fields}}, "ml-model")
    return policy.checks["business_proxy"]


@pytest.mark.statistical
@pytest.mark.parametrize("weights", [(0.05,), RAMP])
@pytest.mark.parametrize(
    ("delay", "fields"), [(60.0, {}), (600.0, {}), (1800.0, {"delay": "30m"})], ids=["1m", "10m", "30m"]
)
def test_late_conversions_are_no_loss(weights: tuple[float, ...], delay: float, fields: dict[str, Any]) -> None:
    """Both arms alike at ten canary requests a second: hardly ever rolled back; taken to come at once, always."""
    rng, runs = np.random.default_rng(int(delay)), 12
    check = business(**fields)

    failed = sum(first_fail(rng, 10, weights, delay, 0.0, check)[0].outcome is Outcome.FAIL for _ in range(runs))

    assert failed <= 1


@pytest.mark.statistical
def test_a_real_loss_is_found_within_a_delay_and_twice_the_time() -> None:
    """20% fewer conversions: within ten minutes and twice what it takes where events come at once and this is known."""
    rng, runs = np.random.default_rng(5), 12
    at_once = [first_fail(rng, 10, (0.05,), 0.0, 0.2, business(delay="0s")) for _ in range(runs)]
    late = [first_fail(rng, 10, (0.05,), 600.0, 0.2, business()) for _ in range(runs)]

    assert all(finding.outcome is Outcome.FAIL for finding, _ in late)
    assert np.mean([seconds for _, seconds in late]) <= 600 + 2 * np.mean([seconds for _, seconds in at_once])


def test_the_reason_says_what_is_outstanding() -> None:
    """How many conversions are still to come, at which delay."""
    finding, _ = first_fail(np.random.default_rng(6), 10, RAMP, 600.0, 0.0, business())

    assert "more outstanding at a delay of 10 min" in finding.reason
    assert "delay of a mean of 10 min at most" in finding.assumptions[-1]


@pytest.mark.parametrize("delay", [0.0, 20.0, 600.0])
def test_no_request_is_lost_and_none_is_due_twice(delay: float) -> None:
    """What is due and what is outstanding are all requests, whatever the slices."""
    requests, seconds = np.array([30.0, 0, 70, 12]), np.array([60.0, 60, 60, 25])

    due, outstanding = delays.exposures(requests, seconds, delay, 5.0 * delay)

    assert due.sum() + outstanding == pytest.approx(requests.sum() + 5 * delay)
    assert due.min() >= 0


def test_steady_traffic_is_due_as_it_comes() -> None:
    """At a constant rate that has gone on for long, as many events are due as requests come."""
    due, outstanding = delays.exposures(np.full(9, 50.0), np.full(9, 10.0), 95.0, 5 * 95.0)

    assert due == pytest.approx(np.full(9, 50.0))
    assert outstanding == pytest.approx(5 * 95)


def test_slices_of_another_length_give_the_same() -> None:
    """Two slices of half the length are one, where requests come evenly."""
    coarse, _ = delays.exposures(np.array([40.0, 80.0]), np.full(2, 60.0), 100.0)
    fine, _ = delays.exposures(np.array([20.0, 20, 40, 40]), np.full(4, 30.0), 100.0)

    assert fine.reshape(2, 2).sum(axis=1) == pytest.approx(coarse)


def test_only_business_has_a_delay() -> None:
    """Ten minutes by default, and an error elsewhere."""
    assert business().delay == 600
    assert business(delay="30m").delay == 1800
    with pytest.raises((RequestError, ConfigError), match="delay: only business has one"):
        choose_policy(load_policies(None), {"checks": {"error_rate": {"delay": "1m"}}}, "ml-model")
