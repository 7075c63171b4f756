"""A verdict for people: as a table on a terminal, or in one line."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from analyzer.cli.shared import COLOURS
from analyzer.config.policy import Check
from analyzer.model.findings import Estimate, Finding, Kind, Outcome
from analyzer.quantity import format_psi
from analyzer.verdict.answer import percent

if TYPE_CHECKING:
    from analyzer.verdict.judge import Verdict


def render(verdict: "Verdict") -> RenderableType:
    """Show the verdict, what was found by check, and why."""
    headline = Text.assemble((verdict.outcome.value, f"bold {COLOURS[verdict.outcome]}"), f"  {verdict.reason}")
    return Group(headline, Text(), _numbers(verdict), Text(), _reasons(verdict), *_advice(verdict))


def line(verdict: "Verdict") -> str:
    """Return a verdict in one line."""
    return f"{verdict.outcome.value}  {' '.join(verdict.reason.split())}"


def _numbers(verdict: "Verdict") -> Table:
    wide = (Column(name, overflow="fold") for name in ("finding", "canary", "promote", "roll back"))
    evidence = (Column(name, justify="right", overflow="fold") for name in ("to pass", "to fail"))
    table = Table(Column("check", no_wrap=True), *wide, *evidence, box=None, pad_edge=False)
    for name, finding in verdict.findings.items():
        check = verdict.policy.checks[name]
        table.add_row(
            Text(name),
            Text(finding.outcome.value, style=COLOURS[finding.outcome]),
            _shown(check, finding.delta or finding.canary),
            check.shown(finding.promote),
            check.shown(finding.rollback),
            f"{percent(finding.evidence.towards_pass)}%",
            f"{percent(finding.evidence.towards_fail)}%",
        )
    return table


def _reasons(verdict: "Verdict") -> Table:
    """Return the reason of every check; one that several share only once."""
    names: dict[tuple[str, str], list[str]] = {}
    for name, finding in verdict.findings.items():
        names.setdefault((finding.code.value, "; ".join([finding.reason, *finding.notes])), []).append(name)
    table = Table(Column(no_wrap=True), Column(overflow="fold"), box=None, pad_edge=False, show_header=False)
    for (code, text), several in names.items():
        table.add_row(Text("\n".join(several)), Text.assemble((f"{code}: ", "bold"), text))
    return table


def _advice(verdict: "Verdict") -> Iterator[Text]:
    codes = dict.fromkeys(finding.code.value for finding in _open(verdict))
    if codes:
        yield Text(f"\nWhat to do: `analyzer explain {' '.join(codes)}`", style="dim")


def _open(verdict: "Verdict") -> Iterator[Finding]:
    """Choose the findings that kept the canary from passing."""
    for finding in verdict.findings.values():
        if verdict.outcome is not Outcome.PASS and finding.outcome is verdict.outcome:
            yield finding


def _shown(check: Check, estimate: Estimate) -> str:
    value = estimate.value
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "infinite"
    return f"PSI {format_psi(value)}" if check.kind is Kind.DRIFT else check.shown(float(f"{value:.3g}"))
