"""From samples of cumulative counters on a grid of times to how much each grew in each slice, to the unit.

`increase()` would lose or invent what straddles a slice's border. Here each series is followed by itself:
grown: the difference; first seen: it counts from 0 if its process is new, or if the process is known and the
series is a new label set (a first error). Around the restart of a process every single sample is looked at,
because a counter that grew past its old value again does not show on the grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analyzer.model.counts import Floats

CLOCK_JITTER = 1.0  # seconds by which the start of one process may seem to vary
USUAL_JITTER = 0.1  # the same but for rare exceptions
FORGOTTEN = 4.0  # times the usual distance of samples, after which a counter that is lower was not only lagging
BY_FAR = 3.0  # times what a counter ever grew by between two samples, to which it cannot have come in so short a time
MANY_FALLS = 3  # of counters, for which there is no other explanation than several processes

Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Grid:
    """Cumulative counters of many series at the ends of consecutive slices; NaN: no sample in the slice.

    Attributes
    ----------
    base : last value before the first slice; shape (series,)
    last : last value inside each slice; shape (series, slices)
    may_fall : whether it is a sum of values that may be negative, which falls without a restart; shape (series,)
    target : number of the scrape target that a series comes from; shape (series,)
    """

    base: Floats
    last: Floats
    may_fall: Flags
    target: Indices


@dataclass(frozen=True)
class Track:
    """Every sample of one series over a segment of time; `family` names the metric that restarts as one."""

    family: str
    times: Floats
    values: Floats
    may_fall: bool = False


def increments(grid: Grid, *, scraped_before: Flags, begins_at_zero: Flags) -> Floats:
    """Tell how much each counter grew in each slice.

    Parameters
    ----------
    grid : the samples
    scraped_before, begins_at_zero : see `counts_from_zero`

    Returns
    -------
    Growth, shape (series, slices); >= 0 but for those that may fall. A counter that fell restarted: it counts
    from 0, and what it had grown before, inside that slice, is known only to `followed`.
    """
    present = ~np.isnan(grid.last)
    previous = last_known(grid.base, grid.last)
    known = ~np.isnan(previous)
    before, last = np.where(known, previous, 0.0), np.where(present, grid.last, 0.0)
    grown = np.where((last < before) & ~grid.may_fall[:, np.newaxis], last, last - before)
    from_zero = counts_from_zero(grid, scraped_before=scraped_before, begins_at_zero=begins_at_zero)
    return np.where(present & (known | from_zero), grown, 0.0)


def counts_from_zero(grid: Grid, *, scraped_before: Flags, begins_at_zero: Flags) -> Flags:
    """Tell of each series in which slices it would count from 0 if it were first seen there.

    Parameters
    ----------
    grid : the samples
    scraped_before : whether a target was scraped before the first slice; shape (targets,)
    begins_at_zero : whether a target that was first scraped inside the grid is a new process, whose counters
        began at 0, and not an old one that could not be reached for a while; shape (targets,)

    Returns
    -------
    Shape (series, slices). A target that turns out to be old begins to count from its first slice on.
    """
    seen = np.zeros((len(scraped_before), grid.last.shape[1]), dtype=bool)
    np.logical_or.at(seen, grid.target, ~np.isnan(grid.last))
    seen = np.maximum.accumulate(seen, axis=1)
    seen_earlier = np.column_stack([scraped_before, seen[:, :-1] | scraped_before[:, np.newaxis]])
    return np.asarray((seen_earlier | begins_at_zero[:, np.newaxis])[grid.target])


def last_known(base: Floats, last: Floats) -> Floats:
    """Give the value that each slice starts from: the latest sample before it; NaN while there was none."""
    values = np.column_stack([base, last[:, :-1]])
    columns = np.where(np.isnan(values), 0, np.arange(values.shape[1]))
    latest = np.maximum.accumulate(columns, axis=1)
    return np.asarray(np.take_along_axis(values, latest, axis=1))


@dataclass(frozen=True)
class Restarts:
    """What happened to one process group.

    Attributes
    ----------
    by_family : scrapes before which its process restarted, by family of metrics
    sure : those of them that the start of the process tells
    several : processes answer in turn, each with counters of its own: nothing can be counted
    """

    by_family: Mapping[str, Floats]
    several: bool = False
    sure: Floats = field(default_factory=lambda: np.zeros(0))


def restarts(tracks: Sequence[Track], process_starts: Track | None) -> Restarts:
    """Find the scrapes of one target before which its process restarted.

    Parameters
    ----------
    tracks : every series of the target
    process_starts : the gauge with the time at which the process started: it changes with every restart

    Notes
    -----
    Without the gauge a restart shows in counters that fall. Those of one family restart together, also those
    that grew past their old value; but only where what fell or vanished is at least half of all that had been
    counted: a single label set that a program removes and begins anew is no restart of the large ones beside it.
    """
    counters = [track for track in tracks if not track.may_fall]
    changed: Floats = np.empty(0)
    if process_starts is not None and len(process_starts.values):
        changed, several = _new_starts(process_starts, counters)
        if several:
            return Restarts({track.family: changed for track in tracks}, several=True)
    steady = process_starts is not None
    by_family = {}
    falls: Floats = np.empty(0)
    for family in {track.family for track in tracks}:
        members = [track for track in counters if track.family == family]
        by_family[family] = np.union1d(changed, _falls(members, changed, steady=steady))
        if not steady:
            falls = np.union1d(falls, _unlikely_falls(members, by_family[family]))
    return Restarts(by_family, several=len(falls) >= MANY_FALLS, sure=changed)


def followed(
    track: Track,
    restarts_: Floats,
    *,
    from_zero: bool,
    steady: bool = False,
    alone: bool = True,
    sure: Floats | None = None,
) -> Floats:
    """Tell how much a series grew up to each of its samples since the one before; the first is the base.

    Parameters
    ----------
    track : the samples, in the order of time
    restarts_ : scrapes before which the process restarted, ascending
    from_zero : whether there is no base: the first sample counts from 0
    steady : whether all restarts are known, so that a fall at another time is none of the process
    alone : whether the series may be reset by itself, as no bucket of a histogram does
    sure : the restarts that the start of the process tells; at the others a series that goes on as if nothing had been
        is believed; None: all are sure
    """
    values, times = track.values, track.times
    if not len(values):
        return values
    before = np.concatenate([[0.0], values[:-1]])
    restarted = _restarted(times, restarts_)
    if sure is not None:
        rises = np.where(restarted, 0.0, values - before)[1:]
        goes_on = (values >= before) & (before > 0) & (values > BY_FAR * max(rises.max(initial=0.0), 1.0))
        restarted &= ~goes_on | _restarted(times, sure)
    if not track.may_fall:
        back = steps_back(times, values, restarted, steady=steady)
        if not alone:
            back |= (values < np.concatenate([[0.0], values[:-1]])) & ~restarted
        if back.any():
            before = _peaks(values, restarted, back)
        restarted |= (values < before) & ~back & (before > 0)
    grown = np.where(restarted, values, np.maximum(values - before, 0.0) if not track.may_fall else values - before)
    grown[0] = values[0] if from_zero else 0.0
    return np.asarray(grown)


def steps_back(times: Floats, values: Floats, restarted: Flags, *, steady: bool) -> Flags:
    """Tell which samples are below the one before without a restart: a copy of the counter that lags behind.

    Parameters
    ----------
    times, values : of a counter
    restarted : samples before which the process restarted
    steady : whether these are all restarts that there were

    Notes
    -----
    Where restarts are not known, a fall is none if the counter could not have come so far since: it is at more than
    three times what it ever grew by from one sample to the next. A series that was absent for a while was forgotten by
    its exporter, and was reset.
    """
    before = np.concatenate([[0.0], values[:-1]])
    fell = (values < before) & ~restarted
    fell[:1] = False
    if fell.any():
        apart = np.diff(times)
        fell[1:] &= apart <= FORGOTTEN * np.median(apart)
    if not fell.any():
        return np.asarray(fell)
    back = fell & (2 * values >= before)
    if steady:
        return np.asarray(back | (fell & (np.concatenate([values[1:], [-1.0]]) >= before)))
    rises = np.where(restarted, 0.0, values - before)[1:]
    return np.asarray(back & (values > BY_FAR * max(rises.max(initial=0.0), 0.0)))


def _restarted(times: Floats, restarts_: Floats) -> Flags:
    return np.asarray(np.diff(np.searchsorted(restarts_, times, side="right"), prepend=0) > 0)


def _peaks(values: Floats, restarted: Flags, back: Flags) -> Floats:
    """Return what each sample is compared with, the greatest value of its process; mark in `back` what is below."""
    peaks, peak, lags = np.zeros(len(values)), 0.0, False
    for number, value in enumerate(values):
        peaks[number] = peak
        if not restarted[number] and value < peak and (back[number] or (lags and value >= values[number - 1])):
            back[number] = lags = True  # a lagging copy may take several samples to catch up
            continue
        peak, lags = value, False
    return peaks


def _new_starts(process_starts: Track, counters: Sequence[Track]) -> tuple[Floats, bool]:
    """Return when the process was found to be another, and whether several answer in turn.

    The start of one process may seem to vary by less than `CLOCK_JITTER`.
    """
    times, starts = process_starts.times, np.round(process_starts.values, 3)
    steps = np.diff(starts)
    changed = np.flatnonzero(steps)
    if not len(changed):
        return np.empty(0), False
    # A process that began after the last sample of the one before is another, but where its clock is ahead of samples.
    after = (starts[changed + 1] > times[changed] - CLOCK_JITTER) & (starts[changed] <= times[changed])
    restarted = times[changed + 1][steps[changed] > np.where(after, USUAL_JITTER, CLOCK_JITTER)]
    fell = [np.empty(0)]
    for track in counters:
        unexplained = (np.diff(track.values) < 0) & ~_restarted(track.times, restarted)[1:]
        fell.append(track.times[1:][unexplained & _returns(track.values)])
    falls = np.isin(times[changed + 1], np.concatenate(fell))
    known: set[float] = set()
    revisited = []
    for start in starts:
        revisited.append(start in known)
        known.add(start)
    back = (steps[changed] < 0) | np.array(revisited)[changed + 1]
    spread = starts.max() - starts.min()
    if ((back & falls).any() and falls.sum() > 1) or (
        spread > CLOCK_JITTER and _alternates(starts[[0, *(changed + 1)]])
    ):
        return times[changed + 1], True
    return restarted, False


def _returns(values: Floats) -> Flags:
    """Tell which values come back within three samples, or may do so, after the next one; shape (samples - 1,)."""
    padded = np.concatenate([values, np.full(3, np.inf)])
    soon = np.lib.stride_tricks.sliding_window_view(padded, 3).max(axis=1)[2:]
    return np.asarray(soon[: max(0, len(values) - 1)] >= values[:-1])


def _alternates(starts: Floats) -> bool:
    """Tell whether the start goes back, by more than it may seem to vary, again and again."""
    return int((np.diff(starts) < -CLOCK_JITTER).sum()) >= MANY_FALLS


def _unlikely_falls(tracks: Sequence[Track], restarted: Floats) -> Floats:
    """Return the falls that look like neither a restart nor a lagging copy: to over half, or of a part only."""
    unlikely = [np.empty(0)]
    for track in tracks:
        values, known = track.values, _restarted(track.times, restarted)
        before = np.concatenate([[0.0], values[:-1]])
        odd = (
            (values < before)
            & (~known | (2 * values >= before))
            & ~steps_back(track.times, values, known, steady=False)
        )
        unlikely.append(track.times[1:][odd[1:]])
    return np.unique(np.concatenate(unlikely))


def _falls(tracks: Sequence[Track], restarted: Floats, *, steady: bool) -> Floats:
    """Find the scrapes at which the counters of a family fell together, beside the restarts that are known."""
    if not any((track.values[1:] < track.values[:-1]).any() for track in tracks):
        return np.empty(0)
    times = np.unique(np.concatenate([track.times for track in tracks]))
    values = np.full((len(tracks), len(times)), np.nan)
    back = np.zeros(values.shape, dtype=bool)
    for row, lagging, track in zip(values, back, tracks, strict=True):
        columns = np.searchsorted(times, track.times)
        row[columns] = track.values
        lagging[columns] = steps_back(track.times, track.values, _restarted(track.times, restarted), steady=steady)
    moments = []
    unknown = before = np.full(len(tracks), np.nan)
    known = _restarted(times, restarted)
    last = np.full(len(tracks), -1)  # number of the scrape at which each was seen last
    for number, (now, lagging, restart) in enumerate(zip(values.T, back.T, known, strict=True)):
        before = unknown if restart else before
        absent = np.isnan(now)
        fell = (np.where(absent, 0.0, now) < np.nan_to_num(before)) & ~lagging
        if (fell & ~absent).any() and 2 * before[fell].sum() >= np.nansum(before):
            moments.append(times[last[fell & ~absent].max() + 1])  # it was absent since, for its process had restarted
            before = unknown
        before, last = np.where(absent, before, now), np.where(absent, last, number)
    return np.unique(np.array(moments, dtype=float))
