"""The command ``analyzer replay``: what would have been decided on a rollout of the past."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from cloup import command, option, option_group

from analyzer.cli.completion import complete_policies
from analyzer.cli.manual import FILES, SOURCE, Manual
from analyzer.cli.request_options import CANARY, labels_option, read_body
from analyzer.cli.shared import (
    NO_SOURCE,
    SOURCE_UNAVAILABLE,
    Duration,
    check_out,
    console,
    json_option,
    print_json,
    profile_option,
    watched,
)
from analyzer.errors import Problem, RequestError, SourceError

OPTIONS = ("service", "namespace", "canary", "baseline", "profile", "start", "policy", "checks", "window")
PATIENCE = 300.0  # seconds that reading the whole window may take


@command(
    cls=Manual,
    exits={0: "replayed, whatever was decided"} | NO_SOURCE,
    environment=SOURCE | FILES,
    examples="""
        analyzer replay --service fraud-detector --canary 6d8f9c7b5d --baseline 75d4f8b9c8
        analyzer replay --service fraud-detector --canary 6d8f9c7b5d --baseline 75d4f8b9c8 \\
          --start 2026-11-23T10:00:00Z --end 2026-11-23T12:00:00Z --policy ml-model \\
          --policy '{"checks": {"error_rate": {"rollback": "2%"}}}'
        analyzer replay --service fraud-detector --canary 6d8f9c7b5d --out replay.html
        analyzer replay --file request.json --json | jq '.policies[].decision'
    """,
)
@option_group(
    "Which rollout",
    option(
        "--file",
        "-f",
        "file",
        type=click.File("rb"),
        help="Request as JSON; - reads standard input. With `data` in time slices, no source is asked.",
    ),
    option("--service", metavar="NAME", help="What was rolled out."),
    option("--namespace", metavar="NAME", help="Its namespace; left out: any."),
    option("--canary", metavar="NAME", help=CANARY),
    option("--baseline", metavar="NAME", help="The same for the baseline; left out: nothing is compared."),
    labels_option,
    profile_option,
)
@option_group(
    "When",
    option(
        "--start",
        metavar="MOMENT",
        help="Start of the data, RFC 3339 or Unix seconds; default: the canary's first sample.",
    ),
    option("--end", metavar="MOMENT", help="The last measurement, RFC 3339 or Unix seconds; default now."),
    option(
        "--every", type=Duration("1s", "1d"), default="30s", show_default=True, help="Interval between measurements."
    ),
)
@option_group(
    "How it is judged",
    option(
        "--policy",
        "policies",
        metavar="NAME|JSON",
        multiple=True,
        shell_complete=complete_policies,
        help="How to judge: a policy, or what differs from one as a JSON object; may be given several times.",
    ),
    option("--checks", metavar="NAMES", help="Which checks of the policies, comma-separated; default all."),
    option("--window", metavar="WINDOW", help="start (default), or step: a pass is proved at the present weight."),
)
@option_group(
    "Output",
    json_option,
    option(
        "--out",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write it as a page as well, with the evidence over time by each policy: a file that ends in .html.",
    ),
)
def replay(
    file: Any,
    start: str | None,
    end: str | None,
    every: float,
    policies: tuple[str, ...],
    as_json: bool,  # noqa: FBT001 - click calls by name
    out: Path | None,
    **flags: str | None,
) -> None:
    """Replay a past rollout: what would be decided, and when.

    The counts of the whole rollout are read once and judged at each measurement with no more than was known at that
    moment: each is the verdict that was, or would have been, answered then. With several policies, all judge the same
    measurements, to see what a limit changes before it is trusted.

    The first measurement that fails would have rolled back. Later ones are shown as well: they judge the traffic that
    there was, as if nothing had been decided.

    It needs the source prometheus, or `data` in the file. Nothing finer than 15 s is read, and less finely what is
    longer than 33 hours or has very many series; the output says how finely. Of a canary that came back after more
    than 10 minutes, only the present run is replayed, unless --start is given.

    The JSON has `window`, `every`, `resolution`, `notes`, `queries`, and for each of `policies` its `decision`
    (`verdict`, `at`, `seconds` since the start, `requests` of the canary, `reason`, `stood`, `first_pass`) and all
    `looks`: `verdict`, `reason`, `requests`, and for each of `checks` `verdict`, `code`, `reason`, `value` with `low`
    and `high`, `baseline`, `evidence` and `requests`.
    """
    from analyzer.cli.replay_text import print_replay
    from analyzer.config.settings import load_settings
    from analyzer.planning.replay_json import replay_as_json
    from analyzer.planning.replayed_rollout import replay as compute
    from analyzer.quantity import parse_object
    from analyzer.verdict.request import parse_request
    from analyzer.verdict.wiring import build_analyzer

    body = read_body(file, {**flags, "start": start, "at": end}, "nothing to replay")
    if out is not None:
        check_out(out, (".html",))
    try:
        if start is not None and end is not None:
            _check_order(start, end)
        request = parse_request(body)
        chosen = [_policy(text, parse_object) for text in policies]
        analyzer = build_analyzer(load_settings(), patience=PATIENCE)
        replayed = compute(analyzer, request, chosen, every=every, watch=watched("measuring"))
    except RequestError as error:
        raise RequestError([_named(problem) for problem in error.problems]) from error
    except SourceError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(SOURCE_UNAVAILABLE)
    if out is not None:
        from analyzer.report.replay_page import page

        out.write_text(page(replayed), encoding="utf-8")
    if as_json:
        print_json(replay_as_json(replayed))
    else:
        print_replay(replayed, console())


def _check_order(start: str, end: str) -> None:
    from analyzer.quantity import parse_instant

    try:
        wrong = parse_instant(start) >= parse_instant(end)
    except ValueError:
        return  # reported for the option itself
    if wrong:
        raise RequestError([Problem("at", f"must be after the start, {start}, got {end}")])


def _policy(text: str, parse: Any) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise RequestError([Problem("policy", str(error))]) from error


def _named(problem: Problem) -> Problem:
    """Return the problem with the option's name instead of the field's, where there is one."""
    first = problem.field.split(".")[0]
    if first == "at":
        return Problem("--end", problem.message)
    return replace(problem, field=f"--{problem.field}") if first in OPTIONS else problem
