"""Tests of `analyzer.driver.kserve` and `.seldon`: what is read from a resource, and what each patch makes of it."""

from copy import deepcopy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.driver.kserve import FIXED, Knative, Standard, is_standard
from analyzer.driver.resource import Object, Refused, Stack, guarded
from analyzer.driver.seldon import Deployment, Experiment

OLD, NEW = "gs://models/1", "gs://models/2"
MODE = {"serving.kserve.io/deploymentMode": "Standard"}


def resource(spec: Object, status: Object | None = None, **metadata: Any) -> Object:
    """Build a resource as the API server gives it."""
    known = {"name": "fraud", "namespace": "ml", "uid": "0-1-2", "generation": 7}
    return {"metadata": {**known, **metadata}, "spec": spec, "status": status or {}}


def model(address: str = OLD) -> Object:
    """Say what is served."""
    return {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": address}}


def knative(weight: int | None = 0, *, share: int | None = None, ready: bool = True, **spec: Object) -> Object:
    """Build an InferenceService with a second revision."""
    predictor = model(NEW) | ({} if weight is None else {"canaryTrafficPercent": weight})
    share = share if share is not None else weight or 0
    status = {
        "latestCreatedRevision": "fraud-predictor-00002",
        "latestReadyRevision": "fraud-predictor-00002",
        "latestRolledoutRevision": "fraud-predictor-00001",
        "traffic": [
            {"revisionName": "fraud-predictor-00002", "percent": share, "latestRevision": True},
            {"revisionName": "fraud-predictor-00001", "percent": 100 - share, "latestRevision": False},
        ],
    }
    conditions = [{"type": "PredictorReady", "status": "True" if ready else "False", "message": "no image"}]
    return resource({"predictor": predictor, **spec}, {"components": {"predictor": status}, "conditions": conditions})


def standard(weight: int | None = 0, **predictor: Any) -> Object:
    """Build an InferenceService of Standard mode with a canary."""
    canaries = [{"predictor": {"name": "v2", **model(NEW), "minReplicas": 1}, "trafficPercent": weight}]
    spec: Object = {"predictor": {**model(), **predictor}, **({} if weight is None else {"canary": canaries})}
    reported = [{"name": "v2", "ready": True, "trafficPercent": weight}]
    return resource(spec, {"canaryStatuses": reported, "conditions": [{"type": "IngressReady", "status": "True"}]},
                    annotations=MODE)  # fmt: skip


def deployment(weight: int = 0, *more: Object, state: str = "Available") -> Object:
    """Build a SeldonDeployment."""
    both = [
        {"name": name, "traffic": traffic, "graph": {"name": "model", "modelUri": OLD}}
        for name, traffic in (("main", 100 - weight), ("canary", weight))
    ]
    return resource({"predictors": [*both, *more]}, {"state": state})


def experiment(weight: int = 0, kind: str = "pipeline", total: int = 100, **spec: Any) -> Object:
    """Build an Experiment."""
    both = [{"name": "fraud-v1", "weight": total - weight}, {"name": "fraud-v2", "weight": weight}]
    conditions = [{"type": name, "status": "True"} for name in ("ExperimentReady", "CandidatesReady")]
    return resource({"candidates": both, "resourceType": kind, **spec}, {"conditions": conditions})


CASES: dict[str, tuple[Stack, Any]] = {
    "knative": (Knative(), knative),
    "standard": (Standard(), standard),
    "deployment": (Deployment(), deployment),
    "experiment": (Experiment(), experiment),
}
WEIGHTS = st.integers(0, 99)


def applied(found: Object, patch: Any) -> Object:
    """Apply a patch as the API server does."""
    changed: Object = jsonpatch.apply_patch(found, patch)
    return changed


@pytest.mark.parametrize("name", CASES)
@given(before=WEIGHTS, after=WEIGHTS)
def test_a_weight_is_read_as_it_was_set(name: str, before: int, after: int) -> None:
    """Whatever it was before; and nothing else is changed."""
    stack, build = CASES[name]
    found = build(before)
    changed = applied(found, guarded(found, stack.move(found, after)))
    assert stack.read(found).weight == before
    assert stack.read(changed).weight == after
    assert changed["spec"] == build(after)["spec"]


@pytest.mark.parametrize("name", CASES)
@given(read=st.integers(1, 9), other=st.integers(1, 9))
def test_a_patch_fits_only_what_was_read(name: str, read: int, other: int) -> None:
    """Another generation, or another resource of the same name, refuses it."""
    stack, build = CASES[name]
    found = build(5)
    found["metadata"]["generation"] = read
    for patch in (stack.move(found, 25), stack.promote(found)):
        assert applied(found, guarded(found, patch)) == applied(found, patch)
        for change in ({"generation": other}, {"uid": "another"}):
            if change == {"generation": read}:
                continue
            moved = deepcopy(found)
            moved["metadata"] |= change
            with pytest.raises(jsonpatch.JsonPatchTestFailed):
                applied(moved, guarded(found, patch))


@pytest.mark.parametrize("name", CASES)
def test_what_was_promoted_is_read_as_promoted(name: str) -> None:
    """And serves the canary's model."""
    stack, build = CASES[name]
    found = build(50)
    changed = applied(found, stack.promote(found))
    assert stack.read(changed).promoted
    assert not stack.read(found).promoted


@pytest.mark.parametrize(("name", "canary", "baseline", "profile"), [
    ("knative", "fraud-predictor-00002", "fraud-predictor-00001", "kserve-knative"),
    ("standard", "isvc.fraud-v2-predictor", "isvc.fraud-predictor", "kserve-standard"),
    ("deployment", "canary", "main", "seldon-v1"),
    ("experiment", "fraud-v2", "fraud-v1", "seldon-v2-pipeline"),
])  # fmt: skip
def test_the_arms_are_those_of_the_profile(name: str, canary: str, baseline: str, profile: str) -> None:
    """As its label has them."""
    stack, build = CASES[name]
    split = stack.read(build(5))
    assert (split.canary, split.baseline, split.waiting) == (canary, baseline, "")
    assert stack.profile(build(5)) == profile


# Knative


@pytest.mark.parametrize(
    ("found", "waiting"),
    [
        (knative(25, share=5), "Knative reports 5% for fraud-predictor-00002"),
        (knative(25, ready=False), "PredictorReady is False: no image"),
        (resource({"predictor": {"canaryTrafficPercent": 5}}), "no revision is reported yet"),
    ],
)
def test_knative_is_waited_for(found: Object, waiting: str) -> None:
    """Until the traffic is as asked for."""
    assert Knative().read(found).waiting == waiting


@pytest.mark.parametrize("weight", [5, 25])
def test_an_older_ready_revision_is_not_judged_in_place_of_the_newest(weight: int) -> None:
    """The newest gets no requests before it is ready, whatever the weight says."""
    found = knative(weight)
    found["status"]["components"]["predictor"]["latestReadyRevision"] = "fraud-predictor-00001"
    assert Knative().read(found).waiting == "revision fraud-predictor-00002 is not ready"


def test_no_annotation_and_no_label_is_written_to_an_inference_service() -> None:
    """KServe hands them on to the pods, so each would start another revision."""
    found = knative(0, transformer={"containers": []})
    stack = Knative()
    patches = [*stack.begin(found, None, 5), *stack.move(found, 25), *stack.promote(found)]
    assert {one["path"] for one in patches} == {
        "/spec/predictor/canaryTrafficPercent",
        "/spec/transformer/canaryTrafficPercent",
    }


def test_model_and_weight_are_one_change() -> None:
    """Without the weight KServe would give a new model everything."""
    found = knative(None)
    changed = applied(found, Knative().begin(found, "gs://models/3", 5))
    assert changed["spec"]["predictor"]["canaryTrafficPercent"] == 5
    assert Knative().has(changed, "gs://models/3")


@pytest.mark.parametrize(
    ("found", "given_model", "says"),
    [
        (resource({"predictor": model()}), NEW, "no revision was rolled out yet"),
        (knative(None), None, "apply it together with canaryTrafficPercent: 0, or let --model do both"),
        (knative(0), "gs://models/3", "Put the model that serves back first"),
    ],
)
def test_knative_says_what_to_do(found: Object, given_model: str | None, says: str) -> None:
    """Before anything is changed."""
    with pytest.raises(Refused, match=says):
        Knative().begin(found, given_model, 5)


def test_a_predictor_without_an_address_is_left_to_the_user() -> None:
    """A custom predictor has no storageUri."""
    found = knative(None)
    found["spec"]["predictor"] = {"containers": [{"image": "fraud:2"}]}
    with pytest.raises(Refused, match="no storageUri that --model could replace"):
        Knative().begin(found, NEW, 5)


# Standard


@given(
    stable=st.dictionaries(st.sampled_from(FIXED), st.integers(1, 9)),
    weight=st.integers(1, 99),
    timeout=st.integers(1, 60),
)
def test_a_promoted_canary_keeps_the_autoscaling_of_the_predictor(
    stable: dict[str, int], weight: int, timeout: int
) -> None:
    """Its model and its name, under which its pods run already; what it does not say is the predictor's."""
    found = standard(weight, timeout=timeout, **stable)
    changed = applied(found, guarded(found, Standard().promote(found)))
    assert changed["spec"] == {"predictor": {"name": "v2", "timeout": timeout, **model(NEW), **stable}}


def test_a_canary_is_made_of_the_predictor_and_the_model() -> None:
    """It may not scale by itself, and bears a name of its own."""
    found = standard(None, minReplicas=2, maxReplicas=5, timeout=9)
    changed = applied(found, Standard().begin(found, NEW, 5))
    expected = {"name": "v8", "timeout": 9, **model(NEW)}
    assert changed["spec"]["canary"] == [{"predictor": expected, "trafficPercent": 5}]
    assert changed["spec"]["predictor"] == found["spec"]["predictor"]


@pytest.mark.parametrize(
    ("found", "given_model", "says"),
    [
        (resource({"predictor": model()}), NEW, "serving.kserve.io/deploymentMode: Standard"),
        (standard(None), None, "add an entry to spec.canary with trafficPercent 0, or give --model"),
        (standard(0), "gs://models/3", "remove that entry first"),
    ],
)
def test_standard_says_what_to_do(found: Object, given_model: str | None, says: str) -> None:
    """Before anything is changed."""
    with pytest.raises(Refused, match=says):
        Standard().begin(found, given_model, 5)


@pytest.mark.parametrize(
    ("change", "waiting"),
    [
        ({"canaryStatuses": []}, "canary v2 is not reported yet"),
        ({"canaryStatuses": [{"name": "v2", "trafficPercent": 5, "ready": False}]}, "canary v2 is not ready"),
        ({"canaryStatuses": [{"name": "v2", "ready": True}]}, "KServe reports 0% for v2"),
        ({"conditions": []}, "IngressReady is not reported yet"),
    ],
)
def test_standard_is_waited_for(change: Object, waiting: str) -> None:
    """Until the route has the weight."""
    found = standard(5)
    found["status"] |= change
    assert Standard().read(found).waiting == waiting


def test_two_canaries_are_one_too_many() -> None:
    """Nobody says which."""
    found = standard(5)
    found["spec"]["canary"] *= 2
    with pytest.raises(Refused, match="2 entries: only one"):
        Standard().read(found)


@pytest.mark.parametrize(
    ("annotation", "status", "expected"),
    [
        ("Standard", "", True),
        ("RawDeployment", "", True),
        ("", "Standard", True),
        ("Knative", "Standard", False),
        ("", "", False),
    ],
)
def test_the_mode_is_that_of_the_annotation_or_of_the_status(annotation: str, status: str, expected: bool) -> None:
    """Where there is no annotation, the default of the cluster holds, and KServe reports it."""
    annotations = {"serving.kserve.io/deploymentMode": annotation} if annotation else {}
    assert is_standard(resource({}, {"deploymentMode": status}, annotations=annotations)) is expected


# Seldon


@given(weight=WEIGHTS)
def test_the_traffic_of_predictors_always_adds_up(weight: int) -> None:
    """The admission webhook wants it, in one change; a shadow is let alone."""
    found = deployment(5, {"name": "dark", "shadow": True, "traffic": 30, "graph": {}})
    changed = applied(found, Deployment().begin(found, NEW, weight))
    assert [one["traffic"] for one in changed["spec"]["predictors"]] == [100 - weight, weight, 30]
    assert Deployment().has(changed, NEW)
    assert Deployment().read(changed).begun


@pytest.mark.parametrize(
    ("found", "canary", "says"),
    [
        (deployment(5, {"name": "third", "traffic": 0, "graph": {}}), None, "3 predictors take requests"),
        (deployment(5), "canry", "there is no predictor 'canry': there are 'main', 'canary'"),
        (deployment(5, {"name": "dark", "shadow": True, "graph": {}}), "dark", "is a shadow"),
    ],
)
def test_a_deployment_says_what_it_needs(found: Object, canary: str | None, says: str) -> None:
    """Two predictors, of which one is the canary."""
    with pytest.raises(Refused, match=says):
        Deployment(canary).read(found)


def test_traffic_that_does_not_add_up_is_refused() -> None:
    """A share of it would go nowhere."""
    found = deployment(5)
    found["spec"]["predictors"][0]["traffic"] = 90
    with pytest.raises(Refused, match="does not add up to 100"):
        Deployment().read(found)


def test_a_deployment_is_waited_for() -> None:
    """Until it is available."""
    assert Deployment().read(deployment(5, state="Creating")).waiting == "its state is Creating"
    assert not Deployment().read(deployment(0, state="Creating")).waiting


@pytest.mark.parametrize("canary", ["main", "canary"])
def test_a_named_predictor_is_the_canary(canary: str) -> None:
    """Wherever it stands."""
    split = Deployment(canary).read(deployment(30))
    assert (split.canary, split.weight) == (canary, 70 if canary == "main" else 30)


@pytest.mark.parametrize(
    ("stack", "spec", "canary", "baseline"),
    [
        (Experiment(), {}, "fraud-v2_1", "fraud-v1_1"),
        (Experiment(), {"default": "fraud-v2"}, "fraud-v1_1", "fraud-v2_1"),
        (Experiment("fraud-v1"), {}, "fraud-v1_1", "fraud-v2_1"),
        (Experiment(None, "fraud-v2_3", "fraud-v1_9"), {}, "fraud-v2_3", "fraud-v1_9"),
    ],
)
def test_the_candidates_of_models_bear_their_version(
    stack: Experiment, spec: Object, canary: str, baseline: str
) -> None:
    """The canary is the one that is not the default."""
    split = stack.read(experiment(5, "model", **spec))
    assert (split.canary, split.baseline) == (canary, baseline)


def test_weights_are_parts_of_their_sum() -> None:
    """Whoever has set them."""
    assert Experiment().read(experiment(1, total=4)).weight == 25
    assert Experiment().read(experiment(0, total=0)).weight == 0


@pytest.mark.parametrize("name", CASES)
def test_after_a_rollback_it_says_what_to_do(name: str) -> None:
    """In words, for the alert."""
    stack, build = CASES[name]
    assert "requests" in stack.after_rollback(build(0))
