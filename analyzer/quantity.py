"""Quantities as people write them: ``200ms``, ``1%``, ``5m``, ``0.01``, and numbers that come as text.

Argo passes every argument as text, and people write limits with their units, so both forms are read
everywhere. Durations and latencies are seconds inside, shares and changes are ratios (0.01, not 1).
"""

import difflib
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

import orjson
from pydantic import BeforeValidator, PlainSerializer

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LATEST = 253402300800.0  # Unix seconds of the end of the year 9999, the last that can be written
MOST_TEXT = 100  # characters of a quantity: nobody writes more, and to try all of a megabyte takes minutes
PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ns|us|µs|ms|s|m|h|d)", re.ASCII)


def parse_object(value: object) -> object:
    """Read text that begins like a JSON object; anything else stays as it is.

    Raises
    ------
    ValueError : the text is no JSON
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"is no JSON object: {error}") from error
    return value


def parse_number(value: object) -> float:
    """Read a finite number, also from text; raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be a number, got {type(value).__name__}")  # noqa: TRY004 - pydantic wants this
    if isinstance(value, str) and (len(value) > MOST_TEXT or not NUMBER.fullmatch(value.strip())):
        raise ValueError(f"must be a number, got {value[:40]!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"must be finite, got {number}")
    return number


def parse_ratio(value: object) -> float:
    """Read a ratio: ``0.01`` and ``"1%"`` are the same; raises ValueError."""
    if isinstance(value, str) and value.strip().endswith("%"):
        return parse_number(value.strip()[:-1]) / 100
    try:
        return parse_number(value)
    except ValueError as error:
        raise ValueError(f"{error}: write a ratio such as 0.01 or a percentage such as 1%") from error


def parse_seconds(value: object) -> float:
    """Read a duration in seconds: ``0.2``, ``"0.2"``, ``"200ms"``, ``"1h30m"``; raises ValueError."""
    if isinstance(value, str) and len(value) <= MOST_TEXT:
        text = value.strip()
        parts = PART.findall(text)
        if parts and "".join(number + unit for number, unit in parts) == text:
            return parse_number(sum(float(number) * UNITS[unit] for number, unit in parts))
    try:
        return parse_number(value)
    except ValueError as error:
        raise ValueError(f"{error}: write seconds such as 0.2 or a duration such as 200ms, 30s, 5m") from error


def parse_instant(value: object) -> float:
    """Read a moment as Unix seconds, from a number or from RFC 3339 text; raises ValueError."""
    if isinstance(value, str) and not NUMBER.fullmatch(value.strip()):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError as error:
            raise ValueError(
                f"{value[:40]!r} is no moment: write RFC 3339 such as 2026-01-05T10:00:00Z, or Unix seconds"
            ) from error
        if moment.tzinfo is None:
            raise ValueError(f"{value!r} lacks a time zone: append Z for UTC")
        seconds = moment.timestamp()
    else:
        seconds = parse_number(value)
    if not 0 <= seconds < LATEST:
        raise ValueError(f"{seconds:g} is no moment: it must lie between the years 1970 and 9999")
    return seconds


def format_instant(seconds: float) -> str:
    """Write Unix seconds as RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_seconds(seconds: float) -> str:
    """Write a duration for people: ``181 ms``, ``1.2 s``, ``5 min``, ``3.5 h``."""
    if seconds < 0.9995:  # beyond, three digits are those of a second
        return f"{seconds * 1000:.3g} ms"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:,.3g} days" if seconds < 86400 * 999 else "years"


def format_ratio(ratio: float) -> str:
    """Write a ratio as a percentage with three digits."""
    return f"{ratio * 100:.3g}%"


def format_psi(value: float) -> str:
    """Write a PSI with three digits; below a thousandth it says nothing more."""
    return "below 0.001" if 0 < value < 0.001 else f"{value:.3g}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Name the nearest of the known words, then all of them: the tail of a message about an unknown one."""
    words = sorted(known) or ["none"]
    close = difflib.get_close_matches(word, words, n=1)
    return (f"did you mean {close[0]!r}? " if close else "") + f"known: {', '.join(words)}"


Number = Annotated[float, BeforeValidator(parse_number)]
Ratio = Annotated[float, BeforeValidator(parse_ratio)]
Seconds = Annotated[float, BeforeValidator(parse_seconds)]
Instant = Annotated[float, BeforeValidator(parse_instant), PlainSerializer(format_instant)]
