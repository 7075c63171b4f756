"""What an instant query tells beside the values on the grid: counters that were reset, and the baseline before them."""

from collections.abc import Iterable

from analyzer.config.selector import Selector
from analyzer.sources.assembly import Selection
from analyzer.sources.promql import duration, either, in_arms
from analyzer.sources.samples import family_of, is_part
from analyzer.sources.streams import TARGET_LABELS

BEFORE = 150.0, 30.0  # seconds before the window between which a baseline that was there has a sample


def resets(metrics: Iterable[Selector], selection: Selection, seconds: float) -> str:
    """Return PromQL for the targets that had a counter reset in the last seconds; of a histogram, its count tells."""
    gauge = selection.profile.process_start
    counts: dict[Selector, str] = {}
    for metric in metrics:
        if gauge is not None and metric.metric == gauge.metric:
            counts[metric] = "changes"
        else:
            name = family_of(metric.metric) + "_count" if is_part(metric.metric) else metric.metric
            counts[Selector(name, metric.matchers)] = "resets"
    labels = ", ".join(dict.fromkeys([*TARGET_LABELS, selection.profile.arm_label]))
    parts = (
        f"{function}({in_arms(count, selection, selection.arms)}[{duration(seconds)}]) > 0"
        for count, function in counts.items()
    )
    return " or ".join(f"count by ({labels}) ({part})" for part in parts)


def seen_before(groups: Iterable[Selector], selection: Selection, seconds: float) -> str:
    """Return PromQL that counts the baseline's series with a sample shortly before the last seconds."""
    look = f"[{duration(BEFORE[0] - BEFORE[1])}] offset {duration(seconds + BEFORE[1])}"
    series = (in_arms(group, selection, selection.arms[1:]) for group in groups)
    return f"count({either(f'last_over_time({group}{look})' for group in series)})"
