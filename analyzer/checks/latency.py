"""A quantile of the latency against limits, judged as the share of requests slower than a bucket's edge.

The q-quantile is above an edge exactly when more than 1 - q of the requests are slower than it: no
interpolation is needed, and none could be trusted. Where a limit lies inside a bucket, the edge on the
safe side is taken: to pass, the next one below; to fail, the next one above.
"""

import math
from dataclasses import replace

import numpy as np

from analyzer.checks import comparison
from analyzer.checks.buckets import is_edge
from analyzer.checks.comparison import Tally
from analyzer.checks.correlation import correlation_of
from analyzer.checks.decision import ONE_MORE, Decision, Question, Terms, decide, format_count
from analyzer.checks.negative_control import Control, control_of, control_of_comparison
from analyzer.checks.one_arm import BadRequests, past_of
from analyzer.checks.quantile_ratio import QuantileRatio
from analyzer.checks.segments import Segments
from analyzer.checks.shared_trouble import SharedTrouble
from analyzer.checks.tail import Tail
from analyzer.checks.wording import conclusion, decided, no_traffic, undecidable
from analyzer.config.policy import Check
from analyzer.model.counts import Counts, Histogram, MeanOnly, Reading
from analyzer.model.findings import Code, Estimate, Finding, Outcome, Rule
from analyzer.quantity import format_seconds
from analyzer.stats.search import Floats, Side

ASSUMPTION = "each request is slow with a probability of its own, which the limit bounds"


def judge(check: Check, reading: Reading[Histogram | MeanOnly], terms: Terms) -> Finding:
    """Judge a quantile of the latency on the requests of all slices, and of those since each start."""
    canary, baseline = reading.canary, reading.baseline
    if isinstance(canary, MeanOnly) or isinstance(baseline, MeanOnly):
        return undecidable(
            check,
            Code.METRIC_MISSING,
            "the source knows only the mean latency (sum and count), from which no quantile can be told: "
            "use a check of kind mean_latency, as policy ml-model-mean does, or name a histogram in the profile",
        )
    if canary is None or canary.counts.sum() <= 0:
        return no_traffic(check, "canary", "requests")
    if differing := buckets_differ(check, canary, baseline):
        return differing
    if baseline is not None and baseline.counts.sum() <= 0:
        baseline = None
    if check.rule is Rule.RELATIVE:
        return _judge_relative(check, reading, canary, baseline, terms)
    return _judge_quantile(check, reading, canary, baseline, terms)


def buckets_differ(check: Check, canary: Histogram, baseline: Histogram | None) -> Finding | None:
    """Refuse arms whose buckets differ: nothing can be compared, and a release that changes them says so."""
    if baseline is None or canary.exact or np.array_equal(canary.edges, baseline.edges):
        return None
    only = {
        arm: sorted(set(ours.edges) - set(theirs.edges))
        for arm, ours, theirs in (("canary", canary, baseline), ("baseline", baseline, canary))
    }
    differences = " and ".join(
        f"only the {arm} has le {', '.join(f'{e:g}' for e in es[:3])}" for arm, es in only.items() if es
    )
    headline = "the histograms of the two arms have different buckets"
    reason = f"{headline}: {differences}; give both versions the same ones"
    return undecidable(check, Code.BUCKETS_DIFFER, reason, headline=headline)


def _judge_quantile(
    check: Check, reading: Reading[Histogram | MeanOnly], canary: Histogram, baseline: Histogram | None, terms: Terms
) -> Finding:
    quantile = check.quantile_level
    allowed = 1 - quantile
    segments = Segments.of(reading, at_this_weight=terms.at_this_weight, elapsed_seconds=terms.elapsed_seconds)
    limits = (check.promote, check.rollback)
    ours, theirs = Tail.of(canary, limits), None if baseline is None else Tail.of(baseline, limits)
    tail = ours.since(segments)
    pass_edge = tail.edge_below(check.promote)
    fail_edges = {limit: tail.edge_above(limit) for limit in limits}
    correlation, source = correlation_of(check, reading, segments.seconds, doubts=terms.doubts)
    past = Tail.of(reading.history, limits) if isinstance(reading.history, Histogram) else None
    alike = past is not None and np.array_equal(past.edges, tail.edges)
    known = past_of(reading, past.above(pass_edge), past.requests) if past is not None and alike else None

    def slow_of(arm: Tail, of: Segments, values: Floats) -> BadRequests:
        def slow(limit: float, side: Side) -> Floats | None:
            edge = fail_edges[limit] if side == "above" else pass_edge
            return arm.above(edge) if math.isfinite(edge) else None  # no bucket can tell, however many requests

        return BadRequests(values, arm.requests, of, correlation, bad=slow, allowed=lambda _: allowed, past=known)

    def measure_of(arm: Tail) -> BadRequests:
        totals = arm.since(segments)
        # The estimate is beyond rollback when the bucket's edge on the safe side says so, not by interpolation.
        beyond = totals.above(fail_edges[check.rollback]) > allowed * totals.requests
        values = np.where(beyond, np.inf, np.minimum(totals.quantile(quantile, segments.present), check.rollback))
        return slow_of(arm, segments, values)

    measure, shared = measure_of(ours), None
    if theirs is not None:
        limit = check.rollback if check.rule is Rule.STRICT else check.promote
        edge = fail_edges[limit]
        slow = Tally(ours.above(edge), ours.requests), Tally(theirs.above(edge), theirs.requests)
        shared = SharedTrouble(
            measure,
            measure_of(theirs.where(segments.near(ours.requests > 0))),
            lambda: comparison.rates_of(slow[0], slow[1], segments, correlation, steady=True),
            limit, terms,
            before=_before(past, edge),
        )  # fmt: skip
        measure = replace(measure, beside=theirs.requests if shared.baseline_serves else None)

    def control(limit: float, level: float, start: int) -> Control | None:
        def measuring(counts: Counts, of: Segments) -> BadRequests:
            return slow_of(Tail.of(_histogram(counts), limits), of, np.zeros(0))  # of a pod no estimate is wanted

        return control_of(reading, measure, measuring, limit, level, start)

    question = Question(
        measure, check.promote, check.rollback, "above", segments, shared, control, measure.by_requests, correlation
    )
    decision = decide(check, question, terms)
    start = decision.start
    value = tail.quantile(quantile, start)
    text = (
        f"p{quantile * 100:g} of {format_count(float(tail.requests[start]))} canary requests{segments.when(start)} is "
        f"{_show(value, tail)}"
    )
    short = text
    levels = decision.alpha_low, decision.alpha_high
    learned = None if known is None else past
    estimates = tail.estimate(quantile, start, measure.factors, *levels, learned), Estimate()
    if theirs is not None:
        other = theirs.since(segments)
        if other.requests[start] > 0:
            text += f" (baseline {_show(other.quantile(quantile, start), other)})"
        factors = segments.factors(correlation, theirs.requests)
        estimates = estimates[0], other.estimate(quantile, start, factors, *levels)
    notes = reading.notes + _snapped(check, pass_edge, fail_edges)
    if blind := _unresolved(check, tail, decision, pass_edge, allowed):
        decision = replace(decision, code=Code.BUCKET_RESOLUTION, remaining_requests=None, remaining_range=(None, None))
        reason, headline = f"{text}; {blind}", blind
    else:
        ending = conclusion(check, decision, question, format_seconds)
        reason, headline = f"{text}, {ending}", f"{short}, {ending}"
    too_slow = float(tail.above(fail_edges[check.rollback])[segments.present])
    finding = decided(
        check, question, decision, reason, estimates,
        headline=headline, notes=notes, assumptions=(source, ASSUMPTION),
    )  # fmt: skip
    return replace(finding, waits=too_slow + ONE_MORE > allowed * float(tail.requests[segments.present]))


def _histogram(counts: Counts) -> Histogram:
    if not isinstance(counts, Histogram):
        raise TypeError(f"a quantile cannot be judged on {type(counts).__name__}")
    return counts


def _before(past: Tail | None, edge: float) -> tuple[float, float] | None:
    """Return how many requests of the baseline before the canary were slower than an edge, and how many there were."""
    if past is None or edge not in past.edges:
        return None
    return float(past.above(edge).sum()), float(past.requests.sum())


def _judge_relative(
    check: Check, reading: Reading[Histogram | MeanOnly], canary: Histogram, baseline: Histogram | None, terms: Terms
) -> Finding:
    if baseline is None:
        return no_traffic(check, "baseline", "requests")
    if check.edge is None:
        return _judge_ratio(check, reading, canary, baseline, terms)
    wanted = check.edge
    tail = Tail.of(canary, (wanted,))
    edge = tail.edge_below(wanted)
    if not is_edge(edge, wanted):
        return undecidable(
            check,
            Code.BUCKET_RESOLUTION,
            f"the histogram has no bucket edge at {format_seconds(wanted)}: add le={wanted:g} (in seconds) to it, or "
            f"set edge to one of {_known(tail)}",
        )
    return comparison.judge_rates(
        check, reading, lambda counts: _slow(counts, wanted), terms,
        reach=comparison.REACH, worse="above", what=f"requests took longer than {format_seconds(edge)}",
    )  # fmt: skip


def _judge_ratio(
    check: Check, reading: Reading[Histogram | MeanOnly], canary: Histogram, baseline: Histogram, terms: Terms
) -> Finding:
    quantile = check.quantile_level
    segments = Segments.of(reading, at_this_weight=terms.at_this_weight, elapsed_seconds=terms.elapsed_seconds)
    correlation, source = correlation_of(check, reading, segments.seconds, doubts=terms.doubts)
    measure = QuantileRatio.of(canary, baseline, segments, correlation, quantile)

    def comparing(pod: Counts, others: Counts, of: Segments) -> QuantileRatio:
        return QuantileRatio.of(_histogram(pod), _histogram(others), of, correlation, quantile)

    if not math.isfinite(float(measure.values[segments.present])):
        reason = "the quantile of an arm lies beyond the last bucket, or an arm has no requests: nothing to compare"
        return undecidable(check, Code.UNDECIDED, reason, notes=reading.notes)
    question = Question(
        measure, check.promote, check.rollback, "above", segments,
        control=control_of_comparison(reading, measure, comparing, "above", segments), dispersion=correlation,
    )  # fmt: skip
    decision = decide(check, question, terms)
    start, levels = decision.start, (decision.alpha_low, decision.alpha_high)
    ours, theirs = (
        arm.estimate(quantile, start, counted, *levels)
        for arm, counted in zip((measure.canary, measure.baseline), measure.factors, strict=True)
    )
    theirs = replace(theirs, n=float(segments.since(baseline.counts.sum(axis=1))[start]))
    text = (
        f"p{quantile * 100:g} of {format_count(ours.n)} canary requests{segments.when(start)} is "
        f"{_show(ours.value or 0.0, measure.canary)}"
    )
    versus = f" (baseline {_show(theirs.value or 0.0, measure.baseline)})"
    return comparison.relative_finding(
        check, question, decision, (text, versus), (ours, theirs), measure.interval(decision),
        reading.notes, (source, ASSUMPTION),
    )  # fmt: skip


def _slow(counts: Counts, edge: float) -> Tally:
    """Count the requests slower than an edge."""
    if not isinstance(counts, Histogram):
        raise TypeError(f"a latency cannot be judged on {type(counts).__name__}")
    tail = Tail.of(counts, (edge,))
    below = tail.edge_below(edge)
    return Tally(tail.above(below) if math.isfinite(below) else tail.requests, tail.requests)


def _unresolved(check: Check, canary: Tail, decision: Decision, pass_edge: float, allowed: float) -> str:
    """Name the bucket that is missing when it, and not a lack of requests, keeps the check undecided."""
    if decision.outcome is not Outcome.INCONCLUSIVE or decision.code is Code.COMMON_MODE or check.rule is Rule.POINT:
        return ""
    start, requests = decision.start, float(canary.requests[decision.start])
    for limit, below, word in (
        (check.promote, pass_edge, "good"),
        (check.rollback, canary.edge_below(check.rollback), "bad"),
    ):
        above = canary.edge_above(limit)
        slower_than_below = canary.above(below)[start] if math.isfinite(below) else requests
        inside = slower_than_below > allowed * requests >= canary.above(above)[start]
        if inside and not is_edge(below, limit):
            edges = [format_seconds(edge) for edge in (below, above) if math.isfinite(edge)]
            return (
                f"with no bucket edge at {format_seconds(limit)} it can never be proved {word}: "
                f"add le={limit:g} (in seconds), or move the limit to {' or '.join(edges)}"
            )
    return ""


def _snapped(check: Check, pass_edge: float, fail_edges: dict[float, float]) -> tuple[str, ...]:
    """Say which edges stand for the limits, where they are not the limits themselves."""
    notes = []
    for limit, edge, purpose in (
        (check.promote, pass_edge, "to pass"),
        (check.promote, fail_edges[check.promote], "to fail"),
        (check.rollback, fail_edges[check.rollback], "to fail"),
    ):
        if math.isfinite(edge) and not is_edge(edge, limit):
            notes.append(
                f"{purpose}, {format_seconds(limit)} is judged at the bucket edge {format_seconds(edge)}; "
                f"add le={limit:g} (in seconds) to be exact"
            )
    return tuple(dict.fromkeys(notes))


def _show(value: float, arm: Tail) -> str:
    if math.isfinite(value):
        return format_seconds(value)
    return f"above {format_seconds(float(arm.edges[-1]))}" if len(arm.edges) else "unknown"


def _known(arm: Tail) -> str:
    return ", ".join(format_seconds(float(edge)) for edge in arm.edges[:12]) or "none"
