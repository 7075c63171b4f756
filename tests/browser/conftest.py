"""A real Prometheus with rollouts of the past, analyzers that serve their reports, and a browser to look at them."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from browser.stories import STORIES, history
from needs import lacking
from playwright.sync_api import Browser, expect, sync_playwright
from prometheus_server import PrometheusServer, require_prometheus
from werkzeug.serving import WSGIRequestHandler, make_server

from analyzer.config.settings import Settings
from analyzer.verdict.wiring import build_analyzer
from analyzer.web.app import create_app
from analyzer.web.telemetry import Telemetry

expect.set_options(timeout=30_000)  # milliseconds: a busy machine draws a report in seconds


class Quiet(WSGIRequestHandler):
    """Says nothing of each request."""

    def log(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Serve the application, and yield its address."""
    telemetry = Telemetry(settings.source.value)
    app = create_app(build_analyzer(settings, telemetry.observe_source), settings, telemetry)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """A Prometheus that knows every story."""
    require_prometheus()
    server = PrometheusServer(tmp_path_factory.mktemp("prometheus"))
    server.write_history(point for story in STORIES.values() for point in history(story))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def analyzer_url(prometheus: PrometheusServer) -> Iterator[str]:
    """The address of an analyzer that reads it."""
    with serving(Settings(source="prometheus", prometheus_url=prometheus.url)) as url:
        yield url


@pytest.fixture(scope="session")
def lost_url() -> Iterator[str]:
    """The address of an analyzer whose source does not answer."""
    with serving(Settings(source="prometheus", prometheus_url="http://127.0.0.1:9")) as url:
        yield url


def chromium() -> str:
    """Find the browser; skip where there is none, or fail where it must be there."""
    found = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if found is None:
        lacking("CHROMIUM", "no chromium: install the package chromium")
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    path = chromium()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()
