"""Statistics given in the request itself, in every form of the contract, checked before they are believed."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from analyzer.config.policy import Check
from analyzer.errors import Problem, RequestError
from analyzer.model.counts import (
    Classes,
    Conversions,
    Counts,
    Errors,
    Floats,
    Histogram,
    MeanOnly,
    Reading,
    Readings,
    Values,
    Window,
)
from analyzer.model.findings import Code, Gap, Kind
from analyzer.quantity import nearest, parse_number

LEAST = 1e-9  # smaller ones are what is left of rounding
MOST = 1e15  # counts beyond are no counts: sums of squares and differences would lose their digits

FIELDS = ("canary", "baseline", "slice_seconds", "baseline_history")

FORMS: dict[Kind, tuple[frozenset[str], ...]] = {
    Kind.ERROR_RATE: (frozenset({"errors", "requests"}),),
    Kind.LATENCY: (frozenset({"buckets"}), frozenset({"samples"})),
    Kind.MEAN_LATENCY: (frozenset({"sum", "count"}),),
    Kind.DRIFT: (frozenset({"buckets"}), frozenset({"classes"}), frozenset({"samples"})),
    Kind.BUSINESS: (
        frozenset({"successes", "trials"}),
        frozenset({"sum", "sum_of_squares", "count"}),
        frozenset({"samples"}),
    ),
}


def read(data: Mapping[str, Any], checks: Mapping[str, Check], window: Window) -> Readings:
    """Read the statistics of a request for the checks asked for.

    Raises
    ------
    RequestError : naming every field that is wrong
    """
    problems: list[Problem] = []
    readings: dict[str, Reading[Counts] | Gap] = {
        name: Gap(Code.METRIC_MISSING, f"the request has no data.{name}") for name in checks
    }
    for name, arms in data.items():
        where = f"data.{name}"
        if name not in checks:
            problems.append(Problem(where, f"no check of this name was asked for; {nearest(name, checks)}"))
            continue
        try:
            readings[name] = _reading(arms, checks[name].kind, where, window.start)
        except RequestError as error:
            problems += error.problems
    if problems:
        raise RequestError(problems)
    return Readings(window=window, by_check=readings)


def _reading(arms: object, kind: Kind, where: str, begin: float | None) -> Reading[Counts]:
    sides = _mapping(arms, where)
    if unknown := [key for key in sides if key not in FIELDS]:
        raise _wrong(f"{where}.{unknown[0]}", f"unknown field; {nearest(unknown[0], FIELDS)}")
    if "canary" not in sides:
        raise _wrong(f"{where}.canary", "is required")
    slices = {arm: _slices(sides[arm], f"{where}.{arm}") for arm in ("canary", "baseline") if arm in sides}
    if len({len(parts) for parts in slices.values()}) > 1:
        raise _wrong(where, "canary and baseline need equally many time slices")
    seconds = None
    if "slice_seconds" in sides:
        seconds = _number(sides["slice_seconds"], f"{where}.slice_seconds")
        if seconds <= 0:
            raise _wrong(f"{where}.slice_seconds", f"must be above 0, got {seconds:g}")
    if "baseline_history" in sides:
        slices["baseline_history"] = _slices(sides["baseline_history"], f"{where}.baseline_history")
    counts = {arm: _counts(parts, kind, f"{where}.{arm}") for arm, parts in slices.items()}
    if len({(type(each), getattr(each, "exact", None)) for each in counts.values()}) > 1:
        raise _wrong(where, f"{', '.join(counts)} need statistics of the same form")
    return Reading(
        canary=counts["canary"],
        baseline=counts.get("baseline"),
        slice_seconds=seconds,
        begin=begin,
        history=counts.get("baseline_history"),
        history_seconds=seconds,
    )


def _slices(side: object, where: str) -> list[tuple[str, Mapping[str, Any]]]:
    """List the time slices of one arm with their paths; a single object is one slice."""
    if not isinstance(side, list):
        return [(where, _mapping(side, where))]
    if not side:
        raise _wrong(where, "is an empty list: give one object, or one a time slice")
    return [(f"{where}[{number}]", _mapping(part, f"{where}[{number}]")) for number, part in enumerate(side)]


def _counts(parts: list[tuple[str, Mapping[str, Any]]], kind: Kind, where: str) -> Counts:
    forms = {_form(part, kind, path) for path, part in parts}
    if len(forms) > 1:
        raise _wrong(where, "all time slices need statistics of the same form")
    return _READERS[forms.pop()](parts, kind)


def _form(part: Mapping[str, Any], kind: Kind, path: str) -> frozenset[str]:
    keys = frozenset(part)
    if keys not in FORMS[kind]:
        forms = " or ".join("{" + ", ".join(sorted(form)) + "}" for form in FORMS[kind])
        raise _wrong(path, f"must have exactly the fields {forms} for {kind}, got {sorted(map(str, keys))}")
    return keys


Parts = list[tuple[str, Mapping[str, Any]]]


def _errors(parts: Parts, kind: Kind) -> Counts:  # noqa: ARG001 - one signature for all readers
    errors, requests = _part_of(parts, "errors", "requests")
    return Errors(errors=errors, requests=requests)


def _conversions(parts: Parts, kind: Kind) -> Counts:  # noqa: ARG001
    successes, trials = _part_of(parts, "successes", "trials")
    return Conversions(successes=successes, trials=trials)


def _part_of(parts: Parts, part: str, whole: str) -> tuple[Floats, Floats]:
    for path, row in parts:
        if _number(row[part], f"{path}.{part}") > _number(row[whole], f"{path}.{whole}"):
            raise _wrong(f"{path}.{part}", f"must not be more than {whole}: {row[part]} of {row[whole]}")
    return _column(parts, part), _column(parts, whole)


def _sums(parts: Parts, kind: Kind) -> Counts:  # noqa: ARG001
    for path, row in parts:
        total, squares = _number(row["sum"], f"{path}.sum"), _number(row["sum_of_squares"], f"{path}.sum_of_squares")
        count = _count(row["count"], f"{path}.count")
        if squares < 0 or squares * count < total**2 * (1 - 1e-9):
            raise _wrong(f"{path}.sum_of_squares", "is less than sum squared over count, which no values can give")
    totals = np.array([_number(row["sum"], path) for path, row in parts])
    return Values(total=totals, squares=_column(parts, "sum_of_squares"), count=_column(parts, "count"))


def _totals(parts: Parts, kind: Kind) -> Counts:  # noqa: ARG001
    total, count = _column(parts, "sum"), _column(parts, "count")
    for (path, _), seconds, requests in zip(parts, total, count, strict=True):
        if seconds > 0 and requests == 0:
            raise _wrong(f"{path}.sum", f"must be 0 where count is, got {seconds:g}")
    return MeanOnly(total=total, count=count)


def _buckets(parts: Parts, kind: Kind) -> Counts:  # noqa: ARG001
    rows = [_cumulative(row["buckets"], f"{path}.buckets") for path, row in parts]
    if any(edges != rows[0][0] for edges, _ in rows):
        raise _wrong(parts[0][0].split("[")[0], "all time slices need the same buckets")
    counts = np.diff(np.array([counts for _, counts in rows]), axis=1, prepend=0.0)
    return Histogram(edges=np.array(rows[0][0]), counts=counts)


def _cumulative(buckets: object, path: str) -> tuple[list[float], list[float]]:
    pairs = []
    for le, count in _mapping(buckets, path).items():
        edge = np.inf if str(le).strip().lower() in ("+inf", "inf") else _number(le, f"{path}.{le}")
        pairs.append((float(edge), _count(count, f"{path}.{le}")))
    pairs.sort()
    if not pairs or pairs[-1][0] != np.inf:
        raise _wrong(path, 'needs the bucket "+Inf", that is the number of all observations')
    if len(pairs) < 2:
        raise _wrong(path, 'needs at least one bucket beside "+Inf"')
    for (low, fewer), (high, more) in pairwise(pairs):
        if low == high:
            raise _wrong(path, f"has the bucket {low:g} twice")
        if more < fewer:
            raise _wrong(f"{path}.{high:g}", f"cumulative counts must not decrease: {more:g} after {fewer:g}")
    return [edge for edge, _ in pairs], [count for _, count in pairs]


def _classes(parts: Parts, kind: Kind) -> Counts:  # noqa: ARG001
    named = [(f"{path}.classes", _mapping(row["classes"], f"{path}.classes")) for path, row in parts]
    names = sorted({str(name) for _, classes in named for name in classes})
    counts = [[_count(classes.get(name, 0), f"{path}.{name}") for name in names] for path, classes in named]
    return Classes(names=tuple(names), counts=np.array(counts).reshape(len(named), len(names)))


def _samples(parts: Parts, kind: Kind) -> Counts:
    rows = []
    for path, part in parts:
        if not isinstance(part["samples"], list):
            raise _wrong(f"{path}.samples", "must be a list of numbers")
        rows.append(np.array([_number(x, f"{path}.samples[{i}]") for i, x in enumerate(part["samples"])], float))
    if kind is Kind.BUSINESS:
        return Values(
            total=np.array([row.sum() for row in rows]),
            squares=np.array([(row**2).sum() for row in rows]),
            count=np.array([float(len(row)) for row in rows]),
        )
    for (path, _), row in zip(parts, rows, strict=True):
        if kind is Kind.LATENCY and (row < 0).any():
            raise _wrong(f"{path}.samples", f"must not be negative, got {row.min():g}")
    edges = np.unique(np.concatenate([*rows, [np.inf]]))
    counts = np.array([np.bincount(np.searchsorted(edges, row), minlength=len(edges)) for row in rows], float)
    return Histogram(edges=edges, counts=counts, exact=True)


_READERS: dict[frozenset[str], Callable[[Parts, Kind], Counts]] = {
    frozenset({"errors", "requests"}): _errors,
    frozenset({"successes", "trials"}): _conversions,
    frozenset({"sum", "sum_of_squares", "count"}): _sums,
    frozenset({"sum", "count"}): _totals,
    frozenset({"buckets"}): _buckets,
    frozenset({"classes"}): _classes,
    frozenset({"samples"}): _samples,
}


def _column(parts: Parts, key: str) -> Floats:
    return np.array([_count(row[key], f"{path}.{key}") for path, row in parts])


def _mapping(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(path, f"must be an object, got {type(value).__name__}")
    return value


def _number(value: object, path: str) -> float:
    if type(value) is float and -MOST <= value <= MOST:  # most are, and there may be thousands
        return value
    try:
        number = parse_number(value)
    except ValueError as error:
        raise _wrong(path, str(error)) from error
    if abs(number) > MOST:
        raise _wrong(path, f"must be at most {MOST:g}, got {number:g}")
    return number


def _count(value: object, path: str) -> float:
    number = _number(value, path)
    if number < 0:
        raise _wrong(path, f"must not be negative, got {number:g}")
    return number if number >= LEAST else 0.0


def _wrong(path: str, message: str) -> RequestError:
    return RequestError([Problem(path, message)])
