"""Every command of every README: bash takes them apart, and what would have been called is called where it can be."""

import json
import os
import re
import shlex
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from documentation.readmes import PROJECT, READMES, Command, named, prose
from needs import lacking
from werkzeug.serving import make_server

from analyzer.cli import cli
from analyzer.config.settings import Settings
from analyzer.verdict.wiring import build_analyzer
from analyzer.web.app import create_app
from analyzer.web.telemetry import Telemetry

READS_NOTHING = ("profiles", "plan", "check-config", "explain", "completion")
READS_THE_PAST = ("doctor", "verdict", "replay", "calibrate", "report")
OTHERS = ("serve", "rollout", "demo")  # run for long or need a cluster: their own tests run them
SHORTER = {"calibrate": ["--runs", "5"]}  # the last of an option counts
ANSWERS = {"verdict": (0, 1, 3)}  # exit codes that are answers
ORDINARY = {"docker", "git", "grep", "helm", "kind", "open", "python"}
PLUGIN = {
    "abort", "create analysisrun", "get rollout", "promote", "retry rollout", "set image", "status", "undo",
}  # fmt: skip


def of_the_analyzer(said: list[Command]) -> Iterator[tuple[Command, list[str]]]:
    """Find the calls of the analyzer, also those in a pod."""
    for each in said:
        words = list(each.words)
        if words[0] == "kubectl" and "--" in words:
            words = words[words.index("--") + 1 :]
        if words[0] == "analyzer":
            yield each, words[1:]


def subcommand(words: list[str]) -> tuple[click.Command, list[str]]:
    """Follow the words to the command that they name; what is left are its own."""
    found: click.Command = cli
    while isinstance(found, click.Group) and words and words[0] in found.commands:
        found, words = found.commands[words[0]], words[1:]
    return found, words


# The analyzer


def test_every_command_is_known(said: list[Command]) -> None:
    """Nothing is called that nobody looks at here, and no command of the analyzer is left out below."""
    programs = {each.words[0] for each in said}

    assert programs - ORDINARY == {"analyzer", "curl", "kubectl", "make", "pip"}
    assert set(cli.commands) == {*READS_NOTHING, *READS_THE_PAST, *OTHERS}


def test_every_call_is_understood(said: list[Command], config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option exists and has a value that it takes."""
    monkeypatch.chdir(config)
    wrong = {}
    for each, words in of_the_analyzer(said):
        found, rest = subcommand(words)
        try:
            found.make_context(found.name, rest).close()
        except click.UsageError as error:
            wrong[str(each)] = error.format_message()

    assert wrong == {}


def calls(said: list[Command], name: str) -> Iterator[tuple[Command, list[str]]]:
    """Find the calls of one command, shortened where that changes nothing but the time they take.

    Not those that try an address in a cluster: `tests/cli/test_analyzer_url.py` does.
    """
    for each, words in of_the_analyzer(said):
        if words[0] == name and "--analyzer-url" not in words:
            yield each, [*words, *SHORTER.get(name, [])]


def run(said: list[Command], name: str, **settings: str) -> list[str]:
    """Run every call of one command with the settings of its block; the outputs of those that fail."""
    wrong = []
    for each, words in calls(said, name):
        environment = {**dict(each.settings), **settings}
        done = CliRunner().invoke(cli, words, env=environment, prog_name="analyzer")
        if done.exit_code not in ANSWERS.get(name, (0,)):
            wrong.append(f"{each}: {done.exit_code} {done.exception!r}\n{done.output}")
    return wrong


@pytest.mark.parametrize("name", READS_NOTHING)
def test_what_needs_no_metrics_is_run(
    said: list[Command], config: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With the policies and profiles that the READMEs show."""
    monkeypatch.chdir(config)

    assert run(said, name) == []


@pytest.mark.prometheus
@pytest.mark.parametrize("name", READS_THE_PAST)
def test_what_reads_metrics_is_run(
    said: list[Command], config: Path, past: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """On two hours of two versions that are well: the doctor finds all that the READMEs say, and nobody is ill."""
    monkeypatch.chdir(config)

    assert run(said, name, ANALYZER_SOURCE="prometheus", ANALYZER_PROMETHEUS_URL=past) == []


def test_what_is_named_in_passing_exists() -> None:
    """Commands and options between backticks."""
    wrong = []
    for readme in READMES:
        for code in re.findall(r"`(analyzer [^`]+)`", " ".join(prose(readme).split())):
            found, words = subcommand(shlex.split(code)[1:])
            options = {name for each in found.params for name in (*each.opts, *each.secondary_opts)}
            unknown = [word for word in words if word.startswith("-") and word.split("=")[0] not in options]
            if unknown or found is cli or (isinstance(found, click.Group) and words):
                wrong.append(f"{named(readme)}: {code}")

    assert wrong == []


# The service


@pytest.fixture
def address(past: str) -> Iterator[str]:
    """The service on that Prometheus."""
    settings = Settings(source="prometheus", prometheus_url=past)
    server = make_server("127.0.0.1", 0, create_app(build_analyzer(settings), settings, Telemetry("prometheus")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.prometheus
def test_what_is_asked_by_curl_is_answered(said: list[Command], address: str) -> None:
    """Each call is made; the answers are verdicts."""
    if shutil.which("curl") is None:
        lacking("CURL", "needs curl")
    asked = [each for each in said if each.words[0] == "curl"]

    assert asked
    for each in asked:
        words = [word.replace("localhost:8080", address) for word in each.words]
        done = subprocess.run([*words, "--fail", "--noproxy", "*"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), each
        assert json.loads(done.stdout)["verdict"] in ("pass", "fail", "inconclusive")


# Everything else


def test_what_make_and_pip_are_asked_for_exists(said: list[Command]) -> None:
    """Targets of the Makefile, and extras of the package."""
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    made = {word for each in said if each.words[0] == "make" for word in each.words[1:] if "=" not in word}
    installed = {each.words[2] for each in said if each.words[0] == "pip"}

    assert {"demo", "check", "bench", "image"} <= made <= targets
    assert installed == {f"rollout-analyzer[{extra}]" for extra in extras}


def test_the_files_that_kubectl_is_given_are_there(said: list[Command]) -> None:
    """Paths from the top folder, as the READMEs say."""
    files = {
        (each.place, name)
        for each in said
        for option, name in zip(each.words, each.words[1:], strict=False)
        if each.words[0] in ("kubectl", "python") and option in ("-f", "-k", "--patch-file", "python")
        if re.match(r"[a-z]", name) and not name.startswith("http")
    }

    assert len(files) > 10
    assert {(place, name) for place, name in files if not (PROJECT / name).exists()} == set()


def test_kubectl_understands_its_commands(said: list[Command], tmp_path: Path) -> None:
    """Each gets as far as the cluster, which is not there; of Argo's plugin the commands are known here."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": "/dev/null"}
    nowhere = ["--server=http://127.0.0.1:9", "--request-timeout=5s"]
    here = str(PROJECT / "rollouts" / "analyzer" / "namespace.yaml")  # for what would be fetched from elsewhere
    wrong, plugin = {}, set()
    for words in {each.words: None for each in said if each.words[0] == "kubectl"}:
        if words[1:3] == ("argo", "rollouts"):
            named_ = [word for word in re.sub(r"-n \S+ ", "", " ".join(words[3:])).split() if not word.startswith("-")]
            plugin.add(next((one for one in (" ".join(named_[:2]), named_[0]) if one in PLUGIN), str(words)))
            continue
        given = [here if word.startswith("https://") else word for word in words[1:]]
        done = subprocess.run(
            [kubectl, *nowhere, *given], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
        )
        if "127.0.0.1:9" not in done.stderr:
            wrong[words] = done.stderr

    assert wrong == {}
    assert plugin <= PLUGIN
