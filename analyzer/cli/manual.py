"""Help like a manual page: below the options it has exit codes, environment variables and examples."""

import textwrap
from collections.abc import Mapping
from typing import Any

import click
import cloup

SOURCE = {
    "ANALYZER_SOURCE": "where counts come from: prometheus, or the pods themselves: scrape (default)",
    "ANALYZER_PROMETHEUS_URL": "of the source prometheus; default http://localhost:9090",
}
FILES = {"ANALYZER_CONFIG_DIR": "folder with policies/ and profiles/ of your own"}


class Manual(cloup.Command):
    """A command whose help has everything that a manual page has.

    Parameters
    ----------
    exits : meaning of the exit codes, where there are others than 0 and 2
    environment : meaning of the environment variables that it reads
    examples : commands, as they are typed
    """

    def __init__(
        self,
        *args: Any,
        exits: Mapping[int, str] | None = None,
        environment: Mapping[str, str] | None = None,
        examples: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.exits, self.environment = exits or {}, environment or {}
        self.examples = textwrap.dedent(examples).strip("\n")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write exit codes, environment and examples."""
        super().format_epilog(ctx, formatter)
        for heading, rows in (
            ("Exit codes", [(str(code), text) for code, text in sorted(self.exits.items())]),
            ("Environment", list(self.environment.items())),
        ):
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)
        if self.examples:
            with formatter.section("Examples"):
                formatter.write(textwrap.indent(self.examples, " " * formatter.current_indent) + "\n")


class ManualGroup(Manual, cloup.Group):
    """The same with commands under it."""
