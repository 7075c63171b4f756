"""The design effect in whole checks: where it is estimated, what it costs, and what is said of it."""

import math
import re
from typing import Any

import numpy as np
import pytest
from checks.rollouts import EVEN, KINDS, MOVED, drawn, errors_of, failed, scored, slow

RNG = np.random.default_rng(11)
BURSTS = errors_of(drawn(RNG, np.full(120, 600.0), 0.003, 0.01))
STEADY = errors_of(drawn(RNG, np.full(120, 57_000.0), 0.003))
CANARY = [failed(600, 0.003)] * 10


def effect(found: dict[str, Any]) -> float:
    """Give the design effect in the shortest batch that the assumptions name; 1 for independent requests."""
    named = re.search(r"variance of the baseline's counts is up to ([\d.e+]+) times", found["assumptions"][0])
    return float(named[1]) if named else 1.0


def test_the_history_shows_the_design_effect(look: Any) -> None:
    """Bursts before the canary widen its interval and delay its verdict, and the assumptions say by how much."""
    bursty, steady = (look("error_rate", CANARY, history=history) for history in (BURSTS, STEADY))

    assert "(design effect, from 120 batches before the canary)" in bursty["assumptions"][0]
    assert 1 + 599 * 0.01 < effect(bursty) < 3 * (1 + 599 * 0.01)
    assert effect(steady) < 1.2
    assert bursty["canary"]["low"] < steady["canary"]["low"]
    assert bursty["canary"]["high"] > steady["canary"]["high"]
    assert bursty["evidence"]["pass"] < 0.4 * steady["evidence"]["pass"]
    assert bursty["remaining"]["requests"] > 2 * steady["remaining"]["requests"]


def test_the_baseline_beside_the_canary_serves_where_there_is_no_history(look: Any) -> None:
    """The history is preferred where it is long enough."""
    beside = look("error_rate", CANARY * 2, BURSTS[:20])
    both = look("error_rate", CANARY * 2, BURSTS[:20], history=STEADY)

    assert effect(beside) > 2
    assert "from 20 batches beside the canary" in beside["assumptions"][0]
    assert "before the canary" in both["assumptions"][0]
    assert beside["evidence"]["pass"] < both["evidence"]["pass"]


def test_a_history_that_says_enough_is_used_however_long_the_rollout_lasts(look: Any) -> None:
    """An incident beside the canary would look like bursts, and hide the trouble that it is."""
    path = [0.002] * 130 + [0.03] * 20
    arms = [failed(600, share) for share in path], [failed(11_400, share) for share in path]

    found = look("error_rate", *arms, history=STEADY)

    assert "before the canary" in found["assumptions"][0]
    assert found["code"] == "common_mode"


def test_an_incident_of_the_past_is_left_out(look: Any) -> None:
    """Ten bad minutes of two hours cost next to nothing, and are named."""
    incident = errors_of(drawn(np.random.default_rng(15), np.full(10, 57_000.0), 0.05))
    found = look("error_rate", CANARY, history=[*STEADY[:50], *incident, *STEADY[60:]])

    assert found["assumptions"][0].endswith("; one incident of the past is left out")
    assert effect(found) < 1.3


@pytest.mark.parametrize("baseline", [None, [failed(57_000, 0.003)] * 3, [failed(57_000, 0.0)] * 10])
def test_where_nothing_is_known_requests_are_taken_to_be_independent(look: Any, baseline: Any) -> None:
    """No baseline, three minutes of it, or one without a single error: said among the assumptions."""
    found = look("error_rate", CANARY[: len(baseline)] if baseline else CANARY, baseline)

    assert found["assumptions"][0].startswith("requests are taken to be independent: there is too little")


@pytest.mark.parametrize("kind", KINDS)
def test_bursts_delay_a_verdict_of_every_kind(look: Any, kind: str) -> None:
    """A fault is proved later where the baseline's requests go together."""
    name, rule, counts, good, bad, _ = KINDS[kind]
    if kind == "conversions":
        rule = {**rule, "delay": "0s"}  # in six minutes a loss is no more than a delay
    rng = np.random.default_rng(12)
    baseline = [counts(5700, good)] * 6
    if name == "prediction_drift":
        noisy = [counts(300, rng.dirichlet(np.full(10, 9.0)).tolist()) for _ in range(120)]
    else:
        spread = 0.15 if name == "business_proxy" else 0.9
        requests = 300 if name == "business_proxy" else 5700
        noisy = [counts(requests, good * level) for level in rng.choice([1 - spread, 1 + spread], 120)]

    calm = look(name, [counts(300, bad)] * 6, baseline, history=[counts(5700, good)] * 120, **rule)
    bursts = look(name, [counts(300, bad)] * 6, baseline, history=noisy, **rule)

    assert "before the canary" in bursts["assumptions"][0]
    assert 0 < bursts["evidence"]["fail"] < calm["evidence"]["fail"]


@pytest.mark.parametrize("seconds", [15, 30, 60, 120, 240, 960])
def test_the_length_of_the_slices_does_not_change_the_design_effect(look: Any, seconds: int) -> None:
    """Bursts of a minute divide the counts by the same, however long the slices are in which they are seen."""
    errors, requests = drawn(np.random.default_rng(13), np.full(960, 600.0), 0.01, 0.01)
    if seconds < 60:
        errors, requests = (one.repeat(60 // seconds) * seconds / 60 for one in (errors, requests))
    each = max(1, int(seconds // 60))
    slices = errors_of((errors.reshape(-1, each).sum(axis=1), requests.reshape(-1, each).sum(axis=1)))

    found = look("error_rate", slices, slices, seconds=seconds, rule="strict")

    # The variance of the share, were it normal: 7 times that of independent requests or what the estimate makes of it
    # over 16 hours, 8 standard errors or so wide.
    error = math.sqrt(0.01 * 0.99 * (1 + 599 * 0.01) / 576_000)
    width = found["canary"]["high"] - found["canary"]["low"]
    assert 8 * error < width < 1.6 * 8 * error
    assert width == pytest.approx(0.0037, rel=0.05)  # as with every other length


def test_slices_of_unknown_length_are_minutes(look: Any) -> None:
    """What the assumptions say counts are divided by, they are divided by."""
    known, unknown = (look("error_rate", CANARY * 12, BURSTS, seconds=seconds) for seconds in (60, None))

    assert unknown["assumptions"] == known["assumptions"]
    assert unknown["canary"] == known["canary"]


def test_long_slices_are_named_as_what_they_are(look: Any) -> None:
    """Batches of four minutes show the variance of four minutes."""
    long, short = (look("error_rate", CANARY[:6], BURSTS[:6], seconds=seconds) for seconds in (240, 30))

    assert "times that of independent requests in 4 min" in long["assumptions"][0]
    assert "times that of independent requests in 30 s" in short["assumptions"][0]  # three minutes in all


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_history_a_rollback_takes_more(look: Any, kind: str) -> None:
    """The same counts prove less where nobody knows how requests depend on each other, and a pass as much."""
    name, rule, counts, good, bad, _ = KINDS[kind]
    canary, baseline = [counts(300, bad)] * 6, [counts(5700, good)] * 6

    rule = rule | ({"delay": 0} if kind == "conversions" else {})
    known = look(name, canary, baseline, history=[counts(5700, good)] * 120, **rule)
    unknown = look(name, canary, baseline, **rule)
    untimed = look(name, canary[:1], baseline[:1], seconds=None, **rule)

    assert unknown["evidence"]["fail"] < 0.7 * known["evidence"]["fail"]
    assert unknown["evidence"]["pass"] == known["evidence"]["pass"]
    assert "a rollback takes more" in unknown["assumptions"][0]
    assert "a rollback takes more" not in known["assumptions"][0] + untimed["assumptions"][0]


def test_the_baseline_beside_the_canary_replaces_the_history(look: Any) -> None:
    """After two hours beside an independent baseline the evidence is that with a history."""
    canary, baseline = [failed(300, 0.012)] * 120, [failed(5700, 0.003)] * 120

    known = look("error_rate", canary, baseline, history=[failed(5700, 0.003)] * 120)
    unknown = look("error_rate", canary, baseline)

    assert unknown["evidence"] == known["evidence"]


def test_without_a_history_one_bad_minute_decides_nothing(look: Any) -> None:
    """Half of the canary's requests fail for a minute, which a stall does as well; the third such minute decides."""
    baseline = [failed(5700, 0.002)] * 20

    def judged(bad_minutes: int) -> str:
        canary = [failed(300, 0.002)] * (20 - bad_minutes) + [failed(300, 0.5)] * bad_minutes
        return str(look("error_rate", canary, baseline)["verdict"])

    assert [judged(minutes) for minutes in (1, 3)] == ["inconclusive", "fail"]


def test_latency_goes_by_the_slow_requests_near_the_quantile(look: Any) -> None:
    """What the quick requests do does not matter: only requests slower than an edge near the limit's share."""
    calm = [slow(5700, 0.01)] * 120
    swaying = [
        {"buckets": one["buckets"] | {"0.1": 5700 * share}} for one, share in zip(calm, [0.2, 0.9] * 60, strict=True)
    ]
    canary = [slow(300, 0.002)] * 10

    plain, same = (look("latency_p99", canary, history=history) for history in (calm, swaying))
    bursts = look("latency_p99", canary, history=[slow(5700, share) for share in [0.001, 0.019] * 60])

    assert same["evidence"] == plain["evidence"]
    assert bursts["evidence"]["pass"] < plain["evidence"]["pass"]


def test_drift_goes_by_all_bins(look: Any) -> None:
    """Scores that sway from minute to minute make a PSI less certain."""
    rng = np.random.default_rng(14)
    canary, baseline = [scored(300, EVEN)] * 10, [scored(5700, EVEN)] * 10
    swaying = [scored(5700, rng.dirichlet(np.full(10, 20.0)).tolist()) for _ in range(120)]

    calm = look("prediction_drift", canary, baseline, history=[scored(5700, EVEN)] * 120)
    found = look("prediction_drift", canary, baseline, history=swaying)

    assert found["canary"]["value"] >= calm["canary"]["value"] == 0
    assert found["canary"]["high"] > 2 * calm["canary"]["high"]
    assert look("prediction_drift", [scored(300, MOVED)] * 10, baseline, history=swaying)["verdict"] == "fail"


def test_the_history_may_be_in_other_forms_of_the_same_kind(look: Any) -> None:
    """Other buckets before the canary tell of its bursts all the same."""
    history = [{"buckets": {"0.15": 5700 * (1 - share), "+Inf": 5700}} for share in [0.001, 0.019] * 60]

    found = look("latency_p99", [slow(300, 0.002)] * 10, history=history)

    assert "from 120 batches before the canary" in found["assumptions"][0]


def test_a_policy_that_wants_no_history_allows_for_nothing(look: Any) -> None:
    """What a short observation may not have shown divides evidence for a rollback, unless the policy declines it."""
    arms = [failed(300, 0.04)] * 3, [failed(5700, 0.001)] * 3

    relied, doubted = (look("error_rate", *arms, policy={"history": history}) for history in ("0s", "2h"))

    assert relied["evidence"]["fail"] > 3 * doubted["evidence"]["fail"] > 0
    assert "too little of it was seen" in str(doubted["assumptions"])
    assert "too little of it was seen" not in str(relied["assumptions"])


@pytest.mark.parametrize("declared", [{}, {"decide_by": {"requests": 1000}}])
def test_one_bad_minute_is_no_evidence_while_little_was_seen(look: Any, declared: dict[str, Any]) -> None:
    """Nor by the test of a declared number of requests: the baseline may have such minutes."""
    canary = [*[failed(60, 0.0)] * 14, failed(60, 0.3)]
    baseline = [failed(5700, 0.001)] * 15

    short = look("error_rate", canary, baseline, history=[failed(5700, 0.001)] * 60, **declared)
    long = look("error_rate", canary, baseline, history=[failed(5700, 0.001)] * 120, **declared)

    assert short["verdict"] != "fail"
    assert long["verdict"] == "fail"
