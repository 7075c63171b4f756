"""`analyzer verdict --watch`: asks a real page of metrics again and again, until it is decided."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cli.commands import PYTHON, counts, run, spawn, terminal
from sources.hostile import Answer, close, hang, say, serving

LINE = re.compile(r"^\d\d:\d\d:\d\dZ  (pass|fail|inconclusive)  \S")


def page(requests: int, errors: int = 0) -> Answer:
    """Answer with the counts of a service."""
    lines = [
        f'http_requests_total{{status="200"}} {requests - errors}',
        f'http_requests_total{{status="500"}} {errors}',
        "",
    ]
    return say("\n".join(lines).encode())


@contextmanager
def looked_at(*answers: Answer) -> Iterator[dict[str, str]]:
    """Serve one answer a look, the last for ever; give the environment in which they are the canary's page."""
    with serving(*answers) as server:
        yield {"ANALYZER_SCRAPE_TARGETS": f"v2={server.url}/metrics"}


WATCH = ["verdict", "--service", "fraud", "--canary", "v2", "--checks", "error_rate", "--watch", "1s"]


@pytest.mark.parametrize(
    ("last", "verdict", "code"), [(page(20_000, 4), "pass", 0), (page(1000, 40), "fail", 1)], ids=["pass", "fail"]
)
def test_it_ends_when_it_is_decided(last: Answer, verdict: str, code: int) -> None:
    """A source that is away is waited for; piped, there is one line a change and no escape code."""
    with looked_at(close, close, page(10), page(11), last) as environment:
        begun = time.monotonic()
        done = spawn(*WATCH, **environment)
        seconds = time.monotonic() - begun

    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (code, "")
    assert [found[1] for line in lines if (found := LINE.match(line))] == ["inconclusive", "inconclusive", verdict]
    assert len(lines) == 3
    assert "1 of 1 pages could not be read" in lines[0]
    assert "0% of 10 canary requests failed" in lines[1]
    assert seconds >= 4
    assert "\x1b" not in done.stdout


def test_json_is_a_line_a_look() -> None:
    """Each is the answer of the service."""
    with looked_at(close, page(10), page(10), page(20_000, 4)) as environment:
        done = spawn(*WATCH, "--json", **environment)

    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [one["verdict"] for one in answers] == ["inconclusive"] * 3 + ["pass"]
    assert answers[0]["checks"]["error_rate"]["code"] == "source_unavailable"
    assert answers[-1]["checks"]["error_rate"]["canary"]["n"] == 20_000


def test_a_terminal_shows_a_table_that_is_written_over() -> None:
    """And the last one stays, without the line about the next measurement."""
    with looked_at(page(10), page(20), page(20_000, 4)) as environment, terminal(*WATCH, **environment) as shown:
        assert shown.end() == 0

    assert "measurement 1 at " in shown.shown
    assert "measurement 2 at " in shown.shown
    assert "\x1b[1A" in shown.shown  # the cursor goes up
    assert shown.shown.count("\x1b[?25l") == shown.shown.count("\x1b[?25h") == 1  # hidden, and given back
    last = shown.shown.rpartition("\x1b[?25h")[2]
    assert "proved good" in last
    assert "measurement" not in last


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_no_escape_codes_gets_lines(environment: dict[str, str]) -> None:
    """As a pipe does."""
    with looked_at(page(10), page(20_000, 4)) as settings, terminal(*WATCH, **settings, **environment) as shown:
        assert shown.end() == 0

    assert "\x1b" not in shown.shown
    assert all(LINE.match(line) for line in shown.shown.splitlines())


@pytest.mark.parametrize(("answer", "code"), [(page(10), 3), (close, 4)])
def test_ctrl_c_ends_it_with_the_last_verdict(answer: Answer, code: int) -> None:
    """Whatever it was, and without a traceback; on a terminal the last table stays."""
    with looked_at(answer) as environment, terminal(*WATCH, **environment) as shown:
        shown.until("Ctrl-C ends")
        shown.interrupt()
        assert shown.end() == code

    assert "Traceback" not in shown.shown
    assert "What to do: " in shown.shown.rpartition("\x1b[?25h")[2]


@pytest.mark.parametrize(("answers", "code"), [([page(10), hang], 3), ([hang], 130)])
def test_ctrl_c_does_not_wait_for_a_source_that_hangs(answers: list[Answer], code: int) -> None:
    """Before the first verdict there is none to tell."""
    with serving(*answers) as server:
        environment = {"ANALYZER_SCRAPE_TARGETS": f"v2={server.url}/metrics"}
        process = subprocess.Popen(
            [*PYTHON, *WATCH], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while len(server.asked) < len(answers):
            time.sleep(0.05)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (code, "")
    assert len(out.splitlines()) == len(answers) - 1
    assert time.monotonic() - begun < 1.5


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("soon", "write seconds such as 0.2 or a duration such as 200ms, 30s, 5m"),
        ("0s", "'0s' must be between 1s and 1d"),
        ("-5s", "must be a number"),
        ("-5", "'-5' is negative"),
        ("500ms", "'500ms' must be between 1s and 1d"),
        ("2d", "'2d' must be between 1s and 1d"),
        ("1e300", "'1e300' must be between 1s and 1d"),
        ("nan", "must be a number"),
    ],
)
def test_a_wrong_duration_names_the_option(value: str, says: str) -> None:
    """Before anything is asked."""
    found = run("verdict", "--service", "fraud", "--canary", "v2", "--watch", value)

    assert found.exit_code == 2
    assert "Invalid value for '--watch'" in found.stderr
    assert says in " ".join(found.stderr.split())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (counts(0, 10), "--watch: counts in the request cannot change: leave --watch or data out"),
        (
            {"service": "fraud", "canary": "v2", "at": "2026-01-05T10:00:00Z"},
            "--watch: a past moment cannot change: leave --watch or at out",
        ),
    ],
)
def test_what_cannot_change_is_not_watched(body: dict[str, Any], says: str) -> None:
    """It would be asked for ever."""
    done = spawn("verdict", "-f", "-", "--watch", "1s", stdin=json.dumps(body))

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Error: {says}\n"


def test_a_wrong_request_is_not_watched() -> None:
    """It is told at once, as without --watch."""
    done = spawn(
        "verdict",
        "--service",
        "fraud",
        "--canary",
        "v3",
        "--watch",
        "1s",
        ANALYZER_SCRAPE_TARGETS="v2=http://127.0.0.1:9/",
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: canary: source scrape has no addresses for 'v3'")
