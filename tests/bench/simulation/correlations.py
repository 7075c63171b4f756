"""The design effect in each run, as analyzer.stats.dispersion estimates it from the past of the baseline."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from bench.simulation.data import SLICE_SECONDS, Arm, Bools, Floats, Looks, Moments
from bench.simulation.sums import Sizes, Triples

from analyzer.checks.segments import Segments
from analyzer.stats import dispersion, onset, overdispersion
from analyzer.stats.dispersion import Dispersion
from analyzer.stats.shared_rate import Differences

Compare = Callable[[int, int], Differences]

NOTABLE = 2.0  # design effect of a comparison, from which on the analyzer asks what both arms share
ENOUGH_SECONDS = 2400  # window from which on it does
ENOUGH = 60  # batches of the past, with which the analyzer does not look at what is beside the canary


@dataclass(frozen=True)
class Effects:
    """The design effects of many runs.

    Attributes
    ----------
    runs : as estimated, one each
    lengths, slope : shape (runs, lengths), the last repeated where a run has fewer; lengths are logarithms of seconds
    known : what a comparison is divided by, by run, look and start: the same for every rule
    """

    runs: list[Dispersion]
    lengths: Floats
    slope: Floats
    known: dict[tuple[int, int, int], float] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, runs: list[Dispersion]) -> "Effects":
        """Put the estimates of all runs side by side."""
        if min(run.batches for run in runs) < ENOUGH and not all(run.independent for run in runs):
            raise ValueError("the past is too short to tell without what is beside the canary")
        most = max(1, *(len(run.seconds) for run in runs))

        def padded(parts: Iterable[tuple[float, ...]]) -> Floats:
            return np.array([[*part, *part[-1:] * (most - len(part))] for part in parts])

        lengths = np.log(padded(run.seconds or (1.0,) for run in runs))
        return cls(runs, lengths, padded(run.slope or (0.0,) for run in runs))

    @property
    def incidents(self) -> Bools:
        """Whether an incident of the past was left out of each run."""
        return np.array([run.incident for run in self.runs])

    def factors(self, sizes: Sizes, triples: Triples) -> Floats:
        """Compute what the counts of an arm are divided by, as `Segments.factors` does for one run."""
        total = triples.sums(sizes.requests)
        seconds = (triples.looks + 1 - triples.places) * SLICE_SECONDS
        busy = triples.sums(sizes.pairs) / np.maximum(total, 1e-300) / SLICE_SECONDS
        rate = np.maximum(busy, total / seconds)
        slope = self._slope_at(np.log(seconds), triples.runs)
        fixed, known = (np.array([(run.fixed, run.rate) for run in self.runs])[triples.runs]).T
        more = np.maximum(rate / np.where(known > 0, known, np.inf), 1.0)
        return np.asarray(np.minimum(1 + fixed * more + slope * rate, np.maximum(total, 1.0)))

    def shared(self, sizes: tuple[Sizes, Sizes]) -> Bools:
        """Tell the runs and looks at which the analyzer asks what both arms share; shape (runs, looks)."""
        compared = np.cumsum(np.diff(sizes[0].requests, axis=0) > 0, axis=0).T * SLICE_SECONDS
        reduced = np.zeros(compared.shape, bool)
        dependent = np.array([not (run.independent or run.lone) for run in self.runs])
        runs, long = np.nonzero(dependent[:, np.newaxis] & (compared >= ENOUGH_SECONDS))
        reduced[runs, long] = self._both(sizes, Triples(runs, long, np.zeros_like(runs))) >= NOTABLE
        return reduced

    def combined(
        self, sizes: tuple[Sizes, Sizes], triples: Triples, shared: Bools, differences: Compare | None = None
    ) -> Floats:
        """Compute what a comparison of canary and baseline is divided by.

        Parameters
        ----------
        shared : from `shared`
        differences : of both arms in a run up to a look; None: a lower bound is enough
        """
        whole = self._both(sizes, triples)
        reduced = shared[triples.runs, triples.looks]
        if differences is None:
            return np.where(reduced, 1.0, whole)
        judged: dict[tuple[int, int], Floats] = {}
        for index in np.flatnonzero(reduced).tolist():
            run, look, place = (int(part[index]) for part in (triples.runs, triples.looks, triples.places))
            if (run, look, place) not in self.known:  # the analyzer itself judges these
                starts, seconds = onset.starts_of(look + 1, SLICE_SECONDS), (look + 1) * SLICE_SECONDS
                if (run, look) not in judged:
                    window = Segments(starts, 0, look + 1, SLICE_SECONDS, None, seconds)
                    judged[run, look] = window.factors_beside(self.runs[run], differences(run, look))
                self.known[run, look, place] = float(judged[run, look][np.searchsorted(starts.slice_indices, place)])
            whole[index] = self.known[run, look, place]
        return whole

    def _both(self, sizes: tuple[Sizes, Sizes], triples: Triples) -> Floats:
        ours, theirs = (self.factors(size, triples) for size in sizes)
        n, m = (np.maximum(triples.sums(size.requests), 1e-200) for size in sizes)
        return dispersion.combined(ours, theirs, n, m)

    def _slope_at(self, length: Floats, runs: Looks) -> Floats:
        """Interpolate as `numpy.interp` does, each in its own run."""
        steps = self.lengths[runs]
        after = np.clip((steps <= length[:, np.newaxis]).sum(axis=1), 1, steps.shape[1] - 1 or 1)
        first, second = (np.minimum(after - back, steps.shape[1] - 1) for back in (1, 0))
        rows = np.arange(len(runs))
        low, high = steps[rows, first], steps[rows, second]
        part = np.clip((length - low) / np.where(high > low, high - low, np.inf), 0, 1)
        part = np.where((high <= low) & (length > low), 1.0, part)
        left, right = self.slope[runs, first], self.slope[runs, second]
        return np.asarray(left + part * (right - left))


@lru_cache(maxsize=1)
def of_arms(history: Arm) -> Effects:
    """Estimate the design effect of events in each run."""
    return of_bins(np.stack([history.events, history.requests - history.events], axis=2))


def of_bins(history: Floats) -> Effects:
    """Estimate the design effect of classes; counts of shape (runs, minutes, classes)."""
    return Effects.of([overdispersion.of_counts(rows) for rows in history])


@lru_cache(maxsize=1)
def of_values(history: Moments) -> Effects:
    """Estimate the design effect of values in each run."""
    parts = (history.total, history.squares, history.count)
    return Effects.of([overdispersion.of_values(*(part[run] for part in parts)) for run in range(len(history.total))])
