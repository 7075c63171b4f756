"""Tests of the test of a declared number of trials: exact distributions, at every look."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from analyzer.stats.induced import induced


def evidence(events: int, trials: int, declared: int, limit: float, level: float) -> float:
    """Give the e-process itself."""
    found = induced(events, trials, declared, limit, level)
    assert found is not None
    return math.exp(found.log_evidence)


@settings(max_examples=30)
@given(st.integers(50, 2000), st.floats(0.002, 0.2), st.floats(0.002, 0.2))
def test_the_level_is_that_of_the_fixed_test(declared: int, limit: float, level: float) -> None:
    """The least count whose binomial tail is within the level, and no less."""
    found = induced(0, 0, declared, limit, level)
    tails = binom.sf(np.arange(declared + 1) - 1, declared, limit)[1:]

    assert found is not None
    assert found.level == pytest.approx(tails[tails <= level * (1 + 1e-9)][0], rel=1e-6)
    assert found.log_evidence == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("share", [0.001, 0.005])
def test_its_expectation_is_never_above_one(share: float) -> None:
    """Exactly 1 at the limit after any number of trials, less below it."""
    for trials in (1, 50, 200, 499, 500):
        counts = np.arange(trials + 1)
        mean = sum(
            binom.pmf(count, trials, share) * evidence(count, trials, 500, 0.005, 0.025) for count in counts.tolist()
        )
        assert mean == pytest.approx(1, rel=1e-6) if share == 0.005 else mean < 1


def test_it_rejects_as_soon_as_the_count_is_reached() -> None:
    """Seven of 500 reject at 2.5%, whenever the seventh comes; six never do."""
    inverse = 1 / float(binom.sf(6, 500, 0.005))

    assert evidence(7, 40, 500, 0.005, 0.025) == pytest.approx(inverse)
    assert evidence(6, 499, 500, 0.005, 0.025) < inverse / 100
    assert evidence(6, 500, 500, 0.005, 0.025) == 0


def test_dependent_requests_count_less() -> None:
    """With a design effect of 4, all counts are those of a fourth of the requests."""
    plain, clustered = induced(8, 250, 500, 0.005, 0.025), induced(32, 1000, 2000, 0.005, 0.025, 4.0)

    assert plain is not None
    assert clustered is not None
    assert clustered.level <= 0.025
    assert clustered.log_evidence == pytest.approx(plain.log_evidence, abs=math.log(2))
    assert induced(32, 1000, 2000, 0.005, 0.025).log_evidence > 0  # type: ignore[union-attr]


def test_too_few_trials_have_no_test() -> None:
    """And neither has a least count that cannot be reached."""
    assert induced(0, 0, 1, 0.5, 0.01) is None
    assert induced(0, 0, 3, 0.005, 0.025, fewest=4) is None
