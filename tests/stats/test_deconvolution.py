"""The delay of events from one arm's requests and events: what the interval covers, and when nothing can be told."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from analyzer.stats.deconvolution import estimate

Floats = NDArray[np.float64]
BEFORE, SLICES = 60, 240


def converting(rng: Any, delays: Any, *, swing: float, share: float = 0.05) -> tuple[Floats, Floats]:
    """Draw minutes of some 3,000 requests each, whose rate wanders for ten minutes, and what follows by delays."""
    swings = np.zeros(BEFORE + SLICES)
    for number in range(1, len(swings)):
        swings[number] = 0.9 * swings[number - 1] + swing * np.sqrt(1 - 0.9**2) * rng.standard_normal()
    requests = rng.poisson(3000 * np.exp(swings))
    won = rng.binomial(requests, share)
    moments = np.repeat(np.arange(len(won)), won) + rng.random(won.sum()) + delays(rng, won.sum()) / 60
    events = np.bincount(moments[moments < len(won)].astype(int), minlength=len(won))
    return requests[BEFORE:].astype(float), events[BEFORE:].astype(float)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("mean", "delays"),
    [
        (0.0, lambda _, number: np.zeros(number)),
        (60.0, lambda rng, number: rng.exponential(60, number)),
        (600.0, lambda rng, number: rng.exponential(600, number)),
        (300.0, lambda _, number: np.full(number, 300.0)),
        (600.0, lambda rng, number: rng.lognormal(np.log(600) - 0.72, 1.2, number)),
        (120.0, lambda rng, number: np.where(rng.random(number) < 0.8, 0, rng.exponential(600, number))),
    ],
    ids=["at once", "1m", "10m", "fixed", "lognormal", "two parts"],
)
def test_the_interval_covers_the_mean(mean: float, delays: Any) -> None:
    """In nearly all runs, and without saying that ten minutes are too short for a mean up to ten."""
    rng = np.random.default_rng(3)
    runs = [estimate(*converting(rng, delays, swing=0.2), 60.0, 2400.0) for _ in range(20)]

    assert sum(run is not None and run.least <= mean <= run.most for run in runs) >= 18
    assert not any(run is not None and run.least > 600 for run in runs)


def test_what_follows_much_later_is_told_from_what_comes_at_once() -> None:
    """Half an hour is more than ten minutes, and at once is less than five."""
    rng = np.random.default_rng(4)
    late = estimate(*converting(rng, lambda rng, n: rng.exponential(1800, n), swing=0.3), 60.0, 2400.0)
    once = estimate(*converting(rng, lambda _, n: np.zeros(n), swing=0.3, share=0.3), 60.0, 2400.0)

    assert late is not None
    assert late.known
    assert late.least > 600
    assert once is not None
    assert once.known
    assert once.most < 300


def test_steady_traffic_tells_nothing() -> None:
    """Requests at a constant rate are due at that rate whatever the delay."""
    delay = estimate(np.full(90, 600.0), np.full(90, 30.0), 60.0, 1200.0)

    assert delay is not None
    assert (delay.least, delay.known) == (0.0, False)
    assert delay.most >= 1200


@pytest.mark.parametrize(("slices", "events"), [(5, 3.0), (60, 0.0)])
def test_too_little_to_tell(slices: int, events: float) -> None:
    """Few slices, or none of the requests converted."""
    assert estimate(np.full(slices, 600.0), np.full(slices, events), 60.0, 600.0) is None
