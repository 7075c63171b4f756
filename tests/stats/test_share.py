"""Two arms side by side: reference values, laws, and arms without events."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binomtest

from analyzer.stats import binomial, share
from analyzer.stats.binomial import Side

ERRORS, CONVERSIONS = (1.0,), (0.05, 0.5)
SIDES: tuple[Side, ...] = ("above", "below")
Counts = tuple[float, float, float, float]


@st.composite
def two_arms(draw: st.DrawFn, most: float = 1e12) -> Counts:
    """Draw events and trials of the canary, then of the baseline."""
    found = []
    for _ in range(2):
        trials = draw(st.floats(1e-2, most))
        found += [min(trials, trials * draw(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)))), trials]
    return found[0], found[1], found[2], found[3]


@pytest.mark.parametrize(
    ("canary", "baseline", "spread", "above", "below"),
    [
        # confseq 0.0.11, beta_binomial_log_mixture(S - n q, n q (1 - q), v_opt, q, 1 - q, 0.05, true) with S of n
        # events in the canary, whose share of the requests is q = 0.05; v_opt such that its r is
        # (1 - q)^2 / spread^2: 0.9025, 361 and 3.61. "below" is the same with q and 1 - q exchanged.
        (8, 52, 1.0, 2.29408407962, -2.30025745192),
        (2, 58, 1.0, -0.944077708402, -0.285778474053),
        (40, 960, 0.05, -0.410751722787, 0.390193102012),
        (40, 960, 0.5, -2.06307876636, 0.298156588037),
        (70, 930, 0.05, 0.922863151314, -0.712599151085),
        (70, 930, 0.5, 2.85363789927, -2.81903418618),
    ],
)
def test_the_evidence_is_that_of_confseq(canary: int, baseline: int, spread: float, above: float, below: float) -> None:
    """The evidence for a ratio of 1 is that of an independent implementation, given the events of both arms."""
    counts = (canary, 5000, baseline, 95000)

    assert share.log_evidence(*counts, 1, spreads=(spread,), side="above") == pytest.approx(above, rel=1e-8)
    assert share.log_evidence(*counts, 1, spreads=(spread,), side="below") == pytest.approx(below, rel=1e-8)


def test_several_spreads_are_averaged() -> None:
    """The e-process of two priors is the mean of the two."""
    counts = (70, 5000, 930, 95000)
    parts = [share.log_evidence(*counts, 1, spreads=(spread,), side="above") for spread in CONVERSIONS]

    both = share.log_evidence(*counts, 1, spreads=CONVERSIONS, side="above")

    assert both == pytest.approx(math.log(np.exp(parts).mean()), rel=1e-12)


@pytest.mark.parametrize(("canary", "baseline"), [(30, 300), (12, 90), (5, 180), (60, 700)])
def test_the_evidence_is_never_stronger_than_the_exact_test(canary: int, baseline: int) -> None:
    """An anytime p-value, 1/E, is above the p-value of one look: that is the price of looking often."""
    events = canary + baseline
    found = float(share.log_evidence(canary, 2000, baseline, 38000, 1, spreads=ERRORS, side="above"))
    # scipy.stats.binomtest: the conditional test of two rates, for one look
    exact = binomtest(canary, events, 2000 / 40000, alternative="greater").pvalue

    assert min(1.0, math.exp(-found)) > exact


# Laws


@given(two_arms(), st.floats(1e-3, 1e3))
def test_the_evidence_is_never_nan(counts: Counts, ratio: float) -> None:
    """No counts give NaN or infinite evidence."""
    for spreads in (ERRORS, CONVERSIONS):
        for side in SIDES:
            found = float(share.log_evidence(*counts, ratio, spreads=spreads, side=side))

            assert not math.isnan(found)
            assert found < math.inf


@given(two_arms(), st.sampled_from([ERRORS, CONVERSIONS]))
def test_the_interval_contains_the_ratio(counts: Counts, spreads: tuple[float, ...]) -> None:
    """The observed ratio lies inside, wherever there is one."""
    assume(counts[2] > 0)
    low, high = share.ratio_interval(*counts, spreads=spreads, alpha_low=0.0125, alpha_high=0.05)

    assert 0 <= low <= counts[0] / counts[1] / (counts[2] / counts[3]) <= high


@given(two_arms(1e7), st.floats(1e-4, 0.1))
def test_the_intervals_are_nested(counts: Counts, alpha: float) -> None:
    """Who allows fewer errors gets a wider interval."""
    wide = share.ratio_interval(*counts, spreads=ERRORS, alpha_low=alpha, alpha_high=alpha)
    narrow = share.ratio_interval(*counts, spreads=ERRORS, alpha_low=alpha * 3, alpha_high=alpha * 3)

    assert wide[0] <= narrow[0]
    assert narrow[1] <= wide[1]


@given(st.integers(20, 10**6), st.integers(20, 10**6), st.sampled_from([ERRORS, CONVERSIONS]))
def test_a_ratio_is_outside_exactly_when_the_evidence_suffices(
    canary: int, baseline: int, spreads: tuple[float, ...]
) -> None:
    """Interval and evidence are two forms of one test."""
    counts = (canary, 1e7, baseline, 2e7)
    seen = math.log(canary / 1e7 / (baseline / 2e7))
    low, high = np.log(share.ratio_interval(*counts, spreads=spreads, alpha_low=0.0125, alpha_high=0.05))

    def excess(point: float, side: Side, alpha: float) -> float:
        found = share.log_evidence(*counts, math.exp(point), spreads=spreads, side=side)
        return max(float(found), -1e6) + math.log(alpha)

    exact = brentq(excess, seen - 12, seen, args=("above", 0.0125), xtol=1e-13)
    assert low == pytest.approx(exact, abs=0.005 * (seen - exact))
    exact = brentq(excess, seen, seen + 12, args=("below", 0.05), xtol=1e-13)
    assert high == pytest.approx(exact, abs=0.005 * (exact - seen))


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_equal_arms_can_be_exchanged(one: int, other: int) -> None:
    """Between arms of one size, "the first has more" is "the second has fewer"; the prior is symmetric there."""
    trials = 10_000
    more = share.log_evidence(one, trials, other, trials, 1, spreads=ERRORS, side="above")
    fewer = share.log_evidence(other, trials, one, trials, 1, spreads=ERRORS, side="below")

    assert more == pytest.approx(fewer, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("counts", [(900, 10_000, 1000, 10_000), (5200, 1e6, 5000, 1e6)])
def test_exchanging_equal_arms_inverts_the_interval_nearly(counts: Counts) -> None:
    """The prior is that of the canary's side, so arms of one size differ a little, and others more."""
    low, high = share.ratio_interval(*counts, spreads=ERRORS, alpha_low=0.05, alpha_high=0.05)
    back = share.ratio_interval(*counts[2:], *counts[:2], spreads=ERRORS, alpha_low=0.05, alpha_high=0.05)

    width = math.log(high / low)
    assert math.log(1 / back[1]) == pytest.approx(math.log(low), abs=0.06 * width)
    assert math.log(1 / back[0]) == pytest.approx(math.log(high), abs=0.06 * width)


@given(two_arms(1e6), st.floats(0.01, 100))
def test_only_the_split_of_the_requests_matters(counts: Counts, factor: float) -> None:
    """Given the events, so many times more requests in both arms say nothing about the ratio."""
    for side in SIDES:
        found = share.log_evidence(*counts, 1.1, spreads=ERRORS, side=side)
        scaled = (counts[0], counts[1] * factor, counts[2], counts[3] * factor)

        assert share.log_evidence(*scaled, 1.1, spreads=ERRORS, side=side) == pytest.approx(found, rel=1e-6, abs=1e-6)


@given(st.integers(0, 999), st.integers(1, 1000), st.floats(0.2, 5))
def test_more_events_in_the_canary_speak_for_a_higher_ratio(events: int, baseline: int, ratio: float) -> None:
    """The evidence is monotone in the canary's events."""
    fewer, more = (
        float(share.log_evidence(k, 1000, baseline, 19_000, ratio, spreads=ERRORS, side="above"))
        for k in (events, events + 1)
    )

    assert more >= fewer - 1e-9


# Edges


def test_without_events_everything_is_possible() -> None:
    """No event in either arm: nothing tells them apart."""
    assert share.ratio_interval(0, 10, 0, 10, spreads=ERRORS, alpha_low=0.05, alpha_high=0.05) == (0.0, math.inf)
    assert share.log_evidence(0, 10, 0, 10, 1.5, spreads=ERRORS, side="above") == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("spreads", [ERRORS, CONVERSIONS])
def test_a_baseline_without_events_leaves_the_ratio_unbounded(spreads: tuple[float, ...]) -> None:
    """Errors in the canary only: proved to be more, by no bounded factor."""
    low, high = share.ratio_interval(40, 1000, 0, 19_000, spreads=spreads, alpha_low=0.0125, alpha_high=0.05)

    assert high == math.inf
    assert low > 1


def test_a_canary_without_events_has_no_lower_bound() -> None:
    """Nothing converted in the canary: proved to be fewer, perhaps none."""
    low, high = share.ratio_interval(0, 1000, 7600, 19_000, spreads=CONVERSIONS, alpha_low=0.05, alpha_high=0.05)

    assert low == 0
    assert 0 < high < 0.1


def test_the_evidence_is_that_of_one_arm_when_the_baseline_is_endless() -> None:
    """Against a baseline of known rate the comparison is the test of one arm, for rare events."""
    alone = binomial.log_evidence(30, 10_000, 0.001, side="above")
    beside = share.log_evidence(30, 10_000, 1e7, 1e10, 1, spreads=ERRORS, side="above")

    assert beside == pytest.approx(float(alone), rel=0.02)
