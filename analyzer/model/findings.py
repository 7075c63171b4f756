"""What the checks answer: outcomes, codes, estimates and findings; all frozen."""

from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """What a verdict, or the finding of one check, says."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Kind(StrEnum):
    """What a check measures."""

    ERROR_RATE = "error_rate"
    LATENCY = "latency"
    MEAN_LATENCY = "mean_latency"
    DRIFT = "drift"
    BUSINESS = "business"


class Role(StrEnum):
    """What a check has to say in the whole: see `judge`."""

    GATE = "gate"
    GUARDRAIL = "guardrail"
    ADVISORY = "advisory"


class Rule(StrEnum):
    """What it takes to fail: see `checks`."""

    ZONE = "zone"
    STRICT = "strict"
    RELATIVE = "relative"
    POINT = "point"


class Code(StrEnum):
    """Why a finding is what it is: a closed list, for alerts and dashboards."""

    PROVED_GOOD = "proved_good"
    PROVED_BAD = "proved_bad"
    UNDECIDED = "undecided"
    DECIDED_BY_POINT = "decided_by_point"
    NO_CANARY_TRAFFIC = "no_canary_traffic"
    NO_BASELINE_TRAFFIC = "no_baseline_traffic"
    METRIC_MISSING = "metric_missing"
    BUCKETS_DIFFER = "buckets_differ"
    BUCKET_RESOLUTION = "bucket_resolution"
    PARTIAL_DATA = "partial_data"
    SOURCE_UNAVAILABLE = "source_unavailable"
    INCONSISTENT_DATA = "inconsistent_data"
    WARMING_UP = "warming_up"
    COMMON_MODE = "common_mode"
    TRAFFIC_SPLIT = "traffic_split"
    PLACEBO_FAILED = "placebo_failed"
    OVERLOADED = "overloaded"


@dataclass(frozen=True)
class Gap:
    """Why there are no counts for a check."""

    code: Code
    reason: str


@dataclass(frozen=True)
class Estimate:
    """A value with its always-valid interval; None where it is not known, infinite where unbounded."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """Log evidence over the log evidence needed, towards each outcome; 1 or more decides."""

    towards_pass: float = 0.0
    towards_fail: float = 0.0


@dataclass(frozen=True)
class Finding:
    """The outcome of one check, with everything that explains it.

    Attributes
    ----------
    outcome, code, reason : what was found, why in one word, why in one sentence
    canary, baseline : the arms' values in the check's unit: ratio, seconds, PSI (canary only) or mean
    delta : change of the canary against the baseline as a ratio, for checks whose limits are such changes
    promote, rollback : the limits
    evidence : towards pass and fail
    remaining_requests : about how many more canary requests until the check decides; None: never at this value
    remaining_range : the same if the true value is further from the limit, and if it is nearer; None: never
    since : from when on the numbers count, in Unix seconds; None: all of the window, or not known
    seconds : how long that is, None: not known
    assumptions : what the finding relies on beside the counts
    notes : how the counts were read, which edges were used
    waits : a guardrail waits for more requests, whatever evidence and estimate say
    headline : the reason in short, without the baseline; empty: the reason is short enough
    """

    outcome: Outcome
    code: Code
    reason: str
    promote: float
    rollback: float
    canary: Estimate = field(default_factory=Estimate)
    baseline: Estimate = field(default_factory=Estimate)
    delta: Estimate | None = None
    evidence: Evidence = field(default_factory=Evidence)
    remaining_requests: float | None = None
    remaining_range: tuple[float | None, float | None] = (None, None)
    since: float | None = None
    seconds: float | None = None
    assumptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    waits: bool = False
    headline: str = ""
