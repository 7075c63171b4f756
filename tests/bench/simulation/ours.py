"""Our own rules, for many runs at once: the statistics of analyzer.stats under the rules of analyzer.checks.decision.

Evidence is computed only where it may decide. It can never be larger than a bound that is quick to compute, so starts
where the bound is too small are passed over, and so are runs that have already decided.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from bench.simulation.averages import Averages
from bench.simulation.cells import ALPHA, PASS_FACTOR, RELATIVE, STRICT, TO_FAIL, limit_to_fail, limits_of
from bench.simulation.compared import Compared
from bench.simulation.data import LOOKS, SLICE_SECONDS, Bins, Bools, Cell, Data, Floats, Looks, Shares, requests_of
from bench.simulation.distances import Distances
from bench.simulation.shares import REACH, STARTS, OneArm
from bench.simulation.sums import Block, Triples

from analyzer.stats.search import Side
from analyzer.stats.share import Reach

REACH_OF_CONVERSIONS: dict[Side, Reach] = {"below": (0.02, 0.6), "above": (0.004, 0.6)}
HOLD = 0.5  # of the evidence that a fail takes, with which a pass waits
WHOLE = 0.5  # the part of alpha of the first start
BLOCK = 12  # looks that are searched together
LEAST_REQUESTS = 100  # to pass
NEEDED = -math.log(TO_FAIL)
NEEDED_SINCE = NEEDED - np.log(STARTS.weights)


class Measure(Protocol):
    """What a kind of check knows of many runs."""

    def may_fail(self, block: Block) -> Callable[[int, float], Triples]:
        """Find where log evidence since a start may be as large as needed."""

    def proved(self, triples: Triples, needed: Floats) -> Bools:
        """Tell where the evidence for failing is as large as needed, and counts."""

    def excused(self, triples: Triples, needed: Floats) -> Bools:
        """Tell where what is proved bad is not the canary's fault."""

    def may_pass(self, block: Block, needed: float) -> Triples:
        """Find where log evidence for passing may be as large as needed."""

    def passing(self, triples: Triples) -> Floats:
        """Give the log evidence for passing."""


def judge(cell: Cell, data: Data, rule: str) -> tuple[Looks, Looks]:
    """Judge a cell by a rule: the first look at which each run fails, and passes before it failed; -1: never."""
    measure = measure_of(cell, data, rule)
    failed = first_failures(measure, cell.runs)
    return failed, _first_passes(measure, cell, failed, requests_of(data))


def measure_of(cell: Cell, data: Data, rule: str) -> Measure:
    """Choose the measure of a kind of check."""
    limits, limit, strict = limits_of(cell.kind, rule), limit_to_fail(cell.kind, rule), rule == STRICT
    if isinstance(data, Shares):
        if not limits.compares:
            return OneArm(data, limits, limit, strict=strict)
        reach = REACH if rule == RELATIVE else REACH_OF_CONVERSIONS
        return Compared(data, limits, limit, reach, strict=strict)
    if isinstance(data, Bins):
        return Distances(data, limits, limit, STARTS.slice_indices, strict=strict)
    return Averages(data, limits, limit, strict=strict)


def first_failures(measure: Measure, runs: int) -> Looks:
    """Find the first look at which each run fails."""
    found = np.full(runs, -1)
    for begin in range(0, LOOKS, BLOCK):
        active = np.flatnonzero(found < 0)
        if active.size:
            triples, needed = _candidates(measure, Block(active, begin, begin + BLOCK))
            for look in np.unique(triples.looks):
                here = np.flatnonzero((triples.looks == look) & (found[triples.runs] < 0))
                here = here[measure.proved(triples[here], needed[here])]
                here = here[~measure.excused(triples[here], needed[here])]
                found[triples.runs[here]] = look
    return found


def _candidates(measure: Measure, block: Block) -> tuple[Triples, Floats]:
    """Collect what may fail in a block of looks, and the log evidence that it needs."""
    since = measure.may_fail(block)
    starts = [number for number, place in enumerate(STARTS.slice_indices) if place < block.end]
    found = [since(int(STARTS.slice_indices[number]), float(NEEDED_SINCE[number])) for number in starts]
    needed = np.repeat(NEEDED_SINCE[starts], [len(one.runs) for one in found])
    return _joined(found), needed


def _joined(parts: Sequence[Triples]) -> Triples:
    return Triples(*(np.concatenate([getattr(one, name) for one in parts]) for name in ("runs", "looks", "places")))


def _first_passes(measure: Measure, cell: Cell, failed: Looks, requests: Floats) -> Looks:
    """Find the first look at which each run passes: proved good, and nothing speaks half as much for failing."""
    needed = -math.log(ALPHA * PASS_FACTOR.get(cell.kind, 1.0))
    found = np.full(cell.runs, -1)
    for begin in range(0, LOOKS, BLOCK):
        active = np.flatnonzero((found < 0) & ((failed < 0) | (failed >= begin)))
        if active.size:
            triples = measure.may_pass(Block(active, begin, begin + BLOCK), needed)
            triples = triples[requests[triples.runs, triples.looks] >= LEAST_REQUESTS]
            for look in np.unique(triples.looks):
                here = triples[(triples.looks == look) & (found[triples.runs] < 0)]
                here = here[measure.passing(here) >= needed]
                found[here.runs[~_held(measure, here)]] = look
    return np.where((failed >= 0) & (found >= failed), -1, found)


def _held(measure: Measure, triples: Triples) -> Bools:
    """Tell where evidence for failing, excused or not, keeps a run from passing."""
    which, number = np.nonzero(triples.looks[:, np.newaxis] >= STARTS.slice_indices)
    every = Triples(triples.runs[which], triples.looks[which], STARTS.slice_indices[number])
    enough = measure.proved(every, HOLD * NEEDED - np.log(STARTS.weights[number]))
    return np.bincount(which, weights=enough, minlength=len(triples.runs)) > 0


def weight_of(onset: float) -> float:
    """Give the part of alpha of the first start at or after a moment."""
    if onset == 0:
        return WHOLE
    return float(STARTS.weights[np.searchsorted(STARTS.slice_indices * SLICE_SECONDS, onset)])
