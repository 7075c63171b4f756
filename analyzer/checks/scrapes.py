"""A change of both arms that one arm's scrapes show first is no difference of the arms.

Each pod counts what it served since its last scrape, and pods are scraped at different moments: where a new client, or
a slow database, changes what both arms serve, for the time between two scrapes only one of them seems to have changed.
Checks that count events allow for that by `Segments.edges`; here it is done for those that compare distributions.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from analyzer.checks.decision import UNDECIDED_AT_MOST
from analyzer.checks.segments import EARLY
from analyzer.model.counts import Classes, Conversions, Counts, Errors, Floats, Histogram, Reading, where
from analyzer.model.findings import Code, Evidence, Finding, Outcome

WINDOW = 2  # neighbouring slices, in which arms that are scraped in turn may show different parts of a change
CHANGES = 3  # of what both arms share, that are looked for
BECAUSE = "; without the two slices in which the arms differ most it is not: a change that both share may look so"


def lasting(finding: Finding, reading: Reading[Counts], judge: Callable[[Reading[Any]], Finding]) -> Finding:
    """Hold back a proof that the canary differs which rests on two slices: a difference of its own lasts.

    Parameters
    ----------
    finding : on the reading
    judge : judges a reading
    """
    if (
        finding.code is not Code.PROVED_BAD
        or reading.scrape_seconds is None
        or reading.canary is None
        or reading.baseline is None
        or isinstance(reading.canary, Errors | Conversions)
        or (reading.lengths is not None and reading.lengths.sum() < EARLY)
    ):
        return finding
    rests = _without_most_different(reading, reading.canary, reading.baseline)
    if reading.slices > WINDOW and all(judge(rest).outcome is Outcome.FAIL for rest in rests):
        return finding
    evidence = Evidence(finding.evidence.towards_pass, min(finding.evidence.towards_fail, UNDECIDED_AT_MOST))
    headline, reason = (text and text + BECAUSE for text in (finding.headline, finding.reason))
    return replace(
        finding, outcome=Outcome.INCONCLUSIVE, code=Code.UNDECIDED, headline=headline, reason=reason,
        evidence=evidence, remaining_requests=None, remaining_range=(None, None),
    )  # fmt: skip


def _without_most_different(reading: Reading[Any], canary: Counts, baseline: Counts) -> Iterator[Reading[Any]]:
    """Leave out each of the windows in which the arms differ most: an incident has a start and an end."""
    differences = _differences(canary, baseline)
    for _ in range(CHANGES):
        first = int(differences.argmax())
        differences[max(0, first - WINDOW + 1) : first + WINDOW] = -np.inf
        kept = np.ones(reading.slices, bool)
        kept[first : first + WINDOW] = False
        ours, theirs = (
            tuple(replace(pod, counts=where(pod.counts, kept)) for pod in pods)
            for pods in (reading.canary_pods, reading.baseline_pods)
        )
        yield replace(
            reading, canary=where(canary, kept), baseline=where(baseline, kept),
            canary_pods=ours, baseline_pods=theirs,
        )  # fmt: skip


def _differences(canary: Counts, baseline: Counts) -> Floats:
    """Return how much the arms differ in each window, over what chance makes of it; shape (slices - WINDOW + 1,)."""
    (ours, n), (theirs, m) = (_windows(arm) for arm in (canary, baseline))
    pooled = (ours + theirs) / np.maximum(n + m, 1e-300)
    deviations = (ours / np.maximum(n, 1e-300) - theirs / np.maximum(m, 1e-300)) ** 2
    spread = pooled if isinstance(canary, Histogram | Classes) else np.ones_like(pooled)
    return np.asarray((deviations / np.maximum(spread, 1e-300)).sum(axis=1) * (n * m / np.maximum(n + m, 1e-300))[:, 0])


def _windows(counts: Counts) -> tuple[Floats, Floats]:
    """Return sums by bin or of values, and how many there are, in each window; shapes (windows, bins), (windows, 1)."""
    match counts:
        case Histogram() | Classes():
            rows, numbers = counts.counts, counts.counts.sum(axis=1)
        case Errors() | Conversions():
            raise TypeError(f"{type(counts).__name__} are compared event by event")
        case _:
            rows, numbers = counts.total[:, np.newaxis], counts.count
    sums = (np.lib.stride_tricks.sliding_window_view(each, WINDOW, axis=0).sum(axis=-1) for each in (rows, numbers))
    summed, total = sums
    return np.asarray(summed), np.asarray(total)[:, np.newaxis]
