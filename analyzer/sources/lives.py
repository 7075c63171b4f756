"""The pods of an arm: what they are called, when each began and how often it restarted."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from analyzer.model.counts import Counts, Floats, Pod, requests_by_slice

POD_LABELS = ("pod", "kubernetes_pod_name", "pod_name", "k8s_pod_name")
OF_REPLICA_SET = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{5}$")
"""What the names of a Deployment's pods end with, as Kubernetes draws it: no later pod has the same name."""
UNEVEN = 9.0  # times the mean of the others' requests
UNEVEN_FROM = 100.0  # requests
SINGLE = 32  # pods that stand for themselves where there are more than `MOST_PODS`
MOST_PODS = 64  # of an arm: above, those that are not single are dealt into groups

C = TypeVar("C", bound=Counts)


@dataclass(frozen=True)
class Life:
    """What happened to one pod within a window.

    Attributes
    ----------
    start : when it began, in Unix seconds; None: before the window, or not known
    restarts : first scrapes of the processes that followed its first one, in Unix seconds, ascending
    """

    start: float | None = None
    restarts: Floats = field(default_factory=lambda: np.zeros(0))

    def until(self, moment: float) -> "Life":
        """Return what was known of it at a moment."""
        start = self.start if self.start is not None and self.start <= moment else None
        return Life(start, self.restarts[self.restarts <= moment])


NO_LIVES: Mapping[str, Life] = {}


def pod_name(labels: Mapping[str, str]) -> str:
    """Return the name of the pod that a series comes from, or of the scrape target; empty: neither is known."""
    return next((labels[name] for name in (*POD_LABELS, "instance") if labels.get(name)), "")


def pooled(names: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield at most `MOST_PODS` pods or groups of pods, each with a name and its members."""
    if len(names) <= MOST_PODS:
        yield from ((name, (name,)) for name in names)
        return
    yield from ((name, (name,)) for name in names[:SINGLE])
    groups = MOST_PODS - SINGLE
    for number in range(groups):
        members = tuple(names[SINGLE + number :: groups])
        others = len(members) - 1
        yield (f"{members[0]} and {others} more" if others else members[0]), members


def pod_of(name: str, members: Sequence[str], counts: C, lives: Mapping[str, Life]) -> Pod[C]:
    """Return a pod, or a group of them: it begins with the first, and has the restarts of all."""
    known = [lives[member] for member in members if member in lives]
    starts = [life.start for life in known]
    began = [start for start in starts if start is not None]
    return Pod(
        name=name,
        counts=counts,
        start=min(began) if began and len(began) == len(members) else None,
        restarts=sum(len(life.restarts) for life in known),
    )


def restarted_pods(canary: Iterable[Pod[Counts]]) -> tuple[str, ...]:
    """Name the pods of the canary whose processes restarted."""
    restarted = sorted((pod for pod in canary if pod.restarts), key=lambda pod: -pod.restarts)
    if not restarted:
        return ()
    named = ", ".join(f"{pod.name} {pod.restarts} times" for pod in restarted[:3])
    more = f" and {len(restarted) - 3} more pods" if len(restarted) > 3 else ""
    return (f"restarts of the canary's processes: {named}{more}",)


def uneven_pods(pods: Iterable[Pod[Counts]], word: str) -> tuple[str, ...]:
    """Name the pod of an arm that got nearly all of its requests in the last third of the window: it is what is judged.

    Parameters
    ----------
    pods : of the arm
    word : for the arm
    """
    by_slice = ((pod.name, requests_by_slice(pod.counts)) for pod in pods)
    lately = {name: float(counts[-max(1, len(counts) // 3) :].sum()) for name, counts in by_slice}
    some = {name: counts for name, counts in lately.items() if counts > 0}  # a pod without any may be gone
    whole, largest = sum(some.values()), max(some.values(), default=0.0)
    if len(some) < 2 or whole < UNEVEN_FROM or largest * (len(some) - 1) <= UNEVEN * (whole - largest):
        return ()
    name = max(some, key=lambda pod: some[pod])
    return (f"{name}, one of {len(some)} pods of the {word}, got {largest / whole:.0%} of its requests lately",)
