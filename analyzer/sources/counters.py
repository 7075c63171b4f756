"""From samples of cumulative counters on a grid of times to how much each grew in each slice, to the unit.

`increase()` would lose or invent what straddles a slice's border. Here each series is followed by itself:
grown: the difference; fallen: its process restarted, what grew before is not lost; first seen: it counts
from 0 if its process is new, or if the process is known and the series is a new label set (a first error).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analyzer.model import Floats


@dataclass(frozen=True)
class Grid:
    """Cumulative counters of many series at the ends of consecutive slices; NaN: no sample in the slice.

    Attributes
    ----------
    base : last value before the first slice; shape (series,)
    last : last value inside each slice; shape (series, slices)
    peak : highest value inside each slice; shape (series, slices)
    live : whether the series still exists at the end of the last slice; shape (series,)
    process : number of the process and metric that a series belongs to: these restart together; shape (series,)
    target : number of the scrape target that it comes from; shape (series,)
    """

    base: Floats
    last: Floats
    peak: Floats
    live: NDArray[np.bool_]
    process: NDArray[np.intp]
    target: NDArray[np.intp]


def increments(grid: Grid, *, scraped_before: NDArray[np.bool_], begins_at_zero: NDArray[np.bool_]) -> Floats:
    """Tell how much each counter grew in each slice.

    Parameters
    ----------
    grid : the samples
    scraped_before : whether a target was scraped before the first slice; shape (targets,)
    begins_at_zero : whether a target that was first scraped inside the grid is a new process, whose counters
        began at 0, and not an old one that could not be reached for a while; shape (targets,)

    Returns
    -------
    Growth, >= 0, shape (series, slices). A target that turns out to be old begins to count from its first
    slice on.

    Notes
    -----
    A restart shows in the counter that falls. Series of the same process and metric that did not fall, because
    they grew past their old value or were not written again, are told apart by whether they live on. A restart
    stays hidden only while every series regrows past its old value within one slice; two restarts within one
    slice lose what was counted between them.
    """
    present = ~np.isnan(grid.last)
    previous = _last_known(grid.base, grid.last)
    known = ~np.isnan(previous)
    before = np.where(known, previous, 0.0)
    last, peak = np.where(present, grid.last, 0.0), np.where(present, grid.peak, 0.0)

    fell = present & ((last < before) | (peak > last))
    restarted = _any_in_group(fell, grid.process)[grid.process]
    lives_on = _lives_on(grid.last, grid.live)
    regrown = restarted & ~fell & lives_on
    lost_at_restart = np.where(peak > last, np.maximum(peak - before, 0.0), 0.0)
    grown = np.where(fell, last + lost_at_restart, np.where(regrown, last, last - before))

    seen = np.maximum.accumulate(_any_in_group(present, grid.target), axis=1)
    seen_earlier = np.column_stack([scraped_before, seen[:, :-1] | scraped_before[:, np.newaxis]])
    from_zero = (seen_earlier | begins_at_zero[:, np.newaxis])[grid.target]
    return np.where(present & (known | from_zero), grown, 0.0)


def _last_known(base: Floats, last: Floats) -> Floats:
    """Give the value that each slice starts from: the latest sample before it; NaN while there was none."""
    values = np.column_stack([base, last[:, :-1]])
    places = np.where(np.isnan(values), 0, np.arange(values.shape[1]))
    latest = np.maximum.accumulate(places, axis=1)
    return np.asarray(np.take_along_axis(values, latest, axis=1))


def _lives_on(last: Floats, live: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a series goes on after each slice without falling: it is absent after a restart that dropped it."""
    following = np.column_stack([last[:, 1:], np.where(live, np.inf, np.nan)])
    return np.asarray(~np.isnan(following) & (following >= last))


def _any_in_group(flags: NDArray[np.bool_], group: NDArray[np.intp]) -> NDArray[np.bool_]:
    """For each group of rows, whether a flag is set in any of them; shape (groups, slices)."""
    groups = int(group.max()) + 1 if len(group) else 0
    found = np.zeros((groups, flags.shape[1]), dtype=bool)
    np.logical_or.at(found, group, flags)
    return found
