"""What the doctor says: one line what was found, one line what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check, or the whole, is; the worst notice decides."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


class DoctorCode(StrEnum):
    """What a notice is about: a closed list, for programs."""

    # Something is not there
    NOT_IN_PROFILE = "not_in_profile"
    METRIC_MISSING = "metric_missing"
    MATCHERS_MISS = "matchers_miss"
    OTHER_FORM = "other_form"
    ARM_LABEL_MISSING = "arm_label_missing"
    ARM_UNKNOWN = "arm_unknown"
    ARM_ELSEWHERE = "arm_elsewhere"
    METRIC_ELSEWHERE = "metric_elsewhere"
    LABEL_MISSING = "label_missing"
    BASELINE_NEEDED = "baseline_needed"
    QUERY_FAILED = "query_failed"
    # What is there does not do
    NO_TRAFFIC = "no_traffic"
    ERRORS_NEVER_SEEN = "errors_never_seen"
    MEAN_ONLY = "mean_only"
    LIMIT_INSIDE_BUCKET = "limit_inside_bucket"
    LIMIT_BEYOND_BUCKETS = "limit_beyond_buckets"
    BUCKETS_DIFFER = "buckets_differ"
    BINS = "bins"
    FEW_PREDICTIONS = "few_predictions"
    RARE_PREDICTIONS = "rare_predictions"
    NO_EVENTS = "no_events"
    SPREAD_UNKNOWN = "spread_unknown"
    BASELINE_BEYOND_LIMIT = "baseline_beyond_limit"
    SLOW_DECISION = "slow_decision"
    DELAY = "delay"
    DELAY_TOO_SHORT = "delay_too_short"
    DELAY_TOO_LONG = "delay_too_long"
    # How it is scraped and kept
    SCRAPE_INTERVAL = "scrape_interval"
    INTERVALS_DIFFER = "intervals_differ"
    STALE = "stale"
    DUPLICATES = "duplicates"
    RESTARTS = "restarts"
    TOO_MANY_SERIES = "too_many_series"
    TIMES_MOVED = "times_moved"
    SERIES_VANISH = "series_vanish"
    SEVERAL_PROCESSES = "several_processes"
    # What is counted is not what is meant
    VALUES_NEVER_MATCH = "values_never_match"
    PROBES = "probes"
    SEVERAL_ORIGINS = "several_origins"
    SUMMED_OVER = "summed_over"


@dataclass(frozen=True)
class Advice:
    """Something that was found, and what to do about it."""

    status: Status
    code: DoctorCode
    what: str
    remedy: str


def several(count: int, noun: str) -> str:
    """Write a number of things."""
    plural = f"{noun}{'es' if noun.endswith('s') else 's'}"
    return f"{count:,} {noun if count == 1 else plural}"


def worst(statuses: list[Status]) -> Status:
    """Give the worst of several."""
    return max(statuses, key=list(Status).index, default=Status.OK)
