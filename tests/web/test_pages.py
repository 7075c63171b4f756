"""Tests of the paths for programs: probes, metrics, and the OpenAPI document held against the service."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator
from web.serving import FAILING, Pages, ask, client_of, json_of

from analyzer.config.policy import load_policies
from analyzer.config.profile import load_profiles
from analyzer.config.settings import Settings
from analyzer.errors import SourceUnavailable
from analyzer.model.counts import Readings
from analyzer.model.findings import Code, Outcome
from analyzer.sources.assembly import Selection
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.request import VerdictRequest
from analyzer.web import readiness
from analyzer.web.app import create_app
from analyzer.web.telemetry import Telemetry


class ProbedSource:
    """A source that counts how often it is asked whether it is ready, and answers as it is told.

    Attributes
    ----------
    problem : why it is not ready; empty: it is
    let_go : lets the probe be answered
    """

    name = "probed"

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
    monkeypatch.setattr(readiness, "READY_KEPT_SECONDS", 0.0)
    source.problem = "gone"

    assert (statuses, source.probes) == ({200}, 1)
    assert client.get("/readyz").status_code == 503
    assert source.probes == 2


def test_probes_do_not_queue_behind_a_source_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one probe waits for the source, others are told what was last known: they would take all threads."""
    source = ProbedSource()
    client = client_before(source)
    assert client.get("/readyz").status_code == 200
    monkeypatch.setattr(readiness, "READY_KEPT_SECONDS", 0.0)
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


def test_the_answers_shown_are_those_given(client: FlaskClient) -> None:
    """The examples of a verdict and of an error are what the service says, to the digit."""
    schemas = json_of(client.get("/openapi.json"))["components"]["schemas"]

    assert schemas["Verdict"]["examples"] == [ask(client, FAILING)]
    assert schemas["Error"]["examples"] == [json_of(client.get("/v1/verdict?service=fraud"))]
