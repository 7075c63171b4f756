"""From what Prometheus answered to what is said of each check: what was found, what is missing, what to change."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from analyzer.config.policy import Check
from analyzer.config.profile import (
    ClassCounter,
    ConversionCounters,
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
from analyzer.config.settings import Settings
from analyzer.doctor.histograms import BucketEdges, about_rare, bins_of, classes_of
from analyzer.doctor.notices import Advice, DoctorCode, Status, worst
from analyzer.doctor.observations import Engine, Seen, Survey, locations_of
from analyzer.doctor.question import DoctorRequest, read_question
from analyzer.doctor.series import about_series
from analyzer.doctor.shortcomings import ArmFacts, Reads, about_arms, about_reading, about_scrapes, about_way
from analyzer.doctor.survey import survey
from analyzer.model.findings import Kind, Role
from analyzer.planning.assumptions import Assumption
from analyzer.planning.forecast import Need, RequestRates, plan_check, show_need, too_long
from analyzer.quantity import format_ratio
from analyzer.sources.slicing import FEWEST_SLICES
from analyzer.verdict.analysis import Analyzer

PROCESSES_GO_BACK = 2  # times that the start of a process is an earlier one
REPAIRED = (DoctorCode.DUPLICATES, DoctorCode.SERIES_VANISH)  # by a verdict that follows each series
LOSS, ROLLOUT = -0.2, 21600.0  # of conversions, that is to be found within so many seconds
WEIGHT = 0.05  # of the canary, where a rollout begins


@dataclass(frozen=True)
class CheckDiagnosis:
    """What is said of one check.

    Attributes
    ----------
    check : of the policy
    reads : the metrics of the way of the profile that is used, which is number `way` of `ways`
    arms : facts by the arm's name; one without any series is left out
    bins : of a histogram or of classes; None: there are none
    notices : what was found
    to_pass : what a healthy canary takes at `WEIGHT`; None: it is no gate, or something is missing
    hints : what the profile cannot tell, and the remedy
    """

    check: Check
    reads: tuple[Selector, ...] = ()
    way: int = 0
    ways: int = 0
    arms: Mapping[str, ArmFacts] = field(default_factory=dict)
    bins: BucketEdges | None = None
    notices: tuple[Advice, ...] = ()
    to_pass: Need | None = None
    hints: tuple[tuple[str, str], ...] = ()

    @property
    def status(self) -> Status:
        """How it is."""
        return worst([notice.status for notice in self.notices])

    @property
    def per_second(self) -> float:
        """Requests a second of both arms."""
        return sum(facts.per_second for facts in self.arms.values())


@dataclass(frozen=True)
class Value:
    """A value of the arm label: requests a second lately, and the checks whose metrics have it."""

    per_second: float
    checks: tuple[str, ...]


@dataclass(frozen=True)
class Diagnosis:
    """What is said of the whole.

    Attributes
    ----------
    question : what was examined
    url, engine : of what answered
    notices : about Prometheus
    checks : by name, in the policy's order
    values : of the arm label, where no arm was named; those with the most traffic first
    hints : what the profile cannot tell of any check, and the remedy
    """

    question: DoctorRequest
    url: str
    engine: Engine | None
    notices: tuple[Advice, ...]
    checks: Mapping[str, CheckDiagnosis]
    values: Mapping[str, Value]
    hints: tuple[tuple[str, str], ...]

    @property
    def status(self) -> Status:
        """How the whole is; what an advisory check misses keeps no gate from passing."""
        statuses = [notice.status for notice in self.notices]
        for check in self.checks.values():
            missing = check.status is Status.MISSING and check.check.role is Role.ADVISORY
            statuses.append(Status.WARNING if missing else check.status)
        return worst(statuses)


def examine(analyzer: Analyzer, settings: Settings, fields: Mapping[str, str | None]) -> Diagnosis:
    """Examine what the fields of a request name.

    Raises
    ------
    RequestError, ConfigError : what is asked is wrong
    SourceError : Prometheus does not answer
    """
    question, source = read_question(analyzer, fields)
    observed = survey(question, source, analyzer.profiles)
    values = {} if question.arms else _values(question, observed)
    examined = {} if values else question.checks
    notices = tuple(_about_engine(question, observed, settings))
    checks = {name: _examine(question, name, observed, analyzer.profiles) for name in examined}
    if any(notice.code is DoctorCode.TOO_MANY_SERIES for notice in notices):
        checks = {name: _added_up(check) for name, check in checks.items()}
    return Diagnosis(
        question=question,
        url=settings.prometheus_url,
        engine=observed.engine,
        notices=notices,
        checks=checks,
        values=values,
        hints=_hints(question.profile, None),
    )


def _about_engine(question: DoctorRequest, observed: Survey, settings: Settings) -> Iterable[Advice]:
    if (
        observed.engine
        and observed.engine.name == "VictoriaMetrics"
        and "nocache" not in settings.prometheus_parameters
    ):
        what = "VictoriaMetrics moves the times of queries: a verdict asks again at other moments, in more queries"
        remedy = """set ANALYZER_PROMETHEUS_PARAMETERS='{"nocache": "1"}'"""
        yield Advice(Status.WARNING, DoctorCode.TIMES_MOVED, what, remedy)
    elif observed.moved:
        what = (
            "a query frontend aligns range queries to their step: a verdict asks again at such moments, in more queries"
        )
        remedy = "point ANALYZER_PROMETHEUS_URL behind the frontend, at the querier, or turn its alignment off"
        yield Advice(Status.WARNING, DoctorCode.TIMES_MOVED, what, remedy)
    for word, arm in question.arms.items():
        gauge = question.profile.process_start
        if gauge and observed.processes.get(arm, 0.0) >= PROCESSES_GO_BACK:
            what = f"{gauge.metric} of the {word} goes back and forth: several processes answer on one port in turn"
            remedy = (
                "give each process a port of its own, or let the client library add them up: with Python, "
                "PROMETHEUS_MULTIPROC_DIR (multiprocess mode)"
            )
            yield Advice(Status.MISSING, DoctorCode.SEVERAL_PROCESSES, what, remedy)
    most = settings.prometheus_max_samples
    series = sum(
        seen.series
        for way, _ in observed.ways.values()
        if way
        for seen in observed.seen.get(main_selector(way), {}).values()
    )
    if series * (FEWEST_SLICES + 2) > most:
        what = f"{series:,} series are too many to follow one by one: the server adds up what does not fit"
        remedy = f"raise ANALYZER_PROMETHEUS_MAX_SAMPLES, now {most:,}, or drop labels that no check needs"
        yield Advice(Status.WARNING, DoctorCode.TOO_MANY_SERIES, what, remedy)


def _added_up(check: CheckDiagnosis) -> CheckDiagnosis:
    """Return the same where the server adds up series: what is repaired series by series makes its sums wrong."""
    notices = (
        replace(notice, status=Status.MISSING, what=f"{notice.what}; too many series to repair that")
        if notice.code in REPAIRED
        else notice
        for notice in check.notices
    )
    return replace(check, notices=tuple(notices))


def _values(question: DoctorRequest, observed: Survey) -> dict[str, Value]:
    """List the values of the arm label in this namespace and service, those with the most traffic first."""
    rows: dict[str, dict[str, float]] = {}
    for name, check in question.checks.items():
        for selector in (counter for way in question.profile.ways(check.kind) for counter in traffic_selectors(way)):
            locations = (
                locations_of(question, selector, observed.around[selector]) if selector in observed.around else []
            )
            for location in locations:
                by_check = rows.setdefault(location.labels.get(question.profile.arm_label, ""), {})
                by_check[name] = by_check.get(name, 0.0) + location.per_second
    rows.pop("", None)
    values = {
        value: Value(max(by_check.values()), tuple(name for name in question.checks if name in by_check))
        for value, by_check in rows.items()
    }
    return dict(sorted(values.items(), key=lambda item: (-item[1].per_second, item[0])))


def _hints(profile: Profile, kind: Kind | None) -> tuple[tuple[str, str], ...]:
    cannot = profile.about.cannot if profile.about else ()
    return tuple((limitation.what, limitation.remedy) for limitation in cannot if limitation.check is kind)


# One check


def _examine(question: DoctorRequest, name: str, observed: Survey, profiles: Mapping[str, Profile]) -> CheckDiagnosis:
    check = question.checks[name]
    hints = _hints(question.profile, check.kind)
    way, _ = observed.ways[check.kind]
    if way is None:
        what = f"profile {question.profile.name} names no metric for {check.kind}"
        remedy = hints[0][1] if hints else "ask for this check with another profile, in a request of its own"
        notice = Advice(Status.MISSING, DoctorCode.NOT_IN_PROFILE, what, f"{remedy}; leave it out of --checks here")
        return CheckDiagnosis(check, notices=(notice,), hints=hints[1:])
    ways = question.profile.ways(check.kind)
    seen = _seen(question, check.kind, way, observed)
    facts = {word: _facts(way, by_metric, question, word, observed) for word, by_metric in seen.items()}
    main = {
        word: by_metric[selector] for word, by_metric in seen.items() if (selector := main_selector(way)) in by_metric
    }
    broken = about_reading(way, main)
    bins = None if broken else _bins(way, main)
    notices = [
        *about_arms(question, check, way, facts, observed, profiles),
        *broken,
        *about_way(check, way, seen, bins, observed, question.window_seconds),
        *about_series(question, way, observed.series, observed.intervals),
        *about_scrapes(question, seen, facts),
    ]
    diagnosis = CheckDiagnosis(
        check, selectors(way), ways.index(way) + 1, len(ways), facts, bins, tuple(notices), hints=hints
    )
    if diagnosis.per_second <= 0 or diagnosis.status is Status.MISSING:
        return diagnosis
    traffic, assumption = RequestRates.split(diagnosis.per_second, WEIGHT), _assumption(check, way, seen, bins)
    if isinstance(way, ConversionCounters):
        (loss,) = plan_check(check, question.policy, traffic, replace(assumption, faults=(LOSS,))).faults
        notices += _about_loss(loss)
    if check.role is not Role.GATE:
        return replace(diagnosis, notices=tuple(notices))
    need = plan_check(check, question.policy, traffic, assumption).healthy
    if isinstance(way, ScoreHistogram | ClassCounter) and bins is not None and need.requests is not None:
        notices += about_rare(way, bins, need.requests)
    if slow := too_long(name, need):
        notices.append(Advice(Status.WARNING, DoctorCode.SLOW_DECISION, *slow.rstrip(".").split(": ", 1)))
    return replace(diagnosis, notices=tuple(notices), to_pass=need)


def _about_loss(need: Need) -> list[Advice]:
    """Say that a loss of conversions is not seen within a rollout."""
    if need.seconds is not None and need.seconds <= ROLLOUT:
        return []
    what = (
        f"this check cannot see a loss of {format_ratio(-LOSS)} of the conversions before {show_need(need)} at a "
        f"weight of {format_ratio(WEIGHT)}"
    )
    remedy = "raise the weight of a step that lasts, or count an event that is more frequent"
    return [Advice(Status.WARNING, DoctorCode.SLOW_DECISION, what, remedy)]


def _seen(question: DoctorRequest, kind: Kind, way: Way, observed: Survey) -> dict[str, dict[Selector, Seen]]:
    """Give what was seen of each metric of a way, by the arm's name."""
    by_arm = {
        word: {
            selector: observed.seen[selector][value]
            for selector in selectors(way)
            if value in observed.seen.get(selector, {})
        }
        for word, value in question.arms.items()
    }
    _, arms = observed.ways[kind]
    return {word: by_metric for word, by_metric in by_arm.items() if question.arms[word] in arms}


def _facts(way: Way, seen: Mapping[Selector, Seen], question: DoctorRequest, word: str, observed: Survey) -> ArmFacts:
    traffic = [seen[selector] for selector in traffic_selectors(way) if selector in seen]
    firsts = [metric.first for metric in traffic if metric.first is not None]
    lasts = [metric.last for metric in traffic if metric.last is not None]
    first, last = min(firsts, default=None), max(lasts, default=None)
    counted = sum(metric.counted for metric in traffic)
    apart = [
        seconds
        for selector in traffic_selectors(way)
        if (seconds := observed.intervals.get((selector, question.arms[word]))) is not None
    ]
    lasted = max((last or 0.0) - (first or 0.0), *apart, 1.0)
    of_metrics: dict[str, int] = {}  # failed requests are among all requests
    for selector, metric in seen.items():
        of_metrics[selector.metric] = max(metric.series, of_metrics.get(selector.metric, 0))
    return ArmFacts(
        series=sum(of_metrics.values()),
        targets=len({target for metric in seen.values() for target in metric.targets}),
        first=first,
        last=last,
        interval=min(apart, default=None),
        counted=counted,
        per_second=counted / lasted,
    )


def _bins(way: Way, main: Mapping[str, Seen]) -> BucketEdges | None:
    match way:
        case LatencyHistogram(histogram=Selector()):
            return bins_of(main, way.unit) if main else None
        case ScoreHistogram() | ValueHistogram():
            return bins_of(main) if main else None
        case ClassCounter():
            return classes_of(way, main) if main else None
        case _:
            return None


def _assumption(check: Check, way: Way, seen: Reads, bins: BucketEdges | None) -> Assumption:
    """Suppose what suits the limits, and of the baseline what was seen."""
    known = replace(Assumption.of(check), faults=())  # which are not asked about, and take most of the time
    arm = seen.get("baseline") or next(iter(seen.values()), {})
    if check.kind is Kind.DRIFT and bins is not None:
        return known.of_bins(bins.counted.get("baseline") or next(iter(bins.counted.values()), ()))
    if isinstance(way, ConversionCounters):
        trials, successes = (
            sum(arm[selector].counted for selector in some if selector in arm) for some in (way.trials, way.successes)
        )
        return replace(known, level=successes / trials) if 0 < successes < trials else known
    return known
