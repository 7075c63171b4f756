"""What policies would have decided on a rollout of the past, and when.

The window is read once; each measurement is then judged on what was known at its moment.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analyzer.config.policy import Policy, choose_policy
from analyzer.errors import ConfigError, Problem, RequestError
from analyzer.model.counts import Reading, Readings, Window, requests_by_slice
from analyzer.model.findings import Code, Estimate, Finding, Gap, Kind, Outcome
from analyzer.quantity import format_seconds
from analyzer.sources.assembly import Selection
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.recorded_window import Recording
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.case import SAME, Case
from analyzer.verdict.request import VerdictRequest

Watch = Callable[[Sequence[int]], Iterable[int]]
"""Shows the progress over numbered parts."""


@dataclass(frozen=True)
class CheckMeasurement:
    """One check at one measurement.

    Attributes
    ----------
    judged : the value that the limits are about, with its interval: of the canary, or its change against the baseline
    baseline : the other arm's value; nothing where a change is judged
    towards_pass, towards_fail : evidence over that needed
    requests : of the canary, that this is about
    """

    outcome: Outcome
    code: Code
    reason: str
    judged: Estimate
    baseline: Estimate
    towards_pass: float
    towards_fail: float
    requests: float


@dataclass(frozen=True)
class Measurement:
    """The verdict at one moment.

    Attributes
    ----------
    seconds : since the start of the window
    moment : Unix seconds; None where the start is not known
    requests : of the canary, since the start
    """

    seconds: float
    moment: float | None
    outcome: Outcome
    reason: str
    requests: float
    checks: Mapping[str, CheckMeasurement]


@dataclass(frozen=True)
class PolicyDecision:
    """What a policy would have done with the rollout.

    Attributes
    ----------
    outcome : fail if any measurement fails; else pass if any passes
    look : the first measurement with this outcome; of an inconclusive rollout the last
    final : all later measurements have the same outcome
    passed : the first measurement that passed, even if a later one fails
    """

    outcome: Outcome
    look: Measurement
    final: bool
    passed: Measurement | None


@dataclass(frozen=True)
class PolicyReplay:
    """One policy: its measurements, oldest first, and what it would have decided."""

    label: str
    policy: Policy
    measurements: tuple[Measurement, ...]
    decision: PolicyDecision


@dataclass(frozen=True)
class Replay:
    """A rollout of the past, as several policies would have judged it at the same moments.

    Attributes
    ----------
    request : without a policy
    window : what was replayed
    every : seconds between measurements
    resolution : seconds of the slices that were read; None: as they are in the request
    notes : what is different from what was asked for
    queries : what the source was request, once for all
    policies : the replay of each policy
    """

    request: VerdictRequest
    window: Window
    every: float
    resolution: float | None
    notes: tuple[str, ...]
    queries: tuple[str, ...]
    policies: tuple[PolicyReplay, ...]


@dataclass(frozen=True)
class _Past:
    """What can be judged: the moments, as seconds since the start, and what was known at each, by policy."""

    window: Window
    moments: Sequence[float]
    case: Callable[[str, float], Case]
    every: float
    resolution: float | None = None
    notes: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()


def replay(
    analyzer: Analyzer,
    request: VerdictRequest,
    policies: Sequence[str | dict[str, Any]] = (),
    *,
    every: float = 30.0,
    watch: Watch = iter,
) -> Replay:
    """Judge a rollout of the past at regular moments.

    Parameters
    ----------
    analyzer : whose source, policies and profiles are used; its deadline is for reading all of the window
    request : the rollout; its `at` is the end of the window
    policies : to judge by, names or overrides; default the one of the request
    every : seconds between measurements
    watch : shows the progress

    Raises
    ------
    RequestError : the request names what is not there, or there is nothing to judge
    ConfigError : the source knows no past
    SourceError : the source did not answer
    """
    chosen = choose(analyzer, policies or [request.policy or analyzer.default_policy])
    if request.window_seconds is not None:
        text = f"must be start or step: {request.window} is another window at each measurement"
        raise RequestError([Problem("window", text)])
    now = analyzer.clock()
    if request.at is not None and request.at > now:
        raise RequestError(
            [Problem("at", f"is {format_seconds(request.at - now)} in the future; leave it out for now")]
        )
    one_name = replace(analyzer, policies=chosen)
    plain = request.model_copy(
        update={"policy": None, "at": now if request.at is None and request.data is None else request.at}
    )
    past = (_given if request.data is not None else _recorded)(one_name, plain, every)
    measurements: dict[str, list[Measurement]] = {label: [] for label in chosen}
    for index in watch(range(len(past.moments))):
        for label in chosen:
            moment = past.moments[index]
            measurements[label].append(_measure(past.case(label, moment), moment, past.window))
    return Replay(
        request=plain,
        window=past.window,
        every=past.every,
        resolution=past.resolution,
        notes=past.notes,
        queries=past.queries,
        policies=tuple(
            PolicyReplay(label, policy, tuple(measurements[label]), decide(measurements[label]))
            for label, policy in chosen.items()
        ),
    )


def choose(analyzer: Analyzer, policies: Sequence[str | dict[str, Any]]) -> dict[str, Policy]:
    """Find policies by name, or build those that are described by overrides; each with a label of its own."""
    chosen: dict[str, Policy] = {}
    digests: dict[str, str] = {}
    for wanted in policies:
        policy = choose_policy(dict(analyzer.policies), wanted, analyzer.default_policy)
        label = policy.name if isinstance(wanted, str) else _label(policy.name, wanted)
        if policy.digest in digests:
            also = "" if label == digests[policy.digest] else f", also as {digests[policy.digest]}"
            raise RequestError([Problem("policy", f"{label} is given twice{also}: give each once")])
        chosen[label], digests[policy.digest] = policy, label
    return chosen


def _label(name: str, overrides: Mapping[str, Any]) -> str:
    """Name a policy by what is different from its base."""
    parts = [f"{key} {value}" for key, value in overrides.items() if key not in ("base", "checks")]
    checks = overrides.get("checks", {})
    for check, fields in checks.items() if isinstance(checks, dict) else [("checks", checks)]:
        parts += (
            [f"{check} {key} {value}" for key, value in fields.items()] if isinstance(fields, dict) else [str(fields)]
        )
    return f"{name} with {', '.join(parts)}" if parts else name


def decide(looks: Sequence[Measurement]) -> PolicyDecision:
    """Return what the measurements of one policy, at least one, would have led to."""
    outcomes = [look.outcome for look in looks]
    passed = next((look for look in looks if look.outcome is Outcome.PASS), None)
    for outcome in (Outcome.FAIL, Outcome.PASS):
        if outcome in outcomes:
            first = outcomes.index(outcome)
            return PolicyDecision(outcome, looks[first], all(later is outcome for later in outcomes[first:]), passed)
    return PolicyDecision(Outcome.INCONCLUSIVE, looks[-1], final=True, passed=None)


# What was known when


def _given(analyzer: Analyzer, request: VerdictRequest, every: float) -> _Past:
    """Take the time slices of counts that the request brings."""
    cases = {label: analyzer.read(request.model_copy(update={"policy": label})) for label in analyzer.policies}
    ends = np.unique(np.concatenate([case.moments() for case in cases.values()]).round(6))
    if not len(ends):
        text = "has no time slices to judge one by one: give lists, and slice_seconds beside them"
        raise RequestError([Problem("data", text)])
    moments: list[float] = []
    for end in ends.tolist():
        if end >= (moments[-1] if moments else 0.0) + every - SAME or end == ends[-1]:
            moments.append(end)

    def case(label: str, seconds: float) -> Case:
        return cases[label] if seconds == ends[-1] else cases[label].until(seconds)

    begin = request.start
    slice_ = float(np.diff(ends, prepend=0.0).max())
    notes = (f"the slices are {format_seconds(slice_)} long: judged at their ends",) if every < slice_ - SAME else ()
    window = Window(begin, None if begin is None else begin + float(ends[-1]))
    return _Past(window, moments, case, max(every, slice_), notes=notes)


class _Recorder:
    """Records the window when it is first request, and answers from the recording."""

    def __init__(self, source: PrometheusSource, kinds: Mapping[str, Kind]) -> None:
        self.name, self._source, self._kinds = source.name, source, kinds
        self.recording: Recording | None = None

    def ready(self, deadline: float) -> None:
        """Raise SourceError where the source cannot be read."""
        self._source.ready(deadline)

    def read(self, selection: Selection, deadline: float) -> Readings:
        """Return the counts up to the moment of the selection, from the recording that the first call makes."""
        if self.recording is None:
            self.recording = Recording(self._source, replace(selection, checks=self._kinds), deadline)
        return self.recording.read(selection, deadline)


def _recorded(analyzer: Analyzer, request: VerdictRequest, every: float) -> _Past:
    """Read the window once, for all checks of all policies."""
    if not isinstance(analyzer.source, PrometheusSource):
        text = f"is {analyzer.source.name}, which knows no past: set it to prometheus, and ANALYZER_PROMETHEUS_URL"
        raise ConfigError([Problem("ANALYZER_SOURCE", text)])
    kinds = {
        check.kind.value: check.kind
        for policy in analyzer.policies.values()
        for name, check in policy.checks.items()
        if request.checks is None or name in request.checks
    }
    recorder = _Recorder(analyzer.source, kinds)
    recorded = replace(analyzer, source=recorder)
    readings = [recorded.read(request.model_copy(update={"policy": label})).readings for label in analyzer.policies]
    recording, window = recorder.recording, readings[0].window
    if recording is None or window.start is None or window.seconds is None or _nothing(readings):
        reasons = dict.fromkeys(
            reading.reason for read in readings for reading in read.by_check.values() if isinstance(reading, Gap)
        )
        raise RequestError([Problem("canary", f"there is nothing to replay: {'; '.join(reasons)}")])
    step, notes = _step(every, recording)
    moments = [number * step for number in range(1, math.ceil(window.seconds / step - SAME))] + [window.seconds]
    begin = window.start

    def case(label: str, seconds: float) -> Case:
        return recorded.read(request.model_copy(update={"policy": label, "at": begin + seconds}))

    return _Past(window, moments, case, step, recording.resolution, notes, recording.queries)


def _nothing(readings: Sequence[Readings]) -> bool:
    return all(isinstance(reading, Gap) for read in readings for reading in read.by_check.values())


def _step(every: float, recording: Recording) -> tuple[float, tuple[str, ...]]:
    """Choose how far apart measurements are: no nearer than samples, and a whole number of slices."""
    slice_, apart = recording.resolution, recording.scrape_seconds
    step = math.ceil(max(every, apart) / slice_ - SAME) * slice_
    if every < apart - SAME and apart > slice_:
        why = f"samples are about {format_seconds(apart)} apart"
    else:
        why = f"the window was read in slices of {format_seconds(slice_)}"
    notes = (f"{why}: judged every {format_seconds(step)}",) if abs(step - every) > SAME else ()
    return step, notes


# Measuring


def _measure(case: Case, seconds: float, window: Window) -> Measurement:
    verdict = case.verdict()
    arms = (
        reading.canary
        for reading in case.readings.by_check.values()
        if isinstance(reading, Reading) and reading.canary is not None
    )
    return Measurement(
        seconds=seconds,
        moment=None if window.start is None else window.start + seconds,
        outcome=verdict.outcome,
        reason=verdict.reason,
        requests=max((float(requests_by_slice(arm).sum()) for arm in arms), default=0.0),
        checks={name: _check(finding) for name, finding in verdict.findings.items()},
    )


def _check(finding: Finding) -> CheckMeasurement:
    return CheckMeasurement(
        outcome=finding.outcome,
        code=finding.code,
        reason=finding.reason,
        judged=finding.canary if finding.delta is None else finding.delta,
        baseline=finding.baseline if finding.delta is None else Estimate(),
        towards_pass=finding.evidence.towards_pass,
        towards_fail=finding.evidence.towards_fail,
        requests=finding.canary.n,
    )
