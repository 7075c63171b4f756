"""The canary's rate of something against the baseline's, at the same time: limits are relative changes.

Both arms are compared within each slice of time, so that neither an incident that hits both nor a split of the traffic
that moves while the common rate does looks like a change.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analyzer.checks.correlation import correlation_of
from analyzer.checks.decision import Decision, Question, Terms, decide, format_count
from analyzer.checks.negative_control import control_of_comparison
from analyzer.checks.segments import Segments
from analyzer.checks.wording import conclusion, decided, undecidable
from analyzer.config.policy import Check
from analyzer.model.counts import Counts, Floats, Reading
from analyzer.model.findings import Code, Estimate, Finding
from analyzer.quantity import format_ratio
from analyzer.stats import share, split
from analyzer.stats.dispersion import Dispersion
from analyzer.stats.search import Side
from analyzer.stats.shared_rate import Differences

REACH: dict[Side, share.Reach] = {"above": (0.15, 4.0), "below": (0.05, 3.0)}  # rates of errors change by factors
ASSUMPTION = (
    "requests reach canary or baseline at random; the share of each slice's requests stands for the probability, which "
    "holds for rare events and is cautious for others"
)


@dataclass(frozen=True)
class Tally:
    """Events of one arm among its requests, and further ones that may be events; arrays of shape (slices,)."""

    events: Floats
    trials: Floats
    doubtful: Floats | float = 0.0


@dataclass(frozen=True)
class Rates:
    """A measure (see `decision`) of the relative change of a rate.

    Attributes
    ----------
    known : the events of both arms
    requests : of the canary, since each start
    events : of the canary and of the baseline, since each start
    """

    known: share.Comparison
    requests: Floats
    events: tuple[Floats, Floats]

    @property
    def values(self) -> Floats:
        """Give the relative changes since each start; 0 where neither arm has an event to tell them apart."""
        changes = self.known.ratios - 1
        return np.where(np.isnan(changes), 0.0, changes)

    def log_evidence(self, limit: float, side: Side) -> Floats:
        """Give the log evidence since each start."""
        return self.known.log_evidence(1 + limit, side)

    def forecast(self, limit: float, side: Side, start: int, scale: Floats) -> Floats:
        """Give the log evidence since one start, were all counts `scale` times as large."""
        return self.known.forecast(1 + limit, side, start, scale)

    def information(self, limit: float, side: Side, start: int, deviations: float) -> float:  # noqa: ARG002
        """Give the evidence of a request from the distance of the log ratio in standard errors."""
        ours, theirs = (float(events[start]) + 0.5 for events in self.events)
        error = math.sqrt((1 / ours + 1 / theirs) * float(self.known.factors[start]))
        ratio = float(self.known.ratios[start])
        middle = math.log(min(max(ratio, 1e-6), 1e6)) if not math.isnan(ratio) else 0.0
        distance = middle + deviations * error - math.log(1 + limit)
        return math.copysign((distance / error) ** 2 / 2 / float(self.requests[start]), distance)


def rates_of(
    canary: Tally,
    baseline: Tally,
    segments: Segments,
    correlation: Dispersion,
    reach: dict[Side, share.Reach] | None = None,
    *,
    steady: bool = False,
) -> Rates:
    """Put two arms side by side; the baseline needs requests.

    Parameters
    ----------
    steady : leave out slices within which the split of the traffic moved
    """
    starts, since = segments.starts, segments.since
    both = segments.near(share.paired(canary.trials, baseline.trials))
    if steady:
        slacks = split.slack(segments.lengths, segments.apart)
        if segments.scrape_seconds is not None:  # an arm without requests was not scraped
            slacks = np.where(share.paired(canary.trials, baseline.trials), slacks, math.inf)
        both &= split.steady(canary.trials, baseline.trials, slacks)
    canary, baseline = (Tally(arm.events * both, arm.trials * both) for arm in (canary, baseline))
    requests = since(canary.trials)
    odds = share.odds_of(canary.trials, baseline.trials)
    differences = Differences.of_events(canary.events, baseline.events, odds, (canary.trials, baseline.trials))
    known = share.Comparison(
        canary=canary.events, baseline=baseline.events, odds=odds, starts=starts, reach=reach or REACH,
        factors=segments.factors_beside(correlation, differences),
        edges={
            "above": segments.edges(canary.events, canary.trials, baseline.trials),
            "below": segments.edges(baseline.events, baseline.trials, canary.trials),
        },
    )  # fmt: skip
    return Rates(known, requests, (since(canary.events), since(baseline.events)))


def judge_rates(
    check: Check,
    reading: Reading[Counts],
    tally: Callable[[Counts], Tally],
    terms: Terms,
    *,
    reach: dict[Side, share.Reach],
    worse: Side,
    what: str,
) -> Finding:
    """Judge the ratio of two rates, of arms that both have requests.

    Parameters
    ----------
    tally : counts the events of an arm
    reach : changes of the log ratio that are expected, see `stats.share`
    worse : whether more ("above") or fewer ("below") events are bad
    what : the words that follow "1.62% of 865 canary", for example ``requests failed``
    """
    if reading.canary is None or reading.baseline is None:
        raise TypeError("a comparison needs both arms")
    canary, baseline = tally(reading.canary), tally(reading.baseline)
    segments = Segments.of(reading, at_this_weight=terms.at_this_weight, elapsed_seconds=terms.elapsed_seconds)
    correlation, source = correlation_of(check, reading, segments.seconds, doubts=terms.doubts)
    measure = rates_of(canary, baseline, segments, correlation, reach)
    if measure.requests[segments.present] <= 0:
        return nothing_at_once(check, segments, reading.notes)

    def comparing(pod: Counts, others: Counts, of: Segments) -> Rates:
        return rates_of(tally(pod), tally(others), of, correlation, reach)

    question = Question(
        measure, check.promote, check.rollback, worse, segments,
        control=control_of_comparison(reading, measure, comparing, worse, segments), dispersion=correlation,
    )  # fmt: skip
    decision = decide(check, question, terms)
    start = decision.start
    ours, theirs = float(measure.requests[start]), float(segments.since(baseline.trials)[start])
    ours_share = float(measure.events[0][start]) / ours if ours else 0.0
    theirs_share = float(measure.events[1][start]) / theirs if theirs else 0.0
    if sum(float(events[start]) for events in measure.events) > 0:
        interval = measure.known.interval(start, alpha_low=decision.alpha_low, alpha_high=decision.alpha_high)
    else:
        interval = 0.0, math.inf
    text = f"{format_ratio(ours_share)} of {format_count(ours)} canary {what}{segments.when(start)}"
    versus = f" (baseline {format_ratio(theirs_share)})"
    estimates = Estimate(value=ours_share, n=ours), Estimate(value=theirs_share, n=theirs)
    return relative_finding(
        check, question, decision, (text, versus), estimates, interval, reading.notes, (source, ASSUMPTION)
    )


def nothing_at_once(check: Check, segments: Segments, notes: tuple[str, ...]) -> Finding:
    """Say that the arms never had traffic at the same time, as at weight 100."""
    reason = f"canary and baseline had no traffic at the same time{segments.when(segments.present)}: nothing to compare"
    return undecidable(check, Code.NO_BASELINE_TRAFFIC, reason, notes=notes)


def relative_finding(
    check: Check,
    question: Question,
    decision: Decision,
    texts: tuple[str, str],
    arms: tuple[Estimate, Estimate],
    interval: tuple[float, float],
    notes: tuple[str, ...],
    assumptions: tuple[str, ...],
) -> Finding:
    """Put a finding on a relative change into words.

    Parameters
    ----------
    texts : what was seen of the canary, and of the baseline
    interval : of the ratio
    """
    change = "infinitely more" if math.isinf(decision.value) else format_change(decision.value)
    ending = f": {change}, {conclusion(check, decision, question, format_change)}"
    low, high = interval
    delta = Estimate(value=decision.value, low=low - 1, high=high - 1, n=arms[0].n)
    return decided(
        check, question, decision, "".join(texts) + ending, arms,
        headline=texts[0] + ending, delta=delta, notes=notes, assumptions=assumptions,
    )  # fmt: skip


def format_change(ratio: float) -> str:
    """Write a relative change with its sign."""
    return f"{ratio * 100:+,.0f}%" if ratio >= 9.995 else f"{ratio * 100:+.3g}%"
