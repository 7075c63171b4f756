"""Tests of `analyzer.cli`: what is printed, on which stream, and with which exit code."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from cli.commands import counts, run, spawn, terminal

from analyzer import evaluate
from analyzer.cli import main

CLOSED = "http://127.0.0.1:9/metrics"  # discard: nobody listens there


PASS, FAIL, OPEN = counts(4, 20_000), counts(40, 1000), counts(0, 10)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*filter(lambda name: name.startswith("ANALYZER_"), os.environ), "NO_COLOR", "FORCE_COLOR", "COLUMNS"]:
        monkeypatch.delenv(name, raising=False)


def run_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run `main`, which turns errors into lines; return the exit code and both outputs."""
    monkeypatch.setattr(sys, "argv", ["analyzer", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A request that fails."""
    path = tmp_path / "request.json"
    path.write_text(json.dumps(FAIL))
    return path


# verdict


@pytest.mark.parametrize(("body", "code"), [(PASS, 0), (FAIL, 1), (OPEN, 3)])
def test_the_exit_code_is_the_verdict(tmp_path: Path, body: dict[str, Any], code: int) -> None:
    """0 is pass, 1 fail and 3 inconclusive, from a file and from standard input."""
    path = tmp_path / "request.json"
    path.write_text(json.dumps(body))

    assert run("verdict", "--file", str(path)).exit_code == code
    assert run("verdict", "-f", "-", stdin=json.dumps(body)).exit_code == code


def test_json_is_what_the_service_answers(file: Path) -> None:
    """With --json, standard output is the answer of POST /v1/verdict and nothing else."""
    result = run("verdict", "--file", str(file), "--json")

    assert json.loads(result.stdout) == evaluate(FAIL)
    assert result.stdout.endswith("}\n")
    assert result.stderr == ""


def test_flags_override_the_file(file: Path) -> None:
    """A flag replaces the field of its name."""
    policy = '{"checks": {"error_rate": {"promote": "10%", "rollback": "20%"}}}'
    result = run("verdict", "--file", str(file), "--policy", policy, "--detail", "full", "--json")
    answer = json.loads(result.stdout)

    assert (result.exit_code, answer["verdict"]) == (0, "pass")
    assert answer["effective_policy"]["checks"]["error_rate"]["rollback"] == 0.2


def test_a_table_is_for_people(file: Path) -> None:
    """The table says what was found, the limits, and why."""
    result = run("verdict", "--file", str(file))

    assert result.stdout.startswith("fail  error_rate: 4% of 1,000 canary requests failed")
    heading, row = result.stdout.splitlines()[3:5]
    assert heading.split() == ["check", "finding", "canary", "promote", "roll", "back", "to", "pass", "to", "fail"]
    assert row.split() == ["error_rate", "fail", "4%", "0.5%", "1%", "0%", "100%"]
    assert "error_rate proved_bad: 4% of 1,000 canary requests failed, above" in " ".join(result.stdout.split())
    assert result.stdout.splitlines()[-1] == "What to do: `analyzer explain proved_bad`"


def test_a_pass_needs_no_advice() -> None:
    """What to do is said of what failed or is open, and the same reason of several checks only once."""
    assert "What to do" not in run("verdict", "-f", "-", stdin=json.dumps(PASS)).stdout
    shown = run("verdict", "-f", "-", stdin=json.dumps({**OPEN, "checks": "all"})).stdout

    assert shown.splitlines()[-1] == "What to do: `analyzer explain undecided metric_missing`"


def test_the_reason_of_several_checks_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the names of all of them."""
    monkeypatch.setenv("ANALYZER_SCRAPE_TARGETS", f"v2={CLOSED}")
    monkeypatch.setenv("COLUMNS", "200")
    shown = run("verdict", "--service", "fraud", "--canary", "v2").stdout

    assert shown.count("source_unavailable: 1 of 1 pages could not be read") == 1
    assert shown.count("prediction_drift") == 2


def test_a_source_that_does_not_answer_is_4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unavailable is told from inconclusive, for a job that should be repeated."""
    monkeypatch.setenv("ANALYZER_SCRAPE_TARGETS", f"v1={CLOSED},v2={CLOSED}")
    result = run("verdict", "--service", "fraud", "--canary", "v2", "--baseline", "v1")

    assert result.exit_code == 4
    assert "prediction_drift" in result.stdout
    assert "refused" in result.stdout


WRONG = {
    ("--service", "fraud"): "Error: canary: is required, unless data is given",
    ("--service", "a b", "--canary", "v2"): "Error: service: 'a b' is not a valid name: use letters",
    ("--service", "fraud", "--canary", "v2", "--at", "noon"): "Error: at: 'noon' is no moment: write RFC 3339",
    ("--service", "fraud", "--canary", "v2", "--policy", "ml-modl"): "policy: unknown policy 'ml-modl'; did you mean",
    ("--service", "fraud", "--canary", "v2", "--checks", "eror_rate"): "did you mean 'error_rate'?",
    ("--service", "fraud", "--canary", "v2"): "Error: canary: source scrape has no addresses for 'v2'",
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_request_is_one_line_with_the_field(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """Exit code 2, and the message with the remedy on standard error."""
    code, out, err = run_main(monkeypatch, capsys, "verdict", *words)

    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert WRONG[words] in err


def test_every_wrong_field_is_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Several mistakes are told at once, each on its own line."""
    code, _, err = run_main(monkeypatch, capsys, "verdict", "--service", "a b", "--canary", "c d", "--window", "steps")

    assert code == 2
    assert [line.split(":")[1].strip() for line in err.splitlines()] == ["service", "canary", "window"]


@pytest.mark.parametrize("text", ["", "[1", "[]", "5", "NaN", '{"at": Infinity}', "\x00", '"fraud"', "null"])
def test_a_file_that_is_no_request_is_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    """It is told that the file is wrong, in one line."""
    path = tmp_path / "request.json"
    path.write_text(text)
    code, out, err = run_main(monkeypatch, capsys, "verdict", "--file", str(path))

    assert (code, out) == (2, "")
    assert err.startswith("Error: the file ")
    assert err.count("\n") == 1


def test_a_process_shows_no_traceback() -> None:
    """Standard input that is no JSON is one line, also for the real command."""
    done = spawn("verdict", "--file", "-", stdin="[1")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: the file is not valid JSON: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [(), ("--file", "/nowhere.json"), ("--file", "/"), ("--detail", "much"), ("--no",)])
def test_wrong_usage_is_2(words: tuple[str, ...]) -> None:
    """What click finds is told with the way to the help."""
    result = run("verdict", *words)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_verdict_that_cannot_be_written_is_no_fail(file: Path, form: tuple[str, ...]) -> None:
    """A full disk is not exit code 1, which would say that the canary is bad."""
    with Path("/dev/full").open("w") as full:
        done = spawn("verdict", "--file", str(file), *form, options={"stdout": full})

    assert done.returncode == 2
    assert done.stderr == "Error: input or output failed: No space left on device\n"


# Terminals


def test_a_terminal_gets_colours_unless_it_wants_none(file: Path) -> None:
    """NO_COLOR leaves no escape code behind, bold ones included."""
    with (
        terminal("verdict", "--file", str(file)) as coloured,
        terminal("verdict", "--file", str(file), NO_COLOR="1") as plain,
    ):
        assert (coloured.end(), plain.end()) == (1, 1)

    assert "\x1b[" in coloured.shown
    assert "\x1b" not in plain.shown
    assert plain.shown.startswith("fail  error_rate: ")


def test_a_pipe_gets_no_escape_codes(file: Path) -> None:
    """Also not with --json, and not from check-config."""
    for words in (("verdict", "--file", str(file)), ("verdict", "--file", str(file), "--json"), ("check-config",)):
        done = spawn(*words, TERM="xterm-256color")
        assert "\x1b" not in done.stdout + done.stderr
        assert done.stderr == ""


@pytest.mark.parametrize("columns", [1, 10, 40, 80, 300])
def test_every_width_will_do(monkeypatch: pytest.MonkeyPatch, file: Path, columns: int) -> None:
    """A narrow terminal changes how the table looks, not the outcome; from 80 columns on, nothing is cut."""
    monkeypatch.setenv("COLUMNS", str(columns))
    verdict, configuration = run("verdict", "--file", str(file)), run("check-config")

    assert (verdict.exit_code, configuration.exit_code) == (1, 0)
    assert max(map(len, verdict.stdout.splitlines())) <= max(columns, 20)
    if columns >= 80:
        assert "…" not in verdict.stdout + configuration.stdout


def test_names_of_checks_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """All four names of the default policy can be read and copied at 80 columns."""
    monkeypatch.setenv("ANALYZER_SCRAPE_TARGETS", f"v2={CLOSED}")
    monkeypatch.setenv("COLUMNS", "80")
    result = run("verdict", "--service", "fraud", "--canary", "v2")
    first = [line.split(" ")[0] for line in result.stdout.splitlines()]
    names = ["error_rate", "latency_p99", "prediction_drift", "business_proxy"]

    assert [name for name in first if "_" in name] == [*names, *names]  # their numbers, then their reasons


# The others


def test_the_version_is_told() -> None:
    """`analyzer --version` names program and version, quickly."""
    done = spawn("--version")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("analyzer, version ")


@pytest.mark.parametrize(
    "words", [("serve", "--port", "99999"), ("serve", "--port", "http"), ("demo", "--scenario", "x"), ("no",)]
)
def test_impossible_options_are_2(words: tuple[str, ...]) -> None:
    """Ports, scenarios and commands that there are not are wrong usage."""
    assert run(*words).exit_code == 2


def test_a_wrong_setting_is_one_line_with_its_name() -> None:
    """Every command that reads settings says which is wrong, and which was perhaps meant."""
    for words in (("check-config",), ("verdict", "-f", "-")):
        done = spawn(*words, stdin=json.dumps(PASS), ANALYZER_SORUCE="prometheus")

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("Error: ANALYZER_SORUCE: unknown setting; did you mean 'ANALYZER_SOURCE'? ")


def test_every_scenario_of_the_demo_can_be_chosen() -> None:
    """The command lists them by itself, so that help does not load the demo, and lists all."""
    from analyzer.cli.demo import SCENARIOS as OFFERED
    from analyzer.demo import SCENARIOS as PLAYED

    assert list(OFFERED) == list(PLAYED)
