"""The canary's rate of something against the baseline's, at the same time: limits are relative changes."""

import math

from analyzer.checks.decision import Decision, Levels, Question, decide, format_count, outlook
from analyzer.checks.wording import proof
from analyzer.model import Estimate, Finding, Outcome
from analyzer.policy import Check
from analyzer.quantity import format_ratio
from analyzer.stats import share
from analyzer.stats.binomial import Side
from analyzer.stats.search import Floats


def judge_rates(
    check: Check,
    canary: tuple[float, float],
    baseline: tuple[float, float],
    levels: Levels,
    *,
    spreads: tuple[float, ...],
    worse: Side,
    arms: tuple[Estimate, Estimate],
    what: str,
    notes: tuple[str, ...] = (),
) -> Finding:
    """Judge the ratio of two rates given as (events, trials), trials > 0 in both arms.

    Parameters
    ----------
    spreads : of the prior of the log ratio, see `stats.share`
    worse : whether more ("above") or fewer ("below") events are bad
    arms : the arms' own estimates, to show
    what : the words that follow "1.62% of 865 canary", for example ``requests failed``
    """
    (events, trials), (base_events, base_trials) = canary, baseline

    def log_evidence(change: float, side: Side, scale: float | Floats) -> Floats:
        return share.log_evidence(
            events * scale, trials * scale, base_events * scale, base_trials * scale, 1 + change,
            spreads=spreads, side=side,
        )  # fmt: skip

    if events + base_events > 0:
        ratio = events / trials / (base_events / base_trials) if base_events else math.inf
        low, high = share.ratio_interval(
            events, trials, base_events, base_trials,
            spreads=spreads,
            alpha_low=levels.fail if worse == "above" else levels.passing,
            alpha_high=levels.passing if worse == "above" else levels.fail,
        )  # fmt: skip
    else:
        ratio, low, high = 1.0, 0.0, math.inf  # neither arm has an event: nothing told them apart
    question = Question(ratio - 1, check.promote, check.rollback, worse, log_evidence, trials)
    decision = decide(check, question, levels)
    text = (
        f"{format_ratio(events / trials)} of {format_count(trials)} canary {what} "
        f"(baseline {format_ratio(base_events / base_trials)})"
    )
    delta = Estimate(value=ratio - 1, low=low - 1, high=high - 1, n=trials)
    return relative_finding(check, question, decision, text, arms, delta, notes)


def relative_finding(
    check: Check,
    question: Question,
    decision: Decision,
    text: str,
    arms: tuple[Estimate, Estimate],
    delta: Estimate,
    notes: tuple[str, ...],
) -> Finding:
    """Put a finding on a relative change into words."""
    change = "infinitely more" if math.isinf(question.value) else format_change(question.value)
    text += f": {change}, {proof(check, decision, question, format_change)}"
    if decision.outcome is Outcome.INCONCLUSIVE:
        text += outlook(decision)
    return Finding(
        outcome=decision.outcome,
        code=decision.code,
        reason=text,
        promote=check.promote,
        rollback=check.rollback,
        canary=arms[0],
        baseline=arms[1],
        delta=delta,
        evidence=decision.evidence,
        remaining_requests=decision.remaining_requests,
        notes=notes,
    )


def format_change(ratio: float) -> str:
    """Write a relative change with its sign."""
    return f"{ratio * 100:+,.0f}%" if ratio >= 9.995 else f"{ratio * 100:+.3g}%"
