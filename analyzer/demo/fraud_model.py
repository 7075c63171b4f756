"""The model that the demonstration serves: a logistic regression that scores card transactions for fraud.

Knows numbers only: nothing here serves, counts or measures.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Transaction = Mapping[str, float]

_COMMON_HISTORY = 10000
_OWN_HISTORY = 2500
_RIDGE = 1.0
_NEWTON_STEPS = 8
# How fraud comes about in the synthetic world, per encoded feature; the first is the intercept.
_TRUTH = np.array([-3.0, 0.8, 1.5, 0.8, -0.7, 0.9])


@dataclass(frozen=True)
class FraudModel:
    """A fitted logistic regression.

    Parameters
    ----------
    weights : one per encoded feature, the intercept first
    """

    weights: tuple[float, ...]

    def score(self, transaction: Transaction) -> float:
        """Return the probability that the transaction is a fraud, in [0, 1].

        Raises
        ------
        KeyError : a feature is missing
        ValueError : a feature is out of its domain
        TypeError : a feature is not a number
        """
        logit = sum(w * x for w, x in zip(self.weights, encode(transaction), strict=True))
        return 0.5 * (1.0 + math.tanh(0.5 * logit))


def encode(transaction: Transaction) -> tuple[float, ...]:
    """Return the model's inputs; fitting and serving share this one function."""
    return (
        1.0,
        math.log(1.0 + transaction["amount_eur"]) - 4.0,
        math.log(1.0 + transaction["distance_km"]) - 1.5,
        1.0 if transaction["hour"] < 6.0 else 0.0,
        math.log(1.0 + transaction["account_age_days"]) - 6.0,
        transaction["attempts"],
    )


def make_transactions(count: int, *, seed: int) -> list[dict[str, float]]:
    """Return `count` synthetic card transactions; the same seed gives the same ones.

    Parameters
    ----------
    count : how many, >= 0
    seed : of the random generator, >= 0
    """
    rng = np.random.default_rng(seed)
    columns = {
        "amount_eur": rng.lognormal(4.0, 1.0, count).round(2),
        "distance_km": rng.lognormal(1.5, 1.3, count).round(2),
        "hour": rng.integers(0, 24, count),
        "account_age_days": rng.lognormal(6.0, 1.0, count).round(0),
        "attempts": rng.poisson(0.4, count),
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def fit(version: str) -> FraudModel:
    """Train the model of this version: on the common history and on some transactions only it has seen.

    Parameters
    ----------
    version : such as "v1"; the same version gives the same weights
    """
    seed = zlib.crc32(version.encode())
    (inputs, is_fraud), (own_inputs, own_is_fraud) = (
        _history(_COMMON_HISTORY, 0),
        _history(_OWN_HISTORY, seed),
    )
    inputs, is_fraud = np.vstack((inputs, own_inputs)), np.concatenate((is_fraud, own_is_fraud))
    weights = np.zeros(inputs.shape[1])
    for _ in range(_NEWTON_STEPS):
        predicted = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (is_fraud - predicted) - _RIDGE * weights
        hessian = (inputs.T * (predicted * (1.0 - predicted))) @ inputs + _RIDGE * np.eye(len(weights))
        weights = weights + np.linalg.solve(hessian, gradient)
    return FraudModel(tuple(weights.tolist()))


def _history(count: int, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return the encoded transactions of the past, and which of them turned out to be frauds."""
    inputs = np.array([encode(row) for row in make_transactions(count, seed=seed)])
    return inputs, np.random.default_rng(seed + 1).random(count) < _sigmoid(inputs @ _TRUTH)


def _sigmoid(logit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 0.5 * (1.0 + np.tanh(0.5 * logit))
