"""Requests that go together: what is estimated of it, and that evidence divided by it keeps its promise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import beta, chi2, chi2_contingency
from stats.looks import evidence_reaches

from analyzer.stats import dispersion
from analyzer.stats.dispersion import Dispersion
from analyzer.stats.onset import starts_of

Floats = NDArray[np.float64]


def bursts(
    rng: np.random.Generator, shape: tuple[int, ...], requests: float, share: float, correlation: float
) -> Floats:
    """Draw beta-binomial batches: events and the other requests, as the last axis."""
    shares = np.full(shape, share)
    if correlation:
        strength = 1 / correlation - 1
        shares = rng.beta(share * strength, (1 - share) * strength, shape)
    trials = rng.poisson(requests, shape)
    events = rng.binomial(trials, shares)
    return np.stack([events, trials - events], axis=-1).astype(float)


def correlations(batches: Floats) -> Floats:
    """Estimate each run's correlation; shape (runs, batches, classes)."""
    return np.array([dispersion.of_counts(run).correlation for run in batches])


# Estimates


@pytest.mark.parametrize(
    ("requests", "share", "correlation"),
    [(600, 0.005, 0.01), (600, 0.05, 0.002), (11_400, 0.005, 0.01), (60, 0.2, 0.05), (30, 0.5, 0.2)],
)
def test_the_correlation_of_bursts_is_found(requests: float, share: float, correlation: float) -> None:
    """Beta-binomial batches of a day: the upper bound is within a fifth on average, over a hundred days."""
    found = correlations(bursts(np.random.default_rng(1), (100, 1440), requests, share, correlation))

    assert correlation < found.mean() < 1.2 * correlation


def test_bursts_of_predictions_are_found_over_all_classes() -> None:
    """Dirichlet-multinomial batches of five classes, one of them rare."""
    rng = np.random.default_rng(2)
    shares = np.array([0.004, 0.2, 0.3, 0.4, 0.096])
    weights = rng.standard_gamma(shares * (1 / 0.02 - 1), (40, 1440, 5))
    batches = rng.multinomial(300, weights / weights.sum(axis=-1, keepdims=True))

    assert 0.02 < correlations(batches).mean() < 1.1 * 0.02


def test_bursts_of_values_are_found() -> None:
    """Purchases whose level is common to a minute: variance between over variance in all."""
    rng = np.random.default_rng(3)
    level = rng.gamma(1 / 0.05, 0.05, (40, 720, 1))  # its variance 0.05
    values = level * rng.gamma(2, 0.5, (40, 720, 50))  # each of variance 0.5 around it
    found = [dispersion.of_values(run.sum(axis=1), (run**2).sum(axis=1), np.full(720, 50)) for run in values]

    # by hand: mean 1, E level^2 = 1.05, E value^2 = 1.05 * 1.5 = 1.575: 0.05 of 0.575
    assert 0.05 / 0.575 < np.mean([one.correlation for one in found]) < 1.15 * 0.05 / 0.575


@pytest.mark.parametrize(("requests", "share"), [(600, 0.005), (60, 0.05), (11_400, 0.3)])
def test_independent_requests_do_not_correlate(requests: float, share: float) -> None:
    """No more than the noise of the estimate; never less than nothing."""
    found = correlations(bursts(np.random.default_rng(4), (300, 720), requests, share, 0.0))

    assert (found >= 0).all()
    assert found.mean() * requests < 0.1  # counts of an arm as large are divided by hardly more than 1
    assert (found == 0).mean() > 0.05


@pytest.mark.parametrize("batches", [4, 20, 80])
def test_the_bound_is_pearsons_statistic_over_the_tenth_part_of_its_law(batches: int) -> None:
    """Batches of one size: the statistic of scipy.stats.chi2_contingency, and the correlation that leads to it."""
    rng = np.random.default_rng(5)
    rows = bursts(rng, (batches,), 1e4, 0.02, 0.01)
    rows *= 500 / rows.sum(axis=1, keepdims=True)
    statistic, _, freedom, _ = chi2_contingency(rows, correction=False)

    found = dispersion.of_counts(rows)

    assert found.batches == batches
    assert float(found.factor(500)) == pytest.approx(statistic / chi2.ppf(0.1, freedom), rel=1e-9)


@pytest.mark.statistical
@pytest.mark.parametrize("batches", [8, 20, 120])
@pytest.mark.parametrize(
    ("requests", "share", "correlation", "at_least"),
    [
        (60, 0.2, 0.02, 0.85),
        (600, 0.05, 0.01, 0.85),
        (600, 0.05, 0.0, 0.99),
        (11_400, 0.005, 0.002, 0.83),
        (600, 0.005, 0.01, 0.65),  # three events a batch: their number in a burst is far from normal
    ],
)
def test_the_upper_bound_is_one(
    requests: float, share: float, correlation: float, at_least: float, batches: int
) -> None:
    """In about nine of ten runs the truth is below it; in fewer where bursts are rare and large."""
    found = correlations(bursts(np.random.default_rng(7), (600, batches), requests, share, correlation))

    assert (found >= correlation).mean() >= at_least


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_handful_of_batches_tells_nothing(batches: int) -> None:
    """Below eight nothing is said: no correlation, from no batches."""
    assert dispersion.of_counts(np.full((batches, 2), 100.0)) == Dispersion()
    assert (
        dispersion.of_values(np.full(batches, 100.0), np.full(batches, 250.0), np.full(batches, 50.0)) == Dispersion()
    )


@pytest.mark.parametrize(
    "rows", [np.full((30, 2), [0.0, 100.0]), np.full((30, 2), [100.0, 0.0]), np.zeros((30, 2)), np.zeros((30, 0))]
)
def test_counts_of_one_class_tell_nothing(rows: Floats) -> None:
    """Without a single event nothing is known of how events go together."""
    assert dispersion.of_counts(rows) == Dispersion()


def test_equal_values_tell_nothing() -> None:
    """Values that do not vary have no correlation."""
    assert dispersion.of_values(np.full(30, 20.0), np.full(30, 40.0), np.full(30, 10.0)) == Dispersion()


# Laws


@given(arrays(float, (30, 3), elements=st.one_of(st.just(0.0), st.floats(1e-9, 1e15))))
def test_a_correlation_lies_between_none_and_all(rows: Floats) -> None:
    """No counts, fractions included, give another."""
    found = dispersion.of_counts(rows)

    assert 0 <= found.correlation <= 1
    assert math.isfinite(found.correlation)


@given(
    arrays(float, 30, elements=st.floats(-1e12, 1e12)), arrays(float, 30, elements=st.floats(1, 1e3)),
    arrays(float, 30, elements=st.one_of(st.just(0.0), st.floats(1, 1e9))),
)  # fmt: skip
def test_a_correlation_of_values_lies_between_none_and_all(total: Floats, spread: Floats, count: Floats) -> None:
    """Whatever the values, of either sign, and with minutes that have none."""
    total = np.where(count > 0, total, 0.0)
    squares = np.where(count > 0, total**2 / np.maximum(count, 1) * spread, 0.0)
    found = dispersion.of_values(total, squares, count)

    assert 0 <= found.correlation <= 1


@given(st.integers(0, 1000), st.floats(1e-3, 1e6))
def test_the_unit_of_values_does_not_matter(seed: int, unit: float) -> None:
    """Cents or euros: the same correlation."""
    values = np.random.default_rng(seed).lognormal(0, 1, (40, 20)) * np.linspace(1, 2, 40)[:, np.newaxis]
    sums, squares, count = values.sum(axis=1), (values**2).sum(axis=1), np.full(40, 20)

    found = dispersion.of_values(sums, squares, count)
    scaled = dispersion.of_values(unit * sums, unit**2 * squares, count)

    assert scaled.correlation == pytest.approx(found.correlation, rel=1e-6, abs=1e-12)


@given(
    arrays(float, (20, 3), elements=st.one_of(st.just(0.0), st.floats(1e-6, 1e6))),
    st.permutations(range(3)),
    st.permutations(range(20)),
)
def test_neither_order_matters(rows: Floats, classes: list[int], batches: list[int]) -> None:
    """Classes and batches may come in any order; empty batches and classes that never occur change nothing."""
    found = dispersion.of_counts(rows)
    padded = np.vstack([np.column_stack([rows[batches][:, classes], np.zeros(20)]), np.zeros((3, 4))])
    other = dispersion.of_counts(padded)

    assert other.correlation == pytest.approx(float(found.correlation), rel=1e-9, abs=1e-12)
    assert other.batches == found.batches


@given(arrays(float, (40, 2), elements=st.floats(1, 1e6)), st.floats(1.01, 100))
def test_so_many_times_the_counts_have_so_many_times_the_dispersion(rows: Floats, factor: float) -> None:
    """Shares that spread the same among more requests are further from independent."""
    few, many = (dispersion.of_counts(scale * rows) for scale in (1.0, factor))

    assert many.correlation >= few.correlation - 1e-12


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

    found = dispersion.in_batches(counts, seconds)

    assert found.tolist() == [[one, 2 * one] for one in expected]


def test_a_factor_is_one_plus_the_correlation_of_the_others() -> None:
    """Variance of a batch over that of independent requests, for several sizes at once; never below 1."""
    assert Dispersion(0.01).factor([0, 0.5, 1, 101, 601]).tolist() == pytest.approx([1, 1, 1, 2, 7])
    assert Dispersion().factor(1e12) == 1


def test_a_comparison_has_the_factor_of_its_larger_variance() -> None:
    """The small arm has most of the variance: 7 and 120 become 12.65; equal arms the mean of both."""
    # by hand: (7 / 1000 + 120 / 19000) / (1 / 1000 + 1 / 19000) = .0133158 / .00105263
    assert float(dispersion.combined(7.0, 120.0, 1000.0, 19_000.0)) == pytest.approx(12.65)
    assert dispersion.combined([1.0, 2.0], [3.0, 4.0], [10, 10], [10, 10]) == pytest.approx([2, 3])


# What it is for


@pytest.mark.statistical
@pytest.mark.parametrize(("rate", "limit", "seed"), [(1, 0.005, 51), (10, 0.01, 52)])
def test_evidence_on_divided_counts_keeps_its_promise_in_bursts(rate: float, limit: float, seed: int) -> None:
    """At the limit itself with a correlation of 0.01 a minute, which two hours of the baseline tell, at 480 looks."""
    rng, runs, alpha = np.random.default_rng(seed), 500, 0.05
    shares = rng.beta(limit * 99, (1 - limit) * 99, (240, runs)).repeat(2, axis=0)
    requests = rng.poisson(rate * 30, shares.shape).astype(float)
    errors = rng.binomial(requests.astype(int), shares).astype(float)
    history = bursts(rng, (runs, 120), 19 * rate * 60, limit, 0.01)
    factors = 1 + (rate * 60 - 1) * correlations(history)
    starts = starts_of(480, 30.0)

    raw = evidence_reaches(errors, requests, starts, limit, alpha).any(axis=0)
    divided = evidence_reaches(errors / factors, requests / factors, starts, limit, alpha).any(axis=0)

    assert beta.ppf(0.99, divided.sum() + 1, runs - divided.sum()) <= 2 * alpha
    assert raw.mean() > 2.5 * alpha  # what was promised for independent requests
