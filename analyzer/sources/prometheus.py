"""Counts from Prometheus, exact to the unit: every series is read on a grid of times and followed by itself.

One verdict takes two queries a metric, both arms in one: values at the ends of the slices (a range query),
and the value before the first slice with those of the last, shorter slice (an instant query). What was found
out about a rollout before (when it began, which metrics exist, how many series they have) is kept for a few
minutes; it would be found again, so the service stays stateless.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analyzer.errors import BadResponse, PartialData, SourceError, SourceUnavailable
from analyzer.model import Code, Counts, Floats, Gap, Kind, Reading, Readings
from analyzer.profile import (
    ClassCounter,
    LatencyHistogram,
    Matcher,
    Selector,
    Way,
    arms_matcher,
    fill,
    main_selector,
    selectors,
)
from analyzer.sources.assembly import Grown, Selection, absent, assemble, native_histograms, window_of
from analyzer.sources.counters import Grid, increments
from analyzer.sources.native import growth
from analyzer.sources.prometheus_api import PrometheusApi, Series

FINEST = 15.0  # seconds of a slice; doubled until there are at most MOST_SLICES
MOST_SLICES = 60
FEWEST_SLICES = 12  # rather than longer slices, many series are added up by the server
LOOK_BACK = 900.0  # how long before the window a target may not have been scraped and still be known
PRESENCE_STEP = 300.0  # resolution of the search for the canary's first sample
LONGEST_GAP = 600.0  # a canary away for longer than this began anew when it came back
STAT = "analyzer_stat"  # label that tells apart the values of one query

Answer = list[Series] | SourceError


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


@dataclass(frozen=True)
class Scouted:
    """What is known of a rollout before its counts are read.

    Attributes
    ----------
    start : begin of the data, Unix seconds; None: the canary was never seen
    ways : for each kind the way of the profile that can be read and the arms that it was found for
    series : how many series the largest metric of each way has, both arms together
    until : the last moment for which this is good
    """

    start: float | None
    ways: Mapping[Kind, tuple[Way | None, frozenset[str]]] = field(default_factory=dict)
    series: Mapping[Way, int] = field(default_factory=dict)
    until: float = 0.0


class PrometheusSource:
    """Reads counts through the query API of Prometheus, Thanos, Mimir or VictoriaMetrics.

    Parameters
    ----------
    api : the client
    lookback : how far back the canary's first sample is looked for, in seconds
    most_values : how many samples one verdict may take; above, series are added up by the server
    """

    name = "prometheus"

    def __init__(
        self, api: PrometheusApi, *, lookback: float = 7 * 86400.0, most_values: int = 120_000, workers: int = 32
    ) -> None:
        self._api = api
        self._lookback = lookback
        self._most_values = most_values
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="prometheus")
        self._known: dict[tuple[Any, ...], Scouted] = {}
        self._lock = threading.Lock()

    def ready(self, deadline: float) -> None:
        """Raise SourceError unless a trivial query is answered."""
        self._api.instant("vector(1)", time.time(), deadline)

    def read(self, selection: Selection, deadline: float) -> Readings:
        """Read what a verdict asks for; what cannot be read is a gap with the reason."""
        try:
            scouted = self._scout(selection, deadline)
        except SourceError as error:
            return Readings(window_of(selection, None), dict.fromkeys(selection.checks, gap_of(error)))
        window = window_of(selection, scouted.start)
        if window.start is None:
            return Readings(window, {name: _never_seen(selection) for name in selection.checks})
        verdict = _VerdictReader(self, selection, scouted, window.start, deadline)
        by_kind = verdict.read()
        return Readings(window, {name: by_kind[kind] for name, kind in selection.checks.items()}, verdict.queries)

    def run(self, tasks: Mapping[str, Callable[[], list[Series]]], deadline: float) -> dict[str, Answer]:
        """Run queries in parallel until the deadline; a query that fails, or is late, gives its error."""
        futures: dict[str, Future[list[Series]]] = {key: self._pool.submit(task) for key, task in tasks.items()}
        wait(futures.values(), timeout=max(0.0, deadline - time.monotonic()))
        answers: dict[str, Answer] = {}
        for key, future in futures.items():
            if not future.done():
                future.cancel()
                late = SourceUnavailable("no answer before the deadline of the verdict")
                late.reason = "timeout"
                answers[key] = late
                continue
            error = future.exception()
            if error is not None and not isinstance(error, SourceError):
                raise error
            answers[key] = error if error is not None else future.result()
        return answers

    @property
    def api(self) -> PrometheusApi:
        """The client that queries go through."""
        return self._api

    @property
    def most_values(self) -> int:
        """How many samples one verdict may take."""
        return self._most_values

    def _scout(self, selection: Selection, deadline: float) -> Scouted:
        """Find when the canary began, which metrics exist and how many series they have, or remember it."""
        key = (
            selection.profile.name, selection.service, selection.namespace, selection.canary, selection.baseline,
            selection.start, selection.window_seconds, frozenset(selection.checks.values()),
        )  # fmt: skip
        known = self._known.get(key)
        if known and known.start is not None and known.start < selection.at <= known.until:
            return known
        start = window_of(selection, None).start
        if start is None:
            start = self._first_sample(selection, deadline)
        if start is None:
            return Scouted(start=None)
        scouted = self._look_for_metrics(selection, start, deadline)
        everything = all(way and present >= set(selection.arms) for way, present in scouted.ways.values())
        if everything:
            with self._lock:
                while len(self._known) >= 1000:
                    self._known.pop(next(iter(self._known)))
                self._known[key] = scouted
        return scouted

    def _first_sample(self, selection: Selection, deadline: float) -> float | None:
        """Find the first sample of the canary in its present run, one second early so that it counts from 0."""
        query = in_arms(selection.profile.presence, selection, (selection.canary,))
        present = self._api.range(
            f"count(last_over_time({query}[{duration(PRESENCE_STEP)}]))",
            selection.at - math.floor(self._lookback / PRESENCE_STEP) * PRESENCE_STEP,
            selection.at,
            PRESENCE_STEP,
            deadline,
        )
        if not present or not len(present[0].times):
            return None
        times = present[0].times
        gaps = np.flatnonzero(np.diff(times) > LONGEST_GAP)
        first = float(times[gaps[-1] + 1] if len(gaps) else times[0])
        found = self._api.instant(
            f"min(min_over_time(timestamp({query})[{duration(PRESENCE_STEP)}:1s]))", first, deadline
        )
        moment = float(found[0].values[0]) if found else first - PRESENCE_STEP
        return math.floor(moment) - 1.0

    def _look_for_metrics(self, selection: Selection, start: float, deadline: float) -> Scouted:
        """Ask for every way of the profile which arms have its main metric, in how many series."""
        profile, length = selection.profile, duration(max(selection.at - start, 1.0))
        kinds = sorted(set(selection.checks.values()))
        ways = {f"{kind}/{place}": way for kind in kinds for place, way in enumerate(profile.ways(kind))}

        def task(way: Way) -> Callable[[], list[Series]]:
            series = in_arms(main_selector(way), selection, selection.arms)
            query = f"count by ({profile.arm_label}) (last_over_time({series}[{length}]))"
            return lambda: self._api.instant(query, selection.at, deadline)

        answers = self.run({key: task(way) for key, way in ways.items()}, deadline)
        series: dict[Way, int] = {}
        chosen: dict[Kind, tuple[Way | None, frozenset[str]]] = {}
        for kind in kinds:
            chosen[kind] = (next(iter(profile.ways(kind)), None), frozenset())
        for key, way in ways.items():
            answer = answers[key]
            if isinstance(answer, SourceError):
                raise answer
            arms = frozenset(one.labels.get(profile.arm_label, "") for one in answer)
            series[way] = int(sum(one.values[0] for one in answer if len(one.values)))
            kind = Kind(key.split("/")[0])
            better = selection.canary in arms and selection.canary not in chosen[kind][1]
            if better or (arms and not chosen[kind][1]):
                chosen[kind] = (way, arms)
        until = selection.at + (LONGEST_GAP - PRESENCE_STEP)
        return Scouted(start=start, ways=chosen, series=series, until=until)


class _VerdictReader:
    """The queries of one verdict and what their answers amount to."""

    def __init__(
        self, source: PrometheusSource, selection: Selection, scouted: Scouted, start: float, deadline: float
    ) -> None:
        self._source, self._selection, self._scouted = source, selection, scouted
        self._start, self._deadline = start, deadline
        self._tasks: dict[str, Callable[[], list[Series]]] = {}
        self.queries: tuple[str, ...] = ()

    def read(self) -> dict[Kind, Reading[Counts] | Gap]:
        """Read every kind of check that was asked for."""
        found: dict[Kind, Reading[Counts] | Gap] = {}
        exact: dict[Kind, Way] = {}
        added_up: dict[Kind, Way] = {}
        native: dict[Kind, LatencyHistogram] = {}
        for kind, (way, present) in self._scouted.ways.items():
            gap = absent(way, kind, self._selection, set(present))
            if gap is not None or way is None:
                found[kind] = gap or Gap(Code.METRIC_MISSING, f"no metric for {kind}")
            elif isinstance(way, LatencyHistogram) and way.native_histogram:
                native[kind] = way
            else:
                exact[kind] = way
        timeline = self._fit(exact, added_up)
        coarse = _timeline(self._start, self._selection.at, FEWEST_SLICES)
        for selector in _all_selectors(exact):
            self._plan_exact(selector, timeline)
        for way in added_up.values():
            for selector in selectors(way):
                self._plan_added_up(selector, way, coarse)
        for native_way in native.values():
            self._plan_native(native_way, timeline)
        self._plan_process_start(timeline)
        answers = self._source.run(self._tasks, self._deadline)
        self.queries = tuple(sorted({key.split(" ", 1)[1] for key in self._tasks}))

        found |= self._assemble_exact(exact, timeline, answers)
        for kind, way in added_up.items():
            found[kind] = self._assemble_added_up(way, coarse, answers)
        for kind, native_way in native.items():
            found[kind] = self._assemble_native(native_way, answers)
        return found

    def _fit(self, exact: dict[Kind, Way], added_up: dict[Kind, Way]) -> Timeline:
        """Choose slices so that the answer stays small; move ways with too many series to `added_up`."""
        most_slices = MOST_SLICES
        while True:
            timeline = _timeline(self._start, self._selection.at, most_slices)
            series = {kind: self._scouted.series[way] for kind, way in exact.items()}
            if sum(series.values()) * (2 * timeline.count + 3) <= self._source.most_values or not series:
                return timeline
            if timeline.count > FEWEST_SLICES:
                most_slices = timeline.count // 2
                continue
            largest = max(series, key=lambda kind: series[kind])
            added_up[largest] = exact.pop(largest)

    def _plan(self, key: str, query: str, *, at: float) -> None:
        self._tasks[f"{key} {query}"] = lambda: self._source.api.instant(query, at, self._deadline)

    def _plan_range(self, key: str, query: str, timeline: Timeline) -> None:
        first, last = timeline.start + timeline.step, timeline.start + timeline.step * timeline.count
        self._tasks[f"{key} {query}"] = lambda: self._source.api.range(
            query, first, last, timeline.step, self._deadline
        )

    def _plan_exact(self, selector: Selector, timeline: Timeline) -> None:
        series = in_arms(selector, self._selection, self._selection.arms)
        offset = duration(timeline.end - timeline.start)
        parts = [_tagged("base", f"last_over_time({series}[{duration(LOOK_BACK)}] offset {offset})")]
        if timeline.tail > 0:
            parts += [
                _tagged("last", f"last_over_time({series}[{duration(timeline.tail)}])"),
                _tagged("peak", f"max_over_time({series}[{duration(timeline.tail)}])"),
            ]
        parts.append(_tagged("live", series))
        self._plan(f"ends|{selector}", " or ".join(parts), at=timeline.end)
        if timeline.count:
            step = duration(timeline.step)
            parts = [
                _tagged("last", f"last_over_time({series}[{step}])"),
                _tagged("peak", f"max_over_time({series}[{step}])"),
            ]
            self._plan_range(f"grid|{selector}", " or ".join(parts), timeline)

    def _plan_process_start(self, timeline: Timeline) -> None:
        gauge = self._selection.profile.process_start
        if gauge is None:
            return
        series, length = in_arms(gauge, self._selection, self._selection.arms), timeline.end - timeline.start
        parts = [
            _tagged("first", f"min_over_time({series}[{duration(length)}])"),
            _tagged("base", f"last_over_time({series}[{duration(LOOK_BACK)}] offset {duration(length)})"),
        ]
        self._plan("process|", " or ".join(parts), at=timeline.end)

    def _plan_added_up(self, selector: Selector, way: Way, timeline: Timeline) -> None:
        """Follow each series on the server, and send sums: as exact, but blind to a restart hidden in a slice."""
        series = in_arms(selector, self._selection, self._selection.arms)
        labels = [self._selection.profile.arm_label, "le"]
        if isinstance(way, ClassCounter):
            labels[1] = way.by
        step = duration(timeline.step)
        last = f"last_over_time({series}[{step}])"
        before = f"last_over_time({series}[{duration(timeline.step + LOOK_BACK)}] offset {step})"
        lost = f"clamp_min(max_over_time({series}[{step}]) - {before}, 0)"
        query = (
            f"sum by ({', '.join(labels)}) "
            f"((({last} - {before}) >= 0) or ({lost} + {last}) or ({last} unless {before}))"
        )
        self._plan_range(f"sum|{selector}", query, timeline)

    def _plan_native(self, way: LatencyHistogram, timeline: Timeline) -> None:
        series = in_arms(main_selector(way), self._selection, self._selection.arms)
        offset = duration(timeline.end - timeline.start)
        self._plan(
            f"base|{series}", f"last_over_time({series}[{duration(LOOK_BACK)}] offset {offset})", at=timeline.end
        )
        if timeline.count:
            self._plan_range(f"grid|{series}", f"last_over_time({series}[{duration(timeline.step)}])", timeline)
        if timeline.tail > 0:
            self._plan(f"tail|{series}", f"last_over_time({series}[{duration(timeline.tail)}])", at=timeline.end)

    def _answer(self, key: str, answers: Mapping[str, Answer]) -> list[Series]:
        """Find the answer to a planned query, empty where none was planned; raises its SourceError."""
        for name, answer in answers.items():
            if name.startswith(f"{key} "):
                if isinstance(answer, SourceError):
                    raise answer
                return answer
        return []

    def _assemble_exact(
        self, ways: Mapping[Kind, Way], timeline: Timeline, answers: Mapping[str, Answer]
    ) -> dict[Kind, Reading[Counts] | Gap]:
        found: dict[Kind, Reading[Counts] | Gap] = {}
        readable: dict[Kind, Way] = {}
        samples = _Samples(self._selection, timeline)
        try:
            samples.add_processes(self._answer("process|", answers))
        except SourceError as error:
            return dict.fromkeys(ways, gap_of(error))
        for kind, way in ways.items():
            try:
                parts = {
                    one: self._answer(f"ends|{one}", answers) + self._answer(f"grid|{one}", answers)
                    for one in selectors(way)
                }
            except SourceError as error:
                found[kind] = gap_of(error)
                continue
            readable[kind] = way
            for selector, series in parts.items():
                samples.add(selector, series)
        table = samples.growth()
        for kind, way in readable.items():
            reading = assemble(way, table, self._selection, timeline.slices)
            found[kind] = _with(reading, timeline, ())
        return found

    def _assemble_added_up(self, way: Way, timeline: Timeline, answers: Mapping[str, Answer]) -> Reading[Counts] | Gap:
        label = self._selection.profile.arm_label
        table: dict[Selector, list[Grown]] = {}
        try:
            for selector in selectors(way):
                table[selector] = [
                    Grown(
                        arm=one.labels.get(label, ""),
                        labels={name: value for name, value in one.labels.items() if name != label},
                        growth=_placed(one, timeline, timeline.count),
                    )
                    for one in self._answer(f"sum|{selector}", answers)
                ]
        except SourceError as error:
            return gap_of(error)
        note = f"{self._scouted.series[way]:,} series are too many to follow one by one: the source added them up"
        return _with(assemble(way, table, self._selection, timeline.count), timeline, (note,))

    def _assemble_native(self, way: LatencyHistogram, answers: Mapping[str, Answer]) -> Reading[Counts] | Gap:
        series = in_arms(main_selector(way), self._selection, self._selection.arms)
        try:
            base = self._answer(f"base|{series}", answers)
            later = self._answer(f"grid|{series}", answers) + self._answer(f"tail|{series}", answers)
            grown = growth(base, later, self._selection.profile.arm_label)
        except SourceError as error:
            return gap_of(error)
        return native_histograms(grown, self._selection, way.unit.seconds)


class _Samples:
    """The samples of many series on the slices of a window, by selector."""

    def __init__(self, selection: Selection, timeline: Timeline) -> None:
        self._selection, self._timeline = selection, timeline
        self._rows: dict[tuple[Selector, frozenset[tuple[str, str]]], int] = {}
        self._labels: list[tuple[Selector, dict[str, str]]] = []
        self._values: list[dict[str, Floats]] = []
        self._process_first: dict[tuple[str, ...], float] = {}
        self._process_before: set[tuple[str, ...]] = set()

    def add_processes(self, answer: list[Series]) -> None:
        """Take in when the processes behind the targets started, and which were scraped before the window."""
        for one in answer:
            target = _target(one.labels)
            if one.labels.get(STAT) == "base":
                self._process_before.add(target)
            elif len(one.values):
                self._process_first[target] = float(one.values[0])

    def add(self, selector: Selector, answer: list[Series]) -> None:
        """Take in the samples of one selector, from both of its queries; twice the same changes nothing."""
        for one in answer:
            labels = {name: value for name, value in one.labels.items() if name not in (STAT, "__name__")}
            key = (selector, frozenset(labels.items()))
            if key not in self._rows:
                self._rows[key] = len(self._labels)
                self._labels.append((selector, labels))
                blank = np.full(self._timeline.slices, np.nan)
                self._values.append(
                    {"last": blank, "peak": blank.copy(), "base": np.array([np.nan]), "live": blank[:0]}
                )
            values = self._values[self._rows[key]]
            match one.labels.get(STAT):
                case "last" | "peak" as stat:
                    places = np.rint((one.times - self._timeline.start) / self._timeline.step).astype(int) - 1
                    at_end = one.times >= self._timeline.end - 5e-4
                    values[stat][np.where(at_end, self._timeline.slices - 1, places)] = one.values
                case "base":
                    values["base"] = one.values
                case "live":
                    values["live"] = one.values
                case _:
                    raise BadResponse(f"it answered with a series without the label {STAT}")

    def growth(self) -> dict[Selector, list[Grown]]:
        """Tell how much each series grew in each slice, by selector; selectors without series are empty."""
        table: dict[Selector, list[Grown]] = _Missing()
        if not self._labels:
            return table
        target_of: dict[tuple[str, ...], int] = {}
        process_of: dict[tuple[tuple[str, ...], str], int] = {}
        targets, processes = [], []
        for selector, labels in self._labels:
            target = _target(labels)
            targets.append(target_of.setdefault(target, len(target_of)))
            processes.append(process_of.setdefault((target, _family(selector)), len(process_of)))
        base = np.array([values["base"][0] for values in self._values])
        target_numbers = np.array(targets)
        grid = Grid(
            base=base,
            last=np.stack([values["last"] for values in self._values]),
            peak=np.stack([values["peak"] for values in self._values]),
            live=np.array([len(values["live"]) > 0 for values in self._values]),
            process=np.array(processes),
            target=target_numbers,
        )
        before = np.array([target in self._process_before for target in target_of])
        np.logical_or.at(before, target_numbers, ~np.isnan(base))
        arms = {_target(labels): labels.get(self._selection.profile.arm_label) for _, labels in self._labels}
        new = np.array([self._begins_at_zero(target, arms[target]) for target in target_of])
        grown = increments(grid, scraped_before=before, begins_at_zero=new)
        for (selector, labels), growth_ in zip(self._labels, grown, strict=True):
            arm = labels.get(self._selection.profile.arm_label, "")
            table.setdefault(selector, []).append(Grown(arm=arm, labels=labels, growth=growth_))
        return table

    def _begins_at_zero(self, target: tuple[str, ...], arm: str | None) -> bool:
        """Whether a target first scraped inside the window is a new process.

        The canary's are: the window begins with its first sample. A baseline pod is when it says so itself;
        otherwise it may be an old one that was not scraped for a while, whose whole past must not count.
        """
        since_start = self._selection.start is None and self._selection.window_seconds is None
        if arm == self._selection.canary and since_start:
            return True
        started = self._process_first.get(target)
        return started is not None and started >= self._timeline.start


class _Missing(dict[Selector, list[Grown]]):
    """A table in which a selector without series is an empty list."""

    def __missing__(self, key: Selector) -> list[Grown]:
        return []


def gap_of(error: SourceError) -> Gap:
    """Say as a finding why the source gave nothing."""
    if isinstance(error, PartialData):
        return Gap(Code.PARTIAL_DATA, f"the source's answer is not complete: {error}")
    text = "cannot be used" if isinstance(error, BadResponse) else "is missing"
    return Gap(Code.SOURCE_UNAVAILABLE, f"the source's answer {text}: {error}")


def in_arms(selector: Selector, selection: Selection, arms: tuple[str, ...]) -> str:
    """Write a selector of the profile in PromQL, for these arms of this service."""
    matchers: tuple[Matcher, ...] = (*selector.matchers, *selection.profile.matchers)
    filled = fill(matchers, selection.service, selection.namespace)
    return str(Selector(selector.metric, (*filled, arms_matcher(selection.profile.arm_label, arms))))


def duration(seconds: float) -> str:
    """Write a duration in PromQL, to the millisecond."""
    milliseconds = max(1, round(seconds * 1000))
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def _timeline(start: float, end: float, most_slices: int) -> Timeline:
    step = FINEST
    while math.floor((end - start) / step + 1e-9) > max(most_slices, 1):
        step *= 2
    return Timeline(start=start, end=end, step=step, count=math.floor((end - start) / step + 1e-9))


def _tagged(stat: str, expression: str) -> str:
    return f'label_replace({expression}, "{STAT}", "{stat}", "", "")'


def _all_selectors(ways: Mapping[Kind, Way]) -> list[Selector]:
    return list(dict.fromkeys(one for way in ways.values() for one in selectors(way)))


def _target(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Name the scrape target of a series by the labels that Prometheus gives to targets."""
    for names in (("job", "instance"), ("namespace", "pod")):
        if labels.get(names[1]):
            return tuple(labels.get(name, "") for name in names)
    return tuple(f"{name}={value}" for name, value in sorted(labels.items()) if name != "le")


def _family(selector: Selector) -> str:
    """Name what restarts together: the metrics of one histogram, or of one counter."""
    return selector.metric.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")


def _placed(series: Series, timeline: Timeline, slices: int) -> Floats:
    growth_ = np.zeros(slices)
    places = np.rint((series.times - timeline.start) / timeline.step).astype(int) - 1
    growth_[places] = series.values
    return growth_


def _with(reading: Reading[Counts] | Gap, timeline: Timeline, notes: tuple[str, ...]) -> Reading[Counts] | Gap:
    if isinstance(reading, Gap):
        return reading
    return Reading(reading.canary, reading.baseline, slice_seconds=timeline.step, notes=notes)


def _never_seen(selection: Selection) -> Gap:
    metric, label = selection.profile.presence.metric, selection.profile.arm_label
    return Gap(
        Code.NO_CANARY_TRAFFIC,
        f'no sample of {metric} with {label}="{selection.canary}" yet: the canary has no traffic, or its pods are '
        "not scraped",
    )
