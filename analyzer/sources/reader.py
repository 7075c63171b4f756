"""The queries that read one window, and the counts that their answers amount to.

For all metrics and both arms together: values at the ends of the slices (a range query), and in an instant query those
of the last, shorter slice and which counters were reset. Only for targets that were not scraped when the window began
one looks further back, and only around the restart of a process every sample is read.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from analyzer.config.profile import ClassCounter, ErrorCounters, LatencyHistogram, Way, main_selector, selectors
from analyzer.config.selector import Selector, fill
from analyzer.errors import BadResponse, PartialData, SourceError
from analyzer.model.counts import Counts, Floats, Reading
from analyzer.model.findings import Code, Gap, Kind
from analyzer.sources.assembly import Grown, NativeGrowth, Selection, absent, assemble, native_histograms
from analyzer.sources.native import growth
from analyzer.sources.prometheus_api import Series
from analyzer.sources.promql import FINEST, Answer, Queries, duration, in_arms, tagged, timeline_of
from analyzer.sources.samples import (
    TARGET_LABELS,
    Samples,
    Target,
    Timeline,
    family_of,
    in_groups,
    is_part,
    matchers_of,
    may_fall,
    one_a_metric,
    target_of,
)
from analyzer.sources.scouting import Scouted
from analyzer.sources.slicing import Limits, in_slices

LOOK_BACK = 900.0  # how long before the window a target may not have been scraped and still be known
NATIVE_BUCKETS = 10  # of a native histogram, about: each counts as a sample
MOST_POINTS = 1440  # of each series in one answer: servers have limits, and 6 h of slices are within them
OVERLAP = 120.0  # seconds before a slice in which the last scrape of a process that restarted is looked for


@dataclass(frozen=True)
class Ways:
    """How each kind is read.

    Attributes
    ----------
    chosen : for each kind that can be read
    gaps : why the others cannot
    exact : ways that are followed series by series
    added_up : those with too many series, of which the server makes sums
    native : those of native histograms
    timeline : the slices; of sums, those of `coarse`
    """

    chosen: Mapping[Kind, Way]
    gaps: Mapping[Kind, Gap]
    exact: tuple[Way, ...]
    added_up: tuple[Way, ...]
    native: tuple[LatencyHistogram, ...]
    timeline: Timeline
    coarse: Timeline


class Reader:
    """The queries about one window, and what their answers amount to.

    Parameters
    ----------
    queries : that ask the server
    limits : how finely
    selection : what for
    scouted : what is known of the rollout
    start : of the window
    deadline : on the monotonic clock
    """

    def __init__(
        self,
        queries: Queries,
        limits: Limits,
        selection: Selection,
        scouted: Scouted,
        start: float,
        deadline: float,
    ) -> None:
        self._queries, self._limits = queries, limits
        self._selection, self._scouted = selection, scouted
        self._start, self._deadline = start, deadline
        self._tasks: dict[str, Callable[[], list[Series]]] = {}
        self._asked: set[str] = set()
        self._answered: dict[str, Answer] = {}

    @property
    def queries(self) -> tuple[str, ...]:
        """What was asked, each once."""
        return tuple(sorted(self._asked))

    def read(self) -> dict[Kind, Reading[Counts] | Gap]:
        """Read every kind of check that was asked for."""
        ways = self.choose()
        self.ask(ways)
        found = self._read_exact(ways) if ways.exact else {}
        for way in ways.added_up:
            found[way] = self._read_added_up(way, ways.coarse)
        for native in ways.native:
            found[native] = self._read_native(native, ways.timeline)
        return {**ways.gaps, **{kind: found[way] for kind, way in ways.chosen.items()}}

    def choose(self, also: Iterable[Way] = ()) -> Ways:
        """Choose how each kind is read, in how many slices; other ways may be read as well."""
        chosen: dict[Kind, Way] = {}
        gaps: dict[Kind, Gap] = {}
        for kind, (way, present) in self._scouted.ways.items():
            gap = absent(way, kind, self._selection, present)
            if gap is not None or way is None:
                gaps[kind] = gap or Gap(Code.METRIC_MISSING, f"no metric for {kind}")
            else:
                chosen[kind] = way
        every = dict.fromkeys([*chosen.values(), *also])
        native = tuple(one for one in every if isinstance(one, LatencyHistogram) and one.native_histogram)
        sizes = {one: self._scouted.series[one] for one in every if one not in native}
        timeline, added_up = self._limits.fit(self._start, self._selection.at, sizes)
        return Ways(
            chosen=chosen,
            gaps=gaps,
            exact=tuple(one for one in sizes if one not in added_up),
            added_up=tuple(one for one in sizes if one in added_up),
            native=native,
            timeline=timeline,
            coarse=timeline_of(self._start, self._selection.at, self._limits.fewest_slices),
        )

    def ask(self, ways: Ways) -> None:
        """Ask for the values of every series on the grid of slices, and for sums of those that are too many."""
        self._plan_exact(self.metrics(ways.exact), ways.timeline)
        for way in ways.added_up:
            for selector in selectors(way):
                self._plan_added_up(selector, way, ways.coarse)
        for native in ways.native:
            self._plan_native(native, ways.timeline)
        self._run()

    def _run(self) -> None:
        self._answered |= self._queries.run(self._tasks, self._deadline)
        self._tasks.clear()

    def _plan(self, key: str, query: str, *, at: float) -> None:
        self._asked.add(query)
        self._tasks[key] = lambda: self._queries.api.instant(query, at, self._deadline)

    def _plan_range(self, key: str, query: str, timeline: Timeline, *, first: int = 1) -> None:
        """Plan a query for the ends of the slices, from that of slice number `first` on; 0 is the start."""
        self._asked.add(query)
        for place in range(first, timeline.count + 1, MOST_POINTS + 1):
            last = min(place + MOST_POINTS, timeline.count)
            begin, end = timeline.start + timeline.step * place, timeline.start + timeline.step * last
            self._tasks[f"{key} {place}"] = partial(
                self._queries.api.range, query, begin, end, timeline.step, self._deadline
            )

    def metrics(self, ways: Iterable[Way]) -> list[Selector]:
        """List the metrics to follow, each with the matchers of all its uses."""
        wanted = [one for way in ways for one in selectors(way)]
        gauge = self._selection.profile.process_start
        return one_a_metric([*wanted, *([gauge] if gauge else [])]) if wanted else []

    def _plan_exact(self, metrics: list[Selector], timeline: Timeline) -> None:
        """Plan the queries that follow each series."""
        if not metrics:
            return
        step = duration(timeline.step)
        for number, group in enumerate(in_groups(metrics)):
            query = f"last_over_time({self._in_arms(group)}[{step}])"
            self._plan_range(f"grid {number}", query, timeline, first=0)
        self._plan("ends", self._ends(metrics, timeline), at=timeline.end)

    def _ends(self, metrics: list[Selector], timeline: Timeline) -> str:
        """Write what the grid does not show: the tail, and which counters were reset."""
        parts = [tagged("resets", f"({self._resets(metrics, timeline.end - timeline.start + LOOK_BACK)})")]
        if timeline.tail > 0:
            tail = duration(timeline.tail)
            parts += [
                tagged(f"tail {number}", f"last_over_time({self._in_arms(metric)}[{tail}])")
                for number, metric in enumerate(metrics)
            ]
        return " or ".join(parts)

    def _look_back(
        self, absent_: frozenset[Target], samples: Samples, metrics: list[Selector], timeline: Timeline
    ) -> None:
        """Read what targets had counted that were not scraped when the window began; raises SourceError."""
        at_start = f"[{duration(LOOK_BACK)}] offset {duration(timeline.end - timeline.start)}"
        limited = [Selector(one.metric, (*one.matchers, *matchers_of(absent_))) for one in metrics]
        parts = [
            tagged(f"base {number}", f"last_over_time({self._in_arms(metric)}{at_start})")
            for number, metric in enumerate(limited)
        ]
        self._plan("base", " or ".join(parts), at=timeline.end)
        self._run()
        samples.add_ends(self._answers("base"))

    def _resets(self, metrics: list[Selector], seconds: float) -> str:
        """Write which targets had a counter that was reset in the last seconds; of a histogram, its count tells."""
        counts = dict.fromkeys(
            Selector(family_of(one.metric) + "_count" if is_part(one.metric) else one.metric, one.matchers)
            for one in metrics
            if one.metric != self._gauge_metric
        )
        look = duration(seconds)
        found = [f"resets({self._in_arms(one)}[{look}]) > 0" for one in counts]
        found += [f"changes({self._in_arms(one)}[{look}]) > 0" for one in metrics if one.metric == self._gauge_metric]
        return " or ".join(f"count by ({', '.join(TARGET_LABELS)}) ({one})" for one in found)

    @property
    def _gauge_metric(self) -> str | None:
        gauge = self._selection.profile.process_start
        return gauge.metric if gauge else None

    def _in_arms(self, selector: Selector) -> str:
        return in_arms(selector, self._selection, self._selection.arms)

    def _plan_added_up(self, selector: Selector, way: Way, timeline: Timeline) -> None:
        """Follow each series on the server, and send sums: as exact, but blind to a restart hidden in a slice."""
        kept = ", ".join([self._selection.profile.arm_label, *_kept_labels(way)])
        by, key = f"sum by ({kept})", f"({kept}) {selector}"  # two ways may sum one counter by different labels
        if timeline.count:
            self._plan_range(f"sum {key}", f"{by} ({self._growth_of(selector, timeline.step)})", timeline)
        if timeline.tail > 0:
            self._plan(f"rest {key}", f"{by} ({self._growth_of(selector, timeline.tail)})", at=timeline.end)

    def _growth_of(self, selector: Selector, seconds: float) -> str:
        """Write how much each series grew in a slice: its difference, or since its restart, or since its birth."""
        series, slice_ = self._in_arms(selector), duration(seconds)
        back = f"[{duration(seconds + LOOK_BACK)}] offset {slice_}"
        last, peak = f"last_over_time({series}[{slice_}])", f"max_over_time({series}[{slice_}])"
        before = f"last_over_time({series}{back})"
        grown = f"((({last} - {before}) >= 0) unless {peak} > {last})"
        lost = f"clamp_min({peak} - {before}, 0) * ({peak} > bool {last})"
        if may_fall(selector.metric):
            grown, lost = f"({last} - {before})", f"0 * {before}"
        newborn = f"(({last} unless {before}) and on ({', '.join(TARGET_LABELS)}) ({self._known(before, back)}))"
        if self._since_start:
            canary = in_arms(selector, self._selection, (self._selection.canary,))
            newborn = f"(last_over_time({canary}[{slice_}]) unless {before}) or {newborn}"
        return f"{grown} or ({lost} + {last}) or {newborn}"

    def _known(self, before: str, back: str) -> str:
        """Write the series of targets whose new counters began at 0: known before, or a new process."""
        gauge = self._selection.profile.process_start
        if gauge is None:
            return before
        process = self._in_arms(gauge)
        return f"{before} or last_over_time({process}{back}) or {process} >= {self._start:.3f}"

    @property
    def _since_start(self) -> bool:
        """Whether the window begins with the canary's first sample, so that all its targets are new."""
        return self._selection.start is None and self._selection.window_seconds is None

    def _plan_native(self, way: LatencyHistogram, timeline: Timeline) -> None:
        """Plan to read every histogram, or only those at the ends of the slices where that would be too much.

        Nothing is wrapped in a function here: Prometheus 2 answers 0 for last_over_time of native histograms.
        """
        series = self._in_arms(main_selector(way))
        length = timeline.end - timeline.start + LOOK_BACK
        if self._scouted.series[way] * length / FINEST * NATIVE_BUCKETS <= self._limits.values:
            self._plan_raw("native", series, timeline.end - length, timeline.end)
        else:
            self._plan_range(f"native grid {series}", series, timeline, first=0)
            self._plan(f"native end {series}", series, at=timeline.end)
        gauge = self._selection.profile.process_start
        if gauge is not None:
            first = f"min_over_time({self._in_arms(gauge)}[{duration(timeline.end - timeline.start)}])"
            self._plan("process", first, at=timeline.end)

    def _plan_raw(self, key: str, series: str, begin: float, end: float) -> None:
        """Plan to read every sample of a segment of time, in pieces where it is long."""
        while end > begin:
            length = min(end - begin, MOST_POINTS * FINEST)
            query = f"{series}[{duration(length)}]"
            self._asked.add(query)
            self._tasks[f"{key} {query} {end}"] = partial(self._queries.api.raw, query, end, self._deadline)
            end -= length

    def _answers(self, kind: str) -> list[Series]:
        """Join the answers to the planned queries of a kind, empty where none was planned; raises their SourceError."""
        found: list[Series] = []
        for key, answer in self._answered.items():
            if key == kind or key.startswith(f"{kind} "):
                if isinstance(answer, SourceError):
                    raise answer
                found += answer
        return found

    def follow(self, ways: Ways) -> tuple[Samples, tuple[str, ...]]:
        """Follow every series of the answers, and look closer around restarts; raises SourceError.

        Returns
        -------
        The settled samples, and what should be known of them.
        """
        timeline, metrics = ways.timeline, self.metrics(ways.exact)
        samples = Samples(
            timeline,
            arm_label=self._selection.profile.arm_label,
            process_start=self._gauge_metric,
            look_back=LOOK_BACK,
            new_arms=frozenset([self._selection.canary] if self._since_start else []),
        )
        samples.add(self._answers("grid"))
        samples.add_ends(self._answers("ends"))
        absent_ = samples.absent_at_start()
        if absent_ and timeline.step < LOOK_BACK:
            self._look_back(absent_, samples, metrics, timeline)
        restarted = samples.settle()
        return samples, self._look_closer(restarted, samples, metrics, timeline) if restarted else ()

    def wanted(self, ways: Iterable[Way]) -> dict[Selector, Selector]:
        """List what ways of reading need: selectors of the profile, and the same with the request's fields."""
        return {one: self._filled(one) for way in ways for one in selectors(way)}

    def _read_exact(self, ways: Ways) -> dict[Way, Reading[Counts] | Gap]:
        try:
            samples, notes = self.follow(ways)
        except SourceError as error:
            return dict.fromkeys(ways.exact, gap_of(error))
        table, apart = samples.growth(self.wanted(ways.exact)), samples.scrape_seconds()
        timeline, lives = ways.timeline, samples.lives()
        return {
            way: in_slices(assemble(way, table, self._selection, timeline.slices, lives), timeline, notes, apart)
            for way in ways.exact
        }

    def _filled(self, selector: Selector) -> Selector:
        return Selector(selector.metric, fill(selector.matchers, self._selection.service, self._selection.namespace))

    def _look_closer(
        self, restarted: frozenset[Target], samples: Samples, metrics: list[Selector], timeline: Timeline
    ) -> tuple[str, ...]:
        """Read every sample around restarts, if those are not too many; raises SourceError."""
        limited = [Selector(one.metric, (*one.matchers, *matchers_of(restarted))) for one in metrics]
        query = self._resets(limited, timeline.step + OVERLAP)
        ends = Timeline(timeline.start, timeline.end + timeline.step - timeline.tail, timeline.step, timeline.slices)
        self._plan_range("resets", query, ends if timeline.tail > 0 else timeline, first=0)
        self._run()
        samples.suspect(self._answers("resets"))
        span = samples.span()
        if span is None:
            return ()
        moments = [timeline.start, *timeline.ends_of_slices().tolist()]
        begin = moments[span[0]] if span[0] else timeline.start - max(LOOK_BACK, timeline.step)
        end = moments[span[1] + 1]
        if samples.series_of(restarted) * (end - begin) / FINEST > self._limits.values:
            return ("processes restarted too often to look at every sample: what they counted just before is lost",)
        for group in in_groups(limited):
            self._plan_raw("raw", self._in_arms(group), begin, end)
        self._run()
        samples.zoom(span, self._answers("raw"))
        return ()

    def _read_added_up(self, way: Way, timeline: Timeline) -> Reading[Counts] | Gap:
        try:
            table = self.added_up(way, timeline)
        except SourceError as error:
            return gap_of(error)
        return in_slices(assemble(way, table, self._selection, timeline.slices), timeline, (self.note_on(way),))

    def note_on(self, way: Way) -> str:
        """Say that the server added up."""
        return (
            f"{self._scouted.series[way]:,} series are too many to follow one by one: the source added them up, "
            "which may miss what processes had counted just before they restarted"
        )

    def added_up(self, way: Way, timeline: Timeline) -> dict[Selector, list[Grown]]:
        """Give the sums that the server made of a way's series; raises SourceError."""
        label, labels = self._selection.profile.arm_label, _kept_labels(way)
        kept = ", ".join([label, *labels])
        return {
            selector: [
                Grown(
                    arm=one.labels.get(label, ""),
                    labels={name: one.labels.get(name, "") for name in labels},
                    growth=_placed(one, timeline),
                )
                for kind in ("sum", "rest")
                for one in self._answers(f"{kind} ({kept}) {selector}")
            ]
            for selector in selectors(way)
        }

    def _read_native(self, way: LatencyHistogram, timeline: Timeline) -> Reading[Counts] | Gap:
        try:
            grown = self.native(timeline)
        except SourceError as error:
            return gap_of(error)
        reading = native_histograms(grown, self._selection, way.unit.seconds, timeline.slices)
        return in_slices(reading, timeline, ())

    def native(self, timeline: Timeline) -> list[NativeGrowth]:
        """Follow the native histograms of the answers; raises SourceError."""
        label = self._selection.profile.arm_label
        processes = self._answers("process")
        young = {target_of(one.labels) for one in processes if (one.values >= self._start).all()}

        def is_new(labels: Mapping[str, str]) -> bool:
            return (self._since_start and labels.get(label) == self._selection.canary) or target_of(labels) in young

        return growth(self._answers("native"), timeline, label, is_new)


def _kept_labels(way: Way) -> list[str]:
    """Tell which labels sums must keep: what tells buckets, classes and failed requests apart."""
    match way:
        case ClassCounter():
            return [way.by]
        case ErrorCounters():
            return sorted({matcher.label for errors in way.errors for matcher in errors.matchers})
        case _:
            return ["le"]


def _placed(series: Series, timeline: Timeline) -> Floats:
    growth_ = np.zeros(timeline.slices)
    growth_[timeline.places(series.times) - 1] = series.values
    return growth_


def gap_of(error: SourceError) -> Gap:
    """Say as a finding why the source gave nothing."""
    if isinstance(error, PartialData):
        return Gap(Code.PARTIAL_DATA, f"the source's answer is not complete: {error}")
    text = "cannot be used" if isinstance(error, BadResponse) else "is missing"
    return Gap(Code.SOURCE_UNAVAILABLE, f"the source's answer {text}: {error}")
