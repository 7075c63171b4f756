"""How a policy behaves where nothing is wrong, on a service's own past: ``analyzer calibrate``.

The past of the baseline is split many times into a pretend canary and a baseline, which are the same but for chance,
and each such rollout is judged as a real one would be. What is rolled back is a false alarm. Requests are dealt one by
one or in clusters; a part of the rollouts is split by whole pods, and by time: see `splits`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import betaincinv

from analyzer import checks
from analyzer.checks.correlation import cluster_size, described, estimate
from analyzer.config.policy import Policy
from analyzer.errors import Problem, RequestError
from analyzer.model.counts import (
    Counts,
    requests_by_slice,
)
from analyzer.model.findings import Code, Finding, Gap, Outcome, Role
from analyzer.planning.forecast import RequestRates, plan_check, show_need, too_long
from analyzer.planning.own_level import OwnLevel, like_the_service, limits_in_buckets, own_level
from analyzer.planning.past import MINUTE, Past, Watch
from analyzer.planning.splits import Dealing, PretendRollout, possible
from analyzer.quantity import format_ratio, format_seconds
from analyzer.stats.dispersion import Dispersion
from analyzer.verdict.judge import combine

FEWEST_LOOKS, MOST_LOOKS = 30, 60  # about, at one pretend rollout
NEAR = 0.5  # evidence towards fail, of that needed, from which on measurements are more frequent
OTHERS = 3  # of as many rollouts by requests comes one by pods, and one by time
CONFIDENCE = 0.95
NOTABLE = 1.5  # times: smaller design effects are not worth a remark
WHOLE = ""  # stands for the whole among the names of the checks


@dataclass(frozen=True)
class Trial:
    """One pretend rollout.

    Attributes
    ----------
    rolled_back, passed : minutes until it first was, by name of the check and `WHOLE`
    codes : what each check said at the end
    looks : number of measurements
    """

    rolled_back: Mapping[str, int]
    passed: Mapping[str, int]
    codes: Mapping[str, Code]
    looks: int


@dataclass(frozen=True)
class Share:
    """How many of the pretend rollouts ended how.

    Attributes
    ----------
    runs : how many there were
    rolled_back, passed : the others stayed undecided
    allowed : P(rolled back) that the policy promises at most, for a canary that meets every promote limit
    seconds_to_pass : median; None: fewer than half pass
    """

    runs: int
    rolled_back: int
    passed: int
    allowed: float
    seconds_to_pass: float | None

    @property
    def undecided(self) -> int:
        """Neither rolled back nor passed."""
        return self.runs - self.rolled_back - self.passed

    @property
    def interval(self) -> tuple[float, float]:
        """Bound P(rolled back), exactly."""
        return exact_interval(self.rolled_back, self.runs)

    @property
    def too_many(self) -> bool:
        """Whether significantly more are rolled back than the policy promises."""
        return self.interval[0] > self.allowed


@dataclass(frozen=True)
class CheckReport:
    """What was found of one check.

    Attributes
    ----------
    share : of the pretend rollouts that it decided
    per_second : requests, predictions or values that it counted of the whole service
    known : the correlation of requests
    factor : by which the canary's counts are divided for it
    beyond : whether the service itself is beyond the promote limit
    remarks : what the owner of the policy should know
    """

    share: Share
    per_second: float = 0.0
    known: Dispersion = field(default_factory=Dispersion)
    factor: float = 1.0
    beyond: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """What was found of a policy on a service's past.

    Attributes
    ----------
    weight : share of the traffic that the pretend canary got
    length_seconds : of a pretend rollout
    whole, by_check : of the rollouts that requests were dealt to, and of each check
    looks : number of measurements in all
    splits : of the rollouts by whole pods and by time, those that this past allows
    """

    policy: Policy
    past: Past
    weight: float
    length_seconds: float
    whole: Share
    by_check: Mapping[str, CheckReport]
    looks: int
    splits: Mapping[Dealing, Share] = field(default_factory=dict)

    @property
    def too_many(self) -> bool:
        """Whether significantly more are rolled back than the policy promises, by requests or by pods.

        Arms of different times also differ by the time of day, which is no false alarm.
        """
        pods = self.splits.get(Dealing.PODS)
        return self.whole.too_many or (pods is not None and pods.too_many)

    @property
    def conclusion(self) -> str:
        """Compare the false alarms with the policy's promise."""
        low, high = self.whole.interval
        rolled_back = (
            f"{self.whole.rolled_back} of {self.whole.runs} pretend rollouts were rolled back, {CONFIDENCE:.0%} "
            f"interval {format_ratio(low)} to {format_ratio(high)}"
        )
        promise = f"alpha, {format_ratio(self.whole.allowed)}"
        if self.whole.too_many:
            worst = max(self.by_check, key=lambda name: self.by_check[name].share.rolled_back)
            why = (
                "The service is beyond its promote limit by itself"
                if self.by_check[worst].beyond
                else "The service varies more within a rollout than in the hours before it"
            )
            return (
                f"{rolled_back}: more than {promise}, most of them by {worst}. {why}: raise the limit, use rule "
                "relative, or make the check advisory."
            )
        pods = self.splits.get(Dealing.PODS)
        if pods is not None and pods.too_many:
            return (
                f"{rolled_back}; of those by whole pods {pods.rolled_back} of {pods.runs}: more than {promise}. The "
                "pods differ: look for the one that is worse, or make the check advisory."
            )
        if high <= self.whole.allowed:
            return f"{rolled_back}: within {promise}."
        return f"{rolled_back}: consistent with {promise}; more --runs would narrow the interval."


def calibrate(
    policy: Policy, past: Past, *, share: float, length: int, runs: int, seed: int = 1, watch: Watch = iter
) -> Calibration:
    """Judge many pretend rollouts, drawn from a service's past.

    Parameters
    ----------
    past : of the service
    share : of the traffic that goes to the pretend canary, in (0, 1)
    length : of a pretend rollout in minutes, at least 1
    runs : how many pretend rollouts, at least 1
    seed : the same gives the same
    watch : shows the progress over the runs

    Raises
    ------
    RequestError : the past is too short
    """
    if length > past.minutes:
        wanted, available = format_seconds(length * MINUTE), format_seconds(past.minutes * MINUTE)
        text = f"{wanted} is longer than the past that was found, {available}; choose a shorter one"
        raise RequestError([Problem("length", text)])
    clusters = {
        name: cluster_size(policy.checks[name], counts, MINUTE)
        for name, counts in past.by_check.items()
        if name in policy.checks and not isinstance(counts, Gap)
    }
    plan = [Dealing.REQUESTS] * runs
    for split in (Dealing.PODS, Dealing.TIME):
        plan += [split] * (math.ceil(runs / OTHERS) if possible(split, past, length) else 0)
    every = [
        pretend(policy, past, length, share, np.random.default_rng((seed, number)), clusters, plan[number])
        for number in watch(range(len(plan)))
    ]
    trials = every[:runs]
    return Calibration(
        policy=policy,
        past=past,
        weight=share,
        length_seconds=length * MINUTE,
        whole=_share_of(trials, WHOLE, policy.alpha),
        by_check={name: _check_report(name, policy, past, share, length * MINUTE, trials) for name in policy.checks},
        looks=sum(trial.looks for trial in every),
        splits={
            split: _share_of(of_split, WHOLE, policy.alpha)
            for split in (Dealing.PODS, Dealing.TIME)
            if (of_split := [trial for trial, by in zip(every, plan, strict=True) if by is split])
        },
    )


def pretend(
    policy: Policy,
    past: Past,
    length: int,
    share: float,
    rng: np.random.Generator,
    clusters: Mapping[str, float] | None = None,
    split: Dealing = Dealing.REQUESTS,
) -> Trial:
    """Draw one pretend rollout and judge it at regular moments, each check until it fails.

    There is a measurement about every thirtieth of its length, twice as often while a check is half-way to failing.

    Parameters
    ----------
    length : in minutes
    share : of the traffic that goes to the pretend canary
    clusters : how many events of each check go to one arm together; None: each by itself
    split : by what requests are dealt
    """
    rollout = PretendRollout.drawn(past, split, length, share, rng, round(policy.history / MINUTE), clusters or {})
    rolled_back: dict[str, int] = {}
    passed: dict[str, int] = {}
    findings: dict[str, Finding] = {}
    minutes = looks = 0
    while minutes < length and len(rolled_back.keys() - {WHOLE}) < len(policy.checks):
        nearest = max(
            (finding.evidence.towards_fail for name, finding in findings.items() if name not in rolled_back), default=0
        )
        minutes = min(minutes + math.ceil(length / (MOST_LOOKS if nearest >= NEAR else FEWEST_LOOKS)), length)
        looks += 1
        elapsed = minutes * MINUTE
        for name, check in policy.checks.items():
            if name not in rolled_back:
                trimmed = checks.trim(rollout.reading(name, minutes), check, elapsed)
                findings[name] = checks.judge(check, trimmed, policy, checks.Moment(elapsed))
        outcomes = {name: finding.outcome for name, finding in findings.items()}
        for name, outcome in {**outcomes, WHOLE: combine(findings, policy)[0]}.items():
            if outcome is Outcome.FAIL:
                rolled_back.setdefault(name, minutes)
            elif outcome is Outcome.PASS:
                passed.setdefault(name, minutes)
    return Trial(rolled_back, passed, {name: finding.code for name, finding in findings.items()}, looks)


def exact_interval(hits: int, runs: int) -> tuple[float, float]:
    """Bound a probability from how often something happened, after Clopper and Pearson."""
    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(hits, runs - hits + 1, tail)) if hits else 0.0
    return low, float(betaincinv(hits + 1, runs - hits, 1 - tail)) if hits < runs else 1.0


def _share_of(trials: Sequence[Trial], name: str, promised: float) -> Share:
    rolled_back = sum(name in trial.rolled_back for trial in trials)
    passed = sum(name in trial.passed and name not in trial.rolled_back for trial in trials)
    times = sorted(trial.passed.get(name, math.inf) for trial in trials)
    median = times[(len(times) - 1) // 2]
    return Share(len(trials), rolled_back, passed, promised, median * MINUTE if math.isfinite(median) else None)


# What the past itself tells


def _check_report(
    name: str, policy: Policy, past: Past, share: float, length_seconds: float, trials: Sequence[Trial]
) -> CheckReport:
    check, counts = policy.checks[name], past.by_check[name]
    outcome = _share_of(trials, name, policy.alpha_to_fail)
    if isinstance(counts, Gap):
        return CheckReport(outcome, remarks=(f"{name} is not judged: {counts.reason}.",))
    per_second = float(requests_by_slice(counts).sum()) / (past.minutes * MINUTE)
    if per_second == 0:
        return CheckReport(outcome, remarks=(f"{name} is not judged: nothing was counted for it.",))
    known = estimate(check, counts, MINUTE)
    own = own_level(check, counts)
    traffic = RequestRates.split(per_second, share)
    remarks = _unreachable(
        name, policy, counts, own, traffic, known.observed_correlation, length_seconds=length_seconds
    )
    remarks += _dependence(name, known)
    codes = [trial.codes[name] for trial in trials if name not in trial.rolled_back and name not in trial.passed]
    remarks += [
        f"{name} ended as {code} in {codes.count(code)} of {len(trials)} pretend rollouts."
        for code in Code
        if code in codes and code is not Code.UNDECIDED
    ]
    return CheckReport(
        share=outcome,
        per_second=per_second,
        known=known,
        factor=float(known.factor(per_second * share * length_seconds, length_seconds)),
        beyond=own is not None and bool(own.beyond),
        remarks=tuple(remarks),
    )


def _dependence(name: str, known: Dispersion) -> list[str]:
    """Return how requests depend on each other, and what pretend rollouts cannot show of that."""
    if not known.batches:
        return []
    first, last = (float(known.factor(known.rate * length, length)) for length in (known.seconds[0], known.seconds[-1]))
    remarks = [f"{name}: {described(known)} (design effect)."] if last > NOTABLE else []
    if last > NOTABLE * first:
        memory = "longer than this past shows" if known.memory is None else f"about {format_seconds(known.memory)}"
        remarks.append(
            f"{name}: its rate wanders (memory {memory}). Both pretend arms share that, so that false alarms of arms "
            "or of pods that wander apart do not show here; the design effect allows for them."
        )
    return remarks


def _unreachable(
    name: str,
    policy: Policy,
    counts: Counts,
    own: OwnLevel | None,
    traffic: RequestRates,
    correlation: float,
    *,
    length_seconds: float,
) -> list[str]:
    """Return which limits cannot be reached: by this service, with these buckets, at this traffic."""
    check = policy.checks[name]
    remarks = [] if own is None or not own.beyond else [f"{name}: {own.beyond}: no canary can pass."]
    remarks += [f"{name}: {text}." for text in limits_in_buckets(check, counts, policy)]
    if check.role is Role.GATE and not remarks:
        assumption = replace(like_the_service(check, counts, own), correlation=correlation, faults=())
        need = plan_check(check, policy, traffic, assumption).healthy
        if text := too_long(name, need):
            remarks.append(text)
        elif (need.seconds or 0.0) > length_seconds:
            remarks.append(
                f"{name} needs about {show_need(need)}, to pass a canary like this service: longer than these rollouts."
            )
    return remarks
