"""The Flask application: routes, and one place where errors become answers.

Every answer to a JSON client is valid JSON, with a 2xx above all: Argo Rollouts up to v1.9 takes a 2xx that
is not JSON as a success, whatever the conditions say.
"""

import hmac
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from flask import Flask, Response, request
from gunicorn.http.errors import ParseException
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from analyzer.config.settings import OnSourceError, Settings
from analyzer.errors import NotInstalled, Problem, RequestError
from analyzer.model.findings import Code, Gap, Outcome
from analyzer.report import html
from analyzer.report.drawn import require_plots
from analyzer.sources.shares import Shares
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.answer import render
from analyzer.verdict.case import Case
from analyzer.verdict.judge import Verdict
from analyzer.verdict.request import Detail, VerdictRequest, parse_request
from analyzer.version import __version__
from analyzer.web import pages
from analyzer.web.event_log import log_event
from analyzer.web.live import LiveConfig
from analyzer.web.openapi import document
from analyzer.web.readiness import Readiness
from analyzer.web.refusal import Refusal, error_body, error_code
from analyzer.web.telemetry import Telemetry

SOURCE_UNAVAILABLE = Code.SOURCE_UNAVAILABLE.value
WITH_FORM = ("/", "/report")
FOR_PROGRAMS = ("/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/report.png")
MOST_PATH = 200  # characters of a path in the log
RESERVED_THREADS = 2  # for probes and /metrics while all others wait for the source


def create_app(analyzer: Analyzer, settings: Settings, telemetry: Telemetry) -> Flask:
    """Build the application from its parts; it keeps no state but metrics and a short memory of readiness."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    app.config["ANALYZER_SOURCE"] = settings.source.value
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # its answer is a 200 that is no JSON
    app.url_map.merge_slashes = False  # a redirect would lose Argo's body
    gate = Shares(max(1, settings.threads - RESERVED_THREADS))
    live = LiveConfig(analyzer, settings)

    @app.get("/v1/verdict")
    @app.post("/v1/verdict")
    def verdict() -> Response:
        _authorize(settings.token_file)
        parsed = parse_request(_body())
        try:
            with _slot(gate, parsed, settings.deadline):
                return _verdict(parsed, live.analyzer.verdict, settings, telemetry)
        except _Full as full:
            # Argo ends an analysis after some errors in a row: an outage of the source, which makes all verdicts
            # wait, must hold canaries and not abort them.
            if settings.on_source_error is OnSourceError.ERROR:
                raise
            gap = Gap(Code.OVERLOADED, str(full))
            return _verdict(parsed, lambda request: live.analyzer.without(request, gap), settings, telemetry)

    _add_reports(app, live, settings, gate)
    _add_service_routes(app, live, settings, telemetry)

    @app.after_request
    def count(response: Response) -> Response:
        telemetry.count_response(response.status_code)
        response.headers["X-Content-Type-Options"] = "nosniff"
        if not request.path.startswith(FOR_PROGRAMS):
            response.headers["Vary"] = "Accept"
        if request.path.startswith("/report"):
            response.headers["Cache-Control"] = "no-store"
        return response

    _handle_errors(app, live)
    return app


def _add_reports(app: Flask, live: LiveConfig, settings: Settings, gate: Shares) -> None:
    """Add what explains a verdict to people; often about the past, so no exported metric changes."""
    # Each is drawn for most of a second: no rush of readers may take the places of Argo's verdicts.
    few = threading.BoundedSemaphore(max(1, (settings.threads - RESERVED_THREADS) // 4))

    @contextmanager
    def read(body: Callable[[], object]) -> Iterator[tuple[VerdictRequest, Case]]:
        _authorize(settings.token_file)
        parsed = parse_request(body())
        with _slot(gate, parsed, settings.deadline):
            case = live.analyzer.read(parsed)
            if settings.on_source_error is OnSourceError.ERROR and (reason := _source_unavailable(case.verdict())):
                raise Refusal(503, reason, code=SOURCE_UNAVAILABLE, Retry_After="5")
            yield parsed, case

    @app.get("/report")
    @app.post("/report")
    def report() -> Response:
        from analyzer.report.page import page  # noqa: PLC0415 - with the plots, which take half a second to load

        if not _wants_page():
            with read(_body) as (_, case):
                return _json(render(case.verdict(), Detail.FULL))
        with _admitted(few), read(_body if request.method == "POST" else _filled) as (parsed, case):
            return _page(page(parsed, case, prometheus_url=settings.link_to_prometheus, address=_address()))

    @app.get("/report.png")
    @app.post("/report.png")
    def picture() -> Response:
        require_plots()
        from analyzer.report.picture import picture  # noqa: PLC0415 - an extra

        with _admitted(few), read(_body) as (parsed, case):
            return Response(picture(parsed, case), content_type="image/png")


class _Full(Refusal):
    """There is no place."""


def _address() -> str:
    return request.host_url.rstrip("/")


def _page(text: str, status: int = 200) -> Response:
    response = Response(text, status, content_type=html.CONTENT_TYPE)
    response.headers["Content-Security-Policy"] = html.CONTENT_SECURITY_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


@contextmanager
def _admitted(few: threading.BoundedSemaphore) -> Iterator[None]:
    """Limit how many reports are drawn concurrently; refuse the others."""
    if not few.acquire(blocking=False):
        raise _Full(503, "too many reports at once: ask again", Retry_After="5")
    try:
        yield
    finally:
        few.release()


@contextmanager
def _slot(shares: Shares, parsed: VerdictRequest, deadline: float) -> Iterator[None]:
    """Hold a place among the verdicts that are formed at once; refuse where the service can have none."""
    owner = (parsed.namespace, parsed.service)
    if not shares.take(owner):
        raise _Full(503, "too many verdicts at once: ask again", Retry_After="5")
    began = time.monotonic()
    try:
        yield
    finally:
        shares.give_back(owner, in_time=time.monotonic() - began < deadline / 2)


def _add_service_routes(app: Flask, live: LiveConfig, settings: Settings, telemetry: Telemetry) -> None:
    readiness = Readiness(live.analyzer)

    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"status": "alive", "version": __version__})

    @app.get("/readyz")
    def readyz() -> Response:
        if problem := readiness.problem():
            raise Refusal(503, f"the source does not answer: {problem}", code=SOURCE_UNAVAILABLE, Retry_After="5")
        return _json({"status": "ready", "version": __version__})

    @app.get("/metrics")
    def metrics() -> Response:
        _authorize(settings.metrics_token_file)
        return Response(generate_latest(telemetry.registry), content_type=CONTENT_TYPE_LATEST)

    @app.get("/openapi.json")
    def openapi() -> Response:
        return _json(document(live.analyzer))

    @app.get("/")
    def index() -> Response:
        if not _wants_page():
            return _json({"name": "rollout-analyzer", "version": __version__, "links": pages.LINKS})
        given = _filled()
        if given:
            pages.check(live.analyzer, given)
        return _page(pages.index(live.analyzer, _address(), given, with_token=settings.token_file is not None))

    @app.get("/docs")
    def docs() -> Response:
        return _page(pages.api(live.analyzer)) if _wants_page() else _json(document(live.analyzer))


def _wants_page() -> bool:
    """Whether the client is a browser: one that takes anything, as Argo does, gets JSON."""
    return request.accept_mimetypes["text/html"] > request.accept_mimetypes["application/json"]


def _verdict(
    parsed: VerdictRequest, judge: Callable[[VerdictRequest], Verdict], settings: Settings, telemetry: Telemetry
) -> Response:
    began = time.perf_counter()
    with telemetry.verdict(parsed) as judged:
        verdict = judge(parsed)
        judged(verdict)
    question = (parsed.profile, parsed.baseline, parsed.start, tuple(sorted(parsed.labels.items())))
    telemetry.rollouts.record(
        parsed.namespace, parsed.service, verdict, parsed.window, canary=parsed.canary, question=question
    )
    _log(parsed, verdict, time.perf_counter() - began)
    if settings.on_source_error is OnSourceError.ERROR and (reason := _source_unavailable(verdict)):
        raise Refusal(503, reason, code=SOURCE_UNAVAILABLE, Retry_After="5")
    return _json(render(verdict, parsed.detail))


def _source_unavailable(verdict: Verdict) -> str:
    """Return why the source kept a verdict inconclusive; empty where it did not."""
    if verdict.outcome is not Outcome.INCONCLUSIVE:
        return ""
    unavailable = (finding.reason for finding in verdict.findings.values() if finding.code is Code.SOURCE_UNAVAILABLE)
    return next(unavailable, "")


def _body() -> object:
    """Read the request's fields from its JSON body or, with GET, from its query parameters."""
    if request.method != "POST":
        return _query()
    if request.args:
        raise RequestError([Problem(name, "must be sent in the JSON body of a POST") for name in request.args])
    if request.mimetype != "application/json":
        raise Refusal(415, "the body must be JSON: send the header Content-Type: application/json")
    if coding := request.headers.get("Content-Encoding"):
        raise Refusal(415, f"the body must not be coded ({coding[:20]}): send it without Content-Encoding")
    try:
        body = request.get_data()
    except (OSError, ParseException) as error:
        raise Refusal(400, "the body cannot be read: its chunks are malformed, or it ended too soon") from error
    if request.content_length is None and len(body) >= (request.max_content_length or 0):
        raise RequestEntityTooLarge  # a chunked body is cut at the limit, not refused
    try:
        fields = orjson.loads(body)
        json.loads(body, object_pairs_hook=_unique, parse_int=str, parse_float=str)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise Refusal(400, f"the body is not valid JSON: {error}") from error
    return fields


def _unique(pairs: list[tuple[str, object]]) -> None:
    """Refuse an object that has a key twice, of which a parser takes the last without a word."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError([Problem(twice[:80], "is given more than once")])


def _query() -> dict[str, str]:
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    if repeated:
        raise RequestError([Problem(name, "is given more than once") for name in repeated])
    return request.args.to_dict()


def _filled() -> dict[str, str]:
    """Return the fields of a form without empty ones; elsewhere an empty field is an argument that was not set."""
    return {name: value for name, value in _query().items() if value}


def _authorize(token_file: Path | None) -> None:
    """Require the bearer token, read each time so that it can be rotated."""
    if token_file is None:
        return
    try:
        wanted = token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(503, "the file with the token cannot be read", Retry_After="5") from error
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    matches = hmac.compare_digest(shown.strip().encode(), wanted.encode())
    if not wanted or scheme.lower() != "bearer" or not matches:
        raise Refusal(401, "a valid bearer token is needed in the header Authorization", WWW_Authenticate="Bearer")


def _for_people() -> bool:
    """Whether an error is shown as a page: to a browser, where it did not ask for what programs read."""
    return _wants_page() and not request.path.startswith(FOR_PROGRAMS)


def _handle_errors(app: Flask, live: LiveConfig) -> None:
    def answer(
        status: int,
        message: str,
        *,
        code: str | None = None,
        problems: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Answer an error, to people with a page, to programs with JSON; Argo discards it, so it is logged."""
        code = code or error_code(status)
        log_event(
            "refused", logging.WARNING, status=status, code=code, message=message, method=request.method,
            path=request.path[:MOST_PATH],
        )  # fmt: skip
        if not _for_people():
            return _json(error_body(code, message, problems), status, headers)
        from_form = problems and request.path in WITH_FORM and request.method != "POST"
        page = pages.error(live.analyzer, status, code, message, problems, request.args if from_form else None)
        response = _page(page, status)
        response.headers.update(headers or {})
        return response

    @app.errorhandler(Refusal)
    def refused(error: Refusal) -> Response:
        return answer(error.status, str(error), code=error.code, headers=error.headers)

    @app.errorhandler(RequestError)
    def bad_request(error: RequestError) -> Response:
        return answer(400, str(error), problems=error.problems)

    @app.errorhandler(NotInstalled)
    def not_installed(error: NotInstalled) -> Response:
        return answer(501, str(error))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        status = error.code or 500
        headers = {name: value for name, value in error.get_headers() if name == "Allow"}
        message = error.description or error.name
        if status == 413:
            message = f"the request is larger than {app.config['MAX_CONTENT_LENGTH']:,} bytes"
        return answer(status, message, headers=headers)

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        log_event("error", logging.ERROR, error)
        return answer(500, "unexpected error: see the log of the service")


def _json(body: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # orjson writes NaN and infinity as null; a bare NaN would make Argo take the answer as a success.
    return Response(orjson.dumps(body), status, headers, content_type="application/json")


def _log(parsed: VerdictRequest, verdict: Verdict, seconds: float) -> None:
    log_event(
        "verdict",
        namespace=parsed.namespace,
        service=parsed.service,
        canary=parsed.canary,
        baseline=parsed.baseline,
        verdict=verdict.outcome.value,
        reason=verdict.reason,
        policy=verdict.policy.name,
        seconds=round(seconds, 4),
    )
