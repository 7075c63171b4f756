"""The commands that judge a canary."""

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.manual import FILES, SOURCE, Manual
from analyzer.cli.shared import (
    INTERRUPTED,
    NO_SOURCE,
    SOURCE_UNAVAILABLE,
    Duration,
    console,
    json_option,
    leave,
    policy_option,
    print_json,
    profile_option,
)
from analyzer.errors import Problem, RequestError

if TYPE_CHECKING:
    from analyzer.verdict.judge import Verdict

EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 3}


_REQUEST = (
    click.option("--file", "-f", "file", type=click.File("rb"), help="Request as JSON; - reads standard input."),
    click.option("--service", metavar="NAME", help="What is being rolled out."),
    click.option("--namespace", metavar="NAME", help="Its namespace; left out: any."),
    click.option("--canary", metavar="NAME", help="What tells the canary apart: with Argo, its pod template hash."),
    click.option("--baseline", metavar="NAME", help="The same for the baseline; left out: nothing is compared."),
    click.option("--labels", metavar="LABELS", help="Further labels of every series, such as cluster=eu,region=west."),
    profile_option,
    policy_option,
    click.option("--checks", metavar="NAMES", help="Which checks of the policy, comma-separated; default all."),
    click.option(
        "--window",
        metavar="WINDOW",
        help="start (default), step (a pass is proved at the present weight), or a duration such as 5m.",
    ),
    click.option(
        "--weight", metavar="PERCENT", help="The canary's traffic weight, to compare the observed split with."
    ),
    click.option("--start", metavar="MOMENT", help="Begin of the data, RFC 3339 or Unix seconds; default: found."),
    click.option("--at", metavar="MOMENT", help="When to judge, RFC 3339 or Unix seconds; default now."),
)


def request_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that make a request."""
    for option in reversed(_REQUEST):
        command = option(command)
    return command


@click.command(
    cls=Manual,
    headings={"file": "Which canary", "policy": "How it is judged", "detail": "Output"},
    exits={code: outcome for outcome, code in EXIT_CODES.items()} | NO_SOURCE,
    environment=SOURCE | FILES,
    examples="""
        analyzer verdict --service fraud-detector --canary 6d8f9c7b5d --baseline 75d4f8b9c8
        analyzer verdict --service fraud-detector --canary 6d8f9c7b5d --watch 15s && echo promote
        analyzer verdict --file request.json --json
        echo '{"checks": "error_rate",
               "data": {"error_rate": {"canary": {"errors": 0, "requests": 2000}}}}' |
          analyzer verdict -f -
    """,
)
@request_options
@click.option("--detail", type=click.Choice(["summary", "full"]), help="How much the JSON answer says.")
@json_option
@click.option(
    "--watch",
    type=Duration("1s", "1d"),
    help="Ask again this often, until it passes or fails, or Ctrl-C. A source that is away is waited for.",
)
def verdict(file: Any, as_json: bool, watch: float | None, **flags: str | None) -> None:  # noqa: FBT001
    """Judge a canary once, and say so by the exit code.

    The request comes from a file, from standard input or from the options, which override fields of the file. Its
    fields are those of POST /v1/verdict; only a file can hold `data`, and then no source is asked.

    With --watch, a terminal shows a table that is kept up to date; a pipe gets a line whenever a finding changes, and
    with --json one line at each look. The exit code is that of the last verdict.
    """
    from analyzer.config.settings import load_settings
    from analyzer.verdict.answer import render
    from analyzer.verdict.request import parse_request
    from analyzer.verdict.wiring import build_analyzer

    request = parse_request(read_body(file, flags, "nothing to judge"))
    analyzer = build_analyzer(load_settings())
    if watch is not None:
        from analyzer.cli import watch as watch_loop

        ended = watch_loop.watch(analyzer, request, watch, console(), json=as_json)
        code = INTERRUPTED if ended.verdict is None else exit_code(ended.verdict)
        if ended.interrupted:
            leave(code)
        sys.exit(code)
    found = analyzer.verdict(request)
    if as_json:
        print_json(render(found, request.detail))
    else:
        from analyzer.cli import verdict_table

        console().print(verdict_table.render(found))
    sys.exit(exit_code(found))


def read_body(file: Any, flags: Mapping[str, str | None], nothing: str) -> dict[str, Any]:
    """Read a request from a file, and the options over it.

    Parameters
    ----------
    flags : by field of the request; None: not given
    nothing : what to say where neither gives anything
    """
    import orjson

    body: object = {}
    if file is not None:
        try:
            body = orjson.loads(file.read())
        except orjson.JSONDecodeError as error:
            raise RequestError([Problem("", f"the file is not valid JSON: {error}")]) from error
    if not isinstance(body, dict):
        raise RequestError([Problem("", "the file must hold a JSON object")])
    whole = body | {name: value for name, value in flags.items() if value is not None}
    if not whole:
        raise click.UsageError(f"{nothing}: give --file, or at least --service and --canary")
    return whole


def exit_code(found: "Verdict") -> int:
    """Say a verdict as an exit code."""
    from analyzer.model.findings import Code, Outcome

    unavailable = any(finding.code is Code.SOURCE_UNAVAILABLE for finding in found.findings.values())
    if found.outcome is Outcome.INCONCLUSIVE and unavailable:
        return SOURCE_UNAVAILABLE
    return EXIT_CODES[found.outcome.value]
