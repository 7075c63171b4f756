"""The share of the canary's requests that failed: against limits, or against the baseline's share."""

import numpy as np

from analyzer.checks import comparison
from analyzer.checks.decision import Question, Terms, decide, format_count
from analyzer.checks.wording import conclusion, decided, no_traffic
from analyzer.model import Errors, Estimate, Finding, Reading
from analyzer.policy import Check
from analyzer.quantity import format_ratio
from analyzer.stats import binomial
from analyzer.stats.search import Floats

SPREADS = (1.0,)  # error rates change by factors


def judge(check: Check, reading: Reading[Errors], terms: Terms) -> Finding:
    """Judge an error rate on the requests summed over all slices."""
    canary, baseline = _total(reading.canary), _total(reading.baseline)
    if canary[1] <= 0:
        return no_traffic(check, "canary", "requests")
    if check.compares and baseline[1] <= 0:
        return no_traffic(check, "baseline", "requests")
    if check.compares:
        return comparison.judge_rates(
            check, canary, baseline, terms, spreads=SPREADS, worse="above", what="requests failed", notes=reading.notes
        )
    errors, requests = canary

    def log_evidence(limit: float, side: binomial.Side, scale: float | Floats) -> Floats:
        return binomial.log_evidence(errors * scale, requests * scale, limit, side=side)

    question = Question(errors / requests, check.promote, check.rollback, "above", log_evidence, requests)
    decision = decide(check, question, terms)
    text = f"{format_ratio(errors / requests)} of {format_count(requests)} canary requests failed"
    versus = f" (baseline {format_ratio(baseline[0] / baseline[1])})" if baseline[1] > 0 else ""
    ending = conclusion(check, decision, question, format_ratio)
    arms = estimates(canary, baseline, terms)
    reason, headline = f"{text}{versus}, {ending}", f"{text}, {ending}"
    return decided(check, decision, reason, arms, headline=headline, notes=reading.notes)


def estimates(canary: tuple[float, float], baseline: tuple[float, float], terms: Terms) -> tuple[Estimate, Estimate]:
    """Estimate the share of events in each arm from (events, trials), with always-valid intervals."""
    seen = [arm for arm in (canary, baseline) if arm[1] > 0]
    events, trials = np.array(seen).T
    lows, highs = binomial.confidence_sequence(events, trials, alpha_low=terms.fail, alpha_high=terms.passing)
    found = [
        Estimate(value=float(s / n), low=float(low), high=float(high), n=float(n))
        for s, n, low, high in zip(events, trials, lows, highs, strict=True)
    ]
    return (found[0], found[1]) if len(found) == 2 else (found[0], Estimate())


def _total(arm: Errors | None) -> tuple[float, float]:
    return (0.0, 0.0) if arm is None else (float(arm.errors.sum()), float(arm.requests.sum()))
