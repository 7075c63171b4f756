"""The benchmark of verdicts: `python tests/bench/simulation`, or `--short` for the part that CI runs.

The full form writes tests/bench/README.md and its plot. The short form writes nothing and ends with 1 where a bound
is broken.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

BENCH = Path(__file__).parents[1]
sys.path[0] = str(BENCH.parent)  # the modules of this folder are imported by their full names only
sys.path.insert(1, str(BENCH.parents[1]))

from bench.simulation import cells, figures, plot, report, results, sooner  # noqa: E402
from bench.simulation.data import Cell  # noqa: E402


def simulate(chosen: Sequence[Cell], processes: int) -> list[results.Row]:
    """Run cells in several processes, the order of the rows being that of the cells."""
    with ProcessPoolExecutor(processes) as pool:
        return [row for rows in pool.map(results.run, chosen) for row in rows]


def check(found: Sequence[figures.Figure]) -> bool:
    """Print every figure with its bound; tell whether all hold."""
    for figure in found:
        is_probability = not math.isnan(figure.proved)
        measured = f"{figure.proved:8.4f} at most" if is_probability else f"{figure.measured:8.2f} times  "
        print(f"{measured}  bound {figure.cap:<6.4g} {'' if figure.holds else 'BROKEN '} {figure.what}")
    broken = sum(not figure.holds for figure in found)
    print(f"{broken} of {len(found)} bounds broken" if broken else f"all {len(found)} bounds hold")
    return broken == 0


def main() -> None:
    """Read the command line and run the benchmark."""
    parser = argparse.ArgumentParser(description="The benchmark of verdicts.")
    parser.add_argument("--short", action="store_true", help="the part that CI runs: checks bounds, writes nothing")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    began = time.monotonic()
    rows = simulate(cells.short_cells() if options.short else cells.every_cell(), options.processes)
    found = [*figures.figures(figures.Results(rows)), *sooner.figures(short=options.short)]
    holds = check(found)
    print(f"{len({row.cell.name for row in rows})} cells in {time.monotonic() - began:.0f} s", flush=True)
    if not options.short:
        report.write(rows, found, BENCH / "README.md")
        plot.write(rows, BENCH / "verdicts.svg")
    sys.exit(not holds)


if __name__ == "__main__":
    main()
