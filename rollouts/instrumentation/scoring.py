"""The model that the examples serve: put yours here."""

import math
from collections.abc import Sequence


def score(features: Sequence[float]) -> float:
    """Return the probability of fraud, in [0, 1]."""
    return 0.5 * (1.0 + math.tanh(0.5 * (sum(features) - 3.0)))
