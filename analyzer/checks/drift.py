"""How far the canary's predictions are from the baseline's, as the population stability index (PSI)."""

from dataclasses import replace

import numpy as np

from analyzer.checks.decision import Question, Terms, decide, format_count
from analyzer.checks.latency import buckets_differ
from analyzer.checks.wording import conclusion, decided, no_traffic, undecidable
from analyzer.model import Classes, Code, Estimate, Finding, Histogram, Reading
from analyzer.policy import Check
from analyzer.stats import psi
from analyzer.stats.binomial import Side
from analyzer.stats.search import Floats

BINS = 10  # for samples: the customary number
FEWEST = 30  # predictions an arm, below which the chi-square law says nothing
PASS_FACTOR = 0.6  # a rare bin that grows lets a PSI at the limit pass 1.6 times as often as the law says


def judge(check: Check, reading: Reading[Histogram | Classes], terms: Terms) -> Finding:
    """Judge the PSI on the predictions summed over all slices."""
    canary, baseline = reading.canary, reading.baseline
    if canary is None or canary.counts.sum() <= 0:
        return no_traffic(check, "canary", "predictions")
    if baseline is None or baseline.counts.sum() <= 0:
        return no_traffic(check, "baseline", "predictions")
    if isinstance(canary, Histogram) and isinstance(baseline, Histogram):
        if differing := buckets_differ(check, canary, baseline):
            return differing
        ours, theirs = _bins(canary, baseline)
    elif isinstance(canary, Classes) and isinstance(baseline, Classes):
        ours, theirs = _by_class(canary, baseline)
    else:
        raise TypeError("one arm has scores and the other classes")
    found = psi.distance(ours, theirs)
    n_canary, n_baseline = float(ours.sum()), float(theirs.sum())
    if problem := _too_little(found, n_canary, n_baseline):
        seen, compared = Estimate(n=n_canary), Estimate(n=n_baseline)
        return undecidable(check, Code.UNDECIDED, problem, canary=seen, baseline=compared, notes=reading.notes)
    terms = replace(terms, passing=terms.passing * PASS_FACTOR)

    def log_evidence(limit: float, side: Side, scale: float | Floats) -> Floats:
        # With more predictions of the same kind the PSI stays where it is and its bias shrinks.
        factor, lasting = np.asarray(scale, float), max(found.value, 0.0)
        raw = lasting + (found.raw - lasting) / factor
        return psi.log_evidence(raw, found.freedom, found.size * factor, limit, side=side)

    question = Question(found.value, check.promote, check.rollback, "above", log_evidence, n_canary)
    decision = decide(check, question, terms)
    low, high = psi.interval(found, alpha_low=terms.fail, alpha_high=terms.passing)
    ending = conclusion(check, decision, question, lambda limit: f"{limit:g}")
    reason = f"PSI {max(found.value, 0.0):.3g} of {format_count(n_canary)} canary predictions, {ending}"
    estimate = Estimate(value=max(found.value, 0.0), low=low, high=high, n=n_canary)
    return decided(check, decision, reason, (estimate, Estimate(n=n_baseline)), notes=reading.notes)


def _too_little(found: psi.Distance, n_canary: float, n_baseline: float) -> str:
    if min(n_canary, n_baseline) < FEWEST:
        return (
            f"{format_count(n_canary)} canary and {format_count(n_baseline)} baseline predictions: a PSI needs at "
            f"least {FEWEST} of each"
        )
    if found.freedom < 1:
        return "all predictions of both arms lie in one bin: these bins cannot show a drift, use finer ones"
    return ""


def _bins(canary: Histogram, baseline: Histogram) -> tuple[Floats, Floats]:
    """Count by bin: the histogram's own buckets, or the deciles of the baseline where there are samples."""
    ours, theirs = canary.counts.sum(axis=0), baseline.counts.sum(axis=0)
    if not canary.exact:
        return ours, theirs
    cumulative = np.cumsum(theirs)
    wanted = np.arange(1, BINS) / BINS * cumulative[-1]
    cuts = np.unique(baseline.edges[np.searchsorted(cumulative, wanted * (1 - 1e-12))])

    def count(arm: Histogram, counts: Floats) -> Floats:
        return np.bincount(np.searchsorted(cuts, arm.edges), weights=counts, minlength=len(cuts) + 1).astype(float)

    return count(canary, ours), count(baseline, theirs)


def _by_class(canary: Classes, baseline: Classes) -> tuple[Floats, Floats]:
    """Count by class, over all classes that either arm knows."""
    names = sorted({*canary.names, *baseline.names})

    def count(arm: Classes) -> Floats:
        totals = dict(zip(arm.names, arm.counts.sum(axis=0), strict=True))
        return np.array([totals.get(name, 0.0) for name in names])

    return count(canary), count(baseline)
