"""Tests of what is one stream of counts and one life of a canary, each on a history in a real Prometheus."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from prometheus_server import Point, PrometheusServer, StartPrometheus
from sources.hostile import say, serving, vector
from sources.worlds import ARM, NOON, PROFILE

from analyzer.config.profile import ClassCounter, Profile
from analyzer.config.selector import Selector, parse_selector
from analyzer.errors import BadResponse, PartialData
from analyzer.model.counts import Classes, Errors, Histogram, Reading, Readings
from analyzer.model.findings import Code, Gap, Kind
from analyzer.sources.assembly import Selection
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi
from analyzer.sources.timeline import Timeline

pytestmark = pytest.mark.prometheus

BEGIN, MINUTE = NOON - 3600.0, 60.0
CLASSES = Profile(
    name="classes",
    arm_label=ARM,
    matchers=PROFILE.matchers,
    drift=(ClassCounter(classes=Selector("model_predictions_total"), by="class"),),
)
KINDS = {"error_rate": Kind.ERROR_RATE, "latency": Kind.LATENCY, "business": Kind.BUSINESS}


@dataclass(frozen=True)
class Served:
    """A pod that serves evenly: a request a second, of which every n-th fails."""

    arm: str
    name: str
    begin: float
    end: float = NOON
    fails: int = 10
    per_second: float = 1.0

    def points(
        self,
        labels: Callable[[float], dict[str, str]] = lambda _: {},
        start: Callable[[float], float | None] = lambda _: None,
        counted: Callable[[int, float], int] = lambda requests, _: requests,
        edge: Callable[[float], str] = lambda _: "1",
        offset: float = 3.0,
        job: str = "pods",
    ) -> Iterator[Point]:
        """Write its scrapes every 15 s."""
        moment = self.begin + offset
        while moment <= self.end:
            own = {ARM: self.arm, "namespace": "ml", "pod": self.name, "instance": f"{self.name}:80", "job": job}
            own |= labels(moment)
            requests = counted(int((moment - self.begin) * self.per_second), moment)
            failed = requests // self.fails
            yield Point("http_requests_total", {**own, "status": "200"}, moment, requests - failed)
            yield Point("http_requests_total", {**own, "status": "500"}, moment, failed)
            yield Point("process_start_time_seconds", own, moment, start(moment) or self.begin)
            for le in (edge(moment), "+Inf"):
                yield Point("http_request_duration_seconds_bucket", {**own, "le": le}, moment, requests)
            moment += 15.0


def _twice(one: Served, **more: str) -> Iterator[Point]:
    yield from one.points()
    yield from one.points(lambda _: more, offset=9.0, job=more.get("job", "pods"))


def _canary(name: str, begin: float = BEGIN, end: float = NOON, **more: float) -> Served:
    return Served(f"canary-{name}", f"canary-{name}-a", begin, end, **more)  # type: ignore[arg-type]


def _stable(name: str) -> Iterator[Point]:
    return Served(f"stable-{name}", f"stable-{name}-a", BEGIN - 1800, fails=100).points()


def _several(name: str) -> Iterator[Point]:
    """Three processes answer in turn, with a half, a third and a sixth of the requests."""
    turn = {0: (2, 0.0), 1: (3, 0.5), 2: (6, 1.1)}
    yield from _canary(name).points(
        start=lambda moment: BEGIN + turn[int(moment // 15) % 3][1],
        counted=lambda requests, moment: requests // turn[int(moment // 15) % 3][0],
    )


def _value(name: str, wrong: float) -> Iterator[Point]:
    """A business value that went wrong, beside requests that did not."""
    yield from _canary(name).points()
    own = {ARM: f"canary-{name}", "namespace": "ml", "pod": f"canary-{name}-a"}
    for number in range(200):
        moment = BEGIN + 3 + 15 * number
        for le in ("10", "+Inf"):
            yield Point("model_business_value_bucket", {**own, "le": le}, moment, number)
        yield Point("model_business_value_count", own, moment, number)
        yield Point("model_business_value_sum", own, moment, wrong if number > 50 else 3.0 * number)


def _returning(name: str) -> Iterator[Point]:
    """A class of the baseline that was not seen before comes with all that it ever counted."""
    for arm, begin in ((f"stable-{name}", BEGIN - 1800), (f"canary-{name}", BEGIN)):
        own = {ARM: arm, "namespace": "ml", "pod": f"{arm}-a"}
        moment = begin + 3
        while moment <= NOON:
            yield Point("model_predictions_total", {**own, "class": "fine"}, moment, int(10 * (moment - begin)))
            if arm.startswith("stable") and BEGIN + 600 < moment < BEGIN + 900:
                yield Point("model_predictions_total", {**own, "class": "rare"}, moment, 2501)
            moment += 15


def _undone(name: str) -> Iterator[Point]:
    """The stable version, with an incident; the next takes over, and ten minutes later the same pod is back."""
    quiet = BEGIN + 1200, BEGIN + 1800

    def counted(requests: int, moment: float) -> int:
        return int(min(requests, quiet[0] - BEGIN) + max(0, (moment - quiet[1]) // 4))

    for point in Served(f"canary-{name}", f"canary-{name}-a", BEGIN, fails=10).points(counted=counted):
        incident = point.labels.get("status") == "500" and point.moment > BEGIN + 300
        yield Point(point.metric, point.labels, point.moment, point.value + 200 * incident)
    yield from Served(f"stable-{name}", f"stable-{name}-a", BEGIN + 900, fails=100).points()


def history() -> Iterator[Point]:
    """Write every case, each with arms of its own."""
    changed = NOON - 1800
    cases: dict[str, Iterable[Point]] = {
        "twice": _twice(_canary("twice"), job="service"),
        "replicas": _twice(_canary("replicas"), prometheus_replica="b"),
        "labelled": _canary("labelled").points(lambda moment: {"team": "risk"} if moment > changed else {}),
        "node": _canary("node").points(lambda moment: {"instance": "node-7"} if moment > changed else {}),
        "le": _canary("le").points(edge=lambda moment: "1.0" if moment > changed else "1"),
        "back": _canary("back").points(counted=lambda requests, moment: requests - 20 * (int(moment) % 900 < 15)),
        "jitter": _canary("jitter").points(start=lambda moment: BEGIN + 0.01 * (int(moment) % 3)),
        "several": _several("several"),
        "nan": _value("nan", math.nan),
        "negative": _value("negative", -1e30),
        "absurd": _value("absurd", 1e300),
        "retried": (
            point
            for one in (
                Served("canary-retried", "canary-retried-x", BEGIN, BEGIN + 300, fails=2),
                Served("canary-retried", "canary-retried-y", BEGIN + 540),
            )
            for point in one.points()
        ),
        "stateful": (
            point
            for begin, end, fails in ((BEGIN, BEGIN + 300, 2), (BEGIN + 540, NOON, 10))
            for point in Served("canary-stateful", "canary-stateful-0", begin, end, fails).points()
        ),
        "undone": _undone("undone"),
        "lost": (point for point in _canary("lost").points() if point.moment > changed),
        "returning": _returning("returning"),
    }
    for name, points in cases.items():
        yield from points
        if name == "lost":
            yield from (point for point in _stable(name) if point.moment > changed)
        elif name not in ("returning", "undone"):
            yield from _stable(name)


@pytest.fixture(scope="module")
def prometheus(start_prometheus: StartPrometheus) -> PrometheusServer:
    """A Prometheus with all cases."""
    return start_prometheus(history())


def read(
    prometheus: PrometheusServer, name: str, at: float = NOON, profile: Profile = PROFILE, **window: float
) -> Readings:
    """Read one case."""
    kinds = {"drift": Kind.DRIFT} if profile is CLASSES else KINDS
    source = PrometheusSource(PrometheusApi(Connection(prometheus.url, timeout=30.0)))
    asked = Selection("s", "ml", f"canary-{name}", f"stable-{name}", profile, kinds, at, **window)  # type: ignore[arg-type]
    return source.read(asked, time.monotonic() + 60)


def errors_of(readings: Readings) -> tuple[Reading[Any], float, float]:
    """Return the reading of the errors, and the requests and errors of the canary."""
    reading = readings.by_check["error_rate"]
    assert isinstance(reading, Reading), reading
    assert isinstance(reading.canary, Errors)
    return reading, float(reading.canary.requests.sum()), float(reading.canary.errors.sum())


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("twice", "scraped more than once"),
        ("replicas", "scraped more than once"),
        ("labelled", "canary-labelled-a was given other labels"),
        ("node", "canary-node-a was given other labels"),
        ("le", ""),
        ("back", ""),
        ("jitter", ""),
    ],
)
def test_each_request_is_counted_once(prometheus: PrometheusServer, name: str, note: str) -> None:
    """Whatever series it is stored in, and whatever one sample of them says; a repair is in the notes."""
    readings = read(prometheus, name)
    reading, requests, failed = errors_of(readings)
    latency = readings.by_check["latency"]
    assert isinstance(latency, Reading)
    assert isinstance(latency.canary, Histogram)
    last = max(point.moment for point in _canary(name).points())
    truth = int(last - BEGIN)

    assert 0 <= requests - truth <= (6 if note.startswith("scraped") else 0)
    assert failed == requests // 10
    assert latency.canary.counts.sum(axis=0).tolist() == [requests, 0]
    assert len(reading.canary_pods) == 1
    assert reading.canary_pods[0].restarts == 0
    assert note in " ".join(reading.notes)


def test_several_processes_behind_one_port_decide_nothing(prometheus: PrometheusServer) -> None:
    """The check names the pod and the remedy."""
    gap = read(prometheus, "several").by_check["error_rate"]

    assert isinstance(gap, Gap)
    assert gap.code is Code.INCONSISTENT_DATA
    assert "several processes answer the scrapes of canary-several-a" in gap.reason
    assert "multiprocess" in gap.reason


@pytest.mark.parametrize("name", ["nan", "negative", "absurd"])
@pytest.mark.parametrize("most_values", [120_000, 1])
def test_a_value_that_no_counter_has_blinds_its_own_check_only(
    prometheus: PrometheusServer, name: str, most_values: int
) -> None:
    """The errors are counted; the other check names the metric."""
    if most_values == 1 and name != "nan":
        pytest.skip("sums of the server do not show single values")
    source = PrometheusSource(PrometheusApi(Connection(prometheus.url, timeout=30.0)), most_values=most_values)
    asked = Selection("s", "ml", f"canary-{name}", f"stable-{name}", PROFILE, KINDS, NOON)
    readings = source.read(asked, time.monotonic() + 60)
    gap = readings.by_check["business"]

    assert errors_of(readings)[1] > 3000
    assert isinstance(gap, Gap)
    assert gap.code is Code.INCONSISTENT_DATA
    assert "model_business_value_sum" in gap.reason


@pytest.mark.parametrize("name", ["retried", "stateful"])
@pytest.mark.parametrize("minutes", [12, 30, 60])
def test_an_earlier_life_of_the_canary_does_not_count(prometheus: PrometheusServer, name: str, minutes: int) -> None:
    """Counting begins where its present pods began, four minutes after the others were gone; a note says so."""
    readings = read(prometheus, name, at=BEGIN + minutes * MINUTE)
    reading, requests, failed = errors_of(readings)

    assert readings.window.start == pytest.approx(BEGIN + 543, abs=2)
    assert failed == requests // 10
    assert requests == pytest.approx(minutes * MINUTE - 540, abs=16)
    assert "was there before" in reading.notes[0]
    joined = errors_of(read(prometheus, name, at=BEGIN + minutes * MINUTE, start=BEGIN - 30.0))
    assert joined[1] == pytest.approx(requests + 300, abs=16)


def test_the_time_of_a_canary_as_the_stable_version_does_not_count(prometheus: PrometheusServer) -> None:
    """After an undo its pods are the same: counting begins where they have traffic again."""
    readings = read(prometheus, "undone")
    reading, requests, failed = errors_of(readings)

    assert readings.window.start == pytest.approx(BEGIN + 1800, abs=45)
    assert requests == pytest.approx(450, abs=5)
    assert failed == pytest.approx(45, abs=1)
    assert "was there before" in reading.notes[0]


def test_after_the_loss_of_history_both_arms_are_counted_over_the_same_time(prometheus: PrometheusServer) -> None:
    """What the canary had counted before Prometheus began anew is left out, as the baseline's is."""
    reading, requests, _ = errors_of(read(prometheus, "lost"))
    assert isinstance(reading.baseline, Errors)

    assert requests == pytest.approx(1800, abs=30)
    assert requests == reading.baseline.requests.sum()
    assert "running long before counting begins" in " ".join(reading.notes)


def test_a_series_that_returns_does_not_bring_its_past(prometheus: PrometheusServer) -> None:
    """2,500 events within 15 s are more than the process counts: they are left out, and named."""
    reading = read(prometheus, "returning", profile=CLASSES).by_check["drift"]
    assert isinstance(reading, Reading)
    assert isinstance(reading.baseline, Classes)
    counts = dict(zip(reading.baseline.names, reading.baseline.counts.sum(axis=0), strict=True))

    assert counts["rare"] == 0
    assert counts["fine"] == pytest.approx(36_000, abs=300)
    assert "appeared with 2,501 already counted" in " ".join(reading.notes)


@pytest.mark.parametrize(
    ("warnings", "whole"),
    [
        (["PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: x"], True),
        (["PromQL info: ended", "store is unavailable"], False),
        (["PromQL warning: quantile value should be between 0 and 1"], False),
    ],
)
def test_hints_on_a_query_are_no_partial_data(warnings: list[str], whole: bool) -> None:
    """Prometheus 2.48 to 2.53 and Thanos put them among the warnings."""
    with serving(say({**vector(), "warnings": warnings, "infos": ["PromQL info: more"]})) as server:
        api = PrometheusApi(Connection(server.url))
        if whole:
            assert api.instant("x", NOON, time.monotonic() + 5) == []
        else:
            with pytest.raises(PartialData):
                api.instant("x", NOON, time.monotonic() + 5)


@pytest.mark.parametrize(
    "text", ['{"http.requests"}', '{"http.requests","http.status"=~"5..",a="b"}', 'x{"a.b"="c"}', '{"a\\"b"}']
)
def test_names_that_are_not_plain_ones_are_quoted(text: str) -> None:
    """As Prometheus 3 writes them."""
    assert str(parse_selector(text)) == text


@pytest.mark.parametrize("text", ['{a="b"}', '{"a"="b"}', '{""}', "{}", 'x{"a"}'])
def test_a_selector_needs_a_metric(text: str) -> None:
    """A quoted name alone is the metric, and there is one."""
    with pytest.raises(ValueError, match=r"selector|matcher"):
        parse_selector(text)


def test_answers_for_other_moments_name_the_query_frontend() -> None:
    """Times that were moved to multiples of the step are named, with the remedy."""
    timeline = Timeline(NOON - 607.0, NOON - 7.0, 15.0, 40)
    with pytest.raises(BadResponse, match="query frontend aligns"):
        timeline.indices(np.array([NOON - 600.0, NOON - 585.0]))
