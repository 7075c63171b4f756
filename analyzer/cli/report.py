"""The command that writes a verdict for people into a file."""

import sys
from pathlib import Path
from typing import Any

import click
from cloup import command, option, option_group

from analyzer.cli.manual import FILES, SOURCE, Manual
from analyzer.cli.request_options import EXIT_CODES, exit_code, how_judged, read_body, which_canary
from analyzer.cli.shared import NO_SOURCE, check_out


@command(
    cls=Manual,
    exits={code: outcome for outcome, code in EXIT_CODES.items()} | NO_SOURCE,
    environment=SOURCE | FILES | {"ANALYZER_PROMETHEUS_UI_URL": "where links to the queries lead"},
    examples="""
        analyzer report --service fraud-detector --canary 6d8f9c7b5d --baseline 75d4f8b9c8
        analyzer report --service fraud-detector --canary 6d8f9c7b5d --baseline 75d4f8b9c8 \\
          --at 2026-11-23T10:14:30Z --out why.html
        analyzer report --file request.json --out summary.png
    """,
)
@which_canary
@how_judged
@option_group(
    "Output",
    option(
        "--out",
        type=click.Path(dir_okay=False, path_type=Path),
        default=Path("report.html"),
        show_default=True,
        help="Where to write it: .html for the page, .png for its summary as a picture.",
    ),
)
def report(file: Any, out: Path, **flags: str | None) -> None:
    """Write a verdict as a page that explains it, or as a picture.

    The page is that of /report: the verdict and what follows from it, the checks with their intervals and limits, the
    evidence over time, what was counted. It loads nothing, so it can be mailed and kept. The exit code is the verdict,
    as that of `analyzer verdict` is.
    """
    from analyzer.config.settings import SourceName, load_settings
    from analyzer.verdict.request import parse_request
    from analyzer.verdict.wiring import build_analyzer

    check_out(out, (".html", ".png"))
    request = parse_request(read_body(file, flags, "nothing to report on"))
    settings = load_settings()
    case = build_analyzer(settings).read(request)
    if out.suffix == ".png":
        from analyzer.report.picture import picture

        out.write_bytes(picture(request, case))
    else:
        from analyzer.report.page import page

        links = settings.prometheus_ui_url or settings.prometheus_url
        url = links if settings.source is SourceName.PROMETHEUS else None
        out.write_text(page(request, case, prometheus_url=url), encoding="utf-8")
    verdict = case.verdict()
    click.echo(f"{out}: {verdict.outcome.value}, {verdict.reason}")
    sys.exit(exit_code(verdict))
