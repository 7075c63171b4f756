"""What the cluster is made of: built from its Go modules once, into a cache outside the tree.

The versions are those of `tests/argo/go.mod`; KWOK depends on another Kubernetes and is pinned here.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MODULE = Path(__file__).parents[1] / "argo"
ARGO = "github.com/argoproj/argo-rollouts"
ARGO_KINDS = ("analysis-run", "analysis-template", "cluster-analysis-template", "experiment", "rollout")
KWOK = "sigs.k8s.io/kwok"
KWOK_VERSION = "v0.7.0"
# Modules that are read for their definitions of resources, not built.
CRD_MODULES = {
    "istio.io/api": ("v1.26.2", ["kubernetes/customresourcedefinitions.gen.yaml"]),
    "sigs.k8s.io/gateway-api": ("v1.3.0", ["config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"]),
    "github.com/kserve/kserve": ("v0.20.0", ["config/crd/full/serving.kserve.io_inferenceservices.yaml"]),
    # The last that is in the proxy; Apache-2.0, as all before 1.18.
    "github.com/seldonio/seldon-core/operator": (
        "v1.16.0",
        ["utils/k8s/testdata/crd-v1.yaml"],  # the only one that is whole, the others lack patches
    ),
    "github.com/prometheus-operator/prometheus-operator": (
        "v0.85.0",
        [
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        ],
    ),
}
GO_MINOR = 25
PROGRAMS = {
    "go": f"Go 1.{GO_MINOR} or later, from go.dev",
    "openssl": "apt install openssl",
    "setpriv": "apt install util-linux",
} | dict.fromkeys(("prometheus", "promtool"), "apt install prometheus")
BUILT = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kubectl-argo-rollouts",
    "rollouts-controller",
    "kwok",
)


@dataclass(frozen=True)
class Components:
    """Where everything is.

    Attributes
    ----------
    programs : the folder of the built programs
    stages : the folder of KWOK's stages of a node and of a pod
    crds : files of resource definitions, Argo's and those that its examples use
    """

    programs: Path
    stages: Path
    crds: tuple[Path, ...]


def missing() -> list[str]:
    """Say what has to be installed first, and from where."""
    absent = [f"{name}: {where}" for name, where in PROGRAMS.items() if shutil.which(name) is None]
    found = subprocess.run(["go", "version"], check=True, capture_output=True, text=True).stdout if not absent else ""
    version = re.search(r"go1\.(\d+)", found)
    if version and int(version[1]) < GO_MINOR:
        absent.append(f"go: {PROGRAMS['go']}; this is {version[0]}")
    return absent


def cache_folder() -> Path:
    """Return the folder for what outlives a run."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rollout-analyzer"


def build(tell: Callable[[str], object] = print) -> Components:
    """Build what is not in the cache yet: minutes the first time, which a person is told of, a second later."""
    cache = cache_folder()
    programs = cache / hashlib.sha256((MODULE / "go.sum").read_bytes() + KWOK_VERSION.encode()).hexdigest()[:16]
    programs.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once build once
        if not all((programs / name).exists() for name in BUILT):
            tell(f"building Kubernetes and Argo Rollouts from source into {programs}: some minutes, once")
            # KWOK first, and the rest in one go: packages that they share are compiled once.
            _go("install", "-ldflags=-s -w", f"{KWOK}/cmd/kwok@{KWOK_VERSION}", GOBIN=str(programs))
            _go("build", "-ldflags=-s -w", "-o", str(programs), "tool")
            (programs / "server").rename(programs / "etcd")  # the last part of its module that is no version
    kwok = _folder(f"{KWOK}@{KWOK_VERSION}")
    crds = [_folder(ARGO) / "manifests" / "crds" / f"{kind}-crd.yaml" for kind in ARGO_KINDS]
    for module, (version, files) in CRD_MODULES.items():
        crds += [_folder(f"{module}@{version}") / file for file in files]
    return Components(programs, kwok / "kustomize" / "stage", tuple(crds))


def _folder(module: str) -> Path:
    """Find the folder of a module's files, fetching it if need be."""
    return Path(json.loads(_go("mod", "download", "-json", module))["Dir"])


def _go(*words: str, **variables: str) -> str:
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"} | variables
    done = subprocess.run(["go", *words], cwd=MODULE, env=environment, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"go {' '.join(words)}: {done.stderr[-3000:]}")
    return done.stdout
