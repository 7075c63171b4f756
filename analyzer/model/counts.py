"""What a source reads: counts of one arm in time slices, of each kind, and the readings of both arms; all frozen.

Knows no HTTP, no file and no clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from analyzer.model.findings import Gap
from analyzer.stats import split

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Requests of one arm and how many of them failed; arrays of shape (slices,).

    `doubtful` are further ones of which it is not known whether they failed: a pass counts them as failed, a fail does
    not; None: there are none.
    """

    errors: Floats
    requests: Floats
    doubtful: Floats | None = None


@dataclass(frozen=True)
class Histogram:
    """Observations of one arm in bins.

    Attributes
    ----------
    edges : upper edges of the bins, ascending, the last one infinite; shape (bins,)
    counts : observations in (previous edge, edge], not cumulative; shape (slices, bins)
    exact : the counts come from single samples, whose values are the edges: nothing is lost to bins
    """

    edges: Floats
    counts: Floats
    exact: bool = False


@dataclass(frozen=True)
class Classes:
    """Predictions of one arm by class; `counts` has the shape (slices, classes)."""

    names: tuple[str, ...]
    counts: Floats


@dataclass(frozen=True)
class Conversions:
    """Trials of one arm and how many succeeded; arrays of shape (slices,)."""

    successes: Floats
    trials: Floats


@dataclass(frozen=True)
class Values:
    """Values of one arm: sum, sum of squares and number; arrays of shape (slices,).

    `squares` is an upper bound where only a histogram is known, and None where not even that.
    """

    total: Floats
    squares: Floats | None
    count: Floats


@dataclass(frozen=True)
class MeanOnly:
    """Latency of one arm of which only sum (seconds) and count are known; arrays of shape (slices,)."""

    total: Floats
    count: Floats


Counts = Errors | Histogram | Classes | Conversions | Values | MeanOnly


def by_slice(counts: Counts) -> dict[str, Floats]:
    """Give the arrays that have one row a time slice, by name: all but the edges of a histogram."""
    named = {field.name: getattr(counts, field.name) for field in fields(counts)}
    return {name: value for name, value in named.items() if isinstance(value, np.ndarray) and name != "edges"}


def requests_by_slice(counts: Counts) -> Floats:
    """Give how many requests, predictions or values each time slice has; shape (slices,)."""
    match counts:
        case Errors():
            return counts.requests
        case Conversions():
            return counts.trials
        case Values() | MeanOnly():
            return counts.count
        case Histogram() | Classes():
            return np.asarray(counts.counts.sum(axis=1))


C_co = TypeVar("C_co", bound=Counts, covariant=True)
C = TypeVar("C", bound=Counts)


def cut(counts: C, first: int, last: int) -> C:
    """Cut out the slices from `first` up to and without `last`."""
    parts = {name: value[first:last] for name, value in by_slice(counts).items()}
    return replace(counts, **parts)  # type: ignore[arg-type]  # a union of dataclasses, each with its own fields


def together(counts: C, slices: int) -> C:
    """Put so many neighbouring slices together; the last may hold fewer."""
    parts = {
        name: np.add.reduceat(value, np.arange(0, len(value), slices), axis=0)
        for name, value in by_slice(counts).items()
    }
    return replace(counts, **parts)  # type: ignore[arg-type]


def where(counts: C, kept: NDArray[np.bool_]) -> C:
    """Return the counts with zeros in the slices that are not kept; shape (slices,)."""
    parts = {name: value * kept.reshape(-1, *[1] * (value.ndim - 1)) for name, value in by_slice(counts).items()}
    return replace(counts, **parts)  # type: ignore[arg-type]


def summed(several: Sequence[C]) -> C:
    """Return the sum of counts in the same slices, bins and classes; at least one."""
    first, *others = several
    parts = {
        name: np.sum([value, *(by_slice(other)[name] for other in others)], axis=0)
        for name, value in by_slice(first).items()
    }
    return replace(first, **parts)


@dataclass(frozen=True)
class Pod(Generic[C_co]):
    """What one pod of an arm counted, in the slices of the reading that it is part of.

    Attributes
    ----------
    name : of the pod, or of the scrape target where there is no label for it
    counts : of this pod alone
    start : when its process started or its first sample was, in Unix seconds; None: before the first slice, or unknown
    restarts : how often its process started again within the slices
    """

    name: str
    counts: C_co
    start: float | None = None
    restarts: int = 0


@dataclass(frozen=True)
class Routed:
    """Requests that a router or mesh sent to the pods, and those that the pods counted.

    Arrays of shape (2, slices), the canary first, in the slices that the source read: neither warm-up nor lag is left
    out of them.
    """

    sent: Floats
    counted: Floats

    def first(self, slices: int) -> "Routed":
        """Keep so many slices from the start."""
        return Routed(self.sent[:, :slices], self.counted[:, :slices])

    def together(self, slices: int) -> "Routed":
        """Put so many neighbouring slices together; the last may hold fewer."""
        starts = np.arange(0, self.sent.shape[1], slices)
        return Routed(np.add.reduceat(self.sent, starts, axis=1), np.add.reduceat(self.counted, starts, axis=1))


def first_of(pods: tuple[Pod[C], ...], slices: int) -> tuple[Pod[C], ...]:
    """Return the pods with so many slices from the start."""
    return tuple(replace(pod, counts=cut(pod.counts, 0, slices)) for pod in pods)


@dataclass(frozen=True)
class Reading(Generic[C_co]):
    """What a source read for one check: both arms at the same moments, in time slices, oldest first.

    Attributes
    ----------
    canary, baseline : counts of the same type and shape; None: the source knows nothing of this arm
    slice_seconds : length of each slice (the last may be shorter); None when there is only one
    begin : when the first slice began, in Unix seconds; None: not known
    last_seconds : length of the last slice; None: as the others
    scrape_seconds : about how far apart the samples of a pod are: a request may be counted so much after it was
        served, and so in a later slice; None: each slice counts its own requests
    left_out : slices before the first one that a warm-up excludes
    history : the baseline before the canary, in slices of `history_seconds`; None: not known
    canary_pods, baseline_pods : the pods of each arm, whose counts add up to the arm's; empty: not known
    history_pods : the same for the history
    routed : the requests of both arms as a router or mesh saw them; None: not known
    notes : what the reader of the verdict should know about how the counts were read
    """

    canary: C_co | None
    baseline: C_co | None
    slice_seconds: float | None = None
    begin: float | None = None
    last_seconds: float | None = None
    scrape_seconds: float | None = None
    left_out: int = 0
    history: C_co | None = None
    history_seconds: float | None = None
    canary_pods: tuple[Pod[C_co], ...] = ()
    baseline_pods: tuple[Pod[C_co], ...] = ()
    history_pods: tuple[Pod[C_co], ...] = ()
    routed: Routed | None = None
    notes: tuple[str, ...] = ()

    @property
    def slices(self) -> int:
        """How many time slices there are."""
        arm = self.canary if self.canary is not None else self.baseline
        return 0 if arm is None else len(requests_by_slice(arm))

    @property
    def seconds(self) -> float | None:
        """How long the slices last together, where it is said how long each does."""
        return self.slice_seconds * self.slices if self.slice_seconds and self.slices else None

    @cached_property
    def lengths(self) -> Floats | None:
        """Seconds of each slice, shape (slices,); None where they are not known."""
        if self.slice_seconds is None:
            return None
        seconds = np.full(self.slices, self.slice_seconds)
        if self.last_seconds is not None:
            seconds[-1] = self.last_seconds
        return seconds

    @cached_property
    def weight_change(self) -> int:
        """Index of the slice with which the present traffic split began; 0 where it is unknown or never changed."""
        if self.canary is None or self.baseline is None:
            return 0
        return split.last_change(
            requests_by_slice(self.canary),
            requests_by_slice(self.baseline),
            seconds=self.lengths,
            scrape_seconds=self.scrape_seconds,
        )

    @cached_property
    def present_requests(self) -> tuple[float, float] | None:
        """Requests of canary and baseline since the traffic split last changed; None without counts of both arms."""
        if self.canary is None or self.baseline is None:
            return None
        since = self.weight_change
        return float(requests_by_slice(self.canary)[since:].sum()), float(
            requests_by_slice(self.baseline)[since:].sum()
        )

    def ends(self) -> Floats:
        """Give the seconds from the begin of the first slice to the end of each; empty where they are not known."""
        if self.slice_seconds is None:
            return np.zeros(0)
        ends = self.slice_seconds * np.arange(1.0, self.slices + 1)
        if self.last_seconds is not None and self.slices:
            ends[-1] += self.last_seconds - self.slice_seconds
        return ends

    def first(self, slices: int) -> "Reading[C_co]":
        """Keep so many slices from the begin."""
        canary = None if self.canary is None else cut(self.canary, 0, slices)
        baseline = None if self.baseline is None else cut(self.baseline, 0, slices)
        last = self.last_seconds if slices >= self.slices else None
        return replace(
            self,
            canary=canary,
            baseline=baseline,
            last_seconds=last,
            canary_pods=first_of(self.canary_pods, slices),
            baseline_pods=first_of(self.baseline_pods, slices),
            routed=self.routed and self.routed.first(slices),
        )


@dataclass(frozen=True)
class Window:
    """The half-open segment of time [start, end) that was judged, in Unix seconds; None: not known."""

    start: float | None
    end: float | None

    @property
    def seconds(self) -> float | None:
        """Length in seconds, where both ends are known."""
        return None if self.start is None or self.end is None else self.end - self.start


@dataclass(frozen=True)
class Readings:
    """What a source read for one verdict: by name of the check, counts or the reason why there are none."""

    window: Window
    by_check: dict[str, Reading[Counts] | Gap]
    queries: tuple[str, ...] = ()
