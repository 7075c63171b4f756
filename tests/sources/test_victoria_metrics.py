"""Tests that counts read from a real VictoriaMetrics are exact too, with the one parameter that it needs."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from needs import lacking
from ports import free_port
from test_exact_counts import NOON, check, check_drawn, rollout, scenario

from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi

pytestmark = pytest.mark.victoriametrics

AS_ASKED = {"nocache": "1"}  # otherwise it moves the times of a range query to multiples of the step
DRAWN = range(6)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A VictoriaMetrics with the history of the rollouts."""
    if shutil.which("victoria-metrics") is None:
        lacking("PROMETHEUS", "victoria-metrics is not installed: install the package of this name")
    address = f"127.0.0.1:{free_port()}"
    folder: Path = tmp_path_factory.mktemp("victoria-metrics")
    options = ["-retentionPeriod=100y", "-search.latencyOffset=0s", "-loggerLevel=ERROR"]
    process = subprocess.Popen(
        ["victoria-metrics", f"-storageDataPath={folder}", f"-httpListenAddr={address}", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _fill(f"http://{address}")
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait(10)


def _fill(url: str) -> None:
    lines = []
    rollouts = [rollout(), *(scenario(number) for number in DRAWN)]
    for point in (point for pods in rollouts for pod in pods for point in pod.points()):
        labels = ",".join(f'{name}="{value}"' for name, value in point.labels.items())
        lines.append(f"{point.metric}{{{labels}}} {point.value!r} {round(point.moment * 1000)}")
    with requests.Session() as session:
        session.trust_env = False
        for _ in range(200):
            try:
                session.get(f"{url}/health", timeout=1).raise_for_status()
                break
            except requests.RequestException:
                time.sleep(0.05)
        session.post(f"{url}/api/v1/import/prometheus", data="\n".join(lines), timeout=60).raise_for_status()
        session.get(f"{url}/internal/force_flush", timeout=10).raise_for_status()


def source_of(url: str, **parameters: str) -> PrometheusSource:
    """Build a source that knows nothing from before."""
    return PrometheusSource(PrometheusApi(Connection(url, parameters=parameters)))


@pytest.mark.parametrize("at", [NOON, NOON - 61.5, NOON - 4000])
def test_counts_of_the_rollout_are_exact(url: str, at: float) -> None:
    """Restarts, births, deaths and outages are counted as in Prometheus."""
    check(source_of(url, **AS_ASKED), rollout(), at)
    check(source_of(url, **AS_ASKED), rollout(), at, start=NOON - 5000)


@pytest.mark.parametrize("number", DRAWN)
def test_counts_of_drawn_rollouts_are_exact_too(url: str, number: int) -> None:
    """Whatever happens to the pods."""
    check_drawn(source_of(url, **AS_ASKED), number)


@pytest.mark.parametrize("later", [0.0, 0.7, 3.5])
def test_without_the_parameter_it_is_asked_again_at_other_moments(url: str, later: float) -> None:
    """Values for other times than those asked for are never counted."""
    at = NOON - 5400 + 850 + later  # of 50 slices or more: fewer are left alone
    source = source_of(url)
    check(source, rollout(), at)

    assert source.queries.api._aligned
