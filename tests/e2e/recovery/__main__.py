"""How quickly a bad canary is rolled back and a good one promoted: `make e2e-figures`.

Argo Rollouts on a real API server, a real Prometheus and the installed analyzer, as in the end-to-end tests, at the
intervals of the field: half an hour in all. The full form writes its tables into tests/bench/README.md. `--short`
runs a few rollouts in three minutes and writes nothing. Ends with 1 where a figure misses its target.
"""

import argparse
import copy
import itertools
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path[0] = str(HERE.parents[1])

import yaml  # noqa: E402
from e2e.cluster import Cluster, Object  # noqa: E402
from e2e.components import build, missing  # noqa: E402
from e2e.conftest import PROJECT, QUICK, install_wheel  # noqa: E402
from e2e.recovery.crowd import NONE_BAD, Crowd, Place  # noqa: E402
from e2e.recovery.guards import METHODS, guarded_by, rules, threshold_template  # noqa: E402
from e2e.recovery.report import Acceleration, Promotion, Recovery, Results, problems, write  # noqa: E402
from e2e.stage import Service, Stage, with_arguments  # noqa: E402
from e2e.traffic import HEALTHY, LATENCY_EDGES, Behaviour, Pod  # noqa: E402
from prometheus_server import Point, PrometheusServer  # noqa: E402

OVERLAYS = PROJECT / "rollouts" / "fraud-detector" / "overlays"
README = PROJECT / "tests" / "bench" / "README.md"
OLD, NEW = "1.0.0", "1.1.0"
WEIGHT = 5
SCRAPES = "15s"
WATCHED = {"interval": "10s", "initial-delay": "10s"}
# What the analyzer looks back to for how the baseline behaves; drawn, and not waited for.
PAST_SECONDS, PAST_STEP_SECONDS = 7200.0, 30.0
AT_ONCE = 6
ACCELERATED_SECONDS = 240.0
DECIDED = ("Healthy", "Degraded")


def _failed(pod: Pod) -> int:
    return pod.failed


def _too_slow(pod: Pod) -> int:
    return int(pod.latencies[LATENCY_EDGES.index(0.5) + 1 :].sum())


def _any(pod: Pod) -> int:
    return pod.ok + pod.failed


@dataclass(frozen=True)
class Fault:
    """What is wrong with a canary, and which of its requests show it."""

    behaviour: Behaviour
    bad: Callable[[Pod], int]


FAULTS = {
    "errors 5%": Fault(Behaviour(errors=0.05), _failed),
    "errors 2%": Fault(Behaviour(errors=0.02), _failed),
    "3% over 500 ms": Fault(Behaviour(slow=0.075), _too_slow),
    "drift, PSI 0.4": Fault(Behaviour(drift=0.392), _any),
    "": Fault(HEALTHY, NONE_BAD),
}


@dataclass(frozen=True)
class Plan:
    """What a run of this program measures.

    Attributes
    ----------
    faults, rates, methods, seeds : a Rollout for each combination; rates are canary requests a second
    healthy_seeds : the same without a fault, to see whether it is rolled back
    promotions : seeds of Rollouts that walk all steps at real intervals
    accelerated : seeds of Rollouts that walk them at those of the tests
    cap_seconds : how long a canary is watched, from its first request
    warm_up_seconds : for which the baseline is scraped alone, after two hours that are written into Prometheus
    release_seconds : between two releases, so that their analyses do not all look at the same moment
    """

    faults: tuple[str, ...] = tuple(name for name in FAULTS if name)
    rates: tuple[float, ...] = (1.0, 10.0, 100.0)
    methods: tuple[str, ...] = METHODS
    seeds: tuple[int, ...] = (0, 1, 2)
    healthy_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    promotions: tuple[int, ...] = (0, 1, 2)
    accelerated: tuple[int, ...] = tuple(range(50))
    cap_seconds: float = 900.0
    warm_up_seconds: float = 45.0
    release_seconds: float = 0.7


SHORT = Plan(
    faults=("errors 5%",),
    rates=(10.0,),
    methods=METHODS[:2],
    seeds=(0,),
    healthy_seeds=(),
    promotions=(),
    accelerated=(0, 1),
    cap_seconds=75.0,
    warm_up_seconds=30.0,
)


@dataclass
class Ground:
    """What every part stands on: a cluster with the templates, an installed analyzer, and the example's manifests."""

    cluster: Cluster
    folder: Path
    example: list[Object] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Render the example once."""
        self.example = self.cluster.render(OVERLAYS / "replica-ratio")

    @contextmanager
    def serving(self, name: str, scrapes: str, tick_seconds: float) -> Iterator["Yard"]:
        """Send requests for as long as the block lasts, to what is staged in it."""
        here = self.folder / name
        here.mkdir()
        crowd = Crowd(lambda: self.cluster.api, tick_seconds)
        recording = here / "rules.yml"
        recording.write_text(yaml.safe_dump(rules()))
        config = f"{crowd.scrape_configs(scrapes)}\nrule_files: [{recording}]"
        prometheus = PrometheusServer(here / "prometheus", config)
        analyzer = Service(self.folder / "venv" / "bin" / "analyzer", prometheus.url, here)
        yard = Yard(self, crowd, prometheus, analyzer)
        crowd.start()
        try:
            yield yard
        finally:
            yard.close()


@dataclass
class Yard:
    """Places that share their requests' sender, a Prometheus and an analyzer."""

    ground: Ground
    crowd: Crowd
    prometheus: PrometheusServer
    analyzer: Service

    def open(self, past: Iterable[Point] = ()) -> None:
        """Start Prometheus, with a past where there is one, and the analyzer."""
        if past:
            self.prometheus.write_history(past)
        self.prometheus.start()
        self.analyzer.start()

    def close(self) -> None:
        """Stop everything."""
        for part in (self.analyzer, self.prometheus, self.crowd):
            part.stop()

    def stage(self, place: Place, objects: Iterable[Object], arguments: Mapping[str, str]) -> Stage:
        """Apply manifests in a namespace of their own, at their own pace but for the arguments given."""
        given = {"analyzer-url": self.analyzer.url} | arguments
        changed = [with_arguments(each, given) for each in objects if each["kind"] not in ("Namespace", "PodMonitor")]
        for each in changed:
            each["metadata"]["namespace"] = place.namespace
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.namespace}}
        self.ground.cluster.apply(namespace, *changed)
        self.crowd.add(place)
        stage = Stage(self.ground.cluster, place.namespace, place, self.prometheus, self.analyzer, given)
        stage.name = "fraud-detector"
        return stage

    def wait(self, ready: Callable[[], bool], seconds: float) -> bool:
        """Wait until something holds; tell whether it came to hold."""
        ends = time.monotonic() + seconds
        while not ready():
            self.crowd.check()
            if time.monotonic() > ends:
                return False
            time.sleep(0.25)
        return True

    def clear(self, stage: Stage) -> None:
        """End what a stage has in the cluster."""
        for kind in ("rollouts", "analysisruns"):
            self.ground.cluster.api.delete(f"/apis/argoproj.io/v1alpha1/namespaces/{stage.namespace}/{kind}")
        self.crowd.remove(stage.traffic)


def at_a_pause(yard: Yard, method: str) -> list[Object]:
    """Write the example with two pods, a VirtualService for the split, and a step that only its guard can end."""
    objects = copy.deepcopy(yard.ground.example)
    (rollout,) = (each for each in objects if each["kind"] == "Rollout")
    rollout["spec"]["replicas"] = 1
    canary = rollout["spec"]["strategy"]["canary"]
    canary["steps"] = [{"setWeight": WEIGHT}, {"pause": {}}]
    canary["trafficRouting"] = {"istio": {"virtualService": {"name": "fraud-detector", "routes": ["primary"]}}}
    # As long as the pods of an aborted canary stay, Argo 1.9.1 turns its Service to the other version and back, a dozen
    # times a second (argoproj/argo-rollouts#3078). Nothing is measured then any more, and others would wait for that.
    canary["abortScaleDownDelaySeconds"] = 1
    where = {"analyzer-url": yard.analyzer.url, "prometheus-url": yard.prometheus.url}
    canary["analysis"] = guarded_by(method, canary["analysis"], WATCHED | where)
    split = yaml.safe_load((OVERLAYS / "istio" / "virtual-service.yaml").read_text())
    return [*objects, split]


def measure_field(ground: Ground, plan: Plan) -> tuple[list[Recovery], list[Promotion]]:
    """Run every rollout that has the intervals of the field, all at once."""
    combinations = [
        *itertools.product(plan.seeds, plan.faults, plan.rates, plan.methods),
        *itertools.product(plan.healthy_seeds, [""], plan.rates, plan.methods),
    ]
    with ground.serving("field", SCRAPES, 1.0) as yard, ThreadPoolExecutor(4) as pool:
        watched = [Recovery(fault, rate, method, seed) for seed, fault, rate, method in combinations]
        stages = list(pool.map(lambda one: _watched_stage(yard, one), watched))
        walked = [Promotion(seed) for seed in plan.promotions]
        walking = list(pool.map(lambda one: _walking_stage(yard, one), walked))
        places = [stage.traffic for stage in (*stages, *walking)]
        told(f"{len(places)} rollouts are applied")
        if not yard.wait(lambda: all(place.phase == "Healthy" for place in places), 300):
            raise RuntimeError(f"not healthy: {[place.namespace for place in places if place.phase != 'Healthy']}")
        told("all are healthy; their past is written")
        yard.open(yard.crowd.past(PAST_SECONDS, PAST_STEP_SECONDS))
        told("Prometheus and the analyzer run")
        time.sleep(plan.warm_up_seconds)
        released = {}
        for stage in (*walking, *stages):
            released[stage.namespace] = time.time()
            stage.release(NEW)
            time.sleep(max(0.0, released[stage.namespace] + plan.release_seconds - time.time()))
        told("all are released")
        _watch(yard, plan, stages, walking)
        runs = _runs_by_namespace(ground.cluster)
        found = [
            _recovered(one, stage.traffic, runs.get(stage.namespace, []), plan.cap_seconds)
            for one, stage in zip(watched, stages, strict=True)
        ]
        promoted = [
            _promoted(one, stage.traffic, released[stage.namespace]) for one, stage in zip(walked, walking, strict=True)
        ]
        told(f"the slowest tick took {yard.crowd.slowest_tick:.1f} s")
        list(pool.map(yard.clear, (*stages, *walking)))
    return found, promoted


def _watched_stage(yard: Yard, one: Recovery) -> Stage:
    fault = FAULTS[one.fault]
    place = Place(one.namespace, one.rate * 100 / WEIGHT, one.seed, {NEW: fault.behaviour}, fault.bad)
    return yard.stage(place, at_a_pause(yard, one.method), {})


def _walking_stage(yard: Yard, one: Promotion) -> Stage:
    place = Place(f"promotion-{one.seed}", one.rate * 100 / WEIGHT, one.seed)
    return yard.stage(place, yard.ground.example, {})


def _watch(yard: Yard, plan: Plan, stages: Sequence[Stage], walking: Sequence[Stage]) -> None:
    """Wait until every canary has no traffic any more, or has been watched long enough."""

    def is_over(place: Place) -> bool:
        began = place.began(NEW)
        if began is None:
            return False
        return place.reached(NEW, 0.0) is not None or time.time() > began + plan.cap_seconds

    def are_over() -> bool:
        return all(is_over(stage.traffic) for stage in stages) and all(
            stage.traffic.reached(NEW, 1.0) is not None or is_over(stage.traffic) for stage in walking
        )

    ends = time.monotonic() + plan.cap_seconds + 120
    said = time.monotonic()
    while time.monotonic() < ends and not are_over():
        yard.crowd.check()
        time.sleep(1)
        if time.monotonic() > said + 60:
            said = time.monotonic()
            gone = sum(stage.traffic.reached(NEW, 0.0) is not None for stage in stages)
            told(f"{gone} of {len(stages)} are rolled back, slowest tick {yard.crowd.slowest_tick:.1f} s")


def _recovered(one: Recovery, place: Place, runs: Sequence[Object], cap_seconds: float) -> Recovery:
    began, ended = place.began(NEW), place.reached(NEW, 0.0)
    if began is not None and ended is not None and ended > began + cap_seconds:
        ended = None  # it was watched longer than others, which waited for it
    background = [run for run in runs if run["metadata"]["labels"].get("rollout-type") == "Background"]
    phase, decided, reason = _decision(background[-1]) if background else ("none", [], "")
    return replace(
        one,
        began=began,
        first_bad=place.first_bad.get(NEW),
        first_scrape=place.first_bad_scraped.get(NEW),
        ended=ended,
        requests=place.served[NEW],
        phase=phase,
        decided=decided,
        reason=reason,
    )


def _decision(run: Object) -> tuple[str, list[str], str]:
    """Tell how a background run stands, by which checks or metrics it was decided, and why."""
    status = run.get("status", {})
    decided, reason = [], str(status.get("message", ""))
    for metric in status.get("metricResults", ()):
        if metric.get("phase") not in ("Failed", "Error"):
            continue
        value = metric["measurements"][-1].get("value") or "null"
        answer = json.loads(value)
        if isinstance(answer, dict):
            decided += [name for name, found in answer["checks"].items() if found["verdict"] == "fail"]
            reason = answer["reason"]
        else:
            decided.append(metric["name"].replace("-", "_"))
            reason = f"{metric['name']} {value}"
    return str(status.get("phase", "")), decided, reason


def _promoted(one: Promotion, place: Place, released: float) -> Promotion:
    full = place.reached(NEW, 1.0)
    seconds = None if full is None else full - released
    steps = [(round(moment - released, 1), round(100 * shares.get(NEW, 0.0))) for moment, shares in place.history]
    return replace(one, seconds=seconds, requests=place.served[NEW], weights=[step for step in steps if step[0] > 0])


def _runs_by_namespace(cluster: Cluster) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    runs = cluster.api.items("/apis/argoproj.io/v1alpha1/analysisruns")
    for run in sorted(runs, key=lambda run: run["metadata"]["creationTimestamp"]):
        found.setdefault(run["metadata"]["namespace"], []).append(run)
    return found


def measure_accelerated(ground: Ground, plan: Plan) -> list[Acceleration]:
    """Run the example's Rollout over and over, at the pace of the tests, and see how each run ends."""
    with ground.serving("accelerated", "1s", 0.5) as yard, ThreadPoolExecutor(AT_ONCE) as pool:
        yard.open()
        found = list(pool.map(lambda seed: _accelerated(yard, seed), plan.accelerated))
        told(f"the slowest tick took {yard.crowd.slowest_tick:.1f} s")
    return found


def _accelerated(yard: Yard, seed: int) -> Acceleration:
    place = Place(f"accelerated-{seed}", 1000.0, seed)
    stage = yard.stage(place, yard.ground.example, QUICK)
    pods = 20
    if not yard.wait(lambda: place.phase == "Healthy" and len(place.scraped_at) >= pods, 120):
        raise RuntimeError(f"{place.namespace} is not healthy")
    began = time.monotonic()
    stage.release(NEW)
    # The place may still show the Rollout as it was before.
    yard.wait(lambda: place.tag == NEW, 30)
    yard.wait(lambda: place.phase in DECIDED or "InconclusiveAnalysisRun" in place.pauses, ACCELERATED_SECONDS)
    seconds, phases, answers = time.monotonic() - began, stage.phases(), stage.answers()
    outcome = {"Healthy": "promoted", "Degraded": "aborted"}.get(
        place.phase, "paused" if place.pauses else "not decided"
    )
    told(f"accelerated {seed}: {outcome} after {seconds:.0f} s")
    yard.clear(stage)
    return Acceleration(seed, outcome, seconds, phases, answers[-1]["reason"] if answers else "")


def told(what: str) -> None:
    """Tell a person who waits how far things are."""
    print(f"{time.strftime('%H:%M:%S')}  {what}", flush=True)


@contextmanager
def a_ground() -> Iterator[Ground]:
    """Start a cluster, install the analyzer, and remove both."""
    if absent := missing():
        sys.exit("\n  ".join(["this needs programs that are not installed:", *absent]))
    folder = Path(tempfile.mkdtemp(prefix="rollout-analyzer-recovery-"))
    cluster = Cluster(folder / "cluster", build())
    try:
        cluster.start()
        cluster.apply(*cluster.render(PROJECT / "analysis-templates"), threshold_template())
        install_wheel(folder)
        yield Ground(cluster, folder)
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Time to recovery and time to promote, measured.")
    parser.add_argument("--short", action="store_true", help="a few rollouts in three minutes; writes nothing")
    parser.add_argument("--json", type=Path, help="write everything measured here")
    parser.add_argument("--plan", type=json.loads, default={}, help="JSON: other values for the plan; writes nothing")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and in the full form write."""
    options = arguments()
    changed = {name: tuple(value) if isinstance(value, list) else value for name, value in options.plan.items()}
    plan = replace(SHORT if options.short else Plan(), **changed)
    is_full = plan == Plan()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # what was started is stopped then too
    began = time.monotonic()
    with a_ground() as ground:
        told("the cluster is up")
        recoveries, promotions = measure_field(ground, plan)
        accelerated = measure_accelerated(ground, plan) if plan.accelerated else []
    results = Results(recoveries, promotions, accelerated, asdict(plan))
    if options.json:
        options.json.write_text(json.dumps(results.as_json(), indent=1) + "\n")
    print(write(results, README if is_full else None))
    told(f"done in {time.monotonic() - began:.0f} s")
    found = problems(results)
    print("\n".join(["not met:", *found]) if found else "all targets are met")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
