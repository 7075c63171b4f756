"""Tests of `analyzer.demo`: the model server, its faults, the traffic, the simulated rollout and the whole."""

import io
import json
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from analyzer.demo import SCENARIOS, display, run, stage
from analyzer.demo.answers import DemoAnswer, DemoCheck
from analyzer.demo.deadline import Deadline, DemoError
from analyzer.demo.fraud_model import encode, fit, make_transactions
from analyzer.demo.http_server import Reply
from analyzer.demo.load import Address, ArmCounts, CustomerTraffic, Load
from analyzer.demo.model_server import FAULTS, PURCHASE_RATIO, SCORE_BOUNDS, ModelServer
from analyzer.demo.processes import Processes, free_port, local_session, start_model_servers, start_prometheus
from analyzer.demo.simulated_rollout import Progress, RolloutEnd

FAKE_SERVICE = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def do_GET(self): self.answer(b"{}")
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(sys.argv[2].encode())
    def answer(self, body):
        self.send_response(int(sys.argv[3]) if self.command == "POST" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def fake_service(verdict: str, check: str = "error_rate", *, status: int = 200) -> Callable[[int], list[str]]:
    """Return the command of a service that always gives this answer."""
    answer = {"verdict": verdict, "reason": f"always {verdict}", "checks": {check: {"verdict": verdict}}}
    return lambda port: [sys.executable, "-c", FAKE_SERVICE, str(port), json.dumps(answer), str(status)]


def play(scenario: str, command: Callable[[int], list[str]], limit_seconds: float = 30.0) -> tuple[int, str]:
    """Play one scenario with a fake service and return the exit code and what was shown."""
    console = Console(file=io.StringIO(), width=200)
    code = stage.play((scenario,), use_prometheus=False, console=console, command=command, limit_seconds=limit_seconds)
    return code, console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Subprocesses that are stopped after the test."""
    running = Processes(tmp_path, Deadline.after(60.0))
    yield running
    running.stop()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """A session that asks no proxy."""
    with local_session() as opened:
        yield opened


def url_of(address: Address) -> str:
    """Return the URL of a model server."""
    return f"http://{address.host}:{address.port}"


def read_metrics(session: requests.Session, address: Address) -> dict[str, float]:
    """Return the samples of /metrics by name and only label value."""
    text = session.get(f"{url_of(address)}/metrics", timeout=5).text
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def answers_of(fault: str, version: str = "v2", count: int = 5000) -> tuple[ModelServer, list[Reply]]:
    """Return a server with this fault and its answers to so many seeded transactions."""
    server = ModelServer(version, FAULTS[fault])
    bodies = (json.dumps(row).encode() for row in make_transactions(count, seed=3))
    return server, [server.handle("POST", "/predict", body) for body in bodies]


def scores_of(replies: list[Reply]) -> list[float]:
    """Return the scores in these answers."""
    return [json.loads(reply.body)["score"] for reply in replies]


def conversions_of(server: ModelServer) -> float:
    """Return how many customers bought."""
    value = server.metrics.registry.get_sample_value("model_business_events_total", {"event": "conversion"})
    assert value is not None
    return value


def psi(canary: list[float], baseline: list[float]) -> float:
    """Return the population stability index over ten equal bins."""
    shares = []
    for scores in (canary, baseline):
        counts = np.histogram(scores, bins=10, range=(0.0, 1.0))[0] + 0.5
        shares.append(counts / counts.sum())
    return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())


# The model


def test_fit_is_reproducible_and_fast() -> None:
    """The same version gives the same weights, within 0.3 s of computing time."""
    started = time.process_time()
    first = fit("v1")

    assert time.process_time() - started < 0.3
    assert first == fit("v1")
    assert first != fit("v2")


def test_model_finds_frauds() -> None:
    """A large payment far from home by a new customer at night scores high, an everyday one low."""
    everyday = {"amount_eur": 20, "distance_km": 1, "hour": 14, "account_age_days": 2000, "attempts": 0}
    strange = {"amount_eur": 900, "distance_km": 200, "hour": 3, "account_age_days": 2, "attempts": 3}

    assert fit("v1").score(everyday) < 0.05
    assert fit("v1").score(strange) > 0.95


def test_encode_needs_every_feature() -> None:
    """A transaction without one of the features is refused."""
    with pytest.raises(KeyError, match="distance_km"):
        encode({"amount_eur": 20.0})


# The model server and its metrics


def test_metrics_before_any_request(processes: Processes, session: requests.Session) -> None:
    """Every counter says 0 from the start instead of being absent."""
    address = start_model_servers(processes, {"v1": "none"})["v1"]

    metrics = read_metrics(session, address)

    assert metrics["http_requests_total 200"] == 0
    assert metrics["http_requests_total 500"] == 0
    assert metrics["http_request_duration_seconds_count"] == 0
    assert metrics["model_prediction_score_count"] == 0
    assert metrics["model_business_events_total conversion"] == 0
    assert metrics["process_start_time_seconds"] > 0


def test_metrics_after_known_requests(processes: Processes, session: requests.Session) -> None:
    """The metrics count exactly what was asked: predictions, and nothing else."""
    address = start_model_servers(processes, {"v1": "none"})["v1"]
    transactions = make_transactions(40, seed=5)

    answers = [session.post(f"{url_of(address)}/predict", json=row, timeout=5).json() for row in transactions]
    bad = session.post(f"{url_of(address)}/predict", json={"amount_eur": "much"}, timeout=5)
    lost = session.get(f"{url_of(address)}/nothing-here", timeout=5)
    refused = session.get(f"{url_of(address)}/predict", timeout=5)

    scores = [fit("v1").score(row) for row in transactions]
    assert [round(score, 6) for score in scores] == [answer["score"] for answer in answers]
    assert ["decline" if s >= 0.5 else "approve" for s in scores] == [a["decision"] for a in answers]
    assert (bad.status_code, lost.status_code, refused.status_code) == (400, 404, 405)
    metrics = read_metrics(session, address)
    assert metrics["http_requests_total 200"] == 40
    assert metrics["http_requests_total 400"] == 1
    assert metrics["http_requests_total 500"] == 0
    assert metrics["http_request_duration_seconds_count"] == 41 + 1  # the refused GET is answered there too
    for bound in SCORE_BOUNDS:
        expected = sum(score <= bound for score in scores)
        assert metrics[f"model_prediction_score_bucket {bound}"] == expected
    chances = iter(np.random.default_rng(zlib.crc32(b"v1")).random(40))
    bought = sum(next(chances) < PURCHASE_RATIO for score in scores if score < 0.5)
    assert metrics["model_business_events_total conversion"] == bought


def test_duration_bounds_include_the_limits(processes: Processes, session: requests.Session) -> None:
    """The limits of the default policy, 200 and 500 ms, are bounds of the histogram."""
    metrics = read_metrics(session, start_model_servers(processes, {"v1": "none"})["v1"])

    for bound in ("0.1", "0.2", "0.5"):
        assert f"http_request_duration_seconds_bucket {bound}" in metrics


# The faults


def test_healthy_canary_is_like_the_baseline() -> None:
    """Without a fault nothing fails, nothing is slow, scores stay, and 40% of the customers buy."""
    _, baseline = answers_of("none", "v1")
    server, replies = answers_of("none", "v2")

    assert {(reply.status, reply.delay_seconds) for reply in replies} == {(200, 0.0)}
    assert psi(scores_of(replies), scores_of(baseline)) < 0.01
    assert conversions_of(server) / 5000 == pytest.approx(0.40, abs=0.02)


def test_errors() -> None:
    """6% of the answers are HTTP 500, and they are not scored."""
    server, replies = answers_of("errors")

    errors = sum(reply.status == 500 for reply in replies)
    assert errors / 5000 == pytest.approx(0.06, abs=0.01)
    scored = server.metrics.registry.get_sample_value("model_prediction_score_count")
    assert scored == 5000 - errors


def test_slow() -> None:
    """5% of the answers are held back for 0.7 s."""
    _, replies = answers_of("slow")

    assert {reply.delay_seconds for reply in replies} == {0.0, 0.7}
    assert sum(reply.delay_seconds > 0 for reply in replies) / 5000 == pytest.approx(0.05, abs=0.01)


def test_slow_over_http(processes: Processes, session: requests.Session) -> None:
    """The slow answers, and only they, are found between 0.5 s and 1 s in the histogram."""
    address = start_model_servers(processes, {"v2": "slow"})["v2"]
    _, replies = answers_of("slow", count=60)

    for row in make_transactions(60, seed=3):
        session.post(f"{url_of(address)}/predict", json=row, timeout=5)

    slow = sum(reply.delay_seconds > 0 for reply in replies)
    metrics = read_metrics(session, address)
    assert slow > 0
    assert (
        metrics["http_request_duration_seconds_count"] - slow == (metrics["http_request_duration_seconds_bucket 0.5"])
    )


def test_drift() -> None:
    """The scores move far, while nothing fails and no customer is lost."""
    healthy_server, healthy = answers_of("none")
    server, replies = answers_of("drift")

    assert psi(scores_of(replies), scores_of(healthy)) > 0.5
    assert {reply.status for reply in replies} == {200}
    assert conversions_of(server) >= conversions_of(healthy_server)


def test_business() -> None:
    """Conversions drop by about 60% at the very same scores."""
    healthy_server, healthy = answers_of("none")
    server, replies = answers_of("business")

    assert scores_of(replies) == scores_of(healthy)
    drop = 1.0 - conversions_of(server) / conversions_of(healthy_server)
    assert drop == pytest.approx(0.6, abs=0.05)


# The traffic


def test_traffic_is_split_by_weight(processes: Processes, session: requests.Session) -> None:
    """A quarter of the requests reach the canary at weight 25, none at weight 0; none is lost or made up."""
    servers = start_model_servers(processes, {"v1": "none", "v2": "errors"})
    with CustomerTraffic(servers["v2"], servers["v1"], Load(requests_per_second=1000)) as traffic:
        time.sleep(0.3)
        at_zero = traffic.canary.sent
        traffic.set_weight(25)
        time.sleep(1.5)
        traffic.set_weight(0)
        time.sleep(0.5)
        canary, baseline = traffic.canary, traffic.baseline
        time.sleep(0.2)
        metrics = read_metrics(session, servers["v2"])
        later = traffic.canary

    assert at_zero == 0
    assert later == canary
    assert canary.answered == canary.sent
    assert metrics["http_requests_total 200"] + metrics["http_requests_total 500"] == canary.answered
    assert metrics["http_requests_total 500"] == canary.errors
    assert baseline.errors == 0
    assert 0.1 < canary.sent / (canary.sent + baseline.sent) < 0.25
    assert canary.sent + baseline.sent <= 1000 * 2.8


def test_traffic_is_bounded_in_time(processes: Processes) -> None:
    """The traffic ends by itself and says so."""
    servers = start_model_servers(processes, {"v1": "none", "v2": "none"})
    with CustomerTraffic(servers["v2"], servers["v1"], Load(seconds=0.2)) as traffic:
        time.sleep(0.6)

        assert traffic.failure == "the traffic ended after 0 s"


def test_traffic_notices_a_dead_server(processes: Processes) -> None:
    """A model server that goes away is told as a failure, not waited for."""
    servers = start_model_servers(processes, {"v1": "none", "v2": "none"})
    with CustomerTraffic(servers["v2"], servers["v1"], Load()) as traffic:
        time.sleep(0.2)
        processes.stop()
        time.sleep(0.3)

        assert traffic.failure == "a model server closed its connections"


def test_traffic_without_servers() -> None:
    """Nobody listening is told as a failure."""
    nobody = Address("127.0.0.1", free_port())
    with CustomerTraffic(nobody, nobody, Load()) as traffic:
        time.sleep(0.3)

        assert traffic.failure.startswith("the model servers cannot be reached")


# The whole, with a fake service


def test_promotion() -> None:
    """A canary that passes at each step is promoted, which is what the healthy one must be."""
    code, shown = play("healthy", fake_service("pass"))

    assert code == 0
    assert "promoted to weight 100%" in shown
    for weight in (5, 25, 50, 100):
        assert f"weight {weight}%" in shown


def test_rollback() -> None:
    """A canary that fails goes back to weight 0 at once, and the time and the requests it took are told."""
    code, shown = play("errors", fake_service("fail"))

    assert code == 0
    assert "rolled back to weight 0%: always fail" in shown
    assert "time from fault to zero traffic: " in shown
    assert "weight 25%" not in shown


@pytest.mark.parametrize(
    ("scenario", "verdict", "check"),
    [("errors", "pass", "error_rate"), ("healthy", "fail", "error_rate"), ("errors", "fail", "latency_p99")],
)
def test_unexpected_outcome(scenario: str, verdict: str, check: str) -> None:
    """A fault promoted, a healthy canary rolled back or the wrong check failing: exit code 1."""
    code, shown = play(scenario, fake_service(verdict, check))

    assert code == 1
    assert "not as expected" in shown


def test_run_gives_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` plays with the real command and returns 1 when an outcome is not the expected one."""
    monkeypatch.setattr(stage, "serve_command", fake_service("fail"))
    console = Console(file=io.StringIO(), width=200)

    assert run(("errors", "healthy"), use_prometheus=False, console=console) == 1


def test_inconclusive_keeps_the_weight_until_the_time_is_up() -> None:
    """Without a decision the weight stays, and the watchdog stops the demonstration with exit code 1."""
    started = time.monotonic()
    code, shown = play("healthy", fake_service("inconclusive"), limit_seconds=8.0)

    assert code == 1
    assert "not finished within 8 s" in shown
    assert 'the analyzer said last: "always inconclusive"' in shown
    assert "weight 25%" not in shown
    assert time.monotonic() - started < 16.0


def test_service_that_does_not_start() -> None:
    """A service that ends at once is reported with its last words."""
    code, shown = play("healthy", lambda _: [sys.executable, "-c", "raise SystemExit('no such setting')"])

    assert code == 1
    assert "the analyzer did not start" in shown
    assert "no such setting" in shown


def test_service_that_refuses() -> None:
    """A question that the service refuses ends the demonstration."""
    code, shown = play("healthy", fake_service("pass", status=400))

    assert code == 1
    assert "refused the question with 400" in shown


def test_overloaded_service_is_inconclusive() -> None:
    """503 is asked again, not taken for a verdict."""
    code, shown = play("healthy", fake_service("pass", status=503), limit_seconds=8.0)

    assert code == 1
    assert "inconclusive at" in shown


def test_prometheus_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the binary the message says how to get it, and the exit code is 2."""
    monkeypatch.setenv("PATH", str(tmp_path))
    console = Console(file=io.StringIO(), width=200)

    assert run(("healthy",), use_prometheus=True, console=console) == 2
    assert "apt install prometheus" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.prometheus
def test_prometheus_reads_both_servers(processes: Processes, session: requests.Session) -> None:
    """Prometheus scrapes both model servers and tells them apart by the pod template hash."""
    servers = start_model_servers(processes, {"v1": "none", "v2": "none"})
    url = start_prometheus(processes, servers)

    found = session.get(f"{url}/api/v1/query", params={"query": "http_request_duration_seconds_count"}, timeout=5)

    hashes = {row["metric"]["rollouts_pod_template_hash"] for row in found.json()["data"]["result"]}
    assert hashes == {"v1", "v2"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_stops_everything(number: signal.Signals) -> None:
    """After Ctrl-C or SIGTERM no subprocess is left, and the exit code is 130."""
    program = (
        "import sys; from rich.console import Console; from analyzer.demo import stage\n"
        f"command = lambda port: [sys.executable, '-c', {FAKE_SERVICE!r}, str(port), '{{}}', '503']\n"
        "sys.exit(stage.play(('healthy',), use_prometheus=False, console=Console(), command=command))"
    )
    with subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "weight 5%" in line:
                break
        children = _descendants(demo.pid)
        demo.send_signal(number)
        shown = demo.stdout.read()

    assert demo.returncode == 130
    assert "interrupted" in shown
    assert len(children) == 3
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def _descendants(pid: int) -> list[int]:
    pairs = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # ended meanwhile
            pairs.append((int(stat.parent.name), int(stat.read_text().rpartition(")")[2].split()[1])))
    parents = [pid]
    for parent in parents:
        parents += [child for child, of in pairs if of == parent]
    return [child for child in parents[1:] if Path(f"/proc/{child}").exists()]


def test_nothing_starts_after_the_deadline(tmp_path: Path) -> None:
    """Once the time is up no subprocess is begun."""
    with pytest.raises(DemoError, match="not finished within 0 s"):
        Processes(tmp_path, Deadline.after(0.0)).start("late", ["sleep", "1"])


# The display

ANSWER = DemoAnswer(
    "inconclusive",
    "not yet",
    (
        DemoCheck("error_rate", "inconclusive", 0.0162, 0.0063, 0.0334, 0.0032, 0.0, 0.5),
        DemoCheck("latency_p99", "fail", 0.612, 0.5, None, 0.004, 0.0, 1.3),
        DemoCheck("prediction_drift", "pass", 0.0012, 0.0, 0.09, None, 1.2, 0.0),
        DemoCheck("business_proxy", "inconclusive", 0.4012, 0.3511, 0.4419, 0.4029, 0.1, 0.2),
    ),
)


def test_live_view_fits_80_columns() -> None:
    """Nothing is cut off in a terminal of 80 columns."""
    console = Console(file=io.StringIO(), width=80, force_terminal=True, no_color=True)
    counts = ArmCounts(12345, 12345, 0)

    console.print(display.render(Progress(12.3, 25, counts, counts, ANSWER), bar_width=6))

    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in shown
    assert "0.63% to 3.34%" in shown
    assert "500 ms to -" in shown
    assert "12,345 canary" in shown


def test_plain_lines_tell_changes_only() -> None:
    """The same verdicts again make no line; another weight or verdict does."""
    console = Console(file=io.StringIO(), width=300)
    with display.show_progress(console) as show:
        for weight, answer in ((5, None), (5, ANSWER), (5, ANSWER), (25, ANSWER), (25, DemoAnswer("pass", ""))):
            show(Progress(1.0, weight, ArmCounts(10, 10, 0), ArmCounts(90, 90, 0), answer))

    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split("s  ")[1].split(": ")[0] for line in lines] == [
        "weight 5%",
        "inconclusive at 10 canary requests",
        "weight 25%",
        "pass at 10 canary requests",
    ]


def test_reason_is_shown_as_it_is() -> None:
    """Square brackets in a reason are text, not markup."""
    outcome = RolloutEnd(promoted=False, answer=DemoAnswer("fail", "p99 in [0.5, 1]"), seconds=1.0, canary_requests=9)

    console = Console(file=io.StringIO(), width=200)
    console.print(display.conclude(SCENARIOS["slow"], outcome, as_expected=True)[0])

    assert "p99 in [0.5, 1]" in console.file.getvalue()  # type: ignore[attr-defined]


# The whole, with the real service


@pytest.mark.timeout(100)
def test_default_demo() -> None:
    """The default demonstration promotes the good version and catches the bad one, within a minute."""
    started = time.monotonic()
    demo = subprocess.run([sys.executable, "-m", "analyzer", "demo"], capture_output=True, text=True, check=False)

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "promoted" in demo.stdout
    assert "rolled back" in demo.stdout
    assert time.monotonic() - started < 60.0
