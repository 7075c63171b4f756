"""Which plots a report has, each with its caption and with its content in words for those who do not see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from analyzer.case import Look
from analyzer.checks.drift import bins_of
from analyzer.model import (
    Classes,
    Counts,
    Finding,
    Gap,
    Histogram,
    Kind,
    Reading,
    Readings,
    requests_by_slice,
)
from analyzer.policy import Check
from analyzer.quantity import format_ratio
from analyzer.report import plots, svg
from analyzer.report.plots import Clock
from analyzer.report.track import track_of
from analyzer.stats import split

_MOST_CHANGES = 8


@dataclass(frozen=True)
class Drawn:
    """A plot in a page.

    Attributes
    ----------
    svg : the element
    heading, caption : what it shows, and how to read it
    wide : it takes the whole width
    """

    svg: Markup
    heading: str
    caption: str
    wide: bool = False


def _drawn(figure: Figure, name: str, heading: str, caption: str, said: str, *, wide: bool = False) -> Drawn:
    text = svg.write(figure, name, said)
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
    said = (
        f"{title}: {plots.shown(check, judged.value)}, promote {check.shown(check.promote)}, roll back "
        f"{check.shown(check.rollback)}"
    )
    with svg.drawing():
        found = [
            _drawn(
                plots.limits(check, finding), f"{name}-limits", "Where it stands",
                "The bar is the interval that holds at every look. Proved to lie in the green zone it is good; in the "
                "red zone, and proved outside of the green one, it is bad.",
                said, wide=True,
            )
        ]  # fmt: skip
        if clock is not None:
            track = track_of(looks, title)
            found += [
                _drawn(
                    plots.evidence(track, clock), f"{name}-evidence", "Evidence over time",
                    "1 decides. Recomputed at the end of each time slice, from what had been counted by then.",
                    f"{title}: evidence towards pass {finding.evidence.towards_pass:.2f}, towards fail "
                    f"{finding.evidence.towards_fail:.2f}; 1 decides",
                ),
                _drawn(
                    plots.course(check, track, clock), f"{name}-course", "Value over time",
                    "The canary's value since the begin, or since when it is worst, with its interval.",
                    said,
                ),
            ]  # fmt: skip
        if (distributions := _distributions(name, title, check, finding, reading)) is not None:
            found.append(distributions)
    return tuple(found)


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
        allowed = format_ratio(1 - (check.quantile or 0.99))
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


def draw_verdicts(looks: Sequence[Look], clock: Clock, *, whole: bool) -> Drawn:
    """Draw what each check would have said at every moment, and the whole if all its checks are there."""
    names = list(looks[-1].verdict.findings)
    rows = [("verdict", [look.verdict.outcome for look in looks])] if whole else []
    rows += [(name, [look.verdict.findings[name].outcome for look in looks]) for name in names]
    seconds = np.array([look.seconds for look in looks])
    said = "; ".join(f"{name}: {outcomes[-1].value} at the end" for name, outcomes in rows)
    with svg.drawing():
        return _drawn(
            plots.verdicts(rows, seconds, clock), "verdicts", "Verdicts over time",
            "What would have been answered at the end of each time slice: green pass, red fail, grey inconclusive.",
            said, wide=True,
        )  # fmt: skip


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
    found = plots.Traffic(np.append(0.0, reading.ends()) + left_out, canary, baseline, tuple(sorted(changes)))
    share = canary.sum() / (canary + baseline).sum()
    with svg.drawing():
        return _drawn(
            plots.traffic(found, clock), "traffic", "The canary's share of the traffic",
            "As counted in each time slice; dotted lines where it changed: the steps of the rollout.",
            f"the canary got {format_ratio(share)} of the requests in all", wide=True,
        )  # fmt: skip


def _finest(readings: Readings) -> Reading[Counts] | None:
    """Choose the reading that tells most about traffic: with most slices, then most requests."""
    known = [one for one in readings.by_check.values() if isinstance(one, Reading) and one.canary is not None]
    sliced = [one for one in known if one.slice_seconds is not None and one.slices > 1]

    def told(one: Reading[Counts]) -> tuple[int, float]:
        return one.slices, 0.0 if one.canary is None else float(requests_by_slice(one.canary).sum())

    return max(sliced, key=told, default=None)
