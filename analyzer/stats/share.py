"""Two arms side by side: is the canary's rate of events the baseline's, times a ratio?

Given that an event happened, in which arm did it happen? Under the null hypothesis the canary has a
known share of the events, whatever the common rate does over time: incidents that hit both arms cancel.
"""

from functools import reduce

import numpy as np
from numpy.typing import ArrayLike

from analyzer.stats import binomial
from analyzer.stats.search import Floats, crossing


def log_evidence(
    canary_events: ArrayLike,
    canary_trials: ArrayLike,
    baseline_events: ArrayLike,
    baseline_trials: ArrayLike,
    ratio: ArrayLike,
    *,
    spreads: tuple[float, ...],
    side: binomial.Side,
) -> Floats:
    """Log evidence that the ratio of the rates, canary over baseline, is above (or below) `ratio`.

    Parameters
    ----------
    canary_events, canary_trials, baseline_events, baseline_trials : counts so far; trials > 0 in both arms
    ratio : ratio of the rates under the null hypothesis, > 0
    spreads : standard deviations of the prior of the log ratio, equal weights: 1 for error rates, which may
        change tenfold; 0.05 and 0.5 for conversions, where a few percent matter and collapses happen
    side : "above" tests "ratio of the rates <= ratio", "below" tests ">="

    Returns
    -------
    Log of the e-process, of the broadcast shape.

    Notes
    -----
    With w the canary's share of the trials, an event is the canary's with probability
    q0 = w ratio / (w ratio + 1 - w) [1]_; the truncated-Beta mixture of `binomial` tests q0, its prior
    of concentration (1 - q0) / (q0 spread^2). Exact for rare events and a share w that is known
    beforehand; here w is the observed share of the requests, because a nominal one that is off by a tenth
    raises false alarms without end. That makes it asymptotic, and conservative for events that are not
    rare: the variance of the canary's share of the events then is smaller than the binomial one.

    References
    ----------
    .. [1] M. Lindon, A. Malek, Anytime-Valid Inference for Multinomial Count Data, NeurIPS 2022.
    """
    ours, theirs = np.asarray(canary_events, float), np.asarray(baseline_events, float)
    n_canary, n_baseline = np.asarray(canary_trials, float), np.asarray(baseline_trials, float)
    odds = np.asarray(ratio, float) * n_canary / n_baseline
    q0 = odds / (1 + odds)
    terms = [
        binomial.log_evidence(ours, ours + theirs, q0, side=side, concentration=1 / (odds * spread**2))
        for spread in spreads  # (1 - q0) / q0 is 1 / odds
    ]
    return np.asarray(reduce(np.logaddexp, terms) - np.log(len(terms)))


def ratio_interval(
    canary_events: float,
    canary_trials: float,
    baseline_events: float,
    baseline_trials: float,
    *,
    spreads: tuple[float, ...],
    alpha_low: float,
    alpha_high: float,
) -> tuple[float, float]:
    """Interval for the ratio of the rates, canary over baseline, that is right at every look.

    Parameters
    ----------
    canary_events, canary_trials, baseline_events, baseline_trials, spreads : as in `log_evidence`
    alpha_low, alpha_high : how often at most, over all looks together, the lower (upper) bound may be wrong

    Returns
    -------
    Lower bound, >= 0, and upper bound, infinite while the baseline has no event.
    """
    counts = (canary_events, canary_trials, baseline_events, baseline_trials)
    ours, theirs = max(canary_events, 0.25), max(baseline_events, 0.25)
    middle, scale = np.log(ours / canary_trials * baseline_trials / theirs), np.sqrt(1 / ours + 1 / theirs)

    def surplus(points: Floats, side: binomial.Side, alpha: float) -> Floats:
        return np.asarray(log_evidence(*counts, np.exp(points), spreads=spreads, side=side) + np.log(alpha))

    low = crossing(lambda points: surplus(points, "above", alpha_low), middle, scale, sign=-1)
    high = crossing(lambda points: surplus(points, "below", alpha_high), middle, scale, sign=1)
    return (
        float(np.exp(low[0])) if canary_events > 0 else 0.0,
        float(np.exp(high[0])) if baseline_events > 0 else np.inf,
    )
