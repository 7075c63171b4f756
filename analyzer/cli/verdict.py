"""The command ``analyzer verdict``: judge a canary."""

import sys
from typing import Any

import click
from cloup import command, option, option_group

from analyzer.cli.manual import FILES, SOURCE, Manual
from analyzer.cli.request_options import EXIT_CODES, exit_code, how_judged, read_body, which_canary
from analyzer.cli.shared import INTERRUPTED, NO_SOURCE, Duration, console, json_option, leave, print_json


@command(
    cls=Manual,
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
@which_canary
@how_judged
@option_group(
    "Output",
    option("--detail", type=click.Choice(["summary", "full"]), help="How much the JSON answer says."),
    json_option,
    option(
        "--watch",
        type=Duration("1s", "1d"),
        help="Ask again this often, until it passes or fails, or Ctrl-C. An unavailable source is waited for.",
    ),
)
def verdict(file: Any, as_json: bool, watch: float | None, **flags: str | None) -> None:  # noqa: FBT001
    """Judge a canary once; the exit code is the verdict.

    The request comes from a file, from standard input or from the options, which override fields of the file. Its
    fields are those of POST /v1/verdict; only a file can hold `data`, and then no source is asked.

    With --watch, a terminal shows a table that is kept up to date; a pipe gets a line whenever a finding changes, and
    with --json one line at each measurement. The exit code is that of the last verdict.
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
    judged = analyzer.verdict(request)
    if as_json:
        print_json(render(judged, request.detail))
    else:
        from analyzer.cli import verdict_table

        console().print(verdict_table.render(judged))
    sys.exit(exit_code(judged))
