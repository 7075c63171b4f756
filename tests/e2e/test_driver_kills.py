"""The driver of `analyzer rollout`, killed and called again: 40 canaries, or `DRIVER_KILLS` of them.

For each of the four stacks half of the canaries are good, and half are bad from one of the steps on. The first
twelve of each kind are killed at every single patch that a rollout makes, after it took effect and before, or have its
answer lost; the others at drawn calls of any kind, up to three times.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from e2e.cluster import Cluster, Object
from e2e.driver import NAME, NEW, STACKS, STEPS, Measured, Scene, measuring
from e2e.serving import EXPERIMENT_CRD, STAND_INS, Route, path_of

from analyzer.driver import cluster as api
from analyzer.driver.alerts import Alerts
from analyzer.driver.judges import ByAnalyzer, Opinion, Says, VerdictQuestion
from analyzer.driver.kserve import Knative, Standard
from analyzer.driver.resource import Object as Resource
from analyzer.driver.resource import Split
from analyzer.driver.seldon import Deployment, Experiment
from analyzer.driver.walk import Ending, Plan, Walk

RUNS = int(os.environ.get("DRIVER_KILLS", "40"))
AT_ONCE = 8
LIVES_AT_MOST = 6
BEFORE, AFTER, LOST = "before", "after", "lost"
DRIVEN = {"knative": Knative(), "standard": Standard(), "deployment": Deployment(), "experiment": Experiment()}
PROFILES = {
    "knative": "kserve-knative",
    "standard": "kserve-standard",
    "deployment": "seldon-v1",
    "experiment": "seldon-v2-pipeline",
}


class Killed(BaseException):
    """The driver is gone; nothing catches it."""


@dataclass(frozen=True)
class Place:
    """Where the driver is killed.

    Attributes
    ----------
    call : which call to the API, counted from 1
    when : before it is made, after it took effect, or not at all: its answer is lost
    patches : only patches are counted
    """

    call: int
    when: str
    patches: bool = False


class Fragile:
    """The driver's client of the API, with which it is killed; or somebody else comes before it, by `meddle`."""

    def __init__(self, client: api.Cluster, place: Place | None, meddle: Callable[[], object] | None = None) -> None:
        self._client, self._place, self._meddle, self._calls = client, place, meddle, 0
        self.struck = False
        self.namespace = client.namespace

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        """Make a call, if it comes to that."""
        call = getattr(self._client, verb)

        def made(*arguments: Any, **named: Any) -> Any:
            place = self._place
            if place is None or (place.patches and verb != "patch"):
                return call(*arguments, **named)
            self._calls += 1
            if self._calls != place.call:
                return call(*arguments, **named)
            self.struck = True
            if self._meddle is not None:
                self._meddle()
                return call(*arguments, **named)
            if place.when == BEFORE:
                raise Killed
            found = call(*arguments, **named)
            if place.when == LOST:
                raise api.Unreachable("the connection was lost")
            assert found is not None
            raise Killed

        return made


@dataclass
class Recorded(ByAnalyzer):
    """The real analyzer, asked about what is served at each weight; `told` keeps what it said."""

    worlds: dict[int, str] = field(default_factory=dict)
    told: list[tuple[int, Says]] = field(default_factory=list)

    def ask(self, resource: Resource, split: Split, role: str, since: float) -> Opinion:
        """Ask about the namespace whose requests are split so."""
        assert split.weight is not None
        self.question = replace(self.question, namespace=self.worlds[split.weight])
        found = super().ask(resource, split, role, since)
        self.told.append((split.weight, found.says))
        return found


def world_of(stack: str, weight: int, *, good: bool) -> str:
    """Name the namespace in which a stack serves at a weight."""
    return f"{stack}-{weight}-{'good' if good else 'bad'}"


def routes(stack: str) -> Iterator[Route]:
    """Send requests at every weight, to good canaries and to bad ones: what is asked about, by all runs."""
    one = STACKS[stack]
    for weight in STEPS[:-1]:
        for good in (True, False):
            shares = {one.canary: weight / 100, one.baseline: 1 - weight / 100}
            behaviours = {} if good else {one.canary: one.fault}
            yield Route(world_of(stack, weight, good=good), stack, partial(dict, shares), behaviours, 2000.0)


def question(stack: str, url: str) -> VerdictQuestion:
    """Ask often, and at once."""
    return VerdictQuestion(
        service=NAME,
        namespace="kills",
        profile=PROFILES[stack],
        policy="ml-model",
        limits=json.dumps(STACKS[stack].limits),
        analyzer_url=url,
        interval=0.2,
        settle=0.0,
        delay=0.0,
        looks=1000,
    )


def places(count: int, seed: int) -> list[list[Place]]:
    """Choose where each of the runs is killed, one place for each of its lives but the last."""
    draw = np.random.default_rng(seed)
    patches = [[Place(call, when, patches=True)] for when in (AFTER, LOST, BEFORE) for call in range(1, len(STEPS) + 1)]
    drawn = [
        [Place(int(draw.integers(1, 16)), str(draw.choice([BEFORE, AFTER, AFTER, LOST]))) for _ in range(3)]
        for _ in range(count)
    ]
    return (patches + drawn)[:count]


@dataclass
class Run:
    """A canary from its begin to its end.

    Attributes
    ----------
    scene : its resource
    bad_from : the weight from which on it is bad; None: it is good
    killed : where
    """

    scene: Scene
    name: str
    bad_from: int | None
    killed: list[Place]
    told: list[tuple[int, Says]] = field(default_factory=list)
    lives: int = 0
    strikes: int = 0
    lines: list[str] = field(default_factory=list)
    ending: Ending | None = None
    meddle: Callable[[], object] | None = None

    def live(self, url: str) -> None:
        """Drive, and drive again until it ends."""
        scene = self.scene
        resource = deepcopy(scene.stack.resource)
        resource["metadata"]["labels"] = {"of": f"kills-{self.name}"}
        where = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.namespace}}
        scene.cluster.api.create("/api/v1/namespaces", where)
        made = scene.cluster.api.create(path_of(scene.stand_in, scene.namespace), resource)
        scene.since = made["metadata"]["resourceVersion"]
        time.sleep(1)  # the times of managedFields are whole seconds
        scene.wait(lambda: scene.stack.baseline in scene.stand_in.shares(scene.namespace), "the first version")
        worlds = {
            weight: world_of(self.name, weight, good=self.bad_from is None or weight < self.bad_from)
            for weight in STEPS[:-1]
        }
        model = None if self.name == "experiment" else NEW
        coming: list[Place | None] = [*self.killed, None]
        connected = api.Cluster(scene.namespace)
        while self.ending is None:
            assert self.lives < LIVES_AT_MOST
            place = coming[min(self.lives, len(coming) - 1)]
            self.lives += 1
            client = Fragile(connected, place, self.meddle)
            judge = Recorded(question(self.name, url), worlds=worlds, told=self.told)
            plan = Plan(STEPS, model, poll_seconds=0.1)
            walk = Walk(DRIVEN[self.name], client, NAME, plan, judge, Alerts(client), self.lines.append)
            try:
                self.ending = walk.run()
            except Killed:
                self.lines.append(f"killed {place}")
            self.strikes += client.struck
        connected._client._client._client.close()

    def faults(self) -> list[str]:
        """Say what went wrong."""
        walked = [weight for weight in self.scene.weights() if weight is not None]
        if walked[:1] == [0]:
            walked = walked[1:]
        steps = list(STEPS[:-1])
        if self.bad_from is None:
            expected = [steps if self.name == "standard" else [*steps, 100]]
        else:
            # Where the rollout's begin is noted down, what was counted before is no proof: it may take another step.
            expected = [[*steps[:length], 0] for length in range(steps.index(self.bad_from) + 1, len(steps) + 1)]
        found = [] if walked in expected else [f"walked {walked}, and not {expected[0]}"]
        if self.ending is not (Ending.PROMOTED if self.bad_from is None else Ending.ROLLED_BACK):
            found.append(f"ended {self.ending}")
        if self.bad_from is not None and self.scene.weight != 0:
            found.append(f"a bad model at {self.scene.weight}%")
        for before, after in pairwise(walked):
            if after > before and (before, Says.GOOD) not in self.told:
                found.append(f"raised from {before}% without a pass there")
        found += [f"traffic adds up to {total}" for total in map(self._total, self.scene.states()) if total != 100]
        return found

    def _total(self, state: Object) -> int:
        spec = state["spec"]
        if self.name == "deployment":
            return sum(one.get("traffic", 0) for one in spec["predictors"])
        if self.name == "experiment":
            return sum(one["weight"] for one in spec["candidates"])
        return 100  # there is one number only


@pytest.fixture(scope="module")
def measured(cluster: Cluster, folder: Path) -> Iterator[Measured]:
    """Pages, Prometheus and analyzer, for all runs here."""
    cluster.apply(EXPERIMENT_CRD)
    with measuring(folder) as found:
        yield found


def until_known(stack: str, url: str) -> None:
    """Wait until good canaries would pass and bad ones fail, at every weight."""
    ends = time.monotonic() + 60
    for route in routes(stack):
        wanted = "pass" if not route.behaviours else "fail"
        asked = replace(question(stack, url), namespace=route.namespace)
        (weight,) = (weight for weight in STEPS[:-1] if f"-{weight}-" in route.namespace)
        split = Split(weight, STACKS[stack].canary, STACKS[stack].baseline)
        role = "gate" if weight == STEPS[-2] else "guardrail"
        while (answer := requests.post(f"{url}/v1/verdict", json=asked.body(split, role), timeout=10).json())[
            "verdict"
        ] != wanted:
            assert time.monotonic() < ends, f"{route.namespace}: {answer}"
            time.sleep(0.2)


@pytest.mark.parametrize("stack", STACKS)
def test_whatever_kills_it_the_next_call_goes_on(
    cluster: Cluster, measured: Measured, monkeypatch: pytest.MonkeyPatch, stack: str
) -> None:
    """No bad model is left with requests, no step is skipped or made without a pass, and every good one is promoted."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    measured.requests.add(*routes(stack))
    stand_in = STAND_INS[stack](cluster.api, where=f"of=kills-{stack}")
    stand_in.start()
    count = RUNS // 2 // len(STACKS)
    runs = []
    for number, (good, killed) in enumerate((good, killed) for good in (True, False) for killed in places(count, 7)):
        scene = Scene(
            cluster, f"kills-{stack}-{number}", STACKS[stack], stand_in, Route("", stack, dict), Path(), ()
        )  # fmt: skip
        # The bad ones that are killed at a patch make as many.
        least = killed[0].call if killed[0].patches else 1
        bad_from = None if good else STEPS[:-1][max(least - 2, number % 3)]
        runs.append(Run(scene, stack, bad_from, killed))
    began = time.monotonic()
    try:
        until_known(stack, measured.analyzer.url)
        runs[0].live(measured.analyzer.url)  # alone: what the client makes for each kind is not for threads to make
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda run: run.live(measured.analyzer.url), runs[1:]))
    finally:
        stand_in.stop()
    wrong = {run.scene.namespace: (run.faults(), run.killed, run.lines) for run in runs if run.faults()}
    lives = sum(run.lives for run in runs)
    strikes = sum(run.strikes for run in runs)
    took = time.monotonic() - began
    print(f"{stack}: {len(runs)} canaries, {lives - len(runs)} kills, {strikes} with lost answers, {took:.0f} s")
    assert not wrong, "\n".join(f"{name}: {faults}" for name, faults in wrong.items())
    assert strikes > len(runs) / 2


def test_a_change_between_reading_and_patching_is_not_overwritten(
    cluster: Cluster, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody sets another weight after the driver has read the one before, and before it moves it."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    measured.requests.add(*routes("knative"))
    stand_in = STAND_INS["knative"](cluster.api, where="of=kills-knative", namespace="meddled")
    scene = Scene(cluster, "meddled", STACKS["knative"], stand_in, Route("", "knative", dict), Path(), ())
    theirs = {"op": "replace", "path": "/spec/predictor/canaryTrafficPercent", "value": 70}
    run = Run(scene, "knative", None, [Place(2, BEFORE, patches=True)], meddle=lambda: scene.patch(theirs))
    stand_in.start()
    try:
        until_known("knative", measured.analyzer.url)
        run.live(measured.analyzer.url)
    finally:
        stand_in.stop()
    assert run.ending is Ending.REFUSED
    assert scene.weights() == [None, 5, 70]
    assert "somebody-else modified the spec during the rollout" in run.lines[-1]
