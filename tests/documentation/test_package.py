"""The README of the package: its tree is what is there, and its constants have the values that it names."""

import importlib
import re
from pathlib import Path

import pytest
from documentation.readmes import PROJECT, blocks, text_of

PACKAGE = PROJECT / "analyzer"
OPENED = ("verdict", "sources", "checks", "stats", "config")  # packages whose entries are listed too
UNLISTED = {"__init__.py", "README.md", "__pycache__/"}
CONSTANT = re.compile(r"^\| `([a-z_.]+)\.([A-Z_]+)` \| ([^|]+) \|", re.MULTILINE)


def entries(folder: Path) -> set[str]:
    """Return the names of the files of a folder, and of its folders that hold files, with a slash at the end."""
    files = {path.name for path in folder.iterdir() if path.is_file()}
    folders = {path.name + "/" for path in folder.iterdir() if any(path.glob("*.*"))}
    return (files | folders) - UNLISTED


def tree() -> dict[str, list[str]]:
    """Return what the README lists: of each opened package, and of the whole under an empty name, its entries."""
    (block,) = (block for block in blocks("text", "analyzer") if block.text.startswith("__main__.py"))
    listed: dict[str, list[str]] = {"": []}
    for line in block.text.splitlines():
        name, meaning = line.split(maxsplit=1)
        assert meaning, line
        if line.startswith(" "):
            listed.setdefault(listed[""][-1].rstrip("/"), []).append(name)
        else:
            listed[""].append(name)
    return listed


def test_the_tree_is_what_is_there() -> None:
    """Every module and package has its line, and no line is left of one that is gone."""
    listed = tree()

    assert set(listed) == {"", *OPENED}
    for folder, names in listed.items():
        assert len(names) == len(set(names))
        assert set(names) == entries(PACKAGE / folder), folder or "analyzer"


@pytest.mark.parametrize(("module", "name", "value"), CONSTANT.findall(text_of(PACKAGE / "README.md")))
def test_a_constant_has_the_value_that_is_named(module: str, name: str, value: str) -> None:
    """Read from the module of the row."""
    assert getattr(importlib.import_module(f"analyzer.{module}"), name) == float(value)
