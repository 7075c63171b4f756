"""Tests that counts read through a real Thanos are those of Prometheus: two replicas, a querier and its frontend."""

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from needs import lacking
from ports import free_port
from prometheus_server import PrometheusServer, require_prometheus, wait_until_ready
from sources.pods import PROFILE, Pod, counted, expected, selection, truth
from test_exact_counts import NOON, Plan, check, check_drawn, played, rollout, scenario

from analyzer.config.settings import load_settings
from analyzer.doctor.diagnosis import examine
from analyzer.doctor.notices import DoctorCode
from analyzer.errors import PartialData
from analyzer.model.counts import Reading
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi
from analyzer.verdict.wiring import build_analyzer

pytestmark = pytest.mark.prometheus

DRAWN = range(4)
OUTAGES = {"a": (NOON - 3000, NOON - 2400), "b": (NOON - 1500, NOON - 1000)}  # in which a replica of Prometheus is down
INFO = "rate(process_start_time_seconds[5m])"  # to which Thanos remarks that it is no counter


@pytest.fixture(scope="module")
def start_thanos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Start components of Thanos; each start returns the address of its HTTP server, without a scheme."""
    if shutil.which("thanos") is None:
        lacking("THANOS", "thanos is not on the PATH: `make test-engines` builds it and runs these tests")
    processes: list[subprocess.Popen[bytes]] = []

    def start(component: str, *options: str) -> str:
        folder: Path = tmp_path_factory.mktemp(component)
        address, log = f"127.0.0.1:{free_port()}", folder / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["thanos", component, f"--http-address={address}", *options],
                cwd=folder, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        processes.append(process)
        wait_until_ready(process, f"http://{address}/-/ready", log)
        return address

    yield start
    for process in processes:
        process.kill()
        process.wait(10)


def every_second(pods: Sequence[Pod], replica: str) -> Iterator[Pod]:
    """Give a replica its own scrapes: every second one, and none while it was down."""
    begin, end = OUTAGES[replica]
    for pod in pods:
        mine = pod.scrapes["ab".index(replica) :: 2]
        yield replace(pod, scrapes=[scrape for scrape in mine if not begin <= scrape.moment < end])


def pair() -> list[Pod]:
    """Play pods that two replicas scrape in turn, each every quarter of a minute."""
    draw, begin = random.Random(5), NOON - 3600
    plans = {
        "stable-pair-0": Plan(begin - 1200, NOON, history=100_000, every=7.5),
        "stable-pair-1": Plan(begin - 1200, NOON, every=7.5),
        "canary-pair-0": Plan(begin, NOON, every=7.5, error_ratio=0.05),
    }
    return [played(name, name.rpartition("-")[0], plan, draw) for name, plan in plans.items()]


@pytest.fixture(scope="module")
def sidecars(start_thanos: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Two replicas of Prometheus with a sidecar each: gRPC addresses."""
    require_prometheus()
    servers, addresses = [], []
    try:
        for replica in OUTAGES:
            folder = tmp_path_factory.mktemp(f"replica-{replica}")
            server = PrometheusServer(folder, f"[]\nglobal: {{external_labels: {{replica: {replica}}}}}")
            alike = [*rollout(), *(pod for number in DRAWN for pod in scenario(number))]
            server.write_history(
                point for pods in (alike, every_second(pair(), replica)) for pod in pods for point in pod.points()
            )
            server.start()
            servers.append(server)
            address = f"127.0.0.1:{free_port()}"
            start_thanos("sidecar", f"--prometheus.url={server.url}", f"--grpc-address={address}")
            addresses.append(address)
        yield addresses
    finally:
        for server in servers:
            server.stop()


def querier_of(start_thanos: Callable[..., str], *options: str) -> str:
    """Start a querier that deduplicates; return its address when it sees the series."""
    options = ("--query.replica-label=replica", f"--grpc-address=127.0.0.1:{free_port()}", *options)
    url = f"http://{start_thanos('query', *options)}"
    with requests.Session() as session:
        session.trust_env = False
        ends = time.monotonic() + 30
        while time.monotonic() < ends:
            form = {"query": "count(count by (replica) (process_start_time_seconds))", "time": NOON, "dedup": "false"}
            answer = session.get(f"{url}/api/v1/query", params=form, timeout=10).json()
            if answer["data"]["result"] and answer["data"]["result"][0]["value"][1] == "2":
                return url
            time.sleep(0.1)
    raise RuntimeError("the querier does not see both replicas")


@pytest.fixture(scope="module")
def querier(start_thanos: Callable[..., str], sidecars: list[str]) -> str:
    """A querier over both replicas."""
    return querier_of(start_thanos, *(f"--endpoint={address}" for address in sidecars))


def frontend_of(start_thanos: Callable[..., str], querier: str, *options: str) -> str:
    """Start a query frontend before the querier."""
    return f"http://{start_thanos('query-frontend', f'--query-frontend.downstream-url={querier}', *options)}"


@pytest.fixture(scope="module")
def frontend(start_thanos: Callable[..., str], querier: str) -> str:
    """A query frontend as it is by default, which aligns."""
    return frontend_of(start_thanos, querier)


@pytest.fixture(scope="module")
def splitting(start_thanos: Callable[..., str], querier: str) -> str:
    """A query frontend that does not align, but splits what is longer than half an hour, and remembers answers."""
    cache = "{type: IN-MEMORY, config: {max_size: 64MB, validity: 1h}}"
    options = ["--no-query-range.align-range-with-step", "--query-range.split-interval=30m"]
    return frontend_of(start_thanos, querier, *options, f"--query-range.response-cache-config={cache}")


def source_of(url: str, **parameters: str) -> PrometheusSource:
    """Build a source that knows nothing from before."""
    return PrometheusSource(PrometheusApi(Connection(url, parameters=parameters)))


@pytest.mark.parametrize("through", ["querier", "frontend", "splitting"])
@pytest.mark.parametrize("at", [NOON, NOON - 61.5, NOON - 4000])
def test_counts_of_the_rollout_are_exact(request: pytest.FixtureRequest, through: str, at: float) -> None:
    """Restarts, births, deaths and outages are counted as in Prometheus; asked again, from the cache too."""
    url = request.getfixturevalue(through)
    for _ in range(2):
        check(source_of(url), rollout(), at)
        check(source_of(url), rollout(), at, start=NOON - 5000)
    check(source_of(url), rollout(), at, window_seconds=600.0)


@pytest.mark.parametrize("through", ["querier", "frontend", "splitting"])
@pytest.mark.parametrize("number", DRAWN)
def test_counts_of_drawn_rollouts_are_exact_too(request: pytest.FixtureRequest, through: str, number: int) -> None:
    """Whatever happens to the pods."""
    check_drawn(source_of(request.getfixturevalue(through)), number)


@pytest.mark.parametrize("dedup", ["true", "false"])
def test_replicas_that_scrape_in_turn_are_counted_once(querier: str, dedup: str) -> None:
    """Through the outage of each: as one of them saw it, whether or not Thanos deduplicates."""
    readings = source_of(querier, dedup=dedup).read(
        selection("canary-pair", "stable-pair", NOON), time.monotonic() + 30
    )
    reading = readings.by_check["error_rate"]
    assert isinstance(reading, Reading), reading
    assert reading.begin is not None
    for role, arm in (("canary", "canary-pair"), ("baseline", "stable-pair")):
        by_replica = [
            expected(truth(list(every_second(pair(), replica)), arm, reading.begin, NOON, new=True), PROFILE)[
                "requests"
            ]
            for replica in OUTAGES
        ]
        in_doubt = 60 * sum(pod.arm == arm for pod in pair())  # requests of a scrape at the start and of one at the end
        assert min(by_replica) - in_doubt <= counted(readings, role)["requests"] <= max(by_replica) + in_doubt
    assert any("scraped more than once at a time" in note for note in reading.notes) == (dedup == "false")


def test_a_frontend_that_aligns_is_named(frontend: str, querier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `doctor`, with what to do; verdicts need more queries."""
    codes = []
    for url in (querier, frontend):
        monkeypatch.setenv("ANALYZER_SOURCE", "prometheus")
        monkeypatch.setenv("ANALYZER_PROMETHEUS_URL", url)
        settings = load_settings()
        fields = {"service": "fraud", "namespace": "ml", "canary": "canary", "baseline": "stable", "window": "1h"}
        notices = examine(build_analyzer(settings), settings, fields | {"at": f"{NOON:.0f}"}).notices
        codes.append([notice.code for notice in notices])

    assert codes == [[], [DoctorCode.TIMES_MOVED]]


def test_the_sums_of_a_server_are_near_through_a_frontend(frontend: str) -> None:
    """Where there are too many series to follow, within 2%, as with Prometheus."""
    for at in (NOON, NOON - 1001):
        source = PrometheusSource(PrometheusApi(Connection(frontend)), most_values=1)
        readings = source.read(selection("canary", "stable", at), time.monotonic() + 30)
        assert readings.window.start is not None
        for role, arm in (("canary", "canary"), ("baseline", "stable")):
            want = expected(truth(rollout(), arm, readings.window.start, at, new=True), PROFILE)
            assert counted(readings, role) == pytest.approx(want, rel=0.02)


@pytest.mark.parametrize("through", ["querier", "frontend", "splitting"])
def test_a_remark_on_the_query_is_no_partial_answer(request: pytest.FixtureRequest, through: str) -> None:
    """Thanos puts it among the warnings, beside those of missing stores."""
    url = request.getfixturevalue(through)
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"{url}/api/v1/query", params={"query": INFO, "time": NOON}, timeout=10).json()
    assert answer["warnings"][0].startswith("PromQL info")

    assert PrometheusApi(Connection(url)).instant(INFO, NOON, time.monotonic() + 10)


def test_a_store_that_is_gone_is_a_partial_answer(start_thanos: Callable[..., str], sidecars: list[str]) -> None:
    """A warning that is none of PromQL."""
    gone = f"--endpoint-strict=127.0.0.1:{free_port()}"
    url = querier_of(start_thanos, *(f"--endpoint={address}" for address in sidecars), gone)
    with pytest.raises(PartialData, match="may be partial"):
        PrometheusApi(Connection(url)).instant("process_start_time_seconds", NOON, time.monotonic() + 10)
