"""From a verdict to the JSON that is answered: every number finite, absent ones null, short by default."""

import math
from dataclasses import fields
from enum import IntEnum
from typing import Any

import numpy as np
import orjson

from analyzer.model.counts import Counts, Reading
from analyzer.model.findings import Estimate, Finding, Gap, Kind
from analyzer.quantity import format_instant
from analyzer.verdict.judge import Verdict
from analyzer.verdict.request import Detail
from analyzer.version import __version__

SHORT = 2048  # bytes of a summary: Argo keeps the answer of every measurement in the AnalysisRun


class Brevity(IntEnum):
    """What a summary leaves out until it is short enough; ``full`` has it all."""

    NOTHING = 0
    LONG_REASONS = 1
    BASELINE_INTERVALS = 2


def render(verdict: Verdict, detail: Detail = Detail.SUMMARY) -> dict[str, Any]:
    """Write a verdict as the contract says; ``full`` adds notes, the policy and what the source was asked."""
    answer = _render(verdict, detail, Brevity.NOTHING)
    for brevity in (Brevity.LONG_REASONS, Brevity.BASELINE_INTERVALS):
        if detail is Detail.FULL or len(orjson.dumps(answer)) < SHORT:
            break
        answer = _render(verdict, detail, brevity)
    return answer


def _render(verdict: Verdict, detail: Detail, brevity: Brevity) -> dict[str, Any]:
    window = verdict.window
    answer: dict[str, Any] = {
        "verdict": verdict.outcome.value,
        "reason": verdict.reason,
        "checks": {name: _check(verdict, name, finding, detail, brevity) for name, finding in verdict.findings.items()},
        "summary": _summary(verdict),
        "window": {
            "start": None if window.start is None else format_instant(window.start),
            "end": None if window.end is None else format_instant(window.end),
            "seconds": number(window.seconds),
        },
        "policy": verdict.policy.name,
        "policy_digest": verdict.policy.digest,
        "version": __version__,
    }
    read = (reading for reading in verdict.readings.by_check.values() if isinstance(reading, Reading))
    if notes := list(dict.fromkeys(note for reading in read for note in reading.notes)):
        answer["notes"] = notes  # counts that are not exact are said to be so, however short the answer
    if detail is Detail.FULL:
        answer["queries"] = list(verdict.readings.queries)
        answer["effective_policy"] = verdict.policy.model_dump(mode="json", exclude_none=True)
    return answer


def number(value: float | None, digits: int = 3) -> float | int | None:
    """Round to significant digits; what JSON cannot say is null."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded


def _check(verdict: Verdict, name: str, finding: Finding, detail: Detail, brevity: Brevity) -> dict[str, Any]:
    check, reading = verdict.policy.checks[name], verdict.readings.by_check[name]
    # In short, the interval that judges is enough: that of the change where the limits are changes.
    arm = _estimate if finding.delta is None or detail is Detail.FULL else _value
    bare = finding.baseline.value is None or brevity >= Brevity.BASELINE_INTERVALS
    answer: dict[str, Any] = {
        "verdict": finding.outcome.value,
        "code": finding.code.value,
        "reason": finding.headline or finding.reason if brevity >= Brevity.LONG_REASONS else finding.reason,
        "canary": arm(finding.canary),
        "baseline": _value(finding.baseline) if bare else arm(finding.baseline),
    }
    if finding.delta is not None:
        answer["delta"] = _interval(finding.delta)
    answer |= {
        "promote": number(finding.promote, 6),
        "rollback": number(finding.rollback, 6),
        "evidence": {"pass": _bar(finding.evidence.towards_pass), "fail": _bar(finding.evidence.towards_fail)},
        "remaining": _remaining(finding, detail),
    }
    if detail is Detail.FULL:
        answer |= {"kind": check.kind.value, "role": check.role.value, "rule": check.rule.value}
        answer |= {
            "since": None if finding.since is None else format_instant(finding.since),
            "assumptions": list(finding.assumptions),
            "notes": list(finding.notes),
            "counts": _counts(reading),
        }
    return answer


def _counts(reading: Reading[Counts] | Gap) -> dict[str, Any] | None:
    """Write what was read, one number a time slice; of a histogram one list a slice, its last bin unbounded."""
    if isinstance(reading, Gap):
        return None
    arms = {"canary": reading.canary, "baseline": reading.baseline}
    return {name: None if arm is None else _arrays(arm) for name, arm in arms.items()} | {
        "slice_seconds": number(reading.slice_seconds)
    }


def _arrays(counts: Counts) -> dict[str, Any]:
    named = {one.name: getattr(counts, one.name) for one in fields(counts)}
    if "edges" in named:
        named["edges"] = named["edges"][:-1]  # the last one is infinite, which JSON cannot say
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in named.items()}


def _bar(evidence: float) -> float | int | None:
    """Round down: 0.9996 of the evidence needed must not look like all of it."""
    return number(math.floor(min(evidence, 1e6) * 1e3) / 1e3)


def _estimate(estimate: Estimate) -> dict[str, float | int | None]:
    return {**_interval(estimate), "n": _count(estimate.n)}


def _value(estimate: Estimate) -> dict[str, float | int | None]:
    return {"value": number(estimate.value), "n": _count(estimate.n)}


def _count(number_: float) -> float | int | None:
    return number(round(number_, 1), 15)


def _interval(estimate: Estimate) -> dict[str, float | int | None]:
    return {"value": number(estimate.value), "low": number(estimate.low), "high": number(estimate.high)}


def _remaining(finding: Finding, detail: Detail) -> dict[str, Any] | None:
    """Write how many more requests decide, and in how many seconds at the rate so far; in full, with the range."""
    requests = finding.remaining_requests
    if requests is None:
        return None
    rate = finding.canary.n / finding.seconds if finding.seconds else 0.0

    def duration(more: float | None) -> float | int | None:
        return 0 if more == 0 else number(more / rate) if more is not None and rate else None

    answer: dict[str, Any] = {"requests": number(requests), "seconds": duration(requests)}
    if detail is Detail.FULL:
        span = finding.remaining_range
        answer["range"] = {"requests": [number(more) for more in span], "seconds": [duration(more) for more in span]}
    return answer


def _summary(verdict: Verdict) -> dict[str, float | int | None]:
    """Flat numbers for dashboards: the first check of each kind."""
    summary: dict[str, float | int | None] = {}
    for name, finding in verdict.findings.items():
        check = verdict.policy.checks[name]
        match check.kind:
            case Kind.ERROR_RATE:
                summary.setdefault("canary_error_rate", number(finding.canary.value))
            case Kind.LATENCY:
                quantile = f"p{(check.quantile or 0) * 100:g}".replace(".", "_")
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
