"""Native histograms, followed bucket by bucket as counters are, and the counts that their growth amounts to."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from analyzer.config.profile import LatencyHistogram, Way, main_selector
from analyzer.errors import BadResponse
from analyzer.model.counts import Counts, Histogram, Pod, Reading
from analyzer.model.findings import Code, Gap
from analyzer.sources.assembly import Grown, Selection, Table, assemble, reading_of
from analyzer.sources.growth import Growth
from analyzer.sources.lives import Life, pod_of, pooled
from analyzer.sources.prometheus_api import Series
from analyzer.sources.samples import Samples, Settled
from analyzer.sources.streams import pod_key
from analyzer.sources.timeline import Timeline

BOUNDS = "le"  # label that tells the buckets of one histogram apart: both boundaries, with a blank between them

Bounds = tuple[float, float]
"""(lower, upper] boundary of a bucket."""


def follow(
    answers: Iterable[Series],
    timeline: Timeline,
    *,
    arms: tuple[str, ...],
    arm_label: str,
    process_start: str | None,
    since_start: bool,
) -> Growth:
    """Return how much every bucket of every series grew in each slice.

    Parameters
    ----------
    answers : samples of the histograms and of the gauge, all of them or those at the ends of slices; from before the
        start on
    timeline : of the window
    arms : that are compared, the canary first
    arm_label : which label tells them apart
    process_start : metric with the time at which a process started
    since_start : whether the window begins with the canary's first sample

    Raises
    ------
    BadResponse : an answer without histograms, or one whose resolution changed
    """
    series = list(_by_bucket(answers, process_start))
    before = {bucket.labels.get(arm_label, "") for bucket in series if bucket.times[0] <= timeline.start}
    samples = Samples(
        timeline,
        arm_label=arm_label,
        process_start=process_start,
        new_arms=frozenset(arms[:1] if since_start else ()),
        watched=not since_start or len(arms) < 2 or arms[1] in before,
    )
    samples.add(_on_grid(bucket, timeline) for bucket in series)
    absent = samples.absent_at_start()
    late = (
        bucket for bucket in series if pod_key(bucket.labels, arm_label) in absent and bucket.times[0] <= timeline.start
    )
    samples.add_base((_until(bucket, timeline.start) for bucket in late), math.inf)
    settled, _ = samples.settle()
    _look_closer(samples, settled, series)
    return Growth(settled, arms)


def _by_bucket(answers: Iterable[Series], process_start: str | None) -> Iterator[Series]:
    """Yield the samples of each bucket, and those of the gauge."""
    histograms: dict[frozenset[tuple[str, str]], dict[float, Mapping[str, Any]]] = {}
    numbers: dict[frozenset[tuple[str, str]], dict[float, float]] = {}
    for series in answers:
        key = frozenset(series.labels.items())
        if series.labels.get("__name__") == process_start:
            numbers.setdefault(key, {}).update(zip(series.times.tolist(), series.values.tolist(), strict=True))
        elif len(series.values):
            raise BadResponse("it answered with numbers where native histograms were asked for")
        else:
            histograms.setdefault(key, {}).update(series.histograms)
    for key, values in numbers.items():
        times = np.array(sorted(values))
        yield Series(dict(key), times, np.array([values[moment] for moment in times.tolist()]))
    for key, moments in histograms.items():
        times = np.array(sorted(moments))
        buckets = [_buckets(moments[moment]) for moment in times.tolist()]
        bounds = sorted(set().union(*buckets))
        if len(_widths(bounds)) > 1:
            raise BadResponse("a native histogram changed its resolution inside the window")
        for low, high in bounds:
            counts = np.array([counted.get((low, high), 0.0) for counted in buckets])
            yield Series({**dict(key), BOUNDS: f"{low!r} {high!r}"}, times, counts)


def _on_grid(series: Series, timeline: Timeline) -> Series:
    """Return the last sample of each slice, and of as long a time before the start."""
    ends = np.concatenate([[timeline.start], timeline.ends_of_slices()])
    begins = np.concatenate([[timeline.start - timeline.step], ends[:-1]])
    last = np.searchsorted(series.times, ends + 1e-6, side="right") - 1
    inside = (last >= 0) & (series.times[last] > begins + 1e-6)
    return Series(series.labels, ends[inside], series.values[last[inside]])


def _until(series: Series, start: float) -> Series:
    """Return the samples from before the window."""
    early = series.times <= start
    return Series(series.labels, series.times[early], series.values[early])


def _look_closer(samples: Samples, settled: Settled, series: Sequence[Series]) -> None:
    """Use every sample where a process may have restarted: every one is there already."""
    ends = settled.timeline.ends_of_slices()
    falls = []
    for bucket in series:
        gauge = bucket.labels.get("__name__") == settled.process_start
        changed = np.flatnonzero(np.diff(bucket.values) != 0 if gauge else np.diff(bucket.values) < 0) + 1
        slices = np.minimum(np.searchsorted(ends + 1e-6, bucket.times[changed]), len(ends) - 1)
        falls.append(Series(bucket.labels, ends[slices], bucket.values[changed]))
    samples.suspect(settled, (bucket for bucket in falls if len(bucket.times)))
    samples.zoom(settled, (0, settled.timeline.slices - 1), series)


def _widths(bounds: Iterable[Bounds]) -> set[float]:
    return {round(math.log2(high / low), 9) for low, high in bounds if low > 0 and math.isfinite(high)}


def _buckets(histogram: Mapping[str, Any]) -> dict[Bounds, float]:
    try:
        buckets = {(float(low), float(high)): float(count) for _, low, high, count in histogram.get("buckets") or []}
    except (TypeError, ValueError) as error:
        raise BadResponse(f"it answered with a native histogram that cannot be read: {str(error)[:100]}") from error
    if not all(math.isfinite(count) for count in buckets.values()):
        raise BadResponse("it answered with a native histogram that is no finite number")
    return buckets


def counted(
    way: Way, table: Table, selection: Selection, slices: int, lives: Mapping[str, Life]
) -> Reading[Counts] | Gap:
    """Add up series to the counts of both arms, those of a native histogram as those of counters; see `assemble`."""
    if isinstance(way, LatencyHistogram) and way.native_histogram is not None:
        return native_histograms(way, table, selection, slices, lives)
    return assemble(way, table, selection, slices, lives)


def native_histograms(
    way: LatencyHistogram, table: Table, selection: Selection, slices: int, lives: Mapping[str, Life]
) -> Reading[Counts] | Gap:
    """Add up buckets to one histogram an arm, over the boundaries that occur in either.

    Parameters
    ----------
    way : how the profile says to read the latency
    table : growth of the buckets
    slices : number of time slices
    lives : of the pods, by name
    """
    by_bounds = [(_bounds(grown), grown) for grown in table[main_selector(way)] if grown.growth.any()]
    if len(_widths(bounds for bounds, _ in by_bounds)) > 1:
        return Gap(Code.BUCKETS_DIFFER, "the native histograms of the pods have different resolutions")
    edges = np.array([*sorted({bound for bounds, _ in by_bounds for bound in bounds if bound > 0}), np.inf])

    def histogram(some: Iterable[tuple[Bounds, Grown]]) -> Histogram:
        counts = np.zeros((slices, len(edges)))
        for (_, high), grown in some:
            counts[:, np.searchsorted(edges, high)] += grown.growth
        return Histogram(edges=np.append(edges[:-1] * way.unit.seconds, np.inf), counts=counts)

    arms: dict[str, Histogram | None] = {}
    pods: dict[str, tuple[Pod[Counts], ...]] = {}
    for arm in selection.arms:
        mine = [(bounds, grown) for bounds, grown in by_bounds if grown.arm == arm]
        names = sorted({grown.pod for grown in table[main_selector(way)] if grown.arm == arm})
        arms[arm] = histogram(mine) if names else None
        if "" not in names:
            pods[arm] = tuple(
                pod_of(name, members, histogram(part for part in mine if part[1].pod in members), lives)
                for name, members in pooled(names)
            )
    return reading_of(arms, pods, selection, [grown for _, grown in by_bounds])


def _bounds(grown: Grown) -> Bounds:
    low, high = map(float, grown.labels[BOUNDS].split(" "))
    return low, high
