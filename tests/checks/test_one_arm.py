"""Bad requests of one arm against a limit, where requests of a minute share their fate."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import betabinom, binom

from analyzer.checks.one_arm import BadRequests
from analyzer.checks.segments import Segments
from analyzer.model.counts import Errors, Reading
from analyzer.stats.dispersion import Dispersion

Floats = NDArray[np.float64]
LIMIT, REQUESTS = 0.01, 1000.0


def measured(bad: list[float], requests: float = REQUESTS, dispersion: Dispersion | None = None) -> BadRequests:
    """Measure minutes of so many requests each."""
    events = np.array(bad)
    trials = np.full(len(bad), requests)
    segments = Segments.of(Reading(Errors(events, trials), None, 60.0))
    values = segments.since(events) / segments.since(trials)
    return BadRequests(values, trials, segments, dispersion or Dispersion(), bad=lambda *_: events, allowed=float)


def clustered(design_effect: float, *, incident: bool = False) -> Dispersion:
    """Requests of one minute of which the variance is so many times that of independent ones, at any volume."""
    return Dispersion((60.0,), design_effect - 1, (0.0,), REQUESTS / 60, batches=60, incident=incident)


def evidence(measure: BadRequests) -> Floats:
    """Return the log evidence that more than the limit are bad, since each start."""
    return measure.log_evidence(LIMIT, "above")


def from_last_minute(bad: float, design_effect: float) -> tuple[float, float]:
    """Return the most evidence that the last minute can be: under the beta-binomial law, and in counts divided."""
    strength = (REQUESTS - 1) / (design_effect - 1) - 1

    def log_likelihood(share: float) -> float:
        return float(betabinom.logpmf(bad, REQUESTS, share * strength, (1 - share) * strength))

    best = max(map(log_likelihood, np.linspace(LIMIT, 0.6, 600))) - log_likelihood(LIMIT)
    divided = binom.logpmf(bad, REQUESTS, bad / REQUESTS) - binom.logpmf(bad, REQUESTS, LIMIT)
    return best, float(divided) / design_effect


@pytest.mark.parametrize("design_effect", [1.2, 1.5, 4.0])
def test_one_bad_minute_is_no_more_evidence_than_a_burst_allows(design_effect: float) -> None:
    """Counts divided by the design effect have the variance of bursts, and not their tail."""
    quiet, burst = 40, 120.0
    most, divided = from_last_minute(burst, design_effect)
    assert divided > most + 5  # else this test would show nothing

    found = evidence(measured([LIMIT * REQUESTS] * quiet + [burst], dispersion=clustered(design_effect)))

    assert 0 < found.max() <= most


def test_independent_requests_have_no_bursts() -> None:
    """Their evidence is that of all requests, within what the mixture over the alternatives costs."""
    _, most = from_last_minute(120.0, 1.0001)
    found = evidence(measured([120.0]))

    assert most - 7 < found[0] <= most


def test_a_single_bad_minute_is_no_evidence_where_the_past_has_an_incident() -> None:
    """Two are: an incident of the service was left out of the estimate, and may come again."""
    quiet, burst = [LIMIT * REQUESTS] * 20, 300.0

    for minutes, proves in (([*quiet, burst], False), ([*quiet, burst, burst], True)):
        found = evidence(measured(minutes, dispersion=clustered(1.5, incident=True)))
        assert (found.max() > 20) == proves
        assert evidence(measured(minutes, dispersion=clustered(1.5))).max() > 20


@pytest.mark.parametrize(("bad", "proves"), [(3.0, False), (4.0, True)])
def test_three_bad_requests_are_no_evidence(bad: float, proves: bool) -> None:
    """They may be one client that tries again, at whatever limit."""
    found = float(evidence(measured([bad], bad))[0])

    assert found > 5 if proves else found == -math.inf
