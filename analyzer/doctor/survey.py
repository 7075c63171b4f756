"""Asking Prometheus for a diagnosis: two rounds of small queries, each in parallel and bounded in time.

The first looks at every metric of the profile under the arms. The second looks around: how far apart samples are of
what was found, and where else the metrics are of what was not.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from analyzer.config.profile import (
    ConversionCounters,
    ErrorCounters,
    Profile,
    Way,
    main_selectors,
    selectors,
    traffic_selectors,
)
from analyzer.config.selector import Selector
from analyzer.doctor.delay import read_growth, slice_seconds
from analyzer.doctor.observations import Engine, Seen, Survey, has_label, telling_labels
from analyzer.doctor.queries import Writer, apart, groups_of, read_around, read_scan, read_seen, scan
from analyzer.doctor.question import DoctorRequest
from analyzer.doctor.series import read_series
from analyzer.errors import BadResponse, PartialData, SourceError
from analyzer.model.findings import Kind
from analyzer.sources.assembly import choose_way
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import PrometheusApi, is_moved
from analyzer.sources.promql import Tasks

FIRST_ROUND, BOTH_ROUNDS = 2.4, 3.6  # seconds: an answer within five, with the start and the reckoning
UNALIGNED = (1_000_000_007.0, 1_000_000_067.0, 30.0)  # start, end and step of a range query: the start is no multiple
MOST_SERIES = 5000  # of a metric, which are looked at one by one
ERRORS_EXPECTED = 1000.0  # requests, from which on a counter of errors that is nowhere is suspicious


def survey(question: DoctorRequest, source: PrometheusSource, profiles: Mapping[str, Profile]) -> Survey:
    """Ask everything; raises SourceError where nothing is answered."""
    began, writer, queries = time.monotonic(), Writer(question), source.queries
    kinds = list(dict.fromkeys(check.kind for check in question.checks.values()))
    ways = [way for kind in kinds for way in question.profile.ways(kind)]
    wanted = list(dict.fromkeys(selector for way in ways for selector in selectors(way))) if question.arms else []
    texts = {"engine": "vector(1) default 0"} | {f"seen {selector}": writer.seen(selector) for selector in wanted}
    tasks = _instant(question, queries.api, texts, began + FIRST_ROUND)
    unaligned = partial(queries.api.plain_range, "vector(1)", *UNALIGNED, began + FIRST_ROUND)
    answers = queries.run({**tasks, "times": unaligned}, began + FIRST_ROUND)
    times = answers["times"]
    gaps = {selector: answer for selector in wanted if isinstance(answer := answers[f"seen {selector}"], SourceError)}
    _raise_if_all(gaps, wanted)
    label = question.profile.arm_label
    seen = {
        selector: read_seen(answer, label)
        for selector in wanted
        if isinstance(answer := answers[f"seen {selector}"], list)
    }
    observed = Survey(
        engine=_engine(queries.api, answers["engine"], began + FIRST_ROUND),
        ways={kind: _choose(question, kind, seen) for kind in kinds},
        seen=seen,
        gaps=gaps,
        moved=isinstance(times, list) and any(is_moved(series.times, UNALIGNED[0], UNALIGNED[2]) for series in times),
    )
    return _look_around(question, source, writer, observed, profiles, began + BOTH_ROUNDS)


def _instant(question: DoctorRequest, api: PrometheusApi, texts: Mapping[str, str], deadline: float) -> Tasks:
    return {key: partial(api.instant, text, question.at, deadline) for key, text in texts.items()}


def _raise_if_all(gaps: Mapping[Selector, SourceError], wanted: Sequence[Selector]) -> None:
    """Raise the error where nothing was answered; where answers are partial, that is what must be said."""
    if gaps and len(gaps) == len(wanted) and not any(isinstance(error, PartialData) for error in gaps.values()):
        raise next(iter(gaps.values()))


def _engine(api: PrometheusApi, answer: object, deadline: float) -> Engine | None:
    """Tell what answers, None where it does not say. MetricsQL alone knows `default`: others refuse the query."""
    if isinstance(answer, list):
        return Engine("VictoriaMetrics")
    if not isinstance(answer, BadResponse):
        return None
    data = api.build(deadline)
    if data is None:
        return None
    version = str(data.get("version", ""))[:40]
    # Thanos answers as Prometheus does, with a version of its own, which is still below 1.
    name = data.get("application") or ("Thanos" if version.startswith("0.") else "Prometheus")
    return Engine(str(name)[:40], version)


def _choose(
    question: DoctorRequest, kind: Kind, seen: Mapping[Selector, Mapping[str, Seen]]
) -> tuple[Way | None, frozenset[str]]:
    """Choose the way as a verdict does: the first that the canary has, or else any arm."""

    def arms(way: Way) -> frozenset[str]:
        main = any(seen.get(selector) for selector in main_selectors(way))
        return frozenset(arm for selector in traffic_selectors(way) for arm in seen.get(selector, {}) if main)

    first = next(iter(question.arms.values()), "")
    return choose_way(((way, arms(way)) for way in question.profile.ways(kind)), first)


def _look_around(
    question: DoctorRequest,
    source: PrometheusSource,
    writer: Writer,
    observed: Survey,
    profiles: Mapping[str, Profile],
    deadline: float,
) -> Survey:
    api = source.queries.api
    absent = [kind for kind, (_, arms) in observed.ways.items() if not arms or arms != set(question.arms.values())]
    ways = [way for kind in absent for way in question.profile.ways(kind)]
    metrics = [
        selector
        for way in ways
        for selector in (*main_selectors(way), *traffic_selectors(way))
        if selector not in observed.gaps
    ]
    about, unlabelled = list(dict.fromkeys([*metrics, *_errors_nowhere(observed)])), _unlabelled(observed)
    texts = {f"around {selector}": writer.around(selector) for selector in about}
    texts |= {f"labels {selector}": writer.sample(selector) for selector in unlabelled}
    texts |= {f"series {selector}": writer.series(selector) for selector in _one_by_one(observed)}
    if question.profile.process_start and question.arms:
        texts["processes"] = writer.processes(question.profile.process_start)
    if groups := groups_of(question, absent, profiles.values()):
        texts["profiles"] = scan(groups)
    sampled = _sampled(observed)
    raw = {
        f"samples {arm} {selector}": partial(
            api.raw, writer.samples(selector, arm, seen), (seen.last or 0.0) + 1e-3, deadline
        )
        for (selector, arm), seen in sampled.items()
    }
    counters = _converting(question, observed)
    step = slice_seconds(question.window_seconds)
    ends = question.at - step * (round(question.window_seconds / step) - 1), question.at
    growing = {
        f"growth {selector}": partial(
            api.range, writer.growth(selector, question.arms["baseline"], step), *ends, step, deadline
        )
        for selector in counters
    }
    answers = source.queries.run({**_instant(question, api, texts, deadline), **raw, **growing}, deadline)

    unasked = {
        selector: answer for selector in about if isinstance(answer := answers[f"around {selector}"], SourceError)
    }
    if not question.arms:
        _raise_if_all(unasked, about)
    others, processes = answers.get("profiles"), answers.get("processes")
    return replace(
        observed,
        gaps={**observed.gaps, **unasked},
        around={
            selector: read_around(answer)
            for selector in about
            if isinstance(answer := answers[f"around {selector}"], list)
        },
        labels={
            selector: tuple(sorted(answer[0].labels.keys() - {"__name__"}))
            for selector in unlabelled
            if isinstance(answer := answers[f"labels {selector}"], list) and answer
        },
        intervals={
            (selector, arm): seconds
            for selector, arm in sampled
            if isinstance(answer := answers[f"samples {arm} {selector}"], list)
            and (seconds := apart(answer)) is not None
        },
        elsewhere=read_scan(groups, others) if isinstance(others, list) else frozenset(),
        series={
            selector: read_series(answer)
            for selector in _one_by_one(observed)
            if isinstance(answer := answers[f"series {selector}"], list)
        },
        growth={
            selector: read_growth(answer, *ends, step)
            for selector in counters
            if isinstance(answer := answers[f"growth {selector}"], list)
        },
        processes={
            series.labels.get(question.profile.arm_label, ""): float(series.values[0])
            for series in (processes if isinstance(processes, list) else ())
        },
    )


def _one_by_one(observed: Survey) -> list[Selector]:
    """Choose the metrics whose series are looked at one by one: those that tell traffic, if they have not too many."""
    chosen = dict.fromkeys(
        selector for way, arms in observed.ways.values() if way and arms for selector in traffic_selectors(way)
    )
    return [
        selector
        for selector in chosen
        if sum(seen.series for seen in observed.seen.get(selector, {}).values()) <= MOST_SERIES
    ]


def _sampled(observed: Survey) -> dict[tuple[Selector, str], Seen]:
    """Choose the metrics of which single samples are read: one a way and arm."""
    chosen = {}
    for way, arms in observed.ways.values():
        metrics = traffic_selectors(way) if way else ()
        for arm in arms:
            selector = next(selector for selector in metrics if arm in observed.seen.get(selector, {}))
            if observed.seen[selector][arm].last is not None:
                chosen[selector, arm] = observed.seen[selector][arm]
    return chosen


def _converting(question: DoctorRequest, observed: Survey) -> tuple[Selector, ...]:
    """List the counters that tell the delay of the baseline's conversions."""
    way, arms = observed.ways.get(Kind.BUSINESS, (None, frozenset()))
    if not isinstance(way, ConversionCounters) or question.arms.get("baseline") not in arms:
        return ()
    return (*way.trials, *way.successes)


def _unlabelled(observed: Survey) -> list[Selector]:
    """List counters of requests of which an arm has no series with the label that tells failed ones."""
    way, _ = observed.ways.get(Kind.ERROR_RATE, (None, frozenset()))
    if not isinstance(way, ErrorCounters):
        return []
    return [
        selector
        for selector in way.requests
        if any(
            not has_label(arm, label)
            for arm in observed.seen.get(selector, {}).values()
            for label in telling_labels(way, selector)
        )
    ]


def _errors_nowhere(observed: Survey) -> list[Selector]:
    """List counters of errors, apart from that of the requests, without a series among many requests."""
    way, arms = observed.ways.get(Kind.ERROR_RATE, (None, frozenset()))
    if not isinstance(way, ErrorCounters) or not arms:
        return []
    requests = sum(metric.counted for selector in way.requests for metric in observed.seen.get(selector, {}).values())
    names = {selector.metric for selector in way.requests if observed.seen.get(selector)}
    return [
        selector
        for selector in way.errors
        if requests >= ERRORS_EXPECTED and selector.metric not in names and not observed.seen.get(selector)
    ]
