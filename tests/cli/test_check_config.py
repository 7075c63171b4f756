"""Tests of what `analyzer check-config` prints, and of what `analyzer check-config` refuses."""

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from analyzer.cli import cli, main
from analyzer.cli.config_table import resolution
from analyzer.config.policy import Check, load_policies
from analyzer.config.profile import load_profiles
from analyzer.config.settings import Settings
from analyzer.model.findings import Kind

ISTIO = load_profiles(None)["istio"]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ANALYZER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a ConfigMap would be mounted at."""
    for folder in ("policies", "profiles"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("ANALYZER_CONFIG_DIR", str(tmp_path))
    return tmp_path


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run check-config, which must end with 2 and print nothing; return the lines of standard error."""
    monkeypatch.setattr(sys, "argv", ["analyzer", "check-config"])
    with pytest.raises(SystemExit, match=r"^2$"):
        main()
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def accepted() -> str:
    """Run check-config, which must find nothing wrong; return what it prints."""
    result = CliRunner().invoke(cli, ["check-config"])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_the_packaged_configuration_is_valid() -> None:
    """Every setting, policy and profile is listed."""
    shown = accepted()

    assert shown.splitlines()[-1].startswith("valid")
    assert all(f"ANALYZER_{name.upper()}" in shown for name in Settings.model_fields)
    assert "Policy ml-model, alpha 0.05: error_rate (0.5% / 1%, gate), latency_p99 (200 ms / 500 ms, gate)" in shown
    assert f"Profiles: {', '.join(sorted(load_profiles(None)))}" in " ".join(shown.split())


def test_a_limit_inside_a_bucket_is_a_warning_with_the_missing_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Istio's histogram has no edge at 200 ms: the warning says which le would be needed, in Istio's unit."""
    monkeypatch.setenv("ANALYZER_PROFILE", "istio")
    shown = " ".join(accepted().split())

    assert (
        "Warning: policy ml-model, check latency_p99, profile istio: promote 200 ms lies inside the bucket from"
        in shown
    )
    assert (
        "from 100 ms to 250 ms; a value in it stays undecided: add le=200 to the histogram, or move the limit" in shown
    )
    assert shown.endswith("valid, 1 warning")


def test_only_profiles_in_use_are_compared_with_the_limits(mounted: Path) -> None:
    """That is the default one and those of the mounted folder: of the packaged ones most stand unused."""
    assert accepted().splitlines()[-1] == "valid"

    latency = "latency: [{histogram: h, unit: ms, edges: [100, 500]}]"
    (mounted / "profiles" / "own.yaml").write_text(f"name: own\narm_label: version\n{latency}\n")
    shown = accepted()

    assert "profile own: promote 200 ms lies inside the bucket from 100 ms to 500 ms" in " ".join(shown.split())
    assert shown.splitlines()[-1] == "valid, 1 warning"


def test_a_mounted_policy_is_listed(mounted: Path) -> None:
    """It stands beside the packaged one."""
    text = (
        "name: strict\nalpha: 1%\nchecks: {errors: {kind: error_rate, promote: 0.1%, rollback: 0.2%, rule: strict}}\n"
    )
    (mounted / "policies" / "strict.yaml").write_text(text)

    assert "Policy strict, alpha 0.01: errors (0.1% / 0.2%, gate)" in accepted()


WRONG_POLICIES = {
    "an unknown key": ("promte: 1%", ["checks.errors.promte: unknown field; did you mean 'promote'?"]),
    "promote beyond rollback": (
        "promote: 3%, rollback: 2%",
        ["checks.errors.promote: must be above 0 and not beyond rollback, got promote 0.03 and rollback 0.02"],
    ),
    "an unknown kind": ("kind: eror_rate", ["checks.errors.kind: unknown value 'eror_rate'", "'error_rate'"]),
    "an unknown role": (
        "role: gaurdrail",
        ["checks.errors.role: unknown value 'gaurdrail'; did you mean 'guardrail'?"],
    ),
    "no number": ("promote: soon", ["checks.errors.promote: ", "'soon'", "write a ratio such as 0.01"]),
    "a quantile": ("quantile: 0.9", ["checks.errors.quantile: only latency has one; remove it"]),
    "nothing to compare": ("rollback: 100%", ["checks.errors.rollback: an error rate of 1 cannot be exceeded"]),
}


@pytest.mark.parametrize("name", WRONG_POLICIES)
def test_a_wrong_mounted_policy_is_refused(
    mounted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """File, key and remedy are named, in one line."""
    wrong, wanted = WRONG_POLICIES[name]
    fields = {"kind": "error_rate", "promote": "1%", "rollback": "2%"}
    fields |= dict(part.split(": ") for part in wrong.split(", "))
    check = ", ".join(f"{key}: {value}" for key, value in fields.items())
    path = mounted / "policies" / "own.yaml"
    path.write_text(f"name: own\nchecks: {{errors: {{{check}}}}}\n")
    lines = refused(monkeypatch, capsys)

    assert lines[0].startswith(f"Error: {path}: checks.errors")
    assert all(text in lines[0] for text in wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("name: [", "cannot be read"),
        ("- 1", "must be a mapping, got list"),
        ("", "must be a mapping, got NoneType"),
        ("\x00", "cannot be read"),
        ("checks: {}", "name: is required"),
        ("name: a b\nchecks: {e: {kind: error_rate, promote: 1%, rollback: 2%}}", "name: "),
    ],
)
@pytest.mark.parametrize("folder", ["policies", "profiles"])
def test_a_file_that_is_none_is_refused(
    mounted: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: str,
    text: str,
    wanted: str,
) -> None:
    """Broken YAML, and YAML that is something else, name the file."""
    if folder == "profiles" and wanted == "name: ":
        wanted = "checks: unknown field"
    path = mounted / folder / "own.yml"
    path.write_text(text)
    lines = refused(monkeypatch, capsys)

    assert all(line.startswith(f"Error: {path}: ") for line in lines)
    assert any(wanted in line for line in lines)


def test_a_wrong_profile_is_refused(
    mounted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A selector that is none is told with what a selector looks like."""
    path = mounted / "profiles" / "own.yaml"
    path.write_text('name: own\narm_label: version\nerror_rate: [{requests: "sum(rate(x[5m]))", errors: x}]\n')
    lines = refused(monkeypatch, capsys)

    assert lines[0].startswith(f"Error: {path}: error_rate.0.requests: ")
    assert "is no selector: write a metric's name" in lines[0]


def test_a_default_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The variable is named, and the nearest policy."""
    monkeypatch.setenv("ANALYZER_POLICY", "ml-modle")

    assert refused(monkeypatch, capsys) == [
        ("Error: ANALYZER_POLICY: no policy named 'ml-modle'; did you mean 'ml-model'? known: ml-model, ml-model-mean")
    ]


def test_an_unknown_setting_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest known one is named first."""
    monkeypatch.setenv("ANALYZER_SORUCE", "prometheus")
    (line,) = refused(monkeypatch, capsys)

    assert line.startswith("Error: ANALYZER_SORUCE: unknown setting; did you mean 'ANALYZER_SOURCE'? known: ")


def latency(promote: str, rollback: str, **more: str) -> Check:
    """Build a check of the latency."""
    return Check.model_validate({"kind": "latency", "promote": promote, "rollback": rollback, **more})


def test_limits_on_edges_are_resolved() -> None:
    """Limits that are edges of Istio's histogram need no warning."""
    assert resolution(latency("100ms", "250ms"), ISTIO) == []


@pytest.mark.parametrize(
    ("promote", "rollback", "wanted"),
    [
        ("100ms", "300ms", ["rollback 300 ms lies inside the bucket from 250 ms to 500 ms"]),
        ("120ms", "130ms", ["promote 120 ms lies inside", "rollback 130 ms lies inside"]),
        ("0.1ms", "1ms", ["promote 0.1 ms lies inside the bucket from 0 ms to 0.5 ms"]),
        ("1s", "2h", ["rollback 2 h lies inside the bucket from 60 min to infinity"]),
    ],
)
def test_limits_inside_buckets_are_named(promote: str, rollback: str, wanted: list[str]) -> None:
    """Each limit is looked at by itself, also below the first and above the last edge."""
    found = resolution(latency(promote, rollback), ISTIO)

    assert [text in line for text, line in zip(wanted, found, strict=True)] == [True] * len(wanted)


def test_the_rule_relative_needs_only_its_edge() -> None:
    """Its limits are changes, not latencies."""
    assert resolution(latency("10%", "50%", rule="relative", edge="250ms"), ISTIO) == []
    assert len(resolution(latency("10%", "50%", rule="relative", edge="200ms"), ISTIO)) == 1


def test_other_kinds_and_free_buckets_need_no_warning() -> None:
    """Where the buckets are the user's own, nothing is known about them."""
    policy = load_policies(None)["ml-model"]
    own = load_profiles(None)["prometheus-client"]

    assert [resolution(check, ISTIO) for check in policy.checks.values() if check.kind is not Kind.LATENCY] == [[]] * 3
    assert resolution(latency("123ms", "456ms"), own) == []


def test_a_policy_whose_summary_is_too_long_is_warned_of(mounted: Path) -> None:
    """Ten checks do not fit into the 2 KB that Argo stores, four do."""
    check = "{kind: latency, promote: 200ms, rollback: 500ms}"
    for name, count in (("few", 4), ("many", 10)):
        checks = "".join(f"  latency_of_path_{number}: {check}\n" for number in range(count))
        (mounted / "policies" / f"{name}.yaml").write_text(f"name: {name}\nchecks:\n{checks}")
    warnings = [line for line in accepted().splitlines() if "exceeds 2 KB" in line]

    assert len(warnings) == 1
    assert warnings[0].startswith("Warning: policy many: a summary of its 10 checks exceeds 2 KB")
