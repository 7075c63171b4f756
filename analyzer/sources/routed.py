"""Requests as a router or mesh counts them, beside those that the pods count."""

from dataclasses import replace

import numpy as np

from analyzer.config.profile import ErrorCounters, LatencyHistogram, RoutedRequests, Way
from analyzer.model.counts import Counts, Floats, Reading, Routed, requests_by_slice
from analyzer.model.findings import Gap
from analyzer.sources.assembly import Selection
from analyzer.sources.server_sums import ServerSums
from analyzer.sources.timeline import Timeline


def sent_to(arms: tuple[str, ...], way: RoutedRequests, sums: ServerSums, timeline: Timeline) -> Floats:
    """Return the requests of each arm by the server's sums, shape (arms, slices); raises SourceError."""
    sent = np.zeros((len(arms), timeline.slices))
    for several in sums.answer(way.requests, (), timeline).values():
        for grown in (grown for grown in several if grown.arm in arms):
            sent[arms.index(grown.arm)] += grown.growth
    return sent


def is_told(selection: Selection) -> bool:
    """Return whether the requests of both arms can be told: a router or mesh does not know the models of a process."""
    return bool(selection.baseline) and all(
        matcher.label != selection.profile.model_label for matcher in selection.matchers
    )


def beside(reading: Reading[Counts] | Gap, way: Way, sent: Floats | None, first: int = 0) -> Reading[Counts] | Gap:
    """Add what a router or mesh sent to both arms, shape (2, slices), where a way counts requests.

    Parameters
    ----------
    first : slice with which counting begins
    """
    if sent is None or isinstance(reading, Gap) or not isinstance(way, ErrorCounters | LatencyHistogram):
        return reading
    if reading.canary is None or reading.baseline is None:
        return reading
    counted = np.array([requests_by_slice(arm) for arm in (reading.canary, reading.baseline)])
    return replace(reading, routed=Routed(np.where(np.arange(sent.shape[1]) < first, 0.0, sent), counted))
