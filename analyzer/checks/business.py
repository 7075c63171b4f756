"""The business proxy: conversions or values of the canary against the baseline's; less is worse."""

import math
from dataclasses import dataclass

import numpy as np

from analyzer.checks import comparison, late_events
from analyzer.checks.correlation import correlation_of
from analyzer.checks.decision import Question, Terms, decide, format_count
from analyzer.checks.negative_control import control_of_comparison
from analyzer.checks.segments import Segments
from analyzer.checks.wording import no_traffic, undecidable
from analyzer.config.policy import Check
from analyzer.model.counts import Conversions, Counts, Floats, Reading, Values, requests_by_slice
from analyzer.model.findings import Code, Estimate, Finding
from analyzer.stats import means, share
from analyzer.stats.dispersion import Dispersion
from analyzer.stats.search import Side
from analyzer.stats.shared_rate import Differences

# Losses of a few percent to nearly half; a proof that there is none needs finer alternatives.
REACH: dict[Side, share.Reach] = {"below": (0.02, 0.6), "above": (0.004, 0.6)}
SPREADS = (0.05, 0.5)  # of the ratio of means: changes of a few percent, and collapses
FEWEST = 30  # contributing values an arm, below which the normal law says nothing
ASSUMPTION = (
    f"requests reach canary or baseline at random; sums follow the normal law, from {FEWEST} contributing values on"
)


def judge(check: Check, reading: Reading[Conversions | Values], terms: Terms) -> Finding:
    """Judge the relative change of a rate or a mean, compared within each slice."""
    canary, baseline = reading.canary, reading.baseline
    if canary is None or requests_by_slice(canary).sum() <= 0:
        return no_traffic(check, "canary", "business events")
    if baseline is None or requests_by_slice(baseline).sum() <= 0:
        return no_traffic(check, "baseline", "business events")
    if isinstance(canary, Conversions) and isinstance(baseline, Conversions):
        if canary.successes.sum() + baseline.successes.sum() <= 0:
            reason = "neither arm has a conversion yet: nothing to compare"
            return undecidable(check, Code.NO_BASELINE_TRAFFIC, reason)
        return late_events.judge(check, reading, canary, baseline, terms, REACH)
    if isinstance(canary, Values) and isinstance(baseline, Values):
        return _judge_values(check, reading, canary, baseline, terms)
    raise TypeError("one arm has conversions and the other values")


@dataclass(frozen=True)
class Means:
    """A measure (see `decision`) of the relative change of a mean.

    Attributes
    ----------
    values : relative changes since each start, nan where an arm has none
    requests : values of the canary since each start
    sizes : of the comparison since each start, n m / (n + m) of n and m values, less for overdispersion
    variation : squared coefficient of variation
    contributing : values that the smaller of the sums comes from, since each start, see `means.contributing`
    """

    values: Floats
    requests: Floats
    sizes: Floats
    variation: float
    contributing: Floats

    def log_evidence(self, limit: float, side: Side) -> Floats:
        """Give the log evidence since each start; -inf where an arm has too few values for the normal law."""
        usable = (self.sizes > FEWEST / 2) & (self.contributing >= FEWEST) & ~np.isnan(self.values)
        changes, sizes = np.where(usable, self.values, 0.0), np.where(usable, self.sizes, 1.0)
        return np.where(usable, self._log_evidence(changes, limit, side, sizes), -math.inf)

    def forecast(self, limit: float, side: Side, start: int, scale: Floats) -> Floats:
        """Give the log evidence since one start, were all counts `scale` times as large."""
        if math.isnan(self.values[start]):
            return np.full(np.shape(scale), -math.inf)
        return self._log_evidence(self.values[start], limit, side, self.sizes[start] * scale)

    def information(self, limit: float, side: Side, start: int, deviations: float) -> float:  # noqa: ARG002
        """Give the evidence of a value from the distance of the change in standard errors."""
        error = math.sqrt(max(self.variation, 1e-12) / float(self.sizes[start]))
        distance = (float(self.values[start]) - limit) / (1 + limit) + deviations * error
        return math.copysign((distance / error) ** 2 / 2 / float(self.requests[start]), distance)

    def _log_evidence(self, changes: Floats, limit: float, side: Side, sizes: Floats) -> Floats:
        return means.log_evidence(1 + changes, 1 + limit, sizes, variation=self.variation, spreads=SPREADS, side=side)


def _judge_values(
    check: Check, reading: Reading[Conversions | Values], canary: Values, baseline: Values, terms: Terms
) -> Finding:
    segments = Segments.of(reading, at_this_weight=terms.at_this_weight, elapsed_seconds=terms.elapsed_seconds)
    moments = _moments(canary), _moments(baseline)
    start = segments.present
    arms = _estimates(canary, baseline, segments, start)
    problem = _unusable(moments)
    if problem or moments[0] is None or moments[1] is None:
        return undecidable(check, Code.UNDECIDED, problem, canary=arms[0], baseline=arms[1], notes=reading.notes)
    variation = means.variation_squared(moments[0], moments[1])
    correlation, source = correlation_of(check, reading, segments.seconds, doubts=terms.doubts)
    measure = _means(canary, baseline, segments, correlation, variation)
    if math.isnan(measure.values[start]):
        return comparison.nothing_at_once(check, segments, reading.notes)

    def comparing(pod: Counts, others: Counts, of: Segments) -> Means:
        if not isinstance(pod, Values) or not isinstance(others, Values):
            raise TypeError("one arm has conversions and the other values")
        return _means(pod, others, of, correlation, variation)

    question = Question(
        measure, check.promote, check.rollback, "below", segments,
        control=control_of_comparison(reading, measure, comparing, "below", segments), dispersion=correlation,
    )  # fmt: skip
    decision = decide(check, question, terms)
    start = decision.start
    interval = means.ratio_interval(
        1 + decision.value, float(measure.sizes[start]), variation=variation, spreads=SPREADS,
        alpha_low=decision.alpha_low, alpha_high=decision.alpha_high,
    )  # fmt: skip
    arms = _estimates(canary, baseline, segments, start)
    text = f"mean {arms[0].value or 0:.4g} of {format_count(arms[0].n)} canary values{segments.when(start)}"
    versus = f" (baseline {arms[1].value or 0:.4g} of {format_count(arms[1].n)})"
    return comparison.relative_finding(
        check, question, decision, (text, versus), arms, interval, reading.notes, (source, ASSUMPTION)
    )


def _means(canary: Values, baseline: Values, segments: Segments, correlation: Dispersion, variation: float) -> Means:
    """Compare the means within slices, since each start."""
    both, since = share.paired(canary.count, baseline.count), segments.since
    counts = canary.count * both, baseline.count * both
    ours, theirs, sizes = means.weighted_sizes(counts[0] + counts[1], share.odds_of(*counts))
    totals = canary.total * both * ours, baseline.total * both * theirs
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = since(totals[0]) / since(totals[1])
    differences = Differences.of_sums(*totals, sizes=sizes, variation=variation, requests=counts)
    factors = segments.factors_beside(correlation, differences)
    usable = np.isfinite(ratios) & (ratios > 0) & (since(counts[0]) > 0) & (since(counts[1]) > 0)
    values = np.where(usable, ratios - 1, np.nan)
    squares = [
        since(np.full_like(arm.count, np.inf) if arm.squares is None else arm.squares) for arm in (canary, baseline)
    ]
    sums, numbers = [since(arm.total) for arm in (canary, baseline)], since(canary.count + baseline.count)
    contributing = np.minimum(*map(means.contributing, sums, squares))
    # While hardly any value is above zero, as in an outage, values vary far more, beside their mean, than over all.
    together = means.contributing(np.sum(sums, axis=0), np.sum(squares, axis=0))
    usual = max(variation, 1e-12)  # values may all be equal
    less = usual / np.maximum(numbers / np.maximum(together, 1e-300) - 1, usual)
    worth = np.maximum(since(sizes) * less / factors, 1e-300)
    return Means(values, since(canary.count), worth, variation, contributing)


def _estimates(canary: Values, baseline: Values, segments: Segments, start: int) -> tuple[Estimate, Estimate]:
    """Give the mean of each arm since a start."""
    estimates = []
    for arm in (canary, baseline):
        total, count = float(segments.since(arm.total)[start]), float(segments.since(arm.count)[start])
        estimates.append(Estimate(value=total / count if count > 0 else None, n=count))
    return estimates[0], estimates[1]


def _moments(arm: Values) -> means.Moments | None:
    if arm.squares is None or not math.isfinite(float(arm.squares.sum())):
        return None
    return means.Moments(float(arm.total.sum()), float(arm.squares.sum()), float(arm.count.sum()))


def _unusable(moments: tuple[means.Moments | None, means.Moments | None]) -> str:
    if moments[0] is None or moments[1] is None:
        return (
            "the spread of the values is not known: values lie in the histogram's +Inf bucket or below 0 in its first "
            "one, or the source has no sum of squares; add bucket edges beyond the smallest and the largest value"
        )
    for arm, arm_moments in zip(("canary", "baseline"), moments, strict=True):
        if arm_moments is None or arm_moments.total <= 0:
            return f"the mean of the {arm}'s values is not positive: a relative change says nothing"
        contributing = float(means.contributing(np.array(arm_moments.total), np.array(arm_moments.squares)))
        if contributing < FEWEST:
            return (
                f"the {arm}'s sum comes from about {format_count(contributing)} values: the comparison of means "
                f"needs at least {FEWEST} that contribute"
            )
    return ""
