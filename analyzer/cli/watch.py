"""Asking again until a canary is decided: ``analyzer verdict --watch``."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import click
import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from analyzer.cli import verdict_table
from analyzer.cli.shared import is_live
from analyzer.errors import Problem, RequestError
from analyzer.model.findings import Outcome
from analyzer.quantity import format_seconds
from analyzer.verdict import answer
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.judge import Verdict
from analyzer.verdict.request import VerdictRequest

Show = Callable[[Verdict], None]


@dataclass(frozen=True)
class Watched:
    """How a watch ended: the last verdict, None if there was none yet, and whether Ctrl-C ended it."""

    verdict: Verdict | None
    interrupted: bool = False


def watch(analyzer: Analyzer, request: VerdictRequest, every: float, console: Console, *, json: bool) -> Watched:
    """Ask every so many seconds until the canary passes or fails, and show what changes.

    Raises
    ------
    RequestError : the answer could never change
    """
    for field, fixed, what in (("data", request.data, "counts in the request"), ("at", request.at, "a past moment")):
        if fixed is not None:
            raise RequestError([Problem("--watch", f"{what} cannot change: leave --watch or {field} out")])
    with _shown(request, every, console, json=json) as show:
        return _ask(analyzer, request, every, show)


def _ask(analyzer: Analyzer, request: VerdictRequest, every: float, show: Show) -> Watched:
    verdict = None
    try:
        while True:
            begun = time.monotonic()
            verdict = analyzer.verdict(request)
            show(verdict)
            if verdict.outcome is not Outcome.INCONCLUSIVE:
                return Watched(verdict)
            time.sleep(max(0.0, begun + every - time.monotonic()))
    except KeyboardInterrupt:
        return Watched(verdict, interrupted=True)


@contextmanager
def _shown(request: VerdictRequest, every: float, console: Console, *, json: bool) -> Iterator[Show]:
    """Yield what shows a verdict: as a line of JSON, as a table kept up to date, or as a line per change."""
    if json:
        yield lambda verdict: click.echo(orjson.dumps(answer.render(verdict, request.detail)))
    elif is_live(sys.stdout):
        with _table(every, console) as show:
            yield show
    else:
        yield _changes()


@contextmanager
def _table(every: float, console: Console) -> Iterator[Show]:
    last, looks = None, 0

    def show(verdict: Verdict) -> None:
        nonlocal last, looks
        last, looks = verdict, looks + 1
        text = f"\nmeasurement {looks} at {_now()}, every {format_seconds(every)}; Ctrl-C ends"
        live.update(Group(verdict_table.render(verdict), Text(text, style="dim")), refresh=True)

    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield show
    if last is not None:
        console.print(verdict_table.render(last))


def _changes() -> Show:
    """Print a line where the verdict, or the finding of a check, differs from the last measurement."""
    last: object = None

    def show(verdict: Verdict) -> None:
        nonlocal last
        present = verdict.outcome, [(name, finding.outcome, finding.code) for name, finding in verdict.findings.items()]
        if present != last:
            click.echo(f"{_now()}  {verdict_table.line(verdict)}")
        last = present

    return show


def _now() -> str:
    return f"{datetime.now(UTC):%H:%M:%S}Z"
