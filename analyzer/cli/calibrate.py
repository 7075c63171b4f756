"""The command ``analyzer calibrate``: how often a policy would be wrong."""

import sys

import click
from cloup import command, option, option_group

from analyzer.cli.manual import FILES, SOURCE, Manual
from analyzer.cli.plan import chosen_policy
from analyzer.cli.request_options import labels_option
from analyzer.cli.shared import (
    NO_SOURCE,
    SOURCE_UNAVAILABLE,
    console,
    json_option,
    options_named,
    policy_option,
    print_json,
    profile_option,
    read_option,
    watched,
)
from analyzer.errors import Problem, RequestError, SourceError

TOO_MANY_FALSE_ALARMS = 1


@command(
    cls=Manual,
    exits={0: "no more false alarms than alpha allows", TOO_MANY_FALSE_ALARMS: "significantly more"} | NO_SOURCE,
    environment=SOURCE | FILES,
    examples="""
        analyzer calibrate --service fraud-detector --baseline 75d4f8b9c8
        analyzer calibrate --service fraud-detector --baseline 75d4f8b9c8 --history 3d --length 30m
    """,
)
@option_group(
    "Whose past",
    option("--service", metavar="NAME", required=True, help="Whose past is read."),
    option(
        "--baseline", metavar="NAME", required=True, help="What tells its pods apart: with Argo, the pod template hash."
    ),
    option("--namespace", metavar="NAME", help="Its namespace; left out: any."),
    labels_option,
    profile_option,
    option("--history", metavar="DURATION", default="24h", show_default=True, help="How much of the past to read."),
    option("--at", metavar="MOMENT", help="Its end, RFC 3339 or Unix seconds; default now."),
)
@option_group("How it is judged", policy_option)
@option_group(
    "What is simulated",
    option("--weight", metavar="PERCENT", default="5", show_default=True, help="The pretend canary's traffic."),
    option("--length", metavar="DURATION", default="1h", show_default=True, help="How long a pretend rollout lasts."),
    option("--runs", default=200, show_default=True, type=click.IntRange(1, 100_000), help="How many to simulate."),
    option("--seed", default=1, show_default=True, type=click.IntRange(0), help="The same gives the same."),
)
@option_group("Output", json_option)
def calibrate(history: str, length: str, runs: int, seed: int, as_json: bool, **fields: str | None) -> None:  # noqa: FBT001
    """Try a policy on the service's own past (A/A).

    The past of the baseline is split many times into a pretend canary and a baseline, which are the same, and judged
    as a real rollout is. What is rolled back is a false alarm; what never passes is too strict a limit or too little
    traffic. Some of the rollouts are split by whole pods and by time, where the past allows it. It needs the source
    prometheus, and shows its progress on a terminal.
    """
    from analyzer.cli.planning_tables import calibration_as_json, print_calibration
    from analyzer.config.settings import load_settings
    from analyzer.planning.calibration import calibrate as compute
    from analyzer.planning.past import read_past_of
    from analyzer.verdict.wiring import build_analyzer

    analyzer = build_analyzer(load_settings())
    with options_named():
        chosen, share = chosen_policy(analyzer, fields.pop("policy"), fields.pop("weight") or "")
        minutes, back = _minutes("length", length), _minutes("history", history)
        try:
            past = read_past_of(analyzer, chosen, fields, back, watched("reading the past"))
        except SourceError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(SOURCE_UNAVAILABLE)
        watch = watched("pretend rollouts")
        calibration = compute(chosen, past, share=share, length=minutes, runs=runs, seed=seed, watch=watch)
    if as_json:
        print_json(calibration_as_json(calibration))
    else:
        print_calibration(calibration, console())
    sys.exit(TOO_MANY_FALSE_ALARMS if calibration.too_many else 0)


def _minutes(name: str, text: str) -> int:
    """Read a duration in whole minutes, at least one."""
    from analyzer.quantity import parse_seconds

    minutes = round(read_option(name, parse_seconds, text) / 60)
    if minutes < 1:
        raise RequestError([Problem(name, f"must be a minute or longer, such as 1h, got {text[:40]!r}")])
    return minutes
