"""The search that every interval and forecast shares, on functions whose crossings are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from analyzer.stats.search import crossing, log_mean_exp, trials_until

Floats = NDArray[np.float64]


@given(st.floats(-20, 20), st.floats(0.5, 9), st.floats(0.001, 1), st.sampled_from([-1.0, 1.0]))
def test_a_parabola_crosses_zero_where_it_does(middle: float, depth: float, scale: float, sign: float) -> None:
    """Precise to about a thousandth of the distance, and never nearer than the crossing by more."""

    def surplus(points: Floats) -> Floats:
        return ((points - middle) / scale) ** 2 / 2 - depth

    (found,) = crossing(surplus, middle, scale, sign=sign)

    distance = math.sqrt(2 * depth) * scale
    assert sign * (found - middle) == pytest.approx(distance, rel=0.002)


def test_several_columns_are_searched_at_once() -> None:
    """Each column has its own middle, scale and crossing."""
    depths = np.array([0.5, 2.0, 4.5])

    found = crossing(lambda points: (points - np.array([0, 10, 20])) ** 2 / 2 - depths, [0, 10, 20], [1, 1, 1], sign=1)

    assert found == pytest.approx([1, 12, 23], rel=0.002)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_what_is_never_excluded_is_infinite(sign: float) -> None:
    """Where the evidence never suffices, the bound is infinite on that side."""
    (found,) = crossing(lambda points: np.full_like(points, -1.0), 3.0, 0.1, sign=sign)

    assert found == sign * math.inf


def test_no_evidence_at_all_next_to_enough_takes_the_nearer_point() -> None:
    """From minus infinity there is no slope to follow, and the result is finite."""
    (found,) = crossing(lambda points: np.where(np.abs(points) > 2.5, 1.0, -np.inf), 0.0, 1.0, sign=1)

    assert 2.3 < found <= 2.51


def test_the_mean_of_exponentials_neither_overflows_nor_vanishes() -> None:
    """Terms beyond what exp can hold, and none at all."""
    found = log_mean_exp(np.array([[2000.0, 2000.0], [0.0, -np.inf], [-3000.0, -3000.0], [-np.inf, -np.inf]]))

    assert found == pytest.approx([2000, -math.log(2), -3000, -math.inf])


@given(st.floats(10, 1e6), st.floats(1.001, 1e4))
def test_the_forecast_is_within_two_percent(trials: float, factor: float) -> None:
    """Evidence in proportion to the trials suffices after so many times more of them."""
    found = trials_until(lambda points: points / trials, factor, trials)

    assert found == pytest.approx(trials * factor, rel=0.02)
    assert found is not None
    assert found >= trials


def test_what_never_decides_has_no_forecast() -> None:
    """Evidence that does not grow, or is not known, decides never."""
    assert trials_until(np.zeros_like, 3.0, 100) is None
    assert trials_until(lambda points: np.full_like(points, np.nan), 3.0, 100) is None
