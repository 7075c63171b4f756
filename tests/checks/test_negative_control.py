"""Pods of the baseline as placebo canaries: what they say of the test that proves the canary bad."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta

from analyzer import checks
from analyzer.checks import Moment
from analyzer.checks.error_rate import share_of, tally
from analyzer.checks.negative_control import Control, control_of
from analyzer.checks.segments import Segments
from analyzer.config.policy import Check, Policy
from analyzer.model.counts import (
    Classes,
    Conversions,
    Counts,
    Errors,
    Histogram,
    MeanOnly,
    Pod,
    Reading,
    Values,
    summed,
)
from analyzer.model.findings import Finding
from analyzer.stats.dispersion import INDEPENDENT

Floats = NDArray[np.float64]
MINUTES, REQUESTS = 20, 1200.0  # of each pod
CHECK = Check.model_validate({"kind": "error_rate", "promote": "0.5%", "rollback": "1%"})
SLOW = Check.model_validate({"kind": "latency", "quantile": 0.99, "promote": "200ms", "rollback": "500ms"})


def failed(shares: Any, requests: float = REQUESTS, minutes: int = MINUTES) -> Errors:
    """Give a pod of which a share of the requests failed, at each minute or always."""
    return Errors(np.broadcast_to(np.asarray(shares, float), minutes) * requests, np.full(minutes, requests))


def as_latency(counts: Errors) -> Histogram:
    """Give slow requests instead of failed ones."""
    bins = [counts.requests - counts.errors, np.zeros(len(counts.errors)), counts.errors]
    return Histogram(edges=np.array([0.2, 0.5, np.inf]), counts=np.column_stack(bins))


def reading_of(canary: Any, pods: Sequence[Any], past: Sequence[Any] = ()) -> Reading[Any]:
    """Put a canary beside pods of the baseline, whose sum the baseline is; with as many minutes before it as given."""
    named, before = (tuple(Pod(f"pod-{i}", counts) for i, counts in enumerate(each)) for each in (pods, past))
    return Reading(
        canary=canary, baseline=summed(list(pods)), slice_seconds=60.0, baseline_pods=named, history_pods=before,
        history=summed(list(past)) if past else None, history_seconds=60.0 if past else None,
    )  # fmt: skip


def judged(reading: Reading[Any], check: Check = CHECK) -> Finding:
    """Judge the only check of a policy."""
    return checks.judge(check, reading, Policy(name="control", checks={"judged": check}), Moment())


def latency_of(reading: Reading[Any]) -> Finding:
    """Judge the same as latency."""
    pods, past = ([as_latency(pod.counts) for pod in each] for each in (reading.baseline_pods, reading.history_pods))
    return judged(reading_of(as_latency(reading.canary), pods, past), SLOW)


HEALTHY = [failed(0.002)] * 4
BOTH = pytest.mark.parametrize("judge_it", [judged, latency_of])


@BOTH
@pytest.mark.parametrize("past", [(), [failed(0.002, minutes=120)] * 4])
def test_healthy_pods_change_nothing_but_the_words(judge_it: Any, past: Sequence[Errors]) -> None:
    """The rank of the canary among the five and its p-value, which is exact, stand in the reason."""
    found = judge_it(reading_of(failed(0.03), HEALTHY, past))

    assert found.code == "proved_bad"
    assert found.reason.endswith("; worse than each of 4 baseline pods (p = 0.2)")
    assert (
        found.evidence.towards_fail == judge_it(reading_of(failed(0.03), HEALTHY[:1], past[:1])).evidence.towards_fail
    )


@BOTH
def test_fewer_than_two_pods_are_no_control(judge_it: Any) -> None:
    """One pod is the baseline itself."""
    found = judge_it(reading_of(failed(0.03), HEALTHY[:1]))

    assert found.code == "proved_bad"
    assert "pods" not in found.reason


def test_pods_that_are_not_known_are_no_control() -> None:
    """A baseline alone."""
    reading = reading_of(failed(0.03), HEALTHY)
    found = judged(Reading(reading.canary, reading.baseline, 60.0))

    assert found.code == "proved_bad"
    assert "pods" not in found.reason


def test_pods_without_requests_are_not_counted() -> None:
    """Replicas in reserve are no controls."""
    found = judged(reading_of(failed(0.03), [*HEALTHY[:2], failed(0.0, 0.0), failed(0.0, 0.0)]))

    assert found.reason.endswith("worse than each of 2 baseline pods (p = 0.33)")


@BOTH
def test_a_test_whose_assumptions_are_broken_is_withheld(judge_it: Any) -> None:
    """Two of twelve pods go bad, one after the other, each by itself: so may the canary, whatever its version."""
    pods = [failed([0.03] * 10 + [0.001] * 10), failed([0.001] * 10 + [0.03] * 10), *[failed(0.001)] * 10]

    found = judge_it(reading_of(failed([0.001] * 10 + [0.02] * 10), pods, [failed(0.001, minutes=120)] * 12))

    assert (found.outcome, found.code) == ("inconclusive", "placebo_failed")
    assert "but the same test proves 2 of 12 baseline pods bad as well (pod-0, pod-1)" in found.reason
    assert found.evidence.towards_fail < 1
    assert found.remaining_requests is None


@BOTH
def test_a_bad_pod_of_the_baseline_does_not_save_a_far_worse_canary(judge_it: Any) -> None:
    """The average of what is proved against the pods is taken off: a canary that is no worse than the one is saved."""
    arms = [failed(0.03), *[failed(0.001)] * 11], [failed(0.001, minutes=120)] * 12
    worse, alike = (judge_it(reading_of(failed(share), *arms)) for share in (0.2, 0.02))

    assert worse.code == "proved_bad"
    assert "worse than each of 12 baseline pods (p = 0.077)" in worse.reason
    assert alike.code == "placebo_failed"


@BOTH
def test_an_incident_of_the_service_is_no_broken_control(judge_it: Any) -> None:
    """Ten minutes of the past in which all pods were bad at once: the canary fails as without them."""
    shares = np.full(120, 0.002)
    shares[60:70] = 0.05
    past = [failed(shares, minutes=120)] * 4

    found = judge_it(reading_of(failed(0.05), HEALTHY, past))

    assert found.code == "proved_bad"


def test_the_rank_is_that_of_the_segment_that_fails() -> None:
    """Worse than three of four pods: one is as bad, and nothing is proved of it."""
    small = failed(0.05, 4.0)  # four errors in 80 requests

    found = judged(reading_of(failed(0.03), [*HEALTHY[:3], small]))

    assert found.code == "proved_bad"
    assert found.reason.endswith("worse than 3 of 4 baseline pods (p = 0.4)")


def in_finer_bins(counts: Errors) -> Histogram:
    """Give latencies of half a second to one instead of failed requests, in bins of a tenth."""
    bins = np.zeros((len(counts.errors), 11))
    bins[:, 0], bins[:, 5:10] = counts.requests - counts.errors, counts.errors[:, np.newaxis] / 5
    return Histogram(edges=np.append(np.arange(1, 11) / 10, np.inf), counts=bins)


def as_conversions(counts: Errors) -> Conversions:
    """Give conversions instead of requests that did not fail: ten times as many fail to convert."""
    return Conversions((counts.requests - 10 * counts.errors) / 10, counts.requests)


def as_values(counts: Errors) -> Values:
    """Give values of 1, of which those that failed are missing."""
    total = counts.requests - 10 * counts.errors
    return Values(total, total, counts.requests)


def as_means(counts: Errors) -> MeanOnly:
    """Give latencies of 0.1 s, and of 2 s for those that failed, with a swing that no arm shares."""
    swing = 1 + 0.01 * np.resize([1.0, -1.0], len(counts.requests))
    return MeanOnly(swing * (0.1 * counts.requests + 1.9 * counts.errors), counts.requests)


def as_scores(counts: Errors) -> Histogram:
    """Give scores that move from low to high bins for thirty times as many predictions as failed."""
    moved = 30 * counts.errors[:, np.newaxis]
    stay, go = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])
    return Histogram(
        edges=np.array([0.25, 0.5, 0.75, np.inf]), counts=(counts.requests[:, np.newaxis] - moved) * stay + moved * go
    )


def as_answers(counts: Errors) -> Classes:
    """Give one answer in a hundred as rare, less often where requests failed: a tenth of them at 3%."""
    rare = 0.01 * counts.requests - 0.3 * counts.errors
    return Classes(("fine", "fraud"), np.column_stack([counts.requests - rare, rare]))


RELATIVE = {"promote": "10%", "rollback": "30%", "rule": "relative"}
COMPARED = {
    "errors": (lambda counts: counts, {"kind": "error_rate", **RELATIVE}),
    "latency, edge": (as_latency, {"kind": "latency", "quantile": 0.99, "edge": "200ms", **RELATIVE}),
    "latency": (in_finer_bins, {"kind": "latency", "quantile": 0.99, **RELATIVE}),
    "mean latency": (as_means, {"kind": "mean_latency", **RELATIVE}),
    "mean latency, limit": (as_means, {"kind": "mean_latency", "promote": "120ms", "rollback": "140ms"}),
    "scores": (as_scores, {"kind": "drift", "promote": 0.1, "rollback": 0.2}),
    "single answers": (as_answers, {"kind": "drift", "promote": 0.1, "rollback": 0.2}),
    "conversions": (as_conversions, {"kind": "business", "promote": "-1%", "rollback": "-3%"}),
    "values": (as_values, {"kind": "business", "promote": "-1%", "rollback": "-3%"}),
}


@pytest.mark.parametrize("kind", COMPARED)
def test_a_comparison_is_controlled_by_comparisons_of_pods(kind: str) -> None:
    """Each pod of the baseline is compared with the others, as the canary is with all of them."""
    form, check = COMPARED[kind]
    steady = [failed([0.004, 0.006] * 10)] * 10
    healthy, broken = ([form(pod) for pod in (*two, *steady)] for two in (steady[:2], [failed(0.03), failed(0.03)]))
    past = [form(failed([0.004, 0.006] * 60, minutes=120))] * 12
    canary = form(failed(0.03))

    held, failing = (judged(reading_of(canary, pods, past), Check.model_validate(check)) for pods in (broken, healthy))

    assert (held.outcome, held.code) == ("inconclusive", "placebo_failed"), held.reason
    assert "but the same test proves 2 of 12 baseline pods bad as well (pod-0, pod-1)" in held.reason
    assert failing.code == "proved_bad", failing.reason
    assert "; worse than each of 12 baseline pods (p = 0.077)" in failing.reason


@pytest.mark.parametrize(("rank", "pods", "p"), [(1, 2, 1 / 3), (1, 19, 0.05), (3, 4, 0.6), (5, 4, 1.0)])
def test_the_p_value_of_a_rank_is_exact(rank: int, pods: int, p: float) -> None:
    """By hand: each of the places is as likely, were the canary one of the pods."""
    assert Control(pods, rank).p_value == pytest.approx(p)


def control(pods: Sequence[Errors], level: float, past: Sequence[Errors] = ()) -> Control | None:
    """Judge the pods beside a canary that is as the first of them, at a limit of 1%."""
    reading = reading_of(pods[0], pods[1:], past)

    def measuring(counts: Counts, segments: Segments) -> Any:
        return share_of(tally(counts), segments, INDEPENDENT)

    canary = measuring(reading.canary, Segments.of(reading))
    return control_of(reading, canary, measuring, 0.01, level, 0)


def test_the_evidence_of_the_pods_is_their_average() -> None:
    """Three pods of which one is bad: a third of its evidence, in units of chances; none while none is proved bad."""
    good, bad = failed(0.001), failed(0.04)

    found, none, twice = (
        control([good, good, good, bad], 0.05),
        control([good] * 4, 0.05),
        control([good, good, bad, bad], 0.05),
    )

    assert found is not None
    assert none is not None
    assert twice is not None
    assert found.proved_bad == ("pod-2",)
    assert (none.log_evidence, none.proved_bad) == (0.0, ())
    assert found.log_evidence > -math.log(0.05 / 3)
    assert len(twice.proved_bad) <= 2


@pytest.mark.statistical
def test_pods_at_the_limit_are_seldom_proved_bad() -> None:
    """Independent requests at the limit itself, now and in the past: any of four pods in at most alpha of the runs."""
    rng, runs, alpha, wrong = np.random.default_rng(91), 400, 0.05, 0

    def drawn(minutes: int) -> Errors:
        requests = rng.poisson(REQUESTS, minutes)
        return Errors(rng.binomial(requests, 0.01).astype(float), requests.astype(float))

    for _ in range(runs):
        found = control([drawn(MINUTES) for _ in range(5)], alpha, [drawn(120) for _ in range(4)])
        assert found is not None
        wrong += bool(found.proved_bad)

    assert wrong / runs <= alpha
    assert beta.ppf(0.99, wrong + 1, runs - wrong) <= 2 * alpha
