"""From the findings of the checks to the verdict on the canary."""

from dataclasses import dataclass

from analyzer.config.policy import Policy
from analyzer.model.counts import Readings, Window
from analyzer.model.findings import Code, Finding, Outcome, Role

DECIDING = (Code.PROVED_GOOD, Code.PROVED_BAD, Code.DECIDED_BY_POINT, Code.UNDECIDED)
WITHHELD = (Code.COMMON_MODE, Code.NEGATIVE_CONTROL)
WITHOUT_DATA = tuple(code for code in Code if code not in DECIDING)


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

    Where the gates count as guardrails, or only guardrails were asked for, it is enough that none is proved bad and
    that each of these has `min_requests`.

    Returns
    -------
    The outcome and one sentence that names the checks which led to it.
    """
    by_role: dict[Role, dict[str, Finding]] = {role: {} for role in Role}
    for name, finding in findings.items():
        by_role[policy.checks[name].role][name] = finding
    gates = by_role[Role.GATE] if policy.role is not Role.ADVISORY else {}
    guardrails = by_role[Role.GUARDRAIL]

    failed = [name for name, found in (gates | guardrails).items() if found.outcome is Outcome.FAIL]
    if failed:
        return Outcome.FAIL, _explain(failed, findings)
    excused = [
        name for name, found in (gates | guardrails).items() if found.code in (Code.COMMON_MODE, Code.NEGATIVE_CONTROL)
    ]
    if excused:  # proved bad, if not by its own fault: no moment to give the canary more traffic
        return Outcome.INCONCLUSIVE, _explain(excused, findings)
    if not gates and not guardrails:
        return Outcome.INCONCLUSIVE, "only advisory checks were asked for: they never decide"
    blind = [f"{name} ({found.code})" for name, found in guardrails.items() if found.code in WITHOUT_DATA]
    if gates and policy.role is Role.GATE:
        open_gates = [name for name, found in gates.items() if found.outcome is not Outcome.PASS]
        if open_gates:
            return Outcome.INCONCLUSIVE, _explain(open_gates, findings)
        proved = [name for name, found in gates.items() if found.code is Code.PROVED_GOOD]
        estimated = [name for name in gates if name not in proved]
        text = f"proved good: {', '.join(proved)}" if proved else "nothing is proved"
        text += f"; good as an estimate only: {', '.join(estimated)}" if estimated else ""
        held = [name for name, found in guardrails.items() if found.code is Code.UNDECIDED]
        text += f"; not proved bad: {', '.join(held)}" if held else ""
        return Outcome.PASS, f"{text}; not judged: {', '.join(blind)}" if blind else text
    holding = gates or guardrails
    thin = [
        name
        for name, found in holding.items()
        if found.canary.n < policy.checks[name].min_requests or found.code is Code.TRAFFIC_SPLIT
    ]
    if thin:
        return Outcome.INCONCLUSIVE, _explain(thin, findings)
    seen = [name for name, found in (gates | guardrails).items() if name in holding or found.code in DECIDING]
    text = f"not proved bad: {', '.join(seen)}"
    return Outcome.PASS, f"{text}; not judged: {', '.join(blind)}" if blind else text


def _explain(names: list[str], findings: dict[str, Finding]) -> str:
    """Give the first check's reason in short; of several that are merely undecided, name all instead."""
    telling = [name for name in names if findings[name].code is not Code.UNDECIDED]
    first = (telling or names)[0]
    if len(names) > 1 and not telling:
        return f"not decided yet: {', '.join(names)}"
    return f"{first}: {findings[first].headline or findings[first].reason}"
