"""What the tests share: reproducible properties, signals, and requests as people write them."""

import os
import secrets
import signal
from collections.abc import Callable
from typing import Any

import pytest
from examples import PROFILE
from hypothesis import settings
from prometheus_server import require_prometheus

import analyzer

settings.load_profile(PROFILE)

# A shell that starts a job in the background has it ignore SIGINT, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of the profile `ci` before hypothesis and the other processes of a run take it."""
    if PROFILE == "ci" and config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = os.environ.get("HYPOTHESIS_SEED") or str(secrets.randbelow(2**32))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what `make cover` has run already, in the folders that the environment names: CI runs nothing twice."""
    folders = [config.rootpath / folder for folder in os.environ.get("TESTS_COVERED", "").split()]
    done = [
        item
        for item in items
        if any(item.path.is_relative_to(folder) for folder in folders)
        and not any(item.get_closest_marker(name) for name in ("statistical", "victoriametrics"))
    ]
    config.hook.pytest_deselected(items=done)
    items[:] = [item for item in items if item not in done]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what draws the same examples again, also where all is well."""
    if PROFILE == "ci":
        terminalreporter.write_line(f"drawn with --hypothesis-seed={config.getoption('--hypothesis-seed')}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs Prometheus where it is missing; fail instead where it must not be."""
    if item.get_closest_marker("prometheus"):
        require_prometheus()


Judge = Callable[..., dict[str, Any]]


@pytest.fixture
def judge() -> Judge:
    """Judge one check without warm-up on the statistics of a request and return its part of the answer."""

    def judge_one(name: str, canary: Any, baseline: Any = None, **overrides: Any) -> dict[str, Any]:
        arms = {"canary": canary} if baseline is None else {"canary": canary, "baseline": baseline}
        body: dict[str, Any] = {"checks": name, "data": {name: arms}, "detail": "full"}
        body["policy"] = {"checks": {name: {"pod_warmup": 0, **overrides}}}
        found: dict[str, Any] = analyzer.evaluate(body)["checks"][name]
        return {field: value for field, value in found.items() if field != "counts"}

    return judge_one
