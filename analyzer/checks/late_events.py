"""Conversions that follow their requests by a delay, against the baseline's.

The events of a slice belong to earlier requests, when the canary had another part of the traffic. So both arms are
compared by the requests whose events are due, under each of some mean delays that the counts do not exclude; the
least evidence counts.
"""

import math
from dataclasses import dataclass

import numpy as np

from analyzer.checks import comparison
from analyzer.checks.comparison import Rates, Tally
from analyzer.checks.correlation import correlation_of
from analyzer.checks.decision import Question, Terms, decide, format_count
from analyzer.checks.segments import Segments
from analyzer.config.policy import Check
from analyzer.model.counts import Conversions, Floats, Reading, Values
from analyzer.model.findings import Estimate, Finding
from analyzer.quantity import format_ratio, format_seconds
from analyzer.stats import delays, dispersion, share
from analyzer.stats.dispersion import Dispersion
from analyzer.stats.search import Side

EXCLUDING = 0.2  # of the check's level: for calling a delay impossible that is the true one
CLEAR = 1.0  # nats by which a longer delay must explain the events better to be shown
BEFORE = 300.0  # seconds of the window that tell the rate before it, where there is no history
ASSUMPTION = "conversions follow their requests by an exponential delay of a mean of {} at most"


@dataclass(frozen=True)
class LateRates:
    """A measure (see `decision`) of the relative change of a rate whose events are late.

    Attributes
    ----------
    rates : under each delay that must be reckoned with, the likeliest first
    requests : of the canary, since each start
    """

    rates: tuple[Rates, ...]
    requests: Floats

    @property
    def values(self) -> Floats:
        """Return the changes under the likeliest delay, since each start."""
        return self.rates[0].values

    def log_evidence(self, limit: float, side: Side) -> Floats:
        """Return the least log evidence under any delay, since each start."""
        return np.asarray(np.min([rates.log_evidence(limit, side) for rates in self.rates], axis=0))

    def forecast(self, limit: float, side: Side, start: int, scale: Floats) -> Floats:
        """Return the least log evidence since one start, were all counts `scale` times as large."""
        return np.asarray(np.min([rates.forecast(limit, side, start, scale) for rates in self.rates], axis=0))

    def information(self, limit: float, side: Side, start: int, deviations: float) -> float:
        """Return the evidence that a further request brings under the likeliest delay."""
        return self.rates[0].information(limit, side, start, deviations)

    def interval(self, start: int, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Bound the ratio of the rates, whichever the delay."""
        if sum(float(events[start]) for events in self.rates[0].events) <= 0:
            return 0.0, math.inf
        bounds = [rates.known.interval(start, alpha_low=alpha_low, alpha_high=alpha_high) for rates in self.rates]
        return min(low for low, _ in bounds), max(high for _, high in bounds)


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
    correlation, source = correlation_of(check, reading)
    measure, delay, outstanding, fail = _measure(
        check, reading, (canary, baseline), segments, correlation, terms, reach
    )
    if measure.rates[0].requests[segments.present] <= 0:
        return comparison.nothing_at_once(check, segments, reading.notes)
    question = Question(measure, check.promote, check.rollback, "below", segments)
    decision = decide(check, question, Terms(fail, terms.passing, terms.elapsed_seconds, terms.at_this_weight))
    start = decision.start
    best, requests = measure.rates[0], float(measure.requests[start])
    due = float(best.requests[start])
    ours = float(best.events[0][start]) / due if due else 0.0
    theirs, trials = float(segments.since(baseline.successes)[start]), float(segments.since(baseline.trials)[start])
    late = outstanding * theirs / trials if trials else 0.0
    waiting = (
        f", about {format_count(late)} more outstanding at a delay of {format_seconds(delay)}" if late >= 1 else ""
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
) -> tuple[LateRates, float, float, float]:
    """Compare the arms under every delay that must be reckoned with.

    Returns
    -------
    The measure, the likeliest delay in seconds, the canary's requests whose events are outstanding under it, and the
    level that is left to fail.
    """
    seconds = reading.lengths
    if seconds is None and segments.seconds:
        seconds = np.full(1, segments.seconds)
    requests = segments.since(arms[0].trials * share.paired(arms[0].trials, arms[1].trials))
    if not check.delay or seconds is None:
        rates = comparison.rates_of(*_tallies(arms), segments, correlation, reach)
        return LateRates((rates,), requests), 0.0, 0.0, terms.fail
    candidates = [_due(reading, arms, seconds, fraction * check.delay) for fraction in delays.FRACTIONS]
    likelihoods = np.stack([delays.log_likelihoods(*tallies) for tallies, _ in candidates])
    likelihoods /= _combined_factor(arms, segments, correlation)
    last = delays.longest(likelihoods, -math.log(terms.fail * EXCLUDING))
    profile = likelihoods.max(axis=1)[: last + 1]
    likeliest = int(np.flatnonzero(profile >= profile.max() - CLEAR)[0])
    # Evidence moves one way with the delay where the canary's part of the traffic does: the ends bound the rest.
    reckoned = tuple(
        comparison.rates_of(*candidates[number][0], segments, correlation, reach)
        for number in dict.fromkeys((likeliest, 0, last))
    )
    return (
        LateRates(reckoned, requests),
        delays.FRACTIONS[likeliest] * check.delay, candidates[likeliest][1], terms.fail * (1 - EXCLUDING),
    )  # fmt: skip


def _combined_factor(arms: tuple[Conversions, Conversions], segments: Segments, correlation: Dispersion) -> float:
    """Return by what the counts of the whole window are divided for overdispersion."""
    factors = [segments.factors(correlation, arm.trials) for arm in arms]
    return float(dispersion.combined(*factors, *(segments.since(arm.trials) + 1e-200 for arm in arms))[0])


def _tallies(arms: tuple[Conversions, Conversions]) -> tuple[Tally, Tally]:
    return Tally(arms[0].successes, arms[0].trials), Tally(arms[1].successes, arms[1].trials)


def _due(
    reading: Reading[Conversions | Values], arms: tuple[Conversions, Conversions], seconds: Floats, delay: float
) -> tuple[tuple[Tally, Tally], float]:
    """Return the events of both arms among the requests whose events are due, and what is outstanding of the canary."""
    ours, outstanding = delays.exposures(arms[0].trials, seconds, delay)
    theirs, _ = delays.exposures(arms[1].trials, seconds, delay, _before(reading, arms, seconds, delay))
    return (Tally(arms[0].successes, ours), Tally(arms[1].successes, theirs)), outstanding


def _before(
    reading: Reading[Conversions | Values], arms: tuple[Conversions, Conversions], seconds: Floats, delay: float
) -> float:
    """Return the baseline's requests before the window whose events are outstanding when it starts."""
    past = reading.history
    if isinstance(past, Conversions) and reading.history_seconds and len(past.trials):
        lengths_before = np.full(len(past.trials), reading.history_seconds)
        rate = float(past.trials.sum()) / float(lengths_before.sum())
        return delays.exposures(past.trials, lengths_before, delay, rate * delay)[1]
    # Before its canary the baseline had all of the traffic.
    first = max(1, min(len(seconds), math.ceil(BEFORE / float(seconds[0]))))
    return float((arms[0].trials + arms[1].trials)[:first].sum() / seconds[:first].sum()) * delay
