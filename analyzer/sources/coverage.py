"""When the pods of an arm were there and seen: both arms are counted over the same time, and one life of the canary."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from analyzer.model.counts import Floats
from analyzer.sources.counters import Flags, Indices
from analyzer.sources.timeline import slices_apart

BETWEEN_LIVES = 90.0  # seconds without a pod of the canary, after which other pods are another life of it

IN_USE = 0.1  # of its usual requests, which the baseline has at least while it is the only one in use


class LaterLife(Exception):
    """Other pods were the canary before those that are it now, in Unix seconds; counting must begin with the latter."""

    def __init__(self, ended: float, began: float) -> None:
        super().__init__(ended, began)
        self.ended, self.began = ended, began


@dataclass(frozen=True)
class Presence:
    """Where one process has samples.

    Attributes
    ----------
    arm, pod : that it belongs to
    seen : whether there is a sample at the window's start and in each slice; shape (1 + slices,)
    new : whether all that it counted belongs to the window
    runs : first and last index in `seen` of each time that it was there, parted where it came back as a new process
    """

    arm: str
    pod: str
    seen: Flags
    new: bool
    runs: tuple[tuple[int, int], ...]


def interrupted(processes: Sequence[Presence], arms: Iterable[str], longest: float) -> Indices:
    """Return for each slice the one that its counts belong to, because an arm was not observed until then.

    What an arm counts while it is not observed is known only with its next sample, and must be compared with what the
    other counted in all of this time.

    Parameters
    ----------
    processes : of all arms
    arms : that are compared
    longest : slices without a sample that are usual
    """
    points = len(processes[0].seen)
    belongs = np.arange(points - 1)
    for arm in arms:
        seen = np.zeros(points, dtype=bool)
        for process in processes:
            if process.arm == arm:
                seen |= process.seen
        known = np.flatnonzero(seen)
        for before, after in pairwise(known):
            if after - before - 1 >= longest + 1:
                belongs[before : after - 1] = np.maximum(belongs[before : after - 1], after - 1)
    for slice_ in range(len(belongs) - 2, -1, -1):
        if belongs[slice_] > slice_:
            belongs[slice_] = belongs[belongs[slice_]]
    return belongs


def covered_from(processes: Sequence[Presence], arms: Iterable[str]) -> int:
    """Return the first slice in which every arm is counted: one whose processes are all older begins with a sample."""
    first = 0
    for arm in arms:
        mine = [process for process in processes if process.arm == arm and process.seen.any()]
        if mine and not any(process.new for process in mine):
            first = max(first, min(int(np.argmax(process.seen)) for process in mine))
    return first


def over_the_same_time(growth: Floats, processes: Sequence[Presence], arms: Sequence[str]) -> tuple[Floats, int]:
    """Return the growth in slices in which every arm was observed, and the first of these; shape (series, slices)."""
    seen = np.array([process.seen for process in processes])
    first = covered_from(processes, arms)
    return moved(growth, interrupted(processes, arms, slices_apart(seen[:, 1:])), first), first


def left_out(first: int, step: float) -> tuple[str, ...]:
    """Return a note where counting begins with a later slice than the first."""
    return (f"the first {first * step:.0f} s are left out: not every arm was observed in them",) if first else ()


def moved(growth: Floats, belongs: Indices, first: int) -> Floats:
    """Return the growth in the slices that it belongs to, without that before the first one; shape (series, slices)."""
    if first == 0 and (belongs == np.arange(len(belongs))).all():
        return growth
    result = np.zeros_like(growth)
    np.add.at(result.T, belongs[first:], growth.T[first:])
    return result


def changeover(processes: Sequence[Presence], arm: str, step: float) -> tuple[int, int] | None:
    """Return the indices before and after which different pods of an arm were seen, with a gap between them.

    Returns
    -------
    The last index of the earlier pods and the first of those that are there now; None: there was one life.
    """
    spans: dict[str, tuple[int, int]] = {}
    for process in (process for process in processes if process.arm == arm):
        for part, run in enumerate(process.runs):
            name = f"{process.pod} {part}"
            first, last = spans.get(name, (run[0], run[1]))
            spans[name] = min(first, run[0]), max(last, run[1])
    others = [process.seen for process in processes if process.arm != arm]
    best, ended = None, -1
    for first, last in sorted(spans.values()):
        if 0 <= ended <= first and (first - ended + 1) * step > BETWEEN_LIVES:
            between = slice(ended + 2, first - 1)
            # Where nobody was seen, that was an outage of Prometheus.
            if first - ended <= 3 or not others or any(seen[between].any() for seen in others):
                best = ended, first
        ended = max(ended, last)
    return best


def idle_between(
    processes: Sequence[Presence], counted: Callable[[str], Floats], arms: tuple[str, ...], step: float
) -> tuple[int, int] | None:
    """Return the indices between which an old version, which is the canary now, had no traffic.

    A version that was there before the baseline was the stable one then, up to the time in which it had no traffic
    while the baseline had.

    Parameters
    ----------
    processes : of all arms
    counted : gives what an arm counted in each slice; shape (slices,)
    arms : the canary and the baseline
    step : seconds of a slice

    Returns
    -------
    The last index with traffic before, and the one after which it came back; None: it was never the stable version.
    """
    firsts = {
        arm: min(
            (int(np.argmax(process.seen)) for process in processes if process.arm == arm and process.seen.any()),
            default=-1,
        )
        for arm in arms
    }
    if len(arms) < 2 or min(firsts.values()) < 0 or (firsts[arms[1]] - firsts[arms[0]]) * step < BETWEEN_LIVES:
        return None
    canary, baseline = map(counted, arms)
    idle = (canary <= 0) & (np.arange(len(canary)) >= firsts[arms[1]])
    borders = np.flatnonzero(np.diff(np.concatenate([[False], idle, [False]]).astype(int)))
    for begin, end in borders.reshape(-1, 2).tolist():
        used = baseline[begin:end].mean() > IN_USE * baseline.mean() and canary[:begin].sum() > 0
        if used and (end - begin) * step >= BETWEEN_LIVES and canary[end:].sum() > 0:
            return begin, end
    return None


def lives_between(times: Floats) -> tuple[float, float] | None:
    """Return the last moment of the earlier life and the first of the present one, given the samples of all pods."""
    times = np.unique(times)
    gaps = np.flatnonzero(np.diff(times) > BETWEEN_LIVES)
    return (float(times[gaps[-1]]), float(times[gaps[-1] + 1])) if len(gaps) else None
