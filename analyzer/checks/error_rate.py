"""The share of the canary's requests that failed: against limits, or against the baseline's share."""

from dataclasses import replace

import numpy as np

from analyzer.checks import comparison
from analyzer.checks.comparison import Tally
from analyzer.checks.correlation import correlation_of
from analyzer.checks.decision import Decision, Question, Terms, decide, format_count
from analyzer.checks.negative_control import Control, control_of
from analyzer.checks.one_arm import BadRequests, past_of
from analyzer.checks.segments import Segments
from analyzer.checks.shared_trouble import SharedTrouble
from analyzer.checks.wording import conclusion, decided, no_traffic
from analyzer.config.policy import Check
from analyzer.model.counts import Counts, Errors, Floats, Reading
from analyzer.model.findings import Estimate, Finding, Rule
from analyzer.quantity import format_ratio
from analyzer.stats import binomial
from analyzer.stats.dispersion import Dispersion
from analyzer.stats.search import Side

FAULTY = 2.0  # times the rollback limit: what faults are looked for first
ASSUMPTION = "each request fails with a probability of its own, which the limit bounds"


def judge(check: Check, reading: Reading[Errors], terms: Terms) -> Finding:
    """Judge an error rate on the requests of all slices, and of those since each start."""
    if reading.canary is None or reading.canary.requests.sum() <= 0:
        return no_traffic(check, "canary", "requests")
    compared = reading.baseline is not None and reading.baseline.requests.sum() > 0
    if check.compares:
        if not compared:
            return no_traffic(check, "baseline", "requests")
        return comparison.judge_rates(
            check, reading, tally, terms, reach=comparison.REACH, worse="above", what="requests failed"
        )
    segments = Segments.of(reading, at_this_weight=terms.at_this_weight, elapsed_seconds=terms.elapsed_seconds)
    correlation, source = correlation_of(check, reading, segments.seconds, doubts=terms.doubts)
    canary = tally(reading.canary)
    faulty = min(FAULTY * check.rollback, (1 + check.rollback) / 2)  # a share: below 1
    expected = None if check.rule is Rule.STRICT else faulty
    past = None if reading.history is None else tally(reading.history)
    known = None if past is None else past_of(reading, np.asarray(past.events + past.doubtful), past.trials)
    measure, baseline, shared = share_of(canary, segments, correlation, expected, known), None, None
    if compared and reading.baseline is not None:
        other = tally(reading.baseline)
        served = segments.near(canary.trials > 0)
        beside = Tally(other.events * served, other.trials * served)
        baseline = share_of(other, segments, correlation, expected)
        limit = check.rollback if check.rule is Rule.STRICT else check.promote
        shared = SharedTrouble(
            measure,
            share_of(beside, segments, correlation),
            lambda: comparison.rates_of(canary, other, segments, correlation, steady=True),
            limit, terms,
            before=None if past is None else (float(past.events.sum()), float(past.trials.sum())),
        )  # fmt: skip
        measure = replace(measure, beside=other.trials if shared.baseline_serves else None)

    def control(limit: float, level: float, start: int) -> Control | None:
        def measuring(counts: Counts, of: Segments) -> BadRequests:
            return share_of(tally(counts), of, correlation, expected)

        return control_of(reading, measure, measuring, limit, level, start)

    question = Question(
        measure, check.promote, check.rollback, "above", segments, shared, control, measure.by_requests, correlation
    )
    decision = decide(check, question, terms)
    start = decision.start
    text = (
        f"{format_ratio(decision.value)} of {format_count(float(measure.requests[start]))} canary requests failed"
        f"{segments.when(start)}"
    )
    versus = ""
    if baseline is not None and baseline.requests[start] > 0:
        versus = f" (baseline {format_ratio(float(baseline.values[start]))})"
    ending = conclusion(check, decision, question, format_ratio)
    return decided(
        check, question, decision, f"{text}{versus}, {ending}", estimates(measure, baseline, decision),
        headline=f"{text}, {ending}", notes=reading.notes, assumptions=(source, ASSUMPTION),
    )  # fmt: skip


def tally(counts: Counts) -> Tally:
    """Count the requests that failed."""
    if not isinstance(counts, Errors):
        raise TypeError(f"an error rate cannot be judged on {type(counts).__name__}")
    return Tally(counts.errors, counts.requests, 0.0 if counts.doubtful is None else counts.doubtful)


def share_of(
    arm: Tally,
    segments: Segments,
    correlation: Dispersion,
    expected: float | None = None,
    past: tuple[float, float] | None = None,
) -> BadRequests:
    """Measure the share of failed requests since each start."""

    def bad(_limit: float, side: Side) -> Floats:
        return arm.events if side == "above" else np.asarray(arm.events + arm.doubtful)

    with np.errstate(divide="ignore", invalid="ignore"):
        values = segments.since(arm.events) / segments.since(arm.trials)
    return BadRequests(values, arm.trials, segments, correlation, bad=bad, allowed=float, expected=expected, past=past)


def estimates(canary: BadRequests, baseline: BadRequests | None, decision: Decision) -> tuple[Estimate, Estimate]:
    """Estimate the share of bad requests in each arm, with always-valid intervals."""
    start = decision.start
    arms = [canary] if baseline is None else [canary, baseline]
    shares = np.nan_to_num(np.array([arm.values[start] for arm in arms]))
    trials = np.array([max(arm.requests[start], 1e-9) / arm.factors[start] for arm in arms])
    lows, highs = binomial.confidence_sequence(
        shares * trials,
        trials,
        alpha_low=decision.alpha_low,
        alpha_high=decision.alpha_high,
        expected=canary.expected,
        past=canary.past,
    )
    by_arm = [
        Estimate(value=float(share), low=float(low), high=float(high), n=float(arm.requests[start]))
        if arm.requests[start] > 0
        else Estimate()
        for arm, share, low, high in zip(arms, shares, lows, highs, strict=True)
    ]
    return by_arm[0], by_arm[1] if len(by_arm) == 2 else Estimate()
