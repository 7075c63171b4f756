"""Means of which only sums over slices of time are known: no spread, no tail, as of latencies without a histogram.

One sum says nothing about how much it varies. Many do: where the true mean is at the limit, the mean of a slice lies
above it as often, and as far, as below.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyzer.stats import search
from analyzer.stats.search import Bools, Floats, Side, log_mean_exp

FEWEST = 100.0  # requests of each arm in a batch: sums of fewer skewed values are not symmetric enough
BETS = np.geomspace(0.1, 100, 15)  # per deviation of a batch in units of the mean: from wild ones to 1%
HALVINGS = 12  # of the segment in which a bound lies
MOST_A_BATCH = math.log(2)  # nats: what a batch on the right side of the limit can add at most


def batches_of(requests: ArrayLike, cut: int = 0, least: int = 1) -> NDArray[np.intp]:
    """Put neighbouring slices together until every arm has `FEWEST` requests in each batch.

    Parameters
    ----------
    requests : of one arm or several; shape (slices,) or (arms, slices)
    cut : number of a slice with which a batch is to begin
    least : slices of a batch

    Returns
    -------
    Number of the first slice of each batch; what is left at the end (or before `cut`) joins the batch before it.
    """
    counts = np.atleast_2d(np.asarray(requests, float))
    slices = counts.shape[1]
    if least == 1 and counts.min() >= FEWEST:
        return np.arange(slices)
    rows, first = counts.T.tolist(), list[int]()
    for begin, end in ((0, cut), (cut, slices)):
        seen, edges = [0.0] * len(counts), [begin]
        for index in range(begin, end):
            if index - edges[-1] >= least and min(seen) >= FEWEST:
                edges.append(index)
                seen = [0.0] * len(counts)
            seen = [before + more for before, more in zip(seen, rows[index], strict=True)]
        if len(edges) > 1 and not (end - edges[-1] >= least and min(seen) >= FEWEST):
            edges.pop()
        first += edges if begin < end else []
    return np.array(first, np.intp)


@dataclass(frozen=True)
class SliceMeans:
    """Means of one arm, batch by batch, beside what they are compared with.

    Attributes
    ----------
    means : of the arm; shape (batches,)
    reference : what the ratio is taken to: 1, or the means of the other arm; same shape
    sizes : what each batch weighs, known from the numbers of requests alone; same shape
    first : number of the first slice of each batch
    """

    means: Floats
    reference: Floats
    sizes: Floats
    first: NDArray[np.intp]

    def log_evidence(self, ratio: float, side: Side, starts: ArrayLike) -> Floats:
        """Log evidence since each of some slices that means are above (or below) `ratio` times the reference.

        Parameters
        ----------
        ratio : > 0
        starts : indices of slices; -inf for those within a batch

        Notes
        -----
        With D a batch's deviation, its mean less `ratio` times the reference, symmetric about 0 or less given the
        batches before it, exp(b D) / cosh(b D) = 1 + tanh(b D) has an expectation of at most 1 for any b > 0; the
        products over all batches are mixed over b, evenly on a logarithmic scale. As cosh(x) <= exp(x^2 / 2), that is
        never less than the self-normalised exp(b S - b^2 V / 2) of the sum S and the sum of squares V [1]_, which is
        inadmissible for this reason [2]_. It rises with every D and needs neither a variance nor a bound, and there is
        none where S lies on the wrong side.

        The unit of b follows the reference and the mean size of a batch. On a logarithmic scale that moves only the
        ends of the mixture; by a factor f at most 1 + ln(f) / 7 times as many false alarms.

        References
        ----------
        .. [1] V. H. de la Pena, A general class of exponential inequalities for martingales and ratios, Ann. Probab.
           27 (1999) 537-564.
        .. [2] A. Ramdas, J. Ruf, M. Larsson, W. Koolen, Admissible anytime-valid sequential inference must rely on
           nonnegative martingales, arXiv 2009.03167, on tests of symmetry.
        """
        summed = np.cumsum(self._log_bets(ratio, side)[:, ::-1], axis=-1)[:, ::-1]
        batch, begins = self._batch(starts)
        return np.where(begins, log_mean_exp(summed.T)[batch], -np.inf)

    def forecast(self, ratio: float, side: Side, start: int, scale: ArrayLike) -> Floats:
        """Log evidence since a slice that begins a batch, were there `scale` times as many batches like those."""
        summed = self._log_bets(ratio, side, start).sum(axis=-1)
        return log_mean_exp(np.asarray(scale, float)[..., np.newaxis] * summed)

    def deviation(self, ratio: float, start: int) -> float:
        """Tell by how many standard errors the means since a slice lie above `ratio` times the reference."""
        deviations = self._deviations(ratio, start)
        return float(deviations.sum() / max(math.sqrt(float((deviations**2).sum())), 1e-300))

    def ratios(self, starts: ArrayLike) -> Floats:
        """Estimate the ratio since each of some slices, that of the weighted sums; nan for those within a batch."""
        ours, theirs = (np.cumsum((self.sizes * means)[::-1])[::-1] for means in (self.means, self.reference))
        batch, begins = self._batch(starts)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(begins, ours[batch] / theirs[batch], np.nan)

    def interval(self, start: int, *, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Bound the ratio since a slice that begins a batch, right at every look.

        Parameters
        ----------
        alpha_low, alpha_high : how often at most, over all looks together, the lower (upper) bound may be wrong

        Returns
        -------
        Lower bound, 0 where nothing is proved, and upper bound, infinite where nothing is.
        """
        middle = float(self.ratios([start])[0])
        if not 0 < middle < math.inf:
            return 0.0, math.inf
        deviations = self._deviations(middle, start) * self._unit / (self.sizes[self.first >= start].sum() * middle)
        error = max(math.sqrt(float((deviations**2).sum())), 1e-6)

        def bound(side: Side, alpha: float) -> float:
            """Give how far the log of the bound is from that of the estimate; what is excluded is never nearer."""
            away = -1.0 if side == "above" else 1.0

            def excluded(distance: float) -> bool:
                bets = self._log_bets(middle * math.exp(away * distance), side, start)
                return bool(log_mean_exp(bets.sum(axis=-1)) >= -math.log(alpha))

            near, far = 0.0, min(4 * error, search.FURTHEST)
            while not excluded(far):
                near, far = far, 2 * far
                if far > search.FURTHEST:
                    return away * math.inf
            for _ in range(HALVINGS):
                half = (near + far) / 2
                near, far = (near, half) if excluded(half) else (half, far)
            return away * near

        return middle * math.exp(bound("above", alpha_low)), middle * math.exp(bound("below", alpha_high))

    def _batch(self, starts: ArrayLike) -> tuple[NDArray[np.intp], Bools]:
        """Return the batch that begins with each slice, and whether there is one."""
        wanted = np.asarray(starts, np.intp)
        batch = np.minimum(np.searchsorted(self.first, wanted), len(self.first) - 1)
        return batch, np.asarray(self.first[batch] == wanted)

    @property
    def _unit(self) -> float:
        """What a batch of mean size weighs, times the mean reference."""
        return float((self.sizes * self.reference).mean())

    def _deviations(self, ratio: ArrayLike, start: int = 0) -> Floats:
        """Give by how much each batch is above the ratio, in units of the mean at it; shape (..., batches)."""
        rows, ratios = self.first >= start, np.asarray(ratio, float)[..., np.newaxis]
        return np.asarray(self.sizes[rows] * (self.means[rows] / ratios - self.reference[rows]) / self._unit)

    def _log_bets(self, ratio: ArrayLike, side: Side, start: int = 0) -> Floats:
        """Give what each batch adds to the log evidence, for each bet; shape (..., bets, batches)."""
        sign = 1.0 if side == "above" else -1.0
        deviations = sign * self._deviations(ratio, start)[..., np.newaxis, :]
        return np.asarray(MOST_A_BATCH - np.logaddexp(0.0, -2 * BETS[:, np.newaxis] * deviations))
