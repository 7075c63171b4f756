"""What ``analyzer plan`` and ``analyzer calibrate`` print: tables for people, JSON for programs."""

from collections.abc import Mapping
from typing import Any

import yaml
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from analyzer.checks.decision import format_count
from analyzer.config.policy import Policy
from analyzer.model.findings import Gap
from analyzer.planning.assumptions import FAULTS
from analyzer.planning.calibration import CONFIDENCE, Calibration, CheckReport, Share
from analyzer.planning.forecast import Need, PlanRow, remarks, show_need, show_seconds
from analyzer.planning.ramp import Ramp, manifest
from analyzer.quantity import format_instant, format_ratio, format_seconds
from analyzer.verdict.answer import number

MEANING = (
    "Correlation is that of two requests of the same minute; by what follows from it the canary's counts are divided, "
    "so that bursts prove nothing."
)
LIMITS = (
    "Limits of this test: in the table requests are dealt one by one or in clusters of the size that is seen, for each "
    "check by itself. A user with many requests then meets both arms alike, where in reality it may meet one; cold "
    "starts are missing; sums of values are drawn from the normal law, and latencies of which only the sum is known as "
    "if they were exponential. The pretend rollouts overlap, so the interval speaks of this segment of time and of no "
    "other."
)


def print_plan(rows: Mapping[str, PlanRow], policy: Policy, rate: float, share: float, console: Console) -> None:
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


def plan_as_json(rows: Mapping[str, PlanRow], policy: Policy, rate: float, share: float) -> dict[str, Any]:
    """Return it as JSON."""
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


def ramp_as_yaml(best: Ramp, usual: Ramp | None, policy: Policy, rate: float) -> str:
    """Return what a Rollout has under `spec.strategy.canary`, after comments that say what it comes to."""
    lines = [f"For spec.strategy.canary of a Rollout. Policy {policy.name} at {rate:,.4g} requests/s: {_ramp(best)}."]
    if usual is not None:
        weights = ", ".join(f"{step.weight}%" for step in usual.steps)
        lines.append(f"The usual {weights}, measured every {format_seconds(usual.interval)}: {_ramp(usual)}.")
    lines.append("Bad requests by fault" + ("" if usual is None else " (usual)") + ":")
    for (name, value), harm in best.by_fault.items():
        other = "" if usual is None else f" ({format_count(usual.by_fault[name, value])})"
        lines.append(f"  {name} {format_ratio(value)}: {format_count(harm)}{other}")
    lines.append(
        "Assumptions: those of `analyzer plan`, and scrapes every 15 s. Weights below 5% need a router or a mesh."
    )
    text = yaml.safe_dump(manifest(best, policy.name), sort_keys=False, width=120)
    return "".join(f"# {line}\n" for line in lines) + text


def ramp_as_json(best: Ramp, usual: Ramp | None, policy: Policy, rate: float) -> dict[str, Any]:
    """Return it as JSON."""
    return {
        "policy": policy.name,
        "policy_digest": policy.digest,
        "rate": number(rate, 6),
        "ramp": _ramp_numbers(best),
        "usual": None if usual is None else _ramp_numbers(usual),
        "canary": manifest(best, policy.name),
    }


def _ramp(ramp: Ramp) -> str:
    return (
        f"promoted after about {show_seconds(ramp.seconds)}; a fault serves {format_count(ramp.harm)} bad requests on "
        "average until it is rolled back"
    )


def _ramp_numbers(ramp: Ramp) -> dict[str, Any]:
    return {
        "seconds": number(ramp.seconds),
        "bad_requests": number(ramp.harm),
        "interval": ramp.interval,
        "steps": [{"weight": step.weight, "pause": step.pause, "seconds": number(step.seconds)} for step in ramp.steps],
    }


def print_calibration(calibration: Calibration, console: Console) -> None:
    """Print how the pretend rollouts ended, and what the past says about the limits."""
    past, whole = calibration.past, calibration.whole
    rate = max(report.per_second for report in calibration.by_check.values())
    title = (
        f"Policy {calibration.policy.name} on the past from {format_instant(past.begin)} to "
        f"{format_instant(past.end)}, {rate:,.3g} requests/s: {whole.runs} pretend rollouts of "
        f"{format_seconds(calibration.length_seconds)} at weight {format_ratio(calibration.weight)}, "
        f"{calibration.looks:,} measurements\n"
    )
    console.print(title, highlight=False)
    heads = "promised at most", "passed, median", "undecided", "correlation", "counts divided by"
    table = _table("check", f"rolled back, {CONFIDENCE:.0%} interval", *heads)
    for name, report in calibration.by_check.items():
        own = ["-", "-"] if isinstance(past.by_check[name], Gap) else [_correlation(report), f"{report.factor:.3g}"]
        table.add_row(Text(name), *_cells(report.share), *own)
    table.add_row("all together", *_cells(whole), style="bold")
    console.print(table)
    console.print()
    remarks = [text for report in calibration.by_check.values() for text in report.remarks]
    others = [
        f"Split by {split.value}: {share.rolled_back} of {share.runs} were rolled back, {CONFIDENCE:.0%} interval "
        f"{' to '.join(map(format_ratio, share.interval))}: {split.shows}."
        for split, share in calibration.splits.items()
    ]
    _print_lines([*remarks, *others, calibration.conclusion, MEANING, LIMITS], console)


def calibration_as_json(calibration: Calibration) -> dict[str, Any]:
    """Return it as JSON."""
    past = calibration.past
    return {
        "policy": calibration.policy.name,
        "policy_digest": calibration.policy.digest,
        "weight": number(calibration.weight * 100, 6),
        "past": {
            "start": format_instant(past.begin),
            "end": format_instant(past.end),
            "seconds": number(past.end - past.begin, 9),
        },
        "length_seconds": number(calibration.length_seconds, 9),
        "looks": calibration.looks,
        "all": _share(calibration.whole),
        "checks": {
            name: {
                **_share(report.share),
                "requests_per_second": number(report.per_second),
                "correlation": number(report.known.observed_correlation) if report.known.batches else None,
                "factor": number(report.factor),
                "remarks": list(report.remarks),
            }
            for name, report in calibration.by_check.items()
        },
        "splits": {split.value: _share(share) | {"shows": split.shows} for split, share in calibration.splits.items()},
        "conclusion": calibration.conclusion,
        "too_many": calibration.too_many,
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


def _correlation(report: CheckReport) -> str:
    if not report.known.batches:
        return "unknown"
    return f"at most {report.known.observed_correlation:.2g}"
