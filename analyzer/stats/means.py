"""Ratio of two means, canary over baseline, from sums and sums of squares: revenue, items, tokens."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erfcx, log_ndtr

from analyzer.stats.search import Floats, Side, interval


@dataclass(frozen=True)
class Moments:
    """What is known of the values of one arm: their sum, the sum of their squares and their number."""

    total: float
    squares: float
    count: float


def variation_squared(canary: Moments, baseline: Moments) -> float:
    """Squared coefficient of variation (variance over squared mean) of both arms pooled.

    Pooled, because in a heavy tail a low mean comes with a low variance, and an arm judged by its own
    variance then fails 7-10% of the time at a nominal 5%.

    Raises
    ------
    ValueError : no values, or a mean that is not positive: a ratio would say nothing
    """
    count, total = canary.count + baseline.count, canary.total + baseline.total
    if not (count > 0 and canary.total > 0 and baseline.total > 0):
        raise ValueError(f"both means must be positive, got sums {canary.total!r} and {baseline.total!r}")
    return max((canary.squares + baseline.squares) * count / total**2 - 1, 0.0)


def contributing(total: Floats, squares: Floats) -> Floats:
    """Return as how many equal values the sums look: for values of 0 and 1, the ones; of the broadcast shape.

    Values that cancel, sales and refunds, look like fewer than there are, which is as it should be: few large ones
    may decide the sign of their sum. 0 where the sum is not positive.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((total > 0) & (squares > 0), total**2 / squares, 0.0)


def weighted_sizes(count: ArrayLike, odds: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Give what each slice weighs in a comparison that allows for a changing split of the traffic.

    Parameters
    ----------
    count : values of both arms together, shape (slices,)
    odds : canary requests per request of the baseline, shape (slices,), see `share.odds_of`

    Returns
    -------
    Factor for the canary's sums, factor for the baseline's sums, and the size that the slice adds to the
    comparison, n m / (n + m) of n and m values; each of shape (slices,). Mantel and Haenszel's weights: the ratio of
    the weighted sums is that of the means within slices, however means and split change between them.
    """
    canary_share = np.asarray(odds, float) / (1 + np.asarray(odds, float))
    return 1 - canary_share, canary_share, np.asarray(count, float) * canary_share * (1 - canary_share)


def log_evidence(
    observed: ArrayLike,
    ratio: ArrayLike,
    size: ArrayLike,
    *,
    variation: ArrayLike,
    spreads: tuple[float, ...],
    side: Side,
) -> Floats:
    """Log evidence that the ratio of the means, canary over baseline, is above (or below) `ratio`.

    Parameters
    ----------
    observed : ratio of the observed means
    ratio : ratio under the null hypothesis, > 0
    size : of the comparison, n m / (n + m) of n and m values, > 0
    variation : squared coefficient of variation, from `variation_squared`
    spreads : standard deviations of the prior of the ratio, relative to `ratio`, equal weights
    side : "above" tests "ratio of the means <= ratio", "below" tests ">="

    Returns
    -------
    Log of the e-process, of the broadcast shape.

    Notes
    -----
    One-sided normal mixture (Robbins) on z = (observed / ratio - 1) / se with se^2 = variation / size. With
    v = 1/se^2 and r = 1/spread^2::

        log E = ln(4 r / (v + r)) / 2 + z^2 v / (2 (v + r)) + ln Phi(z sqrt(v / (v + r)))

    Asymptotic [1]_: the callers ask for some thirty contributing values in each arm.

    References
    ----------
    .. [1] I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy, A. Ramdas, Time-uniform central limit theory
       and asymptotic confidence sequences, Ann. Statist. 52 (2024) 2613-2640.
    """
    variance = np.maximum(np.asarray(variation, float), 1e-12) / np.asarray(size, float)
    z = (np.asarray(observed, float) / np.asarray(ratio, float) - 1) / np.sqrt(variance)
    if side == "below":
        z = -z
    terms = []
    for spread in spreads:
        prior_part = variance / (variance + spread**2)  # r / (v + r)
        terms.append(np.log(4 * prior_part) / 2 + _log_tilted_normal(z * np.sqrt(1 - prior_part)))
    return np.asarray(reduce(np.logaddexp, terms) - np.log(len(terms)))


def ratio_interval(
    observed: float,
    size: float,
    *,
    variation: float,
    spreads: tuple[float, ...],
    alpha_low: float,
    alpha_high: float,
) -> tuple[float, float]:
    """Interval for the ratio of the means that is right at every look; parameters as in `log_evidence`."""
    needed = {"above": np.log(alpha_low), "below": np.log(alpha_high)}

    def surplus(points: Floats, side: Side) -> Floats:
        evidence = log_evidence(observed, np.exp(points), size, variation=variation, spreads=spreads, side=side)
        return np.asarray(evidence + needed[side])

    low, high = interval(surplus, np.log(observed), np.sqrt(max(variation, 1e-12) / size))
    return float(np.exp(low[0])), float(np.exp(high[0]))


def _log_tilted_normal(u: Floats) -> Floats:
    """Log of exp(u^2 / 2) Phi(u), without the cancellation that u far below 0 would bring."""
    low = np.minimum(u, 0.0)
    return np.asarray(np.where(u < 0, np.log(erfcx(-low / np.sqrt(2)) / 2), u**2 / 2 + log_ndtr(u)))
