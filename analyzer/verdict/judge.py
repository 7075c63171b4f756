"""From the findings of the checks to the verdict on the canary."""

from dataclasses import dataclass

from analyzer.checks.decision import HOLD, ONE_MORE
from analyzer.config.policy import Check, Policy
from analyzer.model.counts import Readings, Window
from analyzer.model.findings import Code, Finding, Kind, Outcome, Role, Rule

DECIDING = (Code.PROVED_GOOD, Code.PROVED_BAD, Code.DECIDED_BY_POINT, Code.UNDECIDED)
WITHHELD = (Code.COMMON_MODE, Code.PLACEBO_FAILED)
WITHOUT_DATA = tuple(code for code in Code if code not in DECIDING)
# There are data, and they cannot judge the check: unlike a metric that nobody exports, that is no guardrail's absence.
UNTRUSTWORTHY = (Code.BUCKET_RESOLUTION, Code.BUCKETS_DIFFER, Code.INCONSISTENT_DATA, Code.TRAFFIC_SPLIT)
PATIENCE = 4.0  # times the canary requests so far: a comparison that looks bad is waited for if so many would prove it


@dataclass(frozen=True)
class Verdict:
    """What is answered: the outcome of the whole, why, and the findings that led to it.

    Attributes
    ----------
    outcome, reason : of the whole
    findings : by name of the check, in the policy's order; only the checks that were asked for
    policy : what it was judged by
    readings : what was read, with the window that was judged
    """

    outcome: Outcome
    reason: str
    findings: dict[str, Finding]
    policy: Policy
    readings: Readings

    @property
    def window(self) -> Window:
        """The segment of time that was judged."""
        return self.readings.window


def combine(findings: dict[str, Finding], policy: Policy) -> tuple[Outcome, str]:
    """Combine findings: any gate or guardrail that fails fails; every gate that passes passes.

    Where the gates count as guardrails, or only guardrails were asked for, it is enough that none is proved bad or
    `suspected` and that each of these has `min_requests` and data that can judge it.

    Returns
    -------
    The outcome and one sentence that names the checks which led to it.

    Notes
    -----
    A guardrail that is suspected holds the rollout for a while and decides nothing. That spends none of alpha, which
    bounds how often a good canary is rolled back: a measurement that does not pass rolls nothing back, and evidence
    counts what comes later as before. What it costs is time, and only for canaries that look bad.
    """
    by_role: dict[Role, dict[str, Finding]] = {role: {} for role in Role}
    for name, finding in findings.items():
        by_role[policy.checks[name].role][name] = finding
    gates = by_role[Role.GATE] if policy.role is not Role.ADVISORY else {}
    guardrails = by_role[Role.GUARDRAIL]

    failed = [name for name, finding in (gates | guardrails).items() if finding.outcome is Outcome.FAIL]
    if failed:
        return Outcome.FAIL, _explain(failed, findings)
    excused = [name for name, finding in (gates | guardrails).items() if finding.code in WITHHELD]
    if excused:  # proved bad, if not by its own fault: no moment to give the canary more traffic
        return Outcome.INCONCLUSIVE, _explain(excused, findings)
    if not gates and not guardrails:
        return Outcome.INCONCLUSIVE, "only advisory checks were asked for: they never decide"
    blind = [f"{name} ({finding.code})" for name, finding in guardrails.items() if finding.code in WITHOUT_DATA]
    by_proof = bool(gates) and policy.role is Role.GATE
    holding = gates or guardrails
    held_back = [
        name
        for name, finding in (guardrails if by_proof else gates | guardrails).items()
        if finding.code in UNTRUSTWORTHY or suspected(policy.checks[name], finding)
    ]
    if by_proof:
        open_gates = [name for name, finding in gates.items() if finding.outcome is not Outcome.PASS]
        if open_gates:
            return Outcome.INCONCLUSIVE, _explain(open_gates, findings)
        if held_back:
            return Outcome.INCONCLUSIVE, _explain_hold(held_back, findings)
        proved = [name for name, finding in gates.items() if finding.code is Code.PROVED_GOOD]
        estimated = [name for name in gates if name not in proved]
        text = f"proved good: {', '.join(proved)}" if proved else "nothing is proved"
        text += f"; good as an estimate only: {', '.join(estimated)}" if estimated else ""
        held = [name for name, finding in guardrails.items() if finding.code is Code.UNDECIDED]
        text += f"; not proved bad: {', '.join(held)}" if held else ""
        return Outcome.PASS, f"{text}; not judged: {', '.join(blind)}" if blind else text
    waiting = [
        name
        for name, finding in holding.items()
        if finding.code in WITHOUT_DATA or finding.canary.n < policy.checks[name].min_requests
    ]
    if waiting:
        return Outcome.INCONCLUSIVE, _explain(waiting, findings)
    if held_back:
        return Outcome.INCONCLUSIVE, _explain_hold(held_back, findings)
    seen = [name for name, finding in (gates | guardrails).items() if name in holding or finding.code in DECIDING]
    text = f"not proved bad: {', '.join(seen)}"
    return Outcome.PASS, f"{text}; not judged: {', '.join(blind)}" if blind else text


def suspected(check: Check, finding: Finding) -> bool:
    """Return whether a check that is not proved bad looks so bad that more requests should tell first.

    It does while the evidence towards fail is at half of what is needed, or while the estimate is beyond the rollback
    limit. A share of bad requests is taken as the one that the truth exceeds as often as not (`ONE_MORE`): one failed
    request in a hundred is no more likely to be 0.5% than 3%; a quantile does so itself. That ends by itself for a
    canary within the limit. The change of a comparison may be beyond the limit by chance for hours, so it counts only
    where `PATIENCE` times the requests so far would prove it, if they are like these.
    """
    if finding.outcome is not Outcome.INCONCLUSIVE or check.rule is Rule.POINT:
        return False
    if finding.waits or finding.evidence.towards_fail >= HOLD:
        return True
    value, remaining = (finding.delta or finding.canary).value, finding.remaining_requests
    if value is None:
        return False
    if check.compares:
        beyond = value < finding.rollback if check.kind is Kind.BUSINESS else value > finding.rollback
        return beyond and remaining is not None and remaining <= PATIENCE * finding.canary.n
    if check.kind is Kind.ERROR_RATE:
        value += ONE_MORE / max(finding.canary.n, 1.0)
    return value > finding.rollback


def _explain_hold(names: list[str], findings: dict[str, Finding]) -> str:
    """Return the reason of the first check that holds the rollout back."""
    untrusted = [name for name in names if findings[name].code in UNTRUSTWORTHY]
    if untrusted:
        return _explain(untrusted, findings)
    finding = findings[names[0]]
    return f"{names[0]} may be bad, more requests must show: {finding.headline or finding.reason}"


def _explain(names: list[str], findings: dict[str, Finding]) -> str:
    """Give the first check's reason in short; of several that are merely undecided, name all instead."""
    telling = [name for name in names if findings[name].code is not Code.UNDECIDED]
    first = (telling or names)[0]
    if len(names) > 1 and not telling:
        return f"not decided yet: {', '.join(names)}"
    return f"{first}: {findings[first].headline or findings[first].reason}"
