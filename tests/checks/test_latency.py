"""Latency as a specification: quantiles judged by counting, limits inside a bucket, arms that do not fit."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from analyzer.config.policy import choose_policy, load_policies
from analyzer.model.counts import Histogram, Reading, Readings, Window
from analyzer.verdict.case import Case

EXACT = {"0.1": 0.9, "0.2": 0.995, "0.5": 0.999, "1": 1.0}  # both limits are edges
DEFAULT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # of the Prometheus clients: none at 200 ms


def buckets(requests: float, shares: Mapping[str, float] = EXACT) -> dict[str, dict[str, float]]:
    """Give cumulative counts of so many requests, of which a share is at most as slow as each edge."""
    return {"buckets": {le: requests * share for le, share in shares.items()} | {"+Inf": requests}}


def lognormal(requests: float, median: float, *, edges: tuple[float, ...] = DEFAULT) -> dict[str, dict[str, float]]:
    """Give the counts of lognormal latencies with sigma 0.3 in the usual buckets, without noise."""
    normal = np.random.default_rng(5).normal(0, 0.3, 20_000)
    values = median * np.exp(normal)
    return buckets(requests, {f"{edge:g}": float((values <= edge).mean()) for edge in edges})


SLOW = {"0.1": 0.9, "0.2": 0.93, "0.5": 0.95, "1": 1.0}


@pytest.mark.parametrize(
    ("requests", "shares", "outcome", "code"),
    [
        (5000, EXACT, "pass", "proved_good"),
        (1000, SLOW, "fail", "proved_bad"),
        (100, EXACT, "inconclusive", "undecided"),
        (20, SLOW, "inconclusive", "undecided"),
        (50_000, {"0.1": 0.9, "0.2": 0.95, "0.5": 0.999}, "inconclusive", "undecided"),  # p99 between the limits
    ],
)
def test_rule_zone(judge: Any, requests: float, shares: dict[str, float], outcome: str, code: str) -> None:
    """P99 below 200 ms is less than 1% of requests slower than it; above 500 ms is more than 1% slower than that."""
    found = judge("latency_p99", buckets(requests, shares))

    assert (found["verdict"], found["code"]) == (outcome, code)


@pytest.mark.parametrize(
    ("slower", "rule", "outcome"),
    [(0.018, "zone", "fail"), (0.018, "strict", "inconclusive"), (0.05, "strict", "fail"), (0.018, "point", "fail")],
)
def test_rules_that_differ_in_what_a_fail_takes(judge: Any, slower: float, rule: str, outcome: str) -> None:
    """Zone needs proof beyond promote only, strict beyond rollback, point none."""
    shares = {"0.1": 0.9, "0.2": 0.95, "0.5": 1 - slower, "1": 1.0}

    assert judge("latency_p99", buckets(1000, shares), rule=rule)["verdict"] == outcome


def test_rule_point_passes_on_the_estimate(judge: Any) -> None:
    """A hundred requests whose estimate is below promote pass, and the code says how."""
    found = judge("latency_p99", buckets(200, {"0.1": 0.99, "0.2": 1, "0.5": 1}), rule="point")

    assert (found["verdict"], found["code"]) == ("pass", "decided_by_point")


@pytest.mark.parametrize(
    ("canary", "outcome"),
    [(0.04, "fail"), (0.02, "inconclusive"), (0.004, "pass")],
)
def test_rule_relative(judge: Any, canary: float, outcome: str) -> None:
    """The share of requests slower than one edge is compared with the baseline's, here 2%."""
    ours, theirs = ({"0.1": 0.9, "0.25": 1 - share, "1": 1.0} for share in (canary, 0.02))
    limits = {"rule": "relative", "promote": "10%", "rollback": "50%", "edge": "250ms"}

    found = judge("latency_p99", buckets(5000, ours), buckets(95_000, theirs), **limits)

    assert found["verdict"] == outcome
    assert found["delta"]["value"] == pytest.approx(canary / 0.02 - 1, rel=0.01)


def test_rule_relative_needs_the_edge_and_a_baseline(judge: Any) -> None:
    """An edge that no bucket has is named with the remedy; so is an arm without traffic."""
    limits = {"rule": "relative", "promote": "10%", "rollback": "50%", "edge": "250ms"}
    missing = judge("latency_p99", buckets(5000), buckets(95_000), **limits)

    assert (missing["verdict"], missing["code"]) == ("inconclusive", "bucket_resolution")
    assert "le=0.25" in missing["reason"]
    for baseline in (None, buckets(0)):
        alone = judge("latency_p99", buckets(5000), baseline, **limits | {"edge": "200ms"})
        assert (alone["verdict"], alone["code"]) == ("inconclusive", "no_baseline_traffic")


# Limits inside a bucket


@pytest.mark.parametrize("requests", [500, 50_000, 1e9])
def test_a_promote_limit_inside_the_bucket_of_the_value_is_said(judge: Any, requests: float) -> None:
    """A p99 somewhere in (100, 250] ms can never be proved below 200 ms: said at once, with the missing edge."""
    found = judge("latency_p99", lognormal(requests, 0.1))

    assert (found["verdict"], found["code"]) == ("inconclusive", "bucket_resolution")
    assert "le=0.2" in found["reason"]
    assert found["remaining"] is None


def test_a_rollback_limit_inside_the_bucket_of_the_value_is_said(judge: Any) -> None:
    """A p99 somewhere in (500 ms, 1 s] can never be proved above 700 ms."""
    found = judge("latency_p99", lognormal(100_000, 0.4), promote="250ms", rollback="700ms")

    assert (found["verdict"], found["code"]) == ("inconclusive", "bucket_resolution")
    assert "le=0.7" in found["reason"]


def test_limits_beyond_all_buckets_are_said(judge: Any) -> None:
    """Slower than the last edge is all that is known, and it is not proof of above 30 s."""
    found = judge("latency_p99", lognormal(1000, 20), promote="5s", rollback="30s")

    assert (found["verdict"], found["code"]) == ("inconclusive", "bucket_resolution")
    assert "le=30" in found["reason"]
    assert found["canary"]["value"] is None
    assert found["canary"]["low"] == 10


def test_a_limit_inside_a_bucket_is_judged_at_the_safe_edge(judge: Any) -> None:
    """A fast canary passes at the next edge below, a slow one fails at the next above, and the notes say so."""
    fast = judge("latency_p99", lognormal(5000, 0.03))
    slow = judge("latency_p99", lognormal(5000, 2))

    assert (fast["verdict"], slow["verdict"]) == ("pass", "fail")
    assert any("100 ms" in note and "le=0.2" in note for note in fast["notes"])
    assert any("250 ms" in note and "le=0.2" in note for note in slow["notes"])


def test_edges_at_the_limits_need_no_note(judge: Any) -> None:
    """Where the histogram has the limits as edges, nothing snaps."""
    assert judge("latency_p99", buckets(5000))["notes"] == []


def test_the_estimate_is_never_beyond_what_the_buckets_tell(judge: Any) -> None:
    """Interpolation alone, 740 ms in the bucket up to 1 s, does not roll back at a limit of 700 ms."""
    found = judge("latency_p99", buckets(1e6, {"0.1": 0.9, "0.5": 0.98, "1": 1.0}), promote="100ms", rollback="700ms")

    assert found["verdict"] == "inconclusive"
    assert 0.7 < found["canary"]["value"] < 1


# Values


def test_the_interval_lies_on_edges_and_contains_the_value(judge: Any) -> None:
    """A quantile is bounded by the edges that are proved on either side of it."""
    canary = judge("latency_p99", lognormal(20_000, 0.1))["canary"]

    assert (canary["low"], canary["high"]) == (0.1, 0.25)
    assert canary["low"] <= canary["value"] <= canary["high"]


@pytest.mark.parametrize(("quantile", "expected"), [(0.25, 0.05), (0.5, 0.1), (0.6, 0.14), ("90%", 0.38), (0.95, 0.44)])
def test_the_estimate_is_that_of_histogram_quantile(judge: Any, quantile: Any, expected: float) -> None:
    """Linear inside the bucket, as Prometheus does it."""
    # by hand: the ranks 500, 1000, 1200, 1800 and 1900 of 2000; for example 0.2 + 0.3 * 300 / 500 = 0.38
    counts = {"buckets": {"0.1": 1000, "0.2": 1500, "0.5": 2000, "+Inf": 2000}}

    found = judge("latency_p99", counts, quantile=quantile)["canary"]["value"]

    assert found == pytest.approx(expected, rel=1e-3)


def test_samples_are_judged_exactly(judge: Any) -> None:
    """With samples nothing snaps: limits anywhere are edges, and equal to a limit is not slower than it."""
    rng = np.random.default_rng(6)
    fast, slow = rng.lognormal(-3, 0.3, 2000).tolist(), rng.lognormal(-0.5, 0.3, 300).tolist()

    assert judge("latency_p99", {"samples": fast})["verdict"] == "pass"
    assert judge("latency_p99", {"samples": slow})["verdict"] == "fail"
    assert judge("latency_p99", {"samples": fast}, promote="123ms", rollback="150ms")["notes"] == []
    at_limit = judge("latency_p99", {"samples": [0.2] * 2000})
    assert at_limit["verdict"] == "pass"
    assert at_limit["canary"]["value"] == 0.2


@pytest.mark.parametrize(("q", "trials"), [(0.99, 1000), (0.95, 1000), (0.5, 300), (0.99, 5000)])
def test_bounds_of_a_quantile_contain_those_of_order_statistics(judge: Any, q: float, trials: int) -> None:
    """For one look at 2.5% and 5% the p99 of 1,000 samples is above the 983rd and below the 996th: ours lie outside."""
    # scipy.stats.binom.ppf: the samples number ppf(alpha, n, q) and ppf(1 - alpha, n, q) + 1
    below, above = binom.ppf(0.025, trials, q), binom.ppf(0.95, trials, q) + 1
    limits = {"quantile": q, "promote": 2 * trials, "rollback": 3 * trials}

    found = judge("latency_p99", {"samples": list(range(1, trials + 1))}, **limits)["canary"]

    if (q, trials) == (0.99, 1000):
        assert (below, above) == (983, 996)
    assert found["value"] == math.ceil(q * trials)
    assert found["low"] < below < found["value"] < above
    assert found["high"] is None or found["high"] > above


# Arms that do not fit, and arms without traffic


def test_arms_with_different_buckets_are_refused(judge: Any) -> None:
    """A release that changes its buckets is told which edges differ, and in which arm."""
    found = judge("latency_p99", buckets(5000), buckets(5000, {"0.1": 0.9, "0.25": 0.99, "0.5": 1.0, "1": 1.0}))

    assert (found["verdict"], found["code"]) == ("inconclusive", "buckets_differ")
    assert "0.2" in found["reason"]
    assert "0.25" in found["reason"]


@pytest.mark.parametrize("canary", [buckets(0), {"samples": []}])
def test_no_canary_traffic_is_inconclusive(judge: Any, canary: dict[str, Any]) -> None:
    """No requests: neither good nor bad."""
    found = judge("latency_p99", canary)

    assert (found["verdict"], found["code"]) == ("inconclusive", "no_canary_traffic")


def test_absolute_limits_need_no_baseline(judge: Any) -> None:
    """A baseline without traffic changes nothing."""
    alone, beside = judge("latency_p99", buckets(5000)), judge("latency_p99", buckets(5000), buckets(0))

    assert alone == beside


def test_no_pass_below_min_requests(judge: Any) -> None:
    """Proved good and yet not enough requests."""
    assert judge("latency_p99", buckets(5000), min_requests=5001)["verdict"] == "inconclusive"


def test_less_than_a_request_is_judged_without_error(judge: Any) -> None:
    """Fractions below one request decide nothing."""
    assert judge("latency_p99", buckets(0.02))["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    ("slow", "requests", "outcome"), [(1, 100, "inconclusive"), (0, 100, "pass"), (1, 200, "pass")]
)
def test_a_guardrail_waits_while_one_slow_request_may_be_three_percent(
    slow: float, requests: float, outcome: str
) -> None:
    """One of a hundred is no more likely to be within the limit of 1% than beyond it."""
    counts = Histogram(np.array([0.2, 0.5, np.inf]), np.array([[requests - slow, 0.0, slow]]))
    policy = choose_policy(load_policies(None), {"base": "ml-model", "role": "guardrail"}, "ml-model")
    readings = Readings(Window(None, None), {"latency_p99": Reading(counts, None)})

    verdict = Case({"latency_p99": policy.checks["latency_p99"]}, policy, readings).verdict()

    assert verdict.outcome == outcome
