"""The SBOM names what the image installs, and nothing else."""

import json
import re
import subprocess
import sys
from pathlib import Path

import needs
import pytest
from image.container import PROJECT
from packaging.requirements import Requirement

from analyzer.version import __version__

LOCKED = re.findall(r"^([a-z0-9][^\\\n]*?) \\?$", (PROJECT / "requirements.lock").read_text(), re.MULTILINE)


@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_the_sbom_names_what_the_image_installs(tmp_path: Path, python: str) -> None:
    """Every pinned package whose marker holds on Linux, once, with its hashes; the product has the version."""
    needs.package("cyclonedx_py")
    target = tmp_path / "dist" / "sbom.json"
    words = [PROJECT / ".ci" / "sbom.py", target, python, __version__]
    subprocess.run([sys.executable, *map(str, words)], check=True, capture_output=True)
    document = json.loads(target.read_text())
    here = {"python_full_version": f"{python}.0", "python_version": python, "sys_platform": "linux"}
    pinned = [Requirement(text) for text in LOCKED]
    held = {each.name: str(each.specifier) for each in pinned if each.marker is None or each.marker.evaluate(here)}

    assert document["bomFormat"] == "CycloneDX"
    assert len(document["components"]) == len(held) > 50
    assert {part["name"]: f"=={part['version']}" for part in document["components"]} == held
    assert all(part["externalReferences"][0]["hashes"] for part in document["components"])
    assert document["metadata"]["component"]["version"] == __version__
    assert str(PROJECT) not in target.read_text()


def test_the_image_gets_its_sbom() -> None:
    """`make image` makes it, for the Python of the base."""
    makefile = (PROJECT / "Makefile").read_text()
    base = re.findall(r"^BASE \?= python:([0-9.]+)-", makefile, re.MULTILINE)

    assert re.search(r"^image:.*\bsbom\b.*##", makefile, re.MULTILINE)
    assert re.findall(r"^IMAGE_PYTHON \?= (.*)$", makefile, re.MULTILINE) == base
