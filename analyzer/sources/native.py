"""Growth of native histograms, from sample to sample."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from analyzer.errors import BadResponse
from analyzer.sources.assembly import NativeGrowth
from analyzer.sources.prometheus_api import Series

Buckets = dict[tuple[float, float], float]


def growth(
    answers: Iterable[Series], start: float, arm_label: str, is_new: Callable[[Mapping[str, str]], bool]
) -> list[NativeGrowth]:
    """Tell how much every bucket of every series grew after the start.

    Parameters
    ----------
    answers : the series' histograms, from before the start on
    start : of the window; the last histograms until then are what is counted from
    arm_label : which label tells the arms apart
    is_new : whether a series, of these labels, that was not there before the start began at 0

    Raises
    ------
    BadResponse : a series without histograms, or one whose resolution changed inside the window
    """
    moments: dict[frozenset[tuple[str, str]], dict[float, Mapping[str, Any]]] = {}
    for one in answers:
        if len(one.values):
            raise BadResponse("it answered with numbers where native histograms were asked for")
        moments.setdefault(_key(one.labels), {}).update(one.histograms)
    grown = []
    for key, histograms in moments.items():
        previous: Buckets | None = None
        total: Buckets = {}
        for moment in sorted(histograms):
            present = _buckets(histograms[moment])
            if moment > start:
                if previous is None:
                    previous = {} if is_new(dict(key)) else present
                _add(total, present, {} if _restarted(present, previous) else previous)
            previous = present
        grown.append(NativeGrowth(arm=dict(key).get(arm_label, ""), buckets=total))
    return grown


def _restarted(present: Buckets, previous: Buckets) -> bool:
    """Whether a counter fell: all together, or single buckets of the same widths."""
    if sum(present.values()) < sum(previous.values()):
        return True
    fell = any(present.get(bucket, 0.0) < count for bucket, count in previous.items())
    return fell and len(_widths(present) | _widths(previous)) == 1


def _widths(buckets: Buckets) -> set[float]:
    return {round(math.log2(high / low), 9) for low, high in buckets if low > 0 and math.isfinite(high)}


def _add(total: Buckets, present: Buckets, previous: Buckets) -> None:
    for bucket in present.keys() | previous.keys():
        change = present.get(bucket, 0.0) - previous.get(bucket, 0.0)
        if change < 0:
            raise BadResponse("a native histogram changed its resolution inside the window")
        if change:
            total[bucket] = total.get(bucket, 0.0) + change


def _buckets(histogram: Mapping[str, Any]) -> Buckets:
    try:
        found = {(float(low), float(high)): float(count) for _, low, high, count in histogram.get("buckets") or []}
    except (TypeError, ValueError) as error:
        raise BadResponse(f"it answered with a native histogram that cannot be read: {str(error)[:100]}") from error
    if not all(math.isfinite(count) for count in found.values()):
        raise BadResponse("it answered with a native histogram that is no finite number")
    return found


def _key(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in labels.items() if name != "__name__")
