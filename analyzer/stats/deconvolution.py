"""The delay of events, from how they follow the requests of one arm.

Where the rate of requests rises and falls, events that come late rise and fall later, and less. A rate that hardly
varies says nothing of the delay.
"""

from dataclasses import dataclass

import numpy as np

from analyzer.stats import delays
from analyzer.stats.search import Floats

BEFORE = 3  # the part of the slices that only tells the requests before the others is one in so many
SCALES = (1.0, 0.25, 0.0625)  # longest mean delays that the class of laws is laid out for, as parts of the longest
BLOCK_SECONDS = 3600.0  # within which events are compared: how many requests have one may change over the day
NEEDED = 3.0  # nats against a law that exclude it: half of the 95% quantile of chi-square with two degrees of freedom
FEWEST = 12  # slices
_LATE = np.array([law.late[1] for law in delays.LAWS])


@dataclass(frozen=True)
class Delay:
    """Mean delay of events, in seconds.

    Attributes
    ----------
    likeliest : under the law that explains the events best
    least : under any law that is not excluded
    most : of the late part of any law that is not excluded
    longest : the longest that was looked for
    """

    likeliest: float
    least: float
    most: float
    longest: float

    @property
    def known(self) -> bool:
        """Whether the counts exclude events at once, or such as come as late as was looked for."""
        return self.least > delays.AT_ONCE * self.longest or self.most < self.longest


def estimate(requests: Floats, events: Floats, seconds: float, longest: float) -> Delay | None:
    """Estimate the mean delay of events in the class of laws of `delays`.

    Parameters
    ----------
    requests, events : of one arm; shape (slices,)
    seconds : length of a slice
    longest : mean delay in seconds, > 0, at most a third of the time of all slices

    Returns
    -------
    None where there are too few slices, or no events.

    Notes
    -----
    Given how many events a block of slices has, they are spread over it as what is due: a multinomial likelihood,
    which is divided by Pearson's overdispersion under the likeliest law. Laws beside one that is not excluded are
    not either.
    """
    before = len(requests) // BEFORE
    if len(requests) < FEWEST or events[before:].sum() <= 0 or requests[before:].min() < 0:
        return None
    past, requests, events = requests[:before], requests[before:], events[before:]
    block = max(2, round(BLOCK_SECONDS / seconds))
    first = np.arange(0, max(len(events) - block // 2, 1), block)
    sizes = np.diff(np.append(first, len(events)))
    totals = np.repeat(np.add.reduceat(events, first), sizes)
    lengths = np.full(len(events), seconds)
    expected = np.stack([
        delays.mixed(delays.exposures(requests, lengths, longest * scale, past)) for scale in SCALES
    ])  # fmt: skip
    expected = np.maximum(expected, 1e-9)  # shape (scales, laws, slices)
    expected *= totals / np.repeat(np.add.reduceat(expected, first, axis=-1), sizes, axis=-1)
    likelihoods = np.log(np.maximum(expected, 1e-300)) @ events
    best = np.unravel_index(likelihoods.argmax(), likelihoods.shape)
    likely = np.maximum(expected[best], 1e-9)
    factor = max(1.0, float(((events - likely) ** 2 / likely).sum()) / max(len(events) - len(first) - 3, 1))
    possible = (likelihoods >= likelihoods[best] - NEEDED * factor) @ delays.NEIGHBOURS
    scales = longest * np.array(SCALES)[:, np.newaxis]
    means, late_means = scales * delays.MEANS, scales * _LATE
    return Delay(float(means[best]), float(means[possible].min()), float(late_means[possible].max()), longest)
