"""The canary's share of bad requests against a limit: what error rates and latency quantiles have in common."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analyzer.checks.comparison import Rates
from analyzer.checks.decision import Terms
from analyzer.checks.stretches import Indices
from analyzer.stats import binomial
from analyzer.stats.onset import Starts
from analyzer.stats.search import Bools, Floats, Side


@dataclass(frozen=True)
class BadRequests:
    """A measure (see `decision`) of which a limit allows a share of bad requests.

    Attributes
    ----------
    values : estimates in the check's unit, since each start; shape (starts,)
    requests : of the arm, since each start
    factors : by which counts are divided for overdispersion, since each start
    bad : of a limit and a side, the requests that are bad for certain ("above") or perhaps ("below"), since each
        start; None where nothing can tell
    allowed : of a limit, the share of bad requests that it allows
    """

    values: Floats
    requests: Floats
    factors: Floats
    bad: Callable[[float, Side], Floats | None]
    allowed: Callable[[float], float]

    def log_evidence(self, limit: float, side: Side) -> Floats:
        """Give the log evidence since each start; -inf where nothing can tell."""
        events = self.bad(limit, side)
        if events is None:
            return np.full(self.requests.shape, -math.inf)
        return binomial.log_evidence(
            events / self.factors, self.requests / self.factors, self.allowed(limit), side=side
        )

    def forecast(self, limit: float, side: Side, start: int, scale: Floats) -> Floats:
        """Give the log evidence since one start, were all counts `scale` times as large."""
        events = self.bad(limit, side)
        if events is None:
            return np.full(np.shape(scale), -math.inf)
        times = scale / self.factors[start]
        return binomial.log_evidence(
            events[start] * times, self.requests[start] * times, self.allowed(limit), side=side
        )

    def information(self, limit: float, start: int, deviations: float) -> float:
        """Give the Kullback-Leibler divergence of one request, negative where the share is below the allowed one."""
        events = self.bad(limit, "above" if deviations >= 0 else "below")
        if events is None:
            return 0.0
        total, allowed = float(self.requests[start]), self.allowed(limit)
        share = (float(events[start]) + 0.5) / (total + 1)
        share += deviations * math.sqrt(share * (1 - share) * float(self.factors[start]) / total)
        share = min(max(share, 0.0), 1 - 1e-12)
        told = (share * math.log(share / allowed) if share > 0 else 0.0) + (1 - share) * math.log(
            (1 - share) / (1 - allowed)
        )
        return math.copysign(told / float(self.factors[start]), share - allowed)


def excuse(
    baseline: BadRequests, rates: Callable[[], Rates], starts: Starts, limit: float, terms: Terms
) -> Callable[[Indices], Bools]:
    """Build the test whether trouble is the service's, not the canary's.

    It is when the baseline of the same stretch is proved beyond the limit as well, and the canary is not proved worse
    than the baseline. Both are judged at the level of the canary's own failing.

    Parameters
    ----------
    baseline : the same measure of the other arm
    rates : gives both arms side by side
    limit : beyond which the canary is proved to be
    """
    needed = -math.log(terms.fail)

    def excused(places: Indices) -> Bools:
        weights = np.log(starts.weights[places])
        bad = baseline.log_evidence(limit, "above")[places] + weights >= needed
        if not bad.any():
            return bad
        return np.asarray(bad & ~(rates().log_evidence(0.0, "above")[places] + weights >= needed))

    return excused
