"""Single bins or classes beside the PSI: answers that the canary no longer gives, or gives too often.

The PSI of a rare answer that is lost is bounded by the half observation that stands for it: a fraud detector that never
says fraud again stays below any limit. So each answer is also tested by itself: its predictions in the canary, given
those in both arms, against a share that fell to less than half, or grew more than tenfold. All predictions outside of
the most frequent bin together are one more such answer: none of them is left of a model that answers a constant.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analyzer.checks.segments import Indices
from analyzer.config.policy import Check
from analyzer.model.findings import Rule
from analyzer.quantity import format_ratio
from analyzer.stats.onset import Starts
from analyzer.stats.psi import EXPECTED
from analyzer.stats.search import Bools, Floats, log_mean_exp, trials_until

PART = 0.2  # of the check's level; the PSI has the rest
OUTSIDE = 0.5  # of that, for what lies outside of the most frequent bin; each other bin by its rank, half to each side
LOST, GROWN = (0.5, 0.25), (10.0, 20.0)  # ratios of the shares: to be proved beyond, and to be beyond as an estimate
LESS, MORE = (0.5, 0.1), (3.0, 10.0)  # the alternatives, as multiples of those
FEWEST = 4.0  # predictions that an answer which grew needs: fewer may be one client
KEPT = 2 / 3  # of the predictions outside of the most frequent bin: proved before a pass
ALIKE = ((1.0, 0.8), (1.5, 0.2))  # ratios that are expected of these in a pass, and their weights
SUSPECT = 1.5  # nats for a single answer that keep a check from passing, whatever their part of the level


@dataclass(frozen=True)
class SingleBins:
    """The predictions of both arms by bin, since each start.

    Attributes
    ----------
    canary, baseline : independent observations that the predictions are worth; shape (starts, bins)
    labels : of the bins
    starts : since when they count
    """

    canary: Floats
    baseline: Floats
    labels: tuple[str, ...]
    starts: Starts

    @cached_property
    def _order(self) -> Indices:
        """Sort the bins, the most frequent one first."""
        return np.argsort(-(self._shares(self.canary)[0] + self._shares(self.baseline)[0]), kind="stable")

    @cached_property
    def _odds(self) -> Floats:
        return np.asarray(self.canary.sum(axis=1) / np.maximum(self.baseline.sum(axis=1), 1e-300))[:, np.newaxis]

    @cached_property
    def _ranks(self) -> Indices:
        """Return the ranks, from 0, of the bins with predictions enough to be tested."""
        expected = self.baseline[0] * self._odds[0]
        return np.flatnonzero(((expected >= EXPECTED) | (self.canary[0] >= FEWEST))[self._order])

    @cached_property
    def _tested(self) -> tuple[Floats, Floats]:
        """Return the counts of what lies outside of the most frequent bin, then of the bins; shape (starts, tests)."""
        arms = []
        for counts in (self.canary, self.baseline):
            outside = counts.sum(axis=1) - counts[:, self._order[0]]
            arms.append(np.column_stack([outside, counts[:, self._order[self._ranks]]]))
        return arms[0], arms[1]

    @cached_property
    def _ratios(self) -> Floats:
        """Estimate the ratio of the shares, half an observation added to both counts; shape (starts, tests)."""
        canary, baseline = self._tested
        return np.asarray((canary + 0.5) / (baseline + 0.5) / np.maximum(self._odds, 1e-300))

    def _log_evidence(self, ratio: float, multiples: tuple[float, ...]) -> Floats:
        """Give the log evidence that the ratio is beyond one, on the side of its multiples; shape (starts, tests)."""
        canary, baseline = self._tested
        expected = self._odds * ratio
        part = expected / (1 + expected)
        terms = [
            canary * math.log(multiple) - (canary + baseline) * np.log1p((multiple - 1) * part)
            for multiple in multiples
        ]
        return log_mean_exp(np.stack(terms, axis=-1))

    def _weights(self) -> Floats:
        """Give the part of the level that each test of one side has; what lies outside can only be lost."""
        ranks = self._ranks + 1.0
        return np.append(OUTSIDE, (1 - OUTSIDE) / 2 / (ranks * (ranks + 1)))

    def evidence(self, *, strict: bool) -> tuple[Floats, Bools]:
        """Give the log evidence of each test, and whether its estimate is beyond; shape (2, starts, tests)."""
        limit = 1 if strict else 0
        lost, grown = self._log_evidence(LOST[limit], LESS), self._log_evidence(GROWN[limit], MORE)
        grown[:, 0] = -np.inf
        grown = np.where(self._tested[0] >= FEWEST, grown, -np.inf)
        return np.stack([lost, grown]), np.stack([self._ratios < LOST[1], self._ratios > GROWN[1]])

    def strongest(self, *, strict: bool) -> Floats:
        """Return the log evidence of the test that speaks most for a fail, with its part of the level; (starts,)."""
        evidence, beyond = self.evidence(strict=strict)
        return np.asarray(np.where(beyond, evidence + np.log(self._weights()), -math.inf).max(axis=(0, 2)))

    def worst(self, check: Check, level: float, doubt: Floats) -> "Suspicion":
        """Find the answer and the start that speak most for a fail, with regard to their part of the level.

        Parameters
        ----------
        doubt : by what the evidence since each start is divided, shape (starts,)
        """
        evidence, beyond = self.evidence(strict=check.rule is Rule.STRICT)
        with np.errstate(divide="ignore"):
            weights = np.log(self._weights()) + np.log(self.starts.weights)[:, np.newaxis]
        parts = (evidence / doubt[:, np.newaxis] + weights) / -math.log(level * PART)
        proved = np.where(beyond, parts, np.minimum(parts, 0.0))
        side, start, test = (int(index) for index in np.unravel_index(proved.argmax(), proved.shape))
        suspects = np.where(beyond[:, 0], evidence[:, 0], -np.inf)
        if proved[side, start, test] < 0.5 and suspects.max() >= SUSPECT:
            side, test = (int(index) for index in np.unravel_index(suspects.argmax(), suspects.shape))
            start = 0
        part = max(0.0, float(proved[side, start, test]))
        suspect = part >= 0.5 or bool(suspects.max() >= SUSPECT)
        return Suspicion(part, start, suspect, self._words(start, test, lost=side == 0))

    def _words(self, start: int, test: int, *, lost: bool) -> str:
        canary, baseline = (self._shares(arm)[start] for arm in (self.canary, self.baseline))
        if test == 0:
            bin_index = self._order[0]
            ours, theirs, name = 1 - canary[bin_index], 1 - baseline[bin_index], f"all but {self.labels[bin_index]}"
        else:
            bin_index = self._order[self._ranks[test - 1]]
            ours, theirs, name = canary[bin_index], baseline[bin_index], self.labels[bin_index]
        if theirs <= 0:
            return f"{name} is new: {format_ratio(float(ours))} of the canary's predictions"
        change = "fell" if lost else "grew"
        return f"{name} {change} from {format_ratio(float(theirs))} of the predictions to {format_ratio(float(ours))}"

    def unseen(self, start: int, promote: float, level: float) -> tuple[float, str] | None:
        """Say what it takes to see that the canary does not answer a constant every other time.

        Parameters
        ----------
        start : number of the start
        promote : limit of the PSI: beyond it the PSI shows such a canary by itself, and nothing more is needed
        level : at which it is proved

        Returns
        -------
        Factor by which the predictions since the start must grow, infinite: they prove it never; and what is not
        proved. None: it is.
        """
        bin_index = self._order[0]
        often = float(self._shares(self.baseline)[start][bin_index])
        if (1 - often) / 2 * math.log((1 + often) / max(often, 1e-9)) >= promote:
            return None
        canary, baseline = (arm[start, 0] for arm in self._tested)
        odds, total = float(self._odds[start, 0]), float(self.canary[start].sum())
        expected = odds * KEPT
        part = expected / (1 + expected)

        def log_evidence(counts: Floats) -> Floats:
            terms = [
                math.log(weight)
                + canary * math.log(ratio / KEPT)
                - (canary + baseline) * math.log1p((ratio / KEPT - 1) * part)
                for ratio, weight in ALIKE
            ]
            scale = np.asarray(counts)[..., np.newaxis] / total
            logs = np.log([weight for _, weight in ALIKE])
            return log_mean_exp((np.array(terms) - logs) * scale + logs + math.log(len(ALIKE)))

        needed = -math.log(level)
        if log_evidence(np.array(total)) >= needed:
            return None
        until = trials_until(log_evidence, needed, total)
        text = f"that the {format_ratio(1 - often)} outside of {self.labels[bin_index]} are still given is not proved"
        return (math.inf if until is None else until / total), text

    @staticmethod
    def _shares(counts: Floats) -> Floats:
        return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300))


@dataclass(frozen=True)
class Suspicion:
    """What speaks most for a lost or new answer.

    Attributes
    ----------
    part : of the evidence needed to fail, with the estimate beyond the limit
    start : number of the start
    suspect : whether it keeps a check from passing
    text : which answer, and what became of it
    """

    part: float
    start: int
    suspect: bool
    text: str
