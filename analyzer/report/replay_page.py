"""A replay as a page: what each policy would have decided on a rollout of the past, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.checks.decision import format_count
from analyzer.config.policy import Check
from analyzer.model.findings import Estimate, Outcome
from analyzer.planning.replayed_rollout import CheckThen, LookThen, Played, Replay
from analyzer.quantity import format_instant, format_seconds
from analyzer.report import html
from analyzer.report.axes import Clock
from analyzer.report.figures import Drawn, draw_strip, draw_track
from analyzer.report.track import Track
from analyzer.version import __version__

MOST_POINTS = 240  # of a curve: as many as can be told apart
MOST_DRAWN = 8  # checks
WORDS = {Outcome.PASS: "would have passed", Outcome.FAIL: "would have been rolled back",
         Outcome.INCONCLUSIVE: "would have stayed open"}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One policy on the page.

    Attributes
    ----------
    headline : what it would have decided, and when
    changes : of the verdict: when, outcome, reason
    """

    label: str
    outcome: Outcome
    headline: str
    reason: str
    strip: Drawn
    changes: tuple[tuple[str, Outcome, str], ...]


@dataclass(frozen=True)
class Row:
    """One check on the page, with its limits and curves by each policy that has it."""

    name: str
    limits: tuple[tuple[str, str, str], ...]
    plots: tuple[Drawn, ...]


def page(found: Replay) -> str:
    """Write the page of a replay."""
    end = found.played[0].looks[-1].seconds
    clock = Clock(found.window.start, end)
    names = list(dict.fromkeys(name for one in found.played for name in one.looks[0].checks))
    return html.write(
        "replay.html",
        asked=found.asked,
        subject=found.asked.service or "counts in the request",
        begin=None if found.window.start is None else format_instant(found.window.start),
        end=None if found.window.end is None else format_instant(found.window.end),
        length=format_seconds(end),
        every=format_seconds(found.every),
        looks=len(found.played[0].looks),
        notes=found.notes,
        columns=[_column(one, place, clock) for place, one in enumerate(found.played)],
        rows=[_row(name, place, found.played, clock) for place, name in enumerate(names[:MOST_DRAWN])],
        undrawn=len(names[MOST_DRAWN:]),
        queries=found.queries,
        version=__version__,
    )


def _column(one: Played, place: int, clock: Clock) -> Column:
    decision, looks = one.decision, one.looks
    outcomes = [("verdict", [look.outcome for look in looks])]
    outcomes += [(name, [look.checks[name].outcome for look in looks]) for name in list(looks[0].checks)[:MOST_DRAWN]]
    seconds = np.array([look.seconds for look in looks])
    headline = WORDS[decision.outcome]
    if decision.outcome is not Outcome.INCONCLUSIVE:
        requests = format_count(decision.look.requests)
        headline += f" {_when(decision.look)}, after {requests} canary requests"
        if not decision.stood:
            headline += ", and not at every look since"
    places = [at for at in range(len(looks)) if at == 0 or looks[at].outcome is not looks[at - 1].outcome]
    return Column(
        label=one.label,
        outcome=decision.outcome,
        headline=headline,
        reason=decision.look.reason,
        strip=draw_strip(f"p{place}-verdicts", f"By {one.label}", outcomes, seconds, clock),
        changes=tuple((_when(looks[at]), looks[at].outcome, looks[at].reason) for at in places),
    )


def _when(look: LookThen) -> str:
    after = f"{format_seconds(look.seconds)} after the begin"
    return after if look.moment is None else f"at {format_instant(look.moment)}, {after}"


def _row(name: str, place: int, played: Sequence[Played], clock: Clock) -> Row:
    having = [one for one in played if name in one.looks[0].checks]
    plots: list[Drawn] = []
    for number, one in enumerate(having):
        check = one.policy.checks[name]
        label = f" by {one.label}" if len(having) > 1 else ""
        plots += draw_track(f"r{place}-{number}", name, check, _track(one.looks, name), clock, label)
    # Curves of a kind stand side by side: the evidence by each policy, then the values.
    ordered = plots if len(having) == 1 else [*plots[::2], *plots[1::2]]
    return Row(name, tuple((one.label, *_limits(one.policy.checks[name])) for one in having), tuple(ordered))


def _limits(check: Check) -> tuple[str, str]:
    return check.shown(check.promote), check.shown(check.rollback)


def _track(looks: Sequence[LookThen], name: str) -> Track:
    """Follow one check; of many looks, those that can be told apart and those at which it changed."""
    found = [look.checks[name] for look in looks]
    even = np.linspace(0, len(looks) - 1, min(len(looks), MOST_POINTS)).round().astype(int).tolist()
    turns = [at for at in range(1, len(found)) if found[at].outcome is not found[at - 1].outcome][:MOST_POINTS]
    places = sorted({*even, *turns})
    kept: list[CheckThen] = [found[at] for at in places]

    def each(numbers: Sequence[float | None]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        return np.array([np.nan if one is None else one for one in numbers], float)

    judged: list[Estimate] = [one.judged for one in kept]
    return Track(
        seconds=np.array([looks[at].seconds for at in places]),
        outcomes=tuple(one.outcome for one in kept),
        value=each([one.value for one in judged]),
        low=each([one.low for one in judged]),
        high=each([one.high for one in judged]),
        baseline=each([one.baseline.value for one in kept]),
        towards_pass=each([one.towards_pass for one in kept]),
        towards_fail=each([one.towards_fail for one in kept]),
    )
