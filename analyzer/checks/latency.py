"""A quantile of the latency against limits, judged as the share of requests slower than a bucket's edge.

The q-quantile is above an edge exactly when more than 1 - q of the requests are slower than it: no
interpolation is needed, and none could be trusted. Where a limit lies inside a bucket, the edge on the
safe side is taken: to pass, the next one below; to fail, the next one above.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from analyzer.checks import comparison
from analyzer.checks.decision import Decision, Question, Terms, decide, format_count
from analyzer.checks.error_rate import SPREADS
from analyzer.checks.wording import conclusion, decided, no_traffic, undecidable
from analyzer.model import Code, Estimate, Finding, Histogram, MeanOnly, Outcome, Reading, Rule
from analyzer.policy import Check
from analyzer.quantity import format_seconds
from analyzer.stats import binomial
from analyzer.stats.search import Floats


@dataclass(frozen=True)
class Tail:
    """One arm's histogram as the number of requests slower than each edge.

    Attributes
    ----------
    edges : ascending, finite, in seconds; shape (edges,)
    slower : requests slower than each edge; shape (edges,)
    requests : all of them
    exact : the edges are the values of single samples
    """

    edges: Floats
    slower: Floats
    requests: float
    exact: bool = False

    def above(self, edge: float) -> float:
        """Count the requests slower than an edge of the histogram; beyond the last one none is known to be."""
        place = int(np.searchsorted(self.edges, edge * (1 - 1e-9)))
        return float(self.slower[place]) if place < len(self.edges) else 0.0

    def edge_below(self, limit: float) -> float:
        """Find the last edge at or below a limit, -inf where there is none."""
        below = self.edges[self.edges <= limit * (1 + 1e-9)]
        return float(below[-1]) if len(below) else -math.inf

    def edge_above(self, limit: float) -> float:
        """Find the first edge at or above a limit, inf where there is none."""
        above = self.edges[self.edges >= limit * (1 - 1e-9)]
        return float(above[0]) if len(above) else math.inf

    def quantile(self, q: float) -> float:
        """Estimate a quantile, linear inside its bucket; infinite in the last, unbounded bucket."""
        wanted = (1 - q) * self.requests
        reached = self.slower <= wanted * (1 + 1e-12)
        if not reached.any():
            return math.inf
        place = int(np.argmax(reached))
        if self.exact:
            return float(self.edges[place])
        low, before = (
            (0.0, self.requests) if place == 0 else (float(self.edges[place - 1]), float(self.slower[place - 1]))
        )
        inside = before - float(self.slower[place])
        return low + (float(self.edges[place]) - low) * ((before - wanted) / inside if inside > 0 else 1.0)

    def interval(self, q: float, terms: Terms) -> tuple[float, float]:
        """Bound a quantile between two edges, right at every look; 0 and infinity where no edge is proved."""
        above = binomial.log_evidence(self.slower, self.requests, 1 - q, side="above") >= -math.log(terms.fail)
        below = binomial.log_evidence(self.slower, self.requests, 1 - q, side="below") >= -math.log(terms.passing)
        low = float(self.edges[above][-1]) if above.any() else 0.0
        return low, float(self.edges[below][0]) if below.any() else math.inf


def judge(check: Check, reading: Reading[Histogram | MeanOnly], terms: Terms) -> Finding:
    """Judge a quantile of the latency on the requests summed over all slices."""
    if isinstance(reading.canary, MeanOnly) or isinstance(reading.baseline, MeanOnly):
        return undecidable(
            check,
            Code.METRIC_MISSING,
            "the source knows only the mean latency (sum and count), from which no quantile can be told: "
            "name a latency histogram in the profile",
        )
    if reading.canary is None or reading.canary.counts.sum() <= 0:
        return no_traffic(check, "canary", "requests")
    if differing := buckets_differ(check, reading.canary, reading.baseline):
        return differing
    canary = tail(reading.canary, check)
    baseline = None if reading.baseline is None or reading.baseline.counts.sum() <= 0 else tail(reading.baseline, check)
    if check.rule is Rule.RELATIVE:
        return _judge_relative(check, canary, baseline, terms, reading.notes)
    return _judge_quantile(check, canary, baseline, terms, reading.notes)


def buckets_differ(check: Check, canary: Histogram, baseline: Histogram | None) -> Finding | None:
    """Refuse arms whose buckets differ: nothing can be compared, and a release that changes them says so."""
    if baseline is None or canary.exact or np.array_equal(canary.edges, baseline.edges):
        return None
    only = {
        arm: sorted(set(ours.edges) - set(theirs.edges))
        for arm, ours, theirs in (("canary", canary, baseline), ("baseline", baseline, canary))
    }
    found = " and ".join(
        f"only the {arm} has le {', '.join(f'{e:g}' for e in es[:3])}" for arm, es in only.items() if es
    )
    headline = "the histograms of the two arms have different buckets"
    reason = f"{headline}: {found}; give both versions the same ones"
    return undecidable(check, Code.BUCKETS_DIFFER, reason, headline=headline)


def tail(histogram: Histogram, check: Check) -> Tail:
    """Sum a histogram over its slices, from the slow end; samples get edges at the limits, so nothing snaps."""
    counts = histogram.counts.sum(axis=0)
    edges, slower = histogram.edges[:-1], counts.sum() - np.cumsum(counts)[:-1]
    if histogram.exact:
        limits = np.array([check.promote, check.rollback] if check.edge is None else [check.edge])
        places = np.searchsorted(edges, limits, side="right")  # requests at or below each limit
        slower_at_limits = np.concatenate(([counts.sum()], slower))[places]
        edges, first = np.unique(np.concatenate((edges, limits)), return_index=True)
        slower = np.concatenate((slower, slower_at_limits))[first]
    return Tail(edges=edges, slower=slower, requests=float(counts.sum()), exact=histogram.exact)


def _judge_quantile(check: Check, canary: Tail, baseline: Tail | None, terms: Terms, notes: tuple[str, ...]) -> Finding:
    quantile = check.quantile or 0.99
    allowed = 1 - quantile
    pass_edge = canary.edge_below(check.promote)
    fail_edges = {limit: canary.edge_above(limit) for limit in (check.promote, check.rollback)}

    def log_evidence(limit: float, side: binomial.Side, scale: float | Floats) -> Floats:
        edge = fail_edges[limit] if side == "above" else pass_edge
        if not math.isfinite(edge):  # no bucket can tell: no evidence, however many requests
            return np.full_like(np.asarray(scale, float), -math.inf)
        return binomial.log_evidence(canary.above(edge) * scale, canary.requests * scale, allowed, side=side)

    value = canary.quantile(quantile)
    # The estimate is beyond rollback when the bucket's edge on the safe side says so, not by interpolation.
    beyond = canary.above(fail_edges[check.rollback]) / canary.requests > allowed
    judged = value if beyond or value <= check.rollback else check.rollback
    question = Question(judged, check.promote, check.rollback, "above", log_evidence, canary.requests)
    decision = decide(check, question, terms)
    name = f"p{quantile * 100:g}"
    text = f"{name} of {format_count(canary.requests)} canary requests is {_show(value, canary)}"
    if baseline:
        text += f" (baseline {_show(baseline.quantile(quantile), baseline)})"
    arms = (
        _estimate(canary, quantile, terms),
        _estimate(baseline, quantile, terms) if baseline else Estimate(),
    )
    notes += _snapped(check, pass_edge, fail_edges)
    if blind := _unresolved(check, canary, decision, pass_edge, allowed):
        decision = replace(decision, code=Code.BUCKET_RESOLUTION, remaining_requests=None)
        return decided(check, decision, f"{text}; {blind}", arms, headline=blind, notes=notes)
    return decided(
        check, decision, f"{text}, {conclusion(check, decision, question, format_seconds)}", arms, notes=notes
    )


def _judge_relative(check: Check, canary: Tail, baseline: Tail | None, terms: Terms, notes: tuple[str, ...]) -> Finding:
    if baseline is None:
        return no_traffic(check, "baseline", "requests")
    wanted = check.edge or 0.0
    edge = canary.edge_below(wanted)
    if not math.isclose(edge, wanted, rel_tol=1e-6):
        return undecidable(
            check,
            Code.BUCKET_RESOLUTION,
            f"the histogram has no bucket edge at {format_seconds(wanted)}: add le={wanted:g} (in seconds) to it, or "
            f"set edge to one of {_known(canary)}",
        )
    counts = (canary.above(edge), canary.requests), (baseline.above(edge), baseline.requests)
    return comparison.judge_rates(
        check, *counts, terms, spreads=SPREADS, worse="above",
        what=f"requests took longer than {format_seconds(edge)}", notes=notes,
    )  # fmt: skip


def _unresolved(check: Check, canary: Tail, decision: Decision, pass_edge: float, allowed: float) -> str:
    """Name the bucket that is missing when it, and not a lack of requests, keeps the check undecided."""
    if decision.outcome is not Outcome.INCONCLUSIVE or check.rule is Rule.POINT:
        return ""
    for limit, below, word in (
        (check.promote, pass_edge, "good"),
        (check.rollback, canary.edge_below(check.rollback), "bad"),
    ):
        above = canary.edge_above(limit)
        slower_than_below = canary.above(below) / canary.requests if math.isfinite(below) else 1.0
        inside = slower_than_below > allowed >= canary.above(above) / canary.requests
        if inside and not math.isclose(below, limit, rel_tol=1e-6):
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
        if math.isfinite(edge) and not math.isclose(edge, limit, rel_tol=1e-6):
            notes.append(
                f"{purpose}, {format_seconds(limit)} is judged at the bucket edge {format_seconds(edge)}; "
                f"add le={limit:g} (in seconds) to be exact"
            )
    return tuple(dict.fromkeys(notes))


def _estimate(arm: Tail, quantile: float, terms: Terms) -> Estimate:
    low, high = arm.interval(quantile, terms)
    return Estimate(value=arm.quantile(quantile), low=low, high=high, n=arm.requests)


def _show(value: float, arm: Tail) -> str:
    if math.isfinite(value):
        return format_seconds(value)
    return f"above {format_seconds(float(arm.edges[-1]))}" if len(arm.edges) else "unknown"


def _known(arm: Tail) -> str:
    return ", ".join(format_seconds(float(edge)) for edge in arm.edges[:12]) or "none"
