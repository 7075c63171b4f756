"""One arm against a limit, decided by a number of trials that is declared beforehand: the test of that number, exactly.

A mixture asks for the same evidence at all times, and so for more at a given number than a test of this number alone.
Where it is known by when a decision is wanted, the fixed test can be had without giving up the looks before it.
"""

import math
from dataclasses import dataclass

from scipy.special import betainc


@dataclass(frozen=True)
class Induced:
    """What the test of a declared number of trials says by now.

    Attributes
    ----------
    log_evidence : log of its e-process
    level : probability at the limit that the test rejects; the e-process is at most its inverse
    """

    log_evidence: float
    level: float


def induced(
    events: float, trials: float, declared: float, limit: float, level: float, factor: float = 1.0, fewest: float = 1.0
) -> Induced | None:
    """Test whether the share of events lies above a limit, by a declared number of trials.

    Parameters
    ----------
    events, trials : counts so far, 0 <= events <= trials <= declared
    declared : trials in all, known before the first of them
    limit : share, in (0, 1)
    level : probability of rejecting at the limit, at most
    factor : design effect, by which all counts are divided
    fewest : events, below which it never rejects

    Returns
    -------
    None where no number of events rejects.

    Notes
    -----
    The fixed test rejects at c of N events, c being the least count with P(Bin(N, p0) >= c) <= level. Its conditional
    probability of rejecting, given the counts so far, over the unconditional one is a martingale at p0 that begins at
    1 [1]_. It rises with each event, so that its expectation is at most 1 for every smaller share too. At N it is the
    fixed test; before N it reaches the inverse of the level as soon as c events were seen. Counts divided by a design
    effect take the beta distribution's tail, which equals the binomial one at whole counts.

    References
    ----------
    .. [1] N. W. Koning, S. van Meer, Anytime validity is free: inducing sequential tests, arXiv 2501.03982, 2025.

    Examples
    --------
    >>> test = induced(7, 300, 500, 0.005, 0.025)
    >>> round(test.level, 4), round(math.exp(test.log_evidence) * test.level, 4)
    (0.0139, 1.0)
    """
    least, most = math.ceil(fewest), math.floor(declared)
    if most < least or _tail(most, declared, limit, factor) > level:
        return None
    while least < most:  # by halving: the tail falls with the count
        middle = (least + most) // 2
        least, most = (least, middle) if _tail(middle, declared, limit, factor) <= level else (middle + 1, most)
    rejecting = _tail(least, declared, limit, factor)
    now = _tail(least - events, declared - trials, limit, factor)
    return Induced(math.log(now / rejecting) if now > 0 else -math.inf, rejecting)


def _tail(count: float, trials: float, share: float, factor: float) -> float:
    """Return the probability of so many events or more."""
    if count <= 0:
        return 1.0
    if count > trials:
        return 0.0
    return float(betainc(count / factor, (trials - count) / factor + 1, share))
