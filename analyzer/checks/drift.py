"""How far the canary's predictions are from the baseline's, as the population stability index (PSI)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np

from analyzer.checks.binning import binned, cuts_of
from analyzer.checks.correlation import correlation_of
from analyzer.checks.decision import UNDECIDED_AT_MOST, Decision, Question, Terms, decide, format_count
from analyzer.checks.latency import buckets_differ
from analyzer.checks.negative_control import Control, control_of_comparison
from analyzer.checks.segments import Segments
from analyzer.checks.single_bins import PART, SingleBins
from analyzer.checks.wording import conclusion, decided, no_traffic, ranked, undecidable
from analyzer.config.policy import Check
from analyzer.model.counts import Classes, Counts, Floats, Histogram, Reading
from analyzer.model.findings import Code, Estimate, Evidence, Finding, Outcome, Rule
from analyzer.quantity import format_psi, format_ratio
from analyzer.stats import psi, share
from analyzer.stats.dispersion import Dispersion
from analyzer.stats.search import Side

FEWEST = 30  # predictions an arm, below which the chi-square law says nothing
PASS_FACTOR = 0.6  # a rare bin that grows lets a PSI at the limit pass 1.6 times as often as the law says
# So among 1,000 Zipf classes a pass takes 200 predictions without a drift. 165 would do at a factor of 1, where one
# that knows 100 of the classes passes in 1.6% instead of 0.5%; 120 only at a level of 11%, where it passes in 5%.
NAMED = 2  # bins in the reason of a fail
CANDIDATES = 4  # starts whose evidence is computed: those that speak most for a drift by a rough formula
ASSUMPTION = (
    "the bins were fixed before the rollout; the PSI of the counts follows its limit law (noncentral chi-square), from "
    f"{FEWEST} predictions on"
)


@dataclass(frozen=True)
class Drifts:
    """A measure (see `decision`) of the PSI.

    Attributes
    ----------
    distances : PSI since each start
    requests : predictions of the canary since each start
    doubt : by which evidence for a rollback is divided, since each start
    """

    distances: psi.Distance
    requests: Floats
    doubt: Floats

    @cached_property
    def values(self) -> Floats:
        """Give the PSI without its bias; nan where an arm has too few predictions."""
        return np.where(self._usable, self.distances.value, np.nan)

    @cached_property
    def _usable(self) -> Floats:
        return np.asarray((self.distances.size >= FEWEST / 2) & (self.distances.freedom >= 1))

    def log_evidence(self, limit: float, side: Side) -> Floats:
        """Give the log evidence since the starts that speak most for it; -inf for the others, which is cautious."""
        distance = np.sqrt(np.where(self.values > 0, self.values, 0.0)) - math.sqrt(limit)
        rough = np.where(self._usable, self.distances.size * distance * np.abs(distance), -np.inf)
        chosen = np.argsort(-rough / self.doubt if side == "above" else rough, kind="stable")[:CANDIDATES]
        evidence = np.full(len(self.requests), -math.inf)
        starts = np.unique(np.append(chosen, 0))
        starts = starts[self._usable[starts]]
        for freedom in set(self.distances.freedom[starts].tolist()):
            same = starts[self.distances.freedom[starts] == freedom]
            evidence[same] = psi.log_evidence(
                self.distances.raw[same], freedom, self.distances.size[same], limit, side=side
            )
        return evidence

    def forecast(self, limit: float, side: Side, start: int, scale: Floats) -> Floats:
        """Give the log evidence since one start, were all counts `scale` times as large."""
        if not self._usable[start]:
            return np.full(np.shape(scale), -math.inf)
        # With more predictions of the same kind the PSI stays where it is and its bias shrinks.
        distance = self.distances.at(start)
        lasting = max(float(distance.value), 0.0)
        raw = lasting + (distance.raw - lasting) / scale
        return psi.log_evidence(raw, int(distance.freedom), distance.size * scale, limit, side=side)

    def information(self, limit: float, side: Side, start: int, deviations: float) -> float:  # noqa: ARG002
        """Give the evidence of a prediction from the distance of the square roots in standard errors."""
        root = math.sqrt(max(float(self.distances.value[start]), 0.0)) + deviations / math.sqrt(
            float(self.distances.size[start])
        )
        distance = max(root, 0.0) - math.sqrt(limit)
        return math.copysign(distance**2 * float(self.distances.size[start] / self.requests[start]) / 2, distance)


def judge(check: Check, reading: Reading[Histogram | Classes], terms: Terms) -> Finding:
    """Judge the PSI on the predictions of all slices, and of those since each start."""
    canary, baseline = reading.canary, reading.baseline
    if canary is None or canary.counts.sum() <= 0:
        return no_traffic(check, "canary", "predictions")
    if baseline is None or baseline.counts.sum() <= 0:
        return no_traffic(check, "baseline", "predictions")
    if differing := _buckets_differ(check, canary, baseline):
        return differing
    ours, theirs, labels = _in_bins(check, canary, baseline, reading.history)
    segments = Segments.of(reading, at_this_weight=terms.at_this_weight, elapsed_seconds=terms.elapsed_seconds)

    known, source = correlation_of(check, reading, segments.seconds, doubts=terms.doubts)
    distances, counts = _distances(ours, theirs, segments, known)
    start, requests, others = segments.present, segments.since(ours.sum(axis=1)), segments.since(theirs.sum(axis=1))
    seen = float(requests[start]), float(others[start])
    arms = Estimate(n=seen[0]), Estimate(n=seen[1])
    if problem := _too_little(distances.at(start), *seen):
        return undecidable(check, Code.UNDECIDED, problem, canary=arms[0], baseline=arms[1], notes=reading.notes)
    terms = replace(terms, passing=terms.passing * PASS_FACTOR)
    measure = Drifts(distances, requests, known.doubt(requests))

    def against(pod: Counts, others: Counts, of: Segments) -> _Against:
        return _Against.of(check, (_predictions(pod), _predictions(others)), reading.history, of, known)

    question = Question(
        measure, check.promote, check.rollback, "above", segments, dispersion=known,
        control=control_of_comparison(
            reading, measure, lambda *pods: against(*pods).drifts, "above", segments
        ),
    )  # fmt: skip
    decision = decide(check, question, replace(terms, fail=terms.fail * (1 - PART)))
    bins = SingleBins(*counts, labels, segments.starts)
    placebo = control_of_comparison(reading, measure, against, "above", segments)
    decision, single = _with_single_bins(check, decision, question, bins, terms, placebo)
    start = decision.start
    low, high = psi.interval(distances.at(start), alpha_low=decision.alpha_low, alpha_high=decision.alpha_high)
    ending = single or conclusion(check, decision, question, lambda limit: f"{limit:g}")
    if decision.outcome is Outcome.FAIL and not single:
        ending += _mostly(distances.per_bin[start], counts, start, labels)
    seen_then = format_count(float(measure.requests[start]))
    reason = (
        f"PSI {format_psi(max(decision.value, 0.0))} of {seen_then} canary predictions{segments.when(start)}, {ending}"
    )
    estimate = Estimate(value=max(decision.value, 0.0), low=low, high=high, n=float(measure.requests[start]))
    theirs_n = float(others[start])
    return decided(
        check, question, decision, reason, (estimate, Estimate(n=theirs_n)),
        notes=reading.notes, assumptions=(source, ASSUMPTION),
    )  # fmt: skip


@dataclass(frozen=True)
class Bins:
    """Both arms' predictions by bin.

    Attributes
    ----------
    labels : of the bins
    canary, baseline : shares of the arm's predictions, the baseline's weighted to the canary's profile over time;
        shape (bins,)
    psi : what each bin adds to the PSI, before its bias is taken off; shape (bins,)
    """

    labels: tuple[str, ...]
    canary: Floats
    baseline: Floats
    psi: Floats


def bins_of(check: Check, reading: Reading[Histogram | Classes], first: int = 0) -> Bins | None:
    """Compare the arms bin by bin from a slice on; None where they cannot be compared."""
    canary, baseline = reading.canary, reading.baseline
    if canary is None or baseline is None or canary.counts.sum() <= 0 or baseline.counts.sum() <= 0:
        return None
    if _buckets_differ(check, canary, baseline):
        return None
    ours, theirs, labels = _in_bins(check, canary, baseline, reading.history)
    ours, theirs = _weighted(ours[first:], theirs[first:])[:2]
    totals = ours.sum(), theirs.sum()
    if min(totals) <= 0:
        return None
    distance = psi.distance(ours.sum(axis=0), theirs.sum(axis=0))
    return Bins(labels, ours.sum(axis=0) / totals[0], theirs.sum(axis=0) / totals[1], distance.per_bin)


@dataclass(frozen=True)
class _Against:
    """A pod against the others, as a canary is against its baseline: a change (see `negative_control`) of single bins.

    Attributes
    ----------
    drifts : the PSI
    bins : its single bins
    strict : whether the rule asks for proof beyond the rollback limit
    """

    drifts: Drifts
    bins: SingleBins
    strict: bool

    @classmethod
    def of(
        cls, check: Check, pods: tuple[Histogram | Classes, Histogram | Classes], history: Histogram | Classes | None,
        segments: Segments, known: Dispersion,
    ) -> Self:  # fmt: skip
        """Compare a pod with the others in the bins of the check."""
        ours, theirs, labels = _in_bins(check, *pods, history)
        distances, counts = _distances(ours, theirs, segments, known)
        requests = segments.since(ours.sum(axis=1))
        drifts = Drifts(distances, requests, np.ones(len(requests)))
        return cls(drifts, SingleBins(*counts, labels, segments.starts), check.rule is Rule.STRICT)

    @property
    def values(self) -> Floats:
        """Return the PSI since each start."""
        return self.drifts.values

    def log_evidence(self, limit: float, side: Side) -> Floats:  # noqa: ARG002
        """Return the log evidence of the strongest single bin since each start."""
        return self.bins.strongest(strict=self.strict)


def _predictions(counts: Counts) -> Histogram | Classes:
    if not isinstance(counts, Histogram | Classes):
        raise TypeError(f"a drift cannot be judged on {type(counts).__name__}")
    return counts


def _buckets_differ(check: Check, canary: Histogram | Classes, baseline: Histogram | Classes) -> Finding | None:
    if isinstance(canary, Histogram) and isinstance(baseline, Histogram):
        return buckets_differ(check, canary, baseline)
    return None


def _in_bins(
    check: Check, canary: Histogram | Classes, baseline: Histogram | Classes, history: Histogram | Classes | None
) -> tuple[Floats, Floats, tuple[str, ...]]:
    """Count both arms in the same bins, a row a slice, and name the bins."""
    if isinstance(canary, Histogram) and isinstance(baseline, Histogram):
        cuts = cuts_of(check, history if isinstance(history, Histogram) else baseline)
        edges = canary.edges[:-1] if cuts is None else cuts
        lower = [f"{edge:.3g}" for edge in edges]
        labels = [f"≤ {lower[0]}", *(f"{a} to {b}" for a, b in pairwise(lower)), f"> {lower[-1]}"] if lower else ["all"]
        return binned(canary, cuts), binned(baseline, cuts), tuple(labels)
    if isinstance(canary, Classes) and isinstance(baseline, Classes):
        names = tuple(sorted({*canary.names, *baseline.names}))
        return _by_class(canary, names), _by_class(baseline, names), names
    raise TypeError("one arm has scores and the other classes")


def _weighted(ours: Floats, theirs: Floats) -> tuple[Floats, Floats, Floats]:
    """Keep the slices that both arms share, and weight the baseline to the canary's profile over time."""
    both = share.paired(ours.sum(axis=1), theirs.sum(axis=1))[:, np.newaxis]
    ours, theirs = ours * both, theirs * both
    weighted, squares = psi.standardised(theirs, share.odds_of(ours.sum(axis=1), theirs.sum(axis=1)))
    return ours, weighted, squares


def _with_single_bins(
    check: Check, decision: Decision, question: Question, bins: SingleBins, terms: Terms,
    placebo: Callable[[float, float, int], Control | None],
) -> tuple[Decision, str]:  # fmt: skip
    """Let single bins fail what the PSI does not see, and keep it from passing; say why, where they do.

    Parameters
    ----------
    placebo : judges the single bins of the baseline's pods, as `Question.control`
    """
    measure = question.measure
    worst = bins.worst(check, terms.fail, question.doubt(check, measure.requests))
    evidence = Evidence(
        decision.evidence.towards_pass, max(decision.evidence.towards_fail, min(worst.part, UNDECIDED_AT_MOST))
    )
    if worst.part >= 1 and decision.outcome is not Outcome.FAIL and check.rule is not Rule.POINT:
        level = terms.fail * PART
        control = placebo(check.promote, level, worst.start)
        if control is not None and worst.part - control.log_evidence / -math.log(level) < 1:
            withheld = replace(
                decision, outcome=Outcome.INCONCLUSIVE, code=Code.PLACEBO_FAILED, start=worst.start, control=control,
                evidence=evidence, remaining_requests=None, remaining_range=(None, None), held_by=None,
            )  # fmt: skip
            return withheld, ""
        limit = "a quarter or twenty times, and proved beyond half or tenfold"
        failed = replace(
            decision, outcome=Outcome.FAIL, code=Code.PROVED_BAD, start=worst.start, held_by=None,
            value=float(np.nan_to_num(measure.values[worst.start])),
            control=control, evidence=replace(evidence, towards_fail=worst.part), remaining_requests=0.0,
            remaining_range=(0.0, 0.0),
        )  # fmt: skip
        return failed, f"but {worst.text}: beyond {limit}{ranked(failed)}"
    decision = replace(decision, evidence=evidence)
    if decision.outcome is not Outcome.PASS:
        return decision, ""
    held = replace(
        decision, outcome=Outcome.INCONCLUSIVE, code=Code.UNDECIDED, remaining_requests=None,
        remaining_range=(None, None), evidence=replace(evidence, towards_pass=UNDECIDED_AT_MOST),
    )  # fmt: skip
    if worst.suspect:
        return held, f"below the {check.promote:g} promote limit, and held back: {worst.text}"
    if decision.code is Code.PROVED_GOOD and (unseen := bins.unseen(decision.start, check.promote, terms.passing)):
        times, text = unseen
        if math.isinf(times):
            return held, f"but {text}: more predictions will not prove it at this value"
        more = float(measure.requests[decision.start]) * (times - 1)
        words = format_count(float(f"{more:.2g}"))
        return replace(held, remaining_requests=more), f"but {text}; about {words} more predictions needed"
    return decision, ""


def _mostly(terms: Floats, counts: tuple[Floats, Floats], start: int, labels: tuple[str, ...]) -> str:
    """Say which bins add most to the PSI, and how many of them are in one arm only."""
    canary, baseline = (arm[start] / max(float(arm[start].sum()), 1e-300) for arm in counts)
    named = [
        f"{labels[index]} {format_ratio(float(baseline[index]))} to {format_ratio(float(canary[index]))}"
        for index in np.argsort(-terms, kind="stable")[:NAMED]
        if terms[index] > 0
    ]
    new, lost = int(((baseline <= 0) & (canary > 0)).sum()), int(((canary <= 0) & (baseline > 0)).sum())
    named += [f"{count} {what}" for count, what in ((new, "new"), (lost, "unseen")) if count]
    return f"; {', '.join(named)}" if named else ""


def _distances(
    ours: Floats, theirs: Floats, segments: Segments, correlation: Dispersion
) -> tuple[psi.Distance, tuple[Floats, Floats]]:
    """Measure the PSI since each start, the baseline weighted to the canary's profile over time.

    Returns
    -------
    The distances, and the counts by bin of both arms in independent observations, of shape (starts, bins).
    """
    kept = share.paired(ours.sum(axis=1), theirs.sum(axis=1))
    requests = ours.sum(axis=1) * kept, theirs.sum(axis=1) * kept
    ours, weighted, squares = _weighted(ours, theirs)
    canary, baseline, squared = segments.since(ours), segments.since(weighted), segments.since(squares)
    worth = baseline.sum(axis=1) ** 2 / np.maximum(squared, 1e-300)
    scale = worth / np.maximum(baseline.sum(axis=1), 1e-300)  # back to counts, so that half an observation is one
    baseline = baseline * scale[:, np.newaxis]
    factors = [segments.factors(correlation, arm) for arm in requests]
    distances = psi.distance(
        canary, baseline, canary_size=canary.sum(axis=1) / factors[0], baseline_size=worth / factors[1]
    )
    return distances, (canary / factors[0][:, np.newaxis], baseline / factors[1][:, np.newaxis])


def _too_little(distance: psi.Distance, n_canary: float, n_baseline: float) -> str:
    if min(n_canary, n_baseline) < FEWEST:
        return (
            f"{format_count(n_canary)} canary and {format_count(n_baseline)} baseline predictions: a PSI needs at "
            f"least {FEWEST} of each"
        )
    if distance.freedom < 1:
        return "all predictions of both arms lie in one bin: these bins cannot show a drift, use finer ones"
    if not float(distance.size) >= FEWEST / 2:
        return "too few predictions of both arms at the same time, or in bursts: nothing to compare yet"
    return ""


def _by_class(arm: Classes, names: tuple[str, ...]) -> Floats:
    """Count by class, over all classes that either arm knows."""
    columns = dict(zip(arm.names, arm.counts.T, strict=True))
    none = np.zeros(len(arm.counts))
    return np.column_stack([columns.get(name, none) for name in names])
