"""Tests of /v1/verdict: what is answered to questions that can be answered."""

import json
import logging
from typing import Any

import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from web.serving import ARMS, COUNTS, FAILING, PASSING, Pages, ask, client_of, json_of

from analyzer.version import __version__

CHECKS = ["error_rate", "latency_p99", "prediction_drift", "business_proxy"]
SAMPLES = {"canary": {"samples": [0.1] * 300}, "baseline": {"samples": [0.1] * 300}}
EVERY_KIND = {
    "error_rate": {"canary": {"errors": 0, "requests": 0}, "baseline": {"errors": 0, "requests": 0}},
    "latency_p99": {"canary": {"samples": []}, "baseline": {"samples": []}},
    "prediction_drift": {"canary": {"classes": {}}, "baseline": {"classes": {}}},
    "business_proxy": {"canary": {"successes": 0, "trials": 0}, "baseline": {"successes": 0, "trials": 0}},
}


@pytest.fixture
def scraping(pages: Pages) -> FlaskClient:
    """The application that reads every arm of the pages."""
    targets = pages.targets(v1="/old", v2="/good", bad="/bad", idle="/idle", half="/good /nowhere", gone="/nowhere")
    return client_of(scrape_targets=targets)


def conforms(client: FlaskClient, answer: dict[str, Any], schema: str = "Verdict") -> None:
    """Check an answer against the schema that the service publishes."""
    document = json_of(client.get("/openapi.json"))
    Draft202012Validator({**document, "$ref": f"#/components/schemas/{schema}"}).validate(answer)


def test_counts_in_the_request_are_judged(client: FlaskClient) -> None:
    """The example of the documentation is answered as the contract says."""
    answer = ask(client, FAILING)
    check = answer["checks"]["error_rate"]

    assert answer["verdict"] == "fail"
    assert answer["reason"].startswith("error_rate: 1.62% of 865 canary requests failed")
    assert (check["verdict"], check["code"]) == ("fail", "proved_bad")
    assert check["canary"] == {
        "value": 0.0162,
        "low": pytest.approx(0.006, abs=3e-3),
        "high": pytest.approx(0.034, abs=5e-3),
        "n": 865,
    }
    assert (check["promote"], check["rollback"]) == (0.005, 0.01)
    assert check["evidence"]["fail"] >= 1
    assert check["remaining"] == {"requests": 0, "seconds": 0}
    assert answer["summary"] == {"canary_error_rate": 0.0162}
    assert answer["version"] == __version__


def test_an_answer_has_the_fields_of_the_contract(client: FlaskClient) -> None:
    """Argo's conditions and dashboards rely on these names."""
    answer = ask(client, FAILING)

    assert set(answer) == {"verdict", "reason", "checks", "summary", "window", "policy", "policy_digest", "version"}
    assert set(answer["window"]) == {"start", "end", "seconds"}
    assert {"verdict", "code", "reason", "canary", "baseline", "promote", "rollback", "evidence", "remaining"} == set(
        answer["checks"]["error_rate"]
    )


def test_a_query_asks_the_same_as_a_body(client: FlaskClient) -> None:
    """GET takes the same flat fields as POST, and is answered with the same bytes."""
    query = {"checks": "error_rate", "data": json.dumps(COUNTS), "at": "2026-01-05T10:00:00Z"}
    by_query = client.get("/v1/verdict", query_string=query)
    by_body = client.post("/v1/verdict", json=FAILING | {"at": query["at"]})

    assert by_query.status_code == 200
    assert by_query.data == by_body.data


@pytest.mark.parametrize(("canary", "verdict"), [("v2", "pass"), ("bad", "fail"), ("idle", "inconclusive")])
def test_pages_of_pods_are_judged(scraping: FlaskClient, canary: str, verdict: str) -> None:
    """A source that is read leads to each of the three verdicts, by POST and by GET."""
    body = ARMS | {"canary": canary}
    answer = ask(scraping, body)

    assert answer["verdict"] == verdict
    assert list(answer["checks"]) == CHECKS
    assert json_of(scraping.get("/v1/verdict", query_string=body))["verdict"] == verdict


@pytest.mark.parametrize(
    ("canary", "code"), [("idle", "no_canary_traffic"), ("half", "partial_data"), ("gone", "source_unavailable")]
)
def test_what_cannot_be_read_is_never_a_pass(scraping: FlaskClient, canary: str, code: str) -> None:
    """No traffic, a page of two missing, and none at all are 200 and inconclusive, with a code that says which."""
    answer = ask(scraping, ARMS | {"canary": canary, "baseline": None, "checks": "error_rate"})

    assert answer["verdict"] == "inconclusive"
    assert answer["checks"]["error_rate"]["code"] == code


def test_a_metric_that_is_not_there_is_inconclusive(pages: Pages) -> None:
    """A page without the metric does not make the canary good."""
    pages.texts["/empty"] = "process_start_time_seconds 1767607200\n"
    answer = ask(client_of(scrape_targets=pages.targets(v1="/old", v2="/empty")), ARMS)

    assert answer["verdict"] == "inconclusive"
    assert {check["verdict"] for check in answer["checks"].values()} == {"inconclusive"}


def test_a_source_that_hangs_is_inconclusive_within_the_deadline(pages: Pages) -> None:
    """The verdict does not wait longer than the settings say."""
    client = client_of(scrape_targets=pages.targets(v2="/held"), deadline="200ms")
    answer = ask(client, {"service": "fraud", "canary": "v2"})

    assert answer["verdict"] == "inconclusive"
    assert {check["code"] for check in answer["checks"].values()} == {"source_unavailable"}


def test_a_source_that_fails_can_be_an_error(pages: Pages) -> None:
    """With on_source_error error, 503 with Retry-After and a code of its own; other gaps stay verdicts."""
    targets = pages.targets(gone="/nowhere", idle="/idle", half="/good /nowhere")
    client = client_of(scrape_targets=targets, on_source_error="error")
    response = client.post("/v1/verdict", json={"service": "fraud", "canary": "gone"})
    error = json_of(response)["error"]

    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert error["code"] == "source_unavailable"
    assert "HTTP 404" in error["message"]
    assert ask(client, {"service": "fraud", "canary": "idle"})["verdict"] == "inconclusive"
    assert ask(client, {"service": "fraud", "canary": "half"})["verdict"] == "inconclusive"


def test_text_is_as_good_as_numbers(client: FlaskClient) -> None:
    """Argo passes every argument as text."""
    policy = {"checks": {"error_rate": {"promote": 0.02, "rollback": 0.04}}}
    counts = {"error_rate": {"canary": {"errors": "14", "requests": "865"}}}
    as_text = {"checks": "error_rate", "policy": json.dumps(policy).replace("0.02", '"2%"'), "data": json.dumps(counts)}
    as_json = {
        "checks": ["error_rate"],
        "policy": policy,
        "data": {"error_rate": {"canary": {"errors": 14, "requests": 865}}},
    }

    assert ask(client, as_text) == ask(client, as_json)


def test_a_summary_is_short(scraping: FlaskClient) -> None:
    """Argo stores the answer in the AnalysisRun: under 2 KB for the four checks of the default policy."""
    for canary in ("v2", "bad", "idle", "half", "gone"):
        body = ARMS | {"canary": canary}
        assert len(scraping.post("/v1/verdict", json=body).data) < 2048


def test_full_tells_how_it_was_found(scraping: FlaskClient) -> None:
    """The details add what the source was asked, the policy in force, and the counts."""
    answer = ask(scraping, ARMS | {"detail": "full"})

    assert len(answer["queries"]) == 2
    assert list(answer["effective_policy"]["checks"]) == CHECKS
    assert answer["checks"]["latency_p99"]["kind"] == "latency"
    assert answer["checks"]["error_rate"]["counts"]["canary"]["requests"] != []


@pytest.mark.parametrize("detail", ["summary", "full"])
@pytest.mark.parametrize("canary", ["v2", "bad", "idle", "half", "gone"])
def test_answers_conform_to_the_published_schema(scraping: FlaskClient, canary: str, detail: str) -> None:
    """What /openapi.json promises of a verdict holds for every verdict."""
    conforms(scraping, ask(scraping, ARMS | {"canary": canary, "detail": detail}))


@pytest.mark.parametrize("body", [{"data": EVERY_KIND}, {"data": {}}, {"checks": "error_rate", "data": {}}])
def test_nothing_is_null_and_not_nan(client: FlaskClient, body: dict[str, Any]) -> None:
    """Counts of zero leave no number behind that JSON cannot say, and pass nothing."""
    response = client.post("/v1/verdict", json=body)
    answer = json.loads(response.data, parse_constant=lambda word: pytest.fail(f"{word} in the answer"))

    assert answer["verdict"] == "inconclusive"
    assert answer["checks"]["error_rate"]["canary"]["value"] is None
    conforms(client, answer)


@pytest.mark.parametrize("limit", [1e308, 1.7976931348623157e308, 5e-324])
@pytest.mark.parametrize("check", ["latency_p99", "prediction_drift"])
def test_limits_at_the_end_of_the_numbers_are_answered(client: FlaskClient, check: str, limit: float) -> None:
    """Absurd limits give an absurd verdict, but a valid answer."""
    policy = {"checks": {check: {"promote": limit, "rollback": limit}}}
    answer = ask(client, {"checks": check, "policy": policy, "data": {check: SAMPLES}, "detail": "full"})

    conforms(client, answer)


def test_the_same_input_gives_the_same_bytes(client: FlaskClient) -> None:
    """There is no randomness and no clock in an answer."""
    bodies = [FAILING, PASSING, {"data": {"latency_p99": SAMPLES}, "at": 1767607200}]
    first = [client.post("/v1/verdict", json=body).data for body in bodies]
    second = [client_of().post("/v1/verdict", json=body).data for body in reversed(bodies)]

    assert first == second[::-1]


def test_a_policy_can_be_overridden_by_the_request(client: FlaskClient) -> None:
    """Other limits make another verdict and another digest."""
    plain = ask(client, FAILING)
    policy = {"base": "ml-model", "checks": {"error_rate": {"promote": "10%", "rollback": "20%"}}}
    lenient = ask(client, FAILING | {"policy": policy})

    assert lenient["verdict"] == "pass"
    assert lenient["policy_digest"] != plain["policy_digest"]
    assert lenient["checks"]["error_rate"]["promote"] == 0.1


def test_a_verdict_is_one_line_of_the_log(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    """The log says in JSON what was asked and what was answered."""
    with caplog.at_level(logging.INFO, logger="analyzer"):
        ask(client, FAILING | {"service": "fraud", "canary": "v2"})
    (line,) = caplog.messages
    logged = json.loads(line)

    assert "\n" not in line
    assert (logged["service"], logged["canary"], logged["verdict"]) == ("fraud", "v2", "fail")
    assert logged["seconds"] >= 0
