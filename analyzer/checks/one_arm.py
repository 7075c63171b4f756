"""The canary's share of bad requests against a limit: what error rates and latency quantiles have in common."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from analyzer.checks.segments import Segments
from analyzer.model.counts import Counts, Reading
from analyzer.stats import binomial, bursts
from analyzer.stats.dispersion import BATCH_SECONDS, Dispersion
from analyzer.stats.induced import Induced, induced
from analyzer.stats.search import Floats, Side

FEWEST_BAD = 4.0  # bad requests, below which nothing is called bad: three may be one client that tries again
WORST_PART = 4  # of a short window, its worst part
SHOWS = 0.05  # more variance than independent requests have, by this part at least, is allowed for batch by batch


@dataclass(frozen=True)
class BadRequests:
    """A measure (see `decision`) of which a limit allows a share of bad requests.

    Attributes
    ----------
    values : estimates in the check's unit, since each start; shape (starts,)
    trials : requests of the arm; shape (slices,)
    segments : since when they count
    dispersion : of requests
    bad : of a limit and a side, the requests that are bad for certain ("above") or perhaps ("below"); shape
        (slices,), or None where nothing can tell
    allowed : of a limit, the share of bad requests that it allows
    expected : share of bad requests at a fault, about; None: twice the allowed one
    past : bad and all requests of the baseline before the canary, of which a pass learns what to expect; see `past_of`
    beside : requests of the baseline, whose scrapes may not have seen yet what the canary's have, shape (slices,);
        None: no baseline, or the arm is not the canary
    """

    values: Floats
    trials: Floats
    segments: Segments
    dispersion: Dispersion
    bad: Callable[[float, Side], Floats | None]
    allowed: Callable[[float], float]
    expected: float | None = None
    past: tuple[float, float] | None = None
    beside: Floats | None = None

    @cached_property
    def requests(self) -> Floats:
        """Give the arm's requests since each start."""
        return self.segments.since(self.trials)

    @cached_property
    def factors(self) -> Floats:
        """Give by what counts are divided for overdispersion, since each start."""
        return self.segments.factors(self.dispersion, self.trials)

    def log_evidence(self, limit: float, side: Side) -> Floats:
        """Give the log evidence since each start; -inf where nothing can tell."""
        events = self.bad(limit, side)
        if events is None:
            return np.full(self.requests.shape, -math.inf)
        bad, allowed = self.segments.since(events), self.allowed(limit)
        if side == "above" and self.beside is not None:
            bad = self.segments.inside(events, self.trials, self.beside)
        if side == "above" and self.dispersion.lone:
            bad = np.maximum(bad - self._worst_batch(events, allowed), 0.0)  # a start may lie within the worst
        evidence = binomial.log_evidence(
            bad / self.factors, self.requests / self.factors, allowed,
            side=side, prior_mean=self.prior_mean(side, allowed), past=self.past,
        )  # fmt: skip
        if side == "below":
            return evidence
        return np.where(bad >= FEWEST_BAD, np.minimum(evidence, self._in_bursts(events, allowed)), -math.inf)

    def forecast(self, limit: float, side: Side, start: int, scale: Floats) -> Floats:
        """Give the log evidence since one start, were all counts `scale` times as large."""
        events = self.bad(limit, side)
        if events is None:
            return np.full(np.shape(scale), -math.inf)
        times, allowed = scale / self.factors[start], self.allowed(limit)
        seen = float(events[self.segments.starts.slice_indices[start] :].sum())
        return binomial.log_evidence(
            seen * times, self.requests[start] * times, allowed,
            side=side, prior_mean=self.prior_mean(side, allowed), past=self.past,
        )  # fmt: skip

    def by_requests(self, declared: float, limit: float, level: float) -> Induced | None:
        """Test by a declared number of requests since the start; after them the result is that of the last slice."""
        events = self.bad(limit, "above")
        if events is None:
            return None
        counted = np.cumsum(self.trials)
        slices = int(np.searchsorted(counted, declared * (1 + 1e-9), side="right"))
        sure = events if self.beside is None else events - self.segments.edges(events, self.trials, self.beside)[1]
        trials, bad = float(counted[slices - 1]) if slices else 0.0, float(sure[:slices].sum())
        allowed = self.allowed(limit)
        if self.dispersion.lone:
            bad = max(bad - float(self._worst_batch(events, allowed)[0]), 0.0)
        result = induced(bad, trials, declared, allowed, level, float(self.factors[0]), FEWEST_BAD)
        if result is None:
            return None
        return replace(result, log_evidence=min(result.log_evidence, float(self._in_bursts(events, allowed)[0])))

    def prior_mean(self, side: Side, allowed: float) -> float | None:
        """Give the mean of the prior, see `stats.binomial`; None: its default."""
        return self.expected if side == "above" and self.expected and allowed < self.expected else None

    def _in_bursts(self, events: Floats, allowed: float) -> Floats:
        """Give the log evidence since each start where a whole batch may be bad by chance; inf where none can."""
        length = self.segments.slice_seconds or BATCH_SECONDS
        each = max(1, round(BATCH_SECONDS / length))
        first = np.arange(0, len(events), each)
        trials = np.add.reduceat(self.trials, first)
        busy = float((trials**2).sum() / max(trials.sum(), 1e-300))  # the size of the batch that a request is in
        correlation = self.dispersion.correlation(busy)
        if len(events) == 1 or not (busy - 1) * correlation > SHOWS:
            return np.full(self.requests.shape, math.inf)
        evidence = bursts.log_evidence_since(np.add.reduceat(events, first), trials, allowed, correlation)
        indices = self.segments.starts.slice_indices  # those inside a batch are left out
        return np.where(indices % each == 0, evidence[indices // each], -math.inf)

    def _worst_batch(self, events: Floats, allowed: float) -> Floats:
        """Return by how many bad requests the worst batch since each start is beyond the limit.

        Where that proves nothing, see `Dispersion.lone`; at first the worst quarter of a short window
        counts as one.
        """
        if len(events) == 1:
            return np.zeros(1)
        length = self.segments.slice_seconds or BATCH_SECONDS
        seconds = min(BATCH_SECONDS, len(events) * length / WORST_PART) if self.dispersion.unknown else BATCH_SECONDS
        each = max(1, round(seconds / length))
        first = np.arange(0, len(events), each)
        beyond = np.add.reduceat(events - allowed * self.trials, first)
        worst = np.maximum.accumulate(np.maximum(beyond, 0.0)[::-1])[::-1]
        return np.asarray(worst[self.segments.starts.slice_indices // each])

    def information(self, limit: float, side: Side, start: int, deviations: float) -> float:
        """Give the Kullback-Leibler divergence of one request, negative where the share is below the allowed one."""
        events = self.bad(limit, side)
        if events is None:
            return 0.0
        total, allowed = float(self.requests[start]), self.allowed(limit)
        share = (float(events[self.segments.starts.slice_indices[start] :].sum()) + 0.5) / (total + 1)
        share += deviations * math.sqrt(share * (1 - share) * float(self.factors[start]) / total)
        share = min(max(share, 0.0), 1 - 1e-12)
        divergence = (share * math.log(share / allowed) if share > 0 else 0.0) + (1 - share) * math.log(
            (1 - share) / (1 - allowed)
        )
        return math.copysign(divergence / float(self.factors[start]), share - allowed)


def past_of(reading: Reading[Counts], bad: Floats, requests: Floats) -> tuple[float, float] | None:
    """Return how many requests of the baseline were bad before the canary, and how many there were.

    None where it is not sure that they were all before it: a source without time slices goes on remembering.
    """
    if reading.slice_seconds is None or not requests.sum() > 0:
        return None
    return float(bad.sum()), float(requests.sum())
