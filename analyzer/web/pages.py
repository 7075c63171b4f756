"""The pages around the report: the form for an ad-hoc verdict, the API, and errors for people."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analyzer.analysis import Analyzer
from analyzer.errors import Problem, RequestError
from analyzer.report import html
from analyzer.request import VerdictRequest, parse_request
from analyzer.version import __version__
from analyzer.web.openapi import document

TEMPLATES = Path(__file__).parent / "templates"
LINKS = {
    "verdict": "/v1/verdict",
    "report": "/report",
    "docs": "/docs",
    "openapi": "/openapi.json",
    "metrics": "/metrics",
    "ready": "/readyz",
}
FIELDS = (
    "service",
    "namespace",
    "canary",
    "baseline",
    "profile",
    "policy",
    "checks",
    "window",
    "weight",
    "start",
    "at",
)
EXAMPLES = {
    "service": "fraud-detector", "namespace": "ml", "canary": "6d8f9c7b5d", "baseline": "75d4f8b9c8", "window": "start",
    "checks": "error_rate,latency_p99", "weight": "5", "start": "2026-01-05T10:00:00Z", "at": "2026-01-05T10:30:00Z",
}  # fmt: skip
REQUIRED = ("service", "canary")
REMEDIES = {
    401: "Send the bearer token in the header Authorization: a browser cannot, curl and the command line can.",
    404: "Pages are at the start page and at /docs; verdicts at /v1/verdict.",
    405: "The page of the API says which methods there are.",
    413: "Send less, or let the analyzer read the counts from its source.",
    415: "Send JSON with the header Content-Type: application/json.",
    500: "The log of the service says what happened; ask again, and report it if it stays.",
    503: "Ask again in some seconds.",
}


def index(analyzer: Analyzer, address: str, given: Mapping[str, str]) -> str:
    """Write the start page.

    Parameters
    ----------
    address : of the service, as the browser has it
    given : fields of the form that were filled in: the commands that they correspond to are shown, or what is wrong
    """
    problems = _problems(given)
    return html.write(
        "index.html",
        TEMPLATES,
        source=analyzer.source.name,
        policies=sorted(analyzer.policies.values(), key=lambda one: one.name),
        links=LINKS,
        address=address,
        commands=_commands(address, given) if given and not problems else None,
        **_form(analyzer, given, problems),
    )


def error(
    analyzer: Analyzer, status: int, message: str, problems: Sequence[Problem], given: Mapping[str, str] | None
) -> str:
    """Write the page of an error; with `given` fields, the form to correct them stands below."""
    return html.write(
        "error.html",
        TEMPLATES,
        status=status,
        message=message,
        problems=problems,
        remedy=REMEDIES.get(status, ""),
        **_form(analyzer, given or {}, problems),
        with_form=given is not None,
    )


def api(analyzer: Analyzer) -> str:
    """Write the OpenAPI document as a page."""
    return html.write("docs.html", TEMPLATES, document=document(analyzer), version=__version__, links=LINKS)


def _form(analyzer: Analyzer, given: Mapping[str, str], problems: Sequence[Problem]) -> dict[str, Any]:
    choices = {"profile": sorted(analyzer.profiles), "policy": sorted(analyzer.policies)}
    defaults = {"profile": analyzer.default_profile, "policy": analyzer.default_policy}
    described = VerdictRequest.model_fields
    known = {one.field for one in problems}
    return {
        "version": __version__,
        "given": given,
        "wrong": {one.field: one.message for one in problems if one.field in FIELDS},
        "wrong_elsewhere": [one for one in problems if one.field not in FIELDS],
        "fields": [
            {
                "name": name,
                "hint": described[name].description,
                "required": name in REQUIRED,
                "choices": choices.get(name),
                "default": defaults.get(name),
                "example": EXAMPLES.get(name, ""),
                "wrong": name in known,
            }
            for name in FIELDS
        ],
    }


def _problems(given: Mapping[str, str]) -> Sequence[Problem]:
    if not given:
        return ()
    try:
        parse_request(dict(given))
    except RequestError as refused:
        return refused.problems
    return ()


def _commands(address: str, given: Mapping[str, str]) -> dict[str, str]:
    """Write what asks the same in a shell."""
    curl = [f"curl -sG {shlex.quote(address + '/v1/verdict')}"]
    curl += [f"--data-urlencode {shlex.quote(f'{name}={value}')}" for name, value in given.items()]
    words = ["analyzer verdict", *(f"--{name} {shlex.quote(value)}" for name, value in given.items())]
    return {"curl": " \\\n  ".join(curl), "analyzer": " \\\n  ".join(words)}
