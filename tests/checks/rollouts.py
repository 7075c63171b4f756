"""Counts of one slice in every form, as people write them in a request: what the tests of whole checks are made of."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Slice = dict[str, Any]
EVEN = (0.1,) * 10
MOVED = (0.3, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0.04, 0.03, 0.03)  # a PSI of 0.66 from EVEN
RELATIVE = {"rule": "relative", "promote": "10%", "rollback": "50%"}


def failed(requests: float, share: float) -> Slice:
    """Give requests of which a share failed."""
    return {"errors": requests * share, "requests": requests}


def slow(requests: float, share: float) -> Slice:
    """Give requests of which a share took 0.5 to 1 s, and as many 0.1 to 0.2 s."""
    buckets = {"0.1": 1 - 2 * share, "0.2": 1 - share, "0.5": 1 - share, "1": 1.0, "+Inf": 1.0}
    return {"buckets": {edge: requests * part for edge, part in buckets.items()}}


def scored(predictions: float, shares: Sequence[float]) -> Slice:
    """Give scores in as many bins of equal width as there are shares."""
    cumulative = np.cumsum(shares) * predictions
    edges = [f"{(place + 1) / len(shares):g}" for place in range(len(shares))]
    return {"buckets": dict(zip(edges, cumulative.tolist(), strict=True)) | {"+Inf": float(cumulative[-1])}}


def sold(requests: float, share: float) -> Slice:
    """Give requests of which a share converted."""
    return {"successes": requests * share, "trials": requests}


def earned(count: float, mean: float) -> Slice:
    """Give values whose standard deviation is 1.4 times their mean."""
    return {"sum": count * mean, "sum_of_squares": 3 * count * mean**2, "count": count}


def drawn(
    rng: np.random.Generator, requests: NDArray[np.float64], share: float, correlation: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw events and requests of slices; with a correlation, each slice is a burst of its own."""
    shares = np.full(len(requests), share)
    if correlation:
        strength = 1 / correlation - 1
        shares = rng.beta(share * strength, (1 - share) * strength, len(requests))
    trials = rng.poisson(requests)
    return rng.binomial(trials, shares).astype(float), trials.astype(float)


def errors_of(counts: tuple[NDArray[np.float64], NDArray[np.float64]]) -> list[Slice]:
    """Write drawn events as errors."""
    return [
        {"errors": errors, "requests": requests} for errors, requests in zip(*np.stack(counts).tolist(), strict=True)
    ]


Maker = Callable[[float, Any], Slice]

# Every kind and rule: name of the check, overrides, counts of a slice, a good value, a bad one, words of the reason
KINDS: dict[str, tuple[str, dict[str, Any], Maker, Any, Any, str]] = {
    "errors": ("error_rate", {}, failed, 0.002, 0.03, "canary requests failed"),
    "errors, strict": ("error_rate", {"rule": "strict"}, failed, 0.002, 0.03, "canary requests failed"),
    "errors, relative": ("error_rate", RELATIVE, failed, 0.002, 0.03, "canary requests failed"),
    "latency": ("latency_p99", {}, slow, 0.002, 0.05, "canary requests"),
    "latency, relative": ("latency_p99", RELATIVE | {"edge": "500ms"}, slow, 0.002, 0.05, "took longer than 500 ms"),
    "drift": ("prediction_drift", {}, scored, EVEN, MOVED, "canary predictions"),
    "conversions": ("business_proxy", {}, sold, 0.2, 0.1, "canary requests converted"),
    "revenue": ("business_proxy", {}, earned, 5.0, 3.0, "canary values"),
}
