"""Running the command: in this process, in one of its own, on a terminal."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner, Result

from analyzer.cli import cli

PYTHON = [sys.executable, "-m", "analyzer"]


def counts(errors: float, requests: float) -> dict[str, Any]:
    """Build a request with an error rate."""
    return {"checks": "error_rate", "data": {"error_rate": {"canary": {"errors": errors, "requests": requests}}}}


def run(*words: str, stdin: str | None = None) -> Result:
    """Run the command in this process, as click does."""
    return CliRunner().invoke(cli, words, input=stdin, prog_name="analyzer")


def spawn(
    *words: str, stdin: str = "", options: dict[str, Any] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with no more environment than given."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **(options or {})}
    return subprocess.run(
        [*PYTHON, *words], input=stdin, text=True, env=environment, timeout=30, check=False, **streams
    )


@dataclass
class OnTerminal:
    """A command on a terminal of its own; `shown` grows while it is read."""

    process: subprocess.Popen[bytes]
    terminal: int
    shown: str = ""

    def read(self) -> bool:
        """Read what has come; tell whether there may be more."""
        try:
            part = os.read(self.terminal, 65536)
        except OSError:  # so Linux says that the other end is closed
            return False
        self.shown += part.decode()
        return bool(part)

    def until(self, text: str) -> None:
        """Read until a text has been shown."""
        while text not in self.shown:
            assert self.read(), self.shown

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read to the end and give the exit code."""
        while self.read():
            pass
        return self.process.wait(10)


@contextmanager
def terminal(*words: str, columns: int = 80, **environment: str) -> Iterator[OnTerminal]:
    """Run the command on a terminal, for input, output and errors."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [*PYTHON, *words],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={"TERM": "xterm-256color", **environment},
    )  # fmt: skip
    os.close(theirs)
    try:
        yield OnTerminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
