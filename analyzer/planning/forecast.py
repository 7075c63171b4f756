"""How long each check of a policy will take at a given traffic: ``analyzer plan``.

Each check is judged by the very functions that judge a rollout, on the counts that are expected after so many requests,
and the fewest that decide are looked for. Knows no source and no clock.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from analyzer import checks
from analyzer.checks.decision import format_count
from analyzer.config.policy import Check, DecideBy, Policy
from analyzer.model.counts import (
    C,
    Classes,
    Conversions,
    Counts,
    Errors,
    Floats,
    Histogram,
    MeanOnly,
    Reading,
    Values,
    by_slice,
)
from analyzer.model.findings import Code, Kind, Outcome, Role, Rule
from analyzer.planning.assumptions import FINE, SPREAD, Assumption, allowed
from analyzer.quantity import format_seconds
from analyzer.sources.promql import timeline_of
from analyzer.sources.slicing import MOST_SLICES
from analyzer.stats import dispersion, psi, slice_means

DAY = 86400.0
MOST = 1e10  # canary requests: what takes more is called never
REFINED = 6  # halvings of the last factor of two: about 1%
MOST_TILTED, HALVINGS = 50.0, 30  # of the logarithm of the shares of bins, from the first to the last


@dataclass(frozen=True)
class RequestRates:
    """Requests a second of each arm."""

    canary: float
    baseline: float

    @classmethod
    def split(cls, rate: float, share: float) -> "RequestRates":
        """Split a service's requests a second by the canary's share, in (0, 1)."""
        return cls(rate * share, rate * (1 - share))


@dataclass(frozen=True)
class Need:
    """About what it takes to decide at a value.

    Attributes
    ----------
    value : of the canary
    requests : canary requests that are judged; None: never
    seconds : from the start of the rollout, warm-up and lag included; None: never
    by_estimate : the policy settles it before anything is proved
    """

    value: float
    requests: float | None
    seconds: float | None
    by_estimate: bool = False


@dataclass(frozen=True)
class PlanRow:
    """What one check takes: to pass a healthy canary, and to fail each faulty one."""

    check: Check
    assumption: Assumption
    healthy: Need
    faults: tuple[Need, ...]


def plan(
    policy: Policy, rate: float, share: float, assumptions: Mapping[str, Assumption] | None = None
) -> dict[str, PlanRow]:
    """Return about how long each check of a policy takes.

    Parameters
    ----------
    rate : requests a second of the whole service, > 0
    share : the canary's part of them, in (0, 1)
    assumptions : by name of the check; default `Assumption.of` each
    """
    given, traffic = assumptions or {}, RequestRates.split(rate, share)
    return {
        name: plan_check(check, policy, traffic, given.get(name, Assumption.of(check)))
        for name, check in policy.checks.items()
    }


def plan_check(check: Check, policy: Policy, traffic: RequestRates, assumption: Assumption) -> PlanRow:
    """Return about how long one check takes, with requests a second of what it counts."""

    def need(value: float, wanted: Outcome) -> Need:
        proof = _proof(check, policy, traffic, assumption, value, wanted)
        settled = _settled(check, traffic, value, wanted)
        requests = min((requests for requests in (proof, settled) if requests is not None), default=None)
        if requests is None:
            return Need(value, None, None)
        seconds = max(check.warmup, check.pod_warmup) + check.lag + requests / traffic.canary
        return Need(value, requests, seconds, by_estimate=requests != proof)

    faults = tuple(need(value, Outcome.FAIL) for value in assumption.faults)
    return PlanRow(check, assumption, need(assumption.healthy, Outcome.PASS), faults)


def _proof(
    check: Check, policy: Policy, traffic: RequestRates, assumption: Assumption, value: float, wanted: Outcome
) -> float | None:
    """Find the fewest canary requests that prove a value; None: no number does."""
    ratio = traffic.baseline / traffic.canary
    before = policy.history * traffic.baseline
    # Evidence on counts divided by a factor is that of as many times fewer.
    factor = 1.0 if check.rule is Rule.POINT else _factor(check, traffic, assumption.correlation)
    declared = (
        None if check.decide_by is None or check.decide_by.requests is None else check.decide_by.requests / factor
    )
    by_then = None if declared is None or declared < 1 else DecideBy(requests=declared)
    # One slice stands for all of the time: which events are late cannot be told from it.
    bare = check.model_copy(update={"decide_by": by_then, "min_requests": 1.0, "delay": 0.0})

    def decides(requests: float) -> bool:
        if check.kind is Kind.MEAN_LATENCY:
            reading = _expected_means(check, assumption, value, requests / traffic.canary, traffic)
        else:
            reading = _expected(check, assumption, value, requests, requests * ratio, before, policy.history)
        finding = checks.judge(bare, reading, policy)
        return finding.outcome is wanted and (check.rule is Rule.POINT or finding.code is not Code.DECIDED_BY_POINT)

    promote, rollback = _limits(check)
    if not _is_beyond(check, value, rollback) if wanted is Outcome.FAIL else not _is_beyond(check, promote, value):
        return None
    requests = _fewest(decides, math.inf if declared is None else declared)
    if requests is None:
        return None
    requests *= factor
    return max(requests, check.min_requests) if wanted is Outcome.PASS else requests


def _settled(check: Check, traffic: RequestRates, value: float, wanted: Outcome) -> float | None:
    """Return at how many canary requests the policy settles a check by its point estimate; None: never as wanted."""
    promote, rollback = _limits(check)
    passes = wanted is Outcome.PASS
    if check.decide_by is None or not (
        _is_beyond(check, promote, value) if passes else _is_beyond(check, value, rollback)
    ):
        return None
    moments = [check.decide_by.requests]
    if check.decide_by.after is not None:
        judged_seconds = check.decide_by.after - max(check.warmup, check.pod_warmup) - check.lag
        moments.append(max(judged_seconds * traffic.canary, 1.0))
    first = min(moment for moment in moments if moment is not None)
    return max(first, check.min_requests) if passes else first


def _fewest(decides: Callable[[float], bool], declared: float) -> float | None:
    """Find the fewest requests that decide; those declared are tried as well, for after them their test is over."""
    low, high = 0.0, 1.0
    while not decides(high):
        low, high = high, min(2 * high, declared) if high < declared else 2 * high
        if high > MOST:
            return None
    if not low:
        return high
    for _ in range(REFINED):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def _factor(check: Check, traffic: RequestRates, correlation: float) -> float:
    """Return the design effect by which counts are divided, as the checks do."""
    if not correlation or check.kind is Kind.MEAN_LATENCY:
        return 1.0
    batches = (rate * dispersion.BATCH_SECONDS for rate in (traffic.canary, traffic.baseline))
    ours, theirs = (1 + max(batch - 1, 0.0) * correlation for batch in batches)
    if check.compares or check.kind is Kind.DRIFT:
        return float(dispersion.combined(ours, theirs, traffic.canary, traffic.baseline))
    return ours


def _limits(check: Check) -> tuple[float, float]:
    """Return promote and rollback in the unit of an assumed value."""
    if check.kind is Kind.LATENCY and not check.compares:
        return allowed(check), allowed(check)
    return check.promote, check.rollback


def _is_beyond(check: Check, value: float, limit: float) -> bool:
    return value < limit if check.kind is Kind.BUSINESS else value > limit


# Counts as they are expected


def _expected(
    check: Check, assumption: Assumption, value: float, ours: float, theirs: float, before: float, before_seconds: float
) -> Reading[Counts]:
    """Build what a source would read if everything came as expected, in one slice since the start.

    Parameters
    ----------
    value : of the canary; the baseline is healthy
    ours, theirs, before : requests of canary and baseline, and of the baseline before
    before_seconds : for how long the baseline is known before
    """
    canary: Counts
    baseline: Counts
    past: Counts
    base = assumption.level if check.compares else assumption.healthy
    rate = min(base * (1 + value), 1.0) if check.compares else value
    match check.kind:
        case Kind.ERROR_RATE:
            canary, baseline, past = (
                Errors(_slice(share * n), _slice(n)) for share, n in ((rate, ours), (base, theirs), (base, before))
            )
        case Kind.LATENCY if check.compares and check.edge is None:
            canary, baseline = _latencies(check, 1 + value, ours), _latencies(check, 1.0, theirs)
            past = _latencies(check, 1.0, before)
        case Kind.LATENCY:
            limits = {check.edge or check.promote, check.edge or check.rollback}
            canary, baseline = _two_speeds(limits, rate, ours), _two_speeds(limits, base, theirs)
            past = _two_speeds(limits, base, before)
        case Kind.DRIFT:
            canary, baseline = _drifted(assumption.shares, value, ours, theirs)
            past = _drifted(assumption.shares, value, ours, before)[1]
        case Kind.BUSINESS if assumption.variation is not None:
            canary, baseline, past = (
                Values(_slice(mean * n), _slice((1 + assumption.variation) * mean**2 * n), _slice(n))
                for mean, n in ((1 + value, ours), (1.0, theirs), (1.0, before))
            )
        case Kind.BUSINESS:
            canary, baseline, past = (
                Conversions(_slice(share * n), _slice(n)) for share, n in ((rate, ours), (base, theirs), (base, before))
            )
        case Kind.MEAN_LATENCY:
            raise TypeError("one sum does not tell how much it varies")
    # With the length of the slice known, the start has its part of the level, as in a rollout.
    minute = dispersion.BATCH_SECONDS
    history = _spread(past, before_seconds / minute) if before_seconds >= minute else None
    return Reading(canary, baseline, minute, history=history, history_seconds=minute)


def _expected_means(
    check: Check, assumption: Assumption, value: float, seconds: float, traffic: RequestRates
) -> Reading[Counts]:
    """Build slices of the length that a source gives, or that have enough requests, a standard deviation off the mean.

    Parameters
    ----------
    value : of the canary; the baseline is healthy
    seconds : how long the rollout lasts so far
    """
    enough = slice_means.FEWEST / min(traffic.canary, traffic.baseline if check.compares else math.inf)
    least = 0.0 if check.compares else dispersion.BATCH_SECONDS
    length = max(timeline_of(0.0, seconds, MOST_SLICES).step, enough * (1 + 1e-9), least)
    index = np.arange(max(1, math.floor(seconds / length)))
    base = 1.0 if check.compares else assumption.healthy
    mean = 1 + value if check.compares else value
    # Patterns that neither keep step with each other nor add up.
    above = np.where(index % 2, 1.0, -1.0), np.where(index // 2 % 2, 1.0, -1.0)
    variation = math.sqrt(assumption.variation or 0.0)
    canary, baseline = (
        MeanOnly(np.maximum(level * (1 + sign * variation / math.sqrt(count)), 0.0) * count, np.full(len(index), count))
        for level, sign, count in (
            (mean, above[0], traffic.canary * length), (base, above[1], traffic.baseline * length)
        )
    )  # fmt: skip
    return Reading(canary=canary, baseline=baseline, slice_seconds=length)


def _spread(counts: C, slices: float) -> C:
    """Part one slice into as many equal ones."""
    each = {name: np.repeat(values, round(slices), axis=0) / round(slices) for name, values in by_slice(counts).items()}
    return replace(counts, **each)  # type: ignore[arg-type]


def _slice(count: float) -> Floats:
    return np.array([float(count)])


def _two_speeds(limits: set[float], share: float, requests: float) -> Histogram:
    """Count a share of the requests as slower than every limit, and the others as quicker."""
    edges = np.array([*sorted(limits), math.inf])
    counts = np.zeros((1, len(edges)))
    counts[0, 0], counts[0, -1] = (1 - share) * requests, share * requests
    return Histogram(edges, counts)


def _latencies(check: Check, times: float, requests: float) -> Histogram:
    """Count log-normal latencies, `times` those of the baseline, in buckets as fine as native ones."""
    steps = np.arange(-48, 49)
    quantile = ndtri(check.quantile_level)  # the baseline's is 1
    below = ndtr(quantile + (steps * math.log(FINE) - math.log(max(times, 1e-9))) / SPREAD)
    counts = np.diff(np.concatenate(([0.0], below, [1.0])))[np.newaxis] * requests
    return Histogram(np.append(FINE**steps, math.inf), counts)


def _drifted(known: Sequence[float], distance: float, ours: float, theirs: float) -> tuple[Classes, Classes]:
    """Count predictions whose PSI is the one that is expected: that of the shares, and its bias."""
    base = np.array(known) / sum(known)
    names, baseline, many = tuple(map(str, range(len(base)))), base * theirs, 1e6 / base[base > 0].min()
    shares = _tilted(base * many, many, distance)  # of so many that half an observation more in each bin does not show
    alike = psi.distance(shares * ours, baseline)
    wanted = float(alike.raw) + float(alike.freedom) * (1 / ours + 1 / theirs)
    return Classes(names, ours * _tilted(baseline, ours, wanted)[np.newaxis]), Classes(names, baseline[np.newaxis])


def _tilted(baseline: Floats, requests: float, distance: float) -> Floats:
    """Find shares of the bins, every other one larger and smaller, at which so many requests show a PSI."""
    steps = np.zeros(len(baseline))
    steps[np.argsort(-baseline, kind="stable")[1:]] = np.resize((-1.0, 1.0), len(baseline) - 1)
    low, high = 0.0, MOST_TILTED
    for _ in range(HALVINGS):
        tilt = (low + high) / 2
        shares = baseline * np.exp(tilt * steps)
        shares /= shares.sum()
        low, high = (tilt, high) if psi.distance(requests * shares, baseline).raw < distance else (low, tilt)
    return shares


# In words


def remarks(rows: Mapping[str, PlanRow]) -> list[str]:
    """Return what follows for the whole rollout, and what is assumed."""
    gates = {name: row.healthy for name, row in rows.items() if row.check.role is Role.GATE}
    needs = []
    reached = [need for need in gates.values() if need.seconds is not None]
    if gates and len(reached) == len(gates):
        last = max(reached, key=lambda need: need.seconds or 0.0)
        needs.append(f"A healthy canary passes every gate after about {show_need(last)}.")
    elif gates:
        needs.append("A canary like the healthy one never passes every gate.")
    needs += [text for name, need in gates.items() if (text := too_long(name, need))]
    waiting = [name for name, row in rows.items() if row.check.role is not Role.GATE]
    if waiting and gates:
        needs.append(f"Not waited for, as no gate: {', '.join(waiting)}.")
    needs.append(
        "Assumptions: counts as expected, faults present from the start, requests independent but for the "
        "correlation given. One rollout in two takes longer, bursts make it longer still (`analyzer calibrate` tells "
        "by how much), and the time to the next scrape and measurement is added."
    )
    return needs


def too_long(name: str, need: Need) -> str:
    """Return that a gate takes more than a day to pass a healthy canary; empty: it does not."""
    if need.seconds is None:
        return (
            f"{name} can never pass at this value: it must be within the promote limit; make it a guardrail or raise "
            "the limit."
        )
    if need.seconds <= DAY:
        return ""
    return (
        f"{name} needs {show_seconds(need.seconds)} to pass a healthy canary: make it a guardrail or raise the limit."
    )


def show_need(need: Need) -> str:
    """Return requests and time as text."""
    if need.requests is None or need.seconds is None:
        return "never"
    estimate = ", by the estimate alone" if need.by_estimate else ""
    return f"{format_count(_rounded(need.requests))} requests, {show_seconds(need.seconds)}{estimate}"


def show_seconds(seconds: float) -> str:
    """Return a forecast of a duration with two digits: it is no more precise."""
    unit = next((size for limit, size in ((120, 1), (7200, 60), (172800, 3600)) if seconds < limit), DAY)
    return format_seconds(_rounded(seconds / unit) * unit)


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")
