"""Damage to the answers of a source: more than a hundred kinds, each seen by a reader, or harmless.

What no reader can tell from the truth is no damage here: an error series that is left out, counts that are all doubled.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

Envelope = dict[str, Any]
Damage = Callable[[Envelope, random.Random], tuple[int, bytes]]
"""From the true answer to a status and a body."""

DEEP = "[" * 100_000
VALUES = (
    "",
    "abc",
    "NaN",
    "+Inf",
    "-Inf",
    "-5",
    "1e300",
    "1e999",
    "0x10",
    "1,5",
    "null",
    "--5",
    "5 5",
    "\u0000",
    "5" * 5000,
)
NO_TEXT: tuple[Any, ...] = (5, 5.5, None, True, [], {}, ["5"], {"value": "5"})
NO_TIMES: tuple[Any, ...] = ("x", "NaN", None, [], {}, "", "1e999", "--5")
ODD_TIMES = (-1, 0, 1e300, 1e18, 4_000_000_000)
NO_LISTS: tuple[Any, ...] = (None, "x", 5, {}, True)
PARTS = {
    "half": slice(1, None, 2),
    "the first quarter": slice(0, 30),
    "the last quarter": slice(-30, None),
    "one": slice(5, 6),
}
STATUSES = (201, 203, 206, 300, 302, 307, 400, 401, 403, 404, 408, 418, 422, 429, 500, 502, 503, 504, 511)


def _whole(change: Callable[[Envelope], object]) -> Damage:
    """Change the envelope; what the change returns, if anything, takes its place."""

    def damage(envelope: Envelope, _: random.Random) -> tuple[int, bytes]:
        changed = copy.deepcopy(envelope)
        result = change(changed)
        return 200, json.dumps(changed if result is None else result).encode()

    return damage


def _put(value: object, *path: str) -> Damage:
    """Put a value into a place of the envelope."""

    def change(envelope: Envelope) -> None:
        *before, last = path
        place: Any = envelope
        for key in before:
            place = place[key]
        place[last] = value

    return _whole(change)


def _left_out(*path: str) -> Damage:
    def change(envelope: Envelope) -> None:
        *before, last = path
        place: Any = envelope
        for key in before:
            place = place[key]
        del place[last]

    return _whole(change)


def _series(change: Callable[[Envelope, random.Random], object]) -> Damage:
    """Change a series of the result, if it has any; where something is returned, it takes the place of the series."""

    def damage(envelope: Envelope, draw: random.Random) -> tuple[int, bytes]:
        changed = copy.deepcopy(envelope)
        result = changed["data"]["result"]
        if result:
            number = draw.randrange(len(result))
            other = change(result[number], draw)
            result[number] = result[number] if other is None else other
        return 200, json.dumps(changed).encode()

    return damage


def _samples(change: Callable[[list[list[Any]], random.Random], object]) -> Damage:
    """Change the samples of a series, in place or by what is returned."""

    def of(series: Envelope, draw: random.Random) -> None:
        key = "values" if "values" in series else "value"
        samples = series[key] if key == "values" else [series[key]]
        other = change(samples, draw)
        if other is not None:
            samples = other  # type: ignore[assignment]
        series[key] = samples if key == "values" or not isinstance(samples, list) or not samples else samples[0]

    return _series(of)


def _sample(place: int, value: object) -> Damage:
    """Put a value into the time (0) or the value (1) of a sample."""

    def change(samples: list[list[Any]], draw: random.Random) -> None:
        draw.choice(samples)[place] = value

    return _samples(change)


def _text(change: Callable[[bytes, random.Random], bytes]) -> Damage:
    """Change the bytes of the answer."""
    return lambda envelope, draw: (200, change(json.dumps(envelope).encode(), draw))


def _with_status(status: int, body: bytes | None = None) -> Damage:
    """Answer with a status, and with the true body or another one."""
    return lambda envelope, _: (status, json.dumps(envelope).encode() if body is None else body)


def _thinned(envelope: Envelope, part: slice) -> None:
    """Leave out some of the times."""
    result = envelope["data"]["result"]
    times = sorted({sample[0] for series in result for sample in series.get("values", [])})[part]
    for series in result:
        if "values" in series:
            series["values"] = [sample for sample in series["values"] if sample[0] in times]
    envelope["data"]["result"] = [series for series in result if series.get("values", True)]


def _shuffled(samples: list[list[Any]], draw: random.Random) -> None:
    draw.shuffle(samples)


def _flipped(body: bytes, draw: random.Random) -> bytes:
    """Replace a byte of the structure: one within a number could make another true number."""
    places = [number for number, byte in enumerate(body) if byte in b'{}[]:"']
    number = draw.choice(places)
    return body[:number] + bytes([draw.randrange(32)]) + body[number + 1 :]


def _answers() -> Iterator[tuple[str, Damage]]:
    for status in STATUSES:
        yield f"status {status} with the answer", _with_status(status)
    for status in (200, 204, 400, 403, 429, 500, 503):
        yield f"status {status} with nothing", _with_status(status, b"")
        yield f"status {status} with a page", _with_status(status, b"<html>Log in</html>")
    error = json.dumps({"status": "error", "errorType": "timeout", "error": "too long"}).encode()
    for status in (200, 400, 422, 503):
        yield f"status {status} with an error", _with_status(status, error)
    for body in (
        b"null",
        b"5",
        b'"x"',
        b"[]",
        b"{}",
        b"{" * 5000,
        DEEP.encode(),
        b"NaN",
        b"\x00",
        b"\xff\xfe{",
        b"\x1f\x8b\x08",
    ):
        yield f"{body[:8]!r} instead of the answer", _with_status(200, body)


def _texts() -> Iterator[tuple[str, Damage]]:
    for part in (0.01, 0.5, 0.9, 0.999):
        yield f"cut after {part:.1%}", _text(lambda body, _, part=part: body[: int(len(body) * part)])  # type: ignore[misc]
    yield "cut by a byte", _text(lambda body, _: body[:-1])
    yield "cut anywhere", _text(lambda body, draw: body[: draw.randrange(len(body))])
    yield "twice", _text(lambda body, _: body + body)
    yield "more after it", _text(lambda body, _: body + b"}")
    yield "a byte order mark", _text(lambda body, _: b"\xef\xbb\xbf" + body)
    yield "UTF-16", _text(lambda body, _: body.decode().encode("utf-16"))
    yield "a byte of its structure", _text(_flipped)
    yield (
        "bytes that are no UTF-8",
        _text(lambda body, _: body.replace(b'"metric"', b'"\xffmetric"').replace(b"success", b"\xff")),
    )


def _envelopes() -> Iterator[tuple[str, Damage]]:
    value: Any
    for value in ("error", "", None, 5, [], "Success"):
        yield f"status: {value!r}", _put(value, "status")
    for value in (None, [], "x", 5, {}):
        yield f"data: {value!r}", _put(value, "data")
    for value in ("scalar", "string", "streams", "", None, 5, []):
        yield f"resultType: {value!r}", _put(value, "data", "resultType")
    for value in (*NO_LISTS, [None], [5], ["x"], [[]], [{}], [{"metric": {}}]):
        yield f"result: {value!r}", _put(value, "data", "result")
    for path in (("status",), ("data",), ("data", "resultType"), ("data", "result")):
        yield f"without {'.'.join(path)}", _left_out(*path)
    for value in (["a store is away"], [5], {"a": 1}, "a store is away", 5, True):
        yield f"warnings: {value!r}", _put(value, "warnings")
    yield "isPartial", _put(True, "isPartial")
    yield (
        "fields that nobody knows",
        _whole(lambda envelope: {**envelope, "stats": {"a": [1]}, "infos": ["PromQL info: x"]}),
    )


def _labels_and_samples() -> Iterator[tuple[str, Damage]]:
    value: Any
    for value in (*NO_LISTS, [], {"a": 5}, {"a": None}, {"a": ["b"]}):
        if value != {}:
            yield f"metric: {value!r}", _series(lambda series, _, value=value: series.update(metric=value))  # type: ignore[misc]
    yield "without metric", _series(lambda series, _: series.pop("metric") and None)
    for value in NO_LISTS:
        yield f"samples: {value!r}", _samples(lambda _, __, value=value: value if value is not None else "null")  # type: ignore[misc]
    for value in NO_TEXT:
        yield f"a value {value!r}", _sample(1, value)
    for value in VALUES:
        yield f"a value {value[:8]!r}", _sample(1, value)
    for value in (*NO_TIMES, *ODD_TIMES):
        yield f"a time {value!r}", _sample(0, value)
    yield "a sample without value", _samples(lambda samples, draw: draw.choice(samples).pop() and None)
    yield "a sample of three", _samples(lambda samples, draw: draw.choice(samples).append("5"))
    yield "a sample that is null", _samples(lambda samples, _: [*samples[:-1], None])
    yield "samples in no order", _samples(_shuffled)
    yield "samples backwards", _samples(lambda samples, _: samples.reverse())
    yield "a sample twice", _samples(lambda samples, draw: samples.append(list(draw.choice(samples))))
    yield "no samples", _samples(lambda samples, _: samples[:0] or samples)


def _whole_answers() -> Iterator[tuple[str, Damage]]:
    for (
        name,
        part,
    ) in PARTS.items():  # of all series alike: that of one is a pod that was not scraped, for all one knows
        yield f"{name} of the samples", _whole(lambda envelope, part=part: _thinned(envelope, part))  # type: ignore[misc]
    yield (
        "one series twice",
        _whole(lambda envelope: envelope["data"]["result"].extend(copy.deepcopy(envelope["data"]["result"][:1]))),
    )
    yield (
        "all series twice",
        _whole(lambda envelope: envelope["data"]["result"].extend(copy.deepcopy(envelope["data"]["result"]))),
    )
    yield "series in another order", _whole(lambda envelope: envelope["data"]["result"].reverse())
    yield "no series", _whole(lambda envelope: envelope["data"].update(result=[]))
    yield (
        "a native histogram for all",
        _series(lambda series, _: series.update(histogram=[1, {"count": "x"}], histograms=[[1, {}]])),
    )


KINDS: dict[str, Damage] = dict(chain(_answers(), _texts(), _envelopes(), _labels_and_samples(), _whole_answers()))
