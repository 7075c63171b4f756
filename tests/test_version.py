"""The version stands in analyzer/version.py; what cannot read it there repeats it, and is held to it here."""

import re
from pathlib import Path

import pytest

from analyzer.version import __version__

PROJECT = Path(__file__).parents[1]
PATTERN = re.compile(
    r'(?:rollout-analyzer:|newTag: |ARG VERSION=|"version": ")(\d+\.\d+\.\d+\S*?)(?=[\s`",\\]|$)', re.MULTILINE
)
FILES = [
    PROJECT / "Dockerfile",
    PROJECT / "README.md",
    *(PROJECT / "analysis-templates").glob("*.*"),
    *(path for ending in ("md", "yaml") for path in (PROJECT / "rollouts").rglob(f"*.{ending}")),
]
REPEATED = [
    pytest.param(path, id=str(path.relative_to(PROJECT))) for path in FILES if PATTERN.search(path.read_text("utf-8"))
]


@pytest.mark.parametrize("path", REPEATED)
def test_a_version_that_is_repeated_is_the_right_one(path: Path) -> None:
    """Tags of the image and examples of answers: when this fails, put the version of analyzer/version.py there."""
    assert set(PATTERN.findall(path.read_text("utf-8"))) == {__version__}


def test_every_place_is_looked_at() -> None:
    """No other file of the project has an image with a version."""
    assert len(REPEATED) >= 9
    assert not re.search(r"\d+\.\d+\.\d+", (PROJECT / "Makefile").read_text("utf-8").replace("127.0.0.1", ""))


def test_the_changelog_knows_it() -> None:
    """The newest released section is that of the version, below what is not released yet."""
    sections = re.findall(r"^## \[(.+?)\]", (PROJECT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    assert sections[:2] == ["Unreleased", __version__]
