"""Requests made from the OpenAPI document, right and wrong ones, held against the service."""

from typing import TYPE_CHECKING

import needs
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings

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


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/openapi.json", "/docs"])
def test_plain_paths_are_answered_as_documented(client: FlaskClient, path: str) -> None:
    """Probes, metrics and the document itself are what the document says."""
    operation = schemathesis.openapi.from_wsgi("/openapi.json", client.application)[path]["GET"]
    case = operation.Case()

    case.validate_response(case.call(), checks=CHECKS)
