"""What a model server exposes after some traffic, in the names of the `prometheus-client` profile."""

import time
from collections.abc import Iterable, Mapping

LATENCY_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5)
SCORE_BOUNDS = tuple(round(0.1 * step, 1) for step in range(1, 11))

# An hour ago: nobody is still warming up.
STARTED_AT = round(time.time()) - 3600

# Shares of the requests per bucket, one for each bound.
FAST = (0.05, 0.15, 0.40, 0.30, 0.10, 0.0, 0.0, 0.0, 0.0)
SLOW = (0.05, 0.10, 0.10, 0.10, 0.10, 0.10, 0.15, 0.20, 0.10)
USUAL_SCORES = (0.30, 0.20, 0.12, 0.10, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02)
SHIFTED_SCORES = tuple(reversed(USUAL_SCORES))


def exposition(
    requests: int,
    *,
    errors: int = 0,
    latency: Iterable[float] = FAST,
    scores: Iterable[float] = USUAL_SCORES,
    conversions: int = 0,
) -> str:
    """Write the metrics of a model that has served that many requests."""
    return "\n".join(
        [
            "# TYPE process_start_time_seconds gauge",
            f"process_start_time_seconds {STARTED_AT}",
            "# TYPE http_requests_total counter",
            f'http_requests_total{{status="200"}} {requests - errors}',
            f'http_requests_total{{status="500"}} {errors}',
            *_histogram("http_request_duration_seconds", requests, dict(zip(LATENCY_BOUNDS, latency, strict=True))),
            *_histogram("model_prediction_score", requests, dict(zip(SCORE_BOUNDS, scores, strict=True))),
            "# TYPE model_business_events_total counter",
            f'model_business_events_total{{event="conversion"}} {conversions}',
            "",
        ]
    )


def _histogram(name: str, count: int, shares: Mapping[float, float]) -> list[str]:
    lines = [f"# TYPE {name} histogram"]
    below, total = 0, 0.0
    for bound, share in shares.items():
        here = round(count * share)
        below, total = below + here, total + here * bound
        lines.append(f'{name}_bucket{{le="{bound:g}"}} {below}')
    return [*lines, f'{name}_bucket{{le="+Inf"}} {count}', f"{name}_sum {total:g}", f"{name}_count {count}"]


# By the pod template hash that stands for each in the tests.
MODELS = {
    "stable": exposition(200_000, errors=200, conversions=20_000),
    "healthy": exposition(20_000, errors=20, conversions=2_000),
    "bad": exposition(20_000, errors=1_000, latency=SLOW, scores=SHIFTED_SCORES, conversions=1_000),
    "little": exposition(20, conversions=2),
    "silent": exposition(0),
    "bare": "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.5\n",
}
