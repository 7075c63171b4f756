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
    found = None
    try:
        while True:
            begun = time.monotonic()
            found = analyzer.verdict(request)
            show(found)
            if found.outcome is not Outcome.INCONCLUSIVE:
                return Watched(found)
            time.sleep(max(0.0, begun + every - time.monotonic()))
    except KeyboardInterrupt:
        return Watched(found, interrupted=True)


@contextmanager
def _shown(request: VerdictRequest, every: float, console: Console, *, json: bool) -> Iterator[Show]:
    """Give what shows a verdict: as JSON in a line, as a table that is written over, or a line a change."""
    if json:
        yield lambda found: click.echo(orjson.dumps(answer.render(found, request.detail)))
    elif is_live(sys.stdout):
        with _table(every, console) as show:
            yield show
    else:
        yield _changes()


@contextmanager
def _table(every: float, console: Console) -> Iterator[Show]:
    last, looks = None, 0

    def show(found: Verdict) -> None:
        nonlocal last, looks
        last, looks = found, looks + 1
        text = f"\nlook {looks} at {_now()}, every {format_seconds(every)}; Ctrl-C ends"
        live.update(Group(verdict_table.render(found), Text(text, style="dim")), refresh=True)

    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield show
    if last is not None:
        console.print(verdict_table.render(last))


def _changes() -> Show:
    """Print a line where the verdict, or the finding of a check, is another than at the last look."""
    last: object = None

    def show(found: Verdict) -> None:
        nonlocal last
        present = found.outcome, [(name, one.outcome, one.code) for name, one in found.findings.items()]
        if present != last:
            click.echo(f"{_now()}  {verdict_table.line(found)}")
        last = present

    return show


def _now() -> str:
    return f"{datetime.now(UTC):%H:%M:%S}Z"
