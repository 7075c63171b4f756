"""Selectors as in PromQL: parsing ``http_requests_total{status=~"5.."}``, matching, and filling in a request's fields.

Names that are not plain ones are quoted, as in Prometheus 3: ``{"http.requests", "http.status"=~"5.."}``. The
matchers are ``=``, ``!=``, ``=~`` and ``!~``. ``{service}`` and ``{namespace}`` inside a value stand for the request's
fields; a matcher whose field the request does not give is left out. ``{probes}`` stands for the paths of probes and
scrapes, ``{failed}`` for the status of requests that the server failed: HTTP 5xx and its phrases, and the names that
gRPC has for them.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus

QUOTED = r'"((?:[^"\\]|\\.)*)"'
SELECTOR = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s*", re.DOTALL)
SELECTOR_QUOTED = re.compile(rf"\s*\{{\s*{QUOTED}\s*(?:,(.*))?\}}\s*", re.DOTALL)
MATCHER = re.compile(rf"\s*(?:([a-zA-Z_][a-zA-Z0-9_]*)|{QUOTED})\s*(=~|!~|!=|=)\s*{QUOTED}\s*(?:,|$)")
PLAIN_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
PLAIN_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
ESCAPE = re.compile(r"\\(.)")
ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}  # others are kept as they are: "\d" for "\\d"
FIELD = re.compile(r"\{(service|namespace)\}")
# Paths that no user asks for. They begin with a slash: the label `endpoint` is often the name of a port, "metrics".
# Short, for it stands in a query many times, and some engines refuse queries of more than 16 KiB.
PROBES = (
    "/(.*/)?(metrics|health(y|z|.?check)?|(live|ready|startup)z|(live|readi)ness)(/(live|read).*|/)?"
    "|/(live|ready|ping|prometheus|-/.*|v2/.*/ready)"
)
_GRPC = "Unknown|DeadlineExceeded|ResourceExhausted|Internal|Unavailable|DataLoss"
_PHRASES = (status.phrase for status in HTTPStatus if status >= HTTPStatus.INTERNAL_SERVER_ERROR)
FAILED = "|".join(("5..", _GRPC, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", _GRPC).upper(), *_PHRASES))
STANDING_FOR = {"{probes}": PROBES, "{failed}": FAILED}


@dataclass(frozen=True)
class Matcher:
    """One condition on a label; `value` is a regular expression for ``=~`` and ``!~``, matched as a whole."""

    label: str
    operator: str
    value: str

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether a series with these labels meets it; a label that is not there is empty, as in PromQL."""
        actual = labels.get(self.label, "")
        pattern = _expanded(self.value)
        equal = actual == pattern if self.operator in ("=", "!=") else bool(re.fullmatch(pattern, actual))
        return equal if self.operator in ("=", "=~") else not equal

    def __str__(self) -> str:
        return f"{label_name(self.label)}{self.operator}{_quoted(self.value)}"


@dataclass(frozen=True)
class Selector:
    """A metric and the matchers on its labels."""

    metric: str
    matchers: tuple[Matcher, ...] = ()

    def __str__(self) -> str:
        matchers = ",".join(map(str, self.matchers))
        if self.metric and not PLAIN_METRIC.fullmatch(self.metric):
            return f"{{{','.join(filter(None, [_quoted(self.metric), matchers]))}}}"
        return f"{self.metric}{{{matchers}}}" if self.matchers else self.metric

    def suffixed(self, suffix: str) -> "Selector":
        """Name one of the metrics that a histogram consists of, such as ``_bucket``."""
        return Selector(self.metric + suffix, self.matchers)


def label_name(name: str) -> str:
    """Return the name of a label in PromQL, in quotes where it is not a plain one."""
    return name if PLAIN_LABEL.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _unquoted(text: str) -> str:
    return ESCAPE.sub(lambda match: ESCAPES.get(match[1], match[0]), text)


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Read matchers as in PromQL: ``status=~"5..",handler!="/health"``; raises ValueError."""
    matchers, rest = [], text.strip()
    while rest:
        match = MATCHER.match(rest)
        if not match:
            raise ValueError(f'{rest[:40]!r} is no matcher: write label="value", with =, !=, =~ or !~')
        value = _unquoted(match[4])
        if match[3] in ("=~", "!~"):
            try:
                re.compile(_expanded(value))
            except re.error as error:
                raise ValueError(f"{value!r} is no regular expression: {error}") from error
        matchers.append(Matcher(match[1] or _unquoted(match[2]), match[3], value))
        rest = rest[match.end() :]
    return tuple(matchers)


def parse_selector(text: object) -> Selector:
    """Read a selector as in PromQL: ``http_requests_total{status=~"5.."}``; raises ValueError."""
    if isinstance(text, Selector):
        return text
    if isinstance(text, str) and (match := SELECTOR.fullmatch(text)):
        return Selector(match[1], parse_matchers(match[2] or ""))
    if isinstance(text, str) and (match := SELECTOR_QUOTED.fullmatch(text)) and match[1]:
        return Selector(_unquoted(match[1]), parse_matchers(match[2] or ""))
    raise ValueError(f"{text!r} is no selector: write a metric's name, and matchers in braces if it needs any")


def fill(matchers: tuple[Matcher, ...], service: str | None, namespace: str | None) -> tuple[Matcher, ...]:
    """Put a request's fields into matchers; those whose field is not given are left out."""
    given = {"service": service, "namespace": namespace}
    filled = []
    for matcher in matchers:
        names = FIELD.findall(matcher.value)
        if all(given[name] for name in names):
            value = _expanded(matcher.value)
            for name in names:
                text = literal(given[name] or "", regex=matcher.operator in ("=~", "!~"))
                value = value.replace(f"{{{name}}}", text)
            filled.append(Matcher(matcher.label, matcher.operator, value))
    return tuple(filled)


def _expanded(value: str) -> str:
    """Put in what the words of a value stand for."""
    for word, pattern in STANDING_FOR.items():
        value = value.replace(word, pattern)
    return value


def arms_matcher(label: str, arms: tuple[str, ...]) -> Matcher:
    """Select several arms at once."""
    return Matcher(label, "=~", "|".join(literal(arm, regex=True) for arm in arms))


def literal(value: str, *, regex: bool) -> str:
    """Write a value as the literal of a matcher, escaped where it is a regular expression."""
    if not regex:
        return value
    # [.] and not \. so that one text means the same in Python's, RE2's and PromQL's quoting; [^] and [[] would not.
    return re.sub(r"[^A-Za-z0-9_:/@-]", lambda m: f"\\{m[0]}" if m[0] in "^[\\" else f"[{m[0]}]", value)
