"""Events that follow their request by a delay: which requests can the events of a slice belong to?

A conversion of this minute belongs to a request of minutes ago, when the canary had a smaller part of the traffic, or
none. So the exposure of the events in a slice is not the number of its requests but the part of all requests before
that is due in it.
"""

from typing import Protocol

import numpy as np

from analyzer.stats import share
from analyzer.stats.search import Floats, log_mean_exp

# Of the longest mean delay: those that are considered, each 1.6 times the one before.
FRACTIONS = (0.0, 0.024, 0.038, 0.06, 0.095, 0.15, 0.24, 0.39, 0.62, 1.0)
RATIOS = np.linspace(-1.5, 1.5, 13)  # log ratios of the arms' rates, over which the likelihood of a delay is averaged


class Events(Protocol):
    """Events of one arm, and the requests that they may belong to; arrays of shape (slices,)."""

    @property
    def events(self) -> Floats:
        """Return the events."""

    @property
    def trials(self) -> Floats:
        """Return the requests."""


def exposures(requests: Floats, seconds: Floats, delay: float, outstanding: float = 0.0) -> tuple[Floats, float]:
    """Compute how many requests' events are due in each slice, and how many are still outstanding at the end.

    Parameters
    ----------
    requests : in each slice, evenly spread; shape (slices,)
    seconds : length of each slice: equal ones, the last perhaps another; shape (slices,)
    delay : mean of the exponential delay, in seconds, >= 0
    outstanding : requests before the first slice whose events are not due before it

    Notes
    -----
    With q = exp(-L / d), of the requests of a slice of length L a part 1 - d / L (1 - q) is due in it, and of what
    is outstanding at its start a part 1 - q.
    """
    if delay <= 0:
        return requests, 0.0
    length = seconds[:1]
    kept = np.exp(-length / delay)
    later = delay / length * (1 - kept)  # of a slice's requests: outstanding at its end
    lags = np.arange(len(requests))
    left = np.convolve(requests * later, kept**lags)[: len(requests)] + outstanding * kept ** (lags + 1)
    if len(requests) > 1 and seconds[-1] != length[0]:
        end = np.exp(-seconds[-1] / delay)
        left[-1] = left[-2] * end + requests[-1] * delay / seconds[-1] * (1 - end)
    return np.maximum(requests - np.diff(left, prepend=outstanding), 0.0), float(left[-1])


def log_likelihoods(canary: Events, baseline: Events) -> Floats:
    """Compute the log likelihood of which arm each event was in, for each of `RATIOS`; shape (ratios,).

    Parameters
    ----------
    canary, baseline : events, and the requests whose events are due under one delay; each of shape (slices,)
    """
    both = share.paired(canary.trials, baseline.trials)
    ours, events = canary.events * both, (canary.events + baseline.events) * both
    odds = share.odds_of(canary.trials * both, baseline.trials * both)
    with np.errstate(divide="ignore", invalid="ignore"):
        known = np.where(ours > 0, ours * np.log(odds), 0.0) - events * np.log1p(odds)
    changes = share.log_ratios(ours, events, odds, np.ones(()), RATIOS)
    return np.asarray(known.sum() + changes.sum(axis=-1))


def longest(likelihoods: Floats, needed: float) -> int:
    """Return the number of the longest delay that must be reckoned with; shape of the argument (delays, ratios).

    Parameters
    ----------
    likelihoods : of each delay, ascending, from `log_likelihoods`
    needed : log evidence against a delay, whatever the ratio, that excludes it

    Notes
    -----
    The mean of the likelihood over all delays and ratios, over that of one delay at its best ratio, is an e-process
    while that delay is the true one. Delays of another law, with a longer tail, look like exponential ones that are too
    short: where some delay is sure, the next longer one is reckoned with too, and where all are excluded every one.
    """
    excluded = log_mean_exp(likelihoods.reshape(-1)) - likelihoods.max(axis=1) >= needed
    if excluded.all():
        return len(excluded) - 1
    last = int(np.flatnonzero(~excluded)[-1])
    return min(last + 1, len(excluded) - 1) if excluded[0] else last
