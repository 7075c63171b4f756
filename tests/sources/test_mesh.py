"""What the sidecars of a mesh counted, beside what the pods did, from a real Prometheus."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from prometheus_server import Point, PrometheusServer, StartPrometheus
from sources.pods import ARM, CHECKS, PROFILE

from analyzer.checks import judge
from analyzer.config.policy import load_policies
from analyzer.config.profile import Profile
from analyzer.config.selector import Matcher
from analyzer.model.counts import Reading
from analyzer.model.findings import Code, Finding, Kind
from analyzer.sources.assembly import Selection
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi
from analyzer.sources.promql import Answer, Tasks
from analyzer.sources.recorded_window import Recording

pytestmark = pytest.mark.prometheus

NOON = 1_767_614_400.0
POLICY = load_policies(None)["ml-model"]
WITHOUT = PROFILE.model_copy(update={"routed": ()})
ISTIO = ("istio_requests_total", {"reporter": "destination", "response_code": "200"})
LINKERD = ("request_total", {"direction": "inbound", "route_name": "default"})


def pod(arm: str, begin: float, sent: int, counted: int, mesh: tuple[str, dict[str, str]] | None) -> Iterator[Point]:
    """Write a pod that gets and counts so many requests in 15 s, and its sidecar, which is scraped at other moments."""
    own = {ARM: arm, "job": "fraud", "namespace": "ml", "pod": f"{arm}-pod", "instance": f"{arm}:8080"}
    sidecar = {**own, "job": "sidecars", "instance": f"{arm}:15090"}
    for scrape in range(int((NOON - begin) // 15) + 1):
        moment = begin + 15 * scrape
        yield Point("process_start_time_seconds", own, moment, begin - 3)
        yield Point("http_requests_total", {**own, "status": "200"}, moment, float(counted * scrape))
        if mesh and moment + 6 <= NOON:
            yield Point(mesh[0], {**sidecar, **mesh[1]}, moment + 6, float(sent * scrape))


def history() -> Iterator[Point]:
    """Write the pods of all tests."""
    for name, mesh in (("istio", ISTIO), ("linkerd", LINKERD), ("none", None)):
        yield from pod(f"{name}-stable", NOON - 9000, 500, 499, mesh)
        yield from pod(f"{name}-healthy", NOON - 1800, 50, 50, mesh)
        yield from pod(f"{name}-hanging", NOON - 1800, 50, 40, mesh)


@pytest.fixture(scope="module")
def prometheus(start_prometheus: StartPrometheus) -> PrometheusServer:
    """A Prometheus with the history of all tests."""
    return start_prometheus(history())


def selection(canary: str, profile: Profile = PROFILE, **changes: Any) -> Selection:
    """Ask for the error rate of a canary against the stable pods of its mesh."""
    baseline = f"{canary.split('-', maxsplit=1)[0]}-stable"
    whole = Selection("fraud", "ml", canary, baseline, profile, {"error_rate": Kind.ERROR_RATE}, NOON)
    return replace(whole, **changes)


def judged(reading: object) -> Finding:
    """Judge the error rate by the default policy."""
    assert isinstance(reading, Reading), reading
    return judge(POLICY.checks["error_rate"], reading, POLICY)


def counting(source: PrometheusSource) -> list[str]:
    """Return a list that the source's queries go into."""
    sent: list[str] = []
    ask = source.queries.run

    def run(tasks: Tasks, deadline: float) -> dict[str, Answer]:
        sent.extend(tasks)
        return ask(tasks, deadline)

    source.queries.run = run  # type: ignore[method-assign]
    return sent


@pytest.mark.parametrize("most_values", [120_000, 1], ids=["followed", "added up by the server"])
@pytest.mark.parametrize("mesh", ["istio", "linkerd"])
def test_a_canary_that_hangs_does_not_pass_where_a_mesh_counts(
    prometheus: PrometheusServer, mesh: str, most_values: int
) -> None:
    """A fifth is never counted by the pods; Istio and Linkerd count them, whichever there is."""

    def read(canary: str) -> Reading[Any]:
        source = PrometheusSource(PrometheusApi(Connection(prometheus.url)), most_values=most_values)
        reading = source.read(selection(canary), time.monotonic() + 10).by_check["error_rate"]
        assert isinstance(reading, Reading)
        return reading

    hanging, healthy = read(f"{mesh}-hanging"), read(f"{mesh}-healthy")

    assert hanging.routed is not None
    assert hanging.routed.sent.sum(axis=1) == pytest.approx([119 * 50, 119 * 500], rel=0.02)
    assert hanging.routed.counted.sum(axis=1) == pytest.approx([120 * 40, 120 * 499], rel=0.02)
    assert hanging.routed.sent.shape == (2, hanging.slices)
    assert judged(hanging).code is Code.TRAFFIC_SPLIT
    assert "requests were sent to the canary, of which its pods counted 4," in judged(hanging).reason
    assert judged(healthy).code is Code.PROVED_GOOD


def test_without_a_mesh_nothing_changes(prometheus: PrometheusServer) -> None:
    """No router's counts, no query more."""
    queries = []
    for profile in (PROFILE, WITHOUT):
        source = PrometheusSource(PrometheusApi(Connection(prometheus.url)))
        sent = counting(source)
        reading = source.read(selection("none-hanging", profile), time.monotonic() + 10).by_check["error_rate"]
        assert isinstance(reading, Reading)
        assert reading.routed is None
        queries.append(len(sent))
    assert queries[0] == queries[1]


def test_a_mesh_costs_few_queries(prometheus: PrometheusServer) -> None:
    """At most a fifth more, of the four checks of the default policy and the history."""
    numbers: list[tuple[int, int]] = []
    for profile in (PROFILE, WITHOUT):
        source = PrometheusSource(PrometheusApi(Connection(prometheus.url)))
        sent = counting(source)
        wanted = selection("istio-healthy", profile, checks=CHECKS, history_seconds=7200.0)
        source.read(wanted, time.monotonic() + 10)
        first = len(sent)
        source.read(replace(wanted, at=NOON - 7.0), time.monotonic() + 10)
        numbers.append((first, len(sent) - first))

    assert all(with_mesh <= 1.2 * without for with_mesh, without in zip(*numbers, strict=True)), numbers


@pytest.mark.parametrize("canary", ["istio-hanging", "istio-healthy"])
def test_a_replay_reads_what_the_verdict_read(prometheus: PrometheusServer, canary: str) -> None:
    """At the end of the window, and at an earlier moment, in the slices of then."""
    source = PrometheusSource(PrometheusApi(Connection(prometheus.url)))
    recording = Recording(source, selection(canary), time.monotonic() + 10)

    for at in (NOON, NOON - 601):
        wanted = selection(canary, at=at)
        then, live = (
            reader.read(wanted, time.monotonic() + 10).by_check["error_rate"] for reader in (recording, source)
        )
        assert isinstance(then, Reading)
        assert isinstance(live, Reading)
        assert then.routed is not None
        assert live.routed is not None
        np.testing.assert_allclose(then.routed.sent, live.routed.sent)
        np.testing.assert_allclose(then.routed.counted, live.routed.counted)
        assert judged(then).code is judged(live).code


def test_a_model_among_several_is_not_held_against_the_mesh(prometheus: PrometheusServer) -> None:
    """A mesh does not know which model of a process answered."""
    profile = PROFILE.model_copy(update={"model_label": "status"})
    source = PrometheusSource(PrometheusApi(Connection(prometheus.url)))
    wanted = selection("istio-hanging", profile)
    of_model = replace(wanted, matchers=(Matcher("status", "=", "200"),))
    reading = source.read(of_model, time.monotonic() + 10).by_check["error_rate"]

    assert isinstance(reading, Reading)
    assert reading.routed is None
