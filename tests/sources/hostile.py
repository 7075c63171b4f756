"""An HTTP server over real sockets that answers as it is told, also wrongly, and remembers what it was asked."""

import contextlib
import functools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import orjson

Answer = Callable[["Connection"], None]


@dataclass(frozen=True)
class Asked:
    """One request: its method, path, headers (lower case) and body."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Connection:
    """One accepted connection, after its request was read."""

    socket: socket.socket
    asked: Asked
    closing: threading.Event

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def reply(self, body: bytes, status: int = 200, **headers: str) -> None:
        """Send a whole answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in named.items())]
        lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        self.send("\r\n".join(lines).encode() + body)


@dataclass
class HostileServer:
    """Answers every request by `answer`; the last of several answers is repeated."""

    answers: list[Answer]
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    port: int = 0

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    def start(self) -> None:
        """Listen."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Stop listening; answers that still hang give up."""
        self.closing.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                accepted, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            accepted.settimeout(10)
            stack.callback(accepted.close)
            if self.tls:
                accepted = stack.enter_context(self.tls.wrap_socket(accepted, server_side=True))
            asked = _read(accepted)
            self.asked.append(asked)
            answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
            answer(Connection(accepted, asked, self.closing))


def hang(to: Connection) -> None:
    """Say nothing."""
    to.closing.wait(20)


def trickle(to: Connection) -> None:
    """Send a body of a million bytes, a byte now and then."""
    to.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    _drip(to, b" ")


def trickle_headers(to: Connection) -> None:
    """Never come to an end of the headers."""
    to.send(b"HTTP/1.1 200 OK\r\nX: ")
    _drip(to, b"x")


def trickle_chunks(to: Connection) -> None:
    """Never come to an end of the length of a chunk."""
    to.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    _drip(to, b"0")


def _drip(to: Connection, drop: bytes) -> None:
    ends = time.monotonic() + 20
    while time.monotonic() < ends and not to.closing.wait(0.05):
        to.send(drop)


def say(body: bytes | dict[str, object], status: int = 200, **headers: str) -> Answer:
    """Answer with a body, JSON for a dictionary."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return lambda to: to.reply(data, status, **headers)


def vector(*values: str, **labels: str) -> dict[str, object]:
    """Write an answer of the query API with these values."""
    result = [{"metric": labels, "value": [1767614400, value]} for value in values]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def cut(to: Connection) -> None:
    """Close in the middle of the body."""
    to.send(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"status":"succ')


def cut_chunk(to: Connection) -> None:
    """Close in the middle of a chunk."""
    to.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n{"status":"succ')


def close(to: Connection) -> None:
    """Close without an answer."""


def flood(to: Connection) -> None:
    """Send more than anybody would keep."""
    to.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    part = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    for _ in range(64):
        to.send(part)


def enormous(to: Connection) -> None:
    """Answer in the right form with 30 MiB of series that nobody asked for."""
    to.reply(_enormous("matrix" if b"start=" in to.asked.body else "vector"))


@functools.cache
def _enormous(kind: str) -> bytes:
    sample = '"values":[[1767614400,"1"]]' if kind == "matrix" else '"value":[1767614400,"1"]'
    series = f'{{"metric":{{"pod":"{"p" * 120}"}},{sample}}}'
    result = ",".join([series] * (30 * 2**20 // len(series)))
    return f'{{"status":"success","data":{{"resultType":"{kind}","result":[{result}]}}}}'.encode()


@contextlib.contextmanager
def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[HostileServer]:
    """Serve for the length of a block."""
    server = HostileServer(list(answers), tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _read(accepted: socket.socket) -> Asked:
    data = b""
    while b"\r\n\r\n" not in data:
        part = accepted.recv(65536)
        if not part:
            raise OSError("closed")
        data += part
    head, body = data.split(b"\r\n\r\n", 1)
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += accepted.recv(65536)
    method, path, _ = first.split(" ")
    return Asked(method, path, headers, body)
