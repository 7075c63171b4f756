"""Which cells are simulated: the limits of every kind of check, the scenarios and the rates of traffic."""

from collections.abc import Iterator
from dataclasses import replace

from bench.simulation.data import Cell, Kind, Scenario
from bench.simulation.rivals import Limits

ALPHA = 0.05
TO_FAIL = ALPHA / 4  # four checks share it
RATES = (0.05, 1.0, 10.0, 100.0)  # canary requests a second
RUNS = 1500
FEWER = {Kind.DRIFT: 0.4, Kind.REVENUE: 0.7}  # whose runs cost several times as much
SHARP, UNALIGNED = 7200.0, 7295.0  # seconds: on the edge of a slice and of the starts, and on none
CORRELATION = 0.01

ZONE, STRICT, RELATIVE = "zone", "strict", "relative"
LIMITS = {
    Kind.ERRORS: Limits(0.005, 0.01),
    Kind.LATENCY: Limits(0.01, 0.01),  # the share of requests slower than 200 ms, and than 500 ms
    Kind.DRIFT: Limits(0.1, 0.2),
    Kind.CONVERSIONS: Limits(0.99, 0.97, compares=True, worse=-1),
    Kind.REVENUE: Limits(0.99, 0.97, compares=True, worse=-1),
}
RELATIVE_LIMITS = Limits(1.1, 1.5, compares=True)
RULES = {
    Kind.ERRORS: (ZONE, STRICT, RELATIVE),
    Kind.LATENCY: (ZONE,),  # every slow request is slower than both edges: strict is the same
    Kind.DRIFT: (ZONE, STRICT),
    Kind.CONVERSIONS: (ZONE, STRICT),
    Kind.REVENUE: (ZONE, STRICT),
}
PASS_FACTOR = {Kind.DRIFT: 0.6}  # a drift is proved absent at a stricter level

HEALTHY, AT_LIMIT, AT_ROLLBACK, AT_RATIO = "healthy", "at promote limit", "at rollback limit", "10% more"
BURSTS, INCIDENTS, WRONG_SHARE, STEPS = "bursts", "incidents", "share 5.5%", "share by steps"
GOOD = {  # the values of a good canary and its baseline, and those at the promote limit
    Kind.ERRORS: ((0.003, 0.003), (0.005, 0.005)),
    Kind.LATENCY: ((0.003, 0.003), (0.01, 0.01)),
    Kind.DRIFT: ((0.0, 0.0), (0.1, 0.0)),
    Kind.CONVERSIONS: ((0.05, 0.05), (0.0495, 0.05)),
    Kind.REVENUE: ((1.0, 1.0), (0.99, 1.0)),
}
FAULTS = {  # names and the canary's values, the baseline being good
    Kind.ERRORS: {"1.5%": 0.015, "3%": 0.03, "10%": 0.1},
    Kind.LATENCY: {"1.8% slow": 0.018, "5% slow": 0.05, "20% slow": 0.2},
    Kind.DRIFT: {"PSI .25": 0.25, "PSI .5": 0.5},
    Kind.CONVERSIONS: {"-5%": 0.0475, "-10%": 0.045, "-30%": 0.035},
    Kind.REVENUE: {"-10%": 0.9, "-30%": 0.7},
}


def limits_of(kind: Kind, rule: str) -> Limits:
    """Give the limits of a rule."""
    return RELATIVE_LIMITS if rule == RELATIVE else LIMITS[kind]


def limit_to_fail(kind: Kind, rule: str) -> float:
    """Give the limit that a canary is proved to be beyond when it fails."""
    limits = limits_of(kind, rule)
    return limits.rollback if rule == STRICT else limits.promote


def scenarios(kind: Kind) -> Iterator[Scenario]:
    """List the scenarios of a kind: good canaries, canaries at a limit, faults from the start and late ones."""
    good, edge = GOOD[kind]
    yield Scenario(HEALTHY, *good)
    at_limit = Scenario(AT_LIMIT, *edge)
    yield at_limit
    if kind is Kind.ERRORS:
        yield Scenario(AT_ROLLBACK, 0.01, 0.01)
        yield Scenario(AT_RATIO, 0.0033, 0.003)
    for name, value in FAULTS[kind].items():
        yield Scenario(name, value, good[1])
    (second, value), (last, worst) = list(FAULTS[kind].items())[-2:]
    yield Scenario(f"{second} after 2 h", value, good[1], onset=SHARP)
    yield Scenario(f"{second} after 2 h 1 min 35 s", value, good[1], onset=UNALIGNED)
    yield Scenario(f"{last} after 2 h 1 min 35 s", worst, good[1], onset=UNALIGNED)
    yield replace(at_limit, name=BURSTS, correlation=CORRELATION)
    yield replace(at_limit, name=WRONG_SHARE, share=0.055)
    # Scores that move together with the baseline's have no PSI of their own: there the canary is healthy.
    yield Scenario(INCIDENTS, *(good if kind is Kind.DRIFT else edge), incidents=True)
    yield Scenario(STEPS, *(edge if kind in (Kind.ERRORS, Kind.LATENCY) else good), steps=True)


def every_cell(runs: int = RUNS) -> list[Cell]:
    """List the cells of the full benchmark."""
    return [
        Cell(kind, scenario, rate, round(runs * FEWER.get(kind, 1.0)))
        for kind in Kind
        for scenario in scenarios(kind)
        for rate in RATES
        if not (kind is Kind.REVENUE and rate < 1)  # in four hours nothing can be told of 720 values
    ]


SHORT_RUNS = 600
SLOW = (Kind.CONVERSIONS, BURSTS, 10.0)  # at each look the analyzer itself estimates what both arms share
SLOW_RUNS = 120
SHORT = {  # scenarios and rates of the short form; what it measures there is bounded
    (Kind.ERRORS, AT_LIMIT, 1.0),
    (Kind.ERRORS, AT_ROLLBACK, 0.05),
    (Kind.ERRORS, AT_RATIO, 1.0),
    (Kind.ERRORS, HEALTHY, 10.0),
    (Kind.ERRORS, "1.5%", 1.0),
    (Kind.ERRORS, "3%", 1.0),
    (Kind.ERRORS, "10%", 0.05),
    (Kind.ERRORS, "3% after 2 h 1 min 35 s", 1.0),
    (Kind.ERRORS, BURSTS, 10.0),
    (Kind.ERRORS, INCIDENTS, 10.0),
    (Kind.ERRORS, STEPS, 10.0),
    (Kind.LATENCY, AT_LIMIT, 1.0),
    (Kind.LATENCY, BURSTS, 10.0),
    (Kind.LATENCY, "5% slow", 1.0),
    (Kind.DRIFT, AT_LIMIT, 1.0),
    (Kind.DRIFT, BURSTS, 10.0),
    (Kind.DRIFT, STEPS, 10.0),
    (Kind.DRIFT, "PSI .25", 1.0),
    (Kind.DRIFT, HEALTHY, 1.0),
    (Kind.DRIFT, "PSI .25 after 2 h", 10.0),
    (Kind.CONVERSIONS, AT_LIMIT, 1.0),
    (Kind.CONVERSIONS, "-30%", 1.0),
    (Kind.CONVERSIONS, "-10% after 2 h", 100.0),
    (Kind.CONVERSIONS, BURSTS, 10.0),
    (Kind.CONVERSIONS, STEPS, 10.0),
    (Kind.REVENUE, AT_LIMIT, 10.0),
    (Kind.REVENUE, "-30%", 1.0),
}


def short_cells() -> list[Cell]:
    """List the cells of the short form."""
    chosen = [cell for cell in every_cell(SHORT_RUNS) if (cell.kind, cell.scenario.name, cell.rate) in SHORT]
    return [
        replace(cell, runs=SLOW_RUNS) if (cell.kind, cell.scenario.name, cell.rate) == SLOW else cell for cell in chosen
    ]
