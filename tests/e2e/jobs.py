"""Runs what the pods of Jobs are for: the nodes are pretend, and nothing else would run or end them."""

import os
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster import DIES_WITH_PARENT, Api, Object
from warmup import without_warmup

LOOK_SECONDS = 0.2
RUN_SECONDS = 60.0
# The label that the Job controller gives each of its pods.
OF_A_JOB = "batch.kubernetes.io/job-name"


@dataclass(frozen=True)
class Ended:
    """A pod that has run.

    Attributes
    ----------
    pod : its name
    code : what its container ended with
    log : what its container wrote
    """

    pod: str
    code: int
    log: str


@dataclass
class Jobs:
    """Stands in for the kubelet of the Jobs in a namespace.

    Attributes
    ----------
    api, namespace : where the pods are
    entrypoint : the program of their image
    ended : the pods so far, in order
    """

    api: Api
    namespace: str
    entrypoint: Path
    ended: list[Ended] = field(default_factory=list)

    def __post_init__(self) -> None:
        """One pod at a time is enough: a Job asks again after the last has ended."""
        self._closing = threading.Event()
        self._policies = without_warmup(Path(tempfile.mkdtemp(dir=self.entrypoint.parent)))
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> "Jobs":
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, after the pod that runs."""
        self._closing.set()
        self._thread.join(RUN_SECONDS)

    @property
    def codes(self) -> list[int]:
        """What the containers ended with, in order."""
        return [each.code for each in self.ended]

    def _work(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            for pod in self.api.items(f"/api/v1/namespaces/{self.namespace}/pods", OF_A_JOB):
                if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]:
                    ended = self._run(pod)
                    self._report(pod, ended.code)
                    self.ended.append(ended)

    def _run(self, pod: Object) -> Ended:
        (container,) = pod["spec"]["containers"]
        done = subprocess.run(
            [*DIES_WITH_PARENT, str(self.entrypoint), *container["args"]],
            check=False,
            # Nothing of this process but where programs and policies are: settings come from the manifest.
            env={
                "PATH": os.environ["PATH"],
                "ANALYZER_CONFIG_DIR": self._policies,
                **{each["name"]: each["value"] for each in container["env"]},
            },
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
        return Ended(pod["metadata"]["name"], done.returncode, done.stdout + done.stderr)

    def _report(self, pod: Object, code: int) -> None:
        """Write the status that a kubelet writes after the last container of a pod has ended."""
        (before,) = pod["status"]["containerStatuses"]
        reason = "Error" if code else "Completed"
        status = {
            "phase": "Failed" if code else "Succeeded",
            "conditions": [
                each | ({"status": "False"} if each["type"] in ("Ready", "ContainersReady") else {})
                for each in pod["status"]["conditions"]
            ],
            "containerStatuses": [
                before | {"ready": False, "state": {"terminated": {"exitCode": code, "reason": reason}}}
            ],
        }
        self.api.patch(f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/status", {"status": status})
