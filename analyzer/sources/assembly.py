"""From the growth of single series to the counts that a check is judged on; shared by all that read counters."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

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
from analyzer.config.selector import Matcher, Selector
from analyzer.model.counts import (
    Classes,
    Conversions,
    Counts,
    Errors,
    Floats,
    Histogram,
    MeanOnly,
    Pod,
    Reading,
    Values,
    Window,
)
from analyzer.model.findings import Code, Gap, Kind
from analyzer.sources.failed_requests import errors_of, parts_of, total, untold, with_hang_ups
from analyzer.sources.lives import NO_LIVES, Life, pod_of, pooled, restarted_pods, uneven_pods

ARM_WORDS = ("canary", "baseline")
PATHS = ("handler", "path", "endpoint", "uri", "route", "http_route")  # by which client libraries name what was asked
SUMMED_OVER = ("model", "model_name", "feature", *PATHS)  # labels whose values are named where there are several
MOST_NAMED = 5


@dataclass(frozen=True)
class Selection:
    """What a verdict asks of a source.

    Attributes
    ----------
    service, namespace, canary, baseline : as in the request
    profile : which metrics to read
    checks : kinds of the checks to read for, by the check's name
    at : moment to judge at, Unix seconds
    start, window_seconds : begin of the data, or length of the window; both None: since the canary's first sample
    history_seconds : how much of the baseline before the begin is wanted as well
    at_this_weight : the counts must tell when the traffic's split changed
    matchers : on labels of every series, of the request and of the model that is judged
    """

    service: str
    namespace: str | None
    canary: str
    baseline: str | None
    profile: Profile
    checks: Mapping[str, Kind]
    at: float
    start: float | None = None
    window_seconds: float | None = None
    history_seconds: float = 0.0
    at_this_weight: bool = False
    matchers: tuple[Matcher, ...] = ()

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms' names, the canary's first."""
        return (self.canary,) if self.baseline is None else (self.canary, self.baseline)


@dataclass(frozen=True)
class Grown:
    """One series and how much it grew in each slice; `pod` is the name of what it was scraped from, where known."""

    arm: str
    labels: Mapping[str, str]
    growth: Floats
    pod: str = ""


Table = Mapping[Selector, Sequence[Grown]]


class InconsistentError(ValueError):
    """The series contradict each other; `code` says how."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def choose_way(ways: Iterable[tuple[Way, frozenset[str]]], canary: str) -> tuple[Way | None, frozenset[str]]:
    """Choose how a kind is read: the first way that the canary has, or else any arm, or else the first.

    Parameters
    ----------
    ways : in the order of the profile, each with the arms that have it

    Returns
    -------
    The way, None where there is none, and the arms that have it.
    """
    chosen: tuple[Way | None, frozenset[str]] = (None, frozenset())
    for way, arms in ways:
        if chosen[0] is None or (canary in arms and canary not in chosen[1]) or (arms and not chosen[1]):
            chosen = way, arms
    return chosen


def assemble(
    way: Way, table: Table, selection: Selection, slices: int, lives: Mapping[str, Life] = NO_LIVES
) -> Reading[Counts] | Gap:
    """Add up series to the counts of both arms; an arm without any series of a metric that traffic brings is None.

    Parameters
    ----------
    way : how the profile says to read this kind
    table : growth of the series of every selector of `profile.selectors(way)`
    slices : number of time slices
    lives : of the pods, by name
    """
    main = main_selector(way)
    if isinstance(way, ErrorCounters):
        words = dict(zip(selection.arms, ARM_WORDS, strict=False))
        if reason := untold(way, table, words):
            return Gap(Code.METRIC_MISSING, reason)
    present = {series.arm for selector in traffic_selectors(way) for series in table[selector]}
    counts: dict[str, Counts | None] = {}
    try:
        for arm in selection.arms:
            counts[arm] = _counts(way, arm, table, slices) if arm in present else None
        if isinstance(way, ClassCounter):
            counts = _same_classes(counts)
    except InconsistentError as error:
        return Gap(error.code, f"{error} ({main.metric})")
    hang_up_notes: tuple[str, ...] = ()
    before = counts
    if isinstance(way, ErrorCounters) and way.gone:
        gone = {arm: total(way.gone, arm, table, slices) for arm in selection.arms}
        counts, hang_up_notes = with_hang_ups(way, counts, selection.canary, selection.baseline, gone)
    pods: dict[str, tuple[Pod[Counts], ...]] = {}
    for arm, whole in counts.items():
        if whole is not None:
            parts = _pods(way, arm, (before[arm], whole), table, slices, lives)
            counts[arm], pods[arm] = _alike(whole, parts)
    return reading_of(counts, pods, selection, table[main], hang_up_notes)


def reading_of(
    counts: Mapping[str, Counts | None],
    pods: Mapping[str, tuple[Pod[Counts], ...]],
    selection: Selection,
    series: Iterable[Grown],
    notes: tuple[str, ...] = (),
) -> Reading[Counts]:
    """Return the counts of the arms and of their pods, with what is to be known of pods and of the main series."""
    ours, theirs = pods.get(selection.canary, ()), pods.get(selection.baseline or "", ())
    uneven = (*uneven_pods(ours, ARM_WORDS[0]), *uneven_pods(theirs, ARM_WORDS[1]))
    return Reading(
        canary=counts[selection.canary],
        baseline=counts[selection.baseline] if selection.baseline else None,
        canary_pods=ours,
        baseline_pods=theirs,
        notes=(*notes, *restarted_pods(ours), *_summed_over(series), *uneven),
    )


def _pods(
    way: Way, arm: str, totals: tuple[Counts | None, Counts], table: Table, slices: int, lives: Mapping[str, Life]
) -> tuple[Pod[Counts], ...]:
    """Return what each pod of an arm counted, or groups of them where they are many; empty: no series has a pod.

    They add up to the second total, of which the first does not have the requests whose clients hung up.
    """
    by_pod: dict[str, dict[Selector, list[Grown]]] = {}
    for selector in selectors(way):
        for grown in table[selector]:
            if grown.arm == arm:
                by_pod.setdefault(grown.pod, {}).setdefault(selector, []).append(grown)
    if "" in by_pod:
        return ()
    groups = list(pooled(sorted(by_pod)))
    tables = [
        {selector: [grown for pod in members for grown in by_pod[pod].get(selector, ())] for selector in selectors(way)}
        for _, members in groups
    ]
    counts: Sequence[Counts]
    before, total_ = totals
    if isinstance(way, ErrorCounters) and isinstance(before, Errors) and isinstance(total_, Errors):
        counts = parts_of(way, arm, before, total_, tables, slices)
    elif isinstance(total_, Histogram | Values):
        unit = way.unit.seconds if isinstance(way, LatencyHistogram) else 1.0
        counts = histograms = _histograms_of((merged[main_selector(way)] for merged in tables), slices, unit)
        if isinstance(way, ValueHistogram):
            sums = [total([way.values.suffixed("_sum")], arm, merged, slices) for merged in tables]
            counts = [values_of(histogram, summed) for histogram, summed in zip(histograms, sums, strict=True)]
    else:
        counts = [_counts(way, arm, merged, slices) for merged in tables]
    if isinstance(total_, Classes):
        counts = [_with_classes(part, total_.names) for part in counts if isinstance(part, Classes)]
    return tuple(pod_of(*group, part, lives) for group, part in zip(groups, counts, strict=True))


def _alike(total: Counts, pods: tuple[Pod[Counts], ...]) -> tuple[Counts, tuple[Pod[Counts], ...]]:
    """Return both without squares where those of the arm or of one pod are not known."""
    values = [counts for counts in (total, *(pod.counts for pod in pods)) if isinstance(counts, Values)]
    if not any(counts.squares is None for counts in values):
        return total, pods
    total, *parts = (replace(counts, squares=None) for counts in values)
    return total, tuple(replace(pod, counts=part) for pod, part in zip(pods, parts, strict=True))


def _summed_over(series: Iterable[Grown]) -> tuple[str, ...]:
    """Name the models and paths that are added up, where several of them counted."""
    values: dict[str, set[str]] = {}
    for grown in series:
        for label in SUMMED_OVER:
            if (value := grown.labels.get(label)) and grown.growth.sum() > 0:
                values.setdefault(label, set()).add(value)
    return tuple(
        f"counts are added up over {label}: {listed(sorted(several))}"
        for label, several in values.items()
        if len(several) > 1
    )


def listed(values: Sequence[str]) -> str:
    """Write values, the first few of many."""
    more = f" and {len(values) - MOST_NAMED} more" if len(values) > MOST_NAMED else ""
    return ", ".join(values[:MOST_NAMED]) + more


def noted(reading: Reading[Counts] | Gap, notes: tuple[str, ...]) -> Reading[Counts] | Gap:
    """Add notes to what was read."""
    return reading if isinstance(reading, Gap) or not notes else replace(reading, notes=(*notes, *reading.notes))


def absent(way: Way | None, kind: Kind, selection: Selection, present: frozenset[str]) -> Gap | None:
    """Say why a kind cannot be read, given the arms for which its main metric exists; None: it can."""
    if way is None:
        return Gap(Code.METRIC_MISSING, f"profile {selection.profile.name} names no metric for {kind}")
    if selection.canary in present:
        return None
    metric = main_selector(way).metric
    label = selection.profile.arm_label
    if not present:
        return Gap(
            Code.METRIC_MISSING,
            f'no series of {metric} with {label}="{selection.canary}" (canary)'
            + (f' or "{selection.baseline}" (baseline)' if selection.baseline else "")
            + ": check the profile, the label and that the pods are scraped",
        )
    return Gap(
        Code.NO_CANARY_TRAFFIC,
        f'no series of {metric} with {label}="{selection.canary}": the canary has no traffic yet',
    )


def _counts(way: Way, arm: str, table: Table, slices: int) -> Counts:
    """Add up the series of an arm."""

    def added(selectors: Iterable[Selector]) -> Floats:
        return total(selectors, arm, table, slices)

    match way:
        case ErrorCounters():
            counts = errors_of(way, arm, table, slices)
            _not_more(counts.errors, counts.requests, "errors", "requests")
            return counts
        case ConversionCounters():
            return Conversions(successes=added(way.successes), trials=added(way.trials))
        case ClassCounter():
            return _classes([s for s in table[way.classes] if s.arm == arm], way.by, slices)
        case ScoreHistogram():
            return _histogram([s for s in table[main_selector(way)] if s.arm == arm], slices, 1.0)
        case LatencyHistogram(histogram=Selector()):
            return _histogram([s for s in table[main_selector(way)] if s.arm == arm], slices, way.unit.seconds)
        case LatencyHistogram():
            return MeanOnly(total=added(way.sum or ()) * way.unit.seconds, count=added(way.count or ()))
        case ValueHistogram():
            histogram = _histogram([s for s in table[main_selector(way)] if s.arm == arm], slices, 1.0)
            return values_of(histogram, added([way.values.suffixed("_sum")]))


def window_of(selection: Selection, known_start: float | None) -> Window:
    """Return the window that a source judged; `known_start` counts where the request names no start."""
    start = selection.start
    if selection.window_seconds is not None:
        start = selection.at - selection.window_seconds
    return Window(start=known_start if start is None else start, end=selection.at)


def _histogram(series: list[Grown], slices: int, unit_seconds: float) -> Histogram:
    """Add up buckets by their edge; every pod of an arm must have the same edges."""
    by_pod: dict[frozenset[tuple[str, str]], dict[float, Floats]] = {}
    for bucket in series:
        pod = frozenset(item for item in bucket.labels.items() if item[0] != "le")
        edge = _edge(bucket.labels.get("le", ""))
        buckets = by_pod.setdefault(pod, {})
        # Prometheus 3 writes le="1.0" where 2 wrote le="1": one bucket, in two series over time.
        buckets[edge] = buckets.get(edge, 0.0) + bucket.growth
    edge_sets = {tuple(sorted(buckets)) for buckets in by_pod.values()}
    if len(edge_sets) > 1:
        raise InconsistentError(Code.BUCKETS_DIFFER, "pods of one arm have different buckets")
    edges = edge_sets.pop() if edge_sets else (np.inf,)
    if edges[-1] != np.inf:
        raise InconsistentError(Code.INCONSISTENT_DATA, 'the histogram has no bucket le="+Inf"')
    cumulative = np.array([[_sum((pod[edge] for pod in by_pod.values()), slices) for edge in edges]])
    return _histograms(cumulative, edges, unit_seconds)[0]


def _histograms_of(parts: Iterable[Sequence[Grown]], slices: int, unit_seconds: float) -> list[Histogram]:
    """Add up the buckets of each part of an arm, whose pods are known to have the same edges."""
    by_part = [[(_edge(bucket.labels.get("le", "")), bucket.growth) for bucket in series] for series in parts]
    edges = sorted({edge for buckets in by_part for edge, _ in buckets}) or [np.inf]
    rows = {edge: row for row, edge in enumerate(edges)}
    cumulative = np.zeros((len(by_part), len(edges), slices))
    for part, buckets in zip(cumulative, by_part, strict=True):
        for edge, growth in buckets:
            part[rows[edge]] += growth
    return _histograms(cumulative, edges, unit_seconds)


def _histograms(cumulative: Floats, edges: Sequence[float], unit_seconds: float) -> list[Histogram]:
    """Return histograms of buckets that each count the lower ones too; shape (histograms, edges, slices)."""
    # A restart hidden in some buckets only (see counters) must not make a difference negative.
    counts = np.diff(np.maximum.accumulate(cumulative, axis=1), axis=1, prepend=0.0)
    bounds = np.array(edges) * unit_seconds
    return [Histogram(edges=bounds, counts=part) for part in np.ascontiguousarray(np.swapaxes(counts, 1, 2))]


def _edge(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InconsistentError(Code.INCONSISTENT_DATA, f"le={text!r} is no number") from error


def _classes(series: list[Grown], label: str, slices: int) -> Classes:
    by_class: dict[str, list[Floats]] = {}
    for counter in series:
        by_class.setdefault(counter.labels.get(label, ""), []).append(counter.growth)
    names = tuple(sorted(by_class))
    columns = [_sum(by_class[name], slices) for name in names]
    return Classes(names=names, counts=np.column_stack(columns) if columns else np.zeros((slices, 0)))


def _same_classes(counts: dict[str, Counts | None]) -> dict[str, Counts | None]:
    """Give both arms the same classes: one that never occurred in an arm was counted 0 times."""
    arms = {arm: classes for arm, classes in counts.items() if isinstance(classes, Classes)}
    names = tuple(sorted({name for classes in arms.values() for name in classes.names}))
    return {**counts, **{arm: _with_classes(classes, names) for arm, classes in arms.items()}}


def _with_classes(counts: Classes, names: tuple[str, ...]) -> Classes:
    """Return the same counts over these classes."""
    columns = dict(zip(counts.names, counts.counts.T, strict=True))
    zeros = np.zeros(counts.counts.shape[0])
    return Classes(names=names, counts=np.column_stack([columns.get(name, zeros) for name in names]))


def values_of(histogram: Histogram, total: Floats) -> Values:
    """Return the values of a histogram and their sum, with the sum of squares bounded from above by the buckets' edges.

    Not possible with values in the last bucket, nor with values in the first one where some are negative: those of
    which an edge says so, or which the sum shows, being less than positive ones of these buckets can add up to.
    """
    edges, counts = histogram.edges, histogram.counts
    lower = np.concatenate([[min(0.0, edges[0])], edges[:-1]])
    negative = counts[:, 0].sum() > 0 and (edges[0] < 0 or (total < counts @ lower - 1e-9 * np.abs(total)).any())
    squares = None
    if counts[:, -1].sum() == 0 and not negative:
        bounded = np.maximum(np.abs(lower), np.where(np.isinf(edges), 0.0, np.abs(edges)))
        squares = counts @ np.where(np.isinf(edges), 0.0, bounded) ** 2
    return Values(total=total, squares=squares, count=counts.sum(axis=1))


def _not_more(part: Floats, whole: Floats, part_name: str, whole_name: str) -> None:
    if part.sum() > whole.sum() * (1 + 1e-9):
        raise InconsistentError(
            Code.INCONSISTENT_DATA,
            f"more {part_name} ({part.sum():g}) than {whole_name} ({whole.sum():g}): the selectors do not fit",
        )


def _sum(arrays: Iterable[Floats], slices: int) -> Floats:
    return np.asarray(sum(arrays, np.zeros(slices)))
