"""The queries that read one window, and the counts that their answers amount to.

For all metrics and both arms together: values at the ends of the slices (a range query), and in an instant query those
of the last, shorter slice and which counters were reset. Only for targets that were not scraped when the window began
one looks further back, and only around the restart of a process every sample is read.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from analyzer.config.profile import LatencyHistogram, Way, main_selector, selectors
from analyzer.config.selector import Selector, fill
from analyzer.errors import SourceError
from analyzer.model.counts import Counts, Floats, Reading
from analyzer.model.findings import Code, Gap, Kind
from analyzer.sources.assembly import Grown, Selection, absent, assemble
from analyzer.sources.coverage import LaterLife, left_out, lives_between
from analyzer.sources.growth import Growth
from analyzer.sources.instants import resets, seen_before
from analyzer.sources.native import counted, follow
from analyzer.sources.promql import FINEST, LOOK_BACK, Queries, duration, in_arms, joined, tagged, timeline_of
from analyzer.sources.query_plan import QueryPlan, gap_of
from analyzer.sources.routed import beside, is_told, sent_to
from analyzer.sources.samples import (
    Samples,
    Settled,
    in_groups,
    matchers_of,
    one_a_metric,
    possible,
)
from analyzer.sources.scouting import Scouted
from analyzer.sources.server_sums import ServerSums, kept_labels
from analyzer.sources.slicing import Limits, in_slices
from analyzer.sources.streams import Target
from analyzer.sources.timeline import Timeline

LONG_LOOK_BACK = 3600.0  # the same of a series, whose target was there
NATIVE_BUCKETS = 10  # of a native histogram, about: each counts as a sample
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

    @property
    def finest(self) -> Timeline:
        """The slices of the ways that are read most finely."""
        return self.timeline if self.exact or self.native else self.coarse


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
        self._limits = limits
        self._selection, self._scouted = selection, scouted
        self._start = start
        self._plan = QueryPlan(queries, deadline)
        self._sums = ServerSums(self._plan, selection, start, since_start=self._since_start)
        self._routed = scouted.routed if is_told(selection) else None

    @property
    def queries(self) -> tuple[str, ...]:
        """What was asked, each once."""
        return self._plan.queries

    def read(self) -> dict[Kind, Reading[Counts] | Gap]:
        """Read every kind of check that was asked for."""
        ways = self.choose()
        self.ask(ways)
        readings = self._read_exact(ways) if ways.exact else {}
        for way in ways.added_up:
            readings[way] = self._read_added_up(way, ways)
        readings |= self._read_native(ways) if ways.native else {}
        return {**ways.gaps, **{kind: readings[way] for kind, way in ways.chosen.items()}}

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
        native = tuple(way for way in every if isinstance(way, LatencyHistogram) and way.native_histogram)
        sizes = {way: self._scouted.series[way] for way in every if way not in native}
        timeline, added_up = self._limits.fit(self._start, self._selection.at, sizes)
        return Ways(
            chosen=chosen,
            gaps=gaps,
            exact=tuple(way for way in sizes if way not in added_up),
            added_up=tuple(way for way in sizes if way in added_up),
            native=native,
            timeline=timeline,
            coarse=timeline_of(self._start, self._selection.at, self._limits.fewest_slices),
        )

    def ask(self, ways: Ways) -> None:
        """Ask for the values of every series on the grid of slices, and for sums of those that are too many."""
        self._plan_exact(self.metrics(ways.exact), ways.timeline)
        for way in ways.added_up:
            self._sums.ask(selectors(way), kept_labels(way), ways.coarse)
        if self._routed:
            self._sums.ask(self._routed.requests, (), ways.finest)
        for native in ways.native:
            self._plan_native(native, ways.timeline)
        self._plan.run()

    def metrics(self, ways: Iterable[Way]) -> list[Selector]:
        """List the metrics to follow, each with the matchers of all its uses."""
        wanted = [selector for way in ways for selector in selectors(way)]
        gauge = self._selection.profile.process_start
        return one_a_metric([*wanted, *([gauge] if gauge else [])]) if wanted else []

    def _plan_exact(self, metrics: list[Selector], timeline: Timeline) -> None:
        """Plan the queries that follow each series."""
        if not metrics:
            return
        step = duration(timeline.step)
        for number, group in enumerate(in_groups(metrics)):
            query = f"last_over_time({self._in_arms(group)}[{step}])"
            self._plan.range(f"grid {number}", query, timeline, first=0)
        for number, query in enumerate(self._ends(metrics, timeline)):
            self._plan.instant(f"ends {number}", query, at=timeline.end)

    def _ends(self, metrics: list[Selector], timeline: Timeline) -> list[str]:
        """Write what the grid does not show: the tail, and which counters were reset."""
        parts = [tagged("resets", f"({resets(metrics, self._selection, timeline.end - timeline.start + LOOK_BACK)})")]
        if timeline.tail > 0:
            tail = duration(timeline.tail)
            parts += [
                tagged(f"tail {number}", f"last_over_time({self._in_arms(metric)}[{tail}])")
                for number, metric in enumerate(metrics)
            ]
        if self._since_start and self._selection.baseline:
            seen = seen_before(in_groups(metrics), self._selection, timeline.end - timeline.start)
            parts.append(tagged("before", seen))
        return joined(parts)

    def _look_back(self, samples: Samples, metrics: list[Selector], timeline: Timeline) -> None:
        """Read what was counted before the window by targets and series that come later; raises SourceError."""
        absent_targets, (late, targets, age) = samples.absent_at_start(), samples.late_series(LONG_LOOK_BACK)
        wanted = [
            ("base", metrics, absent_targets, LOOK_BACK),
            ("late", [metric for metric in metrics if metric.metric in late], targets, max(LOOK_BACK, age)),
        ]
        wanted = [part for part in wanted if part[1] and part[2] and timeline.step < part[3]]
        for kind, some, several, seconds in wanted:
            at_start = f"[{duration(seconds)}] offset {duration(timeline.end - timeline.start)}"
            limited = [Selector(metric.metric, (*metric.matchers, *matchers_of(several))) for metric in some]
            parts = [
                tagged(f"{kind} {number}", f"last_over_time({self._in_arms(metric)}{at_start})")
                for number, metric in enumerate(limited)
            ]
            for number, query in enumerate(joined(parts)):
                self._plan.instant(f"{kind} {number}", query, at=timeline.end)
        self._plan.run()
        for kind, _, _, seconds in wanted:
            # The start of the process of a whole target is read with it: a restart since then shows.
            samples.add_base(self._plan.answers(kind), timeline.start - seconds if kind == "late" else math.inf)

    @property
    def _gauge_metric(self) -> str | None:
        gauge = self._selection.profile.process_start
        return gauge.metric if gauge else None

    def _in_arms(self, selector: Selector) -> str:
        return in_arms(selector, self._selection, self._selection.arms)

    @property
    def _since_start(self) -> bool:
        """Whether the window begins with the canary's first sample, so that all its targets are new."""
        return self._selection.start is None and self._selection.window_seconds is None

    def _plan_native(self, way: LatencyHistogram, timeline: Timeline) -> None:
        """Plan to read every histogram, or only those at the ends of the slices where that would be too much.

        Nothing is wrapped in a function here: Prometheus 2 answers 0 for last_over_time of native histograms.
        """
        length = timeline.end - timeline.start + LOOK_BACK
        gauge = self._selection.profile.process_start
        for series in map(self._in_arms, [main_selector(way), *([gauge] if gauge else [])]):
            if self._scouted.series[way] * length / FINEST * NATIVE_BUCKETS <= self._limits.values:
                self._plan.raw("native", series, timeline.end - length, timeline.end)
            else:
                self._plan.range(f"native grid {series}", series, timeline, first=0)
                self._plan.instant(f"native end {series}", series, at=timeline.end)

    def follow(self, ways: Ways) -> tuple[Growth, tuple[str, ...]]:
        """Follow every series of the answers, and look closer around restarts.

        Returns
        -------
        The growth of each, and what should be known of it.

        Raises
        ------
        SourceError : something could not be read
        LaterLife : the canary's pods are not those with which the window begins
        """
        timeline, metrics = ways.timeline, self.metrics(ways.exact)
        samples = Samples(
            timeline,
            arm_label=self._selection.profile.arm_label,
            process_start=self._gauge_metric,
            new_arms=frozenset([self._selection.canary] if self._since_start else []),
            watched=not (self._since_start and self._selection.baseline),
        )
        samples.add(self._plan.answers("grid"))
        samples.add_ends(self._plan.answers("ends"))
        self._look_back(samples, metrics, timeline)
        settled, restarted = samples.settle()
        notes = self._look_closer(restarted, samples, settled, metrics) if restarted else ()
        growth = Growth(settled, self._selection.arms)
        self._check_life(growth, metrics)
        return growth, (*growth.notes, *notes)

    def _check_life(self, growth: Growth, metrics: list[Selector]) -> None:
        """Raise LaterLife where other pods were the canary before, and SourceError."""
        if not self._since_start:
            return
        if idle := growth.idle():
            raise LaterLife(ended=idle[0], began=idle[1])
        if (between := growth.changeover(self._selection.canary)) is None:
            return
        begin, end = between
        for group in in_groups(metrics):
            self._plan.raw("lives", in_arms(group, self._selection, (self._selection.canary,)), begin - 1, end)
        self._plan.run()
        times = [series.moments for series in self._plan.answers("lives")]
        lives = lives_between(np.concatenate([np.empty(0), *times]))
        if lives is not None:
            raise LaterLife(ended=lives[0], began=math.floor(lives[1]) - 1.0)

    def wanted(self, ways: Iterable[Way]) -> dict[Selector, Selector]:
        """List what ways of reading need: selectors of the profile, and the same with the request's fields."""
        return {selector: self._filled(selector) for way in ways for selector in selectors(way)}

    def _read_exact(self, ways: Ways) -> dict[Way, Reading[Counts] | Gap]:
        try:
            grown, notes = self.follow(ways)
            sent = self.routed(ways)
        except SourceError as error:
            return dict.fromkeys(ways.exact, gap_of(error))
        return self._assembled(ways.exact, grown, notes, ways.timeline, sent)

    def _assembled(
        self, ways: Iterable[Way], grown: Growth, notes: tuple[str, ...], timeline: Timeline, sent: Floats | None
    ) -> dict[Way, Reading[Counts] | Gap]:
        wanted, apart = self.wanted(ways), grown.scrape_seconds()
        notes = (*notes, *left_out(grown.first, timeline.step))
        table, troubles, lives = grown.table(wanted), grown.troubles(wanted), grown.lives()

        def read(way: Way) -> Reading[Counts] | Gap:
            for selector in selectors(way):
                if selector in troubles:
                    return Gap(Code.INCONSISTENT_DATA, troubles[selector])
            reading = counted(way, table, self._selection, timeline.slices, lives)
            return in_slices(beside(reading, way, sent, grown.first), timeline, notes, apart)

        return {way: read(way) for way in ways}

    def _filled(self, selector: Selector) -> Selector:
        return Selector(selector.metric, fill(selector.matchers, self._selection.service, self._selection.namespace))

    def _look_closer(
        self, restarted: frozenset[Target], samples: Samples, settled: Settled, metrics: list[Selector]
    ) -> tuple[str, ...]:
        """Read every sample around restarts, if those are not too many; raises SourceError."""
        timeline = settled.timeline
        limited = [Selector(metric.metric, (*metric.matchers, *matchers_of(restarted))) for metric in metrics]
        query = resets(limited, self._selection, timeline.step + OVERLAP)
        ends = Timeline(timeline.start, timeline.end + timeline.step - timeline.tail, timeline.step, timeline.slices)
        self._plan.range("resets", query, ends if timeline.tail > 0 else timeline, first=0)
        self._plan.run()
        samples.suspect(settled, self._plan.answers("resets"))
        span = settled.span()
        if span is None:
            return ()
        moments = [timeline.start, *timeline.ends_of_slices().tolist()]
        begin = moments[span[0]] if span[0] else timeline.start - max(LOOK_BACK, timeline.step)
        end = moments[span[1] + 1]
        if settled.series_of(restarted) * (end - begin) / FINEST > self._limits.values:
            return ("processes restarted too often to look at every sample: what they counted just before is lost",)
        for group in in_groups(limited):
            self._plan.raw("raw", self._in_arms(group), begin, end)
        self._plan.run()
        samples.zoom(settled, span, self._plan.answers("raw"))
        return ()

    def _read_added_up(self, way: Way, ways: Ways) -> Reading[Counts] | Gap:
        timeline = ways.coarse
        try:
            table = self.added_up(way, timeline)
            sent = self.routed(ways) if ways.finest == timeline else None
        except SourceError as error:
            return gap_of(error)
        for selector, several in table.items():
            if not all(possible(selector.metric, sums.growth).all() for sums in several):
                return Gap(
                    Code.INCONSISTENT_DATA,
                    f"a series of {selector.metric} has a value that no counter can have: restart the process that "
                    "exports it after the code that counts it is corrected, or name another metric in the profile",
                )
        reading = beside(assemble(way, table, self._selection, timeline.slices), way, sent)
        return in_slices(reading, timeline, (self.note_on(way),))

    def note_on(self, way: Way) -> str:
        """Say that the server added up."""
        return (
            f"{self._scouted.series[way]:,} series are too many to follow one by one: the source added them up, "
            "which may miss what processes had counted just before they restarted"
        )

    def added_up(self, way: Way, timeline: Timeline) -> dict[Selector, list[Grown]]:
        """Give the sums that the server made of a way's series; raises SourceError."""
        return self._sums.answer(selectors(way), kept_labels(way), timeline)

    def routed(self, ways: Ways) -> Floats | None:
        """Return what a router or mesh sent to the arms, if it counts; shape (2, slices). Raises SourceError."""
        return sent_to(self._selection.arms, self._routed, self._sums, ways.finest) if self._routed else None

    def _read_native(self, ways: Ways) -> dict[Way, Reading[Counts] | Gap]:
        try:
            grown = self.native(ways)
            sent = self.routed(ways)
        except SourceError as error:
            return dict.fromkeys(ways.native, gap_of(error))
        return self._assembled(ways.native, grown, grown.notes, ways.timeline, sent)

    def native(self, ways: Ways) -> Growth:
        """Follow the native histograms of the answers; raises as `follow`."""
        grown = follow(
            self._plan.answers("native"),
            ways.timeline,
            arms=self._selection.arms,
            arm_label=self._selection.profile.arm_label,
            process_start=self._gauge_metric,
            since_start=self._since_start,
        )
        self._check_life(grown, [main_selector(way) for way in ways.native])
        return grown
