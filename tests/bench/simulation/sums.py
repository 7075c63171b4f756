"""Sums of many runs between starts and looks, the common ground of all evidence: time first, then runs."""

from dataclasses import dataclass

import numpy as np
from bench.simulation.data import Bools, Floats, Looks


def summed(values: Floats) -> Floats:
    """Add up values of shape (runs, slices, ...), beginning with 0; shape (slices + 1, runs, ...)."""
    turned = np.moveaxis(values, 1, 0)
    found = np.zeros((turned.shape[0] + 1, *turned.shape[1:]))
    np.cumsum(turned, axis=0, out=found[1:])
    return found


@dataclass(frozen=True)
class Triples:
    """Some runs, each at a look and since a start: three arrays of one length."""

    runs: Looks
    looks: Looks
    places: Looks

    def __getitem__(self, which: Bools | Looks) -> "Triples":
        return Triples(self.runs[which], self.looks[which], self.places[which])

    def sums(self, values: Floats) -> Floats:
        """Add up from start to look what `summed` gave."""
        return np.asarray(values[self.looks + 1, self.runs] - values[self.places, self.runs])


@dataclass(frozen=True)
class Block:
    """Some runs at consecutive looks.

    Attributes
    ----------
    runs : in ascending order
    begin, end : the first look, and the one after the last
    """

    runs: Looks
    begin: int
    end: int

    def at_looks(self, values: Floats) -> Floats:
        """Take what `summed` gave at each look; shape (looks, runs)."""
        return np.asarray(values[self.begin + 1 : self.end + 1, self.runs])

    def triples(self, where: Bools, place: int, skipped: int = 0) -> Triples:
        """List the places of an array of shape (looks, runs), but for looks before the start and those skipped."""
        look, run = np.nonzero(where)
        look += self.begin + skipped
        kept = look >= place
        return Triples(self.runs[run[kept]], look[kept], np.full(int(kept.sum()), place))


@dataclass(frozen=True)
class Sizes:
    """Requests of an arm, and ordered pairs of requests of one slice, as `summed` gives them."""

    requests: Floats
    pairs: Floats

    @classmethod
    def of(cls, requests: Floats) -> "Sizes":
        """Add up the requests of an arm."""
        return cls(summed(requests), summed(requests * np.maximum(requests - 1, 0.0)))
