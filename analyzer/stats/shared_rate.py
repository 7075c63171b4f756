"""Two arms side by side: how much of what a rate does in time is an arm's own, and not that of both arms?

A rate that varies in time adds to the variance of an arm's counts. What both arms share of it cancels where they are
compared slice by slice; the baseline's counts alone do not tell how much that is. The differences of the arms do.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from analyzer.stats import dispersion
from analyzer.stats.dispersion import BATCH_SECONDS, Dispersion
from analyzer.stats.onset import Starts
from analyzer.stats.search import Floats

Indices = NDArray[np.intp]

ENOUGH_SECONDS = 2400.0  # window of both arms, below which the baseline's estimate stands unchanged
FEWEST_BATCHES = 8.0  # also as many, in effect, as batches of independent rates
FEWEST_RATES = 2.0
LEVEL = 0.1  # of each of the two lower bounds whose sum is too large in far fewer cases


@dataclass(frozen=True)
class Differences:
    """What the canary has more than the baseline would have, at the ratio of the whole window; shape (slices,).

    Attributes
    ----------
    surplus : events, or values
    variance : of the surplus were requests independent
    requests : of canary and baseline
    """

    surplus: Floats
    variance: Floats
    requests: tuple[Floats, Floats]

    @property
    def compared(self) -> int:
        """Number of slices in which both arms had requests."""
        return int(np.count_nonzero((self.requests[0] > 0) & (self.requests[1] > 0)))

    @classmethod
    def of_events(cls, canary: Floats, baseline: Floats, odds: Floats, requests: tuple[Floats, Floats]) -> Self:
        """Compare counts of events; shape (slices,).

        Parameters
        ----------
        odds : canary requests per baseline request, see `share.odds_of`
        """
        events, expected = canary + baseline, odds / (1 + odds)
        ours, theirs = float((canary * (1 - expected)).sum()), float((baseline * expected).sum())
        if not (ours > 0 and theirs > 0):
            return cls(np.zeros_like(events), np.zeros_like(events), requests)
        share = ours * odds / (theirs + ours * odds)
        return cls(canary - events * share, events * share * (1 - share), requests)

    @classmethod
    def of_sums(
        cls, canary: Floats, baseline: Floats, *, sizes: Floats, variation: float, requests: tuple[Floats, Floats]
    ) -> Self:
        """Compare sums of values that are weighted as by `means.weighted_sizes`; shape (slices,).

        Parameters
        ----------
        sizes : of the comparison, of the same function
        variation : squared coefficient of variation of the values
        """
        ours, theirs, size = float(canary.sum()), float(baseline.sum()), float(sizes.sum())
        if not (ours > 0 and theirs > 0 and size > 0):
            return cls(np.zeros_like(sizes), np.zeros_like(sizes), requests)
        return cls(canary - ours / theirs * baseline, variation * (ours / size) ** 2 * sizes, requests)


def own_excess(
    known: Differences, starts: Starts, slice_seconds: float, correlation: Dispersion
) -> tuple[Floats, Floats]:
    """Bound what of the variance of both arms' counts does not cancel between them.

    Parameters
    ----------
    correlation : what the baseline's counts show

    Returns
    -------
    Upper bound of what clusters add to the variance of independent requests, infinite where the counts set none; and
    of the part of a varying rate's variance that is an arm's own, in [0, 1]. Both since each start, shape (starts,).

    Notes
    -----
    Pearson's statistic of the surplus in batches, over its degrees of freedom, is about ``1 + clusters + part S``: 1
    for independent requests, and S what `correlation` foresees of varying rates. It is held against the lower bounds of
    scaled chi-square laws: for clusters with fewer degrees of freedom the fewer there are, for S with one a batch of
    independent rates. Since each start the ratio may be another one than before it: a fault that begins then is no
    variation. Clusters are looked for in the shortest batches that hold enough of them, S in those whose bound would be
    the lowest if nothing were an arm's own.
    """
    slices, shape = known.compared, len(starts.slice_indices)
    clusters, part = np.full(shape, math.inf), np.ones(shape)
    if slices * slice_seconds < ENOUGH_SECONDS or correlation.lone or not known.variance.sum() > 0:
        return clusters, part
    shortest = max(1, round(BATCH_SECONDS / slice_seconds))
    doublings = math.floor(math.log2(max(slices / (shortest * FEWEST_BATCHES), 1.0)))
    each = shortest * 2 ** np.arange(doublings + 1, dtype=np.intp)
    batches = slices // each
    counted = _freedom(known, batches, 1 + correlation.fixed)
    if (enough := np.flatnonzero((counted >= FEWEST_BATCHES) & (batches >= FEWEST_BATCHES))).size:
        lowest = _lower(counted[enough[0]])
        clusters = np.maximum(_statistic(known, starts, int(each[enough[0]])) / lowest - 1, 0.0)
    counted = _freedom(known, batches, 1.0)
    rates = _foreseen(known, slice_seconds, each, correlation)
    usable = (counted >= FEWEST_BATCHES) & (batches >= FEWEST_BATCHES) & (rates > 0)
    if usable.any():
        lowest = _lower(np.where(usable, counted, 1.0))
        best = int(np.where(usable, (1 - lowest) / np.where(usable, rates, 1.0), math.inf).argmin())
        part = np.clip((_statistic(known, starts, int(each[best])) - lowest[best]) / rates[best], 0.0, 1.0)
    return clusters, part


def _freedom(known: Differences, batches: Indices, size: float) -> Floats:
    """Return how many batches of the normal law say as much as those of few events in clusters of such a size."""
    return np.asarray(batches * 2 / (2 + size * batches / float(known.variance.sum())))


def _foreseen(known: Differences, slice_seconds: float, each: Indices, correlation: Dispersion) -> Floats:
    """Return a lower bound of what rates that are each arm's own would add to the statistic; 0: none.

    Parameters
    ----------
    each : slices of a batch, shape (lengths,)
    """
    slices, seconds = known.compared, each * slice_seconds
    growth = correlation.slope_at(slices * slice_seconds) / np.maximum(correlation.slope_at(seconds), 1e-300)
    independent = slices // each / np.maximum(growth, 1.0)
    alone = replace(correlation, slope=(0.0,) * len(correlation.slope))
    busy = [float((arm**2).sum() / max(float(arm.sum()), 1e-300)) / slice_seconds for arm in known.requests]
    sizes = [rate * seconds for rate in busy]
    varying, clusters = (
        dispersion.combined(*(law.factor(size, seconds) for size in sizes), *sizes) for law in (correlation, alone)
    )
    rates = (varying - clusters) * _lower(np.maximum(independent - 1, 1.0))
    return np.where(independent < FEWEST_RATES, 0.0, rates)


def _lower(freedom: Floats) -> Floats:
    """Return the lower bound of a chi-square variable over its degrees of freedom."""
    return np.asarray(gammaincinv(np.asarray(freedom) / 2, LEVEL) / (np.asarray(freedom) / 2))


def _statistic(known: Differences, starts: Starts, each: int) -> Floats:
    """Return Pearson's statistic over its degrees of freedom, the ratio being another one since each start.

    The batch within which a start lies belongs to neither side of it.
    """
    first = np.arange(len(known.surplus) % each, len(known.surplus), each)
    surplus, variance = (np.add.reduceat(counts, first) for counts in (known.surplus, known.variance))
    squares = np.divide(surplus**2, variance, out=np.zeros_like(surplus), where=variance > 0)
    later = np.searchsorted(first, starts.slice_indices)
    earlier = np.where(
        np.append(first, len(known.surplus))[later] > starts.slice_indices, np.maximum(later - 1, 0), later
    )
    summed, sizes, terms, used = (
        np.concatenate(([0.0], np.cumsum(counts))) for counts in (surplus, variance, squares, variance > 0)
    )
    statistic, freedom = np.zeros(len(later)), np.zeros(len(later))
    for low, high in ((np.zeros_like(later), earlier), (later, np.full_like(later, len(first)))):
        total, size = summed[high] - summed[low], sizes[high] - sizes[low]
        fitted = np.divide(total**2, size, out=np.zeros_like(total), where=size > 0)
        statistic += terms[high] - terms[low] - fitted
        freedom += np.maximum(used[high] - used[low] - 1, 0)
    return np.asarray(np.divide(statistic, freedom, out=np.full_like(statistic, math.inf), where=freedom > 0))
