"""What no rule can beat: Wald's limit, and the sequential probability ratio test that knows both hypotheses.

An oracle knows the true value and when the fault began; it says how much of a distance to Wald's limit comes from
looking every half minute only.
"""

import math

import numpy as np
from bench.simulation.data import (
    BINS,
    LOOKS,
    SHARE,
    SLICE_SECONDS,
    VARIATION,
    Bins,
    Cell,
    Data,
    Floats,
    Kind,
    Looks,
    Shares,
    Sums,
    faulty,
)
from bench.simulation.rivals import Limits, first
from scipy.special import ive

ODDS = SHARE / (1 - SHARE)  # canary requests to baseline requests


def information(p: float, q: float) -> float:
    """Kullback-Leibler divergence of one trial: what it tells p from q."""
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def told(cell: Cell, limits: Limits, limit: float) -> float:
    """Give the information of one canary request, and its part of the baseline's, on the true value against a limit.

    Shares against a limit tell by themselves. Of shares that are compared, only in which arm an event happened.
    Means tell as normal ones whose variation is known; the square root of a PSI is a distance in standard errors.
    """
    canary, baseline = cell.scenario.canary, cell.scenario.baseline
    match cell.kind:
        case Kind.DRIFT:
            return (math.sqrt(canary) - math.sqrt(limit)) ** 2 / 2 * (1 - SHARE)
        case Kind.REVENUE:
            return (canary / baseline / limit - 1) ** 2 / (2 * VARIATION * (1 + ODDS))
        case _ if not limits.compares:
            return information(canary, limit)
        case _:
            odds = ODDS * canary / baseline, ODDS * limit
            return information(odds[0] / (1 + odds[0]), odds[1] / (1 + odds[1])) * (canary + baseline / ODDS)


def wald(cell: Cell, limits: Limits, limit: float, alpha: float) -> float:
    """Give the mean number of canary requests after the onset that any test of level alpha needs."""
    informative = told(cell, limits, limit)
    return -math.log(alpha) / informative if informative > 0 else math.inf


def oracle(cell: Cell, data: Data, limits: Limits, limit: float, alpha: float) -> Looks:
    """Find the first look at which the likelihood of the truth is 1/alpha times that of the limit; -1: never."""
    match data:
        case Shares() if limits.compares:
            ratios = _compared_ratio(cell, data, limit)
        case Shares():
            ratios = _share_ratio(cell, data, limit)
        case Bins():
            ratios = _distance_ratio(cell, data, limit)
        case Sums():
            ratios = _mean_ratio(cell, data, limit)
    return first(ratios >= -math.log(alpha))


def since_onset(cell: Cell, values: Floats) -> Floats:
    """Add up along the slices, those before the onset left out."""
    at_fault = faulty(cell.scenario) >= 1
    return np.cumsum(values * at_fault.reshape(-1, *[1] * (values.ndim - 2)), axis=1)


def onset_look(cell: Cell) -> int:
    """Give the number of looks that lie wholly before the onset."""
    return min(int(cell.scenario.onset / SLICE_SECONDS), LOOKS - 1)


def _share_ratio(cell: Cell, data: Shares, limit: float) -> Floats:
    truth = cell.scenario.canary
    events, requests = (since_onset(cell, values) for values in (data.canary.events, data.canary.requests))
    return np.asarray(events * math.log(truth / limit) + (requests - events) * math.log((1 - truth) / (1 - limit)))


def _compared_ratio(cell: Cell, data: Shares, limit: float) -> Floats:
    """Sum slice by slice, each with its own share of the traffic."""
    scenario = cell.scenario
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = data.canary.requests / data.baseline.requests
        true, null = odds * scenario.canary / scenario.baseline, odds * limit
        ours, theirs = data.canary.events, data.baseline.events
        terms = ours * np.log(true / null) - (ours + theirs) * np.log((1 + true) / (1 + null))
    return since_onset(cell, np.where((odds > 0) & np.isfinite(odds), terms, 0.0))


def _mean_ratio(cell: Cell, data: Sums, limit: float) -> Floats:
    truth = cell.scenario.canary / cell.scenario.baseline
    n, m = since_onset(cell, data.canary.count), since_onset(cell, data.baseline.count)
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = since_onset(cell, data.canary.total) / n / (since_onset(cell, data.baseline.total) / m)
        variance = VARIATION * (1 / n + 1 / m)
        # The error of a ratio of means grows with the ratio, so each hypothesis is measured in its own unit.
        ratios = ((observed / limit - 1) ** 2 - (observed / truth - 1) ** 2) / (2 * variance)
    return np.nan_to_num(ratios, nan=0.0, posinf=0.0, neginf=0.0)


def _distance_ratio(cell: Cell, data: Bins, limit: float) -> Floats:
    """Compare two noncentral chi-square laws of the PSI times its effective size."""
    ours, theirs = since_onset(cell, data.canary), since_onset(cell, data.baseline)
    n, m = ours.sum(axis=2), theirs.sum(axis=2)
    c, b = ((arm + 0.5) / (arm + 0.5).sum(axis=2, keepdims=True) for arm in (ours, theirs))
    size = n * m / np.maximum(n + m, 1)
    x = size * ((c - b) * np.log(c / b)).sum(axis=2)
    found = _log_density(x, size * cell.scenario.canary) - _log_density(x, size * limit)
    return np.where(np.minimum(n, m) >= BINS, found, 0.0)


def _log_density(x: Floats, noncentrality: Floats) -> Floats:
    """Log density of the noncentral chi-square law, but for what does not depend on the noncentrality."""
    order = (BINS - 1) / 2 - 1
    z = np.maximum(np.sqrt(noncentrality * x), 1e-3)
    return np.asarray(-noncentrality / 2 + np.log(ive(order, z)) + z - order * np.log(z))
