"""The READMEs in pieces: blocks, commands as bash reads them, anchors."""

import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

PROJECT = Path(__file__).parents[2]
READMES = sorted(path for path in PROJECT.rglob("README.md") if not any(part.startswith(".") for part in path.parts))
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
BASH = """
command_not_found_handle() {
  local name
  for name in "${!ANALYZER_@}"; do printf '%s=%s\\0' "$name" "${!name}"; done
  printf '%s\\0' "$@"
  printf '\\1'
} >> "$RECORD"
"""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes
    ----------
    place : README and line, for messages
    """

    readme: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{named(self.readme)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a block, with the settings that were exported before it."""

    place: str
    words: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.place} {' '.join(self.words)[:60]}"


def named(readme: Path) -> str:
    """Name a README by its path in the project."""
    return str(readme.relative_to(PROJECT))


@cache
def text_of(readme: Path) -> str:
    """Read a README."""
    return readme.read_text(encoding="utf-8")


@cache
def blocks(language: str, *folders: str) -> list[Block]:
    """Find the blocks of a language, in all READMEs or in those of some folders."""
    readmes = [PROJECT / folder / "README.md" for folder in folders] or READMES
    return [
        Block(readme, text_of(readme)[: found.start()].count("\n") + 1, found[2], dedent(found[3]))
        for readme in readmes
        for found in FENCED.finditer(text_of(readme))
        if found[2] == language
    ]


def prose(readme: Path) -> str:
    """Give a README without its blocks."""
    return FENCED.sub("", text_of(readme))


def anchors(readme: Path) -> set[str]:
    """List the anchors of the headings, as GitHub forms them."""
    headings = re.findall(r"^#+ (.*)$", prose(readme), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(folder: Path) -> list[Command]:
    """Let bash read every block of shell in an empty folder, and tell what it would have called."""
    found = []
    for block in blocks("sh"):
        record = folder / "record"
        record.write_text("")
        script = BASH + block.text.replace(".venv/bin/", "")
        environment = {"PATH": "/nowhere", "HOME": str(folder), "RECORD": str(record)}
        done = subprocess.run(
            ["/bin/bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=10,
            check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), f"{block.place}: {done.stderr}"
        for line in record.read_text(encoding="utf-8").split("\1")[:-1]:
            words = line.split("\0")[:-1]
            settings = [tuple(word.split("=", 1)) for word in words if re.match("ANALYZER_[A-Z_]+=", word)]
            found.append(Command(block.place, tuple(words[len(settings) :]), tuple(settings)))
    return found
