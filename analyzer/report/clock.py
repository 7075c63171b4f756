"""Times and values as the report writes them; needs no matplotlib."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from analyzer.config.policy import Check
from analyzer.model.findings import Kind
from analyzer.quantity import format_psi, format_seconds

_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400,
          172800, 604800)  # fmt: skip
_ROOM_FOR_TICKS = 0.98  # of an axis: beyond, a label would be cut


@dataclass(frozen=True)
class Clock:
    """The time axis of a window.

    Attributes
    ----------
    start : Unix seconds; None: not known, times count from the start
    seconds : how long the window is
    """

    start: float | None
    seconds: float

    def ticks(self, most: int) -> tuple[list[float], list[str]]:
        """Return round moments, as seconds since the start, and their labels."""
        step = next((step for step in _STEPS if self.seconds / step <= most), _STEPS[-1])
        step *= max(1, math.ceil(self.seconds / step / most))
        start = self.start or 0.0
        first = math.ceil(start / step - 1e-9) * step - start
        ticks = np.arange(first, self.seconds * _ROOM_FOR_TICKS, step).tolist()
        return ticks, [self.text(tick, step) for tick in ticks]

    def text(self, seconds: float, step: float = 1.0) -> str:
        """Return a moment of the window as finely as steps of that many seconds need."""
        if self.start is None:
            return format_seconds(seconds) if seconds else "0"
        moment = datetime.fromtimestamp(round(self.start + seconds, 3), UTC)
        if step < 1:
            return f"{moment:%H:%M:%S}.{moment.microsecond // 100_000}"
        return moment.strftime("%d %b" if step >= 86400 else "%H:%M" if step >= 60 else "%H:%M:%S")

    @property
    def name(self) -> str:
        """What the axis shows."""
        return "time (UTC)" if self.start is not None else "time since the start"


def shown(check: Check, value: float) -> str:
    """Return a value of a check with three digits, without the name of its unit where that is a word."""
    if check.kind is Kind.DRIFT:
        return format_psi(value)
    return check.shown(float(f"{value:.3g}"))
