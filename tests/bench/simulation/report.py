"""Writes what was measured as one Markdown file."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.simulation import cells
from bench.simulation.cells import RULES
from bench.simulation.data import Kind
from bench.simulation.figures import Figure, Results
from bench.simulation.results import Row

RIVALS = (
    "threshold",
    "threshold, 4 failures",
    "repeated test",
    "repeated interval",
    "Mann-Whitney judge",
)
NONE = "-"
# Headings of the sections that others write at the end of the page: e2e.recovery, then bench.processes.
ROLLOUTS = "\n## Rollouts in a cluster\n"
DEPENDENT = "\n## Dependent requests\n"
HEAD = """\
# How good the verdicts are

`python tests/bench/simulation` made this page and its plot from seeded simulations; `--short` runs a part of them, as
CI does, and ends with 1 where a bound is broken. Only ratios, probabilities and simulated time are given.

![Rollbacks of healthy canaries, and requests to a rollback, by rule](verdicts.svg)

**Simulated.** Rollouts of four hours, looked at every 30 s (480 looks). The canary gets 5% of the traffic, which is
0.05, 1, 10 or 100 canary requests a second. {runs:,} runs a cell, {fewer:,} for drift, {revenue:,} for revenue. The
baseline's two hours before the canary are known. A level of 5% is shared by four checks.

| kind | limits (promote, roll back) | good | the rest |
|---|---|---|---|
| error rate | 0.5%, 1%; relative: +10%, +50% | 0.3% in both arms | at a limit: both arms are |
| p99 latency | 1% of the requests slower than 200 ms, than 500 ms | 0.3% slower than both | the worst case: none is \
slower than 200 ms only |
| prediction drift | PSI .1, .2 in 10 bins | PSI 0 | the bins are tilted |
| conversions | -1%, -3% against the baseline | 5% of the requests in both arms | |
| revenue | -1%, -3% against the baseline | equal means | lognormal, sigma 1.5 |

**Scenarios.** *Bursts*: at the promote limit, requests of the same minute correlate by .01, in each arm by itself.
*Incidents*: both arms share a factor on their rates (lognormal, coefficient of variation 2, memory 15 min) whose mean
is the promote limit; scores sway in both arms. *Share 5.5%*: instead of the nominal 5%. *Share by steps*: 5%, 25% and
50% of the traffic while the level of both arms grows threefold. *After 2 h*: good until then.

**Rules.** *zone*, *strict*, *relative*: ours. *Threshold*: the value of the last five minutes is beyond the rollback
limit (the PSI of everything so far, with 0.0001 for empty bins), as an ordinary AnalysisTemplate judges it; *4
failures*: with Argo's `failureLimit: 3`. *Repeated test*: p < 5% (z, chi-square) at any look. *Repeated interval*: a
one-sided 95% interval (Clopper-Pearson, delta method) beyond the rollback limit at any look. *Mann-Whitney judge*: the
rank test of Kayenta's judge with its published defaults (98%, tolerance .25) on one value a minute, a growing window
judged every ten minutes, 100 runs. *Oracle*: the sequential probability ratio test that knows the fault and its
beginning, at our level: what is lost by looking every 30 s.

**Decided sooner.** One check that has the whole level, at one canary request a second: with a declared number of
requests (`decide_by`), without which 60% and 27% are not proved bad by then, and with the baseline's two hours before
(*history*), of which a pass learns.

A fault that begins late has two limits: ln(1/alpha)/KL, as if its moment were known, and ln(1/(alpha w))/KL with the
part w of alpha that our start nearest to it has. No test that does not know the moment comes near the first.

**Wald's limit**, ln(1/alpha)/KL, is the least mean number of requests that any test of that level needs. Where a rule
decides with fewer, it is not of that level: see how often it rolls back good canaries.

Why some multiples stay above what is asked: the half of alpha that late starts get costs 0.16, looking every 30 s costs
what the oracle shows, and an alternative that has the part w of a mixture costs ln(1/w) / ln(1/alpha) more. For the
three faults under rule strict, 1.5 would leave room for parts of .38, .59 and .70, which are more than there is.
"""


def write(rows: Sequence[Row], found: Sequence[Figure], path: Path) -> None:
    """Write the page."""
    results = Results(rows)
    runs = max(row.runs for row in rows)
    fewer, revenue = (max(row.runs for row in rows if row.cell.kind is kind) for kind in (Kind.DRIFT, Kind.REVENUE))
    parts = [HEAD.format(runs=runs, fewer=fewer, revenue=revenue), "## Asked and measured\n", _asked(found)]
    for kind in Kind:
        parts += [f"## {str(kind).capitalize()}\n", _false_alarms(results, kind), _detection(results, kind)]
        parts += [_passing(results, kind)]
    text = "\n".join(part for part in parts if part)
    path.write_text(text + sections_of_others(path), encoding="utf-8")


def sections_of_others(path: Path) -> str:
    """Read the sections that other benchmarks wrote at the end of the page."""
    _, heading, sections = path.read_text(encoding="utf-8").partition(ROLLOUTS)
    return f"{heading}{sections}"


def _asked(found: Sequence[Figure]) -> str:
    lines = []
    for figure in found:
        is_ratio = math.isnan(figure.proved)
        show: Callable[[float], str] = _ratio if is_ratio else _percent
        measured = show(figure.measured) + ("" if is_ratio else f" (at most {_percent(figure.proved)})")
        oracle = "" if math.isnan(figure.oracle) else _ratio(figure.oracle)
        lines.append([figure.what, show(figure.asked), measured, oracle, "" if figure.is_met else "**not met**"])
    note = (
        "Of probabilities the worst rate of traffic is given, with the exact upper bound (99.9%); of multiples of "
        "Wald's limit the lowest rate at which 99% of the runs decide, and beside it what the oracle needs at the same "
        "looks. A late fault's requests are counted from its onset, less those of one look.\n"
    )
    return f"{note}\n{_table(['what', 'asked', 'measured', 'oracle', ''], lines)}"


def _false_alarms(results: Results, kind: Kind) -> str:
    """Runs rolled back by rule and scenario without a fault, at each rate."""
    names = [name for name in results.scenarios(kind) if name not in _faults(results, kind)]
    lines = [
        [rule, *(" · ".join(_tenths(row.probability) for row in results.at_rates(kind, name, rule)) for name in names)]
        for rule in _rules(kind)
    ]
    rates = " · ".join(f"{row.cell.rate:g}" for row in results.at_rates(kind, cells.HEALTHY, RULES[kind][0]))
    intro = f"Runs ever rolled back without a fault, in %, at {rates} canary requests a second:\n"
    return f"{intro}\n{_table(['rule', *names], lines)}"


def _detection(results: Results, kind: Kind) -> str:
    """Requests to a rollback by rule and fault."""
    names = _faults(results, kind)
    rules = [*_rules(kind), *(f"oracle {rule}" for rule in RULES[kind])]
    lines = [[rule, *(_speed_of(results, kind, name, rule) for name in names)] for rule in rules]
    intro = (
        "Mean canary requests from the fault to a rollback over Wald's limit (of the same rule; of zone for the "
        "others), and the median of the simulated time, at the lowest rate (a second) at which 99% of the runs are "
        "rolled back; else the largest part of the runs that are at any rate. E: the part rolled back before the "
        "fault:\n"
    )
    return f"{intro}\n{_table(['rule', *names], lines)}"


def _speed_of(results: Results, kind: Kind, name: str, rule: str) -> str:
    row = results.finest(kind, name, rule)
    every = results.at_rates(kind, name, rule)
    early = max((one.too_early / one.runs for one in every), default=0.0)
    mark = f", E {_percent(early)}" if early >= 0.005 else ""
    if row is None:
        rest = max((one for one in every), key=lambda one: one.probability, default=None)
        if rest is None:
            return NONE
        return f"{_percent((rest.rolled_back - rest.too_early) / rest.runs)} of runs ({rest.cell.rate:g}/s){mark}"
    return f"{_ratio(row.ratio_to_fail)}, {_duration(row.seconds_to_fail)} ({row.cell.rate:g}/s){mark}"


def _passing(results: Results, kind: Kind) -> str:
    """How a healthy canary passes under our rules."""
    lines = []
    for rule in dict.fromkeys(["zone", *(rule for rule in RULES[kind] if rule == cells.RELATIVE)]):
        for name in (cells.HEALTHY, cells.AT_LIMIT, cells.BURSTS, cells.INCIDENTS):
            rows = results.at_rates(kind, name, rule)
            row = results.finest(kind, name, rule, "pass")
            took = NONE if row is None else f"{_ratio(row.ratio_to_pass)} ({row.cell.rate:g}/s)"
            lines.append([rule, name, " · ".join(_tenths(one.promoted / one.runs) for one in rows), took])
    header = ["rule", "canary", "promoted within 4 h, %, by rate", "mean requests over Wald's limit"]
    return f"Promotions by our rules:\n\n{_table(header, lines)}"


def _rules(kind: Kind) -> Iterator[str]:
    yield from RULES[kind]
    yield from (name for name in RIVALS if not (kind is Kind.DRIFT and name == "Mann-Whitney judge"))


def _faults(results: Results, kind: Kind) -> list[str]:
    return [name for name in results.scenarios(kind) if name.split(" after ")[0] in cells.FAULTS[kind]]


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _percent(part: float) -> str:
    return f"{part * 100:.2g}%" if part < 0.995 else "100%"


def _tenths(part: float) -> str:
    """Write a percentage without its sign, short."""
    value = part * 100
    return "0" if value == 0 else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _duration(seconds: float) -> str:
    """Write simulated time."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.2g} h"
