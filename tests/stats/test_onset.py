"""Evidence since many starts: how alpha is shared over them, and what late faults cost."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import beta
from stats.looks import evidence_reaches

from analyzer.stats.onset import MOST_A_OCTAVE, UNIT, WHOLE, Starts, starts_of

Floats = NDArray[np.float64]


# The weights


@given(st.integers(1, 100_000), st.one_of(st.none(), st.floats(0.001, 1e6)))
def test_the_weights_are_parts_of_one(slices: int, slice_seconds: float | None) -> None:
    """However many slices of whatever length: the begin first, then later ones, together at most all of alpha."""
    found = starts_of(slices, slice_seconds)

    assert found.slice_indices[0] == 0
    assert (np.diff(found.slice_indices) > 0).all()
    assert found.slice_indices[-1] < slices
    assert (found.weights > 0).all()
    assert found.weights.sum() <= 1 + 1e-12


def test_the_weights_of_all_moments_together_are_one() -> None:
    """In the end half of alpha is for the begin, and half for all moments after it."""
    found = starts_of(3_000_000, UNIT)  # a year and a half

    assert found.weights[0] == WHOLE
    assert 0.999 < found.weights.sum() <= 1


def test_slices_that_grow_spend_alpha_once() -> None:
    """All starts that looks with slices of 15 s to an hour ever see: no moment has two weights, and all are one."""
    weights: dict[float, set[float]] = {}
    for doublings in range(9):
        step = UNIT * 2**doublings
        found = starts_of(int(14 * 86400 / step), step)
        for place, weight in zip(found.slice_indices, found.weights, strict=True):
            weights.setdefault(place * step, set()).add(weight)

    assert {len(each) for each in weights.values()} == {1}
    assert sum(max(each) for each in weights.values()) <= 1


@pytest.mark.parametrize("step", [15, 30, 60, 240])
def test_a_start_has_the_weight_of_its_moment(step: int) -> None:
    """By hand, where slices end then: octaves of 15 s from 2 minutes on, each a twentieth, over up to 64 starts."""
    expected = {
        0: Fraction(1, 2),
        120: Fraction(1, 20) / 8,  # 8 units of 15 s: the first of 8 starts
        180: Fraction(1, 20) / 8,
        240: Fraction(1, 20) / 16,
        3600: Fraction(1, 20) / 64,  # 240 units: an octave of 128 has 64 starts, 30 s apart
        7200: Fraction(1, 20) / 64,
        61_440: Fraction(1, 40) / 64,  # 4096 units, after nine octaves: half the weight of the one before
        122_880: Fraction(1, 80) / 64,
    }
    found = starts_of(200_000 // step, step)
    known = dict(zip((found.slice_indices * step).tolist(), found.weights.tolist(), strict=True))

    for moment, weight in expected.items():
        if moment % step == 0:
            assert known[moment] == pytest.approx(float(weight))
    assert not {15, 30, 45, 60, 75, 90, 105, 120 * 64 + 15} & set(known)


def test_later_starts_grow_sparser() -> None:
    """A start is never further than 1/64 of the time passed, or two minutes, from any moment."""
    found = starts_of(100_000, UNIT)
    moments = found.slice_indices.astype(float)

    assert (np.diff(moments) <= np.maximum(moments[:-1] / MOST_A_OCTAVE, 8)).all()
    assert len(moments) < 1000


@given(st.integers(2, 300), st.integers(1, 100), st.sampled_from([15.0, 60.0, 240.0]))
def test_a_warm_up_moves_only_the_begin(slices: int, left_out: int, slice_seconds: float) -> None:
    """Later starts keep their moments and weights when slices before the first one are left out."""
    whole, found = starts_of(slices + left_out, slice_seconds), starts_of(slices, slice_seconds, left_out)
    later = whole.slice_indices > left_out

    assert (found.slice_indices[0], found.weights[0]) == (0, WHOLE)
    assert (found.slice_indices[1:] + left_out).tolist() == whole.slice_indices[later].tolist()
    assert found.weights[1:].tolist() == whole.weights[later].tolist()


def test_what_has_no_time_has_one_start() -> None:
    """A single slice of unknown length has all of alpha; of a known one it has the begin's half."""
    assert starts_of(1, None).weights.tolist() == [1.0]
    assert starts_of(1, 60.0).weights.tolist() == [WHOLE]
    assert starts_of(30, None).slice_indices.tolist() == starts_of(30, 60.0).slice_indices.tolist()


# Sums


@given(st.integers(1, 200), st.sampled_from([15.0, 60.0, None]), st.data())
def test_sums_since_a_start_are_those_of_its_slices(
    slices: int, slice_seconds: float | None, data: st.DataObject
) -> None:
    """Of numbers and of rows of numbers."""
    counts = data.draw(arrays(float, (slices, 3), elements=st.floats(0, 1e12)))
    starts = starts_of(slices, slice_seconds)

    found, column = starts.since(counts), starts.since(counts[:, 1])

    assert found.shape == (len(starts.slice_indices), 3)
    for number, place in enumerate(starts.slice_indices):
        assert found[number] == pytest.approx(counts[place:].sum(axis=0), rel=1e-12)
    assert column == pytest.approx(found[:, 1], rel=1e-12)


def test_sums_by_hand() -> None:
    """1, 2, 3 and 4 since the first, the third and the last slice."""
    starts = Starts(np.array([0, 2, 3]), np.array([0.5, 0.1, 0.1]))

    assert starts.since(np.array([1.0, 2.0, 3.0, 4.0])).tolist() == [10, 7, 4]


# What the starts promise, and what they are for


@pytest.mark.statistical
@pytest.mark.parametrize(("rate", "limit", "seed"), [(1, 0.005, 21), (10, 0.01, 22)])
def test_all_starts_together_are_wrong_in_at_most_alpha(rate: float, limit: float, seed: int) -> None:
    """At the limit itself, four hours in slices of 30 s: any start, at any of 480 looks."""
    rng, runs, alpha = np.random.default_rng(seed), 1200, 0.05
    requests = rng.poisson(rate * 30, (480, runs)).astype(float)
    errors = rng.binomial(requests.astype(int), limit).astype(float)

    wrong = evidence_reaches(errors, requests, starts_of(480, 30.0), limit, alpha).any(axis=0)

    assert beta.ppf(0.999, wrong.sum() + 1, runs - wrong.sum()) <= alpha
    assert wrong.mean() > 0.002  # and alpha is not merely left unused


@pytest.mark.statistical
@pytest.mark.parametrize(("rate", "seed"), [(1, 31), (10, 32)])
@pytest.mark.parametrize("begin", [7200.0, 7290.0])
def test_a_late_fault_is_caught_at_the_price_of_its_start(rate: float, seed: int, begin: float) -> None:
    """0.3% for two hours, then 3%: within 1.5 times Wald's limit at that start's level, and one look, on average."""
    rng, runs, alpha, promote, rollback = np.random.default_rng(seed), 300, 0.0125, 0.005, 0.01
    looks = 300
    truth = np.where(30 * np.arange(looks) < begin, 0.003, 0.03)[:, np.newaxis]
    requests = rng.poisson(rate * 30, (looks, runs)).astype(float)
    errors = rng.binomial(requests.astype(int), np.broadcast_to(truth, requests.shape)).astype(float)
    starts = starts_of(looks, 30.0)
    weight = float(starts.weights[np.searchsorted(starts.slice_indices * 30.0, begin)])
    told = 0.03 * math.log(0.03 / promote) + 0.97 * math.log(0.97 / (1 - promote))
    limit = -math.log(alpha * weight) / told / rate

    decided = evidence_reaches(errors, requests, starts, promote, alpha, beyond=rollback)
    delays = 30.0 * (decided.argmax(axis=0) + 1) - begin

    assert decided.any(axis=0).all()
    assert (delays < 0).mean() <= alpha
    assert delays[delays > 0].mean() <= 1.5 * limit + 30
    alone = evidence_reaches(
        errors, requests, Starts(starts.slice_indices[:1], np.ones(1)), promote, alpha, beyond=rollback
    )
    late = np.where(alone.any(axis=0), 30.0 * (alone.argmax(axis=0) + 1), 30.0 * looks) - begin
    assert late.mean() > 3 * delays.mean()  # what the healthy hours would hide
