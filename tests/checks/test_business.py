"""The business proxy as a specification: conversions and values against the baseline's; less is worse."""

from typing import Any

import numpy as np
import pytest

from analyzer import checks
from analyzer.config.policy import load_policies
from analyzer.model.counts import Reading, Values
from analyzer.stats import means

POLICY = load_policies(None)["ml-model"]


def sold(successes: float, trials: float) -> dict[str, float]:
    """Give conversions of one arm."""
    return {"successes": successes, "trials": trials}


def sums(values: np.ndarray) -> dict[str, float]:
    """Give the sums of values."""
    return {"sum": float(values.sum()), "sum_of_squares": float((values**2).sum()), "count": len(values)}


BASELINE = sold(7600, 19_000)


@pytest.mark.parametrize(
    ("canary", "baseline", "outcome", "code"),
    [
        (sold(160, 1000), BASELINE, "fail", "proved_bad"),  # -60%
        (sold(0, 1000), BASELINE, "fail", "proved_bad"),  # -100%
        (sold(395, 1000), BASELINE, "inconclusive", "undecided"),
        (sold(600, 1000), BASELINE, "pass", "proved_good"),  # +50%
        (sold(400_000, 1e6), sold(7.6e6, 19e6), "pass", "proved_good"),  # 0%, proved with a million
        (sold(39_000, 1e5), sold(7.6e5, 1.9e6), "inconclusive", "undecided"),  # -2.5%: between the limits
        (sold(4, 20), BASELINE, "inconclusive", "undecided"),
    ],
)
def test_rule_zone(judge: Any, canary: Any, baseline: Any, outcome: str, code: str) -> None:
    """To pass takes proof of no worse than -1%; to fail proof of worse than that and an estimate beyond -3%."""
    found = judge("business_proxy", canary, baseline)

    assert (found["verdict"], found["code"]) == (outcome, code)


def test_rules_that_differ_in_what_a_fail_takes(judge: Any) -> None:
    """A drop of 5% that is proved beyond -1% and not beyond -3%."""
    arms = sold(11_400, 30_000), sold(228_000, 570_000)

    outcomes = {rule: judge("business_proxy", *arms, rule=rule)["verdict"] for rule in ("zone", "strict", "point")}

    assert outcomes == {"zone": "fail", "strict": "inconclusive", "point": "fail"}
    assert judge("business_proxy", sold(160, 1000), BASELINE, rule="strict")["verdict"] == "fail"


@pytest.mark.parametrize(("successes", "outcome"), [(400, "pass"), (393, "inconclusive"), (380, "fail")])
def test_rule_point(judge: Any, successes: int, outcome: str) -> None:
    """The estimates alone: 0%, -1.75% and -5%."""
    found = judge("business_proxy", sold(successes, 1000), BASELINE, rule="point")

    assert found["verdict"] == outcome


def test_the_change_is_shown_with_its_interval(judge: Any) -> None:
    """The delta is relative to the baseline, its interval contains it and agrees with the evidence."""
    found = judge("business_proxy", sold(300, 1000), BASELINE)
    delta = found["delta"]

    assert delta["value"] == pytest.approx(-0.25)
    assert delta["low"] < delta["value"] < delta["high"] < -0.01
    assert found["evidence"]["fail"] >= 1
    assert (found["canary"]["value"], found["baseline"]["value"]) == (0.3, 0.4)


def test_the_interval_of_the_change_agrees_with_the_evidence(judge: Any) -> None:
    """The lower bound has the level of a pass, the upper one that of a fail."""
    limits = {"promote": "-3%", "rollback": "-3%"}
    seen = set()
    for successes in (*range(300, 390, 3), *range(410, 520, 3)):
        found = judge("business_proxy", sold(successes, 1000), BASELINE, **limits)
        proved = found["evidence"]["fail"] >= 1, found["evidence"]["pass"] >= 1

        assert (found["delta"]["high"] < -0.03, found["delta"]["low"] > -0.03) == proved
        seen.add(proved)

    assert seen == {(True, False), (False, True), (False, False)}


def test_an_incident_that_hits_both_arms_is_not_the_canarys(judge: Any) -> None:
    """Conversions that collapse in both arms at the same time say nothing about the canary."""
    found = judge("business_proxy", sold(10, 1000), sold(190, 19_000))

    assert found["verdict"] == "inconclusive"


def test_successes_may_be_none_at_all(judge: Any) -> None:
    """No conversion in either arm is nothing to compare; none in the baseline only is judged without error."""
    nothing = judge("business_proxy", sold(0, 1000), sold(0, 19_000))
    only_canary = judge("business_proxy", sold(50, 1000), sold(0, 19_000))

    assert nothing["verdict"] == "inconclusive"
    assert nothing["code"] == "no_baseline_traffic"
    assert only_canary["verdict"] == "pass"
    assert only_canary["delta"]["value"] is None


# Values


@pytest.mark.parametrize(("factor", "outcome"), [(0.6, "fail"), (1.0, "inconclusive"), (1.5, "pass")])
@pytest.mark.parametrize("form", ["sums", "samples"])
def test_values_are_compared_by_their_means(judge: Any, form: str, factor: float, outcome: str) -> None:
    """Revenue as sums or as samples, 40% lower, the same and 50% higher."""
    rng = np.random.default_rng(8)
    ours, theirs = factor * rng.lognormal(3, 1, 2000), rng.lognormal(3, 1, 20_000)
    arms = (sums(ours), sums(theirs)) if form == "sums" else ({"samples": ours.tolist()}, {"samples": theirs.tolist()})

    found = judge("business_proxy", *arms)

    assert found["verdict"] == outcome
    assert found["delta"]["value"] == pytest.approx(ours.mean() / theirs.mean() - 1, rel=0.01)
    assert found["delta"]["low"] < found["delta"]["value"] < found["delta"]["high"]


def test_values_that_are_all_equal_are_compared(judge: Any) -> None:
    """A subscription of one price: no spread at all, and the smallest change is proved."""
    arms = ({"sum": 10.0 * n, "sum_of_squares": 100.0 * n, "count": float(n)} for n in (1000, 19_000))
    canary, baseline = arms
    less = {"sum": 9.0 * 1000, "sum_of_squares": 81.0 * 1000, "count": 1000.0}

    assert judge("business_proxy", canary, baseline)["verdict"] == "pass"
    assert judge("business_proxy", less, baseline)["verdict"] == "fail"


def test_few_values_that_make_up_the_sum_say_nothing(judge: Any) -> None:
    """Ten purchases among a thousand visits: too few for means, however many visits there were."""
    rare = {"sum": 10, "sum_of_squares": 10, "count": 1000}

    found = judge("business_proxy", rare, {"sum": 7600, "sum_of_squares": 7600, "count": 19_000})

    assert (found["verdict"], found["code"]) == ("inconclusive", "undecided")
    assert "30" in found["reason"]
    assert found["canary"]["value"] == 0.01


@pytest.mark.parametrize(
    "canary", [{"samples": [0.0] * 500}, {"samples": [-1.0] * 500}, {"samples": [1.0, -1.0] * 250}]
)
def test_a_mean_that_is_not_positive_has_no_relative_change(judge: Any, canary: Any) -> None:
    """Sums of zero or less in either arm are inconclusive, and the reason names the arm."""
    good = {"samples": [1.0, 2.0] * 500}

    for arms, name in (((canary, good), "canary"), ((good, canary), "baseline")):
        found = judge("business_proxy", *arms)
        assert found["verdict"] == "inconclusive"
        assert name in found["reason"]


def test_sums_next_to_nothing_are_judged_without_error(judge: Any) -> None:
    """Sums whose squares vanish in floats are no reason for an error."""
    tiny = {"sum": 1e-200, "sum_of_squares": 0, "count": 100}

    assert judge("business_proxy", tiny, {"samples": [1.0, 2.0] * 500})["verdict"] == "inconclusive"


# Arms without traffic


@pytest.mark.parametrize("empty", [sold(0, 0), {"sum": 0, "sum_of_squares": 0, "count": 0}, {"samples": []}])
def test_arms_without_traffic_are_inconclusive(judge: Any, empty: dict[str, Any]) -> None:
    """No canary traffic, no baseline traffic and no baseline at all."""
    some: dict[str, Any] = sold(400, 1000) if "trials" in empty else {"samples": [1.0] * 50}
    if "count" in empty:
        some = {"sum": 50, "sum_of_squares": 50, "count": 50}

    assert judge("business_proxy", empty, some)["code"] == "no_canary_traffic"
    assert judge("business_proxy", some, empty)["code"] == "no_baseline_traffic"
    assert judge("business_proxy", some)["code"] == "no_baseline_traffic"


def test_no_pass_below_min_requests(judge: Any) -> None:
    """Proved good and yet not enough requests."""
    arms = sold(600, 1000), BASELINE

    assert judge("business_proxy", *arms, min_requests=1001)["verdict"] == "inconclusive"
    assert judge("business_proxy", *arms, min_requests=1000)["verdict"] == "pass"


def test_the_forecast_of_a_one_percent_question_is_honest(judge: Any) -> None:
    """An equal canary needs some hundred thousands of requests more: said, instead of passed."""
    found = judge("business_proxy", sold(400, 1000), BASELINE)

    assert found["verdict"] == "inconclusive"
    assert 1e5 < found["remaining"]["requests"] < 5e6


def test_each_segment_needs_values_that_contribute(look: Any) -> None:
    """Twenty minutes alike, then one with refunds that nearly cancel the sales: too few to say anything of a mean."""
    good = {"sum": 3000.0, "sum_of_squares": 3e5, "count": 40}
    cancelling = {"sum": 300.0, "sum_of_squares": 3e6, "count": 40}
    canary = [good] * 20 + [cancelling]

    found = look("business_proxy", canary, [{name: 19 * value for name, value in good.items()} for _ in canary])

    assert found["verdict"] != "fail"
    assert means.contributing(np.array([3000.0, 1200, 0, -50]), np.array([3e5, 1.2e6, 1, 1])).tolist() == [
        30,
        1.2,
        0,
        0,
    ]


def test_an_unknown_spread_is_said(judge: Any) -> None:
    """Values below 0 in the first bucket, or in the last one, have no bound: no evidence either way, and the reason."""
    arms = ({"sum": mean * 1e5, "count": 1e5} for mean in (1.0, 2.0))

    reading = Reading(*(Values(np.array([arm["sum"]]), None, np.array([arm["count"]])) for arm in arms))
    finding = checks.judge(POLICY.checks["business_proxy"], reading, POLICY)

    assert (finding.outcome, finding.code) == ("inconclusive", "undecided")
    assert "the spread of the values is not known" in finding.reason
    assert "below 0" in finding.reason


@pytest.mark.statistical
@pytest.mark.parametrize(("refunded", "sigma"), [(0.1, 1.5), (0.3, 1.0)])
def test_refunds_are_no_loss(refunded: float, sigma: float) -> None:
    """One value in ten is negative, in both arms alike: at most the check's part of alpha."""
    rng, runs, slices = np.random.default_rng(12), 60, 120
    failed = 0

    def sold(mean: float) -> Values:
        counts = rng.poisson(mean, slices)
        values = rng.lognormal(3.0, sigma, counts.sum()) * np.where(rng.random(counts.sum()) < refunded, -1, 1)
        slot = np.repeat(np.arange(slices), counts)
        total, squares = (np.bincount(slot, power, slices) for power in (values, values**2))
        return Values(total, squares, counts.astype(float))

    for _ in range(runs):
        reading = Reading(sold(9.0), sold(171.0), slice_seconds=60.0)
        for end in (20, 30, 40, 60, 80, 100, 120):
            finding = checks.judge(POLICY.checks["business_proxy"], reading.first(end), POLICY)
            if finding.outcome == "fail":
                failed += 1
                break

    assert failed <= 2
