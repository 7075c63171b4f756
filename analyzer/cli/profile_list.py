"""What ``analyzer profiles`` prints: which profiles there are, and what one of them reads."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from analyzer.config.profile import (
    SECTIONS,
    About,
    ClassCounter,
    ConversionCounters,
    ErrorCounters,
    LatencyHistogram,
    Profile,
    ScoreHistogram,
    ValueHistogram,
    Way,
)
from analyzer.config.selector import Selector
from analyzer.model.findings import Kind

MEAN_ONLY = "mean only"


def summary(profile: Profile) -> dict[str, Any]:
    """Return which stack a profile reads, which checks, and by which label."""
    return {
        "name": profile.name,
        "stack": _about(profile).stack,
        "checks": [kind.value for kind in SECTIONS if profile.ways(kind)],
        "arm_label": profile.arm_label,
    }


def details(profile: Profile) -> dict[str, Any]:
    """Return everything about a profile."""
    about = _about(profile)
    return {
        **summary(profile),
        "checks": {
            kind.value: [dict(_parts(way)) for way in profile.ways(kind)] for kind in SECTIONS if profile.ways(kind)
        },
        "versions": about.versions,
        "arms": about.arms,
        "matchers": [str(matcher) for matcher in profile.matchers],
        "process_start": None if profile.process_start is None else str(profile.process_start),
        "routed": [{"requests": _texts(way.requests)} for way in profile.routed],
        "cannot": [
            {"check": limitation.check and limitation.check.value, "what": limitation.what, "remedy": limitation.remedy}
            for limitation in about.cannot
        ],
        "sources": list(about.sources),
    }


def print_summaries(profiles: Mapping[str, Profile], console: Console) -> None:
    """Print a table of all profiles."""
    table = Table(
        Column("profile", no_wrap=True),
        Column("stack", overflow="fold"),
        Column("checks", overflow="fold"),
        Column("arm label", overflow="fold"),
        box=None,
        pad_edge=False,
    )
    for name in sorted(profiles):
        profile = profiles[name]
        checks = ", ".join(_readable(profile, kind) for kind in SECTIONS if profile.ways(kind))
        table.add_row(Text(name), Text(_about(profile).stack), Text(checks), Text(profile.arm_label))
    console.print(table)


def print_details(profile: Profile, console: Console) -> None:
    """Print what a profile reads, what it cannot tell, and where its facts come from."""
    about = _about(profile)
    console.print(Text.assemble((profile.name, "bold"), f"  {about.stack}" if about.stack else ""))
    general = {
        "versions": about.versions,
        "arm label": profile.arm_label,
        "arms": about.arms,
        "on every metric": ", ".join(map(str, profile.matchers)),
        "process start": str(profile.process_start or ""),
        "mesh": " or ".join(str(selector) for way in profile.routed for selector in way.requests),
    }
    _print_rows(((name, text) for name, text in general.items() if text), console)
    for kind in SECTIONS:
        for index, way in enumerate(profile.ways(kind)):
            console.print("  or, where that is not there" if index else Text(f"\n{kind}", "bold"))
            _print_rows(((name, _shown(part)) for name, part in _parts(way)), console)
    if about.cannot:
        console.print(Text("\nwhat it cannot tell", "bold"))
        for limitation in about.cannot:
            console.print(
                Padding(
                    Text(f"{limitation.check}: {limitation.what}" if limitation.check else limitation.what),
                    (0, 0, 0, 2),
                )
            )
            console.print(Padding(Text(f"remedy: {limitation.remedy}", "dim"), (0, 0, 0, 4)))
    if about.sources:
        console.print(Text("\nwhere this comes from", "bold"))
        for link in about.sources:
            console.print(f"  {link}", highlight=False, markup=False, soft_wrap=True)


def _about(profile: Profile) -> About:
    return profile.about or About(stack="")


def _readable(profile: Profile, kind: Kind) -> str:
    """Return the name of a kind, marked where its quantile cannot be computed."""
    ways = profile.ways(kind)
    mean = all(isinstance(way, LatencyHistogram) and way.sum is not None for way in ways)
    return f"{kind} ({MEAN_ONLY})" if mean else str(kind)


def _parts(way: Way) -> Iterable[tuple[str, Any]]:
    """List what a way of reading consists of, as in the YAML file."""
    described: dict[str, Any]
    match way:
        case ErrorCounters():
            described = {"requests": _texts(way.requests), "errors": _texts(way.errors)}
        case LatencyHistogram():
            described = {
                "histogram": way.histogram and str(way.histogram),
                "native_histogram": way.native_histogram and str(way.native_histogram),
                "sum": way.sum and _texts(way.sum),
                "count": way.count and _texts(way.count),
                "unit": way.unit.value,
                "edges": way.edges and list(way.edges),
            }
        case ScoreHistogram():
            described = {"scores": str(way.scores)}
        case ClassCounter():
            described = {"classes": str(way.classes), "by": way.by}
        case ConversionCounters():
            described = {"successes": _texts(way.successes), "trials": _texts(way.trials)}
        case ValueHistogram():
            described = {"values": str(way.values)}
    return ((name, part) for name, part in described.items() if part is not None)


def _texts(several: Iterable[Selector]) -> list[str]:
    return [str(selector) for selector in several]


def _shown(part: Any) -> str:
    if isinstance(part, list):
        numbers = all(isinstance(item, float) for item in part)
        return ", ".join(f"{item:.7g}" for item in part) if numbers else " + ".join(part)
    return str(part)


def _print_rows(rows: Iterable[tuple[str, str]], console: Console) -> None:
    table = Table(Column(no_wrap=True), Column(overflow="fold"), box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, text in rows:
        table.add_row(Text(name), Text(text))
    console.print(Padding(table, (0, 0, 0, 2)))
