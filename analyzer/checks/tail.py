"""A latency histogram from its slow end: how many requests took longer than each edge."""

import math
from dataclasses import dataclass, replace

import numpy as np

from analyzer.checks import buckets
from analyzer.checks.segments import Segments
from analyzer.model.counts import Histogram
from analyzer.model.findings import Estimate
from analyzer.stats import binomial
from analyzer.stats.search import Bools, Floats


@dataclass(frozen=True)
class Tail:
    """One arm's histogram as the number of requests slower than each edge, in slices of time or since some starts.

    Attributes
    ----------
    edges : ascending, finite, in seconds; shape (edges,)
    slower : requests slower than each edge; shape (slices, edges)
    requests : all of them; shape (slices,)
    exact : the edges are the values of single samples
    """

    edges: Floats
    slower: Floats
    requests: Floats
    exact: bool = False

    @classmethod
    def of(cls, histogram: Histogram, limits: tuple[float, ...]) -> "Tail":
        """Count from the slow end; samples get edges at the limits, so that nothing snaps to a bucket."""
        requests = histogram.counts.sum(axis=1)
        edges, slower = histogram.edges[:-1], requests[:, np.newaxis] - np.cumsum(histogram.counts, axis=1)[:, :-1]
        if histogram.exact:
            indices = np.searchsorted(edges, limits, side="right")  # requests at or below each limit
            slower_at_limits = np.column_stack([requests, slower])[:, indices]
            edges, first = np.unique(np.concatenate((edges, limits)), return_index=True)
            slower = np.concatenate((slower, slower_at_limits), axis=1)[:, first]
        return cls(edges=edges, slower=np.maximum(slower, 0.0), requests=requests, exact=histogram.exact)

    def since(self, segments: Segments) -> "Tail":
        """Add up the slices since each start."""
        return replace(self, slower=segments.since(self.slower), requests=segments.since(self.requests))

    def where(self, kept: Bools) -> "Tail":
        """Leave out the slices that are not kept; shape (slices,)."""
        return replace(self, slower=self.slower * kept[:, np.newaxis], requests=self.requests * kept)

    def above(self, edge: float) -> Floats:
        """Count the requests slower than an edge of the histogram; beyond the last one none is known to be."""
        index = int(np.searchsorted(self.edges, edge * (1 - 1e-9)))
        return self.slower[:, index] if index < len(self.edges) else np.zeros(len(self.requests))

    def edge_below(self, limit: float) -> float:
        """Find the last edge at or below a limit, -inf where there is none."""
        return buckets.edge_below(self.edges, limit)

    def edge_above(self, limit: float) -> float:
        """Find the first edge at or above a limit, inf where there is none."""
        return buckets.edge_above(self.edges, limit)

    def quantile(self, q: float, start: int) -> float:
        """Estimate a quantile, linear inside its bucket; infinite in the last, unbounded bucket."""
        slower, requests = self.slower[start], float(self.requests[start])
        wanted = (1 - q) * requests
        reached = slower <= wanted * (1 + 1e-12)
        if not reached.any() or requests <= 0:
            return math.inf
        index = int(np.argmax(reached))
        if self.exact:
            return float(self.edges[index])
        low, before = (0.0, requests) if index == 0 else (float(self.edges[index - 1]), float(slower[index - 1]))
        inside = before - float(slower[index])
        return low + (float(self.edges[index]) - low) * ((before - wanted) / inside if inside > 0 else 1.0)

    def estimate(
        self, q: float, start: int, factors: Floats, alpha_low: float, alpha_high: float, past: "Tail | None" = None
    ) -> Estimate:
        """Estimate a quantile and bound it between two edges, right at every look; 0 and inf where none is proved.

        Parameters
        ----------
        factors : by which counts are divided for overdispersion, since each start
        alpha_low, alpha_high : how often at most, over all looks together, the lower (upper) bound may be wrong
        past : of the baseline before the canary, in slices and with the same edges
        """
        if self.requests[start] <= 0:
            return Estimate()
        slower, requests = self.slower[start] / factors[start], self.requests[start] / factors[start]
        above = binomial.log_evidence(slower, requests, 1 - q, side="above") >= -math.log(alpha_low)
        known = None if past is None else (past.slower.sum(axis=0), past.requests.sum())
        below = binomial.log_evidence(slower, requests, 1 - q, side="below", past=known) >= -math.log(alpha_high)
        low = float(self.edges[above][-1]) if above.any() else 0.0
        high = float(self.edges[below][0]) if below.any() else math.inf
        return Estimate(value=self.quantile(q, start), low=low, high=high, n=float(self.requests[start]))
