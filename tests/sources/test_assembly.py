"""From growing series to counts: what no Prometheus is needed for, and histograms that contradict themselves."""

import numpy as np
import pytest
from sources.pods import PROFILE

from analyzer.config.profile import ErrorCounters, ValueHistogram
from analyzer.config.selector import Selector
from analyzer.model.counts import Errors, Reading, Values
from analyzer.model.findings import Code, Gap
from analyzer.sources.assembly import Grown, Selection, assemble

VALUES = ValueHistogram(values=Selector("model_business_value"))
SLICES = 2


def selected() -> Selection:
    """Ask for two arms."""
    return Selection("fraud", None, "v2", "v1", PROFILE, {}, at=1_767_614_400.0)


def series(arm: str, growth: list[float], **labels: str) -> Grown:
    """Build one series."""
    return Grown(arm, labels, np.array(growth, float))


def histogram(arm: str, buckets: dict[str, list[float]], total: list[float]) -> dict[Selector, list[Grown]]:
    """Build the series of one histogram of one pod."""
    name = "model_business_value"
    return {
        Selector(f"{name}_bucket"): [series(arm, growth, le=le) for le, growth in buckets.items()],
        Selector(f"{name}_sum"): [series(arm, total)],
        Selector(f"{name}_count"): [series(arm, buckets["+Inf"])],
    }


def values_of(buckets: dict[str, list[float]], total: list[float]) -> Values:
    """Assemble the canary's values."""
    reading = assemble(VALUES, histogram("v2", buckets, total), selected(), SLICES)
    assert isinstance(reading, Reading)
    assert isinstance(reading.canary, Values)
    return reading.canary


def test_the_sum_of_squares_is_bounded_by_the_upper_edges() -> None:
    """Each value counts as the upper edge of its bucket: 3 x 10² + 2 x 100², and 1 x 10² in the second slice."""
    found = values_of({"10": [3, 1], "100": [5, 1], "+Inf": [5, 1]}, [150.0, 4.0])

    assert found.squares is not None
    assert (found.squares.tolist(), found.total.tolist()) == ([20_300, 100], [150, 4])
    assert found.count.tolist() == [5, 1]


@pytest.mark.parametrize("draw", range(5))
def test_the_bound_is_never_below_the_true_sum_of_squares(draw: int) -> None:
    """Of drawn values, some on an edge."""
    rng = np.random.default_rng(draw)
    drawn = np.append(rng.uniform(0, 100, 200), [10.0, 100.0])
    buckets = {le: [float((drawn <= float(le)).sum()), 0.0] for le in ("10", "100", "+Inf")}

    found = values_of(buckets, [float(drawn.sum()), 0.0])

    assert found.squares is not None
    assert found.squares[0] >= (drawn**2).sum()


def test_a_value_in_the_last_bucket_has_no_bound() -> None:
    """It may be of any size."""
    assert values_of({"10": [3, 1], "+Inf": [3, 2]}, [30.0, 500.0]).squares is None


def test_a_restart_hidden_in_some_buckets_makes_no_negative_count() -> None:
    """A bucket that grew less than the one below it counts nothing."""
    found = values_of({"10": [5, 0], "100": [4, 0], "+Inf": [5, 0]}, [40.0, 0.0])

    assert found.count.tolist() == [5, 0]
    assert found.squares is not None
    assert found.squares.tolist() == [5 * 10**2, 0]


def test_more_errors_than_requests_are_a_contradiction() -> None:
    """No verdict is formed on selectors that do not fit: one more is enough."""
    way = ErrorCounters(requests=(Selector("all"),), errors=(Selector("some"),))
    table = {Selector("all"): [series("v2", [10, 10])], Selector("some"): [series("v2", [10, 11])]}

    reading = assemble(way, table, selected(), SLICES)

    assert isinstance(reading, Gap)
    assert reading.code is Code.INCONSISTENT_DATA


def test_the_pods_add_up_to_the_arm_with_requests_that_clients_gave_up() -> None:
    """What counts as failed of them, and what is doubtful, belongs to the pods that had them."""
    way = ErrorCounters(requests=(Selector("all"),), errors=(Selector("some"),), gone=(Selector("gone"),))
    counts = {"v2": {"a": (400, 4, 90), "b": (600, 6, 10)}, "v1": {"c": (5000, 50, 50)}}
    table = {
        Selector(name): [
            Grown(arm, {"pod": pod}, np.array([values[number], values[number] / 2]), pod)
            for arm, pods in counts.items()
            for pod, values in pods.items()
        ]
        for number, name in enumerate(("all", "some", "gone"))
    }
    reading = assemble(way, table, selected(), SLICES)

    assert isinstance(reading, Reading)
    assert isinstance(reading.canary, Errors)
    assert reading.canary.doubtful is not None
    assert reading.canary.errors.sum() > 15
    for name in ("errors", "requests", "doubtful"):
        several = [getattr(pod.counts, name) for pod in reading.canary_pods]
        assert np.allclose(sum(several), getattr(reading.canary, name)), name
    pods_counts = [pod.counts for pod in reading.canary_pods if isinstance(pod.counts, Errors)]
    first, second = (counts.errors.sum() / counts.requests.sum() for counts in pods_counts)
    assert first > 5 * second
