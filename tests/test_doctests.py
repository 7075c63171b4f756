"""Examples in docstrings are run, and say what comes out."""

import doctest
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "analyzer"
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_right(name: str) -> None:
    """Every example of a module."""
    module = importlib.import_module(name)
    names = {"np": importlib.import_module("numpy"), **vars(module)}
    done = doctest.testmod(module, extraglobs=names)

    assert done.attempted > 0
    assert done.failed == 0
