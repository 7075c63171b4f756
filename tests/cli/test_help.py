"""Every command explains itself: what it is for, its options, its exit codes, examples that can be typed."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from cli.commands import run, spawn

from analyzer.cli import cli
from analyzer.cli.manual import Manual
from analyzer.config.settings import PREFIX, Settings

OTHER_EXITS = {
    "": [2, 70, 130],
    "verdict": [0, 1, 2, 3, 4],
    "report": [0, 1, 2, 3, 4],
    "doctor": [0, 1, 2, 4],
    "calibrate": [0, 1, 2, 4],
    "demo": [0, 1, 2],
    "rollout": [0, 1, 2, 3, 4],
    "rollout kserve": [0, 1, 2, 3, 4],
    "rollout seldon": [0, 1, 2, 3, 4],
    "replay": [0, 2, 4],
}  # of commands that end with something else than 0 and 2


def commands(command: click.Command = cli, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Walk all commands, with the words that call them."""
    yield name, command
    if isinstance(command, click.Group):
        for word, one in command.commands.items():
            yield from commands(one, f"{name} {word}".strip())


COMMANDS = dict(commands())


def sections(text: str) -> dict[str, list[str]]:
    """Part a help into what stands under each heading."""
    found: dict[str, list[str]] = {"": []}
    for line in text.splitlines():
        if line and not line.startswith(" ") and line.endswith(":"):
            found[line[:-1]] = []
        else:
            found[list(found)[-1]].append(line)
    return found


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("columns", [80, 120])
def test_the_help_is_that_of_a_manual(monkeypatch: pytest.MonkeyPatch, name: str, columns: int) -> None:
    """Whole sentences within 100 columns, every option explained, examples, no marker of the formatter left."""
    monkeypatch.setenv("COLUMNS", str(columns))
    long, short = run(*name.split(), "--help"), run(*name.split(), "-h")
    found = sections(long.stdout)

    assert (long.exit_code, long.stderr) == (0, "")
    assert long.stdout == short.stdout
    assert long.stdout.startswith(" ".join(["Usage: analyzer", *name.split(), "["]))
    assert max(map(len, long.stdout.splitlines())) <= 100
    assert "\b" not in long.stdout
    assert "..." not in long.stdout.replace("[ARGS]...", "").replace("[CODE]...", "").replace("ANALYZER_...", "")
    assert found["Examples"][0].startswith("  ")
    assert all(param.help for param in COMMANDS[name].params if isinstance(param, click.Option))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_first_sentence_says_what_a_command_does(name: str) -> None:
    """It fits beside the name in the list of commands at 80 columns, and is not cut there."""
    first = (COMMANDS[name].help or "").split("\n\n")[0]

    assert len(first) <= 90 if not name else len(first) <= 60
    assert first[-1] in ".?"
    assert COMMANDS[name].get_short_help_str(60 if name else 90) == first


@pytest.mark.parametrize("name", COMMANDS)
def test_exit_codes_are_told(name: str) -> None:
    """All of those that a command ends with, where there are others than 0 and 2."""
    command = COMMANDS[name]
    assert isinstance(command, Manual)
    told = sections(run(*name.split(), "--help").stdout).get("Exit codes", [])
    codes = [int(line.split()[0]) for line in told if line.startswith("  ") and line[2].isdigit()]

    assert codes == OTHER_EXITS.get(name, sorted(command.exits))
    assert set(command.exits) <= {0, 2} or name in OTHER_EXITS


def typed(command: Manual) -> list[list[str]]:
    """Read the examples as a shell does, and keep what they call the analyzer with."""
    found, lines = [], iter(command.examples.splitlines())
    for line in lines:
        text = line
        while True:
            try:
                words = shlex.split(text, comments=True) if not text.endswith(("\\", "|")) else None
            except ValueError:  # a quotation that goes on
                words = None
            if words is not None:
                break
            text = text.removesuffix("\\") + "\n" + next(lines)
        while "analyzer" in words:
            words = words[words.index("analyzer") + 1 :]
            ends = [place for place, word in enumerate(words) if word in ("&&", "|", ">", ">>")]
            found.append(words[: ends[0]] if ends else words)
    return found


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "completion"])
def test_examples_can_be_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """Each calls the command that it stands for with options that there are and values that these take."""
    (tmp_path / "request.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    command = COMMANDS[name]
    assert isinstance(command, Manual)
    examples = typed(command)

    assert examples
    for words in examples:
        assert words[: len(name.split())] == name.split()
        called, rest = cli.resolve_command(click.Context(cli), words)[1:]
        while isinstance(called, click.Group):
            called, rest = called.resolve_command(click.Context(called), rest)[1:]
        assert called is not None
        with called.make_context("analyzer", list(rest)):  # which raises for what cannot be
            pass


@pytest.mark.parametrize("name", COMMANDS)
def test_the_environment_that_is_told_is_read(name: str) -> None:
    """Every setting named is one."""
    command = COMMANDS[name]
    assert isinstance(command, Manual)
    known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields} | {f"{PREFIX}..."}

    assert {one for one in command.environment if one.startswith(PREFIX)} <= known


def test_options_stand_under_headings() -> None:
    """In the order of the command, each once, with that for help at the end."""
    found = sections(run("verdict", "--help").stdout)

    assert list(found) == [
        "", "Which canary", "How it is judged", "Output", "Other options", "Exit codes", "Environment", "Examples",
    ]  # fmt: skip
    under = {name: [line.split()[-2] for line in lines if line.startswith("  -")] for name, lines in found.items()}
    assert len(under["Other options"]) == 1
    text = "\n".join(found["Which canary"])
    assert all(option in text for option in ("--file", "--service", "--namespace", "--canary", "--baseline"))
    assert "--watch" in "\n".join(found["Output"])


def test_commands_stand_under_headings() -> None:
    """And every one of them is listed once."""
    found = sections(run("--help").stdout)
    listed = [
        line.split()[0] for heading in ("Judge a canary", "Before a rollout", "Run") for line in found[heading] if line
    ]

    assert sorted(listed) == sorted(cli.commands)


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["verdct"], "verdict"), (["chek-config"], "check-config"), (["rollout", "kserv"], "kserve")],
)
def test_the_nearest_command_is_named(words: list[str], meant: str) -> None:
    """On a typo, beside the exit code for wrong usage."""
    found = run(*words)

    assert found.exit_code == 2
    assert f"No such command '{words[-1]}'. Did you mean '{meant}'?" in found.stderr


@pytest.mark.parametrize("words", [[], ["rollout"]])
def test_no_command_is_a_question_for_help(words: list[str]) -> None:
    """On standard error, for nothing was done."""
    done = spawn(*words)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: analyzer")


def test_help_is_quick() -> None:
    """It loads neither numpy nor pydantic, nor what draws."""
    code = (
        "import sys; from analyzer.cli import cli; cli.main(['--help'], standalone_mode=False); "
        "print(sorted({'numpy', 'scipy', 'pydantic', 'rich', 'flask', 'requests', 'orjson'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]"
