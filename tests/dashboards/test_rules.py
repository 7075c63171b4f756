"""The rules, by promtool: well formed, and each alert fires when it should and not otherwise."""

import subprocess
from pathlib import Path

import pytest
import yaml
from dashboards.grafana import FOLDER

pytestmark = pytest.mark.prometheus

SCRIPT = Path(__file__).with_name("alerts.yaml")
GROUPS = yaml.safe_load((FOLDER / "prometheus-rule.yaml").read_text())["spec"]["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The rules of the PrometheusRule, as Prometheus reads them."""
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": GROUPS}, sort_keys=False))
    return path


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    return subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, check=False)


def test_promtool_takes_the_rules(rules: Path) -> None:
    """Syntax, names, and templates of the texts."""
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", rules)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(RULES)} rules found" in done.stdout


def test_alerts_fire_when_they_should(rules: Path) -> None:
    """And not otherwise: the cases are in alerts.yaml. Their texts are looked at where they are filled in."""
    without_texts = [{**rule, "annotations": {}} if "alert" in rule else rule for rule in RULES]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": without_texts}]}))
    (rules.parent / SCRIPT.name).write_text(SCRIPT.read_text())
    done = promtool("test", "rules", rules.parent / SCRIPT.name)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_seen_firing_and_not(alert: str) -> None:
    """None is left out of the cases."""
    cases = [
        case
        for test in yaml.safe_load(SCRIPT.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert
    ]

    assert {bool(case["exp_alerts"]) for case in cases} == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_to_do(alert: str) -> None:
    """It has a severity, a summary and a description, and no address that may not be there."""
    rule = ALERTS[alert]

    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["annotations"]["summary"].endswith(".")
    assert len(rule["annotations"]["description"]) > 100
    assert "://" not in str(rule)
