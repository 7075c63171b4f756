"""What the rules came to in a cell: how often they rolled back and promoted, and how quickly."""

import math
from dataclasses import dataclass

import numpy as np
from bench.simulation import floors, ours
from bench.simulation.cells import (
    ALPHA,
    LIMITS,
    PASS_FACTOR,
    RULES,
    TO_FAIL,
    limit_to_fail,
    limits_of,
)
from bench.simulation.data import LOOKS, SLICE_SECONDS, Cell, Data, Floats, Looks, draw, requests_of
from bench.simulation.rivals import rivals
from scipy.special import betaincinv

CERTAIN = 0.99  # below this part of runs that decide, a mean time to decide says little
NEVER = np.array(-1)


@dataclass(frozen=True)
class Row:
    """One rule in one cell. Times and requests are counted from the onset; nan: not decided by nearly all runs.

    Attributes
    ----------
    rolled_back : runs that ever were
    too_early : of these, before the onset
    promoted : runs that passed before they were rolled back, if ever
    requests_to_fail, requests_to_pass : means of canary requests
    seconds_to_fail, seconds_to_pass : medians
    limit_to_fail, limit_to_pass : Wald's, in mean canary requests; infinite where there is nothing to prove
    start_limit : Wald's limit at the part of alpha that the start nearest to a late onset has
    failed : for each run, whether it was ever rolled back
    """

    cell: Cell
    rule: str
    runs: int
    rolled_back: int
    too_early: int
    promoted: int
    requests_to_fail: float
    requests_to_pass: float
    seconds_to_fail: float
    seconds_to_pass: float
    limit_to_fail: float
    limit_to_pass: float
    start_limit: float
    failed: tuple[bool, ...]

    @property
    def probability(self) -> float:
        """Part of the runs that were ever rolled back."""
        return self.rolled_back / self.runs

    @property
    def at_most(self) -> float:
        """Exact upper bound (99.9%) of the probability of a rollback."""
        return upper_bound(self.rolled_back, self.runs)

    @property
    def ratio_to_fail(self) -> float:
        """Mean canary requests to a rollback over Wald's limit."""
        return self.requests_to_fail / self.limit_to_fail

    @property
    def ratio_to_pass(self) -> float:
        """Mean canary requests to a pass over Wald's limit."""
        return self.requests_to_pass / self.limit_to_pass


def upper_bound(hits: int, runs: int) -> float:
    """Bound a probability from what was counted: Clopper-Pearson, 99.9%."""
    return 1.0 if hits == runs else float(betaincinv(hits + 1, runs - hits, 0.999))


def run(cell: Cell) -> list[Row]:
    """Simulate a cell and judge it by every rule."""
    data = draw(cell)
    requests = requests_of(data)
    rows = []
    for rule in RULES[cell.kind]:
        rows.append(_row(cell, rule, rule, requests, *ours.judge(cell, data, rule)))
        rows.append(_row(cell, f"oracle {rule}", rule, requests, *_oracle(cell, data, rule)))
    first = RULES[cell.kind][0]
    return rows + [
        _row(cell, name, first, requests, looks, NEVER) for name, looks in rivals(data, LIMITS[cell.kind]).items()
    ]


def _oracle(cell: Cell, data: Data, rule: str) -> tuple[Looks, Looks]:
    limits, limit = limits_of(cell.kind, rule), limit_to_fail(cell.kind, rule)
    never, value = np.full(cell.runs, -1), _value(cell, rule)
    beyond, within = limits.worse * (value - limit), limits.worse * (limits.promote - value)
    failed = floors.oracle(cell, data, limits, limit, TO_FAIL) if beyond > 0 else never
    passed = floors.oracle(cell, data, limits, limits.promote, _to_pass(cell)) if within > 0 else never
    return failed, passed


def _value(cell: Cell, rule: str) -> float:
    """Give the true value in the unit of the rule's limits."""
    scenario = cell.scenario
    return scenario.canary / scenario.baseline if limits_of(cell.kind, rule).compares else scenario.canary


def _to_pass(cell: Cell) -> float:
    return ALPHA * PASS_FACTOR.get(cell.kind, 1.0)


def _row(cell: Cell, name: str, rule: str, requests: Floats, failed: Looks, passed: Looks) -> Row:
    """Sum up one rule; `rule` is the one of ours whose limit it is measured by."""
    limits, limit = limits_of(cell.kind, rule), limit_to_fail(cell.kind, rule)
    requests, onset = requests[: len(failed)], floors.onset_look(cell)
    early = (failed >= 0) & (failed < onset)
    is_bad = limits.worse * (_value(cell, rule) - limit) > 0
    is_good = limits.worse * (limits.promote - _value(cell, rule)) > 0
    wald = floors.wald(cell, limits, limit, TO_FAIL)
    to_fail = _costs(requests, failed, onset, ~early) if is_bad else (math.nan, math.nan)
    to_pass = _costs(requests, passed, 0, failed >= -1) if is_good and passed.ndim else (math.nan, math.nan)
    promoted = (passed >= 0) & ((failed < 0) | (passed < failed))
    return Row(
        cell=cell,
        rule=name,
        runs=len(failed),
        rolled_back=int((failed >= 0).sum()),
        too_early=int(early.sum()),
        promoted=int(promoted.sum()),
        requests_to_fail=to_fail[0],
        requests_to_pass=to_pass[0],
        seconds_to_fail=to_fail[1],
        seconds_to_pass=to_pass[1],
        limit_to_fail=wald if is_bad else math.inf,
        limit_to_pass=floors.wald(cell, limits, limits.promote, _to_pass(cell)) if is_good else math.inf,
        start_limit=wald * (1 - math.log(ours.weight_of(cell.scenario.onset)) / -math.log(TO_FAIL)),
        failed=tuple(bool(one) for one in failed >= 0),
    )


def _costs(requests: Floats, looks: Looks, onset: int, counted: np.ndarray) -> tuple[float, float]:
    """Give mean requests and median seconds from the onset to a decision; a run without one counts as one look more."""
    decided = looks >= 0
    if counted.sum() == 0 or decided[counted].mean() < CERTAIN:
        return math.nan, math.nan
    before = requests[:, onset - 1] if onset else np.zeros(len(requests))
    at = np.take_along_axis(requests, np.where(decided, looks, LOOKS - 1)[:, np.newaxis], axis=1)[:, 0]
    seconds = np.where(decided, looks + 1 - onset, LOOKS + 1 - onset) * SLICE_SECONDS
    return float((at - before)[counted].mean()), float(np.median(seconds[counted]))
