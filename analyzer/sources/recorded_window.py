"""A window of the past, read once, and what a verdict at each of its moments would have read from Prometheus.

Series by series is remembered how much it had grown at the end of each fine slice, and since when it was there. From
that the counts of an earlier moment are put together by the code that a verdict uses, in the slices that it would have
had then: what came later, a new bucket or a new pod, changes nothing.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from analyzer.config.profile import LatencyHistogram, Way, main_selectors, selectors, traffic_selectors
from analyzer.config.selector import Selector
from analyzer.errors import Problem, RequestError, SourceUnavailable
from analyzer.model.counts import Counts, Floats, Reading, Readings
from analyzer.model.findings import Code, Gap, Kind
from analyzer.quantity import format_seconds
from analyzer.sources.assembly import (
    Grown,
    Selection,
    Table,
    absent,
    choose_way,
    noted,
    window_of,
)
from analyzer.sources.counters import Indices
from analyzer.sources.coverage import LaterLife, left_out, over_the_same_time
from analyzer.sources.growth import Followed
from analyzer.sources.lives import NO_LIVES
from analyzer.sources.native import counted
from analyzer.sources.prometheus import LATER, PrometheusSource, earlier_life, never_seen, with_history
from analyzer.sources.promql import FINEST, timeline_of
from analyzer.sources.reader import NATIVE_BUCKETS, Reader
from analyzer.sources.routed import beside
from analyzer.sources.scouting import Scouted
from analyzer.sources.slicing import Limits, in_slices
from analyzer.sources.timeline import Timeline, slices_apart

SLICES = 8000
LIMITS = Limits(values=2_000_000, slices=SLICES, fewest_slices=240)
COARSEST = 240.0  # seconds of a slice: with longer ones too little can be said about when
LONGEST = SLICES * COARSEST  # seconds of a window
SOON = 1e-6  # seconds
NOBODY: frozenset[str] = frozenset()


ReadingOrGap = Reading[Counts] | Gap


class Recording:
    """A source that answers from memory what Prometheus would have answered at a moment of the past.

    Parameters
    ----------
    source : that is read
    selection : of the whole window, for every kind that may be asked for
    deadline : on the monotonic clock, for reading

    Attributes
    ----------
    start : of the window; None: there is no sample of the canary
    resolution : moments that many seconds apart, counted from the start, can be looked at, and the end
    scrape_seconds : about how far apart the samples of a pod are
    queries : what was asked

    Raises
    ------
    SourceError : something could not be read
    RequestError : the window is too long
    """

    name = "prometheus"

    def __init__(self, source: PrometheusSource, selection: Selection, deadline: float) -> None:
        self._source, self._whole, self._deadline = source, selection, deadline
        self._scouted = source.scout(selection, deadline)
        self._whole = replace(selection, matchers=selection.matchers + self._scouted.matchers)
        self.start: float | None = window_of(selection, self._scouted.start).start
        self.resolution = self.scrape_seconds = FINEST
        self.queries: tuple[str, ...] = ()
        self._counters: dict[Way, _Counters] = {}
        self._sent: _Sums | None = None
        self._histories: dict[float, Mapping[Way, ReadingOrGap]] = {}
        self._last: tuple[float, dict[Kind, tuple[ReadingOrGap, Way | None]]] = (math.nan, {})
        if self.start is not None:
            if selection.at - self.start > LONGEST:
                length, most = format_seconds(selection.at - self.start), format_seconds(LONGEST)
                text = f"the window of {length} is too long to be read at once: {most} is the most; give a later start"
                raise RequestError([Problem("start", text)])
            try:
                self._record(self.start)
            except LaterLife as life:
                self._scouted = replace(self._scouted, start=life.began, earlier=life.ended)
                self.start = life.began
                self._record(self.start)

    def ready(self, deadline: float) -> None:
        """Raise SourceError unless the source answers."""
        self._source.ready(deadline)

    def read(self, selection: Selection, deadline: float) -> Readings:  # noqa: ARG002 - what is there takes no time
        """Give what a verdict at the moment of the selection would have read.

        Raises
        ------
        SourceError : the baseline before the window, of a length that was not asked for yet, could not be read
        """
        window = window_of(selection, self.start)
        if window.start is None:
            return Readings(window, {name: never_seen(selection) for name in selection.checks})
        if self._last[0] != selection.at:  # several policies ask for the same moment
            self._last = selection.at, self._at(window.start, selection.at)
        history, by_check = self._history(selection, window.start), {}
        for name, kind in selection.checks.items():
            reading, way = self._last[1][kind]
            past = None if way is None else history.get(way)
            read = with_history(reading, past, earlier_life(selection, self._scouted))
            by_check[name] = self._scouted.gaps.get(kind, noted(read, self._scouted.notes.get(kind, ())))
        return Readings(window, by_check, self.queries)

    # Reading it once

    def _record(self, start: float) -> None:
        whole, scouted = self._whole, self._scouted
        # Those that there are: an earlier verdict may have had to do without the metric that was chosen for the last.
        others = [way for way, series in scouted.series.items() if series and not _is_native(way)]
        reader = Reader(self._source.queries, _limits(scouted), whole, scouted, start, self._deadline)
        ways = reader.choose(others)
        reader.ask(ways)
        if ways.exact:
            grown, notes = reader.follow(ways)
            exact = _Counters(ways.timeline, grown.followed(reader.wanted(ways.exact)), notes, exact=True)
            self._counters |= dict.fromkeys(ways.exact, exact)
            self.scrape_seconds = grown.scrape_seconds()
        for way in ways.added_up:
            table = reader.added_up(way, ways.coarse)
            self._counters[way] = _Counters(ways.coarse, _sums(table, ways.coarse.slices), (reader.note_on(way),))
        if ways.native:
            grown = reader.native(ways)
            native = _Counters(ways.timeline, grown.followed(reader.wanted(ways.native)), grown.notes, exact=True)
            self._counters |= dict.fromkeys(ways.native, native)
            self.scrape_seconds = max(self.scrape_seconds, grown.scrape_seconds())
        if (sent := reader.routed(ways)) is not None:
            self._sent = _Sums(ways.finest, sent)
        self.resolution = max((part.timeline.step for part in self._counters.values()), default=FINEST)
        self.scrape_seconds = max(self.scrape_seconds, self.resolution)
        self.queries = reader.queries

    def _history(self, selection: Selection, start: float) -> Mapping[Way, ReadingOrGap]:
        """Read the baseline before the window, in every way and once for each length."""
        length = selection.history_seconds
        if length not in self._histories:
            whole, known = replace(self._whole, history_seconds=length), self._counters
            histories: dict[Way, ReadingOrGap] = {}
            for choice in self._choices():
                by_kind = self._source.history(whole, replace(self._scouted, ways=choice), start, self._deadline)
                histories |= {
                    way: by_kind[kind] for kind, (way, _) in choice.items() if way and way in known and kind in by_kind
                }
            missed = [
                history.reason for history in histories.values() if isinstance(history, Gap) and history.code in LATER
            ]
            if missed:
                raise SourceUnavailable(f"the baseline before the canary could not be read: {missed[0]}")
            self._histories[length] = histories
        return self._histories[length]

    def _choices(self) -> Iterator[dict[Kind, tuple[Way | None, frozenset[str]]]]:
        """Give the ways that were chosen for the last verdict, then those that are left, one a kind."""
        chosen = {kind: way for kind, (way, _) in self._scouted.ways.items()}
        yield dict(self._scouted.ways)
        left = {kind: [way for way in self._ways(kind) if way != chosen[kind]] for kind in chosen}
        while any(left.values()):
            some = {kind: ways.pop(0) for kind, ways in left.items() if ways}
            yield {kind: (way, self._counters[way].arms(way, self._whole.at)) for kind, way in some.items()}

    # Any moment of it

    def _ways(self, kind: Kind) -> list[Way]:
        return [way for way in self._whole.profile.ways(kind) if way in self._counters]

    def _at(self, start: float, at: float) -> dict[Kind, tuple[ReadingOrGap, Way | None]]:
        """Put together what was known at a moment: by kind, with how it was read if the baseline's past was too."""
        whole, live, parts = self._whole, self._source.limits, self._counters
        gaps: dict[Kind, tuple[ReadingOrGap, None]] = {}
        chosen: dict[Kind, tuple[Way, bool]] = {}
        for kind in self._scouted.ways:
            ways = [(way, parts[way].arms(way, at) if way in parts else NOBODY) for way in whole.profile.ways(kind)]
            way, present = choose_way(ways, whole.canary)
            gap = absent(way, kind, whole, present)
            if gap is not None or way is None:
                gaps[kind] = gap or Gap(Code.METRIC_MISSING, f"no metric for {kind}"), None
            else:
                chosen[kind] = way, whole.baseline in present
        sizes = {way: self._counters[way].size(way, at) for way, _ in chosen.values() if not _is_native(way)}
        timeline, too_large = live.fit(start, at, sizes)
        coarse = timeline_of(start, at, live.fewest_slices)
        read = {
            way: parts[way].read(way, whole, coarse if way in too_large else timeline, self._sent)
            for way, _ in chosen.values()
        }
        return {**gaps, **{kind: (read[way], way if baseline else None) for kind, (way, baseline) in chosen.items()}}


class _Sums:
    """How much each of many series had grown by the begin, and by the end of each slice."""

    def __init__(self, timeline: Timeline, growth: Floats) -> None:
        self.timeline = timeline
        self._totals = _totals(growth)
        self._last: tuple[Timeline, Floats, Indices] | None = None

    def slices_ended(self, at: float) -> int:
        """Count the slices that had ended at a moment."""
        if at >= self.timeline.end - SOON:
            return self.timeline.slices
        return max(0, math.floor((at - self.timeline.start + SOON) / self.timeline.step))

    def cut(self, wanted: Timeline) -> tuple[Timeline, Floats, Indices]:
        """Give the growth in the slices of a verdict, or in those that were recorded where they are longer.

        Returns
        -------
        The slices, the growth of shape (series, slices), and the indices of the recorded slices between which they lie.
        """
        if self._last is None or self._last[0] != wanted:  # several kinds are read from the same series
            step = max(self.timeline.step, wanted.step)
            count = math.floor((wanted.end - wanted.start) / step + 1e-9)
            slices = Timeline(wanted.start, wanted.end, step, count)
            apart = round(step / self.timeline.step)
            borders = np.minimum(apart * np.arange(slices.slices + 1), self.slices_ended(wanted.end))
            self._last = slices, np.diff(self._totals[:, borders], axis=1), borders
        return self._last

    def by(self, at: float) -> Floats:
        """Tell how much each had grown by a moment."""
        return np.asarray(self._totals[:, self.slices_ended(at)])


class _Counters(_Sums):
    """Series that were followed one by one, or sums of them, from which several ways are read."""

    def __init__(self, timeline: Timeline, followed: Followed, notes: tuple[str, ...], *, exact: bool = False) -> None:
        super().__init__(timeline, followed.growth)
        self._followed, self._notes = followed, notes
        seen = np.array([presence.seen for presence in followed.presences])
        self._seen = _totals(seen[:, 1:].astype(float)) if exact and len(seen) else None

    def arms(self, way: Way, at: float) -> frozenset[str]:
        """Tell which arms had a series by then, as `Scout` does."""
        main = self._arms(main_selectors(way), self.slices_ended(at))
        return self._arms(traffic_selectors(way), self.slices_ended(at)) if main else main

    def size(self, way: Way, at: float) -> int:
        """Count the series of the way's main metrics by then, as `Scout` does."""
        ended = self.slices_ended(at)
        by_selector = (self._followed.selected[selector] for selector in main_selectors(way))
        return sum(int((self._followed.inside[rows] <= ended).sum()) for rows in by_selector)

    def read(self, way: Way, selection: Selection, wanted: Timeline, sent: _Sums | None) -> ReadingOrGap:
        """Put together what a verdict would have read in some slices, beside what a router or mesh sent."""
        timeline, grown, borders = self.cut(wanted)
        followed, last, apart, notes, first = self._followed, borders[-1], None, self._notes, 0
        if self._seen is not None:
            inside = np.diff(self._seen[:, borders], axis=1) > 0
            apart = timeline.step * slices_apart(inside)
            known = [
                replace(presence, seen=np.append(presence.seen[0], row))
                for presence, row in zip(followed.presences, inside, strict=True)
            ]
            grown, first = over_the_same_time(grown, known, selection.arms)
            notes = (*notes, *left_out(first, timeline.step))
        table: Table = {
            selector: [
                replace(followed.series[row], growth=grown[row])
                for row in followed.selected[selector]
                if followed.since[row] <= last
            ]
            for selector in selectors(way)
        }
        lives = {name: life.until(timeline.end) for name, life in followed.lives.items()}
        reading = counted(way, table, selection, timeline.slices, lives)
        if sent is not None and sent.timeline.step == self.timeline.step:
            reading = beside(reading, way, sent.cut(wanted)[1], first)
        return in_slices(reading, timeline, notes, apart)

    def _arms(self, chosen: Iterable[Selector], ended: int) -> frozenset[str]:
        rows = (row for selector in chosen for row in self._followed.selected[selector])
        return frozenset(self._followed.series[row].arm for row in rows if self._followed.inside[row] <= ended)


def _is_native(way: Way) -> bool:
    return isinstance(way, LatencyHistogram) and way.native_histogram is not None


def _limits(scouted: Scouted) -> Limits:
    """Leave room for native histograms, which are many values each."""
    native = sum(scouted.series.get(way, 0) for way, _ in scouted.ways.values() if way is not None and _is_native(way))
    most = LIMITS.values // (NATIVE_BUCKETS * max(native, 1))
    return replace(LIMITS, slices=max(LIMITS.fewest_slices, min(SLICES, most)))


def _totals(growth: Floats) -> Floats:
    return np.concatenate([np.zeros((len(growth), 1)), np.cumsum(growth, axis=1)], axis=1)


def _sums(table: Mapping[Selector, list[Grown]], slices: int) -> Followed:
    """Take sums of the server for series that are there from their first growth on."""
    series = tuple(grown for several in table.values() for grown in several)
    growth = np.array([grown.growth for grown in series]).reshape(len(series), slices)
    first = np.where(growth.any(axis=1), (growth != 0).argmax(axis=1), slices) + 1
    rows = iter(range(len(series)))
    selected = {selector: [next(rows) for _ in several] for selector, several in table.items()}
    return Followed(series, growth, first, first, (), selected, NO_LIVES)
