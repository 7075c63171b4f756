"""Overdispersion: how much more a count varies than it would if requests were independent.

The design effect, the variance of a count over that of independent requests, grows with what requests share:

- *clusters*: one cause fails several requests (retries, a failing batch, rows of one request). It adds the same amount
  at any volume;
- a *common rate* that varies in time adds an amount in proportion to the requests that share it, and over segments
  longer than its memory the same amount again and again.

So the design effect of an arm with `r` requests a second in a segment of `L` seconds is ``1 + fixed + slope(L) r``.
The counts of one arm cannot tell the two apart, nor do those of its pods: retries may reach any pod. So the cautious
choice is made: all that shows within the shortest batch is taken for clusters, and only what longer batches add is
scaled with the volume. The same is asked of single pods, which may differ for longer than their sum shows.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analyzer.stats.search import Floats

BATCH_SECONDS = 60.0  # of the shortest batch: clusters and bursts that are over within it count as such
# Where too little is known: requests fail in clusters (geometric, mean 2.5), and share a rate however long the segment.
UNKNOWN_CLUSTERS = 4.0
UNKNOWN_CORRELATION = 0.005
ENOUGH_SECONDS = 2400.0  # of observation, from which on nothing is added for what is not known
RARE_SECONDS = 5400.0  # below, single bad batches may have been missed
FADING = 4.0  # power with which that fades


@dataclass(frozen=True)
class Dispersion:
    """What is known of the design effect.

    Attributes
    ----------
    seconds : lengths of segments, ascending; empty: nothing is known, requests are taken to be independent
    fixed : what is beyond 1 at any length and volume
    slope : what each request a second adds to it, at each length
    rate : requests a second of the arm that showed it; 0: not known
    batches : of the shortest length, that it was estimated from; 0: it was not
    incident : whether one incident was left out of the estimate
    pods : whether it was estimated from single pods as well
    heavy : whether single batches stand out by far, so that the variance does not show what one may do
    seen : seconds for which the arm was observed, where that may be too short
    """

    seconds: tuple[float, ...] = ()
    fixed: float = 0.0
    slope: tuple[float, ...] = ()
    rate: float = 0.0
    batches: int = 0
    incident: bool = False
    pods: bool = False
    heavy: bool = False
    seen: float = math.inf

    @property
    def lone(self) -> bool:
        """Whether a single bad batch proves nothing: the past had such ones, or is not long enough to have had any."""
        return self.incident or self.heavy or self.seen < RARE_SECONDS

    @property
    def unknown(self) -> float:
        """How much is not known for want of observation: 1 at first, half of it after 6 minutes, 0 after 40."""
        return float(max(1 - self.seen / ENOUGH_SECONDS, 0.0) ** FADING)

    @property
    def independent(self) -> bool:
        """Whether nothing speaks against independent requests."""
        return not self.fixed and not any(self.slope)

    def factor(self, requests: ArrayLike, seconds: ArrayLike, rate: ArrayLike | None = None) -> Floats:
        """Return the design effect, at least 1, of segments of an arm.

        Parameters
        ----------
        requests : of the arm in each segment
        seconds : length of each segment; nan: not known, then that with the greatest effect
        rate : requests a second around a request of the segment; default: all requests over the length
        """
        total, length = np.broadcast_arrays(np.asarray(requests, float), np.asarray(seconds, float))
        if self.independent:
            return np.ones(total.shape)
        known = np.isfinite(length) & (length > 0)
        if rate is None:
            rate = np.where(known, total / np.where(known, length, 1.0), self.rate)
        rate = np.asarray(rate, float)
        slope = self.slope_at(np.where(known, length, self.seconds[-1]))
        # An arm of more traffic than the one observed may be larger clusters or a common rate: the latter is assumed.
        more = np.maximum(rate / self.rate, 1.0) if self.rate > 0 else 1.0
        return np.asarray(np.minimum(1 + self.fixed * more + slope * rate, np.maximum(total, 1.0)))

    def slope_at(self, seconds: ArrayLike) -> Floats:
        """Return what each request a second adds to the design effect of segments of such lengths."""
        return np.asarray(np.interp(np.log(seconds), np.log(self.seconds), self.slope))

    @property
    def memory(self) -> float | None:
        """Seconds after which batches are about independent: the length at which the effect stops growing.

        0 where it is that of the shortest batches; None where it grows beyond the longest that was observed.
        """
        if not any(self.slope):
            return 0.0
        if len(self.slope) > 1 and self.seconds[-1] > 2 * self.seconds[-2]:
            return None
        return next(
            length for length, more in zip(self.seconds, self.slope, strict=True) if more >= 0.9 * self.slope[-1]
        )

    def doubt(self, requests: ArrayLike, *, compared: bool = False) -> Floats:
        """Return by what evidence for a rollback is divided while too little is known of the design effect.

        Parameters
        ----------
        requests : of the arm in each segment
        compared : with another arm, slice by slice: a rate that varies in time varies in both
        """
        more = np.maximum(np.asarray(requests, float) - 1, 0.0)
        correlation = 0.0 if compared else UNKNOWN_CORRELATION
        return np.asarray(1 + self.unknown * np.minimum(UNKNOWN_CLUSTERS + correlation * more, more))

    def correlation(self, requests: float) -> float:
        """Return the intraclass correlation of the requests of one batch, given their number, in [0, 0.99]."""
        if requests <= 1 or self.independent:
            return 0.0
        excess = float(self.factor(requests, self.seconds[0])) - 1
        return min(max(excess / (requests - 1), 0.0), 0.99)

    @property
    def observed_correlation(self) -> float:
        """The intraclass correlation of the requests of one batch of the arm that was observed."""
        return self.correlation(self.rate * self.seconds[0]) if self.seconds else 0.0


INDEPENDENT = Dispersion()


def combined(canary: ArrayLike, baseline: ArrayLike, canary_size: ArrayLike, baseline_size: ArrayLike) -> Floats:
    """Return the design effect of a comparison of two arms: their own, by the parts of its variance."""
    ours, theirs = 1 / np.asarray(canary_size, float), 1 / np.asarray(baseline_size, float)
    return np.asarray((np.asarray(canary) * ours + np.asarray(baseline) * theirs) / (ours + theirs))
