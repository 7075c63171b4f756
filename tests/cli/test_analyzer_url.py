"""Tests of `analyzer doctor --analyzer-url`: an address that would promote every canary is found before it does."""

import json

import pytest
from cli.commands import run
from sources.hostile import Answer, close, say, serving

REFUSED = {"error": {"code": "unauthorized", "message": "a token", "field": None}}
VERDICT = {"verdict": "inconclusive", "reason": "no data"}
LOGIN = b"<html><form action=/login>"


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (say(VERDICT), 0, "it answers with a verdict"),
        (say(REFUSED, 401), 0, "an analyzer that asks for a token"),
        (say(LOGIN, Content_Type="text/html"), 1, "promotes every canary"),
        (say(b"", 204), 1, "promotes every canary"),
        (say({"status": "ok"}), 1, "promotes every canary"),
        (say(b'["pass"]'), 1, "promotes every canary"),
        (say(LOGIN, 401), 1, "it answered HTTP 401"),
        (say(b"gone", 404), 1, "it answered HTTP 404"),
        (close, 1, "no answer (ConnectionError)"),
    ],
    ids=[
        "verdict",
        "token",
        "login page",
        "empty",
        "another service",
        "no object",
        "login asked",
        "not found",
        "closed",
    ],
)
def test_an_address_is_tried_as_argo_would(answer: Answer, code: int, text: str) -> None:
    """What Argo takes for a success and is no verdict is named, with the remedy."""
    with serving(answer) as server:
        printed = run("doctor", "--analyzer-url", f"{server.url}/")
        as_json = run("doctor", "--analyzer-url", server.url, "--json")
    asked = server.asked[0]

    assert (printed.exit_code, as_json.exit_code) == (code, code)
    assert text in " ".join(printed.stdout.split())
    assert json.loads(as_json.stdout)["status"] == ("missing" if code else "ok")
    assert (asked.method, asked.path, json.loads(asked.body)) == ("POST", "/v1/verdict", {"data": {}})


def test_an_address_that_leads_to_a_login_page() -> None:
    """Argo follows a redirect, and so does this."""
    page = say(LOGIN, Content_Type="text/html")
    with serving(page) as login, serving(say(b"", 302, Location=login.url)) as server:
        printed = run("doctor", "--analyzer-url", server.url)
    with serving(say(VERDICT)) as other, serving(say(b"", 308, Location=other.url)) as server:
        moved = run("doctor", "--analyzer-url", server.url)

    assert (printed.exit_code, moved.exit_code) == (1, 1)
    assert "promotes every canary" in " ".join(printed.stdout.split())
    assert f"it redirects to {other.url}" in " ".join(moved.stdout.split())


@pytest.mark.parametrize("words", [[], ["--service", "fraud", "--analyzer-url", "http://localhost"]])
def test_one_of_both_is_examined(words: list[str]) -> None:
    """A service, or the address."""
    refused = run("doctor", *words)

    assert refused.exit_code == 2
    assert "--analyzer-url" in refused.stderr
