"""Scores in bins: the histogram's own buckets, or between cuts where there are single samples."""

import numpy as np

from analyzer.config.policy import Check
from analyzer.model.counts import Floats, Histogram

BINS = 10  # for samples: the customary number


def cuts_of(check: Check, known: Histogram) -> Floats | None:
    """Give the edges at which samples are counted: the policy's, or deciles of what is known of the baseline."""
    if not known.exact:
        return None
    if check.bins:
        return np.array(check.bins)
    cumulative = np.cumsum(known.counts.sum(axis=0))
    wanted = np.arange(1, BINS) / BINS * cumulative[-1]
    return np.unique(known.edges[np.searchsorted(cumulative, wanted * (1 - 1e-12))])


def binned(arm: Histogram, cuts: Floats | None) -> Floats:
    """Count by bin, one row a slice: the histogram's own buckets, or between the cuts where there are samples."""
    if cuts is None:
        return arm.counts
    member = np.searchsorted(cuts, arm.edges)
    bins = np.zeros((len(arm.edges), len(cuts) + 1))
    bins[np.arange(len(arm.edges)), member] = 1.0
    return np.asarray(arm.counts @ bins)
