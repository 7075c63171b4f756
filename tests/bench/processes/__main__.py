"""Traffic whose requests depend on each other: `python tests/bench/processes [--short] [--only NAME] [--runs N]`.

The product judges, one check of the default policy alone at its part of alpha, by `analyzer.verdict.case.Case`. Each
run is a rollout of four hours, measured every 30 s (see `looks`). The full form writes a section of
tests/bench/README.md, as `--write` does with fewer cells.
Ends with 1 where a bound is broken: in the short form where the interval (exact, 95%) lies beyond it.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

BENCH = Path(__file__).parents[1]
sys.path[0] = str(BENCH.parent)  # the modules of this folder are imported by their full names only
sys.path.insert(1, str(BENCH.parents[1]))

from bench.processes import judged  # noqa: E402
from bench.processes.cells import RUNS, SHORT_RUNS, Aim, Cell, every_cell  # noqa: E402
from bench.processes.judged import NAMES, Decided  # noqa: E402
from bench.simulation.report import DEPENDENT  # noqa: E402
from scipy.special import betaincinv  # noqa: E402

CHUNK = 4  # runs
ABOUT = """
`python tests/bench/processes` made this section: traffic whose requests are not independent, in both arms alike and
within the promote limits where *falsely rolled back* is said. The product judges one check of the default policy alone,
at its part of alpha (1.25%), over four hours, every 30 s; *one bin*, *Zipf classes*, *guardrail* and *uncounted* have
faults that must not pass. {runs} runs a row; exact 95% intervals; rivals roll back on the same data: the threshold of
the last five minutes, its fourth failure, and the z or chi-square test repeated at 5%. The bounds are for the policy as
a whole, so that a check alone has to be well within them. The median is that of canary requests and time until the
decision.
"""


def interval(events: int, runs: int) -> tuple[float, float]:
    """Give the exact 95% interval of a probability (Clopper and Pearson)."""
    low = betaincinv(events, runs - events + 1, 0.025) if events else 0.0
    high = betaincinv(events + 1, runs - events, 0.975) if events < runs else 1.0
    return float(low), float(high)


@dataclass(frozen=True)
class Row:
    """A cell and what came of its runs."""

    cell: Cell
    runs: Sequence[Decided]

    @cached_property
    def events(self) -> int:
        """Count the runs that did what the cell's aim names."""
        if self.cell.aim in (Aim.NO_ROLLBACK, Aim.FOUND):
            return sum(one.failed[0] is not None for one in self.runs)
        return sum(one.passed is not None and one.failed[0] is None for one in self.runs)

    def broken(self, *, short: bool) -> bool:
        """Tell whether the bound is broken."""
        if self.cell.bound is None:
            return False
        events = self.events
        if self.cell.aim is Aim.PASSES:  # what is bounded is the contrary
            events = sum(one.failed[0] is not None for one in self.runs)
        share = interval(events, len(self.runs))[0] if short else events / len(self.runs)
        return share > self.cell.bound

    def words(self, *, short: bool) -> list[str]:
        """Write the columns of a row of the table."""
        low, high = interval(self.events, len(self.runs))
        others = (
            f"{sum(one.failed[place] is not None for one in self.runs) / len(self.runs):.0%}"
            for place in range(1, len(NAMES))
        )
        bound = "" if self.cell.bound is None else f"{self.cell.bound:.4g}"
        state = "" if self.cell.bound is None else "MISSED" if self.broken(short=short) else "ok"
        ours = f"{self.events / len(self.runs):.1%} [{low:.0%}, {high:.0%}]"
        cell = (f"{self.cell.process}: {self.cell.setting}", f"{self.cell.rate:g}", self.cell.aim.value)
        return [*cell, ours, *others, bound, state, self._took()]

    def _took(self) -> str:
        """Write the medians of requests and time until the decision, where one is wanted."""
        if self.cell.aim is Aim.NO_ROLLBACK or not self.events:
            return ""
        failing = self.cell.aim is Aim.FOUND
        times = [(one.failed[0] if failing else one.passed, one.requests) for one in self.runs]
        decided = [(seconds, requests) for seconds, requests in times if seconds is not None]
        seconds, requests = (statistics.median(column) for column in zip(*decided, strict=True))
        return f"{requests:.0f} requests, {seconds / 60:.3g} min"


WIDTHS = (62, 4, 20, 19, 9, 9, 9, 7, 7, 0)
HEADER = ["process: setting", "/s", "what", "ours", *NAMES[1:], "bound", "", "median"]


def line(words: Sequence[str]) -> str:
    """Lay out a row for a terminal."""
    return " ".join(word.ljust(width) for word, width in zip(words, WIDTHS, strict=True)).rstrip()


def write(rows: Sequence[Row], path: Path) -> None:
    """Put the table behind what else stands on the page."""
    table = [HEADER, ["---"] * len(HEADER), *(row.words(short=False) for row in rows)]
    text = "\n".join(f"| {' | '.join(words)} |" for words in table)
    before = path.read_text(encoding="utf-8").partition(DEPENDENT)[0]
    path.write_text(f"{before}{DEPENDENT}{ABOUT.format(runs=len(rows[0].runs))}\n{text}\n", encoding="utf-8")


def simulate(cells: Sequence[Cell], runs: int, processes: int, *, every: bool) -> Iterator[Row]:
    """Run cells in several processes; gives each as soon as it is complete."""
    firsts = range(0, runs, CHUNK)
    tasks = [(cell, first, min(CHUNK, runs - first), every) for cell in cells for first in firsts]
    with ProcessPoolExecutor(processes) as pool:
        parts = pool.map(_part, *zip(*tasks, strict=True))
        for cell in cells:
            yield Row(cell, [decided for _ in firsts for decided in next(parts)])


def _part(cell: Cell, first: int, runs: int, every: bool) -> list[Decided]:
    return [judged.run(cell, number, every=every) for number in range(first, first + runs)]


def main() -> None:
    """Read the command line, run the cells and print the table."""
    parser = argparse.ArgumentParser(description="Traffic whose requests depend on each other.")
    parser.add_argument("--short", action="store_true", help="the part that CI runs")
    parser.add_argument("--only", default="", metavar="NAME", help="cells whose name contains it")
    parser.add_argument("--runs", type=int, help="runs a cell")
    parser.add_argument("--every", action="store_true", help="judge at all moments, to check that none is missed")
    parser.add_argument("--write", action="store_true", help="put these cells into the README, instead of all")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    began = time.monotonic()
    cells = [
        cell for cell in every_cell() if options.only in cell.name and (not options.short or cell.short == cell.rate)
    ]
    runs = options.runs or (SHORT_RUNS if options.short else RUNS)
    print(line(HEADER))
    rows = []
    for row in simulate(cells, runs, options.processes, every=options.every):
        print(line(row.words(short=options.short)), flush=True)
        rows.append(row)
    if options.write or not (options.short or options.only or options.every):
        write(rows, BENCH / "README.md")
    missed = sum(row.broken(short=options.short) for row in rows)
    bounded = sum(row.cell.bound is not None for row in rows)
    print(f"{missed} of {bounded} bounds missed; {len(rows)} cells of {runs} runs in {time.monotonic() - began:.0f} s")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
