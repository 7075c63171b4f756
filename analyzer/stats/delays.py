"""Events that follow their request by a delay: which requests can the events of a slice belong to?

A conversion of this minute belongs to a request of minutes ago, when the canary had a smaller part of the traffic, or
none. So the exposure of the events in a slice is not the number of its requests but the part of all requests before
that is due in it. What is due depends on the law of the delay, of which only a class is known.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from analyzer.stats.search import Bools, Floats

# Means and shares of the laws that are considered; means are parts of the longest mean delay.
EXPONENTIAL = (0.0, 0.03, 0.07, 0.14, 0.25, 0.4, 0.65, 1.0)
UNIFORM = (0.1, 0.25, 0.5, 0.75, 1.0)  # from 0 on
HUMPS = tuple(round(0.05 + number / 10, 2) for number in range(11))
WIDE = (0.25, 0.45, 0.65, 0.85)
HALF_WIDTHS = {"hump": 0.05, "wide": 0.2}
LOGNORMAL = (0.1, 0.2, 0.4, 0.7, 1.0)
SIGMAS = {"lognormal": 0.8, "heavy": 1.3, "heavier": 1.9}
EARLY = 0.05  # mean delay of what comes early in a law of two parts, where not at once
TENTHS = tuple(number / 10 for number in range(1, 10))
STRAY = (0.0, 0.003, 0.03)  # shares of stray early events, beside a hump
AT_ONCE = 1e-4  # of any law comes at once: no event is impossible

MOST_SLICES = 96  # in which laws are told apart
SURE = 0.05  # log ratio of the odds under laws beside each other, below which the difference does not show
FURTHEST = 7.0  # log ratio of the arms' rates
USUAL = 0.2  # log ratio of a usual loss: half of the weight is for smaller ones
NEWTON = 5  # steps of at most a factor of e^2

Part = tuple[str, float]  # shape, mean
PARTS: tuple[Part, ...] = (
    *(("exponential", mean) for mean in (*EXPONENTIAL, EARLY)),
    *(("uniform", mean) for mean in UNIFORM),
    *(("hump", mean) for mean in HUMPS),
    *(("wide", mean) for mean in WIDE),
    *((shape, mean) for shape in SIGMAS for mean in LOGNORMAL),
)


@dataclass(frozen=True)
class Law:
    """A law of two parts, and its position: `row` and `column` within its family."""

    position: tuple[int, int, int]
    late: Part
    early: Part = PARTS[0]
    share: float = 0.0  # of what is early


def _laws() -> Iterator[Law]:
    for row, mean in enumerate(EXPONENTIAL):
        yield Law((0, row, 0), ("exponential", mean))
    for row, mean in enumerate(UNIFORM):
        yield Law((1, row, 0), ("uniform", mean))
    for (column, shape), (row, mean) in itertools.product(enumerate(SIGMAS), enumerate(LOGNORMAL)):
        yield Law((2, row, column), (shape, mean))
    two_parts = (
        ("hump", HUMPS, PARTS[0], (*STRAY, *TENTHS)),
        ("hump", HUMPS, ("exponential", EARLY), TENTHS[1::2]),
        ("wide", WIDE, PARTS[0], (*STRAY, *TENTHS[1::2])),
        ("exponential", (0.65, 1.0), PARTS[0], TENTHS),
        ("exponential", (0.65, 1.0), ("exponential", EARLY), TENTHS),
    )
    for family, (shape, means, early, shares) in enumerate(two_parts, start=3):
        for (row, mean), (column, share) in itertools.product(enumerate(means), enumerate(shares)):
            yield Law((family, row, column), (shape, mean), early, share)


LAWS = tuple(_laws())
_LATE, _EARLY = (
    np.array([PARTS.index(part) for part in parts])
    for parts in zip(*((law.late, law.early) for law in LAWS), strict=True)
)
_SHARES = np.array([[law.share] for law in LAWS])
_APART = np.abs(np.array([[law.position] for law in LAWS]) - np.array([law.position for law in LAWS]))
NEIGHBOURS = (_APART[..., 0] == 0) & (_APART[..., 1:] <= 1).all(axis=-1)  # whether laws are; shape (laws, laws)
_BESIDE = NEIGHBOURS & (_APART[..., 2] == 0)  # humps of which one comes next to the other
_BESIDE &= np.array([law.late[0] in HALF_WIDTHS for law in LAWS])


def mixed(parts: Floats, laws: Bools | slice = slice(None)) -> Floats:
    """Return what is due under laws, given what is under each of `PARTS`; shapes (parts, ...) and (laws, ...)."""
    share = _SHARES[laws] * (1 - AT_ONCE)  # no matrix product: its threads wait for each other on a busy machine
    return np.asarray(parts[_EARLY[laws]] * share + parts[_LATE[laws]] * (1 - AT_ONCE - share) + AT_ONCE * parts[0])


_SIZES = (1, len(EXPONENTIAL) - 1, len(LAWS) - len(EXPONENTIAL))
_LOG_WEIGHTS = -np.log(len(_SIZES) * np.repeat(_SIZES, _SIZES))  # as much for events at once as for each other group

MEANS = mixed(np.array([[mean] for _, mean in PARTS]))[:, 0]


def _due_since(part: Part, longest: float, seconds: Floats) -> Floats:
    """Return how many events are due so many seconds after one request a second started."""
    shape, mean = part[0], part[1] * longest
    if mean <= 0:
        return np.maximum(seconds, 0.0)
    if shape == "exponential":
        return np.asarray(seconds + mean * np.expm1(-seconds / mean))
    if shape in SIGMAS:
        sigma = SIGMAS[shape]
        with np.errstate(divide="ignore"):
            score = np.log(np.maximum(seconds, 0.0) / mean) / sigma + sigma / 2
        return np.asarray(seconds * ndtr(score) - mean * ndtr(score - sigma))
    half = mean if shape == "uniform" else HALF_WIDTHS[shape] * longest
    into = np.clip(seconds - mean + half, 0.0, 2 * half)
    return np.asarray(into**2 / (4 * half) + np.maximum(seconds - mean - half, 0.0))


@lru_cache(maxsize=8)
def _transforms(size: int, length: float, longest: float) -> NDArray[np.complex128]:
    """Return the Fourier transforms of what is due after each number of slices, of each part."""
    edges = np.arange(0.0, size // 2) * length
    return np.asarray(np.fft.rfft(np.stack([_due_since(part, longest, edges) for part in PARTS]), size))


def exposures(requests: Floats, seconds: Floats, longest: float, past: Floats) -> Floats:
    """Compute how many requests' events are due in each slice, for each of `PARTS`; shape (parts, slices).

    Parameters
    ----------
    requests : in each slice, evenly spread; shape (slices,)
    seconds : length of each slice: equal ones, the last perhaps another; shape (slices,)
    longest : mean delay that the means of `PARTS` are parts of, in seconds, > 0
    past : requests in earlier slices of the length of the first, at least one; what was before them was like the
        first of them; shape (slices before,)

    Notes
    -----
    Of one request a second since time 0 the integral of the delay's distribution function from 0 to t is due by t.
    The rate of requests is constant before the first slice, and a sum of steps after it.
    """
    length, last, before = float(seconds[0]), float(seconds[-1]), len(past)
    rates = np.concatenate((past, requests)) / length
    rates[-1] = requests[-1] / last
    steps = np.diff(rates, prepend=rates[0])
    size = 1 << (2 * len(rates) + 1).bit_length()
    due = np.fft.irfft(_transforms(size, length, longest) * np.fft.rfft(steps, size), size)[:, before : len(rates) + 1]
    ends = np.arange(len(requests) + 1) * length
    if last != length:
        ends[-1] += last - length
        since = np.arange(0.0, len(rates))[::-1] * length + last
        due[:, -1] = _summed(np.stack([_due_since(part, longest, since) for part in PARTS]), steps)
    return np.asarray(np.maximum(np.diff(due + rates[0] * ends, axis=1), 0.0))


@dataclass(frozen=True)
class LawEvidence:
    """What the events of both arms tell of the law of their delay, and of the ratio of the arms' rates with it.

    Attributes
    ----------
    likelihoods : log likelihood of each law, whatever the ratio; shape (laws,)
    below : log evidence that the ratio is below the limit, whichever the law
    if_above, if_below : laws that cannot be excluded with a ratio above, or below, the limit, and their neighbours;
        shape (laws,)
    """

    likelihoods: Floats
    below: float
    if_above: Bools
    if_below: Bools


def evidence(
    canary: Floats, events: Floats, odds: Floats, *, limit: float, factor: float, needed: float
) -> LawEvidence:
    """Weigh the laws of the delay by which arm each event was in.

    Parameters
    ----------
    canary, events : the canary's and all events; shape (slices,)
    odds : canary requests whose events are due per one of the baseline, under each law; shape (laws, slices), > 0
    limit : of the ratio of the arms' rates
    factor : by which counts are divided for overdispersion
    needed : log evidence against a law that excludes it

    Notes
    -----
    The likelihood, averaged over laws and ratios, over its largest value under the null hypothesis, whichever the law,
    is an e-value of that hypothesis at every look [1]_. The average over the log ratio is Laplace's approximation,
    with a half-Cauchy density of the distance from the limit, and the laws of three groups have a third of the weight
    each: events at once, other exponential delays, all others. Laws of the class lie between those listed, so that
    what is excluded leaves its neighbours.

    References
    ----------
    .. [1] L. Wasserman, A. Ramdas, S. Balakrishnan, Universal inference, PNAS 117 (2020) 16880-16890, section 8.
    """
    logs, border = np.log(odds), math.log(limit)
    ratio, curvature = _fitted(canary, events, logs, border)
    top = _BESIDE[_log_likelihoods(canary, events, logs + ratio[:, np.newaxis]).argmax()]
    if top.any() and not (sure := np.ptp(logs[top], axis=0) < SURE).all():
        # The true law may have a sharper hump, between those listed.
        logs, canary, events = logs[:, sure], canary[sure], events[sure]
        ratio, curvature = _fitted(canary, events, logs, border)

    best, at_limit = (
        _log_likelihoods(canary, events, logs + point) / factor for point in (ratio[:, np.newaxis], border)
    )
    best = np.maximum(best, at_limit)
    above, below = np.where(ratio >= border, best, at_limit), np.where(ratio <= border, best, at_limit)
    width = 0.5 * np.log(curvature / factor / (2 * math.pi))

    def average(likelihoods: Floats, distances: Floats) -> float:
        density = math.log(2 / (math.pi * USUAL)) - np.log1p((distances / USUAL) ** 2)
        return float(np.logaddexp.reduce(likelihoods + np.minimum(density - width, 0.0) + _LOG_WEIGHTS))

    everything = average(best, np.abs(ratio - border)) - math.log(2)
    return LawEvidence(
        best, average(below, np.maximum(border - ratio, 0.0)) - float(above.max()),
        _not_excluded(above, everything - needed), _not_excluded(below, everything - needed),
    )  # fmt: skip


def _fitted(canary: Floats, events: Floats, logs: Floats, border: float) -> tuple[Floats, Floats]:
    """Return the likeliest log ratio under each law, and the curvature of the log likelihood there."""
    ratio, ours = np.full(len(logs), border), float(canary.sum())
    for _ in range(NEWTON):
        share = 1 / (1 + np.exp(-logs - ratio[:, np.newaxis]))
        curvature = np.maximum(_summed(share * (1 - share), events), 1e-9)
        step = np.clip((ours - _summed(share, events)) / curvature, -2, 2)
        ratio = np.clip(ratio + step, border - FURTHEST, border + FURTHEST)
    return ratio, curvature


def _log_likelihoods(canary: Floats, events: Floats, logits: Floats) -> Floats:
    return np.asarray(_summed(logits, canary) - _summed(np.log1p(np.exp(logits)), events))


def _summed(each: Floats, counts: Floats) -> Floats:
    return np.asarray(np.einsum("ij,j->i", each, counts))


def _not_excluded(likelihoods: Floats, least: float) -> Bools:
    """Return the laws that are at least so likely, and the likeliest, with their neighbours."""
    return np.asarray(NEIGHBOURS[likelihoods >= min(least, float(likelihoods.max()))].any(axis=0))
