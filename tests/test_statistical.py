"""The promises about error rates and speed, in seeded simulations with a look after every batch of requests.

A promise "at most alpha" is checked with the exact upper bound (Clopper-Pearson, 99.9%) for the probability of
what was counted in so many runs: the simulation must prove the promise, not merely fail to refute it.
"""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from stats.looks import (
    ALPHA,
    BASELINE,
    LOOKS,
    TO_FAIL,
    UNIFORM,
    Drift,
    at_most,
    compared,
    drift,
    events,
    passes,
    tilted,
    two_arms,
    zone,
)

import analyzer
from analyzer.checks import business, comparison
from analyzer.stats import binomial, means, psi, share
from analyzer.stats.onset import Starts

pytestmark = pytest.mark.statistical

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ERRORS, CONVERSIONS = comparison.REACH, business.REACH


def first_look(decided: Bools) -> Floats:
    """Tell at which look each run decides, counted from 1; a run that never does counts as one look more."""
    return np.where(decided.any(axis=1), decided.argmax(axis=1) + 1.0, decided.shape[1] + 1.0)


def information(p: float, q: float) -> float:
    """Kullback-Leibler divergence of one request: what it tells p from q."""
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def test_the_simulated_distance_is_the_one_that_is_judged() -> None:
    """The vectorised distance of the simulations equals psi.distance on the same counts."""
    found = drift(np.random.default_rng(1), tilted(0.1), 40, 1, looks=3)
    rng = np.random.default_rng(1)
    canary = rng.multinomial(40, tilted(0.1), (1, 3)).cumsum(axis=1)[0, -1]
    baseline = rng.multinomial(40 * BASELINE, UNIFORM, (1, 3)).cumsum(axis=1)[0, -1]

    one = psi.distance(canary, baseline)

    assert (one.raw, one.size, one.freedom) == pytest.approx((found.raw[0, -1], found.size[0, -1], found.freedom))


def test_the_simulated_comparison_is_the_one_that_is_judged() -> None:
    """The vectorised comparison of the simulations equals share.Comparison on the same counts."""
    counts = two_arms(np.random.default_rng(2), 0.03, 0.02, 100, 2)
    found = compared(counts, 1.1, ERRORS, "above")
    ours, theirs = (np.diff(arm[1], prepend=0.0) for arm in counts)

    one = share.Comparison(
        ours, theirs, np.full(LOOKS, 1 / BASELINE), Starts(np.zeros(1, np.intp), np.ones(1)), ERRORS, np.ones(1)
    )

    assert one.log_evidence(1.1, "above")[0] == pytest.approx(found[1, -1])


# No false rollback, no false pass


@pytest.mark.parametrize(("ratio", "seed"), [(0.005, 10), (0.01, 11), (0.1, 12)])
@pytest.mark.parametrize("side", ["above", "below"])
def test_a_share_at_its_limit_is_proved_beyond_it_in_at_most_alpha(ratio: float, seed: int, side: Any) -> None:
    """Error rates and latency exceedances at the limit: both false rollback (strict) and false pass, at 120 looks."""
    seen, total = events(np.random.default_rng(seed), ratio, 200, runs=3000)

    decided = binomial.log_evidence(seen, total, ratio, side=side) >= -math.log(ALPHA)

    assert at_most(decided) <= ALPHA
    assert decided.any(axis=1).mean() > 0.005  # and alpha is not merely left unused


def test_an_error_rate_at_the_promote_limit_is_not_rolled_back() -> None:
    """The zone rule at 0.5% true errors, with the level of one of four checks."""
    seen, total = events(np.random.default_rng(20), 0.005, 100, runs=4000)

    assert at_most(zone(seen, total, 0.005, 0.01, TO_FAIL)) <= TO_FAIL


def test_conversions_down_by_the_promote_limit_are_not_rolled_back() -> None:
    """Conversions of 5% that are 1% fewer in the canary: the evidence alone, at 120 looks."""
    counts = two_arms(np.random.default_rng(30), 0.05 * 0.99, 0.05, 2000, 3000)

    assert at_most(compared(counts, 0.99, CONVERSIONS, "below") >= -math.log(ALPHA)) <= ALPHA
    assert at_most(compared(counts, 0.99, CONVERSIONS, "above") >= -math.log(ALPHA)) <= ALPHA


def test_equal_error_rates_are_not_told_apart() -> None:
    """Rule relative with both arms alike, rare errors and not so rare ones."""
    for ratio, seed in ((0.003, 40), (0.1, 41)):
        counts = two_arms(np.random.default_rng(seed), ratio, ratio, 100, 3000)

        assert at_most(compared(counts, 1.0, ERRORS, "above") >= -math.log(ALPHA)) <= ALPHA


def test_a_drift_at_the_promote_limit_is_not_rolled_back() -> None:
    """A true PSI of 0.10: the evidence alone for "above", and for "below" at the level of a pass, at 120 looks."""
    found = drift(np.random.default_rng(50), tilted(0.1), 20, 1500)

    assert at_most(found.evidence(0.1, "above") >= -math.log(ALPHA)) <= ALPHA
    assert at_most(found.evidence(0.1, "below") >= -math.log(0.6 * ALPHA)) <= ALPHA


def test_a_rare_bin_that_grows_passes_in_at_most_alpha() -> None:
    """The shape that passes most easily: a PSI of 0.10 from one rare bin, at the stricter level of a pass."""
    rng = np.random.default_rng(51)
    theirs = np.append([0.002], np.full(9, 0.998 / 9))
    low, high = 0.002, 0.2
    for _ in range(60):
        rare = (low + high) / 2
        ours = np.append([rare], np.full(9, (1 - rare) / 9))
        low, high = (rare, high) if ((ours - theirs) * np.log(ours / theirs)).sum() < 0.1 else (low, rare)
    canary = rng.multinomial(30, ours, (1500, LOOKS)).cumsum(axis=1) + psi.PSEUDO_COUNT
    baseline = rng.multinomial(30 * BASELINE, theirs, (1500, LOOKS)).cumsum(axis=1) + psi.PSEUDO_COUNT
    c, b = canary / canary.sum(axis=2, keepdims=True), baseline / baseline.sum(axis=2, keepdims=True)
    size = np.broadcast_to(np.arange(1, LOOKS + 1) * 30 * 0.95, (1500, LOOKS))
    found = Drift(((c - b) * np.log(c / b)).sum(axis=2), size, 9)

    decided = found.evidence(0.1, "below") >= -math.log(0.6 * ALPHA)

    assert at_most(decided) <= 0.08  # asymptotic: statistics say 7.6% without the stricter level
    assert decided.any(axis=1).mean() <= ALPHA


def test_revenue_down_by_the_promote_limit_is_not_rolled_back() -> None:
    """Heavy-tailed revenue (lognormal, sigma 1.5) that is 1% lower, beside four times as many values: 60 looks."""
    rng, runs, looks, batch = np.random.default_rng(60), 1000, 60, 50
    decided = np.zeros((runs, looks), bool)
    for run in range(runs):
        ours = 0.99 * rng.lognormal(0, 1.5, (looks, batch))
        theirs = rng.lognormal(0, 1.5, (looks, batch * 4))
        sums = [np.cumsum(values.sum(axis=1)) for values in (ours, ours**2, theirs, theirs**2)]
        for look in range(looks):
            canary = means.Moments(sums[0][look], sums[1][look], batch * (look + 1))
            baseline = means.Moments(sums[2][look], sums[3][look], batch * 4 * (look + 1))
            if canary.total**2 / canary.squares < 30:
                continue
            decided[run, look] = means.log_evidence(
                canary.total / canary.count / (baseline.total / baseline.count), 0.99, canary.count * 4 / 5,
                variation=means.variation_squared(canary, baseline), spreads=business.SPREADS, side="below",
            ) >= -math.log(ALPHA)  # fmt: skip

    assert at_most(decided) <= ALPHA


def test_all_four_checks_at_their_promote_limits_roll_back_in_at_most_alpha() -> None:
    """A canary that just meets every promote limit, judged as the default policy does, at 120 looks."""
    rng, runs = np.random.default_rng(70), 1500
    needed = -math.log(TO_FAIL)
    errors = zone(*events(rng, 0.005, 200, runs=runs), 0.005, 0.01, TO_FAIL)
    slow, total = events(rng, 0.01, 200, runs=runs)  # the same share of requests is slower than both edges
    latency = zone(slow, total, 0.01, 0.01, TO_FAIL)
    scores = drift(rng, tilted(0.1), 200, runs)
    drifted = (scores.evidence(0.1, "above") >= needed) & (scores.value > 0.2)
    sold = two_arms(rng, 0.05 * 0.99, 0.05, 200, runs)
    losing = compared(sold, 0.99, CONVERSIONS, "below") >= needed
    losing &= sold[0] / sold[1] * BASELINE < 0.97

    assert at_most(errors | latency | drifted | losing) <= ALPHA


# Speed, as ratios to Wald's limit ln(1/alpha) / information


@pytest.mark.parametrize(
    ("truth", "most", "batch", "seed"),
    [(0.015, 1.5, 20, 80), (0.03, 1.6, 10, 81), (0.1, 2.5, 2, 82)],
)
def test_errors_are_found_in_little_more_than_walds_limit(truth: float, most: float, batch: int, seed: int) -> None:
    """The mean number of canary requests to a rollback, rule zone, against the least that any test needs."""
    looks = round(40_000 / batch * (0.015 / truth) ** 2)
    decided = zone(*events(np.random.default_rng(seed), truth, batch, runs=300, looks=looks), 0.005, 0.01, TO_FAIL)

    limit = -math.log(TO_FAIL) / information(truth, 0.005)
    assert decided.any(axis=1).all()
    assert 0.8 < (first_look(decided) * batch).mean() / limit <= most


def test_a_strict_rollback_needs_little_more_than_walds_limit() -> None:
    """Rule strict at 3% errors: beyond 1% itself is what has to be proved."""
    seen, total = events(np.random.default_rng(83), 0.03, 10, runs=400, looks=600)
    decided = binomial.log_evidence(seen, total, 0.01, side="above") >= -math.log(TO_FAIL)

    limit = -math.log(TO_FAIL) / information(0.03, 0.01)
    assert decided.any(axis=1).all()
    assert 0.8 < (first_look(decided) * 10).mean() / limit <= 1.5


def test_a_healthy_canary_passes_in_little_more_than_walds_limit() -> None:
    """0.3% of errors against 0.5%: some six thousand requests are needed by any test, and the mean is near it."""
    seen, total = events(np.random.default_rng(84), 0.003, 100, runs=600, looks=500)
    decided = passes(seen, total, 0.005)

    limit = -math.log(ALPHA) / information(0.003, 0.005)
    assert decided.any(axis=1).all()
    assert 0.8 < (first_look(decided) * 100).mean() / limit <= 1.4


def test_without_any_error_a_pass_needs_840_requests() -> None:
    """The least that can pass at 0.5%: between Wald's 598 and 1.67 times that."""
    requests = np.arange(1.0, 2000)
    evidence = binomial.log_evidence(0, requests, 0.005, side="below")

    first = requests[evidence >= -math.log(ALPHA)][0]

    assert 598 < first < 1000


def test_slow_answers_are_found_in_little_more_than_walds_limit() -> None:
    """1.8% of the requests slower than the rollback edge, where 1% are allowed: p99 is beyond it."""
    seen, total = events(np.random.default_rng(85), 0.018, 20, runs=300, looks=800)
    decided = zone(seen, total, 0.01, 0.01, TO_FAIL)

    limit = -math.log(TO_FAIL) / information(0.018, 0.01)
    assert decided.any(axis=1).all()
    assert 0.8 < (first_look(decided) * 20).mean() / limit <= 1.5


def test_lost_conversions_are_found_in_little_more_than_walds_limit() -> None:
    """10% and 30% fewer conversions of 5%, against the limit for events of which the canary's share is known."""
    for change, batch, seed in ((-0.1, 800, 86), (-0.3, 80, 87)):
        counts = two_arms(np.random.default_rng(seed), 0.05 * (1 + change), 0.05, batch, 400)
        total = np.arange(1, LOOKS + 1) * batch
        decided = compared(counts, 0.99, CONVERSIONS, "below") >= -math.log(TO_FAIL)
        decided &= counts[0] / total / (counts[1] / total / BASELINE) < 0.97

        odds = (1 + change) / BASELINE
        told = information(odds / (1 + odds), 0.99 / (0.99 + BASELINE)) * 0.05 * (1 + change + BASELINE)
        assert decided.any(axis=1).mean() > 0.99
        assert 0.8 < (first_look(decided) * batch).mean() / (-math.log(TO_FAIL) / told) <= 1.5


def test_a_drift_is_found_within_twice_the_limit_and_its_absence_within_three_and_a_half() -> None:
    """PSI 0.25 against 0.10 and 0 against 0.10; the square root of the PSI is a distance in standard errors."""
    found = drift(np.random.default_rng(88), tilted(0.25), 15, 400)
    failed = (found.evidence(0.1, "above") >= -math.log(TO_FAIL)) & (found.value > 0.2)
    limit = -math.log(TO_FAIL) / ((math.sqrt(0.25) - math.sqrt(0.1)) ** 2 / 2) / 0.95
    assert failed.any(axis=1).mean() > 0.99
    assert 0.8 < (first_look(failed) * 15).mean() / limit <= 2

    found = drift(np.random.default_rng(89), UNIFORM, 15, 400)
    passed = found.evidence(0.1, "below") >= -math.log(0.6 * ALPHA)
    limit = -math.log(0.6 * ALPHA) / (0.1 / 2) / 0.95
    assert passed.any(axis=1).all()
    assert 0.8 < (first_look(passed) * 15).mean() / limit <= 3.5


# Through the front door


def test_answers_of_evaluate_keep_the_promise() -> None:
    """Canaries at the promote limit, judged by evaluate at 20 looks each, fail in at most alpha of the runs."""
    rng, runs, looks = np.random.default_rng(90), 120, 20
    failed = np.zeros((runs, looks), bool)
    policy = {"checks": {"error_rate": {"rule": "strict", "promote": "0.5%", "rollback": "0.5%"}}}
    for run in range(runs):
        errors = rng.binomial(150, 0.005, looks).cumsum()
        for look in range(looks):
            counts = {"errors": int(errors[look]), "requests": 150 * (look + 1)}
            body = {"checks": "error_rate", "policy": policy, "data": {"error_rate": {"canary": counts}}}
            failed[run, look] = analyzer.evaluate(body)["verdict"] == "fail"

    assert at_most(failed) <= 2 * ALPHA  # so few runs cannot prove more
    assert failed.any(axis=1).mean() <= TO_FAIL + 0.02
