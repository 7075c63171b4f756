"""The mean latency over a real Prometheus, through the profile of a stack that counts sums alone: Triton, in us."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from prometheus_server import Point, PrometheusServer, StartPrometheus

from analyzer.config.policy import load_policies
from analyzer.config.profile import load_profiles
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.answer import render
from analyzer.verdict.request import parse_request

pytestmark = pytest.mark.prometheus

NOON = 1_767_614_400.0
INTERVAL = 30.0
SCRAPES = 40  # of a canary
MEANS = {"base": 0.08, "same": 0.08, "slow": 0.16}  # seconds
LIMITS = {"rule": "zone", "promote": "100ms", "rollback": "150ms"}
ABSOLUTE = {"base": "ml-model-mean", "checks": {"latency_mean": LIMITS}}


def history() -> Iterator[Point]:
    """Write one pod an arm; that of the baseline is scraped in the middle between the others' scrapes."""
    rng = np.random.default_rng(61)
    for arm, mean in MEANS.items():
        target = {
            "rollouts_pod_template_hash": arm, "job": "triton", "instance": f"{arm}:8002", "pod": arm,
            "namespace": "ml", "model": "fraud", "version": "1",
        }  # fmt: skip
        before = SCRAPES if arm == "base" else 0
        requests, microseconds = 0, 0.0
        for place in range(SCRAPES + before):
            moment = NOON - (SCRAPES + before - 1 - place) * INTERVAL - (15 if arm == "base" else 0)
            if place:
                served = int(rng.poisson(5700 if arm == "base" else 300))
                requests += served
                microseconds += round(rng.gamma(served) * mean * 1e6)
            yield Point("nv_inference_request_success", target, moment, requests)
            yield Point("nv_inference_request_duration_us", target, moment, microseconds)


@pytest.fixture(scope="module")
def prometheus(start_prometheus: StartPrometheus) -> PrometheusServer:
    """A Prometheus that scraped them."""
    return start_prometheus(history())


def ask(prometheus: PrometheusServer, canary: str, checks: str = "latency_mean", **fields: Any) -> dict[str, Any]:
    """Give the finding at noon."""
    analyzer = Analyzer(
        policies=load_policies(None),
        profiles=load_profiles(None),
        source=PrometheusSource(PrometheusApi(Connection(prometheus.url))),
    )
    body = {
        "service": "fraud", "namespace": "ml", "canary": canary, "baseline": "base", "at": NOON, "profile": "triton",
        "policy": "ml-model-mean", "checks": checks, **fields,
    }  # fmt: skip
    found: dict[str, Any] = render(analyzer.verdict(parse_request(body)))
    return found


@pytest.mark.parametrize("policy", ["ml-model-mean", ABSOLUTE], ids=["against the baseline", "against limits"])
@pytest.mark.parametrize(("canary", "verdict"), [("same", "pass"), ("slow", "fail")])
def test_a_verdict_on_sums_alone(prometheus: PrometheusServer, policy: Any, canary: str, verdict: str) -> None:
    """Twenty minutes at 5% prove a mean of 80 ms good and one of 160 ms bad, in whatever unit the stack counts."""
    answer = ask(prometheus, canary, policy=policy)
    found = answer["checks"]["latency_mean"]

    assert found["verdict"] == verdict, found["reason"]
    assert found["canary"]["value"] == pytest.approx(MEANS[canary], rel=0.03)
    assert found["baseline"]["value"] == pytest.approx(MEANS["base"], rel=0.03)
    assert answer["summary"]["canary_mean_latency_ms"] == pytest.approx(1000 * MEANS[canary], rel=0.03)


def test_a_quantile_is_refused_with_the_remedy(prometheus: PrometheusServer) -> None:
    """The default policy's check says what this stack can be judged by."""
    found = ask(prometheus, "same", "latency_p99", policy="ml-model")["checks"]["latency_p99"]

    assert (found["verdict"], found["code"]) == ("inconclusive", "metric_missing")
    assert "kind mean_latency" in found["reason"]
