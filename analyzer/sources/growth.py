"""How much each stream grew in each slice of a window: across restarts, births, gaps and pasts that are not news."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.config.selector import Matcher, Selector
from analyzer.model.counts import Floats
from analyzer.sources.assembly import Grown
from analyzer.sources.counters import Flags, Grid, Indices, Track, counts_from_zero, followed, increments, restarts
from analyzer.sources.coverage import (
    BETWEEN_LIVES,
    Presence,
    changeover,
    idle_between,
    over_the_same_time,
)
from analyzer.sources.lives import NO_LIVES, OF_REPLICA_SET, POD_LABELS, Life, pod_name
from analyzer.sources.samples import PAST, Settled, family_of, is_part, may_fall
from analyzer.sources.streams import Target
from analyzer.sources.timeline import slices_apart

SMALL = 20.0  # events that a new series may have at once, however quiet its process is
BURST = 3.0  # times what a process counts in a slice at most, that a new series may have at once
FEWEST_SEEN = 4  # samples of a process, to know how much it counts


@dataclass(frozen=True)
class Followed:
    """What is known of series, each by itself.

    Attributes
    ----------
    series : with arm and labels
    growth : in each slice, whether or not the other arm was observed in it; shape (series, slices)
    since : index of the moment from which an answer would have had it, 0: from the window's start; shape (series,)
    inside : the slice in which it was first seen, counted from 1, more than there are: in none; shape (series,)
    presences : where each target has samples
    selected : which of the series each selector means
    lives : of the pods, by name
    """

    series: tuple[Grown, ...]
    growth: Floats
    since: Indices
    inside: Indices
    presences: Sequence[Presence]
    selected: Mapping[Selector, list[int]]
    lives: Mapping[str, Life]


class Growth:
    """The growth of settled streams.

    Parameters
    ----------
    settled : streams, with every sample of the slices in which processes restarted
    arms : that are compared

    Attributes
    ----------
    notes : what was repaired, for the reader of the verdict
    first : slice with which counting begins
    """

    def __init__(self, settled: Settled, arms: tuple[str, ...]) -> None:
        self._settled, self._arms = settled, arms
        self._labels, self._values = settled.streams.labels, settled.streams.values
        self._timeline = settled.timeline
        self._gauges = settled.gauges
        self._sums = np.array([may_fall(settled.metric(stream)) for stream in range(len(self._labels))], dtype=bool)
        self._moments = np.concatenate([[self._timeline.start], self._timeline.ends_of_slices()])
        self._streams_of: dict[Target, list[int]] = {}
        for stream, target in enumerate(settled.streams.targets):
            self._streams_of.setdefault(target, []).append(stream)
        self._starts = {
            target: self._track(stream)
            for target, several in self._streams_of.items()
            for stream in several
            if self._gauges[stream]
        }
        known = ~np.isnan(self._values)
        self._seen = {target: np.logical_or.reduce(known[several]) for target, several in self._streams_of.items()}
        self._uncovered: set[str] = set()
        self._new = self._new_targets()
        self._restarts: dict[Target, Floats] = {}
        self._several: set[Target] = set()
        self._pasts: list[str] = []
        self.notes: tuple[str, ...] = ()
        self.first = 0
        self._observed = np.zeros((0, self._timeline.slices))
        self.grown = self._all() if self._labels else self._observed

    # What a verdict needs

    def table(self, wanted: Mapping[Selector, Selector]) -> dict[Selector, list[Grown]]:
        """Return how much each series grew in each slice, by the selectors of the profile.

        Parameters
        ----------
        wanted : selectors of the profile, and the same with the request's fields filled in
        """
        return {
            selector: [self._named(stream) for stream in streams]
            for selector, streams in self._selected(wanted).items()
        }

    def troubles(self, wanted: Mapping[Selector, Selector]) -> dict[Selector, str]:
        """Return the selectors of which nothing can be counted, each with the reason and the remedy."""
        reasons: dict[Selector, str] = {}
        if not self._settled.unusable and not self._several:
            return reasons
        for selector, streams in self._selected(wanted).items():
            for stream in streams:
                pod, target = pod_name(self._labels[stream]), self._settled.streams.targets[stream]
                if stream in self._settled.unusable:
                    reasons[selector] = (
                        f"{selector.metric} of {pod} has the value {self._settled.unusable[stream]}: no counter has; "
                        "restart the process after the code that counts it is corrected, or name another metric in "
                        "the profile"
                    )
                elif target in self._several:
                    other = "" if target in self._starts else ", or it restarts all the time and no gauge tells it"
                    reasons[selector] = (
                        f"several processes answer the scrapes of {pod} in turn, each with its own {selector.metric}"
                        f"{other}: export the sum of all (prometheus_client: multiprocess mode), or scrape each one"
                    )
        return reasons

    def followed(self, wanted: Mapping[Selector, Selector]) -> Followed:
        """Return what is known of each series by itself, to tell how much it had grown by any earlier moment."""
        slices, selected = self._timeline.slices, self._selected(wanted)
        if not self._labels:
            none = np.zeros(0, dtype=np.intp)
            return Followed((), np.zeros((0, slices)), none, none, (), selected, NO_LIVES)
        known = ~np.isnan(self._values)
        since, inside = _first(known), _first(known[:, 1:]) + 1
        for stream in self._settled.based:  # which was looked for because its target came back, and not before
            seen = self._seen[self._settled.streams.targets[stream]][np.newaxis, 1:]
            since[stream] = max(since[stream], _first(seen)[0] + 1)
        series = tuple(self._named(stream) for stream in range(len(self._labels)))
        return Followed(series, self._observed, since, inside, self._presences(), selected, self.lives())

    def scrape_seconds(self) -> float:
        """Return about how far apart the samples of a target are, by the one with the fewest; a slice at least."""
        seen = np.array(list(self._seen.values())).reshape(len(self._seen), self._timeline.slices + 1)
        return self._timeline.step * slices_apart(seen[:, 1:])

    def lives(self) -> dict[str, Life]:
        """Return when each pod began and restarted, by its name."""
        starts: dict[str, list[float | None]] = {}
        restarted: dict[str, list[Floats]] = {}
        for target, several in self._streams_of.items():
            name, seen = pod_name(self._labels[several[0]]), self._seen[target]
            start = None
            if self._new[target] and seen.any():
                gauge = self._starts.get(target)
                has_gauge = gauge is not None and len(gauge.values)
                start = float(gauge.values.min()) if gauge is not None and has_gauge else self._first_moment(seen)
            starts.setdefault(name, []).append(start)
            restarted.setdefault(name, []).append(self._restarts.get(target, np.zeros(0)))
        return {
            name: Life(
                None if None in several else min(filter(None, several)), np.unique(np.concatenate(restarted[name]))
            )
            for name, several in starts.items()
        }

    def changeover(self, arm: str) -> tuple[float, float] | None:
        """Return between which moments the pods of an arm may have been replaced by others, after a gap; or None."""
        gap = changeover(self._presences(), arm, self._timeline.step)
        return None if gap is None else (float(self._moments[max(0, gap[0] - 1)]), float(self._moments[gap[1]]))

    def idle(self) -> tuple[float, float] | None:
        """Return from when to when the canary, once the stable version, had no traffic; or None."""

        def counted(arm: str) -> Floats:
            arms = np.array([target[3] == arm for target in self._settled.streams.targets])
            return np.asarray(self._observed[arms & ~self._gauges & ~self._sums].sum(axis=0))

        gap = idle_between(self._presences(), counted, self._arms, self._timeline.step)
        return None if gap is None else (float(self._moments[gap[0]]), float(self._moments[gap[1]]))

    # How it is found

    def _all(self) -> Floats:
        pods: dict[Target, int] = {}
        pod = np.array([pods.setdefault(target[:4], len(pods)) for target in self._settled.streams.targets])
        before, new = np.zeros(len(pods), dtype=bool), np.zeros(len(pods), dtype=bool)
        np.logical_or.at(before, pod, ~np.isnan(self._values[:, 0]))
        for target, is_new in self._new.items():
            new[pods[target[:4]]] |= is_new
        grid = Grid(base=self._values[:, 0], last=self._values[:, 1:], may_fall=self._sums, target=pod)
        grown = increments(grid, scraped_before=before, begins_at_zero=new)
        from_zero = counts_from_zero(grid, scraped_before=before, begins_at_zero=new)
        for target in self._settled.suspects:
            self._follow(target, grown, from_zero)
        self._leave_pasts(grown, from_zero)
        self._observed = grown
        self.notes = (*self._notes(), *self._pasts)
        moved, self.first = over_the_same_time(grown, self._presences(), self._arms)
        return moved

    def _follow(self, target: Target, grown: Floats, from_zero: Flags) -> None:
        """Replace the growth of a target that may have restarted by that from sample to sample."""
        tracks = {stream: self._track(stream) for stream in self._streams_of[target] if not self._gauges[stream]}
        gauge = self._starts.get(target)
        changes = restarts(list(tracks.values()), gauge)
        if changes.several:
            self._several.add(target)
        self._restarts[target] = np.unique(np.concatenate([np.zeros(0), *changes.by_family.values()]))
        first = min((track.times[0] for track in tracks.values() if len(track.times)), default=0.0)
        for stream, track in tracks.items():
            slices = self._slice_of(track.times)
            if not len(slices):
                continue
            zero = bool(from_zero[stream, slices[0]]) or track.times[0] > first
            growth = followed(
                track,
                changes.by_family[track.family],
                from_zero=zero and slices[0] >= 0,
                steady=gauge is not None,
                alone=not is_part(self._settled.metric(stream)),
                sure=changes.sure,
            )
            inside = slices >= 0
            grown[stream] = np.bincount(slices[inside], growth[inside], minlength=self._timeline.slices)

    def _leave_pasts(self, grown: Floats, from_zero: Flags) -> None:
        """Take away what a series that appears late had counted before, where its process cannot have so quickly."""
        first = _first(~np.isnan(self._values))
        for target, several in self._streams_of.items():
            if self._new[target] and target in self._starts:
                continue
            born = int(np.argmax(self._seen[target])) if self._new[target] else 0
            late = [
                stream
                for stream in several
                if born < first[stream] <= self._timeline.slices
                and from_zero[stream, first[stream] - 1]
                and not self._gauges[stream]
            ]
            if not late or self._seen[target].sum() < FEWEST_SEEN:
                continue
            usual: dict[str, Floats] = {}
            for stream in several:
                own = grown[stream].copy()
                if stream in late:
                    own[first[stream] - 1] = 0.0
                usual[self._settled.metric(stream)] = usual.get(self._settled.metric(stream), 0.0) + np.abs(own)
            others = [stream for stream in several if stream not in late and not self._gauges[stream]]
            pasts: dict[tuple[str, int], tuple[str, int]] = {}
            for stream in late:
                slice_, metric = first[stream] - 1, self._settled.metric(stream)
                value = grown[stream, slice_]
                beside = grown[others, max(0, slice_ - 1) : slice_ + 2].max(initial=0.0)  # such as a histogram's
                if abs(value) > max(SMALL, BURST * usual[metric].max(), beside):
                    pasts[family_of(metric), slice_] = metric, int(value)
            for stream in late:  # all series of a family or none, so that failed requests stay among all requests
                slice_ = first[stream] - 1
                grown[stream, slice_] *= (family_of(self._settled.metric(stream)), slice_) not in pasts
            self._pasts += [
                f"a series of {metric} of {pod_name(self._labels[several[0]])} appeared with {value:,} already counted"
                ", more than its process counts in this time: they are left out"
                for metric, value in pasts.values()
            ]
        self._pasts = self._pasts[:1] + ([f"{len(self._pasts) - 1} more such series"] if len(self._pasts) > 1 else [])

    def _new_targets(self) -> dict[Target, bool]:
        """Tell which targets, first scraped inside the window, are new processes.

        Those of a new arm are, unless they began long before the window, as when Prometheus lost its data. Another is
        when it says that it began no sooner than they did, as the fresh baseline of an experiment; otherwise it may be
        an old one that was not scraped for a while, whose whole past must not count.
        """
        started = {target: float(track.values.min()) for target, track in self._starts.items() if len(track.values)}
        canary = {target: start for target, start in started.items() if target[3] in self._settled.new_arms}
        since = min([self._timeline.start, *canary.values()])
        others = [start for target, start in started.items() if target[3] not in self._settled.new_arms]
        together = bool(others) and since <= min(others) <= since + PAST
        if not together:  # no experiment, in which both arms begin at about the same time
            recent = [start for start in canary.values() if start >= self._timeline.start - PAST]
            since = min([self._timeline.start, *recent])
        new, first = {}, 1 + self.scrape_seconds() / self._timeline.step
        for target in self._streams_of:
            start = started.get(target, -math.inf)
            if target[3] in self._settled.new_arms:
                old = target in started and start < self._timeline.start - PAST and not together
                if target not in started and not self._settled.watched:
                    old = int(np.argmax(self._seen[target])) <= first  # Prometheus may have lost its data
                new[target] = not old
                if old:
                    self._uncovered.add(target[2])
            else:
                new[target] = start >= since
        return new

    def _presences(self) -> list[Presence]:
        return [
            Presence(
                arm=target[3],
                pod="/".join(target[:3]),
                seen=seen,
                new=self._new[target],
                runs=self._runs(target, np.flatnonzero(seen)),
            )
            for target, seen in self._seen.items()
        ]

    def _runs(self, target: Target, indices: Indices) -> tuple[tuple[int, int], ...]:
        """Part the time of a target where it came back after a gap as a process that began in it."""
        if not len(indices):
            return ()
        if OF_REPLICA_SET.search(target[2]) and target[0] in POD_LABELS:  # it is the same pod, however long its gap
            return ((int(indices[0]), int(indices[-1])),)
        gauge, apart = self._starts.get(target), np.diff(indices)
        runs, first = [], int(indices[0])
        for number in np.flatnonzero((apart - 1) * self._timeline.step >= BETWEEN_LIVES):
            gone, back = int(indices[number]), int(indices[number + 1])
            starts = [] if gauge is None else gauge.values[gauge.times <= self._moments[back] + 1e-6]
            if len(starts) and starts[-1] > self._moments[gone]:
                runs.append((first, gone))
                first = back
        return (*runs, (first, int(indices[-1])))

    def _notes(self) -> tuple[str, ...]:
        streams, notes = self._settled.streams, []
        if streams.copies:
            notes.append(
                f"{_named(streams.copies)} scraped more than once at a time (two scrape jobs, or two replicas of "
                "Prometheus without deduplication): counted once"
            )
        if streams.renamed:
            notes.append(f"{_named(streams.renamed)} given other labels: counted on from the value before")
        if self._uncovered:
            notes.append(
                f"{_named(sorted(self._uncovered))} running long before counting begins: what had been counted by then "
                "is left out"
            )
        return tuple(notes)

    def _track(self, stream: int) -> Track:
        """Put together every sample of the slices that were looked at closer and the values on the grid elsewhere."""
        values, moments = self._values[stream], self._moments
        use = ~np.isnan(values)
        times, inner = [], []
        if self._settled.zoomed is not None and self._settled.streams.targets[stream] in self._settled.suspects:
            first, last = self._settled.zoomed
            use[first + (first > 0) : last + 2] = False
            source = self._settled.streams.rows[stream]
            for row in self._settled.streams.members[stream]:
                if row in self._settled.tracks:
                    moment, value = self._settled.tracks[row]
                    within = ((moment > moments[first] + 1e-6) | (first == 0)) & (moment <= moments[last + 1] + 1e-6)
                    mine = source[self._slice_of(moment[within]) + 1] == row
                    times.append(moment[within][mine])
                    inner.append(value[within][mine])
        joined, numbers = np.concatenate([moments[use], *times]), np.concatenate([values[use], *inner])
        order = np.argsort(joined, kind="stable")
        metric = self._settled.metric(stream)
        return Track(family_of(metric), joined[order], numbers[order], may_fall=may_fall(metric))

    def _slice_of(self, times: Floats) -> Indices:
        """Find the slice of each moment; -1: not after the window's start."""
        return np.searchsorted(self._moments + 1e-6, times, side="left") - 1

    def _first_moment(self, seen: Flags) -> float:
        """Return about when a target was first seen."""
        return float(self._moments[max(0, int(np.argmax(seen)) - 1)])

    def _named(self, stream: int) -> Grown:
        label, _, name, arm, *_ = self._settled.streams.targets[stream]
        return Grown(arm=arm, labels=self._labels[stream], growth=self.grown[stream], pod=name if label else "")

    def _selected(self, wanted: Mapping[Selector, Selector]) -> dict[Selector, list[int]]:
        """Return which streams each selector means."""
        streams: dict[Selector, list[int]] = {selector: [] for selector in wanted}
        by_metric: dict[str, list[tuple[list[int], tuple[Matcher, ...]]]] = {}
        for selector, filled in wanted.items():
            by_metric.setdefault(selector.metric, []).append((streams[selector], filled.matchers))
        for stream, labels in enumerate(self._labels):
            for into, matchers in by_metric.get(labels.get("__name__", ""), []):
                if all(matcher.matches(labels) for matcher in matchers):
                    into.append(stream)
        return streams


def _named(pods: Iterable[str]) -> str:
    """Name a pod, and how many more there are, with the verb that follows."""
    several = list(pods)
    return f"{several[0]} was" if len(several) == 1 else f"{several[0]} and {len(several) - 1} more pods were"


def _first(flags: Flags) -> Indices:
    """Find the first that is set in each row; as many as there are where none is."""
    return np.where(flags.any(axis=1), flags.argmax(axis=1) if flags.shape[1] else 0, flags.shape[1])
