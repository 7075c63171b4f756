"""Native histograms, and numbers, for Prometheus by remote write: the few messages of its protocol, by hand."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import requests


@dataclass(frozen=True)
class Sample:
    """A number or a native histogram of a series at a moment.

    Attributes
    ----------
    labels : of the series, with ``__name__``
    moment : Unix seconds
    value : the number, or the observations in the buckets from (1/2, 1] on, each 2**(2**-schema) times as wide as the
        one before
    schema : resolution
    zeros : observations in the zero bucket
    """

    labels: Mapping[str, str]
    moment: float
    value: float | Sequence[int]
    schema: int = 0
    zeros: int = 0


def write_histograms(
    url: str, labels: Mapping[str, str], moment: float, counts: Sequence[int], *, schema: int = 0, zeros: int = 0
) -> None:
    """Send one native histogram."""
    write(url, [Sample(labels, moment, counts, schema, zeros)])


def write(url: str, samples: Iterable[Sample]) -> None:
    """Send samples in one request; those of later requests may not be much older."""
    body = b"".join(_message(1, _series(sample)) for sample in samples)
    headers = {
        "Content-Type": "application/x-protobuf",
        "Content-Encoding": "snappy",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(f"{url}/api/v1/write", data=_snappy(body), headers=headers, timeout=10)
    assert answer.status_code == 204, answer.text


def _series(sample: Sample) -> bytes:
    labels = b"".join(
        _message(1, _message(1, name.encode()) + _message(2, value.encode()))
        for name, value in sorted(sample.labels.items())
    )
    moment = round(sample.moment * 1000)
    if isinstance(sample.value, float):
        return labels + _message(2, _double(1, sample.value) + _number(2, moment))
    counts = sample.value
    deltas = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    histogram = (
        _number(1, sum(counts) + sample.zeros)
        + _double(3, float(sum(counts)))
        + _number(4, _zigzag(sample.schema))
        + _double(5, 1e-9)
        + _number(6, sample.zeros)
        + _message(11, _number(1, _zigzag(0)) + _number(2, len(counts)))
        + _message(12, b"".join(_varint(_zigzag(delta)) for delta in deltas))
        + _number(15, moment)
    )
    return labels + _message(4, histogram)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _zigzag(value: int) -> int:
    return value * 2 if value >= 0 else -value * 2 - 1


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _message(field: int, body: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _snappy(body: bytes) -> bytes:
    """Pack without compressing: literals of at most 60 bytes."""
    parts = [body[place : place + 60] for place in range(0, len(body), 60)]
    return _varint(len(body)) + b"".join(bytes([(len(part) - 1) << 2]) + part for part in parts)
