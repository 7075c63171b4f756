"""The fixture that plays all stacks, once, and which stacks these are."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_server import require_prometheus
from stacks.play import Play
from stacks.servers import STACKS, Stack


def chosen() -> list[Stack]:
    """Name the stacks to be run: all, or those that STACKS names."""
    names = os.environ.get("STACKS", "").replace(",", " ").split()
    known = [stack.profile for stack in STACKS]
    if unknown := sorted(set(names) - set(known)):
        raise pytest.UsageError(f"STACKS: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    return [stack for stack in STACKS if not names or stack.profile in names]


def pytest_configure() -> None:
    """Refuse names that are not known."""
    chosen()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test of a stack the stacks to be run."""
    if "stack" in metafunc.fixturenames:
        metafunc.parametrize("stack", chosen(), ids=lambda stack: stack.profile)


@pytest.fixture(scope="session")
def play() -> Iterator[Play]:
    """Play; what goes wrong with one stack fails its tests only."""
    require_prometheus()
    folder = Path(tempfile.mkdtemp(prefix="stacks"))  # a short path, for the sockets of Ray
    play = Play(chosen(), folder)
    try:
        play.play()
        yield play
    finally:
        play.stop()
        shutil.rmtree(folder, ignore_errors=True)
        print("\nseconds, side by side in part:", {name: round(seconds) for name, seconds in play.took.items()})
