"""Events, bins and their evidence at every look of many runs at once: what the simulations are made of."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from analyzer.stats import binomial, psi, search, share
from analyzer.stats.onset import Starts
from analyzer.stats.search import Side

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ALPHA = 0.05
TO_FAIL = ALPHA / 4  # four checks share it
LOOKS = 120
BASELINE = 19  # times the canary's traffic
UNIFORM = np.full(10, 0.1)


def at_most(decided: Bools) -> float:
    """Bound the probability that a run decides at any look, from whether each of them did; shape (runs, looks)."""
    hits, runs = int(decided.any(axis=1).sum()), len(decided)
    return float(betaincinv(hits + 1, runs - hits, 0.999))


def events(
    rng: np.random.Generator, ratio: float, batch: int, *, runs: int, looks: int = LOOKS
) -> tuple[Floats, Floats]:
    """Count events and requests of one arm at every look."""
    seen = rng.binomial(batch, ratio, (runs, looks)).cumsum(axis=1).astype(float)
    return seen, np.arange(1.0, looks + 1) * float(batch)


def zone(seen: Floats, total: Floats, promote: float, rollback: float, alpha: float) -> Bools:
    """Apply the zone rule to a share of events."""
    evidence = binomial.log_evidence(seen, total, promote, side="above")
    return (evidence >= -math.log(alpha)) & (seen / total > rollback)


def passes(seen: Floats, total: Floats, promote: float) -> Bools:
    """Apply the rule for passing to a share of events."""
    return binomial.log_evidence(seen, total, promote, side="below") >= -math.log(ALPHA)


def compared(counts: tuple[Floats, Floats], limit: float, reach: Mapping[Side, share.Reach], side: Side) -> Floats:
    """Compare the events of two arms at every look, at a split that stays, as share.Comparison does it for one."""
    steps, log_weights = share.alternatives(reach[side], side)
    odds = np.full((counts[0].shape[1], 1), 1 / BASELINE)
    found = []
    for ours, theirs in zip(*counts, strict=True):
        canary, events = ours[:, np.newaxis], (ours + theirs)[:, np.newaxis]
        ratios = share.log_ratios(canary, events, odds, np.asarray(limit), steps)[..., 0]
        found.append(search.log_mean_exp(ratios + log_weights))
    return np.array(found)


def two_arms(rng: np.random.Generator, ours: float, theirs: float, batch: int, runs: int) -> tuple[Floats, Floats]:
    """Count the events of both arms at every look."""
    return (
        events(rng, ours, batch, runs=runs)[0],
        events(rng, theirs, BASELINE * batch, runs=runs)[0],
    )


@dataclass(frozen=True)
class Drift:
    """The distances of many runs at every look; arrays of shape (runs, looks), but freedom."""

    raw: Floats
    size: Floats
    freedom: int

    def evidence(self, limit: float, side: Any) -> Floats:
        """Log evidence about the PSI."""
        return psi.log_evidence(self.raw, self.freedom, self.size, limit, side=side)

    @property
    def value(self) -> Floats:
        """PSI without its bias."""
        return self.raw - self.freedom / self.size


def drift(rng: np.random.Generator, ours: Floats, batch: int, runs: int, looks: int = LOOKS) -> Drift:
    """Measure the distance from uniform bins at every look, as psi.distance does it for one."""
    canary = rng.multinomial(batch, ours, (runs, looks)).cumsum(axis=1) + psi.PSEUDO_COUNT
    baseline = rng.multinomial(BASELINE * batch, UNIFORM, (runs, looks)).cumsum(axis=1) + psi.PSEUDO_COUNT
    c, b = canary / canary.sum(axis=2, keepdims=True), baseline / baseline.sum(axis=2, keepdims=True)
    n = np.arange(1, looks + 1) * float(batch)
    size = np.broadcast_to(n * BASELINE / (1 + BASELINE), (runs, looks))
    return Drift(((c - b) * np.log(c / b)).sum(axis=2), size, len(ours) - 1)


def tilted(distance: float) -> Floats:
    """Find bins whose PSI from uniform ones is a given one, tilted like scores that move."""
    steps = np.linspace(-1, 1, 10)
    low, high = 0.0, 5.0
    for _ in range(60):
        middle = (low + high) / 2
        bins = np.exp(middle * steps) / np.exp(middle * steps).sum()
        low, high = (middle, high) if ((bins - 0.1) * np.log(bins / 0.1)).sum() < distance else (low, middle)
    return bins


def evidence_reaches(
    errors: Floats, requests: Floats, starts: Starts, limit: float, alpha: float, *, beyond: float = 0.0
) -> Bools:
    """Tell at which look any start proves a share above a limit at its part of alpha; shapes (looks, runs)."""
    decided = np.zeros(errors.shape, bool)
    seen, total = (np.vstack((np.zeros((1, errors.shape[1])), one.cumsum(axis=0))) for one in (errors, requests))
    for place, weight in zip(starts.slice_indices, starts.weights, strict=True):
        since, among = seen[place + 1 :] - seen[place], np.maximum(total[place + 1 :] - total[place], 1e-9)
        share = np.clip(since / among, 1e-12, 1 - 1e-12)
        # The mixture is never larger than its best likelihood ratio: most looks need no more than that.
        best = among * (share * np.log(share / limit) + (1 - share) * np.log((1 - share) / (1 - limit)))
        promising = np.nonzero((share > max(limit, beyond)) & (best >= -math.log(alpha * weight)))
        found = binomial.log_evidence(since[promising], among[promising], limit, side="above")
        decided[place:][promising] |= found >= -math.log(alpha * weight)
    return decided
