"""Is the traffic split as it should be? Where it is not, a comparison of the arms says nothing about the model."""

import math
from dataclasses import replace

from analyzer.checks.decision import UNDECIDED_AT_MOST, format_count
from analyzer.checks.wording import no_traffic, undecidable
from analyzer.config.policy import Check
from analyzer.model.counts import Counts, Reading, requests_by_slice
from analyzer.model.findings import Code, Evidence, Finding, Kind, Outcome
from analyzer.quantity import format_ratio
from analyzer.stats import split

BROKEN = 0.001  # level, over all looks: below it the split is called broken


def problem(check: Check, reading: Reading[Counts], weight: float | None, *, at_this_weight: bool) -> Finding | None:
    """Say what about the traffic keeps a check from being judged, if anything does.

    Parameters
    ----------
    weight : the canary's nominal part of the traffic, in (0, 1); None: not known
    at_this_weight : only what was seen since the split last changed can pass
    """
    if reading.canary is None or reading.baseline is None:
        return None
    ours, theirs = requests_by_slice(reading.canary), requests_by_slice(reading.baseline)
    if min(ours.sum(), theirs.sum()) <= 0:
        return None
    compares = check.compares or check.kind is Kind.DRIFT
    if not at_this_weight and (weight is None or not compares):
        return None
    change = reading.weight_change
    canary, baseline = reading.present_requests or (0.0, 0.0)
    if at_this_weight and canary <= 0:
        return no_traffic(check, "canary", "requests since the traffic's split last changed")
    if weight is None or not compares:
        return None
    seconds = reading.lengths
    blur = 1.0 if seconds is None else float(split.slack(seconds[change:].sum(), reading.scrape_seconds))
    if math.isinf(blur):  # too short a time for the scrapes of both arms to say anything
        return None
    if split.log_evidence(canary, baseline, weight, split.TOLERANCE * blur) < -math.log(BROKEN):
        return None
    headline = (
        f"the canary gets {format_ratio(canary / (canary + baseline))} of the traffic where its weight is "
        f"{format_ratio(weight)}"
    )
    reason = (
        f"{headline} ({format_count(canary)} of {format_count(canary + baseline)} requests): requests do not reach the "
        "arms as the weight says, so they cannot be compared; look at the router, or leave out weight"
    )
    return undecidable(check, Code.TRAFFIC_SPLIT, reason, headline=headline)


def confirmed(finding: Finding, reading: Reading[Counts], weight: float) -> Finding:
    """Hold a pass back that was proved at another weight: a step whose traffic is not seen yet proves nothing.

    A fail stays: it may use everything.
    """
    if finding.outcome is not Outcome.PASS or reading.present_requests is None:
        return finding
    canary, baseline = reading.present_requests
    tolerated = math.log(split.TOLERANCE)
    # Half a request more in each arm keeps the odds of an arm without traffic finite.
    if abs(math.log((canary + 0.5) / (baseline + 0.5) * (1 - weight) / weight)) <= tolerated:
        return finding
    headline = (
        f"good so far, but the canary still gets {format_ratio(canary / max(canary + baseline, 1.0))} of the traffic, "
        f"and a pass is to be proved at a weight of {format_ratio(weight)}"
    )
    bars = Evidence(min(finding.evidence.towards_pass, UNDECIDED_AT_MOST), finding.evidence.towards_fail)
    return replace(
        finding, outcome=Outcome.INCONCLUSIVE, code=Code.TRAFFIC_SPLIT, reason=headline, headline=headline,
        evidence=bars, remaining_requests=None, remaining_range=(None, None),
    )  # fmt: skip
