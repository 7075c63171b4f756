"""Tests of the other paths: probes, metrics, the page for people, and the OpenAPI document held against the service."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import pytest
import schemathesis
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from serving import FAILING, Pages, ask, client_of, json_of

from analyzer.analysis import Analyzer
from analyzer.errors import SourceUnavailable
from analyzer.model import Code, Outcome, Readings
from analyzer.policy import load_policies
from analyzer.profile import load_profiles
from analyzer.request import VerdictRequest
from analyzer.settings import Settings
from analyzer.sources.assembly import Selection
from analyzer.telemetry import Telemetry
from analyzer.web import app as web
from analyzer.web.app import create_app

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.unsupported_method,
    checks.negative_data_rejection,
]


class ProbedSource:
    """A source that counts how often it is asked whether it is ready, and answers as it is told.

    Attributes
    ----------
    problem : why it is not ready; empty: it is
    let_go : lets the probe be answered
    """

    name = "<b>probed</b>"

    def __init__(self) -> None:
        self.problem = ""
        self.probes = 0
        self.let_go = threading.Event()
        self.let_go.set()

    def read(self, selection: Selection, deadline: float) -> Readings:
        """Never asked."""
        raise NotImplementedError

    def ready(self, deadline: float) -> None:  # noqa: ARG002
        """Count, and raise the problem."""
        self.probes += 1
        assert self.let_go.wait(5)
        if self.problem:
            raise SourceUnavailable(self.problem)


def client_before(source: ProbedSource) -> FlaskClient:
    """Build the application in front of a source."""
    analyzer = Analyzer(policies=load_policies(None), profiles=load_profiles(None), source=source)
    return create_app(analyzer, Settings(), Telemetry("probed")).test_client()


# The page for people


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "text/*", "text/html, application/json;q=0.9"])
def test_a_browser_gets_a_page(client: FlaskClient, accept: str) -> None:
    """Whoever asks for HTML gets it."""
    response = client.get("/", headers={"Accept": accept})

    assert response.content_type == "text/html; charset=utf-8"
    assert response.text.startswith("<!doctype html>")
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "accept",
    [None, "", "*/*", "application/json", "application/json, text/html;q=0.5", "application/*", "text/html;q=0"],
)
def test_everybody_else_gets_json(client: FlaskClient, accept: str | None) -> None:
    """Neither curl nor Argo asks for HTML: they take anything."""
    response = client.get("/", headers={} if accept is None else {"Accept": accept})

    assert json_of(response)["name"] == "rollout-analyzer"
    assert all(client.get(link).status_code in (200, 400, 503) for link in json_of(response)["links"].values())


def test_the_page_shows_the_policies_in_force(client: FlaskClient) -> None:
    """Every check stands there with its limits and their units."""
    page = client.get("/", headers={"Accept": BROWSER}).text

    for shown in ("ml-model", "latency_p99", "200 ms", "0.5%", "PSI 0.1", "-3%", "guardrail", "istio", "scrape"):
        assert shown in page


def test_the_page_is_well_formed(client: FlaskClient) -> None:
    """Every element that must be closed is closed, in order."""

    class Nesting(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
            if tag not in ("meta", "link", "input", "br"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    nesting = Nesting()
    nesting.feed(client.get("/", headers={"Accept": BROWSER}).text)

    assert nesting.open == []


def test_the_page_escapes_names(tmp_path: Path) -> None:
    """Names of profiles and of the source are text, and so is the host that the browser asked."""
    folder = tmp_path / "profiles"
    folder.mkdir()
    name = "<script>alert(1)</script>"
    (folder / "own.yaml").write_text(f'name: "{name}"\narm_label: arm\nerror_rate: [{{requests: a, errors: b}}]\n')
    analyzer = Analyzer(policies=load_policies(None), profiles=load_profiles(folder), source=ProbedSource())
    client = create_app(analyzer, Settings(), Telemetry("probed")).test_client()
    page = client.get("/", headers={"Accept": BROWSER}).text
    tricked = client.get("/", headers={"Accept": BROWSER, "Host": 'a"><script>alert(2)</script>'})

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>probed" not in page
    assert "<script" not in page
    assert "<script>alert(2)" not in tricked.text


def test_the_commands_on_the_page_work(client: FlaskClient) -> None:
    """The request that is offered for copying is answered with a verdict."""
    page = client.get("/", headers={"Accept": BROWSER}).text
    offered = re.search(r"-d '(\{.*?\})'</pre>", page, re.DOTALL)
    assert offered is not None
    response = client.post("/v1/verdict", data=offered[1], content_type="application/json")

    assert json_of(response)["verdict"] == "fail"


# Probes and metrics


def test_alive_and_ready(pages: Pages) -> None:
    """A service whose pages can all be read is ready; alive it is in any case."""
    ready = client_of(scrape_targets=pages.targets(v1="/old", v2="/good"))
    lost = client_of(scrape_targets=pages.targets(v1="/old", v2="/nowhere"))

    assert json_of(ready.get("/readyz"))["status"] == "ready"
    assert (
        ready.get("/readyz").status_code == ready.get("/healthz").status_code == lost.get("/healthz").status_code == 200
    )
    assert lost.get("/readyz").status_code == 503


def test_not_ready_says_why(client: FlaskClient) -> None:
    """Without any address, the answer names the setting."""
    response = client.get("/readyz")
    error = json_of(response)["error"]

    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert error["code"] == "source_unavailable"
    assert "ANALYZER_SCRAPE_TARGETS" in error["message"]


def test_the_source_is_probed_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many probes at once ask the source once; later ones ask again."""
    source = ProbedSource()
    client = client_before(source)
    statuses = {client.get("/readyz").status_code for _ in range(20)}
    monkeypatch.setattr(web, "READY_KEPT_SECONDS", 0.0)
    source.problem = "gone"

    assert (statuses, source.probes) == ({200}, 1)
    assert client.get("/readyz").status_code == 503
    assert source.probes == 2


def test_probes_do_not_queue_behind_a_source_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one probe waits for the source, others are told what was last known: they would take all threads."""
    source = ProbedSource()
    client = client_before(source)
    assert client.get("/readyz").status_code == 200
    monkeypatch.setattr(web, "READY_KEPT_SECONDS", 0.0)
    source.let_go.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.get, "/readyz")
        while source.probes < 2:
            time.sleep(0.001)
        assert client.get("/readyz").status_code == 200
        assert not waiting.done()
        source.let_go.set()
        assert waiting.result(5).status_code == 200


def test_metrics_are_text_for_prometheus(client: FlaskClient) -> None:
    """The page has the content type that Prometheus knows, and counts the answers given."""
    ask(client, FAILING)
    client.get("/nothing")
    page = client.get("/metrics")

    assert page.content_type.startswith("text/plain; version=")
    assert 'analyzer_http_responses_total{status="200"} 1.0' in page.text
    assert 'analyzer_http_responses_total{status="404"} 1.0' in page.text


# The OpenAPI document


def test_the_document_is_valid(client: FlaskClient) -> None:
    """It is OpenAPI 3.1, and describes every path that the application has, but the page for people."""
    document = json_of(client.get("/openapi.json"))
    paths = {rule.rule for rule in client.application.url_map.iter_rules()}

    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert set(document["paths"]) == paths - {"/"}


def test_the_document_knows_every_field_and_word(client: FlaskClient) -> None:
    """Fields, codes and outcomes are those of the code."""
    schemas = json_of(client.get("/openapi.json"))["components"]["schemas"]
    check = schemas["Verdict"]["properties"]["checks"]["additionalProperties"]["properties"]

    assert set(schemas["Request"]["properties"]) == set(VerdictRequest.model_fields)
    assert check["code"]["enum"] == [code.value for code in Code]
    assert check["verdict"]["enum"] == [outcome.value for outcome in Outcome]


def test_the_examples_of_the_document_can_be_asked(pages: Pages) -> None:
    """Each example of a request is answered with a verdict."""
    arms = {"6d8f9c7b5d": "/good", "75d4f8b9c8": "/old"}
    client = client_of(scrape_targets=pages.targets(**arms))
    post = json_of(client.get("/openapi.json"))["paths"]["/v1/verdict"]["post"]
    examples = post["requestBody"]["content"]["application/json"]["examples"]

    assert {name: ask(client, one["value"])["verdict"] for name, one in examples.items()} == {
        "arms": "pass",
        "counts": "fail",
    }


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_generated_requests_are_answered_as_documented(client: FlaskClient, method: str, mode: GenerationMode) -> None:
    """Requests made from the document, right and wrong ones, meet no bug and no undocumented answer."""
    operation = schemathesis.openapi.from_wsgi("/openapi.json", client.application)["/v1/verdict"][method]
    statuses = set()

    @settings(max_examples=50, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def answered(case: schemathesis.Case) -> None:
        response = case.call()
        case.validate_response(response, checks=CHECKS)
        statuses.add(response.status_code)

    answered()

    assert 400 in statuses
    assert statuses <= {200, 400}


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/openapi.json"])
def test_plain_paths_are_answered_as_documented(client: FlaskClient, path: str) -> None:
    """Probes, metrics and the document itself are what the document says."""
    operation = schemathesis.openapi.from_wsgi("/openapi.json", client.application)[path]["GET"]
    case = operation.Case()

    case.validate_response(case.call(), checks=CHECKS)
