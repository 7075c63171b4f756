"""The steps of a Rollout that harm least: ``analyzer plan --ramp``.

A bad version answers about as many requests until it is proved bad at any weight, and then further ones until a scrape
and a measurement show it: the weight, times the rate, times that delay. So a low weight harms less and takes longer;
large faults, which few requests prove, harm least if they are found before the weight rises.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product

from analyzer.config.policy import Check, Policy
from analyzer.errors import Problem, RequestError
from analyzer.model.findings import Kind, Role
from analyzer.planning.assumptions import Assumption
from analyzer.planning.forecast import PlanRow, RequestRates, plan_check, show_seconds, too_long
from analyzer.quantity import format_seconds

WEIGHTS = (1, 2, 5, 10, 25, 50)  # percent
USUAL = (5, 25, 50)
MOST_STEPS = 3
SCRAPE = 15.0  # seconds between two samples of a pod
INTERVALS = (10.0, 30.0)  # of measurements: the shortest that the packaged templates use, and their default
INITIAL_DELAY = 30.0  # of the analysis of a step, as in the packaged templates
LONGER = (0.0, 0.05, 0.1, 0.2, 0.4)  # part of the wanted time that a step waits beyond what it has to
# Requests to a rollback, as parts of the forecast: the middles of twentieths of simulated rollouts, of any fault.
PARTS = (
    0.21, 0.3, 0.37, 0.44, 0.51, 0.57, 0.63, 0.7, 0.76, 0.84, 0.91, 0.99, 1.08, 1.19, 1.3, 1.42, 1.57, 1.76, 2.04, 2.6,
)  # fmt: skip
LATE = 3.0  # times the forecast of a step, after which it pauses for a person
LOOKS = 60  # at least


@dataclass(frozen=True)
class Step:
    """A weight, in percent, how long it lasts at least beside its analysis, and all in all, both in seconds."""

    weight: int
    pause: float
    seconds: float


@dataclass(frozen=True)
class Ramp:
    """Steps, the last of which proves the canary good.

    Attributes
    ----------
    interval : seconds between two measurements
    seconds : about, until a healthy canary is promoted
    harm : expected bad requests until a rollback, on average over the faults
    by_fault : the same of each fault, by check and its value
    """

    steps: tuple[Step, ...]
    interval: float
    seconds: float
    harm: float
    by_fault: Mapping[tuple[str, float], float]

    def looks(self, step: Step) -> int:
        """Return the measurements of a step before it pauses for a person."""
        return max(LOOKS, math.ceil(LATE * step.seconds / self.interval))


def ramps(
    policy: Policy, rate: float, within: float, assumptions: Mapping[str, Assumption]
) -> tuple[Ramp, Ramp | None]:
    """Return the ramp that harms least and the usual one, 5%, 25%, 50%; None where that never promotes.

    Parameters
    ----------
    policy : whose checks judge
    rate : requests a second of the whole service, > 0
    within : seconds until a healthy canary is to be promoted
    assumptions : by name of the check

    Raises
    ------
    RequestError : nothing can be proved in that time, or no fault has a share of bad requests
    """
    rows = {
        weight: {
            name: plan_check(check, policy, RequestRates.split(rate, weight / 100), assumptions[name])
            for name, check in policy.checks.items()
            if check.role is Role.GATE or (check.role is Role.GUARDRAIL and _has_share(check))
        }
        for weight in WEIGHTS
    }
    _can_be_planned(rows, assumptions)
    faults = _Faults(rows, rate)
    usual = faults.ramp(USUAL, (0.0,) * len(USUAL), max(INTERVALS))
    candidates = [faults.ramp(*chosen) for chosen in _choices(within)]
    possible = [ramp for ramp in candidates if ramp.seconds <= within]
    if not possible:
        least = min(candidates, key=lambda ramp: ramp.seconds)
        name = faults.slowest(least)
        raise RequestError(
            [
                Problem(
                    "within",
                    f"{format_seconds(within)} is too short to prove anything at this rate: {name} takes a healthy "
                    f"canary about {show_seconds(least.seconds)}; give as long, or make {name} a guardrail",
                )
            ]
        )
    return min(possible, key=lambda ramp: (ramp.harm, ramp.seconds)), usual if math.isfinite(usual.seconds) else None


def _choices(within: float) -> Iterator[tuple[tuple[int, ...], tuple[float, ...], float]]:
    """Yield weights, pauses and intervals to choose from."""
    for count in range(1, MOST_STEPS + 1):
        for weights in combinations(WEIGHTS, count):
            for parts in product(LONGER, repeat=count - 1):
                pauses = tuple(math.floor(part * within / SCRAPE) * SCRAPE for part in parts)
                yield weights, (*pauses, 0.0), min(INTERVALS)


def _can_be_planned(rows: Mapping[int, Mapping[str, PlanRow]], assumptions: Mapping[str, Assumption]) -> None:
    """Raise where no weight leads to a promotion, or nothing bad can be counted."""
    last = rows[WEIGHTS[-1]]
    never = [name for name, row in last.items() if row.check.role is Role.GATE and row.healthy.seconds is None]
    if never:
        raise RequestError([Problem("healthy", too_long(never[0], last[never[0]].healthy))])
    if not any(row.check.role is Role.GATE for row in last.values()):
        raise RequestError([Problem("policy", "has no gate, so that nothing is proved before promotion; add one")])
    if not any(_has_share(row.check) and any(need.requests for need in row.faults) for row in last.values()):
        names = [name for name in assumptions if name in last and _has_share(last[name].check)]
        remedy = f"give a larger one: --fault {names[0]}=10%" if names else "add a check of kind error_rate"
        raise RequestError([Problem("fault", f"no fault of failed or slow requests is ever rolled back; {remedy}")])


def _has_share(check: Check) -> bool:
    """Whether the value of a fault is the share of bad requests."""
    return check.kind in (Kind.ERROR_RATE, Kind.LATENCY) and not check.compares


@dataclass(frozen=True)
class _Faults:
    """What each weight takes, by name of the check; `rate` is that of the whole service."""

    rows: Mapping[int, Mapping[str, PlanRow]]
    rate: float

    def ramp(self, weights: tuple[int, ...], pauses: tuple[float, ...], interval: float) -> Ramp:
        """Return a ramp with its time and its harm."""
        steps: list[Step] = []
        begun = 0.0
        for number, (weight, pause) in enumerate(zip(weights, pauses, strict=True)):
            enough = self._proved(weight, begun) if number == len(weights) - 1 else self._seen(weight, begun)
            looks = math.ceil(max(enough - pause - INITIAL_DELAY, 0.0) / interval) if math.isfinite(enough) else enough
            seconds = pause + INITIAL_DELAY + looks * interval
            steps.append(Step(weight, pause, seconds))
            begun += seconds
        harms = {
            (name, need.value): need.value
            * sum(self._requests(steps, name, number, interval, part) for part in PARTS)
            / len(PARTS)
            for name, row in self.rows[weights[0]].items()
            if _has_share(row.check)
            for number, need in enumerate(row.faults)
            if need.requests is not None
        }
        return Ramp(tuple(steps), interval, begun, sum(harms.values()) / len(harms), harms)

    def slowest(self, ramp: Ramp) -> str:
        """Return the gate that the last step waits for."""
        rows = self.rows[ramp.steps[-1].weight]
        gates = [name for name, row in rows.items() if row.check.role is Role.GATE]
        return max(gates, key=lambda name: rows[name].healthy.seconds or math.inf)

    def _seen(self, weight: int, begun: float) -> float:
        """Return the seconds of a step after which every gate, a guardrail there, has its `min_requests`."""
        return self._scraped(weight, begun, [(row.check, row.check.min_requests) for row in self._gates(weight)])

    def _proved(self, weight: int, begun: float) -> float:
        """Return the seconds of a step after which every gate is proved by what was counted in it."""
        gates = self._gates(weight)
        return self._scraped(weight, begun, [(row.check, row.healthy.requests or math.inf) for row in gates])

    def _scraped(self, weight: int, begun: float, needed: list[tuple[Check, float]]) -> float:
        """Return the seconds of a step until so many requests of each check were judged."""
        return SCRAPE / 2 + max(
            max(_unjudged(check) - begun, 0.0) + requests / self._canary_rate(weight) for check, requests in needed
        )

    def _gates(self, weight: int) -> list[PlanRow]:
        return [row for row in self.rows[weight].values() if row.check.role is Role.GATE]

    def _requests(self, steps: list[Step], name: str, number: int, interval: float, part: float) -> float:
        """Return the canary's requests until a fault is rolled back that takes a part of the forecast to be proved."""
        proof, end, proved_at = 0.0, 0.0, 0.0
        waits = _unjudged(self.rows[steps[0].weight][name].check)
        for step in steps:
            begun, end = max(end, waits), end + step.seconds
            needed = part * (self.rows[step.weight][name].faults[number].requests or math.inf)
            proved_at = begun + (1 - proof) * needed / self._canary_rate(step.weight)
            if proved_at <= end:
                break
            proof += max(end - begun, 0.0) * self._canary_rate(step.weight) / needed
        return self._sent(steps, proved_at + (SCRAPE + interval) / 2)

    def _sent(self, steps: list[Step], until: float) -> float:
        """Return the canary's requests up to a moment; the last step goes on until then."""
        sent, begun = 0.0, 0.0
        for step in steps:
            end = until if step is steps[-1] else min(begun + step.seconds, until)
            sent += max(end - begun, 0.0) * self._canary_rate(step.weight)
            begun = end
        return sent

    def _canary_rate(self, weight: int) -> float:
        return self.rate * weight / 100


def _unjudged(check: Check) -> float:
    """Return the seconds at the start of the rollout that no measurement judges."""
    return max(check.warmup, check.pod_warmup) + check.lag


def manifest(ramp: Ramp, policy: str) -> dict[str, object]:
    """Return what a Rollout has under `spec.strategy.canary`: the steps, and the guard beside them."""
    last = len(ramp.steps) - 1
    steps: list[dict[str, object]] = []
    for number, step in enumerate(ramp.steps):
        steps.append({"setWeight": step.weight})
        if step.pause:
            steps.append({"pause": {"duration": f"{step.pause:.0f}s"}})
        given = {"role": "gate" if number == last else "guardrail", "weight": str(step.weight)}
        given |= {"interval": f"{ramp.interval:.0f}s", "looks": str(ramp.looks(step))}
        steps.append({"analysis": _analysis("ml-model-verdict", policy, given)})
    guard = _analysis("ml-model-guard", policy, {"interval": f"{ramp.interval:.0f}s"})
    return {"analysis": {"startingStep": 1, **guard}, "steps": steps}


def _analysis(template: str, policy: str, given: Mapping[str, str]) -> dict[str, object]:
    fields = {"service": "metadata.name", "namespace": "metadata.namespace"}
    hashes = {"canary-hash": "Latest", "baseline-hash": "Stable"}
    arguments: list[dict[str, object]] = []
    arguments += [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    arguments += [{"name": name, "valueFrom": {"podTemplateHashValue": value}} for name, value in hashes.items()]
    arguments += [{"name": name, "value": value} for name, value in ({"policy": policy} | dict(given)).items()]
    return {"templates": [{"templateName": template, "clusterScope": True}], "args": arguments}
