"""What is simulated: the requests of every pod of both arms in slots of a quarter of a minute, and the past.

Arrays of counts have the shape (slots, pods, columns); the columns are those of the cell's form. Slots begin with the
history, in which the canary has no traffic. Both arms follow the same law unless a process says otherwise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from analyzer.model.counts import Histogram
from analyzer.sources.assembly import values_of

Floats = NDArray[np.float64]
Draw = Callable[..., "Rollout"]

SLOT = 15  # seconds
MINUTE = 60 // SLOT  # slots
HOUR = 60 * MINUTE
SLOTS = 4 * HOUR  # of the rollout
PAYMENT_EDGES = np.array([-1e4, -1000, -300, -100, -30, -10, 0, 10, 20, 50, 100, 200, 500, 1000, 1e4, 1e6, np.inf])
BINS = np.array([0.3, 0.2, 0.12, 0.1, 0.08, 0.07, 0.05, 0.04, 0.03, 0.01])  # shares of the scores


@dataclass(frozen=True)
class Rollout:
    """Counts of both arms by slot and pod; the canary's before the rollout are 0.

    Attributes
    ----------
    starts : of each canary pod, the slots of the rollout in which its process started; empty: all in the first
    """

    canary: Floats
    baseline: Floats
    starts: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Requests:
    """Expected requests of both arms; shape (slots, pods).

    Attributes
    ----------
    history : slots before the canary
    """

    canary: Floats
    baseline: Floats
    history: int


def requests(
    rate: float, weights: tuple[float, ...], step_minutes: float, pods: tuple[int, int], history: int
) -> Requests:
    """Spread a service's requests over arms and pods.

    Parameters
    ----------
    rate : canary requests a second at the first weight
    weights : the canary's part of the traffic, by step; the last one stays
    step_minutes : length of each step
    pods : of canary and baseline
    history : slots before the canary
    """
    steps = np.minimum(np.arange(SLOTS) // round(step_minutes * MINUTE), len(weights) - 1)
    weight = np.concatenate((np.zeros(history), np.asarray(weights)[steps]))
    everything = rate / weights[0] * SLOT
    ours, theirs = (
        everything * part[:, np.newaxis] / many * np.ones(many)
        for part, many in zip((weight, 1 - weight), pods, strict=True)
    )
    return Requests(ours, theirs, history)


# Laws of one arm: requests expected (slots, pods) in, counts (slots, pods, columns) out


def independent(rng: np.random.Generator, expected: Floats, share: Floats | float) -> Floats:
    """Draw requests each of which is bad by itself with a probability; columns: bad ones, all."""
    total = rng.poisson(expected)
    return np.stack([rng.binomial(total, np.minimum(share, 0.95)), total], axis=-1).astype(float)


def clustered(
    rng: np.random.Generator, expected: Floats, share: float, size: float, *, fixed: bool = False, apart: float = 0.0,
    spread: bool = False,
) -> Floats:  # fmt: skip
    """Draw bad requests that come in clusters, and good ones by themselves; columns: bad ones, all.

    Parameters
    ----------
    size : mean number of bad requests in a cluster: geometric, or always the same where `fixed`
    apart : mean seconds between two of a cluster
    spread : each of a cluster reaches any pod of the arm, instead of one pod all of them
    """
    begun = rng.poisson(expected * share / size)
    slot, pod = (np.repeat(index, begun[begun > 0]) for index in np.nonzero(begun))
    sizes = np.full(len(slot), round(size)) if fixed else rng.geometric(1 / size, len(slot))
    slot, pod = np.repeat(slot, sizes), np.repeat(pod, sizes)
    if apart:
        place = np.arange(len(slot)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        # Delays of one cluster are drawn one by one, which keeps their law and forgets their order.
        slot = slot + (rng.random(len(slot)) + rng.gamma(place) * apart / SLOT).astype(int)
    if spread:
        pod = rng.integers(0, expected.shape[1], len(pod))
    bad = _counted(slot, pod, expected.shape)
    return np.stack([bad, bad + rng.poisson(expected * (1 - share))], axis=-1)


def wandering(
    rng: np.random.Generator, expected: Floats, share: float, variation: float, minutes: float, *, each: bool = False
) -> Floats:
    """Draw requests whose probability to be bad wanders (lognormal) about a mean, in each pod by itself if `each`."""
    return independent(
        rng, expected, share * _levels(rng, (len(expected), expected.shape[1] if each else 1), variation, minutes)
    )


def _levels(rng: np.random.Generator, shape: tuple[int, int], variation: float, minutes: float) -> Floats:
    """Draw levels of mean 1 that wander (lognormal) with a memory."""
    kept, spread = math.exp(-1 / (minutes * MINUTE)), math.sqrt(math.log1p(variation**2))
    steps = rng.standard_normal(shape)
    steps[1:] *= math.sqrt(1 - kept**2)
    return np.exp(spread * lfilter([1.0], [1.0, -kept], steps, axis=0) - spread**2 / 2)


def bad_minutes(
    rng: np.random.Generator, expected: Floats, share: float, often: float, bad: float, minutes: int = 1
) -> Floats:
    """Draw requests to pods that have bad minutes, each pod by itself: `often` of the time a share `bad` more fails."""
    length = minutes * MINUTE
    times = np.where(rng.random((-(-len(expected) // length), expected.shape[1])) < often, bad, 0.0)
    return independent(rng, expected, share + np.repeat(times, length, axis=0)[: len(expected)])


def bursts(rng: np.random.Generator, expected: Floats, share: float, correlation: float) -> Floats:
    """Draw requests that correlate within each minute of an arm (beta-binomial)."""
    strength = 1 / correlation - 1
    shares = rng.beta(share * strength, (1 - share) * strength, len(expected) // MINUTE)
    return independent(rng, expected, np.repeat(shares, MINUTE)[:, np.newaxis])


DELAYS: dict[str, Callable[[np.random.Generator, int], Floats]] = {  # of a unit; of a mean of about one or less
    "exponential": lambda rng, number: rng.exponential(size=number),
    "fixed": lambda _, number: np.ones(number),
    "uniform": lambda rng, number: rng.uniform(0, 2, number),
    "at once or later": lambda rng, number: np.where(rng.random(number) < 0.5, 1 / 60, 1.0),
    "lognormal": lambda rng, number: rng.lognormal(-1.5, 1.5, number),
}


def delayed(
    rng: np.random.Generator, expected: Floats, share: float, delay: float, shape: str = "exponential"
) -> Floats:
    """Draw requests, and conversions that follow by a delay of such a law, whose unit is in seconds; columns:
    conversions, all.
    """
    before = int(6 * delay / SLOT)  # slots, so that the first one has conversions of earlier requests
    total = rng.poisson(np.concatenate((np.repeat(expected[:1], before, axis=0), expected)))
    won = rng.binomial(total, share)
    slot, pod = (np.repeat(index, won[won > 0]) for index in np.nonzero(won))
    if delay:
        slot = slot + (rng.random(len(slot)) + delay / SLOT * DELAYS[shape](rng, len(slot))).astype(int)
    return np.stack([_counted(slot, pod, total.shape), total], axis=-1)[before:].astype(float)


def multinomial(rng: np.random.Generator, expected: Floats, shares: Floats, rows: int = 1) -> Floats:
    """Draw predictions by bin, `rows` like ones a request; a column a bin."""
    return rows * rng.poisson(expected[..., np.newaxis] / rows * shares).astype(float)


def payments(
    rng: np.random.Generator, expected: Floats, buying: float, refunds: float, sigma: float, times: float = 1.0, *,
    bucketed: bool = False,
) -> Floats:  # fmt: skip
    """Draw lognormal payments, some of them refunds, so many times as large; columns: sum, sum of squares, number.

    Parameters
    ----------
    bucketed : the sum of squares is the product's bound of it, from a histogram
    """
    number = rng.poisson(expected * buying)
    slot, pod = (np.repeat(index, number[number > 0]) for index in np.nonzero(number))
    values = rng.lognormal(3.0, sigma, len(slot)) * np.where(rng.random(len(slot)) < refunds, -times, 1.0)
    sums = [_counted(slot, pod, number.shape, power) for power in (values, values**2)]
    if bucketed:
        buckets = np.searchsorted(PAYMENT_EDGES, values)
        counts = [_counted(slot, pod, number.shape, buckets == bucket) for bucket in range(len(PAYMENT_EDGES))]
        arm = Histogram(PAYMENT_EDGES, np.stack(counts, axis=-1).reshape(number.size, -1))
        squares = values_of(arm, sums[0].reshape(-1)).squares
        sums[1] = np.full(number.shape, np.nan) if squares is None else squares.reshape(number.shape)
    return np.stack([*sums, number], axis=-1).astype(float)


def _counted(
    slot: NDArray[np.intp], pod: NDArray[np.intp], shape: tuple[int, ...], weights: Floats | None = None
) -> Floats:
    """Count events by slot and pod; those after the end are lost."""
    inside = slot < shape[0]
    places = slot[inside] * shape[1] + pod[inside]
    counts = np.bincount(places, None if weights is None else weights[inside], minlength=shape[0] * shape[1])
    return counts.reshape(shape).astype(float)


# Processes of both arms


def alike(rng: np.random.Generator, expected: Requests, law: Callable[..., Floats], **how: Any) -> Rollout:
    """Draw both arms by one law, each by itself."""
    return Rollout(law(rng, expected.canary, **how), law(rng, expected.baseline, **how))


def incident(
    rng: np.random.Generator, expected: Requests, share: float, bad: float, minutes: float, *, past: bool = False,
    canary: float | None = None,
) -> Rollout:  # fmt: skip
    """Draw errors with an incident in both arms at any time of the rollout, or in the history if `past`."""
    length = round(minutes * MINUTE)
    first = rng.integers(0, expected.history - length) if past else expected.history + rng.integers(0, SLOTS - length)
    level = np.full((len(expected.baseline), 1), share)
    level[first : first + length] = bad
    ours = level if canary is None else np.full_like(level, canary)
    return Rollout(independent(rng, expected.canary, ours), independent(rng, expected.baseline, level))


def swinging(
    rng: np.random.Generator, expected: Requests, share: float, variation: float, minutes: float, *, own: float = 0.0,
    loss: float = 0.0, after: float = 0.0,
) -> Rollout:  # fmt: skip
    """Draw events whose rate swings in both arms alike, and by `own` in each arm by itself.

    Parameters
    ----------
    loss : part of its events that the canary has less, so many minutes `after` the start of the rollout
    """
    shape = len(expected.baseline), 1
    shared, ours, theirs = (_levels(rng, shape, size, minutes) for size in (variation, own, own))
    ours[expected.history + round(after * MINUTE) :] *= 1 - loss
    return Rollout(
        independent(rng, expected.canary, share * shared * ours),
        independent(rng, expected.baseline, share * shared * theirs),
    )


def rising(rng: np.random.Generator, expected: Requests, low: float, high: float, minutes: float) -> Rollout:
    """Draw errors of both arms whose probability rises from the begin of the rollout on, and then stays."""
    passed = (np.arange(len(expected.baseline)) - expected.history) / (minutes * MINUTE)
    level = low + (high - low) * np.clip(passed, 0, 1)
    return alike(rng, expected, independent, share=level[:, np.newaxis])


def faulty(
    rng: np.random.Generator, expected: Requests, canary: float, baseline: float, lost: float = 0.0
) -> Rollout:  # fmt: skip
    """Draw independent errors of arms of their own; a part of the canary's requests is lost and not counted."""
    return Rollout(
        independent(rng, expected.canary * (1 - lost), canary), independent(rng, expected.baseline, baseline)
    )


def slow(rng: np.random.Generator, expected: Requests, canary: float, baseline: float) -> Rollout:
    """Draw latencies of arms of their own, of which a share is slow."""
    return Rollout(
        _latencies(independent(rng, expected.canary, canary)), _latencies(independent(rng, expected.baseline, baseline))
    )


def cold(
    rng: np.random.Generator, expected: Requests, share: float, slow: float, minutes: float, *, restarts: int = 0,
    added: int = 0,
) -> Rollout:  # fmt: skip
    """Draw latencies: a share is slow, and more in the first minutes of each process of the canary.

    Parameters
    ----------
    restarts : of each canary pod, at any time
    added : canary pods that come at any time later than the others, and then share their traffic
    """
    pods = expected.canary.shape[1]
    late_pods = np.sort(rng.integers(1, SLOTS, added))
    starts = [(0, *np.sort(rng.integers(1, SLOTS, restarts)).tolist()) for _ in range(pods - added)]
    starts += [(int(slot),) for slot in late_pods]
    level, serving = np.full(expected.canary.shape, share), np.zeros(expected.canary.shape)
    for pod, slots in enumerate(starts):
        serving[expected.history + slots[0] :, pod] = 1
        for first in slots:
            level[expected.history + first :][: round(minutes * MINUTE), pod] = slow
    arm = expected.canary.sum(axis=1, keepdims=True) * serving / np.maximum(serving.sum(axis=1, keepdims=True), 1)
    ours, theirs = independent(rng, arm, level), independent(rng, expected.baseline, share)
    return Rollout(_latencies(ours), _latencies(theirs), tuple(starts))


def _latencies(arm: Floats) -> Floats:
    """Put bad requests between half a second and one, the others under 100 ms: six buckets."""
    counts = np.zeros((*arm.shape[:2], 6))
    counts[..., 4], counts[..., 1] = arm[..., 0], arm[..., 1] - arm[..., 0]
    return counts


def late(
    rng: np.random.Generator, expected: Requests, share: float, delay: float, loss: float = 0.0,
    shape: str = "exponential",
) -> Rollout:  # fmt: skip
    """Draw conversions that come late; a loss is a part of them that the canary has less."""
    return Rollout(
        delayed(rng, expected.canary, share * (1 - loss), delay, shape),
        delayed(rng, expected.baseline, share, delay, shape),
    )


def drifting(rng: np.random.Generator, expected: Requests, baseline: Floats, canary: Floats) -> Rollout:
    """Draw predictions of a canary whose bins or classes have other shares."""
    return Rollout(multinomial(rng, expected.canary, canary), multinomial(rng, expected.baseline, baseline))


def one_bin(share: float) -> Floats:
    """Give the shares of ten bins of which the first has most, as in a fraud detector."""
    return np.array([share, *[(1 - share) / 9] * 9])


def zipf(classes: int, exponent: float = 1.0) -> Floats:
    """Give shares of classes by Zipf's law."""
    weights = np.arange(1.0, classes + 1) ** -exponent
    return np.asarray(weights / weights.sum())


def only_first(shares: Floats, known: int) -> Floats:
    """Give the shares of a model that knows the first classes only."""
    kept = np.where(np.arange(len(shares)) < known, shares, 0.0)
    return np.asarray(kept / kept.sum())
