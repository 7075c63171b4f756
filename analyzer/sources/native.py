"""Growth of native histograms, from sample to sample, and the counts that it amounts to."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.errors import BadResponse
from analyzer.model.counts import Floats, Histogram, Pod, Reading
from analyzer.model.findings import Code, Gap
from analyzer.sources.assembly import Selection
from analyzer.sources.lives import NO_LIVES, pod_name, pod_of, pooled
from analyzer.sources.prometheus_api import Series
from analyzer.sources.timeline import Timeline

Buckets = dict[tuple[float, float], float]


@dataclass(frozen=True)
class NativeGrowth:
    """A native histogram of one series: observations in each slice by (lower, upper] boundary of the bucket."""

    arm: str
    buckets: Mapping[tuple[float, float], Floats]
    pod: str = ""


def growth(
    answers: Iterable[Series], timeline: Timeline, arm_label: str, is_new: Callable[[Mapping[str, str]], bool]
) -> list[NativeGrowth]:
    """Tell how much every bucket of every series grew in each slice.

    Parameters
    ----------
    answers : the series' histograms, from before the start on
    timeline : of the window; the last histograms until its start are what is counted from
    arm_label : which label tells the arms apart
    is_new : whether a series, of these labels, that was not there before the start began at 0

    Raises
    ------
    BadResponse : a series without histograms, or one whose resolution changed inside the window
    """
    moments: dict[frozenset[tuple[str, str]], dict[float, Mapping[str, Any]]] = {}
    for series in answers:
        if len(series.values):
            raise BadResponse("it answered with numbers where native histograms were asked for")
        moments.setdefault(_key(series.labels), {}).update(series.histograms)
    ends = timeline.ends_of_slices()
    grown = []
    for key, histograms in moments.items():
        previous: Buckets | None = None
        total: dict[tuple[float, float], Floats] = {}
        for moment in sorted(histograms):
            present = _buckets(histograms[moment])
            if moment > timeline.start:
                if previous is None:
                    previous = {} if is_new(dict(key)) else present
                slice_ = min(int(np.searchsorted(ends + 1e-6, moment)), timeline.slices - 1)
                for bucket, change in _changes(present, {} if _restarted(present, previous) else previous):
                    total.setdefault(bucket, np.zeros(timeline.slices))[slice_] += change
            previous = present
        labels = dict(key)
        grown.append(NativeGrowth(arm=labels.get(arm_label, ""), buckets=total, pod=pod_name(labels)))
    return grown


def _restarted(present: Buckets, previous: Buckets) -> bool:
    """Whether a counter fell: all together, or single buckets of the same widths."""
    if sum(present.values()) < sum(previous.values()):
        return True
    fell = any(present.get(bucket, 0.0) < count for bucket, count in previous.items())
    return fell and len(_widths(present) | _widths(previous)) == 1


def _widths(buckets: Buckets) -> set[float]:
    return {round(math.log2(high / low), 9) for low, high in buckets if low > 0 and math.isfinite(high)}


def _changes(present: Buckets, previous: Buckets) -> Iterator[tuple[tuple[float, float], float]]:
    for bucket in present.keys() | previous.keys():
        change = present.get(bucket, 0.0) - previous.get(bucket, 0.0)
        if change < 0:
            raise BadResponse("a native histogram changed its resolution inside the window")
        if change:
            yield bucket, change


def _buckets(histogram: Mapping[str, Any]) -> Buckets:
    try:
        buckets = {(float(low), float(high)): float(count) for _, low, high, count in histogram.get("buckets") or []}
    except (TypeError, ValueError) as error:
        raise BadResponse(f"it answered with a native histogram that cannot be read: {str(error)[:100]}") from error
    if not all(math.isfinite(count) for count in buckets.values()):
        raise BadResponse("it answered with a native histogram that is no finite number")
    return buckets


def _key(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in labels.items() if name != "__name__")


def native_histograms(
    series: Sequence[NativeGrowth], selection: Selection, unit_seconds: float, slices: int
) -> Reading[Histogram] | Gap:
    """Add up native histograms to one histogram an arm, over the boundaries that occur in either."""
    schemas = {round(np.log2(high / low), 9) for growth in series for low, high in growth.buckets if low > 0}
    if len(schemas) > 1:
        return Gap(Code.BUCKETS_DIFFER, "the native histograms of the pods have different resolutions")
    bounds = sorted({bound for growth in series for pair in growth.buckets for bound in pair if bound > 0})
    edges = np.array([*bounds, np.inf])

    def histogram(some: Iterable[NativeGrowth]) -> Histogram:
        counts = np.zeros((slices, len(edges)))
        for growth in some:
            for (_, high), count in growth.buckets.items():
                counts[:, np.searchsorted(edges, high)] += count
        return Histogram(edges=np.append(edges[:-1] * unit_seconds, np.inf), counts=counts)

    def arm(name: str | None) -> tuple[Histogram | None, tuple[Pod[Histogram], ...]]:
        mine = [growth for growth in series if growth.arm == name]
        names = sorted({growth.pod for growth in mine})
        pods = tuple(
            pod_of(label, members, histogram(growth for growth in mine if growth.pod in members), NO_LIVES)
            for label, members in pooled(names)
        )
        return (histogram(mine) if mine else None), (() if "" in names else pods)

    canary, canary_pods = arm(selection.canary)
    baseline, baseline_pods = arm(selection.baseline)
    return Reading(canary=canary, baseline=baseline, canary_pods=canary_pods, baseline_pods=baseline_pods)
