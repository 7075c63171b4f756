"""What is simulated: the traffic of many rollouts at once, in slices of half a minute, and baseline history before.

Every array has the shape (runs, slices) or (runs, slices, bins). The draws of a cell depend on its name alone.
"""

import zlib
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Looks = NDArray[np.int64]

SLICE_SECONDS, LOOKS = 30.0, 480  # four hours, a look after every slice
MINUTE = 2  # slices
HISTORY = 120  # minutes of the baseline before the canary starts
SHARE = 0.05  # of all requests that the canary gets
BINS = 10
STEPS = np.linspace(-1, 1, BINS)
SIGMA = 1.5  # of the logarithm of revenue
VARIATION = float(np.expm1(SIGMA**2))  # squared coefficient of variation of revenue
INCIDENT_VARIATION, INCIDENT_SECONDS = 2.0, 900.0  # of incidents that both arms share
SWAY = 0.5  # standard deviation of a tilt of the scores that both arms share
POOL = (4096, 2**19)  # revenue is drawn from at least so many blocks, of at least so many values, with replacement


class Kind(StrEnum):
    """What is measured."""

    ERRORS = "error rate"
    LATENCY = "p99 latency"
    DRIFT = "prediction drift"
    CONVERSIONS = "conversions"
    REVENUE = "revenue"


@dataclass(frozen=True)
class Scenario:
    """What is true of a rollout.

    Attributes
    ----------
    canary, baseline : the true values: a share of requests; the PSI from the other arm; a mean
    onset : seconds, before which the canary is as the baseline
    correlation : of two requests of one arm in one minute
    incidents : both arms have a common, slowly varying factor of mean 1
    share : of the requests that the canary gets
    steps : it gets 5%, 25%, 50% of them for a third of the time each, while the level grows from a third to the whole
    """

    name: str
    canary: float
    baseline: float
    onset: float = 0.0
    correlation: float = 0.0
    incidents: bool = False
    share: float = SHARE
    steps: bool = False


@dataclass(frozen=True)
class Cell:
    """One scenario at one rate of canary requests a second, simulated `runs` times."""

    kind: Kind
    scenario: Scenario
    rate: float
    runs: int

    @property
    def name(self) -> str:
        """The words that seed it."""
        return f"{self.kind}, {self.scenario.name}, {self.rate:g}/s"


@dataclass(frozen=True, eq=False)
class Arm:
    """Requests of one arm, and the events or conversions among them."""

    events: Floats
    requests: Floats


@dataclass(frozen=True, eq=False)
class Moments:
    """Values of one arm: number, sum and sum of squares."""

    count: Floats
    total: Floats
    squares: Floats


@dataclass(frozen=True)
class Shares:
    """Counts of both arms a slice, and of the baseline a minute before."""

    canary: Arm
    baseline: Arm
    history: Arm


@dataclass(frozen=True)
class Bins:
    """Predictions of both arms by slice and bin, and of the baseline a minute before."""

    canary: Floats
    baseline: Floats
    history: Floats


@dataclass(frozen=True)
class Sums:
    """Values of both arms a slice, and of the baseline a minute before."""

    canary: Moments
    baseline: Moments
    history: Moments


Data = Shares | Bins | Sums


def draw(cell: Cell) -> Data:
    """Simulate a cell."""
    rng = np.random.default_rng(zlib.crc32(cell.name.encode()))
    match cell.kind:
        case Kind.DRIFT:
            return _draw_bins(cell, rng)
        case Kind.REVENUE:
            return _draw_sums(cell, rng)
        case _:
            return _draw_shares(cell, rng)


def requests_of(data: Data) -> Floats:
    """Count the canary's requests up to each look."""
    match data:
        case Shares():
            return np.cumsum(data.canary.requests, axis=1)
        case Bins():
            return np.cumsum(data.canary.sum(axis=2), axis=1)
        case Sums():
            return np.cumsum(data.canary.count, axis=1)


def tilted(distance: float) -> Floats:
    """Find bins whose PSI from uniform ones is a given one, tilted as scores that move."""
    return _tilt(np.array(slope_of(distance)))


def slope_of(distance: float) -> float:
    """Find the tilt that leads to a PSI."""
    low, high = 0.0, 5.0
    for _ in range(60):
        middle = (low + high) / 2
        bins = _tilt(np.array(middle))
        low, high = (middle, high) if ((bins - 1 / BINS) * np.log(bins * BINS)).sum() < distance else (low, middle)
    return low


def faulty(scenario: Scenario) -> Floats:
    """Tell which part of each slice comes after the onset; shape (slices,)."""
    ends = SLICE_SECONDS * np.arange(1, LOOKS + 1)
    return np.clip((ends - scenario.onset) / SLICE_SECONDS, 0, 1)


def expected_requests(cell: Cell) -> tuple[Floats, Floats]:
    """Give the mean number of requests a slice of canary and baseline; shape (slices,)."""
    share = np.full(LOOKS, cell.scenario.share)
    if cell.scenario.steps:
        share = np.repeat([0.05, 0.25, 0.5], LOOKS // 3)
    everything = cell.rate / SHARE * SLICE_SECONDS
    return everything * share, everything * (1 - share)


def _level(cell: Cell, rng: np.random.Generator) -> Floats:
    """Draw the factor that both arms share, over the history and the rollout; shape (runs or 1, slices)."""
    slices = HISTORY * MINUTE + LOOKS
    if cell.scenario.steps:
        return np.concatenate((np.full(HISTORY * MINUTE, 1 / 3), np.linspace(1 / 3, 1, LOOKS)))[np.newaxis]
    if not cell.scenario.incidents:
        return np.ones((1, slices))
    spread = np.sqrt(np.log1p(INCIDENT_VARIATION**2))
    return np.asarray(np.exp(spread * _wandering(cell.runs, slices, rng) - spread**2 / 2))


def _wandering(runs: int, slices: int, rng: np.random.Generator) -> Floats:
    """Draw standard normal values that forget themselves within a quarter of an hour."""
    kept = np.exp(-SLICE_SECONDS / INCIDENT_SECONDS)
    values = rng.standard_normal((runs, slices))
    for place in range(1, slices):
        values[:, place] = kept * values[:, place - 1] + np.sqrt(1 - kept**2) * values[:, place]
    return values


def _path(scenario: Scenario) -> Floats:
    """Give the canary's true value in each slice."""
    return scenario.baseline + (scenario.canary - scenario.baseline) * faulty(scenario)


def _by_minute(values: Floats) -> Floats:
    """Average slices to minutes along axis 1."""
    return np.asarray(values.reshape(len(values), -1, MINUTE, *values.shape[2:]).mean(axis=2))


def _draw_shares(cell: Cell, rng: np.random.Generator) -> Shares:
    scenario, runs = cell.scenario, cell.runs
    level = _level(cell, rng)
    past, now = level[:, : HISTORY * MINUTE], level[:, HISTORY * MINUTE :]
    expected = expected_requests(cell)

    def arm(value: Floats, requests: Floats | float, each: int) -> Arm:
        share = np.broadcast_to(np.clip(value, 1e-12, 0.9), (runs, value.shape[1]))
        if scenario.correlation:
            strength = 1 / scenario.correlation - 1
            minutes = share[:, ::each]
            share = np.repeat(rng.beta(minutes * strength, (1 - minutes) * strength), each, axis=1)
        trials = rng.poisson(requests, share.shape)
        return Arm(rng.binomial(trials, share).astype(float), trials.astype(float))

    return Shares(
        canary=arm(_path(scenario) * now, expected[0], MINUTE),
        baseline=arm(scenario.baseline * now, expected[1], MINUTE),
        history=arm(scenario.baseline * _by_minute(past), cell.rate / SHARE * (1 - SHARE) * 60, 1),
    )


def _tilt(slope: Floats) -> Floats:
    """Tilt uniform bins; the bins come as the last axis."""
    weights = np.exp(slope[..., np.newaxis] * STEPS)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def _draw_bins(cell: Cell, rng: np.random.Generator) -> Bins:
    scenario, runs = cell.scenario, cell.runs
    slopes = np.zeros((1, HISTORY * MINUTE + LOOKS))
    if scenario.incidents:
        slopes = SWAY * _wandering(runs, slopes.shape[1], rng)
    if scenario.steps:
        slopes = slope_of(0.5) * (_level(cell, rng) * 1.5 - 0.5)
    theirs = _tilt(slopes)
    past, now = theirs[:, : HISTORY * MINUTE], theirs[:, HISTORY * MINUTE :]
    part = faulty(scenario)[:, np.newaxis]
    ours = (1 - part) * now + part * tilted(scenario.canary) if scenario.canary else now
    expected = expected_requests(cell)

    def arm(shares: Floats, requests: Floats | float, each: int) -> Floats:
        shares = np.broadcast_to(shares, (runs, *shares.shape[1:]))
        if scenario.correlation:
            weights = rng.standard_gamma(shares[:, ::each] * (1 / scenario.correlation - 1))
            shares = np.repeat(weights / weights.sum(axis=2, keepdims=True), each, axis=1)
        return np.asarray(rng.poisson(shares * np.reshape(requests, (-1, 1))), float)

    return Bins(
        canary=arm(ours, expected[0], MINUTE),
        baseline=arm(now, expected[1], MINUTE),
        history=arm(_by_minute(past), cell.rate / SHARE * (1 - SHARE) * 60, 1),
    )


def _draw_sums(cell: Cell, rng: np.random.Generator) -> Sums:
    """Draw sums of revenue out of a pool of blocks, so that both arms have exactly the same law but for the fault."""
    scenario, runs = cell.scenario, cell.runs
    blocks_in_pool = max(POOL[0], round(POOL[1] / (cell.rate * SLICE_SECONDS)))
    sizes = rng.poisson(cell.rate * SLICE_SECONDS, blocks_in_pool)
    begins, values = np.concatenate(([0], np.cumsum(sizes)[:-1])), rng.lognormal(0, SIGMA, int(sizes.sum()) + 1)
    pool = np.stack([sizes, *(np.add.reduceat(power, begins) * (sizes > 0) for power in (values, values**2))])
    level = _level(cell, rng)
    past, now = level[:, : HISTORY * MINUTE], level[:, HISTORY * MINUTE :]
    blocks = [np.round(requests / (cell.rate * SLICE_SECONDS)).astype(int) for requests in expected_requests(cell)]
    variance = scenario.correlation * VARIATION / (1 - scenario.correlation * (1 + VARIATION))

    def arm(factor: Floats, drawn: NDArray[np.int64], each: int) -> Moments:
        found = np.empty((3, runs, len(drawn)))
        for many in np.unique(drawn):
            places = np.flatnonzero(drawn == many)
            found[:, :, places] = pool[:, rng.integers(0, blocks_in_pool, (runs, len(places), many))].sum(axis=-1)
        if variance:
            common = rng.gamma(1 / variance, variance, (runs, len(drawn) // each))
            factor = factor * np.repeat(common, each, axis=1)
        return Moments(found[0], found[1] * factor, found[2] * factor**2)

    return Sums(
        canary=arm(_path(scenario) * now, blocks[0], MINUTE),
        baseline=arm(scenario.baseline * now, blocks[1], MINUTE),
        history=arm(_by_minute(past), np.full(HISTORY, round((1 / SHARE - 1) * MINUTE)), 1),
    )
