"""What ``analyzer plan`` and ``analyzer calibrate`` print: tables for people, JSON for programs."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from analyzer.config.policy import Policy
from analyzer.model.findings import Gap
from analyzer.planning.assumptions import FAULTS
from analyzer.planning.calibration import CONFIDENCE, Calibration, CheckReport, Share
from analyzer.planning.forecast import Need, Row, remarks, show_need, show_seconds
from analyzer.quantity import format_instant, format_ratio, format_seconds
from analyzer.verdict.answer import number

MEANING = (
    "Correlation is that of two requests of the same minute; by what follows from it the canary's counts are divided, "
    "so that bursts prove nothing."
)
LIMITS = (
    "What this cannot show: every request is dealt to an arm by itself, and anew for each check. A burst of one "
    "client, a user with many requests or a bad pod then meets both arms alike, where in reality it may meet one; cold "
    "starts are missing; sums of values are drawn from the normal law, and latencies of which only the sum is known as "
    "if they were exponential. The pretend rollouts overlap, so the interval speaks of this segment of time and of no "
    "other."
)


def print_plan(rows: Mapping[str, Row], policy: Policy, rate: float, share: float, console: Console) -> None:
    """Print a table with one row a check, then what healthy and each fault mean."""
    title = (
        f"Policy {policy.name} at {rate:,.4g} requests/s and weight {format_ratio(share)}, {rate * share:,.3g} canary "
        "requests/s: about how many canary requests each check takes, and how long\n"
    )
    console.print(title, highlight=False)
    heads = ["healthy canary passes after", *(f"{size} fault rolled back after" for size in FAULTS)]
    table = _table("check", *heads)
    for name, row in rows.items():
        cells = [show_need(need).replace(", ", "\n", 1) for need in (row.healthy, *row.faults)]
        table.add_row(Text(name), *cells, *["-"] * (len(FAULTS) - len(row.faults)))
    console.print(table)
    console.print()
    meanings = [f"{name}: {row.assumption.meaning(row.check)}." for name, row in rows.items()]
    _print_lines([*meanings, *remarks(rows)], console)


def plan_as_json(rows: Mapping[str, Row], policy: Policy, rate: float, share: float) -> dict[str, Any]:
    """Give the same for programs."""
    return {
        "policy": policy.name,
        "policy_digest": policy.digest,
        "rate": number(rate, 6),
        "weight": number(share * 100, 6),
        "canary_rate": number(rate * share, 6),
        "checks": {
            name: {
                "role": row.check.role.value,
                "meaning": row.assumption.meaning(row.check),
                "healthy": _need(row.healthy),
                "faults": {size: _need(need) for size, need in zip(FAULTS, row.faults, strict=False)},
            }
            for name, row in rows.items()
        },
        "remarks": remarks(rows),
    }


def print_calibration(found: Calibration, console: Console) -> None:
    """Print how the pretend rollouts ended, and what the past says about the limits."""
    past, whole = found.past, found.whole
    rate = max(one.per_second for one in found.by_check.values())
    title = (
        f"Policy {found.policy.name} on the past from {format_instant(past.begin)} to {format_instant(past.end)}, "
        f"{rate:,.3g} requests/s: {whole.runs} pretend rollouts of {format_seconds(found.length_seconds)} at weight "
        f"{format_ratio(found.weight)}, {found.looks:,} looks\n"
    )
    console.print(title, highlight=False)
    heads = "promised at most", "passed, median", "undecided", "correlation", "counts divided by"
    table = _table("check", f"rolled back, {CONFIDENCE:.0%} interval", *heads)
    for name, one in found.by_check.items():
        own = ["-", "-"] if isinstance(past.by_check[name], Gap) else [_correlation(one), f"{one.factor:.3g}"]
        table.add_row(Text(name), *_cells(one.share), *own)
    table.add_row("all together", *_cells(whole), style="bold")
    console.print(table)
    console.print()
    told = [text for one in found.by_check.values() for text in one.remarks]
    _print_lines([*told, found.conclusion, MEANING, LIMITS], console)


def calibration_as_json(found: Calibration) -> dict[str, Any]:
    """Give the same for programs."""
    past = found.past
    return {
        "policy": found.policy.name,
        "policy_digest": found.policy.digest,
        "weight": number(found.weight * 100, 6),
        "past": {
            "start": format_instant(past.begin),
            "end": format_instant(past.end),
            "seconds": number(past.end - past.begin, 9),
        },
        "length_seconds": number(found.length_seconds, 9),
        "looks": found.looks,
        "all": _share(found.whole),
        "checks": {
            name: {
                **_share(one.share),
                "requests_per_second": number(one.per_second),
                "correlation": number(one.known.observed_correlation) if one.known.batches else None,
                "factor": number(one.factor),
                "remarks": list(one.remarks),
            }
            for name, one in found.by_check.items()
        },
        "conclusion": found.conclusion,
        "too_many": found.whole.too_many,
        "limits": LIMITS,
    }


def _table(first: str, *others: str) -> Table:
    columns = [Column(head, overflow="fold", min_width=max(map(len, head.split()))) for head in others]
    return Table(Column(first, no_wrap=True), *columns, box=None, pad_edge=False)


def _print_lines(lines: list[str], console: Console) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False)


def _need(need: Need) -> dict[str, Any]:
    return {
        "value": number(need.value),
        "requests": number(need.requests),
        "seconds": number(need.seconds),
        "by_estimate": need.by_estimate,
    }


def _cells(share: Share) -> list[str]:
    low, high = share.interval
    median = "" if share.seconds_to_pass is None else f"\n{show_seconds(share.seconds_to_pass)}"
    return [
        f"{share.rolled_back} of {share.runs}\n{format_ratio(low)} to {format_ratio(high)}",
        format_ratio(share.allowed),
        f"{share.passed}{median}",
        str(share.undecided),
    ]


def _share(share: Share) -> dict[str, Any]:
    return {
        "runs": share.runs,
        "rolled_back": share.rolled_back,
        "passed": share.passed,
        "undecided": share.undecided,
        "interval": [number(bound) for bound in share.interval],
        "promised": number(share.allowed),
        "seconds_to_pass": number(share.seconds_to_pass),
    }


def _correlation(one: CheckReport) -> str:
    if not one.known.batches:
        return "unknown"
    return f"at most {one.known.observed_correlation:.2g}"
