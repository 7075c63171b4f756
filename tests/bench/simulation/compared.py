"""Our evidence about the ratio of two arms' rates, for many runs at once."""

from collections.abc import Callable, Mapping

import numpy as np
from bench.simulation import correlations
from bench.simulation.data import Bools, Floats, Shares
from bench.simulation.odds import Odds, paired
from bench.simulation.rivals import Limits
from bench.simulation.sums import Block, Sizes, Triples, summed

from analyzer.stats import share
from analyzer.stats.search import Side, log_mean_exp
from analyzer.stats.shared_rate import Differences


class Compared:
    """The ratio of the canary's rate of events to the baseline's, compared within slices.

    Parameters
    ----------
    limit : of the ratio, that a failing canary is proved to be beyond
    reach : of the alternatives, see `share.Comparison`
    strict : whether that is enough; else its estimate has to be beyond the rollback limit as well
    """

    def __init__(
        self, data: Shares, limits: Limits, limit: float, reach: Mapping[Side, share.Reach], *, strict: bool
    ) -> None:
        self._limits, self._limit, self._reach, self._strict = limits, limit, reach, strict
        self._sides: tuple[Side, Side] = ("above", "below") if limits.worse > 0 else ("below", "above")
        both = paired(data.canary.requests, data.baseline.requests)
        self._canary, self._both = data.canary.events * both, (data.canary.events + data.baseline.events) * both
        requests = data.canary.requests * both, data.baseline.requests * both
        self._odds = Odds.of(*requests)
        self._requests, self._sizes = requests, (Sizes.of(requests[0]), Sizes.of(requests[1]))
        self._known = correlations.of_arms(data.history)
        self._shared = self._known.shared(self._sizes)
        self._events = summed(self._canary), summed(self._both)
        canary_share = self._odds.complete / (1 + self._odds.complete)
        self._weighted = (
            summed(self._canary * (1 - canary_share)),
            summed((self._both - self._canary) * canary_share),
        )
        self._bounds: dict[float, tuple[Floats, Floats]] = {}
        self._ratios: dict[tuple[float, Side], Floats] = {}

    def may_fail(self, block: Block) -> Callable[[int, float], Triples]:
        """Find where log evidence since a start can be as large as needed: it is at most score^2 / information."""
        score, information = self._bound(self._limit)
        score_at, information_at = block.at_looks(score), block.at_looks(information)

        def since(place: int, needed: float) -> Triples:
            excess = self._limits.worse * (score_at - score[place, block.runs])
            spread = information_at - information[place, block.runs]
            found = block.triples((excess > 0) & (excess**2 >= needed * spread), place)
            return found[self.may_be_proved(found, needed)]

        return since

    def may_be_proved(self, triples: Triples, needed: float) -> Bools:
        """Tell where log evidence can be as large as needed."""
        score, information = map(triples.sums, self._bound(self._limit))
        factors = self._known.combined(self._sizes, triples, self._shared)
        return np.asarray((self._limits.worse * score > 0) & (score**2 >= needed * information * factors))

    def proved(self, triples: Triples, needed: Floats) -> Bools:
        """Tell where the evidence is as large as needed, and the estimate beyond the limit that the rule names."""
        found = self._log_evidence(triples, self._limit, self._sides[0]) >= needed
        return np.asarray(
            found & (self._strict | (self._limits.worse * (self._ratio(triples) - self._limits.rollback) > 0))
        )

    def excused(self, triples: Triples, needed: Floats) -> Bools:
        """Nothing excuses a canary that is worse than its baseline."""
        return np.zeros(len(triples.runs), bool) & (needed > 0)

    def may_pass(self, block: Block, needed: float) -> Triples:
        """Find where the ratio since the begin may be proved better than the promote limit."""
        score, information = (block.at_looks(part) for part in self._bound(self._limits.promote))
        return block.triples((self._limits.worse * score < 0) & (score**2 >= needed * information), 0)

    def passing(self, triples: Triples) -> Floats:
        """Give the log evidence for passing."""
        return self._log_evidence(triples, self._limits.promote, self._sides[1])

    def _bound(self, ratio: float) -> tuple[Floats, Floats]:
        """Give score and information of the log ratio at a value of the ratio."""
        if ratio not in self._bounds:
            expected = ratio * self._odds.complete / (1 + ratio * self._odds.complete)
            score = self._canary - self._both * expected
            self._bounds[ratio] = summed(score), summed(self._both * expected * (1 - expected))
        return self._bounds[ratio]

    def _log_evidence(self, triples: Triples, ratio: float, side: Side) -> Floats:
        """Average the likelihood ratios of the alternatives, as `share.Comparison` does for one run."""
        steps, log_weights = share.alternatives(self._reach[side], side)
        head, tail, odds = self._odds.cut(triples)
        canary, both, split = (part[:, np.newaxis] for part in (*map(tail.sums, self._events), odds))
        found = head.sums(self._log_ratios(ratio, side))
        found += share.log_ratios(canary, both, split, np.asarray(ratio), steps)[..., 0]
        factors = self._known.combined(self._sizes, triples, self._shared, self._differences)
        return np.asarray(log_mean_exp(found / factors[:, np.newaxis] + log_weights))

    def _differences(self, run: int, look: int) -> Differences:
        """Compare both arms of a run up to a look as the analyzer does."""
        ours, theirs = (arm[run, : look + 1] for arm in self._requests)
        canary = self._canary[run, : look + 1]
        baseline = self._both[run, : look + 1] - canary
        return Differences.of_events(canary, baseline, share.odds_of(ours, theirs), (ours, theirs))

    def _log_ratios(self, ratio: float, side: Side) -> Floats:
        """Add up the log likelihood ratios of the alternatives; shape (slices + 1, runs, alternatives)."""
        if (ratio, side) not in self._ratios:
            steps = share.alternatives(self._reach[side], side)[0]
            found = np.empty((self._canary.shape[1] + 1, len(self._canary), len(steps)))
            for number, step in enumerate(steps):
                known = share.log_ratios(
                    self._canary, self._both, self._odds.complete, np.asarray(ratio), np.array([step])
                )
                found[..., number] = summed(known[:, 0])
            self._ratios[ratio, side] = found
        return self._ratios[ratio, side]

    def _ratio(self, triples: Triples) -> Floats:
        """Give the ratio of the rates (Mantel-Haenszel); 1 without events."""
        head, tail, odds = self._odds.cut(triples)
        canary, both = map(tail.sums, self._events)
        ours = head.sums(self._weighted[0]) + canary / (1 + odds)
        theirs = head.sums(self._weighted[1]) + (both - canary) * odds / (1 + odds)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(ours / theirs, nan=1.0, posinf=np.inf)
