"""Tests of `analyzer replay` on counts in the request: what is decided and when, and how it is shown."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from analyzer import evaluate
from analyzer.cli import cli, main
from analyzer.config.settings import load_settings
from analyzer.errors import ConfigError, RequestError
from analyzer.model.findings import Outcome
from analyzer.planning.replay_json import replay_as_json
from analyzer.planning.replayed_rollout import Measurement, Replay, decide, replay
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.answer import number
from analyzer.verdict.request import parse_request
from analyzer.verdict.wiring import build_analyzer

MINUTE = 60
BEGIN = "2026-01-05T12:00:00Z"
LENIENT = {"checks": {"error_rate": {"promote": "10%", "rollback": "20%"}}}
HEALTHY, BROKEN, EMPTY = (1, 600), (60, 600), (0, 0)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*filter(lambda name: name.startswith("ANALYZER_"), os.environ), "NO_COLOR", "FORCE_COLOR", "COLUMNS"]:
        monkeypatch.delenv(name, raising=False)


def rollout(*minutes: tuple[int, int], **fields: Any) -> dict[str, Any]:
    """Build a request with (failed, all) requests of the canary in each minute."""
    canary = [{"errors": errors, "requests": requests} for errors, requests in minutes]
    data = {"error_rate": {"canary": canary, "slice_seconds": MINUTE}}
    return {"checks": "error_rate", "start": BEGIN, "data": data, **fields}


LATE_FAULT = rollout(*[HEALTHY] * 12, *[BROKEN] * 8)


def analyzer_of(**settings: Any) -> Analyzer:
    """Build an analyzer that has no source."""
    return build_analyzer(load_settings().model_copy(update=settings))


def play(body: dict[str, Any], *policies: Any, every: float = MINUTE) -> Replay:
    """Replay counts in the request."""
    return replay(analyzer_of(), parse_request(body), policies, every=every)


# Each look is the verdict of its moment


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 900)), min_size=1, max_size=12))
def test_each_look_is_the_verdict_on_what_there_was_by_then(counts: list[tuple[int, int]]) -> None:
    """Of the last look that is all of it; none depends on what came later."""
    minutes = [(min(errors, requests), requests) for errors, requests in counts]
    looks = play(rollout(*minutes)).policies[0].measurements

    assert len(looks) == len(minutes)
    for place, look in enumerate(looks, 1):
        then = evaluate(rollout(*minutes[:place], detail="full"))
        found, check = then["checks"]["error_rate"], look.checks["error_rate"]
        assert (look.outcome, look.seconds) == (then["verdict"], place * MINUTE)
        assert (check.outcome, check.code) == (found["verdict"], found["code"])
        assert (look.reason, check.reason) == (then["reason"], found["reason"])
        assert number(check.judged.value) == found["canary"]["value"]
        assert number(check.judged.low) == found["canary"]["low"]
        assert look.requests == sum(requests for _, requests in minutes[:place])


def test_a_warm_up_is_left_out_at_every_look() -> None:
    """Requests of the first minutes are counted, and not judged."""
    warm = {"checks": {"error_rate": {"warmup": "3m"}}}
    looks = play(rollout(*[BROKEN] * 3, *[HEALTHY] * 3), warm).policies[0].measurements

    assert [look.checks["error_rate"].code.value for look in looks[:3]] == ["warming_up"] * 3
    assert looks[3].requests == 2400
    assert looks[3].checks["error_rate"].requests == 600


def test_looks_can_be_further_apart_than_slices() -> None:
    """The last moment is always looked at."""
    found = play(LATE_FAULT, every=3 * MINUTE)

    assert [look.seconds / MINUTE for look in found.policies[0].measurements] == [3, 6, 9, 12, 15, 18, 20]
    assert found.notes == ()


def test_looks_are_not_nearer_than_slices() -> None:
    """What is used instead is said."""
    found = play(LATE_FAULT, every=10)

    assert (found.every, len(found.policies[0].measurements)) == (MINUTE, 20)
    assert found.notes == ("the slices are 60 s long: judged at their ends",)


# What would have been decided


def test_the_first_look_that_fails_decides() -> None:
    """It says when, after how many requests and why, and that it had passed before."""
    decision = play(LATE_FAULT).policies[0].decision

    assert decision.outcome is Outcome.FAIL
    assert 12 * MINUTE < decision.look.seconds <= 14 * MINUTE
    assert decision.look.requests == decision.look.seconds * 10
    assert decision.look.reason.startswith("error_rate: ")
    assert decision.passed is not None
    assert decision.passed.seconds < 12 * MINUTE


def test_several_policies_judge_the_same_looks() -> None:
    """What one rolls back another lets pass; each is named by what differs from its base."""
    found = play(LATE_FAULT, "ml-model", LENIENT)
    strict, lenient = found.policies

    assert [one.label for one in found.policies] == [
        "ml-model",
        "ml-model with error_rate promote 10%, error_rate rollback 20%",
    ]
    assert (strict.decision.outcome, lenient.decision.outcome) == (Outcome.FAIL, Outcome.PASS)
    assert [look.seconds for look in strict.measurements] == [look.seconds for look in lenient.measurements]
    assert strict == play(LATE_FAULT).policies[0]


@given(st.lists(st.sampled_from(Outcome), min_size=1, max_size=12))
def test_the_decision_is_the_first_fail_or_else_the_first_pass(outcomes: list[Outcome]) -> None:
    """And it stood if nothing else followed."""
    looks = [Measurement(float(place), None, outcome, "", 0.0, {}) for place, outcome in enumerate(outcomes)]
    decision = decide(looks)
    place = int(decision.look.seconds)

    assert decision.outcome is outcomes[place]
    if Outcome.FAIL in outcomes:
        assert (decision.outcome, place) == (Outcome.FAIL, outcomes.index(Outcome.FAIL))
    elif Outcome.PASS in outcomes:
        assert (decision.outcome, place) == (Outcome.PASS, outcomes.index(Outcome.PASS))
    else:
        assert (decision.outcome, place) == (Outcome.INCONCLUSIVE, len(outcomes) - 1)
    assert decision.final == (set(outcomes[place:]) == {decision.outcome})
    assert (decision.passed is not None) == (Outcome.PASS in outcomes)


# What cannot be replayed


@pytest.mark.parametrize(
    ("body", "policies", "told"),
    [
        ({"service": "fraud", "canary": "v2", "window": "5m"}, (), "window: must be start or step"),
        ({"service": "fraud", "canary": "v2", "at": "2999-01-01T00:00:00Z"}, (), "at: is .* in the future"),
        (LATE_FAULT, ("nobody",), "policy: unknown policy 'nobody'"),
        (LATE_FAULT, ("ml-model", "ml-model"), "policy: ml-model is given twice: give each once"),
        (
            LATE_FAULT,
            ("ml-model", {"alpha": 0.05}),
            "policy: ml-model with alpha 0.05 is given twice, also as ml-model",
        ),
        (LATE_FAULT, (LENIENT, {"checks": {"error": {}}}), "policy.checks.error: unknown check"),
        (
            {"checks": "error_rate", "data": {"error_rate": {"canary": {"errors": 0, "requests": 9}}}},
            (),
            "data: has no time slices",
        ),
    ],
)
def test_what_cannot_be_replayed_is_told(body: dict[str, Any], policies: tuple[Any, ...], told: str) -> None:
    """With the field, and what to do."""
    with pytest.raises(RequestError, match=f"^{told}"):
        play(body, *policies)


def test_a_source_without_a_past_is_told() -> None:
    """Pods that are scraped know only the present."""
    with pytest.raises(ConfigError, match="ANALYZER_SOURCE: is scrape, which knows no past: set it to prometheus"):
        play({"service": "fraud", "canary": "v2"})


# The command


def run(*words: str, stdin: dict[str, Any] | None = None, **environment: str) -> Result:
    """Run the command in this process."""
    return CliRunner(env=environment).invoke(
        cli, ["replay", *words], input=None if stdin is None else json.dumps(stdin), prog_name="analyzer"
    )


def run_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run `main`, which turns errors into lines; return the exit code and both outputs."""
    monkeypatch.setattr(sys, "argv", ["analyzer", "replay", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A rollout that goes wrong after twelve minutes."""
    path = tmp_path / "request.json"
    path.write_text(json.dumps(LATE_FAULT))
    return path


def test_json_says_everything(file: Path) -> None:
    """The exit code is 0 whatever was decided, and the answer that of `replay`."""
    result = run("-f", str(file), "--every", "60s", "--policy", "ml-model", "--policy", json.dumps(LENIENT), "--json")
    answer = json.loads(result.stdout)
    strict, lenient = answer["policies"]

    assert (result.exit_code, result.stderr) == (0, "")
    assert answer == replay_as_json(play(LATE_FAULT, "ml-model", LENIENT))
    assert answer["window"] == {"start": BEGIN, "end": "2026-01-05T12:20:00Z", "seconds": 1200}
    assert strict["decision"]["verdict"] == "fail"
    assert strict["decision"]["at"] == strict["looks"][12]["at"] == "2026-01-05T12:13:00Z"
    assert strict["looks"][12]["checks"]["error_rate"]["evidence"]["fail"] >= 1
    assert lenient["decision"]["first_pass"] == {"at": "2026-01-05T12:01:00Z", "seconds": 60}


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_text_fits_the_terminal(file: Path, columns: int) -> None:
    """Nothing is wider."""
    words = ("-f", str(file), "--every", "1m", "--policy", "ml-model", "--policy", json.dumps(LENIENT))
    lines = run(*words, COLUMNS=str(columns)).stdout.splitlines()

    assert max(map(len, lines)) <= columns


def test_a_person_reads_what_was_decided(file: Path) -> None:
    """The headline, the changes and what differs."""
    words = ("-f", str(file), "--every", "1m", "--policy", "ml-model", "--policy", json.dumps(LENIENT))
    text = run(*words, COLUMNS="200").stdout

    assert "fail  ml-model\n" in text
    assert "rolled back at 12:13:00Z, 13 min after the start and after 7,800 canary requests\n" in text
    assert "pass  ml-model with error_rate promote 10%, error_rate rollback 20%\n" in text
    assert (
        "passed at 12:01:00Z, 60 s after the start and after 600 canary requests; all later measurements pass\n" in text
    )
    assert "\n12:13:00Z fail error_rate: " in text
    assert "what differs" in text
    assert "0.5% / 1%" in text


def test_no_data_is_told_from_not_decided() -> None:
    """A canary that has no traffic at first, and too little after."""
    text = run("-f", "-", "--every", "1m", stdin=rollout(*[EMPTY] * 5, *[(0, 5)] * 5)).stdout

    assert "still inconclusive at the end, 12:10:00Z, after 25 canary requests" in text
    assert "\n12:01:00Z inconclusive error_rate: no canary requests" in text


def test_policies_that_agree_say_so(file: Path) -> None:
    """Where only an advisory matter differs."""
    text = run("-f", str(file), "--policy", "ml-model", "--policy", '{"history": 0}').stdout

    assert "The policies agree at every measurement." in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "nothing to replay: give --file, or at least --service and --canary"),
        (("--service", "fraud"), "canary: is required"),
        (("--service", "fraud", "--canary", "v2", "--start", "100", "--end", "50"), "--end: must be after the start"),
        (("--service", "fraud", "--canary", "v2", "--end", "yesterday"), "--end: 'yesterday' is no moment"),
        (("--service", "fraud", "--canary", "v2", "--end", "2999-01-01T00:00:00Z"), "--end: is "),
        (("--service", "fraud", "--canary", "v2", "--window", "5m"), "--window: must be start or step"),
        (("--service", "fraud", "--canary", "v2", "--policy", "{"), "--policy: is no JSON object"),
        (("--service", "fraud", "--canary", "v2", "--policy", "ml"), "--policy: unknown policy 'ml'; known: ml-model"),
        (("--service", "fraud", "--canary", "v2", "--every", "soon"), "Invalid value for '--every'"),
        (("--service", "fraud", "--canary", "v2"), "ANALYZER_SOURCE: is scrape, which knows no past"),
    ],
)
def test_wrong_usage_is_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    """The error names the option, in one line."""
    code, out, err = run_main(monkeypatch, capsys, *words)

    assert (code, out) == (2, "")
    assert told in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("Error: ")


def test_a_source_that_does_not_answer_is_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never 1, and no answer that looks like one."""
    monkeypatch.setenv("ANALYZER_SOURCE", "prometheus")
    monkeypatch.setenv("ANALYZER_PROMETHEUS_URL", "http://127.0.0.1:9")
    code, out, err = run_main(monkeypatch, capsys, "--service", "fraud", "--canary", "v2", "--json")

    assert (code, out) == (4, "")
    assert err.startswith("Error: no connection: ")


def test_reading_a_long_window_may_take_longer_than_a_verdict() -> None:
    """What the settings allow is the least of it."""
    settings = load_settings().model_copy(update={"deadline": 30.0})

    assert build_analyzer(settings).deadline_seconds == 30
    assert build_analyzer(settings, patience=300).deadline_seconds == 300
    assert build_analyzer(settings, patience=5).deadline_seconds == 30


def on_terminal(*words: str, **environment: str) -> str:
    """Run the command on a terminal of its own, and return what it shows."""
    ours, theirs = pty.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": "80", **environment}
    command = [sys.executable, "-m", "analyzer", "replay", *words]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # so Linux says that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(10) == 0
    return shown.decode()


def test_a_terminal_gets_colours_unless_it_wants_none(file: Path) -> None:
    """NO_COLOR leaves no escape code behind, that of the progress included; nor does a pipe get any."""
    shown = on_terminal("-f", str(file), "--every", "1m")

    assert "\x1b[1;31m" in shown
    assert "\x1b" not in on_terminal("-f", str(file), "--every", "1m", NO_COLOR="1")
    assert "\x1b" not in run("-f", str(file), TERM="xterm-256color").stdout
