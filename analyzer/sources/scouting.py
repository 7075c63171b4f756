"""What must be known of a rollout before its counts are read: when it began, and which metrics there are.

It is remembered for a few minutes; it would be found again, so the service stays stateless.
"""

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analyzer.config.profile import RoutedRequests, Way, main_selectors, traffic_selectors
from analyzer.config.selector import Matcher, Selector
from analyzer.errors import BadResponse
from analyzer.model.counts import Floats
from analyzer.model.findings import Gap, Kind
from analyzer.sources.assembly import Selection, choose_way, window_of
from analyzer.sources.origins import Values, origin_labels, origins_of, values_of
from analyzer.sources.prometheus_api import OFF_GRID, Series
from analyzer.sources.promql import Queries, duration, either, in_arms, tagged
from analyzer.sources.samples import STAT

PRESENCE_STEP = 300.0  # resolution of the search for the canary's first sample
LONGEST_GAP = 600.0  # a canary away for longer than this began anew when it came back
MOST_REMEMBERED = 1000


@dataclass(frozen=True)
class Scouted:
    """What is known of a rollout before its counts are read.

    Attributes
    ----------
    start : begin of the data, Unix seconds; None: the canary was never seen
    ways : for each kind the way of the profile that can be read and the arms that it was found for
    series : how many series the largest metric of each way has, both arms together
    until : the last moment for which this is good
    earlier : when pods of an earlier life of the canary were last seen, Unix seconds; None: it had none
    gaps : kinds whose series must not be added up, and why
    notes : what should be known of how a kind is read
    matchers : that select what is judged of all that the arms have
    routed : how a router or mesh counts the requests of both arms; None: none does
    """

    start: float | None
    ways: Mapping[Kind, tuple[Way | None, frozenset[str]]] = field(default_factory=dict)
    series: Mapping[Way, int] = field(default_factory=dict)
    until: float = 0.0
    earlier: float | None = None
    gaps: Mapping[Kind, Gap] = field(default_factory=dict)
    notes: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)
    matchers: tuple[Matcher, ...] = ()
    routed: RoutedRequests | None = None


class Scout:
    """Looks ahead, and remembers.

    Parameters
    ----------
    queries : how to ask
    lookback : how far back the canary's first sample is looked for, in seconds
    """

    def __init__(self, queries: Queries, lookback: float) -> None:
        self._queries, self._lookback = queries, lookback
        self._known: dict[tuple[Any, ...], Scouted] = {}
        self._lock = threading.Lock()

    def look(self, selection: Selection, deadline: float) -> Scouted:
        """Find when the canary began, which metrics exist and how many series they have, or remember it."""
        key = _key(selection)
        known = self._known.get(key)
        if known and known.start is not None and known.start < selection.at <= known.until:
            return known
        start, earlier = window_of(selection, None).start, None
        for metrics in selection.profile.presence_of(selection.checks.values()):
            if start is None:
                start, earlier = self._first_sample(selection, metrics, deadline)
        if start is None:
            return Scouted(start=None)
        scouted = replace(self._look_for_metrics(selection, start, deadline), earlier=earlier)
        if all(way and present >= set(selection.arms) for way, present in scouted.ways.values()):
            self._remember(selection, scouted)
        return scouted

    def later(self, selection: Selection, scouted: Scouted, ended: float, began: float) -> Scouted:
        """Move the start to that of the canary's present life, and remember it; an earlier one ended before."""
        scouted = replace(scouted, start=began, earlier=ended)
        if _key(selection) in self._known:
            self._remember(selection, scouted)
        return scouted

    def _remember(self, selection: Selection, scouted: Scouted) -> None:
        with self._lock:
            while len(self._known) >= MOST_REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[_key(selection)] = scouted

    def _first_sample(
        self, selection: Selection, metrics: Iterable[Selector], deadline: float
    ) -> tuple[float | None, float | None]:
        """Find the first sample of the canary in its present run, one second early so that it counts from 0.

        Returns
        -------
        Its moment, and about when an earlier run ended; None: there is none.
        """
        queries = [in_arms(metric, selection, (selection.canary,)) for metric in metrics]
        look = duration(PRESENCE_STEP)
        # Multiples of the step, and `at` itself: so that a later look searches at the same moments.
        last = math.floor(selection.at / PRESENCE_STEP) * PRESENCE_STEP
        seen = either(f"count(last_over_time({query}[{look}]))" for query in queries)
        begin = last - math.floor(self._lookback / PRESENCE_STEP) * PRESENCE_STEP
        answers = self._queries.all(
            {
                "range": lambda: self._queries.api.range(seen, begin, last, PRESENCE_STEP, deadline),
                "at": lambda: self._queries.api.instant(seen, selection.at, deadline),
            },
            deadline,
        )
        times = np.unique(
            np.concatenate([np.empty(0), *(series.times for name in answers for series in answers[name])])
        )
        if not len(times):
            return None, None
        _check_times(times, begin, selection.at)
        gaps = np.flatnonzero(np.diff(times) > LONGEST_GAP)
        first = float(times[gaps[-1] + 1] if len(gaps) else times[0])
        exactly = f"min({either(f'min_over_time(timestamp({query})[{look}:1s])' for query in queries)})"
        tasks = {"first": lambda: self._queries.api.instant(exactly, first, deadline)}
        answer = self._queries.all(tasks, deadline)["first"]
        moment = float(answer[0].values[0]) if answer and len(answer[0].values) else first - PRESENCE_STEP
        _check_times(np.array([moment]), begin - PRESENCE_STEP, selection.at)
        return math.floor(moment) - 1.0, float(times[gaps[-1]]) if len(gaps) else None

    def _look_for_metrics(self, selection: Selection, start: float, deadline: float) -> Scouted:
        """Ask for every way of the profile which arms have its main metric, in how many series."""
        profile, length = selection.profile, duration(max(selection.at - start, 1.0))
        kept = ", ".join([profile.arm_label, *origin_labels(profile)])
        kinds = sorted(set(selection.checks.values()))
        ways = [way for kind in kinds for way in profile.ways(kind)]

        def count(selector: Selector) -> str:
            return f"count by ({kept}) (last_over_time({in_arms(selector, selection, selection.arms)}[{length}]))"

        def task(query: str) -> Callable[[], list[Series]]:
            return lambda: self._queries.api.instant(query, selection.at, deadline)

        wanted = {selector for way in ways for selector in (*main_selectors(way), *traffic_selectors(way))}
        queries = {str(selector): count(selector) for selector in wanted}
        if queries and selection.baseline:  # few have a mesh, so it is looked for together with another metric
            routed = [
                tagged(str(number), count(selector))
                for number, way in enumerate(profile.routed)
                for selector in way.requests
            ]
            key = min(queries)
            queries[key] = " or ".join([queries[key], *routed])
        answers = self._queries.all({key: task(query) for key, query in queries.items()}, deadline)
        rows = [row for answer in answers.values() for row in answer if STAT in row.labels]
        routed_arms = {(row.labels[STAT], row.labels.get(profile.arm_label)) for row in rows}
        answers = {key: [row for row in rows if STAT not in row.labels] for key, rows in answers.items()}
        series: dict[Way, int] = {}
        arms: dict[Way, frozenset[str]] = {}
        values: dict[Way, Values] = {}
        for way in ways:
            main = [row for selector in main_selectors(way) for row in answers[str(selector)]]
            traffic = [row for selector in traffic_selectors(way) for row in answers[str(selector)]]
            arms[way] = frozenset(row.labels.get(profile.arm_label, "") for row in (traffic if main else main))
            series[way] = int(sum(row.values[0] for row in main if len(row.values)))
            labelled = ((row.labels.get(profile.arm_label, ""), row.labels) for row in (*main, *traffic))
            values[way] = values_of(selection, labelled)
        chosen = {
            kind: choose_way(((way, arms[way]) for way in profile.ways(kind)), selection.canary) for kind in kinds
        }
        known = origins_of(selection, {kind: values[way] for kind, (way, present) in chosen.items() if way and present})
        return Scouted(
            start=start,
            ways=chosen,
            series=series,
            until=selection.at + (LONGEST_GAP - PRESENCE_STEP),
            gaps={kind: origins.gap for kind, origins in known.items() if origins.gap},
            notes={kind: origins.notes for kind, origins in known.items() if origins.notes},
            matchers=tuple(dict.fromkeys(matcher for origins in known.values() for matcher in origins.matchers)),
            routed=next(
                (
                    way
                    for number, way in enumerate(profile.routed)
                    if all((str(number), arm) in routed_arms for arm in selection.arms)
                ),
                None,
            ),
        )


def _key(selection: Selection) -> tuple[Any, ...]:
    """Return what a rollout is remembered by."""
    return (
        selection.profile.name, selection.service, selection.namespace, selection.canary, selection.baseline,
        selection.start, selection.window_seconds, frozenset(selection.checks.values()), selection.matchers,
    )  # fmt: skip


def _check_times(times: Floats, least: float, most: float) -> None:
    """Raise BadResponse where a sample of the canary is said to be of another time than was looked at."""
    if times.min() < least - OFF_GRID or times.max() > most + OFF_GRID:
        raise BadResponse("it answered with samples for other times than those that were asked for")
