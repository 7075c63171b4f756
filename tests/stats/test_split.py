"""The split of the traffic: changes are found where they are, broken shares are told from those that are not."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import beta, binom

from analyzer.stats import split
from analyzer.stats.split import LEAST_CHANGE, PRIOR_SIZE, TOLERANCE

Floats = NDArray[np.float64]
BROKEN = math.log(1000)  # the level at which checks call a split broken


def routed(rng: np.random.Generator, requests: float, shares: Floats) -> tuple[Floats, Floats]:
    """Draw the requests of canary and baseline in each slice, every request by itself."""
    everything = rng.poisson(requests, len(shares))
    canary = rng.binomial(everything, shares)
    return canary.astype(float), (everything - canary).astype(float)


def edges(expected: float) -> tuple[float, float]:
    """Give the smallest and the largest share that is tolerated."""
    low, high = (expected / (1 - expected) * factor for factor in (1 / TOLERANCE, TOLERANCE))
    return low / (1 + low), high / (1 + high)


# When the split changed


@pytest.mark.parametrize("requests", [200, 3000, 1e5])
@pytest.mark.parametrize("lasted", [(40, 40, 40), (40, 40, 2), (3, 100, 17)])
def test_the_last_of_several_steps_is_found(requests: float, lasted: tuple[int, int, int]) -> None:
    """5%, 25% and 50%: within one slice, in nearly every run; the last step alone counts."""
    rng, shares = np.random.default_rng(1), np.repeat([0.05, 0.25, 0.5], lasted)
    away = [abs(split.last_change(*routed(rng, requests, shares)) - lasted[0] - lasted[1]) for _ in range(100)]

    assert sum(one <= 1 for one in away) >= 98


@pytest.mark.parametrize("shares", [[0.5, 0.05], [0.05, 0.0], [0.05, 1.0], [0.0, 0.05], [0.05, 0.5, 0.05]])
def test_steps_down_and_to_the_ends_are_found(shares: list[float]) -> None:
    """Also where an arm has no request at all on one side."""
    found = split.last_change(*routed(np.random.default_rng(2), 1000, np.repeat(shares, 30)))

    assert found == 30 * (len(shares) - 1)


@pytest.mark.statistical
@pytest.mark.parametrize(("requests", "share"), [(15, 0.05), (30, 0.5), (600, 0.05), (3000, 0.25), (1e6, 0.01)])
def test_a_split_that_never_changed_has_no_change(requests: float, share: float) -> None:
    """Five hundred rollouts of two hours in all: the noise of a router is no step."""
    rng, shares = np.random.default_rng(3), np.full(240, share)

    assert [split.last_change(*routed(rng, requests, shares)) for _ in range(100)] == [0] * 100


def scraped(rate: Floats, phase: float, every: float, ends: Floats, *, born: float = -600.0) -> Floats:
    """Count what a pod reports by the ends of slices, the first of which begins at 0.

    Parameters
    ----------
    rate : requests a second, in each second from 0 on; before, the first
    phase : the moment of a scrape; others are `every` seconds apart
    born : when it began; what an old pod reported before 0 is known, what a new one did counts
    """
    served = np.append(0.0, np.cumsum(rate))
    moments = np.append(0.0, ends)
    last = phase + np.floor((moments - phase) / every) * every
    inside = served[np.clip(last, 0, len(rate)).astype(int)]
    known = np.where(last >= 0, inside, last * rate[0]) - max(born, -600.0) * rate[0]
    known = np.where(last < born, 0.0, known)
    if born > -600:
        known[0] = 0.0
    return np.diff(known)


def both(share: Floats, every: float, ends: Floats, rng: np.random.Generator, pods: int) -> tuple[Floats, Floats]:
    """Count a canary pod that begins with the window, and the pods of the baseline; a hundred requests a second."""
    canary = scraped(100 * share, 1.0, every, ends, born=1 - rng.uniform(0, every))
    phases = rng.uniform(0, every, pods)
    return canary, sum((scraped(100 * (1 - share) / pods, phase, every, ends) for phase in phases), np.zeros(len(ends)))


@pytest.mark.parametrize("pods", [1, 19])
@pytest.mark.parametrize("every", [5, 15, 30, 60])
@pytest.mark.parametrize("seconds", [16, 19, 31, 49, 79, 139, 239, 605])
def test_scrapes_at_different_moments_are_no_change(pods: int, every: int, seconds: int) -> None:
    """Whenever the pods are scraped, and wherever the last slice ends: the split has not changed."""
    rng = np.random.default_rng(seconds)
    ends = np.append(np.arange(15, seconds, 15), seconds).astype(float)
    lengths, share = np.diff(ends, prepend=0.0), np.full(seconds, 0.05)
    found = [
        split.last_change(*both(share, every, ends, rng, pods), seconds=lengths, scrape_seconds=max(15, every))
        for _ in range(100)
    ]

    assert found == [0] * 100


@pytest.mark.parametrize("pods", [1, 19])
@pytest.mark.parametrize(("before", "after", "within"), [(0.05, 0.25, 30), (0.25, 0.5, 45)])
def test_a_step_is_found_through_the_scrapes(pods: int, before: float, after: float, within: float) -> None:
    """A few scrapes later, to the slice."""
    rng, ends = np.random.default_rng(7), np.arange(15.0, 300 + within + 15, 15.0)
    share = np.repeat([before, after], [300, 330])
    lengths = np.full(len(ends), 15.0)
    found = [
        split.last_change(*both(share, 15, ends, rng, pods), seconds=lengths, scrape_seconds=15.0) for _ in range(100)
    ]

    assert all(abs(one - 20) <= 1 for one in found)


def test_traffic_that_changes_in_both_arms_is_no_change_of_the_split() -> None:
    """Ten times the traffic by day, at the same share."""
    rng = np.random.default_rng(4)
    everything = rng.poisson(np.repeat([300, 3000, 300], 60))
    canary = rng.binomial(everything, 0.1).astype(float)

    assert split.last_change(canary, everything - canary) == 0


def test_small_changes_are_no_steps() -> None:
    """A ratio of the odds below the least change of a rollout, however well it is known."""
    odds = np.repeat([0.05, 0.05 * (LEAST_CHANGE - 0.02)], 50)

    assert split.last_change(1e6 * odds, np.full(100, 1e6)) == 0
    assert split.last_change(1e6 * np.repeat([0.05, 0.05 * (LEAST_CHANGE + 0.02)], 50), np.full(100, 1e6)) == 50


@pytest.mark.parametrize("slices", [0, 1])
def test_without_two_slices_nothing_changed(slices: int) -> None:
    """One slice, or none."""
    assert split.last_change(np.full(slices, 5.0), np.full(slices, 95.0)) == 0


def test_chance_is_no_change() -> None:
    """Few requests at one weight: of 300 rollouts of two hours hardly any seems to have changed it."""
    rng = np.random.default_rng(31)
    drawn = [[rng.poisson(mean, 120).astype(float) for mean in (3, 57)] for _ in range(300)]

    assert sum(split.last_change(canary, baseline) > 0 for canary, baseline in drawn) <= 3


@given(arrays(float, 20, elements=st.floats(0, 1e12)), arrays(float, 20, elements=st.floats(0, 1e12)))
def test_a_change_lies_within_the_slices(canary: Floats, baseline: Floats) -> None:
    """Whatever the counts, none and fractions included."""
    assert 0 <= split.last_change(canary, baseline) < 20


@given(arrays(float, 20, elements=st.floats(0, 1e9)), arrays(float, 20, elements=st.floats(0, 1e9)))
def test_the_arms_can_be_exchanged(canary: Floats, baseline: Floats) -> None:
    """A change of one arm's share is a change of the other's."""
    assert split.last_change(canary, baseline) == split.last_change(baseline, canary)


def test_counts_next_to_nothing_are_counts() -> None:
    """A fraction of a request, so small that its share of the others is 0 in a double."""
    canary, baseline = np.full(20, 1e9), np.zeros(20)
    baseline[0] = 5e-324

    assert split.last_change(canary, baseline) == split.last_change(baseline, canary) == 0


# Whether the split is what it should be


@pytest.mark.parametrize(
    ("share", "requests", "broken"),
    [
        (0.05, 1e9, False),
        (0.055, 1e9, False),  # the nominal share and the real one are never quite the same
        (0.04, 1e9, False),
        (0.07, 1e9, False),  # odds of 0.0753, which are 1.43 times those of 5%
        (0.15, 300, True),
        (0.15, 40, False),  # six of forty
        (0.01, 1e4, True),
        (0.08, 1e5, True),
        (0.5, 100, True),
        (0.0, 400, True),
    ],
)
def test_a_share_is_broken_beyond_the_tolerance(share: float, requests: float, *, broken: bool) -> None:
    """At a weight of 5%: a tenth off is nothing, three times as much is, once there are some hundred requests."""
    found = split.log_evidence(share * requests, (1 - share) * requests, 0.05)

    assert (found >= BROKEN) == broken


@pytest.mark.parametrize(
    ("canary", "baseline", "expected"), [(6, 34, 0.05), (30, 170, 0.05), (3, 97, 0.2), (9, 1, 0.5)]
)
def test_the_evidence_is_a_mixture_over_all_shares(canary: int, baseline: int, expected: float) -> None:
    """Numeric integration over the Beta prior, against the nearest share that is tolerated."""
    low, high = edges(expected)
    nearest = min(max(canary / (canary + baseline), low), high)

    def weighted(share: float) -> float:
        prior = beta.pdf(share, PRIOR_SIZE * expected, PRIOR_SIZE * (1 - expected))
        return float(prior * (share / nearest) ** canary * ((1 - share) / (1 - nearest)) ** baseline)

    integral = quad(weighted, 0, 1, points=[canary / (canary + baseline)], epsabs=0, limit=200)[0]

    assert split.log_evidence(canary, baseline, expected) == pytest.approx(math.log(integral), abs=1e-6)


@pytest.mark.parametrize("expected", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("requests", [1, 10, 100, 1000])
def test_the_evidence_is_an_e_value_at_every_tolerated_share(expected: float, requests: int) -> None:
    """Its mean over the binomial law is at most 1 at both edges and between them: summed up, not simulated."""
    canary = np.arange(requests + 1)
    values = np.array([split.log_evidence(float(one), float(requests - one), expected) for one in canary])
    low, high = edges(expected)
    for share in (low, expected, high):
        assert np.exp(binom.logpmf(canary, requests, share) + values).sum() <= 1 + 1e-9


@pytest.mark.statistical
def test_a_tolerated_share_is_called_broken_in_at_most_alpha_over_all_looks() -> None:
    """At the edge of what is tolerated, two hundred looks at 50 requests each, at 5%."""
    rng, runs, high = np.random.default_rng(5), 300, edges(0.05)[1]
    canary = rng.binomial(50, high, (runs, 200)).cumsum(axis=1)
    baseline = 50 * np.arange(1, 201) - canary
    evidence = [split.log_evidence(float(c), float(b), 0.05) for c, b in zip(canary.flat, baseline.flat, strict=True)]
    wrong = (np.reshape(evidence, canary.shape) >= math.log(20)).any(axis=1).sum()

    assert beta.ppf(0.999, wrong + 1, runs - wrong) <= 0.05


@given(st.floats(0, 1e15), st.floats(0, 1e15), st.floats(1e-6, 1 - 1e-6))
def test_the_evidence_is_finite(canary: float, baseline: float, expected: float) -> None:
    """No counts give NaN or infinite evidence."""
    assert math.isfinite(split.log_evidence(canary, baseline, expected))


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0.01, 0.99))
def test_either_arm_may_be_the_canary(canary: float, baseline: float, expected: float) -> None:
    """What is expected of the one is not expected of the other."""
    found = split.log_evidence(canary, baseline, expected)

    assert split.log_evidence(baseline, canary, 1 - expected) == pytest.approx(found, rel=1e-6, abs=1e-6)


def test_no_requests_are_no_evidence() -> None:
    """The e-process begins at 1."""
    assert split.log_evidence(0.0, 0.0, 0.05) == 0


def test_a_slice_in_the_middle_of_a_change_is_not_steady() -> None:
    """It resembles neither neighbour; the slices beside a change do, and so does noise."""
    canary, baseline = np.array([500.0, 480, 4000, 5000, 5100]), np.array([9500.0, 9700, 6000, 5000, 4900])

    assert split.steady(canary, baseline).tolist() == [True, True, False, True, True]
    assert split.steady(canary[:3], baseline[:3]).tolist() == [True, True, False]
    assert split.steady(np.array([3.0, 1, 5]), np.array([60.0, 50, 40])).all()
    assert split.steady(np.array([5.0]), np.array([50.0])).all()
