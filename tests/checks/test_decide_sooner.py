"""Two ways to decide sooner that cost no alpha: a declared number of requests, and the baseline's past."""

import math
from typing import Any

import numpy as np
import pytest

from analyzer import checks
from analyzer.checks.comparison import Tally
from analyzer.checks.error_rate import share_of
from analyzer.checks.segments import Segments
from analyzer.config.policy import Policy
from analyzer.model.counts import Errors, Floats, Histogram, Reading
from analyzer.model.findings import Code, Outcome
from analyzer.stats.dispersion import Dispersion

ALPHA, PROMOTE, SECONDS = 0.05, 0.005, 15.0
BOUND = 3.3  # standard errors


def policy(**fields: Any) -> Policy:
    """Make a policy of one error rate, which has the whole level."""
    row = {"kind": "error_rate", "promote": "0.5%", "rollback": "1%", **fields}
    return Policy.model_validate({"name": "sooner", "alpha": ALPHA, "checks": {"check": row}})


def finding(one: Policy, bad: Floats, requests: Floats, past: Errors | None = None) -> Any:
    """Judge slices of the canary."""
    history = 60.0 if past is not None else None
    reading = Reading(Errors(bad, requests), None, SECONDS, begin=0.0, history=past, history_seconds=history)
    return checks.judge(one.checks["check"], reading, one, checks.Moment(len(bad) * SECONDS))


def first_proof(one: Policy, bad: Floats, requests: Floats, past: Errors | None = None) -> tuple[Any, float]:
    """Look after every second slice; return what is proved first, and the requests until then."""
    for slices in range(2, len(bad) + 1, 2):
        found = finding(one, bad[:slices], requests[:slices], past)
        if found.code in (Code.PROVED_BAD, Code.PROVED_GOOD):
            return found.outcome, float(requests[:slices].sum())
    return None, float(requests.sum())


@pytest.mark.statistical
@pytest.mark.parametrize("correlation", [0.0, 0.01])
def test_alpha_holds_at_every_look(correlation: float) -> None:
    """At the promote limit, with random rates and declared numbers, before and after them, clustered or not."""
    rng, runs, hits = np.random.default_rng(3), 300, 0
    for _ in range(runs):
        declared = int(rng.choice([200, 500, 1000, 1500]))
        each = rng.uniform(10, 60)

        def counts(slices: int, mean: float) -> Errors:
            requests = rng.poisson(mean, slices).astype(float)
            shares = np.full(-(-slices // 4), PROMOTE)  # those of a minute are alike
            if correlation:
                strength = 1 / correlation - 1
                shares = rng.beta(PROMOTE * strength, (1 - PROMOTE) * strength, len(shares))
            return Errors(rng.binomial(requests.astype(int), np.repeat(shares, 4)[:slices]).astype(float), requests)

        canary, past = counts(48, each), counts(480, 19 * each)
        past = Errors(past.errors.reshape(-1, 4).sum(axis=1), past.requests.reshape(-1, 4).sum(axis=1))
        outcome, _ = first_proof(policy(decide_by={"requests": declared}), canary.errors, canary.requests, past)
        hits += outcome is Outcome.FAIL

    most = 2 * ALPHA if correlation else ALPHA
    assert hits / runs < most + BOUND * math.sqrt(most * (1 - most) / runs)


@pytest.mark.statistical
def test_a_declared_number_catches_more_by_then() -> None:
    """Canaries with 1.5% errors are proved bad by 500 requests about one and a half times as often."""
    rng, runs = np.random.default_rng(5), 200
    caught = {"declared": 0, "without": 0}
    for _ in range(runs):
        requests = np.full(32, 15.0)  # 480
        bad = rng.binomial(15, 0.015, 32).astype(float)
        for name, one in (("declared", policy(decide_by={"requests": 500})), ("without", policy())):
            caught[name] += first_proof(one, bad, requests)[0] is Outcome.FAIL

    assert caught["declared"] / runs > 0.5
    assert caught["declared"] > 1.25 * caught["without"]


def test_the_fixed_number_rejects_at_its_count() -> None:
    """Seven of 500 are proof at 2.5%, where the same counts are none without a declared number."""
    requests, bad = np.full(33, 15.0), np.zeros(33)
    bad[[3, 8, 13, 18, 23, 28, 32]] = 1

    assert finding(policy(decide_by={"requests": 500}), bad, requests).code is Code.PROVED_BAD
    assert finding(policy(), bad, requests).code is Code.UNDECIDED


def test_after_the_declared_number_its_test_is_over() -> None:
    """Six by then and a seventh after are no proof; what is left is settled by the estimate."""
    requests, bad = np.full(40, 15.0), np.zeros(40)
    bad[[3, 8, 13, 18, 23, 28, 36]] = 1

    assert finding(policy(decide_by={"requests": 500}), bad, requests).code is Code.DECIDED_BY_POINT


def test_clustered_requests_need_more_than_the_count() -> None:
    """The same seven prove nothing where the baseline's errors come in bursts."""
    rng = np.random.default_rng(1)
    shares = rng.beta(0.005 * 19, 0.995 * 19, 120)
    past = Errors(rng.binomial(1140, shares).astype(float), np.full(120, 1140.0))
    requests, bad = np.full(33, 15.0), np.zeros(33)
    bad[[3, 8, 13, 18, 23, 28, 32]] = 1

    assert finding(policy(decide_by={"requests": 500}), bad, requests, past).code is Code.UNDECIDED


def test_rates_that_wander_need_more_than_the_count() -> None:
    """Also where no minute by itself shows it: what hours share divides the counts of this test as well."""
    requests, bad = np.full(33, 15.0), np.zeros(33)
    bad[[3, 8, 13, 18, 23, 28, 32]] = 1
    segments = Segments.of(Reading(Errors(bad, requests), None, SECONDS))
    even, wandering = (
        share_of(Tally(bad, requests, 0.0), segments, Dispersion((60.0, 600.0), slope=slope)).by_requests(
            500, PROMOTE, ALPHA
        )
        for slope in ((), (0.0, 1.0))
    )

    assert even is not None
    assert wandering is not None
    assert wandering.log_evidence < even.log_evidence - 1


# The baseline's past


def past_of(share: float, minutes: int = 120) -> Errors:
    """Give a past with even errors."""
    return Errors(np.full(minutes, 1140.0 * share), np.full(minutes, 1140.0))


def requests_to_pass(share: float, past: Errors | None, **fields: Any) -> float:
    """Give the fewest requests that pass, with errors as expected, evenly."""
    for total in range(300, 8000, 10):
        if finding(policy(**fields), np.array([share * total]), np.array([float(total)]), past).outcome is Outcome.PASS:
            return float(total)
    return math.inf


def test_a_past_without_errors_passes_sooner() -> None:
    """An error-free canary after 720 requests in place of 840."""
    assert requests_to_pass(0.0, None) == 840
    assert 700 <= requests_to_pass(0.0, past_of(0.0)) <= 730


@pytest.mark.parametrize("share", [0.0002, 0.0005, 0.001, 0.002])
def test_a_past_like_the_canary_helps(share: float) -> None:
    """Wherever the canary is as its baseline was."""
    assert requests_to_pass(share, past_of(share)) < 0.97 * requests_to_pass(share, None)


HARMLESS = {
    "empty": Errors(np.zeros(120), np.zeros(120)),
    "tiny": Errors(np.array([0.0]), np.array([20.0])),
    "one error of few": Errors(np.array([1.0]), np.array([20.0])),
    "an incident": Errors(np.concatenate([np.full(110, 1.0), np.full(10, 400.0)]), np.full(120, 1140.0)),
    "beyond the limit": past_of(0.02),
    "three times as many": past_of(0.003),
}


@pytest.mark.parametrize("past", HARMLESS.values(), ids=HARMLESS)
@pytest.mark.parametrize("share", [0.0, 0.001])
def test_a_past_that_misleads_costs_little(past: Errors, share: float) -> None:
    """At most a tenth more requests, and none where there is nothing to learn."""
    plain, found = requests_to_pass(share, None), requests_to_pass(share, past)

    assert found <= (plain if past.requests.sum() == 0 else 1.1 * plain)


def test_a_past_changes_no_rollback() -> None:
    """Of how bad faults are, healthy hours tell nothing."""
    bad, requests = np.full(8, 1.0), np.full(8, 30.0)
    known, unknown = (finding(policy(), bad, requests, past).evidence for past in (past_of(0.0001), None))

    assert known.towards_fail == unknown.towards_fail


def test_what_a_source_remembers_while_the_canary_runs_is_no_past() -> None:
    """Without time slices nothing says that it was before, and a prior that moves is not exact."""
    one, total = policy(), Errors(np.array([0.0]), np.array([760.0]))
    reading = Reading(total, None, history=past_of(0.0), history_seconds=60.0)

    assert checks.judge(one.checks["check"], reading, one).outcome is Outcome.INCONCLUSIVE


def test_a_latency_learns_as_well() -> None:
    """From the slow requests of the history; buckets that changed tell nothing."""
    edges = np.array([0.1, 0.2, 0.5, np.inf])
    row = {"kind": "latency", "promote": "200ms", "rollback": "500ms"}
    one = Policy.model_validate({"name": "sooner", "checks": {"check": row}})
    canary = Histogram(edges, np.array([[380.0, 0, 0, 0]]))

    def outcome(past: Histogram | None) -> Outcome:
        reading = Reading(canary, None, SECONDS, begin=0.0, history=past, history_seconds=60.0)
        return checks.judge(one.checks["check"], reading, one).outcome

    quick = np.tile([1140.0, 0, 0, 0], (120, 1))
    assert outcome(None) is Outcome.INCONCLUSIVE
    assert outcome(Histogram(edges, quick)) is Outcome.PASS
    assert outcome(Histogram(np.array([0.05, 0.2, 0.5, np.inf]), quick)) is Outcome.INCONCLUSIVE
