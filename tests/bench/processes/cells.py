"""Which processes are simulated, at which settings and rates, and what is asked of the verdicts there.

A setting is a line of a table: fields of `Cell`, and parameters of the process's function in `traffic`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from bench.processes import traffic
from bench.processes.traffic import BINS, Draw, Floats, one_bin, only_first, zipf
from bench.simulation.rivals import Limits

RUNS, SHORT_RUNS = 200, 10
PART = 0.0125  # of alpha, of one of the four checks


class Aim(Enum):
    """What is measured of a cell."""

    NO_ROLLBACK = "falsely rolled back"
    FOUND = "rolled back"
    PASSES = "passed"
    NEVER_PASSES = "wrongly passed"


class Form(Enum):
    """What the columns of the counts are; the value is the check of the default policy that judges them."""

    ERRORS = "error_rate"
    LATENCIES = "latency_p99"
    CONVERSIONS = "business_proxy"
    VALUES = "business_proxy, values"
    SCORES = "prediction_drift"
    CLASSES = "prediction_drift, classes"

    @property
    def check(self) -> str:
        """The name of the check."""
        return self.value.split(",")[0]

    def trials(self, columns: Floats) -> float:
        """Count requests, predictions or values in sums by column."""
        return float(columns.sum() if self in (Form.LATENCIES, Form.SCORES, Form.CLASSES) else columns[-1])


LIMITS = {  # for the rivals
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
    form : of the counts; its check is judged alone
    draw, how : the process, and its parameters
    bound : of the probability that `aim` names, of a false rollback where that is a pass; None: only reported
    policy : overrides
    weights, step_minutes : see `traffic.requests`
    pods : of canary and baseline
    history_hours : of the baseline before the canary
    pods_known : the source tells the pods apart
    scraped : two sums, without slices and history
    whole : the outcome is the verdict's, not the finding's
    nominal, least : the weight that the request names; requests of both arms from which it is judged
    short : the rate at which the short form has it
    """

    process: str
    setting: str
    rate: float
    draw: Draw
    how: Mapping[str, Any] = field(default_factory=dict)
    form: Form = Form.ERRORS
    aim: Aim = Aim.NO_ROLLBACK
    bound: float | None = 0.05
    policy: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[float, ...] = (0.05,)
    step_minutes: float = 20.0
    pods: tuple[int, int] = (2, 6)
    history_hours: float = 2.0
    pods_known: bool = True
    scraped: bool = False
    whole: bool = False
    nominal: float | None = None
    least: float = 0.0
    short: float | None = None

    @property
    def name(self) -> str:
        """The words that seed it."""
        return f"{self.process}, {self.setting}, {self.rate:g}/s"

    @property
    def limits(self) -> Limits:
        """The limits for the rivals."""
        return LIMITS[self.form.check]


FIELDS = frozenset(one.name for one in fields(Cell))


def _cells(
    process: str, draw: Draw, common: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]],
    rates: tuple[float, ...] = (1.0, 10.0),
) -> Iterator[Cell]:  # fmt: skip
    """Make a cell of each setting and rate."""
    for setting, changes in settings.items():
        every = {**common, **changes}
        how = {name: value for name, value in every.items() if name not in FIELDS}
        rest = {name: value for name, value in every.items() if name in FIELDS}
        for rate in rates:
            yield Cell(process, setting, rate, draw, how, **rest)


def every_cell() -> list[Cell]:
    """List all cells."""
    return [*_dependent(), *_incidents(), *_pods(), *_business(), *_drift(), *_faults()]


def _dependent() -> Iterator[Cell]:
    """Requests that fail together, and rates that wander: issues of variance."""
    clusters = {"law": traffic.clustered, "share": 0.004}
    yield from _cells("1 clusters", traffic.alike, clusters, {
        "geometric, mean 3": {"size": 3.0, "short": 1.0},
        "geometric, mean 5": {"size": 5.0, "short": 10.0},
        "mean 5, pods unknown": {"size": 5.0, "pods_known": False},
        "mean 2, over all pods": {"size": 2.0, "spread": True},
        "mean 5, 20 s apart, over all pods": {"size": 5.0, "spread": True, "apart": 20.0},
        "mean 10, one pod an arm": {"size": 10.0, "pods": (1, 1)},
    })  # fmt: skip
    yield from _cells("2 clumps", traffic.alike, {**clusters, "fixed": True}, {
        "16 at once, 0.5%": {"size": 16.0, "share": 0.005, "short": 50.0},
        "8 at once, 0.5%": {"size": 8.0, "share": 0.005},
        "50 at once": {"size": 50.0},
        "16 at once, 0.5%, pods unknown": {"size": 16.0, "share": 0.005, "pods_known": False},
    }, (5.0, 50.0))  # fmt: skip
    baskets = {"law": traffic.clustered, "share": 0.05, "fixed": True, "form": Form.CONVERSIONS}
    yield from _cells("3 baskets", traffic.alike, baskets, {
        "3 conversions": {"size": 3.0, "short": 50.0},
        "geometric, mean 3": {"size": 3.0, "fixed": False},
        "8 conversions": {"size": 8.0},
    }, (10.0, 50.0))  # fmt: skip
    yield from _cells("3 rows", traffic.alike, {"law": traffic.multinomial, "shares": BINS, "form": Form.SCORES}, {
        f"{rows} like rows a request": {"rows": rows, "short": 1.0 if rows == 10 else None} for rows in (3, 10, 100)
    })  # fmt: skip
    wandering = {"law": traffic.wandering, "share": 0.004, "variation": 1.0, "minutes": 10.0, "bound": 0.1}
    yield from _cells("4 wandering", traffic.alike, wandering, {"CV 1, 10 min": {"short": 10.0}}, (1.0, 10.0, 100.0))
    yield from _cells("4 wandering", traffic.alike, wandering, {
        "CV 1, 10 min, each pod": {"each": True},
        "CV 0.5, 10 min": {"variation": 0.5},
        "CV 1, 3 min": {"minutes": 3.0},
        "CV 0.7, 30 min": {"variation": 0.7, "minutes": 30.0},
    })  # fmt: skip
    yield from _cells("8 scrape", traffic.alike, {"law": traffic.bursts, "share": 0.005, "scraped": True}, {
        f"ICC {icc:g}": {"correlation": icc, "short": 10.0 if icc == 0.01 else None} for icc in (0.003, 0.01, 0.03)
    })  # fmt: skip
    yield from _cells("8 scrape", traffic.alike, clusters, {"clusters, mean 3": {"size": 3.0, "scraped": True}})


def _incidents() -> Iterator[Cell]:
    """Both arms are in trouble, the canary having most of the traffic."""
    common = {"share": 0.001, "minutes": 5.0, "pods": (4, 2)}
    yield from _cells("5 incident", traffic.incident, common, {
        "10% for 5 min, weight 90%": {"bad": 0.1, "weights": (0.9,), "short": 2.0},
        "20% for 5 min, weight 75%": {"bad": 0.2, "weights": (0.75,)},
        "5% for 5 min, weight 75%": {"bad": 0.05, "weights": (0.75,), "short": 2.0},
        "3% for 20 min, weight 90%": {"bad": 0.03, "minutes": 20.0, "weights": (0.9,)},
        "20% for 5 min, weight 50%": {"bad": 0.2, "weights": (0.5,)},
        "50% for 2 min, weight 95%": {"bad": 0.5, "minutes": 2.0, "weights": (0.95,)},
    }, (2.0, 20.0))  # fmt: skip
    yield from _cells("5 rise", traffic.rising, {"low": 0.001, "high": 0.02, "pods": (4, 2)}, {
        ".1 to 2% in 1 h, weight 5 to 90%": {"minutes": 60.0, "weights": (0.05, 0.5, 0.9)},
        ".1 to 2% in 15 min, weight 50 to 90%": {"minutes": 15.0, "weights": (0.5, 0.9), "step_minutes": 7.5},
        ".1 to 2% in 2 h, weight 90%": {"minutes": 120.0, "weights": (0.9,)},
    })  # fmt: skip
    yield from _cells("past incident", traffic.incident, {"share": 0.004, "minutes": 10.0, "past": True}, {
        f"{bad:.0%} for 10 min, now 0.4%": {"bad": bad} for bad in (0.05, 0.2, 0.5)
    })  # fmt: skip


def _pods() -> Iterator[Cell]:
    """Pods that are not alike."""
    common = {"law": traffic.bad_minutes, "share": 0.001, "often": 0.01, "bad": 0.3, "bound": 0.1}
    yield from _cells("6 pods", traffic.alike, common, {
        "1 of 20, 1% of the minutes at 30%": {"pods": (1, 19), "short": 10.0},
        "1 of 20, 1% of the minutes at 20%": {"pods": (1, 19), "bad": 0.2, "share": 0.002},
        "2 of 12, 1% of the minutes at 30%": {"pods": (2, 10), "weights": (1 / 6,)},
        "1 of 20, 0.2% in 5 min at 50%": {"pods": (1, 19), "often": 0.002, "bad": 0.5, "minutes": 5},
        "1 of 5, 1% of the minutes at 30%": {"pods": (1, 4), "weights": (0.2,)},
    })  # fmt: skip
    yield from _cells("7 cold start", traffic.cold, {"share": 0.004, "slow": 0.1, "form": Form.LATENCIES}, {
        "10% slow for 2 min": {"minutes": 2.0, "short": 10.0},
        "30% slow for 1 min": {"slow": 0.3, "minutes": 1.0},
        "5% slow for 2 min": {"slow": 0.05, "minutes": 2.0},
        "10% slow for 2 min, one pod later": {"minutes": 2.0, "added": 1},
        "10% slow for 1 min, each pod restarts": {"minutes": 1.0, "restarts": 1},
    })  # fmt: skip


def _business() -> Iterator[Cell]:
    """Events that come late, or that are refunds."""
    ramp = (0.05, 0.25, 0.5)
    yield from _cells("late events", traffic.late, {"share": 0.05, "form": Form.CONVERSIONS}, {
        f"mean {delay:g} s, {word}": {"delay": delay, "weights": weights, "short": 10.0 if delay == 600 else None}
        for delay in (10.0, 60.0, 600.0) for word, weights in (("weight 5%", ramp[:1]), ("5-25-50%", ramp))
    })  # fmt: skip
    yield from _cells("late events", traffic.late, {"share": 0.05, "form": Form.CONVERSIONS, "delay": 600.0}, {
        f"{shape}, {word}": {"shape": shape, "weights": weights, **fields}
        for shape, fields in (
            ("fixed", {"delay": 300.0, "short": 10.0}), ("uniform", {}), ("at once or later", {}), ("lognormal", {}),
        ) for word, weights in (("weight 5%", ramp[:1]), ("5-25-50%", ramp))
    })  # fmt: skip
    yield from _cells("late events", traffic.late, {"share": 0.05, "form": Form.CONVERSIONS, "weights": ramp}, {
        f"{shape}, {delay / 60:g} min and told": {
            "shape": shape, "delay": delay, "policy": {"checks": {"business_proxy": {"delay": f"{delay:g}s"}}},
        } for shape, delay in (("exponential", 1800.0), ("fixed", 1800.0), ("at once or later", 3600.0))
    }, (10.0,))  # fmt: skip
    loss = {"share": 0.05, "loss": 0.2, "form": Form.CONVERSIONS, "aim": Aim.FOUND, "bound": None}
    yield from _cells("late, real loss", traffic.late, loss, {
        f"20% fewer, mean {delay:g} s": {"delay": delay} for delay in (0.0, 60.0, 600.0)
    }, (10.0,))  # fmt: skip
    at_once = {"policy": {"checks": {"business_proxy": {"delay": "0s"}}}, "form": Form.CONVERSIONS, "share": 0.05}
    yield from _cells("own swing", traffic.swinging, {**at_once, "variation": 0.0, "minutes": 10.0, "bound": 0.1}, {
        "CV 0.2, 10 min": {"own": 0.2, "short": 10.0},
        "CV 1, 10 min": {"own": 1.0},
        "CV 0.5, 3 min": {"own": 0.5, "minutes": 3.0},
        "CV 0.2 shared, 0.2 each arm's, 10 min": {"variation": 0.2, "own": 0.2},
    })  # fmt: skip
    swing = {**at_once, "variation": 0.2, "minutes": 10.0, "loss": 0.2}
    yield from _cells("shared swing", traffic.swinging, {**swing, "aim": Aim.FOUND, "bound": None}, {
        "20% fewer": {}, "20% fewer from 90 min on": {"after": 90.0},
    }, (10.0,))  # fmt: skip
    yield from _cells("shared swing", traffic.swinging, {**swing, "aim": Aim.NEVER_PASSES, "bound": PART}, {
        "20% fewer": {"short": 10.0}, "20% fewer, CV 0.2 in 30 min": {"minutes": 30.0},
    })  # fmt: skip
    refunds = {"law": traffic.payments, "buying": 0.2, "form": Form.VALUES, "bound": PART}
    yield from _cells("refunds", traffic.alike, refunds, {
        "10% negative, sigma 1": {"refunds": 0.1, "sigma": 1.0},
        "30% negative, sigma 1": {"refunds": 0.3, "sigma": 1.0},
        "10% negative, five times as large": {"refunds": 0.1, "sigma": 0.5, "times": 5.0, "short": 1.0},
        "10% negative, sigma 1.5": {"refunds": 0.1, "sigma": 1.5},
        "10% negative, sigma 1, in buckets": {"refunds": 0.1, "sigma": 1.0, "bucketed": True},
    })  # fmt: skip


def _drift() -> Iterator[Cell]:
    """A canary that has forgotten most answers must not pass, and one that has not must."""
    never = {"aim": Aim.NEVER_PASSES, "bound": 0.0}
    narrow, wide, constant = one_bin(0.99), one_bin(0.97), one_bin(1.0)
    yield from _cells("one bin", traffic.drifting, {"form": Form.SCORES, **never}, {
        "99% in it, canary always": {"baseline": narrow, "canary": constant, "short": 1.0},
        "97% in it, canary always": {"baseline": wide, "canary": constant},
        "97% in it, half constant": {"baseline": wide, "canary": (wide + constant) / 2},
    })  # fmt: skip
    yield from _cells("no drift", traffic.drifting, {"form": Form.SCORES, "aim": Aim.PASSES, "bound": PART}, {
        "99% in one bin": {"baseline": narrow, "canary": narrow},
        "ten bins": {"baseline": BINS, "canary": BINS},
    })  # fmt: skip
    classes = {"form": Form.CLASSES, **never, "pods": (1, 1), "history_hours": 0.5}
    yield from _cells("Zipf classes", traffic.drifting, classes, {
        f"{many:,}, canary knows {known}": {"baseline": zipf(many), "canary": only_first(zipf(many), known)}
        for many, known in ((1000, 10), (1000, 100), (200, 10))
    }, (1.0, 5.0))  # fmt: skip


def _faults() -> Iterator[Cell]:
    """Faults that must be found, healthy canaries that must pass, and what that takes; requests are independent."""
    step = {"policy": {"role": "guardrail"}, "whole": True}
    yield from _cells("guardrail", traffic.faulty, {**step, "baseline": 0.001, "aim": Aim.NEVER_PASSES, "bound": 0.1}, {
        f"{share:.0%} errors": {"canary": share, "short": 1.0} for share in (0.03, 0.05)
    }, (1.0, 3.0))  # fmt: skip
    slow = {**step, "canary": 0.03, "baseline": 0.001, "form": Form.LATENCIES, "aim": Aim.NEVER_PASSES, "bound": 0.1}
    yield from _cells("guardrail", traffic.slow, slow, {"3% slow": {}})
    good = {"aim": Aim.PASSES, "bound": None}
    yield from _cells("guardrail", traffic.faulty, {**step, **good}, {"healthy": {"canary": 0.002, "baseline": 0.002}})
    never = {"aim": Aim.NEVER_PASSES, "bound": 0.05, "nominal": 0.05, "least": 5000.0}
    yield from _cells("uncounted", traffic.faulty, {**never, "canary": 0.001, "baseline": 0.001}, {
        f"{lost:.0%} of the canary's requests": {"lost": lost} for lost in (0.2, 0.3, 0.5)
    })  # fmt: skip
    heavy = {"canary": 0.001, "baseline": 0.001, "lost": 0.2, "pods": (4, 4)}
    yield from _cells("uncounted", traffic.faulty, {**never, **heavy}, {
        f"20% of the canary's requests, weight {weight:.0%}": {"nominal": weight, "weights": (weight,)}
        for weight in (0.2, 0.5, 0.8, 0.95)
    }, (10.0,))  # fmt: skip
    found = {"baseline": 0.001, "canary": 0.05, "aim": Aim.FOUND, "bound": None}
    yield from _cells("fault", traffic.faulty, found, {
        f"{share:.0%} errors, weight 5%": {"canary": share} for share in (0.03, 0.05, 0.1)
    })  # fmt: skip
    yield from _cells("fault", traffic.faulty, {**found, "pods": (4, 2)}, {
        f"5% errors, weight {weight:.0%}": {"weights": (weight,)} for weight in (0.75, 0.9)
    }, (2.0, 20.0))  # fmt: skip
    past = {"share": 0.001, "canary": 0.05, "minutes": 10.0, "past": True, "aim": Aim.FOUND, "bound": None}
    yield from _cells("fault", traffic.incident, past, {
        f"5% errors, past incident of {bad:.0%}": {"bad": bad} for bad in (0.05, 0.2, 0.5)
    })  # fmt: skip
    yield from _cells("healthy", traffic.faulty, good, {
        f"{share:.1%} errors": {"canary": share, "baseline": share} for share in (0.0, 0.002)
    })  # fmt: skip
