"""A namespace in which a model is rolled out: its traffic, a Prometheus that scrapes it, and an analyzer."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.cluster import DIES_WITH_PARENT, Cluster, Object
from e2e.traffic import Traffic
from e2e.turns import turn
from pace import pace
from ports import free_port
from prometheus_server import PrometheusServer, wait_until_ready
from warmup import without_warmup

from analyzer.quantity import parse_seconds

ROLLOUTS, RUNS = "rollouts", "analysisruns"
PROJECT = Path(__file__).parents[2]
PATIENCE_SECONDS = 180.0
# Ten minutes become five seconds, half a minute two: as much faster as the arguments of the stage are.
PAUSES_FASTER, DELAYS_FASTER = 120.0, 15.0


@dataclass
class Service:
    """The analyzer as it is installed: under gunicorn, with its settings in the environment.

    Its policies are the packaged ones without their `pod_warmup`.

    Attributes
    ----------
    command : the program `analyzer` of the installed wheel
    prometheus_url : what it reads
    folder : for its log and its policies
    settings : further ones
    """

    command: Path
    prometheus_url: str
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start when it is its turn, and wait until it answers."""
        settings = {
            "ANALYZER_SOURCE": "prometheus",
            "ANALYZER_PROMETHEUS_URL": self.prometheus_url,
            "ANALYZER_CONFIG_DIR": without_warmup(self.folder / "config"),
        }
        with turn(), (self.folder / "analyzer.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*DIES_WITH_PARENT, str(self.command), "serve", "--port", str(self.port)],
                env={"PATH": os.environ["PATH"], **settings, **self.settings},
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            wait_until_ready(self._process, f"{self.url}/healthz", self.folder / "analyzer.log")

    def stop(self) -> None:
        """Stop as Kubernetes does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(40)
            self._process = None


class Expired(AssertionError):
    """What was waited for did not come; the message says how things stood."""


@dataclass
class Stage:
    """One namespace with everything that a rollout needs.

    Attributes
    ----------
    cluster : shared with other stages
    namespace : of this one alone
    traffic, prometheus, analyzer : of this one alone, so that a scenario may break them
    arguments : given to every analysis of every Rollout, beside its own
    """

    cluster: Cluster
    namespace: str
    traffic: Traffic
    prometheus: PrometheusServer
    analyzer: Service
    arguments: dict[str, str]
    name: str = ""

    def apply(self, objects: Iterable[Object]) -> None:
        """Apply manifests here, with the arguments and the pace of the stage; the last Rollout is `name`."""
        changed = [
            # A template's own arguments are declarations, and those of the whole cluster are other stages' too.
            hastened(each if "Template" in each["kind"] else with_arguments(each, self.arguments))
            for each in objects
            if each["kind"] != "Namespace"
        ]
        for each in changed:
            each["metadata"].pop("namespace", None)
            if each["kind"] == "Rollout":
                self.name = each["metadata"]["name"]
        self.cluster.apply(*changed, namespace=self.namespace)

    def deploy(self, objects: Iterable[Object]) -> None:
        """Apply manifests with a Rollout and wait until its first revision serves and is scraped."""
        self.apply(objects)
        self.until("Healthy")
        self.wait(lambda: len(self.traffic.scraped_at) >= self.rollout["spec"].get("replicas", 1), "the first scrape")

    def release(self, tag: str) -> None:
        """Release a new version of the model."""
        template = self.rollout["spec"]["template"]
        template["spec"]["containers"][0]["image"] = f"fraud-detector:{tag}"
        self.cluster.api.patch(self._path(ROLLOUTS, self.name), {"spec": {"template": template}})
        self.wait(
            lambda: self.rollout["status"].get("observedGeneration") == str(self.rollout["metadata"]["generation"])
        )

    def resume(self) -> None:
        """Have an inconclusive analysis measured again, by the command of the templates' README."""
        words = ["patch", "rollout", self.name, "--subresource=status", "--type=merge"]
        change = '{"status":{"pauseConditions":null}}'
        self.cluster.kubectl(f"--namespace={self.namespace}", *words, "-p", change)

    def resume_until(self, phase: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Resume whenever an inconclusive analysis pauses the Rollout, until it is in this phase."""

        def there() -> bool:
            if "InconclusiveAnalysisRun" in self.pauses():
                self.resume()
            return self._phase() == phase

        self.wait(there, f"{self.name} {phase}", seconds)

    def close(self) -> None:
        """End everything here, so that later stages have the machine to themselves."""
        for part in (self.analyzer, self.prometheus, self.traffic):
            part.stop()
        for kind in (ROLLOUTS, "experiments", RUNS):
            self.cluster.api.delete(self._path(kind))

    @property
    def rollout(self) -> Object:
        """The Rollout as it is now."""
        return self.cluster.api.get(self._path(ROLLOUTS, self.name))

    @property
    def runs(self) -> list[Object]:
        """Every AnalysisRun, oldest first."""
        found = self.cluster.api.items(self._path(RUNS))
        return sorted(found, key=lambda run: (run["metadata"]["creationTimestamp"], run["metadata"]["name"]))

    @property
    def experiments(self) -> list[Object]:
        """Every Experiment."""
        return self.cluster.api.items(self._path("experiments"))

    def runs_of(self, kind: str) -> list[Object]:
        """The runs for one purpose: `Step`, `Background`, `PrePromotion`, `PostPromotion`."""
        return [run for run in self.runs if run["metadata"].get("labels", {}).get("rollout-type") == kind]

    def looks(self, kind: str) -> int:
        """How often was measured so far in the newest run for a purpose, errors aside."""
        return max((result.get("count", 0) for result in _results(self.runs_of(kind)[-1:])), default=0)

    def errors(self) -> int:
        """The most errors that a metric has met."""
        return max((result.get("error", 0) for result in _results(self.runs)), default=0)

    def messages(self) -> set[str]:
        """What Argo says of measurements, which it does of errors only."""
        taken = [each for result in _results(self.runs) for each in result.get("measurements", ())]
        return {each["message"] for each in taken if each.get("message")}

    def codes(self, check: str) -> set[str]:
        """The codes of a check in all answers that Argo kept."""
        return {answer["checks"][check]["code"] for answer in self.answers() if check in answer["checks"]}

    def phases(self) -> list[tuple[str, str]]:
        """What each run was for (`Step`, `Background`, ...), and its phase."""
        return [
            (run["metadata"].get("labels", {}).get("rollout-type", ""), run.get("status", {}).get("phase", ""))
            for run in self.runs
        ]

    def answers(self, kind: str = "") -> list[Object]:
        """What the analyzer said in every measurement that Argo kept, oldest run first; of one purpose, or of all."""
        return [
            json.loads(taken["value"])
            for result in _results(self.runs_of(kind) if kind else self.runs)
            for taken in result.get("measurements", ())
            if taken.get("value")
        ]

    def weights(self, tag: str) -> list[float]:
        """The weights at which a version was, in percent and in order."""
        found: list[float] = []
        for _, shares in self.traffic.history:
            weight = round(100 * shares.get(tag, 0.0), 1)
            if not found or found[-1] != weight:
                found.append(weight)
        return found

    def weight(self, tag: str) -> float:
        """The share of the requests that a version gets now, in percent."""
        return round(100 * self.traffic.history[-1][1].get(tag, 0.0), 1)

    def until_weight(self, weight: float, tag: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until a version gets this share of the requests, in percent."""
        self.wait(lambda: self.weight(tag) == weight, f"weight {weight:g} of {tag}", seconds)

    def until(self, *phases: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Wait until the Rollout is in one of the phases; which."""
        self.wait(lambda: self._phase() in phases, f"{self.name} {' or '.join(phases)}", seconds)
        return self._phase()

    def until_paused(self, reason: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the Rollout is paused for a reason of Argo's."""
        self.wait(lambda: reason in self.pauses(), f"a pause for {reason}", seconds)

    def pauses(self) -> list[str]:
        """Why the Rollout is paused."""
        return [each["reason"] for each in self.rollout["status"].get("pauseConditions") or ()]

    def wait(self, ready: Callable[[], bool], what: str = "", seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until something holds; on a machine that is slow just now longer."""
        seconds *= pace()
        ends = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > ends:
                raise Expired(f"{what} did not come within {seconds:.0f} s: {self.state()}")
            time.sleep(0.2)

    def state(self) -> str:
        """Tell how things stand, for a person who reads a failure."""
        status = self.rollout.get("status", {}) if self.name else {}
        shown = {key: status.get(key) for key in ("phase", "message", "currentStepIndex", "pauseConditions", "abort")}
        reasons = [answer.get("reason") for answer in self.answers()[-4:]]
        return json.dumps(
            {**shown, "runs": self.phases(), "shares": self.traffic.history[-1:], "said": reasons}, indent=1
        )

    def _phase(self) -> str:
        rollout = self.rollout
        status = rollout.get("status", {})
        if status.get("observedGeneration") != str(rollout["metadata"]["generation"]):
            return ""
        return str(status.get("phase", ""))

    def _path(self, kind: str, name: str = "") -> str:
        return f"/apis/argoproj.io/v1alpha1/namespaces/{self.namespace}/{kind}/{name}".rstrip("/")


MakeStage = Callable[..., Stage]
"""Makes a stage in a namespace of its own, from a rate, a split, settings and arguments; closed with the test."""


def _results(runs: Iterable[Object]) -> list[Object]:
    return [result for run in runs for result in run.get("status", {}).get("metricResults", ())]


def hastened(value: Any) -> Any:
    """Shorten every pause of a fixed length, and every first delay that no argument sets; returns a copy."""
    if isinstance(value, list):
        return [hastened(each) for each in value]
    if not isinstance(value, dict):
        return value
    copy = {key: hastened(each) for key, each in value.items()}
    if isinstance(copy.get("pause"), dict) and "duration" in copy["pause"]:
        copy["pause"]["duration"] = shortened(copy["pause"]["duration"], PAUSES_FASTER)
    if "{{" not in str(copy.get("initialDelay", "{{")):
        copy["initialDelay"] = shortened(copy["initialDelay"], DELAYS_FASTER)
    return copy


def shortened(duration: str | int, times: float) -> str:
    """Divide a duration, in Argo's words; at least a second is left."""
    return f"{max(1, round(parse_seconds(str(duration)) / times))}s"


def with_arguments(value: Any, arguments: Mapping[str, str]) -> Any:
    """Give every analysis in a manifest the arguments, in place of its own of the same name; returns a copy."""
    if isinstance(value, list):
        return [with_arguments(each, arguments) for each in value]
    if not isinstance(value, dict):
        return value
    copy = {key: with_arguments(each, arguments) for key, each in value.items()}
    if "templates" in copy or "templateName" in copy:
        own = [each for each in copy.get("args", ()) if each["name"] not in arguments]
        if "args" in copy:
            copy["args"] = [*own, *({"name": name, "value": text} for name, text in arguments.items())]
    return copy
