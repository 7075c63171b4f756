"""Evidence on requests whose share of bad ones varies from minute to minute: reference values, a property, alarms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, binomtest

from analyzer.stats.bursts import log_evidence_since, log_ratios

LIMIT, CORRELATION = 0.01, 0.2
# Written down anew: distances of the log odds from those of the limit, and weights that rise with them.
DISTANCES = [0.25, 0.375, 0.5625, 0.84375, 1.265625, 1.8984375, 2.84765625, 4.271484375]
WEIGHTS = [distance**0.3 for distance in DISTANCES]
EVENTS, TRIALS = [0, 3, 1, 12, 0], [100, 80, 0 + 5, 120, 60]


def shares() -> list[float]:
    """List the shares of the alternatives."""
    odds = [LIMIT / (1 - LIMIT) * math.exp(distance) for distance in DISTANCES]
    return [each / (1 + each) for each in odds]


def reference(events: list[int], trials: list[int]) -> float:
    """Compute the log evidence of whole batches by scipy's law: the mixture of products of likelihood ratios."""
    size = 1 / CORRELATION - 1

    def likelihood(share: float) -> float:
        pairs = zip(events, trials, strict=True)
        return math.exp(sum(betabinom.logpmf(bad, n, share * size, (1 - share) * size) for bad, n in pairs))

    weighed = sum(weight * likelihood(share) for weight, share in zip(WEIGHTS, shares(), strict=True))
    return math.log(weighed / sum(WEIGHTS) / likelihood(LIMIT))


def test_it_is_the_likelihood_ratio_of_the_beta_binomial_law() -> None:
    """Since each batch: the mean over the alternatives, with their weights, of the products of scipy's ratios."""
    found = log_evidence_since(EVENTS, TRIALS, LIMIT, CORRELATION)

    assert found == pytest.approx([reference(EVENTS[place:], TRIALS[place:]) for place in range(5)], abs=1e-9)


def test_each_batch_and_alternative_has_its_ratio() -> None:
    """Rows are alternatives, columns batches; a batch without requests says nothing."""
    size = 1 / CORRELATION - 1
    law = [betabinom(120, share * size, (1 - share) * size).logpmf(12) for share in (*shares(), LIMIT)]

    found = log_ratios([12, 0], [120, 0], LIMIT, CORRELATION)

    assert found.shape == (8, 2)
    assert found[:, 0] == pytest.approx(np.array(law[:-1]) - law[-1], abs=1e-9)
    assert found[:, 1] == pytest.approx(np.zeros(8))


@pytest.mark.parametrize("trials", [1, 7, 300])
@pytest.mark.parametrize("correlation", [0.001, 0.2, 0.9])
def test_a_batch_at_the_limit_is_worth_one_on_average(trials: int, correlation: float) -> None:
    """Summed over every number of bad requests: its expectation under the law at the limit is 1, an e-value."""
    size = 1 / correlation - 1
    bad = np.arange(trials + 1)
    law = betabinom(trials, LIMIT * size, (1 - LIMIT) * size).pmf(bad)

    found = log_evidence_since(
        bad[:, np.newaxis], np.full((trials + 1, 1), trials), LIMIT, np.full(trials + 1, correlation)
    )

    assert float((law * np.exp(found[:, 0])).sum()) == pytest.approx(1, abs=1e-6)


@given(
    batches=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 400)), min_size=1, max_size=6),
    place=st.integers(0, 5),
    correlation=st.floats(0.001, 0.95),
)
def test_a_bad_request_more_never_lowers_it(batches: list[tuple[int, int]], place: int, correlation: float) -> None:
    """It rises with every bad request among as many requests, since each batch up to that of the request."""
    place %= len(batches)
    events = np.array([bad for bad, _ in batches])
    trials = events + np.array([good for _, good in batches])
    trials[place] += 1
    worse = events.copy()
    worse[place] += 1

    before, after = (log_evidence_since(each, trials, LIMIT, correlation) for each in (events, worse))

    assert (after >= before - 1e-9).all()
    assert (after[: place + 1] > before[: place + 1]).all()
    assert after[place + 1 :] == pytest.approx(before[place + 1 :])


@pytest.mark.parametrize("correlation", [0.02, 0.3])
def test_bursts_at_the_limit_raise_few_alarms(correlation: float) -> None:
    """Of 2,000 seeded rollouts of an hour with a look every minute, at most alpha are called beyond the limit."""
    alpha, runs, batches, size = 0.05, 2000, 60, 200
    rng = np.random.default_rng(20)
    strength = 1 / correlation - 1
    events = rng.binomial(size, rng.beta(LIMIT * strength, (1 - LIMIT) * strength, (runs, batches)))

    ratios = log_ratios(events, np.full((runs, batches), size), LIMIT, np.full(runs, correlation))
    weights = np.log(np.array(WEIGHTS) / np.sum(WEIGHTS))[:, np.newaxis]
    at_looks = np.logaddexp.reduce(ratios.cumsum(axis=-1) + weights, axis=1)  # since the first batch, look by look
    whole = log_evidence_since(events, np.full((runs, batches), size), LIMIT, np.full(runs, correlation))[:, 0]
    alarms = int((at_looks >= -math.log(alpha)).any(axis=1).sum())

    assert at_looks[:, -1] == pytest.approx(whole)
    assert binomtest(alarms, runs, alpha, alternative="greater").pvalue > 0.001
    assert alarms > 0
