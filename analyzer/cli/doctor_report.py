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
from analyzer.doctor.address import try_address
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


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Give everything for programs."""
    question = diagnosis.question
    return {
        "status": diagnosis.status.value,
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
            "url": diagnosis.url,
            "engine": diagnosis.engine and diagnosis.engine.name,
            "version": diagnosis.engine and diagnosis.engine.version,
        },
        "notices": [_notice(notice) for notice in diagnosis.notices],
        "checks": {name: _check(check) for name, check in diagnosis.checks.items()},
        "values": {name: _value(value) for name, value in diagnosis.values.items()},
        "hints": [_hint(hint) for hint in diagnosis.hints],
    }


def print_address(url: str, console: Console, *, json: bool) -> int:
    """Try whether an address is the analyzer's, print it, and return the exit code."""
    finding = try_address(url)
    status = Status.OK if finding.fine else Status.MISSING
    if json:
        content = {"status": status.value, "analyzer_url": url, "reason": finding.reason}
        click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())
    else:
        console.print(Text.assemble((f"{status:8}", f"bold {COLOURS[status]}"), (url, "bold")))
        _print(finding.reason, console, 2)
    return int(not finding.fine)


def print_diagnosis(diagnosis: Diagnosis, console: Console) -> None:
    """Print what was found of each check, and what to do."""
    question, engine = diagnosis.question, diagnosis.engine
    answered = f"{engine.name} {engine.version}".strip() if engine else "Prometheus API"
    window = format_seconds(question.window_seconds)
    _print(f"{answered} at {diagnosis.url}", console)
    _print(f"profile {question.profile.name}, policy {question.policy.name}, the last {window}", console)
    _print_notices(diagnosis.notices, console, 0)
    if diagnosis.values:
        _print_values(diagnosis, console)
        return
    shared = Counter(notice for check in diagnosis.checks.values() for notice in check.notices)
    common = [notice for notice, times in shared.items() if times > 1]
    for name, check in diagnosis.checks.items():
        _print_check(name, check, diagnosis, console, common)
    if common:
        console.print()
        _print("of several checks", console, style="bold")
        _print_notices(common, console, 2)
    _print_hints(diagnosis, console)
    console.print()
    counted = Counter(check.status for check in diagnosis.checks.values())
    text = ", ".join(f"{counted[status]} {status}" for status in Status if counted[status])
    _print(text, console, style=f"bold {COLOURS[diagnosis.status]}")


def _print_check(name: str, check: CheckDiagnosis, whole: Diagnosis, console: Console, common: list[Advice]) -> None:
    console.print()
    role = "" if check.check.role is Role.GATE else f"  {check.check.role}"
    console.print(Text.assemble((f"{check.status:8}", f"bold {COLOURS[check.status]}"), (name, "bold"), role))
    if check.arms:
        way = f"  (way {check.way} of {check.ways})" if check.ways > 1 else ""
        _print(f"{', '.join(map(str, check.reads))}{way}", console, 2)
    for word, facts in check.arms.items():
        _print(_shown(word, facts, whole), console, 2)
    if check.bins is not None and check.bins.number and check.arms:
        _print(_bins(check), console, 2)
    if check.to_pass is not None:
        rate, share = f"{check.per_second:.3g}", format_ratio(WEIGHT)
        _print(
            f"at a weight of {share} of {rate} requests/s a healthy canary passes after {show_need(check.to_pass)}",
            console,
            2,
        )
    _print_notices([notice for notice in check.notices if notice not in common], console, 2)


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


def _bins(check: CheckDiagnosis) -> str:
    bins = check.bins
    if bins is None:
        return ""
    word = "baseline" if "baseline" in check.arms else next(iter(check.arms))
    if not bins.edges:
        return f"{several(bins.number, 'class')}, {bins.empty(word)} of them empty in the {word}"
    if check.check.quantile is not None or check.check.edge is not None:
        shown = ", ".join(map(format_seconds, bins.edges[:MOST_SHOWN]))
        more = f" and {len(bins.edges) - MOST_SHOWN} more" if len(bins.edges) > MOST_SHOWN else ""
        return f"bucket edges {shown}{more}"
    return f"{several(bins.number, 'bin')}, {bins.empty(word)} of them empty in the {word}"


def _print_values(diagnosis: Diagnosis, console: Console) -> None:
    """Print what can be given as the arms."""
    label = diagnosis.question.profile.arm_label
    console.print()
    _print(f"values of {label}, which tells the arms apart", console, style="bold")
    for value, facts in list(diagnosis.values.items())[:MOST_SHOWN]:
        _print(f"{value}  {facts.per_second:.3g}/s, {', '.join(facts.checks)}", console, 2)
    if len(diagnosis.values) > MOST_SHOWN:
        _print(f"and {len(diagnosis.values) - MOST_SHOWN} more", console, 2)
    _print_hints(diagnosis, console)
    console.print()
    first, *others = diagnosis.values
    canary = f" --canary {others[0]}" if len(others) == 1 else ""
    _print(f"name one as the baseline, mostly that with the most traffic: --baseline {first}{canary}", console)


def _print_notices(notices: Iterable[Advice], console: Console, indent: int) -> None:
    for notice in sorted(notices, key=lambda notice: notice.status is not Status.MISSING):
        _print(notice.what, console, indent, COLOURS[notice.status])
        _print(f"-> {notice.remedy}", console, indent + 2)


def _print_hints(diagnosis: Diagnosis, console: Console) -> None:
    """Print what the profile cannot tell, each once."""
    hints = dict.fromkeys(diagnosis.hints, "")
    for name, check in diagnosis.checks.items():
        for hint in check.hints:
            hints.setdefault(hint, name)
    if not hints:
        return
    console.print()
    _print(f"what the profile {diagnosis.question.profile.name} cannot tell", console, style="bold")
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


def _check(check: CheckDiagnosis) -> dict[str, Any]:
    word = "baseline" if "baseline" in check.arms else next(iter(check.arms), "")
    need = check.to_pass
    return {
        "status": check.status.value,
        "kind": check.check.kind.value,
        "role": check.check.role.value,
        "reads": [str(selector) for selector in check.reads],
        "way": check.way or None,
        "ways": check.ways,
        "arms": {name: _facts(facts) for name, facts in check.arms.items()},
        "edges": None if check.bins is None or not check.bins.edges else [number(edge, 6) for edge in check.bins.edges],
        "bins": None if check.bins is None else check.bins.number,
        "empty_bins": None if check.bins is None or not word else check.bins.empty(word),
        "to_pass": need and {"requests": number(need.requests), "seconds": number(need.seconds)},
        "notices": [_notice(notice) for notice in check.notices],
        "hints": [_hint(hint) for hint in check.hints],
    }


def _facts(facts: ArmFacts) -> dict[str, Any]:
    return {
        "series": facts.series,
        "targets": facts.targets,
        "first_sample": None if facts.first is None else format_instant(facts.first),
        "last_sample": None if facts.last is None else format_instant(facts.last),
        "scrape_seconds": number(facts.interval),
        "requests": number(facts.counted, 6),
        "requests_per_second": number(facts.per_second),
    }


def _value(value: Value) -> dict[str, Any]:
    return {"requests_per_second": number(value.per_second), "checks": list(value.checks)}


def _notice(notice: Advice) -> dict[str, str]:
    return {"status": notice.status.value, "code": notice.code.value, "what": notice.what, "remedy": notice.remedy}


def _hint(hint: tuple[str, str]) -> Mapping[str, str]:
    return {"what": hint[0], "remedy": hint[1]}


THERE, SOMETHING_MISSING, SOURCE_UNAVAILABLE = 0, 1, 4


def run(fields: Mapping[str, str | None], console: Console, *, json: bool) -> int:
    """Examine, print, and give the exit code.

    Parameters
    ----------
    fields : service, canary, baseline, namespace, profile, policy, checks, window, at; None: not given
    """
    settings = load_settings()
    try:
        diagnosis = examine(build_analyzer(settings), settings, fields)
    except SourceError as error:
        reason = f"{settings.prometheus_url}: {error}"
        if json:
            _print_json({"status": "unavailable", "reason": reason})
        click.echo(f"Error: {reason}", err=True)
        return SOURCE_UNAVAILABLE
    if json:
        _print_json(as_json(diagnosis))
    else:
        print_diagnosis(diagnosis, console)
    return SOMETHING_MISSING if diagnosis.status is Status.MISSING else THERE


def _print_json(answer: Mapping[str, Any]) -> None:
    click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE), nl=False)
