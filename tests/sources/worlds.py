"""Worlds: histories of a rollout drawn at random, with everything that happens to series, and the truth about them."""

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_server import Point

from analyzer.config.profile import ErrorCounters, LatencyHistogram, Profile, ValueHistogram
from analyzer.config.selector import Selector, parse_matchers, parse_selector

ARM = "rollouts_pod_template_hash"
TICK = 5.0  # seconds in which requests come together
QUIET = 75.0  # seconds without requests at the end, so that every scrape job has seen all of them
PAST = 120.0  # seconds before the canary's first sample in which its processes may have begun, to count from 0
NOON = 1_767_614_400.0
PROFILE = Profile(
    name="worlds",
    arm_label=ARM,
    matchers=parse_matchers('namespace="{namespace}"'),
    process_start=Selector("process_start_time_seconds"),
    error_rate=(
        ErrorCounters(
            requests=(Selector("http_requests_total"),), errors=(parse_selector('http_requests_total{status=~"5.."}'),)
        ),
    ),
    latency=(LatencyHistogram(histogram=Selector("http_request_duration_seconds")),),
    business=(ValueHistogram(values=Selector("model_business_value")),),
)
TROUBLES = (
    "restarts", "crash loop", "no gauge", "two jobs", "two replicas", "label added", "instance renamed", "le rewritten",
    "missed scrapes", "outage", "step back", "bad value", "expiry", "lost history", "several processes",
    "earlier life", "births and deaths", "jitter",
)  # fmt: skip


@dataclass(frozen=True)
class State:
    """What a process has counted."""

    good: int = 0
    bad: int = 0
    quick: int = 0

    @property
    def values(self) -> tuple[int, int, int]:
        """All three."""
        return self.good, self.bad, self.quick

    def minus(self, other: "State") -> "State":
        """Return what came since another state."""
        return State(self.good - other.good, self.bad - other.bad, self.quick - other.quick)


@dataclass
class PodHistory:
    """One pod: the lives of its process, each with what had been counted at the end of each tick.

    `earlier` is whether it belongs to an earlier life of the canary.
    """

    arm: str
    name: str
    address: str
    earlier: bool = False
    lives: list[tuple[float, float, list[State]]] = field(default_factory=list)
    scrapes: dict[str, list[tuple[float, int, State]]] = field(default_factory=dict)

    def state(self, moment: float) -> tuple[int, State] | None:
        """Return the number of the life at a moment and what it had counted; None: the pod did not live."""
        for number, (begin, end, states) in enumerate(self.lives):
            if begin <= moment < end:
                return number, states[min(int((moment - begin) // TICK), len(states) - 1)]
        return None


@dataclass
class World:
    """A history, and what is true of it.

    Attributes
    ----------
    number : that it was drawn from
    troubles : what happens in it
    at : when the verdict is asked for
    begin : when the present life of the canary began to be scraped
    """

    number: int
    troubles: frozenset[str]
    at: float
    begin: float = 0.0
    pods: list[PodHistory] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    @property
    def arms(self) -> tuple[str, str]:
        """Names of the canary and the baseline."""
        return f"canary-{self.number}", f"stable-{self.number}"

    def truth(self, arm: str, start: float) -> tuple[State, State]:
        """Return the least and the most that an arm can be found to have counted since the start.

        They are the same but where two jobs scrape a pod at different moments, or nothing tells of a restart.
        """
        least, most = [0, 0, 0], [0, 0, 0]
        first = min(pod.lives[0][0] for pod in self.pods if pod.arm == self.arms[0] and not pod.earlier)
        since = start - PAST if arm == self.arms[0] else min(start, max(first, start - PAST))
        for pod in (pod for pod in self.pods if pod.arm == arm):
            counted = [self._counted(pod, scrapes, start, since) for scrapes in pod.scrapes.values() if scrapes]
            for place in range(3) if counted else ():
                least[place] += min(low[place] for low, _ in counted)
                most[place] += max(high[place] for _, high in counted)
        return State(*least), State(*most)

    def _counted(
        self, pod: PodHistory, scrapes: list[tuple[float, int, State]], start: float, since: float
    ) -> tuple[list[int], list[int]]:
        """Add up, scrape by scrape, the least and the most that a pod is known to have counted in (start, at]."""
        hidden = "no gauge" in self.troubles
        low, high = [0, 0, 0], [0, 0, 0]
        before: tuple[int, State] | None = None
        for moment, life, state in (scrape for scrape in scrapes if scrape[0] <= self.at):
            if moment > start:
                known = state if before is None and pod.lives[life][0] < since else State()
                if before is not None and before[0] == life:
                    known = before[1]
                values, came = state.values, state.minus(known).values
                for place in range(3):
                    high[place] += came[place]
                    fewest = came[place]
                    if hidden and before is not None and before[0] != life:
                        fewest = max(0, values[place] - before[1].values[place])
                    if hidden and before is None and "lost history" in self.troubles:
                        fewest = 0
                    low[place] += fewest
            before = life, state
        if "step back" in self.troubles and len(pod.lives) > 1:  # the last sample of a process may be too low
            low = [value - 2 for value in low]
        return low, high


def draw_world(number: int, troubles: frozenset[str] | None = None) -> World:
    """Draw a world; the same number gives the same world."""
    draw = random.Random(number)
    if troubles is None:
        troubles = frozenset(draw.sample(TROUBLES, draw.choice((0, 1, 1, 2, 2, 3))))
    length = draw.choice((480.0, 900.0, 1800.0))
    world = World(number, troubles, at=NOON - draw.choice((0.0, 4.0, 7.5)))
    canary, baseline = world.arms
    born = world.at - length
    before = born - 1200.0
    pace = {canary: draw.choice((1, 4, 12)), baseline: draw.choice((3, 15, 40))}
    ratio = {canary: draw.choice((0.0, 0.02, 0.3)), baseline: draw.choice((0.0, 0.01, 0.05))}
    spans = [(baseline, number_, before, world.at + 30) for number_ in range(draw.choice((1, 2, 3)))]
    spans += [(canary, number_, born + 7 * number_, world.at + 30) for number_ in range(draw.choice((1, 2)))]
    if "births and deaths" in troubles:
        spans.append((canary, 8, born + length / 3, world.at + 30))
        spans.append((baseline, 8, before, born + length / 2))
    if "earlier life" in troubles:
        gap = draw.choice((140.0, 250.0, 400.0, 900.0))
        spans.append((canary, 9, born - gap - 300, born - gap))
        ratio[f"{canary} 9"] = 0.6
    for arm, place, begin, end in spans:
        suffix = "".join(random.Random(f"{number} {place} {arm}").choices("bcdfghjklmnpqrstvwxz2456789", k=5))
        name = f"{arm}-{place if number % 4 == 0 else suffix}"  # of a StatefulSet, or of a Deployment
        pod = PodHistory(arm, name, f"10.{number % 250}.{len(world.pods)}.1:8080", earlier=place == 9)
        _live(pod, begin, end, world, draw, pace[arm], ratio.get(f"{arm} {place}", ratio[arm]))
        world.pods.append(pod)
        _scrape(pod, world, draw, born, length)
    world.begin = min(
        moment
        for pod in world.pods
        if pod.arm == canary and not pod.earlier
        for scrapes in pod.scrapes.values()
        for moment, _, state in scrapes
        if state.good + state.bad
    )
    return world


def _live(
    pod: PodHistory, begin: float, end: float, world: World, draw: random.Random, pace: int, ratio: float
) -> None:
    """Let requests come to a pod, whose process may restart."""
    restarts: list[float] = []
    if "restarts" in world.troubles and draw.random() < 0.6:
        restarts = sorted(draw.uniform(begin + 100, end - 100) for _ in range(2) if end - begin > 250)
    if "crash loop" in world.troubles and pod.arm.startswith("canary"):
        moment = begin + 40
        while moment < end - 60:
            restarts.append(moment)
            moment += draw.choice((20, 33, 47, 90))
    history = 2000 if pod.arm.startswith("stable") else 0
    for first, last in zip([begin, *restarts], [*restarts, end], strict=True):
        state = State(good=history, quick=history // 2) if not pod.lives else State()
        states = [state]
        for tick in range(1, math.ceil((last - first) / TICK) + 1):
            if first + tick * TICK < world.at - QUIET:
                came = draw.randint(0, pace)
                bad = sum(draw.random() < ratio for _ in range(came))
                quick = sum(draw.random() < 0.5 for _ in range(came))
                state = State(state.good + came - bad, state.bad + bad, state.quick + quick)
            states.append(state)
        pod.lives.append((first, last, states))


def _scrape(pod: PodHistory, world: World, draw: random.Random, born: float, length: float) -> None:
    """Scrape a pod by every job, and store what each saw."""
    troubles = world.troubles
    jobs: dict[str, dict[str, str]] = {"one": {"job": "pods"}}
    if "two jobs" in troubles:
        jobs["two"] = {"job": "service", **({"endpoint": "http"} if world.number % 2 else {})}
    if "two replicas" in troubles:
        jobs = {
            f"{job} {replica}": {**labels, "prometheus_replica": replica}
            for job, labels in jobs.items()
            for replica in ("a", "b")
        }
    changed = born + length * 0.4
    outage = (born + length * 0.5, born + length * 0.5 + draw.choice((60.0, 200.0)))
    lost = born + length * 0.3
    stepped = draw.randint(10, 30)
    last_change: dict[Any, tuple[float, float]] = {}
    for job, extra in jobs.items():
        scrapes = pod.scrapes.setdefault(job, [])
        begin, end = pod.lives[0][0], pod.lives[-1][1]
        moment = begin + draw.uniform(1, 14)
        while moment < end:
            moment = round(moment, 3)
            found = pod.state(moment)
            missed = ("missed scrapes" in troubles and draw.random() < 0.1) or (
                "outage" in troubles and outage[0] < moment < outage[1]
            )
            if found is not None and not missed and not ("lost history" in troubles and moment < lost):
                scrapes.append((moment, *found))
                labels = {ARM: pod.arm, "namespace": "ml", "pod": pod.name, "instance": pod.address, **extra}
                later = moment > changed
                labels |= {"team": "risk"} if "label added" in troubles and later else {}
                labels |= {"instance": "node-1"} if "instance renamed" in troubles and later else {}
                jitter = draw.choice((0.0, 0.01, -0.01)) if "jitter" in troubles else 0.0
                seen = _samples(world, pod, found, len(scrapes) == stepped, later, jitter)
                for metric, own, value in seen:
                    key = job, metric, found[0], tuple(own.items())
                    if last_change.get(key, (0.0, math.nan))[1] != value:
                        last_change[key] = moment, value
                    expired = "expiry" in troubles and moment - last_change[key][0] > 300 and own and moment > born
                    if not expired:
                        world.points.append(Point(metric, {**labels, **own}, moment, value))
            moment += 15.0


def _samples(
    world: World, pod: PodHistory, found: tuple[int, State], stepped: bool, later: bool, jitter: float
) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """Yield what a scrape sees; where several processes answer in turn, that of one of them."""
    life, state = found
    count = sum(map(len, pod.scrapes.values()))
    part, start = 1.0, pod.lives[life][0] + jitter
    if "several processes" in world.troubles and pod.arm.startswith("canary"):
        turn = count % 3
        part, start = (0.5, 0.3, 0.2)[turn], start + 0.4 * turn
    start = round(start, 2)
    lower = 2 if "step back" in world.troubles and stepped and state.good > 20 else 0
    spelling = "1.0" if "le rewritten" in world.troubles and later else "1"
    total = int((state.good + state.bad) * part)
    good, bad, quick = int(state.good * part) - lower, int(state.bad * part), int(state.quick * part)
    if "no gauge" not in world.troubles:
        yield "process_start_time_seconds", {}, start
    if good > 0:
        yield "http_requests_total", {"status": "200"}, good
    if bad:
        yield "http_requests_total", {"status": "500"}, bad
    for edge, value in (("0.1", quick), (spelling, total), ("+Inf", total)):
        yield "http_request_duration_seconds_bucket", {"le": edge}, max(0, value - (lower if value > lower else 0))
    if "bad value" in world.troubles:
        wrong = (math.nan, -5.0, 1e300)[world.number % 3]
        kind = "_count" if world.number % 3 == 1 else "_sum"
        for edge in ("10", "+Inf"):
            yield "model_business_value_bucket", {"le": edge}, wrong if kind == "_count" and count > 20 else total
        yield "model_business_value_count", {}, total
        yield "model_business_value_sum", {}, wrong if kind == "_sum" and count > 20 else 3.0 * total
