"""Sentences that the findings of several kinds share."""

from collections.abc import Callable
from typing import Literal

from analyzer.checks.decision import Decision, Question
from analyzer.model import Code, Finding, Outcome, Rule
from analyzer.policy import Check


def no_traffic(check: Check, arm: Literal["canary", "baseline"], what: str) -> Finding:
    """Say that an arm has nothing to judge, which is neither good nor bad."""
    return Finding(
        outcome=Outcome.INCONCLUSIVE,
        code=Code.NO_CANARY_TRAFFIC if arm == "canary" else Code.NO_BASELINE_TRAFFIC,
        reason=f"the {arm} has no {what} yet: nothing to judge",
        promote=check.promote,
        rollback=check.rollback,
    )


def proof(check: Check, decision: Decision, question: Question, show: Callable[[float], str]) -> str:
    """Say what was proved of the value, or what was not."""
    promote, rollback = show(question.promote), show(question.rollback)
    beyond = "above" if question.worse == "above" else "below"
    within = "below" if question.worse == "above" else "above"
    match decision.code, check.rule:
        case Code.PROVED_BAD, Rule.STRICT:
            return f"proved {beyond} the {rollback} rollback limit"
        case Code.PROVED_BAD, _:
            return f"{beyond} the {rollback} rollback limit and proved {beyond} {promote}"
        case Code.PROVED_GOOD, _:
            return f"proved {within} the {promote} promote limit"
        case Code.DECIDED_BY_POINT, _ if decision.outcome is Outcome.FAIL:
            return f"{beyond} the {rollback} rollback limit as an estimate, which proves little"
        case Code.DECIDED_BY_POINT, _:
            return f"{within} the {promote} promote limit as an estimate, which proves little"
        case _:
            pass
    if question.is_beyond(question.rollback):
        return f"{beyond} the {rollback} rollback limit, not yet proved"
    if question.is_within(question.promote):
        return f"{within} the {promote} promote limit, not yet proved"
    return f"between the limits {promote} and {rollback}"
