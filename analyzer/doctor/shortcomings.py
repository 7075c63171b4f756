"""What is wrong with what was found of a check: its arms, what it reads, how it is scraped."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from analyzer.checks.decision import format_count
from analyzer.config.policy import Check
from analyzer.config.profile import (
    ClassCounter,
    ConversionCounters,
    ErrorCounters,
    LatencyHistogram,
    Profile,
    ScoreHistogram,
    ValueHistogram,
    Way,
    main_selector,
    selectors,
    traffic_selectors,
)
from analyzer.config.selector import Selector
from analyzer.doctor.absence import why_absent
from analyzer.doctor.delay import about_delay
from analyzer.doctor.histograms import BucketEdges, about_bins, about_limits, about_spread, differing
from analyzer.doctor.notices import Advice, DoctorCode, Status, several
from analyzer.doctor.observations import Seen, Survey, has_label, telling_labels
from analyzer.doctor.question import DoctorRequest
from analyzer.doctor.survey import ERRORS_EXPECTED
from analyzer.model.findings import Kind
from analyzer.quantity import format_ratio, format_seconds

USUAL_INTERVAL = 30.0  # seconds between scrapes: with longer ones a fault is seen late
UNEQUAL = 1.5  # times the other arm's interval
STALE, FRESH = 2.0, 45.0  # intervals, and seconds: VictoriaMetrics holds back the last 30
OFTEN = 3.0  # restarts a target in the window

Reads = Mapping[str, Mapping[Selector, Seen]]
"""What was seen of each metric of a way, by the arm's name."""


@dataclass(frozen=True)
class ArmFacts:
    """What a check has of one arm.

    Attributes
    ----------
    series, targets : of all metrics that it reads, and where they come from
    first, last : when the first and the last sample were, Unix seconds
    interval : seconds between samples; None: too few
    counted, per_second : requests, or whatever the check counts
    """

    series: int
    targets: int
    first: float | None
    last: float | None
    interval: float | None
    counted: float
    per_second: float


def about_arms(
    question: DoctorRequest,
    check: Check,
    way: Way,
    facts: Mapping[str, ArmFacts],
    observed: Survey,
    profiles: Mapping[str, Profile],
) -> Iterable[Advice]:
    """Say which arm is not there, or has no traffic."""
    compares = check.compares or check.kind is Kind.DRIFT
    absent = [word for word in question.arms if word not in facts]
    metrics = [selector for way in question.profile.ways(check.kind) for selector in selectors(way)]
    if failed := next((selector for selector in metrics if selector in observed.gaps), None):
        what = f"{failed.metric} could not be asked for: {observed.gaps[failed]}"
        yield Advice(
            Status.MISSING, DoctorCode.QUERY_FAILED, what, "try again, with a shorter --window if it took too long"
        )
    elif absent or not question.arms:
        notice = why_absent(question, check.kind, absent, observed, profiles)
        needless = absent == ["baseline"] and "canary" in facts and not compares
        yield replace(notice, status=Status.WARNING) if needless else notice
    if compares and "canary" in question.arms and "baseline" not in question.arms:
        what = "this check compares with the baseline, and none is named"
        yield Advice(
            Status.MISSING,
            DoctorCode.BASELINE_NEEDED,
            what,
            "give --baseline; without both arms, its values are listed",
        )
    for word, arm in facts.items():
        if arm.counted <= 0:
            needless = word == "baseline" and "canary" in facts and not compares
            window = format_seconds(question.window_seconds)
            what = f"nothing of the {word} grew in the last {window}: {', '.join(map(str, traffic_selectors(way)))}"
            status = Status.WARNING if needless else Status.MISSING
            yield Advice(status, DoctorCode.NO_TRAFFIC, what, f"send the {word} requests, then look again")


def about_reading(way: Way, main: Mapping[str, Seen]) -> list[Advice]:
    """Say why buckets or classes cannot be read."""
    metric = main_selector(way).metric
    match way:
        case LatencyHistogram(histogram=Selector()) | ScoreHistogram():
            return differing(metric, main)
        case ValueHistogram():  # whose arms need not have the same
            return [notice for word, seen in main.items() for notice in differing(metric, {word: seen})]
        case ClassCounter():
            return _about_classes(way, main)
        case _:
            return []


def about_way(
    check: Check,
    way: Way,
    seen: Reads,
    bins: BucketEdges | None,
    observed: Survey,
    window: float,
) -> Iterable[Advice]:
    """Say what is wrong with what the way reads in a window of so many seconds."""
    match way:
        case ErrorCounters():
            yield from _about_errors(check, way, seen, observed)
        case LatencyHistogram(sum=tuple()) if check.kind is Kind.LATENCY and seen:
            what = f"only a sum and a count are read ({main_selector(way).metric}), from which no quantile can be told"
            remedy = "judge the mean: a check of kind mean_latency; or let the server export a histogram"
            yield Advice(Status.MISSING, DoctorCode.MEAN_ONLY, what, remedy)
        case LatencyHistogram() if bins is not None:
            yield from about_limits(check, way, bins)
        case ScoreHistogram() | ClassCounter() if bins is not None:
            yield from about_bins(way, bins)
        case ValueHistogram() if bins is not None:
            yield from about_spread(way.values.metric, bins)
        case ConversionCounters() if seen:
            successes = sum(
                arm[selector].counted for arm in seen.values() for selector in way.successes if selector in arm
            )
            if successes <= 0:
                what = f"no event was counted: {', '.join(map(str, way.successes))}"
                remedy = "send events, or compare with a longer --window"
                yield Advice(Status.WARNING, DoctorCode.NO_EVENTS, what, remedy)
            elif check.delay and "baseline" in seen:
                yield from about_delay(check, way, observed.growth, window)
        case _:
            return


def _about_errors(check: Check, way: ErrorCounters, seen: Reads, observed: Survey) -> Iterable[Advice]:
    """Say whether failed requests could be told, and whether the baseline has too many of them."""
    for requests in way.requests:
        for label in telling_labels(way, requests):
            words = [word for word, arm in seen.items() if requests in arm and not has_label(arm[requests], label)]
            if words:
                arms = " and the ".join(words)
                what = f"no series of {requests.metric} of the {arms} has the label {label}: no request could ever fail"
                names = ", ".join(observed.labels.get(requests, ())) or "unknown"
                remedy = f"a profile of your own whose errors name the label with the status; its labels are {names}"
                yield Advice(Status.MISSING, DoctorCode.LABEL_MISSING, what, remedy)
    counted = {
        word: sum(arm[selector].counted for selector in way.requests if selector in arm) for word, arm in seen.items()
    }
    for errors in way.errors:
        if errors in observed.around and not observed.around[errors].bare and sum(counted.values()) >= ERRORS_EXPECTED:
            what = f"no series {errors.metric} at all among {format_count(sum(counted.values()))} requests: 0 errors"
            remedy = "check its name; if the server creates it with the first failed request, all is well"
            yield Advice(Status.WARNING, DoctorCode.ERRORS_NEVER_SEEN, what, remedy)
    failed = sum(seen["baseline"][selector].counted for selector in way.errors if selector in seen.get("baseline", {}))
    total = counted.get("baseline", 0.0)
    if total and not check.compares and failed / total > check.promote:
        shares = format_ratio(failed / total), format_ratio(check.promote)
        what = f"{shares[0]} of the baseline's requests failed, promote is {shares[1]}: a canary like it never passes"
        remedy = "raise the limits, or judge the change against the baseline: rule relative"
        yield Advice(Status.WARNING, DoctorCode.BASELINE_BEYOND_LIMIT, what, remedy)


def _about_classes(way: ClassCounter, main: Mapping[str, Seen]) -> list[Advice]:
    words = [word for word, seen in main.items() if not has_label(seen, way.by)]
    if not words:
        return []
    what = f"no series of {way.classes.metric} of the {' and the '.join(words)} has the label {way.by}"
    remedy = "a profile of your own whose `by` names the label with the class"
    return [Advice(Status.MISSING, DoctorCode.LABEL_MISSING, what, remedy)]


def about_scrapes(question: DoctorRequest, seen: Reads, facts: Mapping[str, ArmFacts]) -> Iterable[Advice]:
    """Say what is unusual about how the arms are scraped; in the same words for every check."""
    apart = {word: arm.interval for word, arm in facts.items() if arm.interval is not None}
    for word, interval in apart.items():
        if interval > USUAL_INTERVAL * 1.05:
            what = f"the {word} is scraped every {format_seconds(interval)}: a fault is seen that much later"
            yield Advice(
                Status.WARNING, DoctorCode.SCRAPE_INTERVAL, what, "interval: 15s in the PodMonitor or ServiceMonitor"
            )
        last = facts[word].last
        if last is not None and question.at - last > max(STALE * interval, FRESH):
            age = format_seconds(question.at - last)
            what = f"the last sample of the {word} is {age} old, though one comes every {format_seconds(interval)}"
            remedy = f"check that pods of the {word} run and are scraped (query `up`), and that the clocks agree"
            yield Advice(Status.WARNING, DoctorCode.STALE, what, remedy)
    if len(apart) > 1 and max(apart.values()) > UNEQUAL * min(apart.values()):
        shown = " and ".join(f"the {word} every {format_seconds(interval)}" for word, interval in apart.items())
        what = f"the arms are scraped unequally: {shown}"
        yield Advice(
            Status.WARNING, DoctorCode.INTERVALS_DIFFER, what, "scrape both by one PodMonitor or ServiceMonitor"
        )
    for word, by_metric in seen.items():
        copies = {label: times for metric in by_metric.values() for label, times in metric.copies.items()}
        for label, times in copies.items():
            what = (
                f"each series of the {word} is there {times} times, but for the label {label}: a verdict counts it once"
            )
            remedy = (
                "ask an address that removes copies (Thanos Query with --query.replica-label), or write a profile of "
                f'your own with {label}="..." among its matchers'
            )
            yield Advice(Status.WARNING, DoctorCode.DUPLICATES, what, remedy)
        restarts, targets = max((metric.restarts for metric in by_metric.values()), default=0.0), facts[word].targets
        if restarts > OFTEN * max(targets, 1):
            window, on = format_seconds(question.window_seconds), several(targets, "target")
            what = f"counters of the {word} were reset {restarts:,.0f} times in the last {window}, on {on}"
            yield Advice(
                Status.WARNING, DoctorCode.RESTARTS, what, "find out why its processes restart (kubectl get pods)"
            )
