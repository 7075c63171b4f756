"""One arm against a limit: reference values, laws that hold for all counts, and the edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq

from analyzer.stats import binomial
from analyzer.stats.binomial import Side

SIDES: tuple[Side, ...] = ("above", "below")
limits = st.floats(1e-6, 1 - 1e-6)


@st.composite
def arms(draw: st.DrawFn) -> tuple[float, float]:
    """Draw events and trials: whole numbers and fractions, none and all of them."""
    trials = draw(st.one_of(st.floats(1e-3, 1e12), st.integers(1, 10**12).map(float)))
    share = draw(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1), st.floats(0, 1e-3)))
    return min(trials, trials * share), trials


def evidence(events: float, trials: float, limit: float, side: Side) -> float:
    """Log evidence as a plain number."""
    return float(binomial.log_evidence(events, trials, limit, side=side))


# Reference values


@pytest.mark.parametrize(
    ("events", "trials", "limit", "above", "below"),
    [
        # confseq 0.0.11 (Howard, Ramdas), uniform_boundaries.h with Boost 1.74:
        # beta_binomial_log_mixture(S - n p, n p (1 - p), v_opt, p, 1 - p, 0.05, true), and for "below"
        # (n p - S, n p (1 - p), v_opt, 1 - p, p, 0.05, true); v_opt such that its r is 1 - p, that is a = 1
        # (6.32870138381 for p = 0.005, 6.32822671934 for 0.01, 6.26557100924 for 0.1, 4.74664470397 for 0.5).
        (14, 865, 0.005, 5.47600273671, -2.85846198599),
        (5, 36, 0.01, 4.39349692044, -2.12535528708),
        (0, 2000, 0.005, -2.40245316583, 8.0827495624),
        (300, 30000, 0.005, 56.0796280161, -5.55953649073),
        (3, 50, 0.1, -1.33153376092, -0.0258017408531),
        (52, 16435, 0.005, -3.48981233119, 4.7122059784),
        (1800, 2000, 0.5, 732.735997438, -7.37334114353),
    ],
)
def test_the_evidence_is_that_of_confseq(events: int, trials: int, limit: float, above: float, below: float) -> None:
    """The evidence on both sides is that of an independent implementation."""
    assert evidence(events, trials, limit, "above") == pytest.approx(above, rel=1e-9)
    assert evidence(events, trials, limit, "below") == pytest.approx(below, rel=1e-9)


def test_the_evidence_is_the_published_one() -> None:
    """The value that confseq's authors computed in R for their unit test is reproduced."""
    # uniform_boundaries_unittest.cpp, TestOneSidedBetaBinomialMixture: BetaBinomialMixture(100, 0.05, 0.2, 0.8, true)
    # .log_superMG(10, 100) = -0.07134019, and 28.41238 for its bound at ln(1/0.05). s = S - n p = 10 and
    # v = n p (1 - p) = 100 are 135 of 625 at p = 0.2; its r is 15.6406349068505, and a + b = r / (p (1 - p)).
    prior = 15.6406349068505 / 0.16

    found = binomial.log_evidence([135, 125 + 28.41238], 625, 0.2, side="above", concentration=prior)

    assert found[0] == pytest.approx(-0.07134019, abs=1e-8)
    assert found[1] == pytest.approx(math.log(20), abs=1e-5)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("events", "trials", "limit"), [(3, 40, 0.02), (0, 200, 0.01), (9, 30, 0.4), (30, 30, 0.9)])
def test_the_evidence_is_the_mixture_of_likelihood_ratios(events: int, trials: int, limit: float, side: Side) -> None:
    """Numeric integration of the definition gives what the closed form gives."""
    b = (1 - limit) / limit  # the prior Beta(1, b), up to a constant, restricted to the side

    def prior(q: float) -> float:
        return (1 - q) ** (b - 1)

    def weighted(q: float) -> float:
        return prior(q) * (q / limit) ** events * ((1 - q) / (1 - limit)) ** (trials - events)

    low, high = (limit, 1.0) if side == "above" else (0.0, limit)
    expected = math.log(quad(weighted, low, high, epsabs=0)[0] / quad(prior, low, high, epsabs=0)[0])

    assert evidence(events, trials, limit, side) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("errors", "at_most", "alpha"),
    [(4, 37, 0.05), (5, 36, 0.0125), (6, 78, 0.0125)],
)
def test_few_errors_prove_something_only_among_few_requests(errors: int, at_most: int, alpha: float) -> None:
    """So many errors prove "above 1%" among so many requests and not among one more."""
    needed = -math.log(alpha)

    assert evidence(errors, at_most, 0.01, "above") >= needed
    assert evidence(errors, at_most + 1, 0.01, "above") < needed


def test_up_to_three_errors_prove_nothing() -> None:
    """Three errors in three requests are not yet proof at 5% that the error rate is above 1%."""
    assert evidence(3, 3, 0.01, "above") < math.log(20) <= evidence(4, 4, 0.01, "above")


# Laws


@given(arms(), limits)
def test_the_evidence_is_finite_or_none_at_all(arm: tuple[float, float], limit: float) -> None:
    """No counts give NaN or infinite evidence; -inf, no evidence at all, is possible."""
    for side in SIDES:
        found = evidence(*arm, limit, side)

        assert not math.isnan(found)
        assert found < math.inf


@given(limits)
def test_without_requests_there_is_no_evidence(limit: float) -> None:
    """The e-process begins at 1, whose logarithm is 0."""
    assert evidence(0, 0, limit, "above") == pytest.approx(0, abs=1e-9)
    assert evidence(0, 0, limit, "below") == pytest.approx(0, abs=1e-9)


@given(st.integers(1, 10**6), st.data(), st.floats(1e-4, 1 - 1e-4))
def test_more_events_speak_for_above_and_against_below(trials: int, data: st.DataObject, limit: float) -> None:
    """The evidence is monotone in the events."""
    events = data.draw(st.integers(0, trials - 1))

    assert evidence(events + 1, trials, limit, "above") >= evidence(events, trials, limit, "above") - 1e-9
    assert evidence(events + 1, trials, limit, "below") <= evidence(events, trials, limit, "below") + 1e-9


@given(st.integers(1, 10**6), st.data(), st.floats(1e-4, 0.5))
def test_a_limit_further_away_is_easier_to_exclude(trials: int, data: st.DataObject, share: float) -> None:
    """The evidence against a limit grows with its distance from the share."""
    events = round(trials * share)
    near, far = sorted(data.draw(st.lists(st.floats(1e-4, 0.9999), min_size=2, max_size=2)))
    assert near <= far

    if near > share:
        assert evidence(events, trials, near, "below") <= evidence(events, trials, far, "below") + 1e-9
    if far < share:
        assert evidence(events, trials, far, "above") <= evidence(events, trials, near, "above") + 1e-9


@given(arms(), st.floats(1e-6, 0.4))
def test_the_interval_contains_the_share(arm: tuple[float, float], alpha: float) -> None:
    """Whatever the counts, the share that was seen lies inside, and the interval inside [0, 1]."""
    (low,), (high,) = binomial.confidence_sequence([arm[0]], [arm[1]], alpha_low=alpha, alpha_high=alpha)

    assert 0 <= low <= arm[0] / arm[1] <= high <= 1


@given(arms(), st.floats(1e-6, 0.2), st.floats(1.2, 2.5))
def test_the_intervals_are_nested(arm: tuple[float, float], alpha: float, factor: float) -> None:
    """Who allows fewer errors gets a wider interval."""
    events, trials = np.full(2, arm[0]), np.full(2, arm[1])
    wide = binomial.confidence_sequence(events[:1], trials[:1], alpha_low=alpha, alpha_high=alpha)
    narrow = binomial.confidence_sequence(events[:1], trials[:1], alpha_low=alpha * factor, alpha_high=alpha * factor)

    assert wide[0] <= narrow[0]
    assert narrow[1] <= wide[1]


@given(st.integers(10, 10**7), st.floats(0.001, 0.999), st.sampled_from([0.0125, 0.05]))
def test_a_limit_is_outside_exactly_when_the_evidence_suffices(trials: int, share: float, alpha: float) -> None:
    """Interval and evidence are two forms of one test: the bounds are where the evidence begins to suffice."""
    events = max(1, round(trials * share)) if trials * share < trials - 1 else trials - 1
    (low,), (high,) = binomial.confidence_sequence([events], [trials], alpha_low=alpha, alpha_high=alpha)
    seen, needed = events / trials, -math.log(alpha)

    def excess(point: float, side: Side) -> float:
        return max(evidence(events, trials, point, side), -1e6) - needed

    if low > 0:
        exact = brentq(excess, low / 50, seen, args=("above",), xtol=1e-15)
        assert low == pytest.approx(exact, abs=0.005 * (seen - exact))
    else:
        assert excess(1e-12, "above") < 0
    exact = brentq(excess, seen, 1 - 1e-12, args=("below",), xtol=1e-15)
    assert high == pytest.approx(exact, abs=0.005 * (exact - seen))


# Edges


def test_no_event_leaves_the_lower_bound_at_zero() -> None:
    """With no event nothing is proved from below, however many requests there were."""
    low, high = binomial.confidence_sequence([0, 0], [10, 1e12], alpha_low=0.05, alpha_high=0.05)

    assert low.tolist() == [0, 0]
    assert 0.2 < high[0] < 0.6
    assert 3e-12 < high[1] < 6e-12


def test_all_events_leave_the_upper_bound_at_one() -> None:
    """With nothing but events nothing is proved from above."""
    low, high = binomial.confidence_sequence([10, 1e6], [10, 1e6], alpha_low=0.05, alpha_high=0.05)

    assert high.tolist() == [1, 1]
    assert 0.3 < low[0] < 0.9
    assert 1 - 1e-4 < low[1] < 1


def test_less_than_one_request_says_nothing() -> None:
    """Fractions of a request, as increase() gives them, are no special case."""
    low, high = binomial.confidence_sequence([0, 0.1, 0.2], [0.2, 0.2, 0.2], alpha_low=0.05, alpha_high=0.05)

    assert low.tolist() == [0, 0, 0]
    assert high == pytest.approx(1, abs=1e-6)


def test_a_small_prior_beside_large_counts_is_not_lost() -> None:
    """Events only, at a limit next to 1: the evidence is large, and finite."""
    assert 0 < evidence(4e10, 4e10, 1 - 1e-6, "above") < 4e10 * 2e-6
    assert evidence(4e10, 4e10, 1 - 1e-6, "below") == -math.inf


def test_counts_broadcast() -> None:
    """Several looks at several limits are one call."""
    found = binomial.log_evidence(np.array([[1], [5]]), 100, np.array([0.01, 0.02, 0.03]), side="above")

    assert found.shape == (2, 3)
    assert found[1, 2] == evidence(5, 100, 0.03, "above")
