"""Drift as a specification: the distance between the arms' predictions, in every form they come in."""

import math
from typing import Any

import numpy as np
import pytest

from analyzer.errors import RequestError
from analyzer.stats import psi

BINS = [0.1 * place for place in range(1, 11)]
EVEN = [0.1] * 10
MOVED = [0.3, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0.04, 0.03, 0.03]  # PSI 0.66
SHIFTED = [0.16, 0.14, 0.12, 0.11, 0.1, 0.09, 0.08, 0.07, 0.07, 0.06]  # PSI 0.10


def scores(predictions: float, shares: list[float]) -> dict[str, dict[str, float]]:
    """Give cumulative counts of scores in ten bins."""
    cumulative = np.cumsum(shares) / sum(shares) * predictions
    return {
        "buckets": {f"{edge:g}": count for edge, count in zip(BINS, cumulative, strict=True)} | {"+Inf": predictions}
    }


def classes(predictions: float, **shares: float) -> dict[str, dict[str, float]]:
    """Give counts of predictions by class."""
    return {"classes": {name: predictions * share for name, share in shares.items()}}


@pytest.mark.parametrize(
    ("predictions", "shares", "outcome", "code"),
    [
        (2000, EVEN, "pass", "proved_good"),
        (2000, MOVED, "fail", "proved_bad"),
        (40, MOVED, "inconclusive", "undecided"),
        (60, EVEN, "inconclusive", "undecided"),
        (1e6, SHIFTED, "inconclusive", "undecided"),  # at the promote limit itself
    ],
)
def test_rule_zone(judge: Any, predictions: float, shares: list[float], outcome: str, code: str) -> None:
    """To pass takes proof of a PSI below 0.1, to fail proof above 0.1 and an estimate above 0.2."""
    found = judge("prediction_drift", scores(predictions, shares), scores(19 * predictions, EVEN))

    assert (found["verdict"], found["code"]) == (outcome, code)


def test_rules_that_differ_in_what_a_fail_takes(judge: Any) -> None:
    """A PSI of 0.25 among 500 predictions: proved above 0.1 and not above 0.2."""
    moved = [0.21, 0.16, 0.13, 0.1, 0.1, 0.09, 0.07, 0.06, 0.04, 0.04]
    arms = scores(500, moved), scores(9500, EVEN)

    outcomes = {rule: judge("prediction_drift", *arms, rule=rule)["verdict"] for rule in ("zone", "strict", "point")}

    assert outcomes == {"zone": "fail", "strict": "inconclusive", "point": "fail"}
    assert judge("prediction_drift", scores(5000, MOVED), scores(95_000, EVEN), rule="strict")["verdict"] == "fail"


def test_the_value_is_the_textbook_psi_without_its_bias(judge: Any) -> None:
    """Sum of (c - b) ln(c / b); with few predictions the bias of (bins - 1) / size is taken off."""
    shares = np.array(MOVED) / sum(MOVED)
    textbook = float(((shares - 0.1) * np.log(shares / 0.1)).sum())

    many = judge("prediction_drift", scores(1e7, MOVED), scores(1e8, EVEN))["canary"]
    same = judge("prediction_drift", scores(100, EVEN), scores(1900, EVEN))["canary"]

    assert many["value"] == pytest.approx(textbook, rel=2e-3)
    assert many["low"] < many["value"] < many["high"]
    assert same["value"] == 0


def test_classes_are_compared_by_name(judge: Any) -> None:
    """The order of the classes does not matter, and a class that one arm never predicted counts as none."""
    alike = judge("prediction_drift", classes(3000, fraud=0.02, ok=0.98), classes(50_000, ok=0.98, fraud=0.02))
    new = judge(
        "prediction_drift", classes(3000, fraud=0.02, ok=0.58, review=0.4), classes(50_000, ok=0.98, fraud=0.02)
    )

    assert alike["verdict"] == "pass"
    assert new["verdict"] == "fail"


def test_samples_are_binned_at_the_deciles_of_the_baseline(judge: Any) -> None:
    """Samples give what the counts in those ten bins give."""
    rng = np.random.default_rng(7)
    ours, theirs = rng.beta(2, 4, 900), rng.beta(2, 5, 5000)
    cuts = np.quantile(theirs, np.arange(1, 10) / 10, method="inverted_cdf")

    def binned(values: np.ndarray) -> dict[str, dict[str, float]]:
        counts = {str(cut): float((values <= cut).sum()) for cut in cuts}
        return {"buckets": counts | {"+Inf": len(values)}}

    samples = judge("prediction_drift", {"samples": ours.tolist()}, {"samples": theirs.tolist()})

    assert samples == judge("prediction_drift", binned(ours), binned(theirs))


def test_a_drift_is_proved_absent_at_a_stricter_level(judge: Any) -> None:
    """0.6 of alpha, because a single rare bin that grows passes more often than the law says."""
    canary, baseline = {"a": 55, "b": 45, "c": 20}, {"a": 1000, "b": 900, "c": 400}
    distance = psi.distance(list(canary.values()), list(baseline.values()))
    evidence = float(psi.log_evidence(distance.raw, 2, distance.size, 0.1, side="below"))

    found = judge("prediction_drift", {"classes": canary}, {"classes": baseline})

    assert found["evidence"]["pass"] == pytest.approx(evidence / -math.log(0.6 * 0.05), abs=0.005)


def test_samples_are_counted_between_the_edges_of_the_policy(judge: Any) -> None:
    """Where `bins` are given, samples give what counts between them give, whatever the baseline's deciles are."""
    rng = np.random.default_rng(9)
    ours, theirs = rng.beta(2, 4, 900), rng.beta(2, 5, 5000)
    edges = [0.1, 0.25, 0.4, 0.9]

    def binned(values: np.ndarray) -> dict[str, dict[str, float]]:
        return {"buckets": {str(edge): float((values <= edge).sum()) for edge in edges} | {"+Inf": len(values)}}

    arms = {"samples": ours.tolist()}, {"samples": theirs.tolist()}
    samples = judge("prediction_drift", *arms, bins=edges)

    assert samples == judge("prediction_drift", binned(ours), binned(theirs))
    assert samples["canary"] != judge("prediction_drift", *arms)["canary"]


def test_bins_leave_histograms_as_they_are(judge: Any) -> None:
    """The buckets of a histogram cannot be cut anew."""
    arms = scores(2000, MOVED), scores(38_000, EVEN)

    assert judge("prediction_drift", *arms, bins=[0.5]) == judge("prediction_drift", *arms)


def test_the_history_says_where_samples_are_cut(look: Any) -> None:
    """Deciles of the baseline before the canary, where it is known: they do not move with the rollout."""
    rng = np.random.default_rng(10)
    before, ours, theirs = (rng.beta(2, b, 2000).tolist() for b in (5, 4, 6))
    cuts = np.quantile(before, np.arange(1, 10) / 10, method="inverted_cdf").tolist()
    history = [{"samples": before[place::8]} for place in range(8)]
    arms = [{"samples": ours}], [{"samples": theirs}]

    by_history = look("prediction_drift", *arms, history=history)
    by_policy = look("prediction_drift", *arms, history=history, bins=cuts)

    assert by_history["canary"]["value"] == by_policy["canary"]["value"]
    assert by_history["canary"]["value"] != look("prediction_drift", *arms)["canary"]["value"]


def test_bins_are_those_of_drift(judge: Any) -> None:
    """Bins that do not ascend, bins of another kind and fields that do not exist are refused by name."""
    for fields, message in (
        ({"zero_rule": "evidently"}, "zero_rule: unknown field"),
        ({"bins": [0.5, 0.5]}, "must ascend"),
        ({"bins": []}, "bins"),
    ):
        with pytest.raises(RequestError, match=message):
            judge("prediction_drift", scores(500, EVEN), scores(500, EVEN), **fields)
    with pytest.raises(RequestError, match="only drift has it"):
        judge("error_rate", {"errors": 0, "requests": 5}, bins=[0.5])


def test_samples_that_are_all_alike_are_judged(judge: Any) -> None:
    """A baseline of one value has one bin up to it and one beyond."""
    same, other = [0.5] * 400, [0.7] * 400

    assert judge("prediction_drift", {"samples": other}, {"samples": same})["verdict"] == "fail"
    within = judge("prediction_drift", {"samples": same}, {"samples": same})
    assert within["verdict"] == "inconclusive"
    assert "one bin" in within["reason"]


def test_a_rare_bin_that_grows_is_seen(judge: Any) -> None:
    """A bin of 0.2% that becomes 7% is a PSI of 0.25: never merged away."""
    rare = [0.002] + [0.998 / 9] * 9
    grown = [0.07] + [0.93 / 9] * 9

    found = judge("prediction_drift", scores(3000, grown), scores(57_000, rare))

    assert found["verdict"] == "fail"
    assert found["canary"]["value"] == pytest.approx(0.246, abs=0.01)


@pytest.mark.parametrize("predictions", [29, 1])
def test_fewer_than_thirty_predictions_say_nothing(judge: Any, predictions: int) -> None:
    """Below thirty in either arm no PSI is told, neither good nor bad."""
    for arms in ((predictions, 5000), (5000, predictions)):
        found = judge("prediction_drift", *(scores(count, MOVED if count < 100 else EVEN) for count in arms))

        assert (found["verdict"], found["code"]) == ("inconclusive", "undecided")
        assert found["canary"]["value"] is None
        assert "30" in found["reason"]


def test_arms_without_predictions_are_inconclusive(judge: Any) -> None:
    """No canary traffic, no baseline traffic and no baseline at all."""
    some, none = scores(500, EVEN), scores(0, EVEN)

    assert judge("prediction_drift", none, some)["code"] == "no_canary_traffic"
    assert judge("prediction_drift", some, none)["code"] == "no_baseline_traffic"
    assert judge("prediction_drift", some)["code"] == "no_baseline_traffic"
    assert judge("prediction_drift", none, some)["verdict"] == "inconclusive"


def test_arms_with_different_bins_are_refused(judge: Any) -> None:
    """Scores in other bins cannot be compared, and the bins are named."""
    found = judge("prediction_drift", scores(500, EVEN), {"buckets": {"0.25": 100, "0.5": 300, "+Inf": 900}})

    assert (found["verdict"], found["code"]) == ("inconclusive", "buckets_differ")
    assert "0.25" in found["reason"]


def test_slices_are_added_up(judge: Any) -> None:
    """Time slices with the same split are judged as their sum, classes that occur in one slice only included."""
    whole = judge("prediction_drift", {"classes": {"a": 300, "b": 200}}, {"classes": {"a": 6000, "b": 4000}})
    slices = judge(
        "prediction_drift",
        [{"classes": {"a": 300}}, {"classes": {"b": 200}}],
        [{"classes": {"a": 2500, "b": 3500}}, {"classes": {"a": 3500, "b": 500}}],
    )

    assert slices == whole


@pytest.mark.parametrize("predictions", [40, 60, 75])
def test_the_forecast_of_a_canary_without_any_drift_comes_true(judge: Any, predictions: int) -> None:
    """A distance below what chance explains leads to a pass after about so many more predictions."""
    now = judge("prediction_drift", scores(predictions, EVEN), scores(19 * predictions, EVEN), min_requests=1)
    assert now["verdict"] == "inconclusive"
    then = predictions + 1.1 * now["remaining"]["requests"]

    later = judge("prediction_drift", scores(then, EVEN), scores(19 * then, EVEN), min_requests=1)

    assert later["verdict"] == "pass"
