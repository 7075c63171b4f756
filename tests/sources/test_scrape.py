"""Tests of the source that reads the pods' own pages, over real sockets."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sources.hostile import HostileServer, close, hang, say, serving, trickle
from sources.pods import ARM, CHECKS, PROFILE

from analyzer.config.profile import ClassCounter, ErrorCounters, LatencyHistogram, Profile, load_profiles
from analyzer.config.selector import Selector, parse_selector
from analyzer.errors import RequestError, SourceUnavailable
from analyzer.model.counts import (
    Classes,
    Conversions,
    Counts,
    Errors,
    Histogram,
    Reading,
    Readings,
    Values,
    by_slice,
)
from analyzer.model.findings import Code, Gap, Kind
from analyzer.sources.assembly import Selection
from analyzer.sources.exposition import parse_page
from analyzer.sources.memory import MOST_SUBJECTS, Memory, Snapshot, with_memory
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


def source_of(pods: list[HostileServer], **arms: list[Any]) -> ScrapeSource:
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
    assert isinstance(errors.baseline, Errors)
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
    assert isinstance(reading.baseline, Errors)
    assert (reading.canary.errors.tolist(), reading.canary.requests.tolist()) == ([7], [7])
    assert (reading.baseline.errors.tolist(), reading.baseline.requests.tolist()) == ([0], [90])


def test_a_counter_without_the_status_label_is_not_free_of_errors(pods: list[HostileServer]) -> None:
    """Failed requests that no label tells apart are missing data, and never an error rate of 0."""
    by_code = page(2000, 500).replace(b"status=", b"code=")
    for pages in ({"canary": [by_code], "stable": [page(2000)]}, {"canary": [page(2000)], "stable": [by_code]}):
        found = read(source_of(pods, **pages)).by_check["error_rate"]
        arm = "canary" if pages["canary"] == [by_code] else "stable"

        assert isinstance(found, Gap)
        assert found.code is Code.METRIC_MISSING
        assert f"no series of http_requests_total of {arm} has the label status" in found.reason


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
    assert isinstance(reading.baseline, Classes)
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


def counted(reading: object) -> tuple[float, float]:
    """Give the canary's failed requests and all its requests."""
    assert isinstance(reading, Reading), reading
    assert isinstance(reading.canary, Errors)
    return float(reading.canary.errors.sum()), float(reading.canary.requests.sum())


def test_names_stay_as_they_are_written(pods: list[HostileServer]) -> None:
    """A counter without _total has the name that Prometheus keeps: TorchServe's failed requests are not hidden."""
    failing = """\
# TYPE Requests5XX counter
Requests5XX{Level="Host",Hostname="a",} 50.0
# TYPE Requests2XX counter
Requests2XX{Level="Host",Hostname="a",} 0.0
# TYPE ts_inference_requests_total counter
ts_inference_requests_total{model_name="m",} 50.0
"""
    reading = read(
        source_of(pods, canary=[failing.encode()], stable=[failing.encode()]), load_profiles(None)["torchserve"]
    )

    assert counted(reading.by_check["error_rate"]) == (50, 50)


def test_pings_that_fail_are_not_those_of_users(pods: list[HostileServer]) -> None:
    """As many failed responses as there are responses beyond the requests may be pings: neither pass nor fail."""
    text = 'Requests5XX 150\nRequests2XX 90\nts_inference_requests_total{model_name="m"} 100\n'
    reading = read(
        source_of(pods, canary=[text.encode()], stable=[text.encode()]), load_profiles(None)["torchserve"]
    ).by_check["error_rate"]

    assert counted(reading) == (10, 100)
    assert isinstance(reading, Reading)
    assert isinstance(reading.canary, Errors)
    assert reading.canary.doubtful is not None
    assert reading.canary.doubtful.sum() == pytest.approx(90)


def test_the_same_page_and_the_same_series_count_once(pods: list[HostileServer]) -> None:
    """An address that is there twice is read once; of a series that is there twice the first sample counts."""
    twice = page(100, 3, more='http_requests_total{status="200"} 9000.0')
    source = source_of(pods, canary=[twice], stable=[page(10)])
    url = f"{pods[0].url}/metrics"
    again = ScrapeSource({"canary": [url, url.replace("http://", "HTTP://")], "stable": [f"{pods[1].url}/metrics"]})

    assert counted(read(source).by_check["error_rate"]) == (3, 100)
    assert counted(read(again).by_check["error_rate"]) == (3, 100)


def test_a_page_of_both_arms_is_refused(pods: list[HostileServer]) -> None:
    """Arms that share a page would be alike, whatever the canary does."""
    source_of(pods, canary=[page(100)])
    url = f"{pods[0].url}/metrics"
    found = read(ScrapeSource({"canary": [url], "stable": [url]})).by_check["error_rate"]

    assert isinstance(found, Gap)
    assert (found.code, "page of both arms" in found.reason) == (Code.INCONSISTENT_DATA, True)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"\xef\xbb\xbf" + page(100), "line 1 "),
        (b"\0" + page(100), "line 1 "),
        (page(100, more="http_requests_total{ 7"), "line 12 "),
        (page(100, more="http_requests_total 7 8 9"), "line 12 "),
        (page(100, more='http_requests_total{status="1",status="2"} 7'), "line 12 "),
        (page(100, more='http_requests_total{status="200"} 1_000'), "line 12 "),
        (page(100) + b"# fine\n\xff 1\n", "line 14 "),
        (page(100, more='http_requests_total{status="500"} -20'), "line 12: "),
        (page(100, more='http_requests_total{status="500"} NaN'), "line 12: "),
    ],
)
def test_impossible_pages_are_refused_with_the_line(pods: list[HostileServer], body: bytes, line: str) -> None:
    """What Prometheus would not take, or no counter can be, is never counted: the line is named."""
    found = read(source_of(pods, canary=[body], stable=[page(10)])).by_check["error_rate"]

    assert isinstance(found, Gap)
    assert found.code is Code.INCONSISTENT_DATA
    assert line in found.reason


@pytest.mark.parametrize(
    "empty", [b"", b"\n\n", b"# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\n"]
)
def test_a_page_without_samples_is_a_pod_without_traffic(pods: list[HostileServer], empty: bytes) -> None:
    """A pod that has not counted anything yet is no missing data."""
    readings = read(source_of(pods, canary=[page(100, 3), empty], stable=[page(10)]))

    assert counted(readings.by_check["error_rate"]) == (3, 100)


def test_a_page_has_a_limit(pods: list[HostileServer]) -> None:
    """A page above the limit is refused; the limit can be set."""
    source_of(pods, canary=[page(100, more="# " + "x" * 5000)], stable=[page(10)])
    targets = {"canary": [f"{pods[0].url}/metrics"], "stable": [f"{pods[1].url}/metrics"]}
    refused = read(ScrapeSource(targets, most_bytes=4096)).by_check["error_rate"]

    assert isinstance(refused, Gap)
    assert "larger than 0.00391 MiB" in refused.reason
    assert counted(read(ScrapeSource(targets, most_bytes=2**20)).by_check["error_rate"]) == (0, 100)


def test_parsing_stops_at_the_deadline() -> None:
    """A long page holds a verdict no longer than its deadline."""
    with pytest.raises(SourceUnavailable, match="in time"):
        parse_page(b"a 1\n" * 10_000, None, time.monotonic() - 1)


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [
        ("m 1", {}, 1.0),
        ('m{a="b",} 1.5e3', {"a": "b"}, 1500.0),
        ('m { a = "b" , c = "}{\\"\\\\\\n" } 2 1700000000000', {"a": "b", "c": '}{"\\\n'}, 2.0),
        ('m{a=""} +Inf', {}, np.inf),
        ('m{a="b"} 3 # {trace_id="x"} 0.5 1700000000.1', {"a": "b"}, 3.0),
        ('m{a="x} 7"} 3', {"a": "x} 7"}, 3.0),
    ],
)
def test_lines_are_read_as_prometheus_does(line: str, labels: dict[str, str], value: float) -> None:
    """Spaces, escapes, braces in values, times and exemplars."""
    (sample,) = parse_page(f"# TYPE m counter\n{line}\n".encode(), None, time.monotonic() + 5)

    assert (sample.metric, sample.labels, sample.value, sample.line) == ("m", labels, value, 2)


def test_the_baseline_of_earlier_readings_is_the_history(pods: list[HostileServer]) -> None:
    """What the baseline counted between readings is kept in memory; a restart of its process is no slice."""
    source, now, readings = source_of(pods, canary=[page(10)], stable=[page(10)]), time.time(), []
    for look, requests in enumerate((100, 300, 600, 50, 450)):
        started = b"1.7676144e+09" if look < 3 else b"1.7676199e+09"
        pods[1].answers[:] = [say(page(requests, requests // 50).replace(b"1.7676144e+09", started))]
        asked = Selection(
            "fraud", "ml", "canary", "stable", PROFILE, {"error_rate": Kind.ERROR_RATE}, now - 45 + 16 * look,
            history_seconds=7200.0,
        )  # fmt: skip
        readings.append(source.read(asked, time.monotonic() + 5).by_check["error_rate"])
    first, last = readings[0], readings[-1]

    assert isinstance(first, Reading)
    assert (first.history, "no history yet" in first.notes[-1]) == (None, True)
    assert isinstance(last, Reading)
    assert isinstance(last.history, Errors)
    assert last.history_seconds == pytest.approx(16, abs=0.01)
    assert last.history.requests.tolist() == [200, 300, 400]
    assert last.history.errors.tolist() == [4, 6, 8]
    assert last.notes[-1] == "history of 48 s in memory"


def errors(requests: float) -> Errors:
    """Count requests since the start of a process, none of which failed."""
    return Errors(np.zeros(1), np.array([requests]))


def buckets(*edges: float, requests: float) -> Histogram:
    """Count requests in the first bucket since the start of a process."""
    counts = np.zeros((1, len(edges) + 1))
    counts[0, 0] = requests
    return Histogram(np.array([*edges, np.inf]), counts)


def orders(total: float, count: float, squares: float | None = 9.0) -> Values:
    """Sum values since the start of a process."""
    return Values(np.array([total]), None if squares is None else np.array([squares]), np.array([count]))


@pytest.mark.parametrize(
    ("moments", "counts", "grown"),
    [
        ((0, 20, 40, 60), [errors(10), errors(15), errors(30), errors(40)], [5, 15, 10]),
        ((0, 20, 40, 60), [errors(10), errors(15), errors(2), errors(4)], [5, 2]),  # unseen, a process began anew
        ((0, 20, 40, 90, 110), [errors(number) for number in (10, 15, 30, 40, 41)], [5, 15, 1]),  # a reading is missing
        ((0, 20, 40, 60), [buckets(1.0, requests=5), *(buckets(2.0, requests=n) for n in (6, 8, 9))], [2, 1]),
        ((0, 20, 40, 60), [Classes(("a",), np.full((1, 1), n)) for n in (5.0, 6.0, 8.0, 9.0)], [1, 2, 1]),
        ((0, 20, 40), [orders(9.0, 3.0), orders(8.0, 4.0), orders(9.0, 6.0)], [-1, 1]),  # a refund is no restart
        ((0, 20, 40, 60), [orders(1.0, 1.0, None), *(orders(n, n) for n in (2.0, 4.0, 5.0))], [2, 1]),
        ((0, 20), [errors(10), errors(15)], None),
    ],
)  # fmt: skip
def test_history_is_what_can_be_compared(
    moments: tuple[float, ...], counts: list[Counts], grown: list[float] | None
) -> None:
    """Readings with other buckets, of a restart or of another length of time add nothing to the past."""
    snapshots = [Snapshot(at, None, each) for at, each in zip(moments, counts, strict=True)]
    reading = with_memory(Reading(counts[-1], counts[-1]), snapshots)

    if grown is None:
        assert reading.history is None
        assert "no history yet" in reading.notes[-1]
        return
    assert reading.history_seconds == 20.0
    assert reading.history is not None
    parts = by_slice(reading.history)
    judged = parts.get("requests", parts.get("counts", parts.get("total")))
    assert judged is not None
    assert judged.reshape(len(grown), -1)[:, 0].tolist() == grown


def test_memory_is_bounded() -> None:
    """The oldest subjects and snapshots go first; readings that are close together are one."""
    memory = Memory()
    for subject in range(MOST_SUBJECTS + 5):
        kept = memory.add(subject, Snapshot(0.0, None, Errors(np.ones(1), np.ones(1))), 7200.0)
    for moment in range(3):
        kept = memory.add("busy", Snapshot(float(moment), None, Errors(np.ones(1), np.ones(1))), 7200.0)

    assert len(memory) == MOST_SUBJECTS
    assert [snapshot.at for snapshot in kept] == [0.0]
