"""Is the traffic split as it should be? Where it is not, a comparison of the arms says nothing about the model."""

import math
from collections.abc import Sequence
from dataclasses import replace

from analyzer.checks.decision import UNDECIDED_AT_MOST, format_count
from analyzer.checks.wording import no_traffic, undecidable
from analyzer.config.policy import Check
from analyzer.model.counts import Conversions, Counts, Floats, Pod, Reading, Values, requests_by_slice
from analyzer.model.findings import Code, Evidence, Finding, Kind, Outcome
from analyzer.quantity import format_ratio
from analyzer.stats import split

ROUNDING = 1.1  # ratio of the odds that weights, routers and traffic that bypasses them may be off by
UNEVEN = 0.5  # nats for missing requests, where the split varies twice as much as it would by chance
SURE = 1.28  # standard errors of that variation: with few slices, an even split looks uneven by chance
SEEN = 2.0  # nats against missing requests that a pass needs; fewer, where the split varies more than by chance
RISING = 1.05  # ratio of the odds, later over earlier
HALF = 0.5  # weight; Argo rounds the pods of both arms up, which leaves the canary less than a larger one
PASSING = (Code.PROVED_GOOD, Code.DECIDED_BY_POINT)
EXTRA = 0.2  # requests a second of a pod that a mesh may see and the pod not count, as those for its metrics
APART = 60.0  # seconds between scrapes at most; where the server adds up, only the length of slices is known
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


def routed(finding: Finding, reading: Reading[Counts]) -> Finding:
    """Hold a finding back that is not a fail where the canary's pods count fewer of the requests sent to them.

    A router or mesh also counts requests that hang, or whose client leaves. What it counts and the baseline's pods do
    not is no loss of the canary's: so many a pod, such as those for metrics, and beyond a part of the requests, such as
    those that it refuses. Nor is what comes between two scrapes. The whole window is looked at, and its later half.
    """
    if reading.routed is None or not _may_be_held(finding):
        return finding
    slices = reading.routed.sent.shape[1]
    for first in dict.fromkeys((0, slices // 2)):
        sent, counted = (part[:, first:].sum(axis=1).tolist() for part in (reading.routed.sent, reading.routed.counted))
        if min(*sent, counted[1]) <= 0:
            continue
        seconds = (reading.slice_seconds or 0.0) * (slices - first)
        blur = float(split.slack(seconds, reading.scrape_seconds and min(reading.scrape_seconds, APART))) - 1
        surplus, own = max(sent[1] - counted[1], 0.0), 0.0
        pods = [len(arm) for arm in (reading.canary_pods, reading.baseline_pods)]
        if min(pods) > 0:
            blur *= 1 + sum(pod.restarts for pod in reading.canary_pods) / pods[0]
            own = min(surplus / pods[1], EXTRA * seconds)  # of a pod
        excused = own * pods[0] + sent[0] * (surplus - own * pods[1]) / sent[1]
        if math.isinf(blur):
            continue
        tolerated = sent[0] * (1 - 1 / (ROUNDING * (1 + blur)))
        if sent[0] - excused - counted[0] <= tolerated + math.sqrt(max(tolerated, 1.0)):
            continue
        headline = (
            f"{format_count(sent[0])} requests were sent to the canary, of which its pods counted "
            f"{format_count(counted[0])}; of the baseline's {format_ratio(min(counted[1] / sent[1], 1.0))}"
        )
        reason = (
            f"{headline}: requests that hang, or whose client leaves, are not counted as failed or slow; look at what "
            "the router or mesh says of them"
        )
        return _held(finding, Code.TRAFFIC_SPLIT, headline, reason)
    return finding


def _may_be_held(finding: Finding) -> bool:
    return finding.code in (*PASSING, Code.UNDECIDED) and finding.outcome is not Outcome.FAIL


def counted(finding: Finding, reading: Reading[Counts], weight: float | None) -> Finding:
    """Hold a finding back that is not a fail where requests of the canary are missing (sample-ratio mismatch).

    A request that hangs, or whose client leaves, is never counted: neither as failed nor as slow. But the canary's part
    of the requests is then less than that of its weight. Business events come late and are left out. A pass takes
    `SEEN` nats against a loss. Of what was counted at another weight nothing is known: where most was, and at a large
    weight, a pass, or a guardrail that nothing proves, takes `SEEN`.
    """
    if weight is None or not _may_be_held(finding) or reading.canary is None or reading.baseline is None:
        return finding
    if isinstance(reading.canary, Conversions | Values):
        return finding
    ours, theirs = requests_by_slice(reading.canary), requests_by_slice(reading.baseline)
    change = reading.weight_change
    if weight > HALF and _rounded(reading, ours, theirs, weight):
        return finding  # one pod too many of the baseline may be all: a controller rounds both numbers of pods up
    seconds = reading.lengths
    factor, certain = split.overdispersion(ours, theirs), split.overdispersion(ours, theirs, SURE)
    # Holding costs none of alpha: that requests are missing need only be likelier than not.
    needed = min(UNEVEN, UNEVEN * (factor - 1))
    elsewhere = weight > HALF or float(ours[:change].sum()) > float(ours[change:].sum())
    for first in {change, _later_half(ours, theirs, change)}:
        canary, baseline = float(ours[first:].sum()), float(theirs[first:].sum())
        blur = 1.0 if seconds is None else float(split.slack(seconds[first:].sum(), reading.scrape_seconds))
        known = min(canary + baseline, theirs.sum()) > 0 and not math.isinf(blur)
        # Scrapes at different moments and few slices may look like a loss, but no loss is to be taken for them either.
        evidence, strictly = (
            split.log_evidence_of_loss(canary, baseline, weight, tolerance, uneven) if known else 0.0
            for tolerance, uneven in ((max(ROUNDING, blur), factor), (ROUNDING, certain))
        )
        least = SEEN if elsewhere else SEEN * max(2 - certain, 0.0) * (known and finding.code in PASSING)
        if least and strictly > -least and evidence <= needed:
            ending = "; too few requests at this weight to tell whether any are not counted"
            headline, reason = (text and text + ending for text in (finding.headline, finding.reason))
            if finding.code in PASSING:
                finding = _held(finding, Code.UNDECIDED, headline, reason)
            return replace(finding, headline=headline, reason=reason, waits=True)
        if not known or evidence <= needed:
            return finding
    headline = (
        f"the canary has only {format_ratio(canary / (canary + baseline))} of the counted requests where its weight is "
        f"{format_ratio(weight)}"
    )
    reason = (
        f"{headline} ({format_count(canary)} of {format_count(canary + baseline)}): some of its requests may never be "
        "counted, as those that hang or whose client leaves; look at the router's own counts"
    )
    return _held(finding, Code.TRAFFIC_SPLIT, headline, reason)


def _held(finding: Finding, code: Code, headline: str, reason: str) -> Finding:
    """Return a finding that is withheld."""
    bars = Evidence(min(finding.evidence.towards_pass, UNDECIDED_AT_MOST), finding.evidence.towards_fail)
    return replace(
        finding, outcome=Outcome.INCONCLUSIVE, code=code, reason=reason, headline=headline,
        evidence=bars, remaining_requests=None, remaining_range=(None, None),
    )  # fmt: skip


def _later_half(ours: Floats, theirs: Floats, change: int) -> int:
    """Return where the later half of the slices since a change begins, if the canary's part rises; else the change.

    A step too small to be seen as a change of the split leaves the smaller share of before in the sum.
    """
    middle = (change + len(ours)) // 2
    early, late = (
        [float(arm[part].sum()) + 0.5 for arm in (ours, theirs)]
        for part in (slice(change, middle), slice(middle, None))
    )
    error = math.sqrt(sum(1 / requests for requests in (*early, *late)))
    rise = math.log(late[0] / late[1] / (early[0] / early[1]))
    return middle if middle > change and rise > math.log(RISING) + split.CLEAR * error else change


def _rounded(reading: Reading[Counts], ours: Floats, theirs: Floats, weight: float) -> bool:
    """Return whether the numbers of pods may explain that the canary has less than the part of its weight.

    Where a router deals out the requests, pods have another part of them than of the pods. Where the pods are not
    known, the canary must have had the part of its weight before.
    """
    change = reading.weight_change
    if _reached(ours[:change], theirs[:change], weight):
        return False
    pods = [_serving(arm, (change + len(ours)) // 2) for arm in (reading.canary_pods, reading.baseline_pods)]
    if min(pods) == 0:
        return True
    if pods[0] / pods[1] * ROUNDING >= weight / (1 - weight):
        return False
    requests = [float(arm[change:].sum()) + 0.5 for arm in (ours, theirs)]
    difference = math.log(requests[0] / requests[1] * pods[1] / pods[0])
    return abs(difference) <= math.log(ROUNDING) + split.CLEAR * math.sqrt(sum(1 / count for count in requests))


def _serving(pods: Sequence[Pod[Counts]], first: int) -> int:
    """Count the pods that had requests in a slice from the first one on."""
    return sum(requests_by_slice(pod.counts)[first:].sum() > 0 for pod in pods)


def _reached(ours: Floats, theirs: Floats, weight: float) -> bool:
    """Return whether the canary had the part of its weight in the segment before the split last changed."""
    if len(ours) == 0:
        return False
    first = split.last_change(ours, theirs)
    odds = float((ours[first:].sum() + 0.5) / (theirs[first:].sum() + 0.5))
    return odds * ROUNDING >= weight / (1 - weight)


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
