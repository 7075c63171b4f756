"""Leaves out the slices of a window that a check's warm-up and lag exclude."""

import math
from dataclasses import replace

import numpy as np

from analyzer.config.policy import Check
from analyzer.model.counts import Counts, Reading, cut
from analyzer.model.findings import Code, Gap
from analyzer.quantity import format_seconds


def trim(reading: Reading[Counts] | Gap, check: Check, elapsed_seconds: float | None) -> Reading[Counts] | Gap:
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
    if isinstance(reading, Gap) or not (check.warmup or check.lag):
        return reading
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
    return replace(reading, canary=canary, baseline=baseline, begin=begin, last_seconds=ending, left_out=first)


def _too_early(check: Check) -> Gap:
    left_out = [
        f"{text} {format_seconds(seconds)}"
        for text, seconds in (("the first", check.warmup), ("the last", check.lag))
        if seconds
    ]
    return Gap(Code.WARMING_UP, f"{' and '.join(left_out)} of the window are left out, and nothing else is there yet")
