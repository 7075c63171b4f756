"""Every metric that the service exports, prefix ``analyzer_``.

Label values come from closed lists or validated names, never from error texts. What is exported of a rollout
disappears some minutes after it was last asked about, and the number of rollouts is bounded.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from analyzer.config.policy import Check
from analyzer.model.counts import Counts, Reading
from analyzer.model.findings import Estimate, Finding, Gap, Kind, Outcome, Role
from analyzer.verdict.judge import Verdict
from analyzer.verdict.request import VerdictRequest
from analyzer.version import __version__
from analyzer.web.tracing import Tracing

KEPT_SECONDS = 600.0
MOST_ROLLOUTS = 1000
MOST_OF_A_SERVICE = 20  # canaries, policies and windows
MOST_QUESTIONS = 8  # that differ in what has no label: overrides, profile, baseline, labels, checks
AS_NUMBER = {Outcome.PASS: 1.0, Outcome.INCONCLUSIVE: 0.0, Outcome.FAIL: -1.0}
DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 8, 10)


class Telemetry:
    """The service's metrics, in a registry of their own, and its traces where they are switched on."""

    def __init__(
        self,
        source: str,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        *,
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing = tracing
        self.registry = CollectorRegistry()
        self.rollouts = _Rollouts(clock, now)
        self.registry.register(self.rollouts)
        ProcessCollector(registry=self.registry)
        self.verdict_duration = Histogram(
            "analyzer_verdict_duration_seconds", "Time to form a verdict.", buckets=DURATIONS, registry=self.registry
        )
        self._source = source
        self._source_duration = Histogram(
            "analyzer_source_request_duration_seconds",
            "Time of one request to the source of the counts.",
            ["source"],
            buckets=DURATIONS,
            registry=self.registry,
        )
        self._source_errors = Counter(
            "analyzer_source_errors",
            "Requests to the source that failed.",
            ["source", "reason"],
            registry=self.registry,
        )
        self._responses = Counter(
            "analyzer_http_responses", "Answers by HTTP status.", ["status"], registry=self.registry
        )
        build = Gauge("analyzer_build_info", "Version of the analyzer.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)
        self._source_duration.labels(source)
        for reason in ("unavailable", "timeout", "bad_response", "partial"):
            self._source_errors.labels(source, reason)

    def observe_source(self, seconds: float, reason: str | None) -> None:
        """Count one request to the source; `reason` is that of its error."""
        self._source_duration.labels(self._source).observe(seconds)
        if self._tracing is not None:
            self._tracing.query(seconds, reason)
        if reason is not None:
            self._source_errors.labels(self._source, reason).inc()

    @contextmanager
    def verdict(self, request: VerdictRequest) -> Iterator[Callable[[Verdict], None]]:
        """Measure, and trace, how a verdict is formed; yields what takes it."""
        with self.verdict_duration.time():
            if self._tracing is None:
                yield lambda verdict: None  # noqa: ARG005
                return
            with self._tracing.verdict(request) as judged:
                yield judged

    def count_response(self, status: int) -> None:
        """Count one answer."""
        self._responses.labels(str(status)).inc()


@dataclass(frozen=True)
class _Judged:
    """The latest finding of a check, and when it was found in Unix seconds."""

    at: float
    role: Role
    unit: str
    finding: Finding


@dataclass(frozen=True)
class _Answer:
    """The latest verdict on one question; `seen` by the clock that forgets, `at` in Unix seconds."""

    seen: float
    at: float
    outcome: Outcome
    checks: dict[str, _Judged]


@dataclass
class _Rollout:
    """What was last found of one canary by one policy in one kind of window, and how many verdicts it got.

    Attributes
    ----------
    answers : by question, the one that was asked last at the end
    """

    seen: float
    answers: dict[Hashable, _Answer] = field(default_factory=dict)
    share: float | None = None
    totals: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))

    @property
    def at(self) -> float:
        """When it was last judged."""
        return self._last.at

    @property
    def outcome(self) -> Outcome:
        """The latest verdict, but a fail stays until its own question is answered otherwise."""
        failed = any(answer.outcome is Outcome.FAIL for answer in self.answers.values())
        return Outcome.FAIL if failed else self._last.outcome

    @property
    def checks(self) -> dict[str, _Judged]:
        """The latest finding of each check, with the same exception."""
        chosen: dict[str, _Judged] = {}
        for name, judged in (item for answer in self.answers.values() for item in answer.checks.items()):
            earlier = chosen.get(name, judged)
            hides = earlier.finding.outcome is Outcome.FAIL and judged.finding.outcome is not Outcome.FAIL
            chosen[name] = replace(earlier, at=judged.at) if hides else judged
        return chosen

    @property
    def _last(self) -> _Answer:
        return next(reversed(self.answers.values()))

    def keep(self, question: Hashable, answer: _Answer) -> None:
        """Keep the answer to a question; of too many questions the oldest that is no fail is forgotten."""
        self.answers.pop(question, None)
        self.answers[question] = answer
        if len(self.answers) > MOST_QUESTIONS:
            del self.answers[min(self.answers, key=lambda name: self.answers[name].outcome is Outcome.FAIL)]


_Key = tuple[str, str, str, str, str]  # namespace, service, canary, policy, window


class _Rollouts(Collector):
    """Gauges of the rollouts that were lately asked about."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], float]) -> None:
        self._clock, self._now = clock, now
        self._lock = threading.Lock()
        self._rollouts: OrderedDict[_Key, _Rollout] = OrderedDict()

    def record(
        self,
        namespace: str | None,
        service: str | None,
        verdict: Verdict,
        window: str = "start",
        *,
        canary: str | None = None,
        question: Hashable = None,
    ) -> None:
        """Keep a verdict; verdicts on no named service are not exported.

        Parameters
        ----------
        window : as it was asked for. A background analysis judges everything since the start while
            the steps judge what came since the last change of the weight: these are exported separately
        canary : its name, by which two canaries of a service are exported separately
        question : what else of the request may differ: the profile, the baseline, labels. It is no label, but the
            answer to another question does not hide a fail
        """
        if service is None:
            return
        key = (
            namespace or "", service, canary or "", verdict.policy.name,
            window if window in ("start", "step") else "last",
        )  # fmt: skip
        # What business checks count need not be requests.
        telling = [name for name in verdict.findings if verdict.policy.checks[name].kind is not Kind.BUSINESS]
        share = _share([verdict.readings.by_check[name] for name in telling])
        with self._lock:
            seen, at = self._clock(), self._now()
            if key not in self._rollouts:
                self._make_room(key)
            rollout = self._rollouts.setdefault(key, _Rollout(seen))
            rollout.seen = seen
            checks: dict[str, _Judged] = {}
            for name, finding in verdict.findings.items():
                check = verdict.policy.checks[name]
                role = verdict.policy.role if check.role is Role.GATE else check.role
                checks[name] = _Judged(at, role, _unit(check), finding)
            subject = (verdict.policy.digest, tuple(verdict.findings), window, question)
            rollout.keep(subject, _Answer(seen, at, verdict.outcome, checks))
            rollout.share = share if telling else rollout.share
            rollout.totals[verdict.outcome] += 1
            self._rollouts.move_to_end(key)

    def _make_room(self, key: _Key) -> None:
        """Forget the least of a service that has too many rollouts, and of all where there are too many."""
        same_service = [other for other in self._rollouts if other[:2] == key[:2]]
        if len(same_service) >= MOST_OF_A_SERVICE:
            del self._rollouts[self._least(same_service)]
        if len(self._rollouts) >= MOST_ROLLOUTS:
            del self._rollouts[self._least(self._rollouts)]

    def _least(self, keys: Iterable[_Key]) -> _Key:
        """Choose by what is lost: a rollout is asked about again and again, and names that somebody made up are not."""

        def worth(key: _Key) -> tuple[bool, bool]:
            rollout = self._rollouts[key]
            return sum(rollout.totals.values()) > 1, rollout.outcome is Outcome.FAIL

        # Of equals the one that is silent for longest, and no other is looked at where it is worth nothing.
        silent = list(keys)
        return next((key for key in silent if not any(worth(key))), None) or min(silent, key=worth)

    def describe(self) -> list[Metric]:
        """Return nothing: no metrics are declared statically; rollouts are known only at scrape time."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of every rollout asked about within the last minutes."""
        families = _Families()
        for key, rollout in self._alive():
            families.add(key, rollout)
        yield from families.all()

    def _alive(self) -> list[tuple[_Key, _Rollout]]:
        with self._lock:
            oldest = self._clock() - KEPT_SECONDS
            for key in [key for key, rollout in self._rollouts.items() if rollout.seen < oldest]:
                del self._rollouts[key]
            for rollout in self._rollouts.values():
                rollout.answers = {
                    question: answer for question, answer in rollout.answers.items() if answer.seen >= oldest
                }
            return [
                (key, replace(rollout, answers=dict(rollout.answers), totals=dict(rollout.totals)))
                for key, rollout in self._rollouts.items()
            ]


class _Families:
    """The metrics of all rollouts, as one page shows them; what is not known is no sample."""

    def __init__(self) -> None:
        self._verdict = GaugeMetricFamily("analyzer_verdict", "Latest verdict: 1 pass, 0 inconclusive, -1 fail.")
        self._at = GaugeMetricFamily("analyzer_verdict_timestamp_seconds", "When the latest verdict was given.")
        self._info = GaugeMetricFamily("analyzer_check_info", "Role of the check, and unit of its limits.")
        self._code = GaugeMetricFamily(
            "analyzer_check_code", "Why the check is found as it is: 1 for the present code."
        )
        self._value = GaugeMetricFamily("analyzer_check_value", "Latest value.")
        self._interval = GaugeMetricFamily("analyzer_check_interval", "Always-valid interval of the value.")
        self._limit = GaugeMetricFamily("analyzer_check_limit", "Limits of the check.")
        self._evidence = GaugeMetricFamily("analyzer_check_evidence", "Evidence over that needed; 1 decides.")
        self._remaining = GaugeMetricFamily(
            "analyzer_check_remaining_requests", "About how many more canary requests decide."
        )
        self._share = GaugeMetricFamily(
            "analyzer_canary_share", "Canary's share of the requests since the split last changed."
        )
        self._total = CounterMetricFamily("analyzer_verdicts", "Verdicts given.")

    def add(self, key: _Key, rollout: _Rollout) -> None:
        """Add the samples of one rollout.

        What was asked about everything since the start has no label `window`: who never asks about another one has
        series without it. Counts in the request need no name of a canary.
        """
        namespace, service, canary, policy, window = key
        names = {"namespace": namespace, "service": service, "policy": policy}
        names |= {"canary": canary} if canary else {}
        names |= {} if window == "start" else {"window": window}
        _add(self._verdict, AS_NUMBER[rollout.outcome], names, check="all")
        _add(self._at, rollout.at, names, check="all")
        if rollout.share is not None:
            _add(self._share, rollout.share, names)
        for outcome, count in rollout.totals.items():
            self._total.add_sample("analyzer_verdicts_total", names | {"verdict": outcome.value}, count)
        for name, judged in rollout.checks.items():
            self._add_check(names | {"check": name}, judged)

    def _add_check(self, names: dict[str, str], judged: _Judged) -> None:
        finding = judged.finding
        _add(self._verdict, AS_NUMBER[finding.outcome], names)
        _add(self._at, judged.at, names)
        _add(self._info, 1, names, role=judged.role.value, unit=judged.unit)
        _add(self._code, 1, names, code=finding.code.value)
        for arm, estimate in (("canary", finding.canary), ("baseline", finding.baseline), ("delta", finding.delta)):
            self._add_estimate(names | {"arm": arm}, estimate or Estimate())
        _add(self._limit, finding.promote, names, limit="promote")
        _add(self._limit, finding.rollback, names, limit="rollback")
        _add(self._evidence, finding.evidence.towards_pass, names, towards="pass")
        _add(self._evidence, finding.evidence.towards_fail, names, towards="fail")
        if finding.remaining_requests is not None:
            _add(self._remaining, finding.remaining_requests, names)

    def _add_estimate(self, names: dict[str, str], estimate: Estimate) -> None:
        if estimate.value is not None:
            _add(self._value, estimate.value, names)
        for bound, number in (("low", estimate.low), ("high", estimate.high)):
            if number is not None and math.isfinite(number):
                _add(self._interval, number, names, bound=bound)

    def all(self) -> Iterator[Metric]:
        """Yield the families in the order of the page."""
        yield from (self._verdict, self._at, self._info, self._code, self._value, self._interval)
        yield from (self._limit, self._evidence, self._remaining, self._share, self._total)


def _add(family: GaugeMetricFamily, value: float, names: dict[str, str], **more: str) -> None:
    family.add_sample(family.name, names | more, value)


def _unit(check: Check) -> str:
    """Name the unit of a check's limits; `change` is a ratio of the arms' values, less 1."""
    if check.compares:
        return "change"
    match check.kind:
        case Kind.LATENCY | Kind.MEAN_LATENCY:
            return "seconds"
        case Kind.DRIFT:
            return "psi"
        case Kind.ERROR_RATE | Kind.BUSINESS:
            return "ratio"


def _share(readings: Sequence[Reading[Counts] | Gap]) -> float | None:
    """Return the canary's share of the requests since the split last changed, by the first reading of both arms."""
    for reading in readings:
        present = None if isinstance(reading, Gap) else reading.present_requests
        if present is not None and sum(present) > 0:
            return present[0] / sum(present)
    return None
