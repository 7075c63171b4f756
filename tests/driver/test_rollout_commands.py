"""Tests of `analyzer.cli.rollout` and `.notices`: wrong usage, and what alerts look like."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from analyzer.cli import cli
from analyzer.driver.alerts import Notice, _alertmanager, _event, _slack
from analyzer.driver.judges import Opinion, Says

RESOURCE = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "fraud", "namespace": "ml", "uid": "0-1-2", "generation": 4},
}
OPINION = Opinion(Says.BAD, "error_rate: 5% failed", {"canary_error_rate": 0.05})


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--steps=5,5,100"], "'5,5,100' must ascend from at least 1 and end at 100, such as 5,25,50,100"),
        (["--steps=50"], "'50' must ascend"),
        (["--steps=100"], "'100' must ascend"),
        (["--steps=0,100"], "'0,100' must ascend"),
        (["--steps=50,25,100"], "'50,25,100' must ascend"),
        (["--steps=5,100,101"], "'5,100,101' must ascend"),
        (["--steps=x"], "'x' is not a list of percentages: write 5,25,50,100"),
        (["--steps=5%,100"], "'5%,100' is not a list of percentages"),
        (["--settle=-5"], "'-5' is negative"),
        (["--settle=soon"], "soon"),
        (["--limits={"], "'{' is not a JSON object by check"),
        (["--limits=[]"], "'[]' is not a JSON object by check"),
        (["--looks=0"], "0 is not in the range x>=1"),
        (["--webhook-form=teams"], "'teams' is not one of 'slack', 'alertmanager'"),
    ],
)
def test_wrong_options_are_named(words: list[str], says: str) -> None:
    """Before any cluster is asked."""
    done = CliRunner().invoke(cli, ["rollout", "kserve", "fraud", *words])
    assert done.exit_code == 2
    assert says in " ".join(done.output.split())


def test_a_kind_that_is_none_of_seldons_is_named() -> None:
    """With what may be written."""
    done = CliRunner().invoke(cli, ["rollout", "seldon", "pipeline/fraud"])
    assert done.exit_code == 2
    assert "write NAME, seldondeployment/NAME or experiment/NAME" in " ".join(done.output.split())


def test_without_a_cluster_it_says_how_one_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a kubeconfig, or in a pod."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    done = CliRunner().invoke(cli, ["rollout", "kserve", "fraud"])
    assert "set KUBECONFIG, or run in a pod" in str(done.exception)


def test_what_slack_would_read_as_markup_is_escaped() -> None:
    """A reason may hold anything."""
    text = _slack(RESOURCE, Notice("RolledBack", "p99 < 250 ms & <@here>"), OPINION)["text"]
    assert text == (
        "*RolledBack: InferenceService ml/fraud*\np99 &lt; 250 ms &amp; &lt;@here&gt;\ncanary_error_rate: 0.05"
    )


def test_an_alert_has_the_numbers_as_annotations() -> None:
    """Labels tell alerts apart, so no number is among them."""
    (alert,) = _alertmanager(RESOURCE, Notice("Held", "no requests"), OPINION)
    assert alert["labels"] == {
        "alertname": "Held", "severity": "warning", "namespace": "ml", "kind": "InferenceService", "name": "fraud"
    }  # fmt: skip
    assert alert["annotations"] == {
        "summary": "InferenceService ml/fraud", "description": "no requests", "canary_error_rate": "0.05"
    }  # fmt: skip


def test_an_event_is_no_longer_than_the_api_server_takes() -> None:
    """1,024 characters of message; a longer one would be refused, and lost."""
    event = _event(RESOURCE, "fraud.1", Notice("Held", "x" * 5000, alert=True))
    assert len(event["message"]) == 1024
    assert event["type"] == "Warning"
    assert event["involvedObject"]["uid"] == "0-1-2"
