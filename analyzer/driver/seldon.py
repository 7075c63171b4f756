"""Seldon Core: two predictors of a SeldonDeployment (v1), and two candidates of an Experiment (v2)."""

from dataclasses import dataclass

from analyzer.driver.resource import (
    Object,
    Patch,
    Refused,
    ResourceKind,
    Split,
    begin_of,
    condition,
    find_one,
    note_begin,
)


@dataclass(frozen=True)
class Deployment:
    """Two predictors, of which one is the canary: the second, unless it is named."""

    canary: str | None = None
    kind = ResourceKind("machinelearning.seldon.io", "v1", "SeldonDeployment", "seldondeployments")

    def profile(self, resource: Object) -> str:  # noqa: ARG002
        """Read the executor's metrics."""
        return "seldon-v1"

    def service(self, resource: Object) -> str:
        """Name the SeldonDeployment."""
        return str(resource["metadata"]["name"])

    def read(self, resource: Object) -> Split:
        """Read the split from the predictors."""
        ours, theirs = self._arm_indices(resource)
        predictors = resource["spec"]["predictors"]
        weight = predictors[ours].get("traffic") or 0
        if weight + (predictors[theirs].get("traffic") or 0) != 100:
            raise Refused("the traffic of the two predictors does not add up to 100: set it so that it does")
        state = resource.get("status", {}).get("state")
        return Split(
            weight,
            predictors[ours]["name"],
            predictors[theirs]["name"],
            "" if state == "Available" or not weight else f"its state is {state or 'not reported yet'}",
            promoted=weight == 100,
            begun=begin_of(resource),
        )

    def begin(self, resource: Object, model: str | None, weight: int) -> Patch:
        """Set model and weights at once."""
        ours, _ = self._arm_indices(resource)
        patch = [*note_begin(resource), *self.move(resource, weight)]
        if model is not None:
            patch.append({"op": "add", "path": f"/spec/predictors/{ours}/graph/modelUri", "value": model})
        return patch

    def move(self, resource: Object, weight: int) -> Patch:
        """Set both weights in one change: the admission webhook wants them to add up to 100."""
        ours, theirs = self._arm_indices(resource)
        return [
            *self._tests(resource),
            {"op": "add", "path": f"/spec/predictors/{theirs}/traffic", "value": 100 - weight},
            {"op": "add", "path": f"/spec/predictors/{ours}/traffic", "value": weight},
        ]

    def promote(self, resource: Object) -> Patch:
        """Give the canary all requests; the other predictor is there for the next one."""
        return self.move(resource, 100)

    def has(self, resource: Object, model: str) -> bool:
        """Compare the address of the canary's model."""
        graph = resource["spec"]["predictors"][self._arm_indices(resource)[0]]["graph"]
        return bool(graph.get("modelUri") == model)

    def after_rollback(self, resource: Object) -> str:
        """Put the next model in the place of the bad one."""
        name = resource["spec"]["predictors"][self._arm_indices(resource)[0]]["name"]
        return (
            f"Predictor {name} gets no requests: put the next model there with --model, or remove it and its "
            "traffic in one change"
        )

    def _arm_indices(self, resource: Object) -> tuple[int, int]:
        """Return the indices of canary and baseline."""
        predictors = resource["spec"]["predictors"]
        serving = [index for index, predictor in enumerate(predictors) if not predictor.get("shadow")]
        if len(serving) != 2:
            raise Refused(
                f"{len(serving)} predictors take requests, and two are needed: the one that serves, and the canary "
                "with traffic 0"
            )
        ours = serving[1] if self.canary is None else find_one(predictors, self.canary, "predictor")
        if ours not in serving:
            raise Refused(f"predictor {self.canary!r} is a shadow: it serves no requests")
        return ours, next(index for index in serving if index != ours)

    def _tests(self, resource: Object) -> Patch:
        """Make sure that the indices still are those of the same predictors."""
        return [
            {
                "op": "test",
                "path": f"/spec/predictors/{index}/name",
                "value": resource["spec"]["predictors"][index]["name"],
            }
            for index in self._arm_indices(resource)
        ]


@dataclass(frozen=True)
class Experiment:
    """Two candidates; the canary is the one that is not the default, unless it is named.

    Weights are parts of their sum, and the driver lets that be 100. Metrics of models name versions, ``iris2_1``:
    `canary_arm` and `baseline_arm` say which; those of pipelines carry the name of the candidate.
    """

    canary: str | None = None
    canary_arm: str | None = None
    baseline_arm: str | None = None
    kind = ResourceKind("mlops.seldon.io", "v1alpha1", "Experiment", "experiments")

    def profile(self, resource: Object) -> str:
        """Read the agents' metrics of models, or the gateway's of pipelines."""
        return "seldon-v2-pipeline" if resource["spec"].get("resourceType") == "pipeline" else "seldon-v2"

    def service(self, resource: Object) -> str:
        """Name what clients call: the default candidate, or else the experiment."""
        return str(resource["spec"].get("default") or f"{resource['metadata']['name']}.experiment")

    def read(self, resource: Object) -> Split:
        """Read the split from the candidates."""
        ours, theirs = self._arm_indices(resource)
        candidates = resource["spec"]["candidates"]
        total = candidates[ours]["weight"] + candidates[theirs]["weight"]
        weight = round(100 * candidates[ours]["weight"] / total) if total else 0
        names = candidates[ours]["name"], candidates[theirs]["name"]
        arms = self._arm(resource, names[0], self.canary_arm), self._arm(resource, names[1], self.baseline_arm)
        waiting = condition(resource, "ExperimentReady") or condition(resource, "CandidatesReady") if weight else ""
        return Split(weight, *arms, waiting=waiting, promoted=weight == 100, begun=begin_of(resource))

    def begin(self, resource: Object, model: str | None, weight: int) -> Patch:
        """Start; models are resources of their own here."""
        if model is not None:
            raise Refused("an Experiment has no address of a model: make a Model of it, name it as a candidate, and "
                          "leave --model out")  # fmt: skip
        return [*note_begin(resource), *self.move(resource, weight)]

    def move(self, resource: Object, weight: int) -> Patch:
        """Set both weights in one change."""
        indices, candidates = self._arm_indices(resource), resource["spec"]["candidates"]
        patch: Patch = []
        for index, value in zip(indices, (weight, 100 - weight), strict=True):
            path = f"/spec/candidates/{index}"
            patch += [
                {"op": "test", "path": f"{path}/name", "value": candidates[index]["name"]},
                {"op": "replace", "path": f"{path}/weight", "value": value},
            ]
        return patch

    def promote(self, resource: Object) -> Patch:
        """Give the canary all requests."""
        return self.move(resource, 100)

    def has(self, resource: Object, model: str) -> bool:  # noqa: ARG002
        """Never: models are resources of their own."""
        return False

    def after_rollback(self, resource: Object) -> str:  # noqa: ARG002
        """Delete the experiment."""
        return "The canary gets no requests: delete the Experiment, and its Model if it is not needed"

    def _arm_indices(self, resource: Object) -> tuple[int, int]:
        """Return the indices of canary and baseline."""
        candidates = resource["spec"]["candidates"]
        if len(candidates) != 2:
            raise Refused(f"the Experiment has {len(candidates)} candidates, and two can be compared")
        default = resource["spec"].get("default")
        if self.canary is not None:
            ours = find_one(candidates, self.canary, "candidate")
        elif default is not None:
            ours = 1 - find_one(candidates, default, "candidate")
        else:
            ours = 1
        return ours, 1 - ours

    @staticmethod
    def _arm(resource: Object, name: str, given: str | None) -> str:
        if given is not None:
            return given
        return name if resource["spec"].get("resourceType") == "pipeline" else f"{name}_1"
