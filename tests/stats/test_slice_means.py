"""Means of slices: an exact martingale under symmetry, reference values, laws, and error rates where tails are long."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import logsumexp
from stats.looks import ALPHA, TO_FAIL, at_most

from analyzer.checks.mean_latency import PASS_FACTOR
from analyzer.stats.onset import starts_of
from analyzer.stats.search import Side
from analyzer.stats.slice_means import BETS, FEWEST, SliceMeans, batches_of

Floats = NDArray[np.float64]
SIDES: tuple[Side, ...] = ("above", "below")
RUNS, BATCHES = 250, 120


def alone(means: Any, sizes: Any = None) -> SliceMeans:
    """Give the means of one arm, batch by batch."""
    values = np.asarray(means, float)
    weights = np.ones(len(values)) if sizes is None else np.asarray(sizes, float)
    return SliceMeans(values, np.ones(len(values)), weights, np.arange(len(values)))


def evidence(known: SliceMeans, ratio: float, side: Side, place: int = 0) -> float:
    """Give the log evidence since one slice."""
    return float(known.log_evidence(ratio, side, [place])[0])


def drawn(seed: int) -> SliceMeans:
    """Draw means that vary little or much, about any value."""
    rng = np.random.default_rng(seed)
    return alone(rng.lognormal(rng.uniform(-3, 3), rng.uniform(0.01, 1.5), rng.integers(1, 40)))


arms = st.builds(drawn, st.integers(0, 2**32 - 1))


# Reference values


@pytest.mark.parametrize("side", SIDES)
def test_it_is_an_exact_martingale_under_symmetry(side: Side) -> None:
    """Over all signs of any deviations the evidence has an expectation of 1."""
    deviations = np.array([0.9, 0.02, 0.3, 0.3, 0.004, 0.6, 0.05])

    found = [
        math.exp(evidence(alone(2.0 * (1 + deviations * signs)), 2.0, side))
        for signs in itertools.product((-1, 1), repeat=len(deviations))
    ]

    assert np.mean(found) == pytest.approx(1, rel=1e-12)


def test_the_evidence_is_the_mixture_over_all_bets() -> None:
    """Numeric integration over bets spread evenly on a logarithmic scale gives what the grid gives."""
    deviations = np.array([0.3, -0.1, 0.25, 0.4, 0.2, 0.05, 0.35, 0.15, 0.3, 0.2])

    def weighted(log_bet: float) -> float:
        bets = math.exp(log_bet) * deviations
        return math.exp(bets.sum() - np.log(np.cosh(bets)).sum())

    half = math.log(BETS[1] / BETS[0]) / 2  # each bet stands for those around it
    low, high = math.log(BETS[0]) - half, math.log(BETS[-1]) + half
    found = evidence(alone(1 + deviations), 1.0, "above")

    assert found == pytest.approx(math.log(quad(weighted, low, high)[0] / (high - low)), abs=0.01)


def test_batches_far_on_one_side_are_tosses_of_a_coin() -> None:
    """Ten of ten heads: 10 ln 2, whatever the bet."""
    assert evidence(alone(np.full(10, 1e6)), 1.0, "above") == pytest.approx(10 * math.log(2))
    assert evidence(alone(np.ones(10)), 1.0, "above") == pytest.approx(0, abs=1e-12)


def test_it_is_never_less_than_the_self_normalised_one() -> None:
    """The exponential of b S - b^2 V / 2, mixed over the same bets."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        deviations = rng.standard_cauchy(20) * 0.1 + 0.1
        mixed = logsumexp(BETS * deviations.sum() - BETS**2 * (deviations**2).sum() / 2) - math.log(len(BETS))

        assert evidence(alone(1 + deviations), 1.0, "above") >= mixed - 1e-9


# Laws


@given(arms, st.floats(0.1, 10), st.floats(1.001, 3), st.data())
def test_it_rises_with_every_mean_and_falls_with_the_limit(
    known: SliceMeans, ratio: float, factor: float, data: st.DataObject
) -> None:
    """On both sides, in any batch."""
    place = data.draw(st.integers(0, len(known.means) - 1))
    means = known.means.copy()
    means[place] *= factor
    for side, sign in (("above", 1), ("below", -1)):
        here = sign * evidence(known, ratio, side)

        assert sign * evidence(alone(means), ratio, side) >= here - 1e-9
        assert sign * evidence(known, ratio * factor, side) <= here + 1e-9


@given(arms, st.floats(1e-6, 1e6), st.floats(1e-3, 1e6))
def test_units_do_not_matter(known: SliceMeans, unit: float, weight: float) -> None:
    """Seconds or milliseconds, sizes in ones or in thousands: against a limit and against another arm."""
    other = SliceMeans(known.means * unit, known.reference, known.sizes * weight, known.first)
    both = SliceMeans(known.means * unit, known.reference * unit, known.sizes * weight, known.first)

    assert evidence(other, 1.3 * unit, "above") == pytest.approx(evidence(known, 1.3, "above"), rel=1e-6, abs=1e-9)
    assert evidence(both, 1.3, "above") == pytest.approx(evidence(known, 1.3, "above"), rel=1e-6, abs=1e-9)


@given(arms, st.randoms(use_true_random=False))
def test_the_order_of_batches_does_not_matter(known: SliceMeans, random: Any) -> None:
    """For all of them together."""
    order = list(range(len(known.means)))
    random.shuffle(order)

    assert evidence(alone(known.means[order]), 1.0, "above") == pytest.approx(evidence(known, 1.0, "above"), abs=1e-9)


@given(arms, st.floats(0.2, 5))
def test_nothing_speaks_for_a_side_on_which_the_estimate_is_not(known: SliceMeans, ratio: float) -> None:
    """So that the interval holds the estimate, and one bad batch is not outvoted by many good ones."""
    side: Side = "below" if float(known.ratios([0])[0]) >= ratio else "above"

    assert evidence(known, ratio, side) <= 1e-9


@given(arms, st.sampled_from([0.0125, 0.05]))
def test_a_ratio_is_outside_exactly_when_the_evidence_suffices(known: SliceMeans, alpha: float) -> None:
    """Interval and evidence are two forms of one test; what is excluded stays outside."""
    low, high = known.interval(0, alpha_low=alpha, alpha_high=alpha)
    middle = float(known.ratios([0])[0])
    assert low <= middle <= high
    for bound, side, end in ((low, "above", 1e-17), (high, "below", 1e17)):
        needed = -math.log(alpha)
        if not evidence(known, middle * end, side) >= needed:  # type: ignore[arg-type]
            assert bound in (0.0, math.inf)
            continue
        exact = brentq(lambda point: evidence(known, math.exp(point), side) - needed,  # type: ignore[arg-type]  # noqa: B023
                       math.log(middle), math.log(middle * end), xtol=1e-12)  # fmt: skip
        distance = abs(exact - math.log(middle))
        assert 0.99 * distance - 1e-9 <= abs(math.log(bound / middle)) <= distance + 1e-9


@given(arms, st.floats(0.2, 5))
def test_a_forecast_of_as_much_is_the_evidence(known: SliceMeans, ratio: float) -> None:
    """At scale 1, and twice the same batches at scale 2."""
    twice = alone(np.tile(known.means, 2))
    found = known.forecast(ratio, "above", 0, [1.0, 2.0])

    assert found == pytest.approx([evidence(one, ratio, "above") for one in (known, twice)], abs=1e-9)


def test_evidence_since_a_later_slice_is_that_of_the_later_batches() -> None:
    """And a slice within a batch has none."""
    means = np.array([1.0, 5.0, 3.0, 4.0])
    known = SliceMeans(means, np.ones(4), np.ones(4), np.array([0, 3, 4, 9]))

    found, ratios = known.log_evidence(2.0, "above", [0, 3, 5, 9, 10]), known.ratios([0, 3, 5, 9, 10])

    assert found[1] == pytest.approx(evidence(alone(means[1:]), 2.0, "above"))
    assert found[[2, 4]].tolist() == [-math.inf, -math.inf]
    assert ratios[[0, 1, 3]].tolist() == [3.25, 4.0, 4.0]
    assert np.isnan(ratios[[2, 4]]).all()


# Batches


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.data())
def test_batches_have_enough_of_every_arm(seed: int, least: int, data: st.DataObject) -> None:
    """They cover all slices, begin where they must, and only one with nothing beside it may be short."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.choice([5, 60, 300], (2, 1)), (2, int(rng.integers(1, 60)))) * rng.integers(0, 2)
    cut = data.draw(st.integers(0, counts.shape[1] - 1))

    first = batches_of(counts, cut, least)

    assert first[0] == 0
    assert cut in first
    assert (np.diff(first) > 0).all()
    parts = np.split(np.arange(counts.shape[1]), first[1:])
    for part in parts:
        alone_there = part[0] in (0, cut) and (part[-1] == counts.shape[1] - 1 or part[-1] == cut - 1)
        assert alone_there or (len(part) >= least and (counts[:, part].sum(axis=1) >= FEWEST).all())


def test_slices_with_enough_requests_stay_as_they_are() -> None:
    """Nothing is thrown together without need."""
    assert batches_of(np.full(9, FEWEST)).tolist() == list(range(9))
    assert batches_of(np.full(9, FEWEST / 2)).tolist() == [0, 2, 4, 6]


# Error rates at the limit, of batches with as few requests as there may be


def sums(law: str, rng: np.random.Generator) -> Floats:
    """Draw means of batches of latencies whose true mean is 1; shape (runs, batches)."""
    size = (RUNS, BATCHES, int(FEWEST))
    if law == "lognormal":
        return np.asarray(np.exp(rng.standard_normal(size) - 0.5).mean(axis=-1))
    return np.asarray((rng.random(size) ** (-1 / 2.5) * 1.5 / 2.5).mean(axis=-1))  # Pareto: no third moment


def best(bets: Floats, places: NDArray[np.intp], weights: Floats) -> Floats:
    """Give the best weighted log evidence of all starts at every look."""
    summed = np.concatenate([np.zeros((len(BETS), 1)), bets.cumsum(axis=1)], axis=1)
    found = np.full(bets.shape[1], -math.inf)
    for place, weight in zip(places, weights, strict=True):
        since = np.log(np.exp(summed[:, place + 1 :] - summed[:, [place]]).mean(axis=0)) + math.log(weight)
        found[place:] = np.maximum(found[place:], since)
    return found


@pytest.mark.statistical
@pytest.mark.parametrize("law", ["lognormal", "pareto"])
def test_a_mean_at_its_limit_is_rarely_called_beyond_it(law: str) -> None:
    """Looked at after each of 120 batches, since every start: fewer fails than allowed, and no more passes."""
    means, starts = sums(law, np.random.default_rng(41)), starts_of(BATCHES, 15.0)
    whole = np.zeros(1, np.intp), np.ones(1)
    failed, passed = [], []
    for run in means:
        known = alone(run, np.full(BATCHES, FEWEST))
        failed.append(best(known._log_bets(1.0, "above"), starts.slice_indices, starts.weights) >= -math.log(TO_FAIL))
        passed.append(best(known._log_bets(1.0, "below"), *whole) >= -math.log(ALPHA * PASS_FACTOR))

    assert np.mean(np.any(failed, axis=1)) <= TO_FAIL
    assert np.mean(np.any(passed, axis=1)) <= ALPHA
    assert at_most(np.array(failed)) < ALPHA


@pytest.mark.statistical
def test_few_requests_a_batch_would_let_long_tails_pass() -> None:
    """Why batches have a hundred: with five, a mean at the limit passes far too often."""
    rng = np.random.default_rng(42)
    means = (rng.random((RUNS, BATCHES, 5)) ** (-1 / 2.5) * 1.5 / 2.5).mean(axis=-1)
    whole = np.zeros(1, np.intp), np.ones(1)
    passed = [
        (best(alone(run)._log_bets(1.0, "below"), *whole) >= -math.log(ALPHA * PASS_FACTOR)).any() for run in means
    ]

    assert np.mean(passed) > 2 * ALPHA
