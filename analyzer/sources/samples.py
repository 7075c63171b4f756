"""The samples that Prometheus answered with, put in place on the slices of a window, stream by stream."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from analyzer.config.selector import Matcher, Selector, arms_matcher
from analyzer.errors import BadResponse
from analyzer.model.counts import Floats
from analyzer.sources.counters import Flags, last_known
from analyzer.sources.lives import POD_LABELS
from analyzer.sources.prometheus_api import OFF_GRID, Series
from analyzer.sources.streams import Streams, Target, canonical, join, pod_key
from analyzer.sources.timeline import Timeline

STAT = "analyzer_stat"  # label that tells apart the values of one query
PAST = 120.0  # seconds before the window in which a canary that is first seen in it may have begun
GREATEST = 2.0**53  # up to which a counter is exact
GREATEST_SUM = 1e18


@dataclass
class Settled:
    """Streams of a window.

    Attributes
    ----------
    timeline : the slices
    streams : with their values at the window's start and at the ends of slices
    process_start : metric with the time at which a process started
    new_arms : arms of which every target began inside the window
    watched : whether the other arm has samples from before the window, so that the new arm is seen from its birth
    based : streams whose value at the start was looked for further back
    suspects : slices in which a process may have restarted, by target
    zoomed : first and last slice of which every sample is known; None: of none
    tracks : these samples, times and values, by series
    unusable : streams with a sample that no counter has, with what it is
    """

    timeline: Timeline
    streams: Streams
    process_start: str | None
    new_arms: frozenset[str]
    watched: bool
    based: frozenset[int]
    unusable: dict[int, str]
    suspects: dict[Target, set[int]] = field(default_factory=dict)
    zoomed: tuple[int, int] | None = None
    tracks: dict[int, tuple[Floats, Floats]] = field(default_factory=dict)

    def metric(self, stream: int) -> str:
        """Return the metric of a stream."""
        return self.streams.labels[stream].get("__name__", "")

    def span(self) -> tuple[int, int] | None:
        """Return the first and the last slice in which a process may have restarted; None: none did in the window."""
        slices = set().union(*self.suspects.values())
        return (min(slices), max(slices)) if slices else None

    def series_of(self, targets: frozenset[Target]) -> int:
        """Count the series of some targets."""
        several = zip(self.streams.targets, self.streams.members, strict=True)
        return sum(len(members) for target, members in several if target in targets)

    @cached_property
    def gauges(self) -> Flags:
        """Tell which streams are starts of processes; shape (streams,)."""
        several = range(len(self.streams.labels))
        return np.array([self.process_start == self.metric(stream) for stream in several], dtype=bool)


class Samples:
    """Takes in samples of many series, and puts them in place.

    Parameters
    ----------
    timeline : the slices
    arm_label : which label tells the arms apart
    process_start : metric with the time at which a process started
    new_arms : arms of which every target began inside the window
    watched : whether their birth is known to have been seen; else the answer `before` tells
    """

    def __init__(
        self,
        timeline: Timeline,
        *,
        arm_label: str,
        process_start: str | None,
        new_arms: frozenset[str],
        watched: bool,
    ) -> None:
        self._timeline, self._arm_label = timeline, arm_label
        self._process_start, self._new_arms = process_start, new_arms
        self._rows: dict[frozenset[tuple[str, str]], int] = {}
        self._labels: list[dict[str, str]] = []
        self._targets: list[Target] = []
        self._chunks: list[tuple[int, Floats, Floats]] = []
        self._base: dict[int, tuple[float, float]] = {}
        self._unusable: dict[int, str] = {}
        self._restarted: set[Target] = set()
        self._watched = watched

    def add(self, answer: Iterable[Series]) -> None:
        """Take in values at the window's start and at the ends of slices."""
        several = [series for series in answer if len(series.times)]
        values = np.concatenate([np.zeros(1), *(series.values for series in several)])
        if values.min() >= 0 and values.max() <= GREATEST:  # as good as always
            self._chunks += [(self._row(series.labels), series.times, series.values) for series in several]
            return
        for series in several:
            self._take(self._row(series.labels), series.times, series.values)

    def add_ends(self, answer: Iterable[Series]) -> None:
        """Take in the values of the last slice, and which counters were reset."""
        tail = []
        for series in answer:
            labels = {name: value for name, value in series.labels.items() if name != STAT}
            match series.labels.get(STAT, "").split(" ")[0]:
                case "tail":
                    tail.append(Series(labels, series.times, series.values))
                case "resets":
                    self._restarted.add(pod_key(labels, self._arm_label))
                case "before":
                    self._watched = True
                case _:
                    raise BadResponse(f"it answered with a series without the label {STAT}")
        self.add(tail)

    def add_base(self, answer: Iterable[Series], began_by: float) -> None:
        """Take in values from before the window, of processes that had begun by a moment, in Unix seconds."""
        for series in answer:
            labels = {name: value for name, value in series.labels.items() if name != STAT}
            values = series.values[np.isfinite(series.values)]
            if (wrong := values[~possible(labels.get("__name__", ""), values)]).size:
                self._unusable[self._row(labels)] = f"{wrong[0]:g}"
            elif len(values):
                self._base.setdefault(self._row(labels), (float(values[-1]), began_by))

    def absent_at_start(self) -> frozenset[Target]:
        """Return the targets that had no sample when the window began; of new arms those whose process is older."""
        present = self._present()
        old = {
            self._targets[row]
            for row, _, values in self._chunks
            if self._labels[row].get("__name__") == self._process_start and values[0] < self._timeline.start - PAST
        }
        return frozenset(
            target
            for target in dict.fromkeys(self._targets)
            if target not in present and (target[3] not in self._new_arms or target in old)
        )

    def late_series(self, longest: float) -> tuple[frozenset[str], frozenset[Target], float]:
        """Return the metrics and targets of series that came later than others of their target, which was there.

        Parameters
        ----------
        longest : seconds before the window from which an earlier value may be

        Returns
        -------
        The metrics, the targets, and for how many seconds before the window their processes have all been there.
        """
        present, metrics, targets = self._present(), set(), set()
        began, first, age = self._timeline.start + OFF_GRID, dict[int, float](), longest
        for row, times, _ in self._chunks:
            first[row] = min(first.get(row, np.inf), float(times[0]))
        for row, moment in first.items():
            target = self._targets[row]
            if moment >= began and target in present and target[3] not in self._new_arms:
                metrics.add(self._labels[row].get("__name__", ""))
                targets.add(target)
        for row, times, values in self._chunks if targets else ():
            gauge = self._labels[row].get("__name__") == self._process_start
            if gauge and times[0] < began and self._targets[row] in targets:
                age = min(age, self._timeline.start - float(values[0]))
        return frozenset(metrics), frozenset(targets), float(np.floor(age))

    def settle(self) -> tuple[Settled, frozenset[Target]]:
        """Put the values in place, when all are taken in.

        Returns
        -------
        The streams, and the targets that restarted.

        Raises
        ------
        BadResponse : values for times that were not asked for
        """
        values = np.full((len(self._labels), self._timeline.slices + 1), np.nan)
        if self._chunks:
            rows = np.repeat([row for row, _, _ in self._chunks], [len(times) for _, times, _ in self._chunks])
            columns = self._timeline.indices(np.concatenate([times for _, times, _ in self._chunks]))
            values[rows, columns] = np.concatenate([several for _, _, several in self._chunks])
        starts = self._first_starts(values)
        based = set()
        for row, (value, began_by) in self._base.items():
            # An older value is that of the process before, where this one began since.
            if np.isnan(values[row, 0]) and starts.get(self._targets[row], 0.0) <= began_by:
                values[row, 0] = value
                based.add(row)
        streams = join(self._labels, self._targets, values, process_start=self._process_start)
        settled = Settled(
            timeline=self._timeline,
            streams=streams,
            process_start=self._process_start,
            new_arms=self._new_arms,
            watched=self._watched,
            based=frozenset(stream for stream, rows in enumerate(streams.rows) if rows[:1].tolist()[0] in based),
            unusable={
                stream: self._unusable[row]
                for stream, several in enumerate(streams.members)
                for row in several
                if row in self._unusable
            },
        )
        _find_falls(settled)
        _find_returned(settled)
        restarted = {target for target in streams.targets if target[:4] in self._restarted}
        return settled, frozenset(restarted | settled.suspects.keys())

    def suspect(self, settled: Settled, answer: Iterable[Series]) -> None:
        """Take in at the ends of which slices a target may have restarted."""
        timeline = self._timeline
        by_pod: dict[Target, set[Target]] = {}
        for target in settled.streams.targets:
            by_pod.setdefault(target[:4], set()).add(target)
        for series in answer:
            indices = np.rint((series.times - timeline.start) / timeline.step).astype(np.intp)
            slices = np.clip(indices, 1, timeline.slices) - 1  # before the start: it matters to the base
            for target in by_pod.get(pod_key(series.labels, self._arm_label), ()):
                settled.suspects.setdefault(target, set()).update(slices.tolist())

    def zoom(self, settled: Settled, span: tuple[int, int], answer: Iterable[Series]) -> None:
        """Take in every sample of the slices in which processes restarted; with the first, also those before it."""
        settled.zoomed = span
        pieces: dict[int, list[Series]] = {}
        for series in answer:
            row = self._rows.get(frozenset(canonical(series.labels).items()))
            if row is not None:
                pieces.setdefault(row, []).append(series)
        for row, parts in pieces.items():
            times, order = np.unique(np.concatenate([part.times for part in parts]), return_index=True)
            values = np.concatenate([part.values for part in parts])[order]
            usable = possible(self._labels[row].get("__name__", ""), values)
            if (wrong := values[~usable & np.isfinite(values)]).size:
                settled.unusable.update(
                    {stream: f"{wrong[0]:g}" for stream, rows in enumerate(settled.streams.members) if row in rows}
                )
            settled.tracks[row] = times[usable], values[usable]

    def _take(self, row: int, times: Floats, values: Floats) -> None:
        usable = possible(self._labels[row].get("__name__", ""), values)
        if not usable.all():
            self._unusable[row] = f"{values[~usable][0]:g}"
            times, values = times[usable], values[usable]
        if len(times):
            self._chunks.append((row, times, values))

    def _present(self) -> set[Target]:
        """Return the targets that had a sample when the window began."""
        began = self._timeline.start + OFF_GRID
        return {self._targets[row] for row, times, _ in self._chunks if times[0] < began}

    def _first_starts(self, values: Floats) -> dict[Target, float]:
        """Return when the first process of each target began that is known."""
        starts: dict[Target, float] = {}
        for row, labels in enumerate(self._labels):
            if labels.get("__name__") == self._process_start and not np.isnan(values[row]).all():
                target = self._targets[row]
                starts[target] = min(starts.get(target, np.inf), float(np.nanmin(values[row])))
        return starts

    def _row(self, labels: dict[str, str]) -> int:
        labels = canonical(labels)
        key = frozenset(labels.items())
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = len(self._labels)
            self._labels.append(labels)
            self._targets.append(pod_key(labels, self._arm_label))
        return row


def possible(metric: str, values: Floats) -> Flags:
    """Whether a counter, or what may fall, can have such values; shape as values."""
    least, most = (-GREATEST_SUM, GREATEST_SUM) if may_fall(metric) else (0.0, GREATEST)
    return np.asarray((values >= least) & (values <= most))


def _find_falls(settled: Settled) -> None:
    """Suspect a restart wherever a counter is below its last value, or the time of the start changed."""
    streams = settled.streams
    if not streams.labels:
        return
    last = streams.values[:, 1:]
    previous = last_known(streams.values[:, 0], last)
    gauges = settled.gauges
    sums = np.array([may_fall(settled.metric(stream)) for stream in range(len(streams.labels))])
    fell = (last < previous) & ~sums[:, np.newaxis] & ~gauges[:, np.newaxis]
    changed = (last != previous) & ~np.isnan(last) & ~np.isnan(previous) & gauges[:, np.newaxis]
    for stream, slice_index in np.argwhere(fell | changed):
        known = np.flatnonzero(~np.isnan(streams.values[stream, : slice_index + 1]))
        slices = {int(slice_index), max(0, int(known[-1]) - 1)}
        settled.suspects.setdefault(streams.targets[stream], set()).update(slices)


def _find_returned(settled: Settled) -> None:
    """Look closer also at targets that were not scraped before: what old ones had counted by then is not news."""
    seen: dict[Target, Flags] = {}
    for target, known in zip(settled.streams.targets, ~np.isnan(settled.streams.values), strict=True):
        seen[target] = seen[target] | known if target in seen else known
    starts = settled.gauges
    young = {
        target
        for target, is_start, values in zip(settled.streams.targets, starts, settled.streams.values, strict=True)
        if is_start and np.nanmin(values, initial=np.inf) >= settled.timeline.start - PAST
    }
    gauged = {target for target, is_start in zip(settled.streams.targets, starts, strict=True) if is_start}
    for target, known in seen.items():
        new = target[3] in settled.new_arms and (target in young or (target not in gauged and settled.watched))
        if known.any() and not known[0] and not new:
            settled.suspects.setdefault(target, set()).add(int(np.argmax(known)) - 1)


def target_of(labels: Mapping[str, str]) -> Target:
    """Return what names the pod or scrape target of a series, whatever its arm."""
    return pod_key({name: value for name, value in labels.items() if name != STAT}, "")


def matchers_of(targets: Iterable[Target]) -> tuple[Matcher, ...]:
    """Write what selects some targets, where they have names; rather more of them than too few."""
    by_label: dict[str, set[str]] = {}
    for label, _, name, *_ in targets:
        by_label.setdefault(label, set()).add(name)
    if len(by_label) != 1 or not by_label.keys() <= {"instance", *POD_LABELS}:
        return ()
    return tuple(arms_matcher(label, tuple(sorted(names))) for label, names in by_label.items())


def one_a_metric(selectors: Iterable[Selector]) -> list[Selector]:
    """Keep one selector a metric, with the matchers that all share: a superset, of which `growth` picks again."""
    by_metric: dict[str, list[Selector]] = {}
    for selector in selectors:
        by_metric.setdefault(selector.metric, []).append(selector)
    return [
        Selector(
            metric,
            tuple(matcher for matcher in several[0].matchers if all(matcher in other.matchers for other in several)),
        )
        for metric, several in by_metric.items()
    ]


def in_groups(selectors: Iterable[Selector]) -> list[Selector]:
    """Put together the metrics that have the same matchers, for one query."""
    groups: dict[tuple[Matcher, ...], list[str]] = {}
    for selector in selectors:
        groups.setdefault(selector.matchers, []).append(selector.metric)
    return [_together(metrics, matchers) for matchers, metrics in groups.items()]


def _together(metrics: Sequence[str], matchers: tuple[Matcher, ...]) -> Selector:
    if len(metrics) == 1:
        return Selector(metrics[0], matchers)
    return Selector("", (arms_matcher("__name__", tuple(metrics)), *matchers))


def may_fall(metric: str) -> bool:
    """Whether a metric is the sum of a histogram, whose values may be negative: it falls without a restart."""
    return metric.endswith("_sum")


def is_part(metric: str) -> bool:
    """Whether a metric is one of those that a histogram consists of."""
    return metric.endswith(("_bucket", "_sum", "_count"))


def family_of(metric: str) -> str:
    """Name what restarts together: the metrics of one histogram, or of one counter."""
    return metric.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
