"""A verdict as a page for people: what alerts and dashboards link to."""

from dataclasses import dataclass

from flask import render_template

from analyzer.judge import Verdict
from analyzer.model import Estimate, Finding
from analyzer.policy import Check
from analyzer.quantity import format_instant, format_seconds
from analyzer.request import VerdictRequest
from analyzer.version import __version__


@dataclass(frozen=True)
class Row:
    """One check, in words.

    Attributes
    ----------
    evidence : towards pass and fail, in percent of what is needed, at most 100
    """

    name: str
    verdict: str
    value: str
    interval: str
    limits: str
    requests: str
    evidence: tuple[int, int]
    reason: str
    notes: tuple[str, ...]


def page(asked: VerdictRequest, verdict: Verdict) -> str:
    """Write the page of a verdict."""
    window = verdict.window
    return render_template(
        "report.html",
        version=__version__,
        asked=asked,
        verdict=verdict,
        rows=[_row(name, verdict.policy.checks[name], finding) for name, finding in verdict.findings.items()],
        begin=None if window.start is None else format_instant(window.start),
        end=None if window.end is None else format_instant(window.end),
        length=None if window.seconds is None else format_seconds(window.seconds),
    )


def _row(name: str, check: Check, finding: Finding) -> Row:
    judged = finding.delta or finding.canary
    towards = finding.evidence.towards_pass, finding.evidence.towards_fail
    return Row(
        name=name,
        verdict=finding.outcome.value,
        value="-" if judged.value is None else check.shown(judged.value),
        interval=_interval(check, judged),
        limits=f"{check.shown(finding.promote)} / {check.shown(finding.rollback)}",
        requests=f"{finding.canary.n:,.0f} / {finding.baseline.n:,.0f}",
        evidence=(_percent(towards[0]), _percent(towards[1])),
        reason=finding.reason,
        notes=finding.notes,
    )


def _interval(check: Check, estimate: Estimate) -> str:
    if estimate.low is None and estimate.high is None:
        return "-"
    low, high = ("…" if limit is None else check.shown(limit) for limit in (estimate.low, estimate.high))
    return f"{low} to {high}"


def _percent(evidence: float) -> int:
    return int(100 * min(1.0, max(0.0, evidence)))
