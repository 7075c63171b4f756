"""A model behind the complete example, in Argo's hands: what is promoted, what is rolled back, and what waits."""

import pytest
from conftest import PROJECT, MakeStage
from stage import Stage
from traffic import Behaviour

OVERLAY = PROJECT / "rollouts" / "fraud-detector" / "overlays" / "replica-ratio"
NEW = "1.1.0"

FAULTS = {
    "errors": ("error_rate", Behaviour(errors=0.05)),
    "latency": ("latency_p99", Behaviour(slow=0.1)),
    "drift": ("prediction_drift", Behaviour(drift=0.4)),
    "business": ("business_proxy", Behaviour(conversions=0.04)),
}


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    """The example at its first revision, with 1000 requests a second."""
    stage = make_stage(rate=1000)
    stage.deploy(stage.cluster.render(OVERLAY))
    return stage


def test_a_healthy_canary_walks_to_the_end(stage: Stage) -> None:
    """5, 25, 50 and 100 percent; every run Successful, and the reason kept in it."""
    stage.release(NEW)

    assert stage.until("Healthy", "Degraded") == "Healthy"
    walked = [weight for weight in stage.weights(NEW) if weight in (0, 5, 25, 50, 100)]
    assert walked == [0, 5, 25, 50, 100]
    assert {phase for _, phase in stage.phases()} == {"Successful"}
    assert stage.answers()[-1]["reason"].startswith("proved good: error_rate, latency_p99, prediction_drift")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_canary_is_rolled_back(stage: Stage, fault: str) -> None:
    """Whatever is wrong from the start: aborted, no traffic, and the reason names the check."""
    check, stage.traffic.behaviours[NEW] = FAULTS[fault]
    stage.release(NEW)

    assert stage.until("Healthy", "Degraded") == "Degraded"
    assert_rolled_back(stage, check)


def assert_rolled_back(stage: Stage, check: str) -> None:
    """The version has no traffic any more, and a failed run says why."""
    stage.until_weight(0, NEW)
    assert 100 not in stage.weights(NEW)
    failed = [answer for answer in stage.answers() if answer["verdict"] == "fail"]
    assert failed
    assert {check} <= {
        name for answer in failed for name, found in answer["checks"].items() if found["verdict"] == "fail"
    }
    assert "Failed" in {phase for _, phase in stage.phases()}
