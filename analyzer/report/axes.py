"""The axes of the plots: time, and the values of a check."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from analyzer.config.policy import Check
from analyzer.model.findings import Kind
from analyzer.report.clock import Clock, shown


def new_plot(width: float, height: float, *, left: float = 0.62, right: float = 0.12, bottom: float = 0.42,
          top: float = 0.1) -> tuple[Figure, Axes]:  # fmt: skip
    """Make a figure of one plot; everything in inches."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    )
    return figure, axes


def lay_time(axes: Axes, clock: Clock, most: int) -> None:
    """Lay the horizontal axis out for the time of a window, with so many marks at most."""
    positions, texts = clock.ticks(most)
    axes.set_xlim(0, max(clock.seconds, 1e-9))
    axes.xaxis.set_major_locator(FixedLocator(positions))
    axes.set_xticklabels(texts)


@dataclass(frozen=True)
class Scale:
    """The axis of a check's values, from the good side to the bad one."""

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def inside(self, value: float) -> float:
        """Move a value that lies outside to the end of the axis."""
        return min(max(value, self.low), self.high)

    def position(self, value: float) -> float:
        """Return where a value of the axis lies: 0 at its low end, 1 at its high one."""
        low, high, at = (math.log(end) if self.log else end for end in (self.low, self.high, value))
        return (at - low) / (high - low)


def scale_of(check: Check, values: Sequence[float]) -> Scale:
    """Choose an axis that shows both limits well, and as much of the values as leaves the limits apart."""
    known = [number for number in values if math.isfinite(number)]
    if check.kind in (Kind.LATENCY, Kind.MEAN_LATENCY) and not check.compares:
        low = min([check.promote / 4, *(number * 0.8 for number in known if number > 0)])
        low = max(low, check.promote / 100)
        high = min(max([check.rollback * 2, *(number * 1.2 for number in known)]), check.rollback * 20)
        wanted = [base * 10.0**power for power in range(-5, 5) for base in (1, 2, 5)]
        return Scale(low, high, log=True, ticks=tuple(tick for tick in wanted if low <= tick <= high))
    if not check.compares:
        high = min(max([check.rollback * 1.6, *(number * 1.1 for number in known)]), check.rollback * 6)
        return Scale(0.0, high, log=False, ticks=round_ticks(0.0, high))
    reach = max(abs(check.promote), abs(check.rollback), 0.005)
    low, high = (min([-2.0 * reach, *known]), max([2.0 * reach, *known]))
    low, high = max(low * 1.05, -6 * reach), min(high * 1.05, 6 * reach)
    return Scale(low, high, log=False, ticks=round_ticks(low, high))


def round_ticks(low: float, high: float, most: int = 7) -> tuple[float, ...]:
    """Choose round values between two ends, so many steps at most."""
    size = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(size * times for times in (1, 2, 2.5, 5, 10) if (high - low) / (size * times) <= most)
    return tuple(round(index * step, 12) for index in range(math.ceil(low / step), math.floor(high / step) + 1))


def lay_scale(axes: Axes, check: Check, scale: Scale, *, horizontal: bool) -> None:
    """Lay one axis of a plot out for the values of a check."""
    axis = axes.xaxis if horizontal else axes.yaxis
    if scale.log:
        (axes.set_xscale if horizontal else axes.set_yscale)("log")
    (axes.set_xlim if horizontal else axes.set_ylim)(scale.low, scale.high)
    axis.set_minor_locator(NullLocator())
    axis.set_major_locator(FixedLocator(list(scale.ticks)))
    axis.set_ticklabels([shown(check, tick) for tick in scale.ticks])
