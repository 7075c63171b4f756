"""Where a monotone function crosses a line: one vectorised search, shared by every interval and forecast."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Side = Literal["above", "below"]
Bools = NDArray[np.bool_]

PARTS = 8  # numpy's cost per call is that of some ten points, so eight parts a round beat bisection
STEPS = np.array([1, 2, 3, 4, 5, 6, 8, 12, 24, 100, 1000])[:, np.newaxis]  # in standard errors, dense where bounds are
FORECAST_POINTS = 16
FURTHEST = 40.0  # on a logarithmic scale: beyond, a bound says nothing


def interval(surplus: Callable[[Floats, Side], Floats], middle: ArrayLike, scale: ArrayLike) -> tuple[Floats, Floats]:
    """Find the bounds of what the evidence does not exclude, for several columns at once.

    Parameters
    ----------
    surplus : takes points of shape (k, m) and a side; returns the log evidence that the truth is on that side of
        each, less the needed one, of that shape. "above" excludes points below `middle`, "below" those above it
    middle, scale : as in `crossing`; shape (m,)

    Returns
    -------
    Lower and upper bounds, each of shape (m,).
    """
    origin, unit = np.atleast_1d(np.asarray(middle, float)), np.atleast_1d(np.asarray(scale, float))
    columns = len(origin)

    def both(points: Floats) -> Floats:
        return np.concatenate([surplus(points[:, :columns], "above"), surplus(points[:, columns:], "below")], axis=1)

    bounds = crossing(both, np.tile(origin, 2), np.tile(unit, 2), sign=np.repeat([-1.0, 1.0], columns))
    return bounds[:columns], bounds[columns:]


def crossing(surplus: Callable[[Floats], Floats], middle: ArrayLike, scale: ArrayLike, *, sign: ArrayLike) -> Floats:
    """Find where evidence begins to suffice, going outwards from points where it does not.

    Parameters
    ----------
    surplus : takes points of shape (k, m), returns the log evidence against each less the needed one, of that
        shape; along each column negative up to some distance from `middle` and not after it
    middle : where to begin, shape (m,)
    scale : about a standard error, shape (m,); only speed and precision depend on it
    sign : 1 to go up, -1 to go down; for all columns, or one each

    Returns
    -------
    Array of shape (m,); infinite where nothing within FURTHEST is excluded. Precise to about a thousandth of the
    distance, and as `surplus` is convex rather too near than too far: what is excluded stays outside.
    """
    origin, unit = np.atleast_1d(np.asarray(middle, float)), np.atleast_1d(np.asarray(scale, float))
    columns, outwards = np.arange(len(origin)), np.asarray(sign, float)
    distances = np.minimum(STEPS * unit, FURTHEST)
    values = surplus(origin + outwards * distances)
    row, crosses = _first_true(values >= 0)
    far = distances[row, columns]
    near = np.where(row > 0, distances[row - 1, columns], 0.0)

    distances = near + np.arange(PARTS + 1)[:, np.newaxis] / PARTS * (far - near)
    values = surplus(origin + outwards * distances)
    values[-1] = np.maximum(values[-1], 0.0)
    row = np.maximum(_first_true(values >= 0)[0], 1)
    before, after = values[row - 1, columns], values[row, columns]
    with np.errstate(invalid="ignore"):  # from -inf there is no slope: the nearer point is taken
        part = np.where(np.isfinite(before) & (after > before), -before / (after - before), 0.0)
    nearest = distances[row - 1, columns]
    distance = nearest + np.clip(part, 0.0, 1.0) * (distances[row, columns] - nearest)
    return np.where(crosses, origin + outwards * distance, outwards * np.inf)


def _first_true(flags: Bools) -> tuple[NDArray[np.intp], Bools]:
    """For each column, the first row that is true, and whether there is one."""
    return np.asarray(flags.argmax(axis=0)), np.asarray(flags.any(axis=0))


def log_mean_exp(terms: Floats) -> Floats:
    """Log of the mean of exp(terms) along the last axis: a mixture of e-processes, itself an e-process."""
    top = np.maximum(np.maximum.reduce(terms, axis=-1, keepdims=True), -1e300)  # all -inf must not become nan
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.add.reduce(np.exp(terms - top), axis=-1) / terms.shape[-1]) + top[..., 0])


def trials_until(log_evidence: Callable[[Floats], Floats], needed: float, trials: float) -> float | None:
    """Tell how many trials in all bring the evidence to `needed` if everything goes on as it went so far.

    Parameters
    ----------
    log_evidence : takes numbers of trials, shape (k,), returns the log evidence at each; non-decreasing where it
        matters
    needed : log evidence that decides, ln(1/alpha)
    trials : trials seen so far, > 0

    Returns
    -------
    Trials in all, at least `trials`, within 2%; None when it takes more than a million times as many and
    more than 1e13.
    """
    most = max(trials * 1e6, 1e13)
    low, high = np.log(trials), np.log(most)
    for _ in range(2):
        points = np.linspace(low, high, FORECAST_POINTS)
        values = log_evidence(np.exp(points))
        first, reached = _first_true((values >= needed)[:, np.newaxis])
        if not reached[0]:
            return None
        if first[0] == 0:
            return float(np.exp(points[0]))
        low, high = points[first[0] - 1], points[first[0]]
    before, after = values[first[0] - 1], values[first[0]]
    part = (needed - before) / (after - before) if np.isfinite(before) else 1.0
    return float(np.exp(low + part * (high - low)))
