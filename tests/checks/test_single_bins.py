"""Answers that the canary lost or gained: what the PSI with half an observation in each empty bin cannot show."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from analyzer.checks import judge
from analyzer.config.policy import load_policies
from analyzer.model.counts import Classes, Reading
from analyzer.model.findings import Finding, Outcome

Floats = NDArray[np.float64]
POLICY = load_policies(None)["ml-model"]
TEN = np.array([0.3, 0.2, 0.12, 0.1, 0.08, 0.07, 0.05, 0.04, 0.03, 0.01])
ZIPF = 1 / np.arange(1.0, 1001) / (1 / np.arange(1.0, 1001)).sum()


def rare(often: float) -> Floats:
    """Return shares of ten bins, one of which has nearly everything."""
    return np.array([often, *[(1 - often) / 9] * 9])


def constant(shares: Floats, part: float) -> Floats:
    """Return the shares of a model of which a part of the answers is always the first."""
    return (1 - part) * shares + part * np.eye(len(shares))[0]


def known(shares: Floats, many: int) -> Floats:
    """Return the shares of a model that knows the first classes only."""
    kept = np.where(np.arange(len(shares)) < many, shares, 0.0)
    return np.asarray(kept / kept.sum())


def first_outcome(rng: Any, baseline: Floats, canary: Floats, most: int) -> tuple[Finding, float]:
    """Judge a rollout of one request a second until it decides, or has so many predictions."""
    slices = most // 60
    drawn = [rng.poisson(60 * many * shares, (slices, len(shares))) for many, shares in ((1, canary), (19, baseline))]
    names = tuple(f"{number:04}" for number in range(len(baseline)))
    ends = np.unique(np.concatenate((np.arange(2, min(16, slices)), np.geomspace(16, slices, 20)))).astype(int)
    for end in ends:
        ours, theirs = (Classes(names, counts[:end].astype(float)) for counts in drawn)
        finding = judge(POLICY.checks["prediction_drift"], Reading(ours, theirs, slice_seconds=60.0), POLICY)
        if finding.outcome is not Outcome.INCONCLUSIVE:
            break
    return finding, float(drawn[0][:end].sum())


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("baseline", "canary", "most"),
    [
        (rare(0.99), constant(rare(0.99), 1), 20_000),
        (np.array([0.99, 0.01]), np.array([1.0, 0.0]), 20_000),
        (ZIPF, known(ZIPF, 10), 5_000),
        (ZIPF[:200] / ZIPF[:200].sum(), known(ZIPF[:200], 10), 5_000),
    ],
)
def test_forgotten_answers_never_pass_and_fail(baseline: Floats, canary: Floats, most: int) -> None:
    """A fraud detector that always says no, and a model that knows ten of very many classes."""
    rng = np.random.default_rng(1)
    for _ in range(10):
        finding, seen = first_outcome(rng, baseline, canary, most)

        assert finding.outcome is Outcome.FAIL
        assert seen <= most


@pytest.mark.statistical
@pytest.mark.parametrize("often", [0.97, 0.99])
def test_every_other_answer_constant_never_passes(often: float) -> None:
    """Half of the rare answers are left: their PSI is 0.01 and less, whatever the number of predictions."""
    rng = np.random.default_rng(2)
    for _ in range(8):
        finding, _ = first_outcome(rng, rare(often), constant(rare(often), 0.5), 8_000)

        assert finding.outcome is not Outcome.PASS


@pytest.mark.statistical
@pytest.mark.parametrize(("shares", "mean"), [(TEN, 350), (np.full(20, 0.05), 450)])
def test_without_a_drift_a_canary_passes_as_soon_as_by_the_psi_alone(shares: Floats, mean: float) -> None:
    """Within 1.5 times the predictions that the PSI takes by itself, 232 and 300, and no rollback."""
    rng = np.random.default_rng(3)
    found = [first_outcome(rng, shares, shares, 4_000) for _ in range(40)]

    assert all(finding.outcome is Outcome.PASS for finding, _ in found)
    assert np.mean([seen for _, seen in found]) <= mean


def drift(look: Any, canary: dict[str, float], baseline: dict[str, float]) -> dict[str, Any]:
    """Judge classes."""
    found: dict[str, Any] = look("prediction_drift", [{"classes": canary}], [{"classes": baseline}], seconds=None)
    return found


def test_the_lost_answers_are_named(look: Any) -> None:
    """What lies outside of the most frequent class, with its share before and now."""
    found = drift(look, {"ok": 4000}, {"ok": 75_240, "fraud": 760})

    assert (found["verdict"], found["code"]) == ("fail", "proved_bad")
    assert "fell from 1% of the predictions to 0%" in found["reason"]


def test_a_new_answer_is_named(look: Any) -> None:
    """A class that the baseline never gave, in 1% of the predictions: a PSI of 0.08, and a rollback."""
    found = drift(look, {"a": 2970, "b": 1980, "other": 50}, {"a": 57_000, "b": 38_000})

    assert found["verdict"] == "fail"
    assert "other is new: 1% of the canary's predictions" in found["reason"]


def test_the_classes_of_a_drift_are_named(look: Any) -> None:
    """Those that add most to the PSI, and how many are new or unseen."""
    found = drift(look, {"a": 500, "b": 480, "d": 20}, {"a": 15_000, "b": 3900, "c": 100})

    assert found["verdict"] == "fail"
    assert "b 20.5% to 48%" in found["reason"]
    assert "1 new, 1 unseen" in found["reason"]


def test_too_few_rare_answers_are_said_to_be_too_few(look: Any) -> None:
    """300 predictions of which 3 are not the usual one: how many more it takes, and the figure comes true."""
    shares = {"ok": 0.99, "fraud": 0.01}

    def at(predictions: float) -> dict[str, Any]:
        arms = ({name: many * share for name, share in shares.items()} for many in (predictions, 19 * predictions))
        return drift(look, *arms)

    found = at(300)
    assert (found["verdict"], found["code"]) == ("inconclusive", "undecided")
    assert "that the 1% outside of ok are still given is not proved; about" in found["reason"]
    assert at(300 + 0.9 * found["remaining"]["requests"])["verdict"] == "inconclusive"
    assert at(300 + 1.1 * found["remaining"]["requests"])["verdict"] == "pass"
