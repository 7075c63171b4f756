"""One file a kind of check: counts of both arms and a row of the policy in, a finding out.

How limits become a finding is the same for every kind and stands in `decision`.
"""

from dataclasses import dataclass
from typing import assert_never, cast

from analyzer.checks import business, drift, error_rate, latency, mean_latency, scrapes, traffic_split
from analyzer.checks.decision import Terms
from analyzer.checks.trimming import trim
from analyzer.checks.wording import undecidable
from analyzer.config.policy import Check, Policy
from analyzer.model.counts import Classes, Conversions, Counts, Errors, Histogram, MeanOnly, Reading, Values
from analyzer.model.findings import Finding, Gap, Kind


@dataclass(frozen=True)
class Moment:
    """What is known of the moment at which a rollout is judged.

    Attributes
    ----------
    elapsed_seconds : length of the window that was read; None: not known
    at_this_weight : a pass must be proved by what was seen since the traffic's split last changed
    weight : the canary's nominal part of the traffic, in (0, 1); None: not known
    """

    elapsed_seconds: float | None = None
    at_this_weight: bool = False
    weight: float | None = None


NOW = Moment()


def judge(check: Check, reading: Reading[Counts] | Gap, policy: Policy, moment: Moment = NOW) -> Finding:
    """Judge one check on what the source read for it; missing data is inconclusive, never a pass.

    Parameters
    ----------
    check : the row of the policy
    reading : what was read, or why nothing was
    policy : that the check is of
    moment : when it is judged

    Raises
    ------
    TypeError : the source returned counts of another kind than the check's, a bug
    """
    if isinstance(reading, Gap):
        return undecidable(check, reading.code, reading.reason)
    terms = Terms.of(policy, moment.elapsed_seconds, at_this_weight=moment.at_this_weight)
    for arm in (reading.canary, reading.baseline, reading.history):
        if arm is not None and not isinstance(arm, _ACCEPTED[check.kind]):
            raise TypeError(f"a check of kind {check.kind} cannot be judged on {type(arm).__name__}")
    if problem := traffic_split.problem(check, reading, moment.weight, at_this_weight=moment.at_this_weight):
        return problem
    finding = _judge(check, reading, terms)
    if check.compares or check.kind is Kind.DRIFT:
        finding = scrapes.lasting(finding, reading, lambda rest: _judge(check, rest, terms))
    if moment.at_this_weight and moment.weight is not None:
        finding = traffic_split.confirmed(finding, reading, moment.weight)
    return traffic_split.counted(traffic_split.routed(finding, reading), reading, moment.weight)


def _judge(check: Check, reading: Reading[Counts], terms: Terms) -> Finding:
    match check.kind:
        case Kind.ERROR_RATE:
            return error_rate.judge(check, cast("Reading[Errors]", reading), terms)
        case Kind.LATENCY:
            return latency.judge(check, cast("Reading[Histogram | MeanOnly]", reading), terms)
        case Kind.MEAN_LATENCY:
            return mean_latency.judge(check, cast("Reading[MeanOnly]", reading), terms)
        case Kind.DRIFT:
            return drift.judge(check, cast("Reading[Histogram | Classes]", reading), terms)
        case Kind.BUSINESS:
            return business.judge(check, cast("Reading[Conversions | Values]", reading), terms)
        case _:
            assert_never(check.kind)


_ACCEPTED: dict[Kind, tuple[type[Counts], ...]] = {
    Kind.ERROR_RATE: (Errors,),
    Kind.LATENCY: (Histogram, MeanOnly),
    Kind.MEAN_LATENCY: (MeanOnly,),
    Kind.DRIFT: (Histogram, Classes),
    Kind.BUSINESS: (Conversions, Values),
}

__all__ = ["Moment", "judge", "trim"]
