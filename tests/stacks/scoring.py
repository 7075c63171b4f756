"""A model that does what it is told by its first feature, and returns the second as its score."""

import time
from collections.abc import Sequence

ANSWER, FAIL, TAKE_LONG = 0.0, 1.0, 2.0
LONG = 1.5  # seconds


def score(features: Sequence[float]) -> float:
    """Answer, fail, or answer late."""
    what, value = features
    if what == FAIL:
        raise RuntimeError("told to fail")
    if what == TAKE_LONG:
        time.sleep(LONG)
    return value
