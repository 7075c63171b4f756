"""Verdicts on answers that are damaged: never a pass of a bad canary, nor a fail of a good one, nor a traceback.

`make damage` draws 10,000 of them.
"""

import json
import os
import random
import time
import warnings
from dataclasses import dataclass, field
from typing import Any

import pytest
from chaos.stage import history
from prometheus_server import PrometheusServer, StartPrometheus
from sources.damage import KINDS, Damage

from analyzer.config.policy import load_policies
from analyzer.config.profile import load_profiles
from analyzer.sources import prometheus_api
from analyzer.sources.breaker import Breaker
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.answer import render
from analyzer.verdict.request import Detail, parse_request

pytestmark = pytest.mark.prometheus

END = float(int(time.time()))
CASES = int(os.environ.get("ANALYZER_DAMAGED", "0"))
FORBIDDEN = {"good": "fail", "bad": "pass"}
POLICIES, PROFILES = load_policies(None), load_profiles(None)


@pytest.fixture(scope="module")
def server(start_prometheus: StartPrometheus) -> PrometheusServer:
    """A Prometheus that knows a good and a bad canary."""
    return start_prometheus(history(END))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again at once, and do not open the breaker."""
    monkeypatch.setattr(prometheus_api, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(Breaker, "suspect", lambda _: None)


@dataclass
class Damaged(PrometheusApi):
    """Answers as Prometheus does, but for the queries whose number is among those to be damaged.

    Attributes
    ----------
    true : answers so far, which are read once
    hits : whether a query is damaged
    """

    url: str
    damage: Damage | None
    draw: random.Random
    share: float
    true: dict[tuple[str, ...], Any]
    hits: int = field(default=0)

    def __post_init__(self) -> None:
        """Connect."""
        super().__init__(Connection(self.url))

    def _ask(self, endpoint: str, parameters: dict[str, str], *rest: Any, **more: Any) -> tuple[int, str, bytearray]:
        key = (endpoint, *parameters.values())
        if key not in self.true:
            self.true[key] = json.loads(super()._ask(endpoint, parameters, *rest, **more)[2])
        if self.damage is None or self.draw.random() >= self.share:
            return 200, "", bytearray(json.dumps(self.true[key]).encode())
        self.hits += 1
        status, body = self.damage(self.true[key], self.draw)
        return status, "http://127.0.0.1:9/" if 300 <= status < 400 else "", bytearray(body)


def verdict(server: PrometheusServer, canary: str, damage: Damage | None, share: float, seed: int) -> tuple[str, int]:
    """Judge a canary while a share of the queries is answered with damage; also return how many were."""
    api = Damaged(server.url, damage, random.Random(seed), share, TRUE)
    analyzer = Analyzer(POLICIES, PROFILES, PrometheusSource(api, workers=4))
    body = {
        "service": "fraud",
        "namespace": "ml",
        "canary": canary,
        "baseline": "v1",
        "at": END,
        "checks": "error_rate,latency_p99",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = render(analyzer.verdict(parse_request(body)), Detail.FULL)
    return answer["verdict"], api.hits


TRUE: dict[tuple[str, ...], Any] = {}


def test_the_canaries_are_what_they_are(server: PrometheusServer) -> None:
    """The control: without damage the good one passes and the bad one fails."""
    assert verdict(server, "good", None, 1.0, 0)[0] == "pass"
    assert verdict(server, "bad", None, 1.0, 0)[0] == "fail"
    assert len(KINDS) >= 100


@pytest.mark.parametrize("canary", FORBIDDEN)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_does_not_turn_a_verdict_round(server: PrometheusServer, kind: str, canary: str) -> None:
    """Every answer, or some of them."""
    for share, seed in ((1.0, 1), (0.3, 2), (0.3, 3)):
        found, hits = verdict(server, canary, KINDS[kind], share, seed)
        assert found != FORBIDDEN[canary], (kind, share, seed)
        assert hits or share < 1.0


def either(kinds: list[str]) -> Damage:
    """Damage each answer in one of these ways."""
    return lambda true, draw: KINDS[draw.choice(kinds)](true, draw)


@pytest.mark.timeout(7200)
def test_damage_drawn_at_random(server: PrometheusServer) -> None:
    """As many as are asked for: two kinds may meet, in one answer or in many."""
    names = sorted(KINDS)
    for seed in range(CASES):
        draw = random.Random(seed)
        kinds, share, canary = (
            draw.sample(names, 2),
            draw.choice((0.05, 0.1, 0.2, 0.5, 1.0)),
            draw.choice(("good", "bad")),
        )
        assert verdict(server, canary, either(kinds), share, seed)[0] != FORBIDDEN[canary], (seed, kinds, share)
