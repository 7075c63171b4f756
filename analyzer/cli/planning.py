"""The commands for the time before a rollout: how long it will take, and how often it would be wrong."""

import sys
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.manual import FILES, SOURCE, Manual
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

if TYPE_CHECKING:
    from analyzer.config.policy import Policy
    from analyzer.verdict.analysis import Analyzer

TOO_MANY_FALSE_ALARMS = 1


@click.command(
    cls=Manual,
    headings={"rate": "The traffic", "policy": "What is supposed", "as_json": "Output"},
    environment=FILES,
    examples="""
        analyzer plan --rate 10 --weight 5
        analyzer plan --rate 200 --healthy error_rate=0.1% --fault error_rate=2% --fault latency_p99=3%
    """,
)
@click.option("--rate", metavar="NUMBER", required=True, help="Requests a second of the whole service.")
@click.option("--weight", metavar="PERCENT", default="5", show_default=True, help="The canary's part of them.")
@policy_option
@click.option("--healthy", multiple=True, metavar="CHECK=VALUE", help="Value of a healthy canary: error_rate=0.1%.")
@click.option("--fault", multiple=True, metavar="CHECK=VALUE", help="Value of a faulty one, up to three a check.")
@click.option(
    "--conversion",
    metavar="SHARE",
    default="5%",
    show_default=True,
    help="Part of the baseline's requests that convert.",
)
@click.option("--level", multiple=True, metavar="CHECK=RATE", help="The baseline's rate, for rule relative.")
@click.option(
    "--correlation",
    multiple=True,
    metavar="CHECK=VALUE",
    help="Of requests of the same minute, which `analyzer calibrate` measures.",
)
@json_option
def plan(rate: str, weight: str, policy: str | None, conversion: str, as_json: bool, **options: Any) -> None:  # noqa: FBT001
    """Tell about how long each check will take at this traffic.

    For a healthy canary until it passes, for small, medium and large faults until they are rolled back. It computes,
    and asks no source. Values are in the check's unit: a share of failed requests, a share of requests slower than the
    limit of the latency, a PSI, a change against the baseline.
    """
    from analyzer.cli.planning_tables import plan_as_json, print_plan
    from analyzer.config.settings import load_settings
    from analyzer.planning.assumptions import read_assumptions
    from analyzer.planning.forecast import plan as compute
    from analyzer.quantity import parse_number, parse_ratio
    from analyzer.verdict.wiring import build_analyzer

    analyzer = build_analyzer(load_settings())
    with options_named():
        chosen, share = _asked(analyzer, policy, weight)
        per_second = read_option("rate", parse_number, rate)
        if per_second <= 0:
            raise RequestError([Problem("rate", f"must be above 0, got {rate}: give the requests a second")])
        converting = read_option("conversion", parse_ratio, conversion)
        rows = compute(chosen, per_second, share, read_assumptions(chosen, options, converting))
    if as_json:
        print_json(plan_as_json(rows, chosen, per_second, share))
    else:
        print_plan(rows, chosen, per_second, share, console())


@click.command(
    cls=Manual,
    headings={
        "service": "Whose past",
        "policy": "How it is judged",
        "weight": "What is pretended",
        "as_json": "Output",
    },
    exits={0: "no more false alarms than alpha allows", TOO_MANY_FALSE_ALARMS: "significantly more"} | NO_SOURCE,
    environment=SOURCE | FILES,
    examples="""
        analyzer calibrate --service fraud-detector --baseline 75d4f8b9c8
        analyzer calibrate --service fraud-detector --baseline 75d4f8b9c8 --history 3d --length 30m
    """,
)
@click.option("--service", metavar="NAME", required=True, help="Whose past is read.")
@click.option(
    "--baseline",
    metavar="NAME",
    required=True,
    help="What tells its pods apart: with Argo, the pod template hash.",
)
@click.option("--namespace", metavar="NAME", help="Its namespace; left out: any.")
@profile_option
@click.option("--history", metavar="DURATION", default="24h", show_default=True, help="How much of the past to read.")
@click.option("--at", metavar="MOMENT", help="Its end, RFC 3339 or Unix seconds; default now.")
@policy_option
@click.option("--weight", metavar="PERCENT", default="5", show_default=True, help="The pretend canary's traffic.")
@click.option("--length", metavar="DURATION", default="1h", show_default=True, help="How long a pretend rollout lasts.")
@click.option("--runs", default=200, show_default=True, type=click.IntRange(1, 100_000), help="How many to pretend.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="The same gives the same.")
@json_option
def calibrate(history: str, length: str, runs: int, seed: int, as_json: bool, **fields: str | None) -> None:  # noqa: FBT001
    """Try a policy on the service's own past (A/A).

    The past of the baseline is split many times into a pretend canary and a baseline, which are the same, and judged
    as a real rollout is. What is rolled back is a false alarm; what never passes is too strict a limit or too little
    traffic. It needs the source prometheus, and shows its progress on a terminal.
    """
    from analyzer.cli.planning_tables import calibration_as_json, print_calibration
    from analyzer.config.settings import load_settings
    from analyzer.planning.calibration import calibrate as compute
    from analyzer.planning.past import read_past_of
    from analyzer.verdict.wiring import build_analyzer

    analyzer = build_analyzer(load_settings())
    with options_named():
        chosen, share = _asked(analyzer, fields.pop("policy"), fields.pop("weight") or "")
        minutes, back = _minutes("length", length), _minutes("history", history)
        try:
            past = read_past_of(analyzer, chosen, fields, back, watched("reading the past"))
        except SourceError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(SOURCE_UNAVAILABLE)
        watch = watched("pretend rollouts")
        found = compute(chosen, past, share=share, length=minutes, runs=runs, seed=seed, watch=watch)
    if as_json:
        print_json(calibration_as_json(found))
    else:
        print_calibration(found, console())
    sys.exit(TOO_MANY_FALSE_ALARMS if found.whole.too_many else 0)


def _asked(analyzer: "Analyzer", policy: str | None, weight: str) -> tuple["Policy", float]:
    """Read the policy and the canary's share of the traffic, as a verdict does."""
    from analyzer.config.policy import choose_policy
    from analyzer.model.findings import Role
    from analyzer.verdict.request import parse_request

    request = parse_request({"data": {}, "weight": weight, **({} if policy is None else {"policy": policy})})
    if request.share is None:
        raise RequestError([Problem("weight", f"must be above 0 and below 100 percent, got {weight}")])
    wanted = request.policy or analyzer.default_policy
    chosen = choose_policy(dict(analyzer.policies), wanted, analyzer.default_policy)
    if chosen.role is not Role.GATE:
        raise RequestError(
            [Problem("policy.role", "is that of one stage, and this is about all of them; leave it out")]
        )
    return chosen, request.share


def _minutes(name: str, text: str) -> int:
    """Read a duration in whole minutes, at least one."""
    from analyzer.quantity import parse_seconds

    minutes = round(read_option(name, parse_seconds, text) / 60)
    if minutes < 1:
        raise RequestError([Problem(name, f"must be a minute or longer, such as 1h, got {text[:40]!r}")])
    return minutes
