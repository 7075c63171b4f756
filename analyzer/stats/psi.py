"""Population stability index: how far apart two binned distributions are, beyond what chance explains."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ive

from analyzer.stats import search
from analyzer.stats.search import Floats, Side, log_mean_exp

PSEUDO_COUNT = 0.5  # Jeffreys: added to every bin of both arms; the usual 1e-4 patch explodes on empty bins
EXPECTED = 3.0  # observations of the smaller arm that a bin of its own needs, were the arms alike
GROWN, TIMES = 5.0, 4.0  # or so many in one arm, and so many times what is expected of it

# Alternatives over which the evidence is averaged, as multiples of the limit.
ABOVE = np.geomspace(1.15, 20, 9)
BELOW = np.array([0.0, 0.05, 0.2, 0.4, 0.6, 0.8])


@dataclass(frozen=True)
class Distance:
    """The PSI of two samples, or of many pairs of them, and what its law needs.

    Attributes
    ----------
    raw : PSI with pseudo-counts; shape (...)
    freedom : bins of their own, and one for the rare ones together, minus 1; shape (...)
    size : effective size n m / (n + m) of the two samples; shape (...)
    per_bin : each bin's share of `raw`, in the order of the bins; 0 for bins empty in both arms; shape (..., bins)
    """

    raw: Floats
    freedom: NDArray[np.int_]
    size: Floats
    per_bin: Floats

    @property
    def value(self) -> Floats:
        """PSI without its bias: (bins - 1) / size, the mean for identical distributions, is taken off."""
        with np.errstate(divide="ignore", invalid="ignore"):  # without a size the PSI is nan as well
            return np.asarray(self.raw - self.freedom / self.size)

    def at(self, index: int) -> "Distance":
        """Return the distance of one of many pairs of samples."""
        return Distance(self.raw[index], self.freedom[index], self.size[index], self.per_bin[index])


def distance(
    canary: ArrayLike,
    baseline: ArrayLike,
    *,
    canary_size: ArrayLike | None = None,
    baseline_size: ArrayLike | None = None,
) -> Distance:
    """Measure the PSI of samples in the same bins.

    Parameters
    ----------
    canary, baseline : counts a bin, not cumulative, same bins in both; shape (..., bins)
    canary_size, baseline_size : how many independent observations the samples are worth, shape (...); default
        their sums. Where one is 0 the distance is nan

    Raises
    ------
    ValueError : shapes differ

    Notes
    -----
    PSI = sum (c_i - b_i) ln(c_i / b_i) over the shares c_i, b_i: Jeffreys' divergence. While both
    distributions are the same, size * PSI follows the chi-square law with bins - 1 degrees of freedom [1]_.

    Bins of which neither arm expects `EXPECTED` observations yet are taken together: a thousand rare classes add half
    an observation each and a degree of freedom each, and hide everything else. A rare bin that grows has its own:
    merging one that grows from 0.2% to 7% (PSI 0.25) would hide it altogether. Bins empty in both arms say nothing and
    are left out.

    References
    ----------
    .. [1] B. Yurdakul, Statistical properties of population stability index, Western
       Michigan University, 2018.
    """
    ours, theirs = np.asarray(canary, float), np.asarray(baseline, float)
    if ours.shape != theirs.shape or ours.ndim == 0:
        raise ValueError(f"canary and baseline need the same bins, got shapes {ours.shape} and {theirs.shape}")
    n = ours.sum(axis=-1) if canary_size is None else np.asarray(canary_size, float)
    m = theirs.sum(axis=-1) if baseline_size is None else np.asarray(baseline_size, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = n / (n + m) * m
        own = _own_bins(ours, theirs)
        rest = [np.where(own, 0.0, arm).sum(axis=-1, keepdims=True) for arm in (ours, theirs)]
        seen = np.concatenate((own, (rest[0] > 0) | (rest[1] > 0)), axis=-1)
        # The rare bins together are one more bin; of what it adds each of them has its part.
        shares = []
        for arm, together in zip((ours, theirs), rest, strict=True):
            counts = np.where(seen, np.concatenate((np.where(own, arm, 0.0), together), axis=-1) + PSEUDO_COUNT, 0.0)
            shares.append(np.where(seen, counts / counts.sum(axis=-1, keepdims=True), 1.0))
        terms = np.where(seen, (shares[0] - shares[1]) * np.log(shares[0] / shares[1]), 0.0)
        parts = np.where(own, 0.0, ours + theirs) / np.maximum(rest[0] + rest[1], 1e-300)
        per_bin = np.where(own, terms[..., :-1], parts * terms[..., -1:])
        raw = np.where(size > 0, terms.sum(axis=-1), np.nan)
    return Distance(raw=raw, freedom=np.asarray(seen.sum(axis=-1) - 1), size=np.asarray(size), per_bin=per_bin)


def _own_bins(ours: Floats, theirs: Floats) -> NDArray[np.bool_]:
    """Return which bins stand for themselves, shape (..., bins): those that are not rare, or are in one arm only."""
    sizes = ours.sum(axis=-1, keepdims=True), theirs.sum(axis=-1, keepdims=True)
    common = (ours + theirs) / np.maximum(sizes[0] + sizes[1], 1e-300)
    own = np.minimum(*sizes) * common >= EXPECTED
    for size, counts in zip(sizes, (ours, theirs), strict=True):
        own |= counts >= np.maximum(GROWN, TIMES * size * common)
    return np.asarray(own)


def standardised(baseline: Floats, odds: Floats) -> tuple[Floats, Floats]:
    """Weight the baseline's slices so that they have the canary's profile over time.

    Without it a split of the traffic that changes while the inputs do (day and night) would look like drift.

    Parameters
    ----------
    baseline : counts, shape (slices, bins)
    odds : canary predictions per prediction of the baseline, shape (slices,), see `share.odds_of`

    Returns
    -------
    Weighted counts, shape (slices, bins), and weighted squares of the slices' sizes, shape (slices,): what sums of
    weighted counts are worth in independent observations is their total squared over the sum of these.
    """
    return baseline * odds[:, np.newaxis], baseline.sum(axis=1) * odds**2


def log_evidence(raw: ArrayLike, freedom: int, size: ArrayLike, limit: ArrayLike, *, side: Side) -> Floats:
    """Log evidence that the PSI is above (or below) a limit.

    Parameters
    ----------
    raw, freedom, size : of a `Distance`; freedom >= 1
    limit : PSI, > 0
    side : "above" tests "PSI <= limit", "below" tests "PSI >= limit"

    Returns
    -------
    Log of the e-process, of the broadcast shape.

    Notes
    -----
    x = size * raw follows the noncentral chi-square law with noncentrality size * PSI in the Gaussian limit
    of the multinomial. The evidence is the likelihood ratio of x, averaged over alternatives: an e-process,
    because x is the maximal invariant of a group under which the hypotheses are [1]_. Asymptotic.

    References
    ----------
    .. [1] M. F. Perez-Ortiz, T. Lardy, R. de Heide, P. Grunwald, E-statistics, group invariance and
       anytime-valid testing, Ann. Statist. 52 (2024) 1410-1432.
    """
    alternatives = ABOVE if side == "above" else BELOW
    total, null = np.asarray(size, float), np.asarray(limit, float)
    x = total * np.asarray(raw, float)
    noncentrality = (total * null)[..., np.newaxis] * np.concatenate(([1.0], alternatives))
    densities = _log_density(x[..., np.newaxis], noncentrality, freedom)
    return log_mean_exp(densities[..., 1:] - densities[..., :1])


def interval(distance: Distance, *, alpha_low: float, alpha_high: float) -> tuple[float, float]:
    """Interval for the PSI that is right at every look.

    Parameters
    ----------
    found : one pair of samples, of `distance`, with freedom >= 1
    alpha_low, alpha_high : how often at most, over all looks together, the lower (upper) bound may be wrong

    Returns
    -------
    Lower bound, >= 0, and upper bound.
    """
    needed = {"above": np.log(alpha_low), "below": np.log(alpha_high)}

    def surplus(points: Floats, side: Side) -> Floats:
        evidence = log_evidence(distance.raw, int(distance.freedom), distance.size, np.exp(points), side=side)
        return np.asarray(evidence + needed[side])

    # The square root of the PSI is a distance, whose standard error is about 1 / sqrt(size) everywhere.
    noise = 1 / np.sqrt(distance.size)
    root = max(np.sqrt(max(float(distance.value), 0.0)), noise)
    # However large the samples, the alternatives nearest to a limit are 15% away: bounds stay a few percent off.
    low, high = search.interval(surplus, 2 * np.log(root), max(noise / root, 0.02))
    return float(np.exp(low[0])), float(np.exp(high[0]))


def _log_density(x: Floats, noncentrality: Floats, freedom: int) -> Floats:
    """Log of the noncentral chi-square density over that with noncentrality 0."""
    order = freedom / 2 - 1
    z = np.sqrt(noncentrality * x)
    return np.asarray(-noncentrality / 2 + _log_bessel_over_power(order, z))


def _log_bessel_over_power(order: float, z: Floats) -> Floats:
    """Log of Gamma(order + 1) I_order(z) / (z / 2)^order, which is 1 at z = 0."""
    if order > 25:  # ive underflows: the uniform expansion, DLMF 10.41.3 with the first term of its series
        w = z / order
        root = np.sqrt(1 + w**2)
        t = 1 / root
        # order * (eta - ln(w / 2)) with w cancelled, so that z = 0 needs no special case
        exponent = order * (root - np.log1p(root) + np.log(2) - np.log(order))
        series = np.log1p((3 * t - 5 * t**3) / (24 * order))
        return np.asarray(exponent - np.log(2 * np.pi * order) / 2 + np.log(t) / 2 + series + gammaln(order + 1))
    small, large = 1e-4, 1e7  # where the function is flat, and where AMOS loses its digits
    inside = np.clip(z, small, large)
    bulk = np.log(ive(order, inside)) + inside - order * np.log(inside / 2) + gammaln(order + 1)
    # Beyond: I(z) ~ exp(z) / sqrt(2 pi z), DLMF 10.40.1; below: the first term of the power series, 10.25.2.
    return np.asarray(bulk + np.where(z > large, (z - inside) - (order + 0.5) * np.log(np.maximum(z, 1) / inside), 0.0))
