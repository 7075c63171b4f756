"""The command that says what a code or a verdict means, and what to do."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from cloup import argument, command, option

from analyzer.cli.completion import complete_codes
from analyzer.cli.manual import Manual
from analyzer.cli.shared import console, json_option, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from analyzer.verdict.reasons import Reason


@command(
    cls=Manual,
    examples="""
        analyzer explain
        analyzer explain no_canary_traffic
        analyzer explain inconclusive undecided
    """,
)
@argument("codes", metavar="[CODE]...", nargs=-1, shell_complete=complete_codes)
@json_option
@option("--markdown", is_flag=True, hidden=True, help="Print the table that stands in a README.")
def explain(codes: tuple[str, ...], as_json: bool, markdown: bool) -> None:  # noqa: FBT001 - click calls by name
    """Explain a verdict or a code: its causes, and what to do.

    CODE is a `code` of an answer, such as traffic_split, or a verdict: pass, fail, inconclusive. Left out, all are
    listed.
    """
    from analyzer.verdict.reasons import OUTCOMES, REASONS, troubleshooting_table

    if markdown:
        click.echo(troubleshooting_table())
        return
    tables = {
        "verdicts": {one.value: reason for one, reason in OUTCOMES.items()},
        "codes": {one.value: reason for one, reason in REASONS.items()},
    }
    wanted = _known(codes, [name for table in tables.values() for name in table])
    if as_json:
        chosen = {
            heading: {name: _as_json(reason) for name, reason in table.items() if name in wanted or not wanted}
            for heading, table in tables.items()
        }
        print_json(chosen)
    elif wanted:
        known = tables["verdicts"] | tables["codes"]
        _print_some({name: known[name] for name in wanted}, console())
    else:
        _print_all(tables, console())


def _known(codes: Iterable[str], known: Sequence[str]) -> list[str]:
    """Read codes as people write them, each once."""
    from analyzer.quantity import nearest

    names = {code: code.strip().lower().replace("-", "_") for code in codes}
    for code, name in names.items():
        if name not in known:
            raise click.BadParameter(f"unknown code {code[:60]!r}; {nearest(name, known)}", param_hint="CODE")
    return list(dict.fromkeys(names.values()))


def _as_json(reason: "Reason") -> dict[str, Any]:
    return {
        "meaning": reason.meaning,
        "rollout": reason.rollout,
        "causes": list(reason.causes),
        "remedies": list(reason.remedies),
    }


def _print_all(tables: Mapping[str, Mapping[str, "Reason"]], out: "Console") -> None:
    from rich.table import Column, Table
    from rich.text import Text

    for heading, reasons in tables.items():
        table = Table(Column(heading[:-1], no_wrap=True, min_width=20), Column("meaning"), box=None, pad_edge=False)
        for name, reason in reasons.items():
            table.add_row(Text(name, style="bold"), _marked(reason.meaning, out))
        out.print(table, Text())
    out.print(Text("Causes and remedies: `analyzer explain CODE`", style="dim"))


def _print_some(reasons: Mapping[str, "Reason"], out: "Console") -> None:
    from rich.table import Column, Table
    from rich.text import Text

    for place, (name, reason) in enumerate(reasons.items()):
        heading = Text(f"\n{name}" if place else name, style="bold")
        out.print(heading, _marked(f"{reason.meaning} {reason.rollout}", out), sep="\n")
        for word, texts in (("Likely causes", reason.causes), ("What to do", reason.remedies)):
            if texts:
                table = Table(Column(width=1), Column(overflow="fold"), box=None, show_header=False, pad_edge=False)
                for text in texts:
                    table.add_row("-", _marked(text, out))
                out.print(Text(f"\n{word}"), table, sep="\n")


def _marked(text: str, out: "Console") -> Any:
    """Show in colour what stands between backticks, or keep these where there is none."""
    from rich.text import Text

    if out.color_system is None:
        return Text(text)
    parts = re.split(r"`([^`]*)`", text)
    return Text.assemble(*((part, "cyan") if place % 2 else part for place, part in enumerate(parts)))
