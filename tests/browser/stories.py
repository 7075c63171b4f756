"""Rollouts of the past for Prometheus: twenty minutes at 5%, 25% and 50% of the traffic, with a fault or without."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from prometheus_server import Point

BEGIN = 1_767_607_200.0  # 2026-01-05T10:00:00Z
SECONDS, BEFORE, INTERVAL = 1200, 6000, 15
END = BEGIN + SECONDS
STABLE, CANARY = "75d4f8b9c8", "6d8f9c7b5d"
STEPS = ((0, 0.05), (420, 0.25), (840, 0.5))  # seconds since the begin, part of the traffic
LATENCY_EDGES = (0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0)
SCORE_EDGES = tuple(round(0.1 * place, 1) for place in range(1, 10))


@dataclass(frozen=True)
class Story:
    """How a rollout went.

    Attributes
    ----------
    service : its name, and its namespace where none is given
    fault : errors, slow, drift, business or none
    since : seconds after the begin at which the fault begins
    rate : requests a second of the whole service
    seconds : how long the rollout lasts
    namespace : of its pods
    """

    service: str
    fault: str = "none"
    since: float = 180.0
    rate: float = 120.0
    seconds: int = SECONDS
    namespace: str = ""


STORIES = {
    story.service: story
    for story in (
        Story("healthy"),
        Story("errors", "errors"),
        Story("slow", "slow"),
        Story("drift", "drift"),
        Story("business", "business", rate=600.0),
        Story("young", seconds=45),
    )
}


def history(story: Story, seed: int = 7) -> Iterator[Point]:
    """Draw what a pod of the canary and two of the baseline counted, scrape by scrape."""
    rng = np.random.default_rng(seed)
    for arm, pod, share in ((STABLE, "a", 0.5), (STABLE, "b", 0.5), (CANARY, "c", 1.0)):
        target = {"rollouts_pod_template_hash": arm, "job": story.service, "service": story.service,
                  "instance": f"{pod}:8080", "pod": pod, "namespace": story.namespace or story.service}  # fmt: skip
        first = 0 if arm == CANARY else -BEFORE
        counted = dict.fromkeys(_counters(rng, 0, story, faulty=False), 0)
        started = BEGIN + first - 2
        for since in range(first, story.seconds + 1, INTERVAL):
            if since > first:
                part = _weight(since, arm) * share
                faulty = arm == CANARY and since > story.since
                requests = int(rng.poisson(story.rate * INTERVAL * part))
                for key, count in _counters(rng, requests, story, faulty=faulty).items():
                    counted[key] += count
            moment = BEGIN + since + {"a": 3, "b": 8, "c": 0}[pod]
            yield Point("process_start_time_seconds", target, moment, started)
            for (metric, label, value), count in counted.items():
                yield Point(metric, target | {label: value}, moment, float(count))


def _weight(since: float, arm: str) -> float:
    canary = 0.0 if since <= 0 else next(weight for begin, weight in reversed(STEPS) if since > begin)
    return canary if arm == CANARY else 1 - canary


def _counters(
    rng: np.random.Generator, requests: int, story: Story, *, faulty: bool
) -> dict[tuple[str, str, str], int]:
    """Draw what so many requests add to the counters of a pod; buckets are cumulative."""
    fault = story.fault if faulty else "none"
    failed = int(rng.binomial(requests, 0.04 if fault == "errors" else 0.0008))
    latency = rng.lognormal(np.log(0.06), 1.05 if fault == "slow" else 0.35, requests)
    scores = rng.beta(1.3, 4 if fault == "drift" else 8, requests)
    found = {
        ("http_requests_total", "status", "200"): requests - failed,
        ("http_requests_total", "status", "500"): failed,
        ("model_business_events_total", "event", "conversion"): int(
            rng.binomial(requests, 0.03 if fault == "business" else 0.05)
        ),
    }
    for metric, values, edges in (
        ("http_request_duration_seconds_bucket", latency, LATENCY_EDGES),
        ("model_prediction_score_bucket", scores, SCORE_EDGES),
    ):
        for edge in (*edges, np.inf):
            found[metric, "le", "+Inf" if edge == np.inf else f"{edge:g}"] = int((values <= edge).sum())
    return found
