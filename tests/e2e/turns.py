"""Programs that are expensive to start do so a few at a time, whichever process of the tests starts them.

Eight that start at once on two cores take longer than any one of them may; waiting for a turn is no part of that time.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from e2e.components import cache_folder

AT_ONCE = max(2, (os.cpu_count() or 2) // 2)
POLL_SECONDS = 0.05


@contextmanager
def turn() -> Iterator[None]:
    """Wait until fewer than `AT_ONCE` others hold a turn, and hold one; the kernel ends that of a process that dies."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        slots = [files.enter_context((folder / f"turn-{number}").open("w")) for number in range(AT_ONCE)]
        while not any(_locked(slot.fileno()) for slot in slots):
            time.sleep(POLL_SECONDS)
        yield


def _locked(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
