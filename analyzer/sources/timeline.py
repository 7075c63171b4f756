"""The slices of a window, and how far apart the samples in them are."""

import math
from dataclasses import dataclass

import numpy as np

from analyzer.errors import BadResponse
from analyzer.model.counts import Floats
from analyzer.sources.counters import Flags, Indices
from analyzer.sources.prometheus_api import OFF_GRID

ENOUGH_GAPS = 5  # between the samples of a target, to know its interval even if one gap is an outage


@dataclass(frozen=True)
class Timeline:
    """The slices of a window: `count` of `step` seconds each from `start` on, and what is left until `end`."""

    start: float
    end: float
    step: float
    count: int

    @property
    def tail(self) -> float:
        """Length of the last, shorter slice; 0 where the window is a whole number of slices."""
        return round(self.end - self.start - self.step * self.count, 3)

    @property
    def slices(self) -> int:
        """Number of slices, with the last shorter one."""
        return self.count + (self.tail > 0)

    def ends_of_slices(self) -> Floats:
        """Give the last moment of each slice; shape (slices,)."""
        return np.asarray(np.minimum(self.start + self.step * np.arange(1, self.slices + 1), self.end))

    def indices(self, times: Floats) -> Indices:
        """Return the indices of moments: 0 is the start, then come the ends of the slices.

        Raises
        ------
        BadResponse : a moment that is none of these
        """
        indices = np.rint((times - self.start) / self.step).astype(np.intp)
        off = np.abs(times - self.start - indices * self.step)
        at_end = np.abs(times - self.end) < OFF_GRID
        if (~at_end & ((off > OFF_GRID) | (indices < 0) | (indices > self.count))).any():
            raise BadResponse(
                "it answered with values for other times than those that were asked for: a query frontend aligns range "
                "queries with their step. Point ANALYZER_PROMETHEUS_URL at the querier behind it, or turn that off "
                "(Thanos: --no-query-range.align-range-with-step; Mimir, Cortex: align_queries_with_step: false; "
                "VictoriaMetrics: the parameter nocache=1 in ANALYZER_PROMETHEUS_PARAMETERS)"
            )
        return np.where(at_end, self.slices, indices)


def slices_apart(seen: Flags) -> float:
    """Tell about how many slices the samples of a target are apart, by the one with the fewest; 1 at least.

    Parameters
    ----------
    seen : where each target has a sample; shape (targets, slices)

    Notes
    -----
    Of each target the upper quartile of its gaps counts, so that an outage is not taken for its interval. A young
    target may have few other gaps: time in which nothing at all was seen, for longer than the others ever wait for a
    sample, was an outage of all.
    """
    gaps = [np.diff(np.flatnonzero(row)) for row in seen]
    usual = max((_upper_quartile(lengths) for lengths in gaps if len(lengths) >= ENOUGH_GAPS), default=0)
    if usual:
        columns = np.flatnonzero(seen.any(axis=0))
        when = np.append(0, np.cumsum(np.minimum(np.diff(columns), usual)))
        gaps = [np.diff(when[row]) for row in seen[:, columns]]
    return float(max([1, *map(_upper_quartile, gaps)]))


def _upper_quartile(gaps: Indices) -> int:
    """Give one of the gaps, never a number between two; 1 where there are none."""
    return int(np.sort(gaps)[math.ceil(0.75 * (len(gaps) - 1))]) if len(gaps) else 1
