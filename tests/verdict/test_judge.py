"""From findings to the verdict: what each role has to say."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

import analyzer
from analyzer.config.policy import Policy, choose_policy, load_policies
from analyzer.model.counts import Errors, Pod, Reading, Readings, Window
from analyzer.model.findings import Code, Estimate, Evidence, Finding, Outcome, Role
from analyzer.verdict.case import Case
from analyzer.verdict.judge import combine

PASS, FAIL, OPEN = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
CODES = {PASS: Code.PROVED_GOOD, FAIL: Code.PROVED_BAD, OPEN: Code.UNDECIDED}


def policy(*roles: str) -> Policy:
    """Make a policy with one check a role, named by role and place."""
    check = {"kind": "error_rate", "promote": "0.5%", "rollback": "1%", "min_requests": 100}
    names = [f"{role}-{place}" for place, role in enumerate(roles)]
    return Policy.model_validate(
        {"name": "test", "checks": {name: check | {"role": role} for name, role in zip(names, roles, strict=True)}}
    )


def finding(outcome: Outcome, n: float = 1000, code: Code | None = None) -> Finding:
    """Make a finding on so many canary requests."""
    return Finding(outcome, code or CODES[outcome], f"it is {outcome}", 0.005, 0.01, canary=Estimate(n=n))


def verdict(roles: tuple[str, ...], *outcomes: Outcome, n: float = 1000) -> tuple[Outcome, str]:
    """Combine one finding a role."""
    judged = policy(*roles)
    found = {name: finding(outcome, n) for name, outcome in zip(judged.checks, outcomes, strict=True)}
    return combine(found, judged)


@pytest.mark.parametrize(
    ("roles", "outcomes", "expected"),
    [
        (("gate",), (PASS,), PASS),
        (("gate",), (OPEN,), OPEN),
        (("gate",), (FAIL,), FAIL),
        (("gate", "gate"), (PASS, OPEN), OPEN),
        (("gate", "gate"), (OPEN, FAIL), FAIL),
        (("gate", "guardrail"), (PASS, OPEN), PASS),  # a guardrail must not be proved bad, and need not be proved good
        (("gate", "guardrail"), (PASS, FAIL), FAIL),
        (("gate", "guardrail"), (OPEN, PASS), OPEN),
        (("guardrail",), (OPEN,), PASS),
        (("guardrail", "guardrail"), (OPEN, FAIL), FAIL),
        (("gate", "advisory"), (PASS, FAIL), PASS),
        (("gate", "advisory"), (OPEN, PASS), OPEN),
        (("guardrail", "advisory"), (OPEN, FAIL), PASS),
        (("advisory",), (FAIL,), OPEN),
        (("advisory",), (PASS,), OPEN),
    ],
)
def test_what_each_role_decides(roles: tuple[str, ...], outcomes: tuple[Outcome, ...], expected: Outcome) -> None:
    """Gates must be proved good, guardrails must not be proved bad, advice never decides."""
    assert verdict(roles, *outcomes)[0] is expected


def test_a_guardrail_waits_where_its_check_says_so() -> None:
    """Without proof, evidence or an estimate beyond the limit; a gate that is proved good does not."""
    waiting = replace(finding(OPEN), waits=True)

    outcome, reason = combine({"guardrail-0": waiting}, policy("guardrail"))

    assert (outcome, reason) == (OPEN, "guardrail-0 may be bad, more requests must show: it is inconclusive")
    assert combine({"gate-0": replace(finding(PASS), waits=True)}, policy("gate"))[0] is PASS


@pytest.mark.parametrize("roles", list(product(["gate", "guardrail", "advisory"], repeat=3)))
def test_the_whole_follows_its_rule_in_every_combination(roles: tuple[str, ...]) -> None:
    """Any gate or guardrail that fails fails; every gate that passes passes; else nothing is decided."""
    for outcomes in product(Outcome, repeat=3):
        by_role = list(zip(roles, outcomes, strict=True))
        deciding = [outcome for role, outcome in by_role if role != "advisory"]
        gates = [outcome for role, outcome in by_role if role == "gate"]
        if FAIL in deciding:
            expected = FAIL
        elif deciding and set(gates) <= {PASS}:
            expected = PASS
        else:
            expected = OPEN

        assert verdict(roles, *outcomes)[0] is expected


@pytest.mark.parametrize(
    ("findings", "expected", "told"),
    [
        ((OPEN, OPEN), PASS, "not proved bad: gate-0, guardrail-1"),
        ((PASS, OPEN), PASS, "not proved bad: gate-0, guardrail-1"),
        ((FAIL, OPEN), FAIL, "gate-0"),
        ((OPEN, FAIL), FAIL, "guardrail-1"),
    ],
)
def test_gates_may_count_as_guardrails_while_ramping(
    findings: tuple[Outcome, ...], expected: Outcome, told: str
) -> None:
    """At such a stage nothing must be proved good; what is proved bad fails as ever."""
    judged = policy("gate", "guardrail").model_copy(update={"role": Role.GUARDRAIL})

    outcome, reason = combine(dict(zip(judged.checks, map(finding, findings), strict=True)), judged)

    assert outcome is expected
    assert reason.startswith(told)


@pytest.mark.parametrize(("blind", "expected"), [("gate-0", OPEN), ("guardrail-1", PASS)])
def test_a_gate_needs_data_at_every_stage(blind: str, expected: Outcome) -> None:
    """A gate whose metric is missing holds the ramp too; a guardrail without data stops nobody, as at the gates."""
    judged = policy("gate", "guardrail").model_copy(update={"role": Role.GUARDRAIL})
    found = {name: finding(OPEN, 0, Code.METRIC_MISSING) if name == blind else finding(OPEN) for name in judged.checks}

    outcome, reason = combine(found, judged)

    assert outcome is expected
    assert blind in reason


def test_gates_that_are_only_shown_never_decide() -> None:
    """With the gates advisory the guardrails decide alone."""
    judged = policy("gate", "guardrail").model_copy(update={"role": Role.ADVISORY})

    assert combine({"gate-0": finding(FAIL), "guardrail-1": finding(OPEN)}, judged)[0] is PASS
    assert combine({"gate-0": finding(PASS), "guardrail-1": finding(FAIL)}, judged)[0] is FAIL


@pytest.mark.parametrize(("n", "expected"), [(0, OPEN), (99, OPEN), (100, PASS)])
def test_guardrails_alone_need_enough_requests(n: float, expected: Outcome) -> None:
    """Where no gate is asked for, each guardrail has to have seen `min_requests`."""
    assert verdict(("guardrail",), OPEN, n=n)[0] is expected


def test_a_guardrail_without_data_does_not_pass_alone() -> None:
    """A guardrail whose metric is missing saw no requests, and so nothing is promoted on it."""
    judged = policy("guardrail")

    outcome, reason = combine({"guardrail-0": finding(OPEN, 0, Code.METRIC_MISSING)}, judged)

    assert outcome is OPEN
    assert "guardrail-0" in reason


def test_the_reason_names_the_checks_that_led_to_it() -> None:
    """The failed one, the open ones, or all that were proved."""
    assert verdict(("gate", "gate"), PASS, FAIL)[1].startswith("gate-1: it is fail")
    reason = verdict(("gate", "gate", "gate"), OPEN, PASS, OPEN)[1]
    assert "gate-0" in reason
    assert "gate-2" in reason
    assert "gate-1" not in reason
    reason = verdict(("gate", "guardrail"), PASS, OPEN)[1]
    assert "proved good: gate-0" in reason
    assert "not proved bad: guardrail-1" in reason


def test_a_missing_metric_is_told_before_what_is_merely_open() -> None:
    """Of several open gates the one that somebody has to repair comes first."""
    judged = policy("gate", "gate")

    _, reason = combine({"gate-0": finding(OPEN), "gate-1": finding(OPEN, 0, Code.METRIC_MISSING)}, judged)

    assert reason.startswith("gate-1")


def test_only_advice_is_said_to_decide_nothing() -> None:
    """The reason tells why nothing can come of it."""
    assert "advisory" in verdict(("advisory",), FAIL)[1]


@pytest.mark.parametrize("roles", [("gate", "guardrail"), ("guardrail", "guardrail")])
def test_trouble_of_the_service_is_no_moment_to_go_on(roles: tuple[str, ...]) -> None:
    """A guardrail that is proved bad, if not by the canary's fault, does not roll back, and nothing passes."""
    judged = policy(*roles)
    excused = finding(OPEN, code=Code.COMMON_MODE)
    outcome, reason = combine(dict(zip(judged.checks, (finding(PASS), excused), strict=True)), judged)

    assert outcome is OPEN
    assert reason.startswith("guardrail-1: ")


@pytest.mark.parametrize("roles", [("gate", "guardrail"), ("guardrail", "guardrail")])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (Code.BUCKET_RESOLUTION, OPEN),
        (Code.BUCKETS_DIFFER, OPEN),
        (Code.INCONSISTENT_DATA, OPEN),
        (Code.TRAFFIC_SPLIT, OPEN),
        (Code.UNDECIDED, PASS),
    ],
)
def test_a_guardrail_whose_data_cannot_be_trusted_holds_the_rollout(
    roles: tuple[str, ...], code: Code, expected: Outcome
) -> None:
    """Whatever else is proved good."""
    judged = policy(*roles)
    findings = dict(zip(judged.checks, (finding(PASS), finding(OPEN, code=code)), strict=True))

    assert combine(findings, judged)[0] is expected


def test_guardrails_alone_do_not_hold_at_another_weight() -> None:
    """Where the traffic is not that of the weight, they have not been tried."""
    judged = policy("guardrail")

    assert combine({"guardrail-0": finding(OPEN, code=Code.TRAFFIC_SPLIT)}, judged)[0] is OPEN


@pytest.mark.parametrize("role", ["gate", "guardrail"])
def test_buckets_that_cannot_judge_never_pass(role: str) -> None:
    """A p99 of 9.9 s in buckets that say nothing about a limit of 500 ms is inconclusive as gate and as guardrail."""
    buckets = {"0.1": 10, "10": 1_000_000, "+Inf": 1_000_000}
    for policy_role in ("gate", "guardrail"):
        overrides = {"role": policy_role, "checks": {"latency_p99": {"role": role}}}
        data = {
            "latency_p99": {"canary": {"buckets": buckets}},
            "error_rate": {"canary": {"errors": 0, "requests": 1_000_000}},
        }
        for checks in ("latency_p99", "latency_p99,error_rate"):
            asked = {name: counts for name, counts in data.items() if name in checks}
            answer = analyzer.evaluate({"checks": checks, "policy": overrides, "data": asked})

            assert answer["verdict"] == "inconclusive"
            assert answer["reason"].startswith("latency_p99: ")


@pytest.mark.parametrize(
    ("errors", "requests", "expected"),
    [(0, 100, "pass"), (1, 100, "inconclusive"), (1, 170, "pass"), (2, 250, "inconclusive"), (3, 120, "inconclusive")],
)
def test_a_guardrail_waits_while_the_error_rate_may_be_bad(errors: int, requests: int, expected: str) -> None:
    """Held while the rate, of which half the truths are higher, is beyond 1%; proof is not needed for that."""
    counts = {"canary": {"errors": errors, "requests": requests}}

    answer = analyzer.evaluate(
        {"checks": "error_rate", "policy": {"role": "guardrail"}, "data": {"error_rate": counts}}
    )

    assert answer["verdict"] == expected
    assert expected == "pass" or answer["reason"].startswith("error_rate may be bad, more requests must show: ")


@pytest.mark.parametrize("roles", [("gate", "guardrail"), ("guardrail",)])
@pytest.mark.parametrize(("evidence", "expected"), [(0.49, PASS), (0.5, OPEN)])
def test_a_guardrail_waits_at_half_of_the_evidence(roles: tuple[str, ...], evidence: float, expected: Outcome) -> None:
    """As a gate does, beside gates that are proved good and alone."""
    judged = policy(*roles)
    looks_bad = replace(finding(OPEN), evidence=Evidence(towards_fail=evidence))
    findings = {name: finding(PASS) for name in judged.checks} | {list(judged.checks)[-1]: looks_bad}

    assert combine(findings, judged)[0] is expected


@pytest.mark.parametrize(
    ("change", "remaining", "expected"),
    [(-0.2, 3000, OPEN), (-0.2, 9000, PASS), (-0.02, 3000, PASS), (-0.2, None, PASS)],
)
def test_a_comparison_is_waited_for_where_proof_is_near(
    change: float, remaining: float | None, expected: Outcome
) -> None:
    """A drop that chance makes in every other canary must not hold a rollout for hours."""
    check = {"kind": "business", "promote": "-1%", "rollback": "-3%", "role": "guardrail"}
    judged = Policy.model_validate({"name": "test", "checks": {"sales": check}})
    found = Finding(
        OPEN, Code.UNDECIDED, "fewer", -0.01, -0.03,
        canary=Estimate(n=1000), delta=Estimate(change), remaining_requests=remaining,
    )  # fmt: skip

    assert combine({"sales": found}, judged)[0] is expected


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("share", "rate", "least", "most"),
    [(0.03, 1, 0.0, 0.1), (0.05, 3, 0.0, 0.1), (0.002, 1, 0.8, 1.0), (0.003, 10, 0.9, 1.0)],
)
def test_a_guardrail_step_stops_faults_and_lets_healthy_canaries_go_on(
    share: float, rate: float, least: float, most: float
) -> None:
    """3% and 5% errors pass in at most 10%, ever; healthy canaries within three minutes."""
    rng, runs, step = np.random.default_rng(7), 100, 15
    judged = choose_policy(load_policies(None), {"base": "ml-model", "role": "guardrail"}, "ml-model")
    passed = 0
    for _ in range(runs):
        requests = rng.poisson(rate * step, 12 if least else 60).astype(float)
        counts = Errors(rng.binomial(requests.astype(int), share).astype(float), requests)
        baseline = Errors(np.zeros(len(requests)), requests * 19)
        for slices in range(2, len(requests) + 1):
            reading = Reading(counts, baseline, slice_seconds=float(step)).first(slices)
            readings = Readings(Window(None, None), {"error_rate": reading})
            outcome = Case({"error_rate": judged.checks["error_rate"]}, judged, readings).verdict().outcome
            if outcome is not OPEN:
                passed += outcome is PASS
                break

    assert least <= passed / runs <= most


@pytest.mark.parametrize(("restarts", "said"), [(2, False), (9, True)])
def test_the_reason_names_a_crash_loop(restarts: int, said: bool) -> None:
    """Of the pod that restarted most; a restart or two are in the notes only."""
    counts = Errors(np.zeros(4), np.full(4, 50.0))
    pods = (Pod("canary-a", counts, restarts=1), Pod("canary-b", counts, restarts=restarts))
    reading = Reading(counts, counts, slice_seconds=15.0, canary_pods=pods)
    judged = load_policies(None)["ml-model"]
    case = Case({"error_rate": judged.checks["error_rate"]}, judged, Readings(Window(0, 60), {"error_rate": reading}))

    assert case.verdict().reason.endswith(f"; canary-b of the canary restarted {restarts} times") is said
