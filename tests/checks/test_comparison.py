"""Arms side by side: traffic that does not come together, few requests a slice, and false alarms of comparisons."""

import math
from typing import Any

import numpy as np
import pytest
from checks.rollouts import KINDS, RELATIVE, failed, slow, sold
from scipy.stats import beta

from analyzer.checks import business, comparison
from analyzer.checks.segments import Segments
from analyzer.model.counts import Errors, Reading
from analyzer.stats import share
from analyzer.stats.dispersion import Dispersion
from analyzer.stats.search import Side

COMPARING = [kind for kind in KINDS if kind not in ("errors", "errors, strict", "latency")]


@pytest.mark.parametrize("kind", COMPARING)
@pytest.mark.parametrize(
    ("canary", "baseline"),
    [
        ([500, 0], [0, 9500]),  # one after the other
        ([0, 50], [9500, 0]),  # the canary has few requests, at a time without any of the baseline
        ([9, 0], [0, 3383]),
        ([0, 500, 0], [9500, 0, 40]),
        ([1417, 0], [0, 60]),
    ],
)
def test_arms_without_traffic_at_the_same_time_cannot_be_compared(
    look: Any, kind: str, canary: list[float], baseline: list[float]
) -> None:
    """Neither good nor bad, in words and without nan."""
    name, rule, counts, good, bad, _ = KINDS[kind]

    for value in (good, bad):
        found = look(name, [counts(n, value) for n in canary], [counts(n, good) for n in baseline], **rule)

        assert found["verdict"] == "inconclusive"
        assert found["evidence"]["fail"] < 1
        assert "nan" not in found["reason"]


@pytest.mark.parametrize("kind", ["errors", "errors, strict", "latency"])
def test_a_baseline_at_another_time_does_not_disturb_limits(look: Any, kind: str) -> None:
    """Against a limit the canary is judged alone, as if there were no baseline."""
    name, rule, counts, good, bad, _ = KINDS[kind]

    for canary, baseline in (([5000, 0], [0, 9500]), ([60, 0], [0, 9500])):
        for value in (good, bad, bad * 3):
            arms = [counts(n, value) for n in canary], [counts(n, good) for n in baseline]
            beside = look(name, *arms, history=[counts(9500, good)] * 120, **rule)
            alone = look(name, arms[0], **rule)

            assert (beside["verdict"], beside["evidence"]["fail"]) == (alone["verdict"], alone["evidence"]["fail"])
            # A pass learns from the history, which `alone` lacks.
            assert beside["evidence"]["pass"] == pytest.approx(alone["evidence"]["pass"], rel=0.15, abs=0.01)
        assert alone["verdict"] == "fail"


@pytest.mark.parametrize(("total", "seconds"), [(30, 30), (90, 30), (6000, 60)])
@pytest.mark.parametrize("kind", ["errors, relative", "conversions", "revenue", "drift"])
def test_full_weight_adds_nothing_to_a_comparison(look: Any, kind: str, total: float, seconds: float) -> None:
    """Equal arms, and trouble once the baseline has no traffic any more: however few requests a slice has."""
    name, rule, counts, good, bad, _ = KINDS[kind]
    later = bad if name == "prediction_drift" else good * (10 if name == "error_rate" else 0.1)
    canary = [counts(total * 0.05, good)] * 60 + [counts(total, later)] * 20
    baseline = [counts(total * 0.95, good)] * 60 + [counts(0, good)] * 20

    found = look(name, canary, baseline, seconds=seconds, **rule)

    assert found["verdict"] != "fail"
    assert found["evidence"]["fail"] < 0.5


def test_the_baseline_is_shown_since_the_same_moment(look: Any) -> None:
    """The reason of a late fault has the baseline's rate of the same segment."""
    canary = [failed(3000, 0.01)] * 60 + [failed(3000, 0.06)] * 10
    baseline = [failed(57_000, 0.01)] * 60 + [failed(57_000, 0.02)] * 10

    found = look("error_rate", canary, baseline, history=[failed(57_000, 0.01)] * 120, **RELATIVE)

    assert "(baseline 2%)" in found["reason"]
    assert found["baseline"]["value"] == 0.02
    assert found["delta"]["value"] == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize(("counts", "name"), [(failed, "error_rate"), (slow, "latency_p99"), (sold, "business_proxy")])
def test_events_in_the_canary_only_are_infinitely_more(look: Any, counts: Any, name: str) -> None:
    """A baseline without any: proved more where there are enough, and no bound above."""
    rule = {"error_rate": RELATIVE, "latency_p99": RELATIVE | {"edge": "500ms"}}.get(name, {})

    found = look(name, [counts(300, 0.05)] * 10, [counts(5700, 0.0)] * 10, **rule)

    assert found["delta"]["value"] is None
    assert found["delta"]["high"] is None
    assert found["delta"]["low"] > 1
    assert found["verdict"] == ("pass" if name == "business_proxy" else "fail")


# False alarms


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("rate", "ratio", "reach", "side", "seed"),
    [
        (0.05, 0.03, comparison.REACH, "above", 61),  # 1.5 canary requests a slice
        (0.5, 0.03, comparison.REACH, "above", 62),
        (5, 0.005, comparison.REACH, "above", 63),
        (5, 0.3, comparison.REACH, "above", 64),  # events that are not rare
        (0.5, 0.2, business.REACH, "below", 65),
        (5, 0.2, business.REACH, "below", 66),
    ],
)
def test_equal_arms_are_told_apart_in_at_most_alpha(
    rate: float, ratio: float, reach: dict[Side, share.Reach], side: Side, seed: int
) -> None:
    """Random routing, shares that are only observed, every start: two hours, a look every ten minutes."""
    rng, runs, alpha = np.random.default_rng(seed), 200, 0.05
    wrong = 0
    for _ in range(runs):
        ours, theirs = (rng.poisson(30 * one, 240).astype(float) for one in (rate, 19 * rate))
        arms = [comparison.Tally(rng.binomial(n.astype(int), ratio).astype(float), n) for n in (ours, theirs)]
        for look_ in range(20, 241, 20):
            canary, baseline = (comparison.Tally(arm.events[:look_], arm.trials[:look_]) for arm in arms)
            counts = [Errors(arm.events, arm.trials) for arm in (canary, baseline)]
            reading = Reading(counts[0], counts[1], slice_seconds=30.0)
            segments = Segments.of(reading)
            measure = comparison.rates_of(canary, baseline, segments, Dispersion(), reach)
            evidence = measure.log_evidence(0.0, side) + np.log(segments.starts.weights)
            if evidence.max() >= -math.log(alpha):
                wrong += 1
                break

    assert beta.ppf(0.99, wrong + 1, runs - wrong) <= 1.6 * alpha  # so few runs cannot prove more
    assert wrong / runs <= alpha
