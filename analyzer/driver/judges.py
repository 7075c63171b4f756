"""Where verdicts come from: a standalone AnalysisRun, whose judge is Argo's controller, or the analyzer itself."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import requests

from analyzer.driver.cluster import Changed, Cluster, Missing, Unreachable
from analyzer.driver.resource import Object, Refused, ResourceKind, Split

RUN = ResourceKind("argoproj.io", "v1alpha1", "AnalysisRun", "analysisruns")
TEMPLATES = (
    ResourceKind("argoproj.io", "v1alpha1", "AnalysisTemplate", "analysistemplates"),
    ResourceKind("argoproj.io", "v1alpha1", "ClusterAnalysisTemplate", "clusteranalysistemplates"),
)
OF, STEP = "rollout-analyzer/rollout-of", "rollout-analyzer/step"
KEPT_SECONDS = 7 * 86400  # a run that has ended, for people to look at
ERRORS_AT_MOST = 30  # in a row, as in the templates
TIMEOUT_SECONDS = 10.0
NOBODY = Split(1, "nobody", "nobody-else")  # what a question is tried with


class Says(StrEnum):
    """What is known of a step."""

    PENDING = "pending"
    GOOD = "good"
    BAD = "bad"
    HOLD = "hold"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Opinion:
    """What is known of a step, why, and the values behind it as in ``summary`` of an answer."""

    says: Says
    reason: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VerdictQuestion:
    """What is asked at every step.

    Attributes
    ----------
    service, namespace, profile, policy, limits : of the request; limits as JSON
    analyzer_url : where the analyzer listens, seen from who asks it
    interval, settle : seconds between two looks, and for which all of them must pass
    delay : seconds from the change of the weight to the first look
    looks : how often is looked before a person is asked
    """

    service: str
    namespace: str
    profile: str
    policy: str
    limits: str
    analyzer_url: str
    interval: float
    settle: float
    delay: float
    looks: int

    @property
    def passes(self) -> int:
        """How many looks in a row must pass."""
        return 1 + math.ceil(self.settle / self.interval)

    def arguments(self, split: Split, role: str) -> dict[str, str]:
        """Fill in the arguments of the templates."""
        return {
            "service": self.service,
            "namespace": self.namespace,
            "canary-hash": split.canary,
            "baseline-hash": split.baseline,
            "analyzer-url": self.analyzer_url,
            "profile": self.profile,
            "policy": self.policy,
            "limits": self.limits,
            "role": role,
            "weight": str(split.weight),
            "start": split.begun or "unknown",
            "initial-delay": f"{self.delay:g}s",
            "interval": f"{self.interval:g}s",
            "looks": str(self.looks + self.passes - 1),
            "passes": str(self.passes),
        }

    def body(self, split: Split, role: str) -> dict[str, Any]:
        """Return the request of one measurement."""
        return {
            "service": self.service,
            "namespace": self.namespace,
            "canary": split.canary,
            "baseline": split.baseline,
            "profile": self.profile,
            "window": "step",
            "weight": split.weight,
            "start": split.begun or "unknown",
            "policy": {"base": self.policy, "role": role, "checks": self.limits},
        }


class Judge(Protocol):
    """Tells what is known of a step of a resource; raises `Unreachable`, `Denied` and `Refused`."""

    def prepare(self, resource: Object, role: str) -> None:
        """Make sure, before a canary gets its first request, that it could be judged."""

    def ask(self, resource: Object, split: Split, role: str, since: float) -> Opinion:
        """Return whether the canary is good at this weight, which it has had since a moment in Unix seconds."""

    def verdict_on(self, resource: Object) -> Opinion | None:
        """Find what was said last of a resource that was rolled back; None where nobody knows."""


@dataclass
class ByAnalysisRun:
    """Creates an AnalysisRun for each step, from a template, and waits for its end.

    Runs are found again by labels: the generation of the resource, which every move of the weight makes a new one, and
    the arms. A step whose run ended without a decision gets another run when the driver is called again.
    """

    cluster: Cluster
    template: str
    question: VerdictQuestion
    _mine: set[str] = field(default_factory=set)

    def prepare(self, resource: Object, role: str) -> None:
        """Try everything that a step needs; nothing is created."""
        self.cluster.find(RUN, _labels(resource, NOBODY))
        self.cluster.create(RUN, self._run(resource, NOBODY, role, 0), dry_run=True)

    def ask(self, resource: Object, split: Split, role: str, since: float) -> Opinion:  # noqa: ARG002
        """Find the step's run, or create it."""
        labels = _labels(resource, split)
        runs = sorted(self.cluster.find(RUN, labels), key=_number)
        last = runs[-1] if runs else None
        if last is None or (_undecided(last) and last["metadata"]["name"] not in self._mine):
            self._create(resource, split, role, 1 + (_number(last) if last else 0))
            return Opinion(Says.PENDING)
        self._mine.add(last["metadata"]["name"])
        return _opinion(last)

    def verdict_on(self, resource: Object) -> Opinion | None:
        """Find the newest run that failed."""
        runs = self.cluster.find(RUN, {OF: _key(resource["metadata"]["uid"])})
        failed = [run for run in runs if run.get("status", {}).get("phase") == "Failed"]
        return _opinion(max(failed, key=lambda run: run["metadata"]["creationTimestamp"])) if failed else None

    def _create(self, resource: Object, split: Split, role: str, number: int) -> None:
        content = self._run(resource, split, role, number)
        self._mine.add(content["metadata"]["name"])
        try:
            self.cluster.create(RUN, content)
        except Changed:  # there already: another driver was quicker, or an answer was lost
            return

    def _run(self, resource: Object, split: Split, role: str, number: int) -> Object:
        metadata, labels = resource["metadata"], _labels(resource, split)
        return {
            "apiVersion": f"{RUN.group}/{RUN.version}",
            "kind": RUN.name,
            "metadata": {
                "name": f"{metadata['name'][:200]}-{labels[STEP]}-{number}",
                "labels": labels,
                "ownerReferences": [
                    {
                        "apiVersion": resource["apiVersion"],
                        "kind": resource["kind"],
                        "name": metadata["name"],
                        "uid": metadata["uid"],
                    }
                ],
            },
            "spec": self._spec(self.question.arguments(split, role)),
        }

    def _spec(self, given: Mapping[str, str]) -> Object:
        """Put arguments into the template, of the namespace or of the cluster."""
        for kind in TEMPLATES:
            try:
                spec = self.cluster.get(kind, self.template, everywhere=kind is TEMPLATES[1])["spec"]
            except Missing:
                continue
            arguments = [
                {"name": argument["name"], "value": given[argument["name"]]} if argument["name"] in given else argument
                for argument in spec.get("args") or ()
            ]
            if empty := [
                argument["name"] for argument in arguments if "value" not in argument and "valueFrom" not in argument
            ]:
                raise Refused(f"template {self.template} wants arguments that a rollout cannot give: {empty}")
            if needed := {"canary-hash", "passes", "start"} - {argument["name"] for argument in arguments}:
                raise Refused(f"template {self.template} has no argument {' and no '.join(sorted(needed))}")
            return {
                "args": arguments,
                "metrics": spec["metrics"],
                "ttlStrategy": {"secondsAfterCompletion": KEPT_SECONDS},
            }
        raise Refused(f"there is no AnalysisTemplate and no ClusterAnalysisTemplate {self.template!r}: apply it first")


@dataclass
class ByAnalyzer:
    """Asks the analyzer directly, again and again."""

    question: VerdictQuestion
    clock: Callable[[], float] = time.time
    _step: str = ""
    _looked: float = -math.inf
    _looks: int = 0
    _passes: int = 0
    _errors: int = 0
    _reason: str = ""

    def prepare(self, resource: Object, role: str) -> None:  # noqa: ARG002
        """Probe the analyzer with placeholder arms."""
        try:
            self._post(self.question.body(NOBODY, role))
        except requests.RequestException as error:
            raise Unreachable(f"the analyzer does not answer: {error}") from error

    def ask(self, resource: Object, split: Split, role: str, since: float) -> Opinion:
        """Look, if it is time to."""
        step, now = _labels(resource, split)[STEP], self.clock()
        if step != self._step:
            self._step, self._looked, self._looks, self._passes, self._errors = step, -math.inf, 0, 0, 0
            self._reason = ""
        if now < since + self.question.delay or now < self._looked + self.question.interval:
            return Opinion(Says.PENDING, self._reason)
        self._looked = now
        try:
            answer = self._post(self.question.body(split, role))
        except requests.RequestException as error:
            self._errors += 1
            self._reason = f"the analyzer does not answer: {error}"
            return Opinion(Says.UNAVAILABLE if self._errors > ERRORS_AT_MOST else Says.PENDING, self._reason)
        self._errors = 0
        self._looks += 1
        self._passes = self._passes + 1 if answer["verdict"] == "pass" else 0
        says = Says.PENDING
        if answer["verdict"] == "fail":
            says = Says.BAD
        elif self._passes >= self.question.passes:
            says = Says.GOOD
        elif self._looks >= self.question.looks and not self._passes:
            says = Says.HOLD
        self._reason = str(answer.get("reason", ""))
        return Opinion(says, self._reason, answer.get("summary") or {})

    def verdict_on(self, resource: Object) -> Opinion | None:  # noqa: ARG002
        """Know nothing: an answer is kept nowhere."""
        return None

    def _post(self, body: Mapping[str, Any]) -> Object:
        response = requests.post(f"{self.question.analyzer_url}/v1/verdict", json=body, timeout=TIMEOUT_SECONDS)
        if 400 <= response.status_code < 500 and response.status_code != 429:
            raise Refused(f"the analyzer refuses the request: {_error(response)}")
        response.raise_for_status()
        answer = response.json()
        if not isinstance(answer, dict) or "verdict" not in answer:
            raise requests.RequestException(f"{response.url} gave no verdict: is it the analyzer's address?")
        return answer


def _error(response: requests.Response) -> str:
    """Return the text of an answer that is an error."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):  # a proxy's
        return f"HTTP {response.status_code} {response.text[:200]}"


def _labels(resource: Object, split: Split) -> dict[str, str]:
    metadata = resource["metadata"]
    return {
        OF: _key(metadata["uid"]),
        STEP: f"{metadata['generation']}-{_key(metadata['uid'], split.canary, split.baseline)}",
    }


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _number(run: Object) -> int:
    return int(run["metadata"]["name"].rpartition("-")[2])


def _undecided(run: Object) -> bool:
    return run.get("status", {}).get("phase") in ("Inconclusive", "Error")


def _opinion(run: Object) -> Opinion:
    status, name = run.get("status", {}), run["metadata"]["name"]
    says = {"Successful": Says.GOOD, "Failed": Says.BAD, "Inconclusive": Says.HOLD, "Error": Says.UNAVAILABLE}.get(
        status.get("phase", ""), Says.PENDING
    )
    answers = [
        each
        for result in status.get("metricResults") or ()
        for each in (_answer(taken) for taken in result.get("measurements") or ())
        if each
    ]
    relevant = [answer for answer in answers if says is not Says.BAD or answer.get("verdict") == "fail"]
    if not relevant:
        text = status.get("message") or ("no look yet" if says is Says.PENDING else status["phase"])
        return Opinion(says, f"{text} (AnalysisRun {name})")
    return Opinion(says, f"{relevant[-1].get('reason', '')} (AnalysisRun {name})", relevant[-1].get("summary") or {})


def _answer(measurement: Mapping[str, Any]) -> Object | None:
    try:
        answer = json.loads(measurement.get("value") or "")
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
