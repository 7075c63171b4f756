"""Counts on other engines: current Prometheus, VictoriaMetrics and Thanos, built from source, under the sources' tests.

Debian packages Prometheus 2.42 and VictoriaMetrics 1.79, which `make test` uses. Prometheus 3 leaves the left end of a
range out, writes `le` as `1.0` and takes UTF-8 names. Thanos reads two of Debian's Prometheus. Needs Go; builds once
into the cache, in some ten minutes each.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from e2e.components import cache_folder

SOURCES = "tests/sources"


@dataclass(frozen=True)
class Engine:
    """What is built, and the tests that run on it.

    Attributes
    ----------
    program, module, version, package : its name, and where its source is
    toolchain : of Go
    tests : files and options of pytest
    tags : of the build
    """

    program: str
    module: str
    version: str
    package: str
    toolchain: str
    tests: tuple[str, ...]
    tags: str = ""


ENGINES = (
    Engine(
        "prometheus", "github.com/prometheus/prometheus", "v0.316.0", "./cmd/prometheus", "auto",
        tuple(
            f"{SOURCES}/test_{name}.py"
            for name in ("exact_counts", "streams", "selectors", "profiles", "live_counts", "prometheus_source",
                         "rollouts_over_time", "slicing", "worlds")
        ),
    ),
    Engine(
        "victoria-metrics", "github.com/VictoriaMetrics/VictoriaMetrics", "v1.153.0", "./app/victoria-metrics",
        "go1.27.3", (f"{SOURCES}/test_victoria_metrics.py",),
    ),
    Engine(
        "thanos", "github.com/thanos-io/thanos", "v0.42.5", "./cmd/thanos", "go1.27.3",
        (f"{SOURCES}/test_thanos.py",), "slicelabels",  # without which it does not run
    ),
)  # fmt: skip


def built(engine: Engine) -> Path:
    """Return the folder with the program, built if it is not there yet."""
    folder = cache_folder() / f"{engine.program}-{engine.version}"
    if not (folder / engine.program).exists():
        print(f"building {engine.program} {engine.version}: some minutes, once", flush=True)
        variables = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": engine.toolchain}
        download = ["go", "mod", "download", "-json", f"{engine.module}@{engine.version}"]
        done = subprocess.run(download, env=variables, check=True, capture_output=True, text=True)
        source = Path(json.loads(done.stdout)["Dir"])
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "partial"
        options = ["-mod=mod", "-modcacherw", "-ldflags=-s -w", f"-tags={engine.tags}"]
        build = ["go", "build", *options, "-o", str(partial), engine.package]
        subprocess.run(build, cwd=source, env=variables, check=True)
        partial.rename(folder / engine.program)
    return folder


def main() -> int:
    """Run the tests of every engine, or of those that are named."""
    codes = []
    for engine in ENGINES:
        if sys.argv[1:] and engine.program not in sys.argv[1:]:
            continue
        path = os.pathsep.join([str(built(engine)), os.environ["PATH"]])
        print(f"== {engine.program} {engine.version}", flush=True)
        pytest = [sys.executable, "-m", "pytest", "-q", "-n", "2", *engine.tests]
        codes.append(subprocess.run(pytest, env=os.environ | {"PATH": path}, check=False).returncode)
    return max(codes, default=2)


if __name__ == "__main__":
    sys.exit(main())
