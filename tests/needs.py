"""What a test needs and a machine may lack: it is skipped with the reason, or fails where the environment says so."""

import fcntl
import importlib
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest


def lacking(tool: str, text: str) -> NoReturn:
    """Skip for want of a tool, or fail where ANALYZER_REQUIRE_<tool> is 1, as in CI."""
    if os.environ.get(f"ANALYZER_REQUIRE_{tool}") == "1":
        pytest.fail(f"ANALYZER_REQUIRE_{tool} is set: {text}")
    pytest.skip(text, allow_module_level=True)


def package(name: str) -> ModuleType:
    """Import a package that only the environment `.venv/full` has."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        lacking("PACKAGES", f"needs the package {name}: make .venv/full")


def go_program(request: pytest.FixtureRequest, factory: pytest.TempPathFactory, source: Path) -> Path:
    """Build the Go program of a folder, in pytest's cache, where the next session finds it: linking takes seconds."""
    go = shutil.which("go")
    if go is None:
        lacking("GO", f"needs Go 1.24 or later on the PATH, to build {source.name}")
    cache = getattr(request.config, "cache", None)
    folder = Path(cache.mkdir(source.name) if cache else factory.mktemp(source.name))
    build = [go, "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", folder / source.name, "."]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # processes side by side build one after the other, the second in no time
        subprocess.run(build, cwd=source, check=True)
    return folder / source.name
