"""Completion by TAB, in a real bash; zsh and fish get click's own scripts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli.commands import run

from analyzer.cli.completion import _names
from analyzer.config.policy import load_policies
from analyzer.config.profile import load_profiles
from analyzer.model.findings import Code, Outcome

BASH = shutil.which("bash")
SCRIPT = """
eval "$(analyzer completion bash)"
complete -p analyzer >/dev/null || exit 9
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_analyzer_completion analyzer
printf '%s\\n' "${COMPREPLY[@]}"
"""


def press_tab(*words: str, **environment: str) -> list[str]:
    """Give what bash completes the last word to."""
    found = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(BASH), "--norc", "-c", SCRIPT, "bash", "analyzer", *words],
        env={"PATH": found, **environment}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["verd"], ["verdict"]),
        (["verdict", "--policy", "ml"], ["ml-model", "ml-model-mean"]),
        (["doctor", "--profile", "kserve-k"], ["kserve-knative", "kserve-knative-1.18"]),
        (["rollout", "kserve", "fraud", "--policy", "ml-model-"], ["ml-model-mean"]),
        (["profiles", "tri"], ["triton"]),
        (["explain", "no_"], ["no_canary_traffic", "no_baseline_traffic"]),
        (["explain", "undecided", "inc"], ["inconclusive", "inconsistent_data"]),
        (["verdict", "--watc"], ["--watch"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["verdict", "--policy", "no-such"], []),
    ],
)
def test_bash_completes(words: list[str], completed: list[str]) -> None:
    """Commands, options, and the names that there are."""
    assert press_tab(*words) == completed


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_files_of_ones_own_are_completed(tmp_path: Path) -> None:
    """Also beside files that are wrong: completion is no place for errors."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "mine.yaml").write_text("name: my-policy\nchecks: {}\n")
    (tmp_path / "policies" / "broken.yml").write_bytes(b"\xff\xfe: [")
    (tmp_path / "policies" / "folder.yaml").mkdir()

    assert press_tab("plan", "--policy", "m", ANALYZER_CONFIG_DIR=str(tmp_path)) == [
        "ml-model", "ml-model-mean", "my-policy",
    ]  # fmt: skip
    assert press_tab("plan", "--policy", "my", ANALYZER_CONFIG_DIR="/nowhere") == []


def test_the_names_are_those_of_the_files_that_are_loaded() -> None:
    """Though they are found without reading the files in whole."""
    assert _names("policies") == sorted(load_policies(None))
    assert _names("profiles") == sorted(load_profiles(None))


def test_codes_are_completed_from_the_closed_lists() -> None:
    """All of them."""
    from analyzer.cli.completion import _codes

    assert _codes() == [one.value for one in [*Outcome, *Code]]


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o nosort -F _analyzer_completion analyzer"),
        ("zsh", "compdef _analyzer_completion analyzer"),
        ("fish", "complete --no-files --command analyzer"),
    ],
)
def test_every_shell_has_a_script(shell: str, line: str) -> None:
    """That asks the command itself, whatever it was called by."""
    found = run("completion", shell)

    assert found.exit_code == 0
    assert line in found.stdout
    assert f"_ANALYZER_COMPLETE={shell}_complete" in found.stdout
    assert shell in run("completion", "--help").stdout


def test_another_shell_is_refused() -> None:
    """With those that there are."""
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in run("completion", "tcsh").stderr
