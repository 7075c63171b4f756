"""The mean latency against limits, or against the baseline's: where a stack counts no histogram.

What is judged are slices of time, put together until each has enough requests: see `stats.slice_means`.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from analyzer.checks import comparison
from analyzer.checks.decision import Decision, Question, Terms, decide, format_count
from analyzer.checks.negative_control import control_of_comparison
from analyzer.checks.segments import Indices, Segments
from analyzer.checks.shared_trouble import beyond_as_well
from analyzer.checks.wording import conclusion, decided, no_traffic, undecidable
from analyzer.config.policy import Check
from analyzer.model.counts import Counts, MeanOnly, Reading
from analyzer.model.findings import Code, Estimate, Finding, Outcome, Rule
from analyzer.quantity import format_seconds
from analyzer.stats import share, split
from analyzer.stats.dispersion import BATCH_SECONDS
from analyzer.stats.search import Bools, Floats, Side
from analyzer.stats.slice_means import FEWEST, MOST_A_BATCH, SliceMeans, batches_of

PASS_FACTOR = 0.6  # a tail that did not show yet lets a mean at the limit pass up to 1.6 times as often
TAIL = "a mean says nothing about the slowest requests"
RANDOM = "requests reach canary or baseline at random"


def judge(check: Check, reading: Reading[MeanOnly], terms: Terms) -> Finding:
    """Judge the mean on all slices, and on those since each start."""
    canary, baseline = reading.canary, reading.baseline
    if canary is None or canary.count.sum() <= 0:
        return no_traffic(check, "canary", "requests")
    if baseline is not None and baseline.count.sum() <= 0:
        baseline = None
    for arm, counts in (("canary", canary), ("baseline", baseline)):
        if counts is not None and counts.total.sum() <= 0:
            reason = (
                f"the latencies of {format_count(float(counts.count.sum()))} {arm} requests add up to 0: their sum is "
                "not counted, look at the profile and the metric"
            )
            return undecidable(check, Code.INCONSISTENT_DATA, reason, notes=reading.notes)
    terms = replace(terms, passing=terms.passing * PASS_FACTOR)
    segments = Segments.of(reading, at_this_weight=terms.at_this_weight, elapsed_seconds=terms.elapsed_seconds)
    if check.compares:
        if baseline is None:
            return no_traffic(check, "baseline", "requests")
        return _judge_change(check, reading, _Arms.of(reading, canary, baseline), segments, terms)
    return _judge_mean(check, reading, (canary, baseline), segments, terms)


@dataclass(frozen=True)
class Mean:
    """A measure (see `decision`) of a mean in seconds, or of its relative change.

    Attributes
    ----------
    known : the means of the batches
    segments : since when they count
    counts : requests of the canary; shape (slices,)
    unchanged : what the ratio is where the value is 0: 1 for changes, 0 for means
    """

    known: SliceMeans
    segments: Segments
    counts: Floats
    unchanged: float = 0.0

    @cached_property
    def requests(self) -> Floats:
        """Give the canary's requests since each start."""
        return self.segments.since(self.counts)

    @cached_property
    def values(self) -> Floats:
        """Give the estimates since each start; nan for a start within a batch."""
        return self.known.ratios(self.segments.starts.slice_indices) - self.unchanged

    def log_evidence(self, limit: float, side: Side) -> Floats:
        """Give the log evidence since each start; -inf for a start within a batch."""
        return self.known.log_evidence(self.unchanged + limit, side, self.segments.starts.slice_indices)

    def forecast(self, limit: float, side: Side, start: int, scale: Floats) -> Floats:
        """Give the log evidence since one start, were there `scale` times as many batches; a part of one counts so."""
        begun = min(float(self.requests[start]) / FEWEST, 1.0)
        return self.known.forecast(self.unchanged + limit, side, self._index(start), begun * np.asarray(scale, float))

    def information(self, limit: float, side: Side, start: int, deviations: float) -> float:  # noqa: ARG002
        """Give the evidence of a request from the distance in standard errors, and what batches can tell at most."""
        slice_index = self._index(start)
        distance = self.known.deviation(self.unchanged + limit, slice_index) + deviations
        most = MOST_A_BATCH * float((self.known.first >= slice_index).sum())
        return math.copysign(min(distance**2 / 2, most) / float(self.requests[start]), distance)

    def interval(self, decision: Decision) -> tuple[float, float]:
        """Bound the mean, or the ratio, since the start of a decision."""
        levels = {"alpha_low": decision.alpha_low, "alpha_high": decision.alpha_high}
        return self.known.interval(self._index(decision.start), **levels)

    def _index(self, start: int) -> int:
        return int(self.segments.starts.slice_indices[start])


def mean_of(arm: MeanOnly, segments: Segments, start: int) -> Mean:
    """Measure the mean of one arm, with batches that begin at a start.

    They last a minute at least: the mean of a service moves, and what moves it may last as long.
    """
    least = round(BATCH_SECONDS / (segments.slice_seconds or BATCH_SECONDS))
    first = batches_of(arm.count, int(segments.starts.slice_indices[start]), max(least, 1))
    total, count = (np.add.reduceat(sums, first) for sums in (arm.total, arm.count))
    return Mean(SliceMeans(_ratio(total, count), np.ones(len(first)), count, first), segments, arm.count)


@dataclass(frozen=True)
class _Arms:
    """Both arms side by side.

    Attributes
    ----------
    canary, baseline : counts in time slices
    together : slices that hold a scrape of every pod: shorter ones may show one arm alone
    """

    canary: MeanOnly
    baseline: MeanOnly
    together: int

    @classmethod
    def of(cls, reading: Reading[MeanOnly], canary: MeanOnly, baseline: MeanOnly) -> Self:
        """Take the arms of a reading."""
        seconds = reading.slice_seconds or math.inf
        return cls(canary, baseline, max(1, round((reading.scrape_seconds or 0.0) / seconds)))

    def beside(self, *, steady: bool = False) -> Bools:
        """Tell the slices around which both arms have traffic, and within which its split stood still if so asked."""
        slices = len(self.canary.count)
        first = np.arange(0, slices, self.together)
        ours, theirs = (np.add.reduceat(arm.count, first) for arm in (self.canary, self.baseline))
        both = share.paired(ours, theirs)
        if steady:
            both &= split.steady(ours, theirs)
        return np.repeat(both, self.together)[:slices]


def change_of(arms: _Arms, segments: Segments, *, steady: bool = False) -> Mean | None:
    """Measure the change of the mean against the baseline's in the same batch; None: never traffic at the same time.

    What moves the means of both arms cancels, so that batches may be short.

    Parameters
    ----------
    steady : leave out slices within which the split of the traffic moved
    """
    both = arms.beside(steady=steady)
    counts = arms.canary.count * both, arms.baseline.count * both
    first = batches_of(np.array(counts), int(segments.starts.slice_indices[segments.present]), arms.together)
    ours, theirs = (
        MeanOnly(np.add.reduceat(arm.total * both, first), np.add.reduceat(arm.count * both, first))
        for arm in (arms.canary, arms.baseline)
    )
    # The weights of Mantel and Haenszel: numbers of requests alone, as good as any where all requests vary alike.
    sizes = ours.count * _ratio(theirs.count, ours.count + theirs.count)
    known = SliceMeans(_ratio(ours.total, ours.count), _ratio(theirs.total, theirs.count), sizes, first)
    if not (sizes * known.reference).sum() > 0:
        return None
    return Mean(known, segments, counts[0], unchanged=1.0)


@dataclass(frozen=True)
class _Beside:
    """The mean of a pod (see `negative_control`), where the others are within the limit: else it is the service."""

    pod: Mean
    others: Mean

    @property
    def values(self) -> Floats:
        """Return the pod's means since each start."""
        return self.pod.values

    def log_evidence(self, limit: float, side: Side) -> Floats:
        """Return the log evidence against the pod since each start."""
        return np.where(self.others.values > limit, -math.inf, self.pod.log_evidence(limit, side))


def _means(counts: Counts) -> MeanOnly:
    if not isinstance(counts, MeanOnly):
        raise TypeError(f"a mean cannot be judged on {type(counts).__name__}")
    return counts


def _judge_mean(
    check: Check,
    reading: Reading[MeanOnly],
    arms: tuple[MeanOnly, MeanOnly | None],
    segments: Segments,
    terms: Terms,
) -> Finding:
    canary, baseline = arms
    measure, shared = mean_of(canary, segments, segments.present), None
    if baseline is not None:
        limit = check.rollback if check.rule is Rule.STRICT else check.promote
        shared = _SharedTrouble(_Arms.of(reading, canary, baseline), segments, limit, terms, reading.history)

    def beside(pod: Counts, others: Counts, of: Segments) -> _Beside:
        return _Beside(*(mean_of(_means(arm), of, of.present) for arm in (pod, others)))

    question = Question(
        measure, check.promote, check.rollback, "above", segments, shared,
        control=control_of_comparison(reading, measure, beside, "above", segments),
    )  # fmt: skip
    decision = decide(check, question, terms)
    start = decision.start
    text, versus = _shown(measure, decision.value, start), ""
    estimates = _estimate(measure, decision), Estimate()
    if baseline is not None and segments.since(baseline.count)[start] > 0:
        other = mean_of(baseline, segments, start)
        estimates = estimates[0], _estimate(other, decision)
        versus = f" (baseline {format_seconds(float(other.values[start]))})"
    few = _too_few(check, measure, decision, terms)
    ending = few or conclusion(check, decision, question, format_seconds)
    decision = replace(decision, remaining_requests=None, remaining_range=(None, None)) if few else decision
    return decided(
        check, question, decision, f"{text}{versus}, {ending}", estimates,
        headline=f"{text}, {ending}", notes=reading.notes, assumptions=(_symmetry(measure), TAIL),
    )  # fmt: skip


def _judge_change(check: Check, reading: Reading[MeanOnly], arms: _Arms, segments: Segments, terms: Terms) -> Finding:
    measure = change_of(arms, segments)
    if measure is None or measure.requests[segments.present] <= 0 or math.isnan(measure.values[segments.present]):
        return comparison.nothing_at_once(check, segments, reading.notes)

    def comparing(pod: Counts, others: Counts, of: Segments) -> Mean | None:
        return change_of(_Arms(_means(pod), _means(others), arms.together), of)

    question = Question(
        measure, check.promote, check.rollback, "above", segments,
        control=control_of_comparison(reading, measure, comparing, "above", segments),
    )  # fmt: skip
    decision = decide(check, question, terms)
    start, beside = decision.start, arms.beside()
    totals, counts = ([float(segments.since(sums * beside)[start]) for sums in both] for both in zip(
        *((arm.total, arm.count) for arm in (arms.canary, arms.baseline)), strict=True
    ))  # fmt: skip
    ours, theirs = (Estimate(value=total / count, n=count) for total, count in zip(totals, counts, strict=True))
    texts = _shown(measure, ours.value or 0.0, start), f" (baseline {format_seconds(theirs.value or 0.0)})"
    assumptions = _symmetry(measure), TAIL, RANDOM
    if few := _too_few(check, measure, decision, terms):
        reason = f"{texts[0]}{texts[1]}, {few}"
        finding = undecidable(check, decision.code, reason, canary=ours, baseline=theirs, notes=reading.notes)
        return replace(finding, delta=Estimate(value=decision.value, n=ours.n))
    return comparison.relative_finding(
        check, question, decision, texts, (ours, theirs), measure.interval(decision), reading.notes, assumptions
    )


@dataclass(frozen=True)
class _SharedTrouble:
    """The test whether trouble is the service's, not the canary's, as `shared_trouble` does it for bad requests.

    Attributes
    ----------
    limit : beyond which the canary is proved to be
    terms : the level at which the canary is proved worse, and whether trouble that began with it fails
    before : the baseline before the canary; None: not known
    """

    arms: _Arms
    segments: Segments
    limit: float
    terms: Terms
    before: MeanOnly | None

    def explain(self, start: int) -> str:  # noqa: ARG002
        """Return what is known of the baseline since a start."""
        return beyond_as_well(began_with_canary=self.began_with_canary)

    @property
    def began_with_canary(self) -> bool:
        """Whether the baseline was within the limit before the canary came."""
        if self.before is None:
            return False
        requests = float(self.before.count.sum())
        return requests >= FEWEST and float(self.before.total.sum()) <= self.limit * requests

    def excused(self, starts: Indices) -> Bools:
        """Return for each start, by number, whether the baseline is beyond the limit too, and the canary no worse."""
        since, counts = self.segments.since, self.arms.baseline.count * self.arms.beside()
        profile = np.where(counts > 0, share.odds_of(self.arms.canary.count, counts), 0.0)
        beyond = since(self.arms.baseline.total * profile) > self.limit * since(counts * profile)
        bad = (since(counts) >= FEWEST)[starts] & beyond[starts]
        if self.terms.shared_regression_fails and self.began_with_canary:
            return np.zeros(len(starts), bool)
        compared = change_of(self.arms, self.segments, steady=True) if bad.any() else None
        if compared is None:
            return np.asarray(bad)
        first = compared.known.first  # a start within a batch counts from the next one on
        begins = self.segments.starts.slice_indices[starts]
        begins = first[np.minimum(np.searchsorted(first, begins), len(first) - 1)]
        evidence = compared.known.log_evidence(1.0, "above", begins)
        return np.asarray(
            bad & ~(evidence + np.log(self.segments.starts.weights[starts]) >= -math.log(self.terms.fail))
        )


def _estimate(measure: Mean, decision: Decision) -> Estimate:
    low, high = measure.interval(decision)
    value, requests = float(measure.values[decision.start]), float(measure.requests[decision.start])
    return Estimate(value=value, low=low, high=high, n=requests) if requests > 0 else Estimate()


def _shown(measure: Mean, seconds: float, start: int) -> str:
    requests = format_count(float(measure.requests[start]))
    return f"mean latency of {requests} canary requests{measure.segments.when(start)} is {format_seconds(seconds)}"


def _too_few(check: Check, measure: Mean, decision: Decision, terms: Terms) -> str:
    """Say that there are no slices, without which no number of requests proves anything."""
    slices = measure.segments
    if slices.slices > 1 or slices.slice_seconds is not None or check.rule is Rule.POINT:
        return ""
    if decision.outcome is not Outcome.INCONCLUSIVE:
        return ""
    least = math.ceil(-math.log(terms.passing) / MOST_A_BATCH)
    return (
        f"which proves nothing: one sum does not tell how much it varies; about {least} or more time slices of "
        f"{FEWEST:g} requests do, as source prometheus gives them"
    )


def _symmetry(measure: Mean) -> str:
    return (
        f"the means of {len(measure.known.first)} batches, slices of time with {FEWEST:g} requests or more, lie "
        "symmetrically about the true one and do not depend on each other"
    )


def _ratio(total: Floats, count: Floats) -> Floats:
    """Divide; 0 where there is nothing, which has no weight."""
    return np.asarray(np.divide(total, count, out=np.zeros(len(total)), where=count > 0))
