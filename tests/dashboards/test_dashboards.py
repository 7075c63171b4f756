"""The dashboards are what the builder makes of them, and what Grafana takes."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboards.grafana import FILES, FOLDER, dashboards, queries
from kustomize import render
from needs import go_program, package

HERE = Path(__file__).parent
COMMAND = ".venv/bin/python rollouts/dashboards/build.py"
PANELS: list[Any] = [
    pytest.param(panel, id=f"{name}-{panel['title']}")
    for name, dashboard in dashboards().items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]

Check = Callable[[Path], list[str]]


def test_the_files_are_what_the_builder_makes(tmp_path: Path) -> None:
    """Nobody has changed them by hand, or the builder without them."""
    package("grafana_foundation_sdk")
    builder = shutil.copy(FOLDER / "build.py", tmp_path)
    subprocess.run([sys.executable, builder], check=True)

    assert {file.name: file.read_text() for file in FILES} == {
        file.name: file.read_text() for file in tmp_path.glob("*.json")
    }, f"if this is meant: {COMMAND}"
    assert COMMAND in (FOLDER / "README.md").read_text()


@pytest.fixture(scope="session")
def check(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Build the program with Grafana's types, or skip where there is no Go; it lists what is wrong with a file."""
    program = go_program(request, tmp_path_factory, HERE)

    def errors(file: Path) -> list[str]:
        done = subprocess.run([program, file], check=True, capture_output=True, text=True)
        found: list[str] = json.loads(done.stdout)[str(file)]
        return found

    return errors


@pytest.mark.argo
@pytest.mark.timeout(600)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_grafanas_types_take_the_dashboard(check: Check, file: Path) -> None:
    """No field that Grafana does not know, none missing, none of another type: of panels and queries too."""
    assert check(file) == []


@pytest.mark.argo
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("was", "becomes", "complaint"),
    [
        ('"expr"', '"expression"', "unexpected field 'expression'"),
        ('"mergeValues"', '"merge"', "unexpected field 'merge'"),
        ('"showPoints"', '"points"', "unexpected field 'points'"),
        ('"refresh": 2', '"refresh": "2"', "cannot unmarshal string"),
        ('"schemaVersion"', '"schema"', "schemaVersion: required field is missing"),
    ],
)
def test_mistakes_are_found(check: Check, tmp_path: Path, was: str, becomes: str, complaint: str) -> None:
    """The decoding is no formality: of the dashboard, a panel's options and lines, a query and a variable."""
    text = (FOLDER / "rollouts.json").read_text()
    assert was in text
    wrong = tmp_path / "wrong.json"
    wrong.write_text(text.replace(was, becomes))

    assert complaint in " ".join(check(wrong))


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_how_to_read_it(panel: dict[str, Any]) -> None:
    """It has a description, its queries have legends and names of their own, and the chosen data source."""
    assert panel["description"].endswith(".")
    assert panel["datasource"]["uid"] == "${datasource}"
    assert all(target["legendFormat"] and target["datasource"] == panel["datasource"] for target in panel["targets"])
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_units_are_right() -> None:
    """Seconds are seconds, ratios are shown in percent, and a PSI has no unit."""
    units = {
        panel.values[0]["title"]: panel.values[0]["fieldConfig"]["defaults"].get("unit")
        for panel in PANELS
        if panel.values[0]["type"] == "timeseries"
    }

    assert units == {
        "Shares": "percentunit",
        "Durations": "s",
        "Drift": "none",
        "Changes": "percentunit",
        "Evidence towards pass": "none",
        "Evidence towards fail": "none",
        "Canary's share of the traffic": "percentunit",
        "Requests needed until a decision": "short",
        "Requests by status": "reqps",
        "Verdicts by outcome": "cps",
        "Time to form a verdict": "s",
        "Time of a request to the source": "s",
        "Errors of the source": "cps",
        "Memory": "bytes",
        "CPU": "percentunit",
    }


@pytest.mark.parametrize("name", dashboards())
def test_panels_have_places_and_numbers_of_their_own(name: str) -> None:
    """None covers another, or is wider than the page."""
    panels = dashboards()[name]["panels"]
    places = [panel["gridPos"] for panel in panels]
    covered = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]

    assert sorted(panel["id"] for panel in panels) == list(range(1, len(panels) + 1))
    assert len(set(covered)) == len(covered)
    assert max(x for x, _ in covered) == 23


def test_a_graph_of_rates_follows_the_resolution() -> None:
    """A fixed range is blind between the points of a long graph, or empty where scrapes are rarer."""
    for query in queries():
        assert "[" not in query.expression.replace("[$__rate_interval]", ""), query


def test_the_readme_says_what_is_shown() -> None:
    """Every panel is named in it, and every alert has a row."""
    readme = " ".join((FOLDER / "README.md").read_text().split())
    rules = yaml.safe_load((FOLDER / "prometheus-rule.yaml").read_text())
    alerts = {rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule}

    assert [
        panel.values[0]["title"] for panel in PANELS if panel.values[0]["title"].lower() not in readme.lower()
    ] == []
    assert all(f"| `{alert}` |" in readme for alert in alerts)


def test_kustomize_ships_dashboards_and_rules() -> None:
    """One ConfigMap that Grafana's sidecar finds, whole, and one PrometheusRule, in the analyzer's namespace."""
    rendered = {each["kind"]: each for each in yaml.safe_load_all(render(FOLDER))}
    config, rule = rendered["ConfigMap"], rendered["PrometheusRule"]

    assert set(rendered) == {"ConfigMap", "PrometheusRule"}
    assert {each["metadata"]["namespace"] for each in rendered.values()} == {"rollout-analyzer"}
    assert all(
        each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "rollout-analyzer" for each in rendered.values()
    )
    assert config["metadata"]["name"] == "rollout-analyzer-dashboards"
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config["metadata"]["annotations"] == {"grafana_folder": "Rollouts"}
    assert config["data"] == {file.name: file.read_text() for file in FILES}
    assert rule["spec"] == yaml.safe_load((FOLDER / "prometheus-rule.yaml").read_text())["spec"]
