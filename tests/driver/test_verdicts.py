"""Tests of `analyzer.driver.judges`: when a step is good, bad or held, and what an AnalysisRun has said."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from analyzer.driver.cluster import Unreachable
from analyzer.driver.judges import ByAnalyzer, Opinion, Says, VerdictQuestion, _opinion
from analyzer.driver.resource import Object, Refused, Split

SPLIT = Split(25, "canary", "baseline")
QUESTION = VerdictQuestion(
    service="fraud", namespace="ml", profile="kserve-knative", policy="ml-model", limits="{}", analyzer_url="",
    interval=10.0, settle=0.0, delay=30.0, looks=3,
)  # fmt: skip
Serve = Callable[..., ByAnalyzer]


def resource(generation: int = 4) -> Object:
    """Build what a verdict needs of a resource."""
    return {"metadata": {"name": "fraud", "uid": "0-1-2", "generation": generation}}


@pytest.fixture
def now() -> list[float]:
    """The time, which a test moves."""
    return [1000.0]


@pytest.fixture
def serve(now: list[float]) -> Iterator[Serve]:
    """Have each look answered by the next of some verdicts; a number is an error."""
    servers = []

    def start(*answers: str | int, **question: Any) -> ByAnalyzer:
        coming = iter(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                answer = next(coming)
                self.send_response(answer if isinstance(answer, int) else 200)
                self.end_headers()
                error = {"error": {"message": "profile: unknown"}}
                body = error if isinstance(answer, int) else {"verdict": answer, "reason": answer, "summary": {"n": 1}}
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        servers.append((server, thread))
        url = f"http://127.0.0.1:{server.server_port}"
        return ByAnalyzer(replace(QUESTION, analyzer_url=url, **question), clock=lambda: now[0])

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join(10)
        server.server_close()


def looks(judge: ByAnalyzer, now: list[float], count: int) -> list[Says]:
    """Look so often, an interval apart."""
    found = []
    for _ in range(count):
        now[0] += 10
        found.append(judge.ask(resource(), SPLIT, "gate", 900.0).says)
    return found


@pytest.mark.parametrize(
    ("answers", "settle", "said"),
    [
        (["pass"], 0, [Says.GOOD]),
        (["fail"], 0, [Says.BAD]),
        (["inconclusive", "pass"], 0, [Says.PENDING, Says.GOOD]),
        (["inconclusive"] * 3, 0, [Says.PENDING, Says.PENDING, Says.HOLD]),
        # 20 s are three looks in a row, and those that pass after the last look are waited for.
        (["pass"] * 3, 20, [Says.PENDING, Says.PENDING, Says.GOOD]),
        (["pass", "inconclusive", "pass", "pass", "pass"], 20, [*[Says.PENDING] * 4, Says.GOOD]),
        (["pass", "pass", "fail"], 20, [Says.PENDING, Says.PENDING, Says.BAD]),
        (["inconclusive", "inconclusive", "pass", "inconclusive"], 20, [*[Says.PENDING] * 3, Says.HOLD]),
    ],
)
def test_what_the_looks_at_a_step_say(
    serve: Serve, now: list[float], answers: list[str], settle: float, said: list[Says]
) -> None:
    """As Argo counts them."""
    assert looks(serve(*answers, settle=settle), now, len(answers)) == said


def test_it_looks_no_earlier_and_no_more_often_than_asked(serve: Serve, now: list[float]) -> None:
    """The first look waits for samples of the new weight."""
    judge = serve("inconclusive", "pass")
    now[0] = 1029.9
    assert judge.ask(resource(), SPLIT, "gate", 1000.0) == Opinion(Says.PENDING)
    now[0] = 1030.0
    assert judge.ask(resource(), SPLIT, "gate", 1000.0).reason == "inconclusive"
    now[0] = 1039.9
    assert judge.ask(resource(), SPLIT, "gate", 1000.0) == Opinion(Says.PENDING, "inconclusive")
    now[0] = 1040.0
    assert judge.ask(resource(), SPLIT, "gate", 1000.0) == Opinion(Says.GOOD, "pass", {"n": 1})


def test_a_step_does_not_count_the_looks_of_another(serve: Serve, now: list[float]) -> None:
    """A new generation is a new step."""
    judge = serve(*["inconclusive"] * 4)
    assert looks(judge, now, 2) == [Says.PENDING] * 2
    assert judge.ask(resource(5), SPLIT, "gate", 900.0).says is Says.PENDING
    now[0] += 10
    assert judge.ask(resource(5), SPLIT, "gate", 900.0).says is Says.PENDING


def test_an_analyzer_that_is_away_is_no_look(serve: Serve, now: list[float]) -> None:
    """It is waited for, thirty times in a row, and then given up."""
    judge = serve(*[503] * 30, "inconclusive", *[503] * 31)
    said = looks(judge, now, 62)
    assert said[:61] == [Says.PENDING] * 61
    assert said[61] is Says.UNAVAILABLE


def test_a_question_that_is_refused_is_no_matter_of_waiting(serve: Serve, now: list[float]) -> None:
    """Neither before the canary begins nor later."""
    judge = serve(400, 400, 503)
    with pytest.raises(Refused, match="the analyzer refuses the request: profile: unknown"):
        judge.prepare(resource(), "gate")
    with pytest.raises(Refused, match="profile: unknown"):
        judge.ask(resource(), SPLIT, "gate", 900.0)
    with pytest.raises(Unreachable, match="does not answer"):
        judge.prepare(resource(), "gate")


def test_the_arguments_say_all_that_the_body_says() -> None:
    """By either way the same is asked."""
    question = replace(QUESTION, settle=25.0)
    split = replace(SPLIT, begun="2026-01-05T12:00:00Z")
    arguments, body = question.arguments(split, "guardrail"), question.body(split, "guardrail")
    assert body == {
        "service": arguments["service"],
        "namespace": arguments["namespace"],
        "canary": arguments["canary-hash"],
        "baseline": arguments["baseline-hash"],
        "profile": arguments["profile"],
        "window": "step",
        "weight": int(arguments["weight"]),
        "start": arguments["start"],
        "policy": {"base": arguments["policy"], "role": arguments["role"], "checks": arguments["limits"]},
    }
    assert (arguments["passes"], arguments["looks"], arguments["interval"]) == ("4", "6", "10s")


def run(phase: str, *measurements: Any, message: str = "") -> Object:
    """Build an AnalysisRun as Argo leaves it."""
    values = [{"value": each if isinstance(each, str) else json.dumps(each)} for each in measurements]
    status = {"phase": phase, "message": message, "metricResults": [{"measurements": values}]}
    return {"metadata": {"name": "fraud-4-abc-1"}, "status": status}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (run(""), Opinion(Says.PENDING, "no look yet")),
        (run("Running", {"reason": "so far", "summary": {"n": 1}}), Opinion(Says.PENDING, "so far", {"n": 1})),
        (run("Successful", {"reason": "a"}, {"reason": "b"}), Opinion(Says.GOOD, "b")),
        # The one that failed, whatever was measured beside it.
        (run("Failed", {"verdict": "fail", "reason": "a"}, {"verdict": "pass"}), Opinion(Says.BAD, "a")),
        (run("Inconclusive", {"reason": "a"}), Opinion(Says.HOLD, "a")),
        (run("Error", "", message="no such host"), Opinion(Says.UNAVAILABLE, "no such host")),
        (run("Error", "no JSON", "[1]"), Opinion(Says.UNAVAILABLE, "Error")),
    ],
)
def test_what_a_run_says(found: Object, expected: Opinion) -> None:
    """The reason of the measurement that counts, and which run it was."""
    opinion = _opinion(found)
    assert opinion.reason.removesuffix(" (AnalysisRun fraud-4-abc-1)") == expected.reason
    assert (opinion.says, opinion.numbers) == (expected.says, expected.numbers)


def test_an_answer_without_a_verdict_is_none(now: list[float]) -> None:
    """Some other service at the address, which says 200 to anything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ok"}')

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        said = ByAnalyzer(replace(QUESTION, analyzer_url=url), clock=lambda: now[0]).ask(
            resource(), SPLIT, "gate", 900.0
        )
        server.shutdown()
        thread.join(10)
    assert said.says is Says.PENDING
    assert "gave no verdict: is it the analyzer's address?" in said.reason
