"""How far requests of the same minute go together, as the baseline shows it: see `stats.dispersion`."""

import math
from dataclasses import replace

import numpy as np

from analyzer.checks.binning import binned, cuts_of
from analyzer.checks.tail import Tail
from analyzer.config.policy import Check
from analyzer.model.counts import Classes, Conversions, Counts, Errors, Floats, Histogram, MeanOnly, Reading, Values
from analyzer.model.findings import Kind
from analyzer.quantity import format_seconds
from analyzer.stats import dispersion
from analyzer.stats.dispersion import Dispersion, in_batches

ENOUGH_BATCHES = 60  # of the past, to tell without looking at what is beside the canary


def correlation_of(check: Check, reading: Reading[Counts]) -> tuple[Dispersion, str]:
    """Estimate the correlation of requests from the baseline: before the canary, or else beside it.

    Returns
    -------
    The estimate, and a sentence that says where it comes from.
    """
    known, where = Dispersion(), "before the canary"
    if reading.history is not None:
        known = estimate(check, reading.history, reading.history_seconds)
    if known.batches < ENOUGH_BATCHES and reading.baseline is not None and reading.slices > 1:
        # Beside the canary there may be an incident, which is no burst: only where the past says too little.
        beside = estimate(check, reading.baseline, reading.slice_seconds)
        known, where = (beside, "beside the canary") if beside.batches > known.batches else (known, where)
    if known.batches == 0:
        return known, "requests are taken to be independent: there is too little of the baseline to tell"
    return known, (
        f"requests of the same {_length(known)} correlate by at most {known.correlation:.2g}, from {known.batches} "
        f"batches of the baseline {where}; counts are divided by what follows from it"
    )


def _length(known: Dispersion) -> str:
    return "minute" if known.batch_seconds < 2 * dispersion.BATCH_SECONDS else format_seconds(known.batch_seconds)


def estimate(check: Check, counts: Counts, slice_seconds: float | None) -> Dispersion:
    """Estimate the correlation from the counts of one arm, for what the check judges."""
    length = slice_seconds or dispersion.BATCH_SECONDS
    batch_seconds = length * max(1, round(dispersion.BATCH_SECONDS / length))
    match counts:
        case Errors(bad, requests) | Conversions(bad, requests):
            table = np.column_stack([bad, np.maximum(requests - bad, 0.0)])
        case Histogram() if check.kind is Kind.LATENCY:
            table = _slow_and_quick(check, counts)
        case Histogram():
            table = binned(counts, cuts_of(check, counts))
        case Classes():
            table = counts.counts
        case Values(total, squares, count) if squares is not None:
            columns = in_batches(np.column_stack([total, squares, count]), slice_seconds)
            return replace(dispersion.of_values(*columns.T), batch_seconds=batch_seconds)
        case Values() | MeanOnly():
            return Dispersion()
    return replace(dispersion.of_counts(in_batches(table, slice_seconds)), batch_seconds=batch_seconds)


def _slow_and_quick(check: Check, counts: Histogram) -> Floats:
    """Count the requests slower than an edge, and the others: the one compared, or the nearest to the quantile."""
    limits = () if check.edge is None else (check.edge,)
    tail = Tail.of(counts, limits)
    if not len(tail.edges):
        return np.zeros((0, 2))
    if check.edge is not None:
        slow = tail.above(max(tail.edge_below(check.edge), float(tail.edges[0])))
    else:
        shares = tail.slower.sum(axis=0) / max(float(tail.requests.sum()), 1e-300)
        with np.errstate(divide="ignore"):
            slow = tail.slower[:, np.abs(np.log(shares) - math.log(1 - check.quantile_level)).argmin()]
    return np.column_stack([slow, tail.requests - slow])
