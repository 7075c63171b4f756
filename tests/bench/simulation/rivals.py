"""The rules that people use today, on the same data: each function tells whether its rule rolls back at each look."""

import math
from dataclasses import dataclass

import numpy as np
from bench.simulation.data import BINS, MINUTE, Arm, Bins, Bools, Data, Floats, Looks, Moments, Shares, Sums
from scipy.special import betainc, chdtrc, ndtri

WINDOW = 10  # slices: five minutes
FAILURE_LIMIT = 3  # the fourth failed measurement rolls back
LEVEL = 0.05
ZERO_PATCH = 1e-4  # what most libraries put in place of an empty bin
KAYENTA_CONFIDENCE, KAYENTA_TOLERANCE = 0.98, 0.25
KAYENTA_EVERY = 20  # slices: ten minutes
KAYENTA_RUNS = 100


@dataclass(frozen=True)
class Limits:
    """The limits of a check: shares, PSI, or with `compares` ratios of the canary's rate or mean to the baseline's.

    Attributes
    ----------
    worse : 1 where more is worse, -1 where less is
    """

    promote: float
    rollback: float
    compares: bool = False
    worse: int = 1


def first(decided: Bools) -> Looks:
    """Find the first look, counted from 0, at which each run decides; -1: never."""
    return np.where(decided.any(axis=1), decided.argmax(axis=1), -1)


def rivals(data: Data, limits: Limits) -> dict[str, Looks]:
    """Judge a cell by every rule there is for its kind; the first look that rolls back, by rule."""
    beyond = threshold(data, limits)
    found = {
        "threshold": first(beyond),
        "threshold, 4 failures": first(np.cumsum(beyond, axis=1) > FAILURE_LIMIT),
        "repeated test": first(repeated_test(data, limits)),
        "repeated interval": first(repeated_interval(data, limits)),
    }
    if not isinstance(data, Bins):
        found["Mann-Whitney judge"] = mann_whitney(data, limits)
    return found


def threshold(data: Data, limits: Limits) -> Bools:
    """Compare the value with the rollback limit, as an ordinary AnalysisTemplate on Prometheus does.

    Rates, means and their ratios are those of the last five minutes. The PSI is that of everything so far, with
    1e-4 in place of empty bins. Without data nothing is beyond a limit.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        match data:
            case Shares():
                value = _lately(data.canary.events) / _lately(data.canary.requests)
                if limits.compares:
                    value /= _lately(data.baseline.events) / _lately(data.baseline.requests)
            case Sums():
                value = _lately(data.canary.total) / _lately(data.canary.count)
                value /= _lately(data.baseline.total) / _lately(data.baseline.count)
            case Bins():
                ours, theirs = _part_by_bin(data.canary), _part_by_bin(data.baseline)
                ours, theirs = np.maximum(ours, ZERO_PATCH), np.maximum(theirs, ZERO_PATCH)
                value = ((ours - theirs) * np.log(ours / theirs)).sum(axis=2)
        return np.asarray(limits.worse * (value - limits.rollback) > 0)


def repeated_test(data: Data, limits: Limits) -> Bools:
    """Test at 5% whether the arms differ, at every look, on everything so far: the textbook's tests, repeated.

    One-sided z tests of two proportions (pooled) or two means, towards the bad side; the chi-square test of
    homogeneity for bins.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        if isinstance(data, Bins):
            return np.asarray(_homogeneity(data) < LEVEL)
        if isinstance(data, Shares):
            (s, n), (t, m) = _so_far(data.canary), _so_far(data.baseline)
            pooled = (s + t) / (n + m)
            z = (s / n - t / m) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        else:
            (ours, n, variance), (theirs, m, their_variance) = _means(data.canary), _means(data.baseline)
            z = (ours - theirs) / np.sqrt(variance / n + their_variance / m)
        return np.asarray(limits.worse * z > -ndtri(LEVEL))


def repeated_interval(data: Data, limits: Limits) -> Bools:
    """Look whether a one-sided 95% interval lies beyond the rollback limit, at every look, on everything so far.

    The exact Clopper-Pearson interval for one share; delta-method intervals for the ratio of two shares (of its
    logarithm), the ratio of two means and the PSI.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        if isinstance(data, Bins):
            return _psi_beyond(data, limits)
        if isinstance(data, Sums):
            (ours, n, variance), (theirs, m, their_variance) = _means(data.canary), _means(data.baseline)
            ratio = ours / theirs
            error = ratio * np.sqrt(variance / ours**2 / n + their_variance / theirs**2 / m)
            return np.asarray(limits.worse * (ratio - limits.rollback) + ndtri(LEVEL) * error > 0)
        (s, n), (t, m) = _so_far(data.canary), _so_far(data.baseline)
        if limits.compares:
            error = np.sqrt((1 - s / n) / s + (1 - t / m) / t)
            distance = limits.worse * (np.log(s / n / (t / m)) - math.log(limits.rollback))
            return np.asarray((s > 0) & (t > 0) & (distance + ndtri(LEVEL) * error > 0))
        # The lower bound is above the limit when so many events are that improbable at the limit.
        tail = betainc(np.maximum(s, 1), n - s + 1, limits.rollback)
        return np.asarray((s > 0) & (tail < LEVEL))


def mann_whitney(data: Shares | Sums, limits: Limits) -> Looks:
    """Judge series of one value a minute by the rank test of Kayenta's judge, with its published defaults.

    The window grows and is judged every ten minutes, for at most `KAYENTA_RUNS` runs. High (or low) when the
    interval of the shift lies beyond a quarter of its Hodges-Lehmann estimate and the ratio of the means is beyond 1.
    Minutes without requests are left out.
    """
    ours, theirs = _series(data.canary)[:KAYENTA_RUNS], _series(data.baseline)[:KAYENTA_RUNS]
    return np.array([_judged(limits.worse * x, limits.worse * y) for x, y in zip(ours, theirs, strict=True)])


def _judged(canary: Floats, baseline: Floats) -> int:
    """Find the first look at which the series of one run are told apart."""
    for look in range(KAYENTA_EVERY - 1, len(canary) * MINUTE, KAYENTA_EVERY):
        minutes = (look + 1) // MINUTE
        x, y = canary[:minutes], baseline[:minutes]
        x, y = np.sort(x[~np.isnan(x)]), np.sort(y[~np.isnan(y)])
        if shifted(x, y):
            return look
    return -1


def shifted(x: Floats, y: Floats) -> bool:
    """Tell whether sorted x is shifted upwards against sorted y: the rule of one judgement."""
    if len(x) == 0 or len(y) == 0 or x.mean() <= y.mean():
        return False
    needed = ndtri((1 + KAYENTA_CONFIDENCE) / 2)
    if rank_z(x, y) <= needed:
        return False  # the interval would contain 0: the costly estimate is not needed
    estimate = float(np.median(np.subtract.outer(x, y)))
    return bool(rank_z(x - KAYENTA_TOLERANCE * abs(estimate), y) > needed)


def rank_z(x: Floats, y: Floats) -> float:
    """Normal statistic of the rank-sum test of sorted samples, corrected for ties and continuity."""
    n, m = len(x), len(y)
    wins = (np.searchsorted(y, x, "left") + np.searchsorted(y, x, "right")).sum() / 2 - n * m / 2
    ties = np.unique(np.concatenate((x, y)), return_counts=True)[1].astype(float)
    total = n + m
    variance = n * m / 12 * (total + 1 - (ties**3 - ties).sum() / (total * (total - 1)))
    if variance <= 0:
        return 0.0
    return float((wins - np.sign(wins) * 0.5) / math.sqrt(variance))


def _lately(values: Floats) -> Floats:
    """Add up the last five minutes."""
    sums = np.cumsum(values, axis=1)
    sums[:, WINDOW:] -= sums[:, :-WINDOW].copy()
    return sums


def _so_far(arm: Arm) -> tuple[Floats, Floats]:
    return np.cumsum(arm.events, axis=1), np.cumsum(arm.requests, axis=1)


def _part_by_bin(counts: Floats) -> Floats:
    sums = np.cumsum(counts, axis=1)
    return np.asarray(sums / sums.sum(axis=2, keepdims=True))


def _means(arm: Moments) -> tuple[Floats, Floats, Floats]:
    """Give mean, number and variance of everything so far."""
    count = np.cumsum(arm.count, axis=1)
    mean = np.cumsum(arm.total, axis=1) / count
    return mean, count, np.cumsum(arm.squares, axis=1) / count - mean**2


def _homogeneity(data: Bins) -> Floats:
    """P-value of Pearson's test that both arms have the same bins; bins that nobody saw are left out."""
    ours, theirs = np.cumsum(data.canary, axis=1), np.cumsum(data.baseline, axis=1)
    both = ours + theirs
    share = ours.sum(axis=2, keepdims=True) / both.sum(axis=2, keepdims=True)
    # Both arms' parts of the statistic in one: their deviations from the expected counts are equal and opposite.
    terms = np.where(both > 0, (ours - both * share) ** 2 / (both * share * (1 - share)), 0.0)
    return np.asarray(chdtrc((both > 0).sum(axis=2) - 1, np.nan_to_num(terms.sum(axis=2))))


def _psi_beyond(data: Bins, limits: Limits) -> Bools:
    """Tell whether the PSI, with 0.5 added to each bin and its bias taken off, is 1.64 errors beyond its limit."""
    ours, theirs = np.cumsum(data.canary, axis=1) + 0.5, np.cumsum(data.baseline, axis=1) + 0.5
    n, m = ours.sum(axis=2), theirs.sum(axis=2)
    c, b = ours / n[..., np.newaxis], theirs / m[..., np.newaxis]
    size = n * m / (n + m)
    value = ((c - b) * np.log(c / b)).sum(axis=2) - (BINS - 1) / size
    error = np.sqrt(4 * np.maximum(value, 0) / size + 2 * (BINS - 1) / size**2)
    return np.asarray(value + ndtri(LEVEL) * error > limits.rollback)


def _series(arm: Arm | Moments) -> Floats:
    """Give one rate or mean a minute."""
    top, bottom = (arm.events, arm.requests) if isinstance(arm, Arm) else (arm.total, arm.count)
    shape = (len(top), -1, MINUTE)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(top.reshape(shape).sum(axis=2) / bottom.reshape(shape).sum(axis=2))
