"""What ``analyzer check-config`` prints: the settings in force, and limits that buckets cannot resolve."""

import math

from rich.console import Console
from rich.table import Table

from analyzer.checks.buckets import edge_above, edge_below, is_edge
from analyzer.config.policy import Check
from analyzer.config.profile import LatencyHistogram, Profile
from analyzer.config.settings import PREFIX, Settings
from analyzer.config.validation import load_named
from analyzer.model.findings import Kind, Rule
from analyzer.quantity import format_seconds
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.answer import shortened


def report(settings: Settings, analyzer: Analyzer, console: Console) -> None:
    """Print the settings, the policies and profiles, and a warning for every limit inside a known bucket."""
    table = Table(title="Settings", title_justify="left", box=None, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("meaning", overflow="fold")
    for name, field in Settings.model_fields.items():
        table.add_row(f"{PREFIX}{name.upper()}", _shown(getattr(settings, name)), field.description)
    console.print(table)
    for policy in analyzer.policies.values():
        checks = ", ".join(
            f"{name} ({check.shown(check.promote)} / {check.shown(check.rollback)}, {check.role})"
            for name, check in policy.checks.items()
        )
        console.print(f"\nPolicy {policy.name}, alpha {policy.alpha:g}: {checks}", highlight=False)
    console.print(f"\nProfiles: {', '.join(sorted(analyzer.profiles))}", highlight=False)
    # Of the many packaged profiles the default one is meant, and of the mounted ones each.
    mounted = load_named(Profile, settings.config_dir / "profiles", None) if settings.config_dir else {}
    warnings = [
        f"policy {policy.name}, check {name}, profile {profile.name}: {text}"
        for policy in analyzer.policies.values()
        for profile in (analyzer.profiles[known] for known in sorted({analyzer.default_profile, *mounted}))
        for name, check in policy.checks.items()
        for text in resolution(check, profile)
    ]
    warnings += [
        f"policy {policy.name}: a summary of its {len(policy.checks)} checks exceeds 2 KB, so it has only their "
        "verdicts and codes: list fewer checks in each request (`checks`), or use detail full"
        for policy in analyzer.policies.values()
        if shortened(policy)
    ]
    for warning in warnings:
        console.print(f"Warning: {warning}", style="yellow", highlight=False)
    count = f", {len(warnings)} warning{'s' if len(warnings) > 1 else ''}" if warnings else ""
    console.print(f"\nvalid{count}", style="bold green")


def resolution(check: Check, profile: Profile) -> list[str]:
    """Return a warning for each limit of a latency inside a bucket, where the profile's stack fixes the buckets."""
    if check.kind is not Kind.LATENCY:
        return []
    way = next(iter(profile.latency), None)
    if not isinstance(way, LatencyHistogram) or way.edges is None:
        return []
    edges = [edge * way.unit.seconds for edge in way.edges]
    if check.rule is Rule.RELATIVE:
        wanted = {"edge": check.edge or 0.0}
    else:
        wanted = {"promote": check.promote, "rollback": check.rollback}
    warnings = []
    for name, limit in wanted.items():
        if not is_edge(edges, limit):
            below, above = max(edge_below(edges, limit), 0.0), edge_above(edges, limit)
            end = format_seconds(above) if math.isfinite(above) else "infinity"
            warnings.append(
                f"{name} {format_seconds(limit)} lies inside the bucket from {format_seconds(below)} to {end}; a value "
                f"in it stays undecided: add le={limit / way.unit.seconds:g} to the histogram, or move the limit"
            )
    return warnings


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(map(str, value)) or "-"
    return f"{value:g}" if isinstance(value, float) else str(value)
