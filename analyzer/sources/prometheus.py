"""Counts from Prometheus, exact to the unit: every series is read on a grid of times and followed by itself.

A verdict first looks when the canary began and which metrics there are (`scouting`), then reads the window by a few
queries (`reader`), and the baseline before it, which is remembered.
"""

import math
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from analyzer.errors import SourceError
from analyzer.model.counts import Counts, Reading, Readings
from analyzer.model.findings import Code, Gap, Kind
from analyzer.sources.assembly import Selection, listed, noted, window_of
from analyzer.sources.coverage import LaterLife
from analyzer.sources.prometheus_api import PrometheusApi
from analyzer.sources.promql import Queries
from analyzer.sources.query_plan import gap_of
from analyzer.sources.reader import Reader
from analyzer.sources.scouting import Scout, Scouted
from analyzer.sources.shares import on_behalf_of
from analyzer.sources.slicing import Limits
from analyzer.stats.dispersion import BATCH_SECONDS

MOST_HISTORIES = 200  # remembered
MOVES_BY = 300.0  # seconds by which the past of a moving window moves on
LATER = (Code.SOURCE_UNAVAILABLE, Code.PARTIAL_DATA)  # what another look may find better


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
        self.queries = Queries(api, workers)
        self.limits = Limits(most_values)
        self._scout = Scout(self.queries, lookback)
        self._histories: dict[tuple[Any, ...], Mapping[Kind, Reading[Counts] | Gap]] = {}
        self._lock = threading.Lock()

    def ready(self, deadline: float) -> None:
        """Raise SourceError unless a trivial query is answered."""
        self.queries.ready(deadline)

    def read(self, selection: Selection, deadline: float) -> Readings:
        """Read what a verdict asks for; what cannot be read is a gap with the reason."""
        with on_behalf_of((selection.namespace, selection.service)):
            return self._read(selection, deadline)

    def _read(self, selection: Selection, deadline: float) -> Readings:
        try:
            self.queries.breaker.check()
            scouted = self.scout(selection, deadline)
        except SourceError as error:
            return Readings(window_of(selection, None), dict.fromkeys(selection.checks, gap_of(error)))
        while True:  # each time later
            window = window_of(selection, scouted.start)
            start = window.start
            if start is None:
                return Readings(window, {name: never_seen(selection) for name in selection.checks})
            readable = without_gaps(scouted)
            judged = replace(selection, matchers=selection.matchers + scouted.matchers)
            verdict = Reader(self.queries, self.limits, judged, readable, start, deadline)
            try:
                by_kind = verdict.read()
                break
            except LaterLife as life:
                scouted = self._scout.later(selection, scouted, life.ended, life.began)
        history = self.history(judged, readable, start, deadline)
        notes = earlier_life(selection, scouted)
        readings: dict[Kind, Reading[Counts] | Gap] = {
            kind: noted(with_history(reading, history.get(kind), notes), scouted.notes.get(kind, ()))
            for kind, reading in by_kind.items()
        }
        readings |= scouted.gaps
        return Readings(window, {name: readings[kind] for name, kind in selection.checks.items()}, verdict.queries)

    def scout(self, selection: Selection, deadline: float) -> Scouted:
        """Find when the canary began and which metrics there are; raises SourceError."""
        return self._scout.look(selection, deadline)

    def history(
        self, selection: Selection, scouted: Scouted, start: float, deadline: float
    ) -> Mapping[Kind, Reading[Counts] | Gap]:
        """Read the baseline before the canary, or remember it: it changes no more."""
        if selection.baseline is None or not selection.history_seconds:
            return {}
        # A window of a fixed length moves on with every look; its past need not.
        end = start if selection.window_seconds is None else math.floor(start / MOVES_BY) * MOVES_BY
        begin = end - selection.history_seconds
        before = replace(selection, canary=selection.baseline, baseline=None, start=begin, window_seconds=None, at=end)
        ways = frozenset((kind, way) for kind, (way, _) in scouted.ways.items())  # a later one may be another
        key = before.profile.name, before.service, before.namespace, before.canary, before.matchers, begin, end, ways
        with self._lock:
            if key in self._histories:
                return self._histories[key]
        limits = replace(self.limits, slices=math.ceil(selection.history_seconds / BATCH_SECONDS))
        by_kind = Reader(self.queries, limits, before, scouted, begin, deadline).read()
        if not any(isinstance(reading, Gap) and reading.code in LATER for reading in by_kind.values()):
            with self._lock:
                while len(self._histories) >= MOST_HISTORIES:
                    self._histories.pop(next(iter(self._histories)))
                self._histories[key] = by_kind
        return by_kind


def with_history(
    reading: Reading[Counts] | Gap, history: Reading[Counts] | Gap | None, notes: tuple[str, ...] = ()
) -> Reading[Counts] | Gap:
    """Add the baseline before the canary, where it is known, and notes on the whole rollout."""
    if isinstance(reading, Gap):
        return reading
    reading = replace(reading, notes=(*notes, *reading.notes))
    if not isinstance(history, Reading):
        return reading
    return replace(
        reading, history=history.canary, history_seconds=history.slice_seconds, history_pods=history.canary_pods
    )


def earlier_life(selection: Selection, scouted: Scouted) -> tuple[str, ...]:
    """Return a note where the canary's name was used before: what was counted then is left out."""
    if scouted.earlier is None or scouted.start is None:
        return ()
    ended, began = (
        f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}" for moment in (scouted.earlier, scouted.start)
    )
    note = (
        f"{selection.canary} was there before, until {ended} UTC: counting begins at {began} UTC with the pods that "
        "followed; give `start` to count both"
    )
    return (note,)


def without_gaps(scouted: Scouted) -> Scouted:
    """Leave out the kinds that must not be read."""
    return replace(scouted, ways={kind: way for kind, way in scouted.ways.items() if kind not in scouted.gaps})


def never_seen(selection: Selection) -> Gap:
    """Say that there is no sample of the canary."""
    groups = selection.profile.presence_of(selection.checks.values())
    metrics = listed(list(dict.fromkeys(metric.metric for group in groups for metric in group)))
    label = selection.profile.arm_label
    return Gap(
        Code.NO_CANARY_TRAFFIC,
        f'no sample of {metrics} with {label}="{selection.canary}" yet: the canary has no traffic, or its pods are '
        "not scraped",
    )
