"""What the analyzer is asked: the request's fields, read from JSON, query parameters or a dictionary."""

import re
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from analyzer.config.validation import problems_of
from analyzer.errors import Problem, RequestError
from analyzer.quantity import Instant, parse_number, parse_object, parse_seconds

LABEL_SAFE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:/@-]{0,251}[A-Za-z0-9])?")


def _label_safe(value: object) -> str:
    if not isinstance(value, str) or not LABEL_SAFE.fullmatch(value):
        raise ValueError(
            f"{str(value)[:40]!r} is not a valid name: use letters, digits and ._:/@- (253 at most); the first and "
            "last character must be a letter or digit"
        )
    return value


def _percent(value: object) -> float | None:
    if value is None or value == "unknown":
        return None
    if isinstance(value, str) and value.strip().endswith("%"):
        value = value.strip()[:-1]
    number = parse_number(value)
    if not 0 <= number <= 100:
        raise ValueError(f"must be a percentage from 0 to 100 or unknown, got {number:g}")
    return number


def _start(value: object) -> object:
    return None if value == "unknown" else value


Name = Annotated[str, BeforeValidator(_label_safe)] | None
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}")
LABEL_VALUE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,253}")  # no control characters
MOST_LABELS = 8
RESERVED = ("__name__", "le", "quantile")  # which tell metrics and buckets apart


def _labels(value: object) -> dict[str, str]:
    """Read an object, or text such as ``cluster=eu,region=west``."""
    if value is None or value == "unknown":
        return {}
    value = parse_object(value)
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",")]
        if not all(separator for _, separator, _ in pairs):
            raise ValueError(f'{value[:60]!r} has no label: write cluster=eu,region=west, or {{"cluster": "eu"}}')
        if len({name.strip() for name, *_ in pairs}) < len(pairs):
            raise ValueError(f"{value[:60]!r} names a label twice: give it one value")
        value = {name.strip(): text.strip() for name, _, text in pairs}
    if not isinstance(value, dict):
        raise ValueError('must be an object of labels and values: {"cluster": "eu"}')  # noqa: TRY004
    if len(value) > MOST_LABELS:
        raise ValueError(f"has {len(value)} labels: {MOST_LABELS} at most")
    for name, text in value.items():
        if not isinstance(name, str) or not LABEL_NAME.fullmatch(name) or name in RESERVED:
            raise ValueError(f"{str(name)[:40]!r} cannot be a label here: use letters, digits and _, such as cluster")
        if not isinstance(text, str) or not LABEL_VALUE.fullmatch(text):
            raise ValueError(f"{name} must be printable text of 1 to 253 characters, got {str(text)[:40]!r}")
    return value


Labels = Annotated[dict[str, str], BeforeValidator(_labels)]


class Detail(StrEnum):
    """How much the answer says."""

    SUMMARY = "summary"
    FULL = "full"


class VerdictRequest(BaseModel):
    """One question: is this canary healthy?

    Every number, list and object may also come as text, because Argo passes arguments as text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: Name = Field(None, description="what is being rolled out; required unless data is given")
    namespace: Name = Field(None, description="its namespace; left out: any")
    canary: Name = Field(
        None, description="what tells the canary apart, a pod template hash with Argo; required unless data is given"
    )
    baseline: Name = Field(None, description="the same for the baseline; without it nothing is compared")
    labels: Labels = Field(
        default={},
        description='further labels that every series must have, 8 at most: {"cluster": "eu"}, or as text cluster=eu; '
        "needed where several clusters or models have the same arms",
    )
    profile: Name = Field(None, description="which metrics to read; default from the settings")
    policy: str | dict[str, Any] | None = Field(
        None,
        description='a name, or overrides: {"base": "ml-model", "checks": {"latency_p99": {"rollback": "400ms"}}}; '
        "role there is what the gates of the base are in this request, guardrails while ramping",
    )
    checks: tuple[str, ...] | None = Field(
        None, description="which checks of the policy to run, a list or comma-separated text; default all"
    )
    window: str = Field(
        "start",
        description="start: since the canary's first sample; step: the same, but a pass must be proved by what was "
        "seen since the traffic split last changed; or a duration such as 5m",
    )
    start: Annotated[Instant | None, BeforeValidator(_start)] = Field(
        None, description="start of the data, RFC 3339 or Unix seconds; default unknown: it is found"
    )
    at: Instant | None = Field(None, description="the moment to judge, RFC 3339 or Unix seconds; default now")
    weight: Annotated[float | None, BeforeValidator(_percent)] = Field(
        None,
        description="the canary's traffic weight in percent, compared with the observed split; default unknown",
    )
    detail: Detail = Field(Detail.SUMMARY, description="summary (under 2 KB), or full")
    data: dict[str, Any] | None = Field(
        None,
        description='statistics in the request itself: {"error_rate": {"canary": {"errors": 14, "requests": 865}}}',
    )

    @property
    def window_seconds(self) -> float | None:
        """Length of the window, None for everything since the start."""
        return None if self.window in ("start", "step") else parse_seconds(self.window)

    @property
    def share(self) -> float | None:
        """The weight as a ratio; None where it is not known, or leaves an arm without traffic."""
        return self.weight / 100 if self.weight is not None and 0 < self.weight < 100 else None

    @model_validator(mode="before")
    @classmethod
    def _is_object(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            raise ValueError("must be a JSON object")  # noqa: TRY004 - pydantic wants this
        return body

    @field_validator("policy", "data", mode="before")
    @classmethod
    def _object_as_text(cls, value: object) -> object:
        return parse_object(value)

    @field_validator("checks", mode="before")
    @classmethod
    def _list_as_text(cls, value: object) -> object:
        if value == "all":
            return None
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value

    @field_validator("*", mode="before")
    @classmethod
    def _not_empty(cls, value: object) -> object:  # the last one written is the first to see a value
        if value in ("", []):
            raise ValueError(
                "is empty, perhaps an argument of the AnalysisTemplate that was not set; give it a value, or leave "
                "the field out"
            )
        return value

    @field_validator("window")
    @classmethod
    def _known_window(cls, value: str) -> str:
        if value in ("start", "step"):
            return value
        try:
            seconds = parse_seconds(value)
        except ValueError:
            raise ValueError(f"must be start, step or a duration such as 5m, got {value[:40]!r}") from None
        if not seconds > 0:
            raise ValueError(f"must be positive, got {value!r}")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.data is None:
            absent = [name for name in ("service", "canary") if getattr(self, name) is None]
            if absent:
                raise ValueError(f"{', '.join(absent)}: is required, unless data is given")
        if self.canary is not None and self.canary == self.baseline:
            raise ValueError(
                f"baseline: is the same as canary ({self.canary!r}): the template passed one hash twice; "
                "the canary's is podTemplateHashValue Latest, the baseline's Stable"
            )
        if self.data is not None and (self.profile is not None or self.window_seconds is not None or self.labels):
            field = "profile" if self.profile is not None else "labels" if self.labels else "window"
            raise ValueError(f"{field}: has no meaning for statistics given in data; leave it out")
        if self.start is not None and self.window_seconds is not None:
            raise ValueError("start: cannot be given together with a window of a fixed length")
        if self.start is not None and self.at is not None and self.start >= self.at:
            raise ValueError("start: must be before at")
        return self


def parse_request(body: object) -> VerdictRequest:
    """Read a request.

    Raises
    ------
    RequestError : names every field that is wrong, with the remedy
    """
    try:
        return VerdictRequest.model_validate(body)
    except ValidationError as error:
        raise RequestError(list(dict.fromkeys(map(_locate, problems_of(error, VerdictRequest))))) from error


def _locate(problem: Problem) -> Problem:
    """Return a problem in the contract's words where pydantic has its own."""
    if problem.field.startswith("policy."):
        return Problem("policy", "must be the name of a policy, or an object of overrides")
    return problem
