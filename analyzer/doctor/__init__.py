"""Before the first rollout: what a profile finds in the user's Prometheus, and what to change (``analyzer doctor``).

`question` reads what is asked, `survey` asks Prometheus by the `queries` and gives what it `found`; `diagnosis` puts
together what follows from it in `notices`, by `absence`, `buckets` and `shortcomings`; `report` prints.
"""

from collections.abc import Mapping
from typing import Any

import click
import orjson
from rich.console import Console

from analyzer.doctor.diagnosis import examine
from analyzer.doctor.notices import Status
from analyzer.doctor.report import as_json, print_diagnosis
from analyzer.errors import SourceError
from analyzer.settings import build_analyzer, load_settings

THERE, SOMETHING_MISSING, SOURCE_UNAVAILABLE = 0, 1, 4


def run(fields: Mapping[str, str | None], console: Console, *, json: bool) -> int:
    """Examine, print, and give the exit code.

    Parameters
    ----------
    fields : service, canary, baseline, namespace, profile, policy, checks, window, at; None: not given
    """
    settings = load_settings()
    try:
        found = examine(build_analyzer(settings), settings, fields)
    except SourceError as error:
        reason = f"{settings.prometheus_url}: {error}"
        if json:
            _print_json({"status": "unavailable", "reason": reason})
        click.echo(f"Error: {reason}", err=True)
        return SOURCE_UNAVAILABLE
    if json:
        _print_json(as_json(found))
    else:
        print_diagnosis(found, console)
    return SOMETHING_MISSING if found.status is Status.MISSING else THERE


def _print_json(answer: Mapping[str, Any]) -> None:
    click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE), nl=False)
