"""Pods whose /metrics page is really scraped: prometheus_client registries on real ports, which note every scrape."""

import contextlib
import random
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sources.pods import LATENCY_EDGES, SCORE_EDGES, STATUSES, Key, Pod, Scrape


class Life:
    """The metrics of one process; label sets are there from their first event on."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.start = round(time.time(), 3)
        self.requests = Counter("http_requests", "Requests.", ["status"], registry=self.registry)
        self.latency = Histogram("http_request_duration_seconds", "L.", buckets=LATENCY_EDGES, registry=self.registry)
        self.scores = Histogram("model_prediction_score", "S.", buckets=SCORE_EDGES, registry=self.registry)
        self.classes = Counter("model_predictions", "C.", ["predicted_class"], registry=self.registry)
        self.events = Counter("model_business_events", "B.", ["event"], registry=self.registry)
        self.values = Histogram("model_business_value", "V.", buckets=(10.0, 100.0), registry=self.registry)
        Gauge("process_start_time_seconds", "P.", registry=self.registry).set(self.start)

    def serve(self, draw: random.Random, error_ratio: float) -> None:
        """Count one request."""
        failed = draw.random() < error_ratio
        self.requests.labels(draw.choice(STATUSES[2:] if failed else STATUSES[:2])).inc()
        self.latency.observe(draw.randint(1, 60) / 64)
        self.scores.observe(draw.randint(0, 64) / 64)
        self.classes.labels(draw.choice(("fraud", "ok"))).inc()
        if draw.random() < 0.1:
            self.events.labels("conversion").inc()
            self.values.observe(draw.randint(-20, 99))


@dataclass
class Exporter:
    """One pod: serves its page, counts requests all the time, and notes what every scrape saw."""

    arm: str
    name: str
    error_ratio: float = 0.02
    pod: Pod = field(init=False)

    def __post_init__(self) -> None:
        """Listen on a free port; the pod lives from `start` on."""
        self.pod = Pod(self.arm, self.name)
        self.life = Life()
        self.failing = False
        self._lock = threading.Lock()
        self._draw = random.Random(self.name)
        self._closing = threading.Event()
        exporter = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = exporter.scraped()
                self.send_response(503 if body is None else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._page = Page
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Begin to serve requests and the page."""
        self.life = Life()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._page)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        threading.Thread(target=self._count, daemon=True).start()

    def restart(self) -> None:
        """Begin anew, with all counters at 0."""
        with self._lock:
            self.life = Life()

    def stop(self) -> None:
        """Die."""
        self._closing.set()
        if self._server is not None:
            with contextlib.suppress(OSError):
                self._server.shutdown()
                self._server.server_close()
            self._server = None

    def scraped(self) -> bytes | None:
        """Write the page and note what it says; None where the pod does not answer."""
        if self.failing:
            return None
        with self._lock:
            page, start = generate_latest(self.life.registry), self.life.start
            moment = time.time()
        counters: dict[Key, float] = {}
        for family in text_string_to_metric_families(page.decode()):
            for one in family.samples:
                label = next(iter(one.labels.items()), ("", ""))
                counters[one.name, *label] = one.value
        self.pod.scrapes.append(Scrape(moment, start, counters))
        return page

    def _count(self) -> None:
        while not self._closing.wait(0.01):
            with self._lock:
                for _ in range(self._draw.randint(0, 3)):
                    self.life.serve(self._draw, self.error_ratio)
