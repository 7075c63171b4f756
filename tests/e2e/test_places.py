"""Every place from which Argo can ask: each file of rollouts/examples, with a version that is well and one that is not.

The files are applied as they are; a stage changes arguments and fixed durations only, to be quicker.
"""

import json
from itertools import groupby
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from e2e.cluster import Object
from e2e.jobs import Jobs
from e2e.stage import PROJECT, MakeStage, Stage
from e2e.traffic import Behaviour, selectors_of, to_service

EXAMPLES = PROJECT / "rollouts" / "examples"
TEMPLATES = PROJECT / "analysis-templates"
OLD, NEW = "1.0.0", "1.1.0"
ERRORS = Behaviour(errors=0.05)
HASH = "rollouts-pod-template-hash"
ENDS = pytest.mark.parametrize(
    ("behaviour", "phase"), [(Behaviour(), "Successful"), (ERRORS, "Failed")], ids=["healthy", "errors"]
)


def documents(path: Path) -> list[Object]:
    """Read the objects of a file."""
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def deploy(stage: Stage, name: str) -> None:
    """Deploy an example at its first revision."""
    stage.deploy(documents(EXAMPLES / f"{name}.yaml"))


def walked(stage: Stage, *weights: float) -> list[float]:
    """Those of the weights that the new version was at, in order; others come while pods come and go."""
    return [weight for weight, _ in groupby(each for each in stage.weights(NEW) if each in weights)]


def reasons(stage: Stage, verdict: str) -> list[str]:
    """Why the analyzer said this, as the measurements of the runs keep it."""
    return [answer["reason"] for answer in stage.answers() if answer["verdict"] == verdict]


def assert_promoted(stage: Stage) -> None:
    """The new version has it all, every run was Successful, and a measurement says what was proved."""
    stage.until_weight(100, NEW)
    assert {phase for _, phase in stage.phases()} == {"Successful"}
    assert any("proved good: error_rate" in reason for reason in reasons(stage, "pass"))


def assert_stopped_for_errors(stage: Stage) -> None:
    """The rollout says that it was aborted, and a measurement of a failed run why."""
    status = stage.rollout["status"]
    assert status["abort"]
    assert "Failed" in {phase for _, phase in stage.phases()}
    assert any("canary requests failed, above the 1% rollback limit" in reason for reason in reasons(stage, "fail"))


# A step of a canary


@pytest.fixture
def inline(make_stage: MakeStage) -> Stage:
    """The example of steps, with the template in its own namespace."""
    stage = make_stage(rate=1000, split=to_service("inline-step"))
    stage.apply(documents(TEMPLATES / "ml-model-verdict.yaml"))
    deploy(stage, "inline-step")
    return stage


def test_steps_lead_to_the_end(inline: Stage) -> None:
    """25, 50 and 100 percent, by the templates of the namespace."""
    inline.release(NEW)

    assert inline.until("Healthy", "Degraded") == "Healthy"
    assert_promoted(inline)
    assert walked(inline, 0, 25, 50, 100) == [0, 25, 50, 100]
    assert inline.phases() == [("Step", "Successful")] * 2


def test_a_step_stops_errors(inline: Stage) -> None:
    """The first analysis fails, at 25 percent; nothing goes on from there."""
    inline.traffic.behaviours[NEW] = ERRORS
    inline.release(NEW)

    assert inline.until("Healthy", "Degraded") == "Degraded"
    assert_stopped_for_errors(inline)
    assert inline.phases() == [("Step", "Failed")]
    inline.until_weight(0, NEW)
    assert walked(inline, 0, 25, 50, 100) == [0, 25, 0]


# The background


@pytest.fixture
def background(make_stage: MakeStage) -> Stage:
    """The example of the guard."""
    stage = make_stage(rate=1000, split=to_service("background"))
    deploy(stage, "background")
    return stage


def test_a_guard_lets_the_good_pass(background: Stage) -> None:
    """It looks on until the step before 100 percent has proved the version good, and ends with the rollout."""
    background.release(NEW)

    assert background.until("Healthy", "Degraded") == "Healthy"
    background.wait(lambda: ("Background", "Successful") in background.phases(), "the end of the guard")
    assert_promoted(background)
    assert walked(background, 0, 25, 50, 100) == [0, 25, 50, 100]
    assert sorted(background.phases()) == [("Background", "Successful"), ("Step", "Successful")]


def test_a_guard_stops_errors_in_a_pause(background: Stage) -> None:
    """A fault that begins at 25 percent, where no step asks, is found by the guard alone."""
    background.release(NEW)
    background.until_weight(25, NEW)
    background.traffic.behaviours[NEW] = ERRORS

    assert background.until("Healthy", "Degraded") == "Degraded"
    assert_stopped_for_errors(background)
    assert ("Background", "Failed") in background.phases()
    background.until_weight(0, NEW)
    assert 100 not in background.weights(NEW)


# A template that holds another


def test_a_template_in_a_template_adds_its_rule(make_stage: MakeStage) -> None:
    """The metrics of both templates are asked for, and both passed."""
    stage = make_stage(rate=1000, split=to_service("cluster-template"), floor_interval="2s")
    deploy(stage, "cluster-template")
    stage.release(NEW)

    assert stage.until("Healthy", "Degraded") == "Healthy"
    assert_promoted(stage)
    assert walked(stage, 0, 25, 100) == [0, 25, 100]
    (run,) = stage.runs
    found = {each["name"]: each["phase"] for each in run["status"]["metricResults"]}
    assert found == {"verdict": "Successful", "platform-floor": "Successful"}


def test_the_rule_of_the_platform_cannot_be_loosened(make_stage: MakeStage) -> None:
    """A team that allows itself ten percent of errors is stopped at five by the platform's rule alone."""
    generous = json.dumps({"error_rate": {"promote": "8%", "rollback": "10%"}})
    stage = make_stage(rate=1000, split=to_service("cluster-template"), floor_interval="2s", limits=generous)
    deploy(stage, "cluster-template")
    stage.traffic.behaviours[NEW] = ERRORS
    stage.release(NEW)

    assert stage.until("Healthy", "Degraded") == "Degraded"
    (run,) = stage.runs
    found = {each["name"]: each["phase"] for each in run["status"]["metricResults"]}
    assert (run["status"]["phase"], found["platform-floor"]) == ("Failed", "Failed")
    assert found["verdict"] != "Failed"
    assert any("above the 2% rollback limit" in reason for reason in reasons(stage, "fail"))
    stage.until_weight(0, NEW)
    assert 100 not in stage.weights(NEW)


# An experiment


@pytest.fixture
def experiment(make_stage: MakeStage) -> Stage:
    """The example of an experiment; a sixth of the requests for each of its pods."""
    stage = make_stage(rate=2000, split=to_service("experiment"))
    deploy(stage, "experiment")
    return stage


def experiment_phases(stage: Stage) -> list[str]:
    """How each Experiment of the stage stands."""
    return [each["status"]["phase"] for each in stage.experiments]


def test_an_experiment_proves_a_version_first(experiment: Stage) -> None:
    """Two fresh pods are compared, and the rollout follows when the new one is proved good."""
    experiment.release(NEW)

    assert experiment.until("Healthy", "Degraded") == "Healthy"
    assert_promoted(experiment)
    assert experiment_phases(experiment) == ["Successful"]
    assert len(experiment.runs) == 1
    assert 16.7 in experiment.weights(NEW)


def test_an_experiment_stops_errors(experiment: Stage) -> None:
    """It fails, and with it the rollout, which has not begun; the pods of the experiment go at once."""
    experiment.traffic.behaviours[NEW] = ERRORS
    experiment.release(NEW)

    assert experiment.until("Healthy", "Degraded") == "Degraded"
    assert experiment_phases(experiment) == ["Failed"]
    assert_stopped_for_errors(experiment)
    experiment.until_weight(0, NEW, seconds=15)
    assert max(experiment.weights(NEW)) <= 20  # one pod of five, once the baseline is gone


# A switch


@pytest.fixture
def blue_green(make_stage: MakeStage) -> Stage:
    """The example of a switch, with every request mirrored to the preview; few enough for a late fault to be late."""
    stage = make_stage(rate=300, split=to_service("blue-green-active", "blue-green-preview"))
    deploy(stage, "blue-green")
    return stage


def active(stage: Stage) -> str:
    """The hash of the pods that callers reach."""
    return selectors_of(stage.cluster.api, stage.namespace)["blue-green-active"][HASH]


def test_a_switch_is_proved_before_and_after(blue_green: Stage) -> None:
    """Both analyses pass, and callers reach the new version."""
    before = active(blue_green)
    blue_green.release(NEW)

    assert blue_green.until("Healthy", "Degraded") == "Healthy"
    blue_green.wait(lambda: len(blue_green.runs) == 2 and blue_green.phases()[1][1] == "Successful", "both runs")
    assert blue_green.phases() == [("PrePromotion", "Successful"), ("PostPromotion", "Successful")]
    assert active(blue_green) == blue_green.rollout["status"]["currentPodHash"] != before
    assert_promoted(blue_green)


def test_errors_of_mirrored_requests_stop_the_switch(blue_green: Stage) -> None:
    """Callers never reach the version: the first analysis fails."""
    before = active(blue_green)
    blue_green.traffic.behaviours[NEW] = ERRORS
    blue_green.release(NEW)

    assert blue_green.until("Healthy", "Degraded") == "Degraded"
    assert blue_green.phases() == [("PrePromotion", "Failed")]
    assert_stopped_for_errors(blue_green)
    assert active(blue_green) == before


def test_errors_after_the_switch_turn_it_back(blue_green: Stage) -> None:
    """A version that only callers break: the second analysis fails, and they reach the old one again."""
    before = active(blue_green)
    blue_green.release(NEW)
    blue_green.wait(lambda: active(blue_green) != before, "the switch")
    blue_green.traffic.behaviours[NEW] = ERRORS

    blue_green.until("Degraded")
    assert blue_green.phases() == [("PrePromotion", "Successful"), ("PostPromotion", "Failed")]
    assert_stopped_for_errors(blue_green)
    # Its pods are all there still: nobody waits for new ones.
    assert active(blue_green) == before
    blue_green.until_weight(100, OLD, seconds=10)


def test_without_mirrored_requests_the_switch_waits(make_stage: MakeStage) -> None:
    """Nobody asks the preview, so nothing is proved of it: a person is waited for, and callers keep the old version."""
    stage = make_stage(rate=100, split=to_service("blue-green-active"), looks="2")
    deploy(stage, "blue-green")
    before = active(stage)
    stage.release(NEW)

    stage.until_paused("InconclusiveAnalysisRun")
    assert stage.phases() == [("PrePromotion", "Inconclusive")]
    assert {answer["checks"]["error_rate"]["code"] for answer in stage.answers()} == {"no_canary_traffic"}
    assert active(stage) == before


# A run of its own


@pytest.fixture
def deployments(make_stage: MakeStage) -> Stage:
    """Two plain Deployments behind one Service, told apart by the label of the example; nobody asks them yet."""
    stage = make_stage(rate=0)
    (run,) = documents(EXAMPLES / "analysis-run.yaml")
    hashes = {each["name"]: each["value"] for each in run["spec"]["args"] if each["name"].endswith("-hash")}
    stage.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "fraud-detector"},
                "spec": {"selector": {"app": "fraud-detector"}, "ports": [{"port": 8000}]},
            },
            *(deployment(tag, hashes[name]) for tag, name in ((OLD, "baseline-hash"), (NEW, "canary-hash"))),
        ]
    )
    stage.wait(lambda: len(stage.traffic.scraped_at) == 2, "the first scrape")
    return stage


def deployment(tag: str, label: str) -> Object:
    """One pod of a version, with a label for it."""
    labels = {"app": "fraud-detector", HASH: label}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"version-{label}"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "model", "image": f"fraud-detector:{tag}"}]},
            },
        },
    }


def until_ended(stage: Stage) -> str:
    """Wait for the one run of the stage; its phase."""

    def phase() -> str:
        return str(stage.runs[0].get("status", {}).get("phase", ""))

    stage.wait(lambda: phase() not in ("", "Pending", "Running"), "the end of the run")
    return phase()


@ENDS
def test_a_run_stands_for_itself(deployments: Stage, behaviour: Behaviour, phase: str) -> None:
    """Without a Rollout: the metrics of the file, with the namespace and the analyzer of here."""
    deployments.traffic.behaviours[NEW] = behaviour
    deployments.traffic.requests_per_second = 1000
    (run,) = documents(EXAMPLES / "analysis-run.yaml")
    for argument in run["spec"]["args"]:
        if argument["name"] == "namespace":
            argument["value"] = deployments.namespace
    (metric,) = run["spec"]["metrics"]
    web = metric["provider"]["web"]
    web["url"] = deployments.analyzer.url + urlsplit(web["url"]).path
    metric["interval"] = deployments.arguments["interval"]
    deployments.apply([run])

    assert until_ended(deployments) == phase
    assert_reason(deployments, phase)


@ENDS
def test_a_run_is_made_of_a_template(deployments: Stage, behaviour: Behaviour, phase: str) -> None:
    """By the command of the README, with the arguments of here."""
    deployments.traffic.behaviours[NEW] = behaviour
    deployments.traffic.requests_per_second = 1000
    values = deployments.arguments | {
        "service": "fraud-detector",
        "namespace": deployments.namespace,
        "canary-hash": "6d8f9c7b5d",
        "baseline-hash": "75d4f8b9c8",
        "window": "start",
    }
    arguments = [word for name, value in values.items() for word in ("-a", f"{name}={value}")]
    argo(deployments, "create", "analysisrun", "--global", "--from", "ml-model-verdict", *arguments)

    assert until_ended(deployments) == phase
    assert_reason(deployments, phase)


def assert_reason(stage: Stage, phase: str) -> None:
    """The last measurement says why the run ended as it did."""
    last = stage.answers()[-1]
    if phase == "Failed":
        assert (last["verdict"], last["checks"]["error_rate"]["code"]) == ("fail", "proved_bad")
        assert "canary requests failed, above the 1% rollback limit" in last["reason"]
    else:
        assert last["verdict"] == "pass"
        assert last["reason"].startswith("proved good: error_rate, latency_p99, prediction_drift")


def argo(stage: Stage, *words: str) -> str:
    """Run Argo's plugin of kubectl in the namespace of the stage."""
    return stage.cluster.kubectl("argo", "rollouts", "--namespace", stage.namespace, *words)


# What a person does after Inconclusive


@pytest.fixture
def undecided(make_stage: MakeStage) -> Stage:
    """Steps with so little traffic that the first analysis ends without proof."""
    stage = make_stage(rate=20, split=to_service("inline-step"), looks="2")
    stage.apply(documents(TEMPLATES / "ml-model-verdict.yaml"))
    deploy(stage, "inline-step")
    stage.release(NEW)
    stage.until_paused("InconclusiveAnalysisRun")
    assert stage.phases() == [("Step", "Inconclusive")]
    return stage


def test_promote_skips_the_check(undecided: Stage) -> None:
    """The next step comes without another analysis of this one; the one after it asks again."""
    argo(undecided, "promote", undecided.name)

    undecided.wait(lambda: len(undecided.runs) == 2, "the analysis of the next weight")
    assert undecided.runs[1]["metadata"]["labels"]["step-index"] == "3"
    undecided.until_paused("InconclusiveAnalysisRun")
    argo(undecided, "promote", undecided.name)
    assert undecided.until("Healthy", "Degraded") == "Healthy"
    assert undecided.phases() == [("Step", "Inconclusive")] * 2


def test_abort_gives_up(undecided: Stage) -> None:
    """The new version loses its requests."""
    argo(undecided, "abort", undecided.name)

    undecided.until("Degraded")
    undecided.until_weight(0, NEW)
    assert walked(undecided, 0, 25, 50, 100) == [0, 25, 0]


# A job


def job_stage(make_stage: MakeStage, rate: float, delay: str) -> Stage:
    """The example of a job, which reads Prometheus itself."""
    stage = make_stage(rate=rate, split=to_service("job"), initial_delay=delay)
    stage.arguments["prometheus-url"] = stage.prometheus.url
    deploy(stage, "job")
    return stage


def jobs_of(stage: Stage, folder: Path) -> Jobs:
    """What runs the pods of the jobs."""
    return Jobs(stage.cluster.api, stage.namespace, folder / "venv" / "bin" / "analyzer")


def test_a_job_asks_until_it_has_proof(make_stage: MakeStage, folder: Path) -> None:
    """Too little traffic: its first pod ends with 3, is no failure of the job, and another one asks again."""
    stage = job_stage(make_stage, 40, "4s")
    with jobs_of(stage, folder) as jobs:
        stage.release(NEW)
        stage.wait(lambda: bool(jobs.codes), "the first pod")
        stage.traffic.requests_per_second = 4000

        assert stage.until("Healthy", "Degraded") == "Healthy"
    assert (jobs.codes[0], jobs.codes[-1]) == (3, 0)
    assert set(jobs.codes[:-1]) == {3}
    assert json.loads(jobs.ended[-1].log)["reason"].startswith("proved good: error_rate")
    assert stage.phases() == [("Step", "Successful")]
    stage.until_weight(100, NEW)
    assert walked(stage, 0, 25, 100) == [0, 25, 100]


def test_a_job_that_proves_errors_fails_at_once(make_stage: MakeStage, folder: Path) -> None:
    """A pod that ends with 1 is the last, and the rollout is aborted."""
    stage = job_stage(make_stage, 1000, "4s")
    stage.traffic.behaviours[NEW] = ERRORS
    with jobs_of(stage, folder) as jobs:
        stage.release(NEW)

        assert stage.until("Healthy", "Degraded") == "Degraded"
    assert jobs.codes == [1]
    assert "above the 1% rollback limit" in json.loads(jobs.ended[0].log)["reason"]
    assert stage.rollout["status"]["abort"]
    assert stage.phases() == [("Step", "Failed")]
    stage.until_weight(0, NEW)
    assert walked(stage, 0, 25, 100) == [0, 25, 0]


def test_a_job_that_passes_goes_on(make_stage: MakeStage, folder: Path) -> None:
    """With traffic enough before it asks, one pod does."""
    stage = job_stage(make_stage, 4000, "15s")
    with jobs_of(stage, folder) as jobs:
        stage.release(NEW)

        assert stage.until("Healthy", "Degraded") == "Healthy"
    assert jobs.codes == [0]
    assert stage.phases() == [("Step", "Successful")]
