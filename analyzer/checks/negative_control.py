"""The negative control of a rollback: pods of the baseline stand for canaries, and none of them should be proved bad.

Where the test that proves the canary bad proves pods of the baseline bad as well, each by itself, its assumptions do
not hold for this service, and its evidence against the canary counts only so far as it exceeds theirs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import xlogy

from analyzer.checks.one_arm import BadRequests
from analyzer.checks.segments import Segments
from analyzer.model.counts import Counts, Floats, Pod, Reading, first_of, requests_by_slice, summed
from analyzer.stats.search import Side, log_mean_exp

LOOKS = 6  # moments of the past at which its pods are judged
FEWEST_PODS = 2


@dataclass(frozen=True)
class Control:
    """What the same test says of pods of the baseline.

    Attributes
    ----------
    pods : how many there are beside the canary
    rank : of the canary among them and itself, 1 for the highest share of bad requests, in the segment judged
    log_evidence : of the pods on average, from the best moment of each; 0 where none is proved bad
    proved_bad : names of the pods that are
    """

    pods: int
    rank: int
    log_evidence: float = 0.0
    proved_bad: tuple[str, ...] = ()

    @property
    def p_value(self) -> float:
        """Probability of this rank or a higher one, were the canary one of the baseline's pods: exact."""
        return self.rank / (self.pods + 1)


class ChangeMeasure(Protocol):
    """The part of a measure (see `decision`) that a control needs."""

    @property
    def values(self) -> Floats:
        """Return the estimates since each start."""

    def log_evidence(self, limit: float, side: Side) -> Floats:
        """Return the log evidence since each start."""


Measuring = Callable[[Counts, Segments], BadRequests]
Comparing = Callable[[Counts, Counts, Segments], ChangeMeasure | None]
Moments = list[tuple[Sequence[Pod[Counts]], Segments]]  # pods with what they counted up to a moment
Judged = dict[str, tuple[float, float]]  # of each pod, the strongest log evidence, and how bad it is since a start


def control_of(
    reading: Reading[Counts], canary: BadRequests, measuring: Measuring, limit: float, level: float, start: int
) -> Control | None:
    """Judge the baseline's pods as if each were the canary; None where fewer than two are known.

    Parameters
    ----------
    reading : with the pods of the baseline, during the rollout and before it
    canary : the measure of the canary
    measuring : measures a pod's counts in segments of its own
    limit : beyond which the canary is proved to be
    level : of the canary's failing; each pod is judged at its part of it
    start : number of the start since which the canary is judged

    Notes
    -----
    Pods are left out of segments in which the rest of the baseline is beyond the limit as well: an incident of the
    service says nothing of the assumptions. Where a simple bound shows that no pod can be proved bad, none is judged.
    """

    def possible(pods: Sequence[Pod[Counts]], segments: Segments) -> bool:
        measures = [measuring(pod.counts, segments) for pod in pods]
        return any(_most(measure, limit) >= -math.log(level) for measure in measures)

    moments = _moments(reading)
    near = any(possible(*each) for each in ((reading.baseline_pods, canary.segments), *moments))

    def judged(pods: Sequence[Pod[Counts]], segments: Segments, since: int) -> Judged:
        measures = {pod.name: measuring(pod.counts, segments) for pod in pods}
        strongest = _evidence(measures, limit) if near else {}
        return {name: (strongest.get(name, -math.inf), _share(measures[name], limit, since)) for name in measures}

    ours = _share(canary, limit, start)
    return _control(reading, canary.segments, judged, ours, level, start, moments if near else [])


def control_of_comparison(
    reading: Reading[Counts], canary: ChangeMeasure, comparing: Comparing, worse: Side, segments: Segments
) -> Callable[[float, float, int], Control | None]:
    """Return what compares each pod of the baseline with the others, as the canary is with all, given limit and start.

    Parameters
    ----------
    canary : the measure of the canary in the segments, of which the side `worse` of a limit is bad
    comparing : measures the change of a pod's counts against the others'; None: never traffic at the same time

    Returns
    -------
    A function of limit, level and number of the start, as in `control_of`.
    """
    sign = 1.0 if worse == "above" else -1.0

    def judged(pods: Sequence[Pod[Counts]], of: Segments, start: int, limit: float) -> Judged:
        by_pod: Judged = {}
        for pod in pods:
            others = summed([other.counts for other in pods if other is not pod])
            if not (requests_by_slice(pod.counts).any() and requests_by_slice(others).any()):
                continue
            if (measure := comparing(pod.counts, others, of)) is not None:
                with np.errstate(divide="ignore"):
                    evidence = measure.log_evidence(limit, worse) + np.log(of.starts.weights)
                strongest = float(np.where(np.isnan(evidence), -math.inf, evidence).max())
                by_pod[pod.name] = strongest, float(np.nan_to_num(sign * measure.values[start], nan=-math.inf))
        return by_pod

    def control(limit: float, level: float, start: int) -> Control | None:
        return _control(
            reading, segments, lambda pods, of, since: judged(pods, of, since, limit),
            sign * float(canary.values[start]), level, start, _moments(reading),
        )  # fmt: skip

    return control


def _control(
    reading: Reading[Counts],
    segments: Segments,
    judged: Callable[[Sequence[Pod[Counts]], Segments, int], Judged],
    ours: float,
    level: float,
    start: int,
    moments: Moments,
) -> Control | None:
    """Judge the pods during the rollout and at moments of the past, and rank the canary among them."""
    pods = [pod for pod in reading.baseline_pods if requests_by_slice(pod.counts).any()]
    if len(pods) < FEWEST_PODS:
        return None
    beside = judged(pods, segments, start)
    rank = 1 + sum(badness >= ours for _, badness in beside.values())
    strongest = {name: evidence for name, (evidence, _) in beside.items()}
    for past, before in moments:
        for name, (evidence, _) in judged(past, before, 0).items():
            strongest[name] = max(strongest.get(name, -math.inf), evidence)
    needed = -math.log(level) + math.log(max(len(strongest), 1))
    proved = tuple(sorted(name for name, evidence in strongest.items() if evidence >= needed))
    if not proved:
        return Control(len(pods), rank)
    average = float(log_mean_exp(np.array(list(strongest.values()))))
    return Control(len(pods), rank, max(average, 0.0), proved)


def _moments(reading: Reading[Counts]) -> Moments:
    """Return the pods of the past up to several moments, with the segments until then."""
    if reading.history is None or len(reading.history_pods) < FEWEST_PODS:
        return []
    past = Reading(reading.history, None, reading.history_seconds)
    ends = np.unique(np.linspace(0, past.slices, LOOKS + 1).round().astype(int)[1:]).tolist()
    return [(first_of(reading.history_pods, end), Segments.of(past.first(end))) for end in ends]


def _evidence(pods: dict[str, BadRequests], limit: float) -> dict[str, float]:
    """Return the strongest log evidence against each pod, each start with its part of the level."""
    since = {name: _bad_and_all(measure, limit) for name, measure in pods.items()}
    if any(counts is None for counts in since.values()):
        return {}
    bad = np.array([counts[0] for counts in since.values() if counts is not None])
    every = np.array([counts[1] for counts in since.values() if counts is not None])
    strongest = {}
    for index, (name, measure) in enumerate(pods.items()):
        allowed = measure.allowed(limit)
        service = bad.sum(axis=0) - bad[index] > allowed * (every.sum(axis=0) - every[index])
        with np.errstate(divide="ignore"):
            evidence = measure.log_evidence(limit, "above") + np.log(measure.segments.starts.weights)
        evidence = np.where(service | np.isnan(evidence), -math.inf, evidence)
        strongest[name] = float(evidence.max())
    return strongest


def _most(measure: BadRequests, limit: float) -> float:
    """Bound the log evidence against a pod since any start: no likelihood ratio is above that of its own share."""
    counts = _bad_and_all(measure, limit)
    if counts is None:
        return -math.inf
    bad, every = counts
    allowed, share = measure.allowed(limit), bad / np.maximum(every, 1e-300)
    with np.errstate(divide="ignore"):
        weights = np.log(measure.segments.starts.weights)
    most = xlogy(bad, share / allowed) + xlogy(every - bad, (1 - share) / (1 - allowed)) + weights
    return float(np.where(share > allowed, most, -math.inf).max())


def _bad_and_all(measure: BadRequests, limit: float) -> tuple[np.ndarray, np.ndarray] | None:
    events = measure.bad(limit, "above")
    return None if events is None else (measure.segments.since(events), measure.requests)


def _share(measure: BadRequests, limit: float, start: int) -> float:
    counts = _bad_and_all(measure, limit)
    if counts is None or counts[1][start] <= 0:
        return 0.0
    return float(counts[0][start] / counts[1][start])
