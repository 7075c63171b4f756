"""The whole as a user sees it: evaluate, from the statistics of a rollout to its verdict."""

import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pytest

import analyzer
from analyzer.errors import RequestError

CHECKS = ("error_rate", "latency_p99", "prediction_drift", "business_proxy")
ERRORS = {"error_rate": {"canary": {"errors": 40, "requests": 2000}}}
CONVERSIONS = {
    "business_proxy": {
        "canary": {"successes": 400, "trials": 1000},
        "baseline": {"successes": 7600, "trials": 19_000},
    }
}

# A rollout as traffic makes it: 2,000 requests a second, 5% of them to the canary, looked at every second

SECONDS, CANARY, BASELINE = 30, 100, 1900
RUNS = 60
EDGES = ("0.1", "0.2", "0.5", "1", "+Inf")
SCORES = np.array([0.4, 0.2, 0.1, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02, 0.02])


@dataclass(frozen=True)
class Version:
    """How one version behaves: shares of its requests."""

    errors: float = 0.0005
    latency: tuple[float, ...] = (0.95, 0.047, 0.002, 0.0008, 0.0002)  # up to each edge
    scores: tuple[float, ...] = field(default=tuple(SCORES))
    conversions: float = 0.4

    def seconds(self, rng: np.random.Generator, requests: int) -> list[dict[str, Any]]:
        """Give the statistics of one arm after each second, counted from the start."""
        count = rng.poisson(requests, SECONDS)
        total = count.cumsum().tolist()
        errors = rng.binomial(count, self.errors).cumsum().tolist()
        latency = rng.multinomial(count, self.latency).cumsum(axis=0).cumsum(axis=1).tolist()
        scores = rng.multinomial(count, np.array(self.scores)).cumsum(axis=0).cumsum(axis=1).tolist()
        sold = rng.binomial(count, self.conversions).cumsum().tolist()
        bins = [f"{0.1 * place:g}" for place in range(1, 10)] + ["+Inf"]
        return [
            {
                "error_rate": {"errors": errors[at], "requests": total[at]},
                "latency_p99": {"buckets": dict(zip(EDGES, latency[at], strict=True))},
                "prediction_drift": {"buckets": dict(zip(bins, scores[at], strict=True))},
                "business_proxy": {"successes": sold[at], "trials": total[at]},
            }
            for at in range(SECONDS)
        ]


HEALTHY = Version()
FAULTS = {
    "error_rate": Version(errors=0.06),
    "latency_p99": Version(latency=(0.9, 0.047, 0.002, 0.001, 0.05)),  # 5% take longer than 0.7 s
    "prediction_drift": Version(scores=tuple(np.roll(SCORES, 2))),  # a PSI of 1.1
    "business_proxy": Version(conversions=0.4 * 0.4),
}


def rollout(seed: int, canary: Version) -> list[dict[str, Any]]:
    """Give the bodies of the requests of one rollout, one a second."""
    rng = np.random.default_rng(seed)
    arms = canary.seconds(rng, CANARY), HEALTHY.seconds(rng, BASELINE)
    return [
        {"data": {name: {"canary": ours[name], "baseline": theirs[name]} for name in CHECKS}}
        for ours, theirs in zip(*arms, strict=True)
    ]


@pytest.mark.statistical
def test_a_healthy_canary_is_never_rolled_back_and_promoted_in_the_end() -> None:
    """Sixty healthy rollouts, looked at every other second: none fails, nearly all pass."""
    ends = []
    for seed in range(RUNS):
        verdicts = [analyzer.evaluate(body)["verdict"] for body in rollout(seed, HEALTHY)[1::2]]
        assert "fail" not in verdicts
        ends.append(verdicts[-1])

    assert ends.count("pass") >= 0.95 * RUNS


@pytest.mark.statistical
@pytest.mark.parametrize("check", CHECKS)
def test_a_fault_is_rolled_back_within_seconds(check: str) -> None:
    """Sixty rollouts of each fault: all fail, by the check that must catch it, most within five seconds."""
    needed = []
    for seed in range(RUNS):
        for second, body in enumerate(rollout(seed, FAULTS[check]), start=1):
            answer = analyzer.evaluate(body)
            if answer["verdict"] == "fail":
                assert answer["checks"][check]["verdict"] == "fail"
                needed.append(second)
                break

    assert len(needed) == RUNS
    assert float(np.median(needed)) <= 5


# What can be asked


def test_the_example_of_the_package() -> None:
    """The docstring's request fails, and says why."""
    answer = analyzer.evaluate(
        {
            "checks": "error_rate",
            "data": {
                "error_rate": {
                    "canary": {"errors": 14, "requests": 865},
                    "baseline": {"errors": 52, "requests": 16_435},
                }
            },
        }
    )

    assert answer["verdict"] == "fail"
    assert answer["reason"].startswith("error_rate: 1.62% of 865 canary requests failed")


def test_only_what_was_asked_for_is_judged() -> None:
    """A list or text; the answer keeps the policy's order."""
    for checks in (["business_proxy", "error_rate"], "business_proxy,error_rate"):
        answer = analyzer.evaluate({"checks": checks, "data": ERRORS | CONVERSIONS})

        assert list(answer["checks"]) == ["error_rate", "business_proxy"]


def test_alpha_is_shared_also_by_a_check_that_is_asked_for_alone() -> None:
    """A template that asks for each check by itself still rolls back at the first that fails."""
    alone = analyzer.evaluate({"checks": "error_rate", "data": ERRORS})["checks"]["error_rate"]
    together = analyzer.evaluate({"data": ERRORS | CONVERSIONS})["checks"]["error_rate"]
    whole = {"checks": {name: {"role": "advisory"} for name in CHECKS[1:]}}
    unshared = analyzer.evaluate({"checks": "error_rate", "data": ERRORS, "policy": whole})["checks"]["error_rate"]

    assert alone == together
    assert unshared["evidence"]["fail"] == pytest.approx(alone["evidence"]["fail"] * np.log(80) / np.log(20), rel=0.01)


def test_a_guardrail_asked_for_alone_passes_when_it_holds() -> None:
    """Not proved bad, with enough requests; with too few nothing is decided."""
    few = {"business_proxy": {arm: {"successes": 4, "trials": 10} for arm in ("canary", "baseline")}}

    enough = analyzer.evaluate({"checks": "business_proxy", "data": CONVERSIONS})
    too_few = analyzer.evaluate({"checks": "business_proxy", "data": few})

    assert (enough["verdict"], enough["checks"]["business_proxy"]["verdict"]) == ("pass", "inconclusive")
    assert too_few["verdict"] == "inconclusive"


def test_advice_never_decides() -> None:
    """A check whose role is advisory is shown, and the verdict is that of the others."""
    policy = {"checks": {"error_rate": {"role": "advisory"}}}

    answer = analyzer.evaluate({"checks": "error_rate,business_proxy", "data": ERRORS | CONVERSIONS, "policy": policy})

    assert answer["checks"]["error_rate"]["verdict"] == "fail"
    assert answer["verdict"] == "pass"


def test_a_request_can_change_limits() -> None:
    """The same counts pass or fail by the limits that were asked for, and the digest tells them apart."""
    body = {"checks": "error_rate", "data": ERRORS}
    generous = analyzer.evaluate(body | {"policy": {"checks": {"error_rate": {"promote": "5%", "rollback": "9%"}}}})

    assert analyzer.evaluate(body)["verdict"] == "fail"
    assert generous["verdict"] == "pass"
    assert generous["policy_digest"] != analyzer.evaluate(body)["policy_digest"]


@pytest.mark.parametrize("data", [{}, {"error_rate": {"canary": {"errors": 0, "requests": 0}}}])
def test_missing_data_are_never_a_pass(data: dict[str, Any]) -> None:
    """Neither a check without data nor a canary without traffic lets anything pass."""
    for checks in ("all", "error_rate"):
        answer = analyzer.evaluate({"checks": checks, "data": data})

        assert answer["verdict"] == "inconclusive"
        assert answer["reason"]


def test_a_gate_without_data_holds_what_the_others_proved() -> None:
    """Three gates proved good and one missing: not promoted, and the missing one is named."""
    body = rollout(1, HEALTHY)[-1]
    del body["data"]["prediction_drift"]

    answer = analyzer.evaluate(body)

    assert answer["verdict"] == "inconclusive"
    assert "prediction_drift" in answer["reason"]
    assert answer["checks"]["prediction_drift"]["code"] == "metric_missing"


def test_the_same_input_gives_the_same_bytes() -> None:
    """No randomness, no clock: in this process and in another one."""
    body = rollout(2, HEALTHY)[9]
    code = (
        "import sys, orjson, analyzer\n"
        "answer = analyzer.evaluate(orjson.loads(sys.stdin.buffer.read()))\n"
        "sys.stdout.buffer.write(orjson.dumps(answer))"
    )

    here = {orjson.dumps(analyzer.evaluate(body)) for _ in range(3)}
    there = subprocess.run([sys.executable, "-c", code], input=orjson.dumps(body), capture_output=True, check=True)

    assert here == {there.stdout}


def test_the_body_is_not_changed() -> None:
    """Who asks twice asks the same."""
    body = rollout(3, HEALTHY)[4] | {"policy": {"checks": {"error_rate": {"promote": "0.4%"}}}}
    before = orjson.dumps(body)

    analyzer.evaluate(body)

    assert orjson.dumps(body) == before


def test_judging_imports_neither_scipy_stats_nor_a_server() -> None:
    """Half a second and 45 MiB that a start does not pay."""
    code = (
        "import sys, analyzer\n"
        "analyzer.evaluate({'data': {name: {'canary': {'samples': [0.1] * 99}, 'baseline': {'samples': [0.1] * 99}}"
        " for name in ('latency_p99', 'prediction_drift', 'business_proxy')}})\n"
        "print([name for name in ('scipy.stats', 'scipy.optimize', 'flask', 'pandas') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_importing_the_package_is_quick() -> None:
    """`import analyzer` alone loads no mathematics."""
    code = "import sys, analyzer; print([name for name in ('numpy', 'scipy', 'pydantic') if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_request_that_cannot_be_answered_names_its_fields() -> None:
    """Every wrong field of the data at once."""
    data = {"error_rate": {"canary": {"errors": 5, "requests": 4}}, "latency_p9": {}}

    with pytest.raises(RequestError) as caught:
        analyzer.evaluate({"data": data})

    assert [problem.field for problem in caught.value.problems] == ["data.error_rate.canary.errors", "data.latency_p9"]
