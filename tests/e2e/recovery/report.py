"""What `recovery` measured: the values, the targets, and the tables of tests/bench/README.md."""

import math
import os
import statistics
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from e2e.recovery.guards import GUARD

MARKERS = ("<!-- recovery -->", "<!-- /recovery -->")
FIXED_PAUSES_SECONDS = (300, 600, 600)
SHOWN_BY = {"errors": "error_rate", "3%": "latency_p99", "drift,": "prediction_drift"}
"""The check that a fault should be found by, by the first word of its name."""
MOST_SECONDS_TO_RECOVERY = 2 * 10 + 15  # two looks and a scrape
COMMAND = "make e2e-figures"


@dataclass(frozen=True)
class Recovery:
    """One canary at a paused step, and what became of it.

    Attributes
    ----------
    fault, rate, method, seed : what it is; rate in canary requests a second, and no fault is an empty name
    began, first_bad, first_scrape, ended : Unix seconds of its first request, of its first bad one, of the first page
        that showed one to Prometheus, and of weight 0
    requests : that it got in all
    phase, decided, reason : of the background run; which checks or metrics ended it
    """

    fault: str
    rate: float
    method: str
    seed: int
    began: float | None = None
    first_bad: float | None = None
    first_scrape: float | None = None
    ended: float | None = None
    requests: int = 0
    phase: str = ""
    decided: Sequence[str] = ()
    reason: str = ""

    @property
    def namespace(self) -> str:
        """A name of its own, for Kubernetes."""
        words = f"{self.fault or 'healthy'} {self.rate:g} a second {self.method} {self.seed}"
        kept = "".join(letter if letter.isalnum() else "-" for letter in words.lower())
        return "-".join(filter(None, kept.split("-")))

    def seconds_since(self, moment: float | None) -> float:
        """Seconds from a moment to weight 0; infinite if the weight never was 0, none if it was before the moment."""
        if self.ended is None:
            return math.inf
        return 0.0 if moment is None else max(0.0, self.ended - moment)

    @property
    def is_by_another(self) -> bool:
        """Whether it was rolled back by something else than what is wrong with it."""
        expected = SHOWN_BY.get(self.fault.partition(" ")[0], "")
        return self.ended is not None and expected not in self.decided


@dataclass(frozen=True)
class Promotion:
    """One healthy canary that walks all steps at real intervals.

    Attributes
    ----------
    seed : of its requests
    rate : canary requests a second at the first weight
    seconds : from the release until it has all traffic; None if it never had
    requests : that it got until the measurement ended
    weights : seconds since the release, and its share of the traffic from then on, in percent
    """

    seed: int
    rate: float = 10.0
    seconds: float | None = None
    requests: int = 0
    weights: Sequence[tuple[float, int]] = ()


@dataclass(frozen=True)
class Acceleration:
    """One healthy canary at the pace of the tests: how it ended, and the phases of its analyses."""

    seed: int
    outcome: str
    seconds: float
    phases: Sequence[tuple[str, str]] = ()
    reason: str = ""


@dataclass(frozen=True)
class Results:
    """Everything measured, and the plan by which it was."""

    recoveries: Sequence[Recovery]
    promotions: Sequence[Promotion]
    accelerated: Sequence[Acceleration]
    plan: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return asdict(self)

    def of(self, fault: str, rate: float, method: str) -> list[Recovery]:
        """Find the seeds of a combination."""
        return [one for one in self.recoveries if (one.fault, one.rate, one.method) == (fault, rate, method)]


def problems(results: Results) -> list[str]:
    """Name every figure that misses its target, and every rollout that was not measured as it should be."""
    found = [
        f"{one.namespace}: weight 0 after {one.seconds_since(one.first_scrape):.0f} s, not {MOST_SECONDS_TO_RECOVERY}"
        for one in results.of("errors 5%", 10.0, GUARD)
        if one.seconds_since(one.first_scrape) > MOST_SECONDS_TO_RECOVERY
    ]
    found += [f"{one.namespace}: it had no requests" for one in results.recoveries if one.began is None]
    found += [f"{one.namespace}: {one.reason}" for one in results.recoveries if one.phase == "Error"]
    found += [
        f"{one.namespace}: a healthy canary was rolled back: {one.reason}"
        for one in results.recoveries
        if not one.fault and one.method == GUARD and one.ended is not None
    ]
    found += [
        f"promotion {one.seed}: {'none' if one.seconds is None else f'{one.seconds:.0f} s'}"
        for one in results.promotions
        if one.seconds is None or one.seconds > sum(FIXED_PAUSES_SECONDS) / 2
    ]
    found += [
        f"accelerated {one.seed}: {one.outcome}: {one.reason}"
        for one in results.accelerated
        if one.outcome in ("aborted", "not decided")
    ]
    return found


def write(results: Results, readme: Path | None) -> str:
    """Write the tables, and put them between the markers of a README where there is one."""
    parts = [_recovery(results), _healthy(results), _promotion(results), _accelerated(results)]
    text = "\n\n".join(part for part in parts if part)
    if readme is not None:
        page = readme.read_text(encoding="utf-8")
        before, after = page.partition(MARKERS[0])[0], page.partition(MARKERS[1])[2]
        readme.write_text(f"{before}{MARKERS[0]}\n{text}\n{MARKERS[1]}{after}", encoding="utf-8")
    return text


def _recovery(results: Results) -> str:
    plan = results.plan
    if not plan["faults"] or not results.recoveries:
        return ""
    minutes, methods = plan["cap_seconds"] / 60, plan["methods"]
    rows = [
        [
            fault,
            f"{rate:g}",
            *(_time(results.of(fault, rate, method), plan["cap_seconds"] / 60) for method in plan["methods"]),
        ]
        for fault in plan["faults"]
        for rate in plan["rates"]
    ]
    conditions = (
        f"Made by `{COMMAND}` with Argo Rollouts 1.9.1, a real Prometheus and {len(results.recoveries)} rollouts at "
        f"once on {os.cpu_count()} cores. Each canary has 5% of the traffic at a step that only its background "
        f"analysis can end (`pause: {{}}`), and its fault from the first request on. Prometheus scrapes every 15 s and "
        f"knows two hours of the baseline; the analyses measure every 10 s, the first time after 10 s. *guard* is "
        f"`ml-model-guard`. *threshold* is Argo's own Prometheus provider on the last five minutes, as commonly "
        f"written: errors above 1%, p99 above 500 ms, PSI above 0.2 (by recorded bins), `failureLimit: 0`; *3 "
        f"failures* with `failureLimit: 3`; *after 5 min* with a first measurement after five minutes, when its window "
        f"is full. All have the same requests."
    )
    legend = (
        f"**Time to weight 0** from the first scrape that saw a bad request, in parentheses from the first bad request "
        f"itself; {_medians(plan['seeds'])}. *> {minutes:.3g} min*: not rolled back by then. *n other*: so many were "
        f"rolled back by a check that has nothing to do with the fault, some before there was a bad request (0 s)."
    )
    return f"{_wrapped(conditions)}\n\n{_wrapped(legend)}\n\n" + _table(
        ["fault", "canary requests a second", *methods], rows
    )


def _medians(seeds: Sequence[int]) -> str:
    return f"the median of {len(seeds)} rollouts" if len(seeds) > 1 else "one rollout each"


def _time(found: Sequence[Recovery], cap_minutes: float) -> str:
    scraped, began = (
        statistics.median(one.seconds_since(moment) for one, moment in moments)
        for moments in ([(one, one.first_scrape) for one in found], [(one, one.first_bad) for one in found])
    )
    if math.isinf(scraped):
        late = sum(one.ended is not None for one in found)
        cap = f"> {cap_minutes:.3g} min"
        return f"{cap} ({late} of {len(found)} sooner)" if late else cap
    others = sum(one.is_by_another for one in found)
    return f"{scraped:.0f} s ({began:.0f} s)" + (f", {others} other" if others else "")


def _healthy(results: Results) -> str:
    plan = results.plan
    if not plan["healthy_seeds"] or not results.recoveries:
        return ""
    rows = [
        [f"{rate:g}", *(_rolled_back(results.of("", rate, method)) for method in plan["methods"])]
        for rate in plan["rates"]
    ]
    intro = (
        f"**Healthy canaries rolled back** within {plan['cap_seconds'] / 60:.3g} minutes, at the same time and on the "
        f"same machine (0.1% errors, 0.05% over 500 ms, no drift, in both arms); in parentheses the median time to "
        f"weight 0, and the checks by which they were:"
    )
    return f"{_wrapped(intro)}\n\n" + _table(["canary requests a second", *plan["methods"]], rows)


def _rolled_back(found: Sequence[Recovery]) -> str:
    gone = [one for one in found if one.ended is not None]
    if not gone:
        return f"0 of {len(found)}"
    seconds = statistics.median(one.seconds_since(one.began) for one in gone)
    checks = sorted({check for one in gone for check in one.decided})
    return f"{len(gone)} of {len(found)} ({seconds:.0f} s, {', '.join(checks)})"


def _promotion(results: Results) -> str:
    if not results.promotions:
        return ""
    fixed = sum(FIXED_PAUSES_SECONDS)
    pauses = ", ".join(f"{seconds // 60}m" for seconds in FIXED_PAUSES_SECONDS)
    times = [one.seconds for one in results.promotions]
    took = ", ".join("never" if seconds is None else f"{seconds:.0f}" for seconds in times)
    known = sorted(seconds for seconds in times if seconds is not None)
    median = f"{known[len(known) // 2]:.0f} s" if len(known) == len(times) else "not all"
    rows = [
        ["pauses of a fixed length", f"more than {fixed} s: {pauses}, and the time to start pods"],
        ["`fraud-detector/overlays/replica-ratio`", f"{median} ({took})"],
    ]
    intro = (
        f"**Time to promote** a healthy canary, from the release to 100% of the traffic, with "
        f"{results.promotions[0].rate:g} canary requests a second at 5%. The first row is not waited for: it is the "
        f"sum of its pauses at the same three steps. The second is the example as it is, the median of {len(times)}:"
    )
    return f"{_wrapped(intro)}\n\n" + _table(["steps", "release to 100%"], rows)


def _accelerated(results: Results) -> str:
    if not results.accelerated:
        return ""
    outcomes = Counter(one.outcome for one in results.accelerated)
    rows = [[name, str(outcomes[name])] for name in ("promoted", "paused", "aborted", "not decided")]
    promoted = [one.seconds for one in results.accelerated if one.outcome == "promoted"]
    took = f", in {statistics.median(promoted):.0f} s in the median" if promoted else ""
    intro = (
        f"**{len(results.accelerated)} healthy rollouts** of the same example, 1000 requests a second, everything some "
        f"fifteen times as fast (measurements every 2 s, scrapes every second){took}:"
    )
    return f"{_wrapped(intro)}\n\n" + _table(["ended", "rollouts"], rows)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
