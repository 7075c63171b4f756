"""Tests that every packaged profile reads its stack: exact counts of each way, and verdicts, from a real Prometheus.

All stacks are in one Prometheus, with the same names of arms where the stacks allow it: a profile that reads another
stack's series counts too much.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from prometheus_server import PrometheusServer, StartPrometheus
from sources.expositions import (
    BASELINE,
    CANARY,
    FAULTY,
    NOON,
    SCRAPES,
    STACKS,
    TRAFFIC,
    Observations,
    Stack,
    Traffic,
    amount,
    total,
    up_to,
)

from analyzer.config.policy import load_policies
from analyzer.config.profile import SECTIONS, LatencyHistogram, Profile, load_profiles
from analyzer.model.counts import Classes, Conversions, Counts, Errors, Histogram, MeanOnly, Reading, Values
from analyzer.model.findings import Kind
from analyzer.sources.assembly import Selection
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.request import parse_request

pytestmark = pytest.mark.prometheus

PROFILES, POLICIES = load_profiles(None), load_policies(None)
CHECKS = {check.kind: name for name, check in POLICIES["ml-model"].checks.items()}
# What a request says of a router, whose own labels name namespace and service.
NAMESPACES = {"ingress-nginx": "ml"}


@pytest.fixture(scope="module")
def prometheus(start_prometheus: StartPrometheus) -> PrometheusServer:
    """A Prometheus that scraped all stacks."""
    return start_prometheus([point for stack in STACKS for point in stack.points()])


@pytest.fixture(scope="module")
def source(prometheus: PrometheusServer) -> PrometheusSource:
    """A source that reads from it."""
    return PrometheusSource(PrometheusApi(Connection(prometheus.url)))


def test_every_profile_has_a_stack() -> None:
    """No packaged profile is left out here."""
    assert sorted(stack.profile for stack in STACKS) == sorted(PROFILES)


def rounds(profile: Profile) -> list[Profile]:
    """Give profiles of which each has one way of every kind, so that every way is read by itself."""
    most = max(len(profile.ways(kind)) for kind in Kind)

    def only(place: int) -> dict[str, Any]:
        return {kind.value: profile.ways(kind)[min(place, len(profile.ways(kind)) - 1) :][:1] for kind in SECTIONS}

    labels = {name: getattr(profile, name) for name in ("arm_label", "matchers", "process_start")}
    return [Profile(name=f"{profile.name} {place}", **labels, **only(place)) for place in range(most)]


def read(source: PrometheusSource, stack: Stack, profile: Profile, canary: str) -> dict[Kind, Reading[Counts]]:
    """Read every kind that a profile has."""
    kinds = {kind.value: kind for kind in Kind if profile.ways(kind)}
    namespace = NAMESPACES.get(stack.profile, stack.profile)
    selection = Selection("fraud", namespace, stack.arms[canary], stack.arms[BASELINE], profile, kinds, NOON)
    found = source.read(selection, time.monotonic() + 10).by_check
    for name, reading in found.items():
        assert isinstance(reading, Reading), (name, reading)
    return {kind: found[name] for name, kind in kinds.items()}  # type: ignore[misc]


def cumulative(edges: Any, observed: Observations) -> list[float]:
    """Count observations up to each edge and without one."""
    return [SCRAPES * count for count in (*(up_to(edge, observed) for edge in edges), total(observed))]


def expected(counts: Counts | None, kind: Kind, stack: Stack, traffic: Traffic) -> Mapping[str, Any]:
    """Say what the generator made, in the form of the counts that were read."""
    served: Observations = getattr(traffic, stack.served)
    match counts:
        case Errors():
            return {"errors": traffic.failed * SCRAPES, "requests": traffic.requests * SCRAPES}
        case MeanOnly():
            return {"total": amount(served) * SCRAPES, "count": total(served) * SCRAPES}
        case Histogram() if kind is Kind.LATENCY:
            edges = [edge * stack.unit for edge in stack.edges]
            return {"edges": edges, "cumulative": cumulative(edges, traffic.seconds)}
        case Histogram():
            scores: Observations = getattr(traffic, stack.scores)
            return {"edges": list(stack.score_edges), "cumulative": cumulative(stack.score_edges, scores)}
        case Classes():
            return {"names": 2, "counts": sorted(count * SCRAPES for count in traffic.classes.values())}
        case Conversions():
            return {"successes": traffic.conversions * SCRAPES, "trials": total(served) * SCRAPES}
        case Values():
            return {"total": amount(traffic.values) * SCRAPES, "count": total(traffic.values) * SCRAPES}
        case None:
            pytest.fail("the arm was not found")


def found(counts: Counts | None) -> Mapping[str, Any]:
    """Say what was read, in the same form."""
    match counts:
        case Histogram():
            return {"edges": counts.edges[:-1].tolist(), "cumulative": counts.counts.sum(axis=0).cumsum().tolist()}
        case Classes():
            return {"names": len(counts.names), "counts": sorted(counts.counts.sum(axis=0))}
        case Errors():
            return {"errors": counts.errors.sum(), "requests": counts.requests.sum()}
        case Conversions():
            return {"successes": counts.successes.sum(), "trials": counts.trials.sum()}
        case Values() | MeanOnly():
            return {"total": counts.total.sum(), "count": counts.count.sum()}
        case None:
            return {}


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.profile)
def test_every_way_counts_exactly(source: PrometheusSource, stack: Stack) -> None:
    """Each way of each kind gives the counts of the generator, of both arms, whatever else is in Prometheus."""
    for profile in rounds(PROFILES[stack.profile]):
        for kind, reading in read(source, stack, profile, FAULTY).items():
            of_all = kind is Kind.MEAN_LATENCY and profile.latency[0].histogram  # which counts failed requests too
            made = replace(stack, served="seconds") if of_all else stack
            for role, counts in ((FAULTY, reading.canary), (BASELINE, reading.baseline)):
                want, got = expected(counts, kind, made, TRAFFIC[role]), found(counts)
                assert {name: pytest.approx(value, rel=1e-9) for name, value in want.items()} == got, (
                    profile.name, kind, role,
                )  # fmt: skip


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.profile)
def test_the_edges_of_a_profile_are_those_of_the_stack(stack: Stack) -> None:
    """What check-config compares limits with are the buckets that the stack has."""
    for way in PROFILES[stack.profile].latency[:1]:
        assert isinstance(way, LatencyHistogram)
        assert way.edges is None or list(way.edges) == pytest.approx(list(stack.edges))


def judged(stack: Stack) -> list[str]:
    """Name the checks of which a profile can prove something: all that it has, but for a mean of the latency."""
    profile = PROFILES[stack.profile]
    return [
        name
        for kind, name in CHECKS.items()
        if any(not isinstance(way, LatencyHistogram) or way.sum is None for way in profile.ways(kind))
    ]


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.profile)
@pytest.mark.parametrize(("canary", "verdict"), [(CANARY, "pass"), (FAULTY, "fail")])
def test_a_verdict_is_reached(source: PrometheusSource, stack: Stack, canary: str, verdict: str) -> None:
    """A healthy canary passes all checks of the profile; one with errors, or slow where there are none, fails."""
    analyzer = Analyzer(policies=POLICIES, profiles=PROFILES, source=source)
    body = {
        "service": "fraud",
        "namespace": NAMESPACES.get(stack.profile, stack.profile),
        "canary": stack.arms[canary],
        "baseline": stack.arms[BASELINE],
        "profile": stack.profile,
        "checks": judged(stack),
        "at": NOON,
    }
    if stack.limits:
        body["policy"] = {"base": "ml-model", "checks": {"latency_p99": dict(stack.limits)}}
    answer = analyzer.verdict(parse_request(body))

    assert answer.outcome.value == verdict, answer.reason
    if verdict == "fail" and PROFILES[stack.profile].error_rate:
        assert answer.findings["error_rate"].outcome.value == "fail"
