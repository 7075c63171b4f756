"""Tests of the pages for people: the form and its commands, the API, and errors that say what to do."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import lacking
from test_errors import broken_client
from web.markup import ACCEPT, BROWSER, Markup, page_of
from web.serving import COUNTS, FAILING, Pages, client_of, json_of
from werkzeug.serving import make_server

from analyzer.model.findings import Code
from analyzer.verdict.reasons import REASONS
from analyzer.verdict.request import VerdictRequest

ADDRESS = "http://localhost/v1/verdict"
FILLED = "/?service=fraud&canary=v2&baseline=v1&policy=ml-model-mean&window=step&weight=5"
PAGES = ["/", FILLED, "/docs", "/report?window=steps", "/nothing"]


@contextmanager
def served(client: FlaskClient) -> Iterator[str]:
    """Serve the application over HTTP; gives the address."""
    server = make_server("127.0.0.1", 0, client.application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(command: str, shell: str = "sh", **variables: str) -> str:
    """Run what a page offers in a real shell; gives what it prints."""
    if command.startswith("curl") and shutil.which("curl") is None:
        lacking("CURL", "needs curl, with which the commands on the pages ask")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    found = subprocess.run(
        [shell, "-c", command],
        env={"PATH": path, "no_proxy": "*", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode in (0, 1, 3), found.stderr
    return found.stdout


# The start page


@pytest.mark.parametrize("accept", [ACCEPT, "text/html", "text/*", "text/html, application/json;q=0.9"])
def test_a_browser_gets_a_page(client: FlaskClient, accept: str) -> None:
    """Whoever asks for HTML gets it."""
    response = client.get("/", headers={"Accept": accept})

    assert response.content_type == "text/html; charset=utf-8"
    assert Markup(response.text).all("h1") == [{}]


@pytest.mark.parametrize(
    "accept",
    [None, "", "*/*", "application/json", "application/json, text/html;q=0.5", "application/*", "text/html;q=0"],
)
@pytest.mark.parametrize("path", ["/", "/docs", "/report?service=fraud&canary=v2"])
def test_everybody_else_gets_json(client: FlaskClient, path: str, accept: str | None) -> None:
    """Neither curl nor Argo asks for HTML: they take anything, and a 2xx that is no JSON is a success to Argo."""
    response = client.get(path, headers={} if accept is None else {"Accept": accept})

    assert json_of(response)
    assert response.headers["Vary"] == "Accept"


def test_every_link_leads_somewhere(client: FlaskClient) -> None:
    """Those of the JSON and those of the pages, also to a place within a page."""
    for link in json_of(client.get("/"))["links"].values():
        assert client.get(link).status_code in (200, 400, 503)
    for path in PAGES:
        page = page_of(client, path, {"/nothing": 404, "/report?window=steps": 400}.get(path, 200))
        places = {attributes.get("id") for _, attributes in page.elements}
        for link in [one["href"] or "" for one in page.all("a")]:
            if link.startswith("#"):
                assert link[1:] in places
            else:
                assert client.get(link, headers=BROWSER).status_code in (200, 400, 503), link
    assert {"/docs", "/openapi.json", "/metrics", "/readyz", "/report", "/v1/verdict"} <= {
        one["href"] for one in page_of(client, "/").all("a")
    }


def test_the_page_shows_the_policies_in_force(client: FlaskClient) -> None:
    """Every check stands there with its limits and their units, role and rule."""
    text = page_of(client, "/").text

    for shown in ("ml-model", "latency_p99", "200 ms", "0.5%", "PSI 0.1", "-3%", "guardrail", "relative", "scrape"):
        assert shown in text


@pytest.mark.parametrize("path", PAGES)
def test_pages_work_without_eyes_or_mouse(client: FlaskClient, path: str) -> None:
    """Every input has its own label and hint, headings follow one another, and what scrolls can be reached by keys."""
    response = client.get(path, headers=BROWSER)
    page = Markup(response.text)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    headings = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    labels = [one["for"] for one in page.all("label")]

    assert len(ids) == len(set(ids))
    assert labels == [one["id"] for one in page.all("input", "select")]
    assert {one["aria-describedby"] for one in page.all("input", "select")} <= set(ids)
    assert {one["aria-labelledby"] for one in page.all("section")} <= set(ids)
    assert headings[0] == 1
    assert all(1 < after <= before + 1 for before, after in pairwise(headings))
    assert all(one["tabindex"] == "0" for one in page.all("pre"))
    assert all(one["tabindex"] == "0" and one["aria-label"] for one in page.all("div") if one.get("class") == "scroll")
    assert all(one["scope"] for one in page.all("th"))


# The form


def test_the_form_has_the_fields_of_a_request(client: FlaskClient) -> None:
    """All but the two that are for programs; the loaded policies and profiles to choose from, the default first."""
    page = page_of(client, "/")
    named = {one["name"] for one in page.all("input", "select")}

    assert named == set(VerdictRequest.model_fields) - {"data", "detail"}
    assert [one["name"] for one in page.all("select")] == ["policy", "profile"]
    assert page.text.count("(default)") == 2
    assert "ml-model (default)" in page.text
    assert "istio" in page.text
    assert {one["name"] for one in page.all("input") if "required" in one} == {"service", "canary"}
    assert [(one["action"], one["method"]) for one in page.all("form")] == [("/report", "get")]


def test_the_form_keeps_what_was_filled_in(client: FlaskClient) -> None:
    """To ask again with one field changed."""
    page = page_of(client, FILLED + "&detail=full")
    values = {one["name"]: one["value"] for one in page.all("input")}

    assert [one for one in page.all("option") if "selected" in one] == [{"selected": None}] * 2
    assert values | {"service": "fraud", "canary": "v2", "baseline": "v1", "window": "step", "weight": "5"} == values
    assert "--policy=ml-model-mean" in page.texts["analyzer"]
    assert "--detail=full" in page.texts["analyzer"]


@pytest.mark.parametrize("path", ["/", "/report"])
@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("service=a b&canary=v2", "service", "is not a valid name: use letters"),
        ("service=a&canary=v2&baseline=v2", "baseline", "podTemplateHashValue"),
        ("service=a&canary=v2&window=steps", "window", "must be start, step or a duration"),
        ("service=a&canary=v2&policy=ml-modle", "policy", "did you mean 'ml-model'?"),
        ("service=a&canary=v2&profile=istioo", "profile", "did you mean 'istio'?"),
        ("service=a&canary=v2&checks=error_rte", "checks", "did you mean 'error_rate'?"),
        ("service=a&canary=v2&start=9999-01-01T00:00:00Z", "start", "must be in the past"),
        ('service=a&canary=v2&policy={"checks":{"error_rate":{"promote":"x"}}}', "policy", "policy.checks.error_rate"),
        ('checks=error_rate&data={"error_rate":{"canary":{"errors":-1}}}', "data", "data.error_rate.canary"),
        ("service=a&canary=v2&service=b", "service", "is given more than once"),
        ("canary=v2", "service", "is required, unless data is given"),
    ],
)  # fmt: skip
def test_what_is_wrong_stands_beside_its_field(
    client: FlaskClient, path: str, query: str, field: str, message: str
) -> None:
    """For a command as for a report, in a form that keeps what was filled in; no command is offered."""
    page = page_of(client, f"{path}?{query}", 400)
    (marked,) = (one for one in page.all("input", "select") if "aria-invalid" in one)

    assert marked["name"] == field
    # What is wrong is an element of the hint of this field.
    hint = page.elements.index(("span", {"class": "hint small", "id": marked["aria-describedby"]}))
    assert page.elements[hint + 1] == ("strong", {"class": "fail"})
    assert [message in part for part in page.text.split("Correct it")] == [True, True]
    assert "curl" not in page.texts


def test_two_absent_fields_are_both_marked(client: FlaskClient) -> None:
    """The message that names both stands beside each."""
    page = page_of(client, "/report", 400)

    assert [one["name"] for one in page.all("input") if "aria-invalid" in one] == ["service", "canary"]


def test_an_unknown_field_is_not_dropped(client: FlaskClient) -> None:
    """It has no input, so it is told above the form."""
    assert "srvice: unknown field; did you mean 'service'?" in page_of(client, "/?srvice=a&canary=v2", 400).text


def test_the_form_keeps_counts(client: FlaskClient) -> None:
    """A link with data leads to a form with data, in which nothing else is required."""
    page = page_of(client, f"/report?checks=error_rte&data={json.dumps(COUNTS)}", 400)

    assert [json.loads(one["value"] or "") for one in page.all("input") if one["name"] == "data"] == [COUNTS]
    assert [one for one in page.all("input") if "required" in one] == []


# The commands


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_commands_ask_the_same(pages: Pages, shell: str) -> None:
    """What the page shows for a filled form, run in a real shell, gives the verdict of the report."""
    targets = pages.targets(v1="/old", v2="/bad")
    query = "service=fraud&canary=v2&baseline=v1&checks=error_rate,latency_p99&weight=&at=&namespace=ml"
    client = client_of(scrape_targets=targets)
    with served(client) as address:
        texts = page_of_address(client, address, query).texts
        wanted = {"verdict": "fail", "checks": ["error_rate", "latency_p99"]}
        for name, more in (("curl", ""), ("analyzer", " --json")):
            setting = ",".join(f"{arm}={one}" for arm, several in targets.items() for one in several)
            answer = json.loads(run(texts[name] + more, shell, ANALYZER_SCRAPE_TARGETS=setting))
            assert {"verdict": answer["verdict"], "checks": list(answer["checks"])} == wanted


def page_of_address(client: FlaskClient, address: str, query: str) -> Markup:
    """Ask for the start page as from this address."""
    response = client.get(f"/?{query}", headers=BROWSER | {"Host": address.removeprefix("http://")})
    assert response.status_code == 200, response.text
    return Markup(response.text)


PIECES = st.sampled_from(["'", '"', "\\", "$HOME", "`id`", "$(id)", ";id;", "\n", "&", "|", "#", "!", "*", "=", "@x",
                          "%41", "<b>", "&lt;", "é", "\\u0000", "-", " "])  # fmt: skip


def test_no_text_leaves_its_quotes() -> None:
    """Whatever the names in the counts are, the shell hands them on as they are, and runs nothing."""
    client = client_of()

    with served(client) as address:

        @settings(max_examples=25)
        @given(st.lists(PIECES, min_size=1, max_size=8).map("".join), st.booleans())
        def asked(name: str, bash: bool) -> None:
            arm = {"classes": {name: 500, "other": 500}}
            data = {"prediction_drift": {"canary": arm, "baseline": {"classes": {"other": 1000}}}}
            fields = {"checks": "prediction_drift", "data": json.dumps(data, indent=1), "detail": "full"}
            response = client.get("/", query_string=fields, headers=BROWSER | {"Host": address[7:]})
            command = Markup(response.text).texts["curl"]

            answer = json.loads(run(command, "bash" if bash else "sh"))

            assert answer == json_of(client.post("/v1/verdict", json=fields))
            assert name in answer["checks"]["prediction_drift"]["counts"]["canary"]["names"]

        asked()


def test_counts_reach_the_command_line_through_a_pipe() -> None:
    """`analyzer verdict` has no flag for them; their names come through the shell as they are."""
    arm = {"classes": {'it\'s "$HOME" `id` \\n %s': 500, "other": 500}}
    data = {"prediction_drift": {"canary": arm, "baseline": {"classes": {"other": 1000}}}}
    query = {"checks": "prediction_drift", "data": json.dumps(data), "detail": "full"}
    page = Markup(client_of().get("/", query_string=query, headers=BROWSER).text)

    answer = json.loads(run(page.texts["analyzer"] + " --json"))

    assert answer == json_of(client_of().post("/v1/verdict", json=query))


def test_the_command_for_counts_works(client: FlaskClient) -> None:
    """The one that stands there in any case."""
    with served(client) as address:
        command = Markup(client.get("/", headers=BROWSER | {"Host": address[7:]}).text).texts["posting"]

        assert json.loads(run(command))["verdict"] == "fail"


def test_the_commands_show_the_token(tmp_path: Path) -> None:
    """Where one is asked for, the commands take it from a variable; the page tells that a browser has none."""
    file = tmp_path / "token"
    file.write_text("a 'secret'")
    client = client_of(token_file=file)
    with served(client) as address:
        page = page_of_address(client, address, f"checks=error_rate&data={json.dumps(COUNTS)}")

        assert "secret" not in page.text
        assert "bearer token" in page.text
        assert json.loads(run(page.texts["curl"], TOKEN="a 'secret'"))["verdict"] == "fail"
        assert json.loads(run(page.texts["posting"], TOKEN="a 'secret'"))["verdict"] == "fail"
        assert json.loads(run(page.texts["curl"], TOKEN="other"))["error"]["code"] == "unauthorized"


def test_a_hostile_host_stays_in_its_quotes(client: FlaskClient) -> None:
    """The address of the service is what the client says it is."""
    host = "a;touch${IFS}b"
    response = client.get("/?service=a&canary=b", headers=BROWSER | {"Host": host})

    assert "touch" not in response.text.replace(f"'http://{host}/v1/verdict'", "")


# The API


def test_the_page_of_the_api_has_all_of_the_document(client: FlaskClient) -> None:
    """Every path and method, parameter, field at any depth, status, meaning and example."""
    document = json_of(client.get("/openapi.json"))
    page = page_of(client, "/docs")

    def told(part: object, key: str = "") -> Iterator[str]:
        if isinstance(part, dict):
            for name, inner in part.items():
                if key in ("properties", "responses", "schemas", "examples", "paths"):
                    yield name
                yield from told(inner, name)
        elif isinstance(part, list):
            for inner in part:
                yield from told(inner, key)
        elif key in ("description", "summary", "operationId", "enum", "examples"):
            yield str(part)

    absent = {text for text in told(document) if text not in page.text}
    operations = {one["operationId"] for methods in document["paths"].values() for one in methods.values() if
                  "operationId" in one}  # fmt: skip
    assert absent - operations == set()
    for path, methods in document["paths"].items():
        assert all(f"{method.upper()} {path}" in page.text for method in methods)
    assert page.text.count("low: number or null") == 3
    for example in document["components"]["schemas"]["Verdict"]["examples"]:
        assert json.dumps(example, indent=2, ensure_ascii=False) in page.text


# Errors


def test_an_error_is_a_page_with_its_status(tmp_path: Path) -> None:
    """What a browser sees has the status and the headers of what a program gets, and says what to do."""
    file = tmp_path / "token"
    file.write_text("secret")
    client, closed = client_of(max_body=2048), client_of(token_file=file)
    large = b"[" * 3000
    kind = "application/json"
    answers = {
        ("404 Not Found", "not_found", "Go to the home page"): (client, "GET", "/nothing", None, None),
        ("405 Method Not Allowed", "method_not_allowed", "which methods"): (client, "PUT", "/report", None, None),
        ("401 Unauthorized", "unauthorized", "A browser does not send one"): (closed, "GET", "/report", None, None),
        ("415 Unsupported Media Type", "unsupported_media_type", "Content-Type: application/json"):
            (client, "POST", "/report", b"{}", "text/plain"),
        ("413 ", "too_large", "larger than 2,048 bytes"): (client, "POST", "/report", large, kind),
        ("400 Bad Request", "bad_request", "not valid JSON"): (client, "POST", "/report", b"{", kind),
        ("500 Internal Server Error", "internal", "see the log"):
            (broken_client(), "GET", "/report?service=a&canary=b", None, None),
    }  # fmt: skip
    for (title, code, remedy), (asked, method, path, body, content_type) in answers.items():
        page = asked.open(path, method=method, data=body, content_type=content_type, headers=BROWSER)
        answer = asked.open(path, method=method, data=body, content_type=content_type)
        text = Markup(page.text).text

        assert page.status_code == answer.status_code == int(title[:3])
        assert json_of(answer)["error"]["code"] == code
        assert title in text
        assert json_of(answer)["error"]["message"] in text
        assert remedy in text
        assert "secret" not in text
        for header in ("Allow", "WWW-Authenticate", "Retry-After"):
            assert page.headers.get(header) == answer.headers.get(header)
    assert "GET" in client.put("/report", headers=BROWSER).headers["Allow"]
    assert closed.get("/report", headers=BROWSER).headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/v1/verdict", "/v1/x", "/report.png", "/readyz", "/metrics/"])
def test_what_programs_read_stays_json(client: FlaskClient, path: str) -> None:
    """Also in a browser: the address of an image, or a verdict that is looked at."""
    answer = client.get(path, headers=BROWSER)

    assert answer.status_code in (400, 404, 503)
    assert set(json_of(answer)["error"]) >= {"code", "message", "field"}


def test_a_source_that_is_down_is_a_report_of_its_own(pages: Pages) -> None:
    """By default the page explains why nothing can be said; where the settings ask for an error, it is one."""
    targets = pages.targets(v1="/nowhere", v2="/nowhere")
    path = "/report?service=fraud&canary=v2&baseline=v1"

    shown = page_of(client_of(scrape_targets=targets), path)
    refused = client_of(scrape_targets=targets, on_source_error="error")
    page = page_of(refused, path, 503)

    assert "inconclusive" in shown.text
    assert "source_unavailable" in shown.text
    assert "503 Service Unavailable" in page.text
    for remedy in REASONS[Code.SOURCE_UNAVAILABLE].remedies:
        assert remedy.replace("`", "") in page.text
    assert int(refused.get(path, headers=BROWSER).headers["Retry-After"]) > 0
    assert json_of(refused.get(path))["error"]["code"] == "source_unavailable"
    assert json_of(refused.get(path.replace("/report", "/report.png")))["error"]["code"] == "source_unavailable"


def test_readers_take_no_place_of_argo(pages: Pages) -> None:
    """While a report is made another may have to wait, as a page that says so; verdicts are answered."""
    client = client_of(threads=8, scrape_targets=pages.targets(v2="/held"))
    reading = threading.Thread(target=client.get, args=("/report?service=a&canary=v2",), kwargs={"headers": BROWSER})
    reading.start()
    try:
        assert pages.asked.wait(10)
        page = page_of(client, "/report?service=a&canary=v2", 503)
        verdict = client.post("/v1/verdict", json=FAILING)
        as_json = client.post("/report", json=FAILING)
    finally:
        pages.let_go.set()
        reading.join()

    assert "too many reports at once" in page.text
    assert "Ask again in some seconds" in page.text
    assert (verdict.status_code, as_json.status_code) == (200, 200)
    assert page_of(client, "/report?service=a&canary=v2")
