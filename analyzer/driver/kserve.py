"""KServe's InferenceService, in Knative mode (``canaryTrafficPercent``) and in Standard mode (``spec.canary``).

No annotation or label is ever written: KServe hands them on to the pods, so each would make a new revision.
"""

from copy import deepcopy
from typing import Any

from analyzer.driver.resource import Object, Patch, Refused, ResourceKind, Split, condition

KIND = ResourceKind("serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices")
MODE = "serving.kserve.io/deploymentMode"
FIXED = ("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "autoScaling")


def is_standard(resource: Object) -> bool:
    """Whether KServe runs it without Knative."""
    annotated = resource["metadata"].get("annotations", {}).get(MODE, "")
    mode = annotated or resource.get("status", {}).get("deploymentMode", "")
    return mode in ("Standard", "RawDeployment")


class Knative:
    """The latest revision against the one that was rolled out last."""

    kind = KIND

    def profile(self, resource: Object) -> str:  # noqa: ARG002
        """Read Knative's queue-proxy."""
        return "kserve-knative"

    def service(self, resource: Object) -> str:
        """Name the InferenceService."""
        return str(resource["metadata"]["name"])

    def read(self, resource: Object) -> Split:
        """Read the split from the predictor's revisions."""
        weight = resource["spec"]["predictor"].get("canaryTrafficPercent")
        status = resource.get("status", {}).get("components", {}).get("predictor", {})
        canary, baseline = status.get("latestCreatedRevision", ""), status.get("latestRolledoutRevision", "")
        if weight is None:
            return Split(None, canary, baseline)
        if weight >= 100:
            waiting = "" if canary and canary == baseline else f"Knative has not rolled {canary} out yet"
            return Split(100, canary, baseline, waiting, promoted=True)
        return Split(weight, canary, baseline, self._waiting(resource, status, weight))

    def begin(self, resource: Object, model: str | None, weight: int) -> Patch:
        """Set model and weight at once, for without a weight KServe gives a new model all requests."""
        status = resource.get("status", {}).get("components", {}).get("predictor", {})
        if not status.get("latestRolledoutRevision"):
            raise Refused(
                "no revision was rolled out yet, so there is nothing to compare a canary with: wait until the "
                "InferenceService is ready"
            )
        ready, percent = status.get("latestReadyRevision"), resource["spec"]["predictor"].get("canaryTrafficPercent")
        if model is not None and percent == 0 and ready != status["latestRolledoutRevision"]:
            raise Refused(
                f"revision {ready} gets no requests now, and would get the new model's until that is ready: Knative "
                "sends them to the latest ready revision. Put the model that serves back first: set its storageUri, "
                "with canaryTrafficPercent 0, and when that revision is ready set canaryTrafficPercent to 100"
            )
        if model is None:
            if percent is None:
                raise Refused(
                    "canaryTrafficPercent is not set, so KServe gives a new model all requests at once: apply it "
                    "together with canaryTrafficPercent: 0, or let --model do both"
                )
            return self.move(resource, weight)
        path = f"/spec/predictor/{_model(resource['spec']['predictor'])[0]}/storageUri"
        return [{"op": "replace", "path": path, "value": model}, *self.move(resource, weight)]

    def move(self, resource: Object, weight: int) -> Patch:
        """Set the weight, of predictor and transformer together."""
        components = [name for name in ("predictor", "transformer") if resource["spec"].get(name) is not None]
        return [{"op": "add", "path": f"/spec/{name}/canaryTrafficPercent", "value": weight} for name in components]

    def promote(self, resource: Object) -> Patch:
        """Give the latest revision all requests."""
        return self.move(resource, 100)

    def has(self, resource: Object, model: str) -> bool:
        """Compare the storage URI."""
        return _model(resource["spec"]["predictor"])[1] == model

    def after_rollback(self, resource: Object) -> str:  # noqa: ARG002
        """Put the old model back before the weight is let go."""
        return (
            "The bad model is still in the specification, without requests: set its storageUri back to the old one "
            "with canaryTrafficPercent 0, and only when that revision is ready set canaryTrafficPercent to 100; "
            "removing the field now would promote the bad model"
        )

    @staticmethod
    def _waiting(resource: Object, status: Object, weight: int) -> str:
        canary, baseline = status.get("latestCreatedRevision"), status.get("latestRolledoutRevision")
        if not canary or not baseline:
            return "no revision is reported yet"
        if canary == baseline:
            return f"there is no revision newer than {baseline} yet"
        if weight and status.get("latestReadyRevision") != canary:
            return f"revision {canary} is not ready"
        share = sum(
            target.get("percent") or 0 for target in status.get("traffic") or () if target.get("revisionName") == canary
        )
        if share != weight:
            return f"Knative reports {share}% for {canary}"
        return condition(resource, "PredictorReady") if weight else ""


class Standard:
    """The first entry of ``spec.canary`` against the predictor (KServe 0.20 and later)."""

    kind = KIND

    def profile(self, resource: Object) -> str:  # noqa: ARG002
        """Read the predictor's own metrics."""
        return "kserve-standard"

    def service(self, resource: Object) -> str:
        """Name the InferenceService."""
        return str(resource["metadata"]["name"])

    def read(self, resource: Object) -> Split:
        """Read the split from the canary's entry."""
        canaries = resource["spec"].get("canary") or []
        service, stable = resource["metadata"]["name"], resource["spec"]["predictor"].get("name", "")
        if not canaries:
            return Split(None, baseline=_label(service, stable), promoted=True, waiting=condition(resource, "Ready"))
        if len(canaries) > 1:
            raise Refused(f"spec.canary has {len(canaries)} entries: only one at a time can be judged")
        name, weight = canaries[0]["predictor"]["name"], canaries[0]["trafficPercent"]
        waiting = ""
        reported = [
            canary_status
            for canary_status in resource.get("status", {}).get("canaryStatuses") or ()
            if canary_status["name"] == name
        ]
        if not reported:
            waiting = f"canary {name} is not reported yet"
        elif reported[0].get("trafficPercent", 0) != weight:
            waiting = f"KServe reports {reported[0].get('trafficPercent', 0)}% for {name}"
        elif weight and not reported[0].get("ready"):
            waiting = f"canary {name} is not ready"
        elif weight:
            waiting = condition(resource, "IngressReady")
        return Split(weight, _label(service, name), _label(service, stable), waiting)

    def begin(self, resource: Object, model: str | None, weight: int) -> Patch:
        """Add a canary that differs by its model only, or start the one that is there."""
        if resource["metadata"].get("annotations", {}).get(MODE) != "Standard":
            raise Refused(f"spec.canary needs the annotation {MODE}: Standard on the InferenceService")
        if resource["spec"].get("canary"):
            if model is not None and not self.has(resource, model):
                raise Refused("spec.canary has another model already: remove that entry first, or leave --model out")
            return self.move(resource, weight)
        if model is None:
            raise Refused("there is no canary: add an entry to spec.canary with trafficPercent 0, or give --model")
        predictor = {key: deepcopy(value) for key, value in resource["spec"]["predictor"].items() if key not in FIXED}
        # A name that no earlier canary had, for its metrics bear it.
        predictor["name"] = f"v{resource['metadata']['generation'] + 1}"
        predictor[_model(predictor)[0]]["storageUri"] = model
        return [{"op": "add", "path": "/spec/canary", "value": [{"predictor": predictor, "trafficPercent": weight}]}]

    def move(self, resource: Object, weight: int) -> Patch:
        """Set the weight of the one canary that was read."""
        name = resource["spec"]["canary"][0]["predictor"]["name"]
        return [
            {"op": "test", "path": "/spec/canary/0/predictor/name", "value": name},
            {"op": "replace", "path": "/spec/canary/0/trafficPercent", "value": weight},
        ]

    def promote(self, resource: Object) -> Patch:
        """Name the canary's predictor the predictor: its pods stay as they are, and those of the old one go."""
        predictor = _merged(resource["spec"]["predictor"], resource["spec"]["canary"][0]["predictor"])
        for key in FIXED:  # the canary's are of its time as a canary
            predictor.pop(key, None)
            if key in resource["spec"]["predictor"]:
                predictor[key] = resource["spec"]["predictor"][key]
        return [
            {"op": "replace", "path": "/spec/predictor", "value": predictor},
            {"op": "remove", "path": "/spec/canary"},
        ]

    def has(self, resource: Object, model: str) -> bool:
        """Compare the storage URI of the canary, or of the predictor once it was promoted."""
        canaries = resource["spec"].get("canary") or []
        predictor = canaries[0]["predictor"] if canaries else resource["spec"]["predictor"]
        return _model(predictor)[1] == model

    def after_rollback(self, resource: Object) -> str:  # noqa: ARG002
        """Take the entry away."""
        return "The canary gets no requests: remove spec.canary when you have seen enough of it"


def _model(predictor: Object) -> tuple[str, str]:
    """Find the field that says what is served, ``model`` or that of a framework, and its address."""
    for name, part in predictor.items():
        if isinstance(part, dict) and "storageUri" in part:
            return name, str(part["storageUri"])
    raise Refused(
        "the predictor has no storageUri that --model could replace: change the model yourself, together with "
        "canaryTrafficPercent: 0 (Standard mode: add it to spec.canary with trafficPercent: 0), and leave --model out"
    )


def _label(service: str, predictor: str) -> str:
    return f"isvc.{service}-{predictor}-predictor" if predictor else f"isvc.{service}-predictor"


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one specification over another, field by field, as KServe does to run the canary."""
    merged = deepcopy(below)
    for key, value in above.items():
        mine = merged.get(key)
        merged[key] = _merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else deepcopy(value)
    return merged
