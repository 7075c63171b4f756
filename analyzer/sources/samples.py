"""The samples that Prometheus answered with, on the slices of a window: which grew by how much, and what restarted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from analyzer.errors import BadResponse
from analyzer.model import Floats
from analyzer.profile import Selector
from analyzer.sources.assembly import Grown
from analyzer.sources.counters import Grid, Track, counts_from_zero, followed, increments, last_known, restarts
from analyzer.sources.prometheus_api import Series

OFF_GRID = 2e-3  # seconds by which the time of an answer may differ from what was asked

Target = tuple[str, ...]


@dataclass(frozen=True)
class Timeline:
    """The slices of a window: `count` of `step` seconds each from `start` on, and what is left until `end`."""

    start: float
    end: float
    step: float
    count: int

    @property
    def tail(self) -> float:
        """Length of the last, shorter slice; 0 where the window is a whole number of slices."""
        return round(self.end - self.start - self.step * self.count, 3)

    @property
    def slices(self) -> int:
        """Number of slices, with the last shorter one."""
        return self.count + (self.tail > 0)

    def ends_of_slices(self) -> Floats:
        """Give the last moment of each slice; shape (slices,)."""
        ends = self.start + self.step * np.arange(1, self.slices + 1)
        return np.minimum(ends, self.end) if self.slices else ends


@dataclass(frozen=True)
class Restarts:
    """Where to look closer: the targets whose processes restarted, and the slices from `first` to `last`."""

    targets: frozenset[Target]
    first: int
    last: int
    series: int


class Samples:
    """Samples of many series, followed series by series.

    Parameters
    ----------
    timeline : the slices
    arm_label : which label tells the arms apart
    process_start : metric with the time at which a process started
    new_arms : arms of which every target began inside the window
    """

    def __init__(
        self, timeline: Timeline, *, arm_label: str, process_start: str | None, new_arms: frozenset[str]
    ) -> None:
        self._timeline, self._arm_label = timeline, arm_label
        self._process_start, self._new_arms = process_start, new_arms
        self._rows: dict[frozenset[tuple[str, str]], int] = {}
        self._labels: list[dict[str, str]] = []
        self._targets: list[Target] = []
        self._chunks: list[tuple[int, Floats, Floats]] = []
        self._base: dict[int, float] = {}
        self._suspects: dict[Target, set[int]] = {}
        self._tracks: dict[int, tuple[Floats, Floats]] = {}
        self._zoomed: Restarts | None = None

    def add(self, answer: Iterable[Series]) -> None:
        """Take in values at the window's start and at the ends of slices."""
        self._chunks += [(self._row(one.labels), one.times, one.values) for one in answer]

    def add_base(self, answer: Iterable[Series]) -> None:
        """Take in last values from longer before the window."""
        self._base.update({self._row(one.labels): float(one.values[-1]) for one in answer if len(one.values)})

    def suspect(self, answer: Iterable[Series]) -> None:
        """Take in at the ends of which slices a target may have restarted."""
        for one in answer:
            places = self._places(one.times)
            self._suspects.setdefault(target_of(one.labels), set()).update((places[places > 0] - 1).tolist())

    def settle(self) -> Restarts | None:
        """Put the values in place, when all are taken in; tell which restarts need a closer look.

        Raises
        ------
        BadResponse : values for times that were not asked for
        """
        slices = self._timeline.slices
        self._values = np.full((len(self._labels), slices + 1), np.nan)
        if self._chunks:
            rows = np.repeat([row for row, _, _ in self._chunks], [len(times) for _, times, _ in self._chunks])
            places = self._places(np.concatenate([times for _, times, _ in self._chunks]))
            self._values[rows, places] = np.concatenate([values for _, _, values in self._chunks])
        for row, value in self._base.items():
            if np.isnan(self._values[row, 0]):
                self._values[row, 0] = value
        self._find_falls()
        affected = {target: places for target, places in self._suspects.items() if places}
        if not affected:
            return None
        series = sum(target in affected for target in self._targets)
        every = set().union(*affected.values())
        return Restarts(frozenset(affected), first=min(every), last=max(every), series=series)

    def zoom(self, closer: Restarts, answer: Iterable[Series]) -> None:
        """Take in every sample of the targets that restarted, in the slices where they did."""
        self._zoomed = closer
        for one in answer:
            row = self._rows.get(frozenset(one.labels.items()))
            if row is not None and self._targets[row] in closer.targets:
                self._tracks[row] = (one.times, one.values)

    def growth(self, selectors: Sequence[Selector]) -> dict[Selector, list[Grown]]:
        """Tell how much each series grew in each slice, by selector; the selectors' fields are filled in."""
        table: dict[Selector, list[Grown]] = {selector: [] for selector in selectors}
        if not self._labels:
            return table
        grown = self._growth()
        by_metric: dict[str, list[Selector]] = {}
        for selector in selectors:
            by_metric.setdefault(selector.metric, []).append(selector)
        for labels, growth in zip(self._labels, grown, strict=True):
            for selector in by_metric.get(labels.get("__name__", ""), []):
                if all(matcher.matches(labels) for matcher in selector.matchers):
                    arm = labels.get(self._arm_label, "")
                    named = {name: value for name, value in labels.items() if name != "__name__"}
                    table[selector].append(Grown(arm=arm, labels=named, growth=growth))
        return table

    def _growth(self) -> Floats:
        numbers: dict[Target, int] = {}
        target = np.array([numbers.setdefault(one, len(numbers)) for one in self._targets], dtype=np.intp)
        before = np.zeros(len(numbers), dtype=bool)
        np.logical_or.at(before, target, ~np.isnan(self._values[:, 0]))
        grid = Grid(
            base=self._values[:, 0],
            last=self._values[:, 1:],
            may_fall=np.array([_may_fall(labels) for labels in self._labels]),
            target=target,
        )
        new = self._new_targets(numbers)
        grown = increments(grid, scraped_before=before, begins_at_zero=new)
        if self._zoomed is not None:
            from_zero = counts_from_zero(grid, scraped_before=before, begins_at_zero=new)
            for one in self._zoomed.targets:
                self._follow(one, grown, from_zero)
        return grown

    def _follow(self, target: Target, grown: Floats, from_zero: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> None:
        """Replace the growth of a target that restarted by that from sample to sample."""
        rows = [row for row, one in enumerate(self._targets) if one == target]
        found = restarts(
            [self._track(row, *self._tracks[row]) for row in rows if row in self._tracks and not self._is_gauge(row)],
            next((self._track(row, *self._both(row)) for row in rows if self._is_gauge(row)), None),
        )
        for row in rows:
            times, values = self._both(row)
            if not len(times) or self._is_gauge(row):
                continue
            places = self._slice_of(times)
            based = places[0] < 0
            zero = not based and bool(from_zero[row, places[0]])
            track = self._track(row, times, values)
            growth = followed(track, found.get(track.family, np.empty(0)), from_zero=zero)
            inside = places >= 0
            grown[row] = np.bincount(places[inside], growth[inside], minlength=self._timeline.slices)

    def _both(self, row: int) -> tuple[Floats, Floats]:
        """Put together the samples of the slices that were looked at closer and the values on the grid elsewhere."""
        closer = self._zoomed
        values = self._values[row]
        moments = np.concatenate([[self._timeline.start], self._timeline.ends_of_slices()])
        use = ~np.isnan(values)
        times, inner = self._tracks.get(row, (np.empty(0), np.empty(0)))
        if closer is not None:
            use[closer.first + 1 : closer.last + 2] = False
            within = (times > moments[closer.first] + 1e-6) & (times <= moments[closer.last + 1] + 1e-6)
            times, inner = times[within], inner[within]
        order = np.argsort(np.concatenate([moments[use], times]), kind="stable")
        return np.concatenate([moments[use], times])[order], np.concatenate([values[use], inner])[order]

    def _slice_of(self, times: Floats) -> "np.ndarray[tuple[int, ...], np.dtype[np.intp]]":
        """Find the slice of each moment; -1: not after the window's start."""
        moments = np.concatenate([[self._timeline.start], self._timeline.ends_of_slices()])
        return np.searchsorted(moments + 1e-6, times, side="left") - 1

    def _find_falls(self) -> None:
        """Suspect a restart wherever a counter is below its last value, or the time of the start changed."""
        if not self._labels:
            return
        last = self._values[:, 1:]
        previous = last_known(self._values[:, 0], last)
        gauge = np.array([self._is_gauge(row) for row in range(len(self._labels))])
        may_fall = np.array([_may_fall(labels) for labels in self._labels])
        fell = (last < previous) & ~may_fall[:, np.newaxis] & ~gauge[:, np.newaxis]
        changed = (last != previous) & ~np.isnan(last) & ~np.isnan(previous) & gauge[:, np.newaxis]
        for row, place in np.argwhere(fell | changed):
            known = np.flatnonzero(~np.isnan(self._values[row, : place + 1]))
            self._suspects.setdefault(self._targets[row], set()).update({int(place), max(0, int(known[-1]) - 1)})

    def _new_targets(self, numbers: Mapping[Target, int]) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
        """Tell which targets, first scraped inside the window, are new processes.

        Those of a new arm are. Another is when it says so itself; otherwise it may be an old one that was not
        scraped for a while, whose whole past must not count.
        """
        new = np.zeros(len(numbers), dtype=bool)
        for row, (target, labels) in enumerate(zip(self._targets, self._labels, strict=True)):
            if labels.get(self._arm_label) in self._new_arms:
                new[numbers[target]] = True
            elif self._is_gauge(row):
                _, values = self._both(row)
                new[numbers[target]] |= len(values) > 0 and bool(values.min() >= self._timeline.start)
        return new

    def _track(self, row: int, times: Floats, values: Floats) -> Track:
        labels = self._labels[row]
        return Track(_family(labels.get("__name__", "")), times, values, may_fall=_may_fall(labels))

    def _is_gauge(self, row: int) -> bool:
        return self._process_start is not None and self._labels[row].get("__name__") == self._process_start

    def _row(self, labels: Mapping[str, str]) -> int:
        key = frozenset(labels.items())
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = len(self._labels)
            self._labels.append(dict(labels))
            self._targets.append(target_of(labels))
        return row

    def _places(self, times: Floats) -> "np.ndarray[tuple[int, ...], np.dtype[np.intp]]":
        """Find the places of moments on the grid: 0 is the window's start, then the ends of the slices."""
        timeline = self._timeline
        places = np.rint((times - timeline.start) / timeline.step).astype(np.intp)
        off = np.abs(times - timeline.start - places * timeline.step)
        at_end = np.abs(times - timeline.end) < OFF_GRID
        if (~at_end & ((off > OFF_GRID) | (places < 0) | (places > timeline.count))).any():
            raise BadResponse("it answered with values for other times than those that were asked for")
        return np.where(at_end, timeline.slices, places)


def target_of(labels: Mapping[str, str]) -> Target:
    """Name the scrape target of a series by the labels that Prometheus gives to targets."""
    for names in (("job", "instance"), ("namespace", "pod")):
        if labels.get(names[1]):
            return tuple(labels.get(name, "") for name in names)
    own = {"le", "__name__"}
    return tuple(f"{name}={value}" for name, value in sorted(labels.items()) if name not in own)


def selectors_in_groups(selectors: Iterable[Selector]) -> list[Selector]:
    """Put together selectors that one query can read: a superset, of which `Samples.growth` picks again.

    Of several selectors of one metric only the matchers that all share remain; then metrics with the same
    matchers become one selector.
    """
    shared: dict[str, list[Selector]] = {}
    for selector in selectors:
        shared.setdefault(selector.metric, []).append(selector)
    alike = {
        metric: tuple(one for one in several[0].matchers if all(one in other.matchers for other in several))
        for metric, several in shared.items()
    }
    grouped = groupby(sorted(alike, key=lambda metric: str(Selector("", alike[metric]))), key=alike.__getitem__)
    return [Selector("|".join(sorted(metrics)), matchers) for matchers, metrics in grouped]


def _may_fall(labels: Mapping[str, str]) -> bool:
    """Whether a series is the sum of a histogram, whose values may be negative."""
    return labels.get("__name__", "").endswith("_sum")


def _family(metric: str) -> str:
    """Name what restarts together: the metrics of one histogram, or of one counter."""
    return metric.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
