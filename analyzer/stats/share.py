"""Two arms side by side: is the canary's rate of events the baseline's, times a ratio?

Given that an event happened, in which arm did it happen? Under the null hypothesis the canary has a known share of
the events of each slice of time, whatever the common rate does from slice to slice: incidents that hit both arms
cancel, and so does a change of the traffic's split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike

from analyzer.stats import search, split
from analyzer.stats.onset import Starts
from analyzer.stats.search import Bools, Floats, Side, log_mean_exp

Reach = tuple[float, float]

# Alternatives, as distances of the log ratio from that of the null hypothesis: a third more each, so that none is
# further from the truth than 15%, which costs 2% of the requests.
DISTANCES = np.geomspace(0.004, 4, 27)
UNEXPECTED = 0.05  # weight of an alternative outside of the expected reach, against 1 inside
STRATA = 16  # for intervals: within one the odds differ so little that it does not show
FEWEST = 10.0  # requests an arm, to tell the share of a slice; with fewer, neighbours are taken together


@dataclass(frozen=True)
class Comparison:
    """The events of two arms, slice by slice.

    Attributes
    ----------
    canary, baseline : events; shape (slices,)
    odds : canary requests per baseline request, from `odds_of`; shape (slices,)
    starts : since when evidence is wanted
    reach : the smallest and the largest change of the log ratio that is expected on each side, both > 0
    factors : by which counts are divided for overdispersion, one a start; shape (starts,)
    edges : events of the canary ("above") or the baseline ("below") that are left out of the evidence, in the slice
        with which a start begins, and at the end of all; shape (slices,) each
    """

    canary: Floats
    baseline: Floats
    odds: Floats
    starts: Starts
    reach: Mapping[Side, Reach]
    factors: Floats
    edges: Mapping[Side, tuple[Floats, Floats]] = field(default_factory=dict)
    _summed: dict[tuple[float, Side, int], Floats] = field(default_factory=dict, repr=False)

    @cached_property
    def ratios(self) -> Floats:
        """Give the ratio of the rates since each start (Mantel-Haenszel); nan without events."""
        canary_share = self.odds / (1 + self.odds)
        ours = self.starts.since(self.canary * (1 - canary_share))
        theirs = self.starts.since(self.baseline * canary_share)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(ours / theirs)

    def log_evidence(self, ratio: float, side: Side) -> Floats:
        """Give the log evidence since each start that the ratio is above (or below) `ratio`; shape (starts,).

        Notes
        -----
        With o the canary's requests per request of the baseline, an event of a slice is the canary's with
        probability o ratio / (1 + o ratio) [1]_. For each alternative the likelihood ratios of all slices multiply;
        the evidence is their mean over the alternatives. Exact for rare events and shares known beforehand; here
        they are the observed ones of the requests, because a nominal share that is off by a tenth raises false
        alarms without end. That makes it asymptotic, and conservative for events that are not rare: the variance
        of the canary's share of the events then is smaller than the binomial one.

        References
        ----------
        .. [1] M. Lindon, A. Malek, Anytime-Valid Inference for Multinomial Count Data, NeurIPS 2022.
        """
        steps, log_weights = alternatives(self.reach[side], side)
        known = log_ratios(self.canary, self.canary + self.baseline, self.odds, np.asarray(ratio), steps)
        summed = self.starts.since(known.T)  # (starts, alternatives)
        first, end = self.edges.get(side, (np.zeros(1), np.zeros(1)))
        if first.any() or end.any():
            every = np.ones(len(self.odds))
            ours = every if side == "above" else 0 * every
            each = log_ratios(ours, every, self.odds, np.asarray(ratio), steps).T  # what an event adds
            summed = summed - (first[:, np.newaxis] * each)[self.starts.slice_indices] - end @ each
        return log_mean_exp(summed / self.factors[:, np.newaxis] + log_weights)

    def forecast(self, ratio: float, side: Side, start: int, scale: ArrayLike) -> Floats:
        """Give the log evidence since one start, were all counts `scale` times as large; shape of `scale`."""
        steps, log_weights = alternatives(self.reach[side], side)
        key = (ratio, side, start)
        if key not in self._summed:  # asked for again and again, with other scales
            rows = slice(self.starts.slice_indices[start], None)
            canary, events = self.canary[rows], (self.canary + self.baseline)[rows]
            self._summed[key] = log_ratios(canary, events, self.odds[rows], np.asarray(ratio), steps).sum(axis=-1)
        summed = self._summed[key]
        times = np.asarray(scale, float)[..., np.newaxis] / self.factors[start]
        return log_mean_exp(summed * times + log_weights)

    def interval(self, start: int, *, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Bound the ratio since a start, right at every look.

        Parameters
        ----------
        start : number of the start
        alpha_low, alpha_high : how often at most, over all looks together, the lower (upper) bound may be wrong

        Returns
        -------
        Lower bound, >= 0, and upper bound, infinite while the baseline has no event.
        """
        rows = slice(self.starts.slice_indices[start], None)
        canary, events, odds = _strata(self.canary[rows], (self.canary + self.baseline)[rows], self.odds[rows])
        ours, theirs = max(canary.sum(), 0.25), max(events.sum() - canary.sum(), 0.25)
        expected = odds / (1 + odds)
        middle = np.log(
            max((canary * (1 - expected)).sum(), ours * 1e-9 + 1e-12)
            / max(((events - canary) * expected).sum(), theirs * 1e-9 + 1e-12)
        )
        scale = np.sqrt((1 / ours + 1 / theirs) * self.factors[start])

        needed = {"above": np.log(alpha_low), "below": np.log(alpha_high)}

        def surplus(points: Floats, side: Side) -> Floats:
            steps, log_weights = alternatives(self.reach[side], side)
            known = log_ratios(canary, events, odds, np.exp(points), steps).sum(axis=-1)
            return np.asarray(log_mean_exp(known / self.factors[start] + log_weights) + needed[side])

        low, high = search.interval(surplus, middle, scale)
        ratio = float(np.exp(middle))  # slices that contradict each other must not push a bound beyond it
        return (
            min(float(np.exp(low[0])), ratio) if canary.sum() > 0 else 0.0,
            max(float(np.exp(high[0])), ratio) if (events - canary).sum() > 0 else np.inf,
        )


def log_ratios(canary: Floats, events: Floats, odds: Floats, ratio: ArrayLike, steps: Floats) -> Floats:
    """Give the log likelihood ratio of each alternative in each slice.

    Parameters
    ----------
    canary, events : the canary's and all events; shape (..., slices)
    odds : canary requests per baseline request, same shape
    ratio : of the null hypothesis; any shape that broadcasts with (...)
    steps : log of the alternatives' ratios over `ratio`; shape (alternatives,)

    Returns
    -------
    Array of shape (..., alternatives, slices).
    """
    expected = (np.asarray(ratio, float)[..., np.newaxis] * odds)[..., np.newaxis, :]
    tilt = np.expm1(steps)[:, np.newaxis] * (expected / (1 + expected))
    return np.asarray(canary[..., np.newaxis, :] * steps[:, np.newaxis] - events[..., np.newaxis, :] * np.log1p(tilt))


@lru_cache(maxsize=16)
def alternatives(reach: Reach, side: Side) -> tuple[Floats, Floats]:
    """Give the alternatives' log ratios over the null hypothesis, and the logs of their weights times their number.

    Inside the reach all distances weigh the same on a logarithmic scale.
    """
    inside = (reach[0] * (1 - 1e-9) <= DISTANCES) & (reach[1] * (1 + 1e-9) >= DISTANCES)
    weights = np.where(inside, 1.0, UNEXPECTED)
    return DISTANCES * (1 if side == "above" else -1), np.log(weights / weights.mean())


def _strata(canary: Floats, events: Floats, odds: Floats) -> tuple[Floats, Floats, Floats]:
    """Put slices with nearly the same odds together: the canary's events, all events and the odds of each stratum."""
    order = np.argsort(odds, kind="stable")
    order = order[events[order] > 0]
    if len(order) <= STRATA:
        return canary[order], events[order], odds[order]
    first = np.arange(STRATA) * len(order) // STRATA
    ours, both = (np.add.reduceat(counts[order], first) for counts in (canary, events))
    expected = np.add.reduceat((events * odds / (1 + odds))[order], first) / both
    return ours, both, expected / (1 - expected)


def paired(canary: ArrayLike, baseline: ArrayLike) -> Bools:
    """Tell the slices in which both arms had traffic; in the others (at weight 100, say) nothing can be compared.

    Parameters
    ----------
    canary, baseline : requests, shape (slices,)
    """
    return np.asarray((np.asarray(canary, float) > 0) & (np.asarray(baseline, float) > 0))


def odds_of(canary: ArrayLike, baseline: ArrayLike) -> Floats:
    """Tell how many requests of the canary come to one of the baseline, in each slice.

    Slices with few requests are taken together with their neighbours until each arm has `FEWEST`, but not across a
    clear change of the split: at a new weight the odds of the old one make every event look like one arm's. Where the
    baseline has none at all the odds are 1, which says nothing: leave out slices that are not `paired`.

    Parameters
    ----------
    canary, baseline : requests, shape (slices,)
    """
    ours, theirs = np.asarray(canary, float), np.asarray(baseline, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = groups(ours, theirs)
        members = np.diff(np.append(first, len(ours)))
        odds = np.add.reduceat(ours, first) / np.add.reduceat(theirs, first)
    return np.repeat(np.where(np.isfinite(odds), odds, 1.0), members)


def groups(ours: Floats, theirs: Floats) -> Sequence[int]:
    """Cut slices into groups with enough requests in both arms: the number of the first slice of each."""
    if min(ours.min(), theirs.min()) >= FEWEST:
        return range(len(ours))
    first, before, group = [0], (0.0, 0.0), (0.0, 0.0)
    for slice_, counts in enumerate(zip(ours.tolist(), theirs.tolist(), strict=True)):
        if min(group) >= FEWEST or split.has_moved(group, counts):
            first.append(slice_)
            before, group = group, (0.0, 0.0)
        group = group[0] + counts[0], group[1] + counts[1]
    if len(first) > 1 and min(group) < FEWEST and not split.has_moved(before, group):
        first.pop()  # what is left joins the group before it
    return first
