"""Draws the two pictures of the page, the same bytes for the same rows."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.simulation import cells
from bench.simulation.data import Kind
from bench.simulation.figures import Results
from bench.simulation.results import Row

RULES = {  # and their colours, ours first
    "zone": "#0b6e4f",
    "relative": "#3fa7d6",
    "threshold": "#c1121f",
    "threshold, 4 failures": "#f08a4b",
    "repeated test": "#7b2d8b",
    "repeated interval": "#9a8c98",
    "Mann-Whitney judge": "#b08900",
}
FAULTS = ("1.5%", "3%", "10%")


def write(rows: Sequence[Row], path: Path) -> None:
    """Draw the plot as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update({"svg.hashsalt": "verdicts", "svg.fonttype": "none", "font.size": 9})
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    results = Results(rows)
    _false_rollbacks(left, results)
    _requests(right, results)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _false_rollbacks(axes: Any, results: Results) -> None:
    """Draw how often a healthy canary is rolled back, by rate of traffic."""
    for rule, colour in RULES.items():
        found = results.at_rates(Kind.ERRORS, cells.HEALTHY, rule)
        axes.plot(
            [row.cell.rate for row in found], [100 * row.probability for row in found],
            marker="o", markersize=4, color=colour, label=rule, linewidth=2 if rule in cells.RULES[Kind.ERRORS] else 1,
        )  # fmt: skip
    axes.axhline(100 * cells.ALPHA, color="grey", linestyle=":", linewidth=1)
    axes.text(cells.RATES[-1], 100 * cells.ALPHA + 1, "5%", ha="right", fontsize=8)
    axes.set(
        xscale="log", xlabel="canary requests a second", ylabel="rolled back within 4 h, %",
        title="Healthy canary, 0.3% errors, 480 looks",
    )  # fmt: skip
    axes.set_xticks(cells.RATES, [f"{rate:g}" for rate in cells.RATES])
    axes.set_xticks([], minor=True)


def _requests(axes: Any, results: Results) -> None:
    """Draw the mean requests to a rollback, for rules that roll back at most alpha of the canaries at the limit."""
    limits = []
    for place, name in enumerate(FAULTS):
        for shift, (rule, colour) in enumerate(RULES.items()):
            row = results.finest(Kind.ERRORS, name, rule)
            if row is not None:
                axes.plot(place + (shift - 3) / 12, row.requests_to_fail, marker="o", markersize=6, color=colour)
        row = results.finest(Kind.ERRORS, name, "zone")
        limits.append(math.nan if row is None else row.limit_to_fail)
        axes.hlines(limits[-1], place - 0.3, place + 0.3, color="black", linewidth=1)
    axes.text(0.32, limits[0], "Wald's limit\n(zone)", va="center", fontsize=8)
    axes.set(
        yscale="log", xlabel="true error rate of the canary", ylabel="mean canary requests to the rollback",
        title="Faulty canary",
    )  # fmt: skip
    axes.set_xticks(range(len(FAULTS)), FAULTS)
