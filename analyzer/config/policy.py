"""How to judge: policies, their checks and limits, and the files that they come from."""

import hashlib
import json
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from analyzer.config.validation import NamedModel, load_named, problems_of
from analyzer.errors import Problem, RequestError
from analyzer.model.findings import Kind, Role, Rule
from analyzer.quantity import (
    Number,
    Ratio,
    Seconds,
    format_ratio,
    format_seconds,
    nearest,
    parse_number,
    parse_object,
    parse_ratio,
    parse_seconds,
)

PACKAGED = Path(__file__).parent / "policies"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$")]


DELAY = 600.0  # seconds: most purchases follow the answer that led to them within ten minutes on average
DURATIONS = (Kind.LATENCY, Kind.MEAN_LATENCY)  # of which the limits are, but under rule relative

_OVERRIDES = ("alpha", "history", "role", "shared_regression", "checks")


class SharedRegression(StrEnum):
    """What becomes of trouble that both arms have since the canary came: held, or failed."""

    HOLD = "hold"
    FAIL = "fail"


class DecideBy(BaseModel):
    """When a check that is still undecided is settled by its estimate alone; past either limit is enough.

    Attributes
    ----------
    after : seconds since the begin of the window
    requests : canary requests; by then limits on a share of bad requests are tested exactly, see `stats.induced`
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    after: Annotated[Seconds, Field(gt=0)] | None = None
    requests: Annotated[Number, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _some_limit(self) -> Self:
        if self.after is None and self.requests is None:
            raise ValueError("needs after, requests or both, such as {after: 30m, requests: 20000}")
        return self

    def is_past(self, elapsed_seconds: float | None, requests: float) -> bool:
        """Whether one of the limits is reached."""
        late = self.after is not None and elapsed_seconds is not None and elapsed_seconds >= self.after
        return late or (self.requests is not None and requests >= self.requests)


class Check(BaseModel):
    """One row of a policy.

    Attributes
    ----------
    kind : what is measured
    promote, rollback : the limits: ratios for error_rate, seconds for latency and mean_latency, PSI for drift; changes
        against the baseline as ratios for business and under the rule ``relative``
    role : ``gate`` must be proved good, ``guardrail`` must not be proved bad, ``advisory`` never decides
    rule : what it takes to fail. ``zone``: proved beyond promote, and the estimate beyond rollback. ``strict``:
        proved beyond rollback. ``relative``: like zone, for the change against the baseline. ``point``: the
        estimates alone, without proof
    min_requests : no pass below this many canary requests; a fail never waits for it
    quantile : which quantile of the latency, in (0, 1)
    warmup : seconds at the begin of the window that are left out: cold caches are no regression
    pod_warmup : seconds of each pod's life that are left out, once; where pods are not known, of the window
    lag : seconds at its end that are left out, requests and events alike, because the source is late as a whole
    delay : business: the longest mean delay, and the longest fixed one, by which conversions follow their requests, in
        seconds; shorter ones are told from the counts
    decide_by : settles a check that stays undecided, at the price of its proof; default never
    edge : rule ``relative`` for latency: the share of requests slower than this many seconds is compared; without
        it the quantiles are, which needs the fine buckets of a native histogram
    bins : drift of single scores: the edges between which they are counted; default deciles of the baseline
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    promote: float
    rollback: float
    role: Role = Role.GATE
    rule: Rule = Rule.ZONE
    min_requests: Annotated[Number, Field(ge=1)] = 100.0
    quantile: Annotated[Ratio, Field(gt=0, lt=1)] | None = None
    edge: Annotated[Seconds, Field(gt=0)] | None = None
    warmup: Annotated[Seconds, Field(ge=0)] = 0.0
    pod_warmup: Annotated[Seconds, Field(ge=0)] = 0.0
    lag: Annotated[Seconds, Field(ge=0)] = 0.0
    delay: Annotated[Seconds, Field(ge=0)] = 0.0
    decide_by: DecideBy | None = None
    bins: Annotated[tuple[Number, ...], Field(min_length=1)] | None = None

    @property
    def quantile_level(self) -> float:
        """The quantile of a latency, in (0, 1); `quantile` is None for other kinds."""
        return self.quantile or 0.99

    @property
    def compares(self) -> bool:
        """Whether the limits are changes against the baseline."""
        return self.kind is Kind.BUSINESS or self.rule is Rule.RELATIVE

    def shown(self, limit: float) -> str:
        """Write a limit with its unit."""
        if self.compares:
            return f"{limit * 100:+.3g}%"
        match self.kind:
            case Kind.LATENCY | Kind.MEAN_LATENCY:
                return format_seconds(limit)
            case Kind.DRIFT:
                return f"PSI {limit:g}"
            case _:
                return format_ratio(limit)

    @field_validator("promote", "rollback", mode="before")
    @classmethod
    def _read_limit(cls, value: object, info: ValidationInfo) -> float:
        kind = info.data.get("kind")
        if kind in DURATIONS and not (isinstance(value, str) and value.strip().endswith("%")):
            return parse_seconds(value)
        return parse_number(value) if kind is Kind.DRIFT else parse_ratio(value)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("kind") == Kind.LATENCY and data.get("quantile") is None:
            return {**data, "quantile": 0.99}
        if isinstance(data, dict) and data.get("kind") == Kind.BUSINESS and data.get("delay") is None:
            return {**data, "delay": DELAY}
        return data

    @model_validator(mode="before")
    @classmethod
    def _unit_of_the_rule(cls, data: Any) -> Any:
        """Refuse 5% where a duration is meant and 200ms where a change is: both could be read as the other."""
        if isinstance(data, dict) and data.get("kind") in DURATIONS:
            relative = data.get("rule") == Rule.RELATIVE
            for limit in ("promote", "rollback"):
                text = str(data.get(limit, "")).strip()
                if text.endswith("%") and not relative:
                    raise ValueError(f"{limit}: {text[:40]} is no duration; write 200ms, or use rule: relative")
                if text[-1:].isalpha() and relative:
                    raise ValueError(f"{limit}: {text[:40]} is no change against the baseline; write 10%")
        return data

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.rule is Rule.RELATIVE and self.kind in (Kind.DRIFT, Kind.BUSINESS):
            raise ValueError(f"rule: {self.kind} compares with the baseline by nature; use zone, strict or point")
        if self.quantile is not None and self.kind is not Kind.LATENCY:
            raise ValueError("quantile: only latency has one; remove it")
        if self.delay and self.kind is not Kind.BUSINESS:
            raise ValueError("delay: only business has one; remove it")
        if self.edge is not None and not (self.kind is Kind.LATENCY and self.rule is Rule.RELATIVE):
            raise ValueError("edge: only latency with rule relative uses it; remove it")
        if self.kind is not Kind.DRIFT and self.bins is not None:
            raise ValueError("bins: only drift has it; remove it")
        if self.bins is not None and any(low >= high for low, high in pairwise(self.bins)):
            raise ValueError("bins: must ascend, such as [0.1, 0.3, 0.5]")
        if self.compares:
            self._possible_changes()
        elif not 0 < self.promote <= self.rollback:
            raise ValueError(
                f"promote: must be above 0 and not beyond rollback, got promote {self.promote:g} and rollback "
                f"{self.rollback:g}; a canary is promoted below the one and rolled back above the other"
            )
        elif self.kind is Kind.ERROR_RATE and self.rollback >= 1:
            raise ValueError(f"rollback: an error rate of {self.rollback:g} cannot be exceeded; write 1% for 0.01")
        return self

    def _possible_changes(self) -> None:
        if self.kind is Kind.BUSINESS and not -1 < self.rollback <= self.promote:
            raise ValueError(
                f"promote: must not be beyond rollback, and rollback above -100%, got promote {self.promote:g} "
                f"and rollback {self.rollback:g}; both are changes against the baseline, such as -1% and -3%"
            )
        if self.kind is not Kind.BUSINESS and not -1 < self.promote <= self.rollback:
            raise ValueError(
                f"promote: must be above -100% and not beyond rollback, got promote {self.promote:g} and rollback "
                f"{self.rollback:g}; under rule relative both are changes against the baseline, such as 10% and 50%"
            )


class Policy(NamedModel):
    """How to judge a rollout.

    Attributes
    ----------
    name : label-safe
    alpha : P(a canary that meets every promote limit is ever rolled back) is at most this, over all checks and
        all looks; also the level at which each check must be proved good to pass
    history : how many seconds of the baseline before the canary tell how requests go together; 0: none
    role : what its gates are at this stage of the rollout: ``guardrail`` while ramping, when it is enough that each
        has `min_requests` and is not proved bad; the other roles stay
    shared_regression : ``hold`` (inconclusive, `common_mode`) or ``fail`` where a check is proved bad in both arms and
        the baseline was within the limit before the canary came
    checks : by name
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    name: Name
    alpha: Annotated[Ratio, Field(gt=0, le=0.5)] = 0.05
    history: Annotated[Seconds, Field(ge=0, le=7 * 86400)] = 7200.0
    role: Role = Role.GATE
    shared_regression: SharedRegression = SharedRegression.HOLD
    checks: Annotated[dict[Name, Check], Field(min_length=1)]

    @field_validator("checks")
    @classmethod
    def _not_all(cls, checks: dict[str, Check]) -> dict[str, Check]:
        if "all" in checks:
            raise ValueError("all: no check can have this name, it stands for all of them; rename it")
        return checks

    @property
    def alpha_to_fail(self) -> float:
        """The part of alpha that each check may spend on failing a good canary.

        Shared over the checks of the whole policy that can fail, not over those asked for in one request: an
        Argo template that asks for each check by itself still rolls back at the first that fails.
        """
        return self.alpha / max(1, sum(check.role is not Role.ADVISORY for check in self.checks.values()))

    @cached_property
    def digest(self) -> str:
        """Begin of the SHA-256 of everything in it, so that two answers can be told to come from one policy."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def load_policies(folder: Path | None) -> dict[str, Policy]:
    """Read the packaged policies and those of a mounted folder, by name; raises ConfigError."""
    return load_named(Policy, PACKAGED, folder)


def choose_policy(policies: dict[str, Policy], wanted: str | dict[str, Any], default: str) -> Policy:
    """Find the policy that a request names, or build the one that it describes.

    Parameters
    ----------
    policies : the loaded ones, by name
    wanted : a name, or ``{"base": name, "alpha": ..., "history": ..., "role": ..., "checks": {check: {field:
        value}}}``, whose checks may be JSON text
    default : the base of an object that names none

    Raises
    ------
    RequestError : unknown policy, check or field, or limits that are impossible together
    """
    if isinstance(wanted, str):
        return _named(policies, wanted, "policy")
    overrides = dict(wanted)
    base = _named(policies, str(overrides.pop("base", default)), "policy.base")
    content = base.model_dump(mode="json")
    problems = [
        Problem(f"policy.{key}", f"unknown field; {nearest(key, ['base', *_OVERRIDES])}")
        for key in overrides
        if key not in _OVERRIDES
    ]
    content |= {key: value for key, value in overrides.items() if key != "checks"}
    try:
        checks = parse_object(overrides.get("checks", {}))
    except ValueError as error:
        raise RequestError([Problem("policy.checks", str(error))]) from error
    if not isinstance(checks, dict):
        raise RequestError([Problem("policy.checks", "must be an object: name of a check to the fields to change")])
    for name, fields in checks.items():
        where = f"policy.checks.{name}"
        if name not in base.checks:
            problems.append(Problem(where, f"unknown check; {nearest(name, base.checks)}"))
        elif not isinstance(fields, dict):
            problems.append(Problem(where, "must be an object: the fields to change"))
        else:
            problems += _unclear_limits(base.checks[name], fields, where)
            content["checks"][name] |= fields
    if problems:
        raise RequestError(problems)
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        raise RequestError(problems_of(error, Policy, "policy")) from error


def _named(policies: dict[str, Policy], name: str, field: str) -> Policy:
    if name not in policies:
        raise RequestError([Problem(field, f"unknown policy {name[:60]!r}; {nearest(name, policies)}")])
    return policies[name]


def _unclear_limits(check: Check, fields: dict[str, Any], where: str) -> list[Problem]:
    """Limits change their meaning with the rule: a request that changes the rule must state them anew."""
    was, becomes = check.rule is Rule.RELATIVE, fields.get("rule", check.rule) == Rule.RELATIVE
    missing = [limit for limit in ("promote", "rollback") if limit not in fields]
    if was == becomes or not missing:
        return []
    unit = "changes against the baseline, such as 10% and 50%" if becomes else "absolute limits"
    return [Problem(f"{where}.{limit}", f"is required with rule {fields['rule']}: {unit}") for limit in missing]
