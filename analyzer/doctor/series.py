"""What single series show that no total does: values that cannot match, probes, copies, several clusters or models."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from analyzer.config.profile import ClassCounter, ErrorCounters, Way, traffic_selectors
from analyzer.config.selector import PROBES, Matcher, Selector
from analyzer.config.vocabulary import SUCCESS, not_understood
from analyzer.doctor.notices import Advice, DoctorCode, Status
from analyzer.doctor.question import DoctorRequest
from analyzer.quantity import format_ratio
from analyzer.sources.assembly import PATHS, SUMMED_OVER, listed
from analyzer.sources.failed_requests import why_untold
from analyzer.sources.origins import origin_labels, origins
from analyzer.sources.prometheus_api import Series
from analyzer.sources.samples import STAT, target_of

FEW_PROBES = 0.05  # of an arm's requests: more of them make a verdict wrong
EQUAL = 0.01  # relative difference of what two copies of a series grew by
# Labels of how a target was found and by whom it was scraped; the same pod may have several of each.
OF_THE_SCRAPE = frozenset({"job", "instance", "endpoint", "service", "container", "prometheus"})
VANISHED = 300.0  # seconds without a sample, from which on a series is gone
FAILING = re.compile(r"err|fail|fault|exception|internal|unavailable|5\d\d|5xx", re.IGNORECASE)


@dataclass(frozen=True)
class SeriesFacts:
    """One series in the window.

    Attributes
    ----------
    labels, grown, samples : all of them, by how much it grew, how many samples it has
    at_start, at_end : it was there in the first and in the last minutes
    """

    labels: Mapping[str, str]
    grown: float = 0.0
    samples: float = 0.0
    at_start: bool = False
    at_end: bool = False

    @property
    def target(self) -> tuple[str, ...]:
        """Where it was scraped."""
        return target_of(self.labels)


def read_series(answer: Iterable[Series]) -> tuple[SeriesFacts, ...]:
    """Read what was asked of every series of a metric."""
    rows: dict[frozenset[tuple[str, str]], dict[str, float]] = {}
    for series in (series for series in answer if len(series.values)):
        labels = {name: value for name, value in series.labels.items() if name not in (STAT, "__name__")}
        rows.setdefault(frozenset(labels.items()), {})[series.labels.get(STAT, "")] = float(series.values[0])
    return tuple(
        SeriesFacts(dict(labels), row.get("grown", 0.0), row.get("samples", 0.0), "start" in row, "end" in row)
        for labels, row in rows.items()
    )


def about_series(
    question: DoctorRequest,
    way: Way,
    series: Mapping[Selector, Sequence[SeriesFacts]],
    intervals: Mapping[tuple[Selector, str], float],
) -> Iterable[Advice]:
    """Say what the series of a way show, arm by arm."""
    of_clusters = tuple(
        label
        for label in question.profile.cluster_labels  # one that some metrics lack is of the application
        if all(any(label in facts.labels for facts in several) for several in series.values() if several)
    )
    profile = question.profile.model_copy(update={"cluster_labels": of_clusters})
    for selector in traffic_selectors(way):
        values: dict[str, dict[str, frozenset[str]]] = {}
        for word, arm in question.arms.items():
            mine = [facts for facts in series.get(selector, ()) if facts.labels.get(question.profile.arm_label) == arm]
            matchers = (*selector.matchers, *question.profile.matchers)
            counted = [facts for facts in mine if not _excluded(matchers, facts)]
            if isinstance(way, ErrorCounters):
                yield from _about_values(way, selector, word, counted)
            yield from _about_probes(selector, word, mine, counted)
            yield from _about_labels(question, way, selector, word, counted)
            yield from _about_copies(word, counted)
            if (interval := intervals.get((selector, arm))) is not None:
                yield from _about_expiry(question, word, selector, counted, interval)
            values[word] = {
                label: frozenset(filter(None, (facts.labels.get(label) for facts in counted)))
                for label in origin_labels(profile)
            }
        gap = origins(profile, question.service, values).gap
        if gap is not None:
            what, remedy = gap.reason.split("; ", 1)
            yield Advice(Status.MISSING, DoctorCode.SEVERAL_ORIGINS, what, remedy.replace("labels=", "--labels "))


def _excluded(matchers: Iterable[Matcher], series: SeriesFacts) -> bool:
    """Whether a profile leaves a series out by its path."""
    return any("{probes}" in matcher.value and not matcher.matches(dict(series.labels)) for matcher in matchers)


def _about_values(way: ErrorCounters, requests: Selector, word: str, series: Sequence[SeriesFacts]) -> Iterable[Advice]:
    counted = [facts.labels for facts in series if facts.grown > 0]
    for label, values in not_understood((*way.errors, *way.gone), requests, counted).items():
        if label and not any(facts.labels.get(label) for facts in series):
            continue  # a label that is nowhere is said elsewhere
        every = sorted({facts.labels.get(label, "") for facts in series})
        failing = [value for value in every if FAILING.search(value) and value.lower() not in SUCCESS] or values
        what = why_untold(requests.metric, word, label, values, every, way).split(": ", 1)[0]
        remedy = f'a profile of your own with errors: {requests.metric}{{{label}="{failing[0]}"}}'
        yield Advice(Status.MISSING, DoctorCode.VALUES_NEVER_MATCH, what, remedy)


def _about_probes(
    selector: Selector, word: str, series: Sequence[SeriesFacts], counted: Sequence[SeriesFacts]
) -> Iterable[Advice]:
    probes = [(facts, label) for facts in series for label in PATHS if _is_probe(facts, label)]
    if not any(facts.grown > 0 for facts, _ in probes):
        return
    paths = listed(sorted({facts.labels[label] for facts, label in probes}))
    total = sum(facts.grown for facts in counted)
    among = [(facts, label) for facts, label in probes if facts in counted]
    if total <= 0:
        what = f"all that the {word} counted were probes and scrapes ({paths}), which are no requests of users"
        remedy = f"send the {word} requests, and check its route and weight"
        yield Advice(Status.WARNING, DoctorCode.PROBES, what, remedy)
    elif share := sum(facts.grown for facts, _ in among) / total:
        label = among[0][1]
        what = f"{format_ratio(share)} of the {word}'s requests are probes and scrapes: {paths}"
        remedy = f'a profile of your own with requests: {selector.metric}{{{label}!~"{{probes}}"}}, and errors alike'
        yield Advice(Status.MISSING if share > FEW_PROBES else Status.WARNING, DoctorCode.PROBES, what, remedy)


def _is_probe(series: SeriesFacts, label: str) -> bool:
    return bool(re.fullmatch(PROBES, series.labels.get(label, "")))


def _about_labels(
    question: DoctorRequest, way: Way, selector: Selector, word: str, series: Sequence[SeriesFacts]
) -> Iterable[Advice]:
    known = {question.profile.model_label, way.by if isinstance(way, ClassCounter) else None}
    for label in (label for label in SUMMED_OVER if label not in known):
        grown: dict[str, float] = {}
        for facts in series:
            if facts.labels.get(label) and facts.grown > 0:
                grown[facts.labels[label]] = grown.get(facts.labels[label], 0.0) + facts.grown
        if len(grown) > 1:
            most = max(grown, key=lambda value: grown[value])
            what = f"counts of the {word} are added up over {label}: {listed(sorted(grown))}"
            alone = f'{selector.metric}{{{label}="{most}"}}'
            remedy = f"to judge one alone, --labels {label}={most}, or a profile of your own with {alone}"
            yield Advice(Status.WARNING, DoctorCode.SUMMED_OVER, what, remedy)


def _about_copies(word: str, series: Sequence[SeriesFacts]) -> Iterable[Advice]:
    groups: dict[frozenset[tuple[str, str]], list[SeriesFacts]] = {}
    for facts in series:
        dropped = OF_THE_SCRAPE if facts.labels.get("pod") else OF_THE_SCRAPE - {"instance"}
        key = frozenset((name, value) for name, value in facts.labels.items() if name not in dropped)
        groups.setdefault(key, []).append(facts)
    copies = next((several for several in groups.values() if len(several) > 1 and _alike(several)), None)
    if copies is None:
        return
    names = [name for name in sorted(OF_THE_SCRAPE) if len({facts.labels.get(name) for facts in copies}) > 1]
    shown = " and ".join(f"{name} {listed(sorted({facts.labels.get(name, '') for facts in copies}))}" for name in names)
    times = f"each request is there {len(copies)} times, and counted once"
    what = f"pods of the {word} are scraped more than once, by {shown}: {times}"
    alone = f"{names[0]}={copies[0].labels.get(names[0], '')}"
    remedy = f"scrape them by one PodMonitor or ServiceMonitor, or give --labels {alone}"
    yield Advice(Status.WARNING, DoctorCode.DUPLICATES, what, remedy)


def _alike(several: Sequence[SeriesFacts]) -> bool:
    """Whether series grew alike at the same time."""
    first, *others = several
    return first.grown > 0 and all(abs(facts.grown - first.grown) <= max(EQUAL * first.grown, 1.0) for facts in others)


def _about_expiry(
    question: DoctorRequest, word: str, selector: Selector, series: Sequence[SeriesFacts], interval: float
) -> Iterable[Advice]:
    alive = {facts.target for facts in series if facts.at_end}
    missed = VANISHED / interval
    gone = [
        facts
        for facts in series
        if (facts.target in alive and not facts.at_end)
        or (facts.at_start and facts.at_end and facts.samples + missed < question.window_seconds / interval)
    ]
    if gone:
        what = f"{len(gone)} of {len(series)} series of {selector.metric} of the {word} vanish while their pods live"
        remedy = (
            "with an OpenTelemetry Collector, metric_expiration: 24h in its prometheus exporter; else check that the "
            "pods are scraped"
        )
        yield Advice(Status.WARNING, DoctorCode.SERIES_VANISH, what, remedy)
