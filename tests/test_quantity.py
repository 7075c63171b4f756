"""Quantities as people write them, and what is refused."""

import math
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.quantity import (
    format_instant,
    format_seconds,
    nearest,
    parse_instant,
    parse_number,
    parse_ratio,
    parse_seconds,
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [(3, 3.0), (0.25, 0.25), ("0.25", 0.25), (" 7 ", 7.0), ("-1.5e3", -1500.0), ("+2", 2.0), (".5", 0.5), ("1.", 1.0)],
)
def test_numbers(written: object, expected: float) -> None:
    """Numbers, also as text: Argo passes every argument as text."""
    assert parse_number(written) == expected


NO_NUMBERS = ["abc", "", " ", "1,000", "0x10", "1_000", "nan", "inf", "-Infinity", "1e999", "1e", "--1", "\u0661"]


@pytest.mark.parametrize("parse", [parse_number, parse_ratio, parse_seconds, parse_instant])
@pytest.mark.parametrize(
    "written",
    [*NO_NUMBERS, None, True, [1], {"a": 1}, math.nan, math.inf, -math.inf, 10**400, "9" * 400],
)
def test_what_is_no_finite_number_is_refused(parse: object, written: object) -> None:
    """Words, infinities, NaN, booleans and numbers beyond floats are errors, never values."""
    assert callable(parse)
    with pytest.raises(ValueError, match=r"must be|is no moment"):
        parse(written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [(0.01, 0.01), ("0.01", 0.01), ("1%", 0.01), (" 0.5% ", 0.005), ("-3%", -0.03), ("100%", 1.0), ("150 %", 1.5)],
)
def test_ratios(written: object, expected: float) -> None:
    """A percentage is a hundredth of what it says."""
    assert parse_ratio(written) == pytest.approx(expected)


@pytest.mark.parametrize("written", ["1%%", "%", "a%", "1e999%"])
def test_what_is_no_ratio_is_refused_with_an_example(written: str) -> None:
    """The message says what was given or how to write it."""
    with pytest.raises(ValueError, match="must be"):
        parse_ratio(written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (0.2, 0.2),
        ("0.2", 0.2),
        ("200ms", 0.2),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("2d", 172_800.0),
        ("250us", 2.5e-4),
        ("250µs", 2.5e-4),
        ("10ns", 1e-8),
        (".5s", 0.5),
    ],
)
def test_durations(written: object, expected: float) -> None:
    """Durations as Go and Prometheus write them, and plain seconds."""
    assert parse_seconds(written) == pytest.approx(expected)


@pytest.mark.parametrize("written", ["5 m", "5x", "m", "1h-3m", "5m!", "200MS", "1%", f"{'9' * 400}s"])
def test_what_is_no_duration_is_refused_with_an_example(written: str) -> None:
    """Other units, and durations without end, are errors."""
    with pytest.raises(ValueError, match="must be"):
        parse_seconds(written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-01-05T10:00:00Z", 1767607200.0),
        ("2026-01-05T11:00:00+01:00", 1767607200.0),
        ("2026-01-05T10:00:00.25Z", 1767607200.25),
        (1767607200, 1767607200.0),
        ("1767607200.5", 1767607200.5),
        (0, 0.0),
    ],
)
def test_moments(written: object, expected: float) -> None:
    """RFC 3339, or Unix seconds."""
    assert parse_instant(written) == expected


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("yesterday", "RFC 3339"),
        ("2026-01-05T10:00:00", "time zone"),
        ("2026-13-05T10:00:00Z", "RFC 3339"),
        (1e308, "is no moment"),
        (1e14, "is no moment"),
        (-1, "is no moment"),
        ("0001-01-01T00:00:00Z", "is no moment"),
    ],
)
def test_what_is_no_moment_is_refused(written: object, message: str) -> None:
    """No time zone, no such month, and moments beyond the calendar."""
    with pytest.raises(ValueError, match=message):
        parse_instant(written)


@given(st.floats(0, 2.5e11))
def test_every_moment_that_is_read_can_be_written(seconds: float) -> None:
    """Writing is exact to the second below, and reads back."""
    assert parse_instant(format_instant(parse_instant(seconds))) == pytest.approx(seconds, abs=1)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 ms"),
        (0.0005, "0.5 ms"),
        (0.181, "181 ms"),
        (0.9999, "1 s"),
        (1.25, "1.25 s"),
        (90, "90 s"),
        (300, "5 min"),
        (12_600, "3.5 h"),
        (864_000, "10 days"),
        (86_400 * 999.9, "years"),
    ],
)
def test_durations_are_written_for_people(seconds: float, expected: str) -> None:
    """In the unit that is easiest to read."""
    assert format_seconds(seconds) == expected


@given(st.floats(1e-6, 1e9))
def test_durations_are_never_written_with_exponents(seconds: float) -> None:
    """Three digits always do."""
    assert "e+" not in format_seconds(seconds)


def test_the_nearest_word_is_suggested_before_all_known_ones() -> None:
    """A typing error gets the right word, anything else the list."""
    assert nearest("eror_rate", ["error_rate", "latency"]) == "did you mean 'error_rate'? known: error_rate, latency"
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


@pytest.mark.parametrize("read", [parse_number, parse_ratio, parse_seconds, parse_instant])
@pytest.mark.parametrize("text", ["9" * 300_000, "1s" * 150_000, "1." * 150_000, "9" * 300_000 + "%"])
def test_text_of_any_length_is_refused_at_once(read: Callable[[str], float], text: str) -> None:
    """Within the time that a request may take, and with a message that fits on a screen."""
    began = time.process_time()
    with pytest.raises(ValueError, match=r"must|is no moment") as refused:
        read(text)

    assert time.process_time() - began < 0.5
    assert len(str(refused.value)) < 300
