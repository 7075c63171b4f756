"""Whether the source answers, for Kubernetes."""

import threading
import time

from analyzer.errors import SourceError
from analyzer.verdict.analysis import Analyzer

READY_SECONDS = 3.0  # time for the source to answer a readiness probe
READY_KEPT_SECONDS = 2.0


class Readiness:
    """Whether the source answers, asked at most every few seconds."""

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyzer = analyzer
        self._lock = threading.Lock()
        self._checked_at: float | None = None
        self._problem = ""

    def problem(self) -> str:
        """Return what is wrong with the source; empty: nothing."""
        if not self._lock.acquire(blocking=self._checked_at is None):
            return self._problem  # another probe asks just now: waiting with it would take a thread for seconds
        try:
            if self._checked_at is None or time.monotonic() - self._checked_at >= READY_KEPT_SECONDS:
                try:
                    self._analyzer.source.ready(time.monotonic() + READY_SECONDS)
                    self._problem = ""
                except SourceError as error:
                    self._problem = str(error)
                self._checked_at = time.monotonic()
            return self._problem
        finally:
            self._lock.release()
