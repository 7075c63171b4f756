"""The commands that set the analyzer up, and say what it knows and what it finds."""

import sys

import click

from analyzer.cli.completion import complete_profiles
from analyzer.cli.manual import FILES, SOURCE, Manual
from analyzer.cli.shared import (
    NO_SOURCE,
    console,
    json_option,
    options_named,
    policy_option,
    print_json,
    profile_option,
)


@click.command(
    cls=Manual,
    environment=SOURCE | FILES | {"ANALYZER_...": "all others: `analyzer check-config` lists them"},
    examples="""
        analyzer serve
        ANALYZER_SOURCE=prometheus ANALYZER_PROMETHEUS_URL=http://prometheus:9090 analyzer serve
    """,
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
def serve(host: str, port: int) -> None:
    """Serve verdicts over HTTP.

    Argo Rollouts asks at /v1/verdict; a browser finds a form, reports and the description of the API at /. The server
    is gunicorn, one worker with threads. SIGTERM answers what is in flight, then ends.
    """
    from analyzer.web.server import serve as run

    run(host, port)


@click.command(
    "check-config",
    cls=Manual,
    exits={0: "valid", 2: "wrong"},
    environment={"ANALYZER_...": "the settings, which it lists"},
    examples="""
        analyzer check-config
        ANALYZER_CONFIG_DIR=./config analyzer check-config
    """,
)
def check_config() -> None:
    """Check settings, policies and profiles, and list them.

    It reads what the service would read, refuses what it would refuse, and warns of limits that the buckets of a
    profile cannot resolve. It asks no source: that is what `analyzer doctor` does.
    """
    from analyzer.cli.config_table import report
    from analyzer.config.settings import load_settings
    from analyzer.verdict.wiring import build_analyzer

    settings = load_settings()
    report(settings, build_analyzer(settings), console())


@click.command(
    cls=Manual,
    environment=FILES,
    examples="""
        analyzer profiles
        analyzer profiles triton
    """,
)
@click.argument("name", required=False, shell_complete=complete_profiles)
@json_option
def profiles(name: str | None, as_json: bool) -> None:  # noqa: FBT001 - click calls by name
    """List the profiles, or explain one.

    A profile says which metrics of a model server, mesh or ingress are read. With its NAME it is explained: what it
    reads, what it cannot tell, and where its facts come from.
    """
    from analyzer.cli.profile_list import details, print_details, print_summaries, summary
    from analyzer.config.profile import choose_profile, load_profiles
    from analyzer.config.settings import load_settings

    folder = load_settings().config_dir
    loaded = load_profiles(folder / "profiles" if folder else None)
    if name is not None:
        chosen = choose_profile(loaded, name)
        if as_json:
            print_json(details(chosen))
        else:
            print_details(chosen, console())
    elif as_json:
        print_json({"profiles": [summary(loaded[one]) for one in sorted(loaded)]})
    else:
        print_summaries(loaded, console())


@click.command(
    cls=Manual,
    headings={"service": "Which service", "profile": "What it is tried with", "as_json": "Output"},
    exits={0: "all that the policy needs is there", 1: "something is missing"} | NO_SOURCE,
    environment=SOURCE | FILES,
    examples="""
        analyzer doctor --service fraud-detector --namespace ml
        analyzer doctor --service fraud-detector --baseline 75d4f8b9c8 --canary 6d8f9c7b5d
    """,
)
@click.option("--service", metavar="NAME", required=True, help="What will be rolled out.")
@click.option(
    "--canary",
    metavar="NAME",
    help="What tells the canary apart: with Argo, its pod template hash; left out: none yet.",
)
@click.option(
    "--baseline",
    metavar="NAME",
    help="The same for the baseline; with neither, the values to choose from are listed.",
)
@click.option("--namespace", metavar="NAME", help="Its namespace; left out: any.")
@profile_option
@policy_option
@click.option("--checks", metavar="NAMES", help="Which checks of the policy, comma-separated; default all.")
@click.option("--window", metavar="DURATION", default="1h", show_default=True, help="How much of the past to look at.")
@click.option("--at", metavar="MOMENT", help="Its end, RFC 3339 or Unix seconds; default now.")
@json_option
def doctor(as_json: bool, **fields: str | None) -> None:  # noqa: FBT001 - click calls by name
    """Try a profile on your Prometheus: what is missing there?

    For every check of the policy it says what is there, what is missing and what to change, before any rollout needs
    it. Without --canary and --baseline it lists what can be given there. It needs the source prometheus.
    """
    from analyzer.cli.doctor_report import run

    with options_named():
        code = run(fields, console(), json=as_json)
    sys.exit(code)
