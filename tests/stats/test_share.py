"""Two arms side by side, slice by slice: outside references, laws, and arms without events."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import binom, binomtest, fisher_exact

from analyzer.stats import share
from analyzer.stats.onset import Starts
from analyzer.stats.search import Side
from analyzer.stats.share import DISTANCES, Comparison, Reach

Floats = NDArray[np.float64]
SIDES: tuple[Side, ...] = ("above", "below")
ERRORS: Mapping[Side, Reach] = {"above": (0.1, 3.0), "below": (0.1, 3.0)}
CONVERSIONS: Mapping[Side, Reach] = {"above": (0.004, 0.7), "below": (0.02, 0.7)}
SIGN = {"above": 1.0, "below": -1.0}


def compare(
    canary: object, baseline: object, odds: object, *, reach: Mapping[Side, Reach] = ERRORS, factor: float = 1.0
) -> Comparison:
    """Put the events of two arms side by side, in one slice or several, since the begin only."""
    ours, theirs, split = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(one, float)) for one in (canary, baseline, odds))
    )
    return Comparison(ours, theirs, split, Starts(np.zeros(1, int), np.ones(1)), reach, np.full(1, factor))


def evidence(found: Comparison, ratio: float, side: Side) -> float:
    """Log evidence since the begin as a plain number."""
    return float(found.log_evidence(ratio, side)[0])


@st.composite
def slices(draw: st.DrawFn, most: float = 1e12) -> tuple[Floats, Floats, Floats]:
    """Draw events of the canary, events of the baseline and odds, in up to eight slices."""
    many = draw(st.integers(1, 8))
    counts = arrays(float, many, elements=st.one_of(st.just(0.0), st.floats(1e-3, most)))
    return draw(counts), draw(counts), draw(arrays(float, many, elements=st.floats(1e-3, 1e3)))


# Outside references


@pytest.mark.parametrize(
    ("canary", "events", "q"), [(8, 60, 0.05), (40, 1000, 0.05), (70, 1000, 0.05), (3, 4, 0.5), (0, 90, 0.25)]
)
@pytest.mark.parametrize("side", SIDES)
def test_each_alternative_is_a_likelihood_ratio_of_the_binomial_law(
    canary: int, events: int, q: float, side: Side
) -> None:
    """Given the events, the canary's are binomial: the ratio of two laws of scipy.stats.binom, for each alternative."""
    steps, _ = share.alternatives(ERRORS[side], side)
    odds = np.array([q / (1 - q)])

    found = share.log_ratios(np.array([float(canary)]), np.array([float(events)]), odds, 1.0, steps)[:, 0]

    there = odds[0] * np.exp(steps)
    expected = binom.logpmf(canary, events, there / (1 + there)) - binom.logpmf(canary, events, q)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_an_alternative_by_hand() -> None:
    """Three events of four in the canary, half of the traffic: at twice the ratio (2/3)^3 (1/3) / (1/2)^4."""
    found = share.log_ratios(np.array([3.0]), np.array([4.0]), np.array([1.0]), 1.0, np.log([2.0, 4.0]))

    assert np.exp(found[:, 0]) == pytest.approx([(2 / 3) ** 3 / 3 * 16, (4 / 5) ** 3 / 5 * 16])


def test_slices_multiply_under_each_alternative() -> None:
    """Two slices with other odds: the product of both ratios, and only then the mean over the alternatives."""
    parts = [compare(6, 30, 0.1), compare(9, 3, 2.0)]
    steps, log_weights = share.alternatives(ERRORS["above"], "above")
    alone = [share.log_ratios(one.canary, one.canary + one.baseline, one.odds, 1.0, steps)[:, 0] for one in parts]

    found = evidence(compare([6, 9], [30, 3], [0.1, 2.0]), 1.0, "above")

    assert found == pytest.approx(math.log(np.mean(np.exp(alone[0] + alone[1] + log_weights))), rel=1e-12)


@pytest.mark.parametrize(("reach", "ratio"), [(ERRORS, 1.0), (CONVERSIONS, 0.99), (ERRORS, 1.5)])
@pytest.mark.parametrize(
    ("canary", "baseline"), [(8, 52), (30, 400), (70, 930), (120, 900), (1000, 14_000), (2, 58), (550, 10_000)]
)
@pytest.mark.parametrize("side", SIDES)
def test_the_grid_of_alternatives_is_nearly_their_whole_range(
    canary: int, baseline: int, reach: Mapping[Side, Reach], ratio: float, side: Side
) -> None:
    """Numeric integration over a prior that is flat in the logarithm of the distance gives nearly the same."""
    events, odds = canary + baseline, 2000 / 38_000 * ratio
    half = math.log(DISTANCES[1] / DISTANCES[0]) / 2  # each alternative stands for its surroundings, on both sides
    _, log_weights = share.alternatives(reach[side], side)

    def likelihood(log_distance: float) -> float:
        step = SIGN[side] * math.exp(log_distance)
        return math.exp(canary * step - events * math.log1p(math.expm1(step) * odds / (1 + odds)))

    parts = [quad(likelihood, middle - half, middle + half)[0] / (2 * half) for middle in np.log(DISTANCES)]
    expected = math.log(np.mean(np.exp(log_weights) * parts))

    found = evidence(compare(canary, baseline, 2000 / 38_000, reach=reach), ratio, side)

    assert found == pytest.approx(expected, abs=0.1 + 0.01 * abs(expected))


@pytest.mark.parametrize(
    ("canary", "baseline"), [(30, 300), (12, 90), (5, 180), (60, 700), (3, 0), (9, 9), (40, 300), (4, 20)]
)
@pytest.mark.parametrize("reach", [ERRORS, CONVERSIONS])
def test_the_evidence_is_never_stronger_than_the_exact_tests(
    canary: int, baseline: int, reach: Mapping[Side, Reach]
) -> None:
    """An anytime p-value, 1/E, is above the p-values of one look: that is the price of looking often."""
    found = compare(canary, baseline, 2000 / 38_000, reach=reach)
    table = [[canary, baseline], [2000 - canary, 38_000 - baseline]]
    for side, alternative in (("above", "greater"), ("below", "less")):
        # scipy.stats: the conditional test of two rates, and Fisher's exact test of two shares
        rates = binomtest(canary, canary + baseline, 0.05, alternative=alternative).pvalue
        shares = fisher_exact(table, alternative=alternative).pvalue

        assert min(1.0, math.exp(-evidence(found, 1.0, side))) > max(rates, shares) * 0.999


def test_against_a_known_rate_few_events_prove_as_much_as_the_law_of_poisson() -> None:
    """Beside an endless baseline the likelihood ratio of k events instead of m expected is r^k exp(-(r - 1) m)."""
    steps, log_weights = share.alternatives(ERRORS["above"], "above")
    expected, seen = 10.0, 24.0
    poisson = steps * seen - np.expm1(steps) * expected

    found = evidence(compare(seen, 1e12 * expected, 1e-12), 1.0, "above")

    assert found == pytest.approx(math.log(np.mean(np.exp(poisson + log_weights))), rel=1e-6)


def test_the_ratio_is_that_of_mantel_and_haenszel() -> None:
    """Events weighted with the other arm's part of the requests, slice by slice."""
    # by hand: odds 1/9 and 1 are parts of .1 and .5; (12 * .9 + 40 * .5) / (50 * .1 + 25 * .5) = 30.8 / 17.5
    found = compare([12, 40], [50, 25], [1 / 9, 1])

    assert found.ratios == pytest.approx([30.8 / 17.5])


# The alternatives


@pytest.mark.parametrize("reach", [ERRORS["above"], (0.02, 0.7), (0.004, 4.0), (0.5, 0.5)])
@pytest.mark.parametrize("side", SIDES)
def test_alternatives_lie_on_their_side_and_their_weights_are_one(reach: Reach, side: Side) -> None:
    """Those that are expected weigh twenty times as much as the others."""
    steps, log_weights = share.alternatives(reach, side)
    inside = (reach[0] <= np.abs(steps)) & (np.abs(steps) <= reach[1])

    assert (steps * SIGN[side] > 0).all()
    assert np.exp(log_weights).mean() == pytest.approx(1)
    if inside.any() and not inside.all():
        assert log_weights[inside].min() - log_weights[~inside].max() == pytest.approx(math.log(20))


# Laws


@given(slices(), st.floats(1e-3, 1e3), st.sampled_from([ERRORS, CONVERSIONS]))
def test_the_evidence_is_finite(
    drawn: tuple[Floats, Floats, Floats], ratio: float, reach: Mapping[Side, Reach]
) -> None:
    """No counts give NaN or infinite evidence."""
    for side in SIDES:
        assert math.isfinite(evidence(compare(*drawn, reach=reach), ratio, side))


@given(slices(1e6), st.floats(0.1, 10))
def test_the_arms_can_be_exchanged(drawn: tuple[Floats, Floats, Floats], ratio: float) -> None:
    """That the canary has more is that the baseline has fewer, at any split of the traffic."""
    canary, baseline, odds = drawn
    ours, theirs = compare(canary, baseline, odds), compare(baseline, canary, 1 / odds)
    for side, other in (("above", "below"), ("below", "above")):
        there = evidence(theirs, 1 / ratio, other)

        assert evidence(ours, ratio, side) == pytest.approx(there, rel=1e-6, abs=1e-6)


@given(slices(1e9), st.floats(0.01, 0.99), st.floats(0.2, 5))
def test_a_slice_may_be_split_in_two(drawn: tuple[Floats, Floats, Floats], part: float, ratio: float) -> None:
    """Two slices with the same odds tell what one of both together tells."""
    canary, baseline, odds = drawn
    whole = compare(canary, baseline, odds)
    cut = compare(
        np.concatenate((part * canary[:1], (1 - part) * canary[:1], canary[1:])),
        np.concatenate((0.3 * baseline[:1], 0.7 * baseline[:1], baseline[1:])),
        np.concatenate((odds[:1], odds)),
    )
    for side in SIDES:
        assert evidence(cut, ratio, side) == pytest.approx(evidence(whole, ratio, side), rel=1e-9, abs=1e-6)
    if np.isfinite(whole.ratios[0]):
        assert cut.ratios[0] == pytest.approx(whole.ratios[0], rel=1e-9)


@given(slices(1e9), st.integers(0, 2**32 - 1))
def test_the_order_of_the_slices_does_not_matter(drawn: tuple[Floats, Floats, Floats], seed: int) -> None:
    """Since the begin, time has no direction."""
    order = np.random.default_rng(seed).permutation(len(drawn[0]))
    for side in SIDES:
        found = evidence(compare(*drawn), 1.1, side)

        assert evidence(compare(*(one[order] for one in drawn)), 1.1, side) == pytest.approx(found, rel=1e-9, abs=1e-6)


@given(st.integers(0, 999), st.integers(1, 1000), st.floats(0.2, 5))
def test_more_events_in_the_canary_speak_for_a_higher_ratio(events: int, baseline: int, ratio: float) -> None:
    """The evidence is monotone in the canary's events, and the other way round in the baseline's."""
    fewer, more = compare(events, baseline, 1 / 19), compare(events + 1, baseline, 1 / 19)
    beside = compare(events, baseline + 1, 1 / 19)

    assert evidence(more, ratio, "above") >= evidence(fewer, ratio, "above") >= evidence(beside, ratio, "above")
    assert evidence(more, ratio, "below") <= evidence(fewer, ratio, "below") <= evidence(beside, ratio, "below")


@given(slices(1e6), st.floats(1.0, 100))
def test_events_divided_by_their_dispersion_count_as_so_many_fewer(
    drawn: tuple[Floats, Floats, Floats], factor: float
) -> None:
    """A factor is the same as that part of the events, of both arms; the ratio stays."""
    canary, baseline, odds = drawn
    divided, fewer = compare(*drawn, factor=factor), compare(canary / factor, baseline / factor, odds)
    for side in SIDES:
        found = evidence(divided, 1.2, side)

        assert found == pytest.approx(evidence(fewer, 1.2, side), rel=1e-9, abs=1e-6)
    if np.isfinite(divided.ratios[0]):
        assert divided.ratios == pytest.approx(fewer.ratios, rel=1e-9)


@given(slices(1e4), st.floats(1, 50))
def test_the_forecast_is_the_evidence_of_so_many_times_the_counts(
    drawn: tuple[Floats, Floats, Floats], scale: float
) -> None:
    """At scale 1 it is the present evidence."""
    canary, baseline, odds = drawn
    for side in SIDES:
        found = compare(*drawn, factor=2.0).forecast(1.1, side, 0, np.array([1.0, scale]))

        assert found[0] == pytest.approx(evidence(compare(*drawn, factor=2.0), 1.1, side), rel=1e-9, abs=1e-6)
        many = compare(canary * scale, baseline * scale, odds, factor=2.0)
        assert found[1] == pytest.approx(evidence(many, 1.1, side), rel=1e-9, abs=1e-6)


# Intervals


@st.composite
def alike(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Draw slices that all have the same ratio, with a thousand events or more each."""
    many = draw(st.integers(1, 8))
    odds = draw(arrays(float, many, elements=st.floats(0.05, 20)))
    events = draw(arrays(float, many, elements=st.floats(1e3, 1e7)))
    expected = odds * draw(st.floats(0.2, 5))
    return events * expected / (1 + expected), events / (1 + expected), odds


@given(alike(), st.sampled_from([ERRORS, CONVERSIONS]))
def test_the_interval_contains_the_ratio(drawn: tuple[Floats, Floats, Floats], reach: Mapping[Side, Reach]) -> None:
    """The ratio that all slices have lies inside."""
    found = compare(*drawn, reach=reach)
    low, high = found.interval(0, alpha_low=0.0125, alpha_high=0.05)

    assert 0 < low < found.ratios[0] < high < math.inf


@given(alike())
def test_exchanging_the_arms_inverts_ratio_and_interval(drawn: tuple[Floats, Floats, Floats]) -> None:
    """What is so many times as much is that part of the other."""
    canary, baseline, odds = drawn
    ours, theirs = compare(canary, baseline, odds), compare(baseline, canary, 1 / odds)
    low, high = np.log(ours.interval(0, alpha_low=0.05, alpha_high=0.01))
    back = np.log(theirs.interval(0, alpha_low=0.01, alpha_high=0.05))

    assert theirs.ratios[0] == pytest.approx(1 / ours.ratios[0], rel=1e-6)
    assert [low, high] == pytest.approx([-back[1], -back[0]], abs=0.02 * (high - low))


@given(slices(1e7), st.floats(1e-4, 0.1))
def test_the_intervals_are_nested(drawn: tuple[Floats, Floats, Floats], alpha: float) -> None:
    """Who allows fewer errors gets a wider interval."""
    found = compare(drawn[0], drawn[1] + 1, drawn[2])
    wide = found.interval(0, alpha_low=alpha, alpha_high=alpha)
    narrow = found.interval(0, alpha_low=alpha * 3, alpha_high=alpha * 3)

    assert 0 <= wide[0] <= narrow[0]
    assert narrow[1] <= wide[1]


@given(
    st.integers(20, 10**6), st.integers(20, 10**6), st.sampled_from([ERRORS, CONVERSIONS]), st.floats(0.05, 2),
    st.floats(1, 5),
)  # fmt: skip
def test_a_ratio_is_outside_exactly_when_the_evidence_suffices(
    canary: int, baseline: int, reach: Mapping[Side, Reach], odds: float, factor: float
) -> None:
    """Interval and evidence are two forms of one test, and the observed ratio lies inside."""
    found = compare(canary, baseline, odds, reach=reach, factor=factor)
    seen = math.log(found.ratios[0])
    low, high = np.log(found.interval(0, alpha_low=0.0125, alpha_high=0.05))
    assert low < seen < high

    def excess(point: float, side: Side, alpha: float) -> float:
        return evidence(found, math.exp(point), side) + math.log(alpha)

    if excess(seen - 12, "above", 0.0125) > 0:
        exact = brentq(excess, seen - 12, seen, args=("above", 0.0125), xtol=1e-13)
        assert low == pytest.approx(exact, abs=0.01 * (seen - exact))
    exact = brentq(excess, seen, seen + 12, args=("below", 0.05), xtol=1e-13)
    assert high == pytest.approx(exact, abs=0.01 * (exact - seen))


def test_many_slices_are_bounded_as_few() -> None:
    """An interval takes slices with nearly the same odds together: no more than a hundredth of its width is lost."""
    rng = np.random.default_rng(14)
    theirs = rng.poisson(5000, 240).astype(float)
    ours = rng.poisson(np.repeat([260.0, 1700.0, 5000.0], 80)).astype(float)
    events = rng.binomial(ours.astype(int), 0.02), rng.binomial(theirs.astype(int), 0.02)
    found = compare(*events, share.odds_of(ours, theirs))
    low, high = np.log(found.interval(0, alpha_low=0.0125, alpha_high=0.05))

    def excess(point: float, side: Side, alpha: float) -> float:
        return evidence(found, math.exp(point), side) + math.log(alpha)

    middle = math.log(found.ratios[0])
    assert low == pytest.approx(brentq(excess, middle - 3, middle, args=("above", 0.0125)), abs=0.01 * (high - low))
    assert high == pytest.approx(brentq(excess, middle, middle + 3, args=("below", 0.05)), abs=0.01 * (high - low))


# A split that moves


def moving(baseline: tuple[float, float]) -> tuple[Floats, Floats, Floats]:
    """Give two steps, 5% and 50% of 20,000 requests each, with equal arms whose common rate moves."""
    requests = np.array([[1000.0, 10_000.0], [19_000.0, 10_000.0]])
    events = requests * np.array(baseline)
    return events[0], events[1], requests[0] / requests[1]


def test_a_split_that_moves_with_the_common_rate_is_no_evidence() -> None:
    """Simpson's paradox, a base rate that moves tenfold between 5% and 50%: equal arms are not told apart."""
    canary, baseline, odds = moving((0.002, 0.02))
    pooled = compare(canary.sum(), baseline.sum(), 11_000 / 29_000)

    assert compare(canary, baseline, odds).ratios == pytest.approx([1.0])
    for side in SIDES:
        assert evidence(compare(canary, baseline, odds), 1.0, side) < 0
    assert pooled.ratios[0] > 2
    assert evidence(pooled, 1.0, "above") > 20  # what would roll a good canary back


def test_a_difference_is_seen_through_a_split_that_moves() -> None:
    """Half as many events again in both steps, and a third fewer."""
    canary, baseline, odds = moving((0.02, 0.002))

    assert evidence(compare(canary * 2, baseline, odds), 1.0, "above") > math.log(80)
    assert evidence(compare(canary / 2, baseline, odds), 1.0, "below") > math.log(20)


# Odds


def test_odds_are_those_of_each_slice_where_there_are_requests() -> None:
    """Canary requests per request of the baseline."""
    assert share.odds_of([10, 50, 300], [190, 50, 100]).tolist() == [10 / 190, 1.0, 3.0]


def test_slices_with_few_requests_share_their_odds() -> None:
    """They are taken together until each arm has ten; what is left joins the group before it."""
    # by hand: 4 + 6 of 60 + 80, then 30 of 70, then 6 of 70 left over, which joins 30 of 70
    found = share.odds_of([4, 6, 30, 6], [60, 80, 70, 70])

    assert found == pytest.approx([10 / 140, 10 / 140, 36 / 140, 36 / 140])


@given(arrays(float, 12, elements=st.floats(0, 50)), arrays(float, 12, elements=st.floats(0, 500)))
def test_odds_explain_the_requests(canary: Floats, baseline: Floats) -> None:
    """The canary's part by the odds adds up to its requests, over all slices with their groups."""
    canary[0] += 1
    baseline[0] += 1
    odds = share.odds_of(canary, baseline)
    part = odds / (1 + odds)

    assert (part * (canary + baseline)).sum() == pytest.approx(canary.sum(), rel=1e-9)
    assert np.isfinite(odds).all()


def test_slices_in_which_an_arm_was_alone_are_left_out() -> None:
    """At weight 100 nothing can be compared; nor where few requests happen to be all of one arm."""
    assert share.paired([0, 0, 5, 500, 60], [30, 300, 900, 0, 30]).tolist() == [False, False, True, False, True]


# Edges


def test_without_events_everything_is_possible() -> None:
    """No event in either arm: nothing tells them apart."""
    found = compare(0, 0, 1.0)

    assert found.interval(0, alpha_low=0.05, alpha_high=0.05) == (0.0, math.inf)
    assert evidence(found, 1.5, "above") == pytest.approx(0, abs=1e-9)
    assert np.isnan(found.ratios[0])


@pytest.mark.parametrize("reach", [ERRORS, CONVERSIONS])
def test_a_baseline_without_events_leaves_the_ratio_unbounded(reach: Mapping[Side, Reach]) -> None:
    """Errors in the canary only: proved to be more, by no bounded factor."""
    low, high = compare(40, 0, 1 / 19, reach=reach).interval(0, alpha_low=0.0125, alpha_high=0.05)

    assert high == math.inf
    assert low > 1


def test_a_canary_without_events_has_no_lower_bound() -> None:
    """Nothing converted in the canary: proved to be fewer, perhaps none."""
    low, high = compare(0, 7600, 1 / 19, reach=CONVERSIONS).interval(0, alpha_low=0.05, alpha_high=0.05)

    assert low == 0
    assert 0 < high < 0.1


def test_each_start_counts_its_own_slices() -> None:
    """Evidence, ratios and intervals since a start are those of the slices from there on."""
    canary, baseline, odds = np.array([1.0, 2, 30, 20]), np.array([50.0, 60, 70, 40]), np.array([0.1, 0.1, 0.2, 0.3])
    starts = Starts(np.array([0, 2, 3]), np.array([0.5, 0.25, 0.25]))
    found = Comparison(canary, baseline, odds, starts, ERRORS, np.array([1.0, 2.0, 1.0]))

    for number, (place, factor) in enumerate(((0, 1.0), (2, 2.0), (3, 1.0))):
        alone = compare(canary[place:], baseline[place:], odds[place:], factor=factor)
        assert found.ratios[number] == pytest.approx(alone.ratios[0])
        bounds = {"alpha_low": 0.0125, "alpha_high": 0.05}
        assert found.interval(number, **bounds) == pytest.approx(alone.interval(0, **bounds))
        for side in SIDES:
            assert found.log_evidence(1.0, side)[number] == pytest.approx(evidence(alone, 1.0, side))
            assert found.forecast(1.0, side, number, np.array([3.0])) == pytest.approx(
                alone.forecast(1.0, side, 0, np.array([3.0]))
            )


def test_slices_at_another_split_are_not_taken_together() -> None:
    """At a weight of 99% the baseline has few requests a slice: the odds are not those of the weight before."""
    canary, baseline = np.array([500.0, 500.0, 990.0, 985.0]), np.array([510.0, 500.0, 3.0, 5.0])

    np.testing.assert_allclose(share.odds_of(canary, baseline), [500 / 510, 1.0, 1975 / 8, 1975 / 8])
    np.testing.assert_allclose(share.odds_of(canary[::-1], baseline[::-1]), [1975 / 8, 1975 / 8, 1.0, 500 / 510])
    np.testing.assert_allclose(share.odds_of(baseline, canary), [510 / 500, 1.0, 8 / 1975, 8 / 1975])


def test_neighbours_with_few_requests_are_taken_together() -> None:
    """Where the split may be the same, or an arm has none in a slice."""
    canary, baseline = np.array([2.0, 0.0, 9.0, 3.0]), np.array([30.0, 35.0, 28.0, 31.0])

    np.testing.assert_allclose(share.odds_of(canary, baseline), np.full(4, 14 / 124))
