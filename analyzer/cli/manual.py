"""How a command describes itself: options under headings, exit codes, environment, examples as they are typed."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

SOURCE = {
    "ANALYZER_SOURCE": "where counts come from: prometheus, or the pods themselves: scrape (default)",
    "ANALYZER_PROMETHEUS_URL": "of the source prometheus; default http://localhost:9090",
}
FILES = {"ANALYZER_CONFIG_DIR": "folder with policies/ and profiles/ of your own"}


class Manual(click.Command):
    """A command whose help has everything that a manual page has.

    Parameters
    ----------
    headings : of groups of options, by the name of the first one under each
    exits : what the exit codes mean, where there are others than 0 and 2
    environment : what the environment variables that it reads mean
    examples : commands, as they are typed
    """

    def __init__(
        self,
        *args: Any,
        headings: Mapping[str, str] | None = None,
        exits: Mapping[int, str] | None = None,
        environment: Mapping[str, str] | None = None,
        examples: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.headings, self.exits, self.environment = headings or {}, exits or {}, environment or {}
        self.examples = textwrap.dedent(examples).strip("\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings; those before the first, and that for help, are just options."""
        general: list[tuple[str, str]] = []
        groups: list[tuple[str, list[tuple[str, str]]]] = [("Options", general)]
        for param in self.get_params(ctx):
            if param.name in self.headings:
                groups.append((self.headings[param.name], []))
            record = None if isinstance(param, click.Argument) else param.get_help_record(ctx)
            if record is not None:
                (general if param is self.get_help_option(ctx) else groups[-1][1]).append(record)
        for heading, records in [*groups[1:], groups[0]]:
            with formatter.section(heading):
                formatter.write_dl(records)

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


class ManualGroup(Manual, click.Group):
    """A command with commands under it, which may stand under headings too.

    Attributes
    ----------
    sections : names of commands by their heading; others stand under the last
    """

    sections: Mapping[str, Sequence[str]]

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections or {"Commands": ()}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write each command with the first sentence of its help, all texts in one column."""
        shown = {name: one for name, one in self.commands.items() if not one.hidden}
        width = max(map(len, shown))
        for heading, names in self._by_section(list(shown)):
            with formatter.section(heading):
                limit = formatter.width - width - 6
                formatter.write_dl([(name.ljust(width), shown[name].get_short_help_str(limit)) for name in names])

    def _by_section(self, shown: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        listed = {name for names in self.sections.values() for name in names}
        rest = [name for name in shown if name not in listed]
        for place, (heading, names) in enumerate(self.sections.items(), 1):
            last = rest if place == len(self.sections) else []
            if here := [name for name in [*names, *last] if name in shown]:
                yield heading, here
