"""Tests of the source that reads the pods' own pages, over real sockets."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
from hostile import HostileServer, close, hang, say, serving, trickle
from pods import ARM, CHECKS, PROFILE

from analyzer.config.profile import ClassCounter, ErrorCounters, LatencyHistogram, Profile
from analyzer.config.selector import Selector, parse_selector
from analyzer.errors import RequestError, SourceUnavailable
from analyzer.model.counts import Classes, Conversions, Errors, Histogram, Reading, Readings
from analyzer.model.findings import Code, Gap, Kind
from analyzer.sources.assembly import Selection
from analyzer.sources.scrape import ScrapeSource


def page(requests: int, errors: int = 0, *, edges: tuple[str, ...] = ("0.1", "0.2"), more: str = "") -> bytes:
    """Write a page of metrics as a Prometheus client does."""
    lines = [
        "# HELP http_requests_total Requests.",
        "# TYPE http_requests_total counter",
        f'http_requests_total{{status="200"}} {requests - errors}.0',
        *([f'http_requests_total{{status="500"}} {errors}.0'] if errors else []),
        "# TYPE http_request_duration_seconds histogram",
        *(f'http_request_duration_seconds_bucket{{le="{edge}"}} {requests // 2}.0' for edge in edges),
        f'http_request_duration_seconds_bucket{{le="+Inf"}} {requests}.0',
        f"http_request_duration_seconds_count {requests}.0",
        "http_request_duration_seconds_sum 12.5",
        "# TYPE process_start_time_seconds gauge",
        "process_start_time_seconds 1.7676144e+09",
    ]
    return "\n".join([*lines, more, ""]).encode()


@pytest.fixture
def pods() -> Iterator[list[HostileServer]]:
    """Servers that are stopped after the test."""
    servers: list[HostileServer] = []
    yield servers
    for server in servers:
        server.stop()


def source_of(pods: list[HostileServer], **arms: list[object]) -> ScrapeSource:
    """Start a server for every page and name them by arm."""
    targets: dict[str, list[str]] = {}
    for arm, pages in arms.items():
        for one in pages:
            server = HostileServer([say(one) if isinstance(one, bytes) else one])
            server.start()
            pods.append(server)
            targets.setdefault(arm, []).append(f"{server.url}/metrics")
    return ScrapeSource(targets)


def read(
    source: ScrapeSource, profile: Profile = PROFILE, seconds: float = 5.0, baseline: str | None = "stable"
) -> Readings:
    """Read every check that the profile knows."""
    kinds = {name: kind for name, kind in CHECKS.items() if profile.ways(kind)}
    asked = Selection("fraud", "ml", "canary", baseline, profile, kinds, time.time())
    return source.read(asked, time.monotonic() + seconds)


def test_replicas_are_added_up(pods: list[HostileServer]) -> None:
    """The pods of an arm are one arm; the window begins when the first process did."""
    source = source_of(pods, canary=[page(100, 3), page(50, 2)], stable=[page(1000, 4)])
    readings = read(source)
    errors, latency = readings.by_check["error_rate"], readings.by_check["latency_p99"]

    assert isinstance(errors, Reading)
    assert isinstance(errors.canary, Errors)
    assert isinstance(latency, Reading)
    assert isinstance(latency.canary, Histogram)
    assert (errors.canary.errors.tolist(), errors.canary.requests.tolist()) == ([5], [150])
    assert (errors.baseline.errors.tolist(), errors.baseline.requests.tolist()) == ([4], [1000])
    assert latency.canary.edges.tolist() == [0.1, 0.2, np.inf]
    assert latency.canary.counts.tolist() == [[75, 0, 75]]
    assert readings.window.start == 1_767_614_400
    assert len(readings.queries) == 3


def test_no_error_counter_is_no_error(pods: list[HostileServer]) -> None:
    """A pod that never failed has no such counter, and 0 errors."""
    reading = read(source_of(pods, canary=[page(100)], stable=[page(10)])).by_check["error_rate"]

    assert isinstance(reading, Reading)
    assert isinstance(reading.canary, Errors)
    assert (reading.canary.errors.tolist(), reading.canary.requests.tolist()) == ([0], [100])


def test_a_canary_without_any_success_is_counted(pods: list[HostileServer]) -> None:
    """Where succeeded and failed requests are counted apart, one that only fails has no series of successes."""
    counters = ErrorCounters(requests=["succeeded_total", "failed_total"], errors="failed_total")
    profile = Profile(name="apart", arm_label=ARM, error_rate=(counters,))
    source = source_of(pods, canary=[b"failed_total 7\n"], stable=[b"succeeded_total 90\n"])
    reading = read(source, profile).by_check["error_rate"]

    assert isinstance(reading, Reading), reading
    assert isinstance(reading.canary, Errors)
    assert (reading.canary.errors.tolist(), reading.canary.requests.tolist()) == ([7], [7])
    assert (reading.baseline.errors.tolist(), reading.baseline.requests.tolist()) == ([0], [90])


def test_a_counter_without_the_status_label_is_not_free_of_errors(pods: list[HostileServer]) -> None:
    """Failed requests that no label tells apart are missing data, and never an error rate of 0."""
    by_code = page(2000, 500).replace(b"status=", b"code=")
    for pages in ({"canary": [by_code], "stable": [page(2000)]}, {"canary": [page(2000)], "stable": [by_code]}):
        found = read(source_of(pods, **pages)).by_check["error_rate"]
        word = "canary" if pages["canary"] == [by_code] else "baseline"

        assert isinstance(found, Gap)
        assert found.code is Code.METRIC_MISSING
        assert f"no series of http_requests_total of the {word} has the label status" in found.reason


@pytest.mark.parametrize("dead", [close, say(b"<html>Welcome</html>"), say(b"", 503), say(b"", 302, Location="/x")])
def test_a_replica_that_is_down_makes_the_data_partial(pods: list[HostileServer], dead: object) -> None:
    """With one page missing, the counts would be too low: no reading, but a gap that says so."""
    readings = read(source_of(pods, canary=[page(100), dead], stable=[page(10)]))

    assert {one.code for one in readings.by_check.values() if isinstance(one, Gap)} == {Code.PARTIAL_DATA}
    assert all("1 of 3 pages" in one.reason for one in readings.by_check.values() if isinstance(one, Gap))


def test_all_down_is_an_unavailable_source(pods: list[HostileServer]) -> None:
    """With no page at all the source is unavailable."""
    readings = read(source_of(pods, canary=[close], stable=[close]))

    assert {one.code for one in readings.by_check.values() if isinstance(one, Gap)} == {Code.SOURCE_UNAVAILABLE}
    assert len(readings.by_check) == len(CHECKS)


@pytest.mark.parametrize("slow", [hang, trickle])
def test_the_deadline_is_kept(pods: list[HostileServer], slow: object) -> None:
    """A page that hangs, or trickles, holds a verdict no longer than its deadline."""
    source = source_of(pods, canary=[page(100), slow], stable=[page(10)])
    began = time.monotonic()
    readings = read(source, seconds=0.5)

    assert time.monotonic() - began < 0.5 + 0.5
    assert {one.code for one in readings.by_check.values() if isinstance(one, Gap)} == {Code.PARTIAL_DATA}


GARBAGE = {
    "text": b"hello there",
    "json": b'{"status": "ok"}',
    "html": b"<!doctype html><html><body>hi</body></html>",
    "half a line": b'http_requests_total{status="200',
    "no value": b'http_requests_total{status="200"}',
    "a word for a value": b"http_requests_total many",
    "binary": bytes(range(256)),
    "braces": b"}{ 1\n",
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_no_page(pods: list[HostileServer], garbage: str) -> None:
    """What is no page of metrics is never counted."""
    readings = read(source_of(pods, canary=[GARBAGE[garbage]], stable=[page(10)]))

    assert {one.code for one in readings.by_check.values() if isinstance(one, Gap)} == {Code.PARTIAL_DATA}


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf"])
def test_a_counter_that_is_no_number_is_inconsistent(pods: list[HostileServer], value: str) -> None:
    """A counter without a finite value is never counted."""
    odd = page(100, more=f'http_requests_total{{status="404"}} {value}')
    reading = read(source_of(pods, canary=[odd], stable=[page(10)])).by_check["error_rate"]

    assert isinstance(reading, Gap)
    assert reading.code is Code.INCONSISTENT_DATA


def test_different_buckets_do_not_add_up(pods: list[HostileServer]) -> None:
    """Pods of one arm with different buckets cannot be added up."""
    source = source_of(pods, canary=[page(100), page(100, edges=("0.1", "0.5"))], stable=[page(10)])
    reading = read(source).by_check["latency_p99"]

    assert isinstance(reading, Gap)
    assert reading.code is Code.BUCKETS_DIFFER


def test_a_missing_metric_names_itself(pods: list[HostileServer]) -> None:
    """A check whose metric no pod has is a gap that names the metric."""
    reading = read(source_of(pods, canary=[page(100)], stable=[page(10)])).by_check["prediction_drift"]

    assert isinstance(reading, Gap)
    assert reading.code is Code.METRIC_MISSING
    assert "model_prediction_score_bucket" in reading.reason


def test_a_canary_without_the_metric_has_no_traffic_yet(pods: list[HostileServer]) -> None:
    """Requests only of the baseline are no traffic of the canary."""
    reading = read(source_of(pods, canary=[b"up 1\n"], stable=[page(10)])).by_check["error_rate"]

    assert isinstance(reading, Gap)
    assert reading.code is Code.NO_CANARY_TRAFFIC


def test_no_conversion_yet_is_a_count_of_zero(pods: list[HostileServer]) -> None:
    """A canary that sold nothing, while the baseline did, has trials and no success."""
    sold = page(10, more='model_business_events_total{event="conversion"} 4')
    reading = read(source_of(pods, canary=[page(100)], stable=[sold])).by_check["business_proxy"]

    assert isinstance(reading, Reading)
    assert isinstance(reading.canary, Conversions)
    assert (reading.canary.successes.tolist(), reading.canary.trials.tolist()) == ([0], [100])


def test_classes_of_both_arms_are_the_same(pods: list[HostileServer]) -> None:
    """A class that an arm never predicted was counted 0 times."""
    profile = Profile(
        name="classes",
        arm_label=ARM,
        drift=(ClassCounter(classes=Selector("model_predictions_total"), by="predicted_class"),),
    )
    new = b'model_predictions_total{predicted_class="fraud"} 3\nmodel_predictions_total{predicted_class="odd"} 1\n'
    old = b'model_predictions_total{predicted_class="fraud"} 30\nmodel_predictions_total{predicted_class="ok"} 9\n'
    reading = read(source_of(pods, canary=[new, new], stable=[old]), profile).by_check["prediction_drift"]

    assert isinstance(reading, Reading)
    assert isinstance(reading.canary, Classes)
    assert reading.canary.names == reading.baseline.names == ("fraud", "odd", "ok")
    assert reading.canary.counts.tolist() == [[6, 2, 0]]
    assert reading.baseline.counts.tolist() == [[30, 0, 9]]


def test_the_requests_fields_stand_in_selectors(pods: list[HostileServer]) -> None:
    """A selector may name the service, as it may for Prometheus."""
    requests = parse_selector('calls_total{app="{service}"}')
    failed = parse_selector('calls_total{app="{service}",ok="no"}')
    profile = Profile(name="mine", arm_label=ARM, error_rate=(ErrorCounters(requests=(requests,), errors=(failed,)),))
    text = b'calls_total{app="fraud",ok="yes"} 9\ncalls_total{app="fraud",ok="no"} 1\ncalls_total{app="x",ok="no"} 70\n'
    reading = read(source_of(pods, canary=[text]), profile, baseline=None).by_check["error_rate"]

    assert isinstance(reading, Reading)
    assert isinstance(reading.canary, Errors)
    assert (reading.canary.errors.tolist(), reading.canary.requests.tolist()) == ([1], [10])


def test_native_histograms_are_not_on_pages(pods: list[HostileServer]) -> None:
    """The text format has no native histograms: that is said, not guessed around."""
    profile = Profile(
        name="native", arm_label=ARM, latency=(LatencyHistogram(native_histogram=Selector("up_seconds")),)
    )
    reading = read(source_of(pods, canary=[b"up_seconds 1\n"]), profile, baseline=None).by_check["latency_p99"]

    assert isinstance(reading, Gap)
    assert reading.code is Code.METRIC_MISSING


def selected(**fields: object) -> Selection:
    """Ask for the error rate with some fields of the request."""
    given = {"canary": "canary", "baseline": "stable", "at": time.time(), **fields}
    return Selection(service="s", namespace=None, profile=PROFILE, checks={"error_rate": Kind.ERROR_RATE}, **given)


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"canary": "canari"}, "canary", "did you mean 'canary'"),
        ({"baseline": "table"}, "baseline", "did you mean 'stable'"),
        ({"window_seconds": 300.0}, "window", "use window start"),
        ({"start": 1.0}, "window", "use window start"),
        ({"at": 1_767_614_400.0}, "at", "leave the field out"),
    ],
)
def test_what_pages_cannot_tell_is_refused(fields: dict[str, object], field: str, text: str) -> None:
    """An arm without addresses, the past, or a part of it is a wrong request that names the field."""
    source = ScrapeSource({"canary": ["http://localhost:1/"], "stable": ["http://localhost:1/"]})
    with pytest.raises(RequestError, match=text) as caught:
        source.read(selected(**fields), time.monotonic() + 1)

    assert [one.field for one in caught.value.problems] == [field]


def test_ready_reads_every_page(pods: list[HostileServer]) -> None:
    """The source is ready when every page can be read, and says what is missing."""
    source_of(pods, canary=[page(1)]).ready(time.monotonic() + 2)
    with pytest.raises(SourceUnavailable):
        source_of(pods, canary=[page(1)], stable=[close]).ready(time.monotonic() + 2)
    with pytest.raises(SourceUnavailable, match="ANALYZER_SCRAPE_TARGETS"):
        ScrapeSource({}).ready(time.monotonic() + 2)


def test_every_page_is_observed() -> None:
    """The observer is told of every page, with the reason where it failed."""
    seen: list[str | None] = []
    with serving(say(page(5))) as good, serving(say(b"", 500)) as bad:
        targets = {"canary": [good.url], "stable": [bad.url]}
        read(ScrapeSource(targets, observe=lambda _, reason: seen.append(reason)))

    assert sorted(map(str, seen)) == ["None", "unavailable"]
