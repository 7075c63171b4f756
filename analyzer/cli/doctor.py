"""The command ``analyzer doctor``: try a profile on a Prometheus."""

import sys

import click
from cloup import command, option, option_group

from analyzer.cli.manual import FILES, SOURCE, Manual
from analyzer.cli.request_options import labels_option
from analyzer.cli.shared import NO_SOURCE, console, json_option, options_named, policy_option, profile_option


@command(
    cls=Manual,
    exits={0: "all that the policy needs is there", 1: "something is missing"} | NO_SOURCE,
    environment=SOURCE | FILES,
    examples="""
        analyzer doctor --service fraud-detector --namespace ml
        analyzer doctor --service fraud-detector --baseline 75d4f8b9c8 --canary 6d8f9c7b5d
        analyzer doctor --analyzer-url http://rollout-analyzer.rollout-analyzer.svc:8080
    """,
)
@option_group(
    "Which service",
    option("--service", metavar="NAME", help="What will be rolled out."),
    option(
        "--canary",
        metavar="NAME",
        help="What tells the canary apart: with Argo, its pod template hash; left out: none yet.",
    ),
    option(
        "--baseline",
        metavar="NAME",
        help="The same for the baseline; with neither, the values to choose from are listed.",
    ),
    option("--namespace", metavar="NAME", help="Its namespace; left out: any."),
    labels_option,
)
@option_group(
    "What it is tried with",
    profile_option,
    policy_option,
    option("--checks", metavar="NAMES", help="Which checks of the policy, comma-separated; default all."),
    option("--window", metavar="DURATION", default="1h", show_default=True, help="How much of the past to examine."),
    option("--at", metavar="MOMENT", help="Its end, RFC 3339 or Unix seconds; default now."),
)
@option_group(
    "Instead of a service",
    option("--analyzer-url", metavar="URL", help="Is this address of a template that of the analyzer?"),
)
@option_group("Output", json_option)
def doctor(as_json: bool, analyzer_url: str | None, **fields: str | None) -> None:  # noqa: FBT001 - click calls by name
    """Try a profile on your Prometheus: what is missing there?

    For every check of the policy it says what is there, what is missing and what to change, before any rollout needs
    it. Without --canary and --baseline it lists what can be given there. It needs the source prometheus. With
    --analyzer-url it tries instead whether Argo would get verdicts there: a login page would promote every canary.
    """
    from analyzer.cli.doctor_report import print_address, run

    if (analyzer_url is None) == (fields["service"] is None):
        raise click.UsageError("give --service, or --analyzer-url to try the address of the analyzer")
    if analyzer_url is not None:
        sys.exit(print_address(analyzer_url, console(), json=as_json))
    with options_named():
        code = run(fields, console(), json=as_json)
    sys.exit(code)
