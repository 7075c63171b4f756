"""One simulated rollout, measured again and again: by the product, and by the rules that people use today."""

import zlib
from dataclasses import dataclass, replace

import numpy as np
from bench.processes.cells import Aim, Cell, Form
from bench.processes.looks import EVERY, moments
from bench.processes.traffic import HOUR, SLOT, SLOTS, Floats, Rollout, requests
from bench.simulation import rivals
from bench.simulation.data import Arm, Bins, Moments, Shares, Sums

from analyzer.config.policy import Policy, choose_policy, load_policies
from analyzer.model.counts import (
    Classes,
    Conversions,
    Counts,
    Errors,
    Histogram,
    Pod,
    Reading,
    Readings,
    Values,
    Window,
)
from analyzer.model.findings import Outcome
from analyzer.verdict.case import Case

BEGIN = 1_700_000_000.0  # Unix seconds
MOST_SLICES = 120  # of the window: the source doubles the length of slices from 15 s until there are so few
LATENCY_EDGES = np.array([0.05, 0.1, 0.2, 0.5, 1.0, np.inf])
NAMES = ("ours", "threshold", "4 failures", "repeated test")


@dataclass(frozen=True)
class Decided:
    """When rules decided in one run: seconds since the begin, or None.

    Attributes
    ----------
    failed : of each of `NAMES`
    passed : of ours
    requests : of the canary until ours decided as the cell aims at
    """

    failed: tuple[float | None, ...]
    passed: float | None
    requests: float


def run(cell: Cell, number: int, *, every: bool = False) -> Decided:
    """Draw one rollout and judge it; at all moments if `every`."""
    rng = np.random.default_rng(np.random.SeedSequence([zlib.crc32(cell.name.encode()), number]))
    history = round(cell.history_hours * HOUR)
    expected = requests(cell.rate, cell.weights, cell.step_minutes, cell.pods, history)
    drawn = cell.draw(rng, expected, **cell.how)
    sums = drawn.canary[history:].sum(axis=1), drawn.baseline[history:].sum(axis=1)
    policy = choose_policy(load_policies(None), {"base": "ml-model", **cell.policy}, "ml-model")
    ours = _ours(_Judge(cell, policy, drawn, history), moments(cell, *sums, every=every))
    return Decided((ours.failed[0], *_rivals(cell, *sums)), ours.passed, ours.requests)


def _ours(judge: "_Judge", measured: list[int]) -> Decided:
    passed: float | None = None
    for moment in measured:
        outcome = judge.outcome(moment)
        if outcome is Outcome.FAIL or (outcome is Outcome.PASS and judge.cell.aim in (Aim.PASSES, Aim.NEVER_PASSES)):
            seconds, seen = float(moment * SLOT), judge.requests(moment)
            failed = outcome is Outcome.FAIL
            return Decided((seconds if failed else None,), passed if failed else seconds, seen)
        if outcome is Outcome.PASS and passed is None:
            passed = float(moment * SLOT)
    return Decided((None,), passed, judge.requests(SLOTS))


class _Judge:
    """Asks the product about one rollout at any moment."""

    def __init__(self, cell: Cell, policy: Policy, drawn: Rollout, history: int) -> None:
        self.cell, self.policy, self.starts = cell, policy, drawn.starts
        self.checks = {cell.form.check: policy.checks[cell.form.check]}
        arms = (drawn.canary[history:], drawn.baseline[history:])
        self.canary, self.baseline = (np.concatenate((arm[:1] * 0, np.cumsum(arm, axis=0))) for arm in arms)
        known = drawn.baseline[max(0, history - round(policy.history / SLOT)) : history]
        self.history_step = _step(len(known), max(1, len(known) * SLOT // 60))
        whole = len(known) // self.history_step * self.history_step
        bounds = np.arange(0, whole, self.history_step)
        self.history = np.add.reduceat(known[:whole], bounds, axis=0) if whole else None

    def requests(self, moment: int) -> float:
        """Count the canary's requests, predictions or values until a moment."""
        return float(self.cell.form.trials(self.canary[moment].sum(axis=0)))

    def outcome(self, moment: int) -> Outcome:
        """Judge what had been counted at a moment, as a verdict of then."""
        seconds = float(moment * SLOT)
        readings = Readings(Window(BEGIN, BEGIN + seconds), {self.cell.form.check: self._reading(moment)})
        case = Case(self.checks, self.policy, readings, share=self.cell.nominal)
        verdict = case.verdict()
        return verdict.outcome if self.cell.whole else verdict.findings[self.cell.form.check].outcome

    def _reading(self, moment: int) -> Reading[Counts]:
        if self.cell.scraped:  # two sums since the begin, and nothing else
            return Reading(
                self._counts(self.canary[moment : moment + 1]), self._counts(self.baseline[moment : moment + 1])
            )
        step = _step(moment, MOST_SLICES)
        ends = np.append(np.arange(0, moment, step), moment)
        canary, baseline = (np.diff(arm[ends], axis=0) for arm in (self.canary, self.baseline))
        left = moment % step
        past = self.history
        reading: Reading[Counts] = Reading(
            canary=self._counts(canary),
            baseline=self._counts(baseline),
            slice_seconds=float(step * SLOT),
            begin=BEGIN,
            last_seconds=float(left * SLOT) if left else None,
            scrape_seconds=float(SLOT),
            history=None if past is None else self._counts(past),
            history_seconds=None if past is None else float(self.history_step * SLOT),
        )
        if not self.cell.pods_known:
            return reading
        return replace(
            reading,
            canary_pods=self._pods("canary", canary, moment),
            baseline_pods=self._pods("baseline", baseline),
            history_pods=() if past is None else self._pods("baseline", past),
        )

    def _pods(self, arm: str, counts: Floats, moment: int = 0) -> tuple[Pod[Counts], ...]:
        """Give each pod by itself; those of the canary with their starts until a moment."""
        pods = []
        for number in range(counts.shape[1]):
            mine = self._counts(counts[:, number : number + 1])
            if arm == "baseline":
                pods.append(Pod(f"baseline-{number}", mine))
            elif starts := [slot for slot in self.starts_of(number) if slot < moment]:
                pods.append(Pod(f"canary-{number}", mine, BEGIN + starts[0] * SLOT, len(starts) - 1))
        return tuple(pods)

    def starts_of(self, pod: int) -> tuple[int, ...]:
        """Give the slots of the rollout in which the process of a canary pod started."""
        return self.starts[pod] if self.starts else (0,)

    def _counts(self, by_pod: Floats) -> Counts:
        """Add up the pods, shape (slices, pods, columns), to counts of the cell's form."""
        columns = by_pod.sum(axis=1)
        match self.cell.form:
            case Form.ERRORS:
                return Errors(columns[:, 0], columns[:, 1])
            case Form.CONVERSIONS:
                return Conversions(columns[:, 0], columns[:, 1])
            case Form.VALUES:
                return Values(columns[:, 0], columns[:, 1], columns[:, 2])
            case Form.LATENCIES:
                return Histogram(LATENCY_EDGES, columns)
            case Form.SCORES:
                edges = np.append(np.arange(1, columns.shape[1]) / columns.shape[1], np.inf)
                return Histogram(edges, columns)
            case _:
                return Classes(tuple(f"{number:04}" for number in range(columns.shape[1])), columns)


def _step(slots: int, most: int) -> int:
    """Give the length of slices, in slots."""
    step = 1
    while slots // step > most:
        step *= 2
    return step


def _rivals(cell: Cell, canary: Floats, baseline: Floats) -> tuple[float | None, ...]:
    """Judge the same run by the rules of today every 30 s."""
    arms = (canary, baseline, baseline)  # the last stands for the history, which these rules do not look at
    ours, theirs, past = (arm.reshape(-1, EVERY, arm.shape[1]).sum(axis=1)[np.newaxis] for arm in arms)
    data: Shares | Sums | Bins
    match cell.form:
        case Form.ERRORS | Form.CONVERSIONS:
            data = Shares(*(Arm(arm[..., 0], arm[..., 1]) for arm in (ours, theirs, past)))
        case Form.LATENCIES:
            data = Shares(*(Arm(arm[..., 4:].sum(axis=-1), arm.sum(axis=-1)) for arm in (ours, theirs, past)))
        case Form.VALUES:
            data = Sums(*(Moments(arm[..., 2], arm[..., 0], arm[..., 1]) for arm in (ours, theirs, past)))
        case _:
            data = Bins(ours, theirs, past)
    beyond = rivals.threshold(data, cell.limits)[0]
    differ = rivals.repeated_test(data, cell.limits)[0]
    rules = (beyond, np.cumsum(beyond) > rivals.FAILURE_LIMIT, differ)
    return tuple(float((rolls.argmax() + 1) * EVERY * SLOT) if rolls.any() else None for rolls in rules)
