"""How evidence becomes a finding: the rules, which every kind of check shares.

=========  ===================================================================================
rule       it takes to fail
=========  ===================================================================================
zone       proof that the value is beyond the promote limit, and an estimate beyond rollback
strict     proof that the value is beyond the rollback limit
relative   as zone, for the change against the baseline
point      an estimate beyond rollback, without any proof
=========  ===================================================================================

To pass, under every rule but ``point``, takes proof that the value is within the promote limit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from analyzer.model import Code, Evidence, Outcome, Rule
from analyzer.policy import Check, Policy
from analyzer.stats.binomial import Side
from analyzer.stats.search import Floats, trials_until

UNDECIDED_AT_MOST = 0.99  # the bar of a check that did not decide never looks full


@dataclass(frozen=True)
class Terms:
    """What a check is held to beside its own row of the policy.

    Attributes
    ----------
    fail, passing : levels of failing a good canary, and of passing a bad one, over all looks
    elapsed_seconds : since the begin of the window; None: not known
    """

    fail: float
    passing: float
    elapsed_seconds: float | None = None

    @classmethod
    def of(cls, policy: Policy, elapsed_seconds: float | None = None) -> Self:
        """Take the levels from the policy: all must pass, so passing needs no correction; any may fail."""
        return cls(policy.alpha_to_fail, policy.alpha, elapsed_seconds)


LogEvidence = Callable[[float, Side, float | Floats], Floats]


@dataclass(frozen=True)
class Question:
    """What a check asks of its counts, in one unit for value and limits.

    Attributes
    ----------
    value : the point estimate
    promote, rollback : the limits
    worse : the side of the limits that is bad
    log_evidence : (limit, side, scale) -> log evidence that the truth is on that side of the limit, were all
        counts `scale` times as large
    requests : canary requests seen, > 0
    """

    value: float
    promote: float
    rollback: float
    worse: Side
    log_evidence: LogEvidence
    requests: float

    def is_beyond(self, limit: float) -> bool:
        """Whether the estimate is on the bad side of a limit."""
        return self.value > limit if self.worse == "above" else self.value < limit

    def is_within(self, limit: float) -> bool:
        """Whether the estimate is on the good side of a limit."""
        return self.value < limit if self.worse == "above" else self.value > limit

    @property
    def better(self) -> Side:
        """The good side of the limits."""
        return "below" if self.worse == "above" else "above"


@dataclass(frozen=True)
class Decision:
    """A finding in the making: everything but the words."""

    outcome: Outcome
    code: Code
    evidence: Evidence
    remaining_requests: float | None


def decide(check: Check, question: Question, terms: Terms) -> Decision:
    """Apply the check's rule to the evidence."""
    to_fail, to_pass = -math.log(terms.fail), -math.log(terms.passing)
    limit_to_fail = question.rollback if check.rule is Rule.STRICT else question.promote
    failing = _part(question.log_evidence(limit_to_fail, question.worse, 1.0), to_fail)
    passing = _part(question.log_evidence(question.promote, question.better, 1.0), to_pass)
    beyond = question.is_beyond(question.rollback)
    enough = question.requests >= check.min_requests
    if not beyond and check.rule is not Rule.STRICT:
        failing = min(failing, _progress(question), UNDECIDED_AT_MOST)
    if not enough:
        passing = min(passing, question.requests / check.min_requests, UNDECIDED_AT_MOST)

    outcome, code = Outcome.INCONCLUSIVE, Code.UNDECIDED
    settle = check.decide_by is not None and check.decide_by.is_past(terms.elapsed_seconds, question.requests)
    if check.rule is not Rule.POINT and failing >= 1:
        outcome, code = Outcome.FAIL, Code.PROVED_BAD
    elif check.rule is not Rule.POINT and passing >= 1:
        outcome, code = Outcome.PASS, Code.PROVED_GOOD
    elif settle or check.rule is Rule.POINT:
        if beyond:
            outcome, code = Outcome.FAIL, Code.DECIDED_BY_POINT
        elif enough and question.is_within(question.promote):
            outcome, code = Outcome.PASS, Code.DECIDED_BY_POINT
    remaining: float | None = 0.0
    if outcome is Outcome.INCONCLUSIVE:
        remaining = _remaining(check, question, limit_to_fail, to_fail, to_pass)
    return Decision(outcome, code, Evidence(towards_pass=passing, towards_fail=failing), remaining)


def format_count(number: float) -> str:
    """Write a count for people: exact while it is small, three digits beyond."""
    if number < 100_000:
        return f"{math.floor(number + 0.5):,}"
    for size, unit in ((1e12, "e12"), (1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:,.0f}"


def _part(log_evidence: Floats | float, needed: float) -> float:
    value = float(np.asarray(log_evidence).reshape(-1)[0])
    return max(0.0, value / needed) if not math.isnan(value) else 0.0


def _progress(question: Question) -> float:
    """How far the estimate has come towards the rollback limit, which the zone rule asks it to pass."""
    start = 0.0 if question.rollback * question.promote >= 0 and question.rollback != 0 else question.promote
    span = question.rollback - start
    if span == 0 or not math.isfinite(question.value):
        return UNDECIDED_AT_MOST
    return max(0.0, (question.value - start) / span)


def _remaining(check: Check, question: Question, limit_to_fail: float, to_fail: float, to_pass: float) -> float | None:
    """About how many more canary requests decide, if they come as the ones so far did."""
    if check.rule is Rule.POINT:
        missing = check.min_requests - question.requests
        return missing if missing > 0 and question.is_within(question.promote) else None
    if question.is_beyond(question.rollback):
        limit, side, needed, least = limit_to_fail, question.worse, to_fail, 0.0
    elif question.is_within(question.promote):
        limit, side, needed, least = question.promote, question.better, to_pass, check.min_requests
    else:
        return None

    def log_evidence(requests: NDArray[np.float64]) -> Floats:
        return question.log_evidence(limit, side, requests / question.requests)

    total = trials_until(log_evidence, needed, question.requests)
    return None if total is None else max(0.0, max(total, least) - question.requests)
