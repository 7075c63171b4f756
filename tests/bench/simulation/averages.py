"""Our evidence about the ratio of two means, for many runs at once."""

from collections.abc import Callable

import numpy as np
from bench.simulation import correlations
from bench.simulation.correlations import Compare
from bench.simulation.data import Bools, Floats, Moments, Sums
from bench.simulation.odds import Odds, paired
from bench.simulation.rivals import Limits
from bench.simulation.sums import Block, Sizes, Triples, summed

from analyzer.stats import means, share
from analyzer.stats.search import Side
from analyzer.stats.shared_rate import Differences

FEWEST = 30  # contributing values an arm, to judge at all
SPREADS = (0.05, 0.5)  # of the ratio, of the alternatives


class Averages:
    """The ratio of the canary's mean to the baseline's, compared within slices; parameters as for `Compared`."""

    def __init__(self, data: Sums, limits: Limits, limit: float, *, strict: bool) -> None:
        self._limits, self._limit = limits, limit
        self._beyond = limit if strict else limits.rollback
        self._sides: tuple[Side, Side] = ("above", "below") if limits.worse > 0 else ("below", "above")
        both = paired(data.canary.count, data.baseline.count)
        counts = data.canary.count * both, data.baseline.count * both
        self._odds, self._sizes = Odds.of(*counts), (Sizes.of(counts[0]), Sizes.of(counts[1]))
        self._known = correlations.of_values(data.history)
        self._shared = self._known.shared(self._sizes)
        ours, theirs, sizes = means.weighted_sizes(counts[0] + counts[1], self._odds.complete)
        totals = data.canary.total * both, data.baseline.total * both
        self._counts, self._totals = counts, totals
        self._plain = summed(totals[0]), summed(totals[1]), summed(counts[0] + counts[1])
        self._weighted = summed(totals[0] * ours), summed(totals[1] * theirs), summed(sizes)
        self._variation, self._usable = _variation(data.canary, data.baseline)

    def may_fail(self, block: Block) -> Callable[[int, float], Triples]:
        """Find where log evidence since a start can be as large as needed: it is at most z^2 / 2."""
        at = [block.at_looks(part) for part in self._weighted]
        variation = self._variation.T[block.begin : block.end, block.runs]

        def since(place: int, needed: float) -> Triples:
            ours, theirs, size = (now - part[place, block.runs] for now, part in zip(at, self._weighted, strict=True))
            expected = theirs * self._limit
            worse = self._limits.worse * (ours - expected)
            found = block.triples((worse > 0) & (worse**2 * size >= 2 * needed * variation * expected**2), place)
            ratio, size = self._compared(found)
            z_squared = (ratio / self._limit - 1) ** 2 * size / self._variation[found.runs, found.looks]
            return found[z_squared >= 2 * needed]

        return since

    def proved(self, triples: Triples, needed: Floats) -> Bools:
        """Tell where the evidence is as large as needed, and the estimate beyond the limit that the rule names."""
        ratio, size = self._compared(triples, self._differences)
        counts = (size > FEWEST / 2) & (self._limits.worse * (ratio - self._beyond) > 0)
        return np.asarray(counts & (self._log_evidence(triples, ratio, size, self._limit, self._sides[0]) >= needed))

    def excused(self, triples: Triples, needed: Floats) -> Bools:
        """Nothing excuses a canary that is worse than its baseline."""
        return np.zeros(len(triples.runs), bool) & (needed > 0)

    def may_pass(self, block: Block, needed: float) -> Triples:
        """Find where the ratio since the begin may be proved better than the promote limit."""
        ours, theirs, size = (block.at_looks(part) for part in self._weighted)
        expected = theirs * self._limits.promote
        better = self._limits.worse * (expected - ours)
        variation = self._variation.T[block.begin : block.end, block.runs]
        return block.triples((better > 0) & (better**2 * size >= 2 * needed * variation * expected**2), 0)

    def passing(self, triples: Triples) -> Floats:
        """Give the log evidence for passing."""
        return self._log_evidence(
            triples, *self._compared(triples, self._differences), self._limits.promote, self._sides[1]
        )

    def _log_evidence(self, triples: Triples, ratio: Floats, size: Floats, limit: float, side: Side) -> Floats:
        variation = self._variation[triples.runs, triples.looks]
        found = means.log_evidence(ratio, limit, size, variation=variation, spreads=SPREADS, side=side)
        return np.where(self._usable[triples.runs, triples.looks], found, -np.inf)

    def _compared(self, triples: Triples, differences: Compare | None = None) -> tuple[Floats, Floats]:
        """Give the ratio of the means, and the size of the comparison less for overdispersion: a bound without them."""
        head, tail, odds = self._odds.cut(triples)
        last = means.weighted_sizes(tail.sums(self._plain[2]), odds)
        ours = head.sums(self._weighted[0]) + tail.sums(self._plain[0]) * last[0]
        theirs = head.sums(self._weighted[1]) + tail.sums(self._plain[1]) * last[1]
        size = (head.sums(self._weighted[2]) + last[2]) / self._known.combined(
            self._sizes, triples, self._shared, differences
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(ours / theirs, nan=1.0, posinf=1.0), size

    def _differences(self, run: int, look: int) -> Differences:
        """Compare both arms of a run up to a look as the analyzer does."""
        upto = slice(0, look + 1)
        counts = self._counts[0][run, upto], self._counts[1][run, upto]
        ours, theirs, sizes = means.weighted_sizes(counts[0] + counts[1], share.odds_of(*counts))
        totals = self._totals[0][run, upto] * ours, self._totals[1][run, upto] * theirs
        variation = float(self._variation[run, look])
        return Differences.of_sums(*totals, sizes=sizes, variation=variation, requests=counts)


def _variation(canary: Moments, baseline: Moments) -> tuple[Floats, Bools]:
    """Give the squared variation of both arms at each look, and whether both have values enough; (runs, looks)."""
    arms = [np.cumsum([arm.total, arm.squares, arm.count], axis=2) for arm in (canary, baseline)]
    total, squares, count = arms[0] + arms[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        contributing = [arm[0] ** 2 / arm[1] for arm in arms]
        found = squares * count / total**2 - 1
    return np.maximum(np.nan_to_num(found, nan=1.0), 1e-12), np.min(np.nan_to_num(contributing), axis=0) >= FEWEST
