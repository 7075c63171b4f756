"""The report: a verdict that explains itself, on one page, to whoever is on call."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

import orjson

from analyzer.checks.decision import format_count
from analyzer.config.policy import Check
from analyzer.model.findings import Estimate, Finding, Gap, Outcome, Role
from analyzer.quantity import format_instant, format_seconds
from analyzer.report import html, numbers
from analyzer.report.clock import Clock, shown
from analyzer.report.drawn import PLOTS, Drawn
from analyzer.verdict.answer import percent, remaining_seconds, render
from analyzer.verdict.case import Case, Look, decided_at, looks
from analyzer.verdict.judge import Verdict
from analyzer.verdict.reasons import OUTCOMES, REASONS, Reason
from analyzer.verdict.request import Detail, VerdictRequest
from analyzer.version import __version__

MOST_DRAWN = 8  # checks; of more, those that tell most
MOST_FINDINGS = 480  # that are computed for the curves: measurements times checks
MOST_JSON = 120_000  # bytes; above, the counts of single time slices are left out
ORDER = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)


@dataclass(frozen=True)
class Section:
    """One check as the page shows it.

    Attributes
    ----------
    number, drawn : of the check, and whether it has a section of its own
    value, baseline, interval, promote, rollback : in the check's unit
    towards_pass, towards_fail : evidence in percent of what is needed, at most 100
    requests : of the canary and of the baseline
    remaining : how many more requests, and the time they take, in words
    plots : empty where the check is not drawn
    counted : what was counted: name, canary, baseline
    """

    number: int
    drawn: bool
    name: str
    check: Check
    finding: Finding
    reason: Reason
    value: str
    baseline: str
    interval: str
    promote: str
    rollback: str
    towards_pass: int
    towards_fail: int
    requests: tuple[str, str]
    remaining: tuple[str, str]
    plots: tuple[Drawn, ...]
    counted: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Query:
    """Queries to the source, with a link to its page where there is one."""

    text: str
    link: str | None


def page(request: VerdictRequest, case: Case, *, prometheus_url: str | None = None, address: str | None = None) -> str:
    """Return the page of a verdict.

    Parameters
    ----------
    request : the request
    case : what was read for it
    prometheus_url : address of Prometheus' page, for links; None: there is none
    address : of the analyzer, for links to its answer; None: the page is a file
    """
    verdict = case.verdict()
    drawn = _drawn(verdict)
    part = case if len(drawn) == len(case.checks) else replace(case, checks={name: case.checks[name] for name in drawn})
    history = list(looks(part, max(2, MOST_FINDINGS // max(1, len(drawn)))))
    clock = _clock(verdict, history)
    window = verdict.window
    return html.write(
        "report.html",
        request=request,
        verdict=verdict,
        subject=request.service or "counts in the request",
        meaning=OUTCOMES[verdict.outcome],
        advice=_advice(verdict),
        sections=[
            _section(name, verdict, history if name in drawn else None, clock, number)
            for number, name in enumerate(verdict.findings, 1)
        ],
        undrawn=len(verdict.findings) - len(drawn),
        overview=_overview(verdict, history, clock, whole=part is case),
        begin=None if window.start is None else format_instant(window.start),
        end=None if window.end is None else format_instant(window.end),
        length=None if window.seconds is None else format_seconds(window.seconds),
        decided=_decided(history, clock) if part is case else None,
        queries=[Query(text, _link(prometheus_url, text, verdict)) for text in verdict.readings.queries],
        assumptions=list(dict.fromkeys(text for finding in verdict.findings.values() for text in finding.assumptions)),
        answer=_answer(verdict),
        address=address,
        question=None if request.data is not None else urlencode(_question(request, verdict)),
        plots=PLOTS,
        version=__version__,
    )


def _drawn(verdict: Verdict) -> list[str]:
    """Choose the checks that are drawn, in the policy's order: all, or those that tell most."""
    names = list(verdict.findings)
    if len(names) <= MOST_DRAWN:
        return names
    telling = sorted(names, key=lambda name: ORDER.index(verdict.findings[name].outcome))[:MOST_DRAWN]
    return [name for name in names if name in telling]


def _clock(verdict: Verdict, history: Sequence[Look]) -> Clock | None:
    """Return the time axis; None where nothing can be drawn over time."""
    if len(history) < 2:
        return None
    return Clock(verdict.window.start, history[-1].seconds)


def _decided(history: Sequence[Look], clock: Clock | None) -> str | None:
    """Return since when the verdict has been final."""
    index = decided_at([look.verdict.outcome for look in history])
    if clock is None or index is None:
        return None
    word = "first failed" if history[-1].verdict.outcome is Outcome.FAIL else "has passed since"
    seconds = history[index].seconds
    moment = "" if clock.start is None else f"{format_instant(clock.start + seconds)}, "
    return f"It {word} {moment}{format_seconds(seconds)} after the start."


def _overview(verdict: Verdict, history: Sequence[Look], clock: Clock | None, *, whole: bool) -> tuple[Drawn, ...]:
    if clock is None or not PLOTS:
        return ()
    from analyzer.report.figures import draw_traffic, draw_verdicts  # noqa: PLC0415 - an extra

    drawn = [draw_verdicts(history, clock, whole=whole)]
    if (split := draw_traffic(verdict.readings, clock)) is not None:
        drawn.append(split)
    return tuple(drawn)


def _section(name: str, verdict: Verdict, history: Sequence[Look] | None, clock: Clock | None, number: int) -> Section:
    check, finding = verdict.policy.checks[name], verdict.findings[name]
    judged, reading = finding.delta or finding.canary, verdict.readings.by_check[name]
    return Section(
        number=number,
        drawn=history is not None,
        name=name,
        check=check,
        finding=finding,
        reason=REASONS[finding.code],
        value="none" if judged.value is None else shown(check, judged.value),
        baseline="" if finding.delta is not None or finding.baseline.value is None
        else shown(check, finding.baseline.value),
        interval=_interval(check, judged),
        promote=shown(check, check.promote),
        rollback=shown(check, check.rollback),
        towards_pass=percent(finding.evidence.towards_pass),
        towards_fail=percent(finding.evidence.towards_fail),
        requests=(format_count(finding.canary.n), format_count(finding.baseline.n)),
        remaining=_remaining(finding),
        plots=() if history is None else _plots(number, name, verdict, history, clock),
        counted=() if isinstance(reading, Gap) else numbers.table(reading),
    )  # fmt: skip


def _plots(number: int, name: str, verdict: Verdict, history: Sequence[Look], clock: Clock | None) -> tuple[Drawn, ...]:
    if not PLOTS:
        return ()
    from analyzer.report.figures import draw_check  # noqa: PLC0415 - an extra

    check, finding, reading = verdict.policy.checks[name], verdict.findings[name], verdict.readings.by_check[name]
    return draw_check(f"c{number}", name, check, finding, reading, history, clock)


def _interval(check: Check, estimate: Estimate) -> str:
    if estimate.low is None and estimate.high is None:
        return ""
    low, high = (
        None if limit is None or math.isinf(limit) else shown(check, limit) for limit in (estimate.low, estimate.high)
    )
    if low is None:
        return "any" if high is None else f"below {high}"
    return f"above {low}" if high is None else f"{low} to {high}"


def _remaining(finding: Finding) -> tuple[str, str]:
    """Return how many more canary requests the check needs, and how long that takes at the present rate."""
    if finding.outcome is not Outcome.INCONCLUSIVE:
        return "decided", ""
    if finding.remaining_requests is None:
        return "not foreseeable", ""
    if finding.remaining_requests < 1:
        return "next measurement", ""
    requests = float(f"{finding.remaining_requests:.2g}")
    seconds = remaining_seconds(finding, requests)
    return f"about {format_count(requests)}", format_seconds(seconds) if seconds else ""


def _advice(verdict: Verdict) -> list[tuple[str, Finding, Reason]]:
    """Choose what to act on: the checks that led to the verdict, each reason once."""
    if verdict.outcome is Outcome.PASS:
        return []
    deciding = {
        name: finding
        for name, finding in verdict.findings.items()
        if verdict.policy.checks[name].role is not Role.ADVISORY and finding.outcome is not Outcome.PASS
    }
    if verdict.outcome is Outcome.FAIL:
        deciding = {name: finding for name, finding in deciding.items() if finding.outcome is Outcome.FAIL}
    advice: dict[Reason, tuple[str, Finding, Reason]] = {}
    for name, finding in deciding.items():
        reason = REASONS[finding.code]
        advice.setdefault(reason, (name, finding, reason))
    return list(advice.values())


def _link(prometheus_url: str | None, query: str, verdict: Verdict) -> str | None:
    if prometheus_url is None:
        return None
    fields = {"g0.expr": query, "g0.tab": "1"}
    if verdict.window.end is not None:
        fields["g0.moment_input"] = format_instant(verdict.window.end).rstrip("Z").replace("T", " ")
    return f"{prometheus_url}/graph?{urlencode(fields)}"


def _answer(verdict: Verdict) -> str:
    """Return the JSON answer in full, or without the counts of single slices where these are many."""
    full = render(verdict, Detail.FULL)
    text = orjson.dumps(full, option=orjson.OPT_INDENT_2)
    if len(text) > MOST_JSON:
        for check in full["checks"].values():
            check["counts"] = "left out here for their size: ask for /v1/verdict with detail=full"
        text = orjson.dumps(full, option=orjson.OPT_INDENT_2)
    if len(text) > MOST_JSON:
        text = orjson.dumps(render(verdict, Detail.SUMMARY), option=orjson.OPT_INDENT_2)
    return text[:MOST_JSON].decode(errors="replace")


def _question(request: VerdictRequest, verdict: Verdict) -> dict[str, str]:
    """Return the request as query parameters that ask the same about the same moment."""
    fields = request.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"detail", "data"})
    if verdict.window.end is not None:
        fields["at"] = format_instant(verdict.window.end)
    return {
        name: value if isinstance(value, str) else ",".join(value) if name == "checks" else orjson.dumps(value).decode()
        for name, value in fields.items()
    }
