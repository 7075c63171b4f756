"""gunicorn's threaded worker, whose threads get whole requests: who sends slowly takes nobody's place."""

import contextlib
import errno
import logging
import re
import selectors
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Any

import orjson
from gunicorn.workers.gthread import ThreadWorker

READ_SECONDS = 10.0  # for a client to send a request
LAST_SECONDS = 2.0  # the same once the service ends
MOST_HEAD = 2**16  # bytes; gunicorn's own limits, which refuse the request, are below
MOST_WAITING = 2**26  # bytes of all requests that are not whole
PROBE = re.compile(rb"GET /(healthz|metrics)[? ]")
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*(?:\r\n|$)")
CHUNKED = re.compile(rb"\r\ntransfer-encoding:")
LAST_CHUNK = re.compile(rb"(?:^|\r\n)0+(?:;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*\r\n$")
STATUSES = {"LimitRequestLine": 414, "LimitRequestHeaders": 431, "UnsupportedTransferCoding": 501,
            "InvalidHTTPVersion": 505, "ExpectationFailed": 417}  # fmt: skip


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Reads requests in the loop that accepts them, and hands a thread the whole of one.

    gunicorn hands it over with the first byte: sixteen clients that send the rest late, or never, hold sixteen threads.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading: dict[Any, None] = {}  # the connections whose requests are not whole, oldest first
        self._waiting = 0  # bytes of them

    def init_process(self) -> None:
        """Start; what tells Kubernetes and Prometheus that it lives does not wait behind hundreds of verdicts."""
        self._probes = ThreadPoolExecutor(2, thread_name_prefix="probes")
        super().init_process()

    def accept(self, listener: Any) -> None:
        """Accept a connection; without a file descriptor left, drop the one whose request is not whole for longest."""
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            if self._reading:
                self._drop(next(iter(self._reading)))
            else:
                time.sleep(0.05)

    def enqueue_req(self, conn: Any) -> None:
        """Read the request of a connection, and only then hand it to a thread."""
        conn.received = bytearray(conn.parser.unreader.take_buffered() if conn.parser else b"")
        conn.continued = False
        conn.ends = time.monotonic() + (READ_SECONDS if self.alive else LAST_SECONDS)
        conn.sock.settimeout(0)
        self._reading[conn] = None
        self._waiting += len(conn.received)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._receive, conn))
        self._receive(conn)

    def _receive(self, conn: Any, _: Any = None) -> None:
        try:
            while not self._whole(conn):
                part = conn.sock.recv(2**16)
                conn.received += part
                self._waiting += len(part)
                if not part or self._waiting > MOST_WAITING:
                    self._drop(conn)
                    return
        except BlockingIOError:
            return
        except OSError:
            self._drop(conn)
            return
        self._forget(conn)
        conn.init()
        conn.parser.unreader.unread(bytes(conn.received))
        pool = self._probes if PROBE.match(conn.received) else self.tpool
        conn.data_ready, conn.received = True, bytearray()
        done = pool.submit(self.handle, conn)
        done.add_done_callback(lambda future: self.method_queue.defer(self.finish_request, conn, future))

    def _whole(self, conn: Any) -> bool:
        """Whether all of a request is there, or so much that it will be refused."""
        head_ends = conn.received.find(b"\r\n\r\n")
        if head_ends < 0:
            return len(conn.received) > MOST_HEAD
        head, sent = bytes(conn.received[:head_ends]).lower(), len(conn.received) - head_ends - 4
        most = self.wsgi.config["MAX_CONTENT_LENGTH"]
        length = LENGTH.search(head)
        if CHUNKED.search(head):
            ends = LAST_CHUNK.search(conn.received, max(head_ends + 2, len(conn.received) - MOST_HEAD))
            whole = ends is not None or sent > 2 * most
        else:
            whole = length is None or int(length[1]) > most or sent >= int(length[1])
        if not whole and not conn.continued and b"\r\nexpect:" in head:
            conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            conn.continued = True
        return whole

    def murder_pending(self) -> None:
        """Close connections that had their time, of which the end of the service leaves less."""
        super().murder_pending()
        now = time.monotonic()
        for conn in list(self._reading):
            if not self.alive:
                conn.ends = min(conn.ends, now + LAST_SECONDS)
            if conn.ends <= now:
                self._drop(conn)

    def _forget(self, conn: Any) -> None:
        self.poller.unregister(conn.sock)
        del self._reading[conn]
        self._waiting -= len(conn.received)

    def _drop(self, conn: Any) -> None:
        self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Refuse what is no request in JSON, as all that this service says, and log why."""
        from gunicorn.http import errors  # noqa: PLC0415 - none of this in the master

        from analyzer.web.event_log import log_event  # noqa: PLC0415
        from analyzer.web.refusal import error_body  # noqa: PLC0415

        by_us = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)
        if not isinstance(exc, errors.ParseException) or isinstance(exc, by_us):
            super().handle_error(req, client, addr, exc)
            return
        status = STATUSES.get(type(exc).__name__, 400)
        message = f"the request is not as HTTP wants it: {str(exc)[:200]}"
        log_event("refused", logging.WARNING, status=status, code="bad_request", message=message)
        body = orjson.dumps(error_body("bad_request", message))
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        with contextlib.suppress(OSError):
            client.sendall(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
