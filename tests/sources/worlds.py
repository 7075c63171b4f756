"""Worlds: histories of a rollout drawn at random, with everything that happens to series, and the truth about them."""

import math
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_server import Point

from analyzer.config.profile import ErrorCounters, LatencyHistogram, Profile, ValueHistogram
from analyzer.config.selector import Selector, parse_matchers, parse_selector

ARM = "rollouts_pod_template_hash"
TICK = 5.0  # seconds in which requests come together
LONGEST_IDLE = 300.0  # seconds after which a series that does not change is not exported any more
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
    "earlier life", "births and deaths", "jitter", "counters reset", "collector reset", "lull", "ttl", "slow scrapes",
    "quick scrapes", "late scrape", "clock skew", "undo", "scaled to zero", "replica lags", "two regions",
    "nan samples",
)  # fmt: skip
IMPLIED = {"collector reset": "no gauge", "replica lags": "two replicas", "ttl": "lull"}


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

    `earlier` is whether it belongs to an earlier life of the canary; `started` has the starts that the lives name.
    """

    arm: str
    name: str
    address: str
    earlier: bool = False
    region: str = "eu"
    lives: list[tuple[float, float, list[State]]] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
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
    """

    number: int
    troubles: frozenset[str]
    at: float
    pods: list[PodHistory] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    @property
    def in_two_regions(self) -> bool:
        """Whether the requests of an arm are."""
        start = (self.begin() or self.at) - 60
        return any(
            all(sum(self.truth(arm, start, region)[1].values) > 0 for region in ("eu", "us")) for arm in self.arms
        )

    def begin(self, region: str = "") -> float | None:
        """Return when the present life of the canary began to be scraped; None: it has had no request."""
        moments = (
            moment
            for pod in self.pods
            if pod.arm == self.arms[0] and not pod.earlier and pod.region.startswith(region)
            for scrapes in pod.scrapes.values()
            for moment, _, state in scrapes
            if state.good + state.bad and moment <= self.at
        )
        return min(moments, default=None)

    def first_scrape(self, region: str = "") -> float:
        """Return when the pods of the present life of the canary began to be scraped."""
        pods = [pod for pod in self.pods if pod.arm == self.arms[0] and not pod.earlier]
        several = [scrapes for pod in pods if pod.region.startswith(region) for scrapes in pod.scrapes.values()]
        return min(scrapes[0][0] for scrapes in several if scrapes)

    @property
    def earlier(self) -> bool:
        """Whether the canary has had an earlier life."""
        return any(pod.earlier for pod in self.pods)

    @property
    def arms(self) -> tuple[str, str]:
        """Names of the canary and the baseline."""
        return f"canary-{self.number}", f"stable-{self.number}"

    def truth(self, arm: str, start: float, region: str = "") -> tuple[State, State]:
        """Return the least and the most that an arm can be found to have counted since the start.

        They are the same but where two jobs scrape a pod at different moments, or nothing tells of a restart.
        """
        least, most = [0, 0, 0], [0, 0, 0]
        first = min(pod.lives[0][0] for pod in self.pods if pod.arm == self.arms[0] and not pod.earlier)
        since = start - PAST if arm == self.arms[0] else min(start, max(first, start - PAST))
        for pod in (pod for pod in self.pods if pod.arm == arm and pod.region.startswith(region)):
            several = [scrapes for scrapes in pod.scrapes.values() if scrapes and scrapes[0][0] <= self.at]
            counted = [self._counted(pod, scrapes, start, since) for scrapes in several]
            ends = [[state.values for moment, _, state in scrapes if moment <= self.at][-1] for scrapes in several]
            for place in range(3) if counted else ():
                # One job may have been the last to scrape it before the start, another before its end.
                last = [end[place] for end in ends] if len(pod.lives) == 1 else [0]
                apart = max(last) - min(last)
                least[place] += min(low[place] for low, _ in counted) - apart
                most[place] += max(high[place] for _, high in counted) + apart
        return State(*least), State(*most)

    def _counted(
        self, pod: PodHistory, scrapes: list[tuple[float, int, State]], start: float, since: float
    ) -> tuple[list[int], list[int]]:
        """Add up, scrape by scrape, the least and the most that a pod is known to have counted in (start, at]."""
        low, high, shown, changed = [0, 0, 0], [0, 0, 0], [0, 0, 0], [0.0, 0.0, 0.0]
        before: tuple[int, State] | None = None
        for moment, life, state in (scrape for scrape in scrapes if scrape[0] <= self.at):
            if moment > start:
                known = state if before is None and pod.lives[life][0] < since else State()
                if before is not None and before[0] == life:
                    known = before[1]
                for place, came in enumerate(state.minus(known).values):
                    unknown = before is None and "clock skew" in self.troubles  # it may seem to have begun just now
                    high[place] += state.values[place] if unknown else came
                    forgotten = "ttl" in self.troubles and moment - changed[place] > LONGEST_IDLE
                    low[place] += self._least(
                        pod, before, (life, state), place, came, shown[place], forgotten=forgotten
                    )
            for place, value in enumerate(state.values):
                if before is None or before[0] != life or before[1].values[place] != value:
                    changed[place] = moment
            before = life, state
            shown = [value or last for value, last in zip(state.values, shown, strict=True)]  # 0 is not shown
        if "step back" in self.troubles and (len(pod.lives) > 1 or "slow scrapes" in self.troubles):
            low = [value - 2 for value in low]  # the last sample of a process, or of all, may be the one that is lower
        return low, high

    def _least(
        self,
        pod: PodHistory,
        before: tuple[int, State] | None,
        now: tuple[int, State],
        place: int,
        came: int,
        shown: int,
        *,
        forgotten: bool,
    ) -> int:
        """Return the least that may be known of what came, where a counter that began anew may hide it."""
        if before is None:
            return 0 if "clock skew" in self.troubles or {"no gauge", "lost history"} <= self.troubles else came
        value, reset = now[1].values[place], len({pod.started[life] for life in range(now[0] + 1)}) <= now[0]
        if shown > value - came and ("no gauge" in self.troubles or reset):  # it is taken for a copy that lags behind
            return value if 2 * value < shown else value - shown
        return max(0, came - before[1].values[place]) if forgotten else came


def draw_world(number: int, troubles: frozenset[str] | None = None) -> World:
    """Draw a world; the same number gives the same world."""
    draw = random.Random(number)
    if troubles is None:
        troubles = frozenset(draw.sample(TROUBLES, draw.choice((0, 1, 1, 2, 2, 3))))
    troubles |= {name for cause, name in IMPLIED.items() if cause in troubles}
    length = draw.choice((480.0, 900.0, 1800.0))
    world = World(number, troubles, at=NOON - draw.choice((0.0, 4.0, 7.5)))
    canary, baseline = world.arms
    born = world.at - length
    before = born - 1200.0
    pace = {canary: draw.choice((1, 4, 12)), baseline: draw.choice((3, 15, 40))}
    ratio = {canary: draw.choice((0.0, 0.02, 0.3)), baseline: draw.choice((0.0, 0.01, 0.05))}
    gap = draw.choice((140.0, 250.0, 400.0, 900.0))
    if "undo" in troubles:  # the canary was the stable version, and was scaled down after the baseline had taken over
        before = born - gap - 120
    spans = [(baseline, number_, before, world.at + 30) for number_ in range(draw.choice((1, 2, 3)))]
    spans += [(canary, number_, born + 7 * number_, world.at + 30) for number_ in range(draw.choice((1, 2)))]
    if "births and deaths" in troubles:
        spans.append((canary, 8, born + length / 3, world.at + 30))
        spans.append((baseline, 8, before, born + length / 2))
    if {"earlier life", "undo", "scaled to zero"} & troubles:
        spans.append((canary, 9, born - gap - 300, born - gap))
    if "scaled to zero" in troubles:
        spans.append((canary, 10, born - gap - 800, born - gap - 450))
    for arm, place, begin, end in spans:
        suffix = "".join(random.Random(f"{number} {place} {arm}").choices("bcdfghjklmnpqrstvwxz2456789", k=5))
        name = f"{arm}-{place if number % 4 == 0 else suffix}"  # of a StatefulSet, or of a Deployment
        pod = PodHistory(arm, name, f"10.{number % 250}.{len(world.pods)}.1:8080", earlier=place in (9, 10))
        pod.region = ("eu", "us")[place % 2] if "two regions" in troubles else "eu"
        _live(pod, begin, end, world, draw, pace[arm], 0.6 if pod.earlier else ratio[arm])
        world.pods.append(pod)
        _scrape(pod, world, draw, born, length)
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
    resets: list[float] = []
    if "counters reset" in world.troubles and draw.random() < 0.6 and end - begin > 250:
        resets = [draw.uniform(begin + 100, end - 100)]
    if "collector reset" in world.troubles:
        resets.append(world.at - 333.3)
    restarts = sorted({*restarts, *(moment for moment in resets if begin + 60 < moment < end)})
    lull = (world.at - QUIET - 420, world.at - QUIET - 20) if "lull" in world.troubles else (0.0, 0.0)
    history = 2000 if pod.arm.startswith("stable") else 0
    for first, last in zip([begin, *restarts], [*restarts, end], strict=True):
        state = State(good=history, quick=history // 2) if not pod.lives else State()
        states = [state]
        for tick in range(1, math.ceil((last - first) / TICK) + 1):
            moment = first + tick * TICK
            if moment < world.at - QUIET and not lull[0] < moment < lull[1]:
                came = draw.randint(0, pace)
                bad = sum(draw.random() < ratio for _ in range(came))
                quick = sum(draw.random() < 0.5 for _ in range(came))
                state = State(state.good + came - bad, state.bad + bad, state.quick + quick)
            states.append(state)
        pod.started.append(pod.started[-1] if first in resets else first)
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
    every = 60.0 if "slow scrapes" in troubles else 5.0 if "quick scrapes" in troubles else 15.0
    late = draw.choice((20.0, 50.0, 100.0)) if "late scrape" in troubles and pod.arm.startswith("canary") else 0.0
    skew = draw.choice((-400.0, -60.0, 60.0, 400.0)) if "clock skew" in troubles else 0.0
    changed = born + length * 0.4
    outage = (born + length * 0.5, born + length * 0.5 + draw.choice((60.0, 200.0)))
    lost = born + length * 0.3
    stepped = draw.randint(10, 30)
    last_change: dict[Any, tuple[float, float]] = {}
    memory: dict[Any, dict[Any, Any]] = {}
    for job, extra in jobs.items():
        scrapes = pod.scrapes.setdefault(job, [])
        begin, end = pod.lives[0][0], pod.lives[-1][1]
        moment = begin + late + draw.uniform(1, every - 1)
        lag = 30.0 if "replica lags" in troubles and "ttl" not in troubles and job.endswith("b") else 0.0
        while moment < end:
            moment = round(moment, 3)
            found = pod.state(max(moment - lag, begin))
            missed = ("missed scrapes" in troubles and draw.random() < 0.1) or (
                "outage" in troubles and outage[0] < moment < outage[1]
            )
            if found is not None and not missed and not ("lost history" in troubles and moment < lost):
                scrapes.append((moment, *found))
                later = moment > changed
                jitter = draw.choice((0.0, 0.01, -0.01)) if "jitter" in troubles else 0.0
                seen = _samples(world, pod, found, len(scrapes) == stepped, later, jitter + skew)
                if "ttl" in troubles:
                    seen = _forgetful(list(seen), memory.setdefault((job, found[0]), {}), moment)
                elif "expiry" in troubles and moment > born:
                    seen = _unchanged_left_out(seen, last_change, (job, found[0]), moment)
                labels = {ARM: pod.arm, "pod": pod.name, **extra, **_target(world, pod, later=later)}
                for metric, own, value in seen:
                    nan = "nan samples" in troubles and metric == "http_requests_total" and draw.random() < 0.01
                    world.points.append(Point(metric, {**labels, **own}, moment, math.nan if nan else value))
            moment += every


def _target(world: World, pod: PodHistory, *, later: bool) -> dict[str, str]:
    """Return the labels of a pod as a target, which may change."""
    troubles, labels = world.troubles, {"namespace": "ml", "instance": pod.address}
    labels |= {"team": "risk"} if "label added" in troubles and later else {}
    labels |= {"instance": "node-1"} if "instance renamed" in troubles and later else {}
    return labels | ({"region": pod.region} if "two regions" in troubles else {})


Sample = tuple[str, Mapping[str, str], float]


def _unchanged_left_out(
    seen: Iterable[Sample], last_change: dict[Any, tuple[float, float]], process: tuple[str, int], moment: float
) -> Iterator[Sample]:
    """Yield what a collector shows that leaves out what has not changed for five minutes, and keeps its past."""
    for metric, own, value in seen:
        key = process, metric, tuple(own.items())
        if last_change.get(key, (0.0, math.nan))[1] != value:
            last_change[key] = moment, value
        if not own or moment - last_change[key][0] <= LONGEST_IDLE:
            yield metric, own, value


def _forgetful(seen: list[Sample], memory: dict[Any, Any], moment: float) -> Iterator[Sample]:
    """Yield what an exporter shows that forgets what has not changed for five minutes: it begins anew from 0."""
    families: dict[Any, list[Sample]] = {}
    for metric, own, value in seen:
        families.setdefault((metric, own.get("status")), []).append((metric, own, value))
    for family, several in families.items():
        total = several[-1][2]
        changed, last, forgotten = memory.get(family, (moment, total, {}))
        if total != last:
            changed = moment
        if moment - changed > LONGEST_IDLE and several[0][1]:
            forgotten = {str(own): value for _, own, value in several}
        memory[family] = changed, total, forgotten
        if not forgotten or total > forgotten[str(several[-1][1])]:
            yield from ((metric, own, value - forgotten.get(str(own), 0.0)) for metric, own, value in several)


def _samples(
    world: World, pod: PodHistory, found: tuple[int, State], stepped: bool, later: bool, jitter: float
) -> Iterator[Sample]:
    """Yield what a scrape sees; where several processes answer in turn, that of one of them."""
    life, state = found
    count = sum(map(len, pod.scrapes.values()))
    part, start = 1.0, pod.started[life] + jitter
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
