"""Asking the analyzer service for a verdict over HTTP, as Argo Rollouts does, and reading its answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from analyzer.demo.deadline import DemoError

# Of the packaged policy but for what a rollout of seconds cannot wait for: old pods, and conversions that come late.
POLICY = {
    "base": "ml-model",
    "checks": {"latency_p99": {"pod_warmup": "0s"}, "business_proxy": {"delay": "0s"}},
}
QUESTION = {"service": "fraud-detector", "canary": "v2", "baseline": "v1", "policy": POLICY}
_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class DemoCheck:
    """What the service said about one check; None where it said nothing.

    Parameters
    ----------
    name, verdict : of the check
    value, low, high : of the canary, or of its change against the baseline, in the check's unit
    baseline : value of the baseline
    towards_pass, towards_fail : evidence; 1 or more decides
    """

    name: str
    verdict: str
    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    towards_pass: float
    towards_fail: float


@dataclass(frozen=True)
class DemoAnswer:
    """A verdict with its reason and its checks."""

    verdict: str
    reason: str
    checks: tuple[DemoCheck, ...] = ()

    @property
    def failing(self) -> tuple[str, ...]:
        """The names of the checks that fail."""
        return tuple(check.name for check in self.checks if check.verdict == "fail")


def ask(session: requests.Session, service_url: str) -> DemoAnswer:
    """Ask for the verdict on v2; no answer, or an overloaded service, is inconclusive.

    Raises
    ------
    DemoError : the service refuses the question
    """
    try:
        response = session.post(f"{service_url}/v1/verdict", json=QUESTION, timeout=_TIMEOUT_SECONDS)
    except requests.RequestException as error:
        return DemoAnswer("inconclusive", f"the analyzer did not answer: {type(error).__name__}")
    if response.status_code == requests.codes.service_unavailable:
        return DemoAnswer("inconclusive", "the analyzer is overloaded")
    if response.status_code != requests.codes.ok:
        raise DemoError(f"the analyzer refused the question with {response.status_code}: {response.text}")
    return read_answer(response.json())


def read_answer(body: Mapping[str, Any]) -> DemoAnswer:
    """Return the answer in a JSON body."""
    checks = tuple(_read_check(name, check) for name, check in body["checks"].items())
    return DemoAnswer(body["verdict"], body["reason"], checks)


def _read_check(name: str, check: Mapping[str, Any]) -> DemoCheck:
    # Where the limits are changes against the baseline, the change is what is judged.
    judged = check.get("delta") or check.get("canary") or {}
    baseline = {} if "delta" in check else check.get("baseline") or {}
    evidence = check.get("evidence") or {}
    return DemoCheck(
        name=name,
        verdict=check["verdict"],
        value=judged.get("value"),
        low=judged.get("low"),
        high=judged.get("high"),
        baseline=baseline.get("value"),
        towards_pass=evidence.get("pass") or 0.0,
        towards_fail=evidence.get("fail") or 0.0,
    )
