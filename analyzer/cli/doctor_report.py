"""What ``analyzer doctor`` prints: text for people, JSON for programs."""

from collections import Counter
from collections.abc import Iterable, Mapping
from textwrap import wrap
from typing import Any

import click
import orjson
from rich.console import Console
from rich.text import Text

from analyzer.config.settings import load_settings
from analyzer.doctor.diagnosis import WEIGHT, CheckDiagnosis, Diagnosis, Value, examine
from analyzer.doctor.notices import Advice, Status, several
from analyzer.doctor.shortcomings import ArmFacts
from analyzer.errors import SourceError
from analyzer.model.findings import Role
from analyzer.planning.forecast import show_need
from analyzer.quantity import format_instant, format_ratio, format_seconds
from analyzer.verdict.answer import number
from analyzer.verdict.wiring import build_analyzer

COLOURS = {Status.OK: "green", Status.WARNING: "yellow", Status.MISSING: "red"}
NEAR = 1.5  # intervals of the begin of the window, within which a first sample is no news
MOST_SHOWN = 12  # bucket edges, values of the arm label


def as_json(found: Diagnosis) -> dict[str, Any]:
    """Give everything for programs."""
    question = found.question
    return {
        "status": found.status.value,
        "service": question.service,
        "namespace": question.namespace,
        "canary": question.arms.get("canary"),
        "baseline": question.arms.get("baseline"),
        "profile": question.profile.name,
        "arm_label": question.profile.arm_label,
        "policy": question.policy.name,
        "window": {
            "start": format_instant(question.at - question.window_seconds),
            "end": format_instant(question.at),
            "seconds": number(question.window_seconds, 9),
        },
        "source": {
            "url": found.url,
            "engine": found.engine and found.engine.name,
            "version": found.engine and found.engine.version,
        },
        "notices": [_notice(one) for one in found.notices],
        "checks": {name: _check(one) for name, one in found.checks.items()},
        "values": {name: _value(one) for name, one in found.values.items()},
        "hints": [_hint(one) for one in found.hints],
    }


def print_diagnosis(found: Diagnosis, console: Console) -> None:
    """Print what was found of each check, and what to do."""
    question, engine = found.question, found.engine
    answered = f"{engine.name} {engine.version}".strip() if engine else "Prometheus API"
    window = format_seconds(question.window_seconds)
    _print(f"{answered} at {found.url}", console)
    _print(f"profile {question.profile.name}, policy {question.policy.name}, the last {window}", console)
    _print_notices(found.notices, console, 0)
    if found.values:
        _print_values(found, console)
        return
    shared = Counter(one for check in found.checks.values() for one in check.notices)
    common = [one for one, times in shared.items() if times > 1]
    for name, check in found.checks.items():
        _print_check(name, check, found, console, common)
    if common:
        console.print()
        _print("of several checks", console, style="bold")
        _print_notices(common, console, 2)
    _print_hints(found, console)
    console.print()
    counted = Counter(check.status for check in found.checks.values())
    text = ", ".join(f"{counted[status]} {status}" for status in Status if counted[status])
    _print(text, console, style=f"bold {COLOURS[found.status]}")


def _print_check(name: str, found: CheckDiagnosis, whole: Diagnosis, console: Console, common: list[Advice]) -> None:
    console.print()
    role = "" if found.check.role is Role.GATE else f"  {found.check.role}"
    console.print(Text.assemble((f"{found.status:8}", f"bold {COLOURS[found.status]}"), (name, "bold"), role))
    if found.arms:
        way = f"  (way {found.way} of {found.ways})" if found.ways > 1 else ""
        _print(f"{', '.join(map(str, found.reads))}{way}", console, 2)
    for word, facts in found.arms.items():
        _print(_shown(word, facts, whole), console, 2)
    if found.bins is not None and found.bins.number and found.arms:
        _print(_bins(found), console, 2)
    if found.to_pass is not None:
        rate, share = f"{found.per_second:.3g}", format_ratio(WEIGHT)
        _print(
            f"at a weight of {share} of {rate} requests/s a healthy canary passes after {show_need(found.to_pass)}",
            console,
            2,
        )
    _print_notices([one for one in found.notices if one not in common], console, 2)


def _shown(word: str, facts: ArmFacts, whole: Diagnosis) -> str:
    question = whole.question
    text = (
        f"{word} {question.arms[word]}: {facts.series:,} series of {several(facts.targets, 'target')}, "
        f"{facts.per_second:.3g}/s"
    )
    if facts.interval is not None:
        text += f", every {format_seconds(facts.interval)}"
    begin = question.at - question.window_seconds
    if facts.first is not None and facts.first - begin > NEAR * (facts.interval or 0.0):
        text += f", since {format_instant(facts.first)}"
    if facts.last is not None:
        age = round(question.at - facts.last)
        text += f", last {format_seconds(age) if age > 0 else '0 s'} ago"
    return text


def _bins(found: CheckDiagnosis) -> str:
    bins = found.bins
    if bins is None:
        return ""
    word = "baseline" if "baseline" in found.arms else next(iter(found.arms))
    if not bins.edges:
        return f"{several(bins.number, 'class')}, {bins.empty(word)} of them empty in the {word}"
    if found.check.quantile is not None or found.check.edge is not None:
        shown = ", ".join(map(format_seconds, bins.edges[:MOST_SHOWN]))
        more = f" and {len(bins.edges) - MOST_SHOWN} more" if len(bins.edges) > MOST_SHOWN else ""
        return f"bucket edges {shown}{more}"
    return f"{several(bins.number, 'bin')}, {bins.empty(word)} of them empty in the {word}"


def _print_values(found: Diagnosis, console: Console) -> None:
    """Print what can be given as the arms."""
    label = found.question.profile.arm_label
    console.print()
    _print(f"values of {label}, which tells the arms apart", console, style="bold")
    for value, one in list(found.values.items())[:MOST_SHOWN]:
        _print(f"{value}  {one.per_second:.3g}/s, {', '.join(one.checks)}", console, 2)
    if len(found.values) > MOST_SHOWN:
        _print(f"and {len(found.values) - MOST_SHOWN} more", console, 2)
    _print_hints(found, console)
    console.print()
    first, *others = found.values
    canary = f" --canary {others[0]}" if len(others) == 1 else ""
    _print(f"name one as the baseline, mostly that with the most traffic: --baseline {first}{canary}", console)


def _print_notices(notices: Iterable[Advice], console: Console, indent: int) -> None:
    for one in sorted(notices, key=lambda one: one.status is not Status.MISSING):
        _print(one.what, console, indent, COLOURS[one.status])
        _print(f"-> {one.remedy}", console, indent + 2)


def _print_hints(found: Diagnosis, console: Console) -> None:
    """Print what the profile cannot tell, each once."""
    hints = dict.fromkeys(found.hints, "")
    for name, check in found.checks.items():
        for one in check.hints:
            hints.setdefault(one, name)
    if not hints:
        return
    console.print()
    _print(f"what the profile {found.question.profile.name} cannot tell", console, style="bold")
    for (what, remedy), name in hints.items():
        _print(f"{name}: {what}" if name else what, console, 2)
        _print(f"-> {remedy}", console, 4)


def _print(text: str, console: Console, indent: int = 0, style: str = "") -> None:
    """Print literally, and break lines between words only: a selector stays in one piece."""
    margin = " " * indent
    for line in wrap(
        text, console.width, initial_indent=margin, subsequent_indent=margin, break_long_words=False,
        break_on_hyphens=False,
    ):  # fmt: skip
        console.print(Text(line, style), soft_wrap=True)


def _check(one: CheckDiagnosis) -> dict[str, Any]:
    word = "baseline" if "baseline" in one.arms else next(iter(one.arms), "")
    need = one.to_pass
    return {
        "status": one.status.value,
        "kind": one.check.kind.value,
        "role": one.check.role.value,
        "reads": [str(selector) for selector in one.reads],
        "way": one.way or None,
        "ways": one.ways,
        "arms": {name: _facts(facts) for name, facts in one.arms.items()},
        "edges": None if one.bins is None or not one.bins.edges else [number(edge, 6) for edge in one.bins.edges],
        "bins": None if one.bins is None else one.bins.number,
        "empty_bins": None if one.bins is None or not word else one.bins.empty(word),
        "to_pass": need and {"requests": number(need.requests), "seconds": number(need.seconds)},
        "notices": [_notice(notice) for notice in one.notices],
        "hints": [_hint(hint) for hint in one.hints],
    }


def _facts(one: ArmFacts) -> dict[str, Any]:
    return {
        "series": one.series,
        "targets": one.targets,
        "first_sample": None if one.first is None else format_instant(one.first),
        "last_sample": None if one.last is None else format_instant(one.last),
        "scrape_seconds": number(one.interval),
        "requests": number(one.counted, 6),
        "requests_per_second": number(one.per_second),
    }


def _value(one: Value) -> dict[str, Any]:
    return {"requests_per_second": number(one.per_second), "checks": list(one.checks)}


def _notice(one: Advice) -> dict[str, str]:
    return {"status": one.status.value, "code": one.code.value, "what": one.what, "remedy": one.remedy}


def _hint(one: tuple[str, str]) -> Mapping[str, str]:
    return {"what": one[0], "remedy": one[1]}


THERE, SOMETHING_MISSING, SOURCE_UNAVAILABLE = 0, 1, 4


def run(fields: Mapping[str, str | None], console: Console, *, json: bool) -> int:
    """Examine, print, and give the exit code.

    Parameters
    ----------
    fields : service, canary, baseline, namespace, profile, policy, checks, window, at; None: not given
    """
    settings = load_settings()
    try:
        found = examine(build_analyzer(settings), settings, fields)
    except SourceError as error:
        reason = f"{settings.prometheus_url}: {error}"
        if json:
            _print_json({"status": "unavailable", "reason": reason})
        click.echo(f"Error: {reason}", err=True)
        return SOURCE_UNAVAILABLE
    if json:
        _print_json(as_json(found))
    else:
        print_diagnosis(found, console)
    return SOMETHING_MISSING if found.status is Status.MISSING else THERE


def _print_json(answer: Mapping[str, Any]) -> None:
    click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE), nl=False)
