"""Ratio of means: reference values, laws, and values that no ratio can be told of."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import halfnorm

from analyzer.stats import means
from analyzer.stats.means import Moments
from analyzer.stats.search import Side

Floats = NDArray[np.float64]
SPREADS = (0.05, 0.5)
SIDES: tuple[Side, ...] = ("above", "below")


def moments(values: list[float]) -> Moments:
    """Sum up values."""
    return Moments(math.fsum(values), math.fsum(value**2 for value in values), len(values))


def test_the_evidence_is_the_published_one() -> None:
    """The values that confseq's authors computed in R for their unit test are reproduced."""
    # uniform_boundaries_unittest.cpp, TestOneSidedNormalMixture: OneSidedNormalMixture(100, 0.05).log_superMG(10, 100)
    # = -0.06502391, and .bound(100, ln 20) = 27.66071; its rho is 15.8006349068505 (confseq 0.0.11). v = 100 is a
    # standard error of 0.1, and s = 10 (27.66) a ratio that is 1 (2.766) standard errors above 1.
    prior = {"variation": 1.0, "spreads": (15.8006349068505**-0.5,)}

    found = means.log_evidence([1.1, 1.2766071], 1, 100, **prior, side="above")

    assert found == pytest.approx([-0.06502391, math.log(20)], abs=2e-6)


def test_the_evidence_is_the_mixture_of_likelihood_ratios() -> None:
    """Numeric integration over the half-normal prior gives what the closed form gives."""
    se = math.sqrt(2.0 / 475)  # 475 = 500 * 9500 / (500 + 9500)
    z = (1.3 - 1) / se

    def weighted(effect: float) -> float:
        size = effect / se
        return float(halfnorm.pdf(effect, scale=0.5)) * math.exp(z * size - size**2 / 2)

    found = means.log_evidence(1.3, 1.0, 475, variation=2.0, spreads=(0.5,), side="above")

    assert found == pytest.approx(math.log(quad(weighted, 0, 5)[0]), abs=1e-8)


def test_the_variation_is_that_of_all_values_together() -> None:
    """Variance over squared mean, of both arms pooled."""
    canary, baseline = [1.0, 4.0, 2.5], [3.0, 0.5, 0.5, 8.0]
    together = np.array(canary + baseline)

    found = means.variation_squared(moments(canary), moments(baseline))

    assert found == pytest.approx(together.var() / together.mean() ** 2, rel=1e-12)


def test_equal_values_do_not_vary() -> None:
    """Rounding never makes a variation negative."""
    assert means.variation_squared(moments([0.1] * 30), moments([0.1] * 70)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("canary", [Moments(0, 0, 10), Moments(-3, 9, 10), Moments(0, 0, 0)])
def test_a_mean_that_is_not_positive_has_no_ratio(canary: Moments) -> None:
    """A sum of zero or less, in either arm, is refused and named."""
    with pytest.raises(ValueError, match=r"both means must be positive, got sums .*5\.0"):
        means.variation_squared(canary, Moments(5.0, 5.0, 5))
    with pytest.raises(ValueError, match="both means must be positive"):
        means.variation_squared(Moments(5.0, 5.0, 5), canary)


# Laws


@given(st.floats(1e-3, 1e3), st.floats(1e-300, 1e15), st.floats(0, 1e3))
def test_the_evidence_is_finite(observed: float, size: float, variation: float) -> None:
    """No values give NaN or infinite evidence."""
    for side in SIDES:
        found = means.log_evidence(observed, 0.99, size, variation=variation, spreads=SPREADS, side=side)

        assert np.isfinite(found)


@given(st.floats(0.01, 10), st.floats(1.0001, 2), st.floats(30, 1e9), st.floats(0.01, 50))
def test_a_higher_mean_speaks_for_above(observed: float, factor: float, count: float, variation: float) -> None:
    """The evidence is monotone in the observed ratio, on both sides."""
    for side, sign in (("above", 1), ("below", -1)):
        less, more = means.log_evidence(
            [observed, observed * factor], 1, count, variation=variation, spreads=SPREADS, side=side
        )

        assert sign * more >= sign * less - 1e-9


@given(st.floats(0.01, 10), st.floats(30, 1e9), st.floats(0.01, 50))
def test_the_sides_mirror_each_other(observed: float, count: float, variation: float) -> None:
    """As far below the ratio as above it: the same evidence for the other side."""
    above = means.log_evidence(1 + observed, 1, count, variation=variation, spreads=SPREADS, side="above")
    below = means.log_evidence(1 - observed, 1, count, variation=variation, spreads=SPREADS, side="below")

    assert above == pytest.approx(float(below), rel=1e-9, abs=1e-9)


@given(st.floats(0.05, 20), st.floats(1000, 1e9), st.floats(0.01, 5), st.sampled_from([0.0125, 0.05]))
def test_a_ratio_is_outside_exactly_when_the_evidence_suffices(
    observed: float, count: float, variation: float, alpha: float
) -> None:
    """Interval and evidence are two forms of one test, and the observed ratio lies inside."""
    arms = {"size": count, "variation": variation, "spreads": SPREADS}
    low, high = means.ratio_interval(observed, **arms, alpha_low=alpha, alpha_high=alpha)
    assert 0 < low < observed < high

    def excess(point: float, side: Side) -> float:
        return float(means.log_evidence(observed, math.exp(point), **arms, side=side)) + math.log(alpha)

    middle = math.log(observed)
    exact = brentq(excess, middle - 20, middle, args=("above",), xtol=1e-14)
    assert math.log(low) == pytest.approx(exact, abs=0.005 * (middle - exact))
    if excess(middle + 39, "below") > 0:
        exact = brentq(excess, middle, middle + 39, args=("below",), xtol=1e-14)
        assert math.log(high) == pytest.approx(exact, abs=0.005 * (exact - middle))
    else:
        assert high == math.inf


@given(st.floats(0.1, 10), st.floats(30, 1e6), st.floats(0.01, 5))
def test_the_intervals_are_nested(observed: float, count: float, variation: float) -> None:
    """Who allows fewer errors gets a wider interval."""
    arms = {"size": count, "variation": variation, "spreads": SPREADS}
    wide = means.ratio_interval(observed, **arms, alpha_low=0.0125, alpha_high=0.0125)
    narrow = means.ratio_interval(observed, **arms, alpha_low=0.05, alpha_high=0.05)

    assert wide[0] <= narrow[0] < narrow[1] <= wide[1]


@given(st.floats(0.2, 5), st.floats(1, 1e9), st.floats(1e-3, 1e3), st.floats(1.01, 100))
def test_only_the_size_over_the_variation_counts(observed: float, size: float, variation: float, factor: float) -> None:
    """Values that vary so many times as much need so many times as many."""
    for side in SIDES:
        few = means.log_evidence(observed, 1, size, variation=variation, spreads=SPREADS, side=side)
        many = means.log_evidence(observed, 1, size * factor, variation=variation * factor, spreads=SPREADS, side=side)

        assert many == pytest.approx(float(few), rel=1e-9, abs=1e-9)


# Weights of slices


def ratio_of(canary: Floats, baseline: Floats, counts: tuple[Floats, Floats]) -> tuple[float, float]:
    """Compare means that each slice has, without noise: the ratio, and the size of the comparison."""
    odds = counts[0] / counts[1]
    ours, theirs, sizes = means.weighted_sizes(counts[0] + counts[1], odds)
    ratio = (ours * canary * counts[0]).sum() / (theirs * baseline * counts[1]).sum()
    return float(ratio), float(sizes.sum())


def test_the_weights_are_those_of_mantel_and_haenszel() -> None:
    """A slice of 30 and 270 values: weights 0.9 and 0.1, size 27; one of 50 and 50: 0.5, 0.5 and 25."""
    # by hand: n m / (n + m) = 30 * 270 / 300 = 27 and 50 * 50 / 100 = 25
    ours, theirs, sizes = means.weighted_sizes([300, 100], [30 / 270, 1])

    assert ours == pytest.approx([0.9, 0.5])
    assert theirs == pytest.approx([0.1, 0.5])
    assert sizes == pytest.approx([27, 25])


@given(
    arrays(float, 6, elements=st.floats(0.1, 100)), arrays(float, 6, elements=st.floats(1, 1e6)),
    arrays(float, 6, elements=st.floats(1, 1e6)), st.floats(0.2, 5),
)  # fmt: skip
def test_a_ratio_that_holds_within_slices_holds_for_the_whole(
    level: Floats, ours: Floats, theirs: Floats, ratio: float
) -> None:
    """However means and split change from slice to slice."""
    found, _ = ratio_of(ratio * level, level, (ours, theirs))

    assert found == pytest.approx(ratio, rel=1e-9)


def test_a_split_that_moves_with_the_mean_looks_like_a_change_only_when_pooled() -> None:
    """Simpson's paradox: 5% of dear purchases and 50% of cheap ones, equal arms."""
    level, counts = np.array([10.0, 1.0]), (np.array([50.0, 500.0]), np.array([950.0, 500.0]))
    pooled = (level * counts[0]).sum() / counts[0].sum() / ((level * counts[1]).sum() / counts[1].sum())

    assert pooled < 0.3
    assert ratio_of(level, level, counts)[0] == pytest.approx(1)


@given(st.floats(1, 1e9), st.floats(1e3, 1e6), st.floats(0.01, 0.99))
def test_slices_with_the_same_odds_are_worth_their_sum(ours: float, theirs: float, part: float) -> None:
    """Cut in two, the comparison keeps its size: n m / (n + m)."""
    odds = ours / theirs
    one = means.weighted_sizes([ours + theirs], [odds])
    two = means.weighted_sizes([part * (ours + theirs), (1 - part) * (ours + theirs)], [odds, odds])

    assert one[2].sum() == pytest.approx(ours * theirs / (ours + theirs), rel=1e-6)
    assert two[2].sum() == pytest.approx(one[2].sum(), rel=1e-9)
