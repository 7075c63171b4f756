"""The command ``analyzer``: one module per command, named as the command; errors become exit codes here.

Commands import what they need when they run, so that ``analyzer verdict`` is quick.
"""

import os
import sys
import traceback

import click
from cloup import Section, group

from analyzer.cli import (
    calibrate,
    check_config,
    completion,
    demo,
    doctor,
    explain,
    plan,
    profiles,
    replay,
    report,
    rollout,
    serve,
    verdict,
)
from analyzer.cli.manual import FILES, SOURCE, ManualGroup
from analyzer.cli.shared import INTERRUPTED, UNEXPECTED, WRONG_USAGE, leave
from analyzer.errors import AnalyzerError
from analyzer.version import __version__

SECTIONS = (
    Section("Judge a canary", [verdict.verdict, report.report, replay.replay, explain.explain]),
    Section(
        "Before a rollout",
        [doctor.doctor, plan.plan, calibrate.calibrate, check_config.check_config, profiles.profiles],
    ),
    Section("Run", [serve.serve, rollout.rollout, demo.demo, completion.completion]),
)


@group(
    cls=ManualGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    sections=SECTIONS,
    exits={
        WRONG_USAGE: "wrong usage, a wrong setting or file, or output that cannot be written",
        UNEXPECTED: "an unexpected error, with a traceback",
        INTERRUPTED: "interrupted",
    },
    environment=SOURCE | FILES | {"ANALYZER_...": "all others: `analyzer check-config` lists them"},
    examples="""
        analyzer demo
        analyzer doctor --service fraud-detector
        analyzer verdict --service fraud-detector --canary 6d8f9c7b5d --baseline 75d4f8b9c8
    """,
)
@click.version_option(__version__, prog_name="analyzer")
def cli() -> None:
    """Is the canary model healthy? Verdicts for Argo Rollouts that are right at every look.

    Each command has its own help with examples: `analyzer verdict --help`. Other exit codes than those below are
    answers, and stand there.
    """


def main() -> None:
    """Run the command; code 1 is an answer (a failed canary, false alarms, something missing), never an error."""
    try:
        sys.exit(cli.main(prog_name="analyzer", standalone_mode=False))
    except AnalyzerError as error:
        where = getattr(error, "where", "")
        for problem in getattr(error, "problems", [error]):
            line = f"Error: {where + ': ' if where else ''}{problem}"
            click.echo(" ".join(line.split()), err=True)  # a YAML parser says where in several lines
        sys.exit(WRONG_USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(WRONG_USAGE)
    except (click.Abort, KeyboardInterrupt):
        leave(INTERRUPTED)
    except OSError as error:  # such as a full disk behind standard output
        click.echo(f"Error: input or output failed: {error.strerror}", err=True)
        os._exit(WRONG_USAGE)  # without another attempt to write what is left
    except Exception:  # noqa: BLE001 - Python's own code for these would be 1
        traceback.print_exc()
        os._exit(UNEXPECTED)
