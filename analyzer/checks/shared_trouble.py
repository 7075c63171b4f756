"""Is it the service, or the canary? What the baseline suffers as well, or may suffer, is no fault of the canary."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import pdtr

from analyzer.checks.comparison import Rates
from analyzer.checks.decision import Terms
from analyzer.checks.one_arm import FEWEST_BAD, BadRequests
from analyzer.checks.segments import Indices
from analyzer.stats.search import Bools, Floats
from analyzer.stats.share import odds_of

# Probability of so few bad requests of the baseline, above which it may be as bad as the canary; less for a segment
# whose part of the canary's level is smaller than that, for there are many of them.
COMPATIBLE = 1e-4
SCRAPES = 2.0  # without requests of the baseline, before it can be gone


def beyond_as_well(*, began_with_canary: bool) -> str:
    """Return the words for a baseline that is beyond the limit as the canary is."""
    if began_with_canary:
        return "where the baseline is as well, since the canary came: a regression that both share, or an incident"
    return "where the baseline is as well: the service, not the canary, is in trouble"


@dataclass(frozen=True)
class SharedTrouble:
    """The test whether trouble of the canary is, or may be, the service's.

    It is taken for the service's in a segment where the canary is not proved worse than the baseline (at the level of
    its own failing, by slices within which the split stood still), and

    - the baseline seems to be beyond the limit as well. Each slice of the baseline counts as much as the canary's: an
      incident at a high weight would drown in the many requests that the baseline had before; or
    - the baseline's bad requests are not fewer than those of an arm that is as bad as the canary may well be: at a high
      weight the baseline has too few requests to clear the service.

    Nothing is excused where the baseline has no traffic any more: there is nothing to compare with. In short segments a
    small baseline may have none by chance, or may not have been scraped; it is gone where that were a chance of
    `COMPATIBLE`, after `SCRAPES` at least.

    Attributes
    ----------
    canary, baseline : the same measure of both arms, the baseline while the canary had traffic
    rates : returns both arms side by side
    limit : beyond which the canary is proved to be
    terms : the levels, and whether trouble that began with the canary fails
    before : bad and all requests of the baseline before the canary; None: not known
    """

    canary: BadRequests
    baseline: BadRequests
    rates: Callable[[], Rates]
    limit: float
    terms: Terms
    before: tuple[float, float] | None = None

    def excused(self, starts: Indices) -> Bools:
        """Return for each start, by number, whether what is bad since then is not held against the canary."""
        shared = (self._baseline_beyond | self._baseline_compatible)[starts]
        if self.terms.shared_regression_fails and self.began_with_canary:
            shared &= ~self._baseline_beyond[starts]
        if not shared.any():
            return np.asarray(shared)
        with np.errstate(divide="ignore"):
            weights = np.log(self.baseline.segments.starts.weights[starts])
        worse = self.rates().log_evidence(0.0, "above")[starts] + weights >= -math.log(self.terms.fail)
        return np.asarray(shared & ~worse)

    def explain(self, start: int) -> str:
        """Return what is known of the baseline since a start, for the reason of a finding."""
        if not self._baseline_beyond[start]:
            return "where the baseline has too few requests to tell the canary's trouble from the service's"
        return beyond_as_well(began_with_canary=self.began_with_canary)

    @property
    def began_with_canary(self) -> bool:
        """Whether the baseline was within the limit before the canary came."""
        if self.before is None:
            return False
        bad, requests = self.before
        return requests * self.baseline.allowed(self.limit) >= FEWEST_BAD and (
            bad <= self.baseline.allowed(self.limit) * requests
        )

    @cached_property
    def _events(self) -> tuple[Floats, Floats]:
        none = np.zeros(len(self.canary.trials))
        ours, theirs = (arm.bad(self.limit, "above") for arm in (self.canary, self.baseline))
        return none if ours is None else ours, none if theirs is None else theirs

    @cached_property
    def _baseline_beyond(self) -> Bools:
        since, trials = self.baseline.segments.since, self.baseline.trials
        events = self._events[1]
        profile = np.where(trials > 0, odds_of(self.canary.trials, trials), 0.0)
        beyond = since(events * profile) > self.baseline.allowed(self.limit) * since(trials * profile)
        return np.asarray((since(events) >= FEWEST_BAD) & beyond)

    @cached_property
    def baseline_serves(self) -> bool:
        """Whether the baseline has traffic, though perhaps none in the last slices: it may have too little for that."""
        ours, theirs = self.canary.trials, self.baseline.trials
        served = np.flatnonzero(theirs > 0)
        if not len(served):
            return False
        last = int(served[-1]) + 1
        segments, odds = self.canary.segments, odds_of(ours[:last], theirs[:last])[-1]  # at the last weight
        if segments.apart and segments.lengths[last:].sum() < SCRAPES * segments.apart:
            return True
        return float(ours[last:].sum()) < -math.log(COMPATIBLE) * float(odds)

    @cached_property
    def _baseline_compatible(self) -> Bools:
        """Whether so few bad requests are likely of a baseline with the canary's own rate, slice by slice."""
        since, trials = self.baseline.segments.since, self.baseline.trials
        ours, theirs = self._events
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(self.canary.trials > 0, ours / self.canary.trials, 0.0)
        inside = self.canary.segments.inside(ours, self.canary.trials, trials) / np.maximum(since(ours), 1e-300)
        expected = since(trials * rate) * inside / self.baseline.factors
        seen = since(theirs) / self.baseline.factors
        likely = np.minimum(COMPATIBLE, self.terms.fail * self.baseline.segments.starts.weights)
        beside = (since(trials) > 0) | self.baseline_serves
        return np.asarray(beside & (pdtr(np.floor(seen), np.maximum(expected, 1e-300)) > likely))
