"""How slow this machine is just now: times in tests and benchmarks are held against the same work, done beside them.

A limit such as 3 ms means a processor at its ease. Machines that others use too are two or three times as slow for
minutes, and how slow changes from second to second.
"""

import time

import numpy as np

EASY_SECONDS = 0.003  # of `_work` on a server's core that nobody else uses: a pace of 1
ATTEMPTS = 5


def pace() -> float:
    """Tell how many times as long as at its ease the machine takes now; 1 at least, for a limit is never tightened."""
    return max(1.0, min(_seconds() for _ in range(ATTEMPTS)) / EASY_SECONDS)


def _seconds() -> float:
    began = time.perf_counter()
    _work()
    return time.perf_counter() - began


def _work() -> None:
    """Do what judging and drawing are made of: calls, small objects, small arrays."""
    numbers = np.linspace(0.01, 0.99, 256)
    found = {}
    for place in range(900):
        found[f"{place}"] = [place * part for part in range(24)]
        if place % 3 == 0:
            numbers = np.sqrt(np.exp(np.log(numbers)) * numbers)
