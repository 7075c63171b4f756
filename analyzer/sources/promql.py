"""What the queries are written with, and how several of them are asked at once."""

import math
import time
from collections.abc import Callable, Iterable, Mapping

from analyzer.config.selector import Matcher, Selector, arms_matcher, fill
from analyzer.errors import SourceError, SourceUnavailable
from analyzer.sources.assembly import Selection
from analyzer.sources.breaker import LATE_SECONDS, Breaker
from analyzer.sources.http import gather
from analyzer.sources.prometheus_api import PrometheusApi, Series
from analyzer.sources.samples import STAT
from analyzer.sources.shares import FairPool
from analyzer.sources.timeline import Timeline

LOOK_BACK = 900.0  # how long before the window a target may not have been scraped and still be known
FINEST = 15.0  # seconds of a slice; doubled until there are few enough

LONGEST_QUERY = 12_000  # characters: VictoriaMetrics refuses more than 16 KiB

Answer = list[Series] | SourceError
Tasks = Mapping[str, Callable[[], list[Series]]]


class Queries:
    """Asks several queries in parallel on one pool of threads, within the deadline of a verdict.

    Attributes
    ----------
    breaker : whether the server answers at all
    """

    def __init__(self, api: PrometheusApi, workers: int) -> None:
        self.api = api
        self.breaker = Breaker(self.ready)
        self._pool = FairPool(workers, "prometheus")

    def ready(self, deadline: float) -> None:
        """Raise SourceError unless a trivial query is answered."""
        self.api.instant("vector(1)", time.time(), deadline)

    def run(self, tasks: Tasks, deadline: float) -> dict[str, Answer]:
        """Run queries in parallel until the deadline; a query that fails, or is late, gives its error."""
        answers = gather(self._pool, tasks, deadline, late=(LATE_SECONDS, self.breaker.suspect))
        if any(isinstance(answer, SourceUnavailable) for answer in answers.values()):
            self.breaker.suspect()
        return answers

    def all(self, tasks: Tasks, deadline: float) -> dict[str, list[Series]]:
        """Run queries as `run`, and raise the first error."""
        answers: dict[str, list[Series]] = {}
        for key, answer in self.run(tasks, deadline).items():
            if isinstance(answer, SourceError):
                raise answer
            answers[key] = answer
        return answers


def in_arms(selector: Selector, selection: Selection, arms: tuple[str, ...]) -> str:
    """Write a selector of the profile in PromQL, for these arms of this service."""
    matchers: tuple[Matcher, ...] = (*selector.matchers, *selection.profile.matchers)
    filled = fill(matchers, selection.service, selection.namespace)
    arm = arms_matcher(selection.profile.arm_label, arms)
    return str(Selector(selector.metric, (*filled, *selection.matchers, arm)))


def duration(seconds: float) -> str:
    """Write a duration in PromQL, to the millisecond."""
    milliseconds = max(1, round(seconds * 1000))
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def timeline_of(start: float, end: float, most_slices: int) -> Timeline:
    """Cut a window into slices of 15 s, or twice that and so on until they are few enough."""
    step = FINEST
    while math.floor((end - start) / step + 1e-9) > max(most_slices, 1):
        step *= 2
    return Timeline(start=start, end=end, step=step, count=math.floor((end - start) / step + 1e-9))


def tagged(tag: str, expression: str) -> str:
    """Add a label that tells expressions apart, because `or` does not look at the metric's name."""
    return f'label_replace({expression}, "{STAT}", "{tag}", "", "")'


def joined(parts: Iterable[str]) -> list[str]:
    """Join expressions by `or`, into as many queries as keep each within what engines take."""
    queries: list[str] = []
    for part in parts:
        if queries and len(queries[-1]) + len(part) < LONGEST_QUERY:
            queries[-1] += f" or {part}"
        else:
            queries.append(part)
    return queries


def either(expressions: Iterable[str]) -> str:
    """Ask for what any of several expressions gives, in one query."""
    several = list(expressions)
    return (
        several[0]
        if len(several) == 1
        else " or ".join(tagged(str(number), text) for number, text in enumerate(several))
    )
