"""One arm against a limit: reference values, laws that hold for all counts, and the edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import binom

from analyzer.stats import binomial
from analyzer.stats.search import Side

SIDES: tuple[Side, ...] = ("above", "below")
limits = st.floats(1e-6, 1 - 1e-6)


@st.composite
def arms(draw: st.DrawFn) -> tuple[float, float]:
    """Draw events and trials: whole numbers and fractions, none and all of them."""
    trials = draw(st.one_of(st.floats(1e-3, 1e12), st.integers(1, 10**12).map(float)))
    share = draw(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1), st.floats(0, 1e-3)))
    return min(trials, trials * share), trials


def evidence(events: float, trials: float, limit: float, side: Side, prior_mean: float | None = None) -> float:
    """Log evidence as a plain number."""
    return float(binomial.log_evidence(events, trials, limit, side=side, prior_mean=prior_mean))


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
    """The evidence on both sides is that of an independent implementation, whose prior has the limit as its mean."""
    assert evidence(events, trials, limit, "above", prior_mean=limit) == pytest.approx(above, rel=1e-9)
    assert evidence(events, trials, limit, "below", prior_mean=limit) == pytest.approx(below, rel=1e-9)
    assert evidence(events, trials, limit, "below") == pytest.approx(below, rel=1e-9)  # there it is the default


@pytest.mark.parametrize(
    ("side", "prior_mean"), [("above", None), ("below", None), ("above", 0.3), ("below", 0.001), ("above", 0.02)]
)
@pytest.mark.parametrize(("events", "trials", "limit"), [(3, 40, 0.02), (0, 200, 0.01), (9, 30, 0.4), (30, 30, 0.9)])
def test_the_evidence_is_the_mixture_of_likelihood_ratios(
    events: int, trials: int, limit: float, side: Side, prior_mean: float | None
) -> None:
    """Numeric integration of the definition gives what the closed form gives, for the default prior and others."""
    # The prior Beta(1, b), up to a constant, restricted to the side; by default its mean is the limit, or twice that
    # for "above", and half way between the limit and 1 where twice the limit is too much.
    default = limit if side == "below" else min(2 * limit, (1 + limit) / 2)
    b = 1 / (prior_mean or default) - 1

    def prior(q: float) -> float:
        return (1 - q) ** (b - 1)

    def weighted(q: float) -> float:
        return prior(q) * (q / limit) ** events * ((1 - q) / (1 - limit)) ** (trials - events)

    low, high = (limit, 1.0) if side == "above" else (0.0, limit)
    likely = min(max(events / trials, low), high)  # where the integrand is narrow
    narrow = {"points": [likely], "epsabs": 0, "limit": 200}
    expected = math.log(quad(weighted, low, high, **narrow)[0] / quad(prior, low, high, **narrow)[0])

    assert evidence(events, trials, limit, side, prior_mean) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("errors", "at_most", "alpha"),
    [(3, 26, 0.05), (4, 65, 0.05), (4, 32, 0.0125), (5, 68, 0.0125), (6, 107, 0.0125)],
)
def test_few_errors_prove_something_only_among_few_requests(errors: int, at_most: int, alpha: float) -> None:
    """So many errors prove "above 1%" among so many requests and not among one more."""
    needed = -math.log(alpha)

    assert evidence(errors, at_most, 0.01, "above") >= needed
    assert evidence(errors, at_most + 1, 0.01, "above") < needed


@pytest.mark.parametrize(("alpha", "fewest"), [(0.05, 3), (0.0125, 4)])
def test_errors_in_a_row_prove_nothing_below_a_number(alpha: float, fewest: int) -> None:
    """Two errors in two requests are not yet proof at 5% that the error rate is above 1%, nor three at 1.25%."""
    needed = -math.log(alpha)

    assert evidence(fewest - 1, fewest - 1, 0.01, "above") < needed <= evidence(fewest, fewest, 0.01, "above")


def test_a_prior_further_from_the_limit_finds_large_faults_sooner() -> None:
    """Ten times the limit: more evidence than with the prior at the limit; a fifth more than the limit: less."""
    at_limit = {"prior_mean": 0.01}

    assert evidence(10, 100, 0.01, "above") > evidence(10, 100, 0.01, "above", **at_limit) + 0.4
    assert evidence(1200, 100_000, 0.01, "above") < evidence(1200, 100_000, 0.01, "above", **at_limit)


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
    assert evidence(0, 0, limit, "above") == pytest.approx(0, abs=1e-7)
    assert evidence(0, 0, limit, "below") == pytest.approx(0, abs=1e-7)


@given(st.integers(1, 10**6), st.data(), st.floats(1e-4, 1 - 1e-4))
def test_more_events_speak_for_above_and_against_below(trials: int, data: st.DataObject, limit: float) -> None:
    """The evidence is monotone in the events, but for the last numbers that a float holds, far below any decision."""
    events = data.draw(st.integers(0, trials - 1))
    above, below = (
        [max(evidence(number, trials, limit, side), -5.0) for number in (events, events + 1)]
        for side in ("above", "below")
    )

    assert above[1] >= above[0] - 1e-9
    assert below[1] <= below[0] + 1e-9


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


def test_each_bound_has_its_own_level() -> None:
    """The lower one may be wrong as often as `alpha_low`, the upper one as `alpha_high`."""
    low, high = binomial.confidence_sequence([14], [865], alpha_low=0.01, alpha_high=0.2)

    strict, loose = (binomial.confidence_sequence([14], [865], alpha_low=a, alpha_high=a) for a in (0.01, 0.2))
    assert (low, high) == (strict[0], loose[1])
    assert strict[0] < loose[0] < loose[1] < strict[1]


def test_one_event_excludes_shares_far_below_the_expected_one() -> None:
    """So much does the prior expect it; without an expectation one event excludes nothing."""
    levels = {"alpha_low": 0.01, "alpha_high": 0.01}

    assert binomial.confidence_sequence([1], [865], expected=0.02, **levels)[0] > 0
    assert binomial.confidence_sequence([1], [865], **levels)[0] == 0


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


# A past


@pytest.mark.parametrize("past", [(0, 36000), (36, 36000), (400, 36000), (2, 20), (0, 0)])
@pytest.mark.parametrize("trials", [1, 30, 900])
def test_what_is_learned_keeps_the_expectation(past: tuple[float, float], trials: int) -> None:
    """Exactly 1 at the limit whatever the past was, as it is known beforehand; less above it."""
    counts = np.arange(trials + 1)
    evidence = np.exp(binomial.log_evidence(counts, trials, 0.005, side="below", past=past))

    assert (binom.pmf(counts, trials, 0.005) * evidence).sum() == pytest.approx(1, rel=1e-9)
    assert (binom.pmf(counts, trials, 0.006) * evidence).sum() < 1


def test_a_misleading_past_costs_at_most_ln_2() -> None:
    """Half of the prior stays the default one; of a past beyond the limit nothing is learned."""
    counts = np.arange(6)
    plain = binomial.log_evidence(counts, 1500, 0.005, side="below")

    for past in [(0, 1e6), (2000, 1e6), (4900, 1e6)]:
        assert (binomial.log_evidence(counts, 1500, 0.005, side="below", past=past) >= plain - np.log(2)).all()
    beyond = binomial.log_evidence(counts, 1500, 0.005, side="below", past=(2e5, 1e6))
    assert beyond == pytest.approx(plain, abs=0.1)


def test_a_past_is_of_no_use_to_the_other_side() -> None:
    """Nor does it move the lower bound."""
    with_past, plain = (
        binomial.confidence_sequence(3, 1000, alpha_low=0.01, alpha_high=0.05, past=past) for past in ((20, 9000), None)
    )

    assert with_past[0] == plain[0]
    assert with_past[1] != plain[1]


def test_the_upper_bound_knows_the_past_too() -> None:
    """It is where the evidence for the share to be below is as large as needed."""
    past = 20.0, 9000.0
    high = binomial.confidence_sequence(3, 1000, alpha_low=0.01, alpha_high=0.05, past=past)[1]

    assert binomial.log_evidence(3, 1000, high, side="below", past=past) == pytest.approx(np.log(20), abs=0.02)
