"""Growth of native histograms, from their values on a grid of times."""

from collections.abc import Mapping
from typing import Any

from analyzer.errors import BadResponse
from analyzer.sources.assembly import NativeGrowth
from analyzer.sources.prometheus_api import Series

Buckets = dict[tuple[float, float], float]


def growth(base: list[Series], later: list[Series], arm_label: str) -> list[NativeGrowth]:
    """Tell how much every bucket of every series grew.

    Parameters
    ----------
    base : the series' last histograms before the window
    later : their histograms at the ends of the slices
    arm_label : which label tells the arms apart

    Raises
    ------
    BadResponse : a histogram without buckets, or one whose resolution changed inside the window
    """
    before = {_key(one.labels): _buckets(one.histograms[-1][1]) for one in base if one.histograms}
    moments: dict[frozenset[tuple[str, str]], list[tuple[float, Mapping[str, Any]]]] = {}
    for one in later:
        moments.setdefault(_key(one.labels), []).extend(one.histograms)
    grown = []
    for key, histograms in moments.items():
        previous = before.get(key, {})
        total: Buckets = {}
        for _, histogram in sorted(histograms, key=lambda pair: pair[0]):
            present = _buckets(histogram)
            restarted = sum(present.values()) < sum(previous.values())
            _add(total, present, {} if restarted else previous)
            previous = present
        grown.append(NativeGrowth(arm=dict(key).get(arm_label, ""), buckets=total))
    return grown


def _add(total: Buckets, present: Buckets, previous: Buckets) -> None:
    for bucket in present.keys() | previous.keys():
        change = present.get(bucket, 0.0) - previous.get(bucket, 0.0)
        if change < 0:
            raise BadResponse("a native histogram changed its resolution inside the window")
        if change:
            total[bucket] = total.get(bucket, 0.0) + change


def _buckets(histogram: Mapping[str, Any]) -> Buckets:
    try:
        return {(float(low), float(high)): float(count) for _, low, high, count in histogram.get("buckets", [])}
    except (TypeError, ValueError) as error:
        raise BadResponse(f"it answered with a native histogram that cannot be read: {error}") from error


def _key(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in labels.items() if name != "__name__")
