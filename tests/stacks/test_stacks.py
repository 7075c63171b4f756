"""What the real servers expose is counted exactly and judged rightly, by the profiles as they are packaged."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import yaml
from stacks.installation import REQUIREMENTS
from stacks.play import Play, pod_monitor
from stacks.scoring import LONG
from stacks.servers import FILES, Stack
from stacks.traffic import EUROS, FAULTY, HEALTHY, Act

from analyzer.config.profile import Profile
from analyzer.config.settings import Settings, SourceName
from analyzer.model.counts import Classes, Conversions, Counts, Errors, Histogram, MeanOnly, Reading, Values
from analyzer.model.findings import Kind, Outcome
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.judge import Verdict
from analyzer.verdict.request import parse_request
from analyzer.verdict.wiring import build_analyzer

pytestmark = [
    pytest.mark.stacks,
    pytest.mark.prometheus,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("stacks"),  # all are played at once, and by one process
]

NUMBERS = itertools.count()
ACTS = [HEALTHY, FAULTY]
CHECKS = {
    Kind.ERROR_RATE: "error_rate",
    Kind.LATENCY: "latency_p99",
    Kind.DRIFT: "prediction_drift",
    Kind.BUSINESS: "business_proxy",
}
# Latencies that are edges of every stack, far from what a busy machine needs; errors that few requests prove absent.
LIMITS = {
    "base": "ml-model",
    "checks": {
        "latency_p99": {"promote": "500ms", "rollback": "1s"},
        "error_rate": {"promote": "1%", "rollback": "2%"},
    },
}
# Of these the server itself counts nothing; Seldon's executor, which counts requests, is no Python package.
UNTOLD = {"kserve-python": (Kind.ERROR_RATE,), "seldon-v1": (Kind.ERROR_RATE, Kind.LATENCY, Kind.BUSINESS)}
# How many ways of each kind the version that is installed here has.
WAYS = {
    "fastapi": (1, 1, 2, 2),
    "flask": (1, 1, 2, 2),
    "prometheus-client": (1, 1, 2, 2),
    "bentoml": (1, 1, 2, 2),
    "kserve-python": (0, 1, 2, 2),
    "mlserver": (2, 2, 2, 3),
    "ray-serve": (1, 1, 2, 2),
    "triton": (1, 1, 2, 0),
    "seldon-v1": (0, 0, 1, 0),
}


@pytest.fixture(scope="session")
def analyzer(play: Play) -> Analyzer:
    """The analyzer, built as the service does."""
    return build_analyzer(Settings(source=SourceName.PROMETHEUS, prometheus_url=play.prometheus.url))


@dataclass
class Question:
    """What is asked of one stack, by its packaged profile."""

    stack: Stack
    ends: list[float]
    analyzer: Analyzer

    def profile(self, **ways: Any) -> Profile:
        """Give the packaged profile without what is not told here, or with some of its ways only."""
        untold: dict[str, Any] = {kind.value: () for kind in UNTOLD.get(self.stack.profile, ())}
        changes = {
            **untold,
            **ways,
            "name": f"under-test-{next(NUMBERS)}",
        }  # by name the source remembers what is there
        return self.analyzer.profiles[self.stack.profile].model_copy(update=changes)

    def ask(self, act: int, checks: list[str] | str, profile: Profile | None = None) -> Verdict:
        """Ask for a verdict on an act; of the first one since the canary's first sample."""
        profile = profile or self.profile()
        body = {
            "service": "fraud",
            "namespace": "ml",
            "canary": self.stack.arm("canary"),
            "baseline": self.stack.arm("baseline"),
            "profile": profile.name,
            "policy": LIMITS,
            "checks": checks,
            "at": self.ends[act + 1],
            **({"start": self.ends[act]} if act else {}),
        }
        analyzer = replace(self.analyzer, profiles={profile.name: profile})
        return analyzer.verdict(parse_request(body))


@pytest.fixture
def question(play: Play, stack: Stack, analyzer: Analyzer) -> Question:
    """Asks of a stack, unless that is broken."""
    if stack.profile in play.broken:
        raise play.broken[stack.profile]
    return Question(stack, play.ends, analyzer)


def sent(stack: Stack, counts: Counts | None, kind: Kind, act: Act) -> Mapping[str, Any]:
    """Say what was sent, in the form of the counts that were read."""
    scores = act.predicted
    match counts:
        case Errors():
            return {"errors": act.failed, "requests": act.requests}
        case Histogram() if kind is Kind.LATENCY:
            return {"slow": act.slow, "requests": act.requests}
        case MeanOnly():
            return {"count": succeeded(stack, act), "slow": act.slow}
        case Histogram():
            return {"cumulative": [sum(score <= edge for score in scores) for edge in counts.edges]}
        case Classes():
            fraud = sum(score >= 0.5 for score in scores)
            return {"fraud": fraud, "ok": len(scores) - fraud}
        case Conversions():
            paid = act.paid if stack.with_header else 0
            return {"successes": paid, "trials": succeeded(stack, act)}
        case Values():
            return {"total": act.paid * EUROS, "count": act.paid}
        case None:
            pytest.fail("the arm was not found")


def succeeded(stack: Stack, act: Act) -> int:
    """Count the requests that stand for all: with Triton those that succeeded, of which it has the time."""
    return act.requests - (act.failed if stack.profile == "triton" else 0)


def read(counts: Counts | None, kind: Kind) -> Mapping[str, Any]:
    """Say what was read, in the same form."""
    match counts:
        case Errors():
            return {"errors": counts.errors.sum(), "requests": counts.requests.sum()}
        case Histogram() if kind is Kind.LATENCY:
            (place,) = np.flatnonzero(np.isclose(counts.edges, 1.0))
            by_bin = counts.counts.sum(axis=0)
            return {"slow": by_bin[place + 1 :].sum(), "requests": by_bin.sum()}
        case MeanOnly():
            return {"count": counts.count.sum(), "seconds": counts.total.sum()}
        case Histogram():
            return {"cumulative": counts.counts.sum(axis=0).cumsum().tolist()}
        case Classes():
            return {"fraud": 0, "ok": 0} | dict(zip(counts.names, counts.counts.sum(axis=0), strict=True))
        case Conversions():
            return {"successes": counts.successes.sum(), "trials": counts.trials.sum()}
        case Values():
            return {"total": counts.total.sum(), "count": counts.count.sum()}
        case None:
            return {}


@pytest.mark.parametrize("act", [0, 1], ids=["healthy", "faulty"])
def test_counts_are_exact(question: Question, stack: Stack, act: int) -> None:
    """Every way that the server has gives what was sent, of both arms: no probe, no scrape, nothing of the past."""
    profile, found = question.profile(), dict.fromkeys(CHECKS, 0)
    for kind, check in CHECKS.items():
        for way in profile.ways(kind):
            verdict = question.ask(act, check, question.profile(**{kind.value: (way,)}))
            reading = verdict.readings.by_check[check]
            if not isinstance(reading, Reading):
                continue  # a way for other versions
            found[kind] += 1
            for role, counts in (("canary", reading.canary), ("baseline", reading.baseline)):
                want, got = dict(sent(stack, counts, kind, ACTS[act][role])), dict(read(counts, kind))
                if isinstance(counts, MeanOnly):
                    seconds = got.pop("seconds") - want.pop("slow") * LONG
                    assert 0 < seconds < 0.5 * counts.count.sum()  # in another unit it were neither
                assert want == got, (kind, way, role)

    assert tuple(found.values()) == WAYS[stack.profile]


@pytest.mark.parametrize("act", [0, 1], ids=["healthy", "faulty"])
def test_verdicts(question: Question, stack: Stack, act: int) -> None:
    """The healthy canary passes each check; the faulty one fails each: on errors, on slow answers, on drift."""
    without = {*UNTOLD.get(stack.profile, ()), Kind.BUSINESS, *([] if stack.quantile else [Kind.LATENCY])}
    checks = [check for kind, check in CHECKS.items() if kind not in without]
    verdict = question.ask(act, checks)

    reasons = {name: finding.reason for name, finding in verdict.findings.items()}
    outcomes = {name: finding.outcome for name, finding in verdict.findings.items()}
    assert outcomes == dict.fromkeys(checks, Outcome.FAIL if act else Outcome.PASS), reasons


@pytest.mark.parametrize("kind", [Kind.ERROR_RATE, Kind.LATENCY])
def test_what_cannot_be_told_is_inconclusive(question: Question, stack: Stack, kind: Kind) -> None:
    """What the server does not count, or only as a mean, is never judged; what it counts is."""
    told = kind not in UNTOLD.get(stack.profile, ()) and (kind is not Kind.LATENCY or stack.quantile)
    finding = question.ask(1, CHECKS[kind]).findings[CHECKS[kind]]

    assert finding.outcome is (Outcome.FAIL if told else Outcome.INCONCLUSIVE), finding.reason
    if not told and stack.profile != "seldon-v1":  # its profile is of the executor
        about = question.profile().about
        assert about is not None
        assert kind in {limitation.check for limitation in about.cannot}


def test_edges_of_the_latency(question: Question, stack: Stack) -> None:
    """They are those that the profile tells check-config, or the example's own, with the limits of ml-model."""
    for way in question.profile().latency if stack.quantile else ():
        if way.histogram is None:
            continue
        reading = question.ask(1, "latency_p99").readings.by_check["latency_p99"]
        assert isinstance(reading, Reading)
        assert isinstance(reading.canary, Histogram)
        edges = reading.canary.edges[:-1].tolist()
        if stack.own_edges:
            assert {0.2, 0.5} <= set(edges)
        else:
            assert edges == pytest.approx([edge * way.unit.seconds for edge in way.edges or ()])


def test_the_example_says_how_it_is_run(stack: Stack) -> None:
    """What the file says to install is what is installed here, and the command is that of this test."""
    text = (FILES / stack.file).read_text(encoding="utf-8").split('"""')[1]
    required = (REQUIREMENTS / f"{stack.profile}.txt").read_text(encoding="utf-8")
    command = " ".join(stack.command.split()[:2])

    for line in re.findall(r"^pip install (.*)$", text, re.MULTILINE):
        assert all(f"{name.strip(chr(34))}==" in required for name in line.split())
    assert command in text or (stack.profile == "ray-serve" and "serve run ray_serve_app:app" in text)


def test_the_version_is_the_label_of_the_pods() -> None:
    """What the servers answer with is the very label by which Prometheus tells the arms apart."""
    block = next(each for each in (FILES / "README.md").read_text().split("```yaml\n")[1:] if "MODEL_VERSION" in each)
    (variable,) = yaml.safe_load(block.split("```")[0])["env"]
    (label,) = pod_monitor("fraud-detector")["spec"]["podTargetLabels"]

    assert variable["valueFrom"]["fieldRef"]["fieldPath"] == f"metadata.labels['{label}']"
