"""A replay on a terminal: what each policy would have decided and when, and how the policies differ."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from analyzer.cli.shared import COLOURS
from analyzer.model.findings import Outcome
from analyzer.planning.replayed_rollout import Measurement, PolicyDecision, PolicyReplay, Replay
from analyzer.quantity import format_instant, format_seconds

WHOLE = "verdict"
MOST_CHANGES = 12  # of a verdict that are listed
DAY = 86400.0


def print_replay(replay: Replay, console: Console) -> None:
    """Print what each policy would have decided, every change of its verdict, and how the policies differ."""
    for line in _title(replay):
        console.print(line, highlight=False, markup=False, soft_wrap=False)
    clock = _Clock(replay)
    for replayed in replay.policies:
        console.print()
        _print_policy(replayed, clock, console)
    if len(replay.policies) > 1:
        console.print()
        _print_differences(replay, clock, console)
    for note in replay.notes:
        console.print(f"Note: {note}.", highlight=False, markup=False)


class _Clock:
    """Formats moments as short as the window allows."""

    def __init__(self, replay: Replay) -> None:
        self.total = replay.policies[0].measurements[-1].seconds

    def at(self, look: Measurement) -> str:
        """Return when a measurement was: the moment, without its date in less than a day; else the time passed."""
        if look.moment is None:
            return format_seconds(look.seconds)
        text = format_instant(look.moment)
        return text if self.total >= DAY else text.split("T")[1]


def _title(replay: Replay) -> Iterator[str]:
    request, window = replay.request, replay.window
    seconds = replay.policies[0].measurements[-1].seconds
    if request.service:
        against = f" against {request.baseline}" if request.baseline else ""
        yield f"{request.service}: canary {request.canary}{against}"
    count = len(replay.policies[0].measurements)
    span = f"{format_seconds(seconds)}, {count:,} measurements, one every {format_seconds(replay.every)}"
    if window.start is not None and window.end is not None:
        yield f"{format_instant(window.start)} to {format_instant(window.end)}"
    yield span if replay.resolution is None else f"{span}; read in slices of {format_seconds(replay.resolution)}"


def _print_policy(replayed: PolicyReplay, clock: _Clock, console: Console) -> None:
    decision = replayed.decision
    console.print(Text.assemble((decision.outcome.value, f"bold {COLOURS[decision.outcome]}"), f"  {replayed.label}"))
    for line in _outcome(decision, replayed.measurements, clock):
        console.print(_wrapped(line, console), highlight=False)
    changes = [
        replayed.measurements[0],
        *(after for before, after in pairwise(replayed.measurements) if after.outcome != before.outcome),
    ]
    for look in changes[:MOST_CHANGES]:
        text = _wrapped(f"{clock.at(look)} {look.outcome} {look.reason}", console, indent="")
        begin = len(clock.at(look)) + 1
        text.stylize(f"bold {COLOURS[look.outcome]}", begin, begin + len(look.outcome))
        console.print(text, highlight=False)
    if len(changes) > MOST_CHANGES:
        console.print(
            f"and {len(changes) - MOST_CHANGES:,} more changes: --json has every measurement", highlight=False
        )


def _outcome(decision: PolicyDecision, looks: Sequence[Measurement], clock: _Clock) -> Iterator[str]:
    """Yield what would have happened to the rollout, when, and why."""
    look = decision.look
    requests = f"after {look.requests:,.0f} canary requests"
    when = f"at {clock.at(look)}, {format_seconds(look.seconds)} after the start and {requests}"
    match decision.outcome:
        case Outcome.FAIL:
            yield f"rolled back {when}"
            if decision.passed is not None:
                yield f"it had passed at {clock.at(decision.passed)}"
        case Outcome.PASS:
            later = [after for after in looks if after.seconds > look.seconds]
            open_ = sum(after.outcome is not Outcome.PASS for after in later)
            then = f"{open_:,} of {len(later):,} later measurements do not pass"
            then = "all later measurements pass" if decision.final else then
            yield f"passed {when}; {then}" if later else f"passed {when}, at the last measurement"
        case Outcome.INCONCLUSIVE:
            yield f"still inconclusive at the end, {clock.at(look)}, {requests}"
    yield look.reason


def _wrapped(text: str, console: Console, indent: str = "  ") -> Text:
    """Return wrapped text, indented further from the second line on."""
    width = max(console.width, 20)
    return Text(textwrap.fill(text, width, initial_indent=indent, subsequent_indent=f"{indent}  "))


def _print_differences(replay: Replay, clock: _Clock, console: Console) -> None:
    """Print what the policies decided differently: the whole and each check, and the limits that differ."""
    columns = [Column(replayed.label, overflow="fold") for replayed in replay.policies]
    table = Table(Column("what differs", no_wrap=True), *columns, box=None, pad_edge=False)
    cells = [_when(replayed.decision, clock) for replayed in replay.policies]
    rows = {WHOLE: cells}
    names = dict.fromkeys(name for replayed in replay.policies for name in replayed.measurements[0].checks)
    for name in names:
        rows[name] = [_limits(replayed, name) + _first(replayed, name, clock) for replayed in replay.policies]
    shown = 0
    for name, cells in rows.items():
        if len(set(cells)) > 1:
            table.add_row(Text(name), *(Text(cell) for cell in cells))
            shown += 1
    if shown:
        console.print(table)
    else:
        console.print("The policies agree at every measurement.", highlight=False)


def _limits(replayed: PolicyReplay, name: str) -> str:
    check = replayed.policy.checks.get(name)
    return "" if check is None else f"{check.shown(check.promote)} / {check.shown(check.rollback)}\n"


def _when(decision: PolicyDecision, clock: _Clock) -> str:
    if decision.outcome is Outcome.INCONCLUSIVE:
        return "inconclusive"
    return f"{decision.outcome} {clock.at(decision.look)}\n{decision.look.requests:,.0f} requests"


def _first(replayed: PolicyReplay, name: str, clock: _Clock) -> str:
    """Return when a check first decided; a fail takes precedence."""
    for outcome in (Outcome.FAIL, Outcome.PASS):
        for look in replayed.measurements:
            if name in look.checks and look.checks[name].outcome is outcome:
                return f"{outcome} {clock.at(look)}"
    return "inconclusive" if name in replayed.measurements[0].checks else "not judged"
