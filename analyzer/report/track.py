"""What a report draws over time: the findings of each check at every measurement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.model.counts import Floats
from analyzer.model.findings import Finding, Outcome
from analyzer.verdict.case import Look


@dataclass(frozen=True)
class CheckTrack:
    """One check over the measurements; arrays of shape (measurements,), nan where nothing is known.

    Attributes
    ----------
    seconds : since the start of the window
    outcomes : of each measurement
    value, low, high : what is judged, with its always-valid interval; -inf and inf where a side is open
    baseline : the other arm's value
    towards_pass, towards_fail : evidence over that needed
    """

    seconds: Floats
    outcomes: tuple[Outcome, ...]
    value: Floats
    low: Floats
    high: Floats
    baseline: Floats
    towards_pass: Floats
    towards_fail: Floats


def track_of(looks: Sequence[Look], name: str) -> CheckTrack:
    """Return the track of one check."""
    findings = [look.verdict.findings[name] for look in looks]

    def each(number: Callable[[Finding], float | None]) -> Floats:
        return np.array([np.nan if (value := number(finding)) is None else value for finding in findings], float)

    return CheckTrack(
        seconds=np.array([look.seconds for look in looks]),
        outcomes=tuple(finding.outcome for finding in findings),
        value=each(lambda finding: (finding.delta or finding.canary).value),
        low=each(lambda finding: (finding.delta or finding.canary).low),
        high=each(lambda finding: (finding.delta or finding.canary).high),
        baseline=each(lambda finding: None if finding.delta is not None else finding.baseline.value),
        towards_pass=each(lambda finding: finding.evidence.towards_pass),
        towards_fail=each(lambda finding: finding.evidence.towards_fail),
    )
