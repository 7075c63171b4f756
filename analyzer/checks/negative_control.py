"""The negative control of a rollback: pods of the baseline stand for canaries, and none of them should be proved bad.

Where the test that proves the canary bad proves pods of the baseline bad as well, each by itself, its assumptions do
not hold for this service, and its evidence against the canary counts only so far as it exceeds theirs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.checks.one_arm import BadRequests
from analyzer.checks.segments import Segments
from analyzer.model.counts import Counts, Reading, first_of
from analyzer.stats.search import log_mean_exp

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


Measuring = Callable[[Counts, Segments], BadRequests]


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
    service says nothing of the assumptions.
    """
    pods = [pod for pod in reading.baseline_pods if _requests(measuring(pod.counts, canary.segments)) > 0]
    if len(pods) < FEWEST_PODS:
        return None
    shares = [_share(measuring(pod.counts, canary.segments), limit, start) for pod in pods]
    ours = _share(canary, limit, start)
    rank = 1 + sum(share >= ours for share in shares)
    strongest = {pod.name: -math.inf for pod in pods}
    for measures in _moments(reading, canary.segments, measuring):
        for name, evidence in _evidence(measures, limit).items():
            strongest[name] = max(strongest.get(name, -math.inf), evidence)
    needed = -math.log(level) + math.log(len(strongest))
    proved = tuple(sorted(name for name, evidence in strongest.items() if evidence >= needed))
    if not proved:
        return Control(len(pods), rank)
    average = float(log_mean_exp(np.array(list(strongest.values()))))
    return Control(len(pods), rank, max(average, 0.0), proved)


def _moments(reading: Reading[Counts], segments: Segments, measuring: Measuring) -> Sequence[dict[str, BadRequests]]:
    """Measure the pods during the rollout, and at several moments of the past."""
    moments = [{pod.name: measuring(pod.counts, segments) for pod in reading.baseline_pods}]
    if reading.history is None or len(reading.history_pods) < FEWEST_PODS:
        return moments
    past = Reading(reading.history, None, reading.history_seconds)
    for slices in np.unique(np.linspace(0, past.slices, LOOKS + 1).round().astype(int)[1:]).tolist():
        before = Segments.of(past.first(slices))
        moments.append({pod.name: measuring(pod.counts, before) for pod in first_of(reading.history_pods, slices)})
    return moments


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


def _bad_and_all(measure: BadRequests, limit: float) -> tuple[np.ndarray, np.ndarray] | None:
    events = measure.bad(limit, "above")
    return None if events is None else (measure.segments.since(events), measure.requests)


def _requests(measure: BadRequests) -> float:
    return float(measure.trials.sum())


def _share(measure: BadRequests, limit: float, start: int) -> float:
    counts = _bad_and_all(measure, limit)
    if counts is None or counts[1][start] <= 0:
        return 0.0
    return float(counts[0][start] / counts[1][start])
