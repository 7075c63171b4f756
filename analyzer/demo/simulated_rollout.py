"""A simulated rollout: it plays Argo's part, walking the weights by the verdicts of the real service.

Pass: the next weight. Fail: weight 0. Inconclusive: the weight stays, and the question is asked again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from analyzer.demo.answers import DemoAnswer
from analyzer.demo.deadline import Deadline, DemoError
from analyzer.demo.load import ArmCounts, CustomerTraffic

STEPS = (5, 25, 50, 100)
_ASK_EVERY_SECONDS = 1.0
_SHOW_EVERY_SECONDS = 0.25
_LAST_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Progress:
    """Where a rollout stands.

    Parameters
    ----------
    seconds : since the canary got its first traffic
    weight : of the canary, in percent
    canary, baseline : requests so far
    answer : the latest; None before the first
    """

    seconds: float
    weight: int
    canary: ArmCounts
    baseline: ArmCounts
    answer: DemoAnswer | None = None


@dataclass(frozen=True)
class RolloutEnd:
    """How a rollout ended.

    Parameters
    ----------
    promoted : at weight 100; otherwise rolled back, at weight 0
    answer : the one that decided
    seconds : from the canary's first traffic to the last change of weight
    canary_requests : sent to the canary until then
    """

    promoted: bool
    answer: DemoAnswer
    seconds: float
    canary_requests: int


@dataclass(frozen=True)
class Rollout:
    """What a rollout works with.

    Parameters
    ----------
    traffic : flows, at weight 0
    ask : asks the analyzer for a verdict
    show : tells people where it stands
    deadline : of the whole
    """

    traffic: CustomerTraffic
    ask: Callable[[], DemoAnswer]
    show: Callable[[Progress], None]
    deadline: Deadline


def roll_out(rollout: Rollout) -> RolloutEnd:
    """Walk the steps until the canary is promoted or rolled back.

    Raises
    ------
    DemoError : the time is up, or there is no traffic any more
    """
    started = time.monotonic()
    answer: DemoAnswer | None = None
    for weight in STEPS[:-1]:
        answer = _pause_until_decided(rollout, weight, started, answer)
        if answer.verdict == "fail":
            return _finish(rollout, 0, started, answer)
    if answer is None:
        raise DemoError("there is no step to ask at")
    return _finish(rollout, STEPS[-1], started, answer)


def _pause_until_decided(rollout: Rollout, weight: int, started: float, before: DemoAnswer | None) -> DemoAnswer:
    """Set the weight and ask until the verdict is a pass or a fail."""
    rollout.traffic.set_weight(weight)
    answer = before
    while True:
        _watch(rollout, weight, started, answer, _ASK_EVERY_SECONDS)
        answer = rollout.ask()
        rollout.deadline.check(answer.reason)
        rollout.show(_progress(rollout, weight, started, answer))
        if answer.verdict in {"pass", "fail"}:
            return answer


def _finish(rollout: Rollout, weight: int, started: float, answer: DemoAnswer) -> RolloutEnd:
    rollout.traffic.set_weight(weight)
    seconds = time.monotonic() - started
    canary_requests = rollout.traffic.canary.sent
    _watch(rollout, weight, started, answer, _LAST_LOOK_SECONDS)
    return RolloutEnd(weight > 0, answer, seconds, canary_requests)


def _watch(rollout: Rollout, weight: int, started: float, answer: DemoAnswer | None, seconds: float) -> None:
    """Let the traffic flow for so long, and show it."""
    until = time.monotonic() + seconds
    while True:
        rollout.deadline.check(answer.reason if answer else "")
        if rollout.traffic.failure:
            raise DemoError(rollout.traffic.failure)
        rollout.show(_progress(rollout, weight, started, answer))
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(_SHOW_EVERY_SECONDS, left))


def _progress(rollout: Rollout, weight: int, started: float, answer: DemoAnswer | None) -> Progress:
    traffic = rollout.traffic
    return Progress(time.monotonic() - started, weight, traffic.canary, traffic.baseline, answer)
