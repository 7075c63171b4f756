"""One arm against a limit when the requests of a batch (a minute, say) share a rate that varies from batch to batch.

Dividing counts by phi (see `dispersion`) allows for the variance that bursts bring, which is enough for sums over many
batches. A fault that begins late is judged on few, and there the tail counts: a single bad minute in a hundred is
ten times worse than the mean. So the rates of the batches follow a beta law here, and their likelihood is used.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln, expit, logit

from analyzer.stats.search import Floats, log_mean_exp

# Alternatives, as distances of the log odds from those of the limit, half as much again each; far ones weigh more,
# because they are found by fewer requests, of which a low weight would cost a larger part.
DISTANCES = 0.25 * 1.5 ** np.arange(8)
LOG_WEIGHTS = np.log(DISTANCES**0.3 / np.mean(DISTANCES**0.3))


def log_evidence_since(events: ArrayLike, trials: ArrayLike, limit: float, correlation: ArrayLike) -> Floats:
    """Log evidence since the begin of each batch that the mean share of bad requests lies above a limit.

    Parameters
    ----------
    events, trials : bad and all requests of each batch; shape (..., batches)
    limit : share, in (0, 1)
    correlation : of two requests of one batch, in (0, 1); shape (...)

    Returns
    -------
    Array of shape (..., batches).

    Notes
    -----
    A batch of n requests has a beta-binomial number of bad ones, with the parameters p k and (1 - p) k, where
    k = 1 / correlation - 1 [1]_. For p above the limit the likelihood ratio rises with the number, so that its
    expectation is at most 1 for every smaller p too; the ratios of all batches multiply, and the evidence is their
    mean over the alternatives.

    References
    ----------
    .. [1] J. G. Skellam, A probability distribution derived from the binomial distribution by regarding the
       probability of success as variable between the sets of trials, J. R. Stat. Soc. B 10 (1948) 257-261.
    """
    ratios = log_ratios(events, trials, limit, correlation)
    summed = np.cumsum(ratios[..., ::-1], axis=-1)[..., ::-1]
    return log_mean_exp(np.moveaxis(summed, -2, -1) + LOG_WEIGHTS)


def log_ratios(events: ArrayLike, trials: ArrayLike, limit: float, correlation: ArrayLike) -> Floats:
    """Give the log likelihood ratio of each alternative in each batch; shape (..., alternatives, batches)."""
    bad, total = np.asarray(events, float)[..., np.newaxis, :], np.asarray(trials, float)[..., np.newaxis, :]
    strength = (1 / np.asarray(correlation, float) - 1)[..., np.newaxis, np.newaxis]
    shares = expit(logit(limit) + DISTANCES)[:, np.newaxis]

    def log_likelihood(share: Floats | float) -> Floats:
        a, b = strength * share, strength * (1 - share)
        return np.asarray(betaln(bad + a, total - bad + b) - betaln(a, b))

    return log_likelihood(shares) - log_likelihood(limit)
