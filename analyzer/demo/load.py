"""Traffic for the two versions: seeded transactions, routed to the canary with the probability of its weight.

Plays the part of the customers and of the mesh or ingress that splits the traffic. A thread with one event
loop: bounded in rate, in requests under way and in time.
"""

import asyncio
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
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
class ArmCounts:
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
    connections : to each arm, and so many requests at once
    seconds : the traffic ends after so long, whatever happens
    seed : of the transactions and of the routing
    """

    requests_per_second: float = 2000.0
    connections: int = 32
    seconds: float = 60.0
    seed: int = 1


class CustomerTraffic:
    """Traffic that flows while the context is open.

    Parameters
    ----------
    canary, baseline : the two model servers
    load : how much
    """

    def __init__(self, canary: Address, baseline: Address, load: Load) -> None:
        self._arms = (_Arm(baseline, load.connections), _Arm(canary, load.connections))
        self._load = load
        self._weight = 0
        self._bodies = [orjson.dumps(row) for row in make_transactions(_TRANSACTIONS, seed=load.seed)]
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
    def canary(self) -> ArmCounts:
        """What the canary got so far."""
        return self._arms[1].counts()

    @property
    def baseline(self) -> ArmCounts:
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
        except aiohttp.ClientError as error:
            self._failure = f"the model servers cannot be reached: {error}"

    async def _flow(self) -> None:
        connections = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=connections, headers={"Content-Type": "application/json"}
        ) as session:
            for arm in self._arms:
                await arm.connect(session)
            started = last = time.monotonic()
            most_due = max(1.0, _MAX_BACKLOG_SECONDS * self._load.requests_per_second)
            due = 0.0
            while not self._stopping.is_set() and not self._failure:
                now = time.monotonic()
                due = min(due + (now - last) * self._load.requests_per_second, most_due)
                last = now
                due -= self._send(session, int(due))
                if now - started > self._load.seconds:
                    self._failure = f"the traffic ended after {self._load.seconds:.0f} s"
                if any(arm.is_lost for arm in self._arms):
                    self._failure = "a model server closed its connections"
                await asyncio.sleep(_TICK_SECONDS)

    def _send(self, session: aiohttp.ClientSession, due: int) -> int:
        """Send so many requests, or as many as may be under way at once, and return how many.

        A request whose arm is busy holds up the ones behind it, so that the split stays true.
        """
        for sent in range(due):
            if self._next_arm is None:
                self._next_arm = self._arms[int(self._rng.random() * 100.0 < self._weight)]
            if not self._next_arm.send(session, self._bodies[self._rng.integers(_TRANSACTIONS)]):
                return sent
            self._next_arm = None
        return due


class _Arm:
    """The requests to one model server."""

    def __init__(self, address: Address, at_once: int) -> None:
        self._url = f"http://{address.host}:{address.port}"
        self._at_once = at_once
        self._under_way: set[asyncio.Task[None]] = set()
        self._sent = 0
        self._answered = 0
        self._errors = 0
        self.is_lost = False

    async def connect(self, session: aiohttp.ClientSession) -> None:
        """Raise aiohttp.ClientError unless the server answers."""
        async with session.get(f"{self._url}/metrics"):
            pass

    def send(self, session: aiohttp.ClientSession, body: bytes) -> bool:
        """Send one request; False when too many are under way."""
        if len(self._under_way) >= self._at_once:
            return False
        task = asyncio.create_task(self._post(session, body))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        self._sent += 1
        return True

    def counts(self) -> ArmCounts:
        """Return what was sent and what came back."""
        return ArmCounts(self._sent, self._answered, self._errors)

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> None:
        try:
            async with session.post(f"{self._url}/predict", data=body) as answer:
                await answer.read()
        except aiohttp.ClientError:
            self.is_lost = True
            return
        self._answered += 1
        self._errors += answer.status != 200
