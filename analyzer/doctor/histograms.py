"""What is said of the buckets that were found: against the limits of a latency, of predictions, of values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from analyzer.checks.buckets import TOLERANCE, edge_above, edge_below, is_edge
from analyzer.checks.decision import format_count
from analyzer.checks.drift import FEWEST
from analyzer.config.policy import Check
from analyzer.config.profile import ClassCounter, LatencyHistogram, ScoreHistogram, Unit
from analyzer.doctor.notices import Advice, DoctorCode, Status, several
from analyzer.doctor.observations import Seen, edges_of
from analyzer.model.findings import Rule
from analyzer.planning.assumptions import allowed
from analyzer.quantity import format_ratio, format_seconds
from analyzer.stats.psi import EXPECTED

FEW_BINS = 5
DOMINANT = 0.9  # share of the predictions in one bin, from which on the others decide when a check passes


@dataclass(frozen=True)
class BucketEdges:
    """The bins of one histogram, or the classes of a counter.

    Attributes
    ----------
    edges : upper edges of a histogram but for the infinite one, in seconds where it is a latency
    counted : observations in each bin, by arm; of a histogram the last bin is that above all edges
    """

    edges: tuple[float, ...]
    counted: Mapping[str, tuple[float, ...]]

    @property
    def number(self) -> int:
        """How many bins there are; the one above all edges counts if anything is in it."""
        used = any(counts[-1] > 0 for counts in self.counted.values())
        return len(self.edges) + used if self.edges else max(map(len, self.counted.values()), default=0)

    def empty(self, word: str) -> int:
        """How many bins of an arm are empty."""
        return self.number - sum(count > 0 for count in self.counted[word])

    def above(self, edge: float, word: str) -> float:
        """Give the share of an arm's observations above an edge."""
        counts = self.counted[word]
        slower = sum(
            count for at, count in zip((*self.edges, math.inf), counts, strict=False) if at > edge * (1 + TOLERANCE)
        )
        return slower / total if (total := sum(counts)) > 0 else 0.0


def bins_of(seen: Mapping[str, Seen], unit: Unit = Unit.SECONDS) -> BucketEdges:
    """Read the buckets of a classic histogram, by arm."""
    edges: set[float] = set()
    counted = {}
    for word, metric in seen.items():
        cumulative = edges_of(metric)
        edges |= cumulative.keys()
        grown = [0.0, *(grown for _, grown in cumulative.values())]
        counted[word] = tuple(max(after - before, 0.0) for before, after in pairwise(grown))
    finite = sorted(edge for edge in edges if math.isfinite(edge))
    return BucketEdges(tuple(edge * unit.seconds for edge in finite), counted)


def classes_of(way: ClassCounter, seen: Mapping[str, Seen]) -> BucketEdges:
    """Read the classes of a counter, by arm."""
    names = sorted({name for metric in seen.values() for name in metric.by.get(way.by, {})})
    counted = {
        word: tuple(metric.by.get(way.by, {}).get(name, (0.0, 0.0))[1] for name in names)
        for word, metric in seen.items()
    }
    return BucketEdges((), counted)


def differing(metric: str, seen: Mapping[str, Seen]) -> list[Advice]:
    """Find what makes buckets unusable: no last one, pods or arms that have different ones."""
    by_arm = {word: edges_of(metric) for word, metric in seen.items()}
    same = "give all pods of both versions the same buckets"
    notices = []
    for word, edges in by_arm.items():
        written_twice = len(edges) < len(seen[word].by.get("le", {}))
        if math.inf not in edges:
            what = f'{metric} of the {word} has no bucket le="+Inf", which counts every request'
            remedy = "keep it: no metricRelabelings may drop it"
            notices.append(Advice(Status.MISSING, DoctorCode.BUCKETS_DIFFER, what, remedy))
        elif len({series for series, _ in edges.values()}) > 1 and not written_twice:
            fewest = min(edges, key=lambda edge: edges[edge][0])
            what = f"pods of the {word} have different buckets: not all have le={fewest:g}"
            notices.append(Advice(Status.MISSING, DoctorCode.BUCKETS_DIFFER, what, same))
    if len(by_arm) > 1 and not notices and len({frozenset(edges) for edges in by_arm.values()}) > 1:
        canary, baseline = by_arm["canary"].keys(), by_arm["baseline"].keys()
        only = {"canary": sorted(canary - baseline), "baseline": sorted(baseline - canary)}
        differences = " and ".join(
            f"only the {word} has le {', '.join(f'{edge:g}' for edge in edges[:3])}"
            for word, edges in only.items()
            if edges
        )
        what = f"the arms have different buckets: {differences}"
        notices.append(Advice(Status.MISSING, DoctorCode.BUCKETS_DIFFER, what, same))
    return notices


def about_limits(check: Check, way: LatencyHistogram, bins: BucketEdges) -> list[Advice]:
    """Compare the edges of a classic histogram with the limits of a latency."""
    if check.rule is Rule.RELATIVE:
        if check.edge is None or is_edge(bins.edges, check.edge):
            return []
        what = f"edge {format_seconds(check.edge)} is no bucket edge of the histogram"
        remedy = _add(check.edge, way) + f", or set edge to one of {_nearest(check.edge, bins)}"
        return [Advice(Status.MISSING, DoctorCode.LIMIT_INSIDE_BUCKET, what, remedy)]
    notices = []
    below = edge_below(bins.edges, check.promote)
    if math.isinf(below):
        what = f"no bucket edge at or below promote {format_seconds(check.promote)}: nothing can ever be proved good"
        remedy = f"{_add(check.promote, way)}, or set promote to {_nearest(check.promote, bins)}"
        notices.append(Advice(Status.MISSING, DoctorCode.LIMIT_BEYOND_BUCKETS, what, remedy))
    else:
        notices += _about_promote(check, way, bins, below)
    above = edge_above(bins.edges, check.rollback)
    if math.isinf(above):
        what = f"no bucket edge at or above rollback {format_seconds(check.rollback)}: nothing can ever be proved bad"
        remedy = f"{_add(check.rollback, way)}, or set rollback to {_nearest(check.rollback, bins)}"
        notices.append(Advice(Status.MISSING, DoctorCode.LIMIT_BEYOND_BUCKETS, what, remedy))
    elif not is_edge(bins.edges, check.rollback):
        what = (
            f"rollback {format_seconds(check.rollback)} lies inside a bucket, and is judged at {format_seconds(above)}"
        )
        remedy = f"{_add(check.rollback, way)}, or set rollback to {_nearest(check.rollback, bins)}"
        notices.append(Advice(Status.WARNING, DoctorCode.LIMIT_INSIDE_BUCKET, what, remedy))
    return notices


def _about_promote(check: Check, way: LatencyHistogram, bins: BucketEdges, below: float) -> list[Advice]:
    limit = format_seconds(check.promote)
    word = "baseline" if "baseline" in bins.counted else next(iter(bins.counted), "")
    share = bins.above(below, word) if word else 0.0
    slow = f"{format_ratio(share)} of the {word}'s requests are slower than {format_seconds(below)}"
    permitted = f"of which p{check.quantile_level * 100:g} permits {format_ratio(allowed(check))}"
    if is_edge(bins.edges, check.promote):
        if share <= allowed(check):
            return []
        remedy = f"raise promote, or judge the change against the baseline: rule relative with edge {limit}"
        what = f"{slow}, {permitted}: a canary like it never passes"
        return [Advice(Status.WARNING, DoctorCode.BASELINE_BEYOND_LIMIT, what, remedy)]
    remedy = f"{_add(check.promote, way)}, or set promote to {_nearest(check.promote, bins)}"
    what = f"promote {limit} lies inside a bucket, and is judged at {format_seconds(below)}"
    if share > allowed(check):
        what += f": {slow}, {permitted}, so that a canary like it never passes"
        return [Advice(Status.MISSING, DoctorCode.LIMIT_INSIDE_BUCKET, what, remedy)]
    return [Advice(Status.WARNING, DoctorCode.LIMIT_INSIDE_BUCKET, what, remedy)]


def about_bins(way: ScoreHistogram | ClassCounter, bins: BucketEdges) -> list[Advice]:
    """Say whether bins can show a drift."""
    counted = {word: sum(counts) for word, counts in bins.counted.items()}
    if not counted or not all(counted.values()):
        return []  # which is said elsewhere
    used = max(sum(any(pair) for pair in zip(*bins.counted.values(), strict=False)), 0)
    noun = "class" if isinstance(way, ClassCounter) else "bin"
    finer = "give the histogram about ten edges where its scores are"
    remedy = f"count finer classes in the label {way.by}" if isinstance(way, ClassCounter) else finer
    if used < 2:
        what = f"all predictions lie in one of {several(bins.number, noun)}: no drift can show"
        return [Advice(Status.MISSING, DoctorCode.BINS, what, remedy)]
    notices = []
    if isinstance(way, ScoreHistogram) and used < FEW_BINS:
        what = f"only {used} of {bins.number} bins have predictions: a drift inside one of them does not show"
        notices.append(Advice(Status.WARNING, DoctorCode.BINS, what, remedy))
    few = [f"{count:,.0f} of the {word}" for word, count in counted.items() if count < FEWEST]
    if few:
        what = f"only {' and '.join(few)} predictions were counted: a PSI needs {FEWEST} of each arm"
        notices.append(Advice(Status.WARNING, DoctorCode.FEW_PREDICTIONS, what, "wait, or send more traffic"))
    return notices


def about_rare(way: ScoreHistogram | ClassCounter, bins: BucketEdges, requests: float) -> list[Advice]:
    """Say what a check cannot see before it passes, after so many predictions of a canary like its baseline."""
    counts = next((bins.counted[word] for word in ("baseline", *bins.counted)), ())
    shares = [count / sum(counts) for count in counts if count > 0]
    noun = "class" if isinstance(way, ClassCounter) else "bin"
    needed, rare = format_count(requests), sum(share * requests < EXPECTED for share in shares)
    if max(shares, default=0.0) >= DOMINANT:
        what = (
            f"{format_ratio(max(shares))} of the predictions lie in one {noun}: this check cannot see a canary that "
            f"always answers so before about {needed} of its predictions, and passes none before"
        )
        finer = (
            "let its steps last so long" if noun == "class" else "add edges inside that bin, or let steps last so long"
        )
        return [Advice(Status.WARNING, DoctorCode.RARE_PREDICTIONS, what, finer)]
    if rare > len(shares) / 2:
        what = (
            f"{rare:,} of {several(len(shares), noun)} are rare: this check cannot see "
            f"single ones of them vanish before it passes, after about {needed} predictions of the canary"
        )
        return [Advice(Status.WARNING, DoctorCode.RARE_PREDICTIONS, what, "raise min_requests, or use coarser ones")]
    return []


def about_spread(metric: str, bins: BucketEdges) -> list[Advice]:
    """Say whether the edges of a histogram of values bound their spread."""
    beyond = [word for word, counts in bins.counted.items() if counts[-1] > 0]
    if not beyond:
        return []
    last = f"{bins.edges[-1]:g}" if bins.edges else "none"
    what = (
        f"values of the {' and the '.join(beyond)} lie above the last edge of {metric}, {last}: their spread is unknown"
    )
    remedy = "add an edge above the largest value"
    return [Advice(Status.MISSING, DoctorCode.SPREAD_UNKNOWN, what, remedy)]


def _add(limit: float, way: LatencyHistogram) -> str:
    return f'add le="{limit / way.unit.seconds:g}" to {way.histogram and way.histogram.metric}'


def _nearest(limit: float, bins: BucketEdges) -> str:
    below = [edge for edge in bins.edges if edge < limit][-1:]
    above = [edge for edge in bins.edges if edge > limit][:1]
    return " or ".join(map(format_seconds, below + above)) or "none"
