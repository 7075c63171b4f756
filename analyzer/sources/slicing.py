"""How finely a window is read, and what is known of its time slices."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from analyzer.config.profile import Way
from analyzer.model.counts import C, Reading, together
from analyzer.model.findings import Gap
from analyzer.sources.promql import timeline_of
from analyzer.sources.timeline import Timeline

MOST_SLICES = 120
FEWEST_SLICES = 12  # rather than longer slices, many series are added up by the server


@dataclass(frozen=True)
class Limits:
    """How finely a window is read.

    Attributes
    ----------
    values : how many samples may be asked for; above, slices are longer, then series are added up by the server
    slices : how many there may be
    fewest_slices : how many there must be if series are to be followed one by one
    """

    values: int
    slices: int = MOST_SLICES
    fewest_slices: int = FEWEST_SLICES

    def fit(self, start: float, end: float, series: Mapping[Way, float]) -> tuple[Timeline, frozenset[Way]]:
        """Choose slices so that the answer stays small; tell which ways of reading have too many series for that."""
        left, added_up, most_slices = dict(series), set[Way](), self.slices
        while True:
            timeline = timeline_of(start, end, most_slices)
            if sum(left.values()) * (timeline.count + 2) <= self.values or not left:
                return timeline, frozenset(added_up)
            if timeline.count > self.fewest_slices:
                most_slices = timeline.count // 2
                continue
            largest = max(left, key=lambda way: left[way])
            added_up.add(largest)
            del left[largest]
            most_slices = self.slices


def in_slices(
    reading: Reading[C] | Gap, timeline: Timeline, notes: tuple[str, ...], scrape_seconds: float | None = None
) -> Reading[C] | Gap:
    """Add what is known of the slices; scrapes that nobody has looked at are supposed to be a slice apart.

    Slices shorter than that are put together: of two pods that are scraped in turn each would have requests in slices
    of its own, as if the arms had never had traffic at the same time.
    """
    if isinstance(reading, Gap):
        return reading
    apart = scrape_seconds or timeline.step
    count = max(1, math.ceil(apart / timeline.step - 1e-6))
    step = count * timeline.step
    last = (timeline.slices - 1) % count * timeline.step + (timeline.tail or timeline.step)
    if count > 1:
        canary, baseline = (arm and together(arm, count) for arm in (reading.canary, reading.baseline))
        canary_pods, baseline_pods = (
            tuple(replace(pod, counts=together(pod.counts, count)) for pod in pods)
            for pods in (reading.canary_pods, reading.baseline_pods)
        )
        routed = reading.routed and reading.routed.together(count)
        reading = replace(
            reading,
            canary=canary,
            baseline=baseline,
            canary_pods=canary_pods,
            baseline_pods=baseline_pods,
            routed=routed,
        )
    return replace(
        reading,
        slice_seconds=step,
        begin=timeline.start,
        last_seconds=last if last < step else None,
        scrape_seconds=apart,
        notes=(*reading.notes, *notes),
    )
