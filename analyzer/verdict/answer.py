"""From a verdict to the JSON that is answered: every number finite, absent ones null, short by default."""

import math
from dataclasses import fields
from enum import IntEnum
from typing import Annotated, Any

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from analyzer.config.policy import Policy
from analyzer.model.counts import Counts, Reading, Readings, Window
from analyzer.model.findings import Code, Estimate, Evidence, Finding, Gap, Kind, Outcome, Role, Rule
from analyzer.quantity import format_instant
from analyzer.verdict.judge import Verdict
from analyzer.verdict.request import Detail
from analyzer.version import __version__

SHORT = 2048  # bytes of a summary: Argo keeps the answer of every measurement in the AnalysisRun
LONGEST_TEXT = 400  # bytes of the reason where even codes are too long
MOST_NUMBERS = 8  # of `summary` there
TYPICAL_REASON = "0.52% of 123,456 canary requests failed, between 0.5% and 1%; about 120,000 more requests needed"

Number = Annotated[float | int | None, WithJsonSchema({"type": ["number", "null"]})]
Limit = Annotated[float | int | None, WithJsonSchema({"type": "number"})]  # null never occurs: all limits are finite


class _AnswerPart(BaseModel):
    """A part of the answer; a field with a default is left out where it is not set."""

    model_config = ConfigDict(use_enum_values=True)


class Interval(_AnswerPart):
    """A value with its interval, which is valid under continuous monitoring."""

    value: Number
    low: Number = None
    high: Number = None
    n: Limit = None


class EvidenceAnswer(_AnswerPart):
    """Log e-value over the log e-value needed, towards each verdict."""

    towards_pass: Limit = Field(alias="pass")
    towards_fail: Limit = Field(alias="fail")


class RangeAnswer(_AnswerPart):
    """The range that the remaining requests and their time are likely to lie in: lower and upper end."""

    requests: list[Number]
    seconds: list[Number]


class RemainingAnswer(_AnswerPart):
    """How many more canary requests decide, and in how many seconds at the present rate."""

    requests: Number
    seconds: Number
    range: RangeAnswer | None = Field(None, description="detail full: the likely range of both")


class CountsAnswer(_AnswerPart):
    """What was read, one number per time slice; of a histogram one list per slice, its last bin unbounded."""

    canary: dict[str, Any] | None
    baseline: dict[str, Any] | None
    slice_seconds: Number


class CheckAnswer(_AnswerPart):
    """The finding of one check; a summary of very many checks has only verdict and code."""

    verdict: Outcome
    code: Code = Field(description="why, in one word")
    reason: str | None = Field(None, description="why, in a sentence")
    canary: Interval | None = Field(
        None, description="value, interval valid under continuous monitoring, number of requests counted"
    )
    baseline: Interval | None = Field(None, description="the same for the baseline")
    delta: Interval | None = Field(None, description="the change against the baseline, where that is judged")
    promote: Limit = Field(None, description="the limit of what is good")
    rollback: Limit = Field(None, description="the limit of what is bad")
    evidence: EvidenceAnswer | None = Field(None, description="towards each verdict; 1 decides")
    remaining: RemainingAnswer | None = Field(
        None, description="about how many more requests decide; null: not foreseeable"
    )
    kind: Kind | None = Field(None, description="detail full: what the check measures")
    role: Role | None = Field(None, description="detail full: gate, guardrail or advisory")
    rule: Rule | None = Field(None, description="detail full: what it takes to fail")
    since: str | None = Field(
        None, description="detail full: start of the segment that decided; null: the whole window"
    )
    assumptions: list[str] | None = Field(None, description="detail full: what the statistics assume")
    notes: list[str] | None = Field(None, description="detail full: remarks on the counts")
    counts: CountsAnswer | None = Field(
        None, description="detail full: the counts that were judged; null: none were read"
    )


class WindowAnswer(_AnswerPart):
    """The window that was judged."""

    start: str | None
    end: str | None
    seconds: Number


class Answer(_AnswerPart):
    """A verdict as it is answered."""

    verdict: Outcome = Field(description="of all checks together")
    reason: str = Field(description="the checks that led to it")
    checks: dict[str, CheckAnswer] = Field(description="every check that was asked for")
    summary: dict[str, Number] = Field(description="flat numbers for dashboards")
    window: WindowAnswer = Field(description="what was judged; null: not known")
    policy: str = Field(description="its name")
    policy_digest: str = Field(description="differs where any limit does")
    version: str = Field(description="of the analyzer")
    notes: list[str] | None = Field(None, description="on counts that are not exact")
    queries: list[str] | None = Field(None, description="detail full: what the source was asked")
    effective_policy: dict[str, Any] | None = Field(None, description="detail full: the policy with all its limits")


class Brevity(IntEnum):
    """What a summary leaves out until it is short enough; ``full`` has it all."""

    NOTHING = 0
    LONG_REASONS = 1
    BASELINE_INTERVALS = 2
    OTHER_CHECKS = 3  # those that do not have the verdict's outcome are codes
    ALL_BUT_CODES = 4


def render(verdict: Verdict, detail: Detail = Detail.SUMMARY) -> dict[str, Any]:
    """Return a verdict as the answer's fields; ``full`` adds notes, the policy and what the source was asked."""
    for brevity in Brevity:
        answer = _render(verdict, detail, brevity)
        if detail is Detail.FULL or len(orjson.dumps(answer)) < SHORT:
            return answer
    return _cut(answer)


def shortened(policy: Policy) -> bool:
    """Return whether a summary of all checks of a policy, with usual numbers and reasons, leaves values out."""
    estimate = Estimate(value=0.0123, low=0.0123, high=0.0123, n=123_456)
    findings = {
        name: Finding(
            Outcome.INCONCLUSIVE, Code.UNDECIDED, TYPICAL_REASON, check.promote, check.rollback, estimate, estimate,
            estimate if check.compares else None, Evidence(0.123, 0.123), 123_456, seconds=123_456,
        )
        for name, check in policy.checks.items()
    }  # fmt: skip
    readings = Readings(Window(0.0, 1.0), {name: Gap(Code.UNDECIDED, "") for name in findings})
    verdict = Verdict(Outcome.INCONCLUSIVE, TYPICAL_REASON, findings, policy, readings)
    return len(orjson.dumps(_render(verdict, Detail.SUMMARY, Brevity.BASELINE_INTERVALS))) >= SHORT


def _cut(answer: dict[str, Any]) -> dict[str, Any]:
    """Return a summary cut to its size: texts first, then checks, those that passed before the others."""
    checks = answer["checks"]
    kept = {
        **answer,
        "reason": answer["reason"].encode()[:LONGEST_TEXT].decode(errors="ignore"),
        "checks": {},
        "summary": dict(list(answer["summary"].items())[:MOST_NUMBERS]),
        "notes": [f"{len(checks)} checks do not fit into a summary: request fewer checks, or detail full"],
    }
    size = len(orjson.dumps(kept))
    for name in sorted(checks, key=lambda name: checks[name]["verdict"] == Outcome.PASS):
        size += len(orjson.dumps({name: checks[name]}))
        if size >= SHORT:
            break
        kept["checks"][name] = checks[name]
    return kept


def _render(verdict: Verdict, detail: Detail, brevity: Brevity) -> dict[str, Any]:
    window = verdict.window
    more: dict[str, Any] = {}
    read = (reading for reading in verdict.readings.by_check.values() if isinstance(reading, Reading))
    if notes := list(dict.fromkeys(note for reading in read for note in reading.notes)):
        more["notes"] = notes  # counts that are not exact are marked as such, however short the answer
    if detail is Detail.FULL:
        more["queries"] = list(verdict.readings.queries)
        more["effective_policy"] = verdict.policy.model_dump(mode="json", exclude_none=True)
    answer = Answer(
        verdict=verdict.outcome,
        reason=verdict.reason,
        checks={name: _check(verdict, name, finding, detail, brevity) for name, finding in verdict.findings.items()},
        summary=_summary(verdict),
        window=WindowAnswer(
            start=None if window.start is None else format_instant(window.start),
            end=None if window.end is None else format_instant(window.end),
            seconds=number(window.seconds),
        ),
        policy=verdict.policy.name,
        policy_digest=verdict.policy.digest,
        version=__version__,
        **more,
    )
    return answer.model_dump(by_alias=True, exclude_unset=True)


def number(value: float | None, digits: int = 3) -> float | int | None:
    """Return a number rounded to significant digits; None for what JSON cannot express."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    if math.isinf(rounded):
        return value
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded


def percent(evidence: float) -> int:
    """Return evidence in percent of what is needed, rounded down, from 0 to 100."""
    return math.floor(100 * min(max(evidence, 0.0), 1.0))


def remaining_seconds(finding: Finding, requests: float | None) -> float | None:
    """Return how long so many more canary requests take at the present rate; None where it is not known."""
    if requests == 0:
        return 0.0
    rate = finding.canary.n / finding.seconds if finding.seconds else 0.0
    return requests / rate if requests is not None and rate else None


def _check(verdict: Verdict, name: str, finding: Finding, detail: Detail, brevity: Brevity) -> CheckAnswer:
    decides = finding.outcome is verdict.outcome
    if brevity is Brevity.ALL_BUT_CODES or (brevity is Brevity.OTHER_CHECKS and not decides):
        return CheckAnswer(verdict=finding.outcome, code=finding.code)
    check, reading = verdict.policy.checks[name], verdict.readings.by_check[name]
    # In short, the interval that judges is enough: that of the change where the limits are changes.
    arm = _estimate if finding.delta is None or detail is Detail.FULL else _value
    bare = finding.baseline.value is None or brevity >= Brevity.BASELINE_INTERVALS
    more: dict[str, Any] = {} if finding.delta is None else {"delta": _interval(finding.delta)}
    if detail is Detail.FULL:
        more |= {
            "kind": check.kind,
            "role": check.role,
            "rule": check.rule,
            "since": None if finding.since is None else format_instant(finding.since),
            "assumptions": list(finding.assumptions),
            "notes": list(finding.notes),
            "counts": _counts(reading),
        }
    return CheckAnswer(
        verdict=finding.outcome,
        code=finding.code,
        reason=finding.headline or finding.reason if brevity >= Brevity.LONG_REASONS else finding.reason,
        canary=arm(finding.canary),
        baseline=_value(finding.baseline) if bare else arm(finding.baseline),
        promote=number(finding.promote, 6),
        rollback=number(finding.rollback, 6),
        evidence=EvidenceAnswer(
            **{"pass": _bar(finding.evidence.towards_pass), "fail": _bar(finding.evidence.towards_fail)}
        ),
        remaining=_remaining(finding, detail),
        **more,
    )


def _counts(reading: Reading[Counts] | Gap) -> CountsAnswer | None:
    if isinstance(reading, Gap):
        return None
    canary, baseline = (None if arm is None else _arrays(arm) for arm in (reading.canary, reading.baseline))
    return CountsAnswer(canary=canary, baseline=baseline, slice_seconds=number(reading.slice_seconds))


def _arrays(counts: Counts) -> dict[str, Any]:
    named = {field.name: getattr(counts, field.name) for field in fields(counts)}
    if "edges" in named:
        named["edges"] = named["edges"][:-1]  # the last one is infinite, which JSON cannot express
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in named.items()}


def _bar(evidence: float) -> float | int | None:
    """Return evidence rounded down: 0.9996 of the evidence needed must not look like all of it."""
    return number(math.floor(min(evidence, 1e6) * 1e3) / 1e3)


def _estimate(estimate: Estimate) -> Interval:
    return Interval(
        value=number(estimate.value), low=number(estimate.low), high=number(estimate.high), n=_count(estimate.n)
    )


def _value(estimate: Estimate) -> Interval:
    return Interval(value=number(estimate.value), n=_count(estimate.n))


def _interval(estimate: Estimate) -> Interval:
    return Interval(value=number(estimate.value), low=number(estimate.low), high=number(estimate.high))


def _count(requests: float) -> float | int | None:
    return number(round(requests, 1), 15)


def _remaining(finding: Finding, detail: Detail) -> RemainingAnswer | None:
    requests = finding.remaining_requests
    if requests is None:
        return None
    more: dict[str, Any] = {}
    if detail is Detail.FULL:
        span = finding.remaining_range
        more["range"] = RangeAnswer(
            requests=[number(end) for end in span], seconds=[number(remaining_seconds(finding, end)) for end in span]
        )
    return RemainingAnswer(requests=number(requests), seconds=number(remaining_seconds(finding, requests)), **more)


def _summary(verdict: Verdict) -> dict[str, float | int | None]:
    """Return flat numbers for dashboards: the first check of each kind."""
    summary: dict[str, float | int | None] = {}
    for name, finding in verdict.findings.items():
        check = verdict.policy.checks[name]
        match check.kind:
            case Kind.ERROR_RATE:
                summary.setdefault("canary_error_rate", number(finding.canary.value))
            case Kind.LATENCY:
                quantile = f"p{check.quantile_level * 100:g}".replace(".", "_")
                value = finding.canary.value if not check.compares else None
                summary.setdefault(f"canary_{quantile}_latency_ms", number(None if value is None else value * 1000))
            case Kind.MEAN_LATENCY:
                value = finding.canary.value
                summary.setdefault("canary_mean_latency_ms", number(None if value is None else value * 1000))
            case Kind.DRIFT:
                summary.setdefault("psi", number(finding.canary.value))
            case Kind.BUSINESS:
                delta = finding.delta.value if finding.delta else None
                summary.setdefault("business_metric_delta", number(delta))
    return summary
