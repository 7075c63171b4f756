"""The command that prints the script for completion by TAB, and what is completed."""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from cloup import argument, command

from analyzer.cli.manual import FILES, Manual

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PACKAGED = Path(__file__).parents[1] / "config"
NAME = re.compile(r"^name:\s*['\"]?([A-Za-z0-9_.-]+)", re.MULTILINE)
SHELLS = ("bash", "zsh", "fish")

Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem[str]]"]


@command(
    cls=Manual,
    environment=FILES,
    examples="""
        echo 'eval "$(analyzer completion bash)"' >> ~/.bashrc
        echo 'eval "$(analyzer completion zsh)"' >> ~/.zshrc
        analyzer completion fish > ~/.config/fish/completions/analyzer.fish
    """,
)
@argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that completes commands by TAB.

    It completes commands, options and what there is to choose from: names of policies and profiles, codes of findings.
    The examples put it where the next shell finds it; in ~/.zshrc it must stand below `compinit`.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"this version of click knows no completion for {shell}")
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "analyzer", "_ANALYZER_COMPLETE").source())


def _completing(names: Callable[[], list[str]]) -> Completer:
    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in names() if name.startswith(incomplete)]

    return complete


def _names(folder: str) -> list[str]:
    """List the names of the packaged files and of those mounted, without the time it takes to understand them."""
    own = os.environ.get("ANALYZER_CONFIG_DIR")
    files = [path for root in (PACKAGED, *([Path(own)] if own else [])) for path in (root / folder).glob("*.y*ml")]
    found = set()
    for path in files:
        with suppress(OSError):
            found |= set(NAME.findall(path.read_text(encoding="utf-8", errors="replace"))[:1])
    return sorted(found)


def _codes() -> list[str]:
    from analyzer.verdict.reasons import OUTCOMES, REASONS

    return [*OUTCOMES, *REASONS]


complete_policies = _completing(lambda: _names("policies"))
complete_profiles = _completing(lambda: _names("profiles"))
complete_codes = _completing(_codes)
