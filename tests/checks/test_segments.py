"""Segments of time: faults that begin late, evidence at the present weight, and splits that move."""

from typing import Any

import pytest
from checks.rollouts import EVEN, KINDS, RELATIVE, earned, failed, scored, slow, sold

import analyzer

HOURS = {"start": "2026-01-05T10:00:00Z", "at": "2026-01-05T12:08:00Z"}
GOOD, BAD = 120, 8  # minutes


# Faults that begin late


@pytest.mark.parametrize("kind", KINDS)
def test_a_late_fault_is_found_and_dated(look: Any, kind: str) -> None:
    """Two good hours and eight bad minutes fail, since the minute that the fault began; as one sum they would not."""
    name, rule, counts, good, bad, words = KINDS[kind]
    canary = [counts(300, good)] * GOOD + [counts(300, bad)] * BAD
    baseline = [counts(5700, good)] * (GOOD + BAD)

    found = look(name, canary, baseline, asked=HOURS, **rule)
    without_time = look(name, canary, baseline, **rule)

    assert (found["verdict"], found["code"]) == ("fail", "proved_bad")
    assert found["since"] == "2026-01-05T12:00:00Z"
    assert found["canary"]["n"] == 300 * BAD
    assert "2,400 canary" in found["reason"]
    assert words in found["reason"]
    assert "since 12:00:00Z" in found["reason"]
    assert "in the last 8 min" in without_time["reason"]
    assert without_time["since"] is None


@pytest.mark.parametrize("kind", ["errors", "latency", "conversions", "drift"])
def test_the_headline_says_since_when(kind: str) -> None:
    """The reason of the whole verdict has the moment too, without the baseline."""
    name, _, counts, good, bad, _ = KINDS[kind]
    data = {
        "canary": [counts(300, good)] * GOOD + [counts(300, bad)] * BAD,
        "baseline": [counts(5700, good)] * (GOOD + BAD),
        "slice_seconds": 60,
    }

    reason = analyzer.evaluate({"checks": name, "data": {name: data}, **HOURS})["reason"]

    assert reason.startswith(f"{name}: ")
    assert "since 12:00:00Z" in reason
    assert "baseline" not in reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_from_the_start_is_dated_from_the_start(look: Any, kind: str) -> None:
    """Nothing is said of a moment, and all requests count."""
    name, rule, counts, good, bad, _ = KINDS[kind]

    at_once = {"delay": "0s"} if kind == "conversions" else {}  # else the first minutes are the least telling ones

    found = look(name, [counts(300, bad)] * 20, [counts(5700, good)] * 20, asked=HOURS, **rule, **at_once)

    assert found["verdict"] == "fail"
    assert found["canary"]["n"] == 6000
    assert "since 1" not in found["reason"]
    assert found["since"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_trouble_that_is_over_does_not_hide_behind_the_good_hours_after_it(look: Any, kind: str) -> None:
    """Eight bad minutes at the begin, then two good hours: whatever fails counts them, none fails without them."""
    name, rule, counts, good, bad, _ = KINDS[kind]
    canary = [counts(300, bad)] * BAD + [counts(300, good)] * GOOD

    found = look(name, canary, [counts(5700, good)] * (GOOD + BAD), **rule)

    assert found["verdict"] != "fail" or found["canary"]["n"] == 300 * (GOOD + BAD)


def test_days_are_named_where_hours_are_not_enough(look: Any) -> None:
    """In a window of two days the moment has its date."""
    canary = [failed(30_000, 0.002)] * 40 + [failed(30_000, 0.03)] * 10
    found = look("error_rate", canary, seconds=3600, asked={"start": "2026-01-05T10:00:00Z"})

    assert found["since"] is not None
    assert f"since {found['since']}" in found["reason"]
    assert found["since"].startswith("2026-01-0")


def test_the_interval_is_that_of_the_stretch(look: Any) -> None:
    """A failed segment is bounded at its own part of alpha: wider than the same requests as the whole of a rollout."""
    late = look("error_rate", [failed(300, 0.002)] * GOOD + [failed(300, 0.03)] * BAD)["canary"]
    alone = look("error_rate", [failed(300, 0.03)] * BAD)["canary"]

    assert late["value"] == alone["value"] == 0.03
    assert 0.005 < late["low"] < alone["low"]
    assert late["high"] == alone["high"]


@pytest.mark.parametrize("minutes", [1, 2, 3])
def test_a_fault_of_some_minutes_needs_its_proof(look: Any, minutes: int) -> None:
    """Thirty requests a minute with 3% errors are not proved in three minutes, and the bar says how far it is."""
    found = look("error_rate", [failed(30, 0.002)] * GOOD + [failed(30, 0.03)] * minutes)

    assert found["verdict"] == "inconclusive"
    assert 0 <= found["evidence"]["fail"] < 1


# Evidence at the present weight


def by_steps(counts: Any, value: Any, steps: tuple[float, ...], minutes: int = 20, total: float = 6000) -> Any:
    """Give both arms of a rollout whose weight goes up, alike at every step."""
    return (
        [counts(total * step, value) for step in steps for _ in range(minutes)],
        [counts(total * (1 - step), value) for step in steps for _ in range(minutes)],
    )


STEP = {"window": "step", "start": "2026-01-05T10:00:00Z"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_at_the_present_weight_needs_its_own_proof(look: Any, kind: str) -> None:
    """Forty good minutes at 5% and 25% and one at 50%: proved since the start, not yet at this weight."""
    name, rule, counts, good, _, _ = KINDS[kind]
    better = {"errors, relative": 0.001, "latency, relative": 0.001, "conversions": 0.26, "revenue": 6.5}.get(
        kind, good
    )
    total = 300 if name == "prediction_drift" else 12_000 if rule.get("rule") == "relative" else 1200
    canary, baseline = (
        by_steps(counts, value, (0.05, 0.25, 0.5), total=total)[arm] for arm, value in enumerate((better, good))
    )
    enough = {"min_requests": total}

    everything = look(name, canary[:41], baseline[:41], **rule, **enough)
    at_once = look(name, canary[:41], baseline[:41], asked=STEP, **rule, **enough)
    later = look(name, canary, baseline, asked=STEP, **rule, **enough)

    assert everything["verdict"] == "pass"
    assert at_once["verdict"] == "inconclusive"
    assert at_once["since"] == "2026-01-05T10:40:00Z"
    assert later["verdict"] == "pass"
    assert later["since"] == "2026-01-05T10:40:00Z"
    assert later["canary"]["n"] == pytest.approx(total * 0.5 * 20)


def test_the_step_that_counts_has_too_few_requests_of_its_own(look: Any) -> None:
    """Proved below the limit by everything; the six hundred requests at this weight alone do not prove it."""
    canary, baseline = by_steps(failed, 0.0, (0.05, 0.5), total=1200)
    canary, baseline = canary[:20] + canary[-1:], baseline[:20] + baseline[-1:]

    assert look("error_rate", canary, baseline)["verdict"] == "pass"
    found = look("error_rate", canary, baseline, asked=STEP)
    assert (found["verdict"], found["code"]) == ("inconclusive", "undecided")
    assert found["canary"]["n"] == 600
    assert "since 10:20:00Z" in found["reason"]
    assert 100 < found["remaining"]["requests"] < 400


@pytest.mark.parametrize("kind", KINDS)
def test_a_fail_uses_everything(look: Any, kind: str) -> None:
    """A canary that is bad at every weight fails in the first minute of a new one."""
    name, rule, counts, good, bad, _ = KINDS[kind]
    canary = by_steps(counts, bad, (0.05, 0.25))[0][:21]
    baseline = by_steps(counts, good, (0.05, 0.25))[1][:21]

    found = look(name, canary, baseline, asked=STEP, **rule)

    assert found["verdict"] == "fail"
    assert found["canary"]["n"] > 6000 * 0.25


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("errors", "errors, strict", "latency")])
def test_at_full_weight_nothing_can_be_compared(look: Any, kind: str) -> None:
    """Without a baseline at this weight comparisons stay inconclusive, and say so in words."""
    name, rule, counts, good, _, _ = KINDS[kind]
    canary, baseline = by_steps(counts, good, (0.05, 0.5, 1.0))

    found = look(name, canary, baseline, asked=STEP, **rule)

    assert found["verdict"] == "inconclusive"
    assert "nan" not in found["reason"]
    assert found["evidence"]["pass"] == 0
    assert found["remaining"] is None


@pytest.mark.parametrize("kind", ["errors", "errors, strict", "latency"])
def test_at_full_weight_limits_are_judged_without_a_baseline(look: Any, kind: str) -> None:
    """Nothing is needed of the baseline, and nothing is shown of one that has no traffic."""
    name, rule, counts, good, _, _ = KINDS[kind]
    canary, baseline = by_steps(counts, good, (0.05, 0.5, 1.0))

    found = look(name, canary, baseline, asked=STEP, **rule)

    assert found["verdict"] == "pass"
    assert found["baseline"]["value"] is None
    assert "baseline" not in found["reason"]


def test_without_a_change_a_step_is_the_whole(look: Any) -> None:
    """A split that stayed, or a baseline that is not known, leaves everything as it is."""
    canary, baseline = by_steps(failed, 0.002, (0.25,))
    for arms in ((canary, baseline), (canary, None)):
        assert look("error_rate", *arms, asked=STEP) == look("error_rate", *arms, asked={"start": STEP["start"]})


@pytest.mark.parametrize("counts", [failed, slow, sold, earned])
def test_no_canary_traffic_since_the_step_is_said(look: Any, counts: Any) -> None:
    """Back to weight 0: nothing to pass on."""
    name = {failed: "error_rate", slow: "latency_p99"}.get(counts, "business_proxy")
    canary, baseline = by_steps(counts, 0.01, (0.25, 0.0))

    found = look(name, canary, baseline, asked=STEP)

    assert (found["verdict"], found["code"]) == ("inconclusive", "no_canary_traffic")


# Slices with other splits


@pytest.mark.parametrize("kind", ["errors, relative", "latency, relative", "conversions", "revenue"])
def test_a_base_rate_that_moves_with_the_split_is_no_difference(look: Any, kind: str) -> None:
    """5% of a quiet hour and 50% of a bad one, both arms alike: no evidence, and a change of 0."""
    name, rule, counts, good, _, _ = KINDS[kind]
    steps, levels = (0.05, 0.5), (good, good * 0.1)
    canary = [counts(6000 * step, level) for step, level in zip(steps, levels, strict=True) for _ in range(20)]
    baseline = [counts(6000 * (1 - step), level) for step, level in zip(steps, levels, strict=True) for _ in range(20)]

    found = look(name, canary, baseline, **rule)

    assert found["verdict"] != "fail"
    assert found["evidence"]["fail"] == 0
    assert found["delta"]["value"] == pytest.approx(0, abs=1e-9)


def test_scores_that_move_with_the_split_are_no_drift(look: Any) -> None:
    """Day and night: the inputs of both arms move alike while the canary's share goes from 5% to 50%."""
    day, night = EVEN, (0.02, 0.03, 0.05, 0.05, 0.05, 0.1, 0.1, 0.1, 0.2, 0.3)
    canary = [scored(6000 * step, shares) for step, shares in ((0.05, day), (0.5, night)) for _ in range(20)]
    baseline = [scored(6000 * (1 - step), shares) for step, shares in ((0.05, day), (0.5, night)) for _ in range(20)]

    assert look("prediction_drift", canary, baseline, history=[scored(5700, day)] * 120)["verdict"] == "pass"


@pytest.mark.parametrize("faults", [(1, 1, 1), (1, 3, 3), (1, 10, 10), (1, 4, 9), (3, 3, 3), (10, 1, 1)])
def test_the_change_lies_in_its_interval_at_every_split(look: Any, faults: tuple[float, ...]) -> None:
    """Bounds are around the value that is shown, also where the steps of a rollout differ."""
    steps = [(step, fault) for step, fault in zip((0.05, 0.25, 0.5), faults, strict=True) for _ in range(4)]
    canary = [failed(6000 * step, 0.01 * fault) for step, fault in steps]
    baseline = [failed(6000 * (1 - step), 0.01) for step, _ in steps]

    delta = look("error_rate", canary, baseline, **RELATIVE)["delta"]

    assert delta["low"] < delta["value"] < delta["high"]


@pytest.mark.parametrize(("faults", "promote"), [((5, 5, 5), "380%"), ((3, 3, 3), "170%"), ((1, 1, 1), "-2%")])
def test_a_limit_is_outside_exactly_when_the_change_is_proved_at_every_split(
    look: Any, faults: tuple[float, ...], promote: str
) -> None:
    """The bounds agree with the evidence, also where the canary's share goes from 5% to 50%."""
    steps = [(step, fault) for step, fault in zip((0.05, 0.25, 0.5), faults, strict=True) for _ in range(4)]
    canary = [failed(60_000 * step, 0.01 * fault) for step, fault in steps]
    baseline = [failed(60_000 * (1 - step), 0.01) for step, _ in steps]
    rule = {"rule": "relative", "promote": promote, "rollback": promote}
    history = [failed(60_000, 0.01)] * 120

    found = look("error_rate", canary, baseline, history=history, **rule)
    low = found["delta"]["low"]

    assert low < found["delta"]["value"]
    for limit, proved in ((low - 0.01 * (1 + low), True), (low + 0.01 * (1 + low), False)):
        beside = look("error_rate", canary, baseline, history=history, rule="relative", promote=limit, rollback=limit)
        whole = beside["evidence"]["fail"] if beside["since"] is None else 0
        assert (whole >= 1) == proved
