"""Serves an application over HTTP; knows nothing of models and metrics."""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web


@dataclass(frozen=True)
class Reply:
    """An answer, and how long it takes.

    Parameters
    ----------
    status : HTTP status
    body : the content
    content_type : of the body
    delay_seconds : the answer is delayed by this, >= 0
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
        """Record one answer, just before it is sent."""


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
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        started = time.perf_counter()
        reply = application.handle(request.method, request.path, await request.read())
        await asyncio.sleep(reply.delay_seconds)
        application.observe(request.path, reply.status, time.perf_counter() - started)
        return web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, host, port, shutdown_timeout=0.1).start()
    announce(runner.addresses[0][1])
    await stopped.wait()
    await runner.cleanup()
