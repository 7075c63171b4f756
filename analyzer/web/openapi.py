"""The OpenAPI document of the service, from the request's own model."""

from typing import Any

from analyzer.analysis import Analyzer
from analyzer.model import Code, Outcome
from analyzer.request import LABEL_SAFE, Detail, VerdictRequest
from analyzer.version import __version__

NUMBER = {"type": ["number", "null"]}
VERDICT = {"type": "string", "enum": [one.value for one in Outcome]}
COUNTS = {"error_rate": {"canary": {"errors": 14, "requests": 865}, "baseline": {"errors": 52, "requests": 16435}}}
EXAMPLES = {
    "arms": {"service": "fraud-detector", "canary": "6d8f9c7b5d", "baseline": "75d4f8b9c8"},
    "counts": {"checks": "error_rate", "data": COUNTS},
}


def document(analyzer: Analyzer) -> dict[str, Any]:
    """Describe every path of the service; names of policies and profiles are those loaded."""
    fields = _request_fields(analyzer)
    flat = {name: field for name, field in fields.items() if name != "data"}
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": field, "description": field.get("description", "")}
        for name, field in flat.items()
    ]
    answers = _answers()
    examples = {name: {"value": example} for name, example in EXAMPLES.items()}
    content = {"schema": {"$ref": "#/components/schemas/Request"}, "examples": examples}
    body = {"required": True, "content": {"application/json": content}}
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
                    "requestBody": body,
                    "responses": answers,
                },
                "get": {
                    "summary": "Judge a canary, for curl",
                    "operationId": "verdict_by_query",
                    "parameters": parameters,
                    "responses": answers,
                },
            },
            "/report": {
                "post": {
                    "summary": "The same for people",
                    "operationId": "report_on",
                    "requestBody": body,
                    "responses": _with(answers, "text/html"),
                },
                "get": {
                    "summary": "The same as a page for people; in full, as JSON, to a client that is no browser",
                    "operationId": "report",
                    "parameters": parameters,
                    "responses": _with(answers, "text/html"),
                },
            },
            "/report.png": {
                "post": {
                    "summary": "Its summary as a picture of 1200 x 630 dots",
                    "operationId": "picture_of",
                    "requestBody": body,
                    "responses": _with(answers, "image/png", only=True),
                },
                "get": {
                    "summary": "Its summary as a picture of 1200 x 630 dots, for chats",
                    "operationId": "picture",
                    "parameters": parameters,
                    "responses": _with(answers, "image/png", only=True),
                },
            },
            "/healthz": {"get": _plain("The process is alive")},
            "/readyz": {"get": _plain("Configuration valid and source reachable", "503")},
            "/metrics": {
                "get": {
                    "summary": "Metrics for Prometheus",
                    "responses": {
                        "200": {"description": "text", "content": {"text/plain": {"schema": {"type": "string"}}}}
                    },
                }
            },
            "/openapi.json": {"get": _plain("This document")},
            "/docs": {"get": _plain("This document, as a page for people")},
        },
        "components": {
            "schemas": {
                "Request": {"type": "object", "properties": fields, "additionalProperties": False},
                "Verdict": _verdict_schema(),
                "Error": _error_schema(),
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


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


def _answers() -> dict[str, Any]:
    def content(schema: str) -> dict[str, Any]:
        return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}

    errors = {
        "400": "The request is wrong; every wrong field is named",
        "401": "A bearer token is needed",
        "413": "The request is too large",
        "415": "The body is not JSON",
        "503": "Overloaded, or the source is unavailable and the settings ask for an error",
    }
    return {"200": {"description": "A verdict", "content": content("Verdict")}} | {
        status: {"description": text, "content": content("Error")} for status, text in errors.items()
    }


def _with(answers: dict[str, Any], content_type: str, *, only: bool = False) -> dict[str, Any]:
    """Describe answers of another type beside the JSON of a verdict, or instead of it."""
    verdict = answers["200"]
    content = {content_type: {"schema": {"type": "string"}}}
    return answers | {"200": verdict | {"content": content if only else verdict["content"] | content}}


def _plain(summary: str, *other: str) -> dict[str, Any]:
    answer = {"content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        "summary": summary,
        "responses": {status: {"description": summary, **answer} for status in ("200", *other)},
    }


def _verdict_schema() -> dict[str, Any]:
    estimate = {
        "type": "object",
        "properties": {"value": NUMBER, "low": NUMBER, "high": NUMBER, "n": {"type": "number"}},
        "required": ["value"],
    }
    evidence = {"type": "object", "properties": {"pass": {"type": "number"}, "fail": {"type": "number"}}}
    remaining = {"type": ["object", "null"], "properties": {"requests": NUMBER, "seconds": NUMBER}}
    check = {
        "type": "object",
        "required": ["verdict", "code", "reason", "canary", "baseline", "promote", "rollback", "evidence", "remaining"],
        "properties": {
            "verdict": VERDICT,
            "code": {"type": "string", "enum": [one.value for one in Code]},
            "reason": {"type": "string"},
            "canary": estimate,
            "baseline": estimate,
            "delta": estimate,
            "promote": {"type": "number"},
            "rollback": {"type": "number"},
            "evidence": evidence,
            "remaining": remaining,
        },
    }
    window = {
        "type": "object",
        "required": ["start", "end", "seconds"],
        "properties": {"start": {"type": ["string", "null"]}, "end": {"type": ["string", "null"]}, "seconds": NUMBER},
    }
    return {
        "type": "object",
        "required": ["verdict", "reason", "checks", "summary", "window", "policy", "policy_digest", "version"],
        "properties": {
            "verdict": VERDICT,
            "reason": {"type": "string"},
            "checks": {"type": "object", "additionalProperties": check},
            "summary": {"type": "object", "additionalProperties": NUMBER},
            "window": window,
            "policy": {"type": "string"},
            "policy_digest": {"type": "string"},
            "notes": {"type": "array", "items": {"type": "string"}},
            "version": {"type": "string"},
        },
    }


def _error_schema() -> dict[str, Any]:
    error = {
        "type": "object",
        "required": ["code", "message", "field"],
        "properties": {
            "code": {"type": "string"},
            "message": {"type": "string"},
            "field": {"type": ["string", "null"]},
            "problems": {"type": "array", "items": {"type": "object"}},
        },
    }
    return {"type": "object", "required": ["error"], "properties": {"error": error}}
