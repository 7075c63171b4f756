"""Which plots a report has, each with its caption and with its content in words for those who do not see it."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from analyzer.checks.drift import bins_of
from analyzer.config.policy import Check
from analyzer.model.counts import Classes, Counts, Floats, Histogram, Reading, Readings, requests_by_slice
from analyzer.model.findings import Finding, Gap, Kind, Outcome
from analyzer.quantity import format_ratio
from analyzer.report import plots, svg
from analyzer.report.clock import Clock, shown
from analyzer.report.drawn import Drawn
from analyzer.report.track import CheckTrack, track_of
from analyzer.stats import split
from analyzer.verdict.case import Look

_MOST_CHANGES = 8


def _drawn(figure: Figure, name: str, heading: str, caption: str, description: str, *, wide: bool = False) -> Drawn:
    text = svg.write(figure, name, description)
    return Drawn(Markup(text), heading, caption, wide)  # noqa: S704 - the library's, with every text escaped


def draw_check(
    name: str,
    title: str,
    check: Check,
    finding: Finding,
    reading: Reading[Counts] | Gap,
    looks: Sequence[Look],
    clock: Clock | None,
) -> tuple[Drawn, ...]:
    """Draw one check: where it stands, how it came there, and its distributions.

    Parameters
    ----------
    name : makes identifiers differ
    title : name of the check
    """
    judged = finding.delta or finding.canary
    if judged.value is None:
        return ()
    description = (
        f"{title}: {shown(check, judged.value)}, promote {check.shown(check.promote)}, roll back "
        f"{check.shown(check.rollback)}"
    )
    with svg.drawing():
        drawn = [
            _drawn(
                plots.limits(check, finding), f"{name}-limits", "Where it stands",
                "The bar is the anytime-valid interval. Proved to lie in the green zone the canary is good; in the red "
                "zone, and proved outside of the green one, it is bad.",
                description, wide=True,
            )
        ]  # fmt: skip
        if clock is not None:
            drawn += _over_time(name, title, check, track_of(looks, title), clock)
        if (distributions := _distributions(name, title, check, finding, reading)) is not None:
            drawn.append(distributions)
    return tuple(drawn)


def _distributions(
    name: str, title: str, check: Check, finding: Finding, reading: Reading[Counts] | Gap
) -> Drawn | None:
    if isinstance(reading, Gap):
        return None
    first = _first_slice(finding, reading)
    since = "since the moment that the finding names" if first else "in the whole window"
    if check.kind is Kind.LATENCY and isinstance(reading.canary, Histogram):
        canary = Histogram(reading.canary.edges, reading.canary.counts[first:], reading.canary.exact)
        other = reading.baseline if isinstance(reading.baseline, Histogram) else None
        baseline = None if other is None else Histogram(other.edges, other.counts[first:], other.exact)
        allowed = format_ratio(1 - check.quantile_level)
        return _drawn(
            plots.slower_than(check, canary, baseline), f"{name}-latency", "Latency of all requests",
            f"Share of the requests slower than each bucket edge, {since}. A good canary is below the horizontal line "
            "where that meets the promote limit.",
            f"{title}: share of the requests slower than each bucket edge; {allowed} may be slower than the limit",
            wide=True,
        )  # fmt: skip
    if check.kind is Kind.DRIFT:
        bins = bins_of(check, cast("Reading[Histogram | Classes]", reading), first)
        if bins is None:
            return None
        most = int(bins.psi.argmax())
        return _drawn(
            plots.bins(check, bins), f"{name}-bins", "Predictions",
            f"Share of the predictions in each bin {since}, and what each adds to the PSI (before the part that chance "
            "adds is taken off).",
            f"{title}: share of predictions by bin; bin {bins.labels[most]} adds most to the PSI, {bins.psi[most]:.3g}",
            wide=True,
        )  # fmt: skip
    return None


def _first_slice(finding: Finding, reading: Reading[Counts]) -> int:
    """Find the slice since which the finding counts."""
    if finding.since is None or reading.begin is None or not reading.slice_seconds:
        return 0
    return min(max(0, round((finding.since - reading.begin) / reading.slice_seconds)), max(0, reading.slices - 1))


def draw_track(name: str, title: str, check: Check, track: CheckTrack, clock: Clock, label: str) -> tuple[Drawn, ...]:
    """Draw the evidence and the value of one check over time; the label says by what they were judged."""
    with svg.drawing():
        return tuple(_over_time(name, title, check, track, clock, label))


def _over_time(
    name: str, title: str, check: Check, track: CheckTrack, clock: Clock, label: str = ""
) -> tuple[Drawn, Drawn]:
    value = float(track.value[-1])
    return (
        _drawn(
            plots.evidence(track, clock), f"{name}-evidence", f"Evidence over time{label}",
            "1 decides. Computed at each measurement from what had been counted by then.",
            f"{title}{label}: evidence towards pass {track.towards_pass[-1]:.2f}, towards fail "
            f"{track.towards_fail[-1]:.2f} at the end; 1 decides",
        ),
        _drawn(
            plots.course(check, track, clock), f"{name}-course", f"Value over time{label}",
            "The canary's value since the start, or of its worst segment, with its interval.",
            f"{title}{label}: {'no value' if np.isnan(value) else shown(check, value)} at the end, promote "
            f"{check.shown(check.promote)}, roll back {check.shown(check.rollback)}",
        ),
    )  # fmt: skip


def draw_verdicts(looks: Sequence[Look], clock: Clock, *, whole: bool) -> Drawn:
    """Draw what each check would have said at every moment, and the whole if all its checks are there."""
    names = list(looks[-1].verdict.findings)
    rows = [("verdict", [look.verdict.outcome for look in looks])] if whole else []
    rows += [(name, [look.verdict.findings[name].outcome for look in looks]) for name in names]
    return draw_strip("verdicts", "Verdicts over time", rows, np.array([look.seconds for look in looks]), clock)


def draw_strip(
    name: str, heading: str, rows: Sequence[tuple[str, Sequence[Outcome]]], seconds: Floats, clock: Clock
) -> Drawn:
    """Draw outcomes over time, a row each."""
    description = "; ".join(f"{row}: {outcomes[-1].value} at the end" for row, outcomes in rows)
    caption = "What would have been answered at each moment: green pass, red fail, grey inconclusive."
    with svg.drawing():
        return _drawn(plots.verdicts(rows, seconds, clock), name, heading, caption, description, wide=True)


def draw_traffic(readings: Readings, clock: Clock) -> Drawn | None:
    """Draw the canary's share of the requests over time; None where one arm, or time, is not known."""
    reading = _finest(readings)
    if reading is None or reading.canary is None or reading.baseline is None:
        return None
    canary, baseline = requests_by_slice(reading.canary), requests_by_slice(reading.baseline)
    if (canary + baseline).sum() <= 0:
        return None
    left_out = (reading.slice_seconds or 0.0) * reading.left_out
    changes: list[int] = []
    end = len(canary)
    while len(changes) < _MOST_CHANGES and (end := split.last_change(canary[:end], baseline[:end])) > 0:
        changes.append(end)
    # A single slice at either end holds a scrape of one arm and none of the other: that is no step.
    steps = tuple(sorted(change for change in changes if 2 <= change <= len(canary) - 2))
    split_over_time = plots.SplitOverTime(np.append(0.0, reading.ends()) + left_out, canary, baseline, steps)
    share = canary.sum() / (canary + baseline).sum()
    with svg.drawing():
        return _drawn(
            plots.traffic(split_over_time, clock), "traffic", "The canary's share of the traffic",
            "As counted in each time slice; dotted lines where it changed: the steps of the rollout.",
            f"the canary got {format_ratio(share)} of the requests in all", wide=True,
        )  # fmt: skip


def _finest(readings: Readings) -> Reading[Counts] | None:
    """Choose the reading that tells most about traffic: with most slices, then most requests."""
    known = [
        reading for reading in readings.by_check.values() if isinstance(reading, Reading) and reading.canary is not None
    ]
    sliced = [reading for reading in known if reading.slice_seconds is not None and reading.slices > 1]

    def detail(reading: Reading[Counts]) -> tuple[int, float]:
        return reading.slices, 0.0 if reading.canary is None else float(requests_by_slice(reading.canary).sum())

    return max(sliced, key=detail, default=None)
