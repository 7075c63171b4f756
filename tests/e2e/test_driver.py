"""`analyzer rollout`: canaries of KServe and Seldon, walked on the real API server; only their controllers stand in."""

import json
import re
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from e2e import components
from e2e.cluster import Cluster, Object
from e2e.driver import (
    NAME,
    NEW,
    OLD,
    POLL_SECONDS,
    STACKS,
    Measured,
    Scene,
    Webhook,
    account,
    make_scene,
    measuring,
    refused,
)
from e2e.serving import EXPERIMENT_CRD, NEVER
from e2e.stage import PROJECT, Service
from e2e.traffic import Behaviour

FAULTS = {
    "errors": ("error_rate", Behaviour(errors=0.05)),
    "slow": ("latency_p99", Behaviour(slow=0.1)),
    "drift": ("prediction_drift", Behaviour(drift=0.4)),
    "conversions": ("business_proxy", Behaviour(conversions=0.01)),
}
SHORT = "--steps=50,100"
PERCENT = "/spec/predictor/canaryTrafficPercent"
STORAGE = "/spec/predictor/model/storageUri"
MakeScene = Callable[..., Scene]


@pytest.fixture(scope="module")
def measured(cluster: Cluster, folder: Path) -> Iterator[Measured]:
    """Pages, Prometheus and analyzer, for all scenes here."""
    cluster.apply(EXPERIMENT_CRD)
    with measuring(folder) as found:
        yield found


@pytest.fixture
def make(cluster: Cluster, folder: Path, measured: Measured, request: pytest.FixtureRequest) -> Iterator[MakeScene]:
    """Make a scene, in a namespace with the name of the test."""
    closing = ExitStack()

    def make(stack: str = "knative", *, on: Cluster = cluster) -> Scene:
        name = request.node.name.removeprefix("test_").lower()
        namespace = re.sub(r"[^a-z0-9]+", "-", name)[:48].strip("-") + f"-{zlib.crc32(name.encode()):x}"
        on.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        scene = make_scene(on, folder, measured, namespace, stack)
        closing.callback(scene.close)
        closing.callback(measured.requests.remove, [namespace])
        scene.prepare()
        return scene

    with closing:
        yield make


def bad(scene: Scene, behaviour: Behaviour | None = None) -> None:
    """Have the canary serve badly, as its stack's profile can see."""
    scene.route.behaviours[scene.stack.canary] = behaviour or scene.stack.fault


# What becomes of a canary


@pytest.mark.parametrize("stack", STACKS)
def test_a_healthy_canary_is_promoted(make: MakeScene, stack: str) -> None:
    """Each step once, in order, and then the new model has everything; nothing is started anew on the way."""
    scene = make(stack)
    steps = (5, 25, 50, 100) if stack == "knative" else (10, 50, 100)
    driver = scene.drive(f"--steps={','.join(map(str, steps))}")
    assert driver.end() == 0, driver.output

    last = [] if stack == "standard" else [100]  # there the canary becomes the predictor
    assert [weight for weight in scene.weights() if weight] == [*steps[:-1], *last]
    scene.wait(lambda: scene.stand_in.shares(scene.namespace).get(scene.stack.canary) == 1, "all requests")
    assert scene.stand_in.started(scene.namespace).count(scene.stack.canary) == 1
    assert [run["status"]["phase"] for run in scene.runs] == ["Successful"] * (len(steps) - 1)
    assert len(scene.events("Promoted")) == 1
    assert len(scene.events("WeightMoved")) == len(steps) - 1


@pytest.mark.parametrize("how", ["by-analysis-run", "direct"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_canary_is_rolled_back(make: MakeScene, fault: str, how: str) -> None:
    """No requests within an interval of polling and five seconds, an Event, and one alert that says why."""
    scene, (check, behaviour) = make(), FAULTS[fault]
    bad(scene, behaviour)
    form = "slack" if how == "direct" else "alertmanager"
    more = ["--direct"] if how == "direct" else []
    with Webhook() as webhook:
        driver = scene.drive("--steps=25,50,100", f"--webhook-form={form}", *more, ROLLOUT_WEBHOOK=webhook.url)
        scene.wait(lambda: scene.weight == 25, "the first step")
        scene.wait(lambda: scene.weight != 25, "the end of the first step")
        moved = time.time()
        assert driver.end() == 1, driver.output

    walked = [weight for weight in scene.weights() if weight is not None]
    # What 250 requests a second do not prove, 500 may.
    assert walked in ([25, 0], [25, 50, 0]), driver.output
    assert scene.stand_in.shares(scene.namespace)[scene.stack.canary] == 0
    (event,) = scene.events("RolledBack")
    assert event["type"] == "Warning"
    assert f"rolled back: {check}: " in event["message"]
    assert f"rolled back: {check}: " in driver.output
    (alert,) = webhook.bodies
    if form == "slack":
        assert alert["text"].startswith(
            f"*RolledBack: InferenceService {scene.namespace}/{NAME}*\nrolled back: {check}"
        )
    else:
        labels = {"alertname": "RolledBack", "severity": "warning", "namespace": scene.namespace, "name": NAME}
        assert alert[0]["labels"] == {**labels, "kind": "InferenceService"}
        assert f"rolled back: {check}: " in alert[0]["annotations"]["description"]
    if how == "by-analysis-run" and walked == [25, 0]:
        taken = scene.runs[-1]["status"]["metricResults"][0]["measurements"][-1]
        took = moved - datetime.fromisoformat(taken["finishedAt"]).timestamp()  # whole seconds, rounded down
        print(f"from the verdict to weight 0: {took:.1f} s at most")
        assert took < POLL_SECONDS + 5


@pytest.mark.parametrize("stack", [stack for stack in STACKS if stack != "knative"])
def test_a_bad_canary_of_another_stack_is_rolled_back(make: MakeScene, stack: str) -> None:
    """By what its profile can see."""
    scene = make(stack)
    bad(scene)
    driver = scene.drive("--steps=25,50,100")
    assert driver.end() == 1, driver.output

    assert [weight for weight in scene.weights() if weight is not None] in (
        ([25, 0], [25, 50, 0]) if stack == "standard" else ([0, 25, 0], [0, 25, 50, 0])
    )
    scene.wait(lambda: scene.stand_in.shares(scene.namespace)[scene.stack.canary] == 0, "no requests")
    assert len(scene.events("RolledBack")) == 1


def test_a_fault_that_begins_late_is_rolled_back(make: MakeScene) -> None:
    """A canary that was good at 25 percent and is not at 50."""
    scene = make()
    driver = scene.drive("--steps=25,50,100")
    scene.wait(lambda: scene.weight == 50, "the second step")
    bad(scene)
    assert driver.end() == 1, driver.output
    assert scene.weights() == [None, 25, 50, 0]


def test_no_requests_hold_it_and_a_call_goes_on(make: MakeScene) -> None:
    """Nothing is proved without requests: a person is told; called again, it goes on at the weight it had."""
    scene = make()
    scene.route.rate = 0
    with Webhook() as webhook:
        driver = scene.drive(SHORT, "--looks=3", f"--webhook={webhook.url}")
        assert driver.end() == 3, driver.output
        assert "held at 50%" in webhook.bodies[0]["text"]
        assert len(scene.events("Held")) == 1

        scene.route.rate = 1000
        again = scene.drive(SHORT, f"--webhook={webhook.url}")
        assert again.end() == 0, again.output
        assert len(webhook.bodies) == 1
    assert scene.weights() == [None, 50, 100]
    assert [run["status"]["phase"] for run in scene.runs] == ["Inconclusive", "Successful"]


def test_a_model_that_is_never_ready_is_held(make: MakeScene) -> None:
    """It is not judged by requests that it does not get."""
    scene = make()
    never = f"gs://models/fraud/{NEVER}"
    driver = scene.drive(SHORT, f"--model={never}", "--ready-timeout=4s")
    assert driver.end() == 3, driver.output
    assert f"revision {scene.stack.canary} is not ready" in driver.output
    assert scene.runs == []


def test_what_is_said_after_a_rollback_leads_to_the_next_model(make: MakeScene) -> None:
    """The bad model stays the latest ready revision: the next one would have it served again until it is ready."""
    scene = make()
    bad(scene)
    driver = scene.drive(SHORT)
    assert driver.end() == 1, driver.output
    third = "--model=gs://models/fraud/3"

    refusing = scene.drive(third)
    assert refusing.end() == 2, refusing.output
    assert f"revision {scene.stack.canary} gets no requests now" in refusing.output
    assert scene.weight == 0

    scene.patch({"op": "replace", "path": STORAGE, "value": OLD})
    restored = f"{NAME}-predictor-00003"
    scene.wait(lambda: restored in scene.stand_in.shares(scene.namespace), "the old model is ready again")
    scene.patch({"op": "replace", "path": PERCENT, "value": 100})
    scene.wait(lambda: scene.stand_in.shares(scene.namespace)[restored] == 1, "it has all requests")
    again = scene.drive(SHORT, third)
    assert again.end() == 0, again.output
    assert scene.weights() == [None, 50, 0, 100, 50, 100]
    served = [shares.get(scene.stack.canary, 0) for _, shares in scene.route.history]
    ended = max(place for place, share in enumerate(served) if share)
    assert served[ended + 1 :] == [0] * len(served[ended + 1 :])
    assert sum(share > 0 and served[place - 1] == 0 for place, share in enumerate(served)) == 1


# Others who change things


@pytest.mark.parametrize("path", [PERCENT, STORAGE])
def test_what_somebody_else_has_changed_is_not_overwritten(make: MakeScene, path: str) -> None:
    """The weight or the model: it ends, says who it was, and leaves everything as that person wants it."""
    scene = make()
    scene.route.rate = 20  # never decided
    with Webhook() as webhook:
        driver = scene.drive(SHORT, f"--webhook={webhook.url}")
        driver.until("50%: ")
        theirs = scene.patch({"op": "replace", "path": path, "value": 70 if path == PERCENT else "gs://models/other"})
        assert driver.end() == 2, driver.output
        assert "somebody-else modified the spec during the rollout" in driver.output
        assert "somebody-else" in webhook.bodies[0]["text"]
    assert scene.resource["spec"] == theirs["spec"]

    again = scene.drive(SHORT)
    assert again.end() == 2, again.output
    assert scene.resource["spec"] == theirs["spec"]


@pytest.mark.parametrize("weight", [50, 60])
def test_a_canary_that_gets_requests_already_is_not_taken_over(make: MakeScene, weight: int) -> None:
    """Where it gets more than the first step gives, somebody is at work; --again says that it may be begun anew."""
    scene = make()
    scene.patch({"op": "replace", "path": STORAGE, "value": NEW}, {"op": "add", "path": PERCENT, "value": weight})
    if weight > 50:
        driver = scene.drive(SHORT)
        assert driver.end() == 2, driver.output
        assert "the canary gets 60% already, which somebody-else has set" in driver.output
        assert scene.weight == 60

    again = scene.drive(SHORT, *(["--again"] if weight > 50 else []))
    assert again.end() == 0, again.output
    assert scene.weights() == ([None, 60, 50, 100] if weight > 50 else [None, 50, 100])


@pytest.mark.parametrize("canary", ["good", "bad"])
def test_two_drivers_end_alike(make: MakeScene, canary: str) -> None:
    """Each step is made by either of them, once."""
    scene = make()
    if canary == "bad":
        bad(scene)
    drivers = [scene.drive("--steps=25,50,100") for _ in range(2)]
    ends = [driver.end() for driver in drivers]

    assert ends == ([0, 0] if canary == "good" else [1, 1]), "\n".join(driver.output for driver in drivers)
    walked = scene.weights()
    assert walked in ([[None, 25, 50, 100]] if canary == "good" else [[None, 25, 0], [None, 25, 50, 0]])
    assert len(scene.events("Promoted" if canary == "good" else "RolledBack")) == 1
    assert len(scene.runs) == len(walked) - 2


def test_a_resource_that_is_deleted_ends_it(make: MakeScene) -> None:
    """There is nothing left to walk, and nothing is made anew."""
    scene = make()
    driver = scene.drive(SHORT)
    driver.until("50%: ")
    scene.cluster.api.delete(scene.path)
    assert driver.end() == 2, driver.output
    assert f"inferenceservices.serving.kserve.io {NAME} was deleted" in driver.output


# What fails for a while


def test_a_refused_patch_is_tried_again(make: MakeScene) -> None:
    """Admission that refuses the next weight for a while stops nothing for good."""
    scene = make()
    driver = scene.drive(SHORT)
    driver.until("50%: ")
    with refused(scene):
        driver.until(f"refused by {scene.namespace}; trying again")
        assert scene.weight == 50
    assert driver.end() == 0, driver.output
    assert scene.weights() == [None, 50, 100]


def test_a_refusal_of_the_first_patch_ends_it(make: MakeScene) -> None:
    """Nothing was begun, so nothing has to be brought to an end."""
    scene = make()
    with refused(scene):
        driver = scene.drive(SHORT)
        assert driver.end() == 2, driver.output
    assert f"refused by {scene.namespace}" in driver.output
    assert scene.weights() == [None]


@pytest.mark.parametrize("trouble", ["down", "slow", "error"])
def test_a_webhook_in_trouble_delays_no_rollback(make: MakeScene, trouble: str) -> None:
    """The weight is 0 before anybody is told; the end comes within 15 s, and the address is printed nowhere."""
    scene = make()
    bad(scene)
    with Webhook(code=500 if trouble == "error" else 200, seconds=10 if trouble == "slow" else 0) as webhook:
        url = webhook.url if trouble != "down" else "http://127.0.0.1:9/of-a-secret-address"
        driver = scene.drive(SHORT, "--direct", f"--webhook={url}")
        scene.wait(lambda: scene.weight == 0, "the rollback")
        moved = time.monotonic()
        assert driver.end() == 1, driver.output
        assert time.monotonic() - moved < 15
    assert "the webhook was not told" in driver.output
    assert "secret" not in driver.output
    assert len(scene.events("RolledBack")) == 1


@pytest.mark.parametrize("how", ["by-analysis-run", "direct"])
def test_an_analyzer_that_is_away_is_waited_for(make: MakeScene, measured: Measured, folder: Path, how: str) -> None:
    """Nothing is decided meanwhile, and it goes on when the analyzer is back."""
    scene = make()
    here = folder / "driver" / scene.namespace
    here.mkdir()
    analyzer = Service(folder / "venv" / "bin" / "analyzer", measured.prometheus.url, here)
    more = ["--direct"] if how == "direct" else []
    driver = None
    try:
        analyzer.start()
        driver = scene.drive(SHORT, f"--analyzer-url={analyzer.url}", *more)
        scene.wait(lambda: scene.weight == 50, "the first step")
        analyzer.stop()
        if how == "direct":
            driver.until("the analyzer does not answer")
        else:
            scene.wait(lambda: any("connection refused" in json.dumps(run) for run in scene.runs), "an error")
        assert scene.weight == 50
        analyzer.start()
        assert driver.end() == 0, driver.output
    finally:
        analyzer.stop()
    assert scene.weights() == [None, 50, 100]


@pytest.mark.parametrize("more", ["--profile=no-such", '--limits={"no_such_check": {}}', "--policy=no-such"])
def test_a_question_that_the_analyzer_refuses_begins_nothing(make: MakeScene, more: str) -> None:
    """It is asked before the canary gets its first request."""
    scene = make()
    driver = scene.drive(SHORT, "--direct", more)
    assert driver.end() == 2, driver.output
    assert "the analyzer refuses the request" in driver.output
    assert scene.weights() == [None]


def test_a_template_that_is_missing_begins_nothing(make: MakeScene) -> None:
    """It says what to do."""
    scene = make()
    driver = scene.drive("--template=no-such")
    assert driver.end() == 2, driver.output
    assert "there is no AnalysisTemplate and no ClusterAnalysisTemplate 'no-such': apply it first" in driver.output
    assert scene.weights() == [None]


def test_an_api_server_that_is_started_again_is_waited_for(make: MakeScene, folder: Path) -> None:
    """A cluster of its own, without Argo: the API server ends in the middle of a step, and comes back."""
    built = components.build()
    own = Cluster(folder / f"cluster-{time.time_ns()}", built)
    own.folder.mkdir()
    try:
        own._write_keys()
        own._start_control_plane()
        (definition,) = (path for path in built.crds if "inferenceservices" in path.name)
        own.kubectl("apply", "--server-side", "-f", str(definition))
        while "inferenceservices" not in own.kubectl("api-resources", "--api-group=serving.kserve.io", check=False):
            time.sleep(0.2)
        scene = make(on=own)
        driver = scene.drive(SHORT, "--direct")
        scene.wait(lambda: scene.weight == 50, "the first step")
        assert scene.weights() == [None, 50]
        (server,) = [process for process in own._processes if "kube-apiserver" in str(process.args)]
        server.kill()
        server.wait(10)
        driver.until("trying again")
        with (own.folder / "kube-apiserver.log").open("ab") as log:
            own._processes.append(subprocess.Popen(server.args, stdout=log, stderr=subprocess.STDOUT))
        own._processes.remove(server)
        assert driver.end() == 0, driver.output
        assert scene.weight == 100
    finally:
        own.stop()


def test_no_api_server_is_told_from_wrong_usage(cluster: Cluster, folder: Path, tmp_path: Path) -> None:
    """Exit code 4: another call may find it."""
    config = cluster.kubeconfig.read_text().replace(str(cluster.port), "9")
    (tmp_path / "kubeconfig").write_text(config)
    done = subprocess.run(
        [folder / "venv" / "bin" / "analyzer", "rollout", "kserve", NAME],
        env={"PATH": "/usr/bin:/bin", "KUBECONFIG": str(tmp_path / "kubeconfig")},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("Error: inferenceservices.serving.kserve.io fraud")


@pytest.mark.parametrize("canary", ["good", "bad"])
def test_a_command_that_is_killed_goes_on_when_called_again(make: MakeScene, canary: str) -> None:
    """Five times, at drawn moments, by SIGKILL."""
    scene, draw = make(), np.random.default_rng(5)
    if canary == "bad":
        bad(scene)
    for pause in draw.uniform(0.6, 4.0, size=5):
        driver = scene.drive("--steps=25,50,100")
        time.sleep(pause)
        driver.kill()
    driver = scene.drive("--steps=25,50,100")
    assert driver.end() == (0 if canary == "good" else 1), driver.output

    walked = scene.weights()
    assert walked in ([[None, 25, 50, 100]] if canary == "good" else [[None, 25, 0], [None, 25, 50, 0]])
    assert len(scene.runs) == len(walked) - 2
    assert len(scene.events("Promoted" if canary == "good" else "RolledBack")) == 1


# What may be done, and what would be


@pytest.mark.parametrize("stack", STACKS)
def test_the_patches_of_a_dry_run_walk_to_the_end(make: MakeScene, stack: str) -> None:
    """Nothing is changed by printing them; applied with kubectl one after the other, they are the rollout."""
    scene = make(stack)
    before = scene.resource["metadata"]["generation"]
    driver = scene.drive("--dry-run")
    assert driver.end() == 0, driver.output
    assert scene.resource["metadata"]["generation"] == before

    patches = [line for line in driver.output.splitlines() if not line.startswith("#")]
    titles = [line for line in driver.output.splitlines() if line.startswith("#")]
    assert len(patches) == len(titles) == 5
    assert titles[-1] == "# weight 0%, whenever it is proved bad"
    kind = f"{scene.stand_in.plural}.{scene.stand_in.group.partition('/')[0]}"
    for patch in patches[:-1]:
        scene.cluster.kubectl("-n", scene.namespace, "patch", kind, NAME, "--type=json", "-p", patch)
    weights = [weight for weight in scene.weights() if weight]
    assert weights == ([5, 25, 50] if stack == "standard" else [5, 25, 50, 100])
    if stack != "experiment":
        assert NEW in json.dumps(scene.resource["spec"])


def rights(scene: Scene, *, without: tuple[str, str] | None = None) -> list[Object]:
    """Read those of the example, for the namespace of the scene; one may be left out."""
    found = []
    for each in yaml.safe_load_all((PROJECT / "rollouts" / "kserve-inferenceservice" / "rbac.yaml").read_text()):
        if each["kind"].startswith("Cluster"):
            each["metadata"]["name"] += f"-{scene.namespace}"
            if "roleRef" in each:
                each["roleRef"]["name"] += f"-{scene.namespace}"
        else:
            each["metadata"]["namespace"] = scene.namespace
        for subject in each.get("subjects", ()):
            subject["namespace"] = scene.namespace
        for rule in each.get("rules", ()):
            if without and rule["resources"] == [without[0]]:
                rule["verbs"].remove(without[1])
        if "rules" in each:
            each["rules"] = [rule for rule in each["rules"] if rule["verbs"]]
        found.append(each)
    return found


def test_the_rights_of_the_example_are_enough(make: MakeScene) -> None:
    """As the ServiceAccount, with a token as a pod has it."""
    scene = make()
    config = account(scene, rights(scene), "model-rollout")
    driver = scene.drive(SHORT, kubeconfig=config)
    assert driver.end() == 0, driver.output
    assert "forbidden" not in driver.output
    assert len(scene.events("Promoted")) == 1


@pytest.mark.parametrize(
    ("resource", "verb"),
    [
        ("inferenceservices", "get"),
        ("inferenceservices", "patch"),
        ("analysisruns", "create"),
        ("analysisruns", "list"),
        ("clusteranalysistemplates", "get"),
    ],
)
def test_a_right_that_is_missing_is_named_before_anything_begins(make: MakeScene, resource: str, verb: str) -> None:
    """The text of the API server says which."""
    scene = make()
    config = account(scene, rights(scene, without=(resource, verb)), "model-rollout")
    driver = scene.drive(SHORT, kubeconfig=config)
    assert driver.end() == 2, driver.output
    assert f'cannot {verb} resource "{resource}"' in driver.output
    assert scene.weights() == [None]


def test_events_that_may_not_be_written_stop_nothing(make: MakeScene) -> None:
    """It says so, and goes on."""
    scene = make()
    config = account(scene, rights(scene, without=("events", "create")), "model-rollout")
    driver = scene.drive(SHORT, kubeconfig=config)
    assert driver.end() == 0, driver.output
    assert 'cannot create resource "events"' in driver.output
