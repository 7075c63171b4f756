"""Tests of the growth of native histograms, from what a server answers to the counts of an arm."""

from typing import Any

import numpy as np
import pytest
from sources.pods import selection

from analyzer.config.profile import LatencyHistogram
from analyzer.config.selector import Selector
from analyzer.errors import BadResponse
from analyzer.model.counts import Histogram, Reading, requests_by_slice
from analyzer.model.findings import Code, Gap
from analyzer.sources import native
from analyzer.sources.assembly import Grown
from analyzer.sources.growth import Growth
from analyzer.sources.prometheus_api import Series
from analyzer.sources.timeline import Timeline

ASKED = selection("new", "old", 60.0)
METRIC, GAUGE = Selector("rpc_seconds"), "process_start_time_seconds"
WAY = LatencyHistogram(native_histogram=METRIC)
BEGIN = 10_000.0
TIMELINE = Timeline(start=BEGIN, end=BEGIN + 60.0, step=15.0, count=4)
Counts = dict[tuple[float, float], float]


def histogram(counts: Counts) -> dict[str, Any]:
    """Write a native histogram as Prometheus does: boundary rule, lower, upper, count."""
    return {"buckets": [[0, str(low), str(high), str(count)] for (low, high), count in counts.items()]}


def series_of(samples: tuple[Counts, ...], *, first: float = 0.0, every: float = 15.0, arm: str = "new") -> Series:
    """Answer with a sample every 15 s."""
    at = [(BEGIN + first + every * number, histogram(counts)) for number, counts in enumerate(samples)]
    return Series({"__name__": METRIC.metric, "arm": arm, "pod": f"{arm}-1"}, np.zeros(0), np.zeros(0), tuple(at))


def starts(*values: float, first: float = 0.0, every: float = 15.0, arm: str = "new") -> Series:
    """Answer with the time at which the process started, every 15 s."""
    times = BEGIN + first + every * np.arange(len(values))
    return Series({"__name__": GAUGE, "arm": arm, "pod": f"{arm}-1"}, times, BEGIN + np.array(values))


def follow(*answers: Series, since_start: bool = False) -> Growth:
    """Follow both arms."""
    return native.follow(
        answers, TIMELINE, arms=("new", "old"), arm_label="arm", process_start=GAUGE, since_start=since_start
    )


def counts_of(growth: Growth) -> dict[tuple[float, float], list[float]]:
    """Return what every bucket grew by."""
    table = growth.table({METRIC: METRIC})[METRIC]
    grew = {
        tuple(map(float, series.labels["le"].split(" "))): series.growth.tolist()
        for series in table
        if series.growth.any()
    }
    return {(low, high): values for (low, high), values in grew.items()}


def grown(*samples: Counts, first: float = 0.0, every: float = 15.0) -> dict[tuple[float, float], list[float]]:
    """Read a series."""
    return counts_of(follow(series_of(samples, first=first, every=every)))


LOW, HIGH = (1.0, 2.0), (2.0, 4.0)


def test_each_slice_has_what_its_samples_grew_by() -> None:
    """What was there at the start is not of the window."""
    grew = grown({LOW: 5}, {LOW: 7, HIGH: 1}, {LOW: 7, HIGH: 1}, {LOW: 10, HIGH: 2})

    assert grew == {LOW: [2, 0, 3, 0], HIGH: [1, 0, 1, 0]}


@pytest.mark.parametrize(
    ("start", "since_start", "counted"),
    [
        (-1000.0, False, [0, 2, 0, 0]),
        (3.0, False, [5, 2, 0, 0]),
        (3.0, True, [5, 2, 0, 0]),
        (-1000.0, True, [0, 2, 0, 0]),
    ],
)
def test_a_series_first_seen_in_the_window_counts_from_zero_if_its_process_is_new(
    start: float, since_start: bool, counted: list[float]
) -> None:
    """One that could merely not be reached had counted before, also a canary whose first samples were lost."""
    growth = follow(
        series_of(({LOW: 5}, {LOW: 7}), first=15.0), starts(start, start, first=15.0), since_start=since_start
    )

    assert counts_of(growth) == {LOW: counted}


@pytest.mark.parametrize("after", [{LOW: 2.0}, {HIGH: 9.0}, {LOW: 2.0, HIGH: 9.0}])
def test_a_restart_counts_from_zero(after: Counts) -> None:
    """It shows in buckets that fall."""
    assert grown({LOW: 5}, after) == {bucket: [count, 0, 0, 0] for bucket, count in after.items()}


def test_a_restart_that_no_bucket_shows_is_told_by_the_start_of_the_process() -> None:
    """What it counted before its restart, and all that it counted since; two samples of one slice are told apart."""
    samples = {LOW: 5.0}, {LOW: 8.0}, {LOW: 2.0}, {LOW: 20.0}
    growth = follow(series_of(samples, every=5.0), starts(-9.0, -9.0, 8.0, 12.0, every=5.0))

    assert counts_of(growth) == {LOW: [3 + 2 + 20, 0, 0, 0]}
    assert growth.lives()["new-1"].restarts.tolist() == [BEGIN + 10, BEGIN + 15]


def test_a_step_back_is_no_restart() -> None:
    """A deduplicating querier takes a sample of the replica that lags."""
    assert grown({LOW: 1000}, {LOW: 1010}, {LOW: 1008}, {LOW: 1020}) == {LOW: [10, 0, 10, 0]}


def test_several_processes_behind_one_address_are_not_counted() -> None:
    """Each scrape is answered by another of them."""
    samples = ({LOW: 100.0}, {LOW: 7.0}, {LOW: 101.0}, {LOW: 8.0}, {LOW: 102.0}, {LOW: 9.0}, {LOW: 103.0})
    growth = follow(series_of(samples, every=5.0), starts(-90.0, -50.0, -90.0, -50.0, -90.0, -50.0, -90.0, every=5.0))

    assert "several processes answer the scrapes of new-1" in growth.troubles({METRIC: METRIC})[METRIC]


def test_pods_begin_with_their_process() -> None:
    """Where it is not known, with the sample before which it was not there; those from before the window are older."""
    gauged = follow(series_of(({LOW: 1},) * 2, first=30.0), starts(20.0, 20.0, first=30.0), since_start=True)
    bare = follow(series_of(({LOW: 1},) * 2, first=30.0), series_of(({LOW: 1},) * 5, arm="old"), since_start=True)

    assert gauged.lives()["new-1"].start == BEGIN + 20
    assert (bare.lives()["new-1"].start, bare.lives()["old-1"].start) == (BEGIN + 15, None)


def test_samples_from_before_the_window_are_counted_from() -> None:
    """Also of a pod that was not scraped for some time."""
    assert grown({LOW: 5}, {LOW: 9}, first=-100.0, every=130.0) == {LOW: [0, 4, 0, 0]}


def test_scrapes_may_be_further_apart_than_slices() -> None:
    """Slices without a sample show it."""
    growth = follow(series_of(({LOW: 1}, {LOW: 2}, {LOW: 4}), every=30.0))

    assert growth.scrape_seconds() == 30
    assert counts_of(growth) == {LOW: [0, 1, 0, 2]}


def test_an_answer_in_pieces_is_one_series() -> None:
    """Long windows are read in several."""
    growth = follow(series_of(({LOW: 2}, {LOW: 5}), first=30.0), series_of(({LOW: 1}, {LOW: 2}), first=0.0))

    assert counts_of(growth) == {LOW: [1, 0, 3, 0]}


@pytest.mark.parametrize("coarser", [{(1.0, 4.0): 9.0}, {(1.0, 16.0): 7.0}])
def test_a_resolution_that_changes_is_no_growth(coarser: Counts) -> None:
    """Buckets that were joined do not tell what came meanwhile."""
    with pytest.raises(BadResponse, match="changed its resolution"):
        grown({LOW: 5, HIGH: 2}, coarser)


@pytest.mark.parametrize(
    "unreadable",
    [{"buckets": [[0, "1", "2"]]}, {"buckets": [[0, "1", "2", "many"]]}, {"buckets": [[0, "1", "2", "NaN"]]}],
)
def test_what_cannot_be_read_is_an_error(unreadable: dict[str, Any]) -> None:
    """Not a histogram without observations."""
    series = Series({"arm": "new"}, np.zeros(0), np.zeros(0), ((15.0, unreadable),))

    with pytest.raises(BadResponse, match="native histogram that"):
        follow(series)


def test_numbers_are_no_histograms() -> None:
    """A metric that is both is not understood."""
    series = Series({"arm": "new"}, np.array([15.0]), np.array([3.0]), ((15.0, histogram({LOW: 1})),))

    with pytest.raises(BadResponse, match="answered with numbers"):
        follow(series)


def bucket(bounds: tuple[float, float], growth: float, pod: str) -> Grown:
    """Grow by as much in each slice."""
    low, high = bounds
    return Grown(ASKED.canary, {"le": f"{low} {high}"}, growth * np.ones(4), pod)


def test_pods_add_up_over_the_boundaries_of_all() -> None:
    """Where one has no observation the others' boundaries still count, and one without any is a pod."""
    table = {METRIC: [bucket(LOW, 1, "a"), bucket(HIGH, 2, "b"), bucket((4.0, 8.0), 0, "c")]}

    reading = native.native_histograms(WAY, table, ASKED, 4, {})

    assert isinstance(reading, Reading)
    assert isinstance(reading.canary, Histogram)
    assert reading.canary.edges.tolist() == [1.0, 2.0, 4.0, np.inf]
    assert reading.canary.counts.sum(axis=0).tolist() == [0.0, 4.0, 8.0, 0.0]
    assert [requests_by_slice(pod.counts).sum() for pod in reading.canary_pods] == [4.0, 8.0, 0.0]
    assert reading.baseline is None


def test_pods_of_different_resolutions_are_not_added_up() -> None:
    """Their boundaries do not fit."""
    table = {METRIC: [bucket(LOW, 1, "a"), bucket((1.0, 4.0), 1, "b")]}

    gap = native.native_histograms(WAY, table, ASKED, 4, {})

    assert isinstance(gap, Gap)
    assert gap.code is Code.BUCKETS_DIFFER
