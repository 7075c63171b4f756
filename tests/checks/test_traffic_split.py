"""A split of the traffic that is not the weight's: nothing can be compared, and limits can still be judged."""

from typing import Any

import pytest
from checks.rollouts import EVEN, KINDS, MOVED, RELATIVE, failed, scored, sold

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
    """The canary against a limit is judged wherever its requests come from."""
    name, rule, counts, good, bad, _ = KINDS[kind]
    baseline = [counts(5700, good)] * 20

    assert look(name, [counts(300, good)] * 20, baseline, asked={"weight": 50}, **rule)["verdict"] == "pass"
    assert look(name, [counts(300, bad)] * 20, baseline, asked={"weight": 50}, **rule)["verdict"] == "fail"


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
