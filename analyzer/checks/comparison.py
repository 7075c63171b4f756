"""The canary's rate of something against the baseline's, at the same time: limits are relative changes."""

import math

from analyzer.checks.decision import Decision, Question, Terms, decide, format_count
from analyzer.checks.wording import conclusion, decided
from analyzer.model import Estimate, Finding
from analyzer.policy import Check
from analyzer.quantity import format_ratio
from analyzer.stats import share
from analyzer.stats.binomial import Side
from analyzer.stats.search import Floats


def judge_rates(
    check: Check,
    canary: tuple[float, float],
    baseline: tuple[float, float],
    terms: Terms,
    *,
    spreads: tuple[float, ...],
    worse: Side,
    what: str,
    notes: tuple[str, ...] = (),
) -> Finding:
    """Judge the ratio of two rates given as (events, trials), trials > 0 in both arms.

    Parameters
    ----------
    spreads : of the prior of the log ratio, see `stats.share`
    worse : whether more ("above") or fewer ("below") events are bad
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
            alpha_low=terms.fail if worse == "above" else terms.passing,
            alpha_high=terms.passing if worse == "above" else terms.fail,
        )  # fmt: skip
    else:
        ratio, low, high = 1.0, 0.0, math.inf  # neither arm has an event: nothing told them apart
    question = Question(ratio - 1, check.promote, check.rollback, worse, log_evidence, trials)
    decision = decide(check, question, terms)
    text = (
        f"{format_ratio(events / trials)} of {format_count(trials)} canary {what} "
        f"(baseline {format_ratio(base_events / base_trials)})"
    )
    arms = Estimate(value=events / trials, n=trials), Estimate(value=base_events / base_trials, n=base_trials)
    return relative_finding(check, question, decision, text, arms, (low, high), notes)


def relative_finding(
    check: Check,
    question: Question,
    decision: Decision,
    text: str,
    arms: tuple[Estimate, Estimate],
    interval: tuple[float, float],
    notes: tuple[str, ...],
) -> Finding:
    """Put a finding on a relative change into words; `interval` is that of the ratio."""
    change = "infinitely more" if math.isinf(question.value) else format_change(question.value)
    reason = f"{text}: {change}, {conclusion(check, decision, question, format_change)}"
    low, high = interval
    delta = Estimate(value=question.value, low=low - 1, high=high - 1, n=question.requests)
    return decided(check, decision, reason, arms, delta=delta, notes=notes)


def format_change(ratio: float) -> str:
    """Write a relative change with its sign."""
    return f"{ratio * 100:+,.0f}%" if ratio >= 9.995 else f"{ratio * 100:+.3g}%"
