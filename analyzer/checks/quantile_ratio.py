"""The canary's quantile of the latency against the baseline's, for histograms with fine (native) buckets.

That the canary's quantile is at most r times the baseline's means: whatever the baseline's is, x say, the canary has
at most 1 - q of its requests beyond r x. So evidence against it must hold against every x: that the baseline's
quantile is not there, or that the canary's is beyond r x. Where edges do not fall together, those on the safe side
are taken; buckets as wide as 2.5-fold prove little, those of native histograms cost some 10%.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from analyzer.checks.decision import Decision
from analyzer.checks.segments import Segments
from analyzer.checks.tail import Tail
from analyzer.model.counts import Histogram
from analyzer.stats import binomial, psi, share
from analyzer.stats.dispersion import Dispersion
from analyzer.stats.search import Floats, Side

CANDIDATES = 4  # starts whose evidence is computed: those at which the estimates differ most


@dataclass(frozen=True)
class QuantileRatio:
    """A measure (see `decision`) of the relative change of a quantile.

    Attributes
    ----------
    canary, baseline : requests since each start, those of the baseline in the canary's profile over time
    factors : of both arms, by which counts are divided for overdispersion, since each start
    quantile : which one, in (0, 1)
    """

    canary: Tail
    baseline: Tail
    factors: tuple[Floats, Floats]
    quantile: float

    @classmethod
    def of(
        cls, canary: Histogram, baseline: Histogram, segments: Segments, correlation: Dispersion, quantile: float
    ) -> "QuantileRatio":
        """Add up slices in which both arms served, since each start; the baseline gets the canary's profile over time.

        Otherwise a slow hour at a large weight would look like the canary's.
        """
        served = canary.counts.sum(axis=1), baseline.counts.sum(axis=1)
        both = segments.near(share.paired(*served))
        ours, theirs = (counts * both for counts in served)
        weighted, squares = psi.standardised(
            baseline.counts * both[:, np.newaxis], share.odds_of(ours, theirs) * (theirs > 0)
        )
        summed = segments.since(weighted)
        worth = summed.sum(axis=1) / np.maximum(segments.since(squares), 1e-300)  # back to independent requests
        edges = (tuple(baseline.edges[:-1]), tuple(canary.edges[:-1])) if canary.exact else ((), ())  # single samples
        return cls(
            Tail.of(replace(canary, counts=segments.since(canary.counts * both[:, np.newaxis])), edges[0]),
            Tail.of(replace(baseline, counts=summed * worth[:, np.newaxis]), edges[1]),
            (segments.factors(correlation, ours), segments.factors(correlation, theirs)),
            quantile,
        )

    @property
    def requests(self) -> Floats:
        """Give the canary's requests since each start."""
        return self.canary.requests

    @cached_property
    def values(self) -> Floats:
        """Give the relative changes since each start; nan where an arm has no requests."""
        return np.array([self._change(start) for start in range(len(self.requests))])

    def _change(self, start: int) -> float:
        if min(self.canary.requests[start], self.baseline.requests[start]) <= 0:
            return math.nan
        theirs = self.baseline.quantile(self.quantile, start)
        if not math.isfinite(theirs) or theirs <= 0:
            return math.nan
        return self.canary.quantile(self.quantile, start) / theirs - 1

    def log_evidence(self, limit: float, side: Side) -> Floats:
        """Give the log evidence since the starts that speak most for it; -inf for the others, which is cautious."""
        sign = 1 if side == "above" else -1
        rough = np.nan_to_num((self.values - limit) * sign, nan=-1e9, posinf=1e9) * np.sqrt(self.requests)
        evidence = np.full(len(self.requests), -math.inf)
        for start in {0, *np.argsort(-rough, kind="stable")[:CANDIDATES].tolist()}:
            evidence[start] = self.forecast(limit, side, start, np.ones(1))[0]
        return evidence

    def forecast(self, limit: float, side: Side, start: int, scale: Floats) -> Floats:
        """Give the log evidence since one start, were all counts `scale` times as large.

        Notes
        -----
        For each place x of the baseline's quantile the product of two e-values, one an arm, each mixed half and half
        with 1 so that strong evidence of one arm is not lost to the other's; the smallest over all x is below the
        one at the true x, and so an e-process as well.
        """
        if min(self.canary.requests[start], self.baseline.requests[start]) <= 0:
            return np.full(np.shape(scale), -math.inf)
        edges, ratio = self.canary.edges, 1 + limit
        if side == "above":
            ours = [self.canary.edge_above(ratio * edge) for edge in (*edges, math.inf)]
            theirs = [0.0, *edges]
        else:
            ours = [self.canary.edge_below(ratio * edge) for edge in (0.0, *edges)]
            theirs = [*edges, math.inf]
        other: Side = "below" if side == "above" else "above"
        summed = self._mixed(0, start, ours, side, scale) + self._mixed(1, start, theirs, other, scale)
        return np.asarray(summed.min(axis=-1))

    def information(self, limit: float, side: Side, start: int, deviations: float) -> float:  # noqa: ARG002
        """Give the evidence of a request from the distance of the log ratio in (rough) standard errors."""
        change = float(self.values[start])
        if not -1 < change < math.inf:
            return 0.0
        size = min(
            float(arm.requests[start] / factors[start])
            for arm, factors in zip((self.canary, self.baseline), self.factors, strict=True)
        )
        error = 1 / math.sqrt(size * (1 - self.quantile))
        distance = math.log((1 + change) / (1 + limit)) + deviations * error
        return math.copysign((distance / error) ** 2 / 2 / float(self.requests[start]), distance)

    def interval(self, decision: Decision) -> tuple[float, float]:
        """Bound the ratio since a start, from bounds of both quantiles at half the levels each."""
        ours, theirs = (
            arm.estimate(self.quantile, decision.start, factors, low / 2, high / 2)
            for arm, factors, low, high in (
                (self.canary, self.factors[0], decision.alpha_low, decision.alpha_high),
                (self.baseline, self.factors[1], decision.alpha_high, decision.alpha_low),
            )
        )
        return _ratio(ours.low, theirs.high), _ratio(ours.high, theirs.low)

    def _mixed(self, arm: int, start: int, edges: list[float], side: Side, scale: Floats) -> Floats:
        """Give the log of half of 1 and half the evidence of an arm at each edge; shape (..., edges)."""
        tail, factor = (self.canary, self.baseline)[arm], float(self.factors[arm][start])
        requests = float(tail.requests[start])
        slower = np.array([float(tail.above(edge)[start]) if 0 < edge < math.inf else 0.0 for edge in edges])
        known = np.array([0 < edge < math.inf for edge in edges])
        times = np.asarray(scale, float)[..., np.newaxis] / factor
        evidence = binomial.log_evidence(slower * times, requests * times, 1 - self.quantile, side=side)
        return np.where(known, np.logaddexp(evidence, 0.0) - math.log(2), 0.0)  # where no edge can tell, nothing


def _ratio(above: float | None, below: float | None) -> float:
    if above is None or below is None or (below == 0 and above == 0):
        return math.nan
    if math.isinf(below):
        return 0.0
    return above / below if below > 0 else math.inf
