"""Sentences that the findings of several kinds share."""

from collections.abc import Callable
from typing import Literal

from analyzer.checks.decision import UNDECIDED_AT_MOST, Decision, Question, format_count
from analyzer.config.policy import Check
from analyzer.model.findings import Code, Estimate, Finding, Outcome, Rule

UNKNOWN = Estimate()


def undecidable(
    check: Check,
    code: Code,
    reason: str,
    *,
    headline: str = "",
    canary: Estimate = UNKNOWN,
    baseline: Estimate = UNKNOWN,
    notes: tuple[str, ...] = (),
) -> Finding:
    """Say why there is nothing to decide on, which is neither good nor bad."""
    return Finding(
        outcome=Outcome.INCONCLUSIVE,
        code=code,
        reason=reason,
        headline=headline,
        promote=check.promote,
        rollback=check.rollback,
        canary=canary,
        baseline=baseline,
        notes=notes,
    )


def no_traffic(check: Check, arm: Literal["canary", "baseline"], what: str) -> Finding:
    """Say that an arm has nothing to judge."""
    code = Code.NO_CANARY_TRAFFIC if arm == "canary" else Code.NO_BASELINE_TRAFFIC
    return undecidable(check, code, f"the {arm} has no {what} yet: nothing to judge")


def decided(
    check: Check,
    question: Question,
    decision: Decision,
    reason: str,
    arms: tuple[Estimate, Estimate],
    *,
    headline: str = "",
    delta: Estimate | None = None,
    notes: tuple[str, ...] = (),
    assumptions: tuple[str, ...] = (),
) -> Finding:
    """Put a decision, whichever it is, together with what was measured."""
    return Finding(
        outcome=decision.outcome,
        code=decision.code,
        reason=reason,
        headline=headline,
        promote=check.promote,
        rollback=check.rollback,
        canary=arms[0],
        baseline=arms[1],
        delta=delta,
        evidence=decision.evidence,
        remaining_requests=decision.remaining_requests,
        remaining_range=decision.remaining_range,
        since=question.segments.moment(decision.start),
        seconds=question.segments.length(decision.start),
        assumptions=assumptions,
        notes=notes,
    )


def conclusion(check: Check, decision: Decision, question: Question, show: Callable[[float], str]) -> str:
    """Say what was proved of the value, and what it takes to decide where it was not."""
    text = proof(check, decision, question, show)
    if decision.held_by is not None:
        within = "below" if question.worse == "above" else "above"
        when = question.segments.when(decision.held_by)
        return f"proved {within} the {show(question.promote)} promote limit, and held back as it looks worse{when}"
    if decision.outcome is not Outcome.INCONCLUSIVE or decision.code in (Code.COMMON_MODE, Code.PLACEBO_FAILED):
        return text
    if decision.remaining_requests is None:
        return text if check.rule is Rule.POINT else f"{text}: more requests will not decide at this value"
    if decision.remaining_requests < 1:
        return f"{text}; the next requests are likely to decide"
    return f"{text}; about {_about(decision.remaining_requests)} more requests needed ({_span(decision)})"


def ranked(decision: Decision) -> str:
    """Return how the canary stands among the baseline's pods, where they are known."""
    control = decision.control
    if control is None:
        return ""
    count = "each" if control.rank == 1 else f"{control.pods + 1 - control.rank}"
    return f"; worse than {count} of {control.pods} baseline pods (p = {control.p_value:.2g})"


def _span(decision: Decision) -> str:
    """Say within which range the requests needed lie."""
    low, high = decision.remaining_range
    if high is None:
        return f"at least {_about(low)}, perhaps never" if low else "perhaps never"
    return f"{_about(low)} to {_about(high)}" if low else f"at most {_about(high)}"


def _about(requests: float) -> str:
    return format_count(float(f"{requests:.2g}"))


def proof(check: Check, decision: Decision, question: Question, show: Callable[[float], str]) -> str:
    """Say what was proved of the value, or what was not."""
    promote, rollback = show(question.promote), show(question.rollback)
    beyond = "above" if question.worse == "above" else "below"
    within = "below" if question.worse == "above" else "above"
    match decision.code, check.rule:
        case Code.PROVED_BAD, Rule.STRICT:
            return f"proved {beyond} the {rollback} rollback limit{ranked(decision)}"
        case Code.PROVED_BAD, _:
            return f"{beyond} the {rollback} rollback limit and proved {beyond} {promote}{ranked(decision)}"
        case Code.PLACEBO_FAILED, _ if decision.control is not None:
            pods = decision.control.proved_bad
            return (
                f"{beyond} the {rollback} rollback limit, but the same test proves {len(pods)} of "
                f"{decision.control.pods} baseline pods bad as well ({', '.join(pods[:3])}): no evidence against it"
            )
        case Code.PROVED_GOOD, _:
            return f"proved {within} the {promote} promote limit"
        case Code.DECIDED_BY_POINT, _ if decision.outcome is Outcome.FAIL:
            return f"{beyond} the {rollback} rollback limit as an estimate, which proves little"
        case Code.DECIDED_BY_POINT, _:
            return f"{within} the {promote} promote limit as an estimate, which proves little"
        case Code.COMMON_MODE, _:
            limit = rollback if check.rule is Rule.STRICT else promote
            why = question.shared.explain(decision.start) if question.shared is not None else ""
            proved = decision.evidence.towards_fail >= UNDECIDED_AT_MOST  # or settled by the point estimate
            return f"proved {beyond} {limit}, {why}" if proved else f"{beyond} the {rollback} rollback limit, {why}"
        case _:
            pass
    if question.is_beyond(decision.value, question.rollback):
        return f"{beyond} the {rollback} rollback limit, not yet proved"
    if question.is_within(decision.value, question.promote):
        return f"{within} the {promote} promote limit, not yet proved"
    return f"between the limits {promote} and {rollback}"
