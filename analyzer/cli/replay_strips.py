"""How a replay looks on a terminal: for each policy what it would have decided, and a strip of blocks over time."""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from analyzer.model.findings import Outcome
from analyzer.planning.replayed_rollout import NO_DATA, CheckThen, Decision, LookThen, Played, Replay
from analyzer.quantity import format_instant, format_seconds

BLOCKS = {"pass": ("█", "green"), "inconclusive": ("░", "yellow"), "fail": ("X", "bold red"), "no data": ("·", "dim")}
COLOURS = {Outcome.PASS: "bold green", Outcome.FAIL: "bold red", Outcome.INCONCLUSIVE: "bold yellow"}
WHOLE = "verdict"
LONGEST_NAME = 24
MOST_CHANGES = 12  # of a verdict that are listed
DAY = 86400.0
TICKS = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)


def print_replay(found: Replay, console: Console) -> None:
    """Print what each policy would have decided, its looks over time, and how the policies differ."""
    for line in _title(found):
        console.print(line, highlight=False, markup=False, soft_wrap=False)
    clock = _Clock(found)
    for one in found.played:
        console.print()
        _print_played(one, found, clock, console)
    console.print()
    legend = [Text.assemble((block, style), f" {name}") for name, (block, style) in BLOCKS.items()]
    console.print(Text("  ").join(legend))
    if len(found.played) > 1:
        console.print()
        _print_differences(found, clock, console)
    for note in found.notes:
        console.print(f"Note: {note}.", highlight=False, markup=False)


class _Clock:
    """Writes moments as short as the window allows."""

    def __init__(self, found: Replay) -> None:
        self.begin, self.total = found.window.start, found.played[0].looks[-1].seconds

    def at(self, look: LookThen) -> str:
        if look.moment is None:
            return format_seconds(look.seconds)
        text = format_instant(look.moment)
        return text if self.total >= DAY else text.split("T")[1]

    def axis(self, width: int) -> str:
        """Write a line with marks and times above strips of a width."""
        size = 8 if self.begin is None else 6
        step = next((one for one in TICKS if one / self.total * width > size + 2), TICKS[-1])
        offset = (self.begin or 0.0) % step
        line = [" "] * width
        for number in range(int((self.total + offset) // step) + 1):
            seconds = number * step - offset
            place = int(seconds / self.total * width)
            label = f"|{self._tick(seconds, step)}"
            if seconds >= 0 and place + len(label) <= width:
                line[place : place + len(label)] = label
        return "".join(line).rstrip()

    def _tick(self, seconds: float, step: float) -> str:
        if self.begin is None:
            return format_seconds(seconds) if seconds else "0"
        form = "%m-%d" if step >= DAY else "%H:%M" if step >= 60 else ":%M:%S"
        return datetime.fromtimestamp(self.begin + seconds + 0.5, UTC).strftime(form)


def _title(found: Replay) -> Iterator[str]:
    asked, window = found.asked, found.window
    seconds = found.played[0].looks[-1].seconds
    if asked.service:
        against = f" against {asked.baseline}" if asked.baseline else ""
        yield f"{asked.service}: canary {asked.canary}{against}"
    span = f"{format_seconds(seconds)}, {len(found.played[0].looks):,} looks, one every {format_seconds(found.every)}"
    if window.start is not None and window.end is not None:
        yield f"{format_instant(window.start)} to {format_instant(window.end)}"
    yield span if found.resolution is None else f"{span}; read in slices of {format_seconds(found.resolution)}"


def _print_played(one: Played, found: Replay, clock: _Clock, console: Console) -> None:
    decision = one.decision
    console.print(Text.assemble((decision.outcome.value, COLOURS[decision.outcome]), f"  {one.label}"))
    for line in _told(decision, one.looks, clock):
        console.print(_wrapped(line, console), highlight=False)
    rows = {WHOLE: [_state(look.outcome, blind=look.blind) for look in one.looks]}
    rows |= {name: [_state_of(look.checks[name]) for look in one.looks] for name in one.looks[0].checks}
    names = max(len(name) for other in found.played for name in (WHOLE, *other.looks[0].checks))
    label = min(names, LONGEST_NAME)
    width = max(10, console.width - label - 1)
    console.print()
    console.print(Text(" " * (label + 1) + clock.axis(width)), no_wrap=True, overflow="crop")
    ends = [look.seconds for look in one.looks]
    for name, states in rows.items():
        strip = (BLOCKS[state] for state in _cells(states, ends, width))
        console.print(
            Text.assemble(f"{name[:label]:<{label}} ", *strip, style="bold" if name == WHOLE else ""),
            no_wrap=True,
            overflow="crop",
        )
    console.print()
    changes = [one.looks[0], *(after for before, after in pairwise(one.looks) if after.outcome != before.outcome)]
    for look in changes[:MOST_CHANGES]:
        text = _wrapped(f"{clock.at(look)} {look.outcome} {look.reason}", console, indent="")
        begin = len(clock.at(look)) + 1
        text.stylize(COLOURS[look.outcome], begin, begin + len(look.outcome))
        console.print(text, highlight=False)
    if len(changes) > MOST_CHANGES:
        console.print(f"and {len(changes) - MOST_CHANGES:,} more changes: --json has every look", highlight=False)


def _told(decision: Decision, looks: Sequence[LookThen], clock: _Clock) -> Iterator[str]:
    """Say what would have become of the rollout, when, and why."""
    look = decision.look
    requests = f"after {look.requests:,.0f} canary requests"
    when = f"at {clock.at(look)}, {format_seconds(look.seconds)} after the begin and {requests}"
    match decision.outcome:
        case Outcome.FAIL:
            yield f"rolled back {when}"
            if decision.passed is not None:
                yield f"it had passed at {clock.at(decision.passed)}"
        case Outcome.PASS:
            later = [one for one in looks if one.seconds > look.seconds]
            open_ = sum(one.outcome is not Outcome.PASS for one in later)
            stood = "all later looks pass" if decision.stood else f"{open_:,} of {len(later):,} later looks do not pass"
            yield f"passed {when}; {stood}" if later else f"passed {when}, at the last look"
        case Outcome.INCONCLUSIVE:
            yield f"still open at the end, {clock.at(look)}, {requests}"
    yield look.reason


def _wrapped(text: str, console: Console, indent: str = "  ") -> Text:
    """Break lines, all but the first further to the right."""
    width = max(console.width, 20)
    return Text(textwrap.fill(text, width, initial_indent=indent, subsequent_indent=f"{indent}  "))


def _state(outcome: Outcome, *, blind: bool) -> str:
    return "no data" if blind and outcome is Outcome.INCONCLUSIVE else outcome.value


def _state_of(check: CheckThen) -> str:
    return _state(check.outcome, blind=check.code in NO_DATA)


def _cells(states: Sequence[str], ends: Sequence[float], width: int) -> list[str]:
    """Give each cell of a strip the state that matters most of the looks in it, or of the look that it is a part of."""
    severity = ("fail", "no data", "inconclusive", "pass")
    cells, place = [], 0
    for cell in range(1, width + 1):
        border = ends[-1] * cell / width
        first = place
        while place < len(ends) and ends[place] <= border + 1e-6:
            place += 1
        inside = states[first:place] or [states[min(first, len(states) - 1)]]
        worst = min(inside, key=severity.index)
        known = [state for state in inside if state != "no data"]
        cells.append(min(known, key=severity.index) if worst == "no data" and known else worst)
    return cells


def _print_differences(found: Replay, clock: _Clock, console: Console) -> None:
    """Print what the policies decided differently: the whole and each check, and the limits that differ."""
    columns = [Column(one.label, overflow="fold") for one in found.played]
    table = Table(Column("what differs", no_wrap=True), *columns, box=None, pad_edge=False)
    cells = [_when(one.decision, clock) for one in found.played]
    rows = {WHOLE: cells}
    names = dict.fromkeys(name for one in found.played for name in one.looks[0].checks)
    for name in names:
        rows[name] = [_limits(one, name) + _first(one, name, clock) for one in found.played]
    shown = 0
    for name, cells in rows.items():
        if len(set(cells)) > 1:
            table.add_row(Text(name), *(Text(cell) for cell in cells))
            shown += 1
    if shown:
        console.print(table)
    else:
        console.print("The policies agree at every look.", highlight=False)


def _limits(one: Played, name: str) -> str:
    check = one.policy.checks.get(name)
    return "" if check is None else f"{check.shown(check.promote)} / {check.shown(check.rollback)}\n"


def _when(decision: Decision, clock: _Clock) -> str:
    if decision.outcome is Outcome.INCONCLUSIVE:
        return "open"
    return f"{decision.outcome} {clock.at(decision.look)}\n{decision.look.requests:,.0f} requests"


def _first(one: Played, name: str, clock: _Clock) -> str:
    """Say when a check first decided; a fail goes before."""
    for outcome in (Outcome.FAIL, Outcome.PASS):
        for look in one.looks:
            if name in look.checks and look.checks[name].outcome is outcome:
                return f"{outcome} {clock.at(look)}"
    return "open" if name in one.looks[0].checks else "not asked"
