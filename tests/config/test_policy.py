"""Policies: the default, what a request may change of it, and limits that cannot be."""

import re
from pathlib import Path
from typing import Any

import pytest

from analyzer.config import policy
from analyzer.config.policy import Check, Policy, choose_policy, load_policies
from analyzer.config.profile import Profile
from analyzer.config.validation import load_named
from analyzer.errors import ConfigError, RequestError
from analyzer.model.findings import Role

PACKAGED = load_policies(None)
DEFAULT = PACKAGED["ml-model"]
CONFIG = Path(policy.__file__).parent


def changed(**checks: Any) -> Policy:
    """Take the default policy with some fields of its checks changed by a request."""
    return choose_policy(PACKAGED, {"checks": checks}, "ml-model")


def refused(wanted: Any) -> dict[str, str]:
    """Tell which fields a request's policy is refused for, with the messages."""
    with pytest.raises(RequestError) as caught:
        choose_policy(PACKAGED, wanted, "ml-model")
    return {problem.field: problem.message for problem in caught.value.problems}


def test_the_default_policy_is_the_table() -> None:
    """Error rate 0.5% and 1%, p99 200 and 500 ms, PSI 0.1 and 0.2, business -1% and -3% as a guardrail."""
    table = {name: (check.promote, check.rollback, check.role) for name, check in DEFAULT.checks.items()}

    assert table == {
        "error_rate": (0.005, 0.01, "gate"),
        "latency_p99": (0.2, 0.5, "gate"),
        "prediction_drift": (0.1, 0.2, "gate"),
        "business_proxy": (-0.01, -0.03, "guardrail"),
    }
    assert (DEFAULT.alpha, DEFAULT.checks["latency_p99"].quantile) == (0.05, 0.99)
    assert {check.rule for check in DEFAULT.checks.values()} == {"zone"}


def test_the_policy_for_stacks_without_a_histogram_is_the_same_but_for_the_mean() -> None:
    """The mean against the baseline's instead of the p99, and all else as in the default."""
    mean = PACKAGED["ml-model-mean"]
    check = mean.checks["latency_mean"]

    assert (check.kind, check.rule, check.promote, check.rollback) == ("mean_latency", "relative", 0.1, 0.3)
    assert {**mean.checks, "latency_p99": 0, "latency_mean": 0} == {
        **DEFAULT.checks,
        "latency_p99": 0,
        "latency_mean": 0,
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"promote": "10%", "rollback": "30%"}, "10% is no duration; write 200ms, or use rule: relative"),
        ({"promote": "100ms", "rollback": "30%", "rule": "relative"}, "100ms is no change against the baseline"),
        ({"promote": "100ms", "rollback": "50ms"}, "must be above 0 and not beyond rollback"),
        ({"promote": "100ms", "rollback": "150ms", "quantile": 0.9}, "quantile: only latency has one"),
        ({"promote": "10%", "rollback": "30%", "rule": "relative", "edge": "50ms"}, "edge: only latency"),
    ],
)
def test_limits_of_a_mean_are_durations_or_changes(fields: dict[str, Any], message: str) -> None:
    """By the rule; a mean has neither a quantile nor an edge."""
    with pytest.raises(ValueError, match=re.escape(message)):
        Check.model_validate({"kind": "mean_latency", **fields})


def test_limits_of_a_mean_are_shown_with_their_unit() -> None:
    """Milliseconds, or a change."""
    absolute = Check.model_validate({"kind": "mean_latency", "promote": "100ms", "rollback": 0.15})
    change = PACKAGED["ml-model-mean"].checks["latency_mean"]

    assert (absolute.shown(absolute.promote), absolute.shown(absolute.rollback)) == ("100 ms", "150 ms")
    assert change.shown(change.rollback) == "+30%"


# How alpha is shared


def test_alpha_is_shared_over_the_checks_that_can_fail() -> None:
    """Four checks have a quarter each; one that never decides takes no share."""
    advisory = changed(prediction_drift={"role": "advisory"})

    assert DEFAULT.alpha_to_fail == pytest.approx(0.0125)
    assert advisory.alpha_to_fail == pytest.approx(0.05 / 3)
    only_advice = changed(**{name: {"role": "advisory"} for name in DEFAULT.checks})
    assert only_advice.alpha_to_fail == 0.05


# What a request may change


def test_a_policy_is_chosen_by_name() -> None:
    """The name of a loaded policy, or an object that only names its base."""
    assert choose_policy(PACKAGED, "ml-model", "other") is DEFAULT
    assert choose_policy(PACKAGED, {"base": "ml-model"}, "other") == DEFAULT
    assert choose_policy(PACKAGED, {}, "ml-model") == DEFAULT


def test_a_request_changes_single_fields() -> None:
    """What is not named stays; text is read as everywhere."""
    policy = choose_policy(PACKAGED, {"alpha": "1%", "checks": {"latency_p99": {"rollback": "400ms"}}}, "ml-model")

    assert policy.alpha == 0.01
    assert (policy.checks["latency_p99"].promote, policy.checks["latency_p99"].rollback) == (0.2, 0.4)
    assert policy.checks["error_rate"] == DEFAULT.checks["error_rate"]
    assert DEFAULT.checks["latency_p99"].rollback == 0.5


def test_a_stage_says_what_the_gates_are_and_gives_its_limits_as_text() -> None:
    """What an AnalysisTemplate passes: a name, a role and the limits, all of them text."""
    stage = {"base": "ml-model", "role": "guardrail", "checks": '{"latency_p99": {"rollback": "400ms"}}'}

    chosen = choose_policy(PACKAGED, stage, "ml-model")

    assert (chosen.role, chosen.checks["latency_p99"].rollback) == (Role.GUARDRAIL, 0.4)
    assert chosen.checks["latency_p99"].role is Role.GATE
    unchanged = {"base": "ml-model", "role": "gate", "checks": "{}"}
    assert choose_policy(PACKAGED, unchanged, "ml-model") == DEFAULT


def test_two_policies_have_one_digest_only_if_they_are_equal() -> None:
    """The digest tells whether two answers come from one policy, however it was written."""
    same = changed(error_rate={"promote": "0.005"})

    assert same.digest == DEFAULT.digest
    assert changed(error_rate={"promote": "0.4%"}).digest != DEFAULT.digest
    assert choose_policy(PACKAGED, {"alpha": 0.04}, "ml-model").digest != DEFAULT.digest
    assert DEFAULT.digest.startswith("sha256:")


@pytest.mark.parametrize(
    ("wanted", "field", "message"),
    [
        ("ml-modell", "policy", "did you mean 'ml-model'?"),
        ({"base": "nope"}, "policy.base", "unknown policy 'nope'"),
        ({"alfa": 0.1}, "policy.alfa", "did you mean 'alpha'?"),
        ({"checks": {"eror_rate": {}}}, "policy.checks.eror_rate", "did you mean 'error_rate'?"),
        ({"checks": {"error_rate": {"promot": 1}}}, "policy.checks.error_rate.promot", "did you mean 'promote'?"),
        ({"checks": {"error_rate": {"rule": "zon"}}}, "policy.checks.error_rate.rule", "did you mean 'zone'?"),
        ({"checks": {"error_rate": {"role": "boss"}}}, "policy.checks.error_rate.role", "gate"),
        ({"checks": {"error_rate": "1%"}}, "policy.checks.error_rate", "must be an object"),
        ({"checks": "1%"}, "policy.checks", "must be an object"),
        ({"checks": '{"error_rate": '}, "policy.checks", "is no JSON object"),
        ({"role": "boss"}, "policy.role", "gate"),
        ({"alpha": "abc"}, "policy.alpha", "must be a number"),
        ({"alpha": 0}, "policy.alpha", "greater than 0"),
        ({"alpha": 0.6}, "policy.alpha", "less than or equal to 0.5"),
        ({"checks": {"error_rate": {"promote": "abc"}}}, "policy.checks.error_rate.promote", "1%"),
        ({"checks": {"error_rate": {"promote": float("nan")}}}, "policy.checks.error_rate.promote", "finite"),
        ({"checks": {"latency_p99": {"promote": "5%"}}}, "policy.checks.latency_p99.promote", "5% is no duration"),
        ({"checks": {"latency_p99": {"promote": "fast"}}}, "policy.checks.latency_p99.promote", "200ms"),
        ({"checks": {"latency_p99": {"quantile": 1}}}, "policy.checks.latency_p99.quantile", "less than 1"),
        ({"checks": {"error_rate": {"min_requests": 0}}}, "policy.checks.error_rate.min_requests", "greater than"),
        ({"checks": {"error_rate": {"min_requests": None}}}, "policy.checks.error_rate.min_requests", "must be"),
    ],
)
def test_what_a_request_may_not_change_is_named(wanted: Any, field: str, message: str) -> None:
    """Unknown names get the nearest known one, unreadable values an example."""
    assert message in refused(wanted)[field]


def test_a_changed_rule_needs_its_limits() -> None:
    """Limits change their meaning with rule relative: nothing is guessed."""
    problems = refused({"checks": {"error_rate": {"rule": "relative", "promote": "10%"}}})

    assert list(problems) == ["policy.checks.error_rate.rollback"]
    assert "50%" in problems["policy.checks.error_rate.rollback"]
    judged = changed(error_rate={"rule": "relative", "promote": "10%", "rollback": "50%"})
    assert judged.checks["error_rate"].compares


# Limits that cannot be


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ({"kind": "error_rate", "promote": "2%", "rollback": "1%"}, "not beyond rollback"),
        ({"kind": "error_rate", "promote": 0, "rollback": "1%"}, "must be above 0"),
        ({"kind": "error_rate", "promote": "-1%", "rollback": "1%"}, "must be above 0"),
        ({"kind": "error_rate", "promote": 1, "rollback": 2}, "cannot be exceeded"),
        ({"kind": "latency", "promote": "500ms", "rollback": "200ms"}, "not beyond rollback"),
        ({"kind": "drift", "promote": 0.3, "rollback": 0.2}, "not beyond rollback"),
        ({"kind": "drift", "promote": "10%", "rollback": 0.2}, "must be a number"),
        ({"kind": "business", "promote": "-3%", "rollback": "-1%"}, "must not be beyond rollback"),
        ({"kind": "business", "promote": "-1%", "rollback": "-100%"}, "above -100%"),
        ({"kind": "error_rate", "rule": "relative", "promote": "50%", "rollback": "10%"}, "not beyond rollback"),
        ({"kind": "error_rate", "rule": "relative", "promote": "-100%", "rollback": "10%"}, "above -100%"),
        ({"kind": "drift", "rule": "relative", "promote": 0.1, "rollback": 0.2}, "zone, strict or point"),
        ({"kind": "business", "rule": "relative", "promote": "-1%", "rollback": "-3%"}, "zone, strict or point"),
        ({"kind": "latency", "rule": "relative", "promote": "10%", "rollback": "1s", "edge": 1}, "1s is no change"),
        ({"kind": "latency", "promote": "200ms", "rollback": "1s", "edge": "250ms"}, "remove it"),
        ({"kind": "error_rate", "promote": "1%", "rollback": "2%", "edge": "250ms"}, "remove it"),
        ({"kind": "error_rate", "promote": "1%", "rollback": "2%", "quantile": 0.9}, "remove it"),
        ({"kind": "error_rate", "promote": "1%"}, "rollback"),
        ({"kind": "speed", "promote": "1%", "rollback": "2%"}, "kind"),
    ],
)
def test_impossible_limits_are_refused_with_the_remedy(check: dict[str, Any], message: str) -> None:
    """Promote beyond rollback, limits that nothing can exceed, and fields that a kind does not have."""
    with pytest.raises(ValueError, match=message):
        Check.model_validate(check)


@pytest.mark.parametrize(
    ("check", "promote", "rollback"),
    [
        ({"kind": "latency", "promote": 0.2, "rollback": "0.5"}, 0.2, 0.5),
        ({"kind": "latency", "promote": "1s", "rollback": "1s"}, 1, 1),
        ({"kind": "drift", "promote": "0.1", "rollback": 1}, 0.1, 1),
        ({"kind": "business", "promote": 0, "rollback": "-5%"}, 0, -0.05),
        ({"kind": "business", "promote": "2%", "rollback": "0%"}, 0.02, 0),
        ({"kind": "latency", "rule": "relative", "promote": "10%", "rollback": "50%", "edge": "250ms"}, 0.1, 0.5),
    ],
)
def test_limits_are_read_in_the_unit_of_their_kind(check: dict[str, Any], promote: float, rollback: float) -> None:
    """Seconds for latency, a plain number for PSI, and ratios for the rest."""
    found = Check.model_validate(check)

    assert (found.promote, found.rollback) == pytest.approx((promote, rollback))


# Files


def test_a_folder_adds_and_replaces_policies(tmp_path: Path) -> None:
    """Mounted files stand beside the packaged ones, and replace those of their name."""
    check = "{kind: error_rate, promote: 2%, rollback: 4%}"
    (tmp_path / "a.yaml").write_text(f"name: strict\nchecks: {{errors: {check}}}\n")
    (tmp_path / "b.yml").write_text(f"name: ml-model\nalpha: 0.1\nchecks: {{errors: {check}}}\n")

    found = load_policies(tmp_path)

    assert set(found) == {"ml-model", "ml-model-mean", "strict"}
    assert (found["ml-model"].alpha, list(found["ml-model"].checks)) == (0.1, ["errors"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nchecks: {e: {kind: error_rate, promote: 2%, rollback: 1%}}\n", "not beyond rollback"),
        ("name: x\nchekcs: {}\n", "did you mean 'checks'?"),
        ("name: x\nchecks: {}\n", "checks"),
        ("name: 'a b'\nchecks: {e: {kind: error_rate, promote: 1%, rollback: 2%}}\n", "name"),
        ("- a list\n", "must be a mapping"),
        ("name: [\n", "cannot be read"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    """The error names the file, the key and what is wrong."""
    (tmp_path / "wrong.yaml").write_text(text)

    with pytest.raises(ConfigError, match=r"wrong\.yaml") as caught:
        load_policies(tmp_path)

    assert message in str(caught.value)


@pytest.mark.parametrize("model", [Policy, Profile])
def test_the_version_of_the_format_is_1(tmp_path: Path, model: type[Policy] | type[Profile]) -> None:
    """It may be written or left out; a file of another version is refused with the remedy."""
    content = {
        Policy: "checks: {errors: {kind: error_rate, promote: 1%, rollback: 2%}}",
        Profile: "arm_label: version\nerror_rate: [{requests: calls_total, errors: calls_total}]",
    }[model]
    packaged, file = tmp_path / "none", tmp_path / "one.yaml"

    file.write_text(f"name: one\n{content}\n")
    without = load_named(model, packaged, tmp_path)
    file.write_text(f"schema: 1\nname: one\n{content}\n")
    assert load_named(model, packaged, tmp_path) == without
    for version in ("2", "0", "'1'", "true", ""):
        file.write_text(f"schema: {version}\nname: one\n{content}\n")
        with pytest.raises(ConfigError, match=r"schema: .* is not known to version .*: write schema: 1, or use"):
            load_named(model, packaged, tmp_path)


def test_packaged_files_name_the_version_of_their_format() -> None:
    """They are what others are written after."""
    files = [path for folder in ("policies", "profiles") for path in (CONFIG / folder).glob("*.yaml")]

    assert all("\nschema: 1\nname: " in f"\n{path.read_text()}" for path in files)
