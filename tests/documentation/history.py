"""Two hours of the services that the READMEs ask about, as Prometheus would have scraped them."""

from collections.abc import Iterator

import numpy as np
from prometheus_server import Point

CANARY, BASELINE = "6d8f9c7b5d", "75d4f8b9c8"
PODS = [(BASELINE, pod, 8000.0, 95.0) for pod in range(2)] + [(CANARY, 0, 1200.0, 10.0)]
EVERY = 15.0


def healthy(now: float, namespace: str, pages: list[str]) -> Iterator[Point]:
    """Both versions answer well; every series of a page grows as the page says.

    Parameters
    ----------
    now : end, in Unix seconds
    namespace : of the pods
    pages : of metrics, whose numbers are the shares of the requests
    """
    draw = np.random.default_rng(1)
    shares = [_parsed(line) for page in pages for line in page.splitlines() if line and not line.startswith("#")]
    for arm, pod, seconds, rate in PODS:
        times = np.arange(now - seconds + pod, now, EVERY)
        requests = draw.poisson(rate * EVERY, len(times)).cumsum()
        target = {"namespace": namespace, "rollouts_pod_template_hash": arm, "pod": f"{arm}-{pod}", "job": "model"}
        for moment, count in zip(times, requests, strict=True):
            yield Point("process_start_time_seconds", target, moment, now - seconds - 10)
            for metric, labels, share in shares:
                yield Point(metric, {**target, **labels}, moment, float(int(count * share)))


def _parsed(line: str) -> tuple[str, dict[str, str], float]:
    series, value = line.rsplit(" ", 1)
    metric, _, inside = series.partition("{")
    pairs = (pair.split("=") for pair in inside.rstrip("}").split(",") if pair)
    return metric, {name: text.strip('"') for name, text in pairs}, float(value)


def fraud_detector() -> str:
    """Write the page of the profile prometheus-client, for one request."""
    lines = [
        'http_requests_total{status="200"} 0.999',
        'http_requests_total{status="500"} 0.001',
        'model_business_events_total{event="conversion"} 0.05',
    ]
    latency = [("0.05", 0.7), ("0.1", 0.95), ("0.2", 0.997), ("0.5", 0.9995), ("1.0", 1.0)]
    scores = [(str(n / 10), 1 - (1 - n / 10) ** 3) for n in range(1, 11)]
    for metric, edges in (("http_request_duration_seconds", latency), ("model_prediction_score", scores)):
        lines += [f'{metric}_bucket{{le="{edge}"}} {share}' for edge, share in [*edges, ("+Inf", 1.0)]]
        lines += [f"{metric}_count 1", f"{metric}_sum 0.06"]
    return "\n".join(lines)


def per_request(page: str, requests: float) -> str:
    """Divide the numbers of a page by the requests that it has counted."""
    parsed = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    return "\n".join(f"{series} {float(value) / requests}" for series, value in parsed)
