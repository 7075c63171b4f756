"""Tests that native histograms, read from a real Prometheus, are exact and have pods as counters do."""

import random
import re
import time
from collections.abc import Iterable, Iterator, Sequence

import pytest
from prometheus_server import StartPrometheus
from sources.pods import ARM, PROFILE, STATUSES, Pod, selection, truth
from sources.remote_write import Sample, write
from test_exact_counts import NOON, Plan, check_pods, experiment, in_turn, played, rollout, scenario

from analyzer.checks.trimming import trim
from analyzer.config.policy import load_policies
from analyzer.config.profile import LatencyHistogram, Profile
from analyzer.config.selector import Selector
from analyzer.model.counts import Counts, Histogram, Reading, requests_by_slice
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi

pytestmark = pytest.mark.prometheus

NATIVE = Profile(
    name="native",
    arm_label=ARM,
    matchers=PROFILE.matchers,
    process_start=PROFILE.process_start,
    latency=(LatencyHistogram(native_histogram=Selector("latency_seconds")),),
)
DRAWN = range(6)
AT_ONCE = 600.0  # seconds of samples in a request


def samples_of(pod: Pod) -> Iterator[Sample]:
    """Write scrapes as native histograms, with a bucket for each status of the requests."""
    target = {ARM: pod.arm, "job": pod.service, "instance": f"{pod.name}:8080", "pod": pod.name, "namespace": "ml"}
    for scrape in pod.scrapes:
        counts = [int(scrape.counters.get(("http_requests_total", "status", status), 0)) for status in STATUSES]
        yield Sample({"__name__": "process_start_time_seconds", **target}, scrape.moment, scrape.process_start)
        yield Sample({"__name__": "latency_seconds", **target}, scrape.moment, counts)


def write_all(url: str, rollouts: Iterable[Sequence[Pod]]) -> None:
    """Send what was scraped, in the order of time."""
    samples = sorted(
        (sample for pods in rollouts for pod in pods for sample in samples_of(pod)), key=lambda sample: sample.moment
    )
    batch: list[Sample] = []
    for sample in samples:
        if batch and sample.moment - batch[0].moment > AT_ONCE:
            write(url, batch)
            batch = []
        batch.append(sample)
    write(url, batch)


@pytest.fixture(scope="module")
def url(start_prometheus: StartPrometheus) -> str:
    """A Prometheus with the history of all rollouts."""
    server = start_prometheus()
    write_all(server.url, [rollout(), experiment(), in_turn(), young(), *map(scenario, DRAWN)])
    return server.url


def young() -> list[Pod]:
    """Play a canary that gets a second pod later; it restarts."""
    begin = NOON - 3600
    plans = {
        "stable-young": [Plan(begin - 1200, NOON)],
        "canary-young": [Plan(begin, NOON), Plan(begin + 1800, NOON, restarts=(NOON - 600,))],
    }
    draw = random.Random(4)
    return [played(f"{arm}-{n}", arm, plan, draw) for arm, several in plans.items() for n, plan in enumerate(several)]


def read(url: str, at: float, suffix: str = "", *, most_values: int = 10**6, **window: float) -> Reading[Counts]:
    """Read both arms."""
    source = PrometheusSource(PrometheusApi(Connection(url)), most_values=most_values)
    readings = source.read(selection(f"canary{suffix}", f"stable{suffix}", at, NATIVE, **window), time.monotonic() + 30)
    check_pods(readings)
    reading = readings.by_check["latency_p99"]
    assert isinstance(reading, Reading), reading
    return reading


def check(url: str, pods: Sequence[Pod], at: float, suffix: str = "", **window: float) -> Reading[Counts]:
    """Compare what the source reads with the truth."""
    reading = read(url, at, suffix, **window)
    start = reading.begin
    assert start is not None
    if left_out := re.search(r"the first (\d+) s are left out", " ".join(reading.notes)):
        start += float(left_out[1])
    for role, counts in (("canary", reading.canary), ("stable", reading.baseline)):
        totals = truth(pods, f"{role}{suffix}", start, at, new=not window)
        want = [totals.get(("http_requests_total", "status", status), 0) for status in STATUSES]
        got = dict.fromkeys((1.0, 2.0, 4.0, 8.0), 0.0)
        if isinstance(counts, Histogram):
            got |= dict(zip(counts.edges.tolist(), counts.counts.sum(axis=0).tolist(), strict=True))
        assert [got[edge] for edge in (1.0, 2.0, 4.0, 8.0)] == want, (role, start - NOON)
    return reading


@pytest.mark.parametrize("window", [{}, {"start": NOON - 4000}, {"window_seconds": 600.0}])
@pytest.mark.parametrize("at", [NOON, NOON - 61.5, NOON - 1001, NOON - 4000])
def test_counts_of_the_rollout_are_exact(url: str, at: float, window: dict[str, float]) -> None:
    """Restarts, births, deaths and outages are counted as those of counters."""
    check(url, rollout(), at, **({"start": at - 1000} if window.get("start", 0.0) >= at else window))


@pytest.mark.parametrize("number", DRAWN)
def test_counts_of_drawn_rollouts_are_exact(url: str, number: int) -> None:
    """Whatever happens to the pods."""
    check(url, scenario(number), NOON, f"-{number}")
    check(url, scenario(number), NOON, f"-{number}", window_seconds=300.0)


def test_the_fresh_baseline_of_an_experiment_counts_from_its_birth(url: str) -> None:
    """Both arms count what they had answered before they were first scraped."""
    check(url, experiment(), NOON, "-fresh")


def test_slices_are_no_shorter_than_the_time_between_scrapes(url: str) -> None:
    """Pods that are scraped in turn have requests in the same slices."""
    reading = check(url, in_turn(), NOON, "-slow")

    assert reading.slice_seconds == reading.scrape_seconds == 30


def test_pods_have_their_names_starts_and_restarts(url: str) -> None:
    """As those of counters."""
    reading = read(url, NOON)

    assert {pod.name: pod.start for pod in reading.canary_pods} == {
        pod.name: pod.scrapes[0].process_start for pod in rollout() if pod.arm == "canary"
    }
    assert {pod.name: (pod.start is None, pod.restarts) for pod in (*reading.canary_pods, *reading.baseline_pods)} == {
        "canary-a": (False, 0), "canary-b": (False, 0), "canary-c": (False, 2),
        "stable-a": (True, 0), "stable-b": (True, 0), "stable-c": (True, 1),
    }  # fmt: skip
    assert any(note.startswith("restarts of the canary's processes: canary-c 2 times") for note in reading.notes)


def test_of_too_many_series_the_ends_of_slices_are_read(url: str) -> None:
    """What processes had counted just before they restarted is lost; their pods are known all the same."""
    exact, coarse = read(url, NOON), read(url, NOON, most_values=1)
    for fine, other in ((exact.canary, coarse.canary), (exact.baseline, coarse.baseline)):
        assert isinstance(fine, Histogram)
        assert isinstance(other, Histogram)
        assert other.counts.sum() == pytest.approx(fine.counts.sum(), rel=0.02)
    assert [(pod.name, pod.start) for pod in coarse.canary_pods] == [(pod.name, pod.start) for pod in exact.canary_pods]


def test_the_first_minutes_of_every_pod_are_left_out(url: str) -> None:
    """Also of one that comes later, but not after its restart."""
    pods, minutes = young(), 300.0
    check_ = load_policies(None)["ml-model"].checks["latency_p99"]
    trimmed = trim(
        read(url, NOON, "-young"), check_.model_copy(update={"warmup": 0.0, "pod_warmup": minutes, "lag": 0.0}), None
    )
    assert isinstance(trimmed, Reading)
    step, begin = trimmed.slice_seconds, trimmed.begin
    assert step is not None
    assert begin is not None
    for pod, counted in zip([pod for pod in pods if pod.arm == "canary-young"], trimmed.canary_pods, strict=True):
        old = pod.scrapes[0].process_start + minutes
        first = begin + step * -(-(old - begin) // step)  # whole slices are left out
        totals = truth([pod], pod.arm, first, NOON)
        want = sum(count for (metric, _, _), count in totals.items() if metric == "http_requests_total")
        assert requests_by_slice(counted.counts).sum() == want


def test_a_second_pod_without_a_gauge_begins_with_its_first_sample(url: str) -> None:
    """Which is as near as it can be known."""
    source = PrometheusSource(PrometheusApi(Connection(url)), most_values=10**6)
    asked = selection("canary-young", "stable-young", NOON, NATIVE.model_copy(update={"process_start": None}))
    reading = source.read(asked, time.monotonic() + 30).by_check["latency_p99"]
    assert isinstance(reading, Reading)
    second = [pod for pod in young() if pod.arm == "canary-young"][1]

    assert reading.canary_pods[1].start == pytest.approx(second.scrapes[0].moment, abs=15)
    assert reading.canary_pods[1].restarts == 1
