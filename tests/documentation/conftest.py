"""What the tests of the READMEs share: a Prometheus with a past, a folder of the files shown, Argo's own code."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from documentation.history import fraud_detector, healthy, per_request
from documentation.readmes import PROJECT, Command, blocks, commands
from needs import go_program
from prometheus_server import PrometheusServer

Validate = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[Command]:
    """Every command of every README."""
    return commands(tmp_path_factory.mktemp("shell"))


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Put the policies and profiles that the READMEs show into `config`, where their commands look; its parent."""
    folder = tmp_path_factory.mktemp("shown")
    for kind in ("policies", "profiles"):
        (folder / "config" / kind).mkdir(parents=True)
        for block in blocks("yaml", f"analyzer/config/{kind}"):
            name = yaml.safe_load(block.text)["name"]
            (folder / "config" / kind / f"{name}.yaml").write_text(block.text)
    return folder


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has scraped the services of the READMEs for two hours; its address."""
    (scorer,) = (block.text for block in blocks("text", "analyzer/config/profiles"))
    pages = [fraud_detector(), per_request(scorer, 48_254)]
    server = PrometheusServer(tmp_path_factory.mktemp("past"))
    now = time.time()
    server.write_history(
        point for name, shown in (("ml", pages), ("fraud-detector", pages[:1])) for point in healthy(now, name, shown)
    )
    server.start()
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def validate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Validate:
    """Decode and validate manifests with the code of Argo, by the program of tests/argo."""
    program = go_program(request, tmp_path_factory, PROJECT / "tests" / "argo")

    def run(*files: Path) -> list[dict[str, Any]]:
        done = subprocess.run([program, "validate", *files], check=True, input="null", capture_output=True, text=True)
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    return run
