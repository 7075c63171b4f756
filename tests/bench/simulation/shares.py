"""Our evidence about the share of one arm, for many runs at once."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from bench.simulation import correlations
from bench.simulation.cells import TO_FAIL
from bench.simulation.compared import Compared
from bench.simulation.data import LOOKS, MINUTE, SLICE_SECONDS, Bools, Floats, Shares
from bench.simulation.odds import Odds
from bench.simulation.rivals import Limits
from bench.simulation.sums import Block, Sizes, Triples, summed
from scipy.special import pdtr, xlogy

from analyzer.stats import binomial, bursts
from analyzer.stats.onset import starts_of
from analyzer.stats.search import Side, log_mean_exp
from analyzer.stats.share import Reach

# Written down anew, not imported: what the benchmark has in common with the product it could not check.
FAULTY = 2.0  # times the rollback limit: what faults are looked for first
FEWEST_BAD = 4  # requests that are bad, to prove anything
SHOWS = 0.05  # of variance more than that of independent requests, from which on bursts are judged by batches
LOG_WEIGHTS = 0.3 * np.log(0.25 * 1.5 ** np.arange(8))  # of the alternatives in bursts
LOG_WEIGHTS -= np.log(np.exp(LOG_WEIGHTS).mean())
COMPATIBLE = 1e-4  # probability of so few bad requests of the baseline, up to which the canary alone is bad
REACH: dict[Side, Reach] = {"above": (0.15, 4.0), "below": (0.05, 3.0)}  # of the alternatives to equal rates
STARTS = starts_of(LOOKS, SLICE_SECONDS)


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
        self._past = data.history.events.sum(axis=1), data.history.requests.sum(axis=1)
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
        found &= self._strict | (triples.sums(self._beyond) > 0)
        places = np.flatnonzero(found)
        if places.size:
            found[places] = self._in_bursts(triples[places]) >= needed[places]
        return np.asarray(found)

    def excused(self, triples: Triples, needed: Floats) -> Bools:
        """Tell where the baseline seems bad as well, and the canary is not proved worse than it."""
        bad = self._may_be_shared(triples)
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
        return np.asarray(told / self._known.factors(sizes, triples))

    def _surely_excused(self, triples: Triples, needed: float) -> Bools:
        """Tell where `excused` needs not be asked, because the canary cannot be proved worse than the baseline."""
        bad = self._may_be_shared(triples)
        places = np.flatnonzero(bad)
        if places.size:
            bad[places] = ~self._compared.may_be_proved(triples[places], needed)
        return np.asarray(bad)

    def _may_be_shared(self, triples: Triples) -> Bools:
        """Return where the baseline seems to be beyond the limit, or may be as bad as the canary, as `SharedTrouble`.

        The baseline counts while the canary had traffic, and each slice of it as much as the canary's.
        """
        head, tail, odds = self._odds.cut(triples)
        profiled = [head.sums(part) for part in self._profiled]
        events, requests = (triples.sums(part) for part in self._baseline)
        profiled = [part + tail.sums(plain) * odds for part, plain in zip(profiled, self._baseline, strict=True)]
        beyond = (events >= FEWEST_BAD) & (profiled[0] > self._limit * profiled[1])
        factors = self._known.factors(self._other_sizes, triples)
        expected = np.maximum(triples.sums(self._expected_events) / factors, 1e-300)
        weights = STARTS.weights[np.searchsorted(STARTS.slice_indices, triples.places)]
        likely = np.minimum(COMPATIBLE, TO_FAIL * weights)
        return np.asarray(beyond | ((requests > 0) & (pdtr(np.floor(events / factors), expected) > likely)))

    def _log_evidence(self, triples: Triples, side: Side, limit: float) -> Floats:
        factors = self._known.factors(self._sizes, triples)
        seen, requests = triples.sums(self._events), triples.sums(self._sizes.requests)
        if side == "above":
            seen = seen - self._worst_batch(triples, limit)
        mean = self._expected if side == "above" else None
        past = self._past[0][triples.runs], self._past[1][triples.runs]
        found = binomial.log_evidence(seen / factors, requests / factors, limit, side=side, prior_mean=mean, past=past)
        return found if side == "below" else np.where(seen >= FEWEST_BAD, found, -np.inf)

    def _worst_batch(self, triples: Triples, limit: float) -> Floats:
        """Return by how much the worst minute is beyond the limit, 0 where the past has no incident."""
        worst = np.zeros(len(triples.runs))
        for number in np.flatnonzero(self._known.incidents[triples.runs]):
            run, slices = (
                triples.runs[number],
                slice(triples.places[number] // MINUTE * MINUTE, triples.looks[number] + 1),
            )
            beyond = self._data.canary.events[run, slices] - limit * self._data.canary.requests[run, slices]
            worst[number] = max(float(np.add.reduceat(beyond, np.arange(0, len(beyond), MINUTE)).max()), 0.0)
        return worst

    def _in_bursts(self, triples: Triples) -> Floats:
        """Give the log evidence where a whole minute may be bad by chance, as `BadRequests` does for one run."""
        found = np.full(len(triples.runs), np.inf)
        for run, look in np.unique(np.stack([triples.runs, triples.looks]), axis=1).T:
            here = (triples.runs == run) & (triples.looks == look)
            arm, minutes = self._data.canary, np.arange(0, look + 1, MINUTE)
            trials = np.add.reduceat(arm.requests[run, : look + 1], minutes)
            busy = float((trials**2).sum() / max(trials.sum(), 1e-300))
            correlation = self._known.runs[run].correlation(busy)
            if look > 0 and (busy - 1) * correlation > SHOWS:
                events = np.add.reduceat(arm.events[run, : look + 1], minutes)
                ratios = bursts.log_ratios(events, trials, self._limit, correlation)[:, ::-1]
                since = log_mean_exp(ratios.cumsum(axis=1)[:, ::-1].T + LOG_WEIGHTS)
                places = triples.places[here]
                found[here] = np.where(places % MINUTE == 0, since[places // MINUTE], -np.inf)
        return found

    @cached_property
    def _beside(self) -> tuple[Floats, Floats]:
        both = self._data.canary.requests > 0
        return self._data.baseline.events * both, self._data.baseline.requests * both

    @cached_property
    def _baseline(self) -> tuple[Floats, Floats]:
        return summed(self._beside[0]), summed(self._beside[1])

    @cached_property
    def _other_sizes(self) -> Sizes:
        return Sizes.of(self._beside[1])

    @cached_property
    def _odds(self) -> Odds:
        return Odds.of(self._data.canary.requests, self._beside[1])

    @cached_property
    def _profiled(self) -> tuple[Floats, Floats]:
        return summed(self._beside[0] * self._odds.complete), summed(self._beside[1] * self._odds.complete)

    @cached_property
    def _expected_events(self) -> Floats:
        """What the baseline would have of bad requests at the canary's own rate, slice by slice."""
        canary = self._data.canary
        return summed(self._beside[1] * canary.events / np.maximum(canary.requests, 1.0))

    @cached_property
    def _compared(self) -> Compared:
        return Compared(self._data, Limits(1.0, 1.0, compares=True), 1.0, REACH, strict=True)
