"""The samples that Prometheus answered with, on the slices of a window: which grew by how much, and what restarted."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.config.selector import Matcher, Selector, arms_matcher
from analyzer.errors import BadResponse
from analyzer.model.counts import Floats
from analyzer.sources.assembly import Grown
from analyzer.sources.counters import (
    Flags,
    Grid,
    Places,
    Track,
    counts_from_zero,
    followed,
    increments,
    last_known,
    restarts,
)
from analyzer.sources.lives import NO_LIVES, Life, pod_name
from analyzer.sources.prometheus_api import Series

STAT = "analyzer_stat"  # label that tells apart the values of one query
TARGET_LABELS = ("job", "instance", "namespace", "pod")
OFF_GRID = 2e-3  # seconds by which the time of an answer may differ from what was asked
ENOUGH_GAPS = 5  # between the samples of a target, to know its interval even if one gap is an outage

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
        return np.asarray(np.minimum(self.start + self.step * np.arange(1, self.slices + 1), self.end))

    def places(self, times: Floats) -> Places:
        """Find the places of moments: 0 is the start, then come the ends of the slices.

        Raises
        ------
        BadResponse : a moment that is none of these
        """
        places = np.rint((times - self.start) / self.step).astype(np.intp)
        off = np.abs(times - self.start - places * self.step)
        at_end = np.abs(times - self.end) < OFF_GRID
        if (~at_end & ((off > OFF_GRID) | (places < 0) | (places > self.count))).any():
            raise BadResponse(
                "it answered with values for other times than those that were asked for (VictoriaMetrics needs the "
                "parameter nocache=1: see ANALYZER_PROMETHEUS_PARAMETERS)"
            )
        return np.where(at_end, self.slices, places)


class Samples:
    """Samples of many series, followed series by series.

    Parameters
    ----------
    timeline : the slices
    arm_label : which label tells the arms apart
    process_start : metric with the time at which a process started
    new_arms : arms of which every target began inside the window
    look_back : for how many seconds before the window values were looked for
    """

    def __init__(
        self,
        timeline: Timeline,
        *,
        arm_label: str,
        process_start: str | None,
        new_arms: frozenset[str],
        look_back: float,
    ) -> None:
        self._timeline, self._arm_label, self._look_back = timeline, arm_label, look_back
        self._process_start, self._new_arms = process_start, new_arms
        self._rows: dict[frozenset[tuple[str, str]], int] = {}
        self._labels: list[dict[str, str]] = []
        self._targets: list[Target] = []
        self._chunks: list[tuple[int, Floats, Floats]] = []
        self._base: dict[int, float] = {}
        self._suspects: dict[Target, set[int]] = {}
        self._tracks: dict[int, tuple[Floats, Floats]] = {}
        self._restarted: set[Target] = set()
        self._zoomed: tuple[int, int] | None = None
        self._restarts: dict[Target, Floats] = {}

    def add(self, answer: Iterable[Series]) -> None:
        """Take in values at the window's start and at the ends of slices."""
        self._chunks += [(self._row(one.labels), one.times, one.values) for one in answer if len(one.times)]

    def add_ends(self, answer: Iterable[Series]) -> None:
        """Take in the values of the last slice, those from longer before the window, and which counters were reset."""
        for one in (one for one in answer if len(one.times)):
            labels = {name: value for name, value in one.labels.items() if name != STAT}
            match one.labels.get(STAT, "").split(" ")[0]:
                case "tail":
                    self._chunks.append((self._row(labels), one.times, one.values))
                case "base":
                    self._base.update({self._row(labels): float(value) for value in one.values})
                case "resets":
                    self._restarted.add(target_of(labels))
                case _:
                    raise BadResponse(f"it answered with a series without the label {STAT}")

    def absent_at_start(self) -> frozenset[Target]:
        """Tell which targets, other than those of new arms, had no sample when the window began."""
        began = self._timeline.start + OFF_GRID
        present = {self._targets[row] for row, times, _ in self._chunks if times[0] < began}
        arms = zip(self._targets, self._labels, strict=True)
        return frozenset(
            target
            for target, labels in arms
            if target not in present and labels.get(self._arm_label) not in self._new_arms
        )

    def suspect(self, answer: Iterable[Series]) -> None:
        """Take in at the ends of which slices a target may have restarted."""
        for one in answer:
            places = np.rint((one.times - self._timeline.start) / self._timeline.step).astype(np.intp)
            slices = np.clip(places, 1, self._timeline.slices) - 1  # before the start: it matters to the base
            self._suspects.setdefault(target_of(one.labels), set()).update(slices.tolist())

    def settle(self) -> frozenset[Target]:
        """Put the values in place, when all are taken in; tell which targets restarted.

        Raises
        ------
        BadResponse : values for times that were not asked for
        """
        slices = self._timeline.slices
        self._values = np.full((len(self._labels), slices + 1), np.nan)
        if self._chunks:
            rows = np.repeat([row for row, _, _ in self._chunks], [len(times) for _, times, _ in self._chunks])
            places = self._timeline.places(np.concatenate([times for _, times, _ in self._chunks]))
            self._values[rows, places] = np.concatenate([values for _, _, values in self._chunks])
        young = self._young_processes()
        for row, value in self._base.items():
            if np.isnan(self._values[row, 0]) and self._targets[row] not in young:
                self._values[row, 0] = value
        self._find_falls()
        self._find_returned()
        return frozenset(self._restarted | self._suspects.keys())

    def span(self) -> tuple[int, int] | None:
        """Tell the first and the last slice in which a process may have restarted; None: none did in the window."""
        slices = set().union(*self._suspects.values())
        return (min(slices), max(slices)) if slices else None

    def series_of(self, targets: frozenset[Target]) -> int:
        """Count the series of some targets."""
        return sum(target in targets for target in self._targets)

    def zoom(self, span: tuple[int, int], answer: Iterable[Series]) -> None:
        """Take in every sample of the slices in which processes restarted; with the first, also those before it."""
        self._zoomed = span
        pieces: dict[int, list[Series]] = {}
        for one in answer:
            row = self._rows.get(frozenset(one.labels.items()))
            if row is not None:
                pieces.setdefault(row, []).append(one)
        for row, parts in pieces.items():
            times, order = np.unique(np.concatenate([one.times for one in parts]), return_index=True)
            self._tracks[row] = (times, np.concatenate([one.values for one in parts])[order])

    def growth(self, wanted: Mapping[Selector, Selector]) -> dict[Selector, list[Grown]]:
        """Tell how much each series grew in each slice.

        Parameters
        ----------
        wanted : selectors of the profile, and the same with the request's fields filled in
        """
        grown = self._growth() if self._labels else np.zeros((0, 0))
        return {
            selector: [self._named(row, grown[row]) for row in rows]
            for selector, rows in self._selected(wanted).items()
        }

    def followed(self, wanted: Mapping[Selector, Selector]) -> "Followed":
        """Give what is known of each series by itself, to tell how much it had grown by any earlier moment."""
        slices, selected = self._timeline.slices, self._selected(wanted)
        if not self._labels:
            none = np.zeros(0, dtype=np.intp)
            seen = np.zeros((0, slices + 1), dtype=bool)
            return Followed((), np.zeros((0, slices)), none, none, seen, selected, NO_LIVES)
        grown, (numbers, seen) = self._growth(), self._seen()
        known = ~np.isnan(self._values)
        inside = _first(known[:, 1:]) + 1
        since = _first(known)
        for row in self._base:  # which was looked for because the target came back, and would not have been before
            since[row] = max(since[row], _first(seen[numbers[self._targets[row]], np.newaxis, 1:])[0] + 1)
        series = tuple(self._named(row, grown[row]) for row in range(len(self._labels)))
        return Followed(series, grown, since, inside, seen, selected, self.lives())

    def lives(self) -> dict[str, Life]:
        """Return when each pod began and restarted, by its name; after the growth, which looks for restarts."""
        if not self._labels:
            return {}
        numbers, seen = self._seen()
        new = self._new_targets(numbers)
        moments = np.concatenate([[self._timeline.start], self._timeline.ends_of_slices()])
        gauges = {self._targets[row]: self._track(row) for row in range(len(self._labels)) if self._is_gauge(row)}
        names = {self._targets[row]: pod_name(labels) for row, labels in enumerate(self._labels)}
        starts: dict[str, list[float | None]] = {}
        restarted: dict[str, list[Floats]] = {}
        for target, number in numbers.items():
            gauge, start = gauges.get(target), None
            restarts_ = self._restarts.get(target, np.zeros(0))
            if gauge is not None and len(gauge.values):
                start = float(gauge.values.min())
                restarts_ = gauge.times[1:][np.diff(gauge.values) != 0]
            elif not seen[number, 0] and seen[number].any():
                start = float(moments[np.argmax(seen[number]) - 1])
            if not new[number] and (start is None or start < self._timeline.start or gauge is None):
                start = None
            starts.setdefault(names[target], []).append(start)
            restarted.setdefault(names[target], []).append(restarts_)
        began = {name: None if None in several else min(filter(None, several)) for name, several in starts.items()}
        return {name: Life(start, np.unique(np.concatenate(restarted[name]))) for name, start in began.items()}

    def _selected(self, wanted: Mapping[Selector, Selector]) -> dict[Selector, list[int]]:
        """Tell which series each selector means."""
        rows: dict[Selector, list[int]] = {selector: [] for selector in wanted}
        by_metric: dict[str, list[tuple[list[int], tuple[Matcher, ...]]]] = {}
        for selector, filled in wanted.items():
            by_metric.setdefault(selector.metric, []).append((rows[selector], filled.matchers))
        for row, labels in enumerate(self._labels):
            for into, matchers in by_metric.get(labels.get("__name__", ""), []):
                if all(matcher.matches(labels) for matcher in matchers):
                    into.append(row)
        return rows

    def _named(self, row: int, growth: Floats) -> Grown:
        labels = {name: value for name, value in self._labels[row].items() if name != "__name__"}
        return Grown(arm=labels.get(self._arm_label, ""), labels=labels, growth=growth, pod=pod_name(labels))

    def _growth(self) -> Floats:
        numbers: dict[Target, int] = {}
        target = np.array([numbers.setdefault(one, len(numbers)) for one in self._targets], dtype=np.intp)
        before = np.zeros(len(numbers), dtype=bool)
        np.logical_or.at(before, target, ~np.isnan(self._values[:, 0]))
        grid = Grid(
            base=self._values[:, 0],
            last=self._values[:, 1:],
            may_fall=np.array([may_fall(labels.get("__name__", "")) for labels in self._labels]),
            target=target,
        )
        new = self._new_targets(numbers)
        grown = increments(grid, scraped_before=before, begins_at_zero=new)
        if self._zoomed is not None:
            from_zero = counts_from_zero(grid, scraped_before=before, begins_at_zero=new)
            for one in self._suspects:
                self._follow(one, grown, from_zero)
        return grown

    def _follow(self, target: Target, grown: Floats, from_zero: Flags) -> None:
        """Replace the growth of a target that restarted by that from sample to sample."""
        tracks = {row: self._track(row) for row, one in enumerate(self._targets) if one == target}
        gauge = next((tracks.pop(row) for row in list(tracks) if self._is_gauge(row)), None)
        found = restarts(list(tracks.values()), gauge)
        self._restarts[target] = np.unique(np.concatenate([np.zeros(0), *found.values()]))
        first = min((one.times[0] for one in tracks.values() if len(one.times)), default=0.0)
        for row, track in tracks.items():
            places = self._slice_of(track.times)
            if not len(places):
                continue
            zero = bool(from_zero[row, places[0]]) or track.times[0] > first
            growth = followed(track, found[track.family], from_zero=zero and places[0] >= 0)
            inside = places >= 0
            grown[row] = np.bincount(places[inside], growth[inside], minlength=self._timeline.slices)

    def _track(self, row: int) -> Track:
        """Put together every sample of the slices that were looked at closer and the values on the grid elsewhere."""
        values = self._values[row]
        moments = np.concatenate([[self._timeline.start], self._timeline.ends_of_slices()])
        use = ~np.isnan(values)
        times, inner = self._tracks.get(row, (np.empty(0), np.empty(0)))
        if self._zoomed is not None and self._targets[row] in self._suspects:
            first, last = self._zoomed
            use[first + (first > 0) : last + 2] = False
            within = ((times > moments[first] + 1e-6) | (first == 0)) & (times <= moments[last + 1] + 1e-6)
            times, inner = times[within], inner[within]
        times, inner = np.concatenate([moments[use], times]), np.concatenate([values[use], inner])
        order = np.argsort(times, kind="stable")
        name = self._labels[row].get("__name__", "")
        return Track(family_of(name), times[order], inner[order], may_fall=may_fall(name))

    def _slice_of(self, times: Floats) -> Places:
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
        sums = np.array([may_fall(labels.get("__name__", "")) for labels in self._labels])
        fell = (last < previous) & ~sums[:, np.newaxis] & ~gauge[:, np.newaxis]
        changed = (last != previous) & ~np.isnan(last) & ~np.isnan(previous) & gauge[:, np.newaxis]
        for row, place in np.argwhere(fell | changed):
            known = np.flatnonzero(~np.isnan(self._values[row, : place + 1]))
            self._suspects.setdefault(self._targets[row], set()).update({int(place), max(0, int(known[-1]) - 1)})

    def _find_returned(self) -> None:
        """Look closer also at old targets that were not scraped before: what they had counted by then is not news."""
        numbers, seen = self._seen()
        new = self._new_targets(numbers)
        for target, number in numbers.items():
            if seen[number].any() and not seen[number, 0] and not new[number]:
                self._suspects.setdefault(target, set()).add(int(np.argmax(seen[number])) - 1)

    def scrape_seconds(self) -> float:
        """Tell about how far apart the samples of a target are, by the one with the fewest; a slice at least."""
        return self._timeline.step * slices_apart(self._seen()[1][:, 1:])

    def _seen(self) -> tuple[dict[Target, int], Flags]:
        """Give the targets numbers, and tell where each has a sample; shape (targets, 1 + slices)."""
        numbers = {target: number for number, target in enumerate(dict.fromkeys(self._targets))}
        seen = np.zeros((len(numbers), self._timeline.slices + 1), dtype=bool)
        rows = np.array([numbers[target] for target in self._targets], dtype=np.intp)
        np.logical_or.at(seen, rows, ~np.isnan(self._values))
        return numbers, seen

    def _young_processes(self) -> set[Target]:
        """Find targets whose process began shortly before the window: an older value is of the one before it."""
        gauges = [row for row in range(len(self._labels)) if self._is_gauge(row)]
        oldest = self._timeline.start - self._look_back
        return {self._targets[row] for row in gauges if self._values[row, 0] > oldest}

    def _new_targets(self, numbers: Mapping[Target, int]) -> Flags:
        """Tell which targets, first scraped inside the window, are new processes.

        Those of a new arm are. Another is when it says that it began no sooner than they did, as the fresh baseline of
        an experiment; otherwise it may be an old one that was not scraped for a while, whose whole past must not count.
        """
        arms = [labels.get(self._arm_label) for labels in self._labels]
        starts = {row: self._track(row).values for row in range(len(self._labels)) if self._is_gauge(row)}
        began = {row: float(values.min()) for row, values in starts.items() if len(values)}
        since = min([self._timeline.start, *(start for row, start in began.items() if arms[row] in self._new_arms)])
        new = np.zeros(len(numbers), dtype=bool)
        for row, target in enumerate(self._targets):
            new[numbers[target]] |= arms[row] in self._new_arms or began.get(row, -math.inf) >= since
        return new

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


@dataclass(frozen=True)
class Followed:
    """What is known of series, each by itself.

    Attributes
    ----------
    series : with arm and labels
    growth : in each slice; shape (series, slices)
    since : the place from which an answer would have had it, 0: from the window's start; shape (series,)
    inside : the slice in which it was first seen, counted from 1, more than there are: in none; shape (series,)
    seen : at which places each target has a sample; shape (targets, 1 + slices)
    selected : which of the series each selector means
    lives : of the pods, by name
    """

    series: tuple[Grown, ...]
    growth: Floats
    since: Places
    inside: Places
    seen: Flags
    selected: Mapping[Selector, list[int]]
    lives: Mapping[str, Life]


def slices_apart(seen: Flags) -> float:
    """Tell about how many slices the samples of a target are apart, by the one with the fewest; 1 at least.

    Parameters
    ----------
    seen : where each target has a sample; shape (targets, slices)

    Notes
    -----
    Of each target the upper quartile of its gaps counts, so that an outage is not taken for its interval. A young
    target may have few other gaps: time in which nothing at all was seen, for longer than the others ever wait for a
    sample, was an outage of all.
    """
    gaps = [np.diff(np.flatnonzero(row)) for row in seen]
    usual = max((_upper_quartile(one) for one in gaps if len(one) >= ENOUGH_GAPS), default=0)
    if usual:
        places = np.flatnonzero(seen.any(axis=0))
        when = np.append(0, np.cumsum(np.minimum(np.diff(places), usual)))
        gaps = [np.diff(when[row]) for row in seen[:, places]]
    return float(max([1, *map(_upper_quartile, gaps)]))


def _upper_quartile(gaps: Places) -> int:
    """Give one of the gaps, never a number between two; 1 where there are none."""
    return int(np.sort(gaps)[math.ceil(0.75 * (len(gaps) - 1))]) if len(gaps) else 1


def _first(flags: Flags) -> Places:
    """Find the first that is set in each row; as many as there are where none is."""
    return np.where(flags.any(axis=1), flags.argmax(axis=1) if flags.shape[1] else 0, flags.shape[1])


def target_of(labels: Mapping[str, str]) -> Target:
    """Name the scrape target of a series by the labels that Prometheus gives to targets."""
    for wider, name in (TARGET_LABELS[:2], TARGET_LABELS[2:]):
        if labels.get(name):
            return name, labels.get(wider, ""), labels[name]
    own = {"le", "__name__", STAT}
    return tuple(f"{name}={value}" for name, value in sorted(labels.items()) if name not in own)


def matchers_of(targets: Iterable[Target]) -> tuple[Matcher, ...]:
    """Write what selects some targets, where they have names; rather more of them than too few."""
    by_label: dict[str, set[str]] = {}
    for label, *_, name in targets:
        by_label.setdefault(label, set()).add(name)
    if len(by_label) != 1 or not by_label.keys() <= {"instance", "pod"}:
        return ()
    return tuple(arms_matcher(label, tuple(sorted(names))) for label, names in by_label.items())


def one_a_metric(selectors: Iterable[Selector]) -> list[Selector]:
    """Keep one selector a metric, with the matchers that all share: a superset, of which `growth` picks again."""
    by_metric: dict[str, list[Selector]] = {}
    for selector in selectors:
        by_metric.setdefault(selector.metric, []).append(selector)
    return [
        Selector(metric, tuple(one for one in several[0].matchers if all(one in other.matchers for other in several)))
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
    return Selector("", (Matcher("__name__", "=~", "|".join(metrics)), *matchers))


def may_fall(metric: str) -> bool:
    """Whether a metric is the sum of a histogram, whose values may be negative: it falls without a restart."""
    return metric.endswith("_sum")


def is_part(metric: str) -> bool:
    """Whether a metric is one of those that a histogram consists of."""
    return metric.endswith(("_bucket", "_sum", "_count"))


def family_of(metric: str) -> str:
    """Name what restarts together: the metrics of one histogram, or of one counter."""
    return metric.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
