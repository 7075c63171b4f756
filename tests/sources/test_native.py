"""Tests of the growth of native histograms, from what a server answers to the counts of an arm."""

from typing import Any

import numpy as np
import pytest
from sources.pods import selection

from analyzer.errors import BadResponse
from analyzer.model.counts import Reading
from analyzer.model.findings import Code, Gap
from analyzer.sources import native
from analyzer.sources.prometheus_api import Series
from analyzer.sources.timeline import Timeline

ASKED = selection("new", "old", 60.0)
TIMELINE = Timeline(start=0.0, end=60.0, step=15.0, count=4)
Counts = dict[tuple[float, float], float]


def histogram(counts: Counts) -> dict[str, Any]:
    """Write a native histogram as Prometheus does: boundary rule, lower, upper, count."""
    return {"buckets": [[0, str(low), str(high), str(count)] for (low, high), count in counts.items()]}


def grown(*samples: Counts, first: float = 0.0, is_new: bool = False) -> dict[tuple[float, float], list[float]]:
    """Read a series with a sample every 15 s."""
    at = [(first + 15.0 * number, histogram(counts)) for number, counts in enumerate(samples)]
    series = Series({"arm": "new"}, np.zeros(0), np.zeros(0), tuple(at))
    (growth,) = native.growth([series], TIMELINE, "arm", lambda _: is_new)
    assert growth.arm == "new"
    return {bucket: counts.tolist() for bucket, counts in growth.buckets.items()}


LOW, HIGH = (1.0, 2.0), (2.0, 4.0)


def test_each_slice_has_what_its_samples_grew_by() -> None:
    """What was there at the start is not of the window."""
    found = grown({LOW: 5}, {LOW: 7, HIGH: 1}, {LOW: 7, HIGH: 1}, {LOW: 10, HIGH: 2})

    assert found == {LOW: [2, 0, 3, 0], HIGH: [1, 0, 1, 0]}


@pytest.mark.parametrize(("is_new", "counted"), [(True, [5, 2, 0, 0]), (False, [0, 2, 0, 0])])
def test_a_series_first_seen_in_the_window_counts_from_zero_if_it_is_new(is_new: bool, counted: list[float]) -> None:
    """One that could merely not be reached had counted before."""
    assert grown({LOW: 5}, {LOW: 7}, first=15.0, is_new=is_new) == {LOW: counted}


@pytest.mark.parametrize("after", [{LOW: 3.0}, {HIGH: 9.0}, {LOW: 3.0, HIGH: 9.0}])
def test_a_restart_counts_from_zero(after: Counts) -> None:
    """It shows in a sum that falls, or in a bucket that does while the resolution is the same."""
    assert grown({LOW: 5}, after) == {bucket: [count, 0, 0, 0] for bucket, count in after.items()}


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
        native.growth([series], TIMELINE, "arm", lambda _: True)


def test_numbers_are_no_histograms() -> None:
    """A metric that is both is not understood."""
    series = Series({"arm": "new"}, np.array([15.0]), np.array([3.0]), ((15.0, histogram({LOW: 1})),))

    with pytest.raises(BadResponse, match="answered with numbers"):
        native.growth([series], TIMELINE, "arm", lambda _: True)


def test_pods_add_up_over_the_boundaries_of_all() -> None:
    """Where one has no observation the others' boundaries still count."""
    one = np.ones(4)
    series = [
        native.NativeGrowth(ASKED.canary, {LOW: one}, "a"),
        native.NativeGrowth(ASKED.canary, {HIGH: 2 * one}, "b"),
    ]

    reading = native.native_histograms(series, ASKED, 1.0, 4)

    assert isinstance(reading, Reading)
    assert reading.canary is not None
    assert reading.canary.edges.tolist() == [1.0, 2.0, 4.0, np.inf]
    assert reading.canary.counts.sum(axis=0).tolist() == [0.0, 4.0, 8.0, 0.0]
    assert [pod.counts.counts.sum() for pod in reading.canary_pods] == [4.0, 8.0]


def test_pods_of_different_resolutions_are_not_added_up() -> None:
    """Their boundaries do not fit."""
    series = [
        native.NativeGrowth(ASKED.canary, {LOW: np.ones(4)}, "a"),
        native.NativeGrowth(ASKED.canary, {(1.0, 4.0): np.ones(4)}, "b"),
    ]

    gap = native.native_histograms(series, ASKED, 1.0, 4)

    assert isinstance(gap, Gap)
    assert gap.code is Code.BUCKETS_DIFFER
