"""Queries that are planned, run together, and their answers."""

from collections.abc import Callable
from functools import partial

from analyzer.errors import BadResponse, PartialData, SourceError
from analyzer.model.findings import Code, Gap
from analyzer.sources.prometheus_api import Series
from analyzer.sources.promql import FINEST, Answer, Queries, duration
from analyzer.sources.timeline import Timeline

MOST_POINTS = 1440  # of each series in one answer: servers have limits, and 6 h of slices are within them


class QueryPlan:
    """Plans queries under keys, and runs them.

    Parameters
    ----------
    queries : that ask the server
    deadline : on the monotonic clock
    """

    def __init__(self, queries: Queries, deadline: float) -> None:
        self._queries, self._deadline = queries, deadline
        self._tasks: dict[str, Callable[[], list[Series]]] = {}
        self._planned: set[str] = set()
        self._answered: dict[str, Answer] = {}

    @property
    def queries(self) -> tuple[str, ...]:
        """What was asked, each once."""
        return tuple(sorted(self._planned))

    def instant(self, key: str, query: str, *, at: float) -> None:
        """Plan a query for one moment."""
        self._planned.add(query)
        self._tasks[key] = lambda: self._queries.api.instant(query, at, self._deadline, finite=False)

    def range(self, key: str, query: str, timeline: Timeline, *, first: int = 1) -> None:
        """Plan a query for the ends of the slices, from that of slice number `first` on; 0 is the start."""
        self._planned.add(query)
        for number in range(first, timeline.count + 1, MOST_POINTS + 1):
            last = min(number + MOST_POINTS, timeline.count)
            begin, end = timeline.start + timeline.step * number, timeline.start + timeline.step * last
            self._tasks[f"{key} {number}"] = partial(
                self._queries.api.range, query, begin, end, timeline.step, self._deadline, finite=False
            )

    def raw(self, key: str, series: str, begin: float, end: float) -> None:
        """Plan to read every sample of a segment of time, in pieces where it is long."""
        while end > begin:
            length = min(end - begin, MOST_POINTS * FINEST)
            query = f"{series}[{duration(length)}]"
            self._planned.add(query)
            self._tasks[f"{key} {query} {end}"] = partial(
                self._queries.api.raw, query, end, self._deadline, finite=False
            )
            end -= length

    def run(self) -> None:
        """Run what is planned, if anything is."""
        if not self._tasks:
            return
        self._answered |= self._queries.run(self._tasks, self._deadline)
        self._tasks.clear()

    def answers(self, kind: str) -> list[Series]:
        """Join the answers to the queries of a kind, empty where none was planned; raises their SourceError."""
        joined: list[Series] = []
        for key, answer in self._answered.items():
            if key == kind or key.startswith(f"{kind} "):
                if isinstance(answer, SourceError):
                    raise answer
                joined += answer
        return joined


def gap_of(error: SourceError) -> Gap:
    """Say as a finding why the source gave nothing."""
    if isinstance(error, PartialData):
        return Gap(Code.PARTIAL_DATA, f"the source's answer is not complete: {error}")
    text = "cannot be used" if isinstance(error, BadResponse) else "is missing"
    return Gap(Code.SOURCE_UNAVAILABLE, f"the source's answer {text}: {error}")
