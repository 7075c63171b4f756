"""Tests that what is read of histories drawn at random is the truth, or that the check says why it is not known."""

import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from prometheus_server import StartPrometheus
from sources.worlds import PROFILE, State, World, draw_world

from analyzer.config.selector import Matcher
from analyzer.model.counts import Errors, Histogram, Reading, Readings
from analyzer.model.findings import Code, Gap, Kind
from analyzer.sources.assembly import Selection
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(600)]

WORLDS = int(os.environ.get("ANALYZER_WORLDS", "300"))
FIRST = int(os.environ.get("ANALYZER_FIRST_WORLD", "0"))
BATCH = 75
MET = (
    312,
    501,
    606,
    710,
    1031,
    1269,
    1463,
    1789,
    1841,
    1850,
    2315,
    2395,
    2402,
    2579,
    3147,
    3287,
    4484,
    5644,
    5667,
    5668,
    5948,
)
"""Worlds of which something was once read wrongly."""
TOGETHER = (
    ("jitter", "step back"),
    ("births and deaths", "instance renamed", "two jobs"),
    ("no gauge", "lost history"),
    ("crash loop", "outage"),
    ("clock skew", "jitter"),
)
CHECKS = {"error_rate": Kind.ERROR_RATE, "latency": Kind.LATENCY, "business": Kind.BUSINESS}


def state_of(readings: Readings, arm: str) -> tuple[State, float]:
    """Return what was read of an arm, and the requests of its histogram."""
    counts, histogram = (getattr(readings.by_check[name], arm) for name in ("error_rate", "latency"))
    assert isinstance(counts, Errors)
    assert isinstance(histogram, Histogram)
    bad, total = counts.errors.sum(), counts.requests.sum()
    return State(int(total - bad), int(bad), int(histogram.counts[:, 0].sum())), histogram.counts.sum()


def fault(world: World, source: PrometheusSource) -> str:
    """Say what is wrong with what is read of a world; empty: nothing."""
    asked = Selection("s", "ml", *world.arms, PROFILE, CHECKS, world.at)
    readings = source.read(asked, time.monotonic() + 60)
    if not world.in_two_regions:
        return fault_of(world, readings, "")
    gaps = gaps_of(readings)
    if not {"error_rate", "latency"} <= gaps.keys() or "region is eu, us" not in gaps["error_rate"].reason:
        return f"the regions are not named: {gaps}"
    return fault_of(
        world, source.read(replace(asked, matchers=(Matcher("region", "=", "eu"),)), time.monotonic() + 60), "eu"
    )


def fault_of(world: World, readings: Readings, region: str) -> str:
    """Say what is wrong with a reading of one region, or of all."""
    gaps, begin = gaps_of(readings), world.begin(region)
    if begin is None:
        return "" if "error_rate" in gaps else "a canary without requests was read"
    notes = " ".join(note for one in readings.by_check.values() if isinstance(one, Reading) for note in one.notes)
    if named(world, gaps) or (world.number % 4 == 0 and "outage" in world.troubles and "was there before" in notes):
        return ""  # a pod of a StatefulSet that came back with a new process may be another one
    if set(gaps) != {"business"}:
        return f"gaps: {gaps}"
    if "bad value" in world.troubles and gaps["business"].code is not Code.INCONSISTENT_DATA:
        return f"the bad value is not named: {gaps}"
    start = readings.window.start
    assert start is not None
    first = min(begin - 60, world.first_scrape(region)) if world.earlier else begin - 60
    if not {"lost history", "several processes"} & world.troubles and not first - 2 <= start <= begin:
        return f"counted from {start - begin:+.1f} s"
    return miscounted(world, readings, start, region)


def gaps_of(readings: Readings) -> dict[str, Gap]:
    """List what could not be read."""
    return {name: gap for name, gap in readings.by_check.items() if isinstance(gap, Gap)}


def named(world: World, gaps: Mapping[str, Gap]) -> bool:
    """Tell whether the gaps are those of a trouble with which nothing can be counted."""
    cannot_be_followed = "no gauge" in world.troubles and bool({"crash loop", "replica lags"} & world.troubles)
    reason, latency = (gaps[name].reason if name in gaps else "" for name in ("error_rate", "latency"))
    return (
        ("several processes" in world.troubles and "several processes" in reason + latency)
        or ("nan samples" in world.troubles and "has the value nan" in reason)
        or ("two regions" in world.troubles and "region is eu, us" in reason)  # its earlier life, or without requests
        or (cannot_be_followed and "restarts all the time" in reason + latency)
    )


def miscounted(world: World, readings: Readings, start: float, region: str) -> str:
    """Say which counts are not the truth; empty: all are."""
    reading = readings.by_check["error_rate"]
    assert isinstance(reading, Reading)
    left_out = re.search(r"the first (\d+) s are left out", " ".join(reading.notes))
    start += float(left_out[1]) if left_out else 0.0
    for role, arm in zip(("canary", "baseline"), world.arms, strict=True):
        # Two jobs meet a process that crashes again and again at different moments of its lives.
        slack = (
            10 if "crash loop" in world.troubles and {"two jobs", "two replicas", "no gauge"} & world.troubles else 0
        )
        found = state_of(readings, role)
        least, most = world.truth(arm, start, region)
        if "already counted" in " ".join(reading.notes):  # it was left out, and said so
            least = State()
        if "several processes" in world.troubles and world.troubles & {"crash loop", "restarts", "lull"}:
            least = State()  # too few requests to tell
        bounds = [*zip(least.values, most.values, strict=True), (least.good + least.bad, most.good + most.bad)]
        for (low, high), value in zip(bounds, (*found[0].values, found[1]), strict=True):
            if not low - slack <= value <= high + slack:
                return f"{role}: {found}, truth {least} to {most}; {reading.notes}"
        pods = getattr(reading, f"{role}_pods")
        total = sum(pod.counts.requests for pod in pods)
        if not np.array_equal(total, getattr(reading, role).requests):
            return f"{role}: the pods do not add up"
    return ""


def faults_of(start_prometheus: StartPrometheus, drawn: Iterable[World]) -> str:
    """Say what is wrong with what is read of several worlds; empty: nothing."""
    worlds = list(drawn)
    prometheus = start_prometheus(point for world in worlds for point in world.points)
    source = PrometheusSource(PrometheusApi(Connection(prometheus.url, timeout=30.0)))
    faults = {
        f"{world.number} ({', '.join(sorted(world.troubles))})": text
        for world in worlds
        if (text := fault(world, source))
    }
    prometheus.stop()
    kinds = Counter(kind for world in worlds for kind in world.troubles)
    return "\n".join(
        [f"{len(faults)} of {len(worlds)}: {kinds}", *(f"{name}: {text}" for name, text in faults.items())]
        if faults
        else ()
    )


@pytest.mark.parametrize("first", range(FIRST, FIRST + WORLDS, BATCH))
def test_counts_of_drawn_worlds_are_true(start_prometheus: StartPrometheus, first: int) -> None:
    """Counts equal the truth to the unit, whatever happens to the series, or the check says what it met."""
    faults = faults_of(start_prometheus, map(draw_world, range(first, min(first + BATCH, FIRST + WORLDS))))

    assert not faults, faults


def test_counts_of_worlds_that_were_wrong_are_true(start_prometheus: StartPrometheus) -> None:
    """Those that the first few hundred may not contain."""
    faults = faults_of(start_prometheus, map(draw_world, MET))

    assert not faults, faults


@pytest.mark.parametrize("troubles", TOGETHER, ids=" and ".join)
def test_counts_are_true_where_troubles_meet(start_prometheus: StartPrometheus, troubles: tuple[str, ...]) -> None:
    """Those of which each hid the other."""
    faults = faults_of(start_prometheus, (draw_world(number, frozenset(troubles)) for number in range(1, 24)))

    assert not faults, faults
