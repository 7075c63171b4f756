"""Every metric that the service exports, prefix ``analyzer_``.

Label values come from closed lists or validated names, never from hashes or error texts. What is exported of
a rollout disappears some minutes after it was last asked about, and the number of rollouts is bounded.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from analyzer.config.policy import Check
from analyzer.model.counts import Counts, Reading
from analyzer.model.findings import Estimate, Finding, Gap, Kind, Outcome, Role
from analyzer.verdict.judge import Verdict
from analyzer.version import __version__

KEPT_SECONDS = 600.0
MOST_ROLLOUTS = 1000
AS_NUMBER = {Outcome.PASS: 1.0, Outcome.INCONCLUSIVE: 0.0, Outcome.FAIL: -1.0}
DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 8, 10)


class Telemetry:
    """The service's metrics, in a registry of their own."""

    def __init__(
        self, source: str, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
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
        if reason is not None:
            self._source_errors.labels(self._source, reason).inc()

    def count_response(self, status: int) -> None:
        """Count one answer."""
        self._responses.labels(str(status)).inc()


@dataclass(frozen=True)
class _Judged:
    """The latest finding of a check; `seen` by the clock that forgets, `at` in Unix seconds."""

    seen: float
    at: float
    role: Role
    unit: str
    finding: Finding


@dataclass
class _Rollout:
    """What was last found of one service in one kind of window, and how many verdicts it got."""

    seen: float
    at: float = 0.0
    checks: dict[str, _Judged] = field(default_factory=dict)
    outcome: Outcome = Outcome.INCONCLUSIVE
    share: float | None = None
    totals: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))


_Key = tuple[str, str, str]  # namespace, service, window


class _Rollouts(Collector):
    """Gauges of the rollouts that were lately asked about."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], float]) -> None:
        self._clock, self._now = clock, now
        self._lock = threading.Lock()
        self._rollouts: OrderedDict[_Key, _Rollout] = OrderedDict()

    def record(self, namespace: str | None, service: str | None, verdict: Verdict, window: str = "start") -> None:
        """Keep a verdict; verdicts on no named service are not exported.

        Parameters
        ----------
        window : as it was asked for. A background analysis judges everything since the start while
            the steps judge what came since the last change of the weight: these are exported separately
        """
        if service is None:
            return
        key = (namespace or "", service, window if window in ("start", "step") else "last")
        # What business checks count need not be requests.
        telling = [name for name in verdict.findings if verdict.policy.checks[name].kind is not Kind.BUSINESS]
        share = _share([verdict.readings.by_check[name] for name in telling])
        with self._lock:
            seen, at = self._clock(), self._now()
            rollout = self._rollouts.setdefault(key, _Rollout(seen))
            rollout.seen, rollout.at = seen, at
            for name, finding in verdict.findings.items():
                check = verdict.policy.checks[name]
                role = verdict.policy.role if check.role is Role.GATE else check.role
                rollout.checks[name] = _Judged(seen, at, role, _unit(check), finding)
            rollout.outcome = verdict.outcome
            rollout.share = share if telling else rollout.share
            rollout.totals[verdict.outcome] += 1
            self._rollouts.move_to_end(key)
            while len(self._rollouts) > MOST_ROLLOUTS:
                # A rollout is asked about again and again: names that somebody made up must not push it out.
                others = (name for name in self._rollouts if name != key)
                once = (name for name in others if sum(self._rollouts[name].totals.values()) == 1)
                del self._rollouts[next(once, next(iter(self._rollouts)))]

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
                rollout.checks = {name: judged for name, judged in rollout.checks.items() if judged.seen >= oldest}
            return [
                (key, replace(rollout, checks=dict(rollout.checks), totals=dict(rollout.totals)))
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
        series without it.
        """
        namespace, service, window = key
        names = {"namespace": namespace, "service": service, **({} if window == "start" else {"window": window})}
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
