"""Requests drawn at random: right ones, nearly right ones and wrong ones, to every route."""

import json
import random
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

ROUTES = ("/v1/verdict", "/report", "/", "/docs", "/healthz", "/readyz", "/metrics", "/openapi.json")
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, -1e-308, 10**30, 2**63, 2**64, "", " ", "0", "-1", "1e999", "NaN",
    "+Inf", "null", "unknown", "all", "start", "step", "5m", "5m5", "0s", "-5m", "999999999d", "1e-400", "100%", "101%",
    "5 %", "2026-01-05T10:00:00Z", "2026-01-05", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00Z", "{", "{}", "[]", '{"a": 1}', '{"base": "ml-model"}', "a=b", "a=b,a=c", "=,=", "../../etc",
    "a" * 254, "a" * 5000, "<script>alert(1)</script>", "'; --", '"} or up{b="', "\x00", "\n", "\ud7ff", "é", "\u202e",
    "\U0001d7d3", "{{7*7}}", "%s%n", [], [[]], [None], ["error_rate"], ["error_rate", 5], {}, {"a": {}}, {"": ""},
    {"error_rate": {}}, {"base": {}}, {"checks": {"error_rate": {"promote": "1e999"}}}, {"alpha": "5%"}, [{}] * 3,
    {"checks": {"error_rate": {"rule": "relative"}}}, {"checks": {"latency_p99": {"rollback": "400ms"}}},
)  # fmt: skip
RIGHT: dict[str, tuple[Any, ...]] = {
    "service": ("fraud", "a"), "namespace": ("ml", None), "canary": ("v2", "6d8f9c7b5d"), "baseline": ("v1", None),
    "labels": ({"cluster": "eu"}, "cluster=eu", None), "profile": ("prometheus-client", None),
    "policy": ("ml-model", {"checks": {"error_rate": {"rollback": "2%"}}}, {"role": "guardrail"}, None),
    "checks": ("all", "error_rate", ["error_rate", "latency_p99"], None), "window": ("start", "step", "5m"),
    "start": ("2026-01-05T10:00:00Z", 1767607200, "unknown"), "at": (1767609000, "2026-01-05T10:30:00Z"),
    "weight": ("5", 50, "unknown"), "detail": ("summary", "full"),
}  # fmt: skip
ARMS: dict[str, tuple[dict[str, Any], ...]] = {
    "error_rate": ({"errors": 14, "requests": 865}, {"errors": "0", "requests": 1e15}),
    "latency_p99": ({"buckets": {"0.1": 7, "0.5": 8, "+Inf": 9}}, {"samples": [0.1, 0.2, 3]}),
    "prediction_drift": ({"classes": {"a": 5, "b": 6}}, {"buckets": {"0.5": 5, "+Inf": 50}}, {"samples": [0.1] * 40}),
    "business_proxy": ({"successes": 4, "trials": 865}, {"sum": -5, "sum_of_squares": 900, "count": 40}),
}
BODIES = (
    b"", b"{", b"null", b"[]", b"5", b'"a"', b"\xff\xfe", b'{"service": "a", "service": "b"}', b'{"a": NaN}',
    b"[" * 99_999, b'{"data":' * 5000, b"\xef\xbb\xbf{}", b'{"weight": 1e99999}', b'{"service": "\\ud800"}',
    b"{" + b'"a":1,' * 9999 + b"}",
)  # fmt: skip
HEADERS: tuple[dict[str, str], ...] = (
    {}, {"Accept": "text/html"}, {"Accept": "text/html,application/json;q=0.5"}, {"Accept": "*/*"}, {"Accept": ";;q=x"},
    {"Content-Encoding": "gzip"}, {"Authorization": "Bearer x"}, {"Authorization": "é"}, {"X-Forwarded-For": "1, 2"},
)  # fmt: skip
TYPES = (
    "application/json",
    "application/json; charset=utf-8",
    "text/plain",
    "application/xml",
    "multipart/form-data",
    "",
)


@dataclass(frozen=True)
class DrawnRequest:
    """One request, as Flask's client takes it."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def request_at_random(draw: random.Random) -> DrawnRequest:
    """Draw a request: most of them to /v1/verdict, half of them with a few wrong fields."""
    headers = draw.choice(HEADERS) if draw.random() < 0.2 else {}
    path = "/v1/verdict" if draw.random() < 0.85 else draw.choice(ROUTES)
    if draw.random() < 0.02:
        path = "/a" + "".join(draw.choice("/.%-_~aé\u2028<>&'\"{}") for _ in range(draw.randrange(30)))
        path = quote(path, safe="/%" if draw.random() < 0.5 else "/")
    if draw.random() < 0.03:
        return DrawnRequest(draw.choice(METHODS), path, draw.choice(BODIES), draw.choice(TYPES), headers)
    fields = fields_at_random(draw)
    if path == "/report" and draw.random() < 0.95:  # a page is drawn for most of a second
        headers = {}
    if draw.random() < 0.4:
        query = {key: value if isinstance(value, str) else json.dumps(value) for key, value in fields.items()}
        return DrawnRequest("GET", path + "?" + urlencode(query), headers=headers)
    if draw.random() < 0.03:
        return DrawnRequest("POST", path, _cut(json.dumps(fields).encode(), draw), draw.choice(TYPES), headers)
    return DrawnRequest("POST", path, json.dumps(fields).encode(), headers=headers)


def fields_at_random(draw: random.Random) -> dict[str, Any]:
    """Draw the fields of a request, of which none, one or several are wrong."""
    names = draw.sample(list(RIGHT), draw.randrange(len(RIGHT)))
    fields = {name: draw.choice(RIGHT[name]) for name in {"service", "canary", *names}}
    if draw.random() < 0.5:
        fields = {name: value for name, value in fields.items() if name not in ("profile", "labels", "start", "window")}
        checks = draw.sample(list(ARMS), draw.randrange(1, 4))
        fields["data"] = {check: {arm: _side(check, draw) for arm in ("canary", "baseline")} for check in checks}
        fields["checks"] = checks
    for _ in range(draw.choice((0, 0, 0, 1, 1, 2, 4))):
        _spoil(fields, draw)
    return fields


def _side(check: str, draw: random.Random) -> Any:
    part = dict(draw.choice(ARMS[check]))
    return [part] * draw.randrange(1, 5) if draw.random() < 0.2 else part


def _spoil(fields: dict[str, Any], draw: random.Random) -> None:
    """Put an odd value somewhere, at any depth, take something out, or add an unknown field."""
    part: Any = fields
    while True:
        keys = list(part) if isinstance(part, dict) else list(range(len(part)))
        if not keys or draw.random() < 0.05:
            if isinstance(part, dict):
                part[draw.choice(("x", "", "service", "base", "+Inf", "\u0000", "a" * 300))] = draw.choice(ODD)
            return
        key = draw.choice(keys)
        if isinstance(part[key], dict | list) and draw.random() < 0.7:
            part[key] = part[key].copy()  # shared by others
            part = part[key]
            continue
        if draw.random() < 0.2:
            del part[key]
        else:
            part[key] = draw.choice(ODD)
        return


def _cut(body: bytes, draw: random.Random) -> bytes:
    """Cut a body short, or change a byte of it."""
    where = draw.randrange(max(1, len(body)))
    return body[:where] if draw.random() < 0.5 else body[:where] + bytes([draw.randrange(256)]) + body[where + 1 :]
