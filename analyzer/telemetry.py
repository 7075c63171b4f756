"""Every metric that the service exports, prefix ``analyzer_``.

Label values come from closed lists or validated names, never from hashes or error texts. What is exported of
a rollout disappears some minutes after it was last asked about, and the number of rollouts is bounded.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from analyzer.judge import Verdict
from analyzer.model import Finding, Outcome
from analyzer.version import __version__

KEPT_SECONDS = 600.0
MOST_ROLLOUTS = 1000
AS_NUMBER = {Outcome.PASS: 1.0, Outcome.INCONCLUSIVE: 0.0, Outcome.FAIL: -1.0}
DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 8, 10)


class Telemetry:
    """The service's metrics, in a registry of their own."""

    def __init__(self, source: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self.rollouts = _Rollouts(clock)
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


@dataclass
class _Rollout:
    """The latest findings of one service, and how many verdicts it got."""

    seen: float
    findings: dict[str, Finding] = field(default_factory=dict)
    outcome: Outcome = Outcome.INCONCLUSIVE
    totals: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))


class _Rollouts(Collector):
    """Gauges of the rollouts that were lately asked about."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rollouts: OrderedDict[tuple[str, str], _Rollout] = OrderedDict()

    def record(self, namespace: str | None, service: str | None, verdict: Verdict) -> None:
        """Keep a verdict; verdicts on no named service are not exported."""
        if service is None:
            return
        key = (namespace or "", service)
        with self._lock:
            rollout = self._rollouts.setdefault(key, _Rollout(seen=self._clock()))
            rollout.seen = self._clock()
            rollout.findings |= verdict.findings
            rollout.outcome = verdict.outcome
            rollout.totals[verdict.outcome] += 1
            self._rollouts.move_to_end(key)
            while len(self._rollouts) > MOST_ROLLOUTS:
                self._rollouts.popitem(last=False)

    def describe(self) -> list[Metric]:
        """Promise nothing beforehand: which rollouts there are is known when asked."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of every rollout asked about within the last minutes."""
        names = ["namespace", "service"]
        outcome = GaugeMetricFamily(
            "analyzer_verdict", "Latest verdict: 1 pass, 0 inconclusive, -1 fail.", labels=[*names, "check"]
        )
        value = GaugeMetricFamily("analyzer_check_value", "Latest value.", labels=[*names, "check", "arm"])
        limit = GaugeMetricFamily("analyzer_check_limit", "Limits of the check.", labels=[*names, "check", "limit"])
        evidence = GaugeMetricFamily(
            "analyzer_check_evidence", "Evidence over that needed; 1 decides.", labels=[*names, "check", "towards"]
        )
        total = CounterMetricFamily("analyzer_verdicts", "Verdicts given.", labels=[*names, "verdict"])
        for key, rollout in self._alive():
            outcome.add_metric([*key, "all"], AS_NUMBER[rollout.outcome])
            for one, count in rollout.totals.items():
                total.add_metric([*key, one.value], count)
            for check, found in rollout.findings.items():
                outcome.add_metric([*key, check], AS_NUMBER[found.outcome])
                values = {"canary": found.canary.value, "baseline": found.baseline.value}
                if found.delta is not None:
                    values["delta"] = found.delta.value
                for arm, number in values.items():
                    if number is not None:
                        value.add_metric([*key, check, arm], number)
                limit.add_metric([*key, check, "promote"], found.promote)
                limit.add_metric([*key, check, "rollback"], found.rollback)
                evidence.add_metric([*key, check, "pass"], found.evidence.towards_pass)
                evidence.add_metric([*key, check, "fail"], found.evidence.towards_fail)
        yield from (outcome, value, limit, evidence, total)

    def _alive(self) -> list[tuple[tuple[str, str], _Rollout]]:
        with self._lock:
            oldest = self._clock() - KEPT_SECONDS
            for key in [key for key, rollout in self._rollouts.items() if rollout.seen < oldest]:
                del self._rollouts[key]
            return [
                (key, _Rollout(one.seen, dict(one.findings), one.outcome, dict(one.totals)))
                for key, one in self._rollouts.items()
            ]
