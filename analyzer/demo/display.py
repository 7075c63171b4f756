"""What people see: a live view on a terminal, one plain line a change elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analyzer.demo.answers import DemoAnswer, DemoCheck
from analyzer.demo.scenarios import Scenario
from analyzer.demo.simulated_rollout import STEPS, Progress, RolloutEnd

_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
_WIDE = 100
Show = Callable[[Progress], None]


@contextmanager
def show_progress(console: Console) -> Iterator[Show]:
    """Yield the function that shows where a rollout stands."""
    if not console.is_terminal:
        yield _plain_lines(console)
        return
    bar_width = 10 if console.width >= _WIDE else 6
    with Live(console=console, auto_refresh=False) as live:
        yield lambda progress: live.update(render(progress, bar_width=bar_width), refresh=True)


def render(progress: Progress, *, bar_width: int) -> Group:
    """Return the live view."""
    steps = Text("  weight ")
    for weight in STEPS:
        steps.append(f" {weight}% ", "bold reverse" if weight == progress.weight else "dim")
    if progress.weight == 0:
        steps.append(" 0% ", "bold white on red")
    counted = Text(f"  {progress.seconds:.1f} s, requests: {progress.canary.sent:,} canary, ")
    counted.append(f"{progress.baseline.sent:,} baseline")
    if progress.answer is None:
        return Group(steps, counted, Text("  no verdict yet", "dim"))
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for heading in ("check", "baseline", "canary", "interval", "pass", "fail", "verdict"):
        table.add_column(heading, no_wrap=True)
    for check in progress.answer.checks:
        table.add_row(*_cells(check, bar_width))
    verdict = Text("  verdict ").append(progress.answer.verdict, f"bold {_COLOURS[progress.answer.verdict]}")
    verdict.append(f"  {progress.answer.reason}", "dim")
    return Group(steps, counted, Padding(table, (0, 0, 0, 2)), verdict)


def describe(name: str, scenario: Scenario, number: int, total: int) -> str:
    """Return the heading of a scenario."""
    return f"[bold]{number}/{total} {name}[/bold]: {escape(scenario.story)}"


def conclude(scenario: Scenario, outcome: RolloutEnd, *, as_expected: bool) -> list[str]:
    """Return the last lines of a scenario."""
    happened = (
        f"[bold green]promoted[/bold green] to weight 100% after {outcome.seconds:.1f} s and "
        f"{outcome.canary_requests:,} canary requests"
        if outcome.promoted
        else "[bold red]rolled back[/bold red] to weight 0%"
    )
    lines = [f"  {happened}: {escape(outcome.answer.reason)}"]
    if scenario.failing_check and not outcome.promoted:
        lines.append(
            f"  time from fault to zero traffic: {outcome.seconds:.1f} s "
            f"and {outcome.canary_requests:,} canary requests"
        )
    if not as_expected:
        expected = f"a rollback because of {scenario.failing_check}" if scenario.failing_check else "a promotion"
        lines.append(f"  [bold red]not as expected[/bold red]: this scenario should have ended in {expected}")
    return lines


def _plain_lines(console: Console) -> Show:
    seen = _Seen()

    def show(progress: Progress) -> None:
        line = seen.news(progress)
        if line:
            console.print(f"  {progress.seconds:5.1f} s  {line}", markup=False, highlight=False, soft_wrap=True)

    return show


class _Seen:
    """What the plain lines have told already."""

    def __init__(self) -> None:
        self._weight = -1
        self._answer: DemoAnswer | None = None
        self._verdicts: tuple[str, ...] = ()

    def news(self, progress: Progress) -> str:
        """Return what has changed, in words; empty when nothing has."""
        if progress.weight != self._weight:
            self._weight, self._answer, self._verdicts = progress.weight, progress.answer, ()
            return f"weight {progress.weight}%"
        answer = progress.answer
        if answer is None or answer is self._answer:
            return ""
        verdicts = (answer.verdict, *(check.verdict for check in answer.checks))
        if verdicts == self._verdicts:
            return ""
        self._answer, self._verdicts = answer, verdicts
        return f"{answer.verdict} at {progress.canary.sent:,} canary requests: {answer.reason}"


def _cells(check: DemoCheck, bar_width: int) -> tuple[str | Text, ...]:
    return (
        check.name,
        format_value(check.name, check.baseline),
        format_value(check.name, check.value),
        f"{format_value(check.name, check.low)} to {format_value(check.name, check.high)}",
        _bar(check.towards_pass, "green", bar_width),
        _bar(check.towards_fail, "red", bar_width),
        Text(check.verdict, _COLOURS[check.verdict]),
    )


def format_value(check_name: str, value: float | None) -> str:
    """Return a value in the unit of its check: milliseconds, PSI as it is, or percent."""
    if value is None:
        return "-"
    if check_name.startswith("latency"):
        return f"{value * 1000:.0f} ms"
    if check_name == "prediction_drift":
        return f"{value:.3f}"
    return f"{value:.2%}"


def _bar(evidence: float, colour: str, width: int) -> Text:
    """Return the evidence as a bar that is full when it decides."""
    filled = round(width * min(1.0, max(0.0, evidence)))
    return Text("█" * filled, colour).append("░" * (width - filled), "bright_black")
