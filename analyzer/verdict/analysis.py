"""The use case: a request in, a verdict out. Knows sources by what they can do, and no HTTP."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from analyzer.config.policy import Check, Policy, choose_policy
from analyzer.config.profile import Profile, choose_profile
from analyzer.config.selector import Matcher
from analyzer.errors import Problem, RequestError
from analyzer.model.counts import Readings, Window
from analyzer.model.findings import Gap
from analyzer.quantity import nearest
from analyzer.sources import inline
from analyzer.sources.assembly import Selection
from analyzer.verdict.case import Case
from analyzer.verdict.judge import Verdict
from analyzer.verdict.request import VerdictRequest


class Source(Protocol):
    """Where counts come from."""

    name: str

    def read(self, selection: Selection, deadline: float) -> Readings:
        """Read both arms before the deadline on the monotonic clock; what cannot be read is a gap."""

    def ready(self, deadline: float) -> None:
        """Raise SourceError unless the source answers."""


@dataclass(frozen=True)
class Analyzer:
    """Everything that a verdict needs beside the request.

    Attributes
    ----------
    policies, profiles : the loaded ones, by name
    default_policy, default_profile : for requests that name none
    source : where counts come from
    deadline_seconds : for a whole verdict
    clock : the present in Unix seconds, for requests that give no moment
    """

    policies: Mapping[str, Policy]
    profiles: Mapping[str, Profile]
    source: Source
    default_policy: str = "ml-model"
    default_profile: str = "prometheus-client"
    deadline_seconds: float = 8.0
    clock: Callable[[], float] = time.time

    def verdict(self, request: VerdictRequest) -> Verdict:
        """Judge the canary of a request; raises as `read` does."""
        return self.read(request).verdict()

    def read(self, request: VerdictRequest) -> Case:
        """Read what a request asks about.

        Raises
        ------
        RequestError : the request names what is not there, or its data are impossible
        """
        deadline = time.monotonic() + self.deadline_seconds
        policy = choose_policy(dict(self.policies), request.policy or self.default_policy, self.default_policy)
        chosen = checks_of(policy, request.checks)
        readings = self._read(request, chosen, policy, deadline)
        return Case(chosen, policy, readings, at_this_weight=request.window == "step", share=request.share)

    def without(self, request: VerdictRequest, gap: Gap) -> Verdict:
        """Return the verdict on a request for which nothing is read, for the reason of the gap; raises as `read`."""
        policy = choose_policy(dict(self.policies), request.policy or self.default_policy, self.default_policy)
        chosen = checks_of(policy, request.checks)
        readings = Readings(Window(request.start, request.at), dict.fromkeys(chosen, gap))
        return Case(chosen, policy, readings).verdict()

    def _read(self, request: VerdictRequest, chosen: Mapping[str, Check], policy: Policy, deadline: float) -> Readings:
        at = self.clock() if request.at is None else request.at
        if request.data is not None:
            return inline.read(request.data, chosen, Window(request.start, request.at))
        selection = Selection(
            service=request.service or "",
            namespace=request.namespace,
            canary=request.canary or "",
            baseline=request.baseline,
            profile=choose_profile(dict(self.profiles), request.profile or self.default_profile),
            checks={name: check.kind for name, check in chosen.items()},
            at=round(at, 3),
            start=request.start,
            window_seconds=request.window_seconds,
            history_seconds=policy.history,
            at_this_weight=request.window == "step",
            matchers=tuple(Matcher(label, "=", value) for label, value in request.labels.items()),
        )
        if request.start is not None and request.start >= at:
            raise RequestError([Problem("start", "must be in the past")])
        return self.source.read(selection, deadline)


def checks_of(policy: Policy, names: Sequence[str] | None) -> dict[str, Check]:
    """Return the checks of these names in the policy's order; None: all. Raises RequestError for unknown names."""
    problems = [
        Problem("checks", f"policy {policy.name} has no check {name[:60]!r}; {nearest(name, policy.checks)}")
        for name in names or ()
        if name not in policy.checks
    ]
    if problems:
        raise RequestError(problems)
    return {name: check for name, check in policy.checks.items() if names is None or name in names}
