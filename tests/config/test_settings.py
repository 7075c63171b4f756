"""Tests of `analyzer.config.settings`: every variable is read, and wrong ones are named."""

import os
from pathlib import Path

import pytest

from analyzer.config.settings import PREFIX, Settings, load_settings
from analyzer.errors import ConfigError
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.scrape import ScrapeSource
from analyzer.verdict.wiring import build_analyzer


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Some file that is there."""
    path = tmp_path / "file"
    path.write_text("text")
    return path


def problems(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, str]:
    """Set variables without their prefix, which must be refused; return the messages by name."""
    for name, text in variables.items():
        monkeypatch.setenv(PREFIX + name, text)
    with pytest.raises(ConfigError) as refused:
        load_settings()
    return {problem.field.removeprefix(PREFIX): problem.message for problem in refused.value.problems}


READ = {
    "source": ("prometheus", "prometheus"),
    "scrape_max_page": ("65536", 65536),
    "scrape_targets": (
        "v1=http://a:1/metrics, v2=http://b/metrics,v1=http://c/metrics/,",
        {"v1": ["http://a:1/metrics", "http://c/metrics"], "v2": ["http://b/metrics"]},
    ),
    "prometheus_url": ("https://prometheus.example/tenant/", "https://prometheus.example/tenant"),
    "prometheus_method": ("GET", "GET"),
    "prometheus_timeout": ("1500ms", 1.5),
    "prometheus_token_file": ("FILE", "FILE"),
    "prometheus_username": ("reader", "reader"),
    "prometheus_password_file": ("FILE", "FILE"),
    "prometheus_auth": ("aws", "aws"),
    "prometheus_ca_file": ("FILE", "FILE"),
    "prometheus_cert_file": ("FILE", "FILE"),
    "prometheus_key_file": ("FILE", "FILE"),
    "prometheus_headers": ('{"X-Scope-OrgID": "team-a"}', {"X-Scope-OrgID": "team-a"}),
    "prometheus_parameters": ('{"partial_response": "false"}', {"partial_response": "false"}),
    "prometheus_lookback": ("14d", 14 * 86400.0),
    "prometheus_ui_url": ("https://prometheus.example.com", "https://prometheus.example.com"),
    "prometheus_max_samples": ("5000", 5000),
    "profile": ("istio", "istio"),
    "policy": ("strict", "strict"),
    "config_dir": ("FOLDER", "FOLDER"),
    "deadline": ("5s", 5.0),
    "on_source_error": ("error", "error"),
    "token_file": ("FILE", "FILE"),
    "metrics_token_file": ("FILE", "FILE"),
    "max_body": ("2048", 2048),
    "tracing": ("true", True),
    "threads": ("4", 4),
}


def test_the_list_of_settings_is_whole() -> None:
    """Each setting is tested below."""
    assert set(READ) == set(Settings.model_fields)


@pytest.mark.parametrize("name", READ)
def test_every_setting_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path, name: str) -> None:
    """A variable sets the field of its name, and no other."""
    text, wanted = READ[name]
    paths = {"FILE": file, "FOLDER": tmp_path}
    monkeypatch.setenv(PREFIX + name.upper(), str(paths.get(text, text)))
    settings, default = load_settings(), Settings.model_construct()
    changed = {one for one in Settings.model_fields if getattr(settings, one) != getattr(default, one)}

    assert getattr(settings, name) == (paths[wanted] if isinstance(wanted, str) and wanted in paths else wanted)
    assert changed == {name}


def test_every_setting_is_explained() -> None:
    """check-config prints the meaning of each."""
    assert all(field.description for field in Settings.model_fields.values())


def test_the_defaults_hold_together() -> None:
    """Without any variable the service starts, below the time that Argo waits."""
    settings = load_settings()

    assert settings == Settings()
    assert settings.prometheus_timeout < settings.deadline < 10
    assert isinstance(build_analyzer(settings).source, ScrapeSource)


@pytest.mark.parametrize("name", READ)
def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Manifests set variables to nothing to leave the default."""
    monkeypatch.setenv(PREFIX + name.upper(), "")

    assert load_settings() == Settings()


WRONG = {
    "SOURCE": ("promtheus", "did you mean 'prometheus'? known: prometheus, scrape"),
    "SCRAPE_TARGETS": ("http://a/metrics", "lacks a name: write arm=http://host:port/metrics"),
    "PROMETHEUS_URL": ("prometheus:9090", "is no address: write http://host:port"),
    "PROMETHEUS_METHOD": ("PUT", "known: GET, POST"),
    "PROMETHEUS_AUTH": ("amazon", "known: aws, google"),
    "PROMETHEUS_TIMEOUT": ("soon", "a duration such as 200ms"),
    "PROMETHEUS_HEADERS": ("X-Scope-OrgID: team-a", 'must be a JSON object such as {"X-Scope-OrgID": "team-a"}'),
    "PROMETHEUS_PARAMETERS": ("[1]", "must be a JSON object"),
    "PROMETHEUS_LOOKBACK": ("0", "greater than 0"),
    "PROMETHEUS_MAX_SAMPLES": ("10", "greater than or equal to 1000"),
    "DEADLINE": ("-1s", "write seconds such as 0.2 or a duration"),
    "ON_SOURCE_ERROR": ("fail", "known: error, inconclusive"),
    "MAX_BODY": ("1MB", "valid integer"),
    "THREADS": ("1", "greater than or equal to 2"),
    "TOKEN_FILE": ("/nowhere", "there is no file /nowhere"),
    "PROMETHEUS_TOKEN_FILE": ("/nowhere", "there is no file /nowhere"),
    "PROMETHEUS_PASSWORD_FILE": ("/nowhere", "there is no file /nowhere"),
    "PROMETHEUS_CA_FILE": ("/", "there is no file /"),
    "PROMETHEUS_CERT_FILE": ("/nowhere", "there is no file /nowhere"),
    "PROMETHEUS_KEY_FILE": ("/nowhere", "there is no file /nowhere"),
    "CONFIG_DIR": ("/etc/passwd", "there is no folder /etc/passwd"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The problem is of this variable, and says what would be right."""
    text, wanted = WRONG[name]
    found = problems(monkeypatch, **{name: text})

    assert list(found) == [name]
    assert wanted in found[name]


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "-0", "", "1,5"])
def test_a_time_is_finite_and_above_nothing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """What is no such number is refused, and nothing at all is the default."""
    if not text:
        monkeypatch.setenv("ANALYZER_DEADLINE", text)
        assert load_settings().deadline == 8.0
        return

    assert list(problems(monkeypatch, DEADLINE=text)) == ["DEADLINE"]


def test_all_wrong_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to mend them one by one."""
    found = problems(monkeypatch, SOURCE="x", THREADS="x", DEADLINE="x")

    assert set(found) == {"SOURCE", "THREADS", "DEADLINE"}


def test_an_unknown_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest known one is named; what only tests read is let through."""
    monkeypatch.setenv("ANALYZER_REQUIRE_PROMETHEUS", "1")
    found = problems(monkeypatch, SOURCES="prometheus", TOKN_FILE="/x")

    assert set(found) == {"SOURCES", "TOKN_FILE"}
    assert found["SOURCES"].startswith("unknown setting; did you mean 'ANALYZER_SOURCE'? known: ")
    assert "did you mean 'ANALYZER_TOKEN_FILE'?" in found["TOKN_FILE"]


@pytest.mark.parametrize(
    "address",
    [
        "http://user:s3cret@host:9090",
        "https://s3cret@host",
        "ftp://user:s3cret@host",
        "user:s3cret@host:9090",
        "http://user:s3cret@",
        "http://user:s3cret@[::1",
        "http://user:s3cret@host:port",
        "http://user:s3cret/@host",
        "//user:s3cret@host",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """A password would come into logs and answers; it is not even in the message."""
    by_url = problems(monkeypatch, PROMETHEUS_URL=address)
    monkeypatch.delenv("ANALYZER_PROMETHEUS_URL")
    by_target = problems(monkeypatch, SCRAPE_TARGETS=f"v1=http://a/metrics,v2={address}")

    assert (list(by_url), list(by_target)) == (["PROMETHEUS_URL"], ["SCRAPE_TARGETS"])
    for message in (*by_url.values(), *by_target.values()):
        assert "must not contain credentials: use the settings for user and password" in message
        assert "s3cret" not in message


@pytest.mark.parametrize(
    "targets",
    [
        "http://user:s3cret@host",
        "v1=http://user:s3cret,x@host",
        "v1=http://user:x,s3cret@host",
        "http://u:p=s3cret@host",
    ],
)
def test_pieces_of_a_password_are_not_shown(monkeypatch: pytest.MonkeyPatch, targets: str) -> None:
    """A comma or an equals sign inside of it does not bring it into the message."""
    assert "s3cret" not in problems(monkeypatch, SCRAPE_TARGETS=targets)["SCRAPE_TARGETS"]


@pytest.mark.parametrize(
    "address", ["http://host:99999", "http://host:0", "http://[::1", "http://", "https:///path", "host"]
)
def test_an_address_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Scheme, host and a possible port are needed."""
    found = problems(monkeypatch, PROMETHEUS_URL=address)

    assert found == {"PROMETHEUS_URL": f"{address!r} is no address: write http://host:port or https://host/path"}


@pytest.mark.parametrize("address", ["http://[::1]:9090", "https://a.b:443/x/y", "HTTP://host", "http://a/p@th"])
def test_an_address_that_can_be_is_read(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """IPv6, paths and capitals are no obstacle."""
    monkeypatch.setenv("ANALYZER_PROMETHEUS_URL", address)

    assert load_settings().prometheus_url == address


def test_secrets_of_headers_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that cannot be read may hold a token."""
    found = problems(monkeypatch, PROMETHEUS_HEADERS='{"Authorization": "Bearer s3cret"')

    assert "s3cret" not in found["PROMETHEUS_HEADERS"]


def test_the_source_is_the_one_that_is_set(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """Prometheus is connected with its settings, without being asked anything yet."""
    monkeypatch.setenv("ANALYZER_SOURCE", "prometheus")
    monkeypatch.setenv("ANALYZER_PROMETHEUS_TOKEN_FILE", str(file))
    analyzer = build_analyzer(load_settings())

    assert isinstance(analyzer.source, PrometheusSource)
    assert analyzer.default_policy == "ml-model"
    assert analyzer.deadline_seconds == 8.0


@pytest.mark.parametrize(("name", "text"), [("POLICY", "ml"), ("PROFILE", "prometheus")])
def test_a_default_that_is_not_loaded_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """The message names the variable and what there is."""
    monkeypatch.setenv(PREFIX + name, text)

    with pytest.raises(ConfigError, match=f"^{PREFIX}{name}: no {name.lower()} named '{text}'; .*known: "):
        build_analyzer(load_settings())


def test_a_mounted_policy_replaces_the_packaged_one_and_adds_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What has the name of a packaged one takes its place; new names stand beside it."""
    (tmp_path / "policies").mkdir()
    for name in ("ml-model", "own"):
        text = f"name: {name}\nchecks: {{errors: {{kind: error_rate, promote: 2%, rollback: 4%}}}}\n"
        (tmp_path / "policies" / f"{name}.yaml").write_text(text)
    monkeypatch.setenv("ANALYZER_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("ANALYZER_POLICY", "own")
    analyzer = build_analyzer(load_settings())

    assert {"ml-model", "own", "ml-model-mean"} <= set(analyzer.policies)
    assert {name for name, policy in analyzer.policies.items() if list(policy.checks) == ["errors"]} == {
        "ml-model",
        "own",
    }
    assert analyzer.default_policy == "own"


def test_two_ways_to_say_who_asks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which one would be ignored."""
    found = problems(monkeypatch, PROMETHEUS_AUTH="aws", PROMETHEUS_USERNAME="reader")

    assert "set it or prometheus_auth, not both" in str(found)
