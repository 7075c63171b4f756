#!/usr/bin/env python3
"""Count what pytest's JUnit files say and print the closing line of `.ci/run`; exit code 1 where anything failed.

Usage: count.py FOLDER, with STAGE.xml of each stage that ran pytest, STAGE.again.xml where its failures were tried
again, and a file `broken` with a line for each stage that failed without such a file.
"""

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

FAILED = ("failure", "error")


def results(file: Path) -> dict[str, str]:
    """Read the result of every test: passed, failed or skipped; an error while it is taken down is a failure."""
    outcomes: dict[str, str] = {}
    for case in ET.parse(file).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        if any(case.find(tag) is not None for tag in FAILED):
            outcomes[name] = "failed"
        else:
            outcomes.setdefault(name, "skipped" if case.find("skipped") is not None else "passed")
    return outcomes


def main(folder: Path) -> int:
    """Print the names of what failed and of what passed only when tried again, then the numbers."""
    counts = dict.fromkeys(("passed", "failed", "skipped", "again"), 0)
    names: list[str] = []
    for file in sorted(folder.glob("*.xml")):
        if file.stem.endswith(".again"):
            continue
        second = file.with_suffix(".again.xml")
        again = results(second) if second.exists() else {}
        for name, outcome in results(file).items():
            final = "again" if outcome == "failed" and again.get(name) == "passed" else outcome
            counts[final] += 1
            if final in ("failed", "again"):
                names.append(f"{'passed only when tried again' if final == 'again' else 'failed'}: {name}")
    broken = folder / "broken"
    stages = broken.read_text().splitlines() if broken.exists() else []
    counts["failed"] += len(stages)
    for line in [*names, *(f"failed: {stage}" for stage in stages)]:
        print(line)
    print(
        f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped, "
        f"{counts['again']} passed only when tried again"
    )
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
