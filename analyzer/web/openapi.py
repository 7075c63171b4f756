"""The OpenAPI document of the service, from the models of request and answer."""

from functools import cache
from typing import Any

import orjson
from pydantic import BaseModel

from analyzer.config.policy import load_policies
from analyzer.errors import Problem
from analyzer.model.counts import Window
from analyzer.sources import inline
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.answer import Answer, render
from analyzer.verdict.case import Case
from analyzer.verdict.request import VerdictRequest
from analyzer.version import __version__
from analyzer.web.refusal import ErrorAnswer, error_body, error_code
from analyzer.web.request_schema import query_fields, request_schema

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
REFUSED = error_body(
    error_code(400),
    "canary: is required, unless data is given",
    [Problem("canary", "is required, unless data is given")],
)


NO_PICTURE = {
    "501": {
        "description": "matplotlib, which draws it, is not installed",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
}


def document(analyzer: Analyzer) -> dict[str, Any]:
    """Describe every path of the service; names of policies and profiles are those loaded."""
    parameters = [
        {
            "name": name,
            "in": "query",
            "required": name in ("service", "canary"),
            "schema": field,
            "description": VerdictRequest.model_fields[name].description,
        }
        for name, field in query_fields(analyzer).items()
    ]
    content = {"schema": _ref("Request"), "examples": {name: {"value": body} for name, body in EXAMPLES.items()}}
    by_body = {"requestBody": {"required": True, "content": {"application/json": content}}}
    by_query = {"parameters": parameters}
    verdict, page, picture = {"application/json": {"schema": _ref("Verdict")}}, _text("text/html"), _text("image/png")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rollout Analyzer",
            "version": __version__,
            "description": "Is the canary model healthy? Anytime-valid verdicts for Argo Rollouts.",
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
                    "summary": "Judge a canary, for curl; counts in `data` need a POST",
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
                    "responses": _answers("A picture of a verdict", picture, of_body=True) | NO_PICTURE,
                },
                "get": {
                    "summary": "The same for the previews of chats",
                    "operationId": "picture",
                    **by_query,
                    "responses": _answers("A picture of a verdict", picture) | NO_PICTURE,
                },
            },
            "/healthz": {"get": _plain("The process is alive")},
            "/readyz": {"get": _plain("The source answers", unavailable="The source does not answer")},
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _plain("This document")},
            "/docs": {"get": _plain("This document: a page to browsers, to others JSON", _json_object() | page)},
        },
        "components": {
            "schemas": {
                "Request": request_schema(analyzer),
                "Verdict": schema_of(Answer) | {"examples": [_answer()]},
                "Error": schema_of(ErrorAnswer) | {"examples": [REFUSED]},
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


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a model as one object: no references, titles, defaults or docstrings of classes."""
    whole = model.model_json_schema()
    for part in (whole, *whole.get("$defs", {}).values()):
        part.pop("description", None)

    def plain(schema: Any) -> Any:
        if isinstance(schema, list):
            return [plain(part) for part in schema]
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            schema = whole["$defs"][name] | {key: part for key, part in schema.items() if key != "$ref"}
        kept = {key: plain(part) for key, part in schema.items() if key not in ("title", "default", "$defs")}
        if kept.get("anyOf", [])[1:] == [{"type": "null"}]:
            either = kept.pop("anyOf")[0]
            return either | kept | {"type": [either["type"], "null"]}
        return kept

    schema: dict[str, Any] = plain(whole)
    return schema


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
        "400": "The request is wrong, or its values contradict one another; every wrong field is named",
        "401": "A bearer token is needed",
        "503": "Overloaded, or the source is unavailable and the settings ask for an error",
    }
    if of_body:
        refused |= {"413": "The request is too large", "415": "The body is not JSON"}
    error = {"application/json": {"schema": _ref("Error")}}
    return {"200": {"description": meaning, "content": content}} | {
        status: {"description": refused[status], "content": error | (errors or {})} for status in sorted(refused)
    }


def _metrics() -> dict[str, Any]:
    plain = _plain("Metrics for Prometheus", _text("text/plain"))
    error = {"description": "A bearer token is needed", "content": {"application/json": {"schema": _ref("Error")}}}
    return plain | {"responses": plain["responses"] | {"401": error}, "security": [{}, {"token": []}]}


def _plain(summary: str, content: dict[str, Any] | None = None, *, unavailable: str = "") -> dict[str, Any]:
    answers: dict[str, Any] = {"200": {"description": summary, "content": content or _json_object()}}
    if unavailable:
        answers["503"] = {"description": unavailable, "content": {"application/json": {"schema": _ref("Error")}}}
    return {"summary": summary, "responses": answers, "security": []}
