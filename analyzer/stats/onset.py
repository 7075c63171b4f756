"""When did it begin? Evidence since each of many fixed moments, because faults may begin late.

Evidence over the whole rollout is diluted by a healthy past: after two good hours a fault takes most of another hour
to show. So the level alpha is shared over many starts: half of it for the begin of the rollout, the other half for
moments after it, which grow sparser as time goes by.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from analyzer.stats.search import Floats

UNIT = 15.0  # seconds: the grid of the starts
WHOLE = 0.5  # the part of alpha for the begin of the rollout
FIRST_OCTAVE = 3  # an octave m is [2^m, 2^(m + 1)) units: the first later start is 2 minutes after the begin
EVEN_OCTAVES = 9  # to 17 hours: of equal weight; after them each has half the weight of the one before
MOST_A_OCTAVE = 64  # starts; their distance is 1.6% to 0.8% of the time passed


@dataclass(frozen=True)
class Starts:
    """The starts that lie on the edges of slices.

    Attributes
    ----------
    slice_indices : index of the first slice after each start; the first is 0, the start of the window; shape (starts,)
    weights : the part of alpha that each may spend; their sum is at most 1
    """

    slice_indices: NDArray[np.intp]
    weights: Floats

    def since(self, counts: Floats) -> Floats:
        """Add up counts of shape (slices, ...) from each start to the end; shape (starts, ...)."""
        summed = counts if len(counts) == 1 else np.cumsum(counts[::-1], axis=0)[::-1]
        return np.asarray(summed[self.slice_indices])


@lru_cache(maxsize=256)
def starts_of(slices: int, slice_seconds: float | None, left_out: int = 0) -> Starts:
    """Choose the starts for time slices of equal length.

    Parameters
    ----------
    slices : how many there are, at least 1
    slice_seconds : length of each; None with a single slice: it has no time, and the whole has all of alpha.
        None with several: each is taken to last a minute
    left_out : slices before the first one, of a warm-up: later starts stay where they were without it

    Notes
    -----
    The weight of a start depends on its distance from the begin alone, not on the moment of the look. With E_s the
    evidence since s, the sum of w_s E_s is an e-process if the weights add up to at most 1 [1]_, and it bounds every
    single w_s E_s. Looks that see fewer starts, because slices grow longer, only leave out terms. A warm-up ends with
    a slice, so the begin after it moves on whenever slices double beyond it: a few times, by a small part of the time
    passed; that is not accounted for.

    References
    ----------
    .. [1] G. Shafer, A. Shen, N. Vereshchagin, V. Vovk, Test martingales, Bayes factors and p-values, Statist. Sci.
       26 (2011) 84-101, on mixtures of test martingales.
    """
    if slices == 1 and slice_seconds is None:
        return Starts(np.zeros(1, np.intp), np.ones(1))
    # Slices of any length: the unit is bent a little, so that a slice is a power of two of it.
    units_a_slice = 2.0 ** round(math.log2((slice_seconds or 60.0) / UNIT))
    distances = (np.arange(1.0, slices) + left_out) * units_a_slice
    weights = _weights(distances)
    later = np.flatnonzero(weights > 0)
    return Starts(np.concatenate(([0], later + 1)), np.concatenate(([WHOLE], weights[later])))


def _weights(distances: Floats) -> Floats:
    """Give the weight of the start at each distance from the begin, in units; 0 between the starts."""
    octave = np.floor(np.log2(np.maximum(distances, 1)))
    number = np.minimum(2.0**octave, MOST_A_OCTAVE)
    is_start = (distances * number / 2.0**octave) % 1 == 0
    is_start &= (octave >= FIRST_OCTAVE) & (distances >= 1)
    beyond = np.maximum(octave - (FIRST_OCTAVE + EVEN_OCTAVES - 1), 0)
    share = 2.0**-beyond / (EVEN_OCTAVES + 1)  # the halves after the even octaves add up to one more
    return np.asarray(np.where(is_start, (1 - WHOLE) * share / number, 0.0))
