"""A request together with what was read for it: judged as of now, or as of any earlier moment."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analyzer import checks
from analyzer.config.policy import Check, Policy
from analyzer.model.counts import Counts, Floats, Reading, Readings, Window
from analyzer.model.findings import Code, Gap, Outcome
from analyzer.verdict.judge import Verdict, combine

SAME = 1e-6  # seconds
MANY_RESTARTS = 3  # of a pod, for a crash loop


@dataclass(frozen=True)
class Case:
    """The request and the counts that answer it.

    Attributes
    ----------
    checks : those of the policy that were asked for, by name
    policy : what they are judged by
    readings : what the source read, with nothing left out yet
    at_this_weight : a pass must be proved by what was seen since the traffic split last changed
    share : the canary's nominal part of the traffic, in (0, 1); None: not known
    """

    checks: Mapping[str, Check]
    policy: Policy
    readings: Readings
    at_this_weight: bool = False
    share: float | None = None

    def verdict(self) -> Verdict:
        """Judge every check and combine the findings."""
        elapsed = {name: self._elapsed(name) for name in self.checks}
        trimmed = {
            name: checks.trim(self.readings.by_check[name], check, elapsed[name]) for name, check in self.checks.items()
        }
        findings = {
            name: checks.judge(
                check, trimmed[name], self.policy, checks.Moment(elapsed[name], self.at_this_weight, self.share)
            )
            for name, check in self.checks.items()
        }
        outcome, reason = combine(findings, self.policy)
        reason += self._crash_loop()
        return Verdict(outcome, reason, findings, self.policy, replace(self.readings, by_check=trimmed))

    def _crash_loop(self) -> str:
        """Return the end of a sentence about the pod of the canary that restarted most; empty: none did often."""
        readings = (reading for reading in self.readings.by_check.values() if isinstance(reading, Reading))
        pods = [pod for reading in readings for pod in reading.canary_pods]
        worst = max(pods, key=lambda pod: pod.restarts, default=None)
        if worst is None or worst.restarts < MANY_RESTARTS:
            return ""
        return f"; {worst.name} of the canary restarted {worst.restarts} times"

    def moments(self) -> Floats:
        """Return the ends of all time slices, in seconds since the start, ascending; empty where there are none."""
        ends = [reading.ends() for reading in self.readings.by_check.values() if isinstance(reading, Reading)]
        every = np.sort(np.concatenate([np.zeros(0), *ends]))
        return every[np.append(True, np.diff(every) > SAME)] if len(every) else every

    def until(self, seconds: float) -> "Case":
        """Truncate the readings at a moment; counts without time slices are not known before the end."""
        start = self.readings.window.start
        return replace(
            self,
            readings=replace(
                self.readings,
                window=Window(start, None if start is None else start + seconds),
                by_check={name: _until(reading, seconds) for name, reading in self.readings.by_check.items()},
            ),
        )

    def _elapsed(self, name: str) -> float | None:
        """Return how long the window is, or else how long the slices of a check last together."""
        reading = self.readings.by_check[name]
        if self.readings.window.seconds is not None or isinstance(reading, Gap):
            return self.readings.window.seconds
        return reading.seconds


def _until(reading: Reading[Counts] | Gap, seconds: float) -> Reading[Counts] | Gap:
    if isinstance(reading, Gap):
        return reading
    complete = int(np.searchsorted(reading.ends(), seconds + SAME, side="right"))
    if complete == 0:
        return Gap(Code.PARTIAL_DATA, "no time slice of this check had ended by then")
    return reading.first(complete)


@dataclass(frozen=True)
class Look:
    """The verdict at an earlier moment.

    Attributes
    ----------
    seconds : since the start of the window
    verdict : on what had been counted by then, in the time slices of today
    """

    seconds: float
    verdict: Verdict


def looks(case: Case, most: int) -> Iterator[Look]:
    """Yield the verdict at the end of each time slice, oldest first, at most so many; the last is the present.

    Yields nothing where no counts have time slices.
    """
    moments = case.moments()
    if len(moments) > most:
        moments = moments[np.unique(np.linspace(len(moments) - 1, 0, most).round().astype(int))]
    for seconds in moments.tolist():
        last = seconds >= moments[-1] - SAME
        yield Look(seconds, (case if last else case.until(seconds)).verdict())


def decided_at(outcomes: Sequence[Outcome]) -> int | None:
    """Return the index of the measurement that decided, the first fail or the first of the last passes; or None."""
    if not outcomes or outcomes[-1] is Outcome.INCONCLUSIVE:
        return None
    if outcomes[-1] is Outcome.FAIL:
        return outcomes.index(Outcome.FAIL)
    index = len(outcomes) - 1
    while index and outcomes[index - 1] is outcomes[-1]:
        index -= 1
    return index
