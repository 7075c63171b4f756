"""The OpenAPI document of the service, from the request's own model."""

from functools import cache
from typing import Any

import orjson

from analyzer.config.policy import load_policies
from analyzer.model.counts import Window
from analyzer.model.findings import Code, Outcome
from analyzer.sources import inline
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.answer import render
from analyzer.verdict.case import Case
from analyzer.verdict.request import LABEL_SAFE, Detail, VerdictRequest
from analyzer.version import __version__

NUMBER = {"type": ["number", "null"]}
VERDICT = {"type": "string", "enum": [one.value for one in Outcome]}
COUNTED = """\
{
  "checks": "error_rate",
  "data": {"error_rate": {"canary":   {"errors": 14, "requests": 865},
                          "baseline": {"errors": 52, "requests": 16435}}}
}"""
EXAMPLES = {
    "arms": {"service": "fraud-detector", "canary": "6d8f9c7b5d", "baseline": "75d4f8b9c8"},
    "counts": orjson.loads(COUNTED),
}
REFUSAL = {"error": {"code": "bad_request", "message": "canary: is required, unless data is given", "field": "canary",
                     "problems": [{"field": "canary", "message": "is required, unless data is given"}]}}  # fmt: skip


def document(analyzer: Analyzer) -> dict[str, Any]:
    """Describe every path of the service; names of policies and profiles are those loaded."""
    fields = _request_fields(analyzer)
    flat = {name: field for name, field in fields.items() if name != "data"}
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": field, "description": field.get("description", "")}
        for name, field in flat.items()
    ]
    content = {"schema": _ref("Request"), "examples": {name: {"value": one} for name, one in EXAMPLES.items()}}
    by_body = {"requestBody": {"required": True, "content": {"application/json": content}}}
    by_query = {"parameters": parameters}
    verdict, page, picture = {"application/json": {"schema": _ref("Verdict")}}, _text("text/html"), _text("image/png")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rollout Analyzer",
            "version": __version__,
            "description": "Is the canary model healthy? Verdicts for Argo Rollouts that are right at every look.",
        },
        "paths": {
            "/v1/verdict": {
                "post": {
                    "summary": "Judge a canary",
                    "operationId": "verdict",
                    **by_body,
                    "responses": _answers("A verdict", verdict, of_body=True),
                },
                "get": {
                    "summary": "Judge a canary, for curl",
                    "operationId": "verdict_by_query",
                    **by_query,
                    "responses": _answers("A verdict", verdict),
                },
            },
            "/report": {
                "post": {
                    "summary": "A verdict that explains itself: a page to browsers, to others its JSON in full",
                    "operationId": "report_of_body",
                    **by_body,
                    "responses": _answers("A verdict", verdict | page, errors=page, of_body=True),
                },
                "get": {
                    "summary": "The same for browsers and links; fields that a form left empty are not given",
                    "operationId": "report",
                    **by_query,
                    "responses": _answers("A verdict", verdict | page, errors=page),
                },
            },
            "/report.png": {
                "post": {
                    "summary": "A verdict as a picture of 1200 x 630 dots",
                    "operationId": "picture_of_body",
                    **by_body,
                    "responses": _answers("A picture of a verdict", picture, of_body=True),
                },
                "get": {
                    "summary": "The same for the previews of chats",
                    "operationId": "picture",
                    **by_query,
                    "responses": _answers("A picture of a verdict", picture),
                },
            },
            "/healthz": {"get": _plain("The process is alive")},
            "/readyz": {"get": _plain("The source answers", unavailable="The source does not answer")},
            "/metrics": {"get": _plain("Metrics for Prometheus", _text("text/plain"))},
            "/openapi.json": {"get": _plain("This document")},
            "/docs": {"get": _plain("This document: a page to browsers, to others JSON", _json_object() | page)},
        },
        "components": {
            "schemas": {
                "Request": {"type": "object", "properties": fields, "additionalProperties": False},
                "Verdict": _verdict_schema() | {"examples": [_answer()]},
                "Error": _error_schema() | {"examples": [REFUSAL]},
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


@cache
def _answer() -> dict[str, Any]:
    """Answer the example, by the packaged policy: others may lack its check."""
    policy = load_policies(None)["ml-model"]
    checks = {"error_rate": policy.checks["error_rate"]}
    return render(Case(checks, policy, inline.read(EXAMPLES["counts"]["data"], checks, Window(None, None))).verdict())


def _request_fields(analyzer: Analyzer) -> dict[str, Any]:
    beside_text = {"policy": "object", "checks": "array", "data": "object", "start": "number", "at": "number"}
    described: dict[str, Any] = {}
    for name, field in VerdictRequest.model_fields.items():
        types = ["string", beside_text.get(name), "null" if field.default is None else None]
        described[name] = {"type": list(filter(None, types)), "minLength": 1, "description": field.description}
    for name in ("service", "namespace", "canary", "baseline", "profile"):
        described[name] |= {"pattern": f"^{LABEL_SAFE.pattern}$"}
    described["policy"] |= {"examples": sorted(analyzer.policies)}
    described["profile"] |= {"examples": sorted(analyzer.profiles)}
    described["checks"] |= {"items": {"type": "string"}, "minItems": 1}
    described["detail"] |= {"enum": [one.value for one in Detail]}
    described["data"] |= {"additionalProperties": _arms_schema()}
    return described


def _arms_schema() -> dict[str, Any]:
    side = {"type": ["object", "array"], "items": {"type": "object"}, "minItems": 1}
    return {
        "type": "object",
        "required": ["canary"],
        "properties": {
            "canary": side,
            "baseline": side,
            "slice_seconds": {"type": ["number", "string"]},
            "baseline_history": side,
        },
        "additionalProperties": False,
    }


def _ref(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _text(content_type: str) -> dict[str, Any]:
    return {content_type: {"schema": {"type": "string"}}}


def _json_object() -> dict[str, Any]:
    return {"application/json": {"schema": {"type": "object"}}}


def _answers(
    meaning: str, content: dict[str, Any], *, errors: dict[str, Any] | None = None, of_body: bool = False
) -> dict[str, Any]:
    """Describe what a request about a canary is answered with.

    Parameters
    ----------
    errors : how they are written beside JSON
    of_body : the request is a body, which may be wrong as a whole
    """
    refused = {
        "400": "The request is wrong; every wrong field is named",
        "401": "A bearer token is needed",
        "503": "Overloaded, or the source is unavailable and the settings ask for an error",
    }
    if of_body:
        refused |= {"413": "The request is too large", "415": "The body is not JSON"}
    error = {"application/json": {"schema": _ref("Error")}}
    return {"200": {"description": meaning, "content": content}} | {
        status: {"description": refused[status], "content": error | (errors or {})} for status in sorted(refused)
    }


def _plain(summary: str, content: dict[str, Any] | None = None, *, unavailable: str = "") -> dict[str, Any]:
    answers: dict[str, Any] = {"200": {"description": summary, "content": content or _json_object()}}
    if unavailable:
        answers["503"] = {"description": unavailable, "content": {"application/json": {"schema": _ref("Error")}}}
    return {"summary": summary, "responses": answers, "security": []}


def _said(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"description": description}


def _verdict_schema() -> dict[str, Any]:
    text, number = {"type": "string"}, {"type": "number"}
    moment = {"type": ["string", "null"]}
    estimate = {
        "type": "object",
        "properties": {"value": NUMBER, "low": NUMBER, "high": NUMBER, "n": number},
        "required": ["value"],
    }
    evidence = {"type": "object", "properties": {"pass": number, "fail": number}}
    remaining = {"type": ["object", "null"], "properties": {"requests": NUMBER, "seconds": NUMBER}}
    check = {
        "type": "object",
        "required": ["verdict", "code", "reason", "canary", "baseline", "promote", "rollback", "evidence", "remaining"],
        "properties": {
            "verdict": VERDICT,
            "code": _said("why, in one word", {"type": "string", "enum": [one.value for one in Code]}),
            "reason": _said("why, in a sentence", text),
            "canary": _said("its value, an interval that holds at every look, the requests counted", estimate),
            "baseline": _said("the same", estimate),
            "delta": _said("the change against the baseline, where that is judged", estimate),
            "promote": _said("the limit of what is good", number),
            "rollback": _said("the limit of what is bad", number),
            "evidence": _said("towards each verdict; 1 decides", evidence),
            "remaining": _said("about how many more requests decide; null: cannot be foreseen", remaining),
        },
    }
    window = {
        "type": "object",
        "required": ["start", "end", "seconds"],
        "properties": {"start": moment, "end": moment, "seconds": NUMBER},
    }
    return {
        "type": "object",
        "required": ["verdict", "reason", "checks", "summary", "window", "policy", "policy_digest", "version"],
        "properties": {
            "verdict": _said("of all checks together", VERDICT),
            "reason": _said("the checks that led to it", text),
            "checks": _said("every check that was asked for", {"type": "object", "additionalProperties": check}),
            "summary": _said("flat numbers for dashboards", {"type": "object", "additionalProperties": NUMBER}),
            "window": _said("what was judged; null: not known", window),
            "policy": _said("its name", text),
            "policy_digest": _said("is another where any limit is", text),
            "notes": _said("on counts that are not exact", {"type": "array", "items": text}),
            "version": _said("of the analyzer", text),
            "queries": _said("detail full: what the source was asked", {"type": "array", "items": text}),
            "effective_policy": _said("detail full: the policy with all its limits", {"type": "object"}),
        },
    }


def _error_schema() -> dict[str, Any]:
    text = {"type": "string"}
    field = {"type": ["string", "null"]}
    problem = {"type": "object", "required": ["field", "message"], "properties": {"field": field, "message": text}}
    problems = {"type": "array", "items": problem}
    error = {
        "type": "object",
        "required": ["code", "message", "field"],
        "properties": {
            "code": _said("what is wrong, in one word", text),
            "message": _said("what is wrong, and what to do", text),
            "field": _said("the first that is wrong; null: none by itself", field),
            "problems": _said("every wrong field of a request", problems),
        },
    }
    return {"type": "object", "required": ["error"], "properties": {"error": error}}
