"""Which series are one stream: the same counter of the same process, under whatever labels it was stored.

A pod may be scraped by two jobs or by two replicas of Prometheus, and its targets may get other labels while a rollout
runs. Series that a client library tells apart differ in labels of the instrument; these differ in labels of the target.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from analyzer.model.counts import Floats
from analyzer.sources.counters import CLOCK_JITTER, Flags, Indices
from analyzer.sources.lives import POD_LABELS, pod_name

TARGET_LABELS = ("job", "instance", "namespace", *POD_LABELS)
SCRAPING_LABELS = frozenset({
    *TARGET_LABELS, "container", "node", "service", "prometheus", "prometheus_replica", "replica", "receive",
})  # fmt: skip
"""Labels of targets, where no metric without labels of its own tells which these are."""
MOST_VIOLATIONS = 0.1  # of the compared values
FEWEST_STEPS = 3  # of counters that move together, for targets with different addresses to be one process
NEAR = 2  # slices by which one copy may lag behind the other
NEAR_SAME = 8  # the same where both have one address

Target = tuple[str, ...]
"""A process group: label that names the pod, namespace, name of the pod, arm, number among the pod's processes."""


@dataclass(frozen=True)
class Streams:
    """Series put together.

    Attributes
    ----------
    labels : of each stream, those of the series that it mostly consists of
    targets : the process that each stream comes from
    values : of each stream; shape (streams, 1 + slices)
    rows : the series that each value is from, -1: there is none; shape (streams, 1 + slices)
    members : the series of each stream
    copies : names of pods that were scraped more than once at a time
    renamed : names of pods whose labels changed
    """

    labels: list[dict[str, str]]
    targets: list[Target]
    values: Floats
    rows: Indices
    members: list[list[int]]
    copies: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()


def pod_key(labels: Mapping[str, str], arm_label: str) -> Target:
    """Return what names the pod of a series, or its scrape target where it has no label for its pod."""
    arm = labels.get(arm_label, "")
    for name in (*POD_LABELS, "instance"):
        if labels.get(name):
            return name, labels.get("namespace", ""), labels[name], arm
    own = (f"{name}={value}" for name, value in sorted(labels.items()) if name not in ("le", "__name__"))
    return "", "", ",".join(own), arm


def canonical(labels: dict[str, str]) -> dict[str, str]:
    """Return the labels with the edge of a bucket written in one way: ``le="1.0"`` and ``le="1"`` are one bucket."""
    edge = labels.get("le")
    if edge is None or (written := _edge(edge)) == edge:
        return labels
    return {**labels, "le": written}


@lru_cache(maxsize=1000)
def _edge(text: str) -> str:
    try:
        written = repr(float(text))
    except ValueError:
        return text
    return "+Inf" if written == "inf" else written


def join(
    labels: Sequence[dict[str, str]], pods: Sequence[Target], values: Floats, *, process_start: str | None
) -> Streams:
    """Put the series of each process together to streams.

    Parameters
    ----------
    labels : of each series
    pods : what names the pod of each series
    values : on the grid; NaN: no sample; shape (series, 1 + slices)
    process_start : metric with the time at which a process started
    """
    by_pod: dict[Target, list[int]] = {}  # in the order of the first series
    for row, pod in enumerate(pods):
        by_pod.setdefault(pod, []).append(row)
    of_targets = _target_labels(labels, process_start)
    streams: list[tuple[Target, list[int]]] = []
    seen: dict[int, Flags] = {}
    copies: list[str] = []
    renamed: list[str] = []
    for pod, rows in by_pod.items():
        names = of_targets | (
            frozenset() if process_start in _metrics(labels, rows) else _added_later(labels, rows, values)
        )
        ordered = sorted(names)
        if len({tuple(map(labels[row].get, ordered)) for row in rows}) == 1:
            streams += [((*pod, "0"), [row]) for row in rows]
            continue
        targets = _grouped(labels, rows, names)
        if process_start not in _metrics(labels, rows):
            names |= _of_groups(labels, targets.values())
            targets = _grouped(labels, rows, names)
        scraped = [_Scraped(identity, own, labels, values, names, process_start) for identity, own in targets.items()]
        scraped.sort(key=lambda target: -target.weight)
        seen |= {row: target.seen for target in scraped for row in target.rows.values()}
        for number, process in enumerate(_processes(scraped)):
            streams += [((*pod, str(number)), members) for members in _by_instrument(process)]
            if len(process) > 1:
                together = sum((target.seen for target in process), np.zeros(values.shape[1], dtype=int))
                (copies if (together > 1).sum() > 1 else renamed).append(pod_name(dict(process[0].identity)))
    first = np.array([several[0] for _, several in streams], dtype=np.intp)
    merged = values[first]
    source = np.where(np.isnan(merged), -1, first[:, np.newaxis])
    for stream, (_, several) in enumerate(streams):
        if several[0] not in seen:
            continue
        merged[stream], source[stream] = np.nan, -1
        free = np.ones(values.shape[1], dtype=bool)
        for row in several:
            # All counters of a process are from the same scrapes, so that they fit together; a copy may lag behind.
            use = free & seen[row]
            merged[stream, use], source[stream, use] = values[row, use], row
            free &= ~_spanned(seen[row])
    return Streams(
        labels=[labels[several[0]] for _, several in streams],
        targets=[target for target, _ in streams],
        values=merged,
        rows=source,
        members=[several for _, several in streams],
        copies=tuple(dict.fromkeys(copies)),
        renamed=tuple(dict.fromkeys(renamed)),
    )


class _Scraped:
    """The series of a pod that have the same labels of targets."""

    def __init__(
        self,
        identity: frozenset[tuple[str, str]],
        rows: list[int],
        labels: Sequence[dict[str, str]],
        values: Floats,
        names: frozenset[str],
        process_start: str | None,
    ) -> None:
        self.identity = identity
        self.rows = {frozenset((k, v) for k, v in labels[row].items() if k not in names): row for row in rows}
        self.counters = {
            key: values[row]
            for key, row in self.rows.items()
            if labels[row].get("__name__") != process_start and not labels[row].get("__name__", "").endswith("_sum")
        }
        gauges = [values[row] for row in rows if labels[row].get("__name__") == process_start]
        self.start = gauges[0] if gauges else None
        self.seen: Flags = np.logical_or.reduce(~np.isnan(values[rows]))
        self.weight = int(self.seen.sum())

    def is_process_of(self, other: "_Scraped") -> bool:
        """Whether both are one process: one follows the other, or both have the same counts at the same time."""
        both = self.seen & other.seen
        if both.sum() <= 1:
            return True
        same_start = False
        if self.start is not None and other.start is not None:
            if _shared_starts(self.start, other.start) > 1:
                return True
            apart = np.abs(self.start - other.start)[both]
            same = np.flatnonzero(both)[apart <= CLOCK_JITTER]
            if 2 * len(same) < np.isfinite(apart).sum():
                return False
            same_start = bool(len(same))
        same_address = dict(self.identity).get("instance") == dict(other.identity).get("instance")
        near = NEAR_SAME if same_address else NEAR
        compared = violated = steps = 0
        for key in self.counters.keys() & other.counters.keys():
            low, high = _neighbours(other.counters[key], near)  # which was scraped no less often
            mine = self.counters[key]
            use = both & ~np.isnan(other.counters[key]) & ~np.isnan(mine) & ~_near_falls(other.counters[key], near)
            compared += int(use.sum())
            violated += int(((mine < low) | (mine > high))[use].sum())
            steps += int((np.diff(mine[use]) > 0).sum())
        if not compared:
            return same_start or same_address
        fewest = 0 if same_address else 1 if same_start else FEWEST_STEPS
        return violated <= MOST_VIOLATIONS * compared and steps >= fewest


def _shared_starts(some: Floats, others: Floats) -> int:
    """Return how many starts of processes both name, one of which may lag behind the other."""
    mine, theirs = (np.unique(starts[~np.isnan(starts)]) for starts in (some, others))
    shared = mine[(np.abs(mine[:, np.newaxis] - theirs) <= CLOCK_JITTER).any(axis=1)]
    return int((np.diff(shared) > CLOCK_JITTER).sum()) + bool(len(shared))


def _neighbours(values: Floats, near: int) -> tuple[Floats, Floats]:
    """Return the least and the greatest value near each moment; unlimited near the first and the last that is known."""
    padded = np.pad(values, near, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * near + 1)
    low, high = np.fmin.reduce(windows, axis=1), np.fmax.reduce(windows, axis=1)
    known = np.flatnonzero(~np.isnan(values))
    if len(known):
        low[: known[0] + near], high[max(0, known[-1] + 1 - near) :] = -np.inf, np.inf
    return low, high


def _spanned(seen: Flags) -> Flags:
    """Return the moments from which no other sample is needed: those with one, and those between two that are near."""
    indices = np.flatnonzero(seen)
    spanned = seen.copy()
    for before, after in pairwise(indices):
        if after - before <= NEAR_SAME:
            spanned[before:after] = True
    return spanned


def _near_falls(values: Floats, near_: int) -> Flags:
    """Return which moments are near one at which a counter was reset."""
    near = np.zeros(len(values), dtype=bool)
    known = np.flatnonzero(~np.isnan(values))
    for fall in known[1:][np.diff(values[known]) < 0]:
        near[max(0, fall - near_) : fall + near_ + 1] = True
    return near


def _processes(scraped: Iterable[_Scraped]) -> list[list[_Scraped]]:
    """Put together the targets of a pod that are one process, the best known first."""
    processes: list[list[_Scraped]] = []
    for target in scraped:
        fitting = [process for process in processes if all(target.is_process_of(other) for other in process)]
        if fitting:
            max(fitting, key=lambda process: max(len(target.identity & other.identity) for other in process)).append(
                target
            )
        else:
            processes.append([target])
    return processes


def _by_instrument(process: Sequence[_Scraped]) -> Iterator[list[int]]:
    """Yield the series of each counter of a process, of the best known target first."""
    by_key: dict[frozenset[tuple[str, str]], list[int]] = {}
    for target in process:
        for key, row in target.rows.items():
            by_key.setdefault(key, []).append(row)
    yield from by_key.values()


def _part(labels: Mapping[str, str], names: frozenset[str]) -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in labels.items() if name in names)


def _metrics(labels: Sequence[dict[str, str]], rows: Iterable[int]) -> set[str | None]:
    return {labels[row].get("__name__") for row in rows}


def _target_labels(labels: Sequence[dict[str, str]], process_start: str | None) -> frozenset[str]:
    """Return the labels that targets have: those of the metric that has none of its own, or the usual ones."""
    on_gauges = {name for own in labels if own.get("__name__") == process_start for name in own}
    return frozenset(on_gauges - {"__name__"} or SCRAPING_LABELS)


def _grouped(
    labels: Sequence[dict[str, str]], rows: Iterable[int], names: frozenset[str]
) -> dict[frozenset[tuple[str, str]], list[int]]:
    """Group series by the labels of their targets."""
    targets: dict[frozenset[tuple[str, str]], list[int]] = {}
    for row in rows:
        targets.setdefault(_part(labels[row], names), []).append(row)
    return targets


def _of_groups(labels: Sequence[dict[str, str]], groups: Collection[Sequence[int]]) -> frozenset[str]:
    """Return the labels that have one value, or none, in all series of each target, but not in those of all targets."""
    several: dict[str, set[frozenset[str]]] = {}
    for rows in groups:
        for name in {name for row in rows for name in labels[row]}:
            several.setdefault(name, set())
    for rows in groups:
        for name, values in several.items():
            values.add(frozenset(labels[row].get(name, "") for row in rows))
    of_one = {name for name, values in several.items() if all(len(value) == 1 for value in values) and len(values) > 1}
    return frozenset(of_one - {"__name__", "le"})


def _added_later(labels: Sequence[dict[str, str]], rows: Sequence[int], values: Floats) -> frozenset[str]:
    """Return the labels that the series of a metric have from some time on, or up to it, and not before or after.

    A client library gives a label to all series of a metric, or to none.
    """
    by_metric: dict[str, list[int]] = {}
    for row in rows:
        by_metric.setdefault(labels[row].get("__name__", ""), []).append(row)
    added = set()
    for several in by_metric.values():
        names = [frozenset(labels[row]) for row in several]
        for name in frozenset[str]().union(*names) - names[0].intersection(*names):
            seen = ~np.isnan(values[several])
            has = np.array([name in own for own in names])
            with_, without = seen[has].any(axis=0), seen[~has].any(axis=0)
            if (with_ & without).sum() <= 1 and _follow(with_, without):
                added.add(name)
    return frozenset(added)


def _follow(some: Flags, others: Flags) -> bool:
    """Whether all that is set in one begins when the other ends."""
    (first, last), (begin, end) = (
        (np.flatnonzero(flags)[[0, -1]] if flags.any() else (0, 0)) for flags in (some, others)
    )
    return bool(first >= end or begin >= last)
