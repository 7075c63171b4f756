"""Tests of which values of a status label a matcher can tell."""

import pytest

from analyzer.config.profile import load_profiles
from analyzer.config.selector import Matcher, parse_selector
from analyzer.config.vocabulary import not_understood, understands


@pytest.mark.parametrize(
    ("operator", "pattern", "understood", "not_told"),
    [
        ("=~", "5..", ["200", "404", "500", "2xx"], ["success", "error", "OK", "UNAVAILABLE", "0", "14", "-", "", "2"]),
        ("=", "5xx", ["2xx", "5xx"], ["200", "500", "error", "Internal Server Error"]),
        ("=", "5", ["2", "4", "5"], ["200", "error"]),
        ("=~", "5.*", ["200", "5xx", "2"], ["14", "0", "failed"]),
        ("=~", "{failed}", ["200", "OK", "Not Found", "InvalidArgument", "DATA_LOSS"],
         ["success", "error", "ok", "broken", "0"]),
        ("=~", "Unknown|Internal", ["OK", "NotFound"], ["UNAVAILABLE", "NOT_FOUND", "error", "500"]),
        ("=", "error", ["success", "ok", "OK", "Success", "odd_word"], ["500", "ERROR", "Error", "UNAVAILABLE", ""]),
        ("=~", "(?i)error|failed", ["success", "ERROR", "Failure"], ["200", "0"]),
        ("=", "broken", ["fine", "success"], ["0", "1"]),
        ("=~", r"7\d{3}", ["0", "200", "7001"], ["fine", "error"]),
        ("=~", "2|4|8|13|14|15", ["0", "16", "1"], ["200", "OK"]),
    ],
)  # fmt: skip
def test_a_vocabulary_is_understood_or_not(
    operator: str, pattern: str, understood: list[str], not_told: list[str]
) -> None:
    """Values of the matcher's own vocabulary are told as succeeded; those of another never could fail."""
    matcher = Matcher("status", operator, pattern)

    assert {value: understands(matcher, value) for value in understood} == dict.fromkeys(understood, True)
    assert {value: understands(matcher, value) for value in not_told} == dict.fromkeys(not_told, False)


def test_one_of_several_selectors_must_understand() -> None:
    """HTTP by its code, gRPC by its own status: a series that either understands is told."""
    failed = [parse_selector('c{code=~"5.."}'), parse_selector('c{grpc=~"2|14"}')]
    requests = parse_selector("c")

    assert not_understood(failed, requests, [{"code": "200"}, {"code": "200", "grpc": "0"}, {"grpc": "5"}]) == {}
    assert not_understood(failed, requests, [{"code": "OK"}, {"grpc": "OK"}]) == {"code": ["", "OK"]}
    assert not_understood([parse_selector("failed")], requests, [{"code": "OK"}]) == {}


@pytest.mark.parametrize("label", ["handler", "path", "endpoint", "uri", "route"])
def test_probes_are_no_requests(label: str) -> None:
    """What kubelets, load balancers and scrapes ask for is left out, whichever label has the path."""
    excluding = [one for one in load_profiles(None)["prometheus-client"].matchers if one.label == label]

    def counted(path: str) -> bool:
        return all(matcher.matches({label: path}) for matcher in excluding)

    assert excluding
    probes = ["/metrics", "/health", "/healthz", "/health/live", "/livez", "/readyz", "/ready", "/ping",
              "/v2/health/ready",
              "/v2/health/live", "/api/health", "/healthcheck", "/actuator/health/liveness", "/-/healthy",
              "/v2/models/fraud/ready", "/metrics/", "/prometheus"]  # fmt: skip
    users = ["/predict", "/", "", "metrics", "web", "/v1/models/fraud:predict", "/healthcare/predict",
             "/v2/models/m/infer",
             "/pingpong", "/api/readings", "/live-scores"]  # fmt: skip
    assert [path for path in probes if counted(path)] == []
    assert [path for path in users if not counted(path)] == []
