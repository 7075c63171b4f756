"""Warm-up and lag leave out the first time of each pod, or whole slices where pods are unknown, and say so."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analyzer
from analyzer.checks import trim
from analyzer.config.policy import Check
from analyzer.model.counts import Errors, Histogram, Pod, Reading, summed
from analyzer.model.findings import Code, Gap

STEP = 60.0


def check_of(**fields: Any) -> Check:
    """Build the row of an error rate with the default limits."""
    return Check.model_validate({"kind": "error_rate", "promote": "0.5%", "rollback": "1%", **fields})


def numbered(slices: int) -> Reading[Errors]:
    """Give a reading whose requests tell the number of their slice, from 1 on."""
    canary = Errors(errors=np.zeros(slices), requests=np.arange(1.0, slices + 1))
    return Reading(canary, Errors(errors=np.zeros(slices), requests=np.arange(1.0, slices + 1) * 19), STEP)


@pytest.mark.parametrize(
    ("warmup", "lag", "kept"),
    [
        ("0s", "0s", [1, 2, 3, 4, 5]),
        ("60s", "0s", [2, 3, 4, 5]),
        ("61s", "0s", [3, 4, 5]),
        ("0s", "1s", [1, 2, 3, 4]),
        ("2m", "60s", [3, 4]),
        ("119s", "119s", [3]),
    ],
)
def test_slices_that_touch_the_warm_up_or_the_lag_are_left_out(warmup: str, lag: str, kept: list[float]) -> None:
    """Only slices that lie wholly between the two remain, in both arms."""
    found = trim(numbered(5), check_of(warmup=warmup, lag=lag), None)

    assert isinstance(found, Reading)
    assert found.canary is not None
    assert found.baseline is not None
    assert found.canary.requests.tolist() == kept
    assert found.baseline.requests.tolist() == [19 * number for number in kept]


def test_the_last_slice_may_be_shorter() -> None:
    """A window of 4.5 slices: a lag of half a slice leaves out the half one only."""
    found = trim(numbered(5), check_of(lag="30s"), 4.5 * STEP)

    assert isinstance(found, Reading)
    assert found.canary is not None
    assert found.canary.requests.tolist() == [1, 2, 3, 4]


def test_the_edges_of_a_histogram_are_not_slices() -> None:
    """Only the counts are cut."""
    histogram = Histogram(edges=np.array([0.1, 0.2, np.inf]), counts=np.arange(6.0).reshape(2, 3))
    found = trim(Reading(histogram, None, STEP), check_of(warmup="1m"), None)

    assert isinstance(found, Reading)
    assert found.canary is not None
    assert found.canary.edges.tolist() == [0.1, 0.2, np.inf]
    assert found.canary.counts.tolist() == [[3, 4, 5]]


@pytest.mark.parametrize("elapsed", [None, 60.0, 120.0])
def test_a_window_inside_the_warm_up_is_warming_up(elapsed: float | None) -> None:
    """There is nothing to judge yet, whether the counts have slices or not."""
    reading = numbered(2) if elapsed is None else Reading(numbered(1).canary, None)
    found = trim(reading, check_of(warmup="90s", lag="30s"), elapsed)

    assert isinstance(found, Gap)
    assert found.code is Code.WARMING_UP
    assert "the first 90 s and the last 30 s" in found.reason


def test_counts_without_slices_stay_whole_and_say_so() -> None:
    """What cannot be left out is not left out silently: the answer has a note."""
    policy = {"checks": {"error_rate": {"warmup": "2m"}}}
    data = {"error_rate": {"canary": {"errors": 0, "requests": 2000}}}
    answer = analyzer.evaluate({"checks": "error_rate", "policy": policy, "data": data})

    assert answer["checks"]["error_rate"]["canary"]["n"] == 2000
    assert answer["notes"] == ["warm-up and lag could not be left out: these counts have no time slices"]


# Pods


def pods_of(starts: list[float | None], slices: int = 5) -> Reading[Errors]:
    """Give a canary of pods that started at these seconds after the window, and a baseline of as many old ones.

    A pod has a hundred requests in each slice that it lives through, and one in the slice in which it starts.
    """
    ours, begin = [], 1000.0
    for number, start in enumerate(starts):
        since = np.arange(slices) * STEP + STEP - (0 if start is None else start)
        requests = np.where(since >= STEP, 100.0, np.where(since > 0, 1.0, 0.0))
        counts = Errors(errors=np.zeros(slices), requests=requests)
        ours.append(Pod(f"canary-{number}", counts, None if start is None else begin + start))
    theirs = tuple(Pod(f"stable-{n}", Errors(np.zeros(slices), np.full(slices, 1900.0))) for n in range(len(starts)))
    return Reading(
        summed([pod.counts for pod in ours]), summed([pod.counts for pod in theirs]), STEP, begin,
        canary_pods=tuple(ours), baseline_pods=theirs,
    )  # fmt: skip


def requests(found: Reading[Errors] | Gap) -> tuple[list[float], list[float]]:
    """Give what is left of both arms."""
    assert isinstance(found, Reading)
    assert found.canary is not None
    assert found.baseline is not None
    return found.canary.requests.tolist(), found.baseline.requests.tolist()


@pytest.mark.parametrize(
    ("starts", "kept"),
    [
        ([None], [100, 100, 100, 100, 100]),  # it ran before the window: no longer young
        ([0.0], [0, 0, 100, 100, 100]),
        ([30.0], [0, 0, 0, 100, 100]),  # old from 150 s on, in the slice from 180 s on
        ([60.0], [0, 0, 0, 100, 100]),
        ([0.0, 120.0], [0, 0, 100, 100, 200]),  # the second comes with a step of the rollout
        ([-60.0], [0, 100, 100, 100, 100]),
    ],
)
def test_each_pod_has_a_warm_up_of_its_own(starts: list[float | None], kept: list[float]) -> None:
    """Two minutes from the start of its process; the baseline's old pods stay whole, and all slices remain."""
    found = trim(pods_of(starts), check_of(pod_warmup="2m"), None)

    assert requests(found) == (kept, [1900.0 * len(starts)] * 5)
    assert isinstance(found, Reading)
    assert found.begin == 1000.0
    assert [pod.counts.requests.sum() for pod in found.canary_pods if pod.start is None] == [500.0] * starts.count(None)


def test_young_pods_of_the_baseline_are_left_out_as_well() -> None:
    """An autoscaler adds one while the canary runs."""
    reading = pods_of([None, None])
    young = Pod("stable-9", Errors(np.zeros(5), np.array([0.0, 0, 50, 100, 100])), 1000.0 + 2 * STEP)
    everyone = (*reading.baseline_pods, young)
    reading = replace(reading, baseline=summed([pod.counts for pod in everyone]), baseline_pods=everyone)

    assert requests(trim(reading, check_of(pod_warmup="2m"), None))[1] == [3800.0, 3800, 3800, 3800, 3900]


def test_a_lag_leaves_out_slices_of_all_pods() -> None:
    """The last one, after the first time of each pod."""
    found = trim(pods_of([0.0]), check_of(pod_warmup="2m", lag="60s"), None)

    assert requests(found) == ([0, 0, 100, 100], [1900.0] * 4)
    assert isinstance(found, Reading)
    assert [len(pod.counts.requests) for pod in found.canary_pods] == [4]


def test_pods_that_are_all_young_are_warming_up() -> None:
    """Nothing is left of the canary: neither good nor bad yet."""
    found = trim(pods_of([0.0], slices=2), check_of(pod_warmup="2m"), None)

    assert isinstance(found, Gap)
    assert found.code is Code.WARMING_UP


def test_pods_that_never_grow_old_are_judged() -> None:
    """A canary that crashes every minute would never be judged: after four warm-ups it is, with a note."""
    reading = pods_of([STEP * number for number in range(9)], slices=9)
    each = tuple(
        replace(pod, counts=Errors(np.eye(9)[number] * 50, np.eye(9)[number] * 100))
        for number, pod in enumerate(reading.canary_pods)
    )
    reading = replace(reading, canary_pods=each, canary=summed([pod.counts for pod in each]))

    found = trim(reading, check_of(pod_warmup="2m"), None)

    assert requests(found)[0] == [100.0] * 9
    assert isinstance(found, Reading)
    assert "younger than 2 min" in found.notes[0]
    assert "pods that never grow old must be judged" in found.notes[0]
    assert isinstance(trim(reading.first(8), check_of(pod_warmup="2m"), None), Gap)


def test_pods_without_the_moment_of_the_window_have_none_of_their_own() -> None:
    """Where ages cannot be told the start of the window counts."""
    found = trim(replace(pods_of([None]), begin=None), check_of(pod_warmup="2m"), None)

    assert requests(found)[0] == [100.0] * 3


@given(st.lists(st.one_of(st.none(), st.floats(-500, 1000)), min_size=1, max_size=5), st.floats(1, 2000))
def test_no_request_of_a_young_pod_is_left_unless_all_are(starts: list[float | None], warmup: float) -> None:
    """What is left of the canary is what old pods counted, or everything with a note, or nothing."""
    reading = pods_of(starts, 20)
    found = trim(reading, check_of(pod_warmup=warmup), None)

    if isinstance(found, Gap) or found.notes:
        assert any(start is not None for start in starts)
        return
    for pod in found.canary_pods:
        start = -math.inf if pod.start is None else pod.start
        young = 1000.0 + STEP * np.arange(20) < start + warmup - 1e-3
        assert pod.counts.requests[np.flatnonzero(young)].sum() == 0


# Slices


@given(st.integers(1, 40), st.floats(0, 2000), st.floats(0, 2000))
def test_what_remains_is_a_stretch_of_the_whole(slices: int, warmup: float, lag: float) -> None:
    """Consecutive slices remain, none of which touches what is left out; or nothing does."""
    found = trim(numbered(slices), check_of(warmup=warmup, lag=lag), None)

    if isinstance(found, Gap):
        assert warmup + lag > STEP * slices - 2 * STEP
        return
    assert found.canary is not None
    kept = found.canary.requests
    assert np.diff(kept).tolist() == [1.0] * (len(kept) - 1)
    assert (kept[0] - 1) * STEP >= warmup - 1e-3
    assert kept[-1] * STEP <= slices * STEP - lag + 1e-3
