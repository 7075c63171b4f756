"""Tests of `analyzer.sources.shares`: who may take a place, and whose task is next."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from analyzer.errors import SourceUnavailable
from analyzer.sources.http import timed_out
from analyzer.sources.shares import MOST_REMEMBERED, FairPool, Shares, on_behalf_of


def take_all(shares: Shares, *owners: object) -> int:
    """Take places for owners in turn, until none gets one; return how many."""
    taken = 0
    while any(gotten := [shares.take(owner) for owner in owners]):
        taken += sum(gotten)
    return taken


def known(shares: Shares, *, in_time: bool, **owners: str) -> None:
    """Let owners be known to be answered in time, or not."""
    for owner in owners.values():
        assert shares.take(owner)
        shares.give_back(owner, in_time=in_time)


def test_those_who_wait_leave_places_to_newcomers_and_these_to_whom_is_well() -> None:
    """Half, three quarters, and all of them, whoever came first."""
    new = [f"new-{number}" for number in range(20)]
    for first in (True, False):
        shares = Shares(16)
        known(shares, in_time=False, a="slow", b="hanging")
        known(shares, in_time=True, a="well")
        taken = [take_all(shares, "slow", "hanging") if first else 0, take_all(shares, *new)]

        assert taken == ([8, 4] if first else [0, 12])
        assert take_all(shares, "slow", "hanging") == 0
        assert take_all(shares, "well") == 4


def test_one_owner_may_not_have_all() -> None:
    """A quarter while it waits, half as a newcomer, and three quarters at most."""
    shares = Shares(16)
    known(shares, in_time=True, a="well")
    known(shares, in_time=False, a="slow")

    assert take_all(shares, "well") == 12
    assert take_all(shares, "slow") == 4
    assert take_all(shares, "new") == 0
    for _ in range(12):
        shares.give_back("well", in_time=True)
    assert shares.taken("well") == 0
    assert take_all(shares, "new") == 8


@pytest.mark.parametrize("places", [1, 2, 3, 14])
def test_nobody_is_shut_out_for_good(places: int) -> None:
    """Not where there are few places either, and never are there more than there are."""
    shares = Shares(places)
    known(shares, in_time=False, a="slow")
    known(shares, in_time=True, a="well")

    for owner in ("slow", "new", "well"):
        assert shares.take(owner)
        shares.give_back(owner, in_time=None)
    assert take_all(shares, "well", "slow", "new") <= places


def test_an_owner_is_judged_by_its_last_answer_and_forgotten_in_the_end() -> None:
    """Made-up names take no memory."""
    shares = Shares(4)
    known(shares, in_time=False, a="fraud")
    assert take_all(shares, "fraud") == 1
    shares.give_back("fraud", in_time=True)
    assert take_all(shares, "fraud") == 3
    for number in range(MOST_REMEMBERED + 10):
        if shares.take(number):
            shares.give_back(number, in_time=True)

    assert len(shares._standing) <= MOST_REMEMBERED


def submitted(pool: FairPool, owner: str, task: Callable[[], object]) -> Future[object]:
    """Submit a task for an owner."""
    with on_behalf_of(owner):
        return pool.submit(task)


def test_the_next_task_is_of_whom_fewest_run() -> None:
    """However many tasks another has submitted before."""
    pool, go_on = FairPool(4, "test"), threading.Event()
    hanging = [submitted(pool, "hanging", lambda: go_on.wait(5)) for _ in range(50)]

    assert submitted(pool, "well", lambda: "answer").result(1) == "answer"
    go_on.set()
    assert all(future.result(5) for future in hanging)


def test_results_and_errors_are_those_of_the_tasks() -> None:
    """As of any executor; a task that is cancelled while it waits is not run."""
    pool, go_on, run = FairPool(1, "test"), threading.Event(), []
    first = submitted(pool, "a", lambda: go_on.wait(5))
    cancelled = submitted(pool, "a", lambda: run.append(1))
    wrong = submitted(pool, "a", lambda: 1 / 0)
    assert cancelled.cancel()
    go_on.set()

    assert first.result(5)
    with pytest.raises(ZeroDivisionError):
        wrong.result(5)
    assert not run
    assert submitted(pool, "b", lambda: 2).result(5) == 2


@pytest.mark.parametrize(("error", "most"), [(timed_out(5.0), 1), (SourceUnavailable("refused"), 2), (None, 3)])
def test_a_task_that_is_late_makes_its_owner_slow(error: Exception | None, most: int) -> None:
    """A refused connection says nothing of the queries of a service."""
    pool, go_on = FairPool(4, "test"), threading.Event()
    running: list[int] = []

    def waits() -> bool:
        running.append(1)
        return go_on.wait(5)

    def fails() -> None:
        if error is not None:
            raise error

    submitted(pool, "a", fails).exception(5)
    tasks = [submitted(pool, "a", waits) for _ in range(8)]
    time.sleep(0.1)

    assert len(running) == most
    go_on.set()
    assert all(future.result(5) for future in tasks)
