"""Tests of `analyzer profiles`: the table, the explanation of one profile, both as JSON."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from analyzer.cli import cli, main
from analyzer.cli.profile_list import details
from analyzer.config.profile import SECTIONS, load_profiles, main_selectors

PROFILES = load_profiles(None)
OWN = """
name: own
arm_label: version
latency: [{native_histogram: rpc_seconds, edges: [0.1, 0.25]}]
drift: [{classes: c, by: label}]
business: [{values: v}]
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*filter(lambda name: name.startswith("ANALYZER_"), os.environ), "NO_COLOR", "FORCE_COLOR"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a profile that says nothing for people."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "own.yaml").write_text(OWN)
    monkeypatch.setenv("ANALYZER_CONFIG_DIR", str(tmp_path))
    return tmp_path


def shown(*words: str) -> str:
    """Run the command and give what it prints, which must be all that it prints."""
    result = CliRunner().invoke(cli, ["profiles", *words])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def in_one_line(text: str) -> str:
    """Take out the line breaks of a table, and the spaces around them."""
    return " ".join(text.split())


def test_every_profile_has_a_row() -> None:
    """It tells name, stack, the checks that can be read and the arm label."""
    rows = {line.split()[0]: line for line in shown().splitlines()}

    assert PROFILES.keys() <= rows.keys()
    for words in ("Traefik with a weighted TraefikService", "error_rate, latency ", "service"):
        assert words in rows["traefik"]
    assert "error_rate, latency (mean only), drift, business" in rows["torchserve"]
    assert rows["kserve-standard"].split()[-1] == "app"


def test_the_table_as_json() -> None:
    """The same fields, for programs."""
    found = {one["name"]: one for one in json.loads(shown("--json"))["profiles"]}

    assert found.keys() == PROFILES.keys()
    assert found["seldon-v2"] == {
        "name": "seldon-v2",
        "stack": "Seldon Core v2 models in an Experiment, read from the agent",
        "checks": ["error_rate", "latency"],
        "arm_label": "model_internal",
    }


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_explained(name: str) -> None:
    """Every selector, limitation, remedy and link is there, as text and as JSON."""
    profile, text = PROFILES[name], in_one_line(shown(name))
    about = profile.about
    assert about is not None

    for kind in SECTIONS:
        for way in profile.ways(kind):
            for selector in main_selectors(way):
                assert selector.metric.removesuffix("_bucket") in text
    for words in (about.stack, about.versions, about.arms, profile.arm_label):
        assert in_one_line(words) in text
    for one in about.cannot:
        assert one.what in text
        assert f"remedy: {one.remedy}" in text
    assert all(link in text for link in about.sources)
    assert json.loads(shown(name, "--json")) == details(profile)


def test_what_an_explanation_looks_like() -> None:
    """Kinds with what is read for each, in the words of the YAML file; further ways follow."""
    text = in_one_line(shown("mlserver"))

    for words in (
        'error_rate requests rest_server_requests_total{path=~".*/infer"} errors',
        "or, where that is not there requests model_infer_request_success_total + model_infer_request_failure_total",
        "unit s edges 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10",
        "sum model_infer_request_duration_sum count model_infer_request_duration_count unit s",
        'on every metric namespace="{namespace}"',
        "what it cannot tell error_rate: gRPC calls",
        "where this comes from https://",
    ):
        assert words in text


def test_json_of_one_profile() -> None:
    """It has what the YAML file has, with each way as a mapping."""
    found: dict[str, Any] = json.loads(shown("triton", "--json"))

    assert found["checks"]["error_rate"] == [
        {
            "requests": ["nv_inference_request_success", "nv_inference_request_failure"],
            "errors": ['nv_inference_request_failure{reason!="CANCELED"}'],
        }
    ]
    assert found["checks"]["latency"][0]["edges"] == [100, 500, 2000, 5000]
    assert found["checks"]["latency"][1]["unit"] == "us"
    assert found["matchers"] == ['namespace="{namespace}"']
    assert found["process_start"] is None
    assert {one["check"] for one in found["cannot"]} == {"error_rate", "latency", "drift"}


@pytest.mark.usefixtures("mounted")
def test_mounted_profiles_are_among_them() -> None:
    """A profile of the user's own is listed and explained, also without anything about it."""
    (row,) = (line.split() for line in shown().splitlines() if line.startswith("own "))
    text = in_one_line(shown("own"))

    assert row == ["own", "latency,", "drift,", "business", "version"]
    assert text.startswith("own arm label version latency native_histogram rpc_seconds unit s edges 0.1, 0.25 drift")
    assert "classes c by label business values v" in text
    assert json.loads(shown("own", "--json"))["stack"] == ""


def test_an_unknown_name_names_the_nearest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on standard error, exit code 2."""
    monkeypatch.setattr(sys, "argv", ["analyzer", "profiles", "trion"])
    with pytest.raises(SystemExit, match=r"^2$"):
        main()
    out, err = capsys.readouterr()

    assert out == ""
    assert err.startswith("Error: profile: unknown profile 'trion'; did you mean 'triton'? known: bentoml, ")
    assert err.count("\n") == 1
