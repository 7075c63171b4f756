"""Conversions that follow their requests by a delay, against the baseline's.

The events of a slice belong to earlier requests, when the canary had another part of the traffic. So both arms are
compared by the requests whose events are due, under each law of the delay that the counts do not exclude; the least
evidence counts.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from analyzer.checks import comparison
from analyzer.checks.comparison import Rates, Tally
from analyzer.checks.correlation import correlation_of
from analyzer.checks.decision import Question, Terms, decide, format_count
from analyzer.checks.negative_control import control_of_comparison
from analyzer.checks.segments import Segments
from analyzer.config.policy import Check
from analyzer.model.counts import Conversions, Counts, Floats, Reading, Values
from analyzer.model.findings import Estimate, Finding, Rule
from analyzer.quantity import format_ratio, format_seconds
from analyzer.stats import delays, share
from analyzer.stats.dispersion import Dispersion
from analyzer.stats.search import Bools, Side

EXCLUDING = 0.2  # of the check's level: for calling the law of a delay impossible that is the true one
CLEAR = 1.0  # nats by which a law of longer delays must explain the events better to be shown
BEFORE = 300.0  # seconds of the window that tell the rate before it, where there is no history
REMEMBERED = 8.0  # longest mean delays of history that are regarded
ASSUMPTION = (
    "conversions follow their requests by a delay of a mean of {} at most: exponential, uniform, about fixed, or part "
    "at once and part later"
)


@dataclass(frozen=True)
class LateRates:
    """A measure (see `decision`) of the relative change of a rate whose events are late.

    Attributes
    ----------
    likeliest : under the likeliest law of the delay, by the requests whose events are due
    fewest, most : by the fewest and the most canary requests whose events are due, slice by slice, under any law that
        is not excluded while the ratio is within, or beyond, the limit of a fail
    requests : of the canary, since each start
    below : by limit, log evidence of the whole window that the ratio is below it, whichever the law
    delay, outstanding : likeliest mean delay in seconds, and requests of the canary whose events are not due under it
    """

    likeliest: Rates
    fewest: Rates
    most: Rates
    requests: Floats
    below: dict[float, float] = field(default_factory=dict)
    delay: float = 0.0
    outstanding: float = 0.0

    @property
    def values(self) -> Floats:
        """Return the changes under the likeliest law, since each start."""
        return self.likeliest.values

    def log_evidence(self, limit: float, side: Side) -> Floats:
        """Return the least log evidence under any law, since each start."""
        evidence = self._against(side).log_evidence(limit, side)
        if side == "below" and limit in self.below:
            evidence[0] = self.below[limit]
        return evidence

    def forecast(self, limit: float, side: Side, start: int, scale: Floats) -> Floats:
        """Return the least log evidence since one start, were all counts `scale` times as large."""
        evidence = self._against(side).forecast(limit, side, start, scale)
        if side == "below" and start == 0 and limit in self.below:
            evidence = np.maximum(evidence, self.below[limit] * scale)
        return evidence

    def information(self, limit: float, side: Side, start: int, deviations: float) -> float:
        """Return the evidence that a further request brings under the likeliest law."""
        return self.likeliest.information(limit, side, start, deviations)

    def interval(self, start: int, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Bound the ratio of the rates, whichever the law."""
        if sum(float(events[start]) for events in self.likeliest.events) <= 0:
            return 0.0, math.inf
        low, high = self.most.known.interval(start, alpha_low=alpha_low, alpha_high=alpha_high)
        if self.fewest is not self.most:
            _, high = self.fewest.known.interval(start, alpha_low=alpha_low, alpha_high=alpha_high)
        proved = [1 + limit for limit, known in self.below.items() if start == 0 and known >= -math.log(alpha_high)]
        return low, max(low, min(high, *proved)) if proved else high

    def _against(self, side: Side) -> Rates:
        return self.fewest if side == "below" else self.most


def judge(
    check: Check,
    reading: Reading[Conversions | Values],
    canary: Conversions,
    baseline: Conversions,
    terms: Terms,
    reach: dict[Side, share.Reach],
) -> Finding:
    """Judge the ratio of two conversion rates, of arms that both have requests."""
    segments = Segments.of(reading, at_this_weight=terms.at_this_weight, elapsed_seconds=terms.elapsed_seconds)
    correlation, source = correlation_of(check, reading, segments.seconds, doubts=terms.doubts)
    measure = _measure(check, reading, (canary, baseline), segments, correlation, terms, reach)
    if measure.requests[segments.present] <= 0:
        return comparison.nothing_at_once(check, segments, reading.notes)

    def comparing(pod: Counts, others: Counts, of: Segments) -> Rates:
        # Pods of one arm have the same part of the traffic all the time, so that their events are equally late.
        return comparison.rates_of(_tally(pod), _tally(others), of, correlation, reach)

    question = Question(
        measure, check.promote, check.rollback, "below", segments,
        control=control_of_comparison(reading, measure, comparing, "below", segments), dispersion=correlation,
    )  # fmt: skip
    left = 1 - EXCLUDING if measure.below else 1.0
    decision = decide(check, question, replace(terms, fail=terms.fail * left))
    start = decision.start
    best, requests = measure.likeliest, float(measure.requests[start])
    due = float(best.requests[start])
    ours = float(best.events[0][start]) / due if due else 0.0
    theirs, trials = float(segments.since(baseline.successes)[start]), float(segments.since(baseline.trials)[start])
    late = measure.outstanding * theirs / trials if trials else 0.0
    waiting = (
        f", about {format_count(late)} more outstanding at a delay of {format_seconds(measure.delay)}"
        if late >= 1
        else ""
    )
    text = f"{format_ratio(ours)} of {format_count(requests)} canary requests converted{segments.when(start)}{waiting}"
    versus = f" (baseline {format_ratio(theirs / trials if trials else 0.0)})"
    arms = Estimate(value=ours, n=requests), Estimate(value=theirs / trials if trials else 0.0, n=trials)
    assumptions = [source, comparison.ASSUMPTION]
    if check.delay:
        assumptions.append(ASSUMPTION.format(format_seconds(check.delay)))
    return comparison.relative_finding(
        check, question, decision, (text, versus), arms,
        measure.interval(start, decision.alpha_low, decision.alpha_high), reading.notes, tuple(assumptions),
    )  # fmt: skip


def _measure(
    check: Check,
    reading: Reading[Conversions | Values],
    arms: tuple[Conversions, Conversions],
    segments: Segments,
    correlation: Dispersion,
    terms: Terms,
    reach: dict[Side, share.Reach],
) -> LateRates:
    """Compare the arms under every law of the delay that must be reckoned with."""
    ours, theirs = (_tally(arm) for arm in arms)
    at_once = comparison.rates_of(ours, theirs, segments, correlation, reach)
    seconds = reading.lengths
    if seconds is None and segments.seconds:
        seconds = np.full(1, segments.seconds)
    if not check.delay or seconds is None:
        return LateRates(at_once, at_once, at_once, at_once.requests)
    due = _Due(
        delays.exposures(ours.trials, seconds, check.delay, np.zeros(1)),
        delays.exposures(theirs.trials, seconds, check.delay, _before(check, reading, arms, seconds)),
        (ours.trials, theirs.trials),
    )
    limit = check.rollback if check.rule is Rule.STRICT else check.promote
    known = delays.evidence(
        *due.coarse(ours.events, ours.events + theirs.events), limit=1 + limit,
        factor=float(at_once.known.factors[0]), needed=-math.log(terms.fail * EXCLUDING),
    )  # fmt: skip
    likely = np.flatnonzero(known.likelihoods >= known.likelihoods.max() - CLEAR)
    likeliest = np.arange(len(delays.LAWS)) == likely[delays.MEANS[likely].argmin()]

    def rates(odds: Floats) -> Rates:
        return replace(at_once, known=replace(at_once.known, odds=odds, _summed={}))

    requests = delays.mixed(due.canary, likeliest)[0]
    return LateRates(
        replace(rates(due.odds(likeliest)[0]), requests=segments.since(requests * due.both)),
        rates(due.odds(known.if_above).min(axis=0)), rates(due.odds(known.if_below).max(axis=0)),
        at_once.requests, {limit: known.below},
        float(delays.MEANS[likeliest][0]) * check.delay, float(ours.trials.sum() - requests.sum()),
    )  # fmt: skip


@dataclass(frozen=True)
class _Due:
    """Requests of both arms whose events are due, under each part of the laws.

    Attributes
    ----------
    canary, baseline : shape (parts, slices)
    trials : requests of canary and baseline, shape (slices,)
    """

    canary: Floats
    baseline: Floats
    trials: tuple[Floats, Floats]

    @cached_property
    def both(self) -> Bools:
        """Return the slices in which both arms had requests."""
        return share.paired(*self.trials)

    @cached_property
    def groups(self) -> tuple[NDArray[np.intp], Floats, Floats]:
        """Return the first slice of each group, and what is due; few requests are taken together as in `share`."""
        first = np.asarray(share.groups(*(trials * self.both for trials in self.trials)), np.intp)
        canary, baseline = (np.add.reduceat(due * self.both, first, axis=1) for due in (self.canary, self.baseline))
        return first, canary, baseline

    def coarse(self, *counts: Floats) -> tuple[Floats, ...]:
        """Sum up counts in a few periods; return them and the odds of each law, shape (laws, periods)."""
        first, canary, baseline = self.groups
        periods = np.arange(0, len(first), -(-len(first) // delays.MOST_SLICES))
        traffic = np.add.reduceat(canary[0], periods) > 0
        summed = (np.add.reduceat(each * self.both, first[periods])[traffic] for each in counts)
        due, all_due = (delays.mixed(np.add.reduceat(each, periods, axis=1)[:, traffic]) for each in (canary, baseline))
        return *summed, due / all_due

    def odds(self, laws: Bools) -> Floats:
        """Return the odds of each of these laws in each slice, shape (laws, slices)."""
        first, *arms = self.groups
        due, all_due = (delays.mixed(arm, laws) for arm in arms)
        odds = np.divide(due, all_due, out=np.ones_like(due), where=all_due > 0)
        return np.repeat(odds, np.diff(np.append(first, len(self.both))), axis=1)


def _tally(counts: Counts) -> Tally:
    if not isinstance(counts, Conversions):
        raise TypeError(f"conversions cannot be judged on {type(counts).__name__}")
    return Tally(counts.successes, counts.trials)


def _before(
    check: Check, reading: Reading[Conversions | Values], arms: tuple[Conversions, Conversions], seconds: Floats
) -> Floats:
    """Return the baseline's requests before the window, in slices as long as those of the window."""
    past, length = reading.history, float(seconds[0])
    if isinstance(past, Conversions) and reading.history_seconds and len(past.trials):
        ends = np.arange(len(past.trials) + 1) * reading.history_seconds
        slices = max(1, int(min(ends[-1], REMEMBERED * check.delay) / length))
        edges = ends[-1] - np.arange(slices, -1, -1) * length
        return np.diff(np.interp(edges, ends, np.concatenate(([0.0], np.cumsum(past.trials)))))
    # Before its canary the baseline had all of the traffic.
    first = max(1, min(len(seconds), math.ceil(BEFORE / length)))
    return np.full(1, float((arms[0].trials + arms[1].trials)[:first].sum() / seconds[:first].sum()) * length)
