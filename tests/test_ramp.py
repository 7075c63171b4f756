"""Tests of `analyzer plan --ramp`: the steps that harm least, against simulated rollouts."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from analyzer import checks
from analyzer.cli import cli, main
from analyzer.config.policy import Policy
from analyzer.model.counts import Errors, Reading
from analyzer.model.findings import Outcome
from analyzer.planning.assumptions import Assumption
from analyzer.planning.forecast import PlanRow, plan_check
from analyzer.planning.ramp import Ramp, ramps

ERRORS = Policy.model_validate(
    {
        "name": "errors",
        "checks": {"error_rate": {"kind": "error_rate", "promote": "0.5%", "rollback": "1%"}},
    }
)
FAULTS = (0.03, 0.1)
SECONDS = 5.0  # of a slice
SCRAPE = 3  # slices
RUNS = 60


def planned(rate: float, within: float, policy: Policy = ERRORS, faults: tuple[float, ...] = FAULTS) -> Any:
    """Plan a ramp for given faults of the error rate."""
    supposed = {name: Assumption.of(check) for name, check in policy.checks.items()}
    supposed["error_rate"] = Assumption(0.001, faults)
    return ramps(policy, rate, within, supposed)


def harm(ramp: Ramp, rate: float, fault: float, rng: np.random.Generator) -> float:
    """Play a rollout of a bad canary whose pods are scraped every 15 s; return the bad requests until the rollback."""
    check = ERRORS.checks["error_rate"]
    ends = np.cumsum([step.seconds for step in ramp.steps])
    bad: list[float] = []
    requests: list[float] = []
    look, phase, offset = rng.uniform(0, ramp.interval), 0, int(rng.integers(SCRAPE))
    while True:
        now = len(bad) * SECONDS
        step = min(int(np.searchsorted(ends, now, side="right")), len(ends) - 1)
        requests.append(float(rng.poisson(rate * ramp.steps[step].weight / 100 * SECONDS)))
        bad.append(float(rng.binomial(int(requests[-1]), fault)))
        if (len(bad) + offset) % SCRAPE == 0:
            phase = len(bad)
        if now + SECONDS < look or not phase:
            continue
        look += ramp.interval
        reading = Reading(Errors(np.array(bad[:phase]), np.array(requests[:phase])), None, SECONDS)
        if checks.judge(check, reading, ERRORS).outcome is Outcome.FAIL:
            return sum(bad)


@pytest.mark.statistical
@pytest.mark.parametrize("fault", FAULTS)
def test_the_harm_is_that_of_simulated_rollouts(fault: float) -> None:
    """Of both ramps within a factor of 1.5, and the planned one harms less."""
    rng = np.random.default_rng(11)
    best, usual = planned(200, 1800)
    found = {
        name: float(np.mean([harm(ramp, 200, fault, rng) for _ in range(RUNS)]))
        for name, ramp in (("best", best), ("usual", usual))
    }

    for name, ramp in (("best", best), ("usual", usual)):
        assert 1 / 1.5 < found[name] / ramp.by_fault["error_rate", fault] < 1.5, (name, found)
    assert found["best"] < 0.6 * found["usual"]


def test_more_time_never_harms_more() -> None:
    """And the time that is wanted is kept."""
    found = [planned(20, within)[0] for within in (600, 1800, 7200)]

    assert [ramp.seconds <= within for ramp, within in zip(found, (600, 1800, 7200), strict=True)] == [True] * 3
    assert found[0].harm >= found[1].harm >= found[2].harm


def test_large_faults_ask_for_a_low_weight_first() -> None:
    """No ramp that is offered harms more than the usual one in the same time."""
    for rate in (5, 50, 500):
        usual = planned(rate, 86400)[1]
        best = planned(rate, usual.seconds)[0]
        assert best.harm <= usual.harm
        assert [step.weight for step in best.steps] == sorted({step.weight for step in best.steps})


# The command


@pytest.fixture(autouse=True, scope="module")
def _each_check_is_planned_once() -> Iterator[None]:
    """Several commands ask for the same plan, and each takes seconds."""
    known: dict[str, PlanRow] = {}

    def once(*question: Any) -> PlanRow:
        key = repr(question)
        if key not in known:
            known[key] = plan_check(*question)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analyzer.planning.ramp.plan_check", once)
        yield


def run(*words: str) -> str:
    """Run the command in this process."""
    result = CliRunner().invoke(cli, ["plan", "--ramp", *words], prog_name="analyzer")
    assert result.exit_code == 0
    return result.stdout


def test_what_is_printed_is_yaml_for_a_rollout() -> None:
    """Each weight has an analysis, the last of which must prove the canary good; a guard looks on beside them."""
    text = run("--rate", "10", "--within", "1h")
    canary = yaml.safe_load(text)
    analyses = [step["analysis"] for step in canary["steps"] if "analysis" in step]
    given = [{each["name"]: each.get("value") for each in analysis["args"]} for analysis in analyses]

    assert canary["analysis"]["templates"] == [{"templateName": "ml-model-guard", "clusterScope": True}]
    assert [each["role"] for each in given] == ["guardrail"] * (len(given) - 1) + ["gate"]
    assert [int(each["weight"]) for each in given] == [
        step["setWeight"] for step in canary["steps"] if "setWeight" in step
    ]
    assert "# The usual 5%, 25%, 50%, measured every 30 s: promoted after about" in text


def test_json_has_the_same_steps() -> None:
    """With the numbers beside it."""
    answer = json.loads(run("--rate", "10", "--within", "1h", "--json"))

    assert answer["canary"] == yaml.safe_load(run("--rate", "10", "--within", "1h"))
    assert answer["ramp"]["bad_requests"] < answer["usual"]["bad_requests"]
    assert answer["ramp"]["seconds"] <= 3600


WRONG = {
    ("--rate", "0"): "Error: --rate: must be above 0",
    ("--rate", "10", "--within", "2m"): "Error: --within: 2 min is too short to prove anything at this rate: error",
    ("--rate", "10", "--within", "soon"): "Error: --within: must be a number, got 'soon'",
    ("--rate", "10", "--within", "0s"): "Error: --within: 0 ms is too short",
    ("--rate", "10", "--healthy", "error_rate=0.6%"): "Error: --healthy: error_rate can never pass at this value",
    ("--rate", "10", "--policy", '{"alpha": 0.01}'): "Error: --policy: must be a name with --ramp",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_option_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """Exit code 2, one line on standard error with the field and the remedy."""
    monkeypatch.setattr("sys.argv", ["analyzer", "plan", "--ramp", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()

    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    assert WRONG[words] in err
