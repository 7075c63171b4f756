"""What the driver knows of a resource that splits traffic, and how it is changed without overwriting anybody."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from analyzer.errors import AnalyzerError

Object = dict[str, Any]
"""A Kubernetes object, as in JSON."""

Patch = list[dict[str, Any]]
"""Operations of a JSON patch (RFC 6902)."""

MANAGER = "rollout-analyzer"
"""The name under which the API server notes down what the driver has changed."""

BEGUN = "rollout-analyzer/begun"
"""Annotation with the moment at which a canary got its first weight."""


WEIGHTS = ("f:canaryTrafficPercent", "f:canary", "f:predictors", "f:candidates")
"""The fields with the weights as ``managedFields`` names them; lists are noted down as a whole."""


class Refused(AnalyzerError):
    """The driver will not touch the resource; the message says why, and what to do."""


@dataclass(frozen=True)
class ResourceKind:
    """A kind of resource, as in its definition."""

    group: str
    version: str
    name: str
    plural: str

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}"


@dataclass(frozen=True)
class Split:
    """What a resource says of its traffic.

    Attributes
    ----------
    weight : percent of the requests that the canary is to get; None: there is no canary
    canary, baseline : the values of the profile's arm label
    waiting : what is missing until the traffic is as asked for; empty: nothing
    promoted : the canary is all there is
    begun : when the canary began, set if the name may have been reused; empty otherwise
    """

    weight: int | None
    canary: str = ""
    baseline: str = ""
    waiting: str = ""
    promoted: bool = False
    begun: str = ""


class Stack(Protocol):
    """How one kind of resource is read and changed; its methods raise `Refused`."""

    @property
    def kind(self) -> ResourceKind:
        """Of which kind it is."""

    def profile(self, resource: Object) -> str:
        """Name the profile that reads its metrics."""

    def service(self, resource: Object) -> str:
        """Name the service as its metrics do."""

    def read(self, resource: Object) -> Split:
        """Read the split."""

    def begin(self, resource: Object, model: str | None, weight: int) -> Patch:
        """Give a new model its first requests, in one change; None: the model is there already."""

    def move(self, resource: Object, weight: int) -> Patch:
        """Give the canary so many percent, 0 to 99."""

    def promote(self, resource: Object) -> Patch:
        """Make the canary the one that serves."""

    def has(self, resource: Object, model: str) -> bool:
        """Whether the canary is of this model."""

    def after_rollback(self, resource: Object) -> str:
        """Return what a person does next, in the order that never promotes the bad model."""


def guarded(resource: Object, patch: Patch) -> Patch:
    """Let a patch apply to the very specification that was read, and to none that somebody else has changed since.

    The generation grows with every change of the specification and with none of the status.
    """
    metadata = resource["metadata"]
    return [
        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
        {"op": "test", "path": "/metadata/generation", "value": metadata["generation"]},
        *patch,
    ]


def last_changed(resource: Object, *, surely: bool = False) -> tuple[bool, float | None]:
    """Return whether the driver was the last to change the spec, and when it was changed, in Unix seconds.

    Times are whole seconds. Within one it counts as the last unless the weight is somebody else's, for a rollout often
    begins right after the resource was applied; and never where it has to be sure.
    """
    ours = others = -math.inf
    theirs = False
    for entry in resource["metadata"].get("managedFields") or ():
        if entry.get("subresource") or "f:spec" not in entry.get("fieldsV1", {}) or "time" not in entry:
            continue
        moment = datetime.fromisoformat(entry["time"]).timestamp()
        if entry["manager"] == MANAGER:
            ours = max(ours, moment)
        elif moment >= others:
            theirs = _holds_weight(entry["fieldsV1"]) or (theirs and moment == others)
            others = moment
    last = max(ours, others)
    if last == -math.inf:
        return False, None
    return ours > others or (ours == others and not theirs and not surely), last


def _holds_weight(fields: Mapping[str, Any]) -> bool:
    """Whether a weight is among the fields that somebody has set last."""
    return any(name in WEIGHTS or _holds_weight(below) for name, below in fields.items())


def last_changed_by(resource: Object) -> str:
    """Name who changed the specification last."""
    entries = [
        (entry["time"], entry["manager"])
        for entry in resource["metadata"].get("managedFields") or ()
        if not entry.get("subresource") and "f:spec" in entry.get("fieldsV1", {}) and "time" in entry
    ]
    return max(entries)[1] if entries else "somebody"


def condition(resource: Object, kind: str) -> str:
    """Return why a condition of the status is not met; empty: it is."""
    for condition in resource.get("status", {}).get("conditions") or ():
        if condition.get("type") == kind:
            if condition.get("status") == "True":
                return ""
            return f"{kind} is {condition.get('status')}" + (
                f": {condition['message']}" if condition.get("message") else ""
            )
    return f"{kind} is not reported yet"


def note_begin(resource: Object) -> Patch:
    """Note down when a canary begins, for one whose name says nothing; only where annotations stay on the resource."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if resource["metadata"].get("annotations"):
        return [{"op": "add", "path": f"/metadata/annotations/{BEGUN.replace('/', '~1')}", "value": now}]
    return [{"op": "add", "path": "/metadata/annotations", "value": {BEGUN: now}}]


def begin_of(resource: Object) -> str:
    """Read what `note_begin` wrote."""
    return str((resource["metadata"].get("annotations") or {}).get(BEGUN, ""))


def find_one(items: Sequence[Mapping[str, Any]], name: str, what: str) -> int:
    """Return the index of a named item."""
    names = [str(item.get("name", "")) for item in items]
    if name not in names:
        raise Refused(f"there is no {what} {name!r}: there are {', '.join(map(repr, names)) or 'none'}")
    return names.index(name)
