"""How quickly the service starts, how many verdicts it gives, its memory: `python tests/bench/service_figures.py`.

The real process is measured, with counts in the requests, over connections that are kept open.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from pace import pace
from ports import free_port

PROJECT = Path(__file__).parents[2]
STARTS = 3
MOST_SECONDS_TO_START, MOST_BYTES = 1.5, 120e6
VERDICTS = 10_000
CONNECTIONS = 4
COUNTS: dict[str, Any] = {
    "error_rate": {"canary": {"errors": 14, "requests": 865}, "baseline": {"errors": 52, "requests": 16435}},
    "latency_p99": {
        "canary": {"buckets": {"0.1": 700, "0.2": 850, "0.5": 860, "+Inf": 865}},
        "baseline": {"buckets": {"0.1": 13400, "0.2": 16200, "0.5": 16400, "+Inf": 16435}},
    },
    "prediction_drift": {
        "canary": {"classes": {"fraud": 12, "ok": 853}},
        "baseline": {"classes": {"fraud": 260, "ok": 16175}},
    },
    "business_proxy": {
        "canary": {"successes": 40, "trials": 865},
        "baseline": {"successes": 800, "trials": 16435},
    },
}


@dataclass(frozen=True)
class Memory:
    """Memory of the service in bytes.

    Attributes
    ----------
    pss : of master and worker together, what they share counted once; what they share with other processes,
        such as libraries, is counted in part, so it changes when those come and go
    worker_rss : of the worker alone, with all that it shares
    """

    pss: int
    worker_rss: int


@dataclass(frozen=True)
class Load:
    """What many verdicts took: seconds, and memory after the first half and at the end."""

    verdicts: int
    seconds: float
    half: Memory
    end: Memory

    @property
    def per_second(self) -> float:
        """Verdicts in a second."""
        return self.verdicts / self.seconds

    @property
    def growth(self) -> int:
        """Bytes of memory that the second half took in the worker."""
        return self.end.worker_rss - self.half.worker_rss


class Connection:
    """A connection that is kept open, and costs little beside the service that is measured."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
        """Send GET, or POST with a body; return the status and the body of the answer."""
        return self.exchange(written(path, body))

    def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a written request and read the answer."""
        self._socket.sendall(request)
        while b"\r\n\r\n" not in self._rest:
            self._receive()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        length = int(headers["content-length"])
        while len(self._rest) < length:
            self._receive()
        body, self._rest = self._rest[:length], self._rest[length:]
        return int(lines[0].split(" ")[1]), body

    def _receive(self) -> None:
        part = self._socket.recv(65536)
        if not part:
            raise ConnectionError("the service closed the connection")
        self._rest += part


def written(path: str, body: Mapping[str, Any] | None = None) -> bytes:
    """Write a request as it goes over the wire."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: localhost\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


@dataclass
class Service:
    """The real process, `python -m analyzer serve`.

    Attributes
    ----------
    folder : for what it says on standard error
    environment : all that it gets, beside what Python needs
    options : of the process, such as the working directory
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it."""
        words = [sys.executable, "-m", "analyzer", "serve", "--port", str(self.port)]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                words, env={"PYTHONPATH": str(PROJECT), **self.environment}, stdout=log, stderr=log, **self.options
            )
        return self.process

    @contextmanager
    def running(self) -> Iterator["Service"]:
        """Serve until the block ends."""
        self.spawn()
        try:
            self.wait_until_alive()
            yield self
        finally:
            self.stop()

    def wait_until_alive(self, seconds: float = 20.0) -> None:
        """Wait for the first 200 on /healthz."""
        ends = time.monotonic() + seconds
        while not self.answers():
            if time.monotonic() > ends or (self.process is not None and self.process.poll() is not None):
                raise RuntimeError(f"the service did not start: {self.log}")
            time.sleep(0.005)

    def answers(self) -> bool:
        """Whether /healthz is answered with 200."""
        try:
            with Connection(self.port) as connection:
                return connection.ask("/healthz")[0] == 200
        except OSError:
            return False

    def stop(self) -> int:
        """End the process as Kubernetes does, and return its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    @property
    def log(self) -> str:
        """What it said on standard error so far."""
        return (self.folder / "log").read_text(encoding="utf-8")

    @property
    def memory(self) -> Memory:
        """Memory of the master and its worker now."""
        if self.process is None:
            raise RuntimeError("the service does not run")
        master = self.process.pid
        (worker,) = map(int, Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii").split())
        pss = sum(_kilobytes(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in (master, worker))
        return Memory(pss * 1024, _kilobytes(f"/proc/{worker}/status", "VmRSS:") * 1024)


def measure_start(folder: Path) -> float:
    """Measure seconds from the start of the process to the first 200 on /healthz, at the machine's ease."""
    service = Service(folder)
    slowness = pace()
    began = time.perf_counter()
    with service.running():
        return (time.perf_counter() - began) / slowness


def measure_load(service: Service, verdicts: int = VERDICTS) -> Load:
    """Ask for verdicts over several connections at once, all checks in turn and many services.

    Parameters
    ----------
    service : that runs
    verdicts : how many, in two halves
    """
    began = time.perf_counter()
    _ask_many(service.port, verdicts // 2)
    half = service.memory
    _ask_many(service.port, verdicts - verdicts // 2)
    return Load(verdicts, time.perf_counter() - began, half, service.memory)


def _ask_many(port: int, verdicts: int) -> None:
    failures: list[str] = []

    def ask_in_turn(count: int) -> None:
        requests = [
            written("/v1/verdict", {"service": f"model-{place}", "data": COUNTS, "detail": detail})
            for place in range(10)
            for detail in ("summary", "full")
        ]
        try:
            with Connection(port) as connection:
                for place in range(count):
                    status, body = connection.exchange(requests[place % len(requests)])
                    if status != 200 or not body.startswith(b'{"verdict":"fail"'):
                        failures.append(f"{status} {body[:200]!r}")
        except OSError as error:
            failures.append(repr(error))

    shares = [verdicts // CONNECTIONS + (place < verdicts % CONNECTIONS) for place in range(CONNECTIONS)]
    threads = [threading.Thread(target=ask_in_turn, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"{len(failures)} verdicts were not given: {failures[0]}")


def _kilobytes(path: str, name: str) -> int:
    for line in Path(path).read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise ValueError(f"{path} has no {name}")


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        starts = [measure_start(folder) for _ in range(STARTS)]
        with Service(folder).running() as service:
            idle = service.memory
            load = measure_load(service)
    print(f"{min(starts):8.2f} s     start to the first answer, best of {STARTS}")
    where = f"{CONNECTIONS} connections, {os.cpu_count()} cores"
    print(f"{load.per_second:8.0f} /s    verdicts of {len(COUNTS)} checks, {where}")
    for when, memory in (("idle", idle), (f"after {VERDICTS // 2:,}", load.half), (f"after {VERDICTS:,}", load.end)):
        print(f"{memory.pss / 1e6:8.1f} MB    memory {when}; resident in the worker {memory.worker_rss / 1e6:.1f} MB")
    sys.exit(min(starts) > MOST_SECONDS_TO_START or max(load.end.pss, load.end.worker_rss) > MOST_BYTES)


if __name__ == "__main__":
    main()
