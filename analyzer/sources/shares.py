"""Shares of places: a service that waits for its answers must not keep others from theirs."""

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum
from typing import Any

from analyzer.errors import SourceError

MOST_REMEMBERED = 1000  # owners


class Standing(IntEnum):
    """What is known of an owner; each may use the places of those before it, and some more."""

    SLOW = 0  # its last answer did not come in time
    UNKNOWN = 1
    WELL = 2


PARTS = {Standing.SLOW: 0.5, Standing.UNKNOWN: 0.75, Standing.WELL: 1.0}  # of the places, together with those before
OF_ONE = {Standing.SLOW: 0.25, Standing.UNKNOWN: 0.5, Standing.WELL: 0.75}  # of the places, for one owner


class Shares:
    """Places for work at the same time, and who may take one; an owner is the namespace and the name of a service.

    Those whose last answer did not come in time share half of the places, with those of whom nothing is known three
    quarters: so there is room for whom the source answers, however many others wait, and for newcomers. One owner
    may have a part of that only.
    """

    def __init__(self, capacity: int) -> None:
        self._most = {standing: max(1, round(capacity * part)) for standing, part in PARTS.items()}
        self._most_of_one = {standing: max(1, round(capacity * part)) for standing, part in OF_ONE.items()}
        self._lock = threading.Lock()
        self._standing: OrderedDict[Hashable, Standing] = OrderedDict()
        self._taken: Counter[Hashable] = Counter()

    def take(self, owner: Hashable) -> bool:
        """Take a place for an owner, if it may have one; it must be given back."""
        with self._lock:
            standing = self._of(owner)
            taken = [(self._of(other), count) for other, count in self._taken.items()]
            full = any(
                sum(count for other, count in taken if other <= level) >= most
                for level, most in self._most.items()
                if level >= standing
            )
            if full or self._taken.get(owner, 0) >= self._most_of_one[standing]:
                return False
            self._taken[owner] += 1
            return True

    def taken(self, owner: Hashable) -> int:
        """Return how many places an owner has."""
        return self._taken.get(owner, 0)

    def give_back(self, owner: Hashable, *, in_time: bool | None) -> None:
        """Give a place back, and say whether the answer came in time; None: it says nothing of the owner."""
        with self._lock:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]
            if in_time is not None:
                self._standing[owner] = Standing.WELL if in_time else Standing.SLOW
                self._standing.move_to_end(owner)
                if len(self._standing) > MOST_REMEMBERED:
                    self._standing.popitem(last=False)

    def _of(self, owner: Hashable) -> Standing:
        return self._standing.get(owner, Standing.UNKNOWN)


_owner: ContextVar[Hashable] = ContextVar("owner", default=None)


@contextmanager
def on_behalf_of(owner: Hashable) -> Iterator[None]:
    """Let this thread submit its tasks to a `FairPool` as those of an owner."""
    token = _owner.set(owner)
    try:
        yield
    finally:
        _owner.reset(token)


class FairPool(Executor):
    """Threads whose next task is of the owner of whom fewest run.

    Parameters
    ----------
    workers : threads
    name : of the threads
    """

    def __init__(self, workers: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._shares = Shares(workers)
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, deque[tuple[Future[Any], Callable[[], Any]]]] = {}

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Let a task wait for its turn; its future is that of any executor."""
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.setdefault(_owner.get(), deque()).append((future, lambda: task(*args, **kwargs)))
        self._start()
        return future

    def _start(self) -> None:
        """Start what may be started."""
        with self._lock:
            for owner in sorted(self._waiting, key=self._shares.taken):
                while (waiting := self._waiting.get(owner)) and self._shares.take(owner):
                    self._pool.submit(self._run, owner, *waiting.popleft())
                    if not waiting:
                        del self._waiting[owner]

    def _run(self, owner: Hashable, future: Future[Any], task: Callable[[], Any]) -> None:
        in_time: bool | None = None
        try:
            if future.set_running_or_notify_cancel():
                try:
                    result = task()
                except BaseException as error:  # noqa: BLE001 - it is raised where the result is read
                    in_time = False if isinstance(error, SourceError) and error.reason == "timeout" else None
                    future.set_exception(error)
                else:
                    in_time = True
                    future.set_result(result)
        finally:
            self._shares.give_back(owner, in_time=in_time)
            self._start()
