"""The figures that are asked of verdicts, beside those that were measured; each has a bound that CI holds it to."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from bench.simulation import cells
from bench.simulation.cells import ALPHA, RELATIVE, RULES, STRICT, ZONE
from bench.simulation.data import LOOKS, SLICE_SECONDS, Kind
from bench.simulation.results import Row, upper_bound

FEW = 30  # canary requests: where a limit is smaller, more of them may be needed than otherwise
SLACK = 1.25  # what CI allows beyond an asked ratio, because its runs are few
SLACK_OF_PASS = 2.5  # a pass uses nearly all of its alpha, so few runs cannot prove that it uses no more
SLACK_OF_ALL = 1.5  # the bound of few runs is far above what they measure
SLACK_OF_ONSET = 3.0  # no test that does not know the moment comes near the limit of one that does


class Results:
    """Rows by kind, scenario, rule and rate."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = {(r.cell.kind, r.cell.scenario.name, r.rule, r.cell.rate): r for r in rows}

    def at_rates(self, kind: Kind, scenario: str, rule: str) -> list[Row]:
        """List the rows of a rule in a scenario by rate, as far as they were simulated."""
        return [row for rate in cells.RATES if (row := self._rows.get((kind, scenario, rule, rate))) and row.runs]

    def finest(self, kind: Kind, scenario: str, rule: str, way: str = "fail") -> Row | None:
        """Find the lowest rate at which nearly all runs decide: there looks are the least apart in requests."""
        rows = self.at_rates(kind, scenario, rule)
        return next((row for row in rows if not math.isnan(getattr(row, f"requests_to_{way}"))), None)

    def oracle(self, row: Row) -> Row | None:
        """Find the oracle's row for one of ours."""
        return self._rows.get((row.cell.kind, row.cell.scenario.name, f"oracle {row.rule}", row.cell.rate))

    def scenarios(self, kind: Kind) -> list[str]:
        """List the scenarios of a kind that were simulated."""
        return list(dict.fromkeys(name for of, name, _, _ in self._rows if of is kind))


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes
    ----------
    asked, measured : probabilities, or multiples of Wald's limit
    oracle : the multiple that a test needs which knows fault and onset, at the same looks; nan where not known
    proved : an upper bound of a measured probability (99.9%); nan for multiples
    cap : what CI allows: of `proved`, or of a measured multiple
    """

    what: str
    asked: float
    measured: float
    proved: float
    cap: float
    oracle: float = math.nan

    @property
    def is_met(self) -> bool:
        """Whether what was measured is what was asked."""
        return self.measured <= self.asked

    @property
    def holds(self) -> bool:
        """Whether CI may pass."""
        return (self.measured if math.isnan(self.proved) else self.proved) <= self.cap


def figures(results: Results) -> list[Figure]:
    """List every figure whose cells were simulated."""
    return [*_errors(results), *_speed(results), *_late(results)]


def _errors(results: Results) -> Iterator[Figure]:
    """Probabilities of a wrong verdict."""
    for kind in Kind:
        yield from _worst(f"{kind} at its promote limit: ever rolled back", ALPHA, results, kind, cells.AT_LIMIT, ZONE)
    yield from _worst(
        "error rate at its rollback limit, strict", ALPHA, results, Kind.ERRORS, cells.AT_ROLLBACK, STRICT
    )
    yield from _worst("10% more errors, relative", ALPHA, results, Kind.ERRORS, cells.AT_RATIO, RELATIVE)
    yield from _together("four checks at their promote limits", ALPHA, results, cells.AT_LIMIT)
    for kind in Kind:
        yield from _worst(f"{kind}, bursts, ICC .01: ever rolled back", 2 * ALPHA, results, kind, cells.BURSTS, ZONE)
    yield from _together("four checks, bursts", 2 * ALPHA, results, cells.BURSTS)
    yield from _worst("bursts, relative", 2 * ALPHA, results, Kind.ERRORS, cells.BURSTS, RELATIVE)
    for rule, kind in ((RELATIVE, Kind.ERRORS), (ZONE, Kind.CONVERSIONS), (ZONE, Kind.REVENUE), (ZONE, Kind.DRIFT)):
        for name in (cells.WRONG_SHARE, cells.STEPS):
            yield from _worst(f"{kind}, {rule}, {name}: ever rolled back", ALPHA, results, kind, name, rule)
    for kind in Kind:
        for rule in RULES[kind]:
            yield from _worst(
                f"{kind}, {rule}, incidents in both arms: ever rolled back",
                ALPHA, results, kind, cells.INCIDENTS, rule,
            )  # fmt: skip
    for kind in Kind:
        yield from _worst(
            f"{kind} at its promote limit: passed", ALPHA, results, kind, cells.AT_LIMIT, ZONE,
            field="promoted", slack=SLACK_OF_PASS,
        )  # fmt: skip


def _worst(
    what: str, asked: float, results: Results, kind: Kind, scenario: str, rule: str, *,
    field: str = "rolled_back", slack: float = 1.0,
) -> Iterator[Figure]:  # fmt: skip
    """Take the rate of traffic where most runs went wrong."""
    counts = [(getattr(row, field), row.runs) for row in results.at_rates(kind, scenario, rule)]
    if counts:
        hits, runs = max(counts, key=lambda one: one[0] / one[1])
        yield Figure(what, asked, hits / runs, upper_bound(hits, runs), slack * asked)


def _together(what: str, asked: float, results: Results, scenario: str) -> Iterator[Figure]:
    """Take runs of four checks, which are independent of each other, as one rollout each."""
    found = []
    for rate in cells.RATES:
        rows = [
            row
            for kind in (Kind.ERRORS, Kind.LATENCY, Kind.DRIFT, Kind.CONVERSIONS)
            for row in results.at_rates(kind, scenario, ZONE)
            if row.cell.rate == rate
        ]
        if len(rows) == 4:
            runs = min(row.runs for row in rows)
            found.append((int(np.any([row.failed[:runs] for row in rows], axis=0).sum()), runs))
    if found:
        hits, runs = max(found, key=lambda one: one[0] / one[1])
        yield Figure(f"{what}: ever rolled back", asked, hits / runs, upper_bound(hits, runs), SLACK_OF_ALL * asked)


def _speed(results: Results) -> Iterator[Figure]:
    """Mean canary requests to a right verdict as multiples of Wald's limit."""
    most = {Kind.ERRORS: 1.5, Kind.LATENCY: 1.5, Kind.DRIFT: 2.0, Kind.CONVERSIONS: 1.5}
    for kind, usual in most.items():
        for rule in RULES[kind]:
            for name in cells.FAULTS[kind]:
                rows = results.at_rates(kind, name, rule)
                if rows:
                    asked = 1.8 if rule == RELATIVE else 2.5 if rows[0].limit_to_fail < FEW else usual
                    yield from _multiple(f"{kind} {name}, {rule}: rolled back", asked, results, rows, "fail")
    for kind, asked in ((Kind.ERRORS, 1.4), (Kind.LATENCY, 1.4), (Kind.DRIFT, 3.5)):
        rows = results.at_rates(kind, cells.HEALTHY, ZONE)
        if rows:
            yield from _multiple(f"{kind}, healthy: passed", asked, results, rows, "pass")


def _multiple(what: str, asked: float, results: Results, rows: list[Row], way: str) -> Iterator[Figure]:
    """Measure the multiple at the finest rate; nothing where four hours were too short for any."""
    first = rows[0]
    found = results.finest(first.cell.kind, first.cell.scenario.name, first.rule, way)
    measured = _undecided(rows, asked, way) if found is None else getattr(found, f"ratio_to_{way}")
    if not math.isnan(measured):
        floor = None if found is None else results.oracle(found)
        oracle = math.nan if floor is None else getattr(floor, f"ratio_to_{way}")
        cap = SLACK * (max(asked, 2.0) if first.limit_to_fail < 2 * FEW else asked)
        yield Figure(what, asked, measured, math.nan, cap, oracle)


def _late(results: Results) -> Iterator[Figure]:
    """Canary requests since a late onset, less one look, against its start's limit: the worst fault of each rule."""
    for kind in Kind:
        for rule in RULES[kind]:
            found = [
                _since_onset(results, rows)
                for name in results.scenarios(kind)
                if " after " in name and (rows := results.at_rates(kind, name, rule))
            ]
            if known := [one for one in found if not math.isnan(one)]:
                yield Figure(
                    f"{kind}, {rule}, any fault after 2 h: rolled back", 1.5, max(known), math.nan, 1.5 * SLACK
                )


def _since_onset(results: Results, rows: list[Row]) -> float:
    first = rows[0]
    found = results.finest(first.cell.kind, first.cell.scenario.name, first.rule)
    if found is None:
        return _undecided(rows, SLACK_OF_ONSET, "fail")
    return (found.requests_to_fail - found.cell.rate * SLICE_SECONDS) / found.start_limit


def _undecided(rows: list[Row], asked: float, way: str) -> float:
    """Give what stands for the multiple where too few runs decide: infinite, or nan if four hours were too short."""
    row = rows[-1]
    seen = row.cell.rate * (LOOKS * SLICE_SECONDS - row.cell.scenario.onset)
    return math.inf if 3 * asked * getattr(row, f"limit_to_{way}") < seen else math.nan
