"""Tests of `analyzer.verdict.reasons`: what is told to whoever is on call is complete, and names only what there is."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from analyzer.cli import cli
from analyzer.config.policy import Check, Policy, choose_policy, load_policies
from analyzer.config.settings import PREFIX, Settings
from analyzer.model.findings import Code, Outcome
from analyzer.verdict.judge import DECIDING
from analyzer.verdict.reasons import OUTCOMES, REASONS, Reason, troubleshooting_table
from analyzer.verdict.request import VerdictRequest

PROJECT = Path(__file__).parents[2]
READMES = [path for path in PROJECT.rglob("README.md") if not any(part.startswith(".") for part in path.parts)]
TEMPLATE = (PROJECT / "analysis-templates" / "ml-model-verdict.yaml").read_text(encoding="utf-8")
BEGIN, END = "<!-- reasons -->", "<!-- /reasons -->"

EVERY: dict[Any, Any] = {**OUTCOMES, **REASONS}


def texts(reason: Reason) -> list[str]:
    """List everything that is said."""
    return [reason.meaning, reason.rollout, *reason.causes, *reason.remedies]


def quoted() -> Iterator[str]:
    """List what stands between backticks, each once."""
    found = (one for reason in EVERY.values() for text in texts(reason) for one in re.findall(r"`([^`]*)`", text))
    yield from dict.fromkeys(found)


def test_every_code_and_every_outcome_is_explained() -> None:
    """In the order of the closed lists."""
    assert list(REASONS) == list(Code)
    assert list(OUTCOMES) == list(Outcome)


@pytest.mark.parametrize("code", EVERY)
def test_what_is_said_is_in_sentences(code: Code | Outcome) -> None:
    """Plain ones, short enough for a page that is read at night; causes are parts of one sentence."""
    reason = EVERY[code]

    for sentence in (reason.meaning, reason.rollout, *reason.remedies):
        assert re.fullmatch(r"[A-Z].*[a-z`}'%)]\.", sentence), sentence
        assert len(sentence) <= 170, sentence
    for cause in reason.causes:
        assert re.fullmatch(r"([a-z]|Prometheus ).*[^.]", cause), cause
    for text in texts(reason):
        assert text.count("`") % 2 == 0, text
        assert not re.search(r"[*_]{2}|<\w|\]\(|  |\||\n", text), text


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.PROVED_GOOD])
def test_what_is_not_good_has_causes_and_remedies(code: Code) -> None:
    """Whoever is on call finds something to do."""
    assert REASONS[code].causes
    assert REASONS[code].remedies


@pytest.mark.parametrize("code", [code for code in Code if code not in DECIDING])
def test_missing_data_is_never_said_to_pass(code: Code) -> None:
    """Of no code that says so can a check pass."""
    assert not re.search(r"\bpass(es)?\b(?! waits)", REASONS[code].rollout)


@pytest.mark.parametrize("command", [one for one in quoted() if one.startswith("analyzer ")])
def test_commands_can_be_typed(command: str) -> None:
    """Every command of the analyzer exists, with these options."""
    _, name, *rest = shlex.split(command)
    found = cli.commands[name]

    assert found.make_context(name, rest, resilient_parsing=True)
    options = {option for param in found.params for option in param.opts if isinstance(param, click.Option)}
    assert {word for word in rest if word.startswith("-")} <= options


def test_settings_and_fields_exist() -> None:
    """What else stands between backticks is a setting, a field of a policy, a request or a template, or a command."""
    fields = {*Check.model_fields, *Policy.model_fields, *VerdictRequest.model_fields}
    arguments = set(re.findall(r"- name: ([a-z-]+)", TEMPLATE))
    settings = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    others = {"policy", "remaining", "podTargetLabels", 'le="+Inf"', "/readyz", "podTemplateHashValue"}
    unknown = [
        one
        for one in quoted()
        if not one.startswith(("analyzer ", "kubectl ", "{"))
        and re.split(r"[:=] ?", one)[0] not in fields | arguments | settings | others
        and one not in others
    ]

    assert unknown == []


def test_values_of_settings_are_possible() -> None:
    """Also those of fields: `rule: point` is a rule."""
    policies = load_policies(None)
    for one in quoted():
        name, separator, value = one.partition(": ")
        if one.startswith(PREFIX) and "=" in one:
            variable, value = one.split("=")
            Settings.model_validate({variable.removeprefix(PREFIX).lower(): value})
        elif separator and name in Check.model_fields:
            Check.model_validate({"kind": "error_rate", "promote": "1%", "rollback": "2%", name: value})
        elif one.startswith("{"):
            choose_policy(policies, {"checks": json.loads(one)}, "ml-model")


def test_the_patch_is_json() -> None:
    """That of the command which measures a paused step anew."""
    (patch,) = [one for one in quoted() if one.startswith("kubectl patch")]

    assert json.loads(shlex.split(patch)[-1]) == {"status": {"pauseConditions": None}}
    assert patch in (PROJECT / "analysis-templates" / "README.md").read_text(encoding="utf-8")


def test_the_table_has_a_row_for_every_code_with_something_to_do() -> None:
    """Four cells each."""
    heading, line, *rows = troubleshooting_table().splitlines()

    assert heading == "| code | meaning | likely causes | what to do |"
    assert line == "|---|---|---|---|"
    assert [row.split("`")[1] for row in rows] == [code.value for code in Code if code is not Code.PROVED_GOOD]
    assert {row.count("|") for row in rows} == {5}


def test_the_table_of_the_readme_is_this_one() -> None:
    """It stands in exactly one README, between markers: `analyzer explain --markdown` prints it."""
    marked = [path for path in READMES if BEGIN in path.read_text(encoding="utf-8")]

    assert len(marked) == 1, f"{BEGIN} must stand in one README: {marked}"
    text = marked[0].read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == troubleshooting_table()
