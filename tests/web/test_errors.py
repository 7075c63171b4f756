"""Tests of the answers that are no verdicts: JSON always, the right status, and a message with the remedy."""

import gzip
import io
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from web.serving import FAILING, PASSING, Pages, ask, client_of, json_of

from analyzer.config.policy import load_policies
from analyzer.config.profile import load_profiles
from analyzer.config.settings import Settings
from analyzer.errors import SourceUnavailable
from analyzer.model.counts import Readings
from analyzer.sources.assembly import Selection
from analyzer.verdict.analysis import Analyzer
from analyzer.web.app import create_app
from analyzer.web.telemetry import Telemetry

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]
PATHS = [
    *("/", "/v1/verdict", "/v1/verdict/", "//v1/verdict", "/v1//verdict", "/v1", "/healthz", "/healthz/", "/readyz"),
    *("/openapi.json", "/static/index.html", "/static/../app.py", "/report/x", "/%00", "/%ff", "/favicon.ico"),
]
JSON = "application/json"


class BrokenSource:
    """A source with a bug: it raises what no source may raise."""

    name = "broken"

    def read(self, selection: Selection, deadline: float) -> Readings:  # noqa: ARG002
        """Raise."""
        raise ZeroDivisionError("a secret of the source")

    def ready(self, deadline: float) -> None:  # noqa: ARG002
        """Raise as a source may."""
        raise SourceUnavailable("<script>alert(1)</script>")


def broken_client() -> FlaskClient:
    """Build the application in front of the broken source."""
    analyzer = Analyzer(policies=load_policies(None), profiles=load_profiles(None), source=BrokenSource())
    return create_app(analyzer, Settings(), Telemetry("broken")).test_client()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_json(client: FlaskClient, path: str, method: str) -> None:
    """No path and method is answered with a redirect, with 204, or with what is not JSON."""
    for headers in ({}, {"Accept": JSON}, {"Accept": "*/*"}):
        response = client.open(path, method=method, headers=headers)

        assert response.content_type == JSON
        assert response.status_code in (200, 400, 404, 405, 415, 503)
        assert "Location" not in response.headers
        if method == "HEAD":
            assert response.data == b""
            assert int(response.headers["Content-Length"]) > 2
        else:
            assert isinstance(json.loads(response.data), dict)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
def test_a_wrong_method_is_405_with_allow(client: FlaskClient, method: str) -> None:
    """The answer says which methods there are."""
    response = client.open("/v1/verdict", method=method)

    assert response.status_code == 405
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))
    assert json_of(response)["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/v1/verdict/", "//v1/verdict", "/nothing"])
def test_an_unknown_path_is_404(client: FlaskClient, path: str) -> None:
    """Nor is a slash too many forgiven by a redirect, which would lose the body."""
    response = client.post(path, json=FAILING)

    assert response.status_code == 404
    assert json_of(response)["error"]["code"] == "not_found"


NO_JSON = {
    "empty": b"",
    "text": b"verdict=pass",
    "cut": b'{"service": "fraud"',
    "NaN": b'{"at": NaN}',
    "Infinity": b'{"at": -Infinity}',
    "1e400": b'{"at": 1e400}',
    "not UTF-8": b'{"service": "\xff\xfe"}',
    "UTF-16": '{"service": "fraud"}'.encode("utf-16"),
    "half a pair": b'{"service": "\\ud800"}',
    "deep list": b"[" * 100_000,
    "deep object": b'{"data":' * 100_000,
    "deep and closed": b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "two": b"{}{}",
}


@pytest.mark.parametrize("name", NO_JSON)
def test_a_body_that_is_no_json_is_400(client: FlaskClient, name: str) -> None:
    """The parser says where it stopped."""
    response = client.post("/v1/verdict", data=NO_JSON[name], content_type=JSON)
    error = json_of(response)["error"]

    assert response.status_code == 400
    assert error["code"] == "bad_request"
    assert error["message"].startswith("the body is not valid JSON: ")


@pytest.mark.parametrize("body", [[], [FAILING], None, "fraud", 5, True])
def test_json_that_is_no_object_is_400(client: FlaskClient, body: Any) -> None:
    """A list, a number or null is no request."""
    error = ask_raw(client, body)

    assert error["message"] == "must be a JSON object"


IMPOSSIBLE: dict[str, list[Any]] = {
    "at": [1e308, -1e308, "1e400", 10**300, "NaN", True, [], {}, "9999-12-31T23:59:60Z", "2026-01-05T10:00:00"],
    "start": [1e308, "Infinity", "yesterday"],
    "service": ["", " ", 5, ["a"], 'a"} or vector(1) #', "a" * 300, "http://x y", "a\n", "..", "ä"],
    "canary": ["a{}", "a,b"],
    "window": ["", "steps", "5m", "-5m", "0s", 0, [], "1e400s"],
    "checks": [5, {"a": 1}, [5], "error_rte", [], ["error_rate", None]],
    "detail": ["", "much", None],
    "policy": ["unknown", 5, [], {"base": "no"}, {"check": {}}, {"alpha": 1e308}, {"checks": 5}, "{", {"alpha": None}],
    "data": [5, [], "{", "[]", {"error_rate": 5}, {"error_rate": {}}, {"no": {}}, {"error_rate": {"canary": [[]]}}],
    "services": ["fraud"],
    "weight": ["", 101, -1, "five", True, [], "NaN", 1e308],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in IMPOSSIBLE for value in IMPOSSIBLE[field]])
def test_an_impossible_value_is_400_and_named(client: FlaskClient, field: str, value: Any) -> None:
    """The field is named, also where its value has the wrong type."""
    error = ask_raw(client, FAILING | {"canary": "v2", "service": "fraud", field: value})

    assert error["field"].split(".")[0] == field
    assert error["problems"][0]["message"] in error["message"]


@pytest.mark.parametrize("number", [-1, 1e16, 1e308, 10**30, "1e999", "0x10", "", None, True, [1], "١٢", 5])
def test_a_count_that_is_none_is_400(client: FlaskClient, number: Any) -> None:
    """Counts are finite, not negative and below what keeps its digits; the path of the wrong one is named."""
    error = ask_raw(client, {"data": {"error_rate": {"canary": {"errors": number, "requests": 1e-321}}}})

    assert error["field"] == "data.error_rate.canary.errors"


def test_all_wrong_fields_are_named_at_once(client: FlaskClient) -> None:
    """Nobody has to mend a request field by field."""
    wrong = {"srvice": "a", "canary": "x y", "at": "yesterday", "window": "steps", "detail": "much", "checks": 5}
    error = ask_raw(client, wrong)
    named = {problem["field"] for problem in error["problems"]}

    assert named == set(wrong)
    assert all(problem["message"] for problem in error["problems"])
    assert "did you mean 'service'?" in error["message"]


def test_the_same_hash_twice_is_400(client: FlaskClient) -> None:
    """A template that passes one hash as both arms is told so."""
    error = ask_raw(client, {"service": "fraud", "canary": "6d8f", "baseline": "6d8f"})

    assert error["field"] == "baseline"
    assert "podTemplateHashValue" in error["message"]


def ask_raw(client: FlaskClient, body: Any) -> dict[str, Any]:
    """Post JSON that must be refused with 400, and return the error."""
    response = client.post("/v1/verdict", data=json.dumps(body), content_type=JSON)
    assert response.status_code == 400
    error: dict[str, Any] = json_of(response)["error"]
    assert set(error) == {"code", "message", "field", "problems"}
    return error


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "text/json"])
def test_another_content_type_is_415(client: FlaskClient, content_type: str | None) -> None:
    """The message says which header is wanted."""
    response = client.post("/v1/verdict", data=json.dumps(FAILING), content_type=content_type)

    assert response.status_code == 415
    assert "Content-Type: application/json" in json_of(response)["error"]["message"]


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8", "Application/JSON"])
def test_json_is_known_in_every_spelling(client: FlaskClient, content_type: str) -> None:
    """Parameters and capitals do not matter."""
    assert client.post("/v1/verdict", data=json.dumps(FAILING), content_type=content_type).status_code == 200


def test_a_coded_body_is_415(client: FlaskClient) -> None:
    """It would be read as something that is no JSON."""
    response = client.post(
        "/v1/verdict", data=gzip.compress(b"{}"), content_type=JSON, headers={"Content-Encoding": "gzip"}
    )

    assert response.status_code == 415
    assert "without Content-Encoding" in json_of(response)["error"]["message"]


@pytest.mark.parametrize(
    "body", ['{"service": "a", "service": "b"}', '{"data": {"error_rate": {"canary": 1, "canary": 2}}}']
)
def test_a_field_that_is_given_twice_is_400(client: FlaskClient, body: str) -> None:
    """Of two values one would be lost without a word."""
    response = client.post("/v1/verdict", data=body, content_type=JSON)

    assert response.status_code == 400
    assert json_of(response)["error"]["field"] in ("service", "canary")
    assert "more than once" in json_of(response)["error"]["message"]


def test_a_large_body_is_413(client: FlaskClient) -> None:
    """Ten megabytes are refused, whatever they are, with the limit in the message."""
    response = client.post("/v1/verdict", data=b"[" * 10_000_000, content_type=JSON)

    assert response.status_code == 413
    assert json_of(response)["error"]["message"] == "the request is larger than 1,048,576 bytes"


@pytest.mark.parametrize(("padding", "status"), [(2000, 200), (3_000_000, 413)])
def test_a_body_without_length_is_limited_too(client: FlaskClient, padding: int, status: int) -> None:
    """A chunked body, as gunicorn hands it on, is refused over the limit, and not judged by its beginning."""
    environ = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    body = io.BytesIO(json.dumps(FAILING).encode() + b" " * padding)
    response = client.post("/v1/verdict", input_stream=body, content_type=JSON, environ_overrides=environ)

    assert response.status_code == status
    json_of(response)


def test_a_query_refuses_what_it_does_not_know(client: FlaskClient) -> None:
    """Repeated and unknown parameters are named; nothing is ignored."""
    repeated = client.get("/v1/verdict?service=a&service=b&canary=v2")
    unknown = client.get("/v1/verdict?service=a&cnary=v2&%ff=1")

    assert repeated.status_code == unknown.status_code == 400
    assert json_of(repeated)["error"]["field"] == "service"
    assert {one["field"] for one in json_of(unknown)["error"]["problems"]} >= {"cnary"}


def test_a_post_takes_no_query(client: FlaskClient) -> None:
    """Fields in the address of a POST would be ignored, so they are refused."""
    response = client.post("/v1/verdict?at=0", json=FAILING)

    assert response.status_code == 400
    assert json_of(response)["error"]["field"] == "at"


def test_a_token_is_asked_for_and_can_be_rotated(tmp_path: Path) -> None:
    """Missing and wrong tokens are 401, a new file is used at once, and without the file nobody comes in."""
    file = tmp_path / "token"
    file.write_text("first\n")
    client = client_of(token_file=file)

    def status(authorization: str | None) -> int:
        headers = {} if authorization is None else {"Authorization": authorization}
        response = client.post("/v1/verdict", json=PASSING, headers=headers)
        assert "first" not in response.text
        json_of(response)
        return response.status_code

    assert status("Bearer first") == status("bearer  first") == 200
    assert {
        status(one) for one in (None, "", "first", "Bearer", "Bearer ", "Bearer fir", "Basic first", "Bearer é")
    } == {401}
    file.write_text("second")
    assert (status("Bearer first"), status("Bearer second")) == (401, 200)
    file.write_text("")
    assert (status("Bearer "), status("Bearer second")) == (401, 401)
    file.write_bytes(b"\xff")
    assert status("Bearer second") == 503
    file.unlink()
    assert status("Bearer second") == 503


def test_only_verdicts_need_the_token(tmp_path: Path) -> None:
    """Probes and Prometheus have none."""
    file = tmp_path / "token"
    file.write_text("secret")
    client = client_of(token_file=file)

    assert {client.get(path).status_code for path in ("/healthz", "/metrics", "/openapi.json", "/")} == {200}
    assert client.get("/v1/verdict").headers["WWW-Authenticate"] == "Bearer"


def test_metrics_may_need_a_token_of_their_own(tmp_path: Path) -> None:
    """That of the callers is no other's, and verdicts need none of this."""
    file = tmp_path / "token"
    file.write_text("scraper")
    client = client_of(metrics_token_file=file)
    headers = {"Authorization": "Bearer scraper"}

    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer other"}).status_code == 401
    assert client.get("/metrics", headers=headers).status_code == 200
    assert ask(client, PASSING)["verdict"] == "pass"
    assert client.get("/healthz").status_code == 200


@contextmanager
def occupied(client: FlaskClient, pages: Pages) -> Iterator[None]:
    """Keep one verdict waiting for the source; when the block ends, it is answered."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, client, {"service": "fraud", "canary": "v2"})
        assert pages.asked.wait(5)
        try:
            yield
        finally:
            pages.let_go.set()
        assert first.result(10)["verdict"] == "inconclusive"


def test_too_many_verdicts_hold_the_canary_and_probes_go_on(pages: Pages) -> None:
    """Threads stay free while all others wait for the source; Argo would end the analysis after some errors."""
    client = client_of(threads=3, scrape_targets=pages.targets(v2="/held"))
    with occupied(client, pages):
        held = ask(client, FAILING)
        alive, metrics = client.get("/healthz"), client.get("/metrics")

    assert held["verdict"] == "inconclusive"
    assert {check["code"] for check in held["checks"].values()} == {"overloaded"}
    assert "too many verdicts at once" in held["reason"]
    assert (alive.status_code, metrics.status_code) == (200, 200)
    assert ask(client, FAILING)["verdict"] == "fail"
    assert ask(client, PASSING)["verdict"] == "pass"


def test_too_many_verdicts_are_503_where_errors_are_wanted(pages: Pages) -> None:
    """As for a source that does not answer."""
    client = client_of(threads=3, scrape_targets=pages.targets(v2="/held"), on_source_error="error")
    with occupied(client, pages):
        response = client.post("/v1/verdict", json=PASSING)

    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert json_of(response)["error"]["code"] == "overloaded"
    assert ask(client, PASSING)["verdict"] == "pass"


def test_a_bug_is_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """What was not foreseen is in the log of the service, and only there."""
    client = broken_client()
    with caplog.at_level(logging.ERROR, logger="analyzer"):
        response = client.post("/v1/verdict", json={"service": "fraud", "canary": "v2"})

    assert response.status_code == 500
    assert json_of(response)["error"]["code"] == "internal"
    assert "secret" not in response.text
    assert "a secret of the source" in caplog.text
    assert ask(client, PASSING)["verdict"] == "pass"


def test_a_failed_request_gives_its_place_back(pages: Pages) -> None:
    """Refused and broken requests leave no place occupied."""
    client = broken_client()
    for _ in range(50):
        assert client.post("/v1/verdict", json={"service": "fraud", "canary": "v2"}).status_code == 500
        assert client.post("/v1/verdict", json={"data": {"no": {}}}).status_code == 400

    assert ask(client, PASSING)["verdict"] == "pass"


def test_refusals_are_logged(pages: Pages, caplog: pytest.LogCaptureFixture) -> None:
    """Argo discards the body of an answer that is not 2xx: the reason is in the log, a line of JSON for each."""
    client = client_of(scrape_targets=pages.targets(v1="/nowhere"))
    with caplog.at_level(logging.INFO, logger="analyzer"):
        client.post("/v1/verdict", json={"service": "fraud", "canary": "v2", "polcy": "x"})
        client.post("/v1/verdict", data="{", content_type=JSON)
        client.post("/v1/verdict", json=PASSING, headers={"Content-Type": "text/plain"})
        client.get("/readyz")
        client.get("/none")
    lines = [json.loads(message) for message in caplog.messages]

    assert [(line["event"], line["level"], line["status"], line["code"], line["path"]) for line in lines] == [
        ("refused", "warning", 400, "bad_request", "/v1/verdict"),
        ("refused", "warning", 400, "bad_request", "/v1/verdict"),
        ("refused", "warning", 415, "unsupported_media_type", "/v1/verdict"),
        ("refused", "warning", 503, "source_unavailable", "/readyz"),
        ("refused", "warning", 404, "not_found", "/none"),
    ]
    assert "polcy: unknown field; did you mean 'policy'" in lines[0]["message"]
    assert all(line["time"].endswith("Z") for line in lines)
