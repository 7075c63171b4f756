"""What a service's own past tells of a policy's limits: its level, its buckets, and a canary that is like it."""

import math
from dataclasses import dataclass, replace

from analyzer import checks
from analyzer.checks.tail import Tail
from analyzer.config.policy import Check, Policy
from analyzer.model.counts import (
    Classes,
    Conversions,
    Counts,
    Errors,
    Histogram,
    MeanOnly,
    Reading,
    Values,
    requests_by_slice,
)
from analyzer.model.findings import Code, Kind
from analyzer.planning.assumptions import Assumption, allowed
from analyzer.quantity import format_ratio, format_seconds


@dataclass(frozen=True)
class OwnLevel:
    """A service's own share of bad requests or mean; and a text where it is certainly beyond the promote limit."""

    share: float
    beyond: str


def own_level(check: Check, counts: Counts) -> OwnLevel | None:
    """Return a service's own level against its promote limit; None where the limit is a change, or it is not known."""
    if check.compares:
        return None
    total = max(float(requests_by_slice(counts).sum()), 1e-300)
    if isinstance(counts, Errors):
        share = float(counts.errors.sum()) / total
        text = (
            f"{format_ratio(share)} of the service's own requests failed, beyond the promote limit "
            f"{format_ratio(check.promote)}"
        )
        return OwnLevel(share, text if share >= check.promote else "")
    if isinstance(counts, MeanOnly):
        mean = float(counts.total.sum()) / total
        text = (
            f"the mean latency of the service's own requests is {format_seconds(mean)}, beyond the promote limit "
            f"{format_seconds(check.promote)}"
        )
        return OwnLevel(mean, text if mean >= check.promote else "")
    if isinstance(counts, Histogram) and check.kind is Kind.LATENCY:
        tail = Tail.of(counts, (check.promote,))
        below, above = tail.edge_below(check.promote), tail.edge_above(check.promote)
        share = float(tail.above(below).sum()) / total if math.isfinite(below) else 1.0
        certain = float(tail.above(above).sum()) / total if math.isfinite(above) else 0.0
        text = (
            f"{format_ratio(certain)} of the service's own requests are slower than {format_seconds(above)}, where the "
            f"promote limit allows {format_ratio(allowed(check))}"
        )
        return OwnLevel(share, text if certain >= allowed(check) else "")
    return None


def limits_in_buckets(check: Check, counts: Counts, policy: Policy) -> list[str]:
    """Return where a limit lies inside a bucket of the service's histogram."""
    if not isinstance(counts, Histogram) or check.kind is not Kind.LATENCY:
        return []
    whole = replace(counts, counts=counts.counts.sum(axis=0, keepdims=True))
    other = whole if check.compares else None  # beside an equal baseline, trouble would be the service's
    finding = checks.judge(check, Reading(canary=whole, baseline=other), policy)
    if finding.code is Code.BUCKET_RESOLUTION:
        return [finding.headline or finding.reason]
    return list(finding.notes)


def like_the_service(check: Check, counts: Counts, own: OwnLevel | None) -> Assumption:
    """Return the assumption of a canary that is like the service."""
    supposed = Assumption.of(check)
    match counts:
        case Errors(errors, requests) if check.compares and errors.any():
            return replace(supposed, level=float(errors.sum() / requests.sum()))
        case Classes() | Histogram() if check.kind is Kind.DRIFT:
            return supposed.of_bins(counts.counts.sum(axis=0).tolist())
        case Conversions(successes, trials) if successes.any():
            return replace(supposed, level=min(float(successes.sum() / max(trials.sum(), 1.0)), 1.0))
        case Values(total, squares, count) if squares is not None and total.sum() > 0:
            return replace(supposed, variation=max(float(squares.sum() * count.sum() / total.sum() ** 2) - 1, 1e-6))
        case _:
            return supposed if own is None else replace(supposed, healthy=own.share)
