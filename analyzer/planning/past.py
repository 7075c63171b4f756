"""What a service counted in the past, minute by minute."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analyzer.config.policy import Policy
from analyzer.config.profile import choose_profile
from analyzer.config.selector import Matcher
from analyzer.errors import ConfigError, Problem, RequestError, SourceUnavailable
from analyzer.model.counts import (
    Classes,
    Counts,
    Floats,
    Histogram,
    MeanOnly,
    Pod,
    Reading,
    Values,
    by_slice,
    cut,
    requests_by_slice,
)
from analyzer.model.findings import Code, Gap, Kind
from analyzer.quantity import format_seconds
from analyzer.sources.assembly import Selection
from analyzer.sources.prometheus import LATER
from analyzer.stats import dispersion, overdispersion
from analyzer.verdict.analysis import Analyzer, Source
from analyzer.verdict.request import parse_request

MINUTE = dispersion.BATCH_SECONDS  # a slice of the past: the correlation of requests is told for minutes
PIECE, SMALL_PIECE = 3600.0, 720.0  # of the past, read at once; the smaller where slices are longer than a minute

Watch = Callable[[Sequence[int]], Iterable[int]]
"""Shows the progress over numbered parts."""


@dataclass(frozen=True)
class Past:
    """What a service counted, minute by minute.

    Attributes
    ----------
    begin : of the first minute, Unix seconds
    minutes : how many there are
    by_check : by name of the check, counts of that many slices, or the reason why there are none
    pods : by name of the check, counts of each pod in the same bins or classes; none where they are not known
    """

    begin: float
    minutes: int
    by_check: Mapping[str, Counts | Gap]
    pods: Mapping[str, tuple[Pod[Counts], ...]] = field(default_factory=dict)

    @property
    def end(self) -> float:
        """End of the last minute, Unix seconds."""
        return self.begin + self.minutes * MINUTE


def read_past_of(
    analyzer: Analyzer, policy: Policy, fields: Mapping[str, str | None], minutes: int, watch: Watch = iter
) -> Past:
    """Read what a service counted.

    Parameters
    ----------
    analyzer : whose source is read
    policy : for whose checks
    fields : of a request: service, baseline, namespace, labels, profile, at; the end is moved back to a whole minute
    minutes : how far back
    watch : shows the progress

    Raises
    ------
    RequestError : a field is wrong, or there is nothing of this baseline
    ConfigError : the source knows no past
    SourceError : the source did not answer
    """
    given = {name: value for name, value in fields.items() if value is not None}
    pretended = "canary" if given.get("baseline") != "canary" else "other"  # a request cannot be without one
    request = parse_request(given | {"canary": pretended})
    if analyzer.source.name != "prometheus":
        text = f"is {analyzer.source.name}, which knows no past: set it to prometheus, and ANALYZER_PROMETHEUS_URL"
        raise ConfigError([Problem("ANALYZER_SOURCE", text)])
    end = math.floor((analyzer.clock() if request.at is None else request.at) / MINUTE) * MINUTE
    selection = Selection(
        service=request.service or "",
        namespace=request.namespace,
        canary=request.baseline or "",
        baseline=None,
        profile=choose_profile(dict(analyzer.profiles), request.profile or analyzer.default_profile),
        checks={name: check.kind for name, check in policy.checks.items()},
        at=end,
        matchers=tuple(Matcher(label, "=", value) for label, value in request.labels.items()),
    )
    return read_past(analyzer.source, selection, end - minutes * MINUTE, analyzer.deadline_seconds, watch)


def read_past(source: Source, selection: Selection, begin: float, deadline_seconds: float, watch: Watch = iter) -> Past:
    """Read what an arm counted from a moment on, minute by minute.

    Parameters
    ----------
    source : that knows the past
    selection : of the arm, as the canary and alone; up to its `at`
    begin : Unix seconds, a whole number of minutes before `at`
    deadline_seconds : for one read
    watch : shows the progress

    Raises
    ------
    SourceUnavailable : the source did not answer, or not in whole
    RequestError : there is nothing of this arm
    """
    parts: dict[str, list[tuple[int, _Piece]]] = {name: [] for name in selection.checks}
    spans = _pieces(begin, selection.at, PIECE)
    for start, end in (spans[index] for index in watch(range(len(spans)))):
        piece = _read_piece(source, replace(selection, start=start, at=end), deadline_seconds)
        for name, known_piece in piece.items():
            parts[name].append((round((end - start) / MINUTE), known_piece))
    pieces_joined = {name: _joined(pieces) for name, pieces in parts.items()}
    joined = {name: _judged(piece.counts, selection.checks[name]) for name, piece in pieces_joined.items()}
    known = {name: counts for name, counts in joined.items() if not isinstance(counts, Gap)}
    traffic = sum((requests_by_slice(counts) for counts in known.values()), np.zeros(1))
    if not traffic.any():
        reasons = "; ".join(dict.fromkeys(counts.reason for counts in joined.values() if isinstance(counts, Gap)))
        text = f"{selection.canary!r} has no traffic in the past that was asked for: {reasons or 'nothing was counted'}"
        raise RequestError([Problem("baseline", text)])
    first, minutes = int(np.flatnonzero(traffic)[0]), len(traffic)
    return Past(
        begin=begin + first * MINUTE,
        minutes=minutes - first,
        by_check={**joined, **{name: cut(counts, first, minutes) for name, counts in known.items()}},
        pods={
            name: tuple(Pod(pod, cut(counts, first, minutes)) for pod, counts in pieces_joined[name].pods.items())
            for name in known
        },
    )


@dataclass(frozen=True)
class _Piece:
    """A piece of the past: counts of the arm or the reason why they are missing, and counts of its pods by name."""

    counts: Counts | Gap
    pods: Mapping[str, Counts] = field(default_factory=dict)


def _joined(pieces: Sequence[tuple[int, _Piece]]) -> _Piece:
    """Put pieces of time one after the other; pods whose bins do not fit those of the arm are left out."""
    whole = join([(minutes, piece.counts) for minutes, piece in pieces])
    absent = Gap(Code.NO_CANARY_TRAFFIC, "the pod was not there")
    names = dict.fromkeys(name for _, piece in pieces for name in piece.pods)
    alone = {name: join([(minutes, piece.pods.get(name, absent)) for minutes, piece in pieces]) for name in names}
    aligned = {name: _aligned(counts, whole) for name, counts in alone.items()}
    return _Piece(whole, {name: counts for name, counts in aligned.items() if counts is not None})


def _aligned(pod: Counts | Gap, whole: Counts | Gap) -> Counts | None:
    """Return the counts of a pod in the bins or classes of its arm; None where they do not fit."""
    if isinstance(pod, Gap) or type(pod) is not type(whole):
        return None
    if isinstance(pod, Histogram) and isinstance(whole, Histogram):
        fits = _fits(pod, whole.edges) and set(pod.edges) <= set(whole.edges)
        return _over_edges(pod, whole.edges) if fits else None
    if isinstance(pod, Classes) and isinstance(whole, Classes):
        return _over_classes(pod, whole.names) if set(pod.names) <= set(whole.names) else None
    return pod


def _judged(counts: Counts | Gap, kind: Kind) -> Counts | Gap:
    if isinstance(counts, MeanOnly) and kind is Kind.LATENCY:
        text = "the source knows only the mean latency (sum and count): use a check of kind mean_latency"
        return Gap(Code.METRIC_MISSING, text)
    return counts


def join(pieces: Sequence[tuple[int, Counts | Gap]]) -> Counts | Gap:
    """Put pieces of time one after the other, by slices; where one is missing nothing was counted.

    Parameters
    ----------
    pieces : number of slices of each, and its counts or why there are none

    Returns
    -------
    Counts of the type that came last; the last reason where there are none at all, or buckets that do not fit.
    """
    known = [counts for _, counts in pieces if not isinstance(counts, Gap)]
    if not known:
        return pieces[-1][1]
    like = known[-1]
    same: list[Counts] = [counts for counts in known if type(counts) is type(like)]
    match like:
        case Histogram():
            histograms = [counts for counts in same if isinstance(counts, Histogram)]
            edges = np.unique(np.concatenate([counts.edges for counts in histograms]))
            if not all(_fits(counts, edges) for counts in histograms):
                return Gap(Code.BUCKETS_DIFFER, "the buckets changed in the past that was asked for")
            same = [_over_edges(counts, edges) for counts in histograms]
        case Classes():
            classes = [counts for counts in same if isinstance(counts, Classes)]
            names = tuple(sorted({name for counts in classes for name in counts.names}))
            same = [_over_classes(counts, names) for counts in classes]
        case Values() if any(isinstance(counts, Values) and counts.squares is None for counts in same):
            same = [replace(counts, squares=None) for counts in same if isinstance(counts, Values)]
        case _:
            pass
    columns: dict[str, list[Floats]] = {name: [] for name in by_slice(same[-1])}
    fitting = iter(same)
    for slices, counts in pieces:
        rows = by_slice(next(fitting)) if type(counts) is type(like) else {}
        for name, value in by_slice(same[-1]).items():
            columns[name].append(rows.get(name, np.zeros((slices, *value.shape[1:]))))
    joined = {name: np.concatenate(values) for name, values in columns.items()}
    return replace(same[-1], **joined)  # type: ignore[arg-type]  # a union of dataclasses, each with its own fields


def _fits(counts: Histogram, edges: Floats) -> bool:
    """Whether no bucket that has counts is cut by another edge; those of native histograms never are."""
    lower = np.concatenate(([-math.inf], counts.edges[:-1]))
    is_cut = np.searchsorted(edges, counts.edges, side="left") > np.searchsorted(edges, lower, side="right")
    return not (counts.counts.sum(axis=0)[is_cut] > 0).any()


def _over_edges(counts: Histogram, edges: Floats) -> Histogram:
    bins = np.zeros((len(counts.counts), len(edges)))
    bins[:, np.searchsorted(edges, counts.edges)] = counts.counts
    return replace(counts, edges=edges, counts=bins)


def _over_classes(counts: Classes, names: tuple[str, ...]) -> Classes:
    bins = np.zeros((len(counts.counts), len(names)))
    bins[:, [names.index(name) for name in counts.names]] = counts.counts
    return Classes(names, bins)


def _pieces(begin: float, end: float, seconds: float) -> list[tuple[float, float]]:
    number = math.ceil((end - begin) / seconds - 1e-9)
    return [(begin + index * seconds, min(begin + (index + 1) * seconds, end)) for index in range(number)]


def _read_piece(source: Source, selection: Selection, deadline_seconds: float) -> dict[str, _Piece]:
    """Read a piece of the past by minutes; in smaller parts where the source gives longer slices."""
    readings = source.read(selection, time.monotonic() + deadline_seconds).by_check
    for reading in readings.values():
        if isinstance(reading, Gap) and reading.code in LATER:
            raise SourceUnavailable(reading.reason)
    start = selection.start or 0.0
    coarse = any(
        isinstance(reading, Reading) and (reading.slice_seconds or math.inf) > MINUTE for reading in readings.values()
    )
    if coarse and selection.at - start > SMALL_PIECE:
        parts = [
            (
                round((end - begin) / MINUTE),
                _read_piece(source, replace(selection, start=begin, at=end), deadline_seconds),
            )
            for begin, end in _pieces(start, selection.at, SMALL_PIECE)
        ]
        return {name: _joined([(minutes, part[name]) for minutes, part in parts]) for name in readings}
    return {name: _by_minute(reading, round((selection.at - start) / MINUTE)) for name, reading in readings.items()}


def _by_minute(reading: Reading[Counts] | Gap, minutes: int) -> _Piece:
    if isinstance(reading, Gap):
        return _Piece(reading)
    if reading.canary is None:
        return _Piece(Gap(Code.NO_CANARY_TRAFFIC, "no series of the baseline"))
    seconds = reading.slice_seconds
    if seconds is None or seconds > MINUTE:
        return _Piece(Gap(Code.UNDECIDED, "the source gives no slices of a minute, so nothing can be split"))

    def batched(counts: Counts) -> Counts:
        parts = {name: overdispersion.in_batches(value, seconds) for name, value in by_slice(counts).items()}
        return replace(counts, **parts)  # type: ignore[arg-type]  # each has its own fields

    whole = batched(reading.canary)
    if len(requests_by_slice(whole)) != minutes:
        return _Piece(Gap(Code.UNDECIDED, f"slices of {format_seconds(seconds)} do not make whole minutes"))
    return _Piece(whole, {pod.name: batched(pod.counts) for pod in reading.canary_pods})
