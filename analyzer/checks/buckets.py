"""Whether a limit of a latency is an edge of the histogram, and which edges stand for one that lies inside a bucket."""

import math

import numpy as np
from numpy.typing import ArrayLike

TOLERANCE = 1e-6  # relative distance at which an edge and a limit are the same


def is_edge(edges: ArrayLike, limit: float) -> bool:
    """Return whether a limit is one of the edges, or the one edge that is given."""
    return bool(np.isclose(np.asarray(edges, float), limit, rtol=TOLERANCE, atol=0).any())


def edge_below(edges: ArrayLike, limit: float) -> float:
    """Return the last edge at or below a limit, -inf where there is none; edges ascend."""
    below = np.asarray(edges, float)[np.asarray(edges, float) <= limit * (1 + TOLERANCE)]
    return float(below[-1]) if len(below) else -math.inf


def edge_above(edges: ArrayLike, limit: float) -> float:
    """Return the first edge at or above a limit, inf where there is none; edges ascend."""
    above = np.asarray(edges, float)[np.asarray(edges, float) >= limit * (1 - TOLERANCE)]
    return float(above[0]) if len(above) else math.inf
