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

Every rule is applied to the whole window and to each segment of time that began later, each with its own part of the
level: a fault that begins late is not hidden by the good hours before it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

from analyzer.checks.negative_control import Control
from analyzer.checks.segments import Indices, Segments
from analyzer.config.policy import Check, Policy, SharedRegression
from analyzer.model.findings import Code, Evidence, Outcome, Rule
from analyzer.stats.dispersion import Dispersion
from analyzer.stats.induced import Induced
from analyzer.stats.onset import WHOLE
from analyzer.stats.search import Bools, Floats, Side, trials_until

UNDECIDED_AT_MOST = 0.99  # the bar of a check that did not decide never looks full
HOLD = 0.5  # evidence towards fail, of that needed, which keeps a check from passing: something may just have begun
ONE_MORE = math.log(2)  # bad requests to add for a rate that the true one exceeds as often as not
DECLARED = 0.5  # the part of the level, at most, of the test of a declared number of requests
LIKELY = 1.5  # standard errors of the estimate within which the time to a decision is given


@dataclass(frozen=True)
class Terms:
    """What a check is held to beside its own row of the policy.

    Attributes
    ----------
    fail, passing : levels of failing a good canary, and of passing a bad one, over all looks
    elapsed_seconds : since the begin of the window; None: not known
    at_this_weight : a pass must be proved by what was seen since the traffic's split last changed
    shared_regression_fails : trouble of both arms that began with the canary fails
    doubts : what a short observation may not have shown is allowed for; not where the policy wants no history
    """

    fail: float
    passing: float
    elapsed_seconds: float | None = None
    at_this_weight: bool = False
    shared_regression_fails: bool = False
    doubts: bool = True

    @classmethod
    def of(cls, policy: Policy, elapsed_seconds: float | None = None, *, at_this_weight: bool = False) -> Self:
        """Take the levels from the policy: all must pass, so passing needs no correction; any may fail."""
        fails = policy.shared_regression is SharedRegression.FAIL
        return cls(policy.alpha_to_fail, policy.alpha, elapsed_seconds, at_this_weight, fails, policy.history > 0)


class Measure(Protocol):
    """What a kind of check can tell about its value, since each of several starts."""

    @property
    def values(self) -> Floats:
        """Give the estimates since each start, nan where there is none; shape (starts,)."""

    @property
    def requests(self) -> Floats:
        """Give the canary requests since each start; shape (starts,)."""

    def log_evidence(self, limit: float, side: Side) -> Floats:
        """Give the log evidence since each start that the value lies on a side of a limit; shape (starts,)."""

    def forecast(self, limit: float, side: Side, start: int, scale: Floats) -> Floats:
        """Give the log evidence since one start, were all counts `scale` times as large; shape of `scale`."""

    def information(self, limit: float, side: Side, start: int, deviations: float) -> float:
        """Tell how much evidence a further canary request brings, were the value so many standard errors above.

        In nats; negative where the value then is below the limit.
        """


class Shared(Protocol):
    """What may excuse the canary: see `shared_trouble`."""

    def excused(self, starts: Indices) -> Bools:
        """Return for each start, by number, whether what is bad since then is not held against the canary."""

    def explain(self, start: int) -> str:
        """Return what is known of the baseline since a start."""


@dataclass(frozen=True)
class Question:
    """What a check asks of its counts, in one unit for values and limits.

    Attributes
    ----------
    measure : what is known of the value
    promote, rollback : the limits
    worse : the side of the limits that is bad
    segments : since when the measure counts
    dispersion : what is known of how requests depend on each other; None: the measure does not ask
    control : judges pods of the baseline as if each were the canary, see `negative_control`; None: not known
    by_requests : tests a limit by a declared number of requests, at most at a level; None where there is no such test
    shared : whether what is bad is, or may be, the service's and not the canary's; None: nothing to compare with
    """

    measure: Measure
    promote: float
    rollback: float
    worse: Side
    segments: Segments
    shared: Shared | None = None
    control: Callable[[float, float, int], Control | None] | None = None
    by_requests: Callable[[float, float, float], Induced | None] | None = None
    dispersion: Dispersion | None = None

    def doubt(self, check: Check, requests: Floats) -> Floats:
        """Return by what evidence for a rollback is divided, given the canary's requests: see `Dispersion.doubt`."""
        if self.dispersion is None:
            return np.ones(np.shape(requests))
        return self.dispersion.doubt(requests, compared=check.compares)

    def excuses(self, start: int) -> bool:
        """Whether what is bad since a start, by its number, is or may be the service's."""
        return self.shared is not None and bool(self.shared.excused(np.array([start]))[0])

    def is_beyond(self, values: Floats | float, limit: float) -> Bools:
        """Whether values are on the bad side of a limit."""
        return np.asarray(np.greater(values, limit) if self.worse == "above" else np.less(values, limit))

    def is_within(self, value: float, limit: float) -> bool:
        """Whether a value is on the good side of a limit."""
        return value < limit if self.worse == "above" else value > limit

    @property
    def better(self) -> Side:
        """The good side of the limits."""
        return "below" if self.worse == "above" else "above"


@dataclass(frozen=True)
class Decision:
    """A finding in the making: everything but the words.

    Attributes
    ----------
    start : number of the start since when the numbers of the finding count
    value : the estimate since then
    alpha_low, alpha_high : levels of the bounds of the value's interval
    control : what the same test says of the baseline's pods, where it proves the canary bad
    held_by : number of the start since when it looks worse, where only this keeps a proved check from passing
    """

    outcome: Outcome
    code: Code
    evidence: Evidence
    start: int
    value: float
    alpha_low: float
    alpha_high: float
    remaining_requests: float | None
    remaining_range: tuple[float | None, float | None] = (None, None)
    held_by: int | None = None
    control: Control | None = None


def decide(check: Check, question: Question, terms: Terms) -> Decision:
    """Apply the check's rule to the evidence."""
    measure, present = question.measure, question.segments.present
    to_pass = -math.log(terms.passing)
    failing = _failing(check, question, terms)
    passing = _part(measure.forecast(question.promote, question.better, present, np.ones(1))[0], to_pass)
    value, requests = float(measure.values[present]), float(measure.requests[present])
    enough = requests >= check.min_requests
    if not enough:
        passing = min(passing, requests / check.min_requests, UNDECIDED_AT_MOST)
    held = failing.part >= HOLD and passing >= 1 and check.rule is not Rule.POINT
    if held:
        passing = UNDECIDED_AT_MOST

    outcome, code, start = Outcome.INCONCLUSIVE, Code.UNDECIDED, present
    settle = check.decide_by is not None and check.decide_by.is_past(terms.elapsed_seconds, requests)
    if check.rule is not Rule.POINT and failing.part >= 1:
        outcome, code, start = Outcome.FAIL, Code.PROVED_BAD, failing.start
    elif check.rule is not Rule.POINT and passing >= 1:
        outcome, code = Outcome.PASS, Code.PROVED_GOOD
    elif check.rule is not Rule.POINT and failing.withheld is not None:
        code, start = failing.withheld, failing.start
    elif settle or check.rule is Rule.POINT:
        outcome, code = _by_point(question, value, enough=enough, suspect=failing.part >= HOLD, settle=settle)
    weight = float(question.segments.starts.weights[start]) or WHOLE
    levels = terms.fail * weight * failing.mixture, terms.passing
    low, high = levels if question.worse == "above" else levels[::-1]
    held = held and outcome is Outcome.INCONCLUSIVE and code is Code.UNDECIDED
    remaining: tuple[float | None, tuple[float | None, float | None]] = 0.0, (0.0, 0.0)
    if outcome is Outcome.INCONCLUSIVE:
        foreseen = code is Code.UNDECIDED and not held
        remaining = _remaining(check, question, terms, failing.mixture) if foreseen else (None, (None, None))
    return Decision(
        outcome, code, Evidence(towards_pass=passing, towards_fail=failing.part),
        start, float(measure.values[start]), low, high, *remaining,
        held_by=failing.start if held else None, control=failing.control,
    )  # fmt: skip


def _by_point(question: Question, value: float, *, enough: bool, suspect: bool, settle: bool) -> tuple[Outcome, Code]:
    """Decide by the point estimate; where that settles an undecided check, not against evidence or the baseline."""
    if question.is_beyond(value, question.rollback):
        if settle and question.excuses(question.segments.present):
            return Outcome.INCONCLUSIVE, Code.COMMON_MODE
        return Outcome.FAIL, Code.DECIDED_BY_POINT
    if enough and question.is_within(value, question.promote) and not (settle and suspect):
        return Outcome.PASS, Code.DECIDED_BY_POINT
    return Outcome.INCONCLUSIVE, Code.UNDECIDED


@dataclass(frozen=True)
class _Failing:
    """How near a check is to failing: the part of the evidence needed, since which start, and why it is withheld.

    `mixture` is the part of the level that is not that of a declared number of requests.
    """

    part: float
    start: int
    mixture: float = 1.0
    withheld: Code | None = None
    control: Control | None = None


def _failing(check: Check, question: Question, terms: Terms) -> _Failing:
    """Find the start since which most speaks for failing, with regard to its part of the level."""
    limit = question.rollback if check.rule is Rule.STRICT else question.promote
    with np.errstate(divide="ignore"):
        weights = np.log(question.segments.starts.weights)
    doubt = question.doubt(check, question.measure.requests)
    evidence, mixture = question.measure.log_evidence(limit, question.worse) / doubt + weights, 1.0
    if declared := _by_requests(check, question, limit, terms):
        mixture = 1 - declared.level / terms.fail
        evidence += math.log(mixture)
        evidence[0] = np.logaddexp(evidence[0], declared.log_evidence / doubt[0] + math.log1p(-mixture))
    parts = evidence / -math.log(terms.fail)
    parts = np.minimum(np.where(parts > 0, parts, 0.0), 1e6)  # nan and -inf: nothing speaks for it
    values = question.measure.values
    counts = np.ones(len(parts), bool) if check.rule is Rule.STRICT else question.is_beyond(values, question.rollback)
    excused = False
    if question.shared is not None and (proved := np.flatnonzero((parts >= 1) & counts)).size:
        pardoned = proved[question.shared.excused(proved)]
        excused = len(pardoned) == len(proved)
        start = int(pardoned[parts[pardoned].argmax()]) if excused else 0
        parts[pardoned] = np.minimum(parts[pardoned], UNDECIDED_AT_MOST)
        if excused:
            return _Failing(float(parts[start]), start, mixture, Code.COMMON_MODE)
    best = int(np.where(counts, parts, -1.0).argmax())
    if counts.any() and parts[best] >= 1:
        return replace(_controlled(float(parts[best]), best, question, limit, terms), mixture=mixture)
    # Not beyond the rollback limit as well: the bar shows how far the estimate has come.
    others = min(float(parts.max()), _progress(question, float(values[0])), UNDECIDED_AT_MOST)
    return _Failing(max(float(parts[best]) if counts[best] else 0.0, others), best, mixture)


def _by_requests(check: Check, question: Question, limit: float, terms: Terms) -> Induced | None:
    """Test by the number of requests that the policy declares, with half of the level at most; see `stats.induced`."""
    declared = check.decide_by.requests if check.decide_by is not None else None
    if declared is None or question.by_requests is None or check.rule is Rule.POINT:
        return None
    return question.by_requests(declared, limit, DECLARED * terms.fail)


def _controlled(part: float, start: int, question: Question, limit: float, terms: Terms) -> _Failing:
    """Withhold a failure whose evidence does not exceed that of the same test against pods of the baseline."""
    control = None if question.control is None else question.control(limit, terms.fail, start)
    if control is not None and part - control.log_evidence / -math.log(terms.fail) < 1:
        return _Failing(UNDECIDED_AT_MOST, start, withheld=Code.PLACEBO_FAILED, control=control)
    return _Failing(part, start, control=control)


def format_count(number: float) -> str:
    """Write a count for people: exact while it is small, three digits beyond."""
    if number < 100_000:
        return f"{math.floor(number + 0.5):,}"
    for size, unit in ((1e12, "e12"), (1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:,.0f}"


def _part(log_evidence: float, needed: float) -> float:
    return max(0.0, float(log_evidence) / needed) if not math.isnan(log_evidence) else 0.0


def _progress(question: Question, value: float) -> float:
    """How far the estimate has come towards the rollback limit, which the zone rule asks it to pass."""
    start = 0.0 if question.rollback * question.promote >= 0 and question.rollback != 0 else question.promote
    span = question.rollback - start
    if span == 0 or not math.isfinite(value):
        return UNDECIDED_AT_MOST
    return max(0.0, (value - start) / span)


def _remaining(
    check: Check, question: Question, terms: Terms, mixture: float
) -> tuple[float | None, tuple[float | None, float | None]]:
    """About how many more canary requests decide, if they come as the ones so far did, and within which range.

    The range is for values of the truth `LIKELY` standard errors further from the limit, and nearer to it.
    """
    start, measure = question.segments.present, question.measure
    value, requests = float(measure.values[start]), float(measure.requests[start])
    if check.rule is Rule.POINT:
        missing = check.min_requests - requests
        needed = missing if missing > 0 and question.is_within(value, question.promote) else None
        return needed, (needed, needed)
    if question.is_beyond(value, question.rollback):
        limit = question.rollback if check.rule is Rule.STRICT else question.promote
        weight = float(question.segments.starts.weights[start]) or WHOLE
        side, least = question.worse, 0.0
        to_decide = -math.log(terms.fail * weight * mixture)
    elif question.is_within(value, question.promote):
        limit, side, to_decide, least = question.promote, question.better, -math.log(terms.passing), check.min_requests
    else:
        return None, (None, None)

    def log_evidence(total: Floats) -> Floats:
        foreseen = measure.forecast(limit, side, start, total / requests)
        return np.asarray(foreseen / question.doubt(check, total) if side == question.worse else foreseen)

    total = trials_until(log_evidence, to_decide, requests)
    if total is None:
        return None, (None, None)
    here = max(total, least) - requests
    missing = to_decide - float(log_evidence(np.array([requests]))[0])
    outwards = 1.0 if side == "above" else -1.0

    def more(deviations: float) -> float | None:
        information = outwards * measure.information(limit, side, start, outwards * deviations)
        return max(missing / information, least - requests, 0.0) if information > 0 else None

    far, near = more(LIKELY), more(-LIKELY)
    return max(here, 0.0), (min(far if far is not None else here, here), None if near is None else max(near, here))
