"""1,000 healthy rollouts through an outage of the source, by discrete events: Argo's rules, the service's own places.

Of the service, who may take a place is decided by `analyzer.sources.shares` itself, and its times are the constants of
`breaker`, `http` and the settings; modelled are what a query costs and when Argo asks. Argo's rules are those of its
analysis controller: an error is tried again after ten seconds, more errors in a row than `consecutiveErrorLimit` abort,
more inconclusive measurements than `inconclusiveLimit` pause the rollout until a person decides.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from analyzer.config.settings import Settings
from analyzer.sources.breaker import LATE_SECONDS, PAUSE_SECONDS, PROBE_SECONDS
from analyzer.sources.prometheus_api import PAUSES
from analyzer.sources.shares import Shares
from analyzer.web.app import RESERVED_THREADS

ARGO_WAITS, ARGO_TRIES_AGAIN = 10.0, 10.0  # seconds
AT_ONCE = 0.005  # seconds of a verdict for which nothing is read
A_VERDICT = 0.3  # the same of one that is read, on average
SETTINGS = Settings()


@dataclass(frozen=True)
class Argo:
    """Limits of the packaged templates `ml-model-guard` and `ml-model-verdict`, but for that of errors in a row."""

    consecutive_errors: int
    interval: float = 30.0
    looks: int = 120
    proof: int = 10  # measurements of a step until it passes
    steps: int = 6


@dataclass(frozen=True)
class Outage:
    """When the source is away.

    Attributes
    ----------
    hangs : whether queries hang, or are refused
    is_error : whether a verdict that cannot be formed is a 503, as with `on_source_error: error`: a control, in which
        rollouts must be aborted
    """

    hangs: bool = True
    begins: float = 600.0
    lasts: float = 1800.0
    is_error: bool = False

    @property
    def ends(self) -> float:
        """When the source is well again."""
        return self.begins + self.lasts

    @property
    def seconds(self) -> float:
        """How long a query takes until it has failed."""
        return SETTINGS.prometheus_timeout if self.hangs else sum(PAUSES)


@dataclass
class Outcome:
    """How the rollouts ended, and what they were answered."""

    rollouts: int
    aborted: int = 0
    paused: int = 0
    promoted: int = 0
    errors: int = 0
    answers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("well", "held", "at once", "overloaded"), 0))


@dataclass
class Analysis:
    """A run of one metric: the guard in the background, or a step in the foreground."""

    rollout: int
    is_guard: bool
    errors: int = 0
    inconclusive: int = 0
    measured: int = 0
    step: int = 1


class Pod:
    """A pod of the service: its places, and when its breaker opens and closes."""

    def __init__(self) -> None:
        self.shares = Shares(SETTINGS.threads - RESERVED_THREADS)
        self.suspect_since: float | None = None

    def is_open(self, now: float, ends: float) -> bool:
        """Whether verdicts do not wait for the source; `ends`: when the outage does."""
        if self.suspect_since is None:
            return False
        return self.suspect_since + LATE_SECONDS + PROBE_SECONDS <= now < ends + PROBE_SECONDS + PAUSE_SECONDS


class Simulation:
    """The rollouts, their measurements as events in the order of time, and the pods that answer."""

    def __init__(self, argo: Argo, outage: Outage, outcome: Outcome, pods: int, seed: int) -> None:
        self.argo, self.outage, self.outcome = argo, outage, outcome
        self.draw, self.number = random.Random(seed), itertools.count()
        self.service = [Pod() for _ in range(pods)]
        self.alive = set(range(outcome.rollouts))
        self.events: list[tuple[float, int, Callable[[float], None]]] = []

    def play(self) -> None:
        """Play from the start of the rollouts to an hour after the outage."""
        for rollout in self.alive:
            for is_guard in (True, False):
                first = self.draw.uniform(0, self.outage.begins)
                self.at(first, partial(self.measure, Analysis(rollout, is_guard)))
        while self.events and self.events[0][0] < self.outage.ends + 3600:
            moment, _, event = heapq.heappop(self.events)
            event(moment)

    def at(self, moment: float, event: Callable[[float], None]) -> None:
        """Let something happen at a moment."""
        heapq.heappush(self.events, (moment, next(self.number), event))

    def measure(self, run: Analysis, now: float) -> None:
        """Ask any pod for a verdict."""
        if run.rollout not in self.alive:
            return
        pod, owner = self.draw.choice(self.service), ("ml", str(run.rollout))
        if pod.is_open(now, self.outage.ends):
            self.answer(run, "at once", now, now + AT_ONCE)
        elif not pod.shares.take(owner):
            self.answer(run, "overloaded", now, now + AT_ONCE)
        else:
            seconds, kind = self.draw.expovariate(1 / A_VERDICT), "well"
            if self.outage.begins <= now < self.outage.ends:
                seconds, kind = self.outage.seconds, "held"
                pod.suspect_since = min(pod.suspect_since or now, now)
            seconds = min(seconds, SETTINGS.deadline)
            self.at(now + seconds, partial(self.finish, run, pod, kind, now))

    def finish(self, run: Analysis, pod: Pod, kind: str, asked: float, now: float) -> None:
        """Answer what has a place."""
        pod.shares.give_back(("ml", str(run.rollout)), in_time=now - asked < SETTINGS.deadline / 2)
        self.answer(run, kind, asked, now)

    def answer(self, run: Analysis, kind: str, asked: float, now: float) -> None:
        """Do what Argo does with an answer."""
        self.outcome.answers[kind] += 1
        if now - asked > ARGO_WAITS or (self.outage.is_error and kind != "well"):
            self.outcome.errors += 1
            run.errors += 1
            if run.errors > self.argo.consecutive_errors:
                self.end(run, "aborted")
            self.at(now + ARGO_TRIES_AGAIN, partial(self.measure, run))
            return
        run.errors, run.measured = 0, run.measured + (kind == "well")
        passes = not run.is_guard and run.measured >= self.argo.proof
        run.inconclusive += not passes
        if passes:
            if run.step == self.argo.steps:
                self.end(run, "promoted")
            run = Analysis(run.rollout, is_guard=False, step=run.step + 1)
        elif not run.is_guard and run.inconclusive > self.argo.looks:
            self.end(run, "paused")
        self.at(now + self.argo.interval, partial(self.measure, run))

    def end(self, run: Analysis, how: str) -> None:
        """End a rollout once; nothing more is measured for it."""
        if run.rollout in self.alive:
            self.alive.discard(run.rollout)
            setattr(self.outcome, how, getattr(self.outcome, how) + 1)


def simulated(argo: Argo, outage: Outage, *, rollouts: int = 1000, pods: int = 2, seed: int = 17) -> Outcome:
    """Play the rollouts, and count how they ended."""
    outcome = Outcome(rollouts)
    Simulation(argo, outage, outcome, pods, seed).play()
    return outcome
