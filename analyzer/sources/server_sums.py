"""Sums that the server makes of series that are too many to be followed one by one."""

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from analyzer.config.profile import ClassCounter, ErrorCounters, Way
from analyzer.config.selector import Selector, label_name
from analyzer.model.counts import Floats
from analyzer.sources.assembly import Grown, Selection
from analyzer.sources.prometheus_api import Series
from analyzer.sources.promql import LOOK_BACK, duration, in_arms
from analyzer.sources.query_plan import QueryPlan
from analyzer.sources.samples import family_of, may_fall
from analyzer.sources.streams import TARGET_LABELS
from analyzer.sources.timeline import Timeline


class ServerSums:
    """Sums that the server makes: as exact as following each series, but blind to a restart hidden in a slice.

    Parameters
    ----------
    plan : takes the queries, and has their answers
    selection : what is asked for
    start : of the window, Unix seconds
    since_start : whether the window begins with the canary's first sample, so that all its targets are new
    """

    def __init__(self, plan: QueryPlan, selection: Selection, start: float, *, since_start: bool) -> None:
        self._plan, self._selection = plan, selection
        self._query = partial(growth_query, selection=selection, start=start, since_start=since_start)

    def ask(self, selectors: Iterable[Selector], labels: Sequence[str], timeline: Timeline) -> None:
        """Plan to sum the growth of each selector's series by arm and some labels."""
        for selector in selectors:
            kept = self._kept(labels)
            by, key = f"sum by {kept}", f"{kept} {selector}"  # two ways may sum one counter by different labels
            if timeline.count:
                self._plan.range(f"sum {key}", f"{by} ({self._query(selector, seconds=timeline.step)})", timeline)
            if timeline.tail > 0:
                query = f"{by} ({self._query(selector, seconds=timeline.tail)})"
                self._plan.instant(f"rest {key}", query, at=timeline.end)

    def answer(
        self, selectors: Iterable[Selector], labels: Sequence[str], timeline: Timeline
    ) -> dict[Selector, list[Grown]]:
        """Return the sums that were asked for; raises SourceError."""
        arm_label = self._selection.profile.arm_label
        return {
            selector: [
                Grown(
                    arm=series.labels.get(arm_label, ""),
                    labels={name: series.labels.get(name, "") for name in labels},
                    growth=placed(series, timeline),
                )
                for kind in ("sum", "rest")
                for series in self._plan.answers(f"{kind} {self._kept(labels)} {selector}")
            ]
            for selector in selectors
        }

    def _kept(self, labels: Sequence[str]) -> str:
        return f"({', '.join(map(label_name, [self._selection.profile.arm_label, *labels]))})"


def growth_query(selector: Selector, selection: Selection, seconds: float, start: float, *, since_start: bool) -> str:
    """Return PromQL for how much each series grew in a slice: its difference, or since its restart, or its birth.

    Parameters
    ----------
    selector : of the profile
    selection : what is asked for
    seconds : length of the slice
    start : of the window, Unix seconds
    since_start : whether the window begins with the canary's first sample, so that all its targets are new
    """

    def both(metric: str) -> tuple[str, str, str]:
        series = in_arms(Selector(metric, selector.matchers), selection, selection.arms)
        return (
            f"last_over_time({series}[{slice_}])",
            f"max_over_time({series}[{slice_}])",
            f"last_over_time({series}{back})",
        )

    slice_ = duration(seconds)
    back = f"[{duration(seconds + LOOK_BACK)}] offset {slice_}"
    last, peak, before = both(selector.metric)
    grown = f"((({last} - {before}) >= 0) unless {peak} > {last})"
    lost = f"clamp_min({peak} - {before}, 0) * ({peak} > bool {last})"
    restarted = f"{lost} + {last}"
    if may_fall(selector.metric):  # where it fell, its count tells whether the process restarted
        count, most, counted = both(family_of(selector.metric) + "_count")
        fell = f"({most} > {count} or {count} < {counted})"
        grown, restarted = f"(({last} - {before}) unless {fell})", f"(({restarted}) and {fell})"
    targets = ", ".join(TARGET_LABELS)
    newborn = f"(({last} unless {before}) and on ({targets}) ({_known(before, back, selection, start)}))"
    if since_start:
        canary = in_arms(selector, selection, (selection.canary,))
        newborn = f"(last_over_time({canary}[{slice_}]) unless {before}) or {newborn}"
    return f"{grown} or {restarted} or {newborn}"


def _known(before: str, back: str, selection: Selection, start: float) -> str:
    """Return PromQL for the series of targets whose new counters began at 0: known before, or a new process."""
    gauge = selection.profile.process_start
    if gauge is None:
        return before
    process = in_arms(gauge, selection, selection.arms)
    return f"{before} or last_over_time({process}{back}) or last_over_time({process}[5m]) >= {start:.3f}"


def kept_labels(way: Way) -> list[str]:
    """Return the labels that sums must keep: what tells buckets, classes and failed requests apart."""
    match way:
        case ClassCounter():
            return [way.by]
        case ErrorCounters():
            return sorted({matcher.label for failed in (*way.errors, *way.gone) for matcher in failed.matchers})
        case _:
            return ["le"]


def placed(series: Series, timeline: Timeline) -> Floats:
    """Return the values of a sum in its slices; shape (slices,)."""
    growth = np.zeros(timeline.slices)
    growth[timeline.indices(series.times) - 1] = series.values
    return growth
