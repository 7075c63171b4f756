"""What a source that reads only the present remembers of the past: counts at each reading, for the dispersion.

It is kept in memory and bounded; a restart loses it, and the notes of a reading say how much there is.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeVar

import numpy as np

from analyzer.model.counts import Classes, Counts, Floats, Histogram, Reading, Values, by_slice
from analyzer.quantity import format_seconds

MOST_SUBJECTS = 200  # kinds of metrics of services
MOST_SNAPSHOTS = 1440  # of each
LEAST_APART = 15.0  # seconds: the next reading replaces one that is closer
FEWEST_SLICES = 2
UNEVEN = 1.5  # times the usual distance between two readings, beyond which a slice is left out

C = TypeVar("C", bound=Counts)


@dataclass(frozen=True)
class Snapshot:
    """Cumulative counts of an arm at one moment, and the processes that they are of."""

    at: float
    processes: Hashable
    counts: Counts


@dataclass
class Memory:
    """Snapshots by subject; safe to use from several threads."""

    _kept: OrderedDict[Hashable, deque[Snapshot]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        """Return how many subjects are remembered."""
        return len(self._kept)

    def add(self, subject: Hashable, snapshot: Snapshot, seconds: float) -> list[Snapshot]:
        """Remember a snapshot, and return those of the last so many seconds, oldest first."""
        with self._lock:
            kept = self._kept.setdefault(subject, deque(maxlen=MOST_SNAPSHOTS))
            self._kept.move_to_end(subject)
            while len(self._kept) > MOST_SUBJECTS:
                self._kept.popitem(last=False)
            if not kept or snapshot.at - kept[-1].at >= LEAST_APART:
                kept.append(snapshot)
            return [earlier for earlier in kept if earlier.at >= snapshot.at - seconds]


def with_memory(reading: Reading[C], snapshots: list[Snapshot]) -> Reading[C]:
    """Add to a reading what the baseline counted between earlier readings, as its history."""
    pairs = [(before, after) for before, after in pairwise(snapshots) if before.processes == after.processes]
    apart = float(np.median([after.at - before.at for before, after in pairs])) if pairs else 0.0
    grown = [
        slice_
        for before, after in pairs
        if after.at - before.at <= UNEVEN * apart and (slice_ := _difference(before.counts, after.counts))
    ]
    if len(grown) < FEWEST_SLICES:
        note = "no history yet: this source remembers what it reads, and a restart forgets it"
        return replace(reading, notes=(*reading.notes, note))
    history = _joined(grown)
    note = f"history of {format_seconds(apart * len(grown))} in memory"
    return replace(reading, history=history, history_seconds=apart, notes=(*reading.notes, note))  # type: ignore[arg-type]


def _difference(before: Counts, after: Counts) -> Counts | None:
    """Subtract cumulative counts; None where they cannot be compared, or something fell."""
    if type(before) is not type(after) or not _same_bins(before, after):
        return None
    earlier, later = by_slice(before), by_slice(after)
    if earlier.keys() != later.keys():
        return None
    parts: dict[str, Floats] = {name: later[name] - earlier[name] for name in later}
    may_fall = ("total",) if isinstance(after, Values) else ()
    if any((part < 0).any() for name, part in parts.items() if name not in may_fall):
        return None
    return replace(after, **parts)  # type: ignore[arg-type]  # a union of dataclasses, each with its own fields


def _same_bins(before: Counts, after: Counts) -> bool:
    match before, after:
        case (Histogram(), Histogram()):
            return np.array_equal(before.edges, after.edges)
        case (Classes(), Classes()):
            return before.names == after.names
        case _:
            return True


def _joined(slices: list[Counts]) -> Counts:
    """Put slices one after another, those with the bins and parts of the last."""
    last = slices[-1]
    alike = [
        counts for counts in slices if _same_bins(counts, last) and by_slice(counts).keys() == by_slice(last).keys()
    ]
    parts = {name: np.concatenate([by_slice(counts)[name] for counts in alike]) for name in by_slice(last)}
    return replace(last, **parts)  # type: ignore[arg-type]
