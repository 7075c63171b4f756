"""The split of the traffic between two arms, slice by slice, as share.odds_of gives it for one run at one look."""

from dataclasses import dataclass

import numpy as np
from bench.simulation.data import Bools, Floats, Looks
from bench.simulation.sums import Triples, summed

from analyzer.stats import share

FEWEST = 10  # requests an arm, to tell the split of a group of slices
LEAST_CHANGE, CLEAR = 1.25, 3.0  # ratio of the odds, and standard errors, from which a split has moved


@dataclass(frozen=True)
class Odds:
    """The odds of the traffic's split, which are those of groups of slices where there are few requests.

    Attributes
    ----------
    complete : of each slice, in the group that it ends up in; shape (runs, slices)
    begins : at each look, the first slice of its last group, which a look later may have grown; shape (runs, looks)
    last : at each look, the odds of that group; shape (runs, looks)
    """

    complete: Floats
    begins: Looks
    last: Floats

    @classmethod
    def of(cls, canary: Floats, baseline: Floats) -> "Odds":
        """Group the slices of requests of two arms as `share.odds_of` does."""
        begins, is_first = _groups(canary, baseline)
        flat = np.flatnonzero(is_first)
        members = np.diff(np.append(flat, is_first.size))
        ours, theirs = (np.add.reduceat(arm.ravel(), flat) for arm in (canary, baseline))
        with np.errstate(divide="ignore", invalid="ignore"):
            complete = np.repeat(_finite(ours / theirs), members).reshape(canary.shape)
            runs, looks = np.indices(begins.shape)
            tail = Triples(runs.ravel(), looks.ravel(), begins.ravel())
            last = _finite(tail.sums(summed(canary)) / tail.sums(summed(baseline)))
        return cls(complete, begins, last.reshape(begins.shape))

    def cut(self, triples: Triples) -> tuple[Triples, Triples, Floats]:
        """Cut each segment where the last group of its look begins, and give the odds of that group."""
        begins = np.maximum(self.begins[triples.runs, triples.looks], triples.places)
        head, tail = (
            Triples(triples.runs, begins - 1, triples.places),
            Triples(triples.runs, triples.looks, begins),
        )
        return head, tail, self.last[triples.runs, triples.looks]


def paired(canary: Floats, baseline: Floats) -> Floats:
    """Tell the slices in which both arms have requests, by 1, and the others, which say nothing, by 0."""
    return share.paired(canary, baseline).astype(float)


def _finite(odds: Floats) -> Floats:
    return np.where(np.isfinite(odds), odds, 1.0)


def _groups(canary: Floats, baseline: Floats) -> tuple[Looks, Bools]:
    """Find the first slice of the last group at each look, and which slices are the first of a group in the end."""
    runs, slices = canary.shape
    begins, is_first = np.zeros((runs, slices), int), np.zeros((runs, slices), bool)
    is_first[:, 0] = True
    first, before = np.zeros(runs, int), np.zeros(runs, int)
    ours, theirs, ours_before, theirs_before = np.zeros((4, runs))
    for place in range(slices):
        full = np.minimum(ours, theirs) >= FEWEST
        full |= _has_moved(ours, theirs, canary[:, place], baseline[:, place])
        before, first = np.where(full, first, before), np.where(full, place, first)
        ours_before, theirs_before = np.where(full, ours, ours_before), np.where(full, theirs, theirs_before)
        is_first[full, place] = True
        ours, theirs = (np.where(full, 0.0, arm) + more[:, place] for arm, more in ((ours, canary), (theirs, baseline)))
        # Too few are left over for a group of their own: they join the one before, unless the split has moved.
        joins = (np.minimum(ours, theirs) < FEWEST) & ~_has_moved(ours_before, theirs_before, ours, theirs)
        begins[:, place] = np.where(joins, before, first)
    return begins, is_first


def _has_moved(ours: Floats, theirs: Floats, canary: Floats, baseline: Floats) -> Bools:
    """Tell the runs whose split is clearly another one in the later counts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.abs(np.log(ours / theirs) - np.log(canary / baseline))
        error = np.sqrt(1 / ours + 1 / theirs + 1 / canary + 1 / baseline)
        return np.asarray(np.isfinite(error) & (change > np.log(LEAST_CHANGE) + CLEAR * error))
