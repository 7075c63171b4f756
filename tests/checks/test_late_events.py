"""Conversions that follow their requests by minutes: no loss of the canary's while its share of the traffic grows."""

from collections.abc import Callable
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
EARLIER = 240  # slices before the history, whose conversions come later
RAMP = (0.05, 0.25, 0.5)


Law = Callable[[Any, int], Floats]  # draws so many delays, in seconds


def exponential(mean: float) -> Law:
    """Return the law of exponential delays."""
    return lambda rng, number: rng.exponential(mean, number)


def either(first: float, second: float, share: float = 0.5) -> Law:
    """Return the law of delays of two lengths."""
    return lambda rng, number: np.where(rng.random(number) < share, first, second)


OTHERS: dict[str, tuple[Law, dict[str, Any]]] = {
    "fixed, 5 min": (lambda _, number: np.full(number, 300.0), {}),
    "fixed, 10 min": (lambda _, number: np.full(number, 600.0), {}),
    "fixed, 30 min": (lambda _, number: np.full(number, 1800.0), {"delay": "30m"}),
    "normal, 7 min": (lambda rng, number: np.abs(rng.normal(420, 60, number)), {}),
    "uniform to 20 min": (lambda rng, number: rng.uniform(0, 1200, number), {}),
    "10 s or 10 min": (either(10, 600), {}),
    "10 s or 1 h": (either(10, 3600), {"delay": "1h"}),
    "10 s or 1 h, exponential": (
        lambda rng, number: either(10, 3600)(rng, number) * rng.exponential(size=number),
        {"delay": "1h"},
    ),
    "lognormal, median 2 min": (lambda rng, number: rng.lognormal(np.log(120), 1.5, number), {}),
    "lognormal, median 10 min": (lambda rng, number: rng.lognormal(np.log(600), 1.2, number), {"delay": "30m"}),
}


def converting(rng: Any, expected: Floats, share: float, law: Law) -> Conversions:
    """Draw requests, and conversions that follow by delays; those after the end are lost."""
    requests = rng.poisson(expected)
    won = rng.binomial(requests, share)
    moments = np.repeat(np.arange(len(won)), won) + rng.random(won.sum()) + law(rng, won.sum()) / SLICE
    inside = moments[moments < len(won)].astype(int)
    return Conversions(np.bincount(inside, minlength=len(won)).astype(float), requests.astype(float))


def first_fail(
    rng: Any, rate: float, weights: tuple[float, ...], law: Law, loss: float, check: Check
) -> tuple[Finding, int]:
    """Judge two hours of steps of 20 minutes until the first fail; the baseline has served for an hour and more."""
    before = HISTORY + EARLIER
    weight = np.asarray(weights)[np.minimum(np.arange(SLICES) // 20, len(weights) - 1)]
    weight = np.concatenate((np.zeros(before), weight))
    total = rate / weights[0] * SLICE
    arms = [
        converting(rng, total * weight, 0.05 * (1 - loss), law),
        converting(rng, total * (1 - weight), 0.05, law),
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

    failed = sum(
        first_fail(rng, 10, weights, exponential(delay), 0.0, check)[0].outcome is Outcome.FAIL for _ in range(runs)
    )

    assert failed <= 1


@pytest.mark.statistical
@pytest.mark.parametrize("weights", [(0.05,), RAMP], ids=["5%", "ramp"])
@pytest.mark.parametrize("name", OTHERS)
def test_delays_of_other_laws_are_no_loss(name: str, weights: tuple[float, ...]) -> None:
    """Fixed delays and others than exponential ones: hardly ever rolled back either."""
    (law, fields), rng, runs = OTHERS[name], np.random.default_rng(11), 8
    check = business(**fields)

    failed = sum(first_fail(rng, 10, weights, law, 0.0, check)[0].outcome is Outcome.FAIL for _ in range(runs))

    assert failed <= 1


def test_a_weight_that_falls_back_is_no_loss() -> None:
    """Conversions of the time at 50% come while the canary has 5%, and none of them is missed then."""
    law, rng = OTHERS["fixed, 5 min"][0], np.random.default_rng(12)

    assert first_fail(rng, 20, (0.5, 0.05), law, 0.0, business())[0].outcome is not Outcome.FAIL


@pytest.mark.statistical
def test_a_real_loss_is_found_within_a_delay_and_twice_the_time() -> None:
    """20% fewer conversions: within ten minutes and twice what it takes where events come at once and this is known."""
    rng, runs = np.random.default_rng(5), 12
    at_once = [first_fail(rng, 10, (0.05,), exponential(0), 0.2, business(delay="0s")) for _ in range(runs)]
    late = [first_fail(rng, 10, (0.05,), exponential(600), 0.2, business()) for _ in range(runs)]

    assert all(finding.outcome is Outcome.FAIL for finding, _ in late)
    assert np.mean([seconds for _, seconds in late]) <= 600 + 2 * np.mean([seconds for _, seconds in at_once])


def test_the_reason_says_what_is_outstanding() -> None:
    """How many conversions are still to come, at which delay."""
    finding, _ = first_fail(np.random.default_rng(6), 10, RAMP, exponential(600), 0.0, business())

    assert "more outstanding at a delay of 10 min" in finding.reason
    assert "delay of a mean of 10 min at most" in finding.assumptions[-1]


def test_every_request_is_due_at_last() -> None:
    """What is due are all requests of a window, under every law, and nothing before its first one."""
    requests = np.concatenate(([0.0, 0, 30, 0, 70, 12], np.zeros(4000)))

    due = delays.exposures(requests, np.full(len(requests), 60.0), 120.0, np.zeros(1))

    assert due.sum(axis=1) == pytest.approx(112.0, rel=2e-3)
    assert due[:, :2] == pytest.approx(0.0, abs=1e-6)
    assert due.min() >= 0


def test_steady_traffic_is_due_as_it_comes() -> None:
    """At a constant rate that has gone on for long, as many events are due as requests come."""
    due = delays.exposures(np.full(9, 50.0), np.full(9, 10.0), 95.0, np.full(1, 50.0))

    assert due == pytest.approx(np.full_like(due, 50.0))


def test_slices_of_another_length_give_the_same() -> None:
    """Two slices of half the length are one, where requests come evenly, and the last one may be shorter."""
    coarse = delays.exposures(np.array([40.0, 80.0]), np.full(2, 60.0), 100.0, np.full(1, 60.0))
    fine = delays.exposures(np.array([20.0, 20, 40, 40]), np.full(4, 30.0), 100.0, np.full(1, 30.0))
    short = delays.exposures(np.array([40.0, 40.0]), np.array([60.0, 30.0]), 100.0, np.full(1, 60.0))

    assert fine.reshape(len(fine), 2, 2).sum(axis=2) == pytest.approx(coarse)
    assert short[:, -1] == pytest.approx(fine[:, 2])


@pytest.mark.parametrize(
    ("part", "draw"),
    [
        (("exponential", 0.4), exponential(40)),
        (("uniform", 0.5), lambda rng, number: rng.uniform(0, 100, number)),
        (("hump", 0.35), lambda rng, number: rng.uniform(30, 40, number)),
        (("wide", 0.45), lambda rng, number: rng.uniform(25, 65, number)),
        (("heavy", 0.4), lambda rng, number: 40 * np.exp(1.3 * rng.standard_normal(number) - 1.3**2 / 2)),
    ],
)
def test_what_is_due_is_what_is_drawn(part: tuple[str, float], draw: Law) -> None:
    """Events of one slice of requests, drawn one by one, come when they are due."""
    rng, number = np.random.default_rng(3), 400_000
    requests = np.array([number, 0.0, 0, 0, 0])

    due = delays.exposures(requests, np.full(5, 30.0), 100.0, np.zeros(1))[delays.PARTS.index(part)]

    moments = rng.uniform(0, 30, number) + draw(rng, number)
    assert due / number == pytest.approx(np.histogram(moments, np.arange(6) * 30.0)[0] / number, abs=0.004)


def test_one_law_of_a_mixture_is_due_in_its_share() -> None:
    """A law of two parts is due as both are, and every law in the end as a whole."""
    parts = delays.exposures(np.full(6, 50.0), np.full(6, 60.0), 300.0, np.zeros(1))
    number = next(n for n, law in enumerate(delays.LAWS) if law.late == ("hump", 0.35) and law.share == 0.3)

    law = delays.mixed(parts)[number]

    early, late = (parts[delays.PARTS.index(part)] for part in (delays.LAWS[number].early, ("hump", 0.35)))
    assert law == pytest.approx(0.3 * early + 0.7 * late, abs=0.1)
    assert delays.mixed(np.ones((len(delays.PARTS), 1))) == pytest.approx(np.ones((len(delays.LAWS), 1)))


def test_one_event_at_a_time_is_weighed_as_by_hand() -> None:
    """Of ten events half are the canary's: the likelihood of a coin, and evidence below a limit of a hundred to one."""
    odds = np.ones((len(delays.LAWS), 1))

    known = delays.evidence(np.array([5.0]), np.array([10.0]), odds, limit=100.0, factor=1.0, needed=6.0)

    assert known.likelihoods == pytest.approx(10 * np.log(0.5))
    at_limit = 5 * np.log(100 / 101) + 5 * np.log(1 / 101)
    assert 0 < known.below < 10 * np.log(0.5) - at_limit
    assert known.if_above.all()


def test_only_business_has_a_delay() -> None:
    """Ten minutes by default, and an error elsewhere."""
    assert business().delay == 600
    assert business(delay="30m").delay == 1800
    with pytest.raises((RequestError, ConfigError), match="delay: only business has one"):
        choose_policy(load_policies(None), {"checks": {"error_rate": {"delay": "1m"}}}, "ml-model")
