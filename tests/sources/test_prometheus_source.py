"""Tests of what a real Prometheus is asked: when a canary began, which arms and namespaces, native histograms."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
from prometheus_server import Point, PrometheusServer, StartPrometheus
from sources.pods import ARM, CHECKS, PROFILE, Pod, Process, Scrape, counted, selection
from sources.remote_write import write_histograms

from analyzer.config.profile import ErrorCounters, LatencyHistogram, Profile
from analyzer.config.selector import Selector, parse_selector
from analyzer.model.counts import Conversions, Errors, Histogram, Reading
from analyzer.model.findings import Code, Gap, Kind
from analyzer.sources.assembly import Selection
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi

pytestmark = pytest.mark.prometheus

NOON = 1_767_614_400.0


def steady(arm: str, begin: float, end: float, *, per_scrape: int = 10, name: str = "") -> Pod:
    """Let a pod serve the same number of requests before every scrape."""
    pod, process = Pod(arm, name or f"{arm}-pod"), Process(begin - 3)
    moment = begin
    while moment <= end:
        process.add("http_requests_total", "status", "200", by=per_scrape)
        pod.scrapes.append(Scrape(moment, process.start, dict(process.counters)))
        moment += 15
    return pod


def history() -> Iterator[Point]:
    """Write the pods of all tests."""
    pods = [
        steady("again", NOON - 9000, NOON - 7800, name="first-run"),
        steady("again", NOON - 1500, NOON, name="second-run"),
        steady("pausing", NOON - 4000, NOON - 2500, name="before"),
        steady("pausing", NOON - 1600, NOON, name="after"),
        steady("v1.2", NOON - 600, NOON),
        steady("v1x2", NOON - 600, NOON, per_scrape=1000),
        steady("stable.1", NOON - 3000, NOON, per_scrape=7),
        steady("stable-1", NOON - 3000, NOON, per_scrape=1000),
        steady("shy", NOON - 600, NOON),
    ]
    for pod in pods:
        yield from pod.points()
    labels = {"job": "other", "instance": "x:1", "namespace": "elsewhere", ARM: "v1.2"}
    for scrape in range(41):
        yield Point("http_requests_total", {**labels, "status": "200"}, NOON - 600 + 15 * scrape, 5.0 * (scrape + 1))
    by_code = {"job": "fraud", "instance": "y:1", "namespace": "ml", ARM: "renamed"}
    for scrape in range(41):
        yield Point("http_requests_total", {**by_code, "code": "500"}, NOON - 600 + 15 * scrape, 5.0 * (scrape + 1))
    for arm, begin, metric in (("old", 1200, "succeeded_total"), ("broken", 600, "failed_total")):
        target = {ARM: arm, "job": "fraud", "instance": f"{arm}-pod:8080", "namespace": "ml"}
        for scrape in range(begin // 15 + 1):
            yield Point(metric, target, NOON - begin + 15 * scrape, 5.0 * (scrape + 1))
    for arm, begin in (("shy", 600), ("stable.1", 3000)):
        target = {ARM: arm, "job": "fraud", "instance": f"{arm}-pod:8080", "namespace": "ml", "pod": f"{arm}-pod"}
        for scrape in range(begin // 15):
            moment = NOON - begin + 15 * scrape
            if arm != "shy":
                yield Point("model_business_events_total", {**target, "event": "conversion"}, moment, scrape)


@pytest.fixture(scope="module")
def prometheus(start_prometheus: StartPrometheus) -> PrometheusServer:
    """A Prometheus with the history of all tests."""
    return start_prometheus(history())


@pytest.fixture
def source(prometheus: PrometheusServer) -> PrometheusSource:
    """A source that knows nothing from before."""
    return PrometheusSource(PrometheusApi(Connection(prometheus.url)))


def requests_of(source: PrometheusSource, asked: Selection) -> tuple[float | None, float, float]:
    """Read the window's start and the requests of canary and baseline."""
    readings = source.read(asked, time.monotonic() + 10)
    canary, baseline = counted(readings, "canary"), counted(readings, "baseline")
    return readings.window.start, canary["requests"], baseline.get("requests", 0)


def errors_only(canary: str, baseline: str | None, at: float, namespace: str | None = "ml") -> Selection:
    """Ask for the error rate alone."""
    return Selection("fraud", namespace, canary, baseline, PROFILE, {"error_rate": Kind.ERROR_RATE}, at)


def test_a_previous_run_of_the_same_hash_is_not_counted(source: PrometheusSource) -> None:
    """What a canary did two hours earlier, before it was away, belongs to another rollout."""
    start, requests, _ = requests_of(source, errors_only("again", None, NOON))

    assert start == NOON - 1501
    assert requests == 101 * 10


@pytest.mark.parametrize("at", [NOON - 6000, NOON - 7790.5])
def test_the_previous_run_itself_can_be_replayed(source: PrometheusSource, at: float) -> None:
    """A moment of the past shows the run that was then."""
    start, requests, _ = requests_of(source, errors_only("again", None, at))

    assert start == NOON - 9001
    assert requests == 81 * 10


def test_the_start_does_not_depend_on_when_one_looks(prometheus: PrometheusServer) -> None:
    """Whether a pause separates two runs is decided alike at every look, or the evidence would start over."""
    starts = set()
    for at in np.arange(NOON - 900, NOON, 47.0):
        source = PrometheusSource(PrometheusApi(Connection(prometheus.url)))
        starts.add(source.read(errors_only("pausing", None, float(at)), time.monotonic() + 10).window.start)

    assert len(starts) == 1


@pytest.mark.parametrize("most_values", [120_000, 1])
def test_a_counter_without_the_status_label_is_not_free_of_errors(
    prometheus: PrometheusServer, most_values: int
) -> None:
    """A canary whose failed requests no label tells apart is missing data, also where the server adds up."""
    source = PrometheusSource(PrometheusApi(Connection(prometheus.url)), most_values=most_values)
    found = source.read(errors_only("renamed", "stable.1", NOON), time.monotonic() + 10).by_check["error_rate"]

    assert isinstance(found, Gap)
    assert found.code is Code.METRIC_MISSING
    assert "of renamed has the label status" in found.reason


APART = Profile(
    name="apart",
    arm_label=ARM,
    matchers=PROFILE.matchers,
    error_rate=(ErrorCounters(requests=["succeeded_total", "failed_total"], errors="failed_total"),),
)


@pytest.mark.parametrize("most_values", [120_000, 1])
def test_a_canary_without_any_success_is_counted(prometheus: PrometheusServer, most_values: int) -> None:
    """Where succeeded and failed requests are counted apart, one that only fails has no series of successes."""
    source = PrometheusSource(PrometheusApi(Connection(prometheus.url)), most_values=most_values)
    kinds = {"error_rate": Kind.ERROR_RATE}
    asked = Selection("fraud", "ml", "broken", "old", APART, kinds, NOON)
    readings = source.read(asked, time.monotonic() + 10)

    assert readings.window.start == NOON - 601
    assert counted(readings, "canary") == {"errors": 41 * 5, "requests": 41 * 5}
    assert counted(readings, "baseline") == {"errors": 0, "requests": 41 * 5}


def test_names_with_dots_match_no_other_arm(source: PrometheusSource) -> None:
    """A dot in the name of an arm is a dot, not any character."""
    _, canary, baseline = requests_of(source, errors_only("v1.2", "stable.1", NOON))

    assert canary == 41 * 10
    assert baseline == 40 * 7 + 7  # (start, end] with the scrape at the canary's first


def test_without_a_namespace_every_namespace_is_read(source: PrometheusSource) -> None:
    """The namespace's matcher is left out where the request names none."""
    _, one, _ = requests_of(source, errors_only("v1.2", None, NOON))
    _, every, _ = requests_of(source, errors_only("v1.2", None, NOON, namespace=None))

    assert (one, every) == (41 * 10, 41 * 15)


def test_an_arm_that_was_never_seen_has_no_traffic(source: PrometheusSource) -> None:
    """A hash without any sample is no traffic, in every check."""
    readings = source.read(selection("nobody", "stable.1", NOON), time.monotonic() + 10)

    assert {Code.NO_CANARY_TRAFFIC} == {gap.code for gap in readings.by_check.values() if isinstance(gap, Gap)}
    assert CHECKS.keys() == readings.by_check.keys()


def test_no_conversion_yet_is_a_count_of_zero(source: PrometheusSource) -> None:
    """A canary that sold nothing has trials and no success: a reading, and not missing data."""
    readings = source.read(selection("shy", "stable.1", NOON), time.monotonic() + 10)
    reading = readings.by_check["business_proxy"]

    assert isinstance(reading, Reading), reading
    assert isinstance(reading.canary, Conversions)
    assert reading.canary.successes.sum() == 0
    assert reading.canary.trials.sum() == 41 * 10


def test_what_was_found_out_is_remembered_but_not_needed(prometheus: PrometheusServer) -> None:
    """A second look takes fewer queries and reads the same."""
    seconds: list[float] = []
    api = PrometheusApi(Connection(prometheus.url), observe=lambda took, _: seconds.append(took))
    source = PrometheusSource(api)
    asked = errors_only("v1.2", "stable.1", NOON)
    first = requests_of(source, asked)
    asked_first = len(seconds)

    assert first == requests_of(source, asked)
    assert len(seconds) - asked_first < asked_first


NATIVE = Profile(
    name="native",
    arm_label=ARM,
    error_rate=(ErrorCounters(requests=(parse_selector("rpc_total"),), errors=(parse_selector("rpc_total"),)),),
    latency=(LatencyHistogram(native_histogram=Selector("rpc_seconds")),),
)


@pytest.mark.parametrize("most_values", [120_000, 1])
def test_native_histograms_are_exact(start_prometheus: StartPrometheus, most_values: int) -> None:
    """Native histograms, sent by remote write, are counted bucket by bucket, over a restart too."""
    server = start_prometheus()
    rows = {  # counts of the buckets (1/2, 1], (1, 2], (2, 4] at each of five scrapes
        ("new", "a"): [[1, 0, 0], [4, 1, 0], [9, 2, 1], [1, 1, 0], [2, 1, 5]],
        ("old", "b"): [[100, 50, 5], [110, 50, 5], [120, 60, 5], [130, 61, 6], [140, 62, 7]],
    }
    for scrape in range(5):
        for (arm, pod), counts in rows.items():
            labels = {"__name__": "rpc_seconds", ARM: arm, "job": "rpc", "instance": pod}
            write_histograms(server.url, labels, NOON + 15 * scrape, counts[scrape])
    source = PrometheusSource(PrometheusApi(Connection(server.url)), most_values=most_values)
    kinds = {"latency": Kind.LATENCY}
    given = Selection("rpc", None, "new", "old", NATIVE, kinds, NOON + 62, start=NOON + 1)

    reading = source.read(given, time.monotonic() + 10).by_check["latency"]

    assert isinstance(reading, Reading), reading
    assert isinstance(reading.canary, Histogram)
    assert isinstance(reading.baseline, Histogram)
    assert reading.canary.edges.tolist() == [0.5, 1.0, 2.0, 4.0, np.inf]
    assert reading.canary.counts.sum(axis=0).tolist() == [0, 8 + 2, 2 + 1, 1 + 5, 0]
    assert reading.baseline.counts.sum(axis=0).tolist() == [0, 40, 12, 2, 0]


def test_errors_are_read_with_matchers_of_the_profile(source: PrometheusSource) -> None:
    """No error series is no error, where there are requests."""
    readings = source.read(errors_only("v1.2", "stable.1", NOON), time.monotonic() + 10)
    reading = readings.by_check["error_rate"]

    assert isinstance(reading, Reading)
    assert isinstance(reading.canary, Errors)
    assert reading.canary.errors.sum() == 0
