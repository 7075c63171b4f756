"""One file a kind of check: counts of both arms and a row of the policy in, a finding out.

How limits become a finding is the same for every kind and stands in `decision`.
"""

from typing import assert_never, cast

from analyzer.checks import business, drift, error_rate, latency
from analyzer.checks.decision import Terms
from analyzer.checks.trimming import trim
from analyzer.checks.wording import undecidable
from analyzer.model import (
    Classes,
    Conversions,
    Counts,
    Errors,
    Finding,
    Gap,
    Histogram,
    Kind,
    MeanOnly,
    Reading,
    Values,
)
from analyzer.policy import Check, Policy


def judge(
    check: Check, reading: Reading[Counts] | Gap, policy: Policy, elapsed_seconds: float | None = None
) -> Finding:
    """Judge one check on what the source read for it; missing data is inconclusive, never a pass.

    Parameters
    ----------
    check : the row of the policy
    reading : what was read, or why nothing was
    policy : that the check is of
    elapsed_seconds : length of the window that was read; None: not known

    Raises
    ------
    TypeError : the source returned counts of another kind than the check's, a bug
    """
    if isinstance(reading, Gap):
        return undecidable(check, reading.code, reading.reason)
    terms = Terms.of(policy, elapsed_seconds)
    for arm in (reading.canary, reading.baseline):
        if arm is not None and not isinstance(arm, _ACCEPTED[check.kind]):
            raise TypeError(f"a check of kind {check.kind} cannot be judged on {type(arm).__name__}")
    match check.kind:
        case Kind.ERROR_RATE:
            return error_rate.judge(check, cast("Reading[Errors]", reading), terms)
        case Kind.LATENCY:
            return latency.judge(check, cast("Reading[Histogram | MeanOnly]", reading), terms)
        case Kind.DRIFT:
            return drift.judge(check, cast("Reading[Histogram | Classes]", reading), terms)
        case Kind.BUSINESS:
            return business.judge(check, cast("Reading[Conversions | Values]", reading), terms)
        case _:
            assert_never(check.kind)


_ACCEPTED: dict[Kind, tuple[type[Counts], ...]] = {
    Kind.ERROR_RATE: (Errors,),
    Kind.LATENCY: (Histogram, MeanOnly),
    Kind.DRIFT: (Histogram, Classes),
    Kind.BUSINESS: (Conversions, Values),
}

__all__ = ["judge", "trim"]
