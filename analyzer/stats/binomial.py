"""One arm against a limit: is the share of its events above or below it?

The error rate asks this of failed requests; latency asks it of requests slower than a bucket's edge,
because the q-quantile lies above an edge exactly when more than 1 - q of the requests do.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, betaincc, betaln, expit, logit, xlog1py, xlogy

from analyzer.stats.search import Floats, Side, interval

LEARNED = 0.5  # the part of the prior that the past may have
KNOWN_EVENTS = 3.0  # of the past, beyond which it is given less weight: a new version has a rate of its own
KNOWN_TRIALS = 10.0  # over the limit: shares below a tenth of the limit need not be told apart


def log_evidence(
    events: ArrayLike,
    trials: ArrayLike,
    limit: ArrayLike,
    *,
    side: Side,
    prior_mean: ArrayLike | None = None,
    past: tuple[ArrayLike, ArrayLike] | None = None,
) -> Floats:
    """Log evidence that the share of events lies above (or below) a limit.

    Parameters
    ----------
    events, trials : counts so far, 0 <= events <= trials; fractions are allowed. They broadcast
    limit : share, in (0, 1)
    side : "above" tests the null hypothesis "share <= limit", "below" tests "share >= limit"
    prior_mean : mean of the prior Beta(1, b), in (0, 1); default the limit for "below" and twice the limit for
        "above", which finds large faults sooner
    past : events and trials, known before the first of the counts, of which "below" learns a part of its prior. They
        broadcast; None: nothing is known

    Returns
    -------
    Log of the e-process, of the broadcast shape; -inf when the counts speak against the side beyond
    what a float holds.

    Notes
    -----
    The truncated-Beta mixture of likelihood ratios: the prior Beta(1, b) restricted to the side. With
    p the share and p0 the limit, for "above"::

        E = B(1 + S, b + n - S) I'(1 + S, b + n - S) / (B(1, b) I'(1, b) p0^S (1 - p0)^(n - S)),

    I' being the beta distribution's upper tail beyond p0. Exact for any number of looks if each request
    is an event with a conditional probability of at most p0, given the past: each likelihood ratio
    (q/p0)^x ((1-q)/(1-p0))^(1-x) with q > p0 then has a conditional expectation of at most 1 [1]_. The
    one-sided beta-binomial mixture is that of [2]_.

    With a `past` the evidence is (1 - u) E + u E', where the prior of E' is that of E updated by the past at the weight
    of `KNOWN_EVENTS` events and `KNOWN_TRIALS` / p0 trials at most. u is half of the probability that this prior gives
    to the side: where the past was beyond the limit nothing is learned from it. A mixture whose weights are known
    beforehand is exact as well; what a misleading past can cost is ln 2.

    References
    ----------
    .. [1] H. Robbins, Ann. Math. Statist. 41 (1970) 1397-1409.
    .. [2] S. R. Howard, A. Ramdas, J. McAuliffe, J. Sekhon, Ann. Statist. 49 (2021) 1055-1080.

    Examples
    --------
    >>> bool(log_evidence(14, 865, 0.005, side="above") > np.log(80))
    True
    """
    seen, total = np.asarray(events, float), np.asarray(trials, float)
    p0 = np.minimum(np.maximum(np.asarray(limit, float), 1e-300), 1 - 2**-53)  # what rounding made 0 or 1 stays inside
    tail = betaincc if side == "above" else betainc
    if prior_mean is None:
        prior_mean = np.minimum(2 * p0, (1 + p0) / 2) if side == "above" else p0
    b = 1 / np.asarray(prior_mean, float) - 1
    with np.errstate(divide="ignore", under="ignore"):  # log(0) = -inf is meant: no evidence at all
        # Of Beta(1, b) the tail beyond p0 is (1 - p0)^b, and B(1, b) = 1 / b.
        log_above = xlog1py(b, -p0)
        prior = -np.log(b) + (log_above if side == "above" else np.log(-np.expm1(log_above)))
        won, lost = 1 + seen, b + (total - seen)  # the counts first: a small b must not vanish beside them
        log_marginal = betaln(won, lost) + np.log(tail(won, lost, p0)) - prior
        if past is not None and side == "below":
            log_marginal = _with_past(log_marginal, seen, total, p0, b, past)
    return np.asarray(log_marginal - xlogy(seen, p0) - xlog1py(total - seen, -p0))


def _with_past(
    default: Floats, seen: Floats, total: Floats, p0: Floats, b: Floats, past: tuple[ArrayLike, ArrayLike]
) -> Floats:
    """Mix the log integral of the likelihood below p0 under the default prior with that under the learned prior."""
    events, trials = np.asarray(past[0], float), np.asarray(past[1], float)
    weight = np.minimum(KNOWN_EVENTS / np.maximum(events, 1e-300), KNOWN_TRIALS / p0 / np.maximum(trials, 1e-300))
    weight = np.minimum(weight, 1.0)
    won, lost = 1 + weight * events, b + weight * (trials - events)
    within = betainc(won, lost, p0)
    learned = betaln(won + seen, lost + (total - seen)) + np.log(betainc(won + seen, lost + (total - seen), p0))
    learned += np.log(LEARNED) - betaln(won, lost)  # u E': the probability within p0 cancels
    with np.errstate(invalid="ignore"):
        mixed = np.logaddexp(np.log1p(-LEARNED * within) + default, learned)
    return np.asarray(np.where(np.isnan(mixed), default, mixed))  # limits so near 0 or 1 that a float holds no prior


def confidence_sequence(
    events: ArrayLike,
    trials: ArrayLike,
    *,
    alpha_low: float,
    alpha_high: float,
    expected: float | None = None,
    past: tuple[float, float] | None = None,
) -> tuple[Floats, Floats]:
    """Interval for the share of events that is right at every look, for several arms at once.

    Parameters
    ----------
    events, trials : shape (m,), 0 <= events <= trials, trials > 0
    alpha_low, alpha_high : how often at most, over all looks together, the lower (upper) bound may be wrong
    expected : share at a fault, the mean of the prior for limits below it; None: twice the limit
    past : events and trials, as in `log_evidence`

    Returns
    -------
    Lower and upper bounds, each of shape (m,), in [0, 1]. A limit is below the lower bound exactly when
    `log_evidence(..., side="above")` reaches ln(1/alpha_low); likewise for the upper bound.
    """
    seen, total = np.atleast_1d(np.asarray(events, float)), np.atleast_1d(np.asarray(trials, float))
    # A quarter of an event keeps the middle of an arm without events finite; the bounds do not depend on it.
    quarter = np.minimum(0.25, total / 4)
    share = np.clip(seen, quarter, total - quarter) / total
    middle, scale = logit(share), 1 / np.sqrt(total * share * (1 - share) + 1)

    needed = {"above": np.log(alpha_low), "below": np.log(alpha_high)}

    def surplus(points: Floats, side: Side) -> Floats:
        limits = expit(points)
        mean = None
        if expected is not None and side == "above":
            mean = np.where(limits < expected, expected, np.minimum(2 * limits, (1 + limits) / 2))
        return np.asarray(log_evidence(seen, total, limits, side=side, prior_mean=mean, past=past) + needed[side])

    low, high = (expit(bound) for bound in interval(surplus, middle, scale))
    return np.where(seen > 0, low, 0.0), np.where(seen < total, high, 1.0)
