"""A pod's page of metrics, in Prometheus' text format, with the names and the checks that Prometheus has.

A name is kept as it is written: a library that reads ``# TYPE X counter`` and calls its samples ``X_total`` would hide
them from the profile.
"""

import re
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass

from analyzer.errors import BadResponse
from analyzer.sources.http import timed_out

SAMPLE = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]*"
    r'(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\}[ \t]*|[ \t])'  # a brace may stand in a label's value
    r"[ \t]*"
    r"([+-]?(?:\d[0-9.eE+-]*|\.\d[0-9eE+-]*|[Ii]nf|[Nn]a[Nn]))(?:[ \t]+-?[0-9.eE+]+)?[ \t]*(?:#[ \t]+\{.*)?"
)
LABEL = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(?:,|$)')
ESCAPED = re.compile(r"\\(.)")
ESCAPES = {"n": "\n"}
LINES_AT_ONCE = 2000  # between two looks at the clock
MOST_SHOWN = 60  # characters of a line


class ExpositionError(BadResponse):
    """A page of metrics with a line that no Prometheus would take; the message names it."""


@dataclass(frozen=True)
class PageSample:
    """One sample of a page.

    Attributes
    ----------
    metric, labels, value : as they are written
    line : its number on the page, the first is 1
    """

    metric: str
    labels: dict[str, str]
    value: float
    line: int


def parse_page(body: bytes, wanted: Container[str] | None, ends: float) -> list[PageSample]:
    """Parse a page; of a series that is there twice, the first sample counts, as with Prometheus.

    Parameters
    ----------
    wanted : names of metrics; the lines of others are only checked; None: all
    ends : until when, on the monotonic clock

    Raises
    ------
    ExpositionError : a line among samples is no sample and no comment
    BadResponse : there is no sample at all, and it is not empty
    SourceUnavailable : there was no time left
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        number = body.count(b"\n", 0, error.start) + 1
        raise _refusal(body.decode("utf-8", errors="replace"), f"line {number} is not UTF-8", ends) from error
    samples: dict[tuple[str, frozenset[tuple[str, str]]], PageSample] = {}
    for number, line in _lines(text, ends):
        match = SAMPLE.fullmatch(line)
        if match is None:
            raise _refusal(text, _no_sample(number, line), ends)
        if wanted is None or match[1] in wanted:
            try:
                sample = _sample(match, number)
            except ValueError as error:
                raise _refusal(text, _no_sample(number, line), ends) from error
            samples.setdefault((sample.metric, frozenset(sample.labels.items())), sample)
    return list(samples.values())


def _lines(text: str, ends: float) -> Iterator[tuple[int, str]]:
    """Give the lines with samples and their numbers; raises SourceUnavailable after the end of the time."""
    for number, line in enumerate(text.split("\n"), start=1):
        if number % LINES_AT_ONCE == 0 and time.monotonic() > ends:
            raise timed_out(None)
        stripped = line.strip(" \t\r")
        if stripped and not stripped.startswith("#"):
            yield number, stripped


def _sample(match: re.Match[str], number: int) -> PageSample:
    """Read the parts of a line; raises ValueError."""
    value = float(match[3])
    labels: dict[str, str] = {}
    rest, at = (match[2] or "").rstrip(), 0
    while at < len(rest):
        label = LABEL.match(rest, at)
        if label is None or label[1] in labels:
            raise ValueError("labels that are none")
        labels[label[1]] = ESCAPED.sub(lambda escape: ESCAPES.get(escape[1], escape[1]), label[2])
        at = label.end()
    return PageSample(match[1], {name: value for name, value in labels.items() if value}, value, number)


def _no_sample(number: int, line: str) -> str:
    return f"line {number} is no sample: {line[:MOST_SHOWN]!r}"


def _refusal(text: str, why: str, ends: float) -> BadResponse:
    """Build the error for a page; one without any sample is none of metrics, such as that of a proxy."""
    is_page = any(SAMPLE.fullmatch(line) for _, line in _lines(text, ends))
    return ExpositionError(why) if is_page else BadResponse(f"is no page of metrics: {why}")
