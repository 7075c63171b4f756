"""Pods with known traffic, and what a verdict must count of them: a walk over every scrape, one by one."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_server import Point

from analyzer.config.policy import load_policies
from analyzer.config.profile import ClassCounter, Profile, ValueHistogram, load_profiles
from analyzer.config.selector import Selector, parse_selector
from analyzer.model.counts import Classes, Conversions, Counts, Errors, Histogram, Reading, Readings, Values
from analyzer.model.findings import Kind
from analyzer.sources.assembly import Selection

ARM = "rollouts_pod_template_hash"
LATENCY_EDGES, SCORE_EDGES, VALUE_EDGES = (0.05, 0.1, 0.2, 0.5), (0.25, 0.5, 0.75, 1.0), (10.0, 100.0)
STATUSES = ("200", "404", "500", "503")
LOOK_BACK = 900.0
PAST = 120.0  # seconds before the canary's first sample in which its processes may have begun, to count from 0
PROFILE = load_profiles(None)["prometheus-client"]
OTHER_WAYS = Profile(
    name="other-ways",
    arm_label=ARM,
    matchers=PROFILE.matchers,
    process_start=Selector("process_start_time_seconds"),
    drift=(ClassCounter(classes=Selector("model_predictions_total"), by="predicted_class"),),
    business=(ValueHistogram(values=Selector("model_business_value")),),
    error_rate=PROFILE.error_rate,
)
CHECKS = {name: check.kind for name, check in load_policies(None)["ml-model"].checks.items()}
NAME_OF = {kind: name for name, kind in CHECKS.items()}

Key = tuple[str, str, str]  # metric, label, value of the label
Totals = dict[tuple[str, ...], float]


@dataclass(frozen=True)
class Scrape:
    """What one scrape saw: the process and its counters."""

    moment: float
    process_start: float
    counters: Mapping[Key, float]


@dataclass
class Pod:
    """A scrape target and everything that was scraped of it."""

    arm: str
    name: str
    service: str = "fraud"
    scrapes: list[Scrape] = field(default_factory=list)

    def points(self) -> Iterator[Point]:
        """Write the scrapes as samples of Prometheus."""
        target = {ARM: self.arm, "job": self.service, "instance": f"{self.name}:8080", "pod": self.name}
        target["namespace"] = "ml"
        for scrape in self.scrapes:
            yield Point("process_start_time_seconds", target, scrape.moment, scrape.process_start)
            for (metric, label, value), count in scrape.counters.items():
                yield Point(metric, {**target, label: value} if label else target, scrape.moment, count)


@dataclass
class Process:
    """The counters of one life of a pod; a label set is there from its first event on, as in client libraries."""

    start: float
    counters: dict[Key, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Histograms without labels are there from the beginning."""
        for metric, edges in (
            ("http_request_duration_seconds", LATENCY_EDGES),
            ("model_prediction_score", SCORE_EDGES),
            ("model_business_value", VALUE_EDGES),
        ):
            for edge in (*map(str, edges), "+Inf"):
                self.counters[f"{metric}_bucket", "le", edge] = 0
            self.counters[f"{metric}_count", "", ""] = self.counters[f"{metric}_sum", "", ""] = 0

    def serve(self, draw: random.Random, requests: int, error_ratio: float) -> None:
        """Count some requests."""
        for _ in range(requests):
            failed = draw.random() < error_ratio
            self.add("http_requests_total", "status", draw.choice(STATUSES[2:] if failed else STATUSES[:2]))
            self.observe("http_request_duration_seconds", LATENCY_EDGES, draw.randint(1, 60) / 64)
            self.observe("model_prediction_score", SCORE_EDGES, draw.randint(0, 64) / 64)
            self.add("model_predictions_total", "predicted_class", draw.choice(("fraud", "ok", "ok", "unsure")))
            if draw.random() < 0.1:
                self.add("model_business_events_total", "event", draw.choice(("conversion", "click")))
                self.observe("model_business_value", VALUE_EDGES, draw.randint(-20, 99))

    def add(self, metric: str, label: str, value: str, by: float = 1) -> None:
        """Count one event."""
        self.counters[metric, label, value] = self.counters.get((metric, label, value), 0) + by

    def observe(self, metric: str, edges: Sequence[float], value: float) -> None:
        """Count one observation of a histogram."""
        for edge in (*edges, float("inf")):
            if value <= edge:
                self.add(f"{metric}_bucket", "le", "+Inf" if edge == float("inf") else str(edge))
        self.add(f"{metric}_count", "", "")
        self.add(f"{metric}_sum", "", "", value)


def truth(pods: Sequence[Pod], arm: str, start: float, end: float, *, new: bool = False) -> Totals:
    """Add up, scrape by scrape, what an arm counted in (start, end].

    Parameters
    ----------
    pods : of all arms
    arm : to add up
    start, end : of the window
    new : whether the window begins with the canary's first sample, so that the canary counts from 0, and with it
        whatever began no sooner
    """
    began = {
        role: [one.process_start for pod in pods if pod.arm.startswith(role) for one in seen(pod, start, end)]
        for role in ("canary", "stable")
    }
    first = min([start, *began["canary"]])
    together = new and began["canary"] and first <= min(began["stable"], default=0.0) <= first + PAST
    recent = [moment for moment in began["canary"] if together or moment >= start - PAST]
    since = min([start, *recent]) if new else start
    totals: Totals = {}
    for pod in (one for one in pods if one.arm == arm):
        before: Scrape | None = None
        for scrape in seen(pod, start, end):
            if scrape.moment > start:
                if before is None:
                    from_zero = scrape.process_start >= since
                    known = {} if from_zero else scrape.counters
                else:
                    known = before.counters if before.process_start == scrape.process_start else {}
                for key, value in scrape.counters.items():
                    totals[key] = totals.get(key, 0) + value - known.get(key, 0)
            before = scrape
    return totals


def seen(pod: Pod, start: float, end: float) -> list[Scrape]:
    """List the scrapes that an answer about (start, end] can know of."""
    return [one for one in pod.scrapes if start - LOOK_BACK < one.moment <= end]


def first_sample(pods: Sequence[Pod], arm: str) -> float:
    """Tell when an arm's requests were first seen."""
    return min(
        scrape.moment
        for pod in pods
        if pod.arm == arm
        for scrape in pod.scrapes
        if any(metric == "http_requests_total" for metric, _, _ in scrape.counters)
    )


def expected(totals: Totals, profile: Profile) -> dict[str, float]:
    """Say in the words of the checks what was counted."""

    def total(metric: str, *values: str) -> float:
        return sum(count for (name, _, value), count in totals.items() if name == metric and value in (values or value))

    found = {
        "errors": total("http_requests_total", "500", "503"),
        "requests": sum(count for (name, _, _), count in totals.items() if name == "http_requests_total"),
    }
    if profile is OTHER_WAYS:
        classes = {key[2]: count for key, count in totals.items() if key[0] == "model_predictions_total"}
        found |= {f"class {name}": count for name, count in classes.items()}
        found |= {"value sum": total("model_business_value_sum", ""), "values": total("model_business_value_count", "")}
        return found
    for kind, metric, edges in (
        ("latency", "http_request_duration_seconds", LATENCY_EDGES),
        ("score", "model_prediction_score", SCORE_EDGES),
    ):
        for edge in (*map(str, edges), "+Inf"):
            found[f"{kind} {float(edge)}"] = total(f"{metric}_bucket", edge)
    return found | {"conversions": total("model_business_events_total", "conversion")}


def counted(readings: Readings, arm: str) -> dict[str, float]:
    """Say in the same words what a source read; `arm` is canary or baseline."""
    found: dict[str, float] = {}
    for name, reading in readings.by_check.items():
        assert isinstance(reading, Reading), f"{name}: {reading}"
        found |= _words(CHECKS[name], getattr(reading, arm))
    return found


def _words(kind: Kind, counts: Counts | None) -> dict[str, float]:
    match counts:
        case Errors():
            return {"errors": counts.errors.sum(), "requests": counts.requests.sum()}
        case Histogram():
            name = "latency" if kind is Kind.LATENCY else "score"
            cumulative = counts.counts.sum(axis=0).cumsum()
            return {f"{name} {edge}": count for edge, count in zip(counts.edges, cumulative, strict=True)}
        case Classes():
            return {f"class {name}": count for name, count in zip(counts.names, counts.counts.sum(axis=0), strict=True)}
        case Conversions():
            return {"conversions": counts.successes.sum()}
        case Values():
            return {"value sum": counts.total.sum(), "values": counts.count.sum()}
        case _:
            return {}


def selection(canary: str, baseline: str | None, at: float, profile: Profile = PROFILE, **window: float) -> Selection:
    """Ask for every check that a profile can read."""
    kinds = {name: kind for name, kind in CHECKS.items() if profile.ways(kind)}
    return Selection("fraud", "ml", canary, baseline, profile, kinds, at, **window)


def selector(text: str) -> Selector:
    """Read a selector."""
    return parse_selector(text)
