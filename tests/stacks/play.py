"""The play: all stacks at once, two instances of each, one Prometheus that scrapes them, and acts of known traffic."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import requests
import yaml
from prometheus_server import PrometheusServer
from stacks.installation import installed
from stacks.servers import FILES, Server, Stack, lay_out
from stacks.traffic import FAULTY, HEALTHY, PAST, Act, Router, send, send_slow, shop

ENDS_WITHIN = 10.0  # seconds, all together
SCRAPED = 2.5  # seconds until everything sent has been scraped
FIRST_SCRAPE = 60.0  # seconds; Prometheus takes five to begin
ROLES = ("canary", "baseline")


@dataclass
class Play:
    """What is played, and when.

    Attributes
    ----------
    stacks : which play
    folder : for what they write
    ends : of the acts, when all was scraped: of the past, the healthy and the faulty one
    broken : what went wrong, by stack: it plays no more, and the others do
    took : seconds, by stack
    """

    stacks: Sequence[Stack]
    folder: Path
    ends: list[float] = field(default_factory=list)
    broken: dict[str, Exception] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)
    _instances: dict[str, dict[str, Server]] = field(default_factory=dict)
    _shop: Server | None = None

    def __post_init__(self) -> None:
        """Prepare what all share."""
        self.prometheus, self._router = PrometheusServer(self.folder / "prometheus"), Router()

    def play(self) -> None:
        """Install, start, send, and wait until all is scraped."""
        self._shop = _start_application(self.folder / "application", self._router)
        for stack in self.stacks:  # one after the other, as each uses the whole network
            self._try(stack, partial(self._lay_out, stack))
        self._for_all(lambda _, both: both["baseline"].run())
        self.prometheus.scrape_configs = scrape_configs(self.stacks, self._instances, self._shop)
        self.prometheus.start()
        self._wait_until_up("baseline")
        self._act({"baseline": PAST})
        self._for_all(lambda _, both: both["canary"].run())
        self._wait_until_up("canary")
        self._act(HEALTHY)
        self._act(FAULTY)
        time.sleep(1.0)

    def stop(self) -> None:
        """Stop all that was started."""
        self.prometheus.stop()
        self._router.stop()
        servers = [one for both in self._instances.values() for one in both.values()]
        servers += [self._shop] if self._shop else []
        for server in servers:
            server.terminate()
        until = time.monotonic() + ENDS_WITHIN
        for server in servers:
            server.stop(until)

    def _act(self, act: Mapping[str, Act]) -> None:
        def in_each_role(work: Callable[[Stack, Server, Act], None], at_once: int) -> None:
            def play(stack: Stack, both: dict[str, Server]) -> None:
                for role, part in act.items():
                    work(stack, both[role], part)

            self._for_all(play, at_once)

        # One after the other: many at once would make each other slow.
        in_each_role(send, 1)
        in_each_role(send_slow, len(self.stacks))
        in_each_role(partial(shop, self._shop, self._router), 1)
        time.sleep(SCRAPED + max(stack.lag for stack in self.stacks))
        self.ends.append(round(time.time(), 3))

    def _wait_until_up(self, role: str) -> None:
        """Wait until the instances of a role and the application have been scraped."""
        ends = time.monotonic() + FIRST_SCRAPE
        while absent := self._running(role) - self._up():
            if time.monotonic() > ends:
                for stack in [one for one in self.stacks if one.arm(role) in absent]:
                    words = self._instances[stack.profile][role].last_words()
                    self.broken[stack.profile] = RuntimeError(f"{stack.arm(role)} is not scraped: {words}")
                return
            time.sleep(0.2)
        time.sleep(1.0)

    def _running(self, role: str) -> set[str]:
        return {"shop", *(stack.arm(role) for stack in self.stacks if stack.profile not in self.broken)}

    def _up(self) -> set[str]:
        answer = requests.get(f"{self.prometheus.url}/api/v1/query", params={"query": "up == 1"}, timeout=5)
        return {each["metric"]["pod"] for each in answer.json()["data"]["result"]}

    def _lay_out(self, stack: Stack) -> None:
        self._instances[stack.profile] = {role: lay_out(stack, role, self.folder / stack.arm(role)) for role in ROLES}

    def _for_all(self, work: Callable[[Stack, dict[str, Server]], Any], at_once: int = 3) -> None:
        """Do something for all stacks that are not broken, some at a time."""
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda one: self._try(one, lambda: work(one, self._instances[one.profile])), self.stacks))

    def _try(self, stack: Stack, work: Callable[[], Any]) -> None:
        if stack.profile not in self.broken:
            began = time.monotonic()
            try:
                work()
            except Exception as error:  # noqa: BLE001 - the tests of this stack raise it
                self.broken[stack.profile] = error
            self.took[stack.profile] = self.took.get(stack.profile, 0.0) + time.monotonic() - began


def _start_application(place: Path, router: Router) -> Server:
    """Start the application that asks the models."""
    place.mkdir()
    (place / "application.py").write_bytes((FILES / "application.py").read_bytes())
    command = "flask --app application run --port {http}"
    binaries = installed("application") / "bin"
    server = Server("application", command, place, {"MODEL_URL": router.url}, "/metrics", binaries)
    server.run()
    return server


def pod_monitor(name: str) -> dict[str, Any]:
    """Read a PodMonitor of the README."""
    text = (FILES / "README.md").read_text(encoding="utf-8")
    found = [
        each
        for block in text.split("```yaml\n")[1:]
        for each in yaml.safe_load_all(block.split("```")[0])
        if each.get("kind") == "PodMonitor"
    ]
    (one,) = [each for each in found if each["metadata"]["name"] == name]
    return one


def relabelings(rules: list[dict[str, Any]], arm_label: str) -> list[dict[str, Any]]:
    """Write the relabelings of a PodMonitor as the operator does, for another label of the arms if need be."""
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    renamed = [{names.get(name, name): value for name, value in rule.items()} for rule in rules]
    return [{**rule, "target_label": arm_label} for rule in renamed]


def scrape_configs(stacks: Sequence[Stack], instances: dict[str, dict[str, Server]], application: Server) -> str:
    """Write what the Prometheus operator makes of the PodMonitors of the README."""
    (label,) = pod_monitor("fraud-detector")["spec"]["podTargetLabels"]
    assert label.replace("-", "_") == "rollouts_pod_template_hash"
    (endpoint,) = pod_monitor("shop")["spec"]["podMetricsEndpoints"]
    arm_labels = dict.fromkeys(stack.arm_label for stack in stacks)
    jobs = [
        {
            "job_name": stack.profile,
            "static_configs": [
                {
                    "targets": [server.target],
                    # Seldon names its predictor itself.
                    "labels": {"namespace": "ml", "pod": server.name}
                    | ({} if stack.profile == "seldon-v1" else {stack.arm_label: server.name}),
                }
                for server in instances[stack.profile].values()
            ],
        }
        for stack in stacks
        if stack.profile in instances
    ]
    jobs.append({
        "job_name": "shop",
        "static_configs": [{"targets": [application.target], "labels": {"namespace": "ml", "pod": "shop"}}],
        "metric_relabel_configs": [
            rule for label in arm_labels for rule in relabelings(endpoint["metricRelabelings"], label)
        ],
    })  # fmt: skip
    timing = {"scrape_interval": "1s", "scrape_timeout": "900ms"}
    return str(yaml.safe_dump([{**timing, **job} for job in jobs], default_flow_style=True, width=10**6))
