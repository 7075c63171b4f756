"""What was counted, as a table of plain numbers for people who want to check a verdict by hand."""

import numpy as np

from analyzer.checks.decision import format_count
from analyzer.model.counts import Classes, Conversions, Counts, Errors, Floats, Histogram, MeanOnly, Reading, Values

MOST_ROWS = 60
Row = tuple[str, str, str]


def table(reading: Reading[Counts]) -> tuple[Row, ...]:
    """Return the totals of both arms: name, canary, baseline; of samples, which have no bins, their number only."""
    arms = reading.canary, reading.baseline
    known = next((arm for arm in arms if arm is not None), None)
    match known:
        case Errors():
            names = {"requests": "requests", "failed requests": "errors"}
        case Conversions():
            names = {"trials": "trials", "conversions": "successes"}
        case Values() | MeanOnly():
            names = {"number of values": "count", "sum of values": "total"}
        case Histogram() | Classes():
            return _binned(arms)
        case None:
            return ()
    return tuple((text, _total(arms[0], field), _total(arms[1], field)) for text, field in names.items())


def _total(arm: Counts | None, field: str) -> str:
    if arm is None:
        return "no series"
    total = float(getattr(arm, field).sum())
    return f"{total:,.6g}" if field == "total" else format_count(total)


def _binned(arms: tuple[Counts | None, Counts | None]) -> tuple[Row, ...]:
    canary, baseline = _bins(arms[0]), _bins(arms[1])
    labels = list(dict.fromkeys([*(canary or {}), *(baseline or {})]))
    rows = [(label, _cell(canary, label), _cell(baseline, label)) for label in labels]
    whole = ("all", _all(canary), _all(baseline))
    return (whole,) if len(rows) > MOST_ROWS else (*rows, whole)


def _all(column: dict[str, float] | None) -> str:
    return "no series" if column is None else format_count(sum(column.values()))


def _bins(arm: Counts | None) -> dict[str, float] | None:
    match arm:
        case Histogram(edges, counts):
            return dict(zip(_names(edges), counts.sum(axis=0).tolist(), strict=True))
        case Classes(names, counts):
            return dict(zip(names, counts.sum(axis=0).tolist(), strict=True))
        case _:
            return None


def _names(edges: Floats) -> list[str]:
    return [f"up to {edge:.4g}" if np.isfinite(edge) else "more" for edge in edges]


def _cell(column: dict[str, float] | None, label: str) -> str:
    return "" if column is None else format_count(column.get(label, 0.0))
