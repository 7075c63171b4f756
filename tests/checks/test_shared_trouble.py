"""Trouble that the baseline shares, or may share: the service's, not the canary's, and what it does not excuse."""

from typing import Any

import numpy as np
import pytest
from checks.rollouts import errors_of, failed, slow

import analyzer
from analyzer import checks
from analyzer.checks import Moment
from analyzer.config.policy import Check, Policy
from analyzer.errors import RequestError
from analyzer.model.counts import MeanOnly, Reading

STRICT = {"rule": "strict"}
START = {"start": "2026-01-05T10:00:00Z"}
STEADY = [failed(5700, 0.002)] * 120
ARMS = {  # check, rule, counts of a slice, a good share, a bad one, a much worse one
    "errors": ("error_rate", {}, failed, 0.002, 0.03, 0.12),
    "errors, strict": ("error_rate", STRICT, failed, 0.002, 0.04, 0.15),
    "latency": ("latency_p99", {}, slow, 0.002, 0.05, 0.2),
    "latency, strict": ("latency_p99", STRICT, slow, 0.002, 0.05, 0.2),
}


@pytest.mark.parametrize("kind", ARMS)
@pytest.mark.parametrize("slices", [1, 20])
def test_trouble_in_both_arms_is_not_the_canarys(look: Any, kind: str, slices: int) -> None:
    """Proved bad, and so is the baseline: neither failed nor passed, with its own code and words."""
    name, rule, counts, _, bad, _ = ARMS[kind]

    found = look(
        name, [counts(6000 / slices, bad)] * slices, [counts(114_000 / slices, bad)] * slices,
        history=[counts(5700, bad)] * 120, **rule,
    )  # fmt: skip

    assert (found["verdict"], found["code"]) == ("inconclusive", "common_mode")
    assert "where the baseline is as well: the service, not the canary, is in trouble" in found["reason"]
    assert 0.5 < found["evidence"]["fail"] < 1
    assert found["evidence"]["pass"] < 1
    assert found["remaining"] is None


@pytest.mark.parametrize(("of_baseline", "verdict", "code"), [
    (0.03, "inconclusive", "common_mode"), (0.001, "fail", "decided_by_point"),
])  # fmt: skip
def test_an_estimate_does_not_settle_what_the_baseline_shares(
    look: Any, of_baseline: float, verdict: str, code: str
) -> None:
    """Past `decide_by` a canary beyond its limit fails by its estimate, but not in an outage of the whole service."""
    finding = look("error_rate", [failed(10, 0.03)] * 20, [failed(5700, of_baseline)] * 20, decide_by={"requests": 150})

    assert (finding["verdict"], finding["code"]) == (verdict, code)
    assert "proved" not in finding["reason"].split(",")[0]


@pytest.mark.parametrize("kind", ARMS)
def test_a_canary_much_worse_than_a_bad_baseline_fails(look: Any, kind: str) -> None:
    """An incident excuses only as much as it explains."""
    name, rule, counts, _, bad, worse = ARMS[kind]

    found = look(name, [counts(300, worse)] * 20, [counts(5700, bad)] * 20, **rule)

    assert (found["verdict"], found["code"]) == ("fail", "proved_bad")


@pytest.mark.parametrize("kind", ARMS)
def test_a_good_baseline_excuses_nothing(look: Any, kind: str) -> None:
    """The canary alone is bad; nor does a baseline excuse it that is not known, or has no traffic."""
    name, rule, counts, good, bad, _ = ARMS[kind]
    canary = [counts(300, bad)] * 20

    for baseline in ([counts(5700, good)] * 20, None, [counts(0, good)] * 20):
        assert look(name, canary, baseline, **rule)["verdict"] == "fail"


@pytest.mark.parametrize("kind", ARMS)
def test_a_baseline_that_is_too_small_to_tell_withholds(look: Any, kind: str) -> None:
    """With a baseline of six requests nobody knows whether the service is in trouble: said so."""
    name, rule, counts, good, bad, _ = ARMS[kind]

    for share in (good, bad):
        found = look(name, [counts(300, bad)] * 20, [counts(0.3, share)] * 20, **rule)

        assert (found["verdict"], found["code"]) == ("inconclusive", "common_mode")
        assert "where the baseline has too few requests to tell the canary's trouble from" in found["reason"]


@pytest.mark.parametrize("kind", ARMS)
@pytest.mark.parametrize(("idle", "verdict"), [(2, "inconclusive"), (40, "fail")])
def test_a_baseline_without_requests_for_a_moment_is_not_gone(look: Any, kind: str, idle: int, verdict: str) -> None:
    """At a weight of 99% the first half minute of an incident may have none of its requests; ten minutes have some."""
    name, rule, counts, good, _, worse = ARMS[kind]

    found = look(
        name,
        [counts(10, good)] * 40 + [counts(100, good)] * 40 + [counts(100, worse)] * idle,
        [counts(100, 0.0)] * 40 + [counts(1, 0.0)] * 40 + [counts(0, 0.0)] * idle,
        seconds=15, history=[counts(100, good)] * 480, **rule,
    )  # fmt: skip

    assert found["verdict"] == verdict


@pytest.mark.parametrize("kind", ["errors", "errors, strict"])
@pytest.mark.parametrize(("expected", "verdict"), [(4, "inconclusive"), (12, "fail")])
def test_a_baseline_without_errors_clears_the_service_if_it_could_have_had_some(
    look: Any, kind: str, expected: float, verdict: str
) -> None:
    """No error where the canary's rate promises four may be chance, where it promises twelve it is not."""
    name, rule, counts, _, bad, _ = ARMS[kind]

    found = look(name, [counts(300, bad)] * 20, [counts(expected / bad / 20, 0.0)] * 20, **rule)

    assert found["verdict"] == verdict


def test_an_incident_at_a_high_weight_is_not_the_canarys(look: Any) -> None:
    """Half of the canary's requests were in it, and few of the baseline's: slice by slice they are the same."""
    path = [(750, 14_250, 0.002)] * 2 + [(1500, 11_000, 0.002)] * 2 + [(3000, 3000, 0.04)]
    canary, baseline = ([failed(each[arm], each[2]) for each in path] for arm in (0, 1))

    found = look("error_rate", canary, baseline, history=[failed(3000, 0.002)] * 120)

    assert found["code"] == "common_mode"


def test_an_incident_that_begins_with_a_step_is_not_the_canarys(look: Any) -> None:
    """Within one slice the canary went from 25% to half of the traffic, and both arms from good to bad."""
    before, within = (3000, 12_000, 3, 12), (2200 + 3000, 8800 + 3000, 2 + 150, 9 + 150)
    for path in ([before, within], [before, within, (7500, 7500, 375, 375)]):
        canary = [{"requests": row[0], "errors": row[2]} for row in path]
        baseline = [{"requests": row[1], "errors": row[3]} for row in path]

        assert look("error_rate", canary, baseline, seconds=15, history=STEADY * 4)["code"] == "common_mode"


@pytest.mark.parametrize("kind", ARMS)
def test_an_incident_in_the_middle_of_a_rollout_is_dated(look: Any, kind: str) -> None:
    """Two good hours, then both arms in trouble: since when, and that the baseline is in it too."""
    name, rule, counts, good, bad, _ = ARMS[kind]
    path = [good] * 120 + [bad] * 20

    found = look(
        name, [counts(300, share) for share in path], [counts(5700, share) for share in path],
        history=[counts(5700, good)] * 120, asked=START, **rule,
    )  # fmt: skip

    assert found["code"] == "common_mode"
    assert found["since"] == "2026-01-05T12:00:00Z"
    assert "since 12:00:00Z" in found["reason"]
    assert "since the canary came: a regression that both share, or an incident" in found["reason"]
    assert found["canary"]["n"] == 6000


@pytest.mark.parametrize("weight", [0.05, 0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("kind", ["errors", "latency"])
def test_an_incident_rolls_back_at_no_weight(look: Any, kind: str, weight: float) -> None:
    """Both arms in trouble at once, a look every half minute: also where the canary has most of the traffic."""
    name, rule, counts, good, bad, _ = ARMS[kind]
    for minutes in (0.5, 1, 1.5, 2, 3, 5, 10):
        path = [good] * 120 + [bad] * int(2 * minutes)
        arms = ([counts(6000 * part, share) for share in path] for part in (weight, 1 - weight))

        history = [counts(6000, good)] * 120
        assert look(name, *arms, seconds=30, history=history, **rule)["verdict"] != "fail", minutes


@pytest.mark.statistical
@pytest.mark.parametrize(("weight", "seed"), [(0.05, 81), (0.5, 82), (0.75, 83), (0.9, 84)])
def test_incidents_roll_back_hardly_ever(look: Any, weight: float, seed: int) -> None:
    """Errors go from 0.2% to 3% in both arms, drawn at random: looked at eight times, from half a minute on."""
    rng, runs, rolled_back = np.random.default_rng(seed), 40, 0
    path = np.array([0.002] * 60 + [0.03] * 8)
    for _ in range(runs):
        requests = [rng.poisson(6000 * part, len(path)) for part in (weight, 1 - weight)]
        arms = [errors_of((rng.binomial(n, path).astype(float), n.astype(float))) for n in requests]
        rolled_back += any(
            look("error_rate", arms[0][:n], arms[1][:n], seconds=30, history=STEADY)["verdict"] == "fail"
            for n in range(61, 69)
        )

    assert rolled_back <= 2


@pytest.mark.parametrize("kind", ARMS)
def test_an_incident_does_not_excuse_what_comes_after_it(look: Any, kind: str) -> None:
    """Both arms in trouble for half an hour, then only the canary."""
    name, rule, counts, good, bad, _ = ARMS[kind]
    canary = [good] * 30 + [bad] * 30 + [bad] * 30
    baseline = [good] * 30 + [bad] * 30 + [good] * 30

    found = look(
        name, [counts(300, share) for share in canary], [counts(5700, share) for share in baseline],
        history=[counts(5700, good)] * 120, asked=START, **rule,
    )  # fmt: skip

    assert (found["verdict"], found["code"]) == ("fail", "proved_bad")


@pytest.mark.parametrize("kind", ARMS)
def test_an_incident_that_is_over_does_not_hold_a_pass_for_ever(look: Any, kind: str) -> None:
    """Ten minutes of trouble in both arms, then good hours: passed in the end, by the sum of all."""
    name, rule, counts, good, bad, _ = ARMS[kind]
    path = [bad] * 2 + [good * 0.1] * 2000

    found = look(name, [counts(300, share) for share in path], [counts(5700, share) for share in path], **rule)

    assert found["verdict"] == "pass"


def test_a_deadline_does_not_blame_the_canary_for_an_incident(look: Any) -> None:
    """Settling by the estimate is for what nothing is known of."""
    arms = [failed(300, 0.03)] * 20, [failed(5700, 0.03)] * 20

    assert look("error_rate", *arms, decide_by={"requests": 1000})["code"] == "common_mode"


def test_the_plain_table_knows_no_excuse(look: Any) -> None:
    """Rule point judges estimates alone."""
    found = look("error_rate", [failed(300, 0.03)] * 20, [failed(5700, 0.03)] * 20, rule="point")

    assert (found["verdict"], found["code"]) == ("fail", "decided_by_point")


def test_bursts_count_in_an_incident_as_well(look: Any) -> None:
    """What the baseline's bursts leave of its evidence must still prove it bad."""
    canary, baseline = [failed(600, 0.05)] * 10, [failed(600, 0.05)] * 10
    weak = [failed(600, share) for share in [0.001, 0.009] * 60]
    strong = [failed(6000, share) for share in [0.0, 0.2] * 60]

    assert look("error_rate", canary, baseline)["code"] == "common_mode"
    assert look("error_rate", canary, baseline, history=weak)["code"] == "common_mode"
    # So overdispersed that neither arm is proved bad.
    assert look("error_rate", canary, baseline, history=strong)["code"] == "undecided"


# What began with the canary


@pytest.mark.parametrize("kind", ARMS)
@pytest.mark.parametrize(
    ("before", "setting", "code"),
    [
        ("good", "hold", "common_mode"),
        ("good", "fail", "proved_bad"),
        ("bad", "fail", "common_mode"),  # the service has always been so
        (None, "fail", "common_mode"),  # nobody knows
    ],
)
def test_trouble_of_both_arms_that_began_with_the_canary(
    look: Any, kind: str, before: str | None, setting: str, code: str
) -> None:
    """A shared database that the new version overloads, or an incident: the policy chooses what becomes of it."""
    name, rule, counts, good, bad, _ = ARMS[kind]
    history = None if before is None else [counts(5700, {"good": good, "bad": bad}[before])] * 120
    policy = {"shared_regression": setting}

    found = look(name, [counts(300, bad)] * 20, [counts(5700, bad)] * 20, history=history, policy=policy, **rule)

    assert found["code"] == code
    assert found["verdict"] == ("fail" if code == "proved_bad" else "inconclusive")
    if code == "common_mode":
        began = "since the canary came: a regression that both share, or an incident" in found["reason"]
        assert began == (before == "good")
        assert ("the service, not the canary, is in trouble" in found["reason"]) != began


@pytest.mark.parametrize(
    ("before", "setting", "code"),
    [
        (0.1, "hold", "common_mode"),
        (0.1, "fail", "proved_bad"),
        (0.4, "fail", "common_mode"),
        (None, "fail", "common_mode"),
    ],
)
def test_a_mean_that_rose_in_both_arms_with_the_canary(before: float | None, setting: str, code: str) -> None:
    """As for shares of bad requests: the policy chooses, where the baseline was within the limit before."""

    def arm(mean: float, requests: float, minutes: int) -> MeanOnly:
        swing = 1 + 0.01 * np.resize([1.0, -1.0], minutes)
        return MeanOnly(mean * requests * swing, np.full(minutes, requests))

    check = Check.model_validate({"kind": "mean_latency", "promote": "200ms", "rollback": "300ms"})
    policy = Policy.model_validate({"name": "mean", "checks": {"mean": check}, "shared_regression": setting})
    reading = Reading(
        arm(0.4, 300, 30), arm(0.4, 5700, 30), 60.0,
        history=None if before is None else arm(before, 5700, 120), history_seconds=60.0,
    )  # fmt: skip

    found = checks.judge(check, reading, policy, Moment())

    assert found.code == code
    if code == "common_mode":
        assert ("since the canary came" in found.reason) == (before == 0.1)


def test_a_shared_regression_does_not_fail_on_a_baseline_too_small_to_tell(look: Any) -> None:
    """That the baseline may be bad as well is no proof that it is."""
    history = [failed(5700, 0.002)] * 120
    arms = [failed(300, 0.03)] * 20, [failed(0.3, 0.03)] * 20

    found = look("error_rate", *arms, history=history, policy={"shared_regression": "fail"})

    assert found["code"] == "common_mode"
    assert "too few requests to tell" in found["reason"]


def test_a_good_baseline_fails_the_canary_under_either_setting(look: Any) -> None:
    """The setting is of trouble that both arms have."""
    for setting in ("hold", "fail"):
        arms = [failed(300, 0.03)] * 20, [failed(5700, 0.002)] * 20
        assert look("error_rate", *arms, policy={"shared_regression": setting})["code"] == "proved_bad"


def test_a_shared_regression_is_held_or_fails() -> None:
    """Nothing else can be written."""
    body = {"checks": "error_rate", "data": {"error_rate": {"canary": failed(300, 0.03)}}}

    with pytest.raises(RequestError, match="shared_regression"):
        analyzer.evaluate(body | {"policy": {"shared_regression": "ignore"}})


def test_an_incident_while_the_weight_goes_to_99_is_no_fault_of_the_canary(look: Any) -> None:
    """The few requests that the baseline still gets are compared at their own split, not at that of before."""
    canary = [{"errors": bad, "requests": n} for bad, n in ((2, 8), (1405, 7127), (85, 500), (113, 699))]
    baseline = [{"errors": bad, "requests": n} for bad, n in ((1, 2), (6617, 9744), (1, 3), (2, 2))]

    found = look("error_rate", canary, baseline)

    assert (found["verdict"], found["code"]) == ("inconclusive", "common_mode")
