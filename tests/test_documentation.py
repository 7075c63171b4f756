"""What the READMEs say is true: commands, answers, names and links."""

import json
import re
from pathlib import Path

import pytest
from documentation.readmes import anchors

import analyzer
from analyzer.config.policy import load_policies
from analyzer.config.profile import SECTIONS, load_profiles
from analyzer.config.settings import PREFIX, Settings
from analyzer.version import __version__

PROJECT = Path(__file__).parent.parent
READMES = sorted(path for path in PROJECT.rglob("README.md") if not any(part.startswith(".") for part in path.parts))
MAIN = (PROJECT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Find the fenced blocks of a language in the main README."""
    return re.findall(rf"```{language}\n(.*?)```", MAIN, re.DOTALL)


def test_the_answer_shown_is_the_answer_given() -> None:
    """The curl call of the README and the JSON below it belong together, to the digit."""
    call = next(block for block in blocks("sh") if block.startswith("curl") and " -d '" in block)
    body = json.loads(call.split(" -d '")[1].rsplit("'", 1)[0])

    assert analyzer.evaluate(body) == json.loads(blocks("json")[0])


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(readme: Path) -> None:
    """Every relative link of every README names a file or folder that is there, and a heading of that README."""
    links = re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", readme.read_text(encoding="utf-8"))
    targets = [(readme.parent / link if link else readme, heading) for link, heading in links]

    assert [str(target) for target, _ in targets if not target.exists()] == []
    assert [(str(target), heading) for target, heading in targets if heading and heading not in anchors(target)] == []


def test_targets_of_make_exist() -> None:
    """Every `make` target that the README names is one of the Makefile's."""
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z0-9-]*)", MAIN, re.MULTILINE))
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (PROJECT / "Makefile").read_text(), re.MULTILINE))

    assert {"demo", "test", "check", "bench"} <= named & targets
    assert named - targets == set()


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_settings_named_exist(readme: Path) -> None:
    """Every ANALYZER_ variable that a README names is a setting."""
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", readme.read_text(encoding="utf-8")))
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}

    assert {name for name in named - known if not name.startswith(f"{PREFIX}REQUIRE_")} <= {f"{PREFIX}PROMETHEUS"}


def test_names_that_the_readme_promises_are_packaged() -> None:
    """The default policy and both profiles are loaded, and the image's tag is the version."""
    assert "ml-model" in load_policies(None)
    assert {"prometheus-client", "istio"} <= set(load_profiles(None))
    assert f"rollout-analyzer:{__version__}" in (PROJECT / "Makefile").read_text()


def test_every_profile_is_in_the_table() -> None:
    """The README of the profiles has one row a profile, which says by which label the arms are told apart."""
    text = (PROJECT / "analyzer" / "config" / "profiles" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[`([^`]+)`\]\(([^)]+)\) \|(.*)\|$", text, re.MULTILINE)
    profiles = load_profiles(None)

    assert sorted(name for name, _, _ in rows) == sorted(profiles)
    for name, link, cells in rows:
        _, *kinds, arms = (cell.strip() for cell in cells.split("|"))
        assert link == f"{name}.yaml"
        assert [cell != "no" for cell in kinds] == [bool(profiles[name].ways(kind)) for kind in SECTIONS]
        assert (arms == "pod template hash") is (profiles[name].arm_label == "rollouts_pod_template_hash")


def test_what_a_verdict_takes() -> None:
    """The numbers of requests that the README names are those at which the verdict turns."""

    def verdict(check: str, requests: int, errors: int) -> str:
        slow_or_failed = {
            "error_rate": {"errors": errors, "requests": requests},
            "latency_p99": {"buckets": {"0.2": requests - errors, "0.5": requests - errors, "+Inf": requests}},
        }
        found: str = analyzer.evaluate({"checks": check, "data": {check: {"canary": slow_or_failed[check]}}})["verdict"]
        return found

    assert (verdict("error_rate", 835, 0), verdict("error_rate", 840, 0)) == ("inconclusive", "pass")
    assert (verdict("latency_p99", 415, 0), verdict("latency_p99", 420, 0)) == ("inconclusive", "pass")
    assert (verdict("error_rate", 88, 4), verdict("error_rate", 89, 4)) == ("fail", "inconclusive")
    assert {verdict("error_rate", requests, 3) for requests in range(3, 70)} == {"inconclusive"}
    for text in ("840 canary requests", "420 without a slow one", "Four errors within 88 requests"):
        assert text in " ".join(MAIN.split())


def test_nothing_names_a_package_index_or_a_machine() -> None:
    """Lock files and sources hold names, versions and hashes, and no address of an index."""
    for name in ("requirements.lock", "tests/requirements.lock", "pyproject.toml"):
        assert not re.search(r"index-url|find-links|https?://[^\s\"]*(simple|pypi)", (PROJECT / name).read_text())
