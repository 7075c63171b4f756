"""What other tools and textbooks give for the same numbers: comparisons that no module's own file has."""

import math

import pytest
from scipy.stats import binomtest

from analyzer.stats import binomial, means


@pytest.mark.parametrize(
    ("events", "trials"), [(0, 50), (5, 50), (15, 50), (700, 1000), (30, 3000), (14, 865), (865, 865)]
)
@pytest.mark.parametrize("alpha", [0.0125, 0.05])
def test_intervals_for_every_look_contain_those_for_one(events: int, trials: int, alpha: float) -> None:
    """Clopper and Pearson's interval, scipy.stats.binomtest(...).proportion_ci(method="exact"), lies inside."""
    exact = binomtest(events, trials).proportion_ci(confidence_level=1 - 2 * alpha, method="exact")

    (low,), (high,) = binomial.confidence_sequence([events], [trials], alpha_low=alpha, alpha_high=alpha)

    precision = 0.001 * (exact.high - exact.low)  # of the search for the bounds
    assert low - precision <= exact.low <= exact.high <= high + precision
    if events < trials:
        assert high - low < 2.5 * (exact.high - exact.low) + 3 / trials  # the price of looking often


def test_the_evidence_of_means_is_that_of_growthbook() -> None:
    """At its published bound, always valid and one-sided, our evidence is hardly more than what is needed."""
    # GrowthBook gbstats, tests/frequentist/test_tests.py, one-sided "greater", absolute: A with sum 1396.87, sum of
    # squares 52377.9767 of 3000, B with 2422.7 and 134698.29 of 3461: estimate .234377, bound -.126568 at 5%. Its
    # formula (Waudby-Smith et al., eq. 134) approximates the mixture from the safe side; its default rho by eq. 161
    # with N* = 5000 and twice the level. A difference is a ratio to 1 here, and its variance the variation.
    alpha, n = 0.05, 3000 + 3461
    variances = [(52377.9767 - 1396.87**2 / 3000) / 2999, (134698.29 - 2422.7**2 / 3461) / 3460]
    variance = n * (variances[0] / 3000 + variances[1] / 3461)
    rho = math.sqrt((-2 * math.log(2 * alpha) + math.log(-2 * math.log(2 * alpha) + 1)) / 5000)

    found = means.log_evidence(
        1 + 0.234377 + 0.126568, 1, n, variation=variance, spreads=(rho * math.sqrt(variance),), side="above"
    )

    assert float(found) == pytest.approx(math.log(1 / alpha), rel=0.01)
    assert found > math.log(1 / alpha)
