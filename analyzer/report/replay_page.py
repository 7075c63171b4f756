"""A replay as a page: what each policy would have decided on a rollout of the past, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.checks.decision import format_count
from analyzer.config.policy import Check
from analyzer.model.findings import Estimate, Outcome
from analyzer.planning.replayed_rollout import CheckMeasurement, Measurement, PolicyReplay, Replay
from analyzer.quantity import format_instant, format_seconds
from analyzer.report import html
from analyzer.report.axes import Clock
from analyzer.report.figures import Drawn, draw_strip, draw_track
from analyzer.report.track import Track
from analyzer.version import __version__

MOST_POINTS = 240  # of a curve: as many as can be told apart
MOST_DRAWN = 8  # checks
WORDS = {Outcome.PASS: "would have passed", Outcome.FAIL: "would have been rolled back",
         Outcome.INCONCLUSIVE: "would have stayed inconclusive"}  # fmt: skip


@dataclass(frozen=True)
class PolicyColumn:
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
class CheckRow:
    """One check on the page, with its limits and curves by each policy that has it."""

    name: str
    limits: tuple[tuple[str, str, str], ...]
    plots: tuple[Drawn, ...]


def page(replay: Replay) -> str:
    """Write the page of a replay."""
    end = replay.policies[0].measurements[-1].seconds
    clock = Clock(replay.window.start, end)
    names = list(dict.fromkeys(name for replayed in replay.policies for name in replayed.measurements[0].checks))
    return html.write(
        "replay.html",
        request=replay.request,
        subject=replay.request.service or "counts in the request",
        start=None if replay.window.start is None else format_instant(replay.window.start),
        end=None if replay.window.end is None else format_instant(replay.window.end),
        length=format_seconds(end),
        every=format_seconds(replay.every),
        measurements=len(replay.policies[0].measurements),
        notes=replay.notes,
        columns=[_column(replayed, index, clock) for index, replayed in enumerate(replay.policies)],
        rows=[_row(name, index, replay.policies, clock) for index, name in enumerate(names[:MOST_DRAWN])],
        undrawn=len(names[MOST_DRAWN:]),
        queries=replay.queries,
        version=__version__,
    )


def _column(replayed: PolicyReplay, index: int, clock: Clock) -> PolicyColumn:
    decision, looks = replayed.decision, replayed.measurements
    outcomes = [("verdict", [look.outcome for look in looks])]
    outcomes += [(name, [look.checks[name].outcome for look in looks]) for name in list(looks[0].checks)[:MOST_DRAWN]]
    seconds = np.array([look.seconds for look in looks])
    headline = WORDS[decision.outcome]
    if decision.outcome is not Outcome.INCONCLUSIVE:
        requests = format_count(decision.look.requests)
        headline += f" {_when(decision.look)}, after {requests} canary requests"
        if not decision.final:
            headline += ", and not at every measurement since"
    indices = [at for at in range(len(looks)) if at == 0 or looks[at].outcome is not looks[at - 1].outcome]
    return PolicyColumn(
        label=replayed.label,
        outcome=decision.outcome,
        headline=headline,
        reason=decision.look.reason,
        strip=draw_strip(f"p{index}-verdicts", f"By {replayed.label}", outcomes, seconds, clock),
        changes=tuple((_when(looks[at]), looks[at].outcome, looks[at].reason) for at in indices),
    )


def _when(look: Measurement) -> str:
    after = f"{format_seconds(look.seconds)} after the start"
    return after if look.moment is None else f"at {format_instant(look.moment)}, {after}"


def _row(name: str, index: int, replays: Sequence[PolicyReplay], clock: Clock) -> CheckRow:
    having = [replayed for replayed in replays if name in replayed.measurements[0].checks]
    plots: list[Drawn] = []
    for number, replayed in enumerate(having):
        check = replayed.policy.checks[name]
        label = f" by {replayed.label}" if len(having) > 1 else ""
        plots += draw_track(f"r{index}-{number}", name, check, _track(replayed.measurements, name), clock, label)
    # Curves of a kind stand side by side: the evidence by each policy, then the values.
    ordered = plots if len(having) == 1 else [*plots[::2], *plots[1::2]]
    return CheckRow(
        name, tuple((replayed.label, *_limits(replayed.policy.checks[name])) for replayed in having), tuple(ordered)
    )


def _limits(check: Check) -> tuple[str, str]:
    return check.shown(check.promote), check.shown(check.rollback)


def _track(looks: Sequence[Measurement], name: str) -> Track:
    """Return the track of one check: at most some hundred measurements, and every change."""
    checks = [look.checks[name] for look in looks]
    even = np.linspace(0, len(looks) - 1, min(len(looks), MOST_POINTS)).round().astype(int).tolist()
    turns = [at for at in range(1, len(checks)) if checks[at].outcome is not checks[at - 1].outcome][:MOST_POINTS]
    indices = sorted({*even, *turns})
    kept: list[CheckMeasurement] = [checks[at] for at in indices]

    def each(numbers: Sequence[float | None]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        return np.array([np.nan if value is None else value for value in numbers], float)

    judged: list[Estimate] = [measured.judged for measured in kept]
    return Track(
        seconds=np.array([looks[at].seconds for at in indices]),
        outcomes=tuple(measured.outcome for measured in kept),
        value=each([estimate.value for estimate in judged]),
        low=each([estimate.low for estimate in judged]),
        high=each([estimate.high for estimate in judged]),
        baseline=each([measured.baseline.value for measured in kept]),
        towards_pass=each([measured.towards_pass for measured in kept]),
        towards_fail=each([measured.towards_fail for measured in kept]),
    )
