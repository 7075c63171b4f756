"""How a past is split into a pretend canary and a baseline, which are the same but for chance."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self, assert_never

import numpy as np

from analyzer.model.counts import (
    Classes,
    Conversions,
    Counts,
    Errors,
    Floats,
    Histogram,
    MeanOnly,
    Pod,
    Reading,
    Values,
    cut,
    requests_by_slice,
    summed,
    together,
)
from analyzer.model.findings import Code, Gap
from analyzer.planning.past import MINUTE, Past
from analyzer.sources.slicing import MOST_SLICES

FEWEST_PODS = 3  # one for the canary, and two that can be compared


class Dealing(StrEnum):
    """By what requests are dealt to the arms."""

    REQUESTS = "requests"
    PODS = "pods"
    TIME = "time"

    @property
    def shows(self) -> str:
        """What false alarms of this split do and do not show."""
        match self:
            case Dealing.REQUESTS:
                return "arms that share every change in time; not pods that differ, nor arms that wander apart"
            case Dealing.PODS:
                return "a canary of whole pods of the baseline, as far as pods differ; not versions that wander apart"
            case Dealing.TIME:
                return "arms that wander apart, the canary's counts being those of the time after; also the time of day"
            case _:
                assert_never(self)


@dataclass(frozen=True)
class Arm:
    """One pretend arm: counts of a check, and of its pods where they are known."""

    counts: Counts
    pods: tuple[Pod[Counts], ...] = ()

    def first(self, minutes: int, step: int) -> "Arm":
        """Return the first minutes, so many together."""
        return Arm(together(cut(self.counts, 0, minutes), step), _cut_pods(self.pods, 0, minutes, step))


@dataclass(frozen=True)
class PretendRollout:
    """A pretend rollout: a piece of the past, split in two.

    Attributes
    ----------
    begin : minute of the past in which it begins
    before : minutes of the past that are its history
    arms : canary and baseline by name of the check
    """

    past: Past
    begin: int
    before: int
    arms: Mapping[str, tuple[Arm, Arm]]

    @classmethod
    def drawn(
        cls, past: Past, split: Dealing, length: int, share: float, rng: np.random.Generator, history: int,
        clusters: Mapping[str, float],
    ) -> Self:  # fmt: skip
        """Draw when it begins, and which requests reach the canary.

        Parameters
        ----------
        length, history : in minutes
        share : of the requests that go to the canary, in (0, 1); of whole pods the nearest number, at least one
        clusters : how many events of each check go to one arm together; 1 where it is not named
        """
        begin, shift = int(rng.integers(min(history, past.minutes - length), past.minutes - length + 1)), 0
        if split is Dealing.TIME and begin + 2 * length <= past.minutes:
            shift = length
        elif split is Dealing.TIME:
            begin, shift = max(begin, length), -length
        end, before = begin + length, min(history, begin)
        if split is Dealing.PODS:
            return cls(past, begin, before, _by_pods(past, begin, end, share, rng))
        arms = {}
        for name, counts in past.by_check.items():
            if isinstance(counts, Gap):
                continue
            cluster = clusters.get(name, 1.0)
            ours, theirs = thin(cut(counts, begin, end), share, rng, cluster)
            if shift:
                ours, _ = thin(cut(counts, begin + shift, end + shift), share, rng, cluster)
            arms[name] = Arm(ours), Arm(theirs)
        return cls(past, begin, before, arms)

    def reading(self, name: str, minutes: int) -> Reading[Counts] | Gap:
        """Return what a source would read for a check after so many minutes, or why it would not."""
        counts = self.past.by_check[name]
        if isinstance(counts, Gap):
            return counts
        if name not in self.arms:
            return Gap(Code.UNDECIDED, "too few pods had traffic to be split")
        step = 1
        while minutes / step > MOST_SLICES:
            step *= 2
        ours, theirs = (arm.first(minutes, step) for arm in self.arms[name])
        first = self.begin - self.before
        return Reading(
            canary=ours.counts,
            baseline=theirs.counts,
            slice_seconds=step * MINUTE,
            begin=self.past.begin + self.begin * MINUTE,
            history=cut(counts, first, self.begin) if self.before else None,
            history_seconds=MINUTE,
            canary_pods=ours.pods,
            baseline_pods=theirs.pods,
            history_pods=_cut_pods(self.past.pods[name], first, self.begin) if theirs.pods and self.before else (),
        )


def _cut_pods(pods: tuple[Pod[Counts], ...], begin: int, end: int, step: int = 1) -> tuple[Pod[Counts], ...]:
    return tuple(replace(pod, counts=together(cut(pod.counts, begin, end), step)) for pod in pods)


def possible(split: Dealing, past: Past, length: int) -> bool:
    """Whether a past can be split so for rollouts of so many minutes."""
    if split is Dealing.PODS:
        return any(len(pods) >= FEWEST_PODS for pods in past.pods.values())
    return split is Dealing.REQUESTS or past.minutes >= 2 * length


def _summed(pods: tuple[Pod[Counts], ...]) -> Arm:
    return Arm(summed([pod.counts for pod in pods]), pods)


def _by_pods(
    past: Past, begin: int, end: int, share: float, rng: np.random.Generator
) -> dict[str, tuple[Arm, Arm]]:  # fmt: skip
    """Let whole pods that serve be the canary, the same for every check; none where there are too few."""
    serving = {name: _cut_pods(pods, begin, end) for name, pods in past.pods.items()}
    names = sorted({pod.name for pods in serving.values() for pod in pods if requests_by_slice(pod.counts).any()})
    if len(names) < FEWEST_PODS:
        return {}
    number = min(max(1, round(share * len(names))), len(names) - 2)
    chosen = set(rng.choice(names, number, replace=False).tolist())
    arms = {}
    for name, pods in serving.items():
        ours, theirs = (tuple(pod for pod in pods if (pod.name in chosen) == canary) for canary in (True, False))
        if ours and theirs:
            arms[name] = _summed(ours), _summed(theirs)
    return arms


def thin(counts: Counts, share: float, rng: np.random.Generator, cluster: float = 1.0) -> tuple[Counts, Counts]:
    """Split counts slice by slice; both parts add up to what there was.

    Parameters
    ----------
    counts : of the service
    share : of the requests that go to the canary, in (0, 1)
    cluster : how many events go to one arm together, at least 1: dealt one by one, events that came in clusters would
        be independent in either arm, and false alarms would be missed

    Returns
    -------
    Counts of canary and baseline, of the same type and shape.

    Notes
    -----
    Of values only sum, sum of squares and number are known: the canary's sum is drawn from the normal law that a draw
    without replacement from the slice has in the limit, with its mean and variance; the squares are split by number. Of
    latencies only sum and number are known: they are taken to vary as exponential ones do.
    A fraction of a count, as a server's extrapolation gives it, goes to one arm as a whole.
    """
    match counts:
        case Errors(errors, requests):
            ours = _of_two(errors, requests, share, rng, cluster)
            return Errors(*ours), Errors(errors - ours[0], requests - ours[1])
        case Conversions(successes, trials):
            ours = _of_two(successes, trials, share, rng, cluster)
            return Conversions(*ours), Conversions(successes - ours[0], trials - ours[1])
        case Histogram(edges, bins, exact):
            part = _drawn(bins, share, rng, cluster)
            return Histogram(edges, part, exact), Histogram(edges, bins - part, exact)
        case Classes(names, bins):
            part = _drawn(bins, share, rng, cluster)
            return Classes(names, part), Classes(names, bins - part)
        case Values(total, squares, count):
            canary = _values(counts, share, rng)
            left = None if squares is None or canary.squares is None else squares - canary.squares
            return canary, Values(total - canary.total, left, count - canary.count)
        case MeanOnly(total, count):
            drawn = _drawn(count, share, rng)
            mine = total * _part_of_the_sum(drawn, count - drawn, rng)
            return MeanOnly(mine, drawn), MeanOnly(total - mine, count - drawn)
        case _:
            assert_never(counts)


def _drawn(counts: Floats, share: float, rng: np.random.Generator, cluster: float = 1.0) -> Floats:
    """Draw how many of each count go to the canary, so many at a time."""
    size = max(round(cluster), 1)
    clusters = np.floor(counts / size)
    part = size * rng.binomial(clusters.astype(np.int64), share).astype(float)
    fraction = counts - size * clusters
    return np.asarray(part + fraction * (rng.random(counts.shape) < share)) if fraction.any() else part


def _of_two(
    events: Floats, trials: Floats, share: float, rng: np.random.Generator, cluster: float
) -> tuple[Floats, Floats]:
    """Draw trials with their events; events beyond the trials of a slice, counted late, are drawn by themselves."""
    both = np.minimum(events, trials)
    with_event = _drawn(both, share, rng, cluster)
    without = _drawn(trials - both, share, rng)
    return with_event + _drawn(events - both, share, rng), with_event + without


def _part_of_the_sum(ours: Floats, theirs: Floats, rng: np.random.Generator) -> Floats:
    """Draw which part of a sum so many of its values make up, were they exponential."""
    drawn = rng.beta(np.maximum(ours, 1e-9), np.maximum(theirs, 1e-9))
    return np.where(ours <= 0, 0.0, np.where(theirs <= 0, 1.0, drawn))


def _values(arm: Values, share: float, rng: np.random.Generator) -> Values:
    count = _drawn(arm.count, share, rng)
    size = np.maximum(arm.count, 1e-300)
    mean, part = arm.total / size, count / size
    spread = rng.standard_normal(len(count))
    if arm.squares is None:
        return Values(mean * count, None, count)
    variance = np.maximum(arm.squares / size - mean**2, 0.0)
    deviation = np.sqrt(count * variance * np.clip((arm.count - count) / np.maximum(arm.count - 1, 1.0), 0.0, 1.0))
    return Values(mean * count + deviation * spread, arm.squares * part, count)
