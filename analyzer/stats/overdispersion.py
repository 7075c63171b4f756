"""The design effect of requests as counts of an arm and of its pods show it; see `dispersion`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyzer.stats.dispersion import BATCH_SECONDS, INDEPENDENT, Dispersion
from analyzer.stats.search import Floats

FEWEST_BATCHES = 4  # of two classes; below, nothing can be estimated
FEWEST_LONG = 6  # batches of a longer length, for an estimate at that length
MARGIN = 1.28  # standard errors above the estimate: an upper bound (90%), for an estimate is too small half of the time
SIGNIFICANT = 2.5  # standard errors above independence from which on the whole bound counts; below, a part of it
INCIDENT_BATCHES = 15  # at most, of one incident of the past
INCIDENT_SHARE = 0.8  # of all that is beyond independence, in one incident at least
HEAVY_SHARE = 0.25  # of all that is beyond independence, in a single batch
INCIDENT_RATE = 3.0  # times the rate of all other batches, at least
EXTRAPOLATED = 8.0  # times the longest batch, up to which the excess may go on growing


def of_counts(counts: ArrayLike, seconds: float = BATCH_SECONDS, pods: Sequence[ArrayLike] = ()) -> Dispersion:
    """Estimate the design effect from counts by class, one row a batch.

    Parameters
    ----------
    counts : shape (batches, classes), for events ``[events, trials - events]``
    seconds : length of a batch
    pods : the same of each pod of the arm, each of the same shape; empty: not known

    Notes
    -----
    The estimate is Pearson's statistic over its degrees of freedom, classes that never occur left out [1]_, for batches
    of each length: `seconds`, twice that, and so on. Its standard error is that of the mean of the batches'
    contributions, which allows for clusters of unequal sizes.

    References
    ----------
    .. [1] P. McCullagh, J. A. Nelder, Generalized Linear Models, 2nd ed., 1989, section 4.5.
    """
    rows = np.asarray(counts, float)
    kept = _beside_incident(rows, COUNTED)
    left = rows if kept is None else rows[kept]
    whole = _by_length([left], seconds, COUNTED)
    if not whole:  # beside an incident, nothing may have happened at all
        return INDEPENDENT if kept is None else Dispersion(batches=len(left), incident=True)
    each = [np.asarray(pod, float) for pod in pods]
    each = [pod if kept is None else pod[kept] for pod in each if len(pod) == len(rows)]
    single = _by_length(each, seconds, COUNTED) if len(each) > 1 else []
    return replace(_fitted(whole, single, len(left), incident=kept is not None), heavy=_is_heavy(left))


def of_neighbours(counts: ArrayLike) -> float:
    """Return the design effect that shows between a batch and the next: clusters, without what lasts longer.

    Parameters
    ----------
    counts : shape (batches, classes)

    Notes
    -----
    Mean square of successive differences [1]_, over what it would be were requests independent; at least 1.

    References
    ----------
    .. [1] J. von Neumann, R. H. Kent, H. R. Bellinson, B. I. Hart, The mean square successive difference, Ann. Math.
       Statist. 12 (1941) 153-162.
    """
    rows = np.asarray(counts, float)
    rows = rows[rows.sum(axis=1) > 0]
    if len(rows) < FEWEST_BATCHES:
        return 1.0
    sizes = rows.sum(axis=1, keepdims=True)
    shares, pairs = rows / sizes, (rows[1:] + rows[:-1]) / (sizes[1:] + sizes[:-1])
    squares = np.diff(shares, axis=0) ** 2 * sizes[1:] * sizes[:-1] / (sizes[1:] + sizes[:-1])
    return max(float(squares.sum() / max(float((pairs * (1 - pairs)).sum()), 1e-300)), 1.0)


def of_values(total: ArrayLike, squares: ArrayLike, count: ArrayLike, seconds: float = BATCH_SECONDS) -> Dispersion:
    """Estimate the design effect of values from sums, sums of squares and numbers, each of shape (batches,)."""
    rows = np.column_stack([np.asarray(part, float) for part in (total, squares, count)])
    kept = _beside_incident(rows, SUMMED)
    left = rows if kept is None else rows[kept]
    levels = _by_length([left], seconds, SUMMED)
    return _fitted(levels, [], len(left), incident=kept is not None) if levels else INDEPENDENT


def in_batches(counts: Floats, slice_seconds: float | None, batch_seconds: float = BATCH_SECONDS) -> Floats:
    """Add up consecutive slices to batches; longer slices stay as they are. Axis 0 holds the slices."""
    each = max(1, round(batch_seconds / slice_seconds)) if slice_seconds else 1
    return _together(counts, each)


def _together(counts: Floats, each: int) -> Floats:
    whole = len(counts) // each * each
    if each == 1:
        return counts
    return np.asarray(counts[:whole].reshape(whole // each, each, *counts.shape[1:]).sum(axis=1))


@dataclass(frozen=True)
class _Level:
    """The design effect at one length of batches: estimate and standard error, that under independence, the rate."""

    seconds: float
    effect: float
    error: float
    null_error: float
    rate: float


class _Statistic(Protocol):
    """How a table of batches is held against independence."""

    def terms(self, streams: Sequence[Floats]) -> tuple[Floats, float]:
        """Return what each used batch of all streams adds to the design effect, and the degrees of freedom of each."""

    def used(self, rows: Floats) -> NDArray[np.bool_]:
        """Return which batches say anything."""

    def size(self, rows: Floats) -> float:
        """Return how many requests or values there are."""

    def level(self, row: Floats) -> float:
        """Return the rate or mean in sums by column; nan where there is not one."""


class _Counted:
    """Counts by class: Pearson's statistic. All streams share one law: pods that differ for good are overdispersed."""

    def terms(self, streams: Sequence[Floats]) -> tuple[Floats, float]:
        """Return what each used batch adds, and the degrees of freedom of each; see `_Statistic`."""
        rows = streams[0] if len(streams) == 1 else np.concatenate(streams)
        rows = rows[self.used(rows)]
        totals = rows.sum(axis=0)
        seen = totals > 0
        freedom = int(seen.sum()) - 1
        if freedom < 1 or (len(rows) - 1) * freedom < FEWEST_BATCHES - 1:
            return np.zeros(0), 0.0
        expected = rows.sum(axis=1)[:, np.newaxis] * (totals[seen] / totals.sum())
        squares = ((rows[:, seen] - expected) ** 2 / expected).sum(axis=1)
        return squares / freedom * (len(rows) / (len(rows) - 1)), float(freedom)

    def used(self, rows: Floats) -> NDArray[np.bool_]:
        """Return which batches say anything."""
        return np.asarray(rows.sum(axis=1) > 0)

    def size(self, rows: Floats) -> float:
        """Return how many requests or values there are."""
        return float(rows.sum())

    def level(self, row: Floats) -> float:
        """Return the rate or mean in sums by column; nan where there is not one."""
        return float(row[0] / row.sum()) if len(row) == 2 and row.sum() > 0 else math.nan


class _Summed:
    """Sums, sums of squares and numbers of values: squared deviations of the sums over their variance."""

    def terms(self, streams: Sequence[Floats]) -> tuple[Floats, float]:
        """Return what each used batch adds, and the degrees of freedom of each; see `_Statistic`."""
        rows = np.concatenate(streams)
        rows = rows[self.used(rows)]
        if len(rows) < FEWEST_BATCHES:
            return np.zeros(0), 0.0
        total, squares, count = rows.sum(axis=0)
        mean = total / count
        variance = squares / count - mean**2
        if not variance > 0:
            return np.zeros(0), 0.0
        scaled = (rows[:, 0] - mean * rows[:, 2]) ** 2 / (rows[:, 2] * variance)
        return scaled * (len(rows) / (len(rows) - 1)), 1.0

    def used(self, rows: Floats) -> NDArray[np.bool_]:
        """Return which batches say anything."""
        return np.asarray(rows[:, 2] > 0)

    def size(self, rows: Floats) -> float:
        """Return how many requests or values there are."""
        return float(rows[:, 2].sum())

    def level(self, row: Floats) -> float:
        """Return the rate or mean in sums by column; nan where there is not one."""
        return float(row[0] / row[2]) if row[2] > 0 else math.nan


COUNTED, SUMMED = _Counted(), _Summed()


def _by_length(streams: Sequence[Floats], seconds: float, statistic: _Statistic) -> list[_Level]:
    """Estimate the design effect for batches of each length, the shortest first; empty where there are too few."""
    levels: list[_Level] = []
    length = seconds
    while streams and (not levels or len(streams[0]) >= FEWEST_LONG):
        terms, freedom = statistic.terms(streams)
        if not freedom:
            break
        null_error = math.sqrt(2 / (len(terms) * freedom))
        few = max(float(terms.mean()), 1.0) if len(terms) < FEWEST_BATCHES else 1.0  # too few to tell how they spread
        error = max(float(terms.std()) / math.sqrt(len(terms)), null_error * few)
        rate = sum(map(statistic.size, streams)) / (len(streams) * len(streams[0]) * length)
        levels.append(_Level(length, float(terms.mean()), error, null_error, rate))
        streams, length = [_together(stream, 2) for stream in streams], 2 * length
    return levels


def _beside_incident(rows: Floats, statistic: _Statistic) -> NDArray[np.bool_] | None:
    """Return which batches are left without the one incident that makes up nearly all of the overdispersion.

    None where there is no such incident. An incident is no burst: the estimate is of what happens all the time.
    """
    if len(rows) < 2 * INCIDENT_BATCHES:
        return None
    used = statistic.used(rows)
    excess, freedom = statistic.terms([rows])
    if not freedom or len(excess) != used.sum():
        return None
    excess = excess - 1
    whole = float(excess.sum())
    if whole < _chance(len(excess)):
        return None
    terms = np.zeros(len(rows))
    terms[used] = excess
    summed = np.concatenate(([0.0], np.cumsum(terms)))
    best, first, last = 0.0, 0, 0
    for length in range(1, INCIDENT_BATCHES + 1):
        sums = summed[length:] - summed[:-length]
        start = int(sums.argmax())
        if sums[start] > best:
            best, first, last = float(sums[start]), start, start + length
    if best < INCIDENT_SHARE * whole:
        return None
    kept = np.ones(len(rows), bool)
    kept[max(first - 1, 0) : last + 1] = False  # it begins and ends within a batch
    inside, outside = statistic.level(rows[~kept].sum(axis=0)), statistic.level(rows[kept].sum(axis=0))
    return kept if math.isnan(inside) or inside > INCIDENT_RATE * outside else None


def _is_heavy(rows: Floats) -> bool:
    """Whether a single batch makes up a large part of what is beyond independence, and that is beyond chance."""
    excess = COUNTED.terms([rows])[0] - 1
    whole = float(excess.sum())
    return len(excess) >= FEWEST_BATCHES and whole >= _chance(len(excess)) and float(excess.max()) > HEAVY_SHARE * whole


def _chance(batches: int) -> float:
    """Return what all batches may be beyond independence by chance."""
    return SIGNIFICANT**2 * math.sqrt(2 * batches)


def _bounded(excess: float, error: float, null_error: float) -> float:
    """Return the upper bound of an excess, less of it where it may well be chance."""
    return max(0.0, excess + MARGIN * error) * min(max(excess / (SIGNIFICANT * null_error), 0.0), 1.0)


def _fitted(whole: list[_Level], single: list[_Level], batches: int, *, incident: bool) -> Dispersion:
    """Put the estimates of all lengths together: of the arm's counts, and of its single pods' where they are known."""
    fixed, slope, grows = 0.0, np.zeros(len(whole)), False
    for levels in filter(None, (whole, single)):
        first = levels[0]
        fixed = max(fixed, _bounded(first.effect - 1, first.error, first.null_error))
        growth = [0.0]
        for level in levels[1 : len(whole)]:
            more = _bounded(level.effect - first.effect, level.error, level.error)
            growth.append(max(more, growth[-1]))
        grows = grows or _grows(levels)
        by_rate = np.array(growth + growth[-1:] * (len(whole) - len(growth))) / max(first.rate, 1e-300)
        slope = np.maximum(slope, by_rate)
    seconds = [level.seconds for level in whole]
    longer = _extended(slope.tolist(), seconds) if grows else slope.tolist()
    if len(longer) > len(seconds):
        seconds.append(seconds[-1] * EXTRAPOLATED)
    return Dispersion(tuple(seconds), fixed, tuple(longer), whole[0].rate, batches, incident, bool(single))


def _grows(levels: list[_Level]) -> bool:
    """Whether the longest batches show more than the shortest, beyond chance."""
    first, last = levels[0], levels[-1]
    return last.effect - first.effect >= SIGNIFICANT * max(first.effect, 1.0) * last.null_error


def _extended(excess: list[float], seconds: list[float]) -> list[float]:
    """Let what still grows at the longest length grow on: its memory is longer than what was observed."""
    if len(seconds) < 2 or not 0 < excess[-2] < excess[-1]:
        return excess
    ratio = min(excess[-1] / excess[-2], 2.0)
    return [*excess, excess[-1] * ratio**2]
