"""Tests of `analyzer.sources.breaker`: an outage is answered at once, and its end is noticed."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sources.hostile import Connection, HostileServer, hang, say, serving
from sources.pods import CHECKS, PROFILE

from analyzer.errors import BadResponse, SourceError, SourceUnavailable
from analyzer.model.findings import Code, Gap
from analyzer.sources import breaker as module
from analyzer.sources.assembly import Selection
from analyzer.sources.breaker import Breaker
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection as Api
from analyzer.sources.prometheus_api import PrometheusApi


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the breaker try every 10 ms."""
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)


def becomes(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    """Wait until it holds; return how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.01)
    return time.monotonic() - began


def is_open(breaker: Breaker) -> bool:
    """Whether verdicts do not wait for the source."""
    try:
        breaker.check()
    except SourceUnavailable:
        return True
    return False


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [SourceUnavailable("down"), BadResponse("a login page"), None])
def test_it_opens_where_the_source_gives_no_answer(error: SourceError | None) -> None:
    """And closes with the first one; an answer that cannot be used is an answer, and verdicts say what is wrong."""
    answers, tries = [error], []

    def probe(deadline: float) -> None:
        tries.append(deadline - time.monotonic())
        if answers[0] is not None:
            raise answers[0]

    breaker = Breaker(probe)
    assert not is_open(breaker)
    breaker.suspect()
    becomes(lambda: len(tries) > 0)
    if isinstance(error, SourceUnavailable):
        becomes(lambda: is_open(breaker))
        with pytest.raises(SourceUnavailable, match="down"):
            breaker.check()
        answers[0] = None
        becomes(lambda: not is_open(breaker))
    time.sleep(0.05)
    tried = len(tries)
    time.sleep(0.05)

    assert len(tries) == tried
    assert not is_open(breaker)
    assert max(tries) <= module.PROBE_SECONDS


@pytest.mark.usefixtures("quick")
def test_one_query_tries_at_a_time() -> None:
    """However many suspect the source."""
    under_way, most = threading.Semaphore(1), []

    def probe(_: float) -> None:
        most.append(under_way.acquire(blocking=False))
        time.sleep(0.02)
        under_way.release()

    breaker = Breaker(probe)
    for _ in range(50):
        breaker.suspect()
        time.sleep(0.002)

    assert len(most) < 10
    assert all(most)


def source_of(server: HostileServer) -> PrometheusSource:
    """Read from the server as the service does."""
    return PrometheusSource(PrometheusApi(Api(server.url)))


def selection(service: str = "fraud") -> Selection:
    """Ask about a canary of the service."""
    return Selection(
        service=service,
        namespace="ml",
        canary=f"{service}-2",
        baseline="v1",
        profile=PROFILE,
        checks=CHECKS,
        at=time.time(),
    )


def code_and_seconds(source: PrometheusSource, service: str = "fraud") -> tuple[Code, float]:
    """Read for a verdict: the code of all gaps, and how long it took."""
    began = time.monotonic()
    readings = source.read(selection(service), began + 8)
    codes = {gap.code for gap in readings.by_check.values() if isinstance(gap, Gap)}
    assert len(codes) == 1, readings
    return codes.pop(), time.monotonic() - began


def test_an_outage_is_answered_at_once_and_its_end_noticed_within_5_s() -> None:
    """The first verdict waits for its query; those after it do not. While others wait, the breaker opens already."""
    with serving(hang) as server, ThreadPoolExecutor(1) as pool:
        source = source_of(server)
        first = pool.submit(code_and_seconds, source)
        assert becomes(lambda: is_open(source.queries.breaker)) < 4.5
        code, seconds = code_and_seconds(source)
        assert code is Code.SOURCE_UNAVAILABLE
        assert seconds < 0.5
        assert first.result()[0] is Code.SOURCE_UNAVAILABLE
        server.answers[:] = [nothing]
        assert becomes(lambda: code_and_seconds(source)[0] is Code.NO_CANARY_TRAFFIC) < 5.0


def nothing(to: Connection) -> None:
    """Answer that there is no such series, as the endpoint does."""
    kind = "matrix" if to.asked.path.endswith("query_range") else "vector"
    say({"status": "success", "data": {"resultType": kind, "result": []}})(to)


def hang_on(word: bytes) -> Callable[[Connection], None]:
    """Answer no query that names the word."""

    def answer(to: Connection) -> None:
        (hang if word in to.asked.body else nothing)(to)

    return answer


def test_a_service_whose_queries_hang_opens_it_for_nobody() -> None:
    """The source answers others: they go on, beside twenty clients of the hanging one."""
    with serving(hang_on(b"fraud")) as server, ThreadPoolExecutor(20) as pool:
        source = source_of(server)
        hanging = [pool.submit(code_and_seconds, source) for _ in range(20)]
        time.sleep(1.5)
        others = [code_and_seconds(source, "spam") for _ in range(50)]
        assert {code for code, _ in others} == {Code.NO_CANARY_TRAFFIC}
        assert max(seconds for _, seconds in others) < 2.0
        assert {future.result()[0] for future in hanging} == {Code.SOURCE_UNAVAILABLE}
