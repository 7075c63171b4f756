"""The command that shows it all on this machine."""

import sys
from pathlib import Path

import click
from cloup import command, option

from analyzer.cli.manual import Manual
from analyzer.cli.shared import console

SCENARIOS = ("healthy", "errors", "slow", "drift", "business")


@command(
    cls=Manual,
    exits={0: "every scenario ended as it must", 1: "one did not", 2: "wrong usage, or something is not installed"},
    examples="""
        analyzer demo
        analyzer demo --scenario slow --scenario drift
        analyzer demo --scenario errors --reports /tmp
    """,
)
@option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice(SCENARIOS),
    help="What to play; may be given several times. Default: healthy, then errors.",
)
@option("--prometheus", "use_prometheus", is_flag=True, help="Read from a real Prometheus instead of the pods.")
@option(
    "--reports",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Folder for a report of each scenario, a page to open in a browser.",
)
def demo(scenarios: tuple[str, ...], use_prometheus: bool, reports: Path | None) -> None:  # noqa: FBT001
    """Watch a good version being promoted and a bad one caught.

    Two versions of a small model are served, traffic is sent to both, and a simulated rollout asks the real
    analyzer between its steps, all on this machine. It takes less than a minute and needs neither network nor
    Kubernetes.
    """
    from analyzer.demo import DEFAULT_SCENARIOS, run

    sys.exit(run(scenarios or DEFAULT_SCENARIOS, use_prometheus=use_prometheus, console=console(), reports=reports))
