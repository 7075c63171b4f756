"""What the doctor is asked: a request as of a verdict, of which either arm may be left out."""

from collections.abc import Mapping
from dataclasses import dataclass

from analyzer.config.policy import Check, Policy, choose_policy
from analyzer.config.profile import Profile, choose_profile
from analyzer.errors import ConfigError, Problem, RequestError
from analyzer.quantity import nearest
from analyzer.sources.prometheus import PrometheusSource
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.request import parse_request

SHORTEST, LONGEST = 60.0, 86400.0  # seconds of a window: longer ones are not answered in time


@dataclass(frozen=True)
class DoctorRequest:
    """What is examined.

    Attributes
    ----------
    service, namespace : as in a request
    arms : value of the arm label by the arm's name, canary or baseline; those that are given
    profile, policy : what is read, and how it will be judged
    checks : those of the policy that are asked for
    at, window_seconds : the segment of time that is looked at
    """

    service: str
    namespace: str | None
    arms: Mapping[str, str]
    profile: Profile
    policy: Policy
    checks: Mapping[str, Check]
    at: float
    window_seconds: float


def read_question(analyzer: Analyzer, fields: Mapping[str, str | None]) -> tuple[DoctorRequest, PrometheusSource]:
    """Read the fields of a request, and find the Prometheus that it is about.

    Parameters
    ----------
    fields : service, canary, baseline, namespace, profile, policy, checks, window, at; None: not given

    Raises
    ------
    RequestError : a field is wrong
    ConfigError : counts do not come from Prometheus
    """
    given = {name: value for name, value in fields.items() if value is not None}
    pretended = "canary" if given.get("baseline") != "canary" else "other"  # a request cannot be without one
    request = parse_request({"canary": pretended} | given)
    window = request.window_seconds
    if window is None or not SHORTEST <= window <= LONGEST:
        text = f"must be a duration from 1m to 24h, such as 1h, got {request.window}"
        raise RequestError([Problem("window", text)])
    policy = choose_policy(dict(analyzer.policies), request.policy or analyzer.default_policy, analyzer.default_policy)
    unknown = [
        Problem("checks", f"policy {policy.name} has no check {name[:60]!r}; {nearest(name, policy.checks)}")
        for name in request.checks or ()
        if name not in policy.checks
    ]
    if unknown:
        raise RequestError(unknown)
    if not isinstance(analyzer.source, PrometheusSource):
        text = f"is {analyzer.source.name}, and a Prometheus is examined: set it to prometheus, and"
        raise ConfigError([Problem("ANALYZER_SOURCE", f"{text} ANALYZER_PROMETHEUS_URL")])
    question = DoctorRequest(
        service=request.service or "",
        namespace=request.namespace,
        arms={word: given[word] for word in ("canary", "baseline") if word in given},
        profile=choose_profile(dict(analyzer.profiles), request.profile or analyzer.default_profile),
        policy=policy,
        checks={name: one for name, one in policy.checks.items() if request.checks is None or name in request.checks},
        at=round(analyzer.clock() if request.at is None else request.at, 3),
        window_seconds=window,
    )
    return question, analyzer.source
