"""The mean latency as a specification: limits, changes, slices that are missing, and how often it is wrong."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analyzer
from analyzer import checks
from analyzer.config.policy import Policy, choose_policy, load_policies
from analyzer.model.counts import MeanOnly, Reading
from analyzer.model.findings import Finding

ZONE = {"rule": "zone", "promote": "100ms", "rollback": "150ms"}
WEIGHT_5 = (150, 2850)  # requests of canary and baseline in a slice of 15 s
Slice = dict[str, float]
Say = Callable[..., dict[str, Any]]


def slices(means: Sequence[float], requests: float, seed: int = 1, *, spread: float = 1.0) -> list[Slice]:
    """Draw latencies, as gamma ones of a coefficient of variation, slice by slice."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(requests, len(means))
    shape = 1 / spread**2
    return [
        {"sum": float(rng.gamma(max(count, 1) * shape) * mean / shape) if count else 0.0, "count": int(count)}
        for mean, count in zip(means, counts, strict=True)
    ]


@pytest.fixture
def say() -> Say:
    """Judge both arms in slices of 15 s without warm-up and return the check's part of the answer."""

    def say_once(
        canary: Any,
        baseline: Any = None,
        *,
        seconds: float | None = 15,
        asked: dict[str, Any] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        data = {"canary": canary} | ({} if baseline is None else {"baseline": baseline})
        data |= {} if seconds is None else {"slice_seconds": seconds}
        policy = {"base": "ml-model-mean", "checks": {"latency_mean": {"pod_warmup": 0, **fields}}}
        body = {"policy": policy, "checks": "latency_mean", "data": {"latency_mean": data}, "detail": "full"}
        found: dict[str, Any] = analyzer.evaluate(body | (asked or {}))["checks"]["latency_mean"]
        return found

    return say_once


def both(change: float, number: int, level: float = 0.08) -> tuple[list[Slice], list[Slice]]:
    """Give a canary that is slower than the baseline by a part of its mean."""
    levels = np.full(number, level)
    return slices(levels * (1 + change), WEIGHT_5[0], 1), slices(levels, WEIGHT_5[1], 2)


# Against the baseline


@pytest.mark.parametrize(
    ("change", "number", "outcome", "code"),
    [
        (0.0, 4, "inconclusive", "undecided"),
        (0.0, 40, "pass", "proved_good"),
        (1.0, 5, "inconclusive", "undecided"),
        (1.0, 12, "fail", "proved_bad"),
        (0.2, 120, "inconclusive", "undecided"),  # between the limits
    ],
)
def test_the_change_decides(say: Say, change: float, number: int, outcome: str, code: str) -> None:
    """10% more is allowed, and 30% more rolls back; a handful of slices proves nothing."""
    found = say(*both(change, number))

    assert (found["verdict"], found["code"]) == (outcome, code)
    assert found["delta"]["low"] < change < (found["delta"]["high"] or 9)
    assert found["delta"]["value"] == pytest.approx(change, abs=0.15)


def test_the_sentence_says_what_was_seen(say: Say) -> None:
    """Both means, the change and the proof; what it rests on stands beside it."""
    found = say(*both(1.0, 12))

    assert found["reason"].startswith("mean latency of 1,")
    assert "canary requests is 157 ms (baseline 79.7 ms): +97.3%, above" in found["reason"]
    assert found["reason"].endswith("above the +30% rollback limit and proved above +10%")
    assert "a mean says nothing about the slowest requests" in found["assumptions"]
    assert any("12 batches" in one and "symmetrically" in one for one in found["assumptions"])


def test_an_incident_of_both_arms_is_no_change(say: Say) -> None:
    """Ten times as slow for a while, at a weight that moves from 5% to 50% meanwhile."""
    levels = np.where((np.arange(60) > 20) & (np.arange(60) < 40), 0.8, 0.08)
    ours = [*slices(levels[:30], 150, 3), *slices(levels[30:], 1500, 4)]
    theirs = [*slices(levels[:30], 2850, 5), *slices(levels[30:], 1500, 6)]

    found = say(ours, theirs)

    assert found["verdict"] == "pass"
    assert abs(found["delta"]["value"]) < 0.1


def test_one_slow_batch_is_not_outvoted(say: Say) -> None:
    """Where the mean is beyond the limit because of one slice, many quick ones prove nothing good."""
    ours, theirs = both(-0.1, 60)
    ours[40]["sum"] += 60 * 0.04 * 150

    found = say(ours, theirs)

    assert found["verdict"] == "inconclusive"
    assert found["evidence"]["pass"] < 0.2


@pytest.mark.parametrize("baseline", [None, [{"sum": 0, "count": 0}] * 20])
def test_a_change_needs_a_baseline(say: Say, baseline: Any) -> None:
    """Without traffic beside the canary nothing is compared."""
    assert say(both(0, 20)[0], baseline)["code"] == "no_baseline_traffic"


def test_arms_that_never_had_traffic_at_the_same_time_are_not_compared(say: Say) -> None:
    """As after weight 100."""
    nothing, (ours, theirs) = [{"sum": 0.0, "count": 0}] * 20, both(0, 20)

    found = say([*nothing, *ours], [*theirs, *nothing])

    assert found["code"] == "no_baseline_traffic"
    assert "at the same time" in found["reason"]


def test_traffic_after_the_last_step_does_not_dilute_the_comparison(say: Say) -> None:
    """Hours at weight 100 in which the canary's mean moved are left out."""
    ours, theirs = both(0.0, 40)
    later = slices(np.full(40, 0.8), 3000, 9)

    found = say([*ours, *later], [*theirs, *[{"sum": 0.0, "count": 0}] * 40])

    assert found["verdict"] == "pass"


# Against limits


@pytest.mark.parametrize(
    ("mean", "rule", "outcome"),
    [
        (0.05, "zone", "pass"), (0.3, "zone", "fail"), (0.12, "zone", "inconclusive"), (0.3, "strict", "fail"),
        (0.16, "zone", "fail"), (0.16, "strict", "inconclusive"), (0.16, "point", "fail"), (0.05, "point", "pass"),
    ],
)  # fmt: skip
def test_rules_differ_in_what_a_fail_takes(say: Say, mean: float, rule: str, outcome: str) -> None:
    """An hour of slices against 100 and 150 ms: zone proves the first, strict the second, point none."""
    found = say(slices(np.full(60, mean), 100, 7), seconds=60, **ZONE | {"rule": rule})

    assert found["verdict"] == outcome
    assert found["canary"]["low"] < mean < found["canary"]["high"]
    assert found["canary"]["value"] == pytest.approx(mean, rel=0.1)


def test_the_sentence_on_a_limit(say: Say) -> None:
    """The mean with its unit, that of the baseline, and the limit that it is proved to be within."""
    found = say(slices(np.full(40, 0.06), 600, 7), slices(np.full(40, 0.05), 900, 8), seconds=60, **ZONE)

    assert found["reason"].endswith("ms), proved below the 100 ms promote limit")
    assert "(baseline 5" in found["reason"] or "(baseline 49" in found["reason"]
    assert found["remaining"] == {"requests": 0, "seconds": 0, "range": {"requests": [0, 0], "seconds": [0, 0]}}


def test_trouble_that_the_baseline_has_too_is_not_the_canarys(say: Say) -> None:
    """Both at 300 ms: the service is in trouble; a canary much slower than the baseline is rolled back all the same."""
    levels = np.full(120, 0.3)
    baseline = slices(levels, 2850, 11)

    shared, own = say(slices(levels, 150, 10), baseline, **ZONE), say(slices(3 * levels, 150, 10), baseline, **ZONE)

    assert (shared["verdict"], shared["code"]) == ("inconclusive", "common_mode")
    assert (own["verdict"], own["code"]) == ("fail", "proved_bad")
    assert say(slices(levels, 150, 10), slices(levels / 10, 2850, 11), **ZONE)["verdict"] == "fail"


def test_a_baseline_of_a_few_requests_excuses_nothing(say: Say) -> None:
    """At a weight of 100% or nearly so."""
    few = slices(np.full(60, 0.3), 1, 12)

    assert say(slices(np.full(60, 0.3), 1000, 13), few, seconds=60, **ZONE)["code"] == "proved_bad"


def test_a_slice_in_which_incident_and_step_fall_together_blames_nobody(say: Say) -> None:
    """Each step comes with an incident: in its slice the canary got more of the slow part, and is no slower."""
    ours: list[Slice] = []
    theirs: list[Slice] = []
    for step in range(24):
        weight = (0.05, 0.5)[step % 2]
        ours += slices(np.full(3, 0.2), 6000 * weight, 2 * step)
        theirs += slices(np.full(3, 0.2), 6000 * (1 - weight), 2 * step + 1)
        ours.append({"sum": 1500 * 0.9, "count": 1500})  # at 27%, and in the later half
        theirs.append({"sum": 4500 * 0.2, "count": 4500})

    assert say(ours, theirs, seconds=60, **ZONE)["code"] == "common_mode"


def test_a_fault_that_begins_late_is_found_since_then(say: Say) -> None:
    """After an hour of health, three times as slow for the last 25 minutes."""
    levels = np.where(np.arange(96) < 70, 0.06, 0.3)

    found = say(slices(levels, 600, 14), seconds=60, **ZONE)

    assert found["code"] == "proved_bad"
    assert "in the last" in found["reason"]
    assert found["canary"]["value"] == pytest.approx(0.3, rel=0.2)


def test_a_step_is_judged_by_what_was_seen_since(say: Say) -> None:
    """With `window: step` what was quick at 5% does not speak for 50%, wherever in a minute the step was."""
    levels = np.where(np.arange(122) < 42, 0.06, 0.09)
    ours = [*slices(levels[:42], 300, 15), *slices(levels[42:], 3000, 16)]
    theirs = [*slices(np.full(42, 0.06), 5700, 17), *slices(np.full(80, 0.06), 3000, 18)]

    found = say(ours, theirs, asked={"window": "step"}, **ZONE)

    assert found["canary"]["n"] == pytest.approx(80 * 3000, rel=0.01)
    assert found["canary"]["value"] == pytest.approx(0.09, rel=0.02)
    assert found["verdict"] == "pass"


def test_against_a_limit_a_batch_lasts_a_minute(say: Say) -> None:
    """Sixteen slices of 15 s are four minutes, too few; against the baseline they are sixteen batches."""
    ours, theirs = both(2.0, 16)

    assert say(ours, theirs, **ZONE)["verdict"] == "inconclusive"
    assert say(ours, theirs)["verdict"] == "fail"
    assert "4 batches" in str(say(ours, theirs, **ZONE)["assumptions"])


# Too little to tell


def test_one_sum_proves_nothing_however_large(say: Say) -> None:
    """It does not tell how much it varies: said so, with the remedy, and no number of requests is promised."""
    arms = {"sum": 5e6, "count": 1e8}, {"sum": 8e7, "count": 1e9}

    for fields in ({}, ZONE):
        found = say(*arms, seconds=None, **fields)
        assert (found["verdict"], found["code"], found["remaining"]) == ("inconclusive", "undecided", None)
        assert "one sum does not tell how much it varies" in found["reason"]
        assert found["canary"]["value"] == pytest.approx(0.05)
    assert say(*arms, seconds=None)["delta"]["value"] == pytest.approx(-0.375)
    assert say(*arms, seconds=None, **ZONE | {"rule": "point"})["verdict"] == "pass"
    assert say(*arms, seconds=None, decide_by={"requests": 1000})["code"] == "decided_by_point"


def test_slices_with_few_requests_are_taken_together(say: Say) -> None:
    """Five requests a slice: forty slices are a batch or two, and prove nothing yet."""
    levels = np.full(40, 0.01)
    few, many = (say(slices(levels, requests, 19), **ZONE) for requests in (5, 500))

    assert (few["verdict"], many["verdict"]) == ("inconclusive", "pass")
    assert 300 <= few["remaining"]["requests"] <= 1000  # six batches of a hundred or nearly two


def test_a_part_of_a_batch_promises_no_quick_decision(say: Say) -> None:
    """Twenty quick requests: five hundred more are needed at least, not a hundred."""
    found = say(slices(np.full(10, 0.01), 2, 20), **ZONE)

    assert found["remaining"]["requests"] > 400
    assert found["evidence"]["pass"] < 0.1


def test_a_sum_that_is_not_counted_is_no_quick_canary(say: Say) -> None:
    """A mean of 0 would pass every limit."""
    for arms in ((0.0, 3.0), (3.0, 0.0)):
        found = say(*([{"sum": total, "count": 200}] * 30 for total in arms))
        assert (found["verdict"], found["code"]) == ("inconclusive", "inconsistent_data")
        assert "add up to 0" in found["reason"]


def test_no_traffic_is_no_pass(say: Say) -> None:
    """Nor is a canary without requests."""
    assert say([{"sum": 0, "count": 0}] * 30, both(0, 30)[1])["code"] == "no_canary_traffic"


def test_a_quantile_cannot_be_judged_on_sums() -> None:
    """The reason of a check of kind latency names the one that can be."""
    policy = load_policies(None)["ml-model"]
    reading = Reading(MeanOnly(np.full(9, 8.0), np.full(9, 100.0)), None, 15.0)

    found = checks.judge(policy.checks["latency_p99"], reading, policy)

    assert found.code == "metric_missing"
    assert "a check of kind mean_latency" in found.reason


# Scrapes


def test_arms_scraped_in_turn_are_compared(say: Say) -> None:
    """With a scrape every 30 s and slices of 15 s, each arm shows in every second slice, and not in the same."""
    policy = load_policies(None)["ml-model-mean"]
    rng, turn = np.random.default_rng(23), np.arange(80) % 2

    def judged(change: float, scrape_seconds: float | None) -> Finding:
        canary, baseline = (
            MeanOnly(where * rng.gamma(size) * mean, where * float(size))
            for where, size, mean in ((turn, 300, 0.08 * (1 + change)), (1 - turn, 5700, 0.08))
        )
        reading = Reading(canary, baseline, 15.0, scrape_seconds=scrape_seconds)
        return checks.judge(policy.checks["latency_mean"], reading, policy)

    assert judged(0.0, 30.0).outcome == "pass"
    assert judged(1.0, 30.0).outcome == "fail"
    assert judged(1.0, None).code == "no_baseline_traffic"


# Laws


@given(st.floats(1e-4, 1e4), st.sampled_from([0.0, 0.3, 2.0]), st.integers(1, 40), st.booleans())
def test_only_the_ratio_to_the_limit_counts(unit: float, change: float, number: int, compared: bool) -> None:
    """A service and its limits so many times as slow: the same answer."""
    ours, theirs = both(change, number)
    fields = [{}, {}] if compared else [{**ZONE}, ZONE | {"promote": 0.1 * unit, "rollback": 0.15 * unit}]
    found = []
    for times, limits in zip((1.0, unit), fields, strict=True):
        policy = choose_policy(
            load_policies(None), {"base": "ml-model-mean", "checks": {"latency_mean": limits}}, "ml-model"
        )
        reading = Reading(arm_of(ours, times), arm_of(theirs, times), 15.0)
        found.append(checks.judge(policy.checks["latency_mean"], reading, policy))

    assert found[0].outcome == found[1].outcome
    assert found[1].evidence.towards_pass == pytest.approx(found[0].evidence.towards_pass, rel=1e-6, abs=1e-9)
    assert found[1].evidence.towards_fail == pytest.approx(found[0].evidence.towards_fail, rel=1e-6, abs=1e-9)


def arm_of(arm: list[Slice], times: float = 1.0) -> MeanOnly:
    """Put slices into arrays."""
    return MeanOnly(np.array([one["sum"] for one in arm]) * times, np.array([one["count"] for one in arm], float))


# Error rates of whole rollouts: load that swings, latencies with a long tail


def arms_of(rng: np.random.Generator, change: float, number: int = 120) -> tuple[MeanOnly, MeanOnly]:
    """Draw lognormal latencies (sigma 1) of both arms, with a load and a common mean that swing from slice to slice."""
    swing = np.cumsum(rng.standard_normal(number)) * 0.1
    swing -= np.linspace(0, swing[-1], number)
    counts = rng.poisson(150 * np.exp(swing)), rng.poisson(300 * np.exp(swing))

    def total(count: int, mean: float) -> float:
        return float(np.exp(rng.standard_normal(count) - 0.5).sum() * mean)

    levels = 0.08 * np.exp(swing)
    return tuple(  # type: ignore[return-value]
        MeanOnly(np.array([total(*pair) for pair in zip(count, levels * times, strict=True)]), count.astype(float))
        for count, times in zip(counts, (1 + change, 1.0), strict=True)
    )


def first_slices(arms: tuple[MeanOnly, MeanOnly], number: int) -> Reading[Any]:
    """Look at a rollout after so many slices of 15 s."""
    canary, baseline = (MeanOnly(arm.total[:number], arm.count[:number]) for arm in arms)
    return Reading(canary, baseline, 15.0)


def outcomes(policy: Policy, change: float, runs: int, looks: Sequence[int], seed: int) -> list[list[str]]:
    """Judge rollouts again and again."""
    rng, check = np.random.default_rng(seed), policy.checks["latency_mean"]
    found = []
    for _ in range(runs):
        arms = arms_of(rng, change)
        found.append([checks.judge(check, first_slices(arms, look), policy).outcome.value for look in looks])
    return found


LOOKS = (*range(2, 40, 2), *range(40, 121, 8))


@pytest.mark.statistical
def test_a_change_at_the_promote_limit_is_hardly_ever_decided() -> None:
    """10% slower, with 10% as the rollback limit too: of 60 rollouts neither fail nor pass more than 5% and luck."""
    limits = {"latency_mean": {"promote": "10%", "rollback": "10%"}}
    policy = choose_policy(load_policies(None), {"base": "ml-model-mean", "checks": limits}, "ml-model")

    found = outcomes(policy, 0.1, 60, LOOKS, 51)

    assert sum("fail" in run for run in found) <= 2
    assert sum("pass" in run for run in found) <= 6  # more than 6 of 60 at 5% each: 3 in 100


@pytest.mark.statistical
def test_a_canary_twice_as_slow_is_found_within_minutes() -> None:
    """All of 20 rollouts fail, half of them within twelve slices of 15 s; of 20 healthy ones none does."""
    policy = load_policies(None)["ml-model-mean"]
    slow, healthy = (outcomes(policy, change, 20, LOOKS, 52) for change in (1.0, 0.0))

    assert all("fail" in run for run in slow)
    assert np.median([LOOKS[run.index("fail")] for run in slow]) <= 12
    assert not any("fail" in run for run in healthy)
    assert sum("pass" in run for run in healthy) >= 19
