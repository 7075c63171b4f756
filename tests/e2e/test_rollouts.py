"""A model behind the complete example, in Argo's hands: what is promoted, what is rolled back, and what waits."""

import time

import pytest
from e2e.cluster import Object
from e2e.stage import PROJECT, MakeStage, Stage
from e2e.traffic import Behaviour, to_service

OVERLAY = PROJECT / "rollouts" / "fraud-detector" / "overlays" / "replica-ratio"
OLD, NEW = "1.0.0", "1.1.0"

FAULTS = {
    "errors": ("error_rate", Behaviour(errors=0.05)),
    "latency": ("latency_p99", Behaviour(slow=0.1)),
    "drift": ("prediction_drift", Behaviour(drift=0.4)),
    "business": ("business_proxy", Behaviour(conversions=0.01)),
}


def example(stage: Stage) -> tuple[Object, list[Object]]:
    """Render the example, for a test that changes it: its Rollout, and the other objects."""
    rollout, *others = sorted(stage.cluster.render(OVERLAY), key=lambda each: each["kind"] != "Rollout")
    return rollout, others


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
    steps = [0, 5, 25, 50, 100]
    # The rollout is healthy before the last change of its services has been seen.
    stage.wait(lambda: [weight for weight in stage.weights(NEW) if weight in steps] == steps, "every weight was seen")
    stage.wait(lambda: {phase for _, phase in stage.phases()} == {"Successful"}, "every run is over")
    assert stage.answers()[-1]["reason"].startswith("proved good: error_rate, latency_p99, prediction_drift")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_canary_is_rolled_back(stage: Stage, fault: str) -> None:
    """Whatever is wrong from the start: aborted, no traffic, and the reason names the check."""
    check, stage.traffic.behaviours[NEW] = FAULTS[fault]
    stage.release(NEW)

    assert stage.until("Healthy", "Degraded") == "Degraded"
    assert_rolled_back(stage, check)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_middle_of_a_step_is_rolled_back(make_stage: MakeStage, fault: str) -> None:
    """A canary that was good at 5, 25 and for a while at 50 percent, and then is not: nobody but the guard looks."""
    stage = make_stage(rate=1000)
    rollout, others = example(stage)
    steps = rollout["spec"]["strategy"]["canary"]["steps"]
    steps.insert(steps.index({"setWeight": 50}) + 1, {"pause": {}})
    stage.deploy([rollout, *others])
    check, behaviour = FAULTS[fault]
    stage.release(NEW)
    stage.until_paused("CanaryPauseStep")
    stage.wait(lambda: stage.answers("Background")[-1]["verdict"] == "pass", "the guard finds it good")
    stage.traffic.behaviours[NEW] = behaviour

    assert stage.until("Healthy", "Degraded") == "Degraded"
    assert_rolled_back(stage, check)
    assert ("Background", "Failed") in stage.phases()


def test_an_incident_of_both_versions_rolls_nothing_back(stage: Stage) -> None:
    """The service is in trouble, not the canary: nothing is aborted, nothing goes on, and it ends when that does."""
    stage.release(NEW)
    stage.until_weight(50, NEW)
    for tag in (OLD, NEW):
        stage.traffic.behaviours[tag] = Behaviour(errors=0.05)
    stage.wait(lambda: "common_mode" in stage.codes("error_rate"), "the common mode is seen")

    assert stage.rollout["status"]["phase"] != "Degraded"
    assert stage.weight(NEW) == 50
    assert "Failed" not in {phase for _, phase in stage.phases()}


# Data that is missing


def test_little_traffic_waits_for_a_person_and_is_measured_again(make_stage: MakeStage) -> None:
    """Too few requests end Inconclusive and pause; a person who resumes has the same step measured again."""
    stage = make_stage(rate=20, looks="4")
    stage.deploy(stage.cluster.render(OVERLAY))
    stage.release(NEW)
    stage.until_paused("InconclusiveAnalysisRun")
    first, step = stage.runs_of("Step"), stage.rollout["status"]["currentStepIndex"]
    assert [run["status"]["phase"] for run in first] == ["Inconclusive"]
    assert stage.weight(NEW) == 5

    stage.traffic.requests_per_second = 2000
    stage.resume()
    stage.wait(lambda: len(stage.runs_of("Step")) == 2, "a second run")
    again = stage.runs_of("Step")[1]["metadata"]["labels"]["step-index"]
    assert (first[0]["metadata"]["labels"]["step-index"], again) == (str(step), str(step))
    stage.resume_until("Healthy")
    assert stage.phases().count(("Step", "Successful")) == 3


def test_a_canary_without_traffic_does_not_end_the_guard(make_stage: MakeStage) -> None:
    """The background run begins before the first request, waits, and is the same one at the end."""
    stage = make_stage(rate=1000, split=to_service("fraud-detector-stable"))
    stage.deploy(stage.cluster.render(OVERLAY))
    stage.release(NEW)
    stage.wait(lambda: stage.looks("Background") >= 5, "five looks of the guard")
    assert {answer["verdict"] for answer in stage.answers()} == {"inconclusive"}

    stage.traffic.split = to_service("fraud-detector")
    assert stage.until("Healthy", "Degraded") == "Healthy"
    stage.wait(lambda: ("Background", "Successful") in stage.phases(), "the end of the guard")
    assert len(stage.runs_of("Background")) == 1


def test_a_minute_without_prometheus_aborts_nothing(stage: Stage) -> None:
    """While it is away every look is inconclusive; when it is back the rollout goes on to the end."""
    stage.release(NEW)
    stage.until_weight(25, NEW)
    stage.prometheus.stop()
    time.sleep(60)
    assert stage.weight(NEW) in (25, 50)
    assert "source_unavailable" in stage.codes("error_rate")

    stage.prometheus.start()
    stage.resume_until("Healthy")
    assert "Failed" not in {phase for _, phase in stage.phases()}
    assert "Error" not in {phase for _, phase in stage.phases()}


def test_prometheus_away_for_good_pauses(make_stage: MakeStage) -> None:
    """What cannot be known is neither promoted nor rolled back: the canary stays where it is, for a person."""
    stage = make_stage(rate=1000, looks="5")
    stage.deploy(stage.cluster.render(OVERLAY))
    stage.prometheus.stop()
    stage.release(NEW)
    stage.until_paused("InconclusiveAnalysisRun")

    assert stage.weight(NEW) == 5
    assert set(stage.codes("error_rate")) == {"source_unavailable"}
    assert set(stage.phases()) == {("Background", "Running"), ("Step", "Inconclusive")}


# The analyzer itself


def test_a_restart_of_the_analyzer_aborts_nothing(stage: Stage) -> None:
    """Argo counts refused connections as errors, tries again, and forgets them at the next answer."""
    stage.release(NEW)
    stage.until_weight(25, NEW)
    stage.analyzer.stop()
    stage.wait(lambda: stage.errors() >= 2, "two errors in a row")
    stage.analyzer.start()

    assert stage.until("Healthy", "Degraded") == "Healthy"


def test_a_storm_of_5xx_aborts_nothing(make_stage: MakeStage) -> None:
    """The same where the analyzer answers, but with 503: here by its own setting, while Prometheus is away."""
    stage = make_stage(rate=1000, settings={"ANALYZER_ON_SOURCE_ERROR": "error"})
    stage.deploy(stage.cluster.render(OVERLAY))
    stage.release(NEW)
    stage.until_weight(25, NEW)
    stage.prometheus.stop()
    stage.wait(lambda: stage.errors() >= 4, "errors", 90)
    assert stage.messages() == {"received non 2xx response code: 503"}
    stage.prometheus.start()

    assert stage.until("Healthy", "Degraded") == "Healthy"


def test_wrong_arguments_abort(make_stage: MakeStage) -> None:
    """A policy that is not there is a 400, which is an Error to Argo: after the errors it bears it aborts."""
    stage = make_stage(rate=1000, policy="no-such-policy")
    templates = stage.cluster.render(PROJECT / "analysis-templates")
    for template in templates:
        template["metadata"]["name"] += "-impatient"  # thirty errors take Argo five minutes
        for metric in template["spec"]["metrics"]:
            metric["consecutiveErrorLimit"] = 1
    stage.cluster.apply(*templates)
    rollout, others = example(stage)
    for analysis in analyses_of(rollout):
        analysis["templates"][0]["templateName"] += "-impatient"
    stage.deploy([rollout, *others])
    stage.release(NEW)

    assert stage.until("Healthy", "Degraded") == "Degraded"
    stage.until_weight(0, NEW)
    assert "Error" in {phase for _, phase in stage.phases()}
    assert stage.messages() == {"received non 2xx response code: 400"}


def test_a_check_on_trial_decides_nothing(make_stage: MakeStage) -> None:
    """With dryRun a drift is measured and shown, and the canary is promoted."""
    stage = make_stage(rate=1000)
    stage.traffic.behaviours[NEW] = Behaviour(drift=0.4)
    rollout, others = example(stage)
    for analysis in analyses_of(rollout):
        analysis["templates"] = [{"templateName": "ml-model-metrics", "clusterScope": True}]
        analysis["dryRun"] = [{"metricName": "prediction_drift"}]
    stage.deploy([rollout, *others])
    stage.release(NEW)

    assert stage.until("Healthy", "Degraded") == "Healthy"
    tried = [run["status"]["dryRunSummary"] for run in stage.runs_of("Step")]
    assert sum(each.get("failed", 0) for each in tried) >= 1
    assert {phase for _, phase in stage.phases()} == {"Successful"}


def analyses_of(rollout: Object) -> list[Object]:
    """Every analysis of a canary: that in the background, then those of the steps."""
    canary = rollout["spec"]["strategy"]["canary"]
    return [canary["analysis"], *(step["analysis"] for step in canary["steps"] if "analysis" in step)]


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
