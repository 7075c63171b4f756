"""What decides beside the proof itself: a pass held back, deadlines, what each start may spend."""

import math
from typing import Any

import pytest
from checks.rollouts import KINDS, failed

import analyzer
from analyzer.errors import RequestError


def judged(errors: int, slices: int, **decide_by: Any) -> dict[str, Any]:
    """Judge an error rate by rule strict on slices of a minute with 500 requests each."""
    data = {"canary": [{"errors": errors, "requests": 500}] * slices, "slice_seconds": 60}
    answer = analyzer.evaluate(
        {
            "checks": "error_rate",
            "policy": {"checks": {"error_rate": {"rule": "strict", "decide_by": decide_by}}},
            "data": {"error_rate": data},
        }
    )
    found: dict[str, Any] = answer["checks"]["error_rate"]
    return found


@pytest.mark.parametrize("decide_by", [{"after": "4m"}, {"requests": 2000}, {"after": "1h", "requests": "2000"}])
def test_past_either_limit_the_estimate_decides(decide_by: dict[str, Any]) -> None:
    """Below promote passes, above rollback fails, and the reason says how little that proves."""
    good, bad = judged(2, 4, **decide_by), judged(6, 4, **decide_by)

    assert (good["verdict"], good["code"]) == ("pass", "decided_by_point")
    assert (bad["verdict"], bad["code"]) == ("fail", "decided_by_point")
    assert "as an estimate, which proves little" in good["reason"]


def test_between_the_limits_nothing_is_settled() -> None:
    """The plain table has no answer there either."""
    assert (judged(3, 4, after="1m")["verdict"], judged(3, 4, after="1m")["code"]) == ("inconclusive", "undecided")


def test_before_the_limits_nothing_is_settled() -> None:
    """Neither after nor requests is reached."""
    assert judged(2, 4, after="5m", requests=2001)["code"] == "undecided"


def test_what_is_proved_stays_proved() -> None:
    """Past the limits too, evidence goes before estimates."""
    assert judged(0, 4, after="1m")["code"] == "proved_good"
    assert judged(50, 4, after="1m")["code"] == "proved_bad"


def test_a_limit_without_limits_is_refused() -> None:
    """decide_by needs at least one of its fields; the message names it and shows both."""
    with pytest.raises(RequestError, match=r"error_rate\.decide_by: needs after, requests or both"):
        judged(1, 1)


@pytest.mark.parametrize("decide_by", [None, {"after": "5m"}])
def test_a_pass_needs_the_fewest_requests_of_the_policy(look: Any, decide_by: Any) -> None:
    """However clear they are, and past a deadline; what is missing is what remains."""
    limits = {"promote": "20%", "rollback": "30%", "min_requests": 100, "decide_by": decide_by}
    few, enough = (look("error_rate", [failed(requests, 0)] * 10, **limits) for requests in (5, 10))

    assert (few["verdict"], few["evidence"]["pass"], few["remaining"]["requests"]) == ("inconclusive", 0.5, 50)
    assert few["remaining"]["range"]["requests"] == [50, 50]
    assert enough["code"] == "proved_good"


# A pass that is held back


def test_a_pass_waits_while_something_bad_begins(look: Any) -> None:
    """Proved good by two hours, and half way to a fail by the last minutes: neither, until it is clear."""
    outcomes = []
    for minutes in range(30):
        found = look("error_rate", [failed(300, 0.002)] * 120 + [failed(20, 0.03)] * minutes)
        fail = found["evidence"]["fail"]
        outcomes.append(found["verdict"])
        assert found["verdict"] == ("pass" if fail < 0.5 else "inconclusive" if fail < 1 else "fail")
        assert (found["evidence"]["pass"] >= 1) == (found["verdict"] == "pass")

    assert [one for place, one in enumerate(outcomes) if outcomes[place - 1] != one or place == 0] == [
        "pass",
        "inconclusive",
        "fail",
    ]


def test_a_pass_that_waits_says_so(look: Any) -> None:
    """No requests are missing for the proof, so none are asked for; and it is not said to be unproved."""
    held = next(
        found
        for minutes in range(30)
        if 0.5
        <= (found := look("error_rate", [failed(300, 0.002)] * 120 + [failed(20, 0.03)] * minutes))["evidence"]["fail"]
        < 1
    )

    assert held["verdict"] == "inconclusive"
    assert held["remaining"] is None or held["remaining"]["requests"] > 0
    assert "about 0 more requests" not in held["reason"]
    assert "not yet proved" not in held["reason"]


def test_a_deadline_does_not_pass_what_is_held_back(look: Any) -> None:
    """Settling by the estimate of hours is no way around something bad that has just begun."""
    canary = [failed(300, 0.002)] * 120
    for minutes in range(30):
        found = look("error_rate", canary + [failed(20, 0.03)] * minutes, decide_by={"after": "1h"})
        if 0.5 <= found["evidence"]["fail"] < 1:
            assert found["verdict"] == "inconclusive"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_over_does_not_hold_a_pass(look: Any, kind: str) -> None:
    """A bad minute and a good day: the evidence towards a fail fades, and the pass comes."""
    name, rule, counts, good, bad, _ = KINDS[kind]
    better = {"errors, relative": 0.001, "latency, relative": 0.001, "conversions": 0.26, "revenue": 6.5}.get(
        kind, good
    )
    canary = [counts(30, bad)] + [counts(3000, better)] * 60

    assert look(name, canary, [counts(570, good)] + [counts(57_000, good)] * 60, **rule)["verdict"] == "pass"


# What each start may spend


def test_the_begin_has_half_of_alpha_where_there_is_time(look: Any) -> None:
    """Counts without time have all of it; the bar towards a fail is ln 2 shorter beside later starts."""
    whole = look("error_rate", [failed(600, 0.02)], seconds=None)["evidence"]
    slices = look("error_rate", [failed(60, 0.02)] * 10)["evidence"]

    assert slices["pass"] == whole["pass"]
    assert slices["fail"] == pytest.approx(whole["fail"] - math.log(2) / math.log(80), abs=0.01)


def test_the_interval_has_the_level_of_its_start(look: Any) -> None:
    """Its bound on the bad side holds at the part of the level that the begin may spend; the other has all of it."""
    whole = look("error_rate", [failed(600, 0.02)], seconds=None)["canary"]
    slices = look("error_rate", [failed(60, 0.02)] * 10)["canary"]

    assert slices["high"] == whole["high"]
    assert slices["low"] < 0.95 * whole["low"]


@pytest.mark.parametrize("seconds", [15, 30, 60, 240])
def test_the_same_rollout_in_longer_slices_is_judged_alike(look: Any, seconds: int) -> None:
    """Two good hours and eight bad minutes: the fault has one weight and one moment, however fine the slices are."""
    canary = [failed(5 * seconds, 0.002)] * (7200 // seconds) + [failed(5 * seconds, 0.03)] * (480 // seconds)

    found = look("error_rate", canary, seconds=seconds, asked={"start": "2026-01-05T10:00:00Z"})

    assert found["since"] == "2026-01-05T12:00:00Z"
    assert found["evidence"]["fail"] == 13.8


def test_a_warm_up_leaves_later_starts_where_they_were(look: Any) -> None:
    """What is left out at the begin moves the begin only: the late fault has the same weight."""
    canary = [failed(300, 0.002)] * 120 + [failed(300, 0.03)] * 8
    asked = {"start": "2026-01-05T10:00:00Z"}

    whole, warm = look("error_rate", canary, asked=asked), look("error_rate", canary, asked=asked, warmup="10m")

    assert warm["since"] == whole["since"]
    assert warm["evidence"]["fail"] == whole["evidence"]["fail"]


def test_a_deadline_counts_what_was_seen_at_the_present_weight() -> None:
    """decide_by settles a step by the requests of that step."""
    policy = {"checks": {"error_rate": {"decide_by": {"requests": 2000}}}}
    canary = [failed(300, 0.004)] * 10 + [failed(1500, 0.004)]
    baseline = [failed(5700, 0.004)] * 10 + [failed(1500, 0.004)]
    data = {"canary": canary, "baseline": baseline, "slice_seconds": 60}
    body = {"checks": "error_rate", "policy": policy, "data": {"error_rate": data}}

    assert analyzer.evaluate(body)["checks"]["error_rate"]["code"] == "decided_by_point"
    assert analyzer.evaluate(body | {"window": "step"})["checks"]["error_rate"]["code"] == "undecided"
