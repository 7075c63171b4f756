"""Traces: what is in them, where they go, and that nothing of it is loaded where they are off."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import needs
import pytest
from bench.service_figures import COUNTS, Connection, Service
from flask.testing import FlaskClient
from web.serving import Pages, ask

from analyzer.config.settings import Settings
from analyzer.verdict.wiring import build_analyzer
from analyzer.web.app import create_app
from analyzer.web.telemetry import Telemetry
from analyzer.web.tracing import Tracing


@pytest.fixture
def exporter() -> Iterator[object]:
    """An exporter that keeps the spans."""
    memory = needs.package("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    yield memory
    memory.shutdown()


def traced(exporter: object, settings: Settings) -> FlaskClient:
    """Build the application with traces that go to the exporter at once."""
    processor = needs.package("opentelemetry.sdk.trace.export").SimpleSpanProcessor(exporter)
    telemetry = Telemetry(settings.source.value, tracing=Tracing(processor))
    return create_app(build_analyzer(settings, telemetry.observe_source), settings, telemetry).test_client()


def test_a_verdict_and_its_queries(exporter: object, pages: Pages) -> None:
    """A span of the verdict, and within it one for each query, of which a failed one says why."""
    client = traced(exporter, Settings(scrape_targets=pages.targets(v1="/old", v2="/good /nowhere")))
    ask(client, {"service": "fraud", "namespace": "ml", "canary": "v2", "baseline": "v1", "checks": "error_rate"})
    spans = exporter.get_finished_spans()  # type: ignore[attr-defined]
    (verdict,) = (span for span in spans if span.name == "verdict")
    queries = [span for span in spans if span.name == "query"]

    assert dict(verdict.attributes) == {
        "analyzer.service": "fraud",
        "analyzer.namespace": "ml",
        "analyzer.canary": "v2",
        "analyzer.policy": "ml-model",
        "analyzer.outcome": "inconclusive",
        "analyzer.code": ("partial_data",),
    }
    assert len(queries) >= 3
    assert {span.parent.span_id for span in queries} == {verdict.context.span_id}
    assert {"error.type" in span.attributes for span in queries} == {True, False}
    assert all(verdict.start_time <= span.start_time <= span.end_time <= verdict.end_time for span in queries)
    assert pages.url not in str([span.to_json() for span in spans])


def test_off_by_default() -> None:
    """Nothing of OpenTelemetry is loaded, whatever its own variables say."""
    program = "import sys, analyzer.web.server, analyzer.web.app; sys.exit('opentelemetry' in sys.modules)"
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}

    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0


def test_without_the_packages(tmp_path: Path) -> None:
    """The service does not start, and says what to install."""
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('it is hidden', name='opentelemetry')")
    environment = {**os.environ, "ANALYZER_TRACING": "true"}
    environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{environment.get('PYTHONPATH', '')}"
    words = [sys.executable, "-m", "analyzer", "serve", "--port", "0"]
    process = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert process.returncode == 2
    assert "ANALYZER_TRACING: opentelemetry is not installed: pip install 'rollout-analyzer[otel]'" in process.stderr


def test_spans_reach_a_collector(tmp_path: Path) -> None:
    """The real service sends them by OTLP over HTTP, to where the standard variable says, at its end at the latest."""
    needs.package("opentelemetry.exporter.otlp.proto.http")
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
    settings = {"ANALYZER_TRACING": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SERVICE_NAME": "mine"}
    settings["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    with Service(tmp_path, settings).running() as service, Connection(service.port) as connection:
        assert connection.ask("/v1/verdict", {"service": "fraud", "data": COUNTS})[0] == 200
    collector.shutdown()
    collector.server_close()

    assert [path for path, _ in received] == ["/v1/traces"]
    assert b"verdict" in received[0][1]
    assert b"mine" in received[0][1]
    assert "Traceback" not in service.log
