"""Fixtures of the tests of the sources: a real Prometheus."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from prometheus_server import Point, PrometheusServer, StartPrometheus, require_prometheus


@pytest.fixture(scope="module")
def start_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartPrometheus]:
    """Start Prometheus with a history, or with targets to scrape, and stop it when the module's tests are done."""
    require_prometheus()
    servers: list[PrometheusServer] = []

    def start(history: Iterable[Point] = (), scrape_configs: str = "[]") -> PrometheusServer:
        folder: Path = tmp_path_factory.mktemp("prometheus")
        server = PrometheusServer(folder, scrape_configs)
        points = list(history)
        if points:
            server.write_history(points)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
