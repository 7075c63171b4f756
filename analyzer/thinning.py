"""Splits the counts of a service into those of a pretend canary and of the baseline that is left.

Each request goes to the canary by itself, with the same probability: what a router does. Given how many the canary
gets, its bins then are a draw without replacement (multivariate hypergeometric).
"""

from typing import assert_never

import numpy as np

from analyzer.model import Classes, Conversions, Counts, Errors, Floats, Histogram, MeanOnly, Values


def thin(counts: Counts, share: float, rng: np.random.Generator) -> tuple[Counts, Counts]:
    """Split counts slice by slice; both parts add up to what there was.

    Parameters
    ----------
    counts : of the service
    share : of the requests that go to the canary, in (0, 1)

    Returns
    -------
    Counts of canary and baseline, of the same type and shape.

    Notes
    -----
    Of values only sum, sum of squares and number are known: the canary's sum is drawn from the normal law that a draw
    without replacement from the slice has in the limit, with its mean and variance; the squares are split by number.
    A fraction of a count, as a server's extrapolation gives it, goes to one arm as a whole.
    """
    match counts:
        case Errors(errors, requests):
            ours = _of_two(errors, requests, share, rng)
            return Errors(*ours), Errors(errors - ours[0], requests - ours[1])
        case Conversions(successes, trials):
            ours = _of_two(successes, trials, share, rng)
            return Conversions(*ours), Conversions(successes - ours[0], trials - ours[1])
        case Histogram(edges, bins, exact):
            part = _drawn(bins, share, rng)
            return Histogram(edges, part, exact), Histogram(edges, bins - part, exact)
        case Classes(names, bins):
            part = _drawn(bins, share, rng)
            return Classes(names, part), Classes(names, bins - part)
        case Values(total, squares, count):
            canary = _values(counts, share, rng)
            left = None if squares is None or canary.squares is None else squares - canary.squares
            return canary, Values(total - canary.total, left, count - canary.count)
        case MeanOnly(total, count):
            canary = _values(Values(total, None, count), share, rng)
            return MeanOnly(canary.total, canary.count), MeanOnly(total - canary.total, count - canary.count)
        case _:
            assert_never(counts)


def _drawn(counts: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Draw how many of each count go to the canary."""
    whole = np.floor(counts)
    part = rng.binomial(whole.astype(np.int64), share).astype(float)
    fraction = counts - whole
    return np.asarray(part + fraction * (rng.random(counts.shape) < share)) if fraction.any() else part


def _of_two(events: Floats, trials: Floats, share: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw trials with their events; events beyond the trials of a slice, counted late, are drawn by themselves."""
    both = np.minimum(events, trials)
    with_event = _drawn(both, share, rng)
    without = _drawn(trials - both, share, rng)
    return with_event + _drawn(events - both, share, rng), with_event + without


def _values(arm: Values, share: float, rng: np.random.Generator) -> Values:
    count = _drawn(arm.count, share, rng)
    all_ = np.maximum(arm.count, 1e-300)
    mean, part = arm.total / all_, count / all_
    spread = rng.standard_normal(len(count))
    if arm.squares is None:
        return Values(mean * count, None, count)
    variance = np.maximum(arm.squares / all_ - mean**2, 0.0)
    deviation = np.sqrt(count * variance * np.clip((arm.count - count) / np.maximum(arm.count - 1, 1.0), 0.0, 1.0))
    return Values(mean * count + deviation * spread, arm.squares * part, count)
