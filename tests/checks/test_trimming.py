"""Warm-up and lag leave out whole slices, of both arms alike, and say so where they cannot."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analyzer
from analyzer.checks import trim
from analyzer.config.policy import Check
from analyzer.model.counts import Errors, Histogram, Reading
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
