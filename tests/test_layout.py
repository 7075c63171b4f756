"""The shape of the package, counted: few rooms, few arrows between them, short files, each name once and a term.

`python tests/test_layout.py` prints the figures and every arrow.
"""

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "analyzer"
MODULES = sorted(PACKAGE.rglob("*.py"))
ROLLOUTS = sorted((PACKAGE.parent / "rollouts").rglob("*.py"))
ENTRY_POINTS = ("__init__", "__main__")
MOST_ARROWS, MOST_ENTRIES, MOST_LINES = 120, 20, 400
VAGUE = frozenset({"one", "found", "place", "places", "asked", "told", "said"})


def room(parts: tuple[str, ...]) -> str:
    """Name the top-level package or module that a path of names below `analyzer` belongs to."""
    return parts[0] if parts else "analyzer"


def imported(path: Path) -> Iterator[str]:
    """List the rooms that a module imports from, also inside functions and for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "analyzer":
            names = [f"analyzer.{alias.name}" for alias in node.names]
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (room(tuple(name.split(".")[1:])) for name in names if name.split(".")[0] == "analyzer")


def modules_of_others(path: Path) -> set[str]:
    """List what a module imports from outside of the package and of Python."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names - set(sys.stdlib_module_names) - {"analyzer"}


def canonical(name: str) -> str:
    """Write the name of a distribution as all of its spellings are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def arrows() -> set[tuple[str, str]]:
    """Collect the imports between rooms: from which to which."""
    found = set()
    for path in MODULES:
        here = room(path.relative_to(PACKAGE).with_suffix("").parts)
        found |= {(here, there) for there in imported(path) if there != here}
    return found


def entries() -> list[str]:
    """List what stands in the package's folder."""
    return sorted(path.name for path in PACKAGE.iterdir() if not path.name.startswith((".", "__pycache__")))


def twice(names: list[str]) -> list[str]:
    """List the names that occur more than once."""
    return sorted(name for name, times in Counter(names).items() if times > 1)


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of each variable, argument, attribute, field, function and class that is set or used."""
    for node in ast.walk(tree):
        for field in ("id", "arg", "attr", "name", "asname", "rest"):
            if isinstance(name := getattr(node, field, None), str):
                yield getattr(node, "lineno", 0), name
        if isinstance(node, ast.Global | ast.Nonlocal):
            yield from ((node.lineno, name) for name in node.names)


def vague(source: str) -> list[tuple[int, str]]:
    """Return line and name of the identifiers that are a word of `VAGUE`, private or not, in any case."""
    names = identifiers(ast.parse(source))
    return sorted({(line, name) for line, name in names if name.strip("_").lower() in VAGUE})


def test_few_arrows_between_rooms() -> None:
    """A room that imports from most others is in the wrong place."""
    assert len(arrows()) <= MOST_ARROWS


def test_every_package_that_is_imported_is_declared() -> None:
    """What only comes with another goes, or changes, with that one."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {
        canonical(re.split(r"[<>=\[]", requirement)[0])
        for several in (project["dependencies"], *project["optional-dependencies"].values())
        for requirement in several
    }
    names = {name for path in MODULES for name in modules_of_others(path)}
    # One that an extra brings, and that is not installed, is known by how its name begins.
    absent = {name: [each for each in declared if each.partition("-")[0] == name] for name in names}
    packages = absent | dict(packages_distributions())

    assert {name for name in names if not declared & set(map(canonical, packages[name]))} == set()


def test_few_entries_at_the_top() -> None:
    """As many as a person reads at a glance."""
    assert len(entries()) <= MOST_ENTRIES


def test_no_file_is_long() -> None:
    """Beyond, a file has two subjects."""
    lines = {str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {path: length for path, length in lines.items() if length > MOST_LINES} == {}


def test_a_module_name_is_used_once() -> None:
    """A traceback or a search for it leads to one file."""
    assert twice([path.stem for path in MODULES if path.stem not in ENTRY_POINTS]) == []


def test_a_class_name_is_used_once() -> None:
    """The same, at the top of a module."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in MODULES]
    assert twice([node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]) == []


def test_names_are_terms() -> None:
    """`series`, `finding`, `slice_index`: what a variable holds, in the words of the field."""
    paths = [*MODULES, *ROLLOUTS]
    names = {str(path.relative_to(PACKAGE.parent)): vague(path.read_text(encoding="utf-8")) for path in paths}
    assert len(ROLLOUTS) > 1
    assert {path: several for path, several in names.items() if several} == {}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("found = 1", "found"),
        ("for one in x: pass", "one"),
        ("[y for y, (_, one) in x]", "one"),
        ("lambda place: 1", "place"),
        ("def f(*, told=0): pass", "told"),
        ("def f(*asked): pass", "asked"),
        ("class A:\n    places: int", "places"),
        ("x._said = 1", "_said"),
        ("f'{x.found}'", "found"),
        ("f(asked=1)", "asked"),
        ("if one := 1: pass", "one"),
        ("match x:\n    case {'a': told, **found}: pass", "found"),
        ("try: pass\nexcept E as said: pass", "said"),
        ("import x as place", "place"),
        ("with x as (one, y): pass", "one"),
        ("def one(): pass", "one"),
        ("class Found: pass", "Found"),
        ("global told", "told"),
    ],
)
def test_a_vague_name_is_seen(source: str, name: str) -> None:
    """In every way in which Python binds a name."""
    assert name in [each for _, each in vague(source)]


def test_a_longer_name_or_a_text_is_not_vague() -> None:
    """A word of prose reads naturally, and `find_one` says what it finds."""
    assert vague("x.find_one('found', in_place=1)  # told") == []


if __name__ == "__main__":
    for source, target in sorted(arrows()):
        print(f"{source} -> {target}")
    print(f"{len(arrows())} arrows, {len(entries())} entries: {', '.join(entries())}")
