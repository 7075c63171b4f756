"""Reading over HTTP within limits of time and size, several answers at once; shared by the sources that do."""

import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, wait
from contextlib import contextmanager
from contextvars import copy_context
from http.client import HTTPResponse
from socket import socket
from typing import Any, TypeVar

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from analyzer.errors import BadResponse, SourceError, SourceUnavailable

MOST_BYTES = 32 * 2**20
LARGE_BYTES = 2 * 2**20

K = TypeVar("K")
T = TypeVar("T")

Observer = Callable[[float, str | None], None]
"""Told of every request to a source: seconds it took, and the error's reason or None."""


class _Ends(threading.local):
    """Until when the present thread reads its answer, on the monotonic clock."""

    at: float | None = None


_ends = _Ends()
_large = threading.Semaphore(2)


class _InTime(io.RawIOBase):
    """What a socket receives, up to the deadline of the thread that reads.

    The timeout of a socket is that of a single read: a server that sends a byte now and then, be it of a header or of
    the length of a chunk, would hold the thread for ever.
    """

    def __init__(self, raw: Any, connection: socket) -> None:
        self._raw, self._connection = raw, connection

    def readable(self) -> bool:
        """Return True: it is a stream to read from."""
        return True

    def readinto(self, buffer: Any) -> Any:
        """Read what has come, into the buffer; raise TimeoutError at the deadline of the thread."""
        if _ends.at is not None:
            left = _ends.at - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._connection.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Close the stream below as well."""
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_InTime(self.fp.detach(), sock))


class _Http(HTTPConnection):
    response_class = _Response


class _Https(HTTPSConnection):
    response_class = _Response


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


def connections(**options: Any) -> PoolManager:
    """Return a pool of connections whose reads end at the deadline of `until`; options are those of urllib3's."""
    pool = PoolManager(**options)
    pool.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return pool


@contextmanager
def until(ends: float) -> Iterator[None]:
    """Let every read of this thread end at a moment on the monotonic clock, with a timeout."""
    _ends.at = ends
    try:
        yield
    finally:
        _ends.at = None


def gather(
    pool: Executor,
    tasks: Mapping[K, Callable[[], T]],
    deadline: float,
    *,
    late: tuple[float, Callable[[], None]] | None = None,
) -> dict[K, T | SourceError]:
    """Run tasks in parallel until the deadline; one that fails with a SourceError, or is late, gives that error.

    Parameters
    ----------
    late : seconds, and what is called where not all are done by then
    """
    # With the context of this thread, by which a trace knows the verdict that a query belongs to.
    futures = {key: pool.submit(copy_context().run, task) for key, task in tasks.items()}
    if late is not None and wait(futures.values(), timeout=late[0]).not_done:
        late[1]()
    wait(futures.values(), timeout=max(0.0, deadline - time.monotonic()))
    answers: dict[K, T | SourceError] = {}
    for key, future in futures.items():
        if not future.done():
            future.cancel()
            answers[key] = timed_out(None)
            continue
        error = future.exception()
        if error is None:
            answers[key] = future.result()
        elif isinstance(error, SourceError):
            answers[key] = error
        else:
            raise error
    return answers


def alone(error: SourceError) -> SourceError:
    """Free an error of its traceback, whose frames hold an answer of megabytes for as long as the error is kept."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def ignore(seconds: float, reason: str | None) -> None:
    """Observe nothing."""


@contextmanager
def few_large() -> Iterator[Callable[[float], None]]:
    """Let the answers of the block be large, two blocks at a time: 32 of them at once would be a gigabyte.

    Yields what `read_body` waits with for its turn.
    """
    held = False

    def turn(ends: float) -> None:
        nonlocal held
        held = held or _large.acquire(timeout=max(0.0, ends - time.monotonic()))
        if not held:
            raise timed_out(None)

    try:
        yield turn
    finally:
        if held:
            _large.release()


def read_body(
    response: BaseHTTPResponse,
    ends: float,
    most: int = MOST_BYTES,
    turn: Callable[[float], None] | None = None,
) -> bytearray:
    """Read a body within limits of size and time: a server that trickles must not hold a verdict.

    Parameters
    ----------
    ends : on the monotonic clock
    most : bytes
    turn : waits until a body may be large, see `few_large`
    """
    body = bytearray()
    while part := response.read1(2**16):  # what has come so far: read() would wait for the whole 64 KiB
        body += part
        if len(body) > most:
            raise BadResponse(f"the answer is larger than {most / 2**20:.3g} MiB")
        if turn is not None and len(body) > LARGE_BYTES:
            turn(ends)
        if time.monotonic() > ends:
            raise timed_out(None)
    return body


def timed_out(seconds: float | None) -> SourceUnavailable:
    """Build the error for an answer that did not come in time."""
    error = SourceUnavailable(f"no answer within {seconds:.1f} s" if seconds else "no whole answer in time")
    error.reason = "timeout"
    return error


def brief(error: Exception) -> str:
    """Name the innermost cause, without the URL that requests puts into its messages."""
    inner: BaseException = error
    while inner.__cause__ is not None or inner.__context__ is not None:
        inner = inner.__cause__ if inner.__cause__ is not None else inner.__context__  # type: ignore[assignment]
    return f"{type(inner).__name__}: {inner}"[:150]
