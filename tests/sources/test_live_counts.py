"""A test that counts are exact to the unit while Prometheus really scrapes pods that come, fail, restart and go."""

import time
from collections.abc import Iterator

import pytest
from prometheus_server import PrometheusServer, StartPrometheus
from sources.exporters import Exporter
from sources.pods import ARM, OTHER_WAYS, PROFILE, Pod, counted, expected, first_sample, selection, truth

from analyzer.config.profile import Profile
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi

pytestmark = pytest.mark.prometheus

FIRST_SCRAPES = 30.0  # seconds at most until the baseline was scraped: Prometheus takes some to begin
SECONDS = 23.5
MARGIN = 0.04  # seconds around a moment without a scrape: Prometheus' clock stands before the pod's


@pytest.fixture(scope="module")
def exporters() -> Iterator[dict[str, Exporter]]:
    """The pods of both arms, which do not live yet."""
    arms = {
        "stable-a": "stable",
        "stable-b": "stable",
        "canary-a": "canary",
        "canary-b": "canary",
        "canary-c": "canary",
    }
    made = {name: Exporter(arm, name) for name, arm in arms.items()}
    yield made
    for one in made.values():
        one.stop()


@pytest.fixture(scope="module")
def prometheus(start_prometheus: StartPrometheus, exporters: dict[str, Exporter]) -> PrometheusServer:
    """A Prometheus that scraped the pods through everything that may happen to them."""
    groups = ", ".join(
        f'{{targets: ["127.0.0.1:{one.port}"], labels: {{{ARM}: {one.arm}, namespace: ml, pod: {one.name}}}}}'
        for one in exporters.values()
    )
    job = f"job_name: fraud, scrape_interval: 500ms, scrape_timeout: 400ms, static_configs: [{groups}]"
    server = start_prometheus(scrape_configs=f"[{{{job}}}]")
    stable = exporters["stable-a"], exporters["stable-b"]
    for exporter in stable:
        exporter.start()
    ends = time.monotonic() + FIRST_SCRAPES
    while min(len(exporter.pod.scrapes) for exporter in stable) < 3 and time.monotonic() < ends:
        time.sleep(0.05)
    began = time.monotonic()
    exporters["canary-a"].error_ratio = 0.0
    plan = sorted([
        (2.5, exporters["canary-a"].start),
        (4.0, exporters["canary-b"].start),
        (6.0, lambda: setattr(exporters["stable-b"], "failing", True)),
        (7.0, exporters["canary-c"].start),
        (8.5, exporters["canary-b"].restart),
        (9.2, exporters["canary-b"].restart),
        (10.0, lambda: setattr(exporters["stable-b"], "failing", False)),
        (11.0, lambda: setattr(exporters["canary-a"], "error_ratio", 0.3)),
        (12.0, lambda: setattr(exporters["canary-c"], "failing", True)),
        (13.0, exporters["canary-c"].restart),
        (14.0, lambda: setattr(exporters["canary-c"], "failing", False)),
        (16.0, exporters["canary-b"].stop),
        (17.0, exporters["stable-a"].restart),
        (SECONDS, lambda: None),
    ], key=lambda step: step[0])  # fmt: skip
    for seconds, step in plan:
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        step()
    return server


def quiet(pods: list[Pod], wish: float) -> float:
    """Find the first moment from the wished one on at which no scrape was under way."""
    moments = [scrape.moment for pod in pods for scrape in pod.scrapes]
    while any(abs(moment - wish) < MARGIN for moment in moments):
        wish += 0.005
    return round(wish, 3)


@pytest.mark.parametrize("profile", [PROFILE, OTHER_WAYS], ids=lambda profile: profile.name)
@pytest.mark.parametrize("wish", [4.0, 9.0, 13.5, 16.0, 17.0])
def test_live_counts_are_exact(
    prometheus: PrometheusServer, exporters: dict[str, Exporter], wish: float, profile: Profile
) -> None:
    """Every count equals what the scrapes saw, process by process, at several moments and for every window."""
    pods = [one.pod for one in exporters.values()]
    first = first_sample(pods, "canary")
    at = quiet(pods, first + wish)
    source = PrometheusSource(PrometheusApi(Connection(prometheus.url)))
    begin = quiet(pods, first + 1.2)
    for window in ({}, {"start": begin}, {"window_seconds": round(at - quiet(pods, at - 2.5), 3)}):
        readings = source.read(selection("canary", "stable", at, profile, **window), time.monotonic() + 10)
        start = readings.window.start
        assert start is not None
        assert window or first - 2 <= start < first
        for role, arm in (("canary", "canary"), ("baseline", "stable")):
            want = expected(truth(pods, arm, start, at, new=not window), profile)
            got = counted(readings, role)
            assert {key: got.get(key, 0) for key in want} == pytest.approx(want, abs=1e-6), (role, window)
        assert window or want["requests"] > 100
    assert at < time.time() - 0.5  # or else scrapes may be missing that the truth knows
