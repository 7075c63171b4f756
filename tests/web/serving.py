"""What the tests of the service share: real pages of metrics to scrape, and the application in front of them."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from analyzer.config.policy import load_policies
from analyzer.config.profile import load_profiles
from analyzer.config.settings import Settings
from analyzer.model.counts import Readings, Window
from analyzer.model.findings import Code, Gap
from analyzer.sources.assembly import Selection
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.wiring import build_analyzer
from analyzer.web.app import create_app
from analyzer.web.telemetry import Telemetry

ARMS = {"service": "fraud", "canary": "v2", "baseline": "v1"}
COUNTS = {"error_rate": {"canary": {"errors": 14, "requests": 865}, "baseline": {"errors": 52, "requests": 16435}}}
FAILING = {"checks": "error_rate", "data": COUNTS}
PASSING = {"checks": "error_rate", "data": {"error_rate": {"canary": {"errors": 4, "requests": 20000}}}}


@dataclass(frozen=True)
class Counted:
    """What one pod has counted; every kind of check can be read from its page."""

    requests: int = 20_000
    errors: int = 20
    slow: int = 20
    high_scores: int = 10_000
    conversions: int = 2_000

    def __str__(self) -> str:
        fast, half = self.requests - self.slow, self.requests - self.high_scores
        return f"""\
http_requests_total{{status="200"}} {self.requests - self.errors}
http_requests_total{{status="500"}} {self.errors}
http_request_duration_seconds_bucket{{le="0.1"}} {fast * 9 // 10}
http_request_duration_seconds_bucket{{le="0.2"}} {fast}
http_request_duration_seconds_bucket{{le="0.5"}} {fast}
http_request_duration_seconds_bucket{{le="1.0"}} {self.requests}
http_request_duration_seconds_bucket{{le="+Inf"}} {self.requests}
model_prediction_score_bucket{{le="0.5"}} {half}
model_prediction_score_bucket{{le="+Inf"}} {self.requests}
model_business_events_total{{event="conversion"}} {self.conversions}
process_start_time_seconds 1767607200
"""


@dataclass
class Pages:
    """A real server of pages of metrics; those whose path begins with /held wait until they are let go.

    Attributes
    ----------
    texts : the pages, by path; others are 404
    asked : is set as soon as a held page is asked for
    let_go : lets the held pages go
    """

    texts: dict[str, str] = field(default_factory=dict)
    asked: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @contextmanager
    def served(self) -> Iterator["Pages"]:
        """Serve until the block ends."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.let_go.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def targets(self, **paths: str) -> dict[str, list[str]]:
        """Write the setting for source scrape: arm=path, several paths separated by spaces."""
        return {arm: [self.url + path for path in several.split()] for arm, several in paths.items()}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                if self.path.startswith("/held"):
                    pages.asked.set()
                    pages.let_go.wait(20)
                text = pages.texts.get(self.path)
                with suppress(BrokenPipeError):  # who asked did not wait
                    self.send_response(404 if text is None else 200)
                    self.end_headers()
                    self.wfile.write((text or "").encode())

        return Handler


def client_of(settings: Settings | None = None, **fields: Any) -> FlaskClient:
    """Build the real application on the settings, as the server does."""
    settings = settings or Settings(**fields)
    telemetry = Telemetry(settings.source.value)
    return create_app(build_analyzer(settings, telemetry.observe_source), settings, telemetry).test_client()


class Unmeasured:
    """A source that knows every canary, and no metric."""

    name = "unmeasured"

    def read(self, selection: Selection, deadline: float) -> Readings:  # noqa: ARG002
        """Return a gap for each check."""
        gap = Gap(Code.METRIC_MISSING, "nothing is measured")
        return Readings(Window(selection.start, selection.at), dict.fromkeys(selection.checks, gap))

    def ready(self, deadline: float) -> None:
        """Return at once."""


def readable() -> FlaskClient:
    """Build the application on a source that refuses no request by itself."""
    telemetry = Telemetry("unmeasured")
    analyzer = Analyzer(load_policies(None), load_profiles(None), Unmeasured())
    return create_app(analyzer, Settings(), telemetry).test_client()


def ask(client: FlaskClient, body: Mapping[str, Any], status: int = 200) -> dict[str, Any]:
    """Ask for a verdict by POST; the answer must have this status, and be JSON."""
    response = client.post("/v1/verdict", json=body)
    assert response.status_code == status, response.text
    return json_of(response)


def json_of(response: TestResponse) -> dict[str, Any]:
    """Read an answer that must be a JSON object, said to be so."""
    assert response.content_type == "application/json"
    found = response.get_json()
    assert isinstance(found, dict)
    return found
