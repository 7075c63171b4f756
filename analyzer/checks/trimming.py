"""Leaves out what a check's warm-up and lag exclude: the first time of each pod, and the last slices of the window.

A young pod is slow for reasons that are not its model's: caches, connections, compilation. Where the pods are not
known, the start of the window stands for theirs.
"""

import math
from dataclasses import replace

import numpy as np

from analyzer.config.policy import Check
from analyzer.model.counts import C, Counts, Pod, Reading, cut, requests_by_slice, summed, where
from analyzer.model.findings import Code, Gap
from analyzer.quantity import format_seconds

MOST_YOUNG = 0.5  # of the canary's requests, that may be left out in the long run
LONG = 4.0  # warm-ups
SAME = 1e-6  # seconds


def trim(reading: Reading[C] | Gap, check: Check, elapsed_seconds: float | None) -> Reading[C] | Gap:
    """Keep the slices that lie wholly after the warm-up and before the lag.

    Parameters
    ----------
    reading : in slices of `slice_seconds`, the last perhaps shorter; the first begins with the window
    check : whose warm-up and lag count
    elapsed_seconds : length of the window; None: that of the slices

    Returns
    -------
    The shorter reading; or why nothing is left of it. Counts that have no slices stay whole, with a note.
    """
    if isinstance(reading, Gap) or not (check.warmup or check.lag or check.pod_warmup):
        return reading
    if check.pod_warmup and reading.slice_seconds is not None:
        if reading.canary_pods and reading.begin is not None:
            return _without_young_pods(reading, check, elapsed_seconds)
        # The pods are as old as the window, for all that is known.
        return trim(reading, _without(check, warmup=max(check.warmup, check.pod_warmup)), elapsed_seconds)
    if elapsed_seconds is not None and elapsed_seconds <= check.warmup + check.lag:
        return _too_early(check)
    arm = reading.canary if reading.canary is not None else reading.baseline
    if arm is None:
        return reading
    if reading.slice_seconds is None:
        note = "warm-up and lag could not be left out: these counts have no time slices"
        return replace(reading, notes=(*reading.notes, note))
    step = reading.slice_seconds
    slices = reading.slices
    total = slices * step if elapsed_seconds is None else elapsed_seconds
    first = math.ceil(check.warmup / step - 1e-9)
    ends = np.minimum(step * np.arange(1, slices + 1), total)
    last = int(np.searchsorted(ends, total - check.lag + 1e-6, side="right"))
    if first >= last:
        return _too_early(check)
    canary = None if reading.canary is None else cut(reading.canary, first, last)
    baseline = None if reading.baseline is None else cut(reading.baseline, first, last)
    begin = None if reading.begin is None else reading.begin + first * step
    ending = reading.last_seconds if last == slices else None
    ours, theirs = (
        tuple(replace(pod, counts=cut(pod.counts, first, last)) for pod in pods)
        for pods in (reading.canary_pods, reading.baseline_pods)
    )
    return replace(
        reading, canary=canary, baseline=baseline, canary_pods=ours, baseline_pods=theirs,
        begin=begin, last_seconds=ending, left_out=first,
    )  # fmt: skip


def _without_young_pods(reading: Reading[C], check: Check, elapsed_seconds: float | None) -> Reading[C] | Gap:
    """Leave out what each pod counted in its first time, once: a container that starts again is not young again."""
    ours, theirs = (_old(pods, reading, check.pod_warmup) for pods in (reading.canary_pods, reading.baseline_pods))
    kept = replace(
        reading,
        canary=summed([pod.counts for pod in ours]),
        baseline=summed([pod.counts for pod in theirs]) if theirs else reading.baseline,
        canary_pods=ours,
        baseline_pods=theirs,
    )
    left, seconds = _requests(kept.canary), elapsed_seconds or reading.seconds or 0.0
    if left < MOST_YOUNG * _requests(reading.canary) and seconds > LONG * check.pod_warmup:
        note = (
            f"most of the canary's requests reached pods younger than {format_seconds(check.pod_warmup)}: nothing is "
            "left out of them, for pods that never grow old must be judged"
        )
        kept = replace(reading, notes=(*reading.notes, note))
    elif left <= 0:
        young = f"all pods of the canary are younger than {format_seconds(check.pod_warmup)}, which is left out of each"
        return Gap(Code.WARMING_UP, young)
    return trim(kept, _without(check), elapsed_seconds)


def _without(check: Check, **more: float) -> Check:
    """Return the check without a warm-up of pods."""
    return check.model_copy(update={"pod_warmup": 0.0, **more})


def _old(pods: tuple[Pod[C], ...], reading: Reading[C], warmup: float) -> tuple[Pod[C], ...]:
    """Zero the slices in which each pod was younger than the warm-up."""
    begin, step = reading.begin or 0.0, reading.slice_seconds or 0.0
    starts = begin + step * np.arange(reading.slices)
    return tuple(
        pod if pod.start is None else replace(pod, counts=where(pod.counts, starts >= pod.start + warmup - SAME))
        for pod in pods
    )


def _requests(counts: Counts | None) -> float:
    return 0.0 if counts is None else float(requests_by_slice(counts).sum())


def _too_early(check: Check) -> Gap:
    left_out = [
        f"{text} {format_seconds(seconds)}"
        for text, seconds in (("the first", check.warmup), ("the last", check.lag))
        if seconds
    ]
    return Gap(Code.WARMING_UP, f"{' and '.join(left_out)} of the window are left out, and nothing else is there yet")
