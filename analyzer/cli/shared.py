"""What the commands have in common: the console, progress, JSON, names and kinds of options, exit codes."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from cloup import option

from analyzer.cli.completion import complete_policies, complete_profiles
from analyzer.errors import Problem, RequestError

if TYPE_CHECKING:
    from rich.console import Console

WRONG_USAGE = 2
SOURCE_UNAVAILABLE = 4
UNEXPECTED = 70
INTERRUPTED = 130

NO_SOURCE = {SOURCE_UNAVAILABLE: "the source is unavailable", WRONG_USAGE: "wrong usage"}

profile_option = option(
    "--profile",
    metavar="NAME",
    shell_complete=complete_profiles,
    help="Which metrics to read: see `analyzer profiles`.",
)
policy_option = option(
    "--policy",
    metavar="NAME|JSON",
    shell_complete=complete_policies,
    help="How to judge: a policy, or what differs from one as a JSON object.",
)
json_option = option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


class Duration(click.ParamType[float]):
    """A duration such as 30s or 5m, in seconds."""

    name = "duration"

    def __init__(self, least: str = "0s", most: str | None = None) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a duration within the limits."""
        from analyzer.quantity import parse_seconds

        try:
            seconds = parse_seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds < 0:
            self.fail(f"{value!r} is negative", param, ctx)
        if seconds < parse_seconds(self.least) or (self.most is not None and seconds > parse_seconds(self.most)):
            upwards = f"between {self.least} and {self.most}" if self.most else f"at least {self.least}"
            self.fail(f"{value!r} must be {upwards}", param, ctx)
        return seconds


def leave(code: int) -> NoReturn:
    """End at once, without waiting for queries that are under way."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def check_out(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a file that cannot be written, before anything is read for it; raises RequestError."""
    if path.suffix not in suffixes:
        raise RequestError([Problem("--out", f"must end in {' or '.join(suffixes)}, got {path.name}")])
    if not path.parent.is_dir():
        raise RequestError([Problem("--out", f"there is no folder {path.parent}")])


def console() -> "Console":
    """Build the console for people; NO_COLOR is taken to mean no escape codes at all."""
    from rich.console import Console

    return Console(force_terminal=None if _wants_escape_codes() else False)


def watched(what: str) -> Callable[[Sequence[int]], Iterable[int]]:
    """Show the progress on standard error, if that is a terminal which wants it."""

    def watch(numbers: Sequence[int]) -> Iterable[int]:
        if not is_live(sys.stderr):
            return numbers
        from rich.console import Console
        from rich.progress import track

        return track(numbers, description=what, console=Console(stderr=True), transient=True)

    return watch


def is_live(stream: Any) -> bool:
    """Whether a stream is a terminal on which what was written may be written over."""
    return bool(stream.isatty()) and _wants_escape_codes()


def _wants_escape_codes() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@contextmanager
def options_named() -> Iterator[None]:
    """Name options where a request would name its fields."""
    try:
        yield
    except RequestError as error:
        named = [replace(problem, field=f"--{problem.field}" if problem.field else "") for problem in error.problems]
        raise RequestError(named) from error


def read_option(name: str, read: Callable[[object], float], text: str) -> float:
    """Read the text of an option; the error names it."""
    try:
        return read(text)
    except ValueError as error:
        raise RequestError([Problem(name, str(error))]) from error


def print_json(answer: dict[str, Any]) -> None:
    """Print an answer for programs."""
    import orjson

    click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE), nl=False)
