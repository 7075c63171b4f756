"""A circuit breaker: while a source does not answer at all, verdicts do not wait for it.

Not one that counts failed calls: the queries of a service may hang while those of others are answered, and whichever
call tries next would have to wait. This one sends a trivial query of its own, as soon as another is late or fails, and
then until it is answered. (Of the libraries, `pybreaker` holds a lock for the whole of a call, so queries would run one
by one, and `circuitbreaker` lets any number of calls try.)
"""

import threading
import time
from collections.abc import Callable

from analyzer.errors import SourceError, SourceUnavailable

LATE_SECONDS = 1.0  # after which a query makes the source suspect
PROBE_SECONDS = 2.0  # for the trivial query
PAUSE_SECONDS = 1.0  # between two of them, answered or not


class Breaker:
    """Whether a source answers at all.

    Parameters
    ----------
    probe : sends the trivial query, with a deadline on the monotonic clock, and raises SourceError
    """

    def __init__(self, probe: Callable[[float], None]) -> None:
        self._probe = probe
        self._lock = threading.Lock()
        self._watched = False
        self._problem: SourceUnavailable | None = None

    def check(self) -> None:
        """Raise SourceUnavailable while the source does not answer."""
        if (problem := self._problem) is not None:
            raise SourceUnavailable(f"{problem} (it is tried every second)")

    def suspect(self) -> None:
        """Try the source in the background, and again until it answers; return at once."""
        with self._lock:
            if self._watched:
                return
            self._watched = True
        threading.Thread(target=self._watch, name="breaker", daemon=True).start()

    def _watch(self) -> None:
        try:
            while (problem := self._failure()) is not None:
                self._problem = problem
                time.sleep(PAUSE_SECONDS)
            self._problem = None
            time.sleep(PAUSE_SECONDS)  # a service whose queries always hang does not double the queries
        finally:
            with self._lock:
                self._watched = False

    def _failure(self) -> SourceUnavailable | None:
        """Send the trivial query; an answer that cannot be used is one as well."""
        try:
            self._probe(time.monotonic() + PROBE_SECONDS)
        except SourceUnavailable as error:
            return error
        except SourceError:
            return None
        return None
