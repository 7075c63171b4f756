"""Which processes are simulated, at which settings and rates, and what is asked of the verdicts there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from bench.processes import traffic
from bench.processes.traffic import BINS, ONE_BIN, Draw, Floats
from bench.simulation.rivals import Limits

RUNS, SHORT_RUNS = 200, 24
WHOLE, LOOSE = 0.05, 0.10  # false rollbacks allowed; the check's own part of alpha is a quarter of the first


class Aim(Enum):
    """What is measured of a cell."""

    NO_ROLLBACK = "falsely rolled back"
    FOUND = "rolled back"
    PASSES = "passed"
    NEVER_PASSES = "wrongly passed"

    @property
    def ends_at_pass(self) -> bool:
        """Whether a run is over when it passes."""
        return self in (Aim.PASSES, Aim.NEVER_PASSES)


class Form(Enum):
    """What the columns of the counts are."""

    ERRORS = "errors"
    CONVERSIONS = "conversions"
    VALUES = "values"
    LATENCIES = "latencies"
    SCORES = "scores"
    CLASSES = "classes"

    def trials(self, columns: Floats) -> float:
        """Count requests, predictions or values in sums by column."""
        return float(columns.sum() if self in (Form.LATENCIES, Form.SCORES, Form.CLASSES) else columns[-1])


LIMITS = {
    "error_rate": Limits(0.005, 0.01),
    "latency_p99": Limits(0.01, 0.01),
    "prediction_drift": Limits(0.1, 0.2),
    "business_proxy": Limits(0.99, 0.97, compares=True, worse=-1),
}


@dataclass(frozen=True)
class Cell:
    """One process at one setting and rate.

    Attributes
    ----------
    process, setting : in words
    rate : canary requests a second, at the first weight
    check : of the default policy, judged alone at its part of alpha
    draw, how : the process, and its parameters
    bound : of the probability that `aim` names; None: only reported
    policy : overrides
    weights, step_minutes : see `traffic.requests`
    pods : of canary and baseline
    history_hours : of the baseline before the canary
    pods_known : the source tells the pods apart
    scraped : two sums, without slices and history
    whole : the outcome is the verdict's, not the finding's
    nominal : the weight that the request names
    short : whether the short form has it
    """

    process: str
    setting: str
    rate: float
    check: str
    form: Form
    draw: Draw
    how: Mapping[str, Any] = field(default_factory=dict)
    aim: Aim = Aim.NO_ROLLBACK
    bound: float | None = WHOLE
    policy: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[float, ...] = (0.05,)
    step_minutes: float = 10.0
    pods: tuple[int, int] = (2, 6)
    history_hours: float = 2.0
    pods_known: bool = True
    scraped: bool = False
    whole: bool = False
    nominal: float | None = None
    short: bool = False

    @property
    def name(self) -> str:
        """The words that seed it."""
        return f"{self.process}, {self.setting}, {self.rate:g}/s"

    @property
    def limits(self) -> Limits:
        """The limits for the rivals."""
        return LIMITS[self.check]


def every_cell() -> list[Cell]:
    """List all cells."""
    return [*clusters(), *clumps(), *baskets(), *wandering(), *incidents(), *pods(), *cold_starts(), *scraped(),
            *late_events(), *refunds(), *drifts(), *guardrails(), *faults(), *healthy()]  # fmt: skip


def _errors(process: str, setting: str, rate: float, draw: Draw, **more: Any) -> Cell:
    return Cell(process, setting, rate, "error_rate", Form.ERRORS, draw, **more)


def clusters() -> Iterator[Cell]:
    """1: a client retries what failed."""
    for size, how, more, setting in (
        (3.0, {}, {}, "geometric, mean 3"),
        (5.0, {}, {}, "geometric, mean 5"),
        (5.0, {}, {"pods_known": False}, "mean 5, pods unknown"),
        (2.0, {"spread": True}, {}, "mean 2, over all pods"),
        (5.0, {"spread": True, "apart": 20.0}, {}, "mean 5, 20 s apart, all pods"),
        (10.0, {}, {"pods": (1, 1)}, "mean 10, one pod an arm"),
    ):
        for rate in (1.0, 10.0):
            how_all = {"law": traffic.clustered, "share": 0.004, "size": size, **how}
            short = (setting, rate) in {("geometric, mean 3", 1.0), ("geometric, mean 5", 10.0)}
            yield _errors("1 clusters", setting, rate, traffic.alike, how=how_all, short=short, **more)


def clumps() -> Iterator[Cell]:
    """2: a failing batch, or what a crashed pod was at."""
    for size, share in ((16.0, 0.005), (8.0, 0.005), (50.0, 0.004)):
        for rate in (5.0, 50.0):
            how = {"law": traffic.clustered, "share": share, "size": size, "fixed": True}
            short = size == 16 and rate == 50
            yield _errors("2 clumps", f"{size:g} at once, {share:.1%}", rate, traffic.alike, how=how, short=short)


def baskets() -> Iterator[Cell]:
    """3: several conversions or predictions come of one request."""
    for size in (2.0, 3.0, 8.0):
        for rate in (1.0, 10.0):
            how = {"law": traffic.clustered, "share": 0.05, "size": size, "fixed": True}
            yield Cell(
                "3 baskets",
                f"{size:g} conversions",
                rate,
                "business_proxy",
                Form.CONVERSIONS,
                traffic.alike,
                how,
                short=size == 3 and rate == 10,
            )
    for rows in (3, 10, 100):
        for rate in (1.0, 10.0):
            how = {"law": traffic.multinomial, "shares": BINS, "rows": rows}
            yield Cell(
                "3 rows",
                f"{rows} like rows a request",
                rate,
                "prediction_drift",
                Form.SCORES,
                traffic.alike,
                how,
                short=rows == 10 and rate == 1,
            )


def wandering() -> Iterator[Cell]:
    """4: each arm's error rate wanders by itself."""
    for variation, minutes, each in (
        (1.0, 10.0, False),
        (1.0, 10.0, True),
        (0.5, 10.0, False),
        (1.0, 3.0, False),
        (0.7, 30.0, False),
    ):
        for rate in (1.0, 10.0, 100.0) if (variation, minutes, each) == (1.0, 10.0, False) else (1.0, 10.0):
            how = {"law": traffic.wandering, "share": 0.004, "variation": variation, "minutes": minutes, "each": each}
            setting = f"CV {variation:g}, {minutes:g} min{', each pod' if each else ''}"
            yield _errors(
                "4 wandering",
                setting,
                rate,
                traffic.alike,
                how=how,
                bound=LOOSE,
                short=not each and variation == 1 and minutes == 10 and rate == 10,
            )


def incidents() -> Iterator[Cell]:
    """5: both arms have the same incident, the canary having most of the traffic."""
    for weight, bad, minutes in (
        (0.9, 0.1, 5.0),
        (0.9, 0.02, 5.0),
        (0.75, 0.05, 5.0),
        (0.75, 0.2, 5.0),
        (0.9, 0.03, 20.0),
        (0.5, 0.2, 5.0),
        (0.95, 0.5, 2.0),
    ):
        for rate in (2.0, 20.0):
            how = {"share": 0.001, "bad": bad, "minutes": minutes}
            setting = f"{bad:.0%} for {minutes:g} min, weight {weight:.0%}"
            yield _errors(
                "5 incident",
                setting,
                rate,
                traffic.incident,
                how=how,
                weights=(weight,),
                pods=(4, 2),
                short=(weight, bad, rate) in {(0.9, 0.1, 2.0), (0.75, 0.2, 2.0)},
            )
    for weights, minutes in (((0.05, 0.25, 0.5, 0.75, 0.9), 60.0), ((0.5, 0.9), 15.0), ((0.9,), 120.0)):
        for rate in (1.0, 10.0):
            how = {"low": 0.001, "high": 0.02, "minutes": minutes}
            setting = f".1 to 2% in {minutes:g} min, weight {weights[0]:.0%} to {weights[-1]:.0%}"
            yield _errors(
                "5 rise",
                setting,
                rate,
                traffic.rising,
                how=how,
                weights=weights,
                step_minutes=minutes / len(weights),
                pods=(4, 2),
            )


def pods() -> Iterator[Cell]:
    """6: pods have bad minutes, each by itself, and the canary is few pods."""
    for pods_, often, bad, minutes in (
        ((1, 19), 0.01, 0.3, 1),
        ((1, 19), 0.01, 0.1, 1),
        ((2, 10), 0.01, 0.3, 1),
        ((1, 19), 0.002, 0.5, 5),
        ((1, 4), 0.01, 0.3, 1),
    ):
        for rate in (1.0, 10.0):
            how = {"law": traffic.bad_minutes, "share": 0.001, "often": often, "bad": bad, "minutes": minutes}
            setting = f"{pods_[0]} of {sum(pods_)} pods, {often:.1%} of {minutes} min at {bad:.0%}"
            weight = pods_[0] / sum(pods_)
            yield _errors(
                "6 pods",
                setting,
                rate,
                traffic.alike,
                how=how,
                bound=LOOSE,
                pods=pods_,
                weights=(weight,),
                short=pods_ == (1, 19) and bad == 0.3 and rate == 10,
            )


def cold_starts() -> Iterator[Cell]:
    """7: the canary's pods are slow at first."""
    for slow, minutes, more, setting in (
        (0.1, 2.0, {}, ""),
        (0.3, 1.0, {}, ""),
        (0.05, 2.0, {}, ""),
        (0.1, 2.0, {"added": 1}, ", second pod later"),
        (0.1, 1.0, {"restarts": 1}, ", each pod restarts"),
    ):
        for rate in (1.0, 10.0):
            how = {"share": 0.004, "slow": slow, "minutes": minutes, **more}
            yield Cell(
                "7 cold start",
                f"{slow:.0%} slow for {minutes:g} min{setting}",
                rate,
                "latency_p99",
                Form.LATENCIES,
                traffic.cold,
                how,
                short=slow == 0.1 and not more and rate == 10,
            )


def scraped() -> Iterator[Cell]:
    """8: bursts, and no more than two sums is known."""
    for correlation in (0.003, 0.01, 0.03):
        for rate in (1.0, 10.0):
            how = {"law": traffic.bursts, "share": 0.005, "correlation": correlation}
            yield _errors(
                "8 scrape",
                f"ICC {correlation:g}",
                rate,
                traffic.alike,
                how=how,
                scraped=True,
                short=correlation == 0.01 and rate == 10,
            )
    for rate in (1.0, 10.0):
        how = {"law": traffic.clustered, "share": 0.004, "size": 3.0}
        yield _errors("8 scrape", "clusters, mean 3", rate, traffic.alike, how=how, scraped=True)


def late_events() -> Iterator[Cell]:
    """Conversions follow their requests by a delay; the canary has 5% of the traffic, or 5, 25, 50%."""
    for delay in (10.0, 60.0, 600.0):
        for weights, setting in (((0.05,), "weight 5%"), ((0.05, 0.25, 0.5), "5-25-50%")):
            for rate in (1.0, 10.0):
                how = {"share": 0.05, "delay": delay}
                yield Cell(
                    "late events",
                    f"mean {delay:g} s, {setting}",
                    rate,
                    "business_proxy",
                    Form.CONVERSIONS,
                    traffic.late,
                    how,
                    weights=weights,
                    step_minutes=20.0,
                    short=delay == 600 and rate == 10,
                )
    for delay in (0.0, 60.0, 600.0):
        how = {"share": 0.05, "delay": delay, "loss": 0.2}
        yield Cell(
            "late, real loss",
            f"20% fewer, mean {delay:g} s",
            10.0,
            "business_proxy",
            Form.CONVERSIONS,
            traffic.late,
            how,
            Aim.FOUND,
            None,
        )


def refunds() -> Iterator[Cell]:
    """One value in ten is negative; at most the check's part of alpha."""
    for part, sigma in ((0.1, 1.0), (0.3, 1.0), (0.1, 1.5)):
        for rate in (10.0, 50.0):
            how = {"law": traffic.payments, "buying": 0.05, "refunds": part, "sigma": sigma}
            yield Cell(
                "refunds",
                f"{part:.0%} negative, sigma {sigma:g}",
                rate,
                "business_proxy",
                Form.VALUES,
                traffic.alike,
                how,
                bound=WHOLE / 4,
                short=part == 0.1 and sigma == 1 and rate == 10,
            )


def drifts() -> Iterator[Cell]:
    """A canary that has forgotten most answers must not pass, and one that has not must."""
    drift = ("prediction_drift", Form.SCORES, traffic.drifting)
    constant = np.eye(10)[0]
    for rate in (1.0, 10.0):
        for share in (0.99, 0.97):
            bins = np.array([share, *[(1 - share) / 9] * 9])
            yield Cell(
                "one bin",
                f"{share:.0%} in it, canary always",
                rate,
                *drift,
                {"baseline": bins, "canary": constant},
                Aim.NEVER_PASSES,
                0.0,
                short=share == 0.99 and rate == 1,
            )
        half = 0.5 * constant + 0.5 * np.array([0.97, *[0.03 / 9] * 9])
        yield Cell(
            "one bin",
            "97% in it, half constant",
            rate,
            *drift,
            {"baseline": np.array([0.97, *[0.03 / 9] * 9]), "canary": half},
            Aim.NEVER_PASSES,
            0.0,
        )
        yield Cell(
            "one bin, no drift",
            "99% in it",
            rate,
            *drift,
            {"baseline": ONE_BIN, "canary": ONE_BIN},
            Aim.PASSES,
            WHOLE / 4,
        )
        yield Cell("no drift", "ten bins", rate, *drift, {"baseline": BINS, "canary": BINS}, Aim.PASSES, WHOLE / 4)
    for rate, classes, known in ((1.0, 1000, 10), (1.0, 1000, 100), (1.0, 200, 10), (5.0, 1000, 10)):
        shares = traffic.zipf(classes)
        how = {"baseline": shares, "canary": traffic.only_first(shares, known)}
        yield Cell(
            "Zipf classes",
            f"{classes}, canary knows {known}",
            rate,
            "prediction_drift",
            Form.CLASSES,
            traffic.drifting,
            how,
            Aim.NEVER_PASSES,
            0.0,
            pods=(1, 1),
            history_hours=0.5,
        )


def guardrails() -> Iterator[Cell]:
    """The step at which it is enough not to be proved bad."""
    for share in (0.03, 0.05):
        for rate in (1.0, 3.0):
            how = {"canary": share, "baseline": 0.001}
            yield _errors(
                "guardrail",
                f"{share:.0%} errors",
                rate,
                traffic.faulty,
                how=how,
                aim=Aim.NEVER_PASSES,
                bound=0.1,
                policy={"role": "guardrail"},
                whole=True,
                short=rate == 1,
            )
    for rate in (1.0, 10.0):
        how = {"canary": 0.002, "baseline": 0.002}
        yield _errors(
            "guardrail, healthy",
            "0.2% errors",
            rate,
            traffic.faulty,
            how=how,
            aim=Aim.PASSES,
            bound=None,
            policy={"role": "guardrail"},
            whole=True,
        )


def faults() -> Iterator[Cell]:
    """Faults that must be found, and what that takes."""
    for share in (0.03, 0.05, 0.1):
        for rate in (1.0, 10.0):
            how = {"canary": share, "baseline": 0.001}
            yield _errors(
                "fault", f"{share:.0%} errors, weight 5%", rate, traffic.faulty, how=how, aim=Aim.FOUND, bound=None
            )
    for weight in (0.75, 0.9):
        for rate in (2.0, 20.0):
            how = {"canary": 0.05, "baseline": 0.001}
            yield _errors(
                "fault",
                f"5% errors, weight {weight:.0%}",
                rate,
                traffic.faulty,
                how=how,
                aim=Aim.FOUND,
                bound=None,
                weights=(weight,),
                pods=(4, 2),
            )
    for bad in (0.05, 0.2, 0.5):
        for rate in (1.0, 10.0):
            how = {"share": 0.001, "bad": bad, "minutes": 10.0, "past": True, "canary": 0.05}
            yield _errors(
                "fault",
                f"5% errors, past incident of {bad:.0%}",
                rate,
                traffic.incident,
                how=how,
                aim=Aim.FOUND,
                bound=None,
            )


def healthy() -> Iterator[Cell]:
    """Independent requests of a good canary: how soon it passes."""
    for share in (0.0, 0.002):
        for rate in (1.0, 10.0):
            how = {"canary": share, "baseline": share}
            yield _errors("healthy", f"{share:.1%} errors", rate, traffic.faulty, how=how, aim=Aim.PASSES, bound=None)
