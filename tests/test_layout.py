"""The shape of the package, counted: few rooms, few arrows between them, short files, each name once.

`python tests/test_layout.py` prints the figures and every arrow.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "analyzer"
MODULES = sorted(PACKAGE.rglob("*.py"))
ENTRY_POINTS = ("__init__", "__main__")
MOST_ARROWS, MOST_ENTRIES, MOST_LINES = 120, 20, 400


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


def test_few_arrows_between_rooms() -> None:
    """A room that imports from most others is in the wrong place."""
    assert len(arrows()) <= MOST_ARROWS


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


if __name__ == "__main__":
    for source, target in sorted(arrows()):
        print(f"{source} -> {target}")
    print(f"{len(arrows())} arrows, {len(entries())} entries: {', '.join(entries())}")
