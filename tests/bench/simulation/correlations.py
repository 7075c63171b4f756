"""The correlation of requests in each run, as analyzer.stats.dispersion estimates it from the past of the baseline."""

import numpy as np
from bench.simulation.data import Arm, Floats, Moments

from analyzer.checks.correlation import ENOUGH_BATCHES
from analyzer.stats import dispersion
from analyzer.stats.dispersion import Dispersion


def of_arms(history: Arm) -> Floats:
    """Estimate the correlation of events; shape (runs,)."""
    return of_bins(np.stack([history.events, history.requests - history.events], axis=2))


def of_bins(history: Floats) -> Floats:
    """Estimate the correlation of classes; counts of shape (runs, minutes, classes)."""
    return _known([dispersion.of_counts(rows) for rows in history])


def of_values(history: Moments) -> Floats:
    """Estimate the correlation of values; shape (runs,)."""
    parts = (history.total, history.squares, history.count)
    return _known([dispersion.of_values(*(part[run] for part in parts)) for run in range(len(history.total))])


def _known(found: list[Dispersion]) -> Floats:
    if min(one.batches for one in found) < ENOUGH_BATCHES:
        raise ValueError("the past is too short to tell without what is beside the canary")
    return np.array([one.correlation for one in found])
