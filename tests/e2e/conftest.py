"""Fixtures of the end-to-end tests: one cluster for all of them, a stage for each.

With pytest-xdist the process that hands out the tests starts the cluster, and its workers use it.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from e2e.cluster import Cluster
from e2e.components import Components, build, missing
from e2e.stage import PROJECT, MakeStage, Service, Stage
from e2e.traffic import Split, Traffic, to_service
from prometheus_server import PrometheusServer

SCRAPE_INTERVAL = "1s"
# Everything happens some fifteen times as fast as with the defaults of the templates.
QUICK = {"interval": "2s", "initial-delay": "2s"}

started = pytest.StashKey[tuple[Cluster, Path]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test the time that Argo takes."""
    for item in items:
        item.add_marker(pytest.mark.timeout(900))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Build what is missing, start the cluster and install the analyzer; in one process only."""
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    if absent := missing():
        pytest.exit("\n  ".join(["these tests need programs that are not installed:", *absent]), returncode=2)
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    assert reporter is not None
    components = build(tell=reporter.write_line)
    folder = Path(tempfile.mkdtemp(prefix="rollout-analyzer-e2e-"))
    cluster = Cluster(folder / "cluster", components)
    session.config.stash[started] = cluster, folder
    cluster.start()
    cluster.apply(*cluster.render(PROJECT / "analysis-templates"))
    install_wheel(folder)


def pytest_configure_node(node: object) -> None:
    """Tell a worker of pytest-xdist where the cluster is."""
    cluster, folder = node.config.stash[started]  # type: ignore[attr-defined]
    node.workerinput["e2e"] = {  # type: ignore[attr-defined]
        "folder": str(folder),
        "port": cluster.port,
        "programs": str(cluster.components.programs),
    }


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop everything, also where a test or the start has failed."""
    if started in config.stash:
        cluster, folder = config.stash[started]
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def install_wheel(folder: Path) -> None:
    """Install the analyzer as a user would, with the pinned versions of what it needs."""
    uv = str(Path(sys.executable).parent / "uv")
    python = folder / "venv" / "bin" / "python"

    def run(*words: object) -> None:
        subprocess.run([uv, *map(str, words)], cwd=PROJECT, check=True, capture_output=True)

    run("build", "-q", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", folder / "dist")
    run("venv", "-q", "--python", sys.executable, folder / "venv")
    run("pip", "install", "-q", "--python", python, "--require-hashes", "-r", "requirements.lock")
    run("pip", "install", "-q", "--python", python, "--no-deps", *(folder / "dist").glob("*.whl"))


@pytest.fixture(scope="session")
def folder(request: pytest.FixtureRequest) -> Path:
    """The folder of this run."""
    if worker := getattr(request.config, "workerinput", None):
        return Path(worker["e2e"]["folder"])
    return request.config.stash[started][1]


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, folder: Path) -> Cluster:
    """The cluster of this run; started already."""
    if worker := getattr(request.config, "workerinput", None):
        here = worker["e2e"]
        return Cluster(folder / "cluster", Components(Path(here["programs"]), Path(), ()), here["port"])
    return request.config.stash[started][0]


@pytest.fixture
def make_stage(cluster: Cluster, folder: Path, request: pytest.FixtureRequest) -> Iterator[MakeStage]:
    """Make a stage, in a namespace with the name of the test."""
    closing = ExitStack()
    made = count()

    def make(
        rate: float = 400.0, split: Split | None = None, settings: Mapping[str, str] | None = None, **arguments: str
    ) -> Stage:
        number = f"-{place}" if (place := next(made)) else ""
        namespace = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:50].strip("-") + number
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        here = folder / "stages" / namespace
        here.mkdir(parents=True)
        traffic = Traffic(cluster.api, namespace, rate, split or to_service("fraud-detector"))
        config = traffic.scrape_configs(SCRAPE_INTERVAL)
        prometheus = PrometheusServer(here / "prometheus", config)
        analyzer = Service(folder / "venv" / "bin" / "analyzer", prometheus.url, here, settings or {})
        arguments = QUICK | {"analyzer-url": analyzer.url} | {key.replace("_", "-"): v for key, v in arguments.items()}
        stage = Stage(cluster, namespace, traffic, prometheus, analyzer, arguments)
        closing.callback(stage.close)
        for part in (traffic, prometheus, analyzer):
            part.start()
        return stage

    with closing:
        yield make
