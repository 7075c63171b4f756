"""Traffic for the two versions: seeded transactions, routed to the canary with the probability of its weight.

Plays the part of the customers and of the mesh or ingress that splits the traffic. A thread with one event
loop and a fixed set of keep-alive connections: bounded in rate, in connections and in time.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import orjson

from analyzer.demo.fraud_model import make_transactions

_TICK_SECONDS = 0.004
_MAX_BACKLOG_SECONDS = 0.05  # what a busy machine could not send within this time is not caught up later
_TRANSACTIONS = 4000
_JOIN_SECONDS = 5.0


@dataclass(frozen=True)
class Address:
    """Where a model server listens."""

    host: str
    port: int


@dataclass(frozen=True)
class Counts:
    """What was sent to one arm and what came back."""

    sent: int = 0
    answered: int = 0
    errors: int = 0


@dataclass(frozen=True)
class Load:
    """How much traffic there is.

    Parameters
    ----------
    requests_per_second : to both arms together, at most
    connections : to each arm
    seconds : the traffic ends after so long, whatever happens
    seed : of the transactions and of the routing
    """

    requests_per_second: float = 2000.0
    connections: int = 32
    seconds: float = 60.0
    seed: int = 1


class Traffic:
    """Traffic that flows while the context is open.

    Parameters
    ----------
    canary, baseline : the two model servers
    load : how much
    """

    def __init__(self, canary: Address, baseline: Address, load: Load) -> None:
        self._arms = (_Arm(baseline), _Arm(canary))
        self._load = load
        self._weight = 0
        self._requests = _render_requests(load.seed)
        self._rng = np.random.default_rng(load.seed)
        self._next_arm: _Arm | None = None
        self._stopping = threading.Event()
        self._failure = ""
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(_JOIN_SECONDS)

    @property
    def canary(self) -> Counts:
        """What the canary got so far."""
        return self._arms[1].counts()

    @property
    def baseline(self) -> Counts:
        """What the baseline got so far."""
        return self._arms[0].counts()

    @property
    def failure(self) -> str:
        """Why there is no traffic any more; empty while it flows."""
        return self._failure

    def set_weight(self, percent: int) -> None:
        """Route so many percent of the requests to the canary from now on."""
        self._weight = percent

    def _run(self) -> None:
        try:
            asyncio.run(self._flow())
        except OSError as error:
            self._failure = f"the model servers cannot be reached: {error}"

    async def _flow(self) -> None:
        for arm in self._arms:
            await arm.connect(self._load.connections)
        started = last = time.monotonic()
        most_due = max(1.0, _MAX_BACKLOG_SECONDS * self._load.requests_per_second)
        due = 0.0
        while not self._stopping.is_set() and not self._failure:
            now = time.monotonic()
            due = min(due + (now - last) * self._load.requests_per_second, most_due)
            last = now
            due -= self._send(int(due))
            if now - started > self._load.seconds:
                self._failure = f"the traffic ended after {self._load.seconds:.0f} s"
            if any(arm.is_lost for arm in self._arms):
                self._failure = "a model server closed its connections"
            await asyncio.sleep(_TICK_SECONDS)
        for arm in self._arms:
            arm.close()

    def _send(self, due: int) -> int:
        """Send so many requests, or as many as there are free connections for, and return how many.

        A request whose arm has no free connection holds up the ones behind it, so that the split stays true.
        """
        for sent in range(due):
            if self._next_arm is None:
                self._next_arm = self._arms[int(self._rng.random() * 100.0 < self._weight)]
            if not self._next_arm.send(self._requests[self._rng.integers(_TRANSACTIONS)]):
                return sent
            self._next_arm = None
        return due


class _Arm:
    """The connections to one model server."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connections: list[_Connection] = []
        self._idle: deque[_Connection] = deque()
        self._sent = 0
        self._answered = 0
        self._errors = 0

    async def connect(self, connections: int) -> None:
        """Open so many connections."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, connection = await loop.create_connection(
                lambda: _Connection(self._note), self._address.host, self._address.port
            )
            self._connections.append(connection)
            self._idle.append(connection)

    def send(self, request: bytes) -> bool:
        """Send one request over a free connection; False when there is none."""
        if not self._idle:
            return False
        self._idle.popleft().send(request)
        self._sent += 1
        return True

    @property
    def is_lost(self) -> bool:
        """Whether a connection was closed from the other end."""
        return any(connection.is_lost for connection in self._connections)

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            connection.close()

    def counts(self) -> Counts:
        """Return what was sent and what came back."""
        return Counts(self._sent, self._answered, self._errors)

    def _note(self, connection: "_Connection", status: bytes) -> None:
        self._answered += 1
        self._errors += status != b"200"
        self._idle.append(connection)


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, on_answer: Callable[["_Connection", bytes], None]) -> None:
        self._on_answer = on_answer
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.is_lost = True

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if found and len(body) >= int(head.rpartition(b"Content-Length: ")[2].partition(b"\r\n")[0]):
            self._received = b""
            self._on_answer(self, head[9:12])

    def send(self, request: bytes) -> None:
        """Send one request in one write."""
        if self._transport is not None:
            self._transport.write(request)

    def close(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            with contextlib.suppress(OSError):
                self._transport.abort()


def _render_requests(seed: int) -> list[bytes]:
    bodies = [orjson.dumps(row) for row in make_transactions(_TRANSACTIONS, seed=seed)]
    head = b"POST /predict HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\n"
    return [head + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies]
