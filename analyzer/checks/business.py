"""The business proxy: conversions or values of the canary against the baseline's; less is worse."""

import math

import numpy as np

from analyzer.checks import comparison
from analyzer.checks.decision import Question, Terms, decide, format_count
from analyzer.checks.wording import no_traffic, undecidable
from analyzer.model import Code, Conversions, Estimate, Finding, Reading, Values
from analyzer.policy import Check
from analyzer.stats import means
from analyzer.stats.binomial import Side
from analyzer.stats.search import Floats

SPREADS = (0.05, 0.5)  # changes of a few percent, and collapses
FEWEST = 30  # contributing values an arm, below which the normal law says nothing


def judge(check: Check, reading: Reading[Conversions | Values], terms: Terms) -> Finding:
    """Judge the relative change of a rate or a mean on the counts summed over all slices."""
    canary, baseline = reading.canary, reading.baseline
    if canary is None or _size(canary) <= 0:
        return no_traffic(check, "canary", "business events")
    if baseline is None or _size(baseline) <= 0:
        return no_traffic(check, "baseline", "business events")
    if isinstance(canary, Conversions) and isinstance(baseline, Conversions):
        ours, theirs = (
            (float(canary.successes.sum()), float(canary.trials.sum())),
            (float(baseline.successes.sum()), float(baseline.trials.sum())),
        )
        if ours[0] + theirs[0] <= 0:
            reason = "neither arm has a conversion yet: nothing to compare"
            return undecidable(check, Code.NO_BASELINE_TRAFFIC, reason)
        return comparison.judge_rates(
            check, ours, theirs, terms, spreads=SPREADS, worse="below",
            what="requests converted", notes=reading.notes,
        )  # fmt: skip
    if isinstance(canary, Values) and isinstance(baseline, Values):
        return _judge_values(check, canary, baseline, terms, reading.notes)
    raise TypeError("one arm has conversions and the other values")


def _judge_values(check: Check, canary: Values, baseline: Values, terms: Terms, notes: tuple[str, ...]) -> Finding:
    n_canary, n_baseline = _size(canary), _size(baseline)
    mean_canary, mean_baseline = (
        float(canary.total.sum()) / n_canary,
        float(baseline.total.sum()) / n_baseline,
    )
    arms = Estimate(value=mean_canary, n=n_canary), Estimate(value=mean_baseline, n=n_baseline)
    moments = _moments(canary), _moments(baseline)
    problem = _unusable(moments)
    if problem or moments[0] is None or moments[1] is None:
        return undecidable(check, Code.UNDECIDED, problem, canary=arms[0], baseline=arms[1], notes=notes)
    variation, observed = means.variation_squared(moments[0], moments[1]), mean_canary / mean_baseline

    def log_evidence(change: float, side: Side, scale: float | Floats) -> Floats:
        return means.log_evidence(
            observed, 1 + change, n_canary * np.asarray(scale), n_baseline * np.asarray(scale),
            variation=variation, spreads=SPREADS, side=side,
        )  # fmt: skip

    interval = means.ratio_interval(
        observed, n_canary, n_baseline, variation=variation, spreads=SPREADS,
        alpha_low=terms.passing, alpha_high=terms.fail,
    )  # fmt: skip
    question = Question(observed - 1, check.promote, check.rollback, "below", log_evidence, n_canary)
    decision = decide(check, question, terms)
    text = (
        f"mean {mean_canary:.4g} of {format_count(n_canary)} canary values "
        f"(baseline {mean_baseline:.4g} of {format_count(n_baseline)})"
    )
    return comparison.relative_finding(check, question, decision, text, arms, interval, notes)


def _size(arm: Conversions | Values) -> float:
    return float(arm.trials.sum() if isinstance(arm, Conversions) else arm.count.sum())


def _moments(arm: Values) -> means.Moments | None:
    if arm.squares is None or not math.isfinite(float(arm.squares.sum())):
        return None
    return means.Moments(float(arm.total.sum()), float(arm.squares.sum()), float(arm.count.sum()))


def _unusable(moments: tuple[means.Moments | None, means.Moments | None]) -> str:
    if moments[0] is None or moments[1] is None:
        return (
            "the spread of the values is not known: values lie in the histogram's +Inf bucket, or the source has "
            "no sum of squares; add a bucket edge above the largest value"
        )
    for arm, found in zip(("canary", "baseline"), moments, strict=True):
        if found is None or found.total <= 0:
            return f"the mean of the {arm}'s values is not positive: a relative change says nothing"
        # As many equal values as would give this sum and this sum of squares: for 0 and 1, the ones.
        contributing = found.total**2 / found.squares if found.squares > 0 else 0.0
        if contributing < FEWEST:
            return (
                f"the {arm}'s sum comes from about {format_count(contributing)} values: the comparison of means "
                f"needs at least {FEWEST} that contribute"
            )
    return ""
