"""What two ways to decide sooner come to: a declared number of requests, and a prior that knows the baseline's past.

One check at the whole level, judged every 30 s at one canary request a second, as a service with little traffic is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from bench.simulation.cells import ALPHA, LIMITS
from bench.simulation.data import SLICE_SECONDS, Bools, Floats, Kind, Looks
from bench.simulation.figures import Figure
from bench.simulation.results import upper_bound
from scipy.special import bdtrc

from analyzer.stats import binomial
from analyzer.stats.onset import starts_of

PROMOTE, ROLLBACK = LIMITS[Kind.ERRORS].promote, LIMITS[Kind.ERRORS].rollback
FAULT = 0.015
RATE = 1.0  # canary requests a second
PAST = 19 * 7200  # requests of the baseline in two hours before
FEWEST_BAD, FAULTY = 4, 2.0
MISSED = {500: 0.28, 1000: 0.12}  # asked, by declared number; without it 0.60 and 0.27 are
CAPS = {500: 0.48, 1000: 0.2}
PASTS = {  # shares of failed requests of canary and baseline before, and how many times the requests are allowed
    "as the canary, 0.02%": (0.0002, 0.0002, 1.0),
    "as the canary, 0.1%": (0.001, 0.001, 1.0),
    "as the canary, 0.3%": (0.003, 0.003, 1.0),
    "three times the canary's 0.1%": (0.001, 0.003, 1.1),
    "a third of the canary's 0.3%": (0.003, 0.001, 1.1),
    "an incident, 2%": (0.001, 0.02, 1.1),
}
RUNS, SHORT_RUNS = 2000, 1500
LOOKS = 120  # an hour


@dataclass(frozen=True)
class Declared:
    """A test of one declared number of requests: it rejects at `count` failed ones, at `level`."""

    requests: int
    count: int
    level: float

    @classmethod
    def of(cls, requests: int) -> "Declared":
        """Choose the least count, with half of alpha at most."""
        counts = np.arange(FEWEST_BAD, requests)
        levels = bdtrc(counts - 1, requests, PROMOTE)
        place = int((levels <= ALPHA / 2).argmax())
        return cls(requests, int(counts[place]), float(levels[place]))

    def evidence(self, bad: Floats, requests: Floats) -> Floats:
        """Give the conditional probability of rejecting over the level."""
        missing, left = self.count - bad, self.requests - requests
        chance = np.where(missing <= 0, 1.0, np.where(missing > left, 0.0, bdtrc(missing - 1, left, PROMOTE)))
        return np.asarray(chance / self.level)


def rolled_back(share: float, declared: int | None, runs: int, looks: int, seed: int) -> tuple[Looks, Floats]:
    """Return the look at which each run is rolled back, -1 for never, and the requests up to each look."""
    rng = np.random.default_rng(seed)
    requests = rng.poisson(RATE * SLICE_SECONDS, (runs, looks))
    bad = rng.binomial(requests, share).cumsum(axis=1).astype(float)
    requests = requests.cumsum(axis=1).astype(float)
    test = None if declared is None else Declared.of(declared)
    found, frozen = np.full(runs, -1), np.ones(runs)
    for look in range(looks):
        active = np.flatnonzero(found < 0)
        starts = starts_of(look + 1, SLICE_SECONDS)
        before = np.maximum(starts.slice_indices - 1, 0)
        inside = starts.slice_indices > 0
        seen = bad[active, look, np.newaxis] - bad[active][:, before] * inside
        total = requests[active, look, np.newaxis] - requests[active][:, before] * inside
        with np.errstate(all="ignore"):
            log = binomial.log_evidence(seen, total, PROMOTE, side="above", prior_mean=FAULTY * ROLLBACK)
            evidence = np.exp(np.minimum(log, 300)) * starts.weights * (seen >= FEWEST_BAD)
        if test is not None:
            early = requests[active, look] <= test.requests
            frozen[active[early]] = test.evidence(bad[active[early], look], requests[active[early], look])
            part = test.level / ALPHA
            evidence *= 1 - part
            evidence[:, 0] += part * frozen[active]
        beyond: Bools = (evidence >= (1 - 1e-9) / ALPHA) & (seen > ROLLBACK * total)
        found[active[beyond.any(axis=1)]] = look
    return found, requests.astype(float)


def passed_after(share: float, past_share: float | None, runs: int, seed: int) -> float:
    """Return the median number of requests after which a healthy canary is proved good, looked at without end."""
    rng = np.random.default_rng(seed)
    looks = 1200
    requests = np.arange(1, looks + 1) * RATE * SLICE_SECONDS
    bad = rng.binomial(int(RATE * SLICE_SECONDS), share, (runs, looks)).cumsum(axis=1)
    past = None
    if past_share is not None:
        past = rng.binomial(PAST, past_share, (runs, 1)), PAST
    log = binomial.log_evidence(bad, requests, PROMOTE, side="below", past=past)
    proved = log >= -np.log(ALPHA)
    return float(np.median(np.where(proved.any(axis=1), requests[proved.argmax(axis=1)], np.inf)))


def figures(*, short: bool) -> Iterator[Figure]:
    """Measure what both ways come to."""
    runs = SHORT_RUNS if short else RUNS
    for declared, asked in MISSED.items():
        found, requests = rolled_back(FAULT, declared, runs, int(declared / (RATE * SLICE_SECONDS)) + 2, declared)
        at = np.take_along_axis(requests, np.maximum(found, 0)[:, np.newaxis], axis=1)[:, 0]
        missed = int(((found < 0) | (at > declared)).sum())
        what = f"error rate 1.5%, decide_by {declared} requests: not proved bad by then"
        yield Figure(what, asked, missed / runs, upper_bound(missed, runs), CAPS[declared])
    wrong = int((rolled_back(PROMOTE, 500, runs, LOOKS, 1)[0] >= 0).sum())
    what = "error rate at its promote limit, decide_by 500 requests: ever rolled back"
    yield Figure(what, ALPHA, wrong / runs, upper_bound(wrong, runs), ALPHA)
    for name, (share, past, allowed) in PASTS.items():
        ratio = passed_after(share, past, runs, 2) / passed_after(share, None, runs, 2)
        yield Figure(f"history {name}: requests to a pass, over those without", allowed, ratio, np.nan, allowed)
