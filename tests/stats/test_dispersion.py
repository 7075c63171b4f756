"""The design effect of clusters and common rates: what is estimated of it, and that evidence divided by it is valid."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import beta, chi2_contingency
from stats.looks import evidence_reaches

from analyzer.stats import dispersion
from analyzer.stats.dispersion import INDEPENDENT, Dispersion
from analyzer.stats.onset import starts_of
from analyzer.stats.overdispersion import in_batches, of_counts, of_neighbours, of_values

Floats = NDArray[np.float64]
LENGTHS = (1, 4, 16)  # minutes
ROWS = arrays(float, (30, 3), elements=st.one_of(st.just(0.0), st.floats(1e-9, 1e15)))


def table(events: Floats, requests: Floats | float) -> Floats:
    """Give one row a minute: events, and the other requests."""
    events = np.asarray(events, float)
    return np.stack([events, np.maximum(requests - events, 0.0)], axis=-1)


def independent(rng: np.random.Generator, shape: tuple[int, ...], requests: float, share: float) -> Floats:
    """Draw requests that fail each by itself."""
    trials = rng.poisson(requests, shape).astype(float)
    return table(rng.binomial(trials.astype(int), share), trials)


def clustered(rng: np.random.Generator, shape: tuple[int, ...], requests: float, mean: float, *, fixed: bool) -> Floats:
    """Draw causes at random, two in a hundred requests, each of which fails requests of a fixed or geometric number."""
    causes = rng.poisson(requests * 0.02 / mean, shape)
    extra = 0 if fixed or mean == 1 else rng.negative_binomial(np.maximum(causes, 1), 1 / mean) * (causes > 0)
    events = mean * causes if fixed else causes + extra
    return table(events, np.maximum(rng.poisson(requests, shape), events))


def wandering(rng: np.random.Generator, minutes: int, spread: float, memory: float) -> Floats:
    """Draw lognormal rates of mean 1 that forget themselves within so many minutes; 0: at once."""
    kept = math.exp(-1 / memory) if memory else 0.0
    values = rng.standard_normal(minutes)
    for minute in range(1, minutes):
        values[minute] = kept * values[minute - 1] + math.sqrt(1 - kept**2) * values[minute]
    return np.asarray(np.exp(spread * values - spread**2 / 2))


def effects(known: Sequence[Dispersion], requests: float, minutes: float = 1) -> Floats:
    """Give the design effect of an arm with so many requests a minute in each estimate."""
    return np.array([float(one.factor(requests * minutes, 60 * minutes)) for one in known])


# Reference values


def test_the_estimate_is_pearsons_statistic_over_its_degrees_of_freedom() -> None:
    """By scipy.stats.chi2_contingency: of all batches, and of pairs of them; the bound is 1.28 standard errors above.

    The counts are overdispersed beyond doubt, at one minute and not more at two, so the whole bound counts.
    """
    rng = np.random.default_rng(5)
    rows = table(rng.permutation(np.linspace(0, 60, 8)), 500.0)
    statistic, _, freedom, _ = chi2_contingency(rows, correction=False)
    expected = rows.sum(axis=1, keepdims=True) * rows.sum(axis=0) / rows.sum()
    terms = ((rows - expected) ** 2 / expected).sum(axis=1) * 8 / 7
    assert terms.mean() == pytest.approx(statistic / freedom)

    known = of_counts(rows)

    error = max(terms.std() / math.sqrt(8), math.sqrt(2 / 8))
    assert (known.batches, known.seconds, known.rate) == (8, (60.0,), pytest.approx(500 / 60))
    assert float(known.factor(500, 60)) == pytest.approx(statistic / freedom + 1.28 * error)


def test_all_classes_count() -> None:
    """Three classes have two degrees of freedom a batch; a class that never occurs has none."""
    rng = np.random.default_rng(6)
    rows = np.array([[100.0, 200, 300], [150, 250, 200], [80, 320, 200], [120, 180, 300]])
    statistic, _, freedom, _ = chi2_contingency(rows, correction=False)
    expected = rows.sum(axis=1, keepdims=True) * rows.sum(axis=0) / rows.sum()
    terms = ((rows - expected) ** 2 / expected).sum(axis=1) / 2 * 4 / 3
    error = max(terms.std() / 2, math.sqrt(2 / 8))

    for counts in (rows, np.insert(rows, rng.integers(0, 3), 0.0, axis=1)):
        known = of_counts(counts)
        assert freedom == 6
        assert float(known.factor(600, 60)) == pytest.approx(statistic / freedom + 1.28 * error)


def test_values_by_hand() -> None:
    """Four minutes of ten values whose means are 1, 3, 1, 3 and whose mean square is 5.

    Mean 2, variance 1; each sum is 10 from what is expected, squared 100 over 10, times 4 / 3: an effect of 13 1/3 and,
    as the minutes are alike, the standard error of independent requests, which is the root of 2 / 4.
    """
    known = of_values([10.0, 30, 10, 30], [50.0] * 4, [10.0] * 4)

    assert known.fixed == pytest.approx(40 / 3 - 1 + 1.28 * math.sqrt(0.5))
    assert known.correlation(10) == 0.99  # values that are all alike within a minute: the cap
    assert float(known.factor(10, 60)) == 10  # never above the number of values


# Independent requests


@pytest.mark.parametrize(("requests", "share", "batches"), [(600, 0.005, 120), (60, 0.05, 120), (11_400, 0.3, 720)])
def test_independent_requests_cost_next_to_nothing(requests: float, share: float, batches: int) -> None:
    """The noise of the estimate: a factor of at most 1.10 on average within a batch; half of the time none."""
    rows = independent(np.random.default_rng(4), (120, batches), requests, share)
    found = effects([of_counts(run) for run in rows], requests)

    assert (found >= 1).all()
    assert found.mean() <= 1.10
    assert (found == 1).mean() > 0.4


# Clusters


@pytest.mark.parametrize("requests", [60, 600, 6000])
@pytest.mark.parametrize("pods", [False, True])
@pytest.mark.parametrize(("mean", "fixed"), [(3, False), (4, True)])
def test_clusters_have_the_known_effect_at_every_volume(mean: int, requests: float, *, fixed: bool, pods: bool) -> None:
    """2 m - 1 of geometric numbers, m of fixed ones: E size^2 / E size, less what the share itself takes away.

    The bound is above it, by less than half on average; an arm a tenth as large has the same effect.
    """
    rng = np.random.default_rng(7)
    rows = clustered(rng, (40, 240, 4), requests / 4, mean, fixed=fixed)
    known = [of_counts(run.sum(axis=1), pods=[*run.swapaxes(0, 1)] if pods else ()) for run in rows]
    truth = mean if fixed else 2 * mean - 1

    for volume in (requests / 10, requests):
        found = effects(known, volume)
        assert 0.95 * truth < found.mean() < 1.5 * truth
        assert (found > 0.9 * truth).mean() > 0.85


@pytest.mark.parametrize("pods", [False, True])
def test_clusters_are_scaled_up_beyond_the_traffic_that_was_observed(*, pods: bool) -> None:
    """Ten times the traffic may be a common rate, which pods do not tell from retries that reach any of them."""
    rows = clustered(np.random.default_rng(8), (40, 240, 4), 1500, 5, fixed=True)
    known = [of_counts(run.sum(axis=1), pods=[*run.swapaxes(0, 1)] if pods else ()) for run in rows]

    assert effects(known, 60_000) - 1 == pytest.approx(10 * (effects(known, 6000) - 1), rel=0.3)


# Common rates


def common_rate(seed: int, memory: float, runs: int = 40) -> tuple[list[Dispersion], list[Dispersion]]:
    """Estimate from pods and their sum, and from the sum alone: 1% of 6000 requests a minute times a common rate."""
    rng = np.random.default_rng(seed)
    told, guessed = [], []
    for _ in range(runs):
        share = np.minimum(0.01 * wandering(rng, 240, 0.5, memory), 0.5)[:, np.newaxis]
        trials = rng.poisson(1500, (240, 4))
        pods = table(rng.binomial(trials, share), trials.astype(float)).swapaxes(0, 1)
        told.append(of_counts(pods.sum(axis=0), pods=[*pods]))
        guessed.append(of_counts(pods.sum(axis=0)))
    return told, guessed


@pytest.mark.parametrize("pods", [False, True])
def test_a_common_rate_is_scaled_up_and_cautiously_not_down(*, pods: bool) -> None:
    """A rate that changes each minute with a squared variation of 0.284: 1 + 0.01 * 0.284 requests.

    A smaller arm is not let off: what shows within a minute is taken for clusters.
    """
    known = common_rate(9, 0)[0 if pods else 1]

    for requests in (6000, 60_000):
        truth = 1 + 0.01 * math.expm1(0.25) * requests
        assert 0.95 * truth < effects(known, requests).mean() < 1.5 * truth
    assert effects(known, 600) == pytest.approx(effects(known, 6000), rel=0.1)


def test_pods_that_each_wander_have_their_effect_in_longer_segments() -> None:
    """Pods whose rates have a memory of their own, which their sum shows less of: never less than without them."""
    rng = np.random.default_rng(18)
    told, guessed = [], []
    for _ in range(20):
        share = np.array([0.01 * wandering(rng, 240, 0.5, 10) for _ in range(4)])
        trials = rng.poisson(1500, (4, 240))
        pods = table(rng.binomial(trials, np.minimum(share, 0.5)), trials.astype(float))
        told.append(of_counts(pods.sum(axis=0), pods=[*pods]))
        guessed.append(of_counts(pods.sum(axis=0)))

    for minutes in LENGTHS:
        with_pods, without = effects(told, 6000, minutes), effects(guessed, 6000, minutes)
        assert (with_pods >= without * (1 - 1e-9)).all()
    assert effects(told, 6000, 16).mean() > 1.3 * effects(guessed, 6000, 16).mean()


@pytest.mark.parametrize("pods", [False, True])
def test_wandering_rates_have_a_greater_effect_in_longer_segments(*, pods: bool) -> None:
    """A rate that is the same for minutes adds up: the effect grows up to its memory, and is not less afterwards."""
    known = common_rate(10, 10)[0 if pods else 1]
    found = [effects(known, 6000, minutes).mean() for minutes in LENGTHS]

    assert found[1] > 2 * found[0]
    assert found[2] > 1.5 * found[1]
    assert effects(known, 6000, 64).mean() > found[2]


def test_what_still_grows_at_the_longest_batch_grows_on_for_a_while() -> None:
    """A memory of an hour is longer than four hours show. Nobody knows how long it is: the growth ends at eightfold."""
    _, known = common_rate(12, 60)
    longest = 32  # of 240 minutes there are seven batches of it
    found = [effects(known, 6000, times * longest).mean() for times in (1, 2, 4, 8, 32)]

    assert found[0] < found[1] < found[2] < found[3]
    assert found[4] == pytest.approx(found[3])


def test_rates_without_memory_are_the_same_in_longer_segments() -> None:
    """Noise of the estimate aside."""
    known, _ = common_rate(11, 0)

    assert effects(known, 6000, 16).mean() < 2 * effects(known, 6000).mean()


# Incidents


def past(rng: np.random.Generator, incidents: Sequence[int]) -> Floats:
    """Draw two hours with 0.3% of errors, but 3% within ten minutes from each of some moments on."""
    share = np.full(120, 0.003)
    for start in incidents:
        share[start : start + 10] = 0.03
    trials = rng.poisson(6000, 120)
    return table(rng.binomial(trials, share), trials.astype(float))


@pytest.mark.parametrize("start", [0, 37, 110])
def test_one_incident_of_the_past_is_left_out(start: int) -> None:
    """Ten minutes of two hours are no burst, wherever they are: the estimate is that of the others."""
    known = of_counts(past(np.random.default_rng(12), [start]))

    assert known.incident
    assert 102 <= known.batches <= 111  # it may seem to begin earlier or end later
    assert float(known.factor(6000, 60)) < 1.6
    assert known.rate == pytest.approx(100, rel=0.01)


def test_two_incidents_are_what_happens_to_this_service() -> None:
    """What comes twice in two hours may come again."""
    known = of_counts(past(np.random.default_rng(13), [20, 80]))

    assert not known.incident
    assert known.batches == 120
    assert float(known.factor(6000, 60)) > 10


def test_a_short_past_has_no_incident() -> None:
    """Fewer than half an hour say nothing of what is usual."""
    assert not of_counts(past(np.random.default_rng(14), [10])[:29]).incident


def test_clusters_are_no_incident() -> None:
    """Nor is a single minute of many causes taken for one often."""
    rows = clustered(np.random.default_rng(15), (40, 240), 600, 5, fixed=False)

    assert np.mean([of_counts(run).incident for run in rows]) < 0.05


def test_one_incident_of_values_is_left_out() -> None:
    """Ten minutes at ten times the mean."""
    rng = np.random.default_rng(16)
    values = rng.gamma(2, 0.5, (120, 50))
    values[40:50] *= 10
    known = of_values(values.sum(axis=1), (values**2).sum(axis=1), np.full(120, 50.0))

    assert known.incident
    assert float(known.factor(50, 60)) < 1.6


# Values


def test_a_common_level_of_values_is_found() -> None:
    """Purchases whose level is common to a minute: variance between over variance in all, times the others of it."""
    rng = np.random.default_rng(3)
    level = rng.gamma(1 / 0.05, 0.05, (40, 720, 1))  # its variance 0.05
    values = level * rng.gamma(2, 0.5, (40, 720, 50))  # each of variance 0.5 around it
    known = [of_values(run.sum(axis=1), (run**2).sum(axis=1), np.full(720, 50)) for run in values]

    # by hand: mean 1, E level^2 = 1.05, E value^2 = 1.05 * 1.5 = 1.575: 0.05 of 0.575
    truth = 1 + 49 * 0.05 / 0.575
    assert truth < effects(known, 50).mean() < 1.2 * truth
    assert np.mean([one.correlation(50) for one in known]) == pytest.approx((effects(known, 50).mean() - 1) / 49)


# Too little to tell


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_handful_of_batches_is_not_enough(batches: int) -> None:
    """Below four there is no estimate."""
    assert of_counts(np.full((batches, 2), 100.0)) == INDEPENDENT
    assert of_values(np.full(batches, 100.0), np.full(batches, 250.0), np.full(batches, 50.0)) == INDEPENDENT


@pytest.mark.parametrize(
    "rows",
    [
        np.full((30, 2), [0.0, 100.0]), np.full((30, 2), [100.0, 0.0]), np.zeros((30, 2)), np.zeros((30, 0)),
        np.zeros((200, 2)),
    ],
)  # fmt: skip
def test_counts_of_one_class_are_not_enough(rows: Floats) -> None:
    """Without a single event nothing is known of how events cluster."""
    assert of_counts(rows) == INDEPENDENT


def test_equal_values_are_not_enough() -> None:
    """Values that do not vary have no variance to compare with."""
    assert of_values(np.full(30, 20.0), np.full(30, 40.0), np.full(30, 10.0)) == INDEPENDENT


def test_pods_that_do_not_fit_are_left_out() -> None:
    """A single pod is the arm; pods of other lengths say nothing of it."""
    rows = clustered(np.random.default_rng(17), (240, 4), 150, 5, fixed=True)
    whole = rows.sum(axis=1)

    assert of_counts(whole, pods=[whole]) == of_counts(whole)
    assert of_counts(whole, pods=[rows[:100, pod] for pod in range(4)]) == of_counts(whole)
    assert of_counts(whole, pods=[*rows.swapaxes(0, 1)]).pods


# Properties


@given(ROWS, st.floats(1e-3, 1e9), st.one_of(st.just(math.nan), st.floats(1, 1e7)))
def test_a_factor_is_finite_at_least_one_and_never_above_the_requests(
    rows: Floats, requests: float, seconds: float
) -> None:
    """Whatever the counts, fractions included."""
    known = of_counts(rows, pods=[rows / 3, rows * 2 / 3])
    factor = float(known.factor(requests, seconds))

    assert 1 <= factor <= max(requests, 1)
    assert 0 <= known.correlation(requests) <= 0.99
    assert 0 <= known.observed_correlation <= 0.99
    assert all(math.isfinite(part) and part >= 0 for part in (known.fixed, *known.slope))


@given(
    arrays(float, 30, elements=st.floats(-1e12, 1e12)), arrays(float, 30, elements=st.floats(1, 1e3)),
    arrays(float, 30, elements=st.one_of(st.just(0.0), st.floats(1, 1e9))),
)  # fmt: skip
def test_a_factor_of_values_is_finite(total: Floats, spread: Floats, count: Floats) -> None:
    """Whatever the values, of either sign, and with minutes that have none."""
    total = np.where(count > 0, total, 0.0)
    squares = np.where(count > 0, total**2 / np.maximum(count, 1) * spread, 0.0)
    known = of_values(total, squares, count)

    assert 1 <= float(known.factor(1e6, 60)) <= 1e6
    assert 0 <= known.correlation(50) <= 0.99


@given(st.integers(0, 1000), st.floats(1e-3, 1e6))
def test_the_unit_of_values_does_not_matter(seed: int, unit: float) -> None:
    """Cents or euros: the same effect."""
    values = np.random.default_rng(seed).lognormal(0, 1, (40, 20)) * np.linspace(1, 2, 40)[:, np.newaxis]
    sums, squares, count = values.sum(axis=1), (values**2).sum(axis=1), np.full(40, 20)

    known, scaled = of_values(sums, squares, count), of_values(unit * sums, unit**2 * squares, count)

    for minutes in LENGTHS:
        found = float(scaled.factor(20 * minutes, 60 * minutes))
        assert found == pytest.approx(float(known.factor(20 * minutes, 60 * minutes)), rel=1e-6)


@given(arrays(float, (20, 3), elements=st.one_of(st.just(0.0), st.floats(1e-6, 1e6))), st.permutations(range(3)))
def test_the_order_of_classes_does_not_matter(rows: Floats, classes: list[int]) -> None:
    """Classes may come in any order, and some may never occur."""
    known = of_counts(rows)
    other = of_counts(np.column_stack([rows[:, classes], np.zeros(20)]))

    assert other.batches == known.batches
    assert float(other.factor(1e4, 60)) == pytest.approx(float(known.factor(1e4, 60)), rel=1e-9)
    assert float(other.factor(1e5, 600)) == pytest.approx(float(known.factor(1e5, 600)), rel=1e-6)


@given(st.permutations(range(24)))
def test_the_order_of_batches_does_not_matter_within_a_batch(order: list[int]) -> None:
    """Only the memory does: the effect in the shortest batch is the same in any order."""
    rows = table(np.arange(24.0), 500.0)

    assert float(of_counts(rows[order]).factor(500, 60)) == pytest.approx(float(of_counts(rows).factor(500, 60)))


@given(arrays(float, (29, 2), elements=st.floats(1, 1e6)), st.floats(1.01, 100))
def test_so_many_times_the_counts_have_so_many_times_the_effect(rows: Floats, scale: float) -> None:
    """Pearson's statistic grows with the counts: shares that spread the same among more requests are less alike."""
    few, many = (of_counts(times * rows) for times in (1.0, scale))

    requests = few.rate * 60
    assert float(many.factor(scale * requests, 60)) >= float(few.factor(requests, 60)) - 1e-9


@given(ROWS, st.floats(1, 1e6), st.floats(1, 1e5), st.floats(1, 100))
def test_longer_segments_never_have_less(rows: Floats, rate: float, seconds: float, times: float) -> None:
    """At the same rate."""
    known = of_counts(rows)
    short, long = (float(known.factor(1e12, length, rate)) for length in (seconds, times * seconds))

    assert long >= short * (1 - 1e-9)
    assert float(known.factor(1e12, math.nan, rate)) >= long * (1 - 1e-9)


# Batches, factors, comparisons


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (15.0, [0 + 1 + 2 + 3, 4 + 5 + 6 + 7]),  # four to a minute; what is left of one is left out
        (30.0, [1, 5, 9, 13, 17]),
        (60.0, list(range(10))),
        (240.0, list(range(10))),
        (None, list(range(10))),
        (25.0, [1, 5, 9, 13, 17]),  # about a minute
    ],
)
def test_slices_are_added_up_to_minutes(seconds: float | None, expected: list[float]) -> None:
    """Whole minutes, in order; longer slices stay as they are."""
    counts = np.column_stack([np.arange(10.0), 2 * np.arange(10.0)])

    batches = in_batches(counts, seconds)

    assert batches.tolist() == [[count, 2 * count] for count in expected]


def test_a_factor_is_fixed_plus_slope_times_rate() -> None:
    """By hand: between the lengths by their logarithm, beyond them as at the nearest; never above the requests."""
    known = Dispersion(seconds=(60.0, 240.0), fixed=2.0, slope=(0.0, 0.4), rate=10.0, batches=60)

    assert known.factor([600, 1200, 2400, 9600], [60, 120, 240, 960]).tolist() == pytest.approx([3, 5, 7, 7])
    assert float(known.factor(2400, math.nan)) == pytest.approx(1 + 2 + 0.4 * 10)  # the longest, at the known rate
    assert known.factor([0, 0.5, 1, 2], 60).tolist() == [1, 1, 1, 2]
    assert float(known.factor(1200, 60)) == 1 + 2 * 2  # twice the traffic: clusters twice as large
    assert float(known.factor(1200, 60, 10.0)) == 3  # a rate that is given is taken
    assert known.correlation(601) == pytest.approx(2 * (601 / 600) / 600)
    assert known.observed_correlation == pytest.approx(2 / 599)
    assert INDEPENDENT.factor(1e12, 60) == 1
    assert (INDEPENDENT.correlation(100), INDEPENDENT.observed_correlation) == (0, 0)


def test_a_comparison_has_the_factor_of_its_larger_variance() -> None:
    """The small arm has most of the variance: 7 and 120 become 12.65; equal arms the mean of both."""
    # by hand: (7 / 1000 + 120 / 19000) / (1 / 1000 + 1 / 19000) = .0133158 / .00105263
    assert float(dispersion.combined(7.0, 120.0, 1000.0, 19_000.0)) == pytest.approx(12.65)
    assert dispersion.combined([1.0, 2.0], [3.0, 4.0], [10, 10], [10, 10]) == pytest.approx([2, 3])


# What it is for


@pytest.mark.statistical
@pytest.mark.parametrize(("rate", "limit", "seed"), [(1, 0.005, 51), (10, 0.01, 52)])
def test_evidence_on_divided_counts_is_valid_in_bursts(rate: float, limit: float, seed: int) -> None:
    """At the limit itself with a correlation of 0.01 a minute, estimated from two hours of the baseline, 480 looks."""
    rng, runs, alpha = np.random.default_rng(seed), 500, 0.05
    shares = rng.beta(limit * 99, (1 - limit) * 99, (240, runs)).repeat(2, axis=0)
    requests = rng.poisson(rate * 30, shares.shape).astype(float)
    errors = rng.binomial(requests.astype(int), shares).astype(float)
    starts = starts_of(480, 30.0)
    pasts = rng.poisson(19 * rate * 60, (runs, 120))
    rows = table(rng.binomial(pasts, rng.beta(limit * 99, (1 - limit) * 99, (runs, 120))), pasts.astype(float))
    # A common rate at 19 times the volume: known as clusters, which divide the smaller arm by as much.
    factors = np.array([float(of_counts(run).factor(1e9, 60, float(rate))) for run in rows])

    raw = evidence_reaches(errors, requests, starts, limit, alpha).any(axis=0)
    divided = evidence_reaches(errors / factors, requests / factors, starts, limit, alpha).any(axis=0)

    assert beta.ppf(0.99, divided.sum() + 1, runs - divided.sum()) <= 2 * alpha
    assert raw.mean() > 2.5 * alpha  # for independent requests it is at most alpha


def test_neighbours_show_clusters_and_not_what_lasts_longer() -> None:
    """Of clusters of five, of a rate that jumps once, and of independent classes."""
    rng = np.random.default_rng(21)
    requests = np.full(400, 2000.0)
    level = np.where(np.arange(400) < 200, 0.01, 0.05)
    events = {
        5.0: 5.0 * rng.poisson(2000 * 0.01 / 5, 400),
        1.0: rng.binomial(2000, level).astype(float),
    }
    for size, bad in events.items():
        rows = np.column_stack([bad, requests - bad])
        assert of_neighbours(rows) == pytest.approx(size, rel=0.2)
        assert of_neighbours(np.insert(rows, 7, 0.0, axis=0)) == of_neighbours(rows)  # an idle minute says nothing
    assert of_neighbours(rng.multinomial(500, [0.5, 0.3, 0.2], 400)) == pytest.approx(1, abs=0.15)
    assert of_neighbours(np.ones((3, 2))) == 1.0


def test_one_clump_in_a_past_without_any_other_event_is_an_incident() -> None:
    """Nothing is left to estimate from, but a single bad batch proves nothing of a canary."""
    events = np.zeros(120)
    events[70] = 50.0
    known = of_counts(np.column_stack([events, np.full(120, 170.0)]))

    assert known.incident
    assert known.lone
    assert known.independent
    assert known.batches > 100
