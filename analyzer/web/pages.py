"""The pages around the report: the form for a verdict, the API, and errors for people."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

import orjson

from analyzer.errors import Problem
from analyzer.model.counts import Readings, Window
from analyzer.model.findings import Code
from analyzer.quantity import parse_object
from analyzer.report import html
from analyzer.sources.assembly import Selection
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.reasons import REASONS
from analyzer.verdict.request import Detail, VerdictRequest, parse_request
from analyzer.version import __version__
from analyzer.web.openapi import COUNTED, document

TEMPLATES = Path(__file__).parent / "templates"
LINKS = {
    "verdict": "/v1/verdict",
    "report": "/report",
    "docs": "/docs",
    "openapi": "/openapi.json",
    "metrics": "/metrics",
    "ready": "/readyz",
}
IN_FORM = ("service", "canary", "baseline", "namespace", "labels", "policy", "profile", "checks", "window", "weight",
           "start", "at")  # fmt: skip
WHERE_GIVEN = ("detail", "data")  # the form keeps them, but does not offer them
REQUIRED = ("service", "canary")
EXAMPLES = {
    "service": "fraud-detector", "canary": "6d8f9c7b5d", "baseline": "75d4f8b9c8", "namespace": "ml",
    "labels": "cluster=eu", "checks": "error_rate,latency_p99", "window": "start", "weight": "5",
    "start": "2026-01-05T10:00:00Z", "at": "2026-01-05T10:30:00Z",
}  # fmt: skip
# Where what is said of a field to programs does not fit a form.
HINTS = {
    "service": "what is being rolled out",
    "canary": "what tells the canary apart: a pod template hash with Argo",
    "policy": "how to judge: the checks and their limits",
    "profile": "which metrics to read",
    "checks": "some checks of the policy, comma-separated; left out: all",
}
REMEDIES = {
    "unauthorized": "A browser does not send one. `curl -H \"Authorization: Bearer $TOKEN\" -H 'Accept: text/html'` "
    "gets a report as a file that any browser shows; a proxy in front of the analyzer can add the header too.",
    "not_found": "Go to the home page, or see `/docs` for all endpoints.",
    "method_not_allowed": "The page of the API says which methods a path has.",
    "too_large": "Send coarser time slices, or name the arms and let the analyzer read the counts itself; the setting "
    "`ANALYZER_MAX_BODY` is the limit.",
    "overloaded": "Ask again in some seconds.",
    "internal": "Try again; if it persists, see the log of the service.",
}
_TOKEN = '-H "Authorization: Bearer $TOKEN"'  # noqa: S105 - of the shell
_CONTINUED = " \\\n  "


@dataclass(frozen=True)
class Field:
    """One field of the form.

    Attributes
    ----------
    value : as it was given
    problems : what is wrong with it
    choices : empty: any text
    default : the choice for those who make none
    """

    name: str
    hint: str
    value: str
    problems: tuple[str, ...]
    required: bool
    example: str
    choices: tuple[str, ...] = ()
    default: str = ""


class _NothingRead:
    """A source for requests that are looked at and not answered."""

    name = "none"

    def read(self, selection: Selection, deadline: float) -> Readings:  # noqa: ARG002
        """Return nothing read."""
        return Readings(Window(None, None), {})

    def ready(self, deadline: float) -> None:
        """Return at once: there is no source."""


def check(analyzer: Analyzer, given: Mapping[str, str]) -> None:
    """Find what is wrong with a request without reading any counts.

    Raises
    ------
    RequestError : as for a verdict
    """
    replace(analyzer, source=_NothingRead()).read(parse_request(dict(given)))


def index(analyzer: Analyzer, address: str, given: Mapping[str, str], *, with_token: bool) -> str:
    """Return the home page.

    Parameters
    ----------
    address : of the service, as the browser has it
    given : the fields of a request, all of them right; the commands that ask it are shown. Empty: there is none yet
    with_token : callers must show a bearer token
    """
    return html.write(
        "index.html",
        TEMPLATES,
        version=__version__,
        source=analyzer.source.name,
        policies=sorted(analyzer.policies.values(), key=lambda policy: policy.name),
        links=LINKS,
        fields=_form(analyzer, given, ()),
        commands=_commands(address, given, with_token=with_token) if given else None,
        question=urlencode(given),
        with_token=with_token,
        counted=_posting(address, with_token=with_token),
    )


def error(
    analyzer: Analyzer,
    status: int,
    code: str,
    message: str,
    problems: Sequence[Problem] = (),
    given: Mapping[str, str] | None = None,
) -> str:
    """Return the page of an error.

    Parameters
    ----------
    code : one word for what is wrong
    problems : with the request, which say more than the message
    given : the fields of the request, for a form in which they can be corrected; None: it came from no form
    """
    unavailable = code == Code.SOURCE_UNAVAILABLE
    return html.write(
        "error.html",
        TEMPLATES,
        version=__version__,
        title=f"{status} {HTTPStatus(status).phrase}",
        message=message,
        problems=problems,
        remedies=REASONS[Code.SOURCE_UNAVAILABLE].remedies if unavailable else filter(None, [REMEDIES.get(code)]),
        fields=None if given is None else _form(analyzer, given, problems),
    )


def api(analyzer: Analyzer) -> str:
    """Return the OpenAPI document as a page."""

    def written(value: object) -> str:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()

    return html.write(
        "docs.html", TEMPLATES, document=document(analyzer), version=__version__, links=LINKS, written=written
    )


def _form(analyzer: Analyzer, given: Mapping[str, str], problems: Sequence[Problem]) -> list[Field]:
    choices = {"policy": analyzer.policies, "profile": analyzer.profiles, "detail": tuple(Detail)}
    defaults = {"policy": analyzer.default_policy, "profile": analyzer.default_profile, "detail": Detail.SUMMARY.value}
    wrong: dict[str, list[str]] = {}
    for problem in problems:
        for path in problem.field.split(", "):
            name, _, rest = path.partition(".")
            wrong.setdefault(name, []).append(f"{path}: {problem.message}" if rest else problem.message)
    return [
        Field(
            name=name,
            hint=HINTS.get(name) or VerdictRequest.model_fields[name].description or "",
            value=given.get(name, ""),
            problems=tuple(wrong.get(name, ())),
            required=name in REQUIRED and "data" not in given,
            example=EXAMPLES.get(name, ""),
            choices=tuple(sorted(choices.get(name, ()))),
            default=defaults.get(name, ""),
        )
        for name in (*IN_FORM, *(name for name in WHERE_GIVEN if name in given))
    ]


def _commands(address: str, given: Mapping[str, str], *, with_token: bool) -> dict[str, str]:
    """Return the commands that send the same request."""
    curl = [f"curl -sG {shlex.quote(address + LINKS['verdict'])}"]
    curl += [_TOKEN] if with_token else []
    curl += [f"--data-urlencode {shlex.quote(f'{name}={value}')}" for name, value in given.items()]
    analyzer = ["analyzer verdict", *(shlex.quote(f"--{name}={given[name]}") for name in given if name != "data")]
    if "data" in given:  # for which the command has no flag
        body = orjson.dumps({"data": parse_object(given["data"])}).decode()
        analyzer[0] = f"printf %s {shlex.quote(body)} | {analyzer[0]} --file=-"
    return {"curl": _CONTINUED.join(curl), "analyzer": _CONTINUED.join(analyzer)}


def _posting(address: str, *, with_token: bool) -> str:
    """Return the command that sends counts in the request."""
    curl = [f"curl -s {shlex.quote(address + LINKS['verdict'])}", *([_TOKEN] if with_token else [])]
    curl += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(COUNTED)}"]
    return _CONTINUED.join(curl)
