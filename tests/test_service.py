"""Tests of the real process, `python -m analyzer serve`: its start, its end, and what it needs in between."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from bench.service_figures import COUNTS, STARTS, Connection, Service, measure_load, measure_start, written

from analyzer import evaluate

MEGABYTE = 1_000_000
VERDICTS = 1500  # 10,000 take most of a minute on two cores: tests/bench/service_figures.py asks for those
CHUNKED = (
    b"POST /v1/verdict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
PAGE = b'http_requests_total{status="200"} 20000\nhttp_requests_total{status="500"} 4\n'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that runs without HOME, in a folder that nobody can write to."""
    with Service(tmp_path_factory.mktemp("service"), options={"cwd": "/proc"}).running() as service:
        yield service


@contextmanager
def held_page(let_go: threading.Event, asked: threading.Event) -> Iterator[str]:
    """Serve one page of metrics once, not before it is let go; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                asked.set()
                let_go.wait(10)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(PAGE), PAGE))

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
        let_go.set()
        thread.join(10)


def refuses(port: int) -> bool:
    """Whether nobody listens."""
    try:
        Connection(port).__exit__()
    except ConnectionRefusedError:
        return True
    return False


def raw(port: int, request: bytes) -> tuple[int, dict[str, Any]]:
    """Send bytes on a connection of their own; the answer must be JSON."""
    with Connection(port) as connection:
        status, body = connection.exchange(request)
    return status, json.loads(body)


# The start


def test_it_starts_quickly(tmp_path: Path) -> None:
    """The first answer comes within 1.5 seconds of the start, in the best of a few."""
    assert any(measure_start(tmp_path) < 1.5 for _ in range(STARTS))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ANALYZER_SORUCE", "prometheus", "ANALYZER_SORUCE: unknown setting; did you mean 'ANALYZER_SOURCE'?"),
        ("ANALYZER_THREADS", "many", "ANALYZER_THREADS: input should be a valid integer"),
        ("ANALYZER_THREADS", "-1", "ANALYZER_THREADS: input should be greater than or equal to 2"),
        ("ANALYZER_POLICY", "ml", "ANALYZER_POLICY: no policy named 'ml'"),
    ],
)
def test_wrong_settings_end_it_with_2(tmp_path: Path, name: str, text: str, message: str) -> None:
    """It says once what is wrong, and does not try again and again."""
    service = Service(tmp_path, {name: text})
    code = service.spawn().wait(10)

    assert code == 2
    assert service.log.count(f"analyzer: {message}") == 1
    assert "Traceback" not in service.log


def test_a_wrong_mounted_policy_ends_it_with_2(tmp_path: Path) -> None:
    """File and key are named."""
    (tmp_path / "policies").mkdir()
    path = tmp_path / "policies" / "own.yaml"
    path.write_text("name: own\nchecks: {errors: {kind: error_rate, promte: 1%, rollback: 2%}}\n")
    service = Service(tmp_path, {"ANALYZER_CONFIG_DIR": str(tmp_path)})

    assert service.spawn().wait(10) == 2
    assert f"analyzer: {path}: checks.errors.promte: unknown field; did you mean 'promote'?" in service.log
    assert "Traceback" not in service.log


# What it answers over the wire


def test_a_verdict_is_that_of_the_library(service: Service) -> None:
    """The service answers what `analyzer.evaluate` returns."""
    body = {"service": "fraud", "data": COUNTS, "detail": "full"}
    status, answer = raw(service.port, written("/v1/verdict", body))

    assert status == 200
    assert answer == json.loads(json.dumps(evaluate(body)))


def test_the_doctor_knows_it_by_its_address(service: Service) -> None:
    """And leaves nothing in the metrics."""

    def rollouts() -> list[bytes]:
        with Connection(service.port) as connection:
            metrics = connection.exchange(written("/metrics"))[1]
        return [line for line in metrics.splitlines() if line.startswith(b"analyzer_verdict{")]

    before = rollouts()
    words = [sys.executable, "-m", "analyzer", "doctor", "--analyzer-url", f"http://127.0.0.1:{service.port}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert rollouts() == before


def test_it_needs_no_home_and_no_folder_of_its_own(service: Service) -> None:
    """It runs in /proc without HOME, and says nothing but where it listens."""
    status, answer = raw(service.port, written("/healthz"))
    first = json.loads(service.log.splitlines()[0])

    assert (status, answer["status"]) == (200, "alive")
    assert (first["event"], first["address"]) == ("listening", f"http://127.0.0.1:{service.port}")
    assert all(line.startswith('{"event":') for line in service.log.splitlines())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET //v1/verdict HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /v1/verdict/ HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /v1/verdict?service=%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"OPTIONS /v1/verdict HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"PUT /v1/verdict HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 405),
        (b"POST /v1/verdict HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 415),
        (b"POST /v1/verdict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n", 200),
        (CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n", 400),
        (CHUNKED + b"2\r\n{}xx\r\n0\r\n\r\n", 400),
        (b"GET /v1/verdict HTTP/1.1\r\nHost: a\r\nSCRIPT_NAME: /v1\r\n\r\n", 400),
    ],
)
def test_every_answer_is_json(service: Service, request_: bytes, status: int) -> None:
    """What the server in front of the application does to a request does not change that."""
    assert raw(service.port, request_)[0] == status


def test_a_large_body_is_413(service: Service) -> None:
    """Too much with a length, and in chunks without one, is refused; the service goes on."""
    large = {"service": "a" * 2_000_000}
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    head = (
        b"POST /v1/verdict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    statuses = [
        raw(service.port, request)[0]
        for request in (written("/v1/verdict", large), head + chunk * 40 + b"0\r\n\r\n", written("/healthz"))
    ]

    assert statuses == [413, 413, 200]


def test_verdicts_at_once_are_those_of_one_at_a_time(service: Service) -> None:
    """Requests that are answered side by side do not mix: each gets the bytes that it gets alone."""
    variants: list[dict[str, Any]] = [{}, {"detail": "full"}, {"at": 1_767_607_200}]
    requests = [
        written("/v1/verdict", {"service": f"model-{place}", "checks": check, "data": {check: COUNTS[check]}, **more})
        for place, more in enumerate(variants)
        for check in COUNTS
    ]

    def ask_all(order: list[int]) -> dict[int, bytes]:
        with Connection(service.port) as connection:
            return {place: connection.exchange(requests[place])[1] for place in order}

    places = list(range(len(requests)))
    alone = ask_all(places)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask_all, [places[turn:] + places[:turn] for turn in range(8)]))

    assert len(set(alone.values())) == len(requests)
    assert together == [alone] * 8


def test_many_verdicts_take_no_memory(service: Service) -> None:
    """Memory stays under 120 MB, and does not grow from the middle to the end."""
    load = measure_load(service, VERDICTS)

    assert load.end.pss < 120 * MEGABYTE
    assert load.end.worker_rss < 120 * MEGABYTE
    assert load.growth < 2 * MEGABYTE


# The end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_answers_what_is_in_flight(tmp_path: Path, number: signal.Signals) -> None:
    """A verdict that waits for its source is still given, then the process ends with 0 and nobody listens."""
    let_go, asked = threading.Event(), threading.Event()
    with held_page(let_go, asked) as address, ThreadPoolExecutor(1) as pool:
        service = Service(tmp_path, {"ANALYZER_SCRAPE_TARGETS": f"v2={address}"})
        with service.running(), Connection(service.port) as idle:
            assert idle.ask("/healthz")[0] == 200
            question = written("/v1/verdict?service=fraud&canary=v2&checks=error_rate")
            waiting = pool.submit(raw, service.port, question)
            assert asked.wait(5)
            assert service.process is not None
            service.process.send_signal(number)
            with pytest.raises(TimeoutError):
                waiting.result(0.5)
            assert service.process.poll() is None
            let_go.set()
            status, answer = waiting.result(5)
            code = service.process.wait(10)

    assert (status, answer["verdict"]) == (200, "pass")
    assert code == 0
    assert refuses(service.port)
    assert "Traceback" not in service.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0(tmp_path: Path, number: signal.Signals) -> None:
    """With nothing in flight, it ends at once."""
    service = Service(tmp_path)
    with service.running():
        assert service.process is not None
        service.process.send_signal(number)
        assert service.process.wait(5) == 0

    assert refuses(service.port)
    assert service.log.count("\n") == 1


# Clients that are slow


@contextmanager
def half_sent(port: int, number: int, part: bytes = b"POST /v1/verdict HTTP/1.1\r\nHost:") -> Iterator[None]:
    """Keep connections whose requests never become whole."""
    with ExitStack() as stack:
        for _ in range(number):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            connection.sendall(part)
        yield


@pytest.mark.parametrize("part", [b"", b"GET /he", written("/v1/verdict", {"data": COUNTS})[:-1]])
def test_requests_that_are_not_whole_take_nobodys_place(service: Service, part: bytes) -> None:
    """Four hundred of them, and the next request is answered as if they were not there."""
    with half_sent(service.port, 400, part):
        for _ in range(20):
            began = time.monotonic()
            status, _ = raw(service.port, written("/healthz"))
            assert status == 200
            assert time.monotonic() - began < 1.0
        assert raw(service.port, written("/v1/verdict", {"service": "fraud", "data": COUNTS}))[0] == 200


def test_a_request_may_come_in_pieces(service: Service) -> None:
    """Also one that follows another on its connection, and one that waits to be told to go on."""
    request = written("/v1/verdict", {"service": "fraud", "data": COUNTS})
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        for part in (request + request[:10], request[10:100], request[100:] + request):
            connection.sendall(part)
            time.sleep(0.05)
        assert answers(connection, 3) == [200, 200, 200]
    head, _, body = request.partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert answers(connection, 1) == [200]
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:])]
        for part in (CHUNKED, *chunks, b"0\r\n", b"\r\n"):
            connection.sendall(part)
            time.sleep(0.05)
        assert answers(connection, 1) == [200]


def answers(connection: socket.socket, number: int) -> list[int]:
    """Read answers until there are so many whole ones; return their statuses."""
    text = b""
    while len(re.findall(rb'"version":"[^"]+"[^{}]*}', text)) < number:
        part = connection.recv(65536)
        assert part, text
        text += part
    return [int(status) for status in re.findall(rb"HTTP/1.1 ([2-5]\d\d) ", text)]


def test_probes_do_not_wait_for_a_thread(tmp_path: Path) -> None:
    """Both threads wait for the source, one for a verdict and one for /readyz."""
    let_go, asked = threading.Event(), threading.Event()
    with held_page(let_go, asked) as address, ThreadPoolExecutor(4) as pool:
        service = Service(tmp_path, {"ANALYZER_SCRAPE_TARGETS": f"v2={address}", "ANALYZER_THREADS": "2"})
        with service.running():
            waiting = [pool.submit(raw, service.port, written("/v1/verdict?service=fraud&canary=v2"))]
            assert asked.wait(5)
            waiting += [pool.submit(raw, service.port, written("/readyz")) for _ in range(3)]
            time.sleep(0.2)
            for path in ("/healthz", "/metrics?a=b"):
                began = time.monotonic()
                with Connection(service.port) as connection:
                    assert connection.exchange(written(path))[0] == 200
                assert time.monotonic() - began < 1.0
            assert not any(future.done() for future in waiting[:2])
            let_go.set()
            assert waiting[0].result(10)[0] == 200


def test_what_is_no_request_is_refused_in_json(service: Service) -> None:
    """Not in gunicorn's HTML."""
    status, answer = raw(service.port, b"NO REQUEST AT ALL\r\n\r\n")

    assert status == 400
    assert answer["error"]["code"] == "bad_request"


def test_a_half_sent_request_does_not_hold_the_end(tmp_path: Path) -> None:
    """It has two seconds to become whole."""
    service = Service(tmp_path)
    with service.running(), half_sent(service.port, 3):
        raw(service.port, written("/healthz"))
        began = time.monotonic()
        assert service.process is not None
        service.process.terminate()
        assert service.process.wait(30) == 0
        assert time.monotonic() - began < 10.0
