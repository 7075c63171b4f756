"""How late conversions come after their requests, by the baseline's own past, and whether the policy allows for it."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from analyzer.config.policy import Check
from analyzer.config.profile import ConversionCounters
from analyzer.config.selector import Selector
from analyzer.doctor.notices import Advice, DoctorCode, Status
from analyzer.quantity import format_seconds
from analyzer.sources.prometheus_api import Series
from analyzer.stats import deconvolution
from analyzer.stats.deconvolution import Delay
from analyzer.stats.search import Floats

SHORTEST_SLICE, MOST_SLICES = 60.0, 240  # seconds, and how many slices of the window there are at most
LONGEST = 4.0  # times the policy's delay, or `USUAL`, that is looked for
USUAL = 600.0  # seconds
SLOW = 1.5  # times the longest delay that is possible, above which the policy's makes verdicts slow
COVERED = 0.9  # of the slices must have samples
UNITS = ((3600, "h"), (60, "m"), (1, "s"))


def slice_seconds(window: float) -> float:
    """Return the length of the slices of a window, in seconds."""
    return max(SHORTEST_SLICE, math.ceil(window / MOST_SLICES / SHORTEST_SLICE) * SHORTEST_SLICE)


def read_growth(answer: Sequence[Series], start: float, end: float, step: float) -> Floats:
    """Return the growth in each slice that ends at start, start + step, ..., end; nan without samples."""
    growth = np.full(round((end - start) / step) + 1, np.nan)
    for series in answer[:1]:
        indices = np.round((series.times - start) / step).astype(int)
        inside = (indices >= 0) & (indices < len(growth))  # a source may answer for a slice more on either side
        growth[indices[inside]] = series.values[inside]
    return growth


def about_delay(
    check: Check, way: ConversionCounters, growth: Mapping[Selector, Floats], window: float
) -> Iterable[Advice]:
    """Compare the policy's delay with that of the baseline's conversions.

    Parameters
    ----------
    growth : of the baseline's counters, in each slice of the window
    window : in seconds
    """
    trials, successes = (
        [growth[selector] for selector in some if selector in growth] for some in (way.trials, way.successes)
    )
    if not trials or not successes:
        return
    delay = _estimate(_summed(trials), _summed(successes), window, check.delay)
    if delay is None or not delay.known:
        what = (
            "the delay of conversions cannot be told: the baseline's request rate hardly varies in the window, or too "
            "few of its requests convert"
        )
        remedy = f"--window 24h sees more; make sure that {_written(check.delay)} is the longest mean delay to expect"
        yield Advice(Status.OK, DoctorCode.DELAY, what, remedy)
        return
    least, most = (format_seconds(max(seconds, 1.0)) for seconds in (delay.least, delay.most))
    at_least = "or more " if delay.most >= delay.longest else ""
    what = (
        f"conversions follow their requests by a mean of about {format_seconds(max(delay.likeliest, 1.0))} "
        f"({least} to {most} {at_least}in the baseline's past)"
    )
    if delay.least > check.delay:
        what += f", and the policy allows for {format_seconds(check.delay)}: good canaries seem to lose conversions"
        yield Advice(Status.WARNING, DoctorCode.DELAY_TOO_SHORT, what, f"delay: {_written(delay.most)}")
    elif check.delay > SLOW * max(delay.most, SHORTEST_SLICE):
        what += f", and the policy allows for {format_seconds(check.delay)}: a loss is found late"
        remedy = f"delay: {_written(max(delay.most, slice_seconds(window)))}"
        yield Advice(Status.WARNING, DoctorCode.DELAY_TOO_LONG, what, remedy)
    else:
        yield Advice(Status.OK, DoctorCode.DELAY, what, f"nothing to do: the policy's is {_written(check.delay)}")


def _estimate(requests: Floats, events: Floats, window: float, allowed: float) -> Delay | None:
    """Estimate the delay since the arm's first sample, if hardly any are missing."""
    seen = np.flatnonzero(~np.isnan(requests))
    if not len(seen):
        return None
    requests, events = requests[seen[0] :], np.nan_to_num(events[seen[0] :])
    if np.isnan(requests).mean() > 1 - COVERED:
        return None
    length = slice_seconds(window)
    longest = min(LONGEST * max(allowed, USUAL), len(requests) * length / deconvolution.BEFORE)
    return deconvolution.estimate(np.nan_to_num(requests), events, length, longest)


def _summed(several: Sequence[Floats]) -> Floats:
    """Add up growth; nan where no counter has any."""
    growth = np.stack(several)
    return np.where(np.isnan(growth).all(axis=0), np.nan, np.nansum(growth, axis=0))


def _written(seconds: float) -> str:
    """Write a duration for a policy, rounded up to whole units."""
    size, unit = next(((size, unit) for size, unit in UNITS if seconds >= 2 * size), UNITS[-1])
    return f"{math.ceil(seconds / size)}{unit}"
