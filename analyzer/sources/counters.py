"""From samples of cumulative counters on a grid of times to how much each grew in each slice, to the unit.

`increase()` would lose or invent what straddles a slice's border. Here each series is followed by itself:
grown: the difference; first seen: it counts from 0 if its process is new, or if the process is known and the
series is a new label set (a first error). Around the restart of a process every single sample is looked at,
because a counter that grew past its old value again does not show on the grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analyzer.model.counts import Floats

Flags = NDArray[np.bool_]
Places = NDArray[np.intp]


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
    target: Places


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
    places = np.where(np.isnan(values), 0, np.arange(values.shape[1]))
    latest = np.maximum.accumulate(places, axis=1)
    return np.asarray(np.take_along_axis(values, latest, axis=1))


def restarts(tracks: Sequence[Track], process_starts: Track | None) -> Mapping[str, Floats]:
    """Find the scrapes of one target before which its process restarted, by family.

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
    changed: Floats = np.empty(0)
    if process_starts is not None:
        changed = process_starts.times[1:][np.diff(process_starts.values) != 0]
    families = {track.family for track in tracks}
    return {
        family: np.union1d(
            changed, _falls([one for one in tracks if one.family == family and not one.may_fall], changed)
        )
        for family in families
    }


def followed(track: Track, restarts_: Floats, *, from_zero: bool) -> Floats:
    """Tell how much a series grew up to each of its samples since the one before; the first is the base.

    Parameters
    ----------
    track : the samples, in the order of time
    restarts_ : scrapes before which the process restarted, ascending
    from_zero : whether there is no base: the first sample counts from 0
    """
    values, times = track.values, track.times
    if not len(values):
        return values
    before = np.concatenate([[0.0], values[:-1]])
    restarted = np.diff(np.searchsorted(restarts_, times, side="right"), prepend=0) > 0
    if not track.may_fall:
        restarted |= values < before
    grown = np.where(restarted, values, values - before)
    grown[0] = values[0] if from_zero else 0.0
    return np.asarray(grown)


def _falls(tracks: Sequence[Track], restarted: Floats) -> Floats:
    """Find the scrapes at which the counters of a family fell together, beside the restarts that are known."""
    times = np.unique(np.concatenate([np.empty(0), *(one.times for one in tracks)]))
    values = np.full((len(tracks), len(times)), np.nan)
    for row, one in zip(values, tracks, strict=True):
        row[np.searchsorted(times, one.times)] = one.values
    found = []
    unknown = before = np.full(len(tracks), np.nan)
    known = np.diff(np.searchsorted(restarted, times, side="right"), prepend=0) > 0
    for moment, now, restart in zip(times, values.T, known, strict=True):
        before = unknown if restart else before
        absent = np.isnan(now)
        fell = np.where(absent, 0.0, now) < np.nan_to_num(before)
        if (fell & ~absent).any() and 2 * before[fell].sum() >= np.nansum(before):
            found.append(moment)
            before = unknown
        before = np.where(absent, before, now)
    return np.array(found)
