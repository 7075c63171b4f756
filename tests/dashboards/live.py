"""A short rollout of several services, before real analyzers and a real Prometheus that scrapes all of them."""

import contextlib
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from dashboards.grafana import Api
from ports import free_port
from prometheus_server import PrometheusServer, wait_until_ready
from warmup import without_warmup

SECONDS, CANARY_AFTER = 16.0, 6.0
EDGES = ("0.05", "0.1", "0.2", "0.5", "+Inf")
HASH = "rollouts_pod_template_hash"


@dataclass(frozen=True)
class Service:
    """What is rolled out: requests a second of both arms, the canary's part of errors, and what is not exported."""

    name: str
    canary: int = 400
    baseline: int = 1600
    errors: float = 0.0
    without: str = "nothing"


SERVICES = (
    Service("healthy"),
    Service("failing", errors=0.1),
    Service("undecided", canary=20, baseline=80, errors=0.008),
    Service("blind", without="http_request_duration_seconds"),
)
LENIENT = {"base": "ml-model", "checks": {"error_rate": {"promote": "50%", "rollback": "60%"}}}
CUT_OFF = "cut-off"  # is asked about where there is no source


def page(start: float, requests: int, errors: int, without: str) -> str:
    """Write the metrics of a pod that served so much, all of it alike."""
    lines = [f"process_start_time_seconds {start}"]
    lines += [f'http_requests_total{{status="{status}"}} {count}' for status, count in
              (("200", requests - errors), ("500", errors))]  # fmt: skip
    for edge, part in zip(EDGES, (0.5, 0.9, 1, 1, 1), strict=True):
        lines.append(f'http_request_duration_seconds_bucket{{le="{edge}"}} {int(requests * part)}')
    lines += [f"http_request_duration_seconds_count {requests}", f"http_request_duration_seconds_sum {requests / 20}"]
    for place in range(1, 11):
        lines.append(f'model_prediction_score_bucket{{le="{place / 10}"}} {requests * place // 10}')
    lines += [f'model_prediction_score_bucket{{le="+Inf"}} {requests}', f"model_prediction_score_count {requests}"]
    lines += [f'model_business_events_total{{event="conversion"}} {requests // 20}']
    return "\n".join(line for line in lines if not line.startswith(without)) + "\n"


class Pods:
    """The pods of all services, on one server: /healthy/canary is the page of one of them."""

    def __init__(self) -> None:
        self.began = {"baseline": time.time()}  # of an arm; the canaries' when the first question is asked
        self.by_name = {one.name: one for one in SERVICES}
        pods = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = pods.page(*self.path.strip("/").split("/"))
                self.send_response(200 if text else 503)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> "Pods":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def page(self, name: str, arm: str) -> str:
        """Write the page of a pod; nothing before it is there."""
        service = self.by_name[name]
        start = self.began.get(arm, math.inf)
        requests = int(max(0.0, time.time() - start) * getattr(service, arm))
        errors = int(requests * (service.errors if arm == "canary" else 0.001))
        return page(start, requests, errors, service.without) if requests > 0 else ""

    def job(self) -> str:
        """Tell Prometheus of them, with the labels that a PodMonitor gives."""
        groups = [
            f'{{targets: ["{self.address}"], labels: {{namespace: ml, {HASH}: {name}-{arm}, '
            f"__metrics_path__: /{name}/{arm}, instance: {name}-{arm}}}}}"
            for name in self.by_name
            for arm in ("canary", "baseline")
        ]
        return f"{{job_name: models, static_configs: [{', '.join(groups)}]}}"


@contextlib.contextmanager
def analyzers(folder: Path, ports: list[int], sources: list[str]) -> Iterator[None]:
    """Run an analyzer on each port, each with its Prometheus."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANALYZER_")}
    own |= {"ANALYZER_SOURCE": "prometheus", "ANALYZER_CONFIG_DIR": without_warmup(folder / "config")}
    with contextlib.ExitStack() as stack:
        started = []
        for port, source in zip(ports, sources, strict=True):
            log = folder / f"analyzer-{port}.log"
            process = subprocess.Popen(
                [sys.executable, "-m", "analyzer", "serve", "--host", "127.0.0.1", "--port", str(port)],
                env=own | {"ANALYZER_PROMETHEUS_URL": source},
                cwd=folder,
                stdout=stack.enter_context(log.open("wb")),
                stderr=subprocess.STDOUT,
            )
            stack.callback(process.wait, 20)
            stack.callback(process.terminate)
            started.append((process, port, log))
        for process, port, log in started:
            wait_until_ready(process, f"http://127.0.0.1:{port}/healthz", log)
        yield


@dataclass(frozen=True)
class Played:
    """What is left of the rollout: a Prometheus that saw it from `began` to `ended`, and the alerts at the end."""

    prometheus: PrometheusServer
    began: float
    ended: float
    alerts: list[dict[str, Any]]


@contextlib.contextmanager
def played(folder: Path, rules: Path) -> Iterator[Played]:
    """Play the rollout, and leave Prometheus running."""
    ports = [free_port() for _ in range(3)]
    targets = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    with Pods() as pods:
        job = (
            f"{{job_name: rollout-analyzer, honor_labels: true, static_configs: [{{targets: [{targets}], "
            "labels: {namespace: rollout-analyzer, service: rollout-analyzer}}]}"
        )
        settings = "global: {scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s}"
        scrapes = f"[{pods.job()}, {job}]\n{settings}\nrule_files: ['{rules}']"
        server = PrometheusServer(folder / "prometheus", scrapes)
        began = time.time()
        server.start()
        try:
            with analyzers(folder, ports, [server.url, server.url, f"http://127.0.0.1:{free_port()}"]):
                pods.began["canary"] = time.time() + CANARY_AFTER
                _ask_around([f"http://127.0.0.1:{port}/v1/verdict" for port in ports])
                source = Api(server.url)
                ended = _seen(source, time.time())
                alerts = source.ask("alerts")["alerts"]
                source.close()
            yield Played(server, began, ended, alerts)
        finally:
            server.stop()


def _seen(source: Api, asked: float) -> float:
    """Wait until Prometheus has scraped every analyzer after the last question, and then the rules; say when."""
    after = asked
    for query in ('timestamp(up{job="rollout-analyzer"})', "timestamp(ALERTS)"):
        for _ in range(300):
            time.sleep(0.1)
            now = time.time()
            moments = [moment for _, moment in source.at(query, now)]
            if moments and min(moments) > after:
                after = now
                break
        else:
            raise TimeoutError(f"nothing new of {query} within 30 s")
    return after


def _ask_around(urls: list[str]) -> None:
    """Ask every second about every service, by replicas that take turns, as a Service's do.

    Until each has the verdict that its traffic proves: on a busy machine that is later.
    """
    first, second, cut_off = urls
    ends, gives_up = time.monotonic() + SECONDS, time.monotonic() + 10 * SECONDS
    proved = {"healthy": "pass", "failing": "fail"}
    last: dict[str, str] = {}
    with requests.Session() as session:
        session.trust_env = False
        turn = 0
        while time.monotonic() < ends or (last != proved and time.monotonic() < gives_up):
            again = time.monotonic() + 1.0
            for one in SERVICES:
                # The second replica is not asked about the failing one again, and goes on showing what it found.
                early = time.monotonic() < ends - SECONDS + 2.0
                url = second if (turn % 2 if one.name != "failing" else early) else first
                verdict = _ask(session, url, one.name)
                if one.name in proved:
                    last[one.name] = verdict
            _ask(session, first, "healthy", window="step")
            _ask(session, first, "failing", policy=LENIENT)  # which hides nothing of what was found before
            _ask(session, first, "failing", window="step", policy="ml-model-mean", checks="error_rate")
            _ask(session, cut_off, CUT_OFF)
            session.post(first, json={"service": "healthy", "checks": "unknown"}, timeout=10)
            turn += 1
            time.sleep(max(0.0, again - time.monotonic()))


def _ask(session: requests.Session, url: str, name: str, **more: Any) -> str:
    body = {"service": name, "namespace": "ml", "canary": f"{name}-canary", "baseline": f"{name}-baseline", **more}
    answer = session.post(url, json=body, timeout=10)
    answer.raise_for_status()
    return str(answer.json()["verdict"])
