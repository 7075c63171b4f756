"""A small, fast HTTP/1.1 server on asyncio: one core answers thousands of predictions a second.

Knows keep-alive and Content-Length, and nothing of models and metrics.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

_MAX_BYTES = 65536


@dataclass(frozen=True)
class Reply:
    """What is answered, and how long it takes.

    Parameters
    ----------
    status : HTTP status
    body : the content
    content_type : of the body
    delay_seconds : the answer is held back for so long, >= 0
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    delay_seconds: float = 0.0


class Application(Protocol):
    """What a server serves."""

    def handle(self, method: str, path: str, body: bytes) -> Reply:
        """Return the answer to one request."""

    def observe(self, path: str, status: int, duration_seconds: float) -> None:
        """Take note of one answer, just before it is sent."""


def serve(application: Application, *, host: str, port: int, announce: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Parameters
    ----------
    application : what is served
    host, port : where to listen; port 0 takes a free one
    announce : is called once with the port, when connections are accepted
    """
    asyncio.run(_serve(application, host, port, announce))


async def _serve(application: Application, host: str, port: int, announce: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(lambda: _Connection(application), host, port, backlog=512)
    announce(server.sockets[0].getsockname()[1])
    await stopped.wait()
    server.close()


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    body: bytes


class _Connection(asyncio.Protocol):
    """One keep-alive connection; requests on it are answered one after the other."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._received = bytearray()
        self._waiting = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):  # asyncio sets TCP_NODELAY on it
            self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            while not self._waiting and (request := _take_request(self._received)):
                self._answer(request)
        except ValueError:
            self._received.clear()
            if self._transport is not None:
                self._transport.write(_render(Reply(400, b'{"error": "unreadable request"}')))
                self._transport.close()

    def _answer(self, request: _Request) -> None:
        started = time.perf_counter()
        reply = self._application.handle(request.method, request.path, request.body)
        if reply.delay_seconds > 0:
            self._waiting = True
            loop = asyncio.get_running_loop()
            loop.call_later(reply.delay_seconds, self._send_late, request.path, reply, started)
        else:
            self._send(request.path, reply, started)

    def _send_late(self, path: str, reply: Reply, started: float) -> None:
        self._waiting = False
        self._send(path, reply, started)
        self.data_received(b"")

    def _send(self, path: str, reply: Reply, started: float) -> None:
        self._application.observe(path, reply.status, time.perf_counter() - started)
        if self._transport is not None:
            self._transport.write(_render(reply))


def _take_request(received: bytearray) -> _Request | None:
    """Take the first request out of the bytes received; None while it has not arrived in full.

    Raises
    ------
    ValueError : this is no request, or a larger one than is served here
    """
    head, found, _ = received.partition(b"\r\n\r\n")
    body_length = _content_length(head) if found else 0
    if len(head) + body_length > _MAX_BYTES:
        raise ValueError("the request is too large")
    end = len(head) + 4 + body_length
    if not found or len(received) < end:
        return None
    body = bytes(received[len(head) + 4 : end])
    del received[:end]
    method, target, _ = head.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)
    return _Request(method, target.partition("?")[0], body)


def _content_length(head: bytearray) -> int:
    """Return the length of the body in bytes, 0 when no header tells it."""
    lines = head.lower()
    if b"\r\ntransfer-encoding:" in lines:
        raise ValueError("a body in chunks is not read here")
    _, found, rest = lines.partition(b"\r\ncontent-length:")
    value = rest.partition(b"\r\n")[0].strip() if found else b"0"
    if not value.isdigit():
        raise ValueError("Content-Length is no number")
    return int(value)


def _render(reply: Reply) -> bytes:
    head = (
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
        f"Content-Type: {reply.content_type}\r\n"
        f"Content-Length: {len(reply.body)}\r\n\r\n"
    )
    return head.encode() + reply.body
