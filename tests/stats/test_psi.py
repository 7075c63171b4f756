"""Population stability index: reference values, laws that hold for all counts, and the edges."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import chi2, entropy, kstest, ncx2

from analyzer.stats import psi
from analyzer.stats.search import Side

Counts = NDArray[np.float64]
SIDES: tuple[Side, ...] = ("above", "below")
SKEWED = np.array([0.002, 0.01, 0.03, 0.058, 0.1, 0.15, 0.2, 0.2, 0.15, 0.1])


@st.composite
def two_samples(draw: st.DrawFn) -> tuple[Counts, Counts]:
    """Draw counts of two samples in the same bins, neither of them empty."""
    bins = draw(st.integers(1, 40))
    counts = arrays(float, bins, elements=st.one_of(st.just(0.0), st.floats(1e-3, 1e12)))
    canary, baseline = draw(counts), draw(counts)
    canary[draw(st.integers(0, bins - 1))] += 1
    baseline[draw(st.integers(0, bins - 1))] += 1
    return canary, baseline


# Reference values


def test_the_distance_is_the_sum_over_the_bins() -> None:
    """With counts so large that half a count is nothing, the textbook formula remains."""
    # The formula of Evidently and of feature_engine, sum (c - b) ln(c / b), by hand for three bins:
    # (.2-.3) ln(.2/.3) + (.3-.3) ln(1) + (.5-.4) ln(.5/.4) = .0405465 + 0 + .0223144
    found = psi.distance([2e11, 3e11, 5e11], [3e11, 3e11, 4e11])

    assert found.raw == pytest.approx(0.0628608659, abs=1e-9)
    assert found.per_bin == pytest.approx([0.0405465108, 0, 0.0223143551], abs=1e-9)


@given(arrays(float, 12, elements=st.floats(1e9, 1e12)), arrays(float, 12, elements=st.floats(1e9, 1e12)))
def test_the_distance_is_the_symmetrised_relative_entropy(canary: Counts, baseline: Counts) -> None:
    """Jeffreys' divergence, from scipy.stats.entropy in both directions."""
    both_ways = entropy(canary, baseline) + entropy(baseline, canary)

    assert psi.distance(canary, baseline).raw == pytest.approx(both_ways, rel=1e-6, abs=1e-9)


def test_half_a_count_is_added_to_every_bin() -> None:
    """An empty bin makes the distance large, and not infinite."""
    # shares 30.5/31 and .5/31 against 20.5/31 and 10.5/31
    expected = (30.5 - 20.5) / 31 * math.log(30.5 / 20.5) + (0.5 - 10.5) / 31 * math.log(0.5 / 10.5)

    assert psi.distance([30, 0], [20, 10]).raw == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("freedom", [1, 2, 9, 30, 51, 53, 120, 400])
@pytest.mark.parametrize("size", [30.0, 400.0, 1e5])
def test_the_evidence_is_the_mean_ratio_of_noncentral_chi_square_densities(freedom: int, size: float) -> None:
    """The kernel is scipy.stats.ncx2, averaged over the alternatives; many bins take an expansion good to 1e-4."""
    for limit in (0.1, 0.2):
        for raw in (freedom / size, 0.05 + freedom / size, 0.15 + freedom / size):
            for side, alternatives in (("above", psi.ABOVE), ("below", psi.BELOW)):
                # ncx2 takes no noncentrality of 0
                there = ncx2.logpdf(size * raw, freedom, size * limit * np.maximum(alternatives, 1e-12))
                here = ncx2.logpdf(size * raw, freedom, size * limit)
                if not (np.isfinite(there).all() and np.isfinite(here)):
                    continue  # scipy's own law has left the range of floats
                top = there.max()
                expected = top - here + math.log(np.exp(there - top).mean())

                found = psi.log_evidence(raw, freedom, size, limit, side=side)

                assert found == pytest.approx(expected, rel=1e-6, abs=1e-3 if freedom > 50 else 1e-8)


@pytest.mark.parametrize("shares", [np.full(10, 0.1), SKEWED], ids=["uniform", "skewed"])
def test_equal_distributions_follow_the_chi_square_law(shares: Counts) -> None:
    """Size times PSI of two samples of one distribution is chi-square with bins - 1 degrees (Yurdakul 2018)."""
    rng = np.random.default_rng(4)
    found = psi.distance(rng.multinomial(3000, shares, 2000), rng.multinomial(57_000, shares, 2000))

    assert set(found.freedom.tolist()) == {9}
    assert set(found.size.tolist()) == {2850.0}
    assert kstest(found.size * found.raw, chi2(9).cdf).pvalue > 0.001
    assert abs(found.value.mean()) < 4 * math.sqrt(18 / 2000) / 2850  # the bias is off


# Laws


@given(two_samples())
def test_a_distance_is_never_negative(samples: tuple[Counts, Counts]) -> None:
    """Nor is any bin's part of it, and the parts add up."""
    found = psi.distance(*samples)

    assert found.raw >= 0
    assert (found.per_bin >= -1e-18).all()
    assert found.per_bin.shape == samples[0].shape
    assert found.per_bin.sum() == pytest.approx(found.raw, rel=1e-9, abs=1e-15)


@given(two_samples())
def test_the_order_of_the_bins_does_not_matter(samples: tuple[Counts, Counts]) -> None:
    """A permutation of the bins permutes their parts and nothing else."""
    order = np.random.default_rng(3).permutation(len(samples[0]))
    found, permuted = psi.distance(*samples), psi.distance(samples[0][order], samples[1][order])

    assert permuted.raw == pytest.approx(found.raw, rel=1e-9, abs=1e-15)
    assert permuted.per_bin == pytest.approx(found.per_bin[order], rel=1e-9, abs=1e-15)
    assert (permuted.freedom, permuted.size) == (found.freedom, pytest.approx(found.size))


@given(two_samples())
def test_a_distance_is_the_same_from_both_sides(samples: tuple[Counts, Counts]) -> None:
    """The arms can be exchanged."""
    found, back = psi.distance(*samples), psi.distance(*reversed(samples))

    assert back.raw == pytest.approx(found.raw, rel=1e-9, abs=1e-15)
    assert (back.freedom, back.size) == (found.freedom, pytest.approx(found.size))


@given(arrays(float, 8, elements=st.floats(0, 1e9)), st.floats(0.01, 100))
def test_equal_samples_have_no_distance(counts: Counts, factor: float) -> None:
    """The same counts in both arms are at distance 0, and after the bias is taken off below it."""
    counts[0] += 1
    found = psi.distance(counts, counts)

    assert found.raw == 0
    assert found.value <= 0


@given(two_samples())
def test_bins_empty_in_both_arms_change_nothing(samples: tuple[Counts, Counts]) -> None:
    """A bin that nobody saw costs no degree of freedom."""
    canary, baseline = (np.append(counts, [0.0, 0.0]) for counts in samples)
    found, padded = psi.distance(*samples), psi.distance(canary, baseline)

    assert (padded.raw, padded.freedom, padded.size) == (
        pytest.approx(found.raw),
        found.freedom,
        pytest.approx(found.size),
    )
    assert padded.per_bin[-2:].tolist() == [0, 0]


@given(st.floats(0, 100), st.integers(1, 500), st.floats(1, 1e12), st.floats(1e-3, 10))
def test_the_evidence_is_never_nan(raw: float, freedom: int, size: float, limit: float) -> None:
    """No distance gives NaN or infinite evidence."""
    for side in SIDES:
        found = float(psi.log_evidence(raw, freedom, size, limit, side=side))

        assert not math.isnan(found)
        assert found < math.inf


@given(st.floats(0, 2), st.floats(1e-4, 1), st.integers(1, 60), st.floats(30, 1e6))
def test_a_larger_distance_speaks_for_above(raw: float, more: float, freedom: int, size: float) -> None:
    """The evidence is monotone in the distance, on both sides."""
    for side, sign in (("above", 1), ("below", -1)):
        near, far = psi.log_evidence([raw, raw + more], freedom, size, 0.1, side=side)

        assert sign * far >= sign * near - 1e-6 * abs(near)


@given(st.integers(2, 30), st.floats(30, 1e12), st.floats(30, 1e12), st.floats(0, 2), st.sampled_from([0.0125, 0.05]))
def test_a_limit_is_outside_exactly_when_the_evidence_suffices(
    bins: int, canary: float, baseline: float, tilt: float, alpha: float
) -> None:
    """Interval and evidence are two forms of one test, and the interval contains the value."""
    weights = np.exp(tilt * np.linspace(-1, 1, bins))
    found = psi.distance(canary * weights / weights.sum(), np.full(bins, baseline / bins))
    assume(found.freedom >= 1)  # a few observations in many bins say nothing
    low, high = psi.interval(found, alpha_low=alpha, alpha_high=alpha)
    assert 0 <= low <= max(float(found.value), 0.0) <= high < math.inf

    def excess(point: float, side: Side) -> float:
        evidence = psi.log_evidence(found.raw, found.freedom, found.size, math.exp(point), side=side)
        return max(float(evidence), -1e6) + math.log(alpha)

    # On the scale of the search, the logarithm, half a percent of the distance from where it begins.
    start = 2 * math.log(max(math.sqrt(max(found.value, 0)), found.size**-0.5))
    exact = brentq(excess, start, start + 12, args=("below",), xtol=1e-12)
    assert math.log(high) == pytest.approx(exact, abs=0.005 * (exact - start))
    # Far below, where even the largest alternative is small, the evidence shrinks again: the first crossing counts.
    steps = start - np.geomspace(1e-3, 20, 300)
    outside = next((step for step in steps if excess(step, "above") >= 0), None)
    if low == 0:  # between the steps of the search the evidence may reach what is needed: wider, never narrower
        assert max(excess(step, "above") for step in steps) < 3.0
    else:
        assert outside is not None
        exact = brentq(excess, outside, start, args=("above",), xtol=1e-12)
        assert math.log(low) == pytest.approx(exact, abs=0.005 * (start - exact))


@given(st.floats(0, 1), st.integers(1, 30), st.floats(30, 1e9))
def test_the_intervals_are_nested(raw: float, freedom: int, size: float) -> None:
    """Who allows fewer errors gets a wider interval."""
    found = psi.Distance(raw=raw, freedom=freedom, size=size, per_bin=np.array([raw]))
    wide = psi.interval(found, alpha_low=0.0125, alpha_high=0.0125)
    narrow = psi.interval(found, alpha_low=0.05, alpha_high=0.05)

    assert wide[0] <= narrow[0]
    assert narrow[1] <= wide[1]


# Edges


def test_one_bin_has_no_freedom() -> None:
    """With all predictions in one bin there is no distance, and nothing to test."""
    found = psi.distance([50, 0], [950, 0])

    assert (found.raw, found.freedom) == (0, 0)


def test_opposite_samples_are_far_apart() -> None:
    """Everything in another bin: large, finite, and proved to be so, with a trillion predictions too."""
    found = psi.distance([1e12, 0], [0, 1e12])
    low, high = psi.interval(found, alpha_low=0.0125, alpha_high=0.05)

    assert 50 < found.raw < 60
    assert 0.8 * found.raw < low < found.raw < high < 1.3 * found.raw


def test_an_empty_arm_is_at_no_distance() -> None:
    """Nor is an arm that is worth no observation: nan, not 0, and the others of the same call are measured."""
    found = psi.distance([[0, 0], [3, 4], [3, 4]], [[3, 4], [0, 0], [6, 8]])
    worthless = psi.distance([3, 4], [6, 8], canary_size=0)

    assert np.isnan(found.raw).tolist() == [True, True, False]
    assert np.isnan(found.value).tolist() == [True, True, False]
    assert np.isnan(worthless.raw)


@pytest.mark.parametrize(
    ("canary", "baseline"), [([1, 2], [1, 2, 3]), ([[1, 2]], [1, 2]), ([[1, 2]], [[1, 2], [3, 4]]), (3, 3)]
)
def test_samples_in_other_bins_are_refused(canary: Any, baseline: Any) -> None:
    """The error says which shapes were given."""
    with pytest.raises(ValueError, match="need the same bins, got shapes"):
        psi.distance(canary, baseline)


# A baseline with the canary's profile over time


def standardised(canary: Counts, baseline: Counts) -> psi.Distance:
    """Measure the distance from the weighted baseline, worth as many observations as its weights say."""
    weighted, squares = psi.standardised(baseline, canary.sum(axis=1) / baseline.sum(axis=1))
    total = weighted.sum(axis=0)
    worth = total.sum() ** 2 / squares.sum()
    return psi.distance(canary.sum(axis=0), total * worth / total.sum(), baseline_size=worth)


@given(arrays(float, (5, 4), elements=st.floats(1, 1e6)), st.floats(0.01, 10))
def test_constant_odds_change_nothing(baseline: Counts, odds: float) -> None:
    """A split that stays needs no weights: the distance is that of the sums."""
    canary = odds * baseline[:, ::-1].sum(axis=1, keepdims=True) * np.roll(baseline, 1, axis=1)
    canary *= odds * baseline.sum(axis=1, keepdims=True) / canary.sum(axis=1, keepdims=True)
    found, plain = standardised(canary, baseline), psi.distance(canary.sum(axis=0), baseline.sum(axis=0))

    assert found.raw == pytest.approx(float(plain.raw), rel=1e-9, abs=1e-12)
    assert (found.freedom, found.size) == (plain.freedom, pytest.approx(float(plain.size), rel=1e-9))


def test_a_split_that_changes_while_the_inputs_do_is_no_drift() -> None:
    """Simpson's paradox: 5% of the day and 50% of the night, both versions alike at any hour."""
    day, night = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])
    level = np.array([day, night])
    canary, baseline = level * [[500], [5000]], level * [[9500], [5000]]

    assert psi.distance(canary.sum(axis=0), baseline.sum(axis=0)).value > 0.2
    assert standardised(canary, baseline).raw == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("steps", [(0.05, 0.25, 0.5), (0.05, 0.05, 0.5), (0.5, 0.05, 0.05)])
def test_a_weighted_baseline_follows_the_chi_square_law(steps: tuple[float, ...]) -> None:
    """The size says what the weighted counts are worth: a distance of nothing is not larger than chance explains."""
    rng = np.random.default_rng(44)
    slices = np.array([rng.dirichlet(np.full(6, 20.0)) for _ in steps])
    requests = 20_000 * np.array([[step, 1 - step] for step in steps])
    found = [
        standardised(
            rng.multinomial(requests[:, 0].astype(int), slices).astype(float),
            rng.multinomial(requests[:, 1].astype(int), slices).astype(float),
        )
        for _ in range(600)
    ]
    scaled = np.array([float(one.size * one.raw) for one in found])

    assert scaled.mean() == pytest.approx(5, abs=0.6)
    assert (scaled > chi2(5).ppf(0.95)).mean() < 0.09


@given(arrays(float, (6, 3), elements=st.floats(0.1, 1e6)), arrays(float, 6, elements=st.floats(0.01, 100)))
def test_weighted_observations_are_never_worth_more_than_they_are(baseline: Counts, odds: Counts) -> None:
    """Weights cost information."""
    weighted, squares = psi.standardised(baseline, odds)

    assert weighted.sum() ** 2 / squares.sum() <= baseline.sum() * (1 + 1e-9)
    assert weighted.sum() == pytest.approx((baseline.sum(axis=1) * odds).sum(), rel=1e-9)


# Many pairs of samples at once


@given(arrays(float, (3, 2, 7), elements=st.one_of(st.just(0.0), st.floats(1e-3, 1e9))))
def test_many_pairs_are_measured_as_each_by_itself(pairs: Counts) -> None:
    """Leading axes are pairs of samples: bins that are empty in one pair are its own affair."""
    pairs = pairs.copy()
    pairs[..., 0] += 1
    together = psi.distance(pairs[:, 0], pairs[:, 1])

    for place, (canary, baseline) in enumerate(pairs):
        alone, picked = psi.distance(canary, baseline), together.at(place)
        assert picked.raw == pytest.approx(float(alone.raw), rel=1e-12, abs=1e-15)
        assert (picked.freedom, picked.size) == (alone.freedom, alone.size)
        assert picked.per_bin == pytest.approx(alone.per_bin, rel=1e-12, abs=1e-18)
        assert picked.value == pytest.approx(float(alone.value), rel=1e-12, abs=1e-12)


@given(two_samples(), st.floats(1, 100))
def test_samples_worth_less_are_at_the_same_distance_with_less_certainty(
    samples: tuple[Counts, Counts], factor: float
) -> None:
    """Sizes of independent observations change what the distance means, not what it is."""
    sizes = {"canary_size": samples[0].sum() / factor, "baseline_size": samples[1].sum() / factor}
    found, worth_less = psi.distance(*samples), psi.distance(*samples, **sizes)

    assert worth_less.raw == found.raw
    assert worth_less.size == pytest.approx(float(found.size) / factor)
    assert worth_less.value <= found.value


@pytest.mark.statistical
def test_what_a_pass_among_many_classes_takes() -> None:
    """1,000 Zipf classes: why a pass takes 200 predictions without a drift, and not 1.5 times 119.

    Half of the canaries pass by 165 at a level of 5%, by 200 at that of a pass (3%). At 5% one that knows only 100 of
    the classes passes more often: its PSI is below the limit while the others are too rare for bins of their own.
    """
    rng, runs, step = np.random.default_rng(2), 300, 15
    zipf = 1 / np.arange(1, 1001)
    zipf /= zipf.sum()
    known = np.where(np.arange(1000) < 100, zipf, 0.0) / zipf[:100].sum()

    def passes(shares: Counts, nats: tuple[float, float]) -> Counts:
        """Return the predictions at which each run passes, shape (runs, levels); inf: not by 400."""
        numbers = np.full((runs, 2), np.inf)
        for run in range(runs):
            canary, baseline = np.zeros(1000), np.zeros(1000)
            for seen in range(step, 400, step):
                canary += rng.multinomial(step, shares)
                baseline += rng.multinomial(19 * step, zipf)
                apart = psi.distance(canary, baseline)
                if seen < 30 or apart.freedom < 1:
                    continue
                evidence = float(psi.log_evidence(apart.raw, int(apart.freedom), apart.size, 0.1, side="below"))
                numbers[run] = np.where(evidence >= np.array(nats), np.minimum(numbers[run], seen), numbers[run])
        return numbers

    levels = (-math.log(0.03), -math.log(0.05))
    alike, forgetful = passes(zipf, levels), passes(known, levels)

    assert np.median(alike[:, 0]) <= 225
    assert 119 < np.median(alike[:, 1]) <= 195
    assert np.isfinite(forgetful[:, 0]).mean() <= 0.015
    assert np.isfinite(forgetful[:, 1]).sum() >= np.isfinite(forgetful[:, 0]).sum()
