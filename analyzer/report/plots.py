"""The plots of a report, each one figure: drawn from plain values, in the colours of `svg.Colour`.

Everything is labelled directly and told apart by form as well as by colour, for those who see no colours, and in print.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from analyzer.checks.drift import Bins
from analyzer.config.policy import Check
from analyzer.model.counts import Floats, Histogram
from analyzer.model.findings import Estimate, Finding, Kind, Outcome
from analyzer.quantity import format_ratio
from analyzer.report.axes import Scale, lay_scale, lay_time, new_plot, round_ticks, scale_of
from analyzer.report.clock import Clock, shown
from analyzer.report.svg import SMALL, Colour, printable
from analyzer.report.track import CheckTrack
from analyzer.verdict.case import decided_at

HALF, WHOLE = 4.9, 10.0  # inches
_MOST_EVIDENCE = 1.6  # where the axis ends: beyond 1 it is decided, and how far beyond says little
_SHADES = {Outcome.PASS: (Colour.PASS, 0.75), Outcome.FAIL: (Colour.FAIL, 0.8), Outcome.INCONCLUSIVE: (Colour.LINE, 1)}
_ROOM_FOR_TEXT = 0.93  # of an axis: beyond, a value has no room to its right
_MOST_LABELS = 12  # of bins


# One check: its limits


def limits(check: Check, finding: Finding) -> Figure:
    """Draw the canary's value with its interval, the baseline's and both limits on one axis."""
    figure, axes = new_plot(WHOLE, 1.5, left=0.9, bottom=0.3, top=0.42)
    draw_limits(axes, check, finding)
    return figure


def draw_limits(axes: Axes, check: Check, finding: Finding) -> None:
    """Draw it into a plot that is there."""
    judged = finding.delta or finding.canary
    arms = [("change" if finding.delta else "canary", judged, Colour.CANARY, "D")]
    if finding.delta is None and finding.baseline.value is not None:
        arms.append(("baseline", finding.baseline, Colour.BASELINE, "o"))
    numbers = [number for _, arm, *_ in arms for number in (arm.value, arm.low, arm.high) if number is not None]
    scale = scale_of(check, numbers)
    lay_scale(axes, check, scale, horizontal=True)
    worse_above = check.kind is not Kind.BUSINESS
    good = (scale.low, check.promote) if worse_above else (check.promote, scale.high)
    bad = (check.rollback, scale.high) if worse_above else (scale.low, check.rollback)
    axes.axvspan(*good, color=Colour.PASS, alpha=0.12, lw=0)
    axes.axvspan(*bad, color=Colour.FAIL, alpha=0.12, lw=0)
    same = check.promote == check.rollback
    for limit, name, colour, outwards in (
        (check.promote, "promote", Colour.PASS, not worse_above),
        (check.rollback, "roll back", Colour.FAIL, worse_above),
    ):
        axes.axvline(limit, color=colour, lw=1.5, ls="-" if name == "promote" else "--")
        sign = "<" if worse_above == (name == "promote") else ">"
        text = f"{name} {sign} {shown(check, limit)}"
        axes.annotate(
            f"{text} " if not outwards else f" {text}", (limit, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3),
            textcoords="offset points", ha="left" if outwards else "right", va="bottom", color=colour,
            fontsize=SMALL + 1,
        )  # fmt: skip
        if same:
            break
    rows = range(len(arms))[::-1]
    for row, (_, arm, colour, marker) in zip(rows, arms, strict=True):
        _interval(axes, scale, arm, row, colour, marker, lambda value: shown(check, value))
    axes.set_ylim(-0.6, len(arms) - 0.4)
    axes.yaxis.set_major_locator(FixedLocator(list(rows)))
    axes.set_yticklabels([name for name, *_ in arms])
    for label, (_, _, colour, _) in zip(axes.get_yticklabels(), arms, strict=True):
        label.set_color(colour)
        label.set_fontsize(SMALL + 1)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _interval(
    axes: Axes, scale: Scale, arm: Estimate, row: float, colour: Colour, marker: str, show: Callable[[float], str]
) -> None:
    """Draw one arm: a bar from low to high, open where it leaves the axis, and the value beside it."""
    if arm.value is None:
        axes.text(0.5, row, "no value yet", transform=axes.get_yaxis_transform(), ha="center", va="center",
                  color=Colour.MUTED, fontsize=SMALL + 1)  # fmt: skip
        return
    value = scale.inside(arm.value)
    low, high = value, value
    if arm.low is not None or arm.high is not None:
        low = -math.inf if arm.low is None else arm.low
        high = math.inf if arm.high is None else arm.high
        axes.plot([scale.inside(low), scale.inside(high)], [row, row], color=colour, lw=5, alpha=0.45,
                  solid_capstyle="butt")  # fmt: skip
        for end, beyond, sign in ((scale.low, low < scale.low, "<"), (scale.high, high > scale.high, ">")):
            if beyond:
                axes.plot([end], [row], marker=sign, color=colour, ms=6, clip_on=False)
    axes.plot([value], [row], marker=marker if value == arm.value else ">", color=colour, ms=7, clip_on=False,
              markeredgecolor=Colour.SURFACE, markeredgewidth=1)  # fmt: skip
    ends = scale.inside(low), max(scale.inside(high), value)
    beside = scale.position(ends[1]) < _ROOM_FOR_TEXT
    axes.annotate(
        show(arm.value), (ends[1] if beside else value, row), textcoords="offset points",
        xytext=(9, 0) if beside else (0, 5), ha="left" if beside else "center",
        va="center_baseline" if beside else "bottom", color=colour, fontsize=SMALL + 1, fontweight="bold",
    )  # fmt: skip


# One check over time


def evidence(track: CheckTrack, clock: Clock) -> Figure:
    """Draw how the evidence came to what decides: 1."""
    figure, axes = new_plot(HALF, 2.4, left=0.5, bottom=0.3, top=0.32)
    highest = float(np.nanmax(np.concatenate([track.towards_pass, track.towards_fail, [0.0]])))
    top = min(max(1.15, highest * 1.05), _MOST_EVIDENCE)
    for numbers, name, colour, form in (
        (track.towards_pass, "pass", Colour.PASS, "-"),
        (track.towards_fail, "fail", Colour.FAIL, "--"),
    ):
        axes.plot(track.seconds, np.minimum(numbers, top), color=colour, lw=2, ls=form, drawstyle="steps-post",
                  label=f"towards {name}")  # fmt: skip
    axes.axhline(1.0, color=Colour.INK, lw=1)
    index = decided_at(track.outcomes)
    early = index is not None and track.seconds[index] < clock.seconds / 4  # else nothing is as high at the left
    axes.annotate("decides", (1.0 if early else 0.0, 1.0), xycoords=("axes fraction", "data"),
                  xytext=(0 if early else 3, 2), textcoords="offset points", ha="right" if early else "left",
                  color=Colour.INK, fontsize=SMALL)  # fmt: skip
    if index is not None:
        _mark(axes, track, index, clock)
    lay_time(axes, clock, 6)
    axes.set_ylim(0, top)
    axes.yaxis.set_major_locator(FixedLocator([0, 0.5, 1.0]))
    axes.set_yticklabels(["0", "0.5", "1"])
    _legend(axes)
    return figure


def _mark(axes: Axes, track: CheckTrack, index: int, clock: Clock) -> None:
    """Mark the moment at which a check was decided."""
    at, outcome = float(track.seconds[index]), track.outcomes[index]
    colour = Colour.PASS if outcome is Outcome.PASS else Colour.FAIL
    axes.axvline(at, color=colour, lw=1, ls=":")
    axes.plot([at], [1.0], marker="o", ms=7, color=colour, markeredgecolor=Colour.SURFACE)
    late = at > clock.seconds * 0.6
    axes.annotate(
        f"{outcome.value} at {clock.text(at)}", (at, 0.06), xycoords=("data", "axes fraction"),
        xytext=(-4 if late else 4, 0), textcoords="offset points", ha="right" if late else "left", va="bottom",
        color=colour, fontsize=SMALL + 1, fontweight="bold",
    )  # fmt: skip


def _legend(axes: Axes) -> None:
    """Name the lines above the plot, where none of them is."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.01), ncols=3, borderaxespad=0.0, borderpad=0.2, frameon=False,
        fontsize=SMALL, labelcolor=Colour.INK, handlelength=2.4, columnspacing=1.4,
    )  # fmt: skip


def course(check: Check, track: CheckTrack, clock: Clock) -> Figure:
    """Draw the value with its interval, over the measurements, against both limits."""
    figure, axes = new_plot(HALF, 2.4, left=0.66, bottom=0.3, top=0.32)
    numbers = [track.value[-1], track.low[-1], track.high[-1], *track.value.tolist(), *track.baseline[-1:].tolist()]
    scale = scale_of(check, numbers)
    lay_scale(axes, check, scale, horizontal=False)
    low = np.clip(np.nan_to_num(track.low, nan=-np.inf), scale.low, scale.high)
    high = np.clip(np.nan_to_num(track.high, nan=np.inf), scale.low, scale.high)
    known = ~np.isnan(track.value)
    axes.fill_between(track.seconds, np.where(known, low, np.nan), np.where(known, high, np.nan), color=Colour.CANARY,
                      alpha=0.22, lw=0, step="post")  # fmt: skip
    name = "change" if check.compares else "canary"
    axes.plot(track.seconds, np.clip(track.value, scale.low, scale.high), color=Colour.CANARY, lw=2, label=name,
              drawstyle="steps-post")  # fmt: skip
    if np.isfinite(track.baseline).any():
        axes.plot(track.seconds, np.clip(track.baseline, scale.low, scale.high), color=Colour.BASELINE, lw=1.5, ls="-.",
                  label="baseline", drawstyle="steps-post")  # fmt: skip
    worse_above = check.kind is not Kind.BUSINESS
    for limit, text, colour, form in (
        (check.promote, "promote", Colour.PASS, "-"),
        (check.rollback, "roll back", Colour.FAIL, "--"),
    ):
        axes.axhline(limit, color=colour, lw=1.2, ls=form)
        over = worse_above == (text == "roll back")
        axes.annotate(text, (1.0, limit), xycoords=("axes fraction", "data"), xytext=(-2, 2 if over else -2),
                      textcoords="offset points", ha="right", va="bottom" if over else "top", color=colour,
                      fontsize=SMALL)  # fmt: skip
    lay_time(axes, clock, 6)
    _legend(axes)
    return figure


# One check: its distributions


def slower_than(check: Check, canary: Histogram, baseline: Histogram | None) -> Figure:
    """Draw which share of the requests is slower than each bucket edge: the cumulative distributions from their end."""
    figure, axes = new_plot(WHOLE, 2.6, left=0.9, right=0.25, bottom=0.5, top=0.32)
    allowed, least = 1 - check.quantile_level, 1.0
    for arm, name, colour, form, marker in (
        (canary, "canary", Colour.CANARY, "-", "D"),
        (baseline, "baseline", Colour.BASELINE, "-.", "o"),
    ):
        if arm is None or not arm.counts.sum():
            continue
        counts = arm.counts.sum(axis=0)
        shares = 1 - np.cumsum(counts)[:-1] / counts.sum()
        edges = arm.edges[:-1]
        seen = shares > 0.5 / counts.sum()
        least = min([least, *shares[seen].tolist()])
        if arm.exact:
            axes.plot(edges[seen], shares[seen], color=colour, lw=1.8, ls=form, label=name, drawstyle="steps-post")
        else:
            axes.plot(edges[seen], shares[seen], color=colour, lw=1.8, ls=form, marker=marker, ms=4, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(max(min(least, allowed) / 3, 1e-7), 1.3)
    scale = scale_of(check, canary.edges[:-1][canary.counts.sum(axis=0)[:-1] > 0].tolist())
    lay_scale(axes, check, Scale(scale.low, scale.high, log=True, ticks=_fewer(scale.ticks)), horizontal=True)
    axes.yaxis.set_minor_locator(NullLocator())
    ticks = [10.0**-power for power in range(8) if 10.0**-power >= axes.get_ylim()[0]]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.set_yticklabels([f"{100 * tick:g}%" for tick in ticks])
    axes.axhline(allowed, color=Colour.INK, lw=1)
    axes.annotate(f"{format_ratio(allowed)} may be slower", (0, allowed), xycoords=("axes fraction", "data"),
                  xytext=(3, 2), textcoords="offset points", color=Colour.INK, fontsize=SMALL)  # fmt: skip
    for limit, colour, form in ((check.promote, Colour.PASS, "-"), (check.rollback, Colour.FAIL, "--")):
        axes.axvline(limit, color=colour, lw=1.2, ls=form)
    axes.set_xlabel("slower than", color=Colour.MUTED, fontsize=SMALL, labelpad=2)
    _legend(axes)
    return figure


def _fewer(ticks: tuple[float, ...]) -> tuple[float, ...]:
    return ticks if len(ticks) <= 7 else tuple(tick for tick in ticks if f"{tick:e}"[0] == "1")


def bins(check: Check, compared: Bins) -> Figure:
    """Draw both arms' shares of the predictions by bin, and below what each bin adds to the PSI."""
    figure = Figure(figsize=(WHOLE, 2.9))
    upper = figure.add_axes((0.09, 0.46, 0.895, 0.43))
    lower = figure.add_axes((0.09, 0.11, 0.895, 0.23))
    positions = np.arange(len(compared.labels))
    for arm, name, colour, shift in (
        (compared.canary, "canary", Colour.CANARY, -0.2),
        (compared.baseline, "baseline", Colour.BASELINE, 0.2),
    ):
        upper.bar(positions + shift, arm, 0.4, color=colour, label=name)
    lower.bar(positions, compared.psi, 0.6, color=Colour.MUTED)
    for axes in (upper, lower):
        axes.set_xlim(-0.7, len(positions) - 0.3)
    highest = float(max(compared.canary.max(), compared.baseline.max(), 1e-9))
    ticks = round_ticks(0.0, highest, 4)
    upper.yaxis.set_major_locator(FixedLocator(list(ticks)))
    upper.set_yticklabels([f"{tick:.3g}" if tick == 0 else f"{100 * tick:g}%" for tick in ticks])
    upper.xaxis.set_major_locator(NullLocator())
    most = max(float(compared.psi.max()), check.promote / 5)  # what adds nearly nothing looks like it
    lower.set_ylim(0, most * 1.05)
    lower.yaxis.set_major_locator(FixedLocator([0.0, most]))
    lower.set_yticklabels(["0", f"{most:.2g}"])
    lower.annotate("adds to the PSI", (0, 1.0), xycoords="axes fraction", xytext=(4, 2), textcoords="offset points",
                   color=Colour.MUTED, fontsize=SMALL)  # fmt: skip
    each = math.ceil(len(positions) / _MOST_LABELS)
    lower.xaxis.set_major_locator(FixedLocator(positions[::each].tolist()))
    lower.set_xticklabels([printable(text if len(text) <= 14 else f"{text[:13]}…") for text in compared.labels[::each]])
    _legend(upper)
    return figure


# The whole


def verdicts(rows: Sequence[tuple[str, Sequence[Outcome]]], seconds: Floats, clock: Clock) -> Figure:
    """Draw what each check, and the whole, would have said at every moment."""
    width = 0.115 * max(len(name) for name, _ in rows) + 0.2
    figure, axes = new_plot(WHOLE, 0.27 * len(rows) + 0.4, left=max(width, 0.9), bottom=0.28, top=0.05)
    for row, (_, outcomes) in enumerate(rows):
        begins = [0, *(index for index in range(1, len(outcomes)) if outcomes[index] is not outcomes[index - 1])]
        for begin, end in zip(begins, [*begins[1:], len(outcomes)], strict=True):
            # The outcome of a measurement holds until the next; before the first nothing was known.
            left = float(seconds[begin])
            right = float(seconds[end]) if end < len(outcomes) else clock.seconds
            outcome = outcomes[begin]
            shade, alpha = _SHADES[outcome]
            span = max(right - left, clock.seconds / 150)
            axes.barh(-row, span, left=min(left, clock.seconds - span), height=0.72, color=shade, alpha=alpha)
            if span > clock.seconds * 0.09 and outcome is not Outcome.INCONCLUSIVE:
                axes.text(min(left, clock.seconds - span) + span / 2, -row, outcome.value, ha="center", va="center",
                          fontsize=SMALL, color=Colour.SURFACE, fontweight="bold")  # fmt: skip
    axes.set_ylim(-len(rows) + 0.5, 0.5)
    axes.yaxis.set_major_locator(FixedLocator([-row for row in range(len(rows))]))
    axes.set_yticklabels([name for name, _ in rows], color=Colour.INK)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    lay_time(axes, clock, 10)
    return figure


@dataclass(frozen=True)
class SplitOverTime:
    """Requests of both arms by time slice.

    Attributes
    ----------
    edges : of the slices, seconds since the start; shape (slices + 1,)
    canary, baseline : requests, shape (slices,)
    changes : slices with which the split changed
    """

    edges: Floats
    canary: Floats
    baseline: Floats
    changes: tuple[int, ...]


def traffic(split: SplitOverTime, clock: Clock) -> Figure:
    """Draw the canary's share of the requests over time, with the steps at which it changed."""
    figure, axes = new_plot(WHOLE, 1.7, left=0.62, bottom=0.3, top=0.2)
    total = split.canary + split.baseline
    share = np.where(total > 0, split.canary / np.maximum(total, 1e-300), np.nan)
    axes.stairs(np.nan_to_num(share), split.edges, fill=True, color=Colour.CANARY, alpha=0.3)
    axes.stairs(np.nan_to_num(share), split.edges, color=Colour.CANARY, lw=1.6)
    segments = []
    for first, last in pairwise([0, *split.changes, len(total)]):
        ours, both = split.canary[first:last].sum(), total[first:last].sum()
        if both > 0:
            segments.append(float(ours / both))
            axes.annotate(format_ratio(float(f"{segments[-1]:.2g}")), (float(split.edges[first]), segments[-1]),
                          xytext=(3, 3), textcoords="offset points", color=Colour.CANARY, fontsize=SMALL + 1,
                          fontweight="bold", annotation_clip=False)  # fmt: skip
        if first:
            axes.axvline(float(split.edges[first]), color=Colour.MUTED, lw=1, ls=":")
    usual = float(np.nanquantile(share, 0.95)) if np.isfinite(share).any() else 0.0  # no single slice sets the scale
    top = min(1.0, max([*(1.25 * share for share in segments), 1.1 * usual, 0.05]))
    axes.set_ylim(0, top)
    ticks = round_ticks(0.0, top, 4)
    axes.yaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.set_yticklabels([f"{100 * tick:g}%" for tick in ticks])
    lay_time(axes, clock, 10)
    return figure
