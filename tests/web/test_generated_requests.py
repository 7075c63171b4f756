"""Requests made from the OpenAPI document, right and wrong ones, held against the service.

A schema compares no two values. A request that fits it may therefore be refused for what contradicts another value, and
for that alone: `RELATIONS` are the messages.
"""

import re
from typing import TYPE_CHECKING

import needs
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from web.serving import readable

if TYPE_CHECKING:
    import schemathesis
else:
    schemathesis = needs.package("schemathesis")

from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.unsupported_method,
    checks.negative_data_rejection,
]
RELATIONS = re.compile(
    r"baseline: is the same as canary|start: must be (before at|in the past)|labels: .* names a label twice"
    r"|checks: policy \S+ has no check|data\.\w+: no check of this name was asked for"
    r"|data\.\w+: (canary and baseline need equally many time slices|.* need statistics of the same form)"
    r"|data\S*: (must not be more than (requests|trials)|is less than sum squared over count|must be 0 where count is)"
    r"|data\S*: (has the bucket \S+ twice|all time slices need the same buckets|cumulative counts must not decrease)"
    r"|data\S*: must have exactly the fields"
    r"|policy\.checks\.\w+: unknown check"
    r"|policy\.checks\.\w+\.\w+: (is required with rule|must be above|must not be beyond|must ascend|only \w+ )"
    r"|policy\.checks\.\w+\.\w+: .*(is no duration; write|is no change against the baseline|by nature)"
    r"|policy\.checks\.\w+\.\w+: .*cannot be exceeded"
)

OF_PARAMETERS = re.compile(r"start: cannot be given together with a window")  # which depend on no other in OpenAPI


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_generated_requests_are_answered_as_documented(method: str, mode: GenerationMode) -> None:
    """What fits the document is judged, what does not is refused; no request meets a bug or an undocumented answer."""
    operation = schemathesis.openapi.from_wsgi("/openapi.json", readable().application)["/v1/verdict"][method]
    statuses = set()

    @settings(max_examples=50, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def answered(case: schemathesis.Case) -> None:
        response = case.call()
        case.validate_response(response, checks=CHECKS)
        statuses.add(response.status_code)
        if mode is GenerationMode.POSITIVE and response.status_code != 200:
            problems = response.json()["error"]["problems"]
            assert problems, response.text
            texts = [f"{problem['field']}: {problem['message']}" for problem in problems]
            texts = [text for text in texts if not RELATIONS.match(text)]
            assert [text for text in texts if method == "POST" or not OF_PARAMETERS.match(text)] == []

    answered()

    assert statuses == ({200, 400} if mode is GenerationMode.POSITIVE else {400})


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/openapi.json", "/docs"])
def test_plain_paths_are_answered_as_documented(client: FlaskClient, path: str) -> None:
    """Probes, metrics and the document itself are what the document says."""
    operation = schemathesis.openapi.from_wsgi("/openapi.json", client.application)[path]["GET"]
    case = operation.Case()

    case.validate_response(case.call(), checks=CHECKS)
