"""Every block of YAML and JSON of every README is read by what reads it: Argo's code, kustomize, the loaders."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from documentation.conftest import Validate
from documentation.readmes import PROJECT, Block, blocks
from kustomize import render

from analyzer.config.policy import load_policies
from analyzer.config.profile import load_profiles

ROLLOUTS = PROJECT / "rollouts"
TEMPLATES = PROJECT / "analysis-templates"


def documents(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def completed(content: Any) -> dict[str, Any] | None:
    """Make an object of a fragment, as its README says where it goes; None: it is none."""
    (rollout,) = documents(ROLLOUTS / "fraud-detector" / "base" / "rollout.yaml")
    (deployment,) = documents(ROLLOUTS / "analyzer" / "deployment.yaml")
    match content:
        case {"apiVersion": _, "kind": _}:
            return content
        case {"canary": canary}:
            four = canary["analysis"]["args"]
            assert {each["name"] for each in four} == {"service", "namespace", "canary-hash", "baseline-hash"}
            for step in canary["steps"]:
                if "analysis" in step:
                    step["analysis"]["args"] += four
            rollout["spec"]["strategy"]["canary"] |= canary
            return rollout
        case [{"experiment": more}]:
            *_, rollout = documents(ROLLOUTS / "examples" / "experiment.yaml")
            for step in rollout["spec"]["strategy"]["canary"]["steps"]:
                step.get("experiment", {}).update(more)
            return rollout
        case {"metadata": {"annotations": annotations}}:
            rollout["metadata"]["annotations"] = annotations
            return rollout
        case {"env": variables, **volumes}:
            pod = deployment["spec"]["template"]["spec"]
            pod["containers"][0]["env"] += variables
            pod["containers"][0]["volumeMounts"] += volumes.pop("volumeMounts", [])
            pod["volumes"] += volumes.pop("volumes", [])
            assert volumes == {}
            return deployment
        case {"subscriptions": text}:
            assert all({"recipients", "triggers"} <= set(each) for each in yaml.safe_load(text))
            return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": content}
    return None


def reader(content: Any) -> str:
    """Tell what reads a block."""
    if completed(content):
        return "argo"
    keys = set(content)
    for name, told_by in (("kustomize", "resources"), ("profile", "arm_label"), ("policy", "checks")):
        if told_by in keys:
            return name
    return "Argo CD" if keys == {"ignoreDifferences"} else "nobody"


def read_by(name: str) -> Iterator[tuple[Block, list[Any]]]:
    """Find the blocks of YAML that something reads."""
    for block in blocks("yaml"):
        contents = list(yaml.safe_load_all(block.text))
        if reader(contents[0]) == name:
            yield block, contents


def test_every_block_has_a_reader() -> None:
    """Nothing is shown that no test looks at, but for what Argo CD alone understands."""
    assert [block.place for block, _ in read_by("nobody")] == []
    assert len(list(read_by("Argo CD"))) == 1


@pytest.mark.argo
@pytest.mark.timeout(900)
def test_manifests_are_valid(validate: Validate, tmp_path: Path) -> None:
    """Whole objects, and fragments in the objects that they belong into: no unknown field, no unknown reference."""
    around = tmp_path / "around.yaml"
    services = [ROLLOUTS / "fraud-detector" / "base" / "services.yaml", ROLLOUTS / "examples" / "experiment.yaml"]
    objects = [each for path in services for each in documents(path) if each["kind"] == "Service"]
    around.write_text(render(TEMPLATES) + "\n---\n" + yaml.safe_dump_all(objects))
    files = {}
    for number, (block, contents) in enumerate(read_by("argo")):
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump_all([completed(each) for each in contents]))
        files[str(path)] = block.place

    found = validate(around, *map(Path, files))

    assert {each["file"] for each in found} == {*files, str(around)}
    assert {(files.get(each["file"]), str(each["errors"])) for each in found if each["errors"]} == set()


@pytest.mark.argo
@pytest.mark.timeout(900)
def test_overlays_render(validate: Validate, tmp_path: Path) -> None:
    """In a folder beside those of the project; what comes out is valid."""
    for name in ("rollouts", "analysis-templates"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    shown = list(read_by("kustomize"))

    assert len(shown) >= 4
    for number, (block, _) in enumerate(shown):
        overlay = tmp_path / f"overlay-{number}"
        overlay.mkdir()
        (overlay / "kustomization.yaml").write_text(block.text)
        (overlay / "rendered.yaml").write_text(rendered := render(overlay))
        base = tmp_path / yaml.safe_load(block.text)["resources"][0].removeprefix("../")
        assert rendered != render(base), block.place
        found = validate(overlay / "rendered.yaml")
        assert [(block.place, each["errors"]) for each in found if each["errors"]] == []


def test_policies_and_profiles_are_valid(config: Path) -> None:
    """They load, and none replaces a built-in one: a policy of the same name would be another for everybody."""
    for name, load in (("policy", load_policies), ("profile", load_profiles)):
        folder = config / "config" / {"policy": "policies", "profile": "profiles"}[name]
        shown = {contents[0]["name"] for _, contents in read_by(name)}

        assert shown
        assert set(load(folder)) == set(load(None)) | shown
        assert not set(load(None)) & shown


def test_json_is_json() -> None:
    """Every block."""
    assert [type(json.loads(block.text)) for block in blocks("json")].count(dict) == len(blocks("json")) > 0
