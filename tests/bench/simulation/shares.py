"""Our evidence about the share of one arm, for many runs at once."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from bench.simulation import correlations
from bench.simulation.compared import Compared
from bench.simulation.data import MINUTE, Bools, Floats, Shares
from bench.simulation.odds import paired
from bench.simulation.rivals import Limits
from bench.simulation.sums import Block, Sizes, Triples, summed
from scipy.special import xlogy

from analyzer.checks import comparison
from analyzer.checks.error_rate import FAULTY
from analyzer.stats import binomial, bursts
from analyzer.stats.search import Side, log_mean_exp

# Written down anew, not imported: what the benchmark has in common with the product it could not check.
FEWEST_BAD = 4.0
SHOWS = 0.05
LOG_WEIGHTS = 0.3 * np.log(0.25 * 1.5 ** np.arange(8))
LOG_WEIGHTS -= np.log(np.exp(LOG_WEIGHTS).mean())


class OneArm:
    """The canary's share of events against a limit, unless the baseline's is beyond it as well.

    Parameters
    ----------
    limit : that a failing canary is proved to be beyond
    strict : whether that is enough; else its estimate has to be beyond the rollback limit as well
    """

    def __init__(self, data: Shares, limits: Limits, limit: float, *, strict: bool) -> None:
        self._data, self._limits, self._limit, self._strict = data, limits, limit, strict
        self._events, self._sizes = summed(data.canary.events), Sizes.of(data.canary.requests)
        self._beyond = self._events - (limit if strict else limits.rollback) * self._sizes.requests
        self._known = correlations.of_arms(data.history)
        self._expected = None if strict or limits.promote == limits.rollback else FAULTY * limits.rollback

    def may_fail(self, block: Block) -> Callable[[int, float], Triples]:
        """Find where log evidence since a start can be as large as needed, and the estimate is beyond its limit.

        It is at most n KL(p, q), and this at most n (p - q)^2 / (q (1 - q)).
        """
        beyond = block.at_looks(self._beyond)
        score = block.at_looks(self._events - self._limit * self._sizes.requests)
        requests = block.at_looks(self._sizes.requests) * (self._limit * (1 - self._limit))

        def since(place: int, needed: float) -> Triples:
            where = beyond > self._beyond[place, block.runs]
            if where.any():
                n = self._sizes.requests[place, block.runs]
                excess = score - (self._events[place, block.runs] - self._limit * n)
                where &= excess**2 >= needed * (requests - n * (self._limit * (1 - self._limit)))
            found = block.triples(where, place)
            found = found[self._bound(found, self._events, self._sizes) >= needed]
            return found[~self._surely_excused(found, needed)] if found.runs.size else found

        return since

    def proved(self, triples: Triples, needed: Floats) -> Bools:
        """Tell where the evidence is as large as needed, and the estimate beyond the limit that the rule names."""
        found = self._log_evidence(triples, "above", self._limit) >= needed
        found &= (self._strict | (triples.sums(self._beyond) > 0)) & (triples.sums(self._events) >= FEWEST_BAD)
        places = np.flatnonzero(found)
        if places.size:
            found[places] = self._in_bursts(triples[places]) >= needed[places]
        return np.asarray(found)

    def excused(self, triples: Triples, needed: Floats) -> Bools:
        """Tell where the baseline seems bad as well, and the canary is not proved worse than it."""
        bad = self._is_suspected(triples)
        places = np.flatnonzero(bad)
        if places.size:
            bad[places] = ~self._compared.proved(triples[places], needed[places])
        return np.asarray(bad)

    def may_pass(self, block: Block, needed: float) -> Triples:
        """Find where the share since the begin may be proved below the promote limit."""
        q, n = self._limits.promote, block.at_looks(self._sizes.requests)
        score = block.at_looks(self._events) - q * n
        return block.triples((score < 0) & (score**2 >= needed * q * (1 - q) * n), 0)

    def passing(self, triples: Triples) -> Floats:
        """Give the log evidence for passing."""
        return self._log_evidence(triples, "below", self._limits.promote)

    def _bound(self, triples: Triples, events: Floats, sizes: Sizes) -> Floats:
        """Give the largest log likelihood ratio, which bounds any mixture of likelihood ratios."""
        seen, n = triples.sums(events), triples.sums(sizes.requests)
        told = xlogy(seen, seen / (n * self._limit)) + xlogy(n - seen, (n - seen) / (n * (1 - self._limit)))
        return np.asarray(told / sizes.factors(self._known, triples))

    def _surely_excused(self, triples: Triples, needed: float) -> Bools:
        """Tell where `excused` needs not be asked, because the canary cannot be proved worse than the baseline."""
        bad = self._is_suspected(triples)
        places = np.flatnonzero(bad)
        if places.size:
            bad[places] = ~self._compared.may_be_proved(triples[places], needed)
        return np.asarray(bad)

    def _is_suspected(self, triples: Triples) -> Bools:
        events, requests = (triples.sums(part) for part in self._baseline)
        return np.asarray((events >= FEWEST_BAD) & (events > self._limit * requests))

    def _log_evidence(self, triples: Triples, side: Side, limit: float) -> Floats:
        factors = self._sizes.factors(self._known, triples)
        seen, requests = triples.sums(self._events) / factors, triples.sums(self._sizes.requests) / factors
        mean = self._expected if side == "above" else None
        return binomial.log_evidence(seen, requests, limit, side=side, prior_mean=mean)

    def _in_bursts(self, triples: Triples) -> Floats:
        """Give the log evidence where a whole minute may be bad by chance, as `BadRequests` does for one run."""
        found = np.full(len(triples.runs), np.inf)
        found[(triples.places % MINUTE != 0) & self._shows[triples.runs]] = -np.inf
        places = np.flatnonzero((triples.places % MINUTE == 0) & self._shows[triples.runs])
        if places.size:
            runs, looks, first = triples.runs[places], triples.looks[places], triples.places[places] // MINUTE
            last = (looks + 1) // MINUTE  # whole minutes, and what is left of one
            summed_, parts = self._ratios
            known = summed_[runs, :, last] - summed_[runs, :, first]
            known += np.where(((looks + 1) % MINUTE)[:, np.newaxis] > 0, parts[runs, :, looks], 0.0)
            found[places] = log_mean_exp(known + LOG_WEIGHTS)
        return found

    @cached_property
    def _shows(self) -> Bools:
        trials = _by_minute(self._data.canary.requests)
        return np.asarray((trials.max(axis=1) - 1) * self._known > SHOWS)

    @cached_property
    def _ratios(self) -> tuple[Floats, Floats]:
        """Give log likelihood ratios of bursts: summed over minutes, and of every slice as what is left of one."""
        known, arm = np.clip(self._known, 1e-12, 0.99), self._data.canary
        whole = bursts.log_ratios(_by_minute(arm.events), _by_minute(arm.requests), self._limit, known)
        parts = bursts.log_ratios(arm.events, arm.requests, self._limit, known)
        return np.concatenate([np.zeros((*whole.shape[:2], 1)), whole.cumsum(axis=2)], axis=2), parts

    @cached_property
    def _baseline(self) -> tuple[Floats, Floats]:
        both = paired(self._data.canary.requests, np.ones_like(self._data.canary.requests))
        return summed(self._data.baseline.events * both), summed(self._data.baseline.requests * both)

    @cached_property
    def _compared(self) -> Compared:
        return Compared(self._data, Limits(1.0, 1.0, compares=True), 1.0, comparison.REACH, strict=True)


def _by_minute(values: Floats) -> Floats:
    return np.asarray(values.reshape(len(values), -1, MINUTE).sum(axis=2))
