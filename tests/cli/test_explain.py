"""`analyzer explain`: what a code or a verdict means, and what to do."""

import json

import pytest
from cli.commands import run, spawn, terminal

from analyzer.model.findings import Code, Outcome
from analyzer.verdict.reasons import OUTCOMES, REASONS, troubleshooting_table


def words(text: str) -> str:
    """Undo the wrapping of lines."""
    return " ".join(text.split())


@pytest.mark.parametrize("code", [*Code, *Outcome])
def test_everything_that_is_known_of_a_code_is_told(code: Code | Outcome) -> None:
    """At 80 columns, whole."""
    found = run("explain", code.value)
    reason = OUTCOMES[code] if isinstance(code, Outcome) else REASONS[code]

    assert found.exit_code == 0
    assert found.stdout.startswith(f"{code.value}\n")
    shown = words(found.stdout)
    for text in (reason.meaning, reason.rollout, *reason.causes, *reason.remedies):
        assert text in shown
    assert max(map(len, found.stdout.splitlines())) <= 80


def test_all_are_listed() -> None:
    """With what they mean."""
    shown = words(run("explain").stdout)

    assert all(f"{code} {reason.meaning}" in shown for code, reason in [*OUTCOMES.items(), *REASONS.items()])


def test_several_are_told_in_the_order_asked() -> None:
    """Each once, as the last line of a verdict asks for them."""
    shown = run("explain", "traffic_split", "fail", "traffic_split").stdout.splitlines()

    assert [line for line in shown if line in ("traffic_split", "fail")] == ["traffic_split", "fail"]


def test_json_has_the_same_form_for_one_and_for_all() -> None:
    """By verdict and by code."""
    every = json.loads(run("explain", "--json").stdout)
    one = json.loads(run("explain", "--json", "partial_data", "pass").stdout)

    assert list(every["codes"]) == [code.value for code in Code]
    assert list(every["verdicts"]) == [outcome.value for outcome in Outcome]
    assert one == {
        "verdicts": {"pass": every["verdicts"]["pass"]},
        "codes": {"partial_data": every["codes"]["partial_data"]},
    }
    assert one["codes"]["partial_data"]["remedies"] == list(REASONS[Code.PARTIAL_DATA].remedies)
    assert json.loads(run("explain", "--json", "pass").stdout)["codes"] == {}


@pytest.mark.parametrize(("typo", "meant"), [("trafic_split", "traffic_split"), ("failed", "fail")])
def test_the_nearest_code_is_named(typo: str, meant: str) -> None:
    """With all that there are, and exit code 2."""
    done = spawn("explain", typo)

    assert (done.returncode, done.stdout) == (2, "")
    assert f"unknown code {typo!r}; did you mean {meant!r}? known: bucket_resolution, " in done.stderr


@pytest.mark.parametrize("code", ["Proved_Bad", "PROVED-BAD", " proved_bad "])
def test_codes_are_read_as_people_write_them(code: str) -> None:
    """In capitals, or with hyphens."""
    assert run("explain", code).stdout.startswith("proved_bad\n")


def test_the_table_can_be_printed() -> None:
    """For the README, by an option that the help does not show."""
    assert run("explain", "--markdown").stdout == troubleshooting_table() + "\n"
    assert "--markdown" not in run("explain", "--help").stdout


def test_backticks_become_colour_where_there_is_any() -> None:
    """And stay where there is none: then they tell what is a command."""
    with terminal("explain", "undecided") as coloured, terminal("explain", "undecided", NO_COLOR="1") as plain:
        assert (coloured.end(), plain.end()) == (0, 0)

    assert "`" not in coloured.shown
    assert "\x1b[36mdecide_by\x1b[0m" in coloured.shown
    assert "\x1b" not in plain.shown
    assert "`decide_by`" in plain.shown
    assert "`decide_by`" in spawn("explain", "undecided", TERM="xterm-256color").stdout
