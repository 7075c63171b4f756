"""Our evidence about the distance of two binned distributions, for many runs at once."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from bench.simulation import correlations
from bench.simulation.data import BINS, Bins, Bools, Floats, Looks
from bench.simulation.odds import Odds, paired
from bench.simulation.rivals import Limits
from bench.simulation.sums import Block, Sizes, Triples, summed
from numpy.typing import NDArray

from analyzer.checks import drift, single_bins
from analyzer.stats import psi
from analyzer.stats.search import Side

FEWEST = 30  # predictions an arm, to judge at all
PSEUDO_COUNT = 0.5  # of every bin
ROUNDING = 1.001  # what single precision may be wrong by, generously


class Distances:
    """The PSI of the canary from the baseline, weighted to the canary's profile over time.

    Parameters
    ----------
    places : of the starts
    limit : that a failing canary is proved to be beyond
    strict : whether that is enough; else its estimate has to be beyond the rollback limit as well
    """

    def __init__(self, data: Bins, limits: Limits, limit: float, places: Looks, *, strict: bool) -> None:
        self._limits, self._limit, self._places = limits, limit, places
        self._beyond = 0.0 if strict else limits.rollback
        self._seen = summed(data.canary.sum(axis=2)), summed(data.baseline.sum(axis=2))
        both = paired(data.canary.sum(axis=2), data.baseline.sum(axis=2))[..., np.newaxis]
        data = replace(data, canary=data.canary * both, baseline=data.baseline * both)
        requests = data.canary.sum(axis=2), data.baseline.sum(axis=2)
        self._odds, self._sizes = Odds.of(*requests), (Sizes.of(requests[0]), Sizes.of(requests[1]))
        self._known = correlations.of_bins(data.history)
        self._canary, self._plain = summed(data.canary), summed(data.baseline)
        odds = self._odds.complete
        self._baseline = summed(data.baseline * odds[..., np.newaxis])
        self._squares = summed(requests[1] * odds**2)
        self._total = summed((data.baseline * odds[..., np.newaxis]).sum(axis=2))
        # In single precision and bins first, many are quick to search.
        self._single = [np.moveaxis(arm, 2, 0).astype(np.float32) for arm in (self._canary, self._baseline)]

    def may_fail(self, block: Block) -> Callable[[int, float], Triples]:
        """Find where log evidence can be as large as needed: it is at most size (sqrt(psi) - sqrt(limit))^2 / 2."""
        bins = [arm[:, block.begin + 1 : block.end + 1, block.runs] for arm in self._single]
        sums = [block.at_looks(part) for part in (self._sizes[0].requests, self._total, self._squares)]
        least = math.sqrt(max(self._beyond, self._limit))

        def since(place: int, needed: float) -> Triples:
            rows = slice(max(place - block.begin, 0), None)
            before = [arm[:, place][:, np.newaxis, block.runs] for arm in self._single]
            ours, theirs = (now[:, rows] - then for now, then in zip(bins, before, strict=True))
            parts = zip(sums, (self._sizes[0].requests, self._total, self._squares), strict=True)
            n, total, squares = (now[rows] - part[place, block.runs] for now, part in parts)
            worth = total**2 / np.maximum(squares, 1e-300)
            root = np.sqrt(_rough(ours, theirs, n, total, worth)) * ROUNDING
            size = n * worth / np.maximum(n + worth, 1e-300)
            enough = (root > least) & (size * (root - math.sqrt(self._limit)) ** 2 >= 2 * needed)
            return block.triples(enough, place, rows.start)

        return since

    def proved(self, triples: Triples, needed: Floats) -> Bools:
        """Tell where the evidence is as large as needed, and the estimate beyond the limit that the rule names.

        The check looks at a few starts only, so where there is proof all starts are asked which these are.
        """
        needed = needed - math.log(1 - single_bins.PART)  # of the level: single bins have the rest
        distance = self._distance(triples)
        found = (self._log_evidence(distance, self._limit, "above") >= needed) & (distance.value > self._beyond)
        places = np.flatnonzero(found)
        for run, look in np.unique(np.stack([triples.runs[places], triples.looks[places]]), axis=1).T:
            here = places[(triples.runs[places] == run) & (triples.looks[places] == look)]
            starts = self._places[self._places <= look]
            every = Triples(np.full(len(starts), run), np.full(len(starts), look), starts)
            measure = drift.Drifts(self._distance(every), every.sums(self._seen[0]), np.ones(len(starts)))
            evidence = measure.log_evidence(self._limit, "above")[np.searchsorted(starts, triples.places[here])]
            found[here] = (evidence >= needed[here]) & self._is_enough(every[np.zeros(1, int)])
        return np.asarray(found)

    def excused(self, triples: Triples, needed: Floats) -> Bools:
        """Nothing excuses a canary whose predictions differ from those of its baseline."""
        return np.zeros(len(triples.runs), bool) & (needed > 0)

    def may_pass(self, block: Block, needed: float) -> Triples:
        """Find where the PSI since the begin may be proved below the promote limit: it tells size limit / 2 at most."""
        every = block.triples(np.ones((block.end - block.begin, len(block.runs)), bool), 0)
        found = self._distance(every)
        return every[(found.value < self._limits.promote) & (found.size * self._limits.promote >= 2 * needed)]

    def passing(self, triples: Triples) -> Floats:
        """Give the log evidence for passing."""
        found = self._log_evidence(self._distance(triples), self._limits.promote, "below")
        return np.where(self._is_enough(triples), found, -np.inf)

    def _log_evidence(self, distance: psi.Distance, limit: float, side: Side) -> Floats:
        found = np.full(len(distance.raw), -np.inf)
        usable = (distance.size >= FEWEST / 2) & (distance.freedom >= 1)
        for freedom in np.unique(distance.freedom[usable]):
            same = usable & (distance.freedom == freedom)
            found[same] = psi.log_evidence(distance.raw[same], int(freedom), distance.size[same], limit, side=side)
        return found

    def _is_enough(self, triples: Triples) -> Bools:
        """Tell whether there are predictions enough since the begin to judge at all."""
        seen = [triples.sums(one) for one in self._seen]
        return np.asarray((np.min(seen, axis=0) >= FEWEST) & (self._distance(triples).size >= FEWEST / 2))

    def _distance(self, triples: Triples) -> psi.Distance:
        head, tail, odds = self._odds.cut(triples)
        canary = triples.sums(self._canary)
        baseline = head.sums(self._baseline) + tail.sums(self._plain) * odds[:, np.newaxis]
        squares = head.sums(self._squares) + tail.sums(self._sizes[1].requests) * odds**2
        total = np.maximum(baseline.sum(axis=1), 1e-300)
        worth = total**2 / np.maximum(squares, 1e-300)
        factors = [self._known.factors(sizes, triples) for sizes in self._sizes]
        return psi.distance(
            canary,
            baseline * (worth / total)[:, np.newaxis],
            canary_size=canary.sum(axis=1) / factors[0],
            baseline_size=worth / factors[1],
        )


def _rough(ours: NDArray[np.floating], theirs: NDArray[np.floating], n: Floats, total: Floats, worth: Floats) -> Floats:
    """Compute the PSI of counts with the bins first, those that nobody saw included."""
    half, all_halves = np.float32(PSEUDO_COUNT), PSEUDO_COUNT * BINS
    c = (ours + half) * (1 / (n + all_halves)).astype(np.float32)
    scale = worth / np.maximum(total, 1e-300)
    b = (theirs * scale.astype(np.float32) + half) * (1 / (worth + all_halves)).astype(np.float32)
    return np.asarray(np.maximum(np.einsum("kij,kij->ij", c - b, np.log(c / b)), 0), float)
