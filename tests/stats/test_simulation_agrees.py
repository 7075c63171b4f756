"""The benchmark of verdicts judges many runs at once; here single looks of it are judged by the analyzer itself."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from bench.simulation import cells, correlations, ours
from bench.simulation.data import Arm, Bins, Cell, Data, Floats, Kind, Moments, Scenario, Shares, Sums, draw
from bench.simulation.sums import Sizes, Triples

from analyzer import checks
from analyzer.checks.segments import Segments
from analyzer.config.policy import Check, Policy
from analyzer.model import counts as model

RUNS = 4
CELLS = [  # as different as can be: both rules of time, groups of slices, bursts, incidents, moving splits
    (Kind.ERRORS, "3% after 2 h 1 min 35 s", 1.0, cells.ZONE),
    (Kind.ERRORS, cells.INCIDENTS, 10.0, cells.STRICT),
    (Kind.ERRORS, "3%", 0.05, cells.RELATIVE),
    (Kind.LATENCY, cells.BURSTS, 10.0, cells.ZONE),
    (Kind.DRIFT, "PSI .5 after 2 h 1 min 35 s", 1.0, cells.ZONE),
    (Kind.DRIFT, cells.STEPS, 0.05, cells.STRICT),
    (Kind.CONVERSIONS, "-30%", 1.0, cells.STRICT),
    (Kind.CONVERSIONS, cells.STEPS, 100.0, cells.ZONE),
    (Kind.REVENUE, "-30% after 2 h 1 min 35 s", 10.0, cells.ZONE),
    (Kind.ERRORS, cells.STEPS, 10.0, cells.ZONE),
    (Kind.LATENCY, "5% slow", 1.0, cells.ZONE),
    (Kind.CONVERSIONS, cells.BURSTS, 10.0, cells.ZONE),
    (Kind.REVENUE, cells.INCIDENTS, 1.0, cells.STRICT),
]
MODEL_KINDS = {
    Kind.ERRORS: "error_rate",
    Kind.LATENCY: "latency",
    Kind.DRIFT: "drift",
    Kind.CONVERSIONS: "business",
    Kind.REVENUE: "business",
}


def policy_of(kind: Kind, rule: str) -> Policy:
    """Put a check with the limits of the benchmark beside three others, which take their parts of alpha."""
    limits = cells.limits_of(kind, rule)
    shift = 1.0 if limits.compares else 0.0
    promote, rollback = limits.promote - shift, limits.rollback - shift
    if kind is Kind.LATENCY:
        promote, rollback = 0.2, 0.5
    at_once = {"delay": 0.0} if MODEL_KINDS[kind] == "business" else {}
    judged = Check(kind=MODEL_KINDS[kind], promote=promote, rollback=rollback, rule=rule, **at_once)
    other = Check(kind="error_rate", promote=0.005, rollback=0.01)
    return Policy(name="agrees", checks={"judged": judged, "a": other, "b": other, "c": other})


def counts_of(kind: Kind, arm: Arm | Floats | Moments, run: int, end: int) -> model.Counts:
    """Give one arm of one run up to a slice as a source does."""
    if isinstance(arm, Arm):
        events, requests = arm.events[run, :end], arm.requests[run, :end]
        if kind is Kind.LATENCY:
            bins = np.column_stack([requests - events, np.zeros(end), events])
            return model.Histogram(edges=np.array([0.2, 0.5, np.inf]), counts=bins)
        return model.Errors(events, requests) if kind is Kind.ERRORS else model.Conversions(events, requests)
    if isinstance(arm, Moments):
        return model.Values(arm.total[run, :end], arm.squares[run, :end], arm.count[run, :end])
    edges = np.append(np.arange(1, arm.shape[2]) / arm.shape[2], np.inf)
    return model.Histogram(edges=edges, counts=arm[run, :end])


def judged(cell: Cell, data: Data, rule: str, run: int, look: int) -> str:
    """Judge one look by the analyzer."""
    assert isinstance(data, Shares | Bins | Sums)
    history = data.history.shape[1] if isinstance(data, Bins) else cells_of(data.history).shape[1]
    reading = model.Reading(
        canary=counts_of(cell.kind, data.canary, run, look + 1),
        baseline=counts_of(cell.kind, data.baseline, run, look + 1),
        slice_seconds=30.0,
        history=counts_of(cell.kind, data.history, run, history),
        history_seconds=60.0,
    )
    policy = policy_of(cell.kind, rule)
    return str(checks.judge(policy.checks["judged"], reading, policy).outcome)


def cells_of(arm: Arm | Moments) -> Floats:
    """Give the array that tells how many batches an arm has."""
    return arm.requests if isinstance(arm, Arm) else arm.count


def chosen(failed: int, passed: int, rng: np.random.Generator) -> Iterator[tuple[int, str]]:
    """List looks at which the verdict is known: just before the first decision, at it, and one more before."""
    decided = [look for look in (failed, passed) if look >= 0]
    if passed >= 0:
        yield passed, "pass"
    if failed >= 0:
        yield failed, "fail"
    first = min(decided, default=ours.LOOKS)
    if first > 0:
        yield first - 1, "inconclusive"
        yield int(rng.integers(0, first)), "inconclusive"


@pytest.mark.parametrize(("kind", "scenario", "rate", "rule"), CELLS)
def test_the_benchmark_decides_as_the_analyzer_does(kind: Kind, scenario: str, rate: float, rule: str) -> None:
    """The first look at which a simulated run passes or fails is the first at which the analyzer says so."""
    truth: Scenario = next(one for one in cells.scenarios(kind) if one.name == scenario)
    cell = Cell(kind, truth, rate, RUNS)
    data, rng = draw(cell), np.random.default_rng(1)

    failed, passed = ours.judge(cell, data, rule)

    expected, actual = {}, {}
    for run in range(RUNS):
        for look, outcome in chosen(int(failed[run]), int(passed[run]), rng):
            expected[run, look] = outcome
            actual[run, look] = judged(cell, data, rule, run, look)
    assert expected == actual


@pytest.mark.parametrize("scenario", [cells.HEALTHY, cells.BURSTS, cells.INCIDENTS, cells.STEPS])
@pytest.mark.parametrize("rate", [0.05, 10.0])
def test_the_benchmark_divides_by_the_design_effect_of_the_analyzer(scenario: str, rate: float) -> None:
    """Since every start, at some looks, in every run, for both arms."""
    truth = next(one for one in cells.scenarios(Kind.ERRORS) if one.name == scenario)
    data = draw(Cell(Kind.ERRORS, truth, rate, 6))
    assert isinstance(data, Shares)
    effects = correlations.of_arms(data.history)

    for run, look in itertools.product(range(6), (0, 3, 100, 479)):
        for arm in (data.canary, data.baseline):
            requests = arm.requests[run, : look + 1]
            segments = Segments.of(model.Reading(model.Errors(requests, requests), None, 30.0))
            places = segments.starts.slice_indices
            triples = Triples(np.full(len(places), run), np.full(len(places), look), places)

            found = effects.factors(Sizes.of(arm.requests), triples)

            assert found == pytest.approx(segments.factors(effects.runs[run], requests))
