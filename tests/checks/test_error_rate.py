"""The error rate as a specification: what passes, what fails, and what neither does."""

import math
from typing import Any

import pytest
from checks.rollouts import failed

HEALTHY = {"errors": 0, "requests": 2000}
POOR = {"errors": 40, "requests": 2000}


@pytest.mark.parametrize(
    ("errors", "requests", "outcome", "code"),
    [
        (0, 2000, "pass", "proved_good"),
        (20, 16_000, "pass", "proved_good"),  # 0.125%
        (40, 2000, "fail", "proved_bad"),  # 2%
        (14, 865, "fail", "proved_bad"),  # 1.62%
        (2, 100, "inconclusive", "undecided"),  # 2%, which two errors do not prove
        (0, 200, "inconclusive", "undecided"),  # 0%, which 200 requests do not prove
        (70, 10_000, "inconclusive", "undecided"),  # between the limits: no promise either way
        (700, 100_000, "inconclusive", "undecided"),  # and proved to be there: still neither
    ],
)
def test_rule_zone(judge: Any, errors: int, requests: int, outcome: str, code: str) -> None:
    """To pass takes proof below 0.5%; to fail proof above 0.5% and an estimate above 1%."""
    found = judge("error_rate", {"errors": errors, "requests": requests})

    assert (found["verdict"], found["code"]) == (outcome, code)


@pytest.mark.parametrize(("errors", "outcome"), [(0, "pass"), (1990, "fail")])
@pytest.mark.parametrize("limit", ["50%", "90%"])
def test_limits_above_half(judge: Any, limit: str, errors: int, outcome: str) -> None:
    """Twice the limit is no share then: the evidence stays a number."""
    counts = {"errors": errors, "requests": 2000}

    assert judge("error_rate", counts, promote=limit, rollback=limit)["verdict"] == outcome


@pytest.mark.parametrize(
    ("errors", "requests", "outcome"),
    [(30, 2000, "inconclusive"), (80, 2000, "fail"), (0, 2000, "pass"), (700, 100_000, "inconclusive")],
)
def test_rule_strict(judge: Any, errors: int, requests: int, outcome: str) -> None:
    """To fail takes proof above the rollback limit itself: 1.5% of 2,000 is not enough to prove "above 1%"."""
    assert judge("error_rate", {"errors": errors, "requests": requests}, rule="strict")["verdict"] == outcome


@pytest.mark.parametrize(
    ("errors", "outcome", "code"),
    [
        (0, "pass", "decided_by_point"),
        (1, "inconclusive", "undecided"),  # exactly at the promote limit
        (2, "inconclusive", "undecided"),  # exactly at the rollback limit
        (3, "fail", "decided_by_point"),
    ],
)
def test_rule_point(judge: Any, errors: int, outcome: str, code: str) -> None:
    """The estimates alone decide, and the code and the reason say that this proves little."""
    found = judge("error_rate", {"errors": errors, "requests": 200}, rule="point")

    assert (found["verdict"], found["code"]) == (outcome, code)
    assert ("proves little" in found["reason"]) == (code == "decided_by_point")


@pytest.mark.parametrize(
    ("canary", "baseline", "outcome"),
    [
        ((60, 2000), (380, 38_000), "fail"),  # three times the baseline's 1%
        ((60, 2000), (1140, 38_000), "inconclusive"),  # 3% in both arms: an incident that the canary did not cause
        ((100, 40_000), (7600, 760_000), "pass"),  # a quarter of the baseline's
        ((3, 2000), (19, 38_000), "inconclusive"),
        ((30, 2000), (0, 38_000), "fail"),  # the baseline has none at all
        ((0, 2000), (0, 38_000), "inconclusive"),
    ],
)
def test_rule_relative(judge: Any, canary: tuple[int, int], baseline: tuple[int, int], outcome: str) -> None:
    """Compared with the baseline at the same time: at most 10% more to pass, more than 50% more to fail."""
    arms = [{"errors": errors, "requests": requests} for errors, requests in (canary, baseline)]

    found = judge("error_rate", *arms, rule="relative", promote="10%", rollback="50%")

    assert found["verdict"] == outcome
    assert (found["promote"], found["rollback"]) == (0.1, 0.5)
    assert "delta" in found


def test_the_interval_of_the_change_agrees_with_the_evidence(judge: Any) -> None:
    """The lower bound has the level of a fail, the upper one that of a pass."""
    rule = {"rule": "relative", "promote": "10%", "rollback": "10%"}
    seen = set()
    for errors in (*range(2, 16), *range(24, 44)):
        found = judge("error_rate", {"errors": errors, "requests": 2000}, {"errors": 380, "requests": 38_000}, **rule)
        proved = found["evidence"]["fail"] >= 1, found["evidence"]["pass"] >= 1

        assert (found["delta"]["low"] > 0.1, found["delta"]["high"] < 0.1) == proved
        seen.add(proved)

    assert seen == {(True, False), (False, True), (False, False)}


def test_rule_relative_needs_a_baseline(judge: Any) -> None:
    """Without a baseline, or with one that has no traffic, there is nothing to compare with."""
    rule = {"rule": "relative", "promote": "10%", "rollback": "50%"}

    for baseline in (None, {"errors": 0, "requests": 0}):
        found = judge("error_rate", POOR, baseline, **rule)

        assert (found["verdict"], found["code"]) == ("inconclusive", "no_baseline_traffic")


@pytest.mark.parametrize("rule", ["zone", "strict", "point"])
def test_no_canary_traffic_is_inconclusive(judge: Any, rule: str) -> None:
    """A canary without requests is neither good nor bad, under any rule."""
    found = judge("error_rate", {"errors": 0, "requests": 0}, HEALTHY, rule=rule)

    assert (found["verdict"], found["code"]) == ("inconclusive", "no_canary_traffic")
    assert found["canary"]["value"] is None


def test_absolute_limits_need_no_baseline(judge: Any) -> None:
    """The baseline is shown where it is known, and changes nothing."""
    alone, beside = judge("error_rate", POOR), judge("error_rate", POOR, HEALTHY)

    assert (alone["verdict"], alone["evidence"]) == (beside["verdict"], beside["evidence"])
    assert alone["baseline"]["value"] is None
    assert beside["baseline"]["value"] == 0


@pytest.mark.parametrize(("requests", "outcome"), [(1999, "inconclusive"), (2000, "pass")])
def test_no_pass_below_min_requests(judge: Any, requests: int, outcome: str) -> None:
    """Proved good, and yet not passed before so many requests; the bar of evidence stays below full."""
    found = judge("error_rate", {"errors": 0, "requests": requests}, min_requests="2000")

    assert found["verdict"] == outcome
    assert (found["evidence"]["pass"] >= 1) == (outcome == "pass")


def test_a_fail_never_waits_for_min_requests(judge: Any) -> None:
    """Ten errors among ten requests are enough, whatever the least number for a pass."""
    assert judge("error_rate", {"errors": 10, "requests": 10}, min_requests=1e6)["verdict"] == "fail"


@pytest.mark.parametrize(("errors", "outcome"), [(3, "inconclusive"), (4, "fail")])
def test_few_errors_never_roll_back(judge: Any, errors: int, outcome: str) -> None:
    """At a quarter of 5% four errors in a row are the least that proves anything at a limit of 1%."""
    found = judge("error_rate", {"errors": errors, "requests": errors}, promote="1%", rollback="1%")

    assert found["verdict"] == outcome


@pytest.mark.parametrize("counts", [HEALTHY, POOR, {"errors": 3, "requests": 700}])
def test_the_interval_agrees_with_the_evidence(judge: Any, counts: dict[str, int]) -> None:
    """Proved good is: the upper bound is below promote; proved beyond promote is: the lower one is above."""
    found = judge("error_rate", counts)
    canary = found["canary"]

    assert canary["low"] <= canary["value"] <= canary["high"]
    assert (canary["high"] < 0.005) == (found["evidence"]["pass"] >= 1)
    assert (canary["low"] > 0.005) == (found["evidence"]["fail"] >= 1)


def test_the_bars_of_an_undecided_check_are_not_full(judge: Any) -> None:
    """An estimate between the limits keeps the bar towards a fail below 1, however strong the evidence."""
    found = judge("error_rate", {"errors": 900, "requests": 100_000})

    assert 0.5 < found["evidence"]["fail"] < 1
    assert found["evidence"]["pass"] == 0


def test_the_forecast_comes_true(judge: Any) -> None:
    """With so many requests more, at the same rate of errors, the check decides, and with fewer it does not."""
    for errors, requests in ((0, 300), (3, 1500), (3, 100)):
        needed = judge("error_rate", {"errors": errors, "requests": requests})["remaining"]["requests"]
        assert needed > 0

        for part, decided in ((1.05, True), (0.9, False)):
            factor = (requests + needed * part) / requests
            later = judge("error_rate", {"errors": errors * factor, "requests": requests * factor})
            assert (later["verdict"] != "inconclusive") == decided


def test_what_never_decides_has_no_forecast(judge: Any) -> None:
    """Between the limits more of the same decides nothing; a decided check needs no more."""
    between, decided = judge("error_rate", {"errors": 70, "requests": 10_000}), judge("error_rate", POOR)

    assert between["remaining"] is None
    assert "more requests will not decide" in between["reason"]
    assert (decided["remaining"]["requests"], decided["remaining"]["seconds"]) == (0, 0)


def test_time_slices_are_added_up(judge: Any) -> None:
    """Slices, and fractions as increase() gives them, are judged as their sum; a fail spends half of alpha on it."""
    whole = judge("error_rate", {"errors": 14, "requests": 865}, {"errors": 50, "requests": 16_000})
    slices = judge(
        "error_rate",
        [{"errors": 4.5, "requests": 400.25}, {"errors": 9.5, "requests": 464.75}],
        [{"errors": 30, "requests": 8000}, {"errors": 20, "requests": 8000}],
    )

    assert (slices["verdict"], slices["reason"], slices["remaining"]) == (
        whole["verdict"],
        whole["reason"],
        whole["remaining"],
    )
    for arm in ("canary", "baseline"):
        same = ("value", "high", "n")
        assert [slices[arm][field] for field in same] == [whole[arm][field] for field in same]
        assert slices[arm]["low"] < whole[arm]["low"]
    assert slices["evidence"]["pass"] == whole["evidence"]["pass"]
    assert slices["evidence"]["fail"] == pytest.approx(whole["evidence"]["fail"] - math.log(2) / math.log(80), abs=0.01)


def test_a_large_change_is_written_without_an_exponent(judge: Any) -> None:
    """Thirty times the errors are +2,900%, and none at all in the baseline is no number."""
    rule = {"rule": "relative", "promote": "10%", "rollback": "50%"}
    many = judge("error_rate", {"errors": 60, "requests": 2000}, {"errors": 38, "requests": 38_000}, **rule)
    only = judge("error_rate", {"errors": 60, "requests": 2000}, {"errors": 0, "requests": 38_000}, **rule)

    assert "+2,900%" in many["reason"]
    assert "infinitely more" in only["reason"]
    assert (many["verdict"], only["verdict"]) == ("fail", "fail")


def test_the_reason_says_what_was_seen(judge: Any) -> None:
    """The reason names the value, the number of requests and the limit that decided."""
    found = judge("error_rate", {"errors": 14, "requests": 865})

    for part in ("1.62%", "865", "1% rollback limit"):
        assert part in found["reason"]


def test_trouble_of_the_baseline_while_the_canary_had_no_requests_is_no_excuse(look: Any) -> None:
    """What is proved of the canary was not at the same time."""
    canary = [failed(80, 0.02)] * 10 + [failed(0, 0)] * 3
    baseline = [failed(60, 0)] * 10 + [failed(200, 0.8)] * 3

    found = look("error_rate", canary, baseline, history=[failed(5700, 0.001)] * 90, policy={"alpha": 0.001})

    assert found["code"] == "proved_bad"
