"""What CI says of a run: the numbers of its last line, and names for what a second try has hidden."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PASSED = '<testcase classname="a" name="passed"/>'
SKIPPED = '<testcase classname="a" name="skipped"><skipped/></testcase>'
FAILED = '<testcase classname="a" name="failed"><failure>why</failure></testcase>'
RACE = '<testcase classname="a" name="race"><error>why</error></testcase>'
# pytest writes a test that passes and then fails to be taken down twice.
TAKEN_DOWN = '<testcase classname="a" name="down"/><testcase classname="a" name="down"><error>why</error></testcase>'


def counted(folder: Path, files: dict[str, str]) -> tuple[int, list[str]]:
    """Count the files of a run; gives the exit code and the lines."""
    for name, cases in files.items():
        is_report = name.endswith(".xml")
        (folder / name).write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>" if is_report else cases)
    words = [sys.executable, PROJECT / ".ci" / "count.py", folder]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize(
    ("files", "code", "lines"),
    [
        ({"test.xml": PASSED + SKIPPED}, 0, ["1 passed, 0 failed, 1 skipped, 0 passed only when tried again"]),
        (
            {"test.xml": PASSED + FAILED, "e2e.xml": PASSED},
            1,
            ["failed: a::failed", "2 passed, 1 failed, 0 skipped, 0 passed only when tried again"],
        ),
        (
            {"e2e.xml": PASSED + RACE, "e2e.again.xml": RACE.replace("<error>why</error>", "")},
            0,
            ["passed only when tried again: a::race", "1 passed, 0 failed, 0 skipped, 1 passed only when tried again"],
        ),
        (
            {"e2e.xml": FAILED + RACE, "e2e.again.xml": FAILED},
            1,
            ["failed: a::failed", "failed: a::race", "0 passed, 2 failed, 0 skipped, 0 passed only when tried again"],
        ),
        (
            {"test.xml": TAKEN_DOWN},
            1,
            ["failed: a::down", "0 passed, 1 failed, 0 skipped, 0 passed only when tried again"],
        ),
        (
            {"test.xml": PASSED, "broken": "make lint types\n"},
            1,
            ["failed: make lint types", "1 passed, 1 failed, 0 skipped, 0 passed only when tried again"],
        ),
        ({}, 1, ["0 passed, 0 failed, 0 skipped, 0 passed only when tried again"]),
    ],
)
def test_the_last_line_is_what_happened(tmp_path: Path, files: dict[str, str], code: int, lines: list[str]) -> None:
    """Failures are counted, a second try is named and no pass, and a run without any test is none."""
    assert counted(tmp_path, files) == (code, lines)


def test_children_take_ctrl_c_in_a_background_job() -> None:
    """A shell has a job in the background ignore SIGINT; what the tests start from it must not."""
    program = "import conftest, subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    child = "import signal; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    words = [sys.executable, "-c", program, child]

    ignoring = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        subprocess.run(words, cwd=PROJECT / "tests", check=True)
    finally:
        signal.signal(signal.SIGINT, ignoring)
