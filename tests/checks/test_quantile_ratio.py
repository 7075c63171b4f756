"""The ratio of two quantiles, from fine buckets: proved where every place of the baseline's quantile agrees."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import lognorm

RULE = {"rule": "relative", "promote": "10%", "rollback": "30%"}
SIGMA = 0.5
FINE = 0.01 * 2.0 ** (np.arange(72) / 8)  # a native histogram of schema 3: edges 9% apart
DEFAULT = np.array([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10])


def shares(median: float, edges: NDArray[np.float64] = FINE) -> NDArray[np.float64]:
    """Give the law of lognormal latencies over the buckets."""
    return np.diff(np.append(lognorm.cdf(edges, SIGMA, scale=median), 1.0), prepend=0.0)


def buckets(counts: NDArray[np.float64], edges: NDArray[np.float64] = FINE) -> dict[str, dict[str, float]]:
    """Write counts by bucket as a request has them."""
    names = [f"{edge:.6g}" for edge in edges] + ["+Inf"]
    return {"buckets": dict(zip(names, np.cumsum(counts).tolist(), strict=True))}


def arms(ratio: float, requests: float, edges: NDArray[np.float64] = FINE) -> tuple[Any, Any]:
    """Give both arms without noise, the canary so many times as slow."""
    return (
        buckets(requests * shares(0.1 * ratio, edges), edges),
        buckets(19 * requests * shares(0.1, edges), edges),
    )


@pytest.mark.parametrize(
    ("ratio", "requests", "outcome"),
    [
        (1.0, 500, "inconclusive"),
        (1.15, 200_000, "inconclusive"),  # between the limits
        (1.5, 3000, "fail"),
        (3.0, 300, "fail"),
        (1.5, 100, "inconclusive"),
        (0.5, 5000, "pass"),
        (0.85, 100_000, "pass"),
    ],
)
def test_the_ratio_decides(judge: Any, ratio: float, requests: float, outcome: str) -> None:
    """10% more is allowed, and 30% more rolls back, whatever the baseline's quantile is."""
    found = judge("latency_p99", *arms(ratio, requests), **RULE)

    assert found["verdict"] == outcome
    assert found["delta"]["value"] == pytest.approx(ratio - 1, abs=0.08 * ratio)
    assert found["delta"]["low"] <= ratio - 1
    assert found["delta"]["high"] is None or ratio - 1 <= found["delta"]["high"]


@pytest.mark.parametrize("level", [0.2, 1.0, 5.0])
def test_what_slows_both_arms_is_no_change(judge: Any, level: float) -> None:
    """Only the ratio counts: edges a power of two apart give the same answer at half or twice the latency."""
    slow = judge("latency_p99", buckets(5000 * shares(0.15 * level)), buckets(95_000 * shares(0.1 * level)), **RULE)

    assert slow["verdict"] == "fail"


def test_coarse_buckets_prove_only_large_ratios(judge: Any) -> None:
    """Edges 2.5-fold apart: twice as slow cannot be told, ten times can."""
    twice = judge("latency_p99", *arms(2.0, 100_000, DEFAULT), **RULE)
    ten = judge("latency_p99", *arms(10.0, 2000, DEFAULT), **RULE)

    assert (twice["verdict"], ten["verdict"]) == ("inconclusive", "fail")
    assert twice["remaining"] is None


def test_samples_are_compared_exactly(judge: Any) -> None:
    """Between single samples no bucket is in the way."""
    rng = np.random.default_rng(71)
    canary, baseline = rng.lognormal(-2, SIGMA, 800) * 2.5, rng.lognormal(-2, SIGMA, 4000)

    found = judge("latency_p99", {"samples": canary.tolist()}, {"samples": baseline.tolist()}, **RULE)

    assert found["verdict"] == "fail"
    assert found["delta"]["value"] == pytest.approx(
        np.quantile(canary, 0.99, method="inverted_cdf") / np.quantile(baseline, 0.99, method="inverted_cdf") - 1,
        rel=0.01,
    )


def test_a_quantile_beyond_the_last_bucket_cannot_be_compared(judge: Any) -> None:
    """Nothing is guessed of what no edge bounds."""
    found = judge(
        "latency_p99", buckets(np.array([500.0, 500.0]), np.array([0.1])), *arms(1, 100, np.array([0.1]))[1:], **RULE
    )

    assert (found["verdict"], found["code"]) == ("inconclusive", "undecided")
    assert "beyond the last bucket" in found["reason"]


def test_it_needs_a_baseline(judge: Any) -> None:
    """A ratio to nothing is no ratio."""
    assert judge("latency_p99", arms(1.0, 500)[0], **RULE)["code"] == "no_baseline_traffic"


@pytest.mark.statistical
@pytest.mark.parametrize(("requests", "seed"), [(100, 72), (1000, 73)])
def test_a_ratio_at_its_limit_is_rolled_back_in_at_most_alpha(judge: Any, requests: int, seed: int) -> None:
    """The canary 10% slower, looked at ten times: never proved slower than that more often than allowed."""
    rng, runs, failed = np.random.default_rng(seed), 20, 0
    for _ in range(runs):
        canary = rng.multinomial(requests, shares(0.11), 10).cumsum(axis=0)
        baseline = rng.multinomial(19 * requests, shares(0.1), 10).cumsum(axis=0)
        limits = RULE | {"rollback": "10%"}
        failed += any(
            judge("latency_p99", buckets(ours), buckets(theirs), **limits)["verdict"] == "fail"
            for ours, theirs in zip(canary, baseline, strict=True)
        )

    assert failed / runs <= 0.05


def test_a_slow_hour_at_a_larger_weight_is_no_change(judge: Any) -> None:
    """The canary had most of its requests while both arms were three times as slow."""
    levels, weights = [0.1] * 20 + [0.3] * 20, [0.05] * 20 + [0.5] * 20
    canary, baseline = (
        [buckets(1000 * share * shares(level)) for level, share in zip(levels, part, strict=True)]
        for part in (weights, [1 - weight for weight in weights])
    )

    finding = judge("latency_p99", canary, baseline, **RULE)

    assert finding["verdict"] != "fail"
    assert abs(finding["delta"]["value"]) < 0.02
