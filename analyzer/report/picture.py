"""The summary of a verdict as a picture: what a chat shows below a link."""

import io
import textwrap
from functools import partial

from matplotlib.figure import Figure

from analyzer.model.findings import Outcome
from analyzer.quantity import format_instant
from analyzer.report import svg
from analyzer.report.plots import draw_limits
from analyzer.report.svg import Colour
from analyzer.verdict.case import Case
from analyzer.verdict.request import VerdictRequest
from analyzer.version import __version__

WIDTH, HEIGHT, DOTS = 12.0, 6.3, 100  # inches, and dots an inch: 1200 x 630, what chats make previews of
MOST = 4  # checks that have room
BESIDE = {Outcome.PASS: 0.15, Outcome.FAIL: 0.14, Outcome.INCONCLUSIVE: 0.29}  # where the box of the verdict ends
LINE = 125  # characters
ORDER = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)


def picture(request: VerdictRequest, case: Case) -> bytes:
    """Draw the summary as a PNG of 1200 x 630 dots.

    Parameters
    ----------
    request : the request
    case : what was read for it
    """
    verdict = case.verdict()
    names = list(verdict.findings)
    if len(names) > MOST:
        names.sort(key=lambda name: ORDER.index(verdict.findings[name].outcome))
    with svg.drawing():
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DOTS, facecolor=Colour.SURFACE)
        write = partial(figure.text, va="center", color=Colour.INK)
        box = {"facecolor": Colour[verdict.outcome.name], "edgecolor": "none", "boxstyle": "round,pad=0.35"}
        write(
            0.035, 0.925, verdict.outcome.value.upper(), fontsize=24, fontweight="bold", color=Colour.SURFACE, bbox=box
        )
        subject = _short(request.service or "counts in the request", 46)
        write(BESIDE[verdict.outcome], 0.925, subject, fontsize=22, fontweight="bold")
        write(0.965, 0.925, request.namespace or "", fontsize=13, color=Colour.MUTED, ha="right")
        lines = textwrap.wrap(verdict.reason, LINE)
        text = "\n".join([*lines[:1], *([_short(" ".join(lines[1:]), LINE)] if len(lines) > 1 else [])])
        write(0.035, 0.855, text, fontsize=13, va="top", linespacing=1.4)
        for row, name in enumerate(names[:MOST]):
            finding, top = verdict.findings[name], 0.68 - row * 0.165
            write(0.035, top + 0.012, _short(name, 22), fontsize=12, fontweight="bold")
            outcome = finding.outcome
            write(0.035, top - 0.03, outcome.value, fontsize=12, fontweight="bold", color=Colour[outcome.name])
            axes = figure.add_axes((0.28, top - 0.05, 0.685, 0.085))
            draw_limits(axes, verdict.policy.checks[name], finding)
        end = verdict.window.end
        more = f" · and {len(names) - MOST} more checks" if len(names) > MOST else ""
        note = f"policy {verdict.policy.name}{'' if end is None else f' · {format_instant(end)}'}{more}"
        write(0.035, 0.03, note, fontsize=10, color=Colour.MUTED)
        write(0.965, 0.03, f"Rollout Analyzer {__version__}", fontsize=10, color=Colour.MUTED, ha="right")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
