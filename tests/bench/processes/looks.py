"""When a rollout is measured: every 30 s, less the moments at which no rule of the product can roll back.

Few looks would flatter: what bursts leave behind is seen for a minute or two. All of them cost too much, so the
moments are passed over at which no segment of the window speaks for a rollback. That is where in every segment either
the estimate is not beyond the rollback limit, or the largest log likelihood ratio of independent requests against the
promote limit is below `LEAST`; log evidence is the mean of such ratios over alternatives and starts, and so no larger.
"""

import numpy as np
from bench.processes.cells import Aim, Cell, Form
from bench.processes.traffic import SLOT, SLOTS, Floats

EVERY = 30 // SLOT  # slots
LEAST = 3.0  # nats; at a level of 1.25% it takes 4.4
LASTING = (
    4  # measurements: a rollback may also follow where nothing new is bad, so that often it is looked all the same
)
FEW = 96


def moments(cell: Cell, canary: Floats, baseline: Floats, *, every: bool = False) -> list[int]:
    """List the moments to judge at, in slots, given the counts of both arms; shape (slots, columns).

    Where the first decision ends a run: every 15 s for 5 min, every 30 s for 20 min, every minute for an hour, then
    every 5 min. Drift and values have no bursts here: `FEW` moments, a third of them in the first quarter of an hour.
    """
    everything = range(EVERY, SLOTS + 1, EVERY)
    if cell.aim is not Aim.NO_ROLLBACK:
        fine = [*range(1, 20), *range(20, 80, 2), *range(80, 240, 4), *range(240, SLOTS + 1, 20)]
        counted = np.cumsum(canary[:, -1] + baseline[:, -1])
        return [moment for moment in fine if counted[moment - 1] >= cell.least]
    if every:
        return list(everything)
    if cell.form in (Form.VALUES, Form.SCORES, Form.CLASSES):
        early, even = np.linspace(EVERY, 60, FEW // 3), np.linspace(60, SLOTS, FEW - FEW // 3)
        return sorted({int(moment / EVERY) * EVERY for moment in (*early, *even)})
    bad, expected, worse = _bad(cell, canary, baseline)
    new = np.diff(np.concatenate(([0.0], np.cumsum(bad)[EVERY - 1 :: EVERY]))) > 0
    speaks = _speaks(cell, bad, expected, worse)
    return [
        moment
        for number, moment in enumerate(everything)
        if speaks[number] and (new[number] or worse < 0 or number % LASTING == 0)
    ]


def _bad(cell: Cell, canary: Floats, baseline: Floats) -> tuple[Floats, Floats, int]:
    """Give the canary's events, what one per unit of the limit would be, and the side that is worse."""
    if cell.form is Form.CONVERSIONS:
        odds = canary[:, 1] / np.maximum(baseline[:, 1], 1)
        return canary[:, 0], baseline[:, 0] * odds, -1
    if cell.form is Form.LATENCIES:
        return canary[:, 4:].sum(axis=1), canary.sum(axis=1), 1
    return canary[:, 0], canary[:, 1], 1


def _speaks(cell: Cell, bad: Floats, expected: Floats, worse: int) -> np.ndarray:
    """Tell of each measurement whether any segment that ends there speaks for a rollback."""
    ends = np.arange(EVERY, SLOTS + 1, EVERY)
    events, units = (np.concatenate(([0.0], np.cumsum(counts))) for counts in (bad, expected))
    seen, size = (sums[ends][:, np.newaxis] - sums[:-1] for sums in (events, units))
    seen, size = np.maximum(seen, 0.0), np.maximum(size, 1e-9)
    mean = size * cell.limits.promote
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(seen > 0, seen * np.log(seen / mean), 0.0) - seen + mean  # Poisson; above the binomial's
    beyond = worse * (seen - size * cell.limits.rollback) > 0
    return np.asarray((beyond & (ratio > LEAST) & (np.arange(SLOTS) < ends[:, np.newaxis])).any(axis=1))
