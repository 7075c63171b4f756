"""What policies would have decided on a rollout of the past, and when: every look is the verdict of its moment.

The window is read once; each look is then judged on what was known at its moment, as a verdict of then.
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
from analyzer.quantity import format_instant, format_seconds
from analyzer.sources.assembly import Selection
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.recorded_window import Recording
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.answer import number
from analyzer.verdict.case import SAME, Case
from analyzer.verdict.judge import WITHOUT_DATA
from analyzer.verdict.request import VerdictRequest
from analyzer.version import __version__

NO_DATA = frozenset(WITHOUT_DATA) - {Code.COMMON_MODE, Code.TRAFFIC_SPLIT}  # which say something of what was counted

Watch = Callable[[Sequence[int]], Iterable[int]]
"""Shows the progress over numbered parts."""


@dataclass(frozen=True)
class CheckThen:
    """One check at one look.

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
class LookThen:
    """The verdict at one moment.

    Attributes
    ----------
    seconds : since the begin of the window
    moment : Unix seconds; None where the begin is not known
    requests : of the canary, since the begin
    """

    seconds: float
    moment: float | None
    outcome: Outcome
    reason: str
    requests: float
    checks: Mapping[str, CheckThen]

    @property
    def blind(self) -> bool:
        """Whether no check had anything to judge."""
        return all(one.code in NO_DATA for one in self.checks.values())


@dataclass(frozen=True)
class Decision:
    """What a policy would have done with the rollout.

    Attributes
    ----------
    outcome : fail at the first look that fails; else pass if any passes
    look : the first look with this outcome, and of an open rollout the last
    stood : all later looks say the same
    passed : the first look that passed, also where a later one fails
    """

    outcome: Outcome
    look: LookThen
    stood: bool
    passed: LookThen | None


@dataclass(frozen=True)
class Played:
    """One policy: its looks, oldest first, and what it would have decided."""

    label: str
    policy: Policy
    looks: tuple[LookThen, ...]
    decision: Decision


@dataclass(frozen=True)
class Replay:
    """A rollout of the past, as several policies would have judged it at the same moments.

    Attributes
    ----------
    asked : the request, without a policy
    window : what was replayed
    every : seconds from look to look
    resolution : seconds of the slices that were read; None: as they are in the request
    notes : what is different from what was asked for
    queries : what the source was asked, once for all
    played : of each policy
    """

    asked: VerdictRequest
    window: Window
    every: float
    resolution: float | None
    notes: tuple[str, ...]
    queries: tuple[str, ...]
    played: tuple[Played, ...]


@dataclass(frozen=True)
class _Past:
    """What can be looked at: the moments, as seconds since the begin, and what was known at each, by policy."""

    window: Window
    moments: Sequence[float]
    case: Callable[[str, float], Case]
    every: float
    resolution: float | None = None
    notes: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()


def replay(
    analyzer: Analyzer,
    asked: VerdictRequest,
    policies: Sequence[str | dict[str, Any]] = (),
    *,
    every: float = 30.0,
    watch: Watch = iter,
) -> Replay:
    """Look at a rollout of the past again and again.

    Parameters
    ----------
    analyzer : whose source, policies and profiles are used; its deadline is for reading all of the window
    asked : the rollout; its `at` is the end of what is looked at
    policies : to judge by, names or overrides; default the one of the request
    every : seconds from look to look
    watch : shows the progress

    Raises
    ------
    RequestError : the request names what is not there, or there is nothing to look at
    ConfigError : the source knows no past
    SourceError : the source did not answer
    """
    chosen = choose(analyzer, policies or [asked.policy or analyzer.default_policy])
    if asked.window_seconds is not None:
        text = f"must be start or step: one of a fixed length, {asked.window}, asks anew at each look"
        raise RequestError([Problem("window", text)])
    now = analyzer.clock()
    if asked.at is not None and asked.at > now:
        raise RequestError([Problem("at", f"is {format_seconds(asked.at - now)} in the future; leave it out for now")])
    one_name = replace(analyzer, policies=chosen)
    plain = asked.model_copy(
        update={"policy": None, "at": now if asked.at is None and asked.data is None else asked.at}
    )
    past = (_given if asked.data is not None else _recorded)(one_name, plain, every)
    found: dict[str, list[LookThen]] = {label: [] for label in chosen}
    for place in watch(range(len(past.moments))):
        for label in chosen:
            found[label].append(_look(past.case(label, past.moments[place]), past.moments[place], past.window))
    return Replay(
        asked=plain,
        window=past.window,
        every=past.every,
        resolution=past.resolution,
        notes=past.notes,
        queries=past.queries,
        played=tuple(
            Played(label, policy, tuple(found[label]), decide(found[label])) for label, policy in chosen.items()
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


def decide(looks: Sequence[LookThen]) -> Decision:
    """Tell what the looks of one policy, of which there is at least one, would have led to."""
    outcomes = [look.outcome for look in looks]
    passed = next((look for look in looks if look.outcome is Outcome.PASS), None)
    for outcome in (Outcome.FAIL, Outcome.PASS):
        if outcome in outcomes:
            place = outcomes.index(outcome)
            return Decision(outcome, looks[place], all(one is outcome for one in outcomes[place:]), passed)
    return Decision(Outcome.INCONCLUSIVE, looks[-1], stood=True, passed=None)


# What was known when


def _given(analyzer: Analyzer, asked: VerdictRequest, every: float) -> _Past:
    """Take the time slices of counts that the request brings."""
    cases = {label: analyzer.read(asked.model_copy(update={"policy": label})) for label in analyzer.policies}
    ends = np.unique(np.concatenate([case.moments() for case in cases.values()]).round(6))
    if not len(ends):
        text = "has no time slices to look at one by one: give lists, and slice_seconds beside them"
        raise RequestError([Problem("data", text)])
    moments: list[float] = []
    for end in ends.tolist():
        if end >= (moments[-1] if moments else 0.0) + every - SAME or end == ends[-1]:
            moments.append(end)

    def case(label: str, seconds: float) -> Case:
        return cases[label] if seconds == ends[-1] else cases[label].until(seconds)

    begin = asked.start
    slice_ = float(np.diff(ends, prepend=0.0).max())
    notes = (f"the slices are {format_seconds(slice_)} long: looked at their ends",) if every < slice_ - SAME else ()
    window = Window(begin, None if begin is None else begin + float(ends[-1]))
    return _Past(window, moments, case, max(every, slice_), notes=notes)


class _Recorder:
    """Records the window when it is first asked, and answers from the recording."""

    def __init__(self, source: PrometheusSource, kinds: Mapping[str, Kind]) -> None:
        self.name, self._source, self._kinds = source.name, source, kinds
        self.recording: Recording | None = None

    def ready(self, deadline: float) -> None:
        self._source.ready(deadline)

    def read(self, selection: Selection, deadline: float) -> Readings:
        if self.recording is None:
            self.recording = Recording(self._source, replace(selection, checks=self._kinds), deadline)
        return self.recording.read(selection, deadline)


def _recorded(analyzer: Analyzer, asked: VerdictRequest, every: float) -> _Past:
    """Read the window once, for all checks of all policies."""
    if not isinstance(analyzer.source, PrometheusSource):
        text = f"is {analyzer.source.name}, which knows no past: set it to prometheus, and ANALYZER_PROMETHEUS_URL"
        raise ConfigError([Problem("ANALYZER_SOURCE", text)])
    kinds = {
        check.kind.value: check.kind
        for policy in analyzer.policies.values()
        for name, check in policy.checks.items()
        if asked.checks is None or name in asked.checks
    }
    recorder = _Recorder(analyzer.source, kinds)
    recorded = replace(analyzer, source=recorder)
    readings = [recorded.read(asked.model_copy(update={"policy": one})).readings for one in analyzer.policies]
    recording, window = recorder.recording, readings[0].window
    if recording is None or window.start is None or window.seconds is None or _nothing(readings):
        reasons = dict.fromkeys(
            one.reason for read in readings for one in read.by_check.values() if isinstance(one, Gap)
        )
        raise RequestError([Problem("canary", f"there is nothing to replay: {'; '.join(reasons)}")])
    step, notes = _step(every, recording)
    moments = [place * step for place in range(1, math.ceil(window.seconds / step - SAME))] + [window.seconds]
    begin = window.start

    def case(label: str, seconds: float) -> Case:
        return recorded.read(asked.model_copy(update={"policy": label, "at": begin + seconds}))

    return _Past(window, moments, case, step, recording.resolution, notes, recording.queries)


def _nothing(readings: Sequence[Readings]) -> bool:
    return all(isinstance(one, Gap) for read in readings for one in read.by_check.values())


def _step(every: float, recording: Recording) -> tuple[float, tuple[str, ...]]:
    """Choose how far apart looks are: no nearer than samples, and a whole number of slices."""
    slice_, apart = recording.resolution, recording.scrape_seconds
    step = math.ceil(max(every, apart) / slice_ - SAME) * slice_
    if every < apart - SAME and apart > slice_:
        why = f"samples are about {format_seconds(apart)} apart"
    else:
        why = f"the window was read in slices of {format_seconds(slice_)}"
    notes = (f"{why}: looked every {format_seconds(step)}",) if abs(step - every) > SAME else ()
    return step, notes


# Looking


def _look(case: Case, seconds: float, window: Window) -> LookThen:
    verdict = case.verdict()
    arms = (
        one.canary for one in case.readings.by_check.values() if isinstance(one, Reading) and one.canary is not None
    )
    return LookThen(
        seconds=seconds,
        moment=None if window.start is None else window.start + seconds,
        outcome=verdict.outcome,
        reason=verdict.reason,
        requests=max((float(requests_by_slice(arm).sum()) for arm in arms), default=0.0),
        checks={name: _check(finding) for name, finding in verdict.findings.items()},
    )


def _check(finding: Finding) -> CheckThen:
    return CheckThen(
        outcome=finding.outcome,
        code=finding.code,
        reason=finding.reason,
        judged=finding.canary if finding.delta is None else finding.delta,
        baseline=finding.baseline if finding.delta is None else Estimate(),
        towards_pass=finding.evidence.towards_pass,
        towards_fail=finding.evidence.towards_fail,
        requests=finding.canary.n,
    )


# For programs


def replay_as_json(found: Replay) -> dict[str, Any]:
    """Write everything that was found."""
    asked, window = found.asked, found.window
    return {
        "service": asked.service,
        "namespace": asked.namespace,
        "canary": asked.canary,
        "baseline": asked.baseline,
        "window": {
            "start": _instant(window.start),
            "end": _instant(window.end),
            "seconds": number(found.played[0].looks[-1].seconds, 9),
        },
        "every": number(found.every, 9),
        "resolution": number(found.resolution, 9),
        "notes": list(found.notes),
        "policies": [_played(one) for one in found.played],
        "queries": list(found.queries),
        "version": __version__,
    }


def _played(one: Played) -> dict[str, Any]:
    decision = one.decision
    return {
        "policy": one.policy.name,
        "label": one.label,
        "policy_digest": one.policy.digest,
        "decision": {
            "verdict": decision.outcome.value,
            **_when(decision.look),
            "requests": number(decision.look.requests, 15),
            "reason": decision.look.reason,
            "stood": decision.stood,
            "first_pass": None if decision.passed is None else _when(decision.passed),
        },
        "looks": [
            {
                **_when(look),
                "verdict": look.outcome.value,
                "reason": look.reason,
                "requests": number(look.requests, 15),
                "checks": {name: _check_as_json(check) for name, check in look.checks.items()},
            }
            for look in one.looks
        ],
    }


def _when(look: LookThen) -> dict[str, Any]:
    return {"at": _instant(look.moment), "seconds": number(look.seconds, 9)}


def _check_as_json(check: CheckThen) -> dict[str, Any]:
    return {
        "verdict": check.outcome.value,
        "code": check.code.value,
        "reason": check.reason,
        "value": number(check.judged.value),
        "low": number(check.judged.low),
        "high": number(check.judged.high),
        "baseline": number(check.baseline.value),
        "evidence": {"pass": number(check.towards_pass), "fail": number(check.towards_fail)},
        "requests": number(check.requests, 15),
    }


def _instant(seconds: float | None) -> str | None:
    return None if seconds is None else format_instant(seconds)
