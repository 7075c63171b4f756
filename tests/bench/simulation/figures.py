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

    def scenarios(self, kind: Kind) -> list[str]:
        """List the scenarios of a kind that were simulated."""
        return list(dict.fromkeys(name for of, name, _, _ in self._rows if of is kind))


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes
    ----------
    asked, measured : probabilities, or multiples of Wald's limit
    proved : an upper bound of a measured probability (99.9%); nan for multiples
    cap : what CI allows: of `proved`, or of a measured multiple
    """

    what: str
    asked: float
    measured: float
    proved: float
    cap: float

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
    yield from _together(results)
    for kind in Kind:
        yield from _worst(f"{kind}, bursts, ICC .01: ever rolled back", 2 * ALPHA, results, kind, cells.BURSTS, ZONE)
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
            f"{kind} at its promote limit: passed", ALPHA, results, kind, cells.AT_LIMIT, ZONE, field="promoted"
        )


def _worst(
    what: str, asked: float, results: Results, kind: Kind, scenario: str, rule: str, field: str = "rolled_back"
) -> Iterator[Figure]:
    """Take the rate of traffic where most runs went wrong."""
    counts = [(getattr(row, field), row.runs) for row in results.at_rates(kind, scenario, rule)]
    if counts:
        hits, runs = max(counts, key=lambda one: one[0] / one[1])
        yield Figure(what, asked, hits / runs, upper_bound(hits, runs), asked)


def _together(results: Results) -> Iterator[Figure]:
    """Take runs of four checks, which are independent of each other, as one rollout each."""
    found = []
    for rate in cells.RATES:
        rows = [
            row
            for kind in (Kind.ERRORS, Kind.LATENCY, Kind.DRIFT, Kind.CONVERSIONS)
            for row in results.at_rates(kind, cells.AT_LIMIT, ZONE)
            if row.cell.rate == rate
        ]
        if len(rows) == 4:
            runs = min(row.runs for row in rows)
            found.append((int(np.any([row.failed[:runs] for row in rows], axis=0).sum()), runs))
    if found:
        hits, runs = max(found, key=lambda one: one[0] / one[1])
        yield Figure(
            "four checks at their promote limits: ever rolled back", ALPHA, hits / runs, upper_bound(hits, runs), ALPHA
        )


def _speed(results: Results) -> Iterator[Figure]:
    """Mean canary requests to a right verdict as multiples of Wald's limit."""
    most = {Kind.ERRORS: 1.5, Kind.LATENCY: 1.5, Kind.DRIFT: 2.0, Kind.CONVERSIONS: 1.5, Kind.REVENUE: 1.5}
    for kind in Kind:
        for rule in RULES[kind]:
            for name in cells.FAULTS[kind]:
                rows = results.at_rates(kind, name, rule)
                if rows:
                    asked = 1.8 if rule == RELATIVE else 2.5 if rows[0].limit_to_fail < FEW else most[kind]
                    found = results.finest(kind, name, rule)
                    measured = _undecided(rows, asked, "fail") if found is None else found.ratio_to_fail
                    yield from _multiple(f"{kind} {name}, {rule}: rolled back", asked, measured)
    for kind, asked in ((Kind.ERRORS, 1.4), (Kind.LATENCY, 1.4), (Kind.DRIFT, 3.5)):
        rows = results.at_rates(kind, cells.HEALTHY, ZONE)
        if rows:
            found = results.finest(kind, cells.HEALTHY, ZONE, "pass")
            measured = _undecided(rows, asked, "pass") if found is None else found.ratio_to_pass
            yield from _multiple(f"{kind}, healthy: passed", asked, measured)


def _late(results: Results) -> Iterator[Figure]:
    """Canary requests since a late onset, less one look, as multiples of both limits."""
    for kind in Kind:
        for rule in RULES[kind]:
            for name in results.scenarios(kind):
                rows = results.at_rates(kind, name, rule) if " after " in name else []
                if rows:
                    found = results.finest(kind, name, rule)
                    missing = _undecided(rows, 3.0, "fail")
                    since = 0.0 if found is None else found.requests_to_fail - found.cell.rate * SLICE_SECONDS
                    what = f"{kind} {name}, {rule}: rolled back"
                    for words, limit in (
                        ("ln(1/alpha)", rows[0].limit_to_fail),
                        ("its start's limit", rows[0].start_limit),
                    ):
                        measured = missing if found is None else max(since, 0.0) / limit
                        yield from _multiple(f"{what}, against {words}", 1.5, measured)


def _undecided(rows: list[Row], asked: float, way: str) -> float:
    """Give what stands for the multiple where too few runs decide: infinite, or nan if four hours were too short."""
    row = rows[-1]
    seen = row.cell.rate * (LOOKS * SLICE_SECONDS - row.cell.scenario.onset)
    return math.inf if 2 * asked * getattr(row, f"limit_to_{way}") < seen else math.nan


def _multiple(what: str, asked: float, measured: float) -> Iterator[Figure]:
    if not math.isnan(measured):
        yield Figure(what, asked, measured, math.nan, asked * SLACK)
