"""What moves on the screen: on a terminal that can show it and wants to, and on no other."""

import os
import pty
import subprocess
import sys

import pytest
from cli.commands import terminal

PROGRAM = """
import time
from analyzer.cli.shared import watched
for number in watched("looking")(range(5)):
    time.sleep(0.05)
print("done")
"""


def both(errors_on_terminal: bool, **environment: str) -> tuple[str, str]:
    """Run something long with its output piped; give the output, and what is shown beside it."""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs if errors_on_terminal else subprocess.PIPE,
        env={"TERM": "xterm-256color", **environment},
        text=True, timeout=30, check=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b"" if errors_on_terminal else done.stderr.encode()
    while errors_on_terminal:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # so Linux says that the other end is closed
            break
    os.close(ours)
    return done.stdout, shown.decode()


def test_a_terminal_shows_how_far_it_is() -> None:
    """And nothing of it is left, nor reaches what is piped on."""
    out, shown = both(errors_on_terminal=True)

    assert out == "done\n"
    assert "looking" in shown
    assert "100%" in shown
    assert shown.rstrip().endswith("\x1b[2K")  # the line is taken away


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_no_escape_codes_shows_none(environment: dict[str, str]) -> None:
    """Progress cannot be shown without."""
    assert both(errors_on_terminal=True, **environment) == ("done\n", "")


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_the_demo_is_plain_where_it_must_be(environment: dict[str, str]) -> None:
    """One line a change, as in a pipe."""
    with terminal("demo", "--scenario", "errors", PATH=os.environ["PATH"], **environment) as shown:
        assert shown.end() == 0

    assert "\x1b" not in shown.shown
    assert "s  weight 0%" in shown.shown


def test_a_pipe_gets_no_progress() -> None:
    """Nor a file, nor the log of a job."""
    assert both(errors_on_terminal=False) == ("done\n", "")
