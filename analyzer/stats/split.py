"""The split of the traffic: when did the canary's share last change, and is it what it should be?

Numbers of requests say nothing about whether requests went well. What is chosen by them alone, such as the moment
from which a proof counts, is therefore chosen without looking at the outcome, and costs none of alpha.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln, xlog1py, xlogy

from analyzer.stats.search import Bools, Floats, log_mean_exp

LEAST_CHANGE = 1.25  # ratio of the odds: steps of a rollout are larger, the noise of a router is smaller
NEEDED = 12.0  # log likelihood ratio, for as many possible moments as there are slices
UNEVEN = 2.0  # times the variation by chance, beyond which a change of the split must be as much clearer
CLEAR = 3.0  # standard errors by which neighbouring slices must differ beyond that, for a split that moves
TOLERANCE = 1.5  # ratio of the odds by which a share may be off before the split is called broken
LOSSES = (0.05, 0.15, 0.4)  # of the odds that are tolerated: what is expected where requests are lost
BATCHES, FEWEST_BATCHES = (1, 4, 16), 10  # in slices, for the overdispersion of the split
MEDIAN = 0.455  # of the square of a standard normal variable
MEDIAN_SPREAD = 2.33  # relative standard deviation of that median among n squares, times the root of n
PRIOR_SIZE = 10.0  # requests that the prior of the share is worth


def slack(seconds: float | Floats, scrape_seconds: float | None) -> Floats:
    """Tell by what ratio the odds of a segment may be off because pods are scraped at different moments; inf: by any.

    Parameters
    ----------
    seconds : length of the segment, any shape
    scrape_seconds : between two samples of a pod; None: counts are exact in time

    Notes
    -----
    Between two moments a pod is scraped n or n + 1 times, and each scrape brings what was served since the last one.
    """
    if scrape_seconds is None:
        return np.ones_like(seconds, dtype=float)
    scrapes = np.floor(np.asarray(seconds) / scrape_seconds + 1e-6)
    return np.where(scrapes > 0, (scrapes + 1) / np.maximum(scrapes, 1), np.inf)


def last_change(
    canary: Floats, baseline: Floats, *, seconds: Floats | None = None, scrape_seconds: float | None = None
) -> int:
    """Find the slice with which the present share of the traffic began, 0 if it never changed.

    Parameters
    ----------
    canary, baseline : requests, shape (slices,)
    seconds : length of each slice, shape (slices,); needed with scrape_seconds
    scrape_seconds : see `slack`: no change that scrapes may have made is believed

    Notes
    -----
    Sessions that stick to an arm, or few connections, make the split vary from slice to slice: a change must stand out
    from that. Binary segmentation: the segment is cut where two shares explain the requests best, if they do so
    clearly, and the later part is searched again.
    """
    begin = 0
    needed = NEEDED * max(1.0, overdispersion(canary, baseline) / UNEVEN)
    while True:
        ours, theirs = np.cumsum(canary[begin:]), np.cumsum(baseline[begin:])
        if len(ours) < 2:
            return begin
        before = _fit(ours[:-1], theirs[:-1])
        after_ours, after_theirs = ours[-1] - ours[:-1], theirs[-1] - theirs[:-1]
        gain = before + _fit(after_ours, after_theirs) - _fit(ours[-1:], theirs[-1:])
        change = np.abs(np.log((ours[:-1] + 0.5) / (theirs[:-1] + 0.5) * (after_theirs + 0.5) / (after_ours + 0.5)))
        least = np.full(len(change), LEAST_CHANGE)
        if seconds is not None:
            lasted = np.cumsum(seconds[begin:])
            # A canary that begins with the window may have its first scrape just then, with nothing in it yet.
            idle = scrape_seconds or 0.0 if begin == 0 else 0.0
            least = least * slack(lasted[:-1] - idle, scrape_seconds) * slack(lasted[-1] - lasted[:-1], scrape_seconds)
        gain = np.where(change >= np.log(least), gain, -np.inf)
        cut = int(gain.argmax())
        if gain[cut] < needed:
            return begin
        begin += cut + 1


def steady(canary: Floats, baseline: Floats, slacks: ArrayLike = 1.0) -> Bools:
    """Tell the slices within which the split did not move, as far as their neighbours show; shape (slices,).

    A slice in the middle of a change resembles neither neighbour. A rate that moved in it as well, as in an incident
    that begins with a step, then looks like a difference between the arms.

    Parameters
    ----------
    canary, baseline : requests, shape (slices,)
    slacks : of each slice, from `slack`: no change that scrapes may have made is believed
    """
    if len(canary) < 2:
        return np.ones(len(canary), bool)
    odds = np.log((canary + 0.5) / (baseline + 0.5))
    variance = 1 / (canary + 0.5) + 1 / (baseline + 0.5)
    free = np.log(np.broadcast_to(slacks, odds.shape))
    same = np.abs(np.diff(odds)) - free[1:] - free[:-1] <= (
        np.log(LEAST_CHANGE) + CLEAR * np.sqrt(variance[1:] + variance[:-1])
    )
    return np.asarray(np.append(same, False) | np.append(False, same))


def has_moved(before: tuple[float, float], after: tuple[float, float]) -> bool:
    """Tell whether the split is clearly another one, by the requests of canary and baseline before and after."""
    if min(*before, *after) <= 0:
        return False
    change = math.log(before[0]) - math.log(before[1]) - math.log(after[0]) + math.log(after[1])
    return abs(change) > math.log(LEAST_CHANGE) + CLEAR * math.sqrt(sum(1 / number for number in (*before, *after)))


def log_evidence(canary: float, baseline: float, expected: float, tolerance: float = TOLERANCE) -> float:
    """Log evidence that the canary's share of the requests is not the expected one, give or take the tolerance.

    Parameters
    ----------
    canary, baseline : requests so far
    expected : share of the canary, in (0, 1)
    tolerance : ratio of the odds, finite

    Notes
    -----
    Beta-binomial mixture over all shares against the nearest share that is tolerated: an e-process for each of
    these, and the smallest one counts.
    """
    total = canary + baseline
    if total <= 0:
        return 0.0
    odds = expected / (1 - expected)
    low, high = odds / tolerance, odds * tolerance
    nearest = min(max(canary / total, low / (1 + low)), high / (1 + high))
    a, b = PRIOR_SIZE * expected, PRIOR_SIZE * (1 - expected)
    mixture = betaln(a + canary, b + baseline) - betaln(a, b)
    return float(mixture - xlogy(canary, nearest) - xlog1py(baseline, -nearest))


def log_evidence_of_loss(canary: float, baseline: float, expected: float, tolerance: float, factor: float) -> float:
    """Log evidence that the canary gets fewer requests than its share of the traffic, give or take the tolerance.

    Parameters
    ----------
    canary, baseline : requests so far
    expected : share of the canary, in (0, 1)
    tolerance : ratio of the odds, at least 1
    factor : by which counts are divided for overdispersion, from `overdispersion`

    Notes
    -----
    Likelihood ratio of `LOSSES` against the smallest share that is tolerated, averaged: an e-process for it, and for
    any larger share.
    """
    odds = expected / (1 - expected) / tolerance
    least = odds / (1 + odds)
    steps = np.log1p(-np.array(LOSSES))
    terms = canary * steps - (canary + baseline) * np.log1p(np.expm1(steps) * least)
    return float(log_mean_exp(terms / factor))


def overdispersion(canary: Floats, baseline: Floats, deviations: float = 0.0) -> float:
    """Estimate how many times as much the split varies between slices as it would if requests were dealt one by one.

    The median difference of neighbours is taken, to which a few lasting changes add nothing; in slices and in batches
    of 4 and 16 of them, as connections and sessions may last longer than a slice. 1 with too few batches to tell.

    Parameters
    ----------
    canary, baseline : requests, shape (slices,)
    deviations : standard errors by which the estimates are lowered, as few batches look uneven by chance
    """
    factors = [1.0]
    for length in BATCHES:
        first = np.arange(0, len(canary) - length + 1, length)
        if len(first) < FEWEST_BATCHES:
            break
        ours, theirs = (np.add.reduceat(arm[: len(first) * length], first) for arm in (canary, baseline))
        total = np.maximum(ours + theirs, 1e-300)
        share = ours.sum() / total.sum()
        variance = max(share * (1 - share), 1e-300) * (1 / total[1:] + 1 / total[:-1])
        estimate = float(np.median(np.diff(ours / total) ** 2 / variance)) / MEDIAN
        factors.append(estimate / (1 + deviations * MEDIAN_SPREAD / math.sqrt(len(first))))
    return max(factors)


def _fit(ours: Floats, theirs: Floats) -> Floats:
    """Return the log likelihood of the requests at their own share."""
    total = np.maximum(ours + theirs, 1e-300)
    return np.asarray(sum(xlogy(arm, np.maximum(arm / total, 1e-300)) for arm in (ours, theirs)))
