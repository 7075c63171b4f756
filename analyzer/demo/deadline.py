"""The time limit of the demonstration, and what ends it early."""

import time
from dataclasses import dataclass
from typing import Self

from analyzer.errors import AnalyzerError


class DemoError(AnalyzerError):
    """The demonstration cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Deadline:
    """A moment after which nothing new is begun.

    Parameters
    ----------
    at : on the clock of `time.monotonic`
    limit_seconds : for the message
    """

    at: float
    limit_seconds: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the deadline so many seconds from now."""
        return cls(time.monotonic() + seconds, seconds)

    def check(self, last_heard: str = "") -> None:
        """Raise DemoError once the time is up, with what the analyzer said last."""
        if time.monotonic() >= self.at:
            heard = f'; the analyzer said last: "{last_heard}"' if last_heard else ""
            raise DemoError(
                f"not finished within {self.limit_seconds:.0f} s, so it was stopped: "
                f"this machine may be too busy, try a single scenario{heard}"
            )
