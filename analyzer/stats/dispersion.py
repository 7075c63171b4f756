"""How far requests of the same minute go together: bursts make evidence look stronger than it is.

With an intraclass correlation rho, the variance of a count is phi = 1 + (n - 1) rho times that of independent
requests, n being the requests of a batch. Evidence is computed on counts divided by phi.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri

from analyzer.stats.search import Floats

BATCH_SECONDS = 60.0
FEWEST_BATCHES = 4  # below, nothing can be said
BOUND_LEVEL = 0.9  # an upper bound stands for the estimate: with many batches they hardly differ


@dataclass(frozen=True)
class Dispersion:
    """What is known of the correlation of requests.

    Attributes
    ----------
    correlation : of two requests of one batch, in [0, 1], as an upper bound (90%); 0 for independent ones
    batches : from how many it was estimated; 0: it was not
    batch_seconds : how long a batch lasts
    """

    correlation: float = 0.0
    batches: int = 0
    batch_seconds: float = BATCH_SECONDS

    def factor(self, requests_a_batch: ArrayLike) -> Floats:
        """Tell by what the counts of an arm are to be divided, given its requests in a batch."""
        return np.asarray(1 + np.maximum(np.asarray(requests_a_batch, float) - 1, 0) * self.correlation)


def of_counts(counts: ArrayLike) -> Dispersion:
    """Estimate the correlation from counts by class, one row a batch.

    Parameters
    ----------
    counts : shape (batches, classes), for events ``[events, trials - events]``

    Notes
    -----
    phi is Pearson's statistic over its degrees of freedom, classes that never occur left out [1]_; with classes of
    a multinomial the correlation is that of the Dirichlet-multinomial.

    References
    ----------
    .. [1] P. McCullagh, J. A. Nelder, Generalized Linear Models, 2nd ed., 1989, section 4.5.
    """
    rows = np.asarray(counts, float)
    rows = rows[rows.sum(axis=1) > 0]
    sizes = rows.sum(axis=1)
    shares = rows.sum(axis=0) / max(sizes.sum(), 1e-300)
    seen = shares > 0
    if len(rows) < FEWEST_BATCHES or seen.sum() < 2:
        return Dispersion()
    expected = sizes[:, np.newaxis] * shares[seen]
    pearson = ((rows[:, seen] - expected) ** 2 / expected).sum() / (seen.sum() - 1)
    return _from_phi(float(pearson), sizes, int(seen.sum()) - 1)


def of_values(total: ArrayLike, squares: ArrayLike, count: ArrayLike) -> Dispersion:
    """Estimate the correlation of values from sums, sums of squares and numbers, each of shape (batches,)."""
    used = np.asarray(count, float) > 0
    sums, sizes = np.asarray(total, float)[used], np.asarray(count, float)[used]
    if len(sums) < FEWEST_BATCHES:
        return Dispersion()
    mean = sums.sum() / sizes.sum()
    variance = np.asarray(squares, float)[used].sum() / sizes.sum() - mean**2
    if not variance > 0:
        return Dispersion()
    return _from_phi(float(((sums - mean * sizes) ** 2 / sizes).sum() / variance), sizes, 1)


def combined(canary: ArrayLike, baseline: ArrayLike, canary_size: ArrayLike, baseline_size: ArrayLike) -> Floats:
    """Join the factors of two arms into that of their comparison, by the parts of its variance."""
    ours, theirs = 1 / np.asarray(canary_size, float), 1 / np.asarray(baseline_size, float)
    return np.asarray((np.asarray(canary) * ours + np.asarray(baseline) * theirs) / (ours + theirs))


def in_batches(counts: Floats, slice_seconds: float | None) -> Floats:
    """Add up consecutive slices to batches of a minute; longer slices stay as they are. Axis 0 holds the slices."""
    each = max(1, round(BATCH_SECONDS / slice_seconds)) if slice_seconds else 1
    whole = len(counts) // each * each
    return np.asarray(counts[:whole].reshape(whole // each, each, *counts.shape[1:]).sum(axis=1))


def _from_phi(pearson: float, sizes: Floats, freedom: int) -> Dispersion:
    """Turn the sum of squares of the batches into the upper bound of a correlation.

    The estimate itself would be too small half of the time, and levels far below 5% do not forgive that.
    """
    batches = len(sizes)
    degrees = (batches - 1) * freedom
    phi = pearson * freedom / float(chdtri(degrees, BOUND_LEVEL))
    # The size that counts with unequal batches; equal ones have just their size.
    size = (sizes.sum() - (sizes**2).sum() / sizes.sum()) / (batches - 1)
    correlation = (phi - 1) / (size - 1) if size > 1 else 0.0
    return Dispersion(min(max(correlation, 0.0), 1.0), batches)
