"""Tests of the bound of the squares of values, of which only a histogram and the sum are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.config.profile import ValueHistogram
from analyzer.config.selector import Selector
from analyzer.model.counts import Reading, Values
from analyzer.model.findings import Kind
from analyzer.sources.assembly import Grown, Selection, assemble
from analyzer.sources.lives import MOST_PODS

WAY = ValueHistogram(values=Selector("v"))


def read(values: list[float], edges: list[float], pods: int = 1) -> Values:
    """Read values of one slice as a source does, a pod after the other."""
    profile = type("Any", (), {"name": "own", "arm_label": "hash"})
    selection = Selection("s", "ml", "c", None, profile, {"b": Kind.BUSINESS}, 100.0)  # type: ignore[arg-type]
    buckets, sums = [], []
    for number in range(pods):
        own = values[number::pods]
        for edge in [*edges, np.inf]:
            growth = np.array([float(sum(1 for value in own if value <= edge))])
            buckets.append(Grown("c", {"le": "+Inf" if edge == np.inf else str(edge)}, growth, pod=f"p{number:03d}"))
        sums.append(Grown("c", {}, np.array([float(sum(own))]), pod=f"p{number:03d}"))
    reading = assemble(WAY, {Selector("v_bucket"): buckets, Selector("v_sum"): sums}, selection, 1)
    assert isinstance(reading, Reading)
    assert isinstance(reading.canary, Values)
    assert len(reading.canary_pods) == min(pods, MOST_PODS)
    totals = [float(pod.counts.total[0]) for pod in reading.canary_pods if isinstance(pod.counts, Values)]
    assert sum(totals) == pytest.approx(sum(values))
    return reading.canary


@given(st.lists(st.integers(-90, 100), min_size=1, max_size=30))
def test_the_squares_are_never_above_their_bound(values: list[int]) -> None:
    """Also where values are negative: the edge that is further from 0 counts."""
    counts = read([float(value) for value in values], [-100.0, -10.0, 0.0, 10.0, 100.0])

    assert counts.squares is not None
    assert counts.squares[0] >= sum(value**2 for value in values)


def test_refunds_below_the_first_edge_leave_the_spread_unknown() -> None:
    """The sum is less than the buckets allow for positive values: nobody knows how far below 0 the first goes."""
    assert read([10.0] * 80 + [-1000.0], [1.0, 10.0, 100.0]).squares is None
    assert read([10.0] * 80 + [0.5], [1.0, 10.0, 100.0]).squares is not None
    assert read([5.0, -20.0], [-10.0, 10.0]).squares is None


def test_many_pods_are_pooled() -> None:
    """At most 64 parts, which add up."""
    read([float(number % 50) for number in range(300)], [10.0, 100.0], pods=150)
