"""Requests that a router or mesh sent, and that the pods did not count."""

from typing import Any

import numpy as np
import pytest

from analyzer.checks import Moment, judge
from analyzer.config.policy import load_policies
from analyzer.model.counts import Errors, Pod, Reading, Routed
from analyzer.model.findings import Code, Finding, Outcome

POLICY = load_policies(None)["ml-model"]
SCRAPE = 15
Floats = np.ndarray[Any, np.dtype[np.float64]]


def steady(sent: tuple[float, float], counted: tuple[float, float], slices: int = 40) -> Reading[Errors]:
    """Return counts without failed requests, alike in all slices of a minute."""
    arms = [np.full(slices, number / slices) for number in counted]
    canary, baseline = (Errors(0 * arm, arm) for arm in arms)
    routed = Routed(np.array([np.full(slices, number / slices) for number in sent]), np.array(arms))
    return Reading(canary, baseline, slice_seconds=60.0, scrape_seconds=15.0, routed=routed)


def error_rate(reading: Reading[Errors], weight: float | None = None) -> Finding:
    """Judge the error rate by the default policy."""
    return judge(POLICY.checks["error_rate"], reading, POLICY, Moment(weight=weight))


@pytest.mark.parametrize("weight", [None, 0.05])
def test_a_loss_that_only_the_mesh_sees_keeps_a_canary_from_passing(weight: float | None) -> None:
    """With the weight or without, and both numbers are in the reason."""
    finding = error_rate(steady((5000, 95_000), (3900, 94_810)), weight)

    assert (finding.outcome, finding.code) == (Outcome.INCONCLUSIVE, Code.TRAFFIC_SPLIT)
    assert "5,000 requests were sent to the canary, of which its pods counted 3,900" in finding.reason
    assert "of the baseline's 99.8%" in finding.reason
    assert finding.evidence.towards_pass < 1


@pytest.mark.parametrize(
    ("sent", "counted"),
    [((5000, 95_000), (4990, 94_810)), ((5000, 95_000), (4000, 76_000)), ((0, 95_000), (5000, 95_000)),
     ((5000, 80_000), (5000, 95_000))],
    ids=["no loss", "the baseline loses as much", "the canary is not in the mesh", "the baseline is half in the mesh"],
)  # fmt: skip
def test_what_is_no_loss_of_the_canary_passes(sent: tuple[float, float], counted: tuple[float, float]) -> None:
    """A mesh that does not see everything says nothing."""
    assert error_rate(steady(sent, counted)).outcome is Outcome.PASS


def test_a_fail_stays() -> None:
    """The requests that are counted fail: what is not counted makes it no better."""
    reading = steady((5000, 95_000), (3900, 94_810))
    assert reading.canary is not None
    failing = Errors(0.1 * reading.canary.requests, reading.canary.requests)

    finding = error_rate(Reading(failing, reading.baseline, slice_seconds=60.0, routed=reading.routed))

    assert finding.outcome is Outcome.FAIL


def test_a_loss_that_begins_late_is_seen_in_the_later_half() -> None:
    """An hour as it should be, then a fifth is lost."""
    reading = steady((20_000, 20_000), (20_000, 20_000), slices=120)
    kept = np.where(np.arange(120) < 70, 1.0, 0.75)
    assert reading.canary is not None
    assert reading.routed is not None
    requests = reading.canary.requests * kept
    routed = Routed(reading.routed.sent, np.array([requests, reading.routed.counted[1]]))

    finding = error_rate(Reading(Errors(0 * requests, requests), reading.baseline, slice_seconds=60.0, routed=routed))

    assert finding.code is Code.TRAFFIC_SPLIT


def scraped(counter: Floats, phase: int, moments: Floats) -> Floats:
    """Return the growth between moments of a counter, of which each scrape sees the last value; by the second."""
    last = np.maximum((moments - phase) // SCRAPE * SCRAPE + phase, 0)
    return np.diff(np.concatenate([[0.0], counter])[last.astype(int)], prepend=0.0)


def in_a_mesh(
    rng: np.random.Generator, weight: float, rate: float, seconds: int, *, lost: float, pods: tuple[int, int] = (2, 6),
    bypass: float = 0.01, own: float = 0.07, restarts: int = 1,
) -> Reading[Errors]:  # fmt: skip
    """Draw a rollout: phases of scrapes, a restart, traffic that bypasses the mesh, and requests for metrics."""
    moments = np.arange(SCRAPE, seconds + 1, SCRAPE)
    sent, counted, parts = [], [], []
    for arm, share in enumerate((weight, 1 - weight)):
        mesh, own_counts = np.zeros(len(moments)), []
        for pod in range(pods[arm]):
            burst = rng.gamma(4.0, 0.25, seconds // 30 + 1).repeat(30)[:seconds]  # traffic comes in waves
            arrived = rng.poisson(rate * share / pods[arm] * burst)
            answered = rng.binomial(arrived, 1 - lost * (arm == 0)) + rng.poisson(
                bypass * rate * share / pods[arm], seconds
            )
            phases = rng.integers(0, SCRAPE, 2)
            mesh += scraped(np.cumsum(arrived + rng.poisson(own, seconds)), int(phases[0]), moments)
            grown = scraped(np.cumsum(answered), int(phases[1]), moments)
            for at in rng.integers(0, len(moments), restarts) if arm == 0 and pod == 0 else ():
                grown[at] *= rng.random()  # what was counted since the last scrape is lost
            own_counts.append(grown)
        sent.append(mesh)
        counted.append(np.sum(own_counts, axis=0))
        parts.append(tuple(
            Pod(f"{arm}-{pod}", Errors(0 * part, part), restarts=restarts * (arm == pod == 0))
            for pod, part in enumerate(own_counts)
        ))  # fmt: skip
    canary, baseline = (Errors(0 * arm, arm) for arm in counted)
    return Reading(
        canary, baseline, slice_seconds=float(SCRAPE), scrape_seconds=float(SCRAPE), begin=0.0,
        canary_pods=parts[0], baseline_pods=parts[1], routed=Routed(np.array(sent), np.array(counted)),
    )  # fmt: skip


@pytest.mark.statistical
@pytest.mark.parametrize("weight", [0.05, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("rate", [5.0, 20.0])
def test_a_lost_fifth_never_passes_and_a_healthy_canary_does(weight: float, rate: float) -> None:
    """From 5,000 counted requests on, looked at every five minutes; a healthy one is held in 2% of the runs at most."""
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(50):
        seconds = int(5000 / rate) + 300 * int(rng.integers(1, 8))
        lossy = in_a_mesh(rng, weight, rate, seconds, lost=0.2)
        for known in (None, weight):
            assert error_rate(lossy, known).outcome is not Outcome.PASS
        held += error_rate(in_a_mesh(rng, weight, rate, seconds, lost=0.0)).code is Code.TRAFFIC_SPLIT
    assert held <= 1
