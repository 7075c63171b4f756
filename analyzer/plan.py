"""How long each check of a policy will take at a given traffic: ``analyzer plan``.

Each check is judged by the very functions that judge a rollout, on the counts that are expected after so many requests,
and the fewest that decide are looked for. Knows no source and no clock.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from scipy.special import ndtr, ndtri

from analyzer import checks
from analyzer.answer import number
from analyzer.checks.decision import format_count
from analyzer.checks.drift import BINS
from analyzer.errors import Problem, RequestError
from analyzer.model import (
    Classes,
    Conversions,
    Counts,
    Errors,
    Floats,
    Histogram,
    Kind,
    Outcome,
    Reading,
    Role,
    Rule,
    Values,
)
from analyzer.policy import Check, Policy
from analyzer.quantity import format_ratio, format_seconds, nearest, parse_number, parse_ratio
from analyzer.stats import dispersion, psi
from analyzer.stats.dispersion import Dispersion

DAY = 86400.0
MOST = 1e12  # canary requests: what takes more is called never
REFINED = 6  # halvings of the last factor of two: about 1%
FAULTS = ("small", "medium", "large")

# What is taken to be healthy and faulty where nothing else is said.
HEALTHY_PART = 0.2  # of the share of bad requests that is allowed
ERROR_FAULTS = (1.5, 3.0, 10.0)  # times the rollback limit
SLOW_FAULTS = (1.8, 5.0, 20.0)  # times the share of slow requests that the quantile allows
DRIFT_FAULTS = (1.25, 2.5, 5.0)  # times the rollback limit
CHANGE_FAULTS = (2 / 3, 7 / 3, 9.0)  # beyond the rollback limit, in units of it: -5%, -10%, -30% for -3%
CONVERSION = 0.05
ERROR_LEVEL = 0.001  # of a baseline whose limits do not tell it
MOST_TILTED, HALVINGS = 50.0, 30  # of the logarithm of the shares, over all bins
SPREAD, FINE = 0.5, 2.0 ** (1 / 8)  # of the logarithm of latencies; the width of native buckets


@dataclass(frozen=True)
class Assumption:
    """What a plan supposes of one check.

    Attributes
    ----------
    healthy : value of a healthy canary: share of failed or of slow requests, PSI, or change against the baseline
    faults : values of faulty ones in the same unit, at most three, the mildest first
    level : the baseline's own rate where limits are changes against it: of errors, slow requests or conversions
    bins : of the predictions
    variation : squared coefficient of variation of the values; None: there are conversions
    correlation : of two requests of one minute, as `calibrate` finds it
    """

    healthy: float
    faults: tuple[float, ...]
    level: float = CONVERSION
    bins: int = BINS
    variation: float | None = None
    correlation: float = 0.0

    @classmethod
    def of(cls, check: Check) -> "Assumption":
        """Suppose what suits the limits of a check."""
        if check.compares:
            unit = max(abs(check.rollback), abs(check.rollback - check.promote)) or 0.03
            worse = -1 if check.kind is Kind.BUSINESS else 1
            faults = tuple(max(check.rollback + worse * times * unit, -1.0) for times in CHANGE_FAULTS)
            level = {Kind.BUSINESS: CONVERSION, Kind.LATENCY: _allowed(check)}.get(check.kind, ERROR_LEVEL)
            return cls(0.0, faults, level)
        match check.kind:
            case Kind.LATENCY:
                share = _allowed(check)
                return cls(HEALTHY_PART * share, tuple(min(times * share, 1.0) for times in SLOW_FAULTS))
            case Kind.DRIFT:
                return cls(0.0, tuple(times * check.rollback for times in DRIFT_FAULTS))
            case _:
                faults = tuple(min(times * check.rollback, 1.0) for times in ERROR_FAULTS)
                return cls(HEALTHY_PART * check.promote, faults)


@dataclass(frozen=True)
class Traffic:
    """Requests a second of each arm."""

    canary: float
    baseline: float

    @classmethod
    def split(cls, rate: float, share: float) -> "Traffic":
        """Split a service's requests a second by the canary's share, in (0, 1)."""
        return cls(rate * share, rate * (1 - share))


@dataclass(frozen=True)
class Need:
    """About what it takes to decide at a value.

    Attributes
    ----------
    value : of the canary
    requests : canary requests that are judged; None: never
    seconds : from the begin of the rollout on, warm-up and lag included; None: never
    by_estimate : the policy settles it before anything is proved
    """

    value: float
    requests: float | None
    seconds: float | None
    by_estimate: bool = False


@dataclass(frozen=True)
class Row:
    """What one check takes: to pass a healthy canary, and to fail each faulty one."""

    check: Check
    assumption: Assumption
    healthy: Need
    faults: tuple[Need, ...]


def plan(
    policy: Policy, rate: float, share: float, assumptions: Mapping[str, Assumption] | None = None
) -> dict[str, Row]:
    """Tell about how long each check of a policy takes.

    Parameters
    ----------
    rate : requests a second of the whole service, > 0
    share : the canary's part of them, in (0, 1)
    assumptions : by name of the check; default `Assumption.of` each
    """
    given, traffic = assumptions or {}, Traffic.split(rate, share)
    return {
        name: plan_check(check, policy, traffic, given.get(name, Assumption.of(check)))
        for name, check in policy.checks.items()
    }


def plan_check(check: Check, policy: Policy, traffic: Traffic, assumption: Assumption) -> Row:
    """Tell about how long one check takes, with requests a second of what it counts."""

    def need(value: float, wanted: Outcome) -> Need:
        proof = _proof(check, policy, traffic, assumption, value, wanted)
        settled = _settled(check, traffic, value, wanted)
        requests = min((one for one in (proof, settled) if one is not None), default=None)
        if requests is None:
            return Need(value, None, None)
        seconds = check.warmup + check.lag + requests / traffic.canary
        return Need(value, requests, seconds, by_estimate=requests != proof)

    faults = tuple(need(value, Outcome.FAIL) for value in assumption.faults)
    return Row(check, assumption, need(assumption.healthy, Outcome.PASS), faults)


def _proof(
    check: Check, policy: Policy, traffic: Traffic, assumption: Assumption, value: float, wanted: Outcome
) -> float | None:
    """Find the fewest canary requests that prove a value; None: no number does."""
    ratio = traffic.baseline / traffic.canary
    unsettled = check.model_copy(update={"decide_by": None})

    def decides(requests: float) -> bool:
        reading = _expected(check, assumption, value, requests, requests * ratio)
        return checks.judge(unsettled, reading, policy).outcome is wanted

    promote, rollback = _limits(check)
    if not _is_beyond(check, value, rollback) if wanted is Outcome.FAIL else not _is_beyond(check, promote, value):
        return None
    requests = _fewest(decides)
    if requests is None or check.rule is Rule.POINT:
        return requests
    least = check.min_requests if wanted is Outcome.PASS else 0.0
    # Evidence on counts divided by a factor is that of as many times fewer requests.
    return max(requests * _factor(check, traffic, assumption.correlation), least)


def _settled(check: Check, traffic: Traffic, value: float, wanted: Outcome) -> float | None:
    """Tell at how many canary requests the policy settles a check by its estimate; None: never as wanted."""
    promote, rollback = _limits(check)
    passes = wanted is Outcome.PASS
    if check.decide_by is None or not (
        _is_beyond(check, promote, value) if passes else _is_beyond(check, value, rollback)
    ):
        return None
    moments = [check.decide_by.requests]
    if check.decide_by.after is not None:
        judged_seconds = check.decide_by.after - check.warmup - check.lag
        moments.append(max(judged_seconds * traffic.canary, 1.0))
    first = min(one for one in moments if one is not None)
    return max(first, check.min_requests) if passes else first


def _fewest(decides: Callable[[float], bool]) -> float | None:
    requests = 1.0
    while not decides(requests):
        requests *= 2
        if requests > MOST:
            return None
    if requests == 1:
        return requests
    low, high = requests / 2, requests
    for _ in range(REFINED):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def _factor(check: Check, traffic: Traffic, correlation: float) -> float:
    """Tell by what counts are divided for overdispersion, as the checks do."""
    if not correlation:
        return 1.0
    found = Dispersion(correlation)
    ours, theirs = (
        float(found.factor(rate * dispersion.BATCH_SECONDS)) for rate in (traffic.canary, traffic.baseline)
    )
    if check.compares or check.kind is Kind.DRIFT:
        return float(dispersion.combined(ours, theirs, traffic.canary, traffic.baseline))
    return ours


def _allowed(check: Check) -> float:
    """Give the share of requests that may be slower than a limit of the latency."""
    return 1 - (check.quantile or 0.99)


def _limits(check: Check) -> tuple[float, float]:
    """Give promote and rollback in the unit of an assumed value."""
    if check.kind is Kind.LATENCY and not check.compares:
        return _allowed(check), _allowed(check)
    return check.promote, check.rollback


def _is_beyond(check: Check, value: float, limit: float) -> bool:
    return value < limit if check.kind is Kind.BUSINESS else value > limit


# Counts as they are expected


def _expected(check: Check, assumption: Assumption, value: float, ours: float, theirs: float) -> Reading[Counts]:
    """Build what a source would read if everything came as expected, in one slice since the begin.

    Parameters
    ----------
    value : of the canary; the baseline is healthy
    ours, theirs : requests of canary and baseline
    """
    canary: Counts
    baseline: Counts
    base = assumption.level if check.compares else assumption.healthy
    rate = min(base * (1 + value), 1.0) if check.compares else value
    match check.kind:
        case Kind.ERROR_RATE:
            canary, baseline = Errors(_one(rate * ours), _one(ours)), Errors(_one(base * theirs), _one(theirs))
        case Kind.LATENCY if check.compares and check.edge is None:
            canary, baseline = _latencies(check, 1 + value, ours), _latencies(check, 1.0, theirs)
        case Kind.LATENCY:
            limits = {check.edge or check.promote, check.edge or check.rollback}
            canary, baseline = _two_speeds(limits, rate, ours), _two_speeds(limits, base, theirs)
        case Kind.DRIFT:
            canary, baseline = _drifted(assumption.bins, value, ours, theirs)
        case Kind.BUSINESS if assumption.variation is not None:
            canary, baseline = (
                Values(_one(mean * n), _one((1 + assumption.variation) * mean**2 * n), _one(n))
                for mean, n in ((1 + value, ours), (1.0, theirs))
            )
        case Kind.BUSINESS:
            canary, baseline = (
                Conversions(_one(rate * ours), _one(ours)),
                Conversions(_one(base * theirs), _one(theirs)),
            )
    # With the length of the slice known, the begin has its part of the level, as in a rollout.
    return Reading(canary=canary, baseline=baseline, slice_seconds=dispersion.BATCH_SECONDS)


def _one(count: float) -> Floats:
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
    quantile = ndtri(check.quantile or 0.99)  # the baseline's is 1
    below = ndtr(quantile + (steps * math.log(FINE) - math.log(max(times, 1e-9))) / SPREAD)
    counts = np.diff(np.concatenate(([0.0], below, [1.0])))[np.newaxis] * requests
    return Histogram(np.append(FINE**steps, math.inf), counts)


def _drifted(bins: int, distance: float, ours: float, theirs: float) -> tuple[Classes, Classes]:
    """Count predictions whose PSI is the one that is expected: that of the shares, and its bias."""
    names, baseline = tuple(map(str, range(bins))), np.full(bins, theirs / bins)
    many = 1e6 * bins  # half an observation more in each bin does not show
    shares = _tilted(np.full(bins, many / bins), many, distance)
    wanted = float(psi.distance(shares * ours, baseline).raw) + (bins - 1) * (1 / ours + 1 / theirs)
    return Classes(names, ours * _tilted(baseline, ours, wanted)[np.newaxis]), Classes(names, baseline[np.newaxis])


def _tilted(baseline: Floats, requests: float, distance: float) -> Floats:
    """Find shares of the bins, tilted as by scores that move, at which so many requests show a PSI."""
    steps = np.linspace(-1, 0, len(baseline))
    low, high = 0.0, MOST_TILTED
    for _ in range(HALVINGS):
        tilt = (low + high) / 2
        shares = np.exp(tilt * steps)
        shares /= shares.sum()
        low, high = (tilt, high) if psi.distance(requests * shares, baseline).raw < distance else (low, tilt)
    return shares


# What people suppose themselves


def read_assumptions(
    policy: Policy,
    *,
    healthy: Sequence[str] = (),
    fault: Sequence[str] = (),
    level: Sequence[str] = (),
    correlation: Sequence[str] = (),
    conversion: float = CONVERSION,
) -> dict[str, Assumption]:
    """Read what the options say, each as ``check=value``.

    Parameters
    ----------
    healthy, level, correlation : at most one of each a check
    fault : at most three a check; they replace those that suit the limits
    conversion : of the baseline, for checks of business

    Raises
    ------
    RequestError : names every option that is wrong, with the remedy
    """
    problems: list[Problem] = []
    found = {name: Assumption.of(check) for name, check in policy.checks.items()}
    if not 0 < conversion <= 1:
        problems.append(Problem("--conversion", f"must be above 0% and at most 100%, got {format_ratio(conversion)}"))
    for name, check in policy.checks.items():
        if check.kind is Kind.BUSINESS:
            found[name] = replace(found[name], level=conversion)
    given: dict[str, dict[str, list[float]]] = {}
    for option, texts in (("healthy", healthy), ("fault", fault), ("level", level), ("correlation", correlation)):
        for text in texts:
            try:
                name, value = _pair(policy, option, text)
            except ValueError as error:
                problems.append(Problem(f"--{option}", str(error)))
                continue
            values = given.setdefault(name, {}).setdefault(option, [])
            values.append(value)
            most = len(FAULTS) if option == "fault" else 1
            if len(values) == most + 1:
                times = "three times" if option == "fault" else "once"
                problems.append(Problem(f"--{option}", f"{name} may be given {times} at most; leave out {text[:40]!r}"))
    if problems:
        raise RequestError(problems)
    for name, options in given.items():
        changed: dict[str, Any] = {option: values[0] for option, values in options.items() if option != "fault"}
        if "fault" in options:
            changed["faults"] = tuple(options["fault"])
        found[name] = replace(found[name], **changed)
    return found


def _pair(policy: Policy, option: str, text: str) -> tuple[str, float]:
    """Read the check's name and its value; raises ValueError."""
    name, separator, value = text.partition("=")
    name = name.strip()
    if not separator:
        raise ValueError(f"{text[:60]!r} is no value of a check: write {next(iter(policy.checks))}=1%")
    if name not in policy.checks:
        raise ValueError(f"policy {policy.name} has no check {name[:60]!r}; {nearest(name, policy.checks)}")
    check = policy.checks[name]
    if option == "level" and not check.compares:
        raise ValueError(f"{name}: its limits are no changes against the baseline; leave it out")
    try:
        return name, _value(check, option, value.strip())
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _value(check: Check, option: str, text: str) -> float:
    if option in ("level", "correlation"):
        ratio = parse_ratio(text)
        if not 0 <= ratio <= 1 or (option == "level" and ratio == 0):
            raise ValueError(f"must be from 0 to 1, got {text[:40]!r}")
        return ratio
    if check.kind is Kind.DRIFT:
        distance = parse_number(text)
        if distance < 0:
            raise ValueError(f"a PSI is not negative, got {text[:40]!r}")
        return distance
    slow = check.kind is Kind.LATENCY and not check.compares
    if slow and text[-1:].isalpha():
        raise ValueError(
            f"{text[:40]} does not tell how many requests are slower than the limit; write their share, such as "
            f"{format_ratio(2 * _allowed(check))}"
        )
    ratio = parse_ratio(text)
    if check.compares:
        if ratio < -1:
            raise ValueError(f"a change below -100% is not possible, got {text[:40]!r}")
        return ratio
    if not 0 <= ratio <= 1:
        raise ValueError(f"must be a share from 0% to 100%, got {text[:40]!r}")
    return ratio


# For people and for programs


def print_plan(rows: Mapping[str, Row], policy: Policy, rate: float, share: float, console: Console) -> None:
    """Print a table with one row a check, then what healthy and each fault mean."""
    console.print(
        f"Policy {policy.name} at {rate:,.4g} requests/s and weight {format_ratio(share)}, that is "
        f"{rate * share:,.3g} canary requests/s: about how many of them each check takes, and how long\n",
        highlight=False,
    )
    heads = ["healthy canary passes after", *(f"{size} fault rolled back after" for size in FAULTS)]
    table = Table(Column("check", no_wrap=True), *(Column(head, overflow="fold") for head in heads), box=None)
    table.pad_edge = False
    for name, row in rows.items():
        cells = [show_need(need) for need in (row.healthy, *row.faults)]
        table.add_row(Text(name), *cells, *["-"] * (len(FAULTS) - len(row.faults)))
    console.print(table)
    console.print()
    for line in [*(f"{name}: {_meaning(row)}" for name, row in rows.items()), *remarks(rows)]:
        console.print(line, highlight=False, markup=False)


def as_json(rows: Mapping[str, Row], policy: Policy, rate: float, share: float) -> dict[str, Any]:
    """Give the same for programs."""

    def need(one: Need) -> dict[str, Any]:
        return {
            "value": number(one.value),
            "requests": number(one.requests),
            "seconds": number(one.seconds),
            "by_estimate": one.by_estimate,
        }

    return {
        "policy": policy.name,
        "policy_digest": policy.digest,
        "rate": number(rate, 6),
        "weight": number(share * 100, 6),
        "canary_rate": number(rate * share, 6),
        "checks": {
            name: {
                "role": row.check.role.value,
                "healthy": need(row.healthy),
                "faults": {size: need(one) for size, one in zip(FAULTS, row.faults, strict=False)},
                "meaning": _meaning(row),
            }
            for name, row in rows.items()
        },
        "remarks": remarks(rows),
    }


def remarks(rows: Mapping[str, Row]) -> list[str]:
    """Say what follows for the whole rollout, and what is supposed."""
    gates = {name: row.healthy for name, row in rows.items() if row.check.role is Role.GATE}
    found = []
    reached = [need for need in gates.values() if need.seconds is not None]
    if gates and len(reached) == len(gates):
        last = max(reached, key=lambda need: need.seconds or 0.0)
        found.append(f"A healthy canary passes every gate after about {show_need(last)}.")
    elif gates:
        found.append("A canary like the healthy one never passes every gate.")
    found += [text for name, need in gates.items() if (text := too_long(name, need))]
    waiting = [name for name, row in rows.items() if row.check.role is not Role.GATE]
    if waiting and gates:
        found.append(f"Not waited for, as no gate: {', '.join(waiting)}.")
    found.append(
        "Supposed: counts as expected, faults there from the begin, requests that are independent but for the "
        "correlation given. One rollout in two takes longer; bursts make it longer still, `analyzer calibrate` tells "
        "how much."
    )
    return found


def too_long(name: str, need: Need) -> str:
    """Say of a gate that it takes more than a day to pass a healthy canary; empty: it does not."""
    if need.seconds is None:
        return (
            f"{name} can never pass at this value: it must be within the promote limit; make it a guardrail or raise "
            "the limit."
        )
    if need.seconds <= DAY:
        return ""
    return (
        f"{name} needs {show_seconds(need.seconds)} to pass a healthy canary: make it a guardrail or raise "
        "the limit."
    )


def show_need(need: Need) -> str:
    """Write requests and time for people."""
    if need.requests is None or need.seconds is None:
        return "never"
    estimate = ", by the estimate alone" if need.by_estimate else ""
    return f"{format_count(_rounded(need.requests))} requests, {show_seconds(need.seconds)}{estimate}"


def show_seconds(seconds: float) -> str:
    """Write a forecast of a duration: with two digits, as no more are true of it."""
    unit = next((size for limit, size in ((120, 1), (7200, 60), (172800, 3600)) if seconds < limit), DAY)
    return format_seconds(_rounded(seconds / unit) * unit)


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


def _meaning(row: Row) -> str:
    """Say what a healthy canary and the faulty ones are taken to be."""
    check, assumption = row.check, row.assumption
    faults = ", ".join(_show(check, value) for value in assumption.faults)
    text = f"healthy is {_show(check, assumption.healthy)}"
    match check.kind:
        case Kind.LATENCY if not check.compares:
            text += (
                f" slower than {format_seconds(check.promote)}, faults are {faults} slower than "
                f"{format_seconds(check.rollback)}"
            )
        case Kind.DRIFT:
            text += f", faults are {faults}, over {assumption.bins} bins"
        case Kind.ERROR_RATE if not check.compares:
            text += f" of the requests failed, faults are {faults}"
        case _:
            text += f" against {_level(check, assumption)}, faults are {faults}"
    if assumption.correlation:
        text += f"; requests of the same minute correlate by {assumption.correlation:.2g}"
    return text


def _level(check: Check, assumption: Assumption) -> str:
    if assumption.variation is not None:
        return f"values that vary by {math.sqrt(assumption.variation):.3g} times their mean"
    if check.kind is Kind.LATENCY and check.edge is None:
        return f"latencies taken to be log-normal (sigma {SPREAD:g}), in buckets {FINE - 1:.0%} wide"
    what = {Kind.BUSINESS: "converted", Kind.LATENCY: f"slower than {format_seconds(check.edge or 0.0)}"}
    return f"{format_ratio(assumption.level)} {what.get(check.kind, 'failed')}"


def _show(check: Check, value: float) -> str:
    if check.kind is Kind.LATENCY and not check.compares:
        return format_ratio(value)
    return "no change" if check.compares and value == 0 else check.shown(value)
