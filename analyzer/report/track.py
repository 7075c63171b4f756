"""What a report draws over time: of each check, what every look found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.model.counts import Floats
from analyzer.model.findings import Finding, Outcome
from analyzer.verdict.case import Look


@dataclass(frozen=True)
class Track:
    """One check, look by look; arrays of shape (looks,), nan where nothing is known.

    Attributes
    ----------
    seconds : since the begin of the window
    outcomes : what each look found
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


def track_of(looks: Sequence[Look], name: str) -> Track:
    """Follow one check through the looks."""
    findings = [look.verdict.findings[name] for look in looks]

    def each(number: Callable[[Finding], float | None]) -> Floats:
        return np.array([np.nan if (found := number(one)) is None else found for one in findings], float)

    return Track(
        seconds=np.array([look.seconds for look in looks]),
        outcomes=tuple(one.outcome for one in findings),
        value=each(lambda one: (one.delta or one.canary).value),
        low=each(lambda one: (one.delta or one.canary).low),
        high=each(lambda one: (one.delta or one.canary).high),
        baseline=each(lambda one: None if one.delta is not None else one.baseline.value),
        towards_pass=each(lambda one: one.evidence.towards_pass),
        towards_fail=each(lambda one: one.evidence.towards_fail),
    )
