"""A split of the traffic that is not the weight's: nothing can be compared, and limits can still be judged."""

from typing import Any

import numpy as np
import pytest
from checks.rollouts import EVEN, KINDS, MOVED, RELATIVE, failed, scored, sold

from analyzer.checks import Moment, judge
from analyzer.checks.traffic_split import problem
from analyzer.config.policy import Policy, load_policies
from analyzer.model.counts import Errors, Pod, Reading
from analyzer.model.findings import Outcome

COMPARING = [kind for kind in KINDS if kind not in ("errors", "errors, strict", "latency")]


@pytest.mark.parametrize("kind", COMPARING)
@pytest.mark.parametrize(("weight", "broken"), [("20%", True), (5, False), ("5.5%", False), (1, True), (None, False)])
def test_what_compares_needs_the_split_of_the_weight(look: Any, kind: str, weight: Any, *, broken: bool) -> None:
    """5% of the requests at a weight of 20% or 1%: inconclusive, with a code and both shares in the reason."""
    name, rule, counts, good, bad, _ = KINDS[kind]
    asked = {} if weight is None else {"weight": weight}

    for value in (good, bad):
        found = look(name, [counts(300, value)] * 20, [counts(5700, good)] * 20, asked=asked, **rule)

        assert (found["code"] == "traffic_split") == broken
        if broken:
            assert found["verdict"] == "inconclusive"
            assert f"the canary gets 5% of the traffic where its weight is {weight}".rstrip("%") in found["reason"]
            assert "6,000 of 120,000" in found["reason"]
            assert found["remaining"] is None


@pytest.mark.parametrize("kind", ["errors", "errors, strict", "latency"])
def test_limits_need_no_split(look: Any, kind: str) -> None:
    """The canary against a limit is judged wherever its requests come from, and fails where some are missing too."""
    name, rule, counts, good, bad, _ = KINDS[kind]
    baseline = [counts(5700, good)] * 20

    assert look(name, [counts(300, good)] * 20, baseline, asked={"weight": 1}, **rule)["verdict"] == "pass"
    assert look(name, [counts(300, bad)] * 20, baseline, asked={"weight": 50}, **rule)["verdict"] == "fail"


@pytest.mark.parametrize("kind", ["errors", "errors, strict", "latency", "drift"])
@pytest.mark.parametrize(
    ("weight", "kept", "held"), [(5, 0.7, True), (25, 0.8, True), (50, 0.8, True), (25, 0.95, False)]
)
def test_requests_that_are_never_counted_keep_a_canary_from_passing(
    look: Any, kind: str, weight: float, kept: float, *, held: bool
) -> None:
    """A canary that hangs loses requests: its errors look fine, and its part of the traffic does not."""
    name, rule, counts, good, _, _ = KINDS[kind]
    canary = [counts(6000 * weight / 100 * kept, good)] * 20
    baseline = [counts(6000 * (1 - weight / 100), good)] * 20

    found = look(name, canary, baseline, asked={"weight": weight}, **rule)

    assert (found["verdict"], found["code"]) == (("inconclusive", "traffic_split") if held else ("pass", "proved_good"))
    if held:
        assert "of the counted requests where its weight is" in found["reason"]
        assert found["evidence"]["pass"] < 1
    assert look(name, canary, baseline, **rule)["verdict"] == "pass"  # nobody said what the weight is


def test_requests_that_go_missing_within_a_step_are_seen(look: Any) -> None:
    """Half an hour as it should be, then 30% are lost: what counts is since when."""
    canary = [failed(300 * kept, 0.0) for kept in (1.0, 0.7) for _ in range(30)]

    found = look("error_rate", canary, [failed(5700, 0.0)] * 60, asked={"weight": 5})

    assert found["code"] == "traffic_split"


@pytest.mark.parametrize(("requests", "held"), [(3, True), (100, False)])
def test_a_weight_that_just_fell_does_not_pass_by_what_was_counted_before(
    look: Any, requests: float, *, held: bool
) -> None:
    """What the canary had before its weight fell says nothing of lost requests: a few minutes later it may."""
    canary = [failed(count, 0.0) for count in [800] * 10 + [requests] * 4]
    baseline = [failed(count, 0.0) for count in [1000] * 10 + [19 * requests] * 4]

    found = look("error_rate", canary, baseline, asked={"weight": 5})

    assert (found["verdict"], found["code"]) == (("inconclusive", "undecided") if held else ("pass", "proved_good"))
    assert held == ("too few requests at this weight" in found["reason"])


@pytest.mark.parametrize(("requests", "waits"), [(3, True), (100, False)])
def test_a_guardrail_waits_until_the_present_weight_tells(requests: float, *, waits: bool) -> None:
    """Nothing is proved, and the requests at this weight are too few to say whether any of them are lost."""
    canary, baseline = (
        np.array([before] * 10 + [now] * 4, float) for before, now in ((800.0, requests), (1000.0, 19 * requests))
    )
    reading = Reading(Errors(0.004 * canary, canary), Errors(0.004 * baseline, baseline), slice_seconds=60.0)
    policy = load_policies(None)["ml-model"]

    finding = judge(policy.checks["error_rate"], reading, policy, Moment(weight=0.05))

    assert (finding.outcome, finding.waits) == (Outcome.INCONCLUSIVE, waits)
    assert waits == ("too few requests at this weight" in finding.reason)


@pytest.mark.parametrize(("pods", "weight"), [((1, 10), 5), ((10, 1), 95), ((3, 3), 50), ((5, 2), 75)])
def test_pods_that_are_rounded_up_are_no_loss(look: Any, pods: tuple[int, int], weight: float) -> None:
    """Without a router the split is that of the pods, of which Argo rounds both numbers up."""
    arms = ([failed(600 * many, 0.001)] * 20 for many in pods)

    assert look("error_rate", *arms, asked={"weight": weight})["verdict"] == "pass"


def in_pods(requests: Any, pods: int) -> tuple[Pod[Errors], ...]:
    """Part an arm's requests among pods."""
    return tuple(Pod(f"{number}", Errors(0 * requests, requests / pods)) for number in range(pods))


@pytest.mark.statistical
@pytest.mark.parametrize(("weight", "pods"), [(0.8, (4, 4)), (0.8, (8, 2)), (0.95, (10, 1))])
@pytest.mark.parametrize("total", [5_000, 20_000])
def test_requests_that_are_lost_above_half_of_the_traffic(weight: float, pods: tuple[int, int], total: float) -> None:
    """A router's canary that loses a fifth does not pass; one that loses none does, also in the shares of its pods."""
    rng, runs, policy = np.random.default_rng(9), 20, load_policies(None)["ml-model"]

    def passed(share: float, lost: float) -> int:
        number = 0
        for _ in range(runs):
            canary, baseline = (
                rng.poisson(total / 60 * part, 60).astype(float) for part in (share * (1 - lost), 1 - share)
            )
            reading = Reading(
                Errors(0 * canary, canary), Errors(0 * baseline, baseline), slice_seconds=15.0,
                canary_pods=in_pods(canary, pods[0]), baseline_pods=in_pods(baseline, pods[1]),
            )  # fmt: skip
            finding = judge(policy.checks["error_rate"], reading, policy, Moment(weight=weight))
            number += finding.outcome is Outcome.PASS
        return number

    assert passed(weight, 0.2) <= 1
    if total > 5_000:
        assert passed(weight, 0.0) == passed(pods[0] / sum(pods), 0.0) == runs


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("weight", "kept", "correlation", "most"), [(0.05, 0.8, 0.0, 0.1), (0.25, 0.7, 0.0, 0.0), (0.05, 1.0, 0.01, 1.0)]
)
def test_lost_requests_hold_and_uneven_routing_does_not(
    weight: float, kept: float, correlation: float, most: float
) -> None:
    """At 1,000 canary requests and more; sessions that stick to an arm for a minute make the split uneven."""
    rng, runs = np.random.default_rng(8), 60
    check = load_policies(None)["ml-model"].checks["error_rate"]
    passed = 0
    for _ in range(runs):
        shares = np.full(60, weight)
        if correlation:
            strength = 1 / correlation - 1
            shares = rng.beta(weight * strength, (1 - weight) * strength, 60)
        canary = rng.poisson(30 * kept * shares / weight).astype(float)
        baseline = rng.poisson(30 / weight * (1 - shares)).astype(float)
        reading = Reading(Errors(0 * canary, canary), Errors(0 * baseline, baseline), slice_seconds=60.0)
        finding = judge(check, reading, load_policies(None)["ml-model"], Moment(weight=weight))
        passed += finding.outcome is Outcome.PASS

    assert passed / runs <= most
    assert kept < 1 or passed / runs >= 0.95


@pytest.mark.statistical
@pytest.mark.parametrize(("weight", "total", "slices"), [(0.2, 600, 12), (0.1, 1500, 4), (0.3, 1500, 4)])
def test_a_lost_fifth_is_seen_in_few_slices(weight: float, total: float, slices: int) -> None:
    """Scrapes may explain a fifth within a minute, and few slices look uneven by chance: a pass waits for more.

    A healthy canary passes within five minutes all the same.
    """
    rng, runs, policy = np.random.default_rng(10), 100, load_policies(None)["ml-model"]

    def outcome(lost: float, several: int) -> Outcome:
        arms = [rng.poisson(total * part, several).astype(float) for part in (weight * (1 - lost), 1 - weight)]
        canary, baseline = (Errors(0 * arm, arm) for arm in arms)
        reading = Reading(canary, baseline, slice_seconds=15.0, scrape_seconds=15.0)
        return judge(policy.checks["error_rate"], reading, policy, Moment(weight=weight)).outcome

    assert not any(outcome(0.2, slices) is Outcome.PASS for _ in range(runs))
    assert sum(outcome(0.0, 20) is Outcome.PASS for _ in range(runs)) >= 0.95 * runs


@pytest.mark.parametrize(("canary", "baseline", "broken"), [(2, 18, False), (30, 170, False), (60, 340, True)])
def test_few_requests_do_not_break_a_split(look: Any, canary: float, baseline: float, *, broken: bool) -> None:
    """15% of two hundred requests at a weight of 5% is not yet proof of a broken router; of four hundred it is."""
    found = look("business_proxy", [sold(canary, 0.5)], [sold(baseline, 0.5)], asked={"weight": 5})

    assert (found["code"] == "traffic_split") == broken


def test_the_split_since_it_last_changed_counts(look: Any) -> None:
    """A rollout at its third step: the shares of the steps before are those of other weights."""
    steps = (0.05, 0.25, 0.5)
    canary = [sold(6000 * step, 0.2) for step in steps for _ in range(20)]
    baseline = [sold(6000 * (1 - step), 0.2) for step in steps for _ in range(20)]

    assert look("business_proxy", canary, baseline, asked={"weight": 50})["code"] != "traffic_split"
    assert look("business_proxy", canary, baseline, asked={"weight": 25})["code"] == "traffic_split"
    assert look("business_proxy", canary, baseline, asked={"weight": 5})["code"] == "traffic_split"


@pytest.mark.parametrize("weight", [0, 100])
def test_the_ends_have_no_split(look: Any, weight: float) -> None:
    """At 0 and 100 one arm has no traffic by intent."""
    found = look(
        "error_rate", [failed(300, 0.03)] * 20, [failed(5700, 0.002)] * 20, asked={"weight": weight}, **RELATIVE
    )

    assert found["verdict"] == "fail"


def test_a_split_that_is_broken_holds_the_whole_verdict() -> None:
    """A drift is not believed while the router sends other requests to the canary; the reason says which share."""
    import analyzer

    data = {
        "prediction_drift": {"canary": scored(2000, MOVED), "baseline": scored(8000, EVEN)},
        "error_rate": {"canary": failed(2000, 0.0), "baseline": failed(8000, 0.0)},
    }
    answer = analyzer.evaluate({"checks": "error_rate,prediction_drift", "data": data, "weight": 5})

    assert answer["verdict"] == "inconclusive"
    assert answer["checks"]["error_rate"]["verdict"] == "pass"
    assert answer["checks"]["prediction_drift"]["code"] == "traffic_split"
    assert "20%" in answer["reason"]
    assert "5%" in answer["reason"]


def test_an_arm_without_traffic_is_told_as_that(look: Any) -> None:
    """Nothing of the canary is no split to complain about."""
    found = look("business_proxy", [sold(0, 0.2)] * 3, [sold(5700, 0.2)] * 3, asked={"weight": 5})

    assert found["code"] == "no_canary_traffic"


@pytest.mark.parametrize("kind", ["errors", "latency"])
def test_a_pass_at_a_weight_waits_for_its_traffic(look: Any, kind: str) -> None:
    """Proved at 5% where the step is 25% by now: no pass yet, and it says why; a fail needs no such thing."""
    name, rule, counts, good, bad, _ = KINDS[kind]
    arms, asked = ([counts(300, good)] * 20, [counts(5700, good)] * 20), {"window": "step"}

    waiting = look(name, *arms, asked=asked | {"weight": 25}, **rule)
    assert (waiting["verdict"], waiting["code"]) == ("inconclusive", "traffic_split")
    assert "still gets 5% of the traffic, and a pass is to be proved at a weight of 25%" in waiting["reason"]
    assert waiting["evidence"]["pass"] < 1
    assert look(name, *arms, asked=asked | {"weight": 5}, **rule)["verdict"] == "pass"
    assert look(name, *arms, asked=asked, **rule)["verdict"] == "pass"
    assert look(name, [counts(300, bad)] * 20, arms[1], asked=asked | {"weight": 25}, **rule)["verdict"] == "fail"


@pytest.mark.parametrize(("scrape_seconds", "broken"), [(15.0, True), (60.0, False), (90.0, False)])
def test_a_split_that_scrapes_may_blur_is_not_called_broken(scrape_seconds: float, *, broken: bool) -> None:
    """In a minute of one scrape or two an arm may show twice its requests; in less than a scrape, any number."""
    row = {"kind": "error_rate", "rule": "relative", "promote": "10%", "rollback": "50%"}
    check = Policy.model_validate({"name": "blurred", "checks": {"check": row}}).checks["check"]
    canary, baseline = (Errors(np.zeros(1), np.array([requests])) for requests in (2000.0, 8000.0))
    reading = Reading(canary, baseline, slice_seconds=60.0, scrape_seconds=scrape_seconds)

    found = problem(check, reading, 0.1, at_this_weight=False)

    assert (found is not None) == broken
