"""The scenarios of `make chaos`: each attacks the service in one way, and counts what held."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.service_figures import COUNTS, Service, written
from bench.service_figures import Connection as Client
from chaos.outage import Argo, Outage, simulated
from chaos.stage import Response, Stage, Watch, ask, until
from sources.hostile import (
    Answer,
    Connection,
    close,
    cut,
    cut_chunk,
    enormous,
    flood,
    hang,
    say,
    trickle,
    trickle_chunks,
    trickle_headers,
)

RECOVERED = 5.0  # seconds after a source is well
IN_TIME = 9.5  # seconds: Argo waits ten
PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"


@dataclass
class Row:
    """What became of a scenario; `broken` says which promise was not kept beside what was lost."""

    tried: int
    held: int
    notes: str = ""
    watched: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    allowed: int = 0  # of what did not hold

    @property
    def lost(self) -> int:
        """What did not hold beyond what is allowed."""
        return max(0, self.tried - self.held - self.allowed)


def kept(responses: list[Response], *verdicts: str) -> int:
    """Count the answers in time with one of these verdicts."""
    return sum(answer.status == 200 and answer.seconds < IN_TIME and answer.verdict in verdicts for answer in responses)


@contextlib.contextmanager
def repeating(clients: int, task: Callable[[int], Response], pause: float = 0.0) -> Iterator[list[Response]]:
    """Let clients ask again and again, for the length of the block; yields their answers."""
    ends, responses = threading.Event(), []

    def run(number: int) -> None:
        while not ends.is_set():
            responses.append(task(number))
            ends.wait(pause)

    with ThreadPoolExecutor(clients) as pool:
        tasks = [pool.submit(run, number) for number in range(clients)]
        try:
            yield responses
        finally:
            ends.set()
            for each in tasks:
                each.result()


def every(pause: float, times: int, task: Callable[[], Response]) -> list[Response]:
    """Ask so many times, with pauses."""
    responses = []
    for _ in range(times):
        time.sleep(pause)
        responses.append(task())
    return responses


def both(port: int) -> bool:
    """Whether the good canary passes and the bad one fails."""
    return (ask(port, "good").verdict, ask(port, "bad").verdict) == (PASS, FAIL)


def calm(stage: Stage, short: bool) -> Row:
    """Nothing is wrong: the control of all others."""
    number = 20 if short else 200
    with Watch(stage.port).on() as watch:
        responses = [(ask(stage.port, "good"), ask(stage.port, "bad")) for _ in range(number)]
    held = kept([good for good, _ in responses], PASS) + kept([bad for _, bad in responses], FAIL)
    return Row(2 * number, held, "good passes, bad fails", watch.slowest)


# Sources


LYING: dict[str, Answer] = {
    "login-page": say(b"<html><form>Log in</form></html>", Content_Type="text/html"),
    "empty-object": say({}),
    "no-result": say({"status": "success", "data": {"resultType": "vector"}}),
    "wrong-kind": say({"status": "success", "data": {"resultType": "scalar", "result": [0, "1"]}}),
    "partial": say(
        {"status": "success", "warnings": ["a store is away"], "data": {"resultType": "vector", "result": []}}
    ),
    "odd-warnings": say({"status": "success", "warnings": {"a": 1}, "data": {"resultType": "vector", "result": []}}),
    "not-json": say(b'{"status":"success","data":{"resultType":"vector","result":[NaN'),
    "redirect": say(b"", 302, Location="http://127.0.0.1:9/login"),
    "server-error": say(b"oops", 500),
    "unavailable": say(b"starting", 503),
    "forbidden": say({"status": "error", "errorType": "x", "error": "no"}, 403),
    "cut": cut,
    "cut-chunk": cut_chunk,
    "closes": close,
    "flood": flood,
    "enormous": enormous,
    "hangs": hang,
    "drips-headers": trickle_headers,
    "drips-body": trickle,
    "drips-chunks": trickle_chunks,
}


def lying_answers(stage: Stage, short: bool) -> Row:
    """Some services get wrong, slow or no answers: they are inconclusive, and a bad canary beside them never passes."""
    stage.source.faults = {name.encode(): answer for name, answer in LYING.items()}
    names, seconds = list(LYING), 6 if short else 60
    with Watch(stage.port).on() as watch, ThreadPoolExecutor(1) as pool:
        well = pool.submit(every, 0.4, 2 * seconds, lambda: ask(stage.port, "bad"))
        with repeating(len(names), lambda number: ask(stage.port, names[number]), 0.2) as responses:
            time.sleep(seconds)
        others = well.result()
    stage.source.faults = {}
    held = kept(responses, INCONCLUSIVE) + kept(others, FAIL, INCONCLUSIVE)
    few = Counter(" ".join((answer.verdict, *answer.codes)) for answer in others)
    return Row(len(responses) + len(others), held, f"{len(names)} faults; a bad canary beside them: {dict(few)}",
               watch.slowest)  # fmt: skip


def outage(stage: Stage, short: bool, fault: Answer, name: str) -> Row:
    """The source is away for all: verdicts are inconclusive, soon at once, and formed again when it is back."""
    seconds = 5 if short else 60
    with Watch(stage.port).on() as watch:
        with repeating(30, lambda _: ask(stage.port, "good"), 0.3) as responses:
            stage.source.everywhere = fault
            time.sleep(1.0)
            first = len(responses)
            time.sleep(seconds)
            late = [answer for answer in responses[first:] if answer.seconds < 1.0]
        during = list(responses)
        stage.source.everywhere = None
        back = until(lambda: both(stage.port))
    quick = len(late) / max(1, len(responses) - first)
    row = Row(len(during), kept(during, INCONCLUSIVE, PASS), f"{name}; at once {quick:.0%}, well after {back:.1f} s",
              watch.slowest)  # fmt: skip
    row.broken += [f"recovery took {back:.1f} s"] * (back > RECOVERED)
    return row


def hanging_source(stage: Stage, short: bool) -> Row:
    """No query is answered."""
    return outage(stage, short, hang, "hangs")


def dripping_source(stage: Stage, short: bool) -> Row:
    """Every answer comes a byte at a time, and never ends."""
    return outage(stage, short, trickle_headers, "drips")


def restarting_source(stage: Stage, short: bool) -> Row:
    """Prometheus is killed and started again, again and again."""
    times, back = 1 if short else 5, []
    with Watch(stage.port).on() as watch, repeating(10, lambda _: ask(stage.port, "bad"), 0.2) as responses:
        for _ in range(times):
            stage.source.prometheus.stop()
            time.sleep(3)
            stage.source.prometheus.start()
            back.append(until(lambda: both(stage.port)))
    row = Row(
        len(responses),
        kept(responses, FAIL, INCONCLUSIVE),
        f"{times} times; well after {max(back):.1f} s",
        watch.slowest,
    )
    row.broken += [f"recovery took {max(back):.1f} s"] * (max(back) > RECOVERED)
    return row


def neighbours(stage: Stage, short: bool, services: int, name: str) -> Row:
    """A healthy service beside twenty clients of services whose queries hang."""
    stage.source.faults = {b"hanging": hang}
    seconds = 5 if short else 60
    hanging = [f"hanging-{number}" for number in range(services)]
    with Watch(stage.port).on() as watch, repeating(20, lambda number: ask(stage.port, hanging[number % services])):
        time.sleep(6)  # until it is known who hangs
        responses, ends = [], time.monotonic() + seconds
        while time.monotonic() < ends:
            responses.append(ask(stage.port, "good"))
            time.sleep(0.05)
    stage.source.faults = {}
    held = kept(responses, PASS)
    slowest = max(answer.seconds for answer in responses)
    notes = f"{name}; in time {held / len(responses):.1%}, slowest {slowest:.1f} s"
    return Row(len(responses), held, notes, watch.slowest, allowed=len(responses) // 20)


def one_neighbour(stage: Stage, short: bool) -> Row:
    """All twenty ask about one service."""
    return neighbours(stage, short, 1, "one hanging service")


def twenty_neighbours(stage: Stage, short: bool) -> Row:
    """Each asks about another one."""
    return neighbours(stage, short, 20, "twenty hanging services")


# Clients


def half_sent(stage: Stage, short: bool) -> Row:
    """A thousand connections whose request is never whole, and verdicts beside them."""
    parts = (b"", b"GET /he", written("/v1/verdict", {"data": COUNTS})[:-1])
    with contextlib.ExitStack() as stack, Watch(stage.port).on() as watch:
        for number in range(1000):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", stage.port), timeout=20))
            connection.sendall(parts[number % 3])
        responses = [ask(stage.port, "bad") for _ in range(20 if short else 200)]
    return Row(len(responses), kept(responses, FAIL), "1,000 connections", watch.slowest)


def floods(stage: Stage, short: bool) -> Row:
    """Refused requests without end: too large, no JSON, a megabyte of digits, unknown paths, no HTTP."""
    requests = [
        written("/v1/verdict", {"service": "a", "window": "9" * 900_000}),
        written("/v1/verdict", {"service": "a" * 1_200_000}),
        written(f"/v1/verdict?service=a&canary=b&window={'9' * 4000}"),
        written("/v1/verdict?service=%ff"),
        written("/nothing"),
        b"NO HTTP AT ALL\r\n\r\n",
    ]

    def one(number: int) -> Response:
        began, status = time.monotonic(), 0
        with contextlib.suppress(OSError), Client(stage.port) as client:
            status = client.exchange(requests[number % len(requests)])[0]
        return Response(status, {}, time.monotonic() - began)

    with Watch(stage.port).on() as watch, repeating(12, one, 0.05) as refused:
        responses, ends = [], time.monotonic() + (4 if short else 30)
        while time.monotonic() < ends:
            responses.append(ask(stage.port, "bad"))
    held = kept(responses, FAIL) + sum(400 <= answer.status < 500 for answer in refused)
    return Row(
        len(responses) + len(refused), held, f"{len(refused)} refused beside {len(responses)} verdicts", watch.slowest
    )


def burst(stage: Stage, short: bool) -> Row:
    """Two hundred clients ask at once: a verdict, or inconclusive at once; never an error."""
    number = 200
    with Watch(stage.port).on() as watch, ThreadPoolExecutor(number) as pool:
        responses = list(pool.map(lambda _: ask(stage.port, "bad"), range(number * (1 if short else 5))))
    return Row(
        len(responses),
        kept(responses, FAIL, INCONCLUSIVE),
        f"{kept(responses, FAIL)} verdicts, the others held",
        watch.slowest,
    )


# The process


def worker_of(service: Service) -> int:
    """Find the process that answers: the child of the one that was started."""
    assert service.process is not None
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    return int(children[0])


def file_descriptors(stage: Stage, short: bool) -> Row:
    """More connections than the process may have files: the worker lives, and goes on when they are gone."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

    service = stage.another("files", preexec_fn=limit)
    with service.running():
        worker = worker_of(service)
        with contextlib.ExitStack() as stack:
            for _ in range(300):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=20))
                with contextlib.suppress(OSError):  # dropped for those after it
                    connection.sendall(b"GET /he")
            time.sleep(0.5 if short else 5)
            beside = [ask(service.port, "bad") for _ in range(5)]
        with Watch(service.port).on() as watch:
            back = until(lambda: both(service.port))
            responses = [ask(service.port, "bad") for _ in range(10)]
        same = worker_of(service) == worker
    row = Row(
        15,
        kept(beside, FAIL, INCONCLUSIVE) + kept(responses, FAIL),
        f"300 connections, 128 files; well after {back:.1f} s",
        watch.slowest,
    )
    row.broken += [f"recovery took {back:.1f} s"] * (back > RECOVERED)
    row.broken += ["the worker was killed"] * (not same) + ["a traceback"] * ("Traceback" in service.log)
    return row


def late(to: Connection) -> None:
    """Answer after a second."""
    time.sleep(1.0)
    to.reply(b"{}")


def terminated(stage: Stage, short: bool) -> Row:
    """SIGTERM while verdicts are formed: whoever was accepted is answered."""
    stage.source.faults = {b"slow": late}
    responses: list[Response] = []
    for number in range(2 if short else 10):
        service = stage.another(f"terminated-{number}")
        with service.running(), ThreadPoolExecutor(12) as pool:
            waiting = [pool.submit(ask, service.port, "slow") for _ in range(12)]
            time.sleep(0.4)
            assert service.process is not None
            service.process.send_signal(signal.SIGTERM)
            responses += [future.result() for future in waiting]
            code = service.process.wait(20)
            assert code == 0, code
    stage.source.faults = {}
    return Row(len(responses), kept(responses, INCONCLUSIVE), "each verdict was under way")


def killed(stage: Stage, short: bool) -> Row:
    """SIGKILL of the worker: what was under way is lost, and Argo's next try is answered by a new one."""
    service, back = stage.another("killed"), []
    with service.running():
        for _ in range(2 if short else 10):
            os.kill(worker_of(service), signal.SIGKILL)
            time.sleep(0.05)
            back.append(until(lambda: ask(service.port, "bad").verdict == FAIL))
    return Row(
        len(back), sum(seconds < 10 for seconds in back), f"answers again after {max(back):.1f} s: one try of Argo"
    )


def unread_log(stage: Stage, short: bool) -> Row:
    """Nobody reads the log, so its pipe is full."""
    service = stage.another("unread")
    read, write = os.pipe()
    environment = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), **service.environment}
    words = [sys.executable, "-m", "analyzer", "serve", "--port", str(service.port)]
    service.process = subprocess.Popen(words, env=environment, stdout=write, stderr=write)
    number = 400 if short else 4000
    try:
        service.wait_until_alive()
        with Watch(service.port).on() as watch, ThreadPoolExecutor(4) as pool:
            data = {"data": {"error_rate": COUNTS["error_rate"]}}
            responses = list(pool.map(lambda _: ask(service.port, "x" * 200, **data), range(number)))
    finally:
        os.close(write)
        threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(read, 65536), b"")], daemon=True).start()
        service.stop()
    return Row(number, kept(responses, FAIL, PASS, INCONCLUSIVE), "64 KiB of pipe", watch.slowest)


def rotated_token(stage: Stage, short: bool) -> Row:
    """The callers' token changes: the new one is valid at once, the old one no more."""
    file = stage.folder / "token"
    file.write_text("token-0")
    service = stage.another("rotated", {"ANALYZER_TOKEN_FILE": str(file)})
    statuses = []
    with service.running():
        for number in range(1, 4 if short else 20):
            file.write_text(f"token-{number}")
            for token in (number, number - 1):
                head, _, body = written("/v1/verdict", {"data": COUNTS}).partition(b"\r\n\r\n")
                request = head + f"\r\nAuthorization: Bearer token-{token}\r\n\r\n".encode() + body
                with Client(service.port) as client:
                    statuses.append(client.exchange(request)[0] == (200 if token == number else 401))
    return Row(len(statuses), sum(statuses), "new 200, old 401")


def nothing_to_write_to(stage: Stage, short: bool) -> Row:
    """A full disk or a read-only root: it needs no file of its own."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is then EFBIG, as ENOSPC would be

    folder = stage.folder / "full"
    folder.mkdir()
    service = Service(folder, dict(stage.service.environment), {"preexec_fn": limit, "cwd": "/proc"})
    with service.running(), Watch(service.port).on() as watch:
        responses = [ask(service.port, "bad") for _ in range(5 if short else 50)]
    return Row(len(responses), kept(responses, FAIL), "no byte can be written, not even to the log", watch.slowest)


def thousand_rollouts(stage: Stage, short: bool) -> Row:
    """1,000 healthy rollouts through an outage of 30 minutes, by discrete events: see `outage.py`."""
    notes, held, tried = [], 0, 0
    for hangs, fault in ((True, "hangs"), (False, "refuses")):
        result = simulated(Argo(consecutive_errors=4), Outage(hangs=hangs))
        tried, held = tried + result.rollouts, held + result.rollouts - result.aborted
        notes.append(f"{fault}: {result.aborted} aborted, {result.paused} wait for a person, {result.errors} errors")
    return Row(tried, held, "; ".join(notes))


SCENARIOS: dict[str, Callable[[Stage, bool], Row]] = {
    play.__name__.replace("_", "-"): play
    for play in (
        calm, lying_answers, hanging_source, dripping_source, restarting_source, one_neighbour, twenty_neighbours,
        half_sent, floods, burst, file_descriptors, terminated, killed, unread_log, rotated_token, nothing_to_write_to,
        thousand_rollouts,
    )
}  # fmt: skip
LONG = ("dripping-source",)  # what the short form leaves out: others show it as well
