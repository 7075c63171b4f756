"""The segments of time that a check looks at: the whole window, and all that begin later."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analyzer.model.counts import Counts, Floats, Reading
from analyzer.quantity import format_instant, format_seconds
from analyzer.stats.dispersion import BATCH_SECONDS, Dispersion, combined
from analyzer.stats.onset import Starts, starts_of
from analyzer.stats.search import Bools
from analyzer.stats.shared_rate import Differences, own_excess

EARLY = 120.0  # seconds of a window, before which an outage is unlikely, and a fault is wanted at once
USUAL = 30.0  # seconds between scrapes, where all that is known is that they are no further apart than slices
MISSED = 2.5  # distances of scrapes, without requests for which an arm may just not have been scraped
BUSY = 1.25  # times the usual number of requests, that there may be between two scrapes
NOTABLE = 2.0  # design effect of a comparison, below which it is not asked what both arms share


@dataclass(frozen=True)
class Segments:
    """Since when a check counts.

    Attributes
    ----------
    starts : the begin of the window, then later moments
    present : number of the start from which a pass is to be proved: 0, or that of the present traffic weight
    slices : how many time slices there are
    slice_seconds : length of each; None: there is one, of unknown length
    begin : when the first slice began, in Unix seconds; None: not known
    seconds : how long all last together; None: not known
    scrape_seconds : between two samples of a pod, which may count a request so much later; None: none is counted late
    left_out : slices before the first one
    """

    starts: Starts
    present: int
    slices: int
    slice_seconds: float | None
    begin: float | None
    seconds: float | None
    scrape_seconds: float | None = None
    left_out: int = 0

    @classmethod
    def of(
        cls, reading: Reading[Counts], *, at_this_weight: bool = False, elapsed_seconds: float | None = None
    ) -> "Segments":
        """Lay out the segments of a reading whose canary has counts."""
        starts, present = starts_of(reading.slices, reading.slice_seconds, reading.left_out), 0
        if at_this_weight:
            change = reading.weight_change
            if change > 0:
                present = len(starts.slice_indices)  # beside the others, with no part of alpha: a fail never uses it
                starts = Starts(np.append(starts.slice_indices, change), np.append(starts.weights, 0.0))
        ends = reading.ends()  # of what is left by a warm-up and a lag
        seconds = float(ends[-1]) if len(ends) else elapsed_seconds
        return cls(
            starts, present, reading.slices, reading.slice_seconds, reading.begin, seconds, reading.scrape_seconds,
            reading.left_out,
        )  # fmt: skip

    def since(self, counts: Floats) -> Floats:
        """Add up counts of shape (slices, ...) since each start."""
        return self.starts.since(counts)

    @property
    def apart(self) -> float | None:
        """Return the seconds between two samples of a pod, as far as is known; None: nothing is counted late."""
        if self.scrape_seconds is None or self.slice_seconds is None:
            return self.scrape_seconds
        return self.scrape_seconds if self.scrape_seconds > self.slice_seconds else min(self.scrape_seconds, USUAL)

    @property
    def lengths(self) -> Floats:
        """Return the seconds of each slice, infinite where they are not known."""
        if self.slice_seconds is None or self.seconds is None:
            return np.full(self.slices, math.inf)
        last = max(self.seconds - (self.slices - 1) * self.slice_seconds, 0.0)
        return np.append(np.full(self.slices - 1, self.slice_seconds), last)

    def edges(self, events: Floats, trials: Floats, other: Floats) -> tuple[Floats, Floats]:
        """Return the events that an arm may have counted beyond what the other arm's scrapes cover.

        A common rate that changes at once is seen by the arm whose pods are scraped next. Whatever it does, an arm
        counts no more of it than the other one, but for the requests of one distance of scrapes before a segment, and
        of one at its end; of two where a scrape is missing.

        Parameters
        ----------
        events, trials : of the arm, shape (slices,)
        other : requests of the other arm, shape (slices,)

        Returns
        -------
        Those of a segment that begins with each slice, and those at the end of all; shape (slices,).
        """
        late = np.zeros((2, len(events)))
        lengths, apart = self.lengths, self.apart
        if apart is None or lengths.sum() < EARLY:
            return late[0], late[1]
        before, end = np.append(0.0, _unseen(trials, lengths)[:-1]), float(_unseen(other, lengths)[-1])
        left = apart + np.where(before < MISSED * apart, before, 0.0)  # longer ones were no traffic
        number = np.where(trials > 0, np.arange(self.slices), self.slices - 1)
        seen = np.minimum.accumulate(number[::-1])[::-1]  # the first slice that counts what was served before it
        late[0] = np.minimum(events[seen], BUSY * trials[seen] * left / np.maximum(lengths[seen], 1e-9))
        late[0, 0] *= self.left_out > 0
        left = np.full(self.slices, apart + (end if end < MISSED * apart else 0.0))
        left = np.maximum(left - np.append(np.cumsum(lengths[:0:-1])[::-1], 0.0), 0.0)
        late[1] = np.minimum(events, BUSY * trials * left / np.maximum(lengths, 1e-9))
        return late[0], late[1]

    def near(self, served: Bools) -> Bools:
        """Return the slices in which an arm served, or may have: pods are scraped in one slice and not in the next."""
        if self.scrape_seconds is None:
            return served
        return np.asarray(served | np.append(served[1:], False) | np.append(False, served[:-1]))

    def inside(self, events: Floats, trials: Floats, other: Floats) -> Floats:
        """Add up events of shape (slices,) since each start, without those of `edges`."""
        first, end = self.edges(events, trials, other)
        return np.maximum(self.since(events - end) - first[self.starts.slice_indices], 0.0)

    def moment(self, start: int) -> float | None:
        """Tell when a start was, in Unix seconds; None for the begin, and where it is not known."""
        slice_index = int(self.starts.slice_indices[start])
        if slice_index == 0 or self.begin is None or self.slice_seconds is None:
            return None
        return self.begin + slice_index * self.slice_seconds

    def length(self, start: int) -> float | None:
        """Tell how many seconds passed since a start; None where it is not known."""
        if self.seconds is None:
            return None
        return self.seconds - int(self.starts.slice_indices[start]) * (self.slice_seconds or 0.0)

    def when(self, start: int) -> str:
        """Say since when, with a blank before it; nothing for the begin."""
        slice_index = int(self.starts.slice_indices[start])
        if slice_index == 0:
            return ""
        moment = self.moment(start)
        if moment is not None:
            text = format_instant(moment)
            within_a_day = self.slices * (self.slice_seconds or 0.0) < 86400
            return f" since {text.split('T')[1] if within_a_day else text}"
        if self.slice_seconds is not None:
            return f" in the last {format_seconds((self.slices - slice_index) * self.slice_seconds)}"
        return f" in the last {self.slices - slice_index} of {self.slices} slices"

    def factors(self, dispersion: Dispersion, requests: Floats) -> Floats:
        """Return the design effect of an arm's counts since each start: what evidence is divided by.

        Parameters
        ----------
        requests : of the arm, shape (slices,)
        """
        total = self.since(requests)
        if dispersion.independent:
            return np.ones(len(total))
        if self.slice_seconds is None and self.slices == 1:
            return dispersion.factor(total, math.nan if self.seconds is None else self.seconds)
        length = self.slice_seconds or BATCH_SECONDS
        seconds = (self.slices - self.starts.slice_indices) * length
        # The rate that a request sees around it: an arm that had most of its requests in an hour was busier then.
        busy = self.since(requests * np.maximum(requests - 1, 0.0)) / np.maximum(total, 1e-300) / length
        return dispersion.factor(total, seconds, np.maximum(busy, total / seconds))

    def factors_beside(self, dispersion: Dispersion, differences: Differences) -> Floats:
        """Return the design effect of a comparison since each start: what both arms share in time cancels."""
        requests = differences.requests

        def both(law: Dispersion) -> Floats:
            sizes = (np.maximum(self.since(arm), 1e-200) for arm in requests)
            return combined(*(self.factors(law, arm) for arm in requests), *sizes)

        whole = both(dispersion)
        if whole[0] < NOTABLE or self.slice_seconds is None:
            return whole
        clusters = both(replace(dispersion, slope=(0.0,) * len(dispersion.slope)))
        most, part = own_excess(differences, self.starts, self.slice_seconds, dispersion)
        return np.asarray(np.minimum(clusters, 1 + most) + part * (whole - clusters))


def _unseen(requests: Floats, lengths: Floats) -> Floats:
    """Return for how many seconds an arm has had no request by the end of each slice."""
    idle = np.cumsum(np.where(requests > 0, 0.0, lengths))
    return np.asarray(idle - np.maximum.accumulate(np.where(requests > 0, idle, 0.0)))


Indices = NDArray[np.intp]
