"""How overdispersed the counts of a check are, as the baseline shows it: see `stats.dispersion`."""

import math
from dataclasses import replace

import numpy as np

from analyzer.checks.binning import binned, cuts_of
from analyzer.checks.tail import Tail
from analyzer.config.policy import Check
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
    requests_by_slice,
)
from analyzer.model.findings import Kind
from analyzer.quantity import format_seconds
from analyzer.stats import dispersion
from analyzer.stats.dispersion import Dispersion
from analyzer.stats.overdispersion import in_batches, of_counts, of_neighbours, of_values

ENOUGH_BATCHES = 60  # of the past, to tell without looking at what is beside the canary
SHORT_SECONDS = 15.0  # of a batch, where there are not yet `FEW_BATCHES` longer ones
FEW_BATCHES = 15


def correlation_of(
    check: Check, reading: Reading[Counts], seconds: float | None, *, doubts: bool = True
) -> tuple[Dispersion, str]:
    """Estimate the design effect from the baseline: before the canary, and beside it.

    Parameters
    ----------
    seconds : length of the window; None: the counts belong to no time, as those of an experiment, and are believed
    doubts : whether what a short observation may not have shown is allowed for

    Returns
    -------
    The estimate, and a sentence that says where it comes from.
    """
    known, where = dispersion.INDEPENDENT, "before the canary"
    if reading.history is not None:
        known = estimate(check, reading.history, reading.history_seconds, reading.history_pods)
    if known.batches < ENOUGH_BATCHES and reading.baseline is not None and reading.slices > 1:
        # Beside the canary there may be an incident, which is no burst: only where the past says too little.
        short = (reading.seconds or math.inf) < FEW_BATCHES * dispersion.BATCH_SECONDS
        beside = estimate(
            check, reading.baseline, reading.slice_seconds, reading.baseline_pods,
            SHORT_SECONDS if short else dispersion.BATCH_SECONDS,
        )  # fmt: skip
        known, where = (beside, "beside the canary") if beside.batches > known.batches else (known, where)
    if doubts and seconds is not None and reading.baseline is not None and requests_by_slice(reading.baseline).any():
        arms = (reading.history, reading.history_seconds), (reading.baseline, reading.slice_seconds)
        known = replace(known, seen=max(_seen(*arm) for arm in arms))
    doubt = "; too little of it was seen to rely on that, so that a rollback takes more" if known.unknown > 0 else ""
    if known.batches == 0:
        return known, "requests are taken to be independent: there is too little of the baseline to tell" + doubt
    if known.independent:
        return known, f"requests look independent in {known.batches} batches of the baseline {where}{doubt}"
    pods = "batches of its pods" if known.pods else "batches"
    text = f"{described(known)} (design effect, from {known.batches} {pods} {where}); evidence is reduced accordingly"
    return known, text + ("; one incident of the past is left out" if known.incident else "") + doubt


def described(known: Dispersion) -> str:
    """Return the design effect of the arm that was observed, in words."""
    effects = known.factor(known.rate * np.asarray(known.seconds), known.seconds)
    return (
        f"the variance of the baseline's counts is up to {effects[0]:.3g} times that of independent requests in "
        f"{format_seconds(known.seconds[0])}, {effects[-1]:.3g} times in {format_seconds(known.seconds[-1])}"
    )


def _seen(counts: Counts | None, slice_seconds: float | None) -> float:
    """Return the seconds with requests; a single sum shows nothing."""
    requests = np.zeros(0) if counts is None else requests_by_slice(counts)
    return float(np.count_nonzero(requests)) * (slice_seconds or dispersion.BATCH_SECONDS) if len(requests) > 1 else 0.0


def estimate(
    check: Check,
    counts: Counts,
    slice_seconds: float | None,
    pods: tuple[Pod[Counts], ...] = (),
    shortest: float = dispersion.BATCH_SECONDS,
) -> Dispersion:
    """Estimate the design effect from the counts of one arm and of its pods, for what the check judges.

    Parameters
    ----------
    shortest : seconds of the shortest batches
    """
    length = slice_seconds or dispersion.BATCH_SECONDS
    batch_seconds = length * max(1, round(shortest / length))
    if isinstance(counts, Values) and counts.squares is not None:
        columns = in_batches(np.column_stack([counts.total, counts.squares, counts.count]), slice_seconds, shortest)
        return of_values(columns[:, 0], columns[:, 1], columns[:, 2], batch_seconds)
    if isinstance(counts, Values | MeanOnly):
        return dispersion.INDEPENDENT
    streams = (counts, *(pod.counts for pod in pods))
    tables = [in_batches(_table(check, stream, counts), slice_seconds, shortest) for stream in streams]
    return of_counts(tables[0], batch_seconds, tables[1:])


def cluster_size(check: Check, counts: Counts, slice_seconds: float) -> float:
    """Return how many events come together, as batches that follow each other show it; 1 for values."""
    if isinstance(counts, Values | MeanOnly):
        return 1.0
    return of_neighbours(in_batches(_table(check, counts, counts), slice_seconds))


def _table(check: Check, counts: Counts, whole: Counts) -> Floats:
    """Count what the check tells apart, shape (slices, classes); bins are chosen by the whole arm."""
    match counts:
        case Errors(bad, requests) | Conversions(bad, requests):
            return np.column_stack([bad, np.maximum(requests - bad, 0.0)])
        case Histogram() if check.kind is Kind.LATENCY:
            return _slow_and_quick(check, counts, whole)
        case Histogram() if isinstance(whole, Histogram):
            return binned(counts, cuts_of(check, whole))
        case Classes() if isinstance(whole, Classes):
            columns = [counts.names.index(name) if name in counts.names else -1 for name in whole.names]
            return np.column_stack([counts.counts, np.zeros(len(counts.counts))])[:, columns]
        case _:
            raise TypeError(f"no table of {type(counts).__name__}")


def _slow_and_quick(check: Check, counts: Histogram, whole: Counts) -> Floats:
    """Count the requests slower than an edge, and the others: the one compared, or the nearest to the quantile."""
    limits = () if check.edge is None else (check.edge,)
    tail = Tail.of(counts, limits)
    if not len(tail.edges):
        return np.zeros((0, 2))
    if check.edge is not None:
        slow = tail.above(max(tail.edge_below(check.edge), float(tail.edges[0])))
    else:
        all_of_it = Tail.of(whole, limits) if isinstance(whole, Histogram) else tail
        shares = all_of_it.slower.sum(axis=0) / max(float(all_of_it.requests.sum()), 1e-300)
        with np.errstate(divide="ignore"):
            slow = tail.slower[:, np.abs(np.log(shares) - math.log(1 - check.quantile_level)).argmin()]
    return np.column_stack([slow, tail.requests - slow])
