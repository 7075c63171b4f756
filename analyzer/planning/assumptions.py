"""What a plan supposes of canary, faults and baseline: what suits a policy's limits, or what people say themselves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from analyzer.checks.binning import BINS
from analyzer.config.policy import Check, Policy
from analyzer.errors import Problem, RequestError
from analyzer.model.findings import Kind
from analyzer.quantity import format_ratio, format_seconds, nearest, parse_number, parse_ratio, parse_seconds

FAULTS = ("small", "medium", "large")
HEALTHY_PART = 0.2  # of the share of bad requests that is allowed
HEALTHY_MEAN = 0.5  # of the mean latency that is promoted
ERROR_FAULTS = (1.5, 3.0, 10.0)  # times the rollback limit, of mean latencies as well
SLOW_FAULTS = (1.8, 5.0, 20.0)  # times the share of slow requests that the quantile allows
DRIFT_FAULTS = (1.25, 2.5, 5.0)  # times the rollback limit
CHANGE_FAULTS = (2 / 3, 7 / 3, 9.0)  # beyond the rollback limit, in units of it: -5%, -10%, -30% for -3%
CONVERSION = 0.05
ERROR_LEVEL = 0.001  # of a baseline whose limits do not tell it
SPREAD, FINE = 0.5, 2.0 ** (1 / 8)  # of the logarithm of latencies; ratio of the edges of native buckets


@dataclass(frozen=True)
class Assumption:
    """What a plan supposes of one check.

    Attributes
    ----------
    healthy : value of a healthy canary: share of failed or of slow requests, mean in seconds, PSI, or change against
        the baseline
    faults : values of faulty ones in the same unit, at most three, the mildest first
    level : the baseline's own rate where limits are changes against it: of errors, slow requests or conversions
    shares : of the baseline's predictions in each bin
    variation : squared coefficient of variation of the values or latencies; None: there are conversions
    correlation : of two requests of one minute, in [0, 1], as `calibration` finds it
    """

    healthy: float
    faults: tuple[float, ...]
    level: float = CONVERSION
    shares: tuple[float, ...] = (1 / BINS,) * BINS
    variation: float | None = None
    correlation: float = 0.0

    @classmethod
    def of(cls, check: Check) -> "Assumption":
        """Suppose what suits the limits of a check."""
        if check.compares:
            unit = max(abs(check.rollback), abs(check.rollback - check.promote)) or 0.03
            worse = -1 if check.kind is Kind.BUSINESS else 1
            faults = tuple(max(check.rollback + worse * times * unit, -1.0) for times in CHANGE_FAULTS)
            level = {Kind.BUSINESS: CONVERSION, Kind.LATENCY: allowed(check)}.get(check.kind, ERROR_LEVEL)
            return cls(0.0, faults, level, variation=1.0 if check.kind is Kind.MEAN_LATENCY else None)
        match check.kind:
            case Kind.LATENCY:
                share = allowed(check)
                return cls(HEALTHY_PART * share, tuple(min(times * share, 1.0) for times in SLOW_FAULTS))
            case Kind.MEAN_LATENCY:
                faults = tuple(times * check.rollback for times in ERROR_FAULTS)
                return cls(HEALTHY_MEAN * check.promote, faults, variation=1.0)
            case Kind.DRIFT:
                return cls(0.0, tuple(times * check.rollback for times in DRIFT_FAULTS))
            case _:
                faults = tuple(min(times * check.rollback, 1.0) for times in ERROR_FAULTS)
                return cls(HEALTHY_PART * check.promote, faults)

    def of_bins(self, counts: Sequence[float]) -> Self:
        """Return the same with the shares of the bins that have predictions; two even ones where all are in one."""
        shares = tuple(count / sum(counts) for count in counts if count > 0)
        return replace(self, shares=shares if len(shares) > 1 else (0.5, 0.5))

    def meaning(self, check: Check) -> str:
        """Return the values assumed for a healthy canary and for faulty ones."""
        faults = ", ".join(_shown(check, value) for value in self.faults)
        text = f"healthy is {_shown(check, self.healthy)}"
        match check.kind:
            case Kind.LATENCY if not check.compares:
                limits = format_seconds(check.promote), format_seconds(check.rollback)
                text += f" of the requests slower than {limits[0]}, faults are {faults} slower than {limits[1]}"
            case Kind.DRIFT:
                text += f", faults are {faults}, over {len(self.shares)} bins"
            case Kind.MEAN_LATENCY if not check.compares:
                text += f", faults are {faults}, of {self._baseline(check)}"
            case Kind.ERROR_RATE if not check.compares:
                text += f" of the requests failed, faults are {faults}"
            case _:
                text += f" against a baseline with {self._baseline(check)}, faults are {faults}"
        if self.correlation:
            text += f"; requests of the same minute correlate by {self.correlation:.2g}"
        return text

    def _baseline(self, check: Check) -> str:
        if self.variation is not None:
            values = "latencies" if check.kind is Kind.MEAN_LATENCY else "values"
            return f"{values} that vary by {math.sqrt(self.variation):.3g} times their mean"
        if check.kind is Kind.LATENCY and check.edge is None:
            return f"log-normal latencies (sigma {SPREAD:g}) in buckets {FINE - 1:.0%} wide"
        what = {Kind.BUSINESS: "converted", Kind.LATENCY: f"slower than {format_seconds(check.edge or 0.0)}"}
        return f"{format_ratio(self.level)} of the requests {what.get(check.kind, 'failed')}"


def allowed(check: Check) -> float:
    """Return the share of requests that may be slower than a limit of the latency."""
    return 1 - check.quantile_level


def read_assumptions(
    policy: Policy, options: Mapping[str, Sequence[str]], conversion: float = CONVERSION
) -> dict[str, Assumption]:
    """Read what people suppose themselves.

    Parameters
    ----------
    options : texts ``check=value`` by name of the option. ``healthy``, ``level`` and ``correlation`` at most once a
        check; ``fault`` at most three times, which replaces the faults that suit the limits
    conversion : of the baseline, for checks of business

    Raises
    ------
    RequestError : names every option that is wrong, with the remedy
    """
    problems: list[Problem] = []
    given: dict[tuple[str, str], list[float]] = {}
    if not 0 < conversion <= 1:
        text = f"must be above 0% and at most 100%, got {format_ratio(conversion)}"
        problems.append(Problem("conversion", text))
    for option, texts in options.items():
        for text in texts:
            try:
                name, value = _pair(policy, option, text)
            except ValueError as error:
                problems.append(Problem(option, str(error)))
            else:
                given.setdefault((name, option), []).append(value)
    for (name, option), values in given.items():
        most, word = (len(FAULTS), "three times") if option == "fault" else (1, "once")
        if len(values) > most:
            problems.append(Problem(option, f"{name} may be given {word} at most, is {len(values)} times"))
    if problems:
        raise RequestError(problems)
    assumptions = {}
    for name, check in policy.checks.items():
        assumption = Assumption.of(check)
        level = conversion if check.kind is Kind.BUSINESS else assumption.level
        assumptions[name] = replace(
            assumption,
            healthy=given.get((name, "healthy"), [assumption.healthy])[0],
            faults=tuple(given.get((name, "fault"), assumption.faults)),
            level=given.get((name, "level"), [level])[0],
            correlation=given.get((name, "correlation"), [0.0])[0],
        )
    return assumptions


def _pair(policy: Policy, option: str, text: str) -> tuple[str, float]:
    """Read the check's name and its value; raises ValueError."""
    name, separator, value = (part.strip() for part in text.partition("="))
    if not separator:
        raise ValueError(f"{text[:60]!r} lacks a check or a value: write {next(iter(policy.checks))}=1%")
    if name not in policy.checks:
        raise ValueError(f"policy {policy.name} has no check {name[:60]!r}; {nearest(name, policy.checks)}")
    check = policy.checks[name]
    if option in ("level", "correlation") and check.kind is Kind.MEAN_LATENCY:
        raise ValueError(f"{name} compares means of slices, for which a {option} changes nothing; leave it out")
    if option == "level" and not check.compares:
        raise ValueError(f"{name} has no limits that are changes against the baseline; use --healthy")
    try:
        return name, _value(check, option, value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _value(check: Check, option: str, text: str) -> float:
    """Read a value in the check's unit; raises ValueError."""
    if option in ("level", "correlation"):
        ratio = parse_ratio(text)
        if not 0 <= ratio <= 1 or (option == "level" and ratio == 0):
            raise ValueError(f"must be {'above' if option == 'level' else 'from'} 0 and at most 1, got {text[:40]!r}")
        return ratio
    if check.kind is Kind.DRIFT:
        distance = parse_number(text)
        if distance < 0:
            raise ValueError(f"a PSI is not negative, got {text[:40]!r}")
        return distance
    if check.kind is Kind.MEAN_LATENCY and not check.compares:
        return parse_seconds(text)
    if check.kind is Kind.LATENCY and not check.compares and text[-1:].isalpha():
        raise ValueError(
            f"{text[:40]!r} does not tell how many requests are slower than the limit: write their share, such as "
            f"{format_ratio(2 * allowed(check))}"
        )
    ratio = parse_ratio(text)
    if check.compares and ratio < -1:
        raise ValueError(f"no change is below -100%, got {text[:40]!r}")
    if not check.compares and not 0 <= ratio <= 1:
        raise ValueError(f"must be a share from 0% to 100%, got {text[:40]!r}")
    return ratio


def _shown(check: Check, value: float) -> str:
    if check.kind is Kind.LATENCY and not check.compares:
        return format_ratio(value)
    return "no change" if check.compares and value == 0 else check.shown(value)
