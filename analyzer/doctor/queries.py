"""What is asked of one metric, in one query each, and how the answers are read."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from analyzer.config.profile import ClassCounter, ErrorCounters, LatencyHistogram, Profile, counting, traffic_selectors
from analyzer.config.selector import FIELD, Matcher, Selector, arms_matcher, fill
from analyzer.doctor.observations import (
    CLASSIC,
    NATIVE,
    SUM_AND_COUNT,
    Around,
    Location,
    Seen,
    location_labels,
    scanned,
    telling_labels,
)
from analyzer.doctor.question import DoctorRequest
from analyzer.model.findings import Kind
from analyzer.sources.prometheus_api import Series
from analyzer.sources.promql import duration, tagged
from analyzer.sources.samples import STAT, family_of, in_groups, matchers_of, target_of
from analyzer.sources.streams import TARGET_LABELS

MOST_LOCATIONS = 100  # combinations of arm, namespace and service of a metric that are looked at
LATELY = 600.0  # seconds, whose traffic tells which arm is served now
SAMPLES_OF = 2  # targets of an arm whose single samples are read
SAMPLES_SECONDS = 1800.0
LOOKBACK = 300.0  # seconds for which Prometheus takes a sample for the present one
FINEST, STEPS = 15.0, 240  # seconds of a step in the search for first samples, and how many at most
REPLICA_LABELS = ("prometheus_replica", "replica", "__replica__")  # by which servers tell their copies apart


class Writer:
    """Writes the queries about one question."""

    def __init__(self, question: DoctorRequest) -> None:
        self._question = question
        self._label, self._window = question.profile.arm_label, duration(question.window_seconds)
        self._arms = arms_matcher(self._label, tuple(question.arms.values()))
        kinds = {check.kind for check in question.checks.values()}
        self._ways = [way for kind in kinds for way in question.profile.ways(kind)]

    def seen(self, selector: Selector) -> str:
        """Write what is asked of one metric, in one query."""
        label, arms, window = self._label, self._arms, self._window
        every = self._series(selector, arms)
        counter = self._series(counting(selector), arms)  # of a histogram, the bucket that has every observation
        step = duration(max(FINEST, self._question.window_seconds / STEPS))
        targets = ", ".join(dict.fromkeys((label, *TARGET_LABELS)))
        grown = f"sum by ({label}) (increase({counter}[{window}]))"
        if self._is_native(selector):
            grown = f"histogram_count({grown})"
        parts = {
            "series": f"count by ({targets}) (last_over_time({counter}[{window}]))",
            "first": f"min by ({label}) (min_over_time(timestamp({counter})[{window}:{step}]))",
            "last": f"max by ({label}) (max_over_time(timestamp({counter})[{window}:{duration(LOOKBACK)}]))",
            "now": f"max by ({label}) (timestamp({counter}))",
            "counted": grown,
            "restarts": f"sum by ({label}) (max by ({targets}) (resets({counter}[{window}])))",
        }
        for replica in REPLICA_LABELS:
            copies = self._series(counting(selector), arms, Matcher(replica, "!=", ""))
            parts[f"copies {replica}"] = (
                f"max by ({label}) (count without ({replica}) (last_over_time({copies}[{window}])))"
            )
        for other in self._telling(selector):
            parts[f"by {other}"] = f"count by ({label}, {other}) (last_over_time({every}[{window}]))"
            parts[f"grown {other}"] = f"sum by ({label}, {other}) (increase({every}[{window}]))"
        return " or ".join(tagged(tag, part) for tag, part in parts.items())

    def sample(self, selector: Selector) -> str:
        """Write which series of the arms is looked at for the labels that it has."""
        return f"topk(1, {self._series(selector, self._arms)})"

    def around(self, selector: Selector) -> str:
        """Write where else a metric is, in one query: anywhere, in this namespace and service, under these arms."""
        profile, window, every = self._question.profile, self._window, counting(selector)
        static = tuple(matcher for matcher in (*every.matchers, *profile.matchers) if not FIELD.search(matcher.value))
        anywhere = Selector(every.metric, static)
        labels = ", ".join(location_labels(profile, selector))
        parts = {"bare": f"count(last_over_time({selector.metric}[{window}]))"}
        parts["near"] = f"count(last_over_time({self._series(Selector(selector.metric))}[{window}]))"
        under = {"anywhere": str(anywhere), "here": self._series(every)}
        if self._question.arms:
            under["arms"] = str(Selector(every.metric, (*static, self._arms)))
        for extent, selected in under.items():
            parts[f"series {extent}"] = (
                f"topk({MOST_LOCATIONS}, count by ({labels}) (last_over_time({selected}[{window}])))"
            )
            parts[f"rate {extent}"] = (
                f"topk({MOST_LOCATIONS}, sum by ({labels}) (rate({selected}[{duration(LATELY)}])))"
            )
        if selector.metric.endswith("_bucket") or self._is_native(selector):
            name = family_of(selector.metric)
            forms = {
                NATIVE: self._series(Selector(name, selector.matchers), Matcher("quantile", "=", "")),  # else a summary
                CLASSIC: self._series(Selector(f"{name}_bucket", selector.matchers)),
                SUM_AND_COUNT: self._series(Selector(f"{name}_count", selector.matchers)),
            }
            parts |= {
                f"form {form}": f"count(last_over_time({selected}[{window}]))" for form, selected in forms.items()
            }
        return " or ".join(tagged(tag, part) for tag, part in parts.items())

    def samples(self, selector: Selector, arm: str, seen: Seen) -> str:
        """Write which single samples of an arm are read, to see how far apart they are."""
        named = (dict(zip(TARGET_LABELS, labels, strict=True)) for labels in sorted(seen.targets)[:SAMPLES_OF])
        some = matchers_of(frozenset(map(target_of, named)))
        series = self._series(counting(selector), *some, arms_matcher(self._label, (arm,)))
        return f"{series}[{duration(min(self._question.window_seconds, SAMPLES_SECONDS))}]"

    def growth(self, selector: Selector, arm: str, seconds: float) -> str:
        """Write by how much a metric of an arm grew in a slice."""
        series = self._series(counting(selector), arms_matcher(self._label, (arm,)))
        return f"sum(increase({series}[{duration(seconds)}]))"

    def series(self, selector: Selector) -> str:
        """Write what is asked of every series of a metric under the arms, with those that a profile excludes."""
        window, profile = self._window, self._question.profile
        back = duration(max(self._question.window_seconds - LOOKBACK, 1.0))
        every = counting(selector)
        matchers = [matcher for matcher in (*every.matchers, *profile.matchers) if "{probes}" not in matcher.value]
        filled = fill(tuple(matchers), self._question.service, self._question.namespace)
        series = Selector(every.metric, (*filled, *self._question.matchers, self._arms))
        parts = {
            "grown": f"increase({series}[{window}])",
            "samples": f"count_over_time({series}[{window}])",
            "start": f"last_over_time({series}[{duration(LOOKBACK)}] offset {back})",
            "end": f"last_over_time({series}[{duration(LOOKBACK)}])",
        }
        return " or ".join(tagged(tag, part) for tag, part in parts.items())

    def processes(self, gauge: Selector) -> str:
        """Write how often the start of a process went back, for the worst target of each arm."""
        return f"max by ({self._label}) (resets({self._series(gauge, self._arms)}[{self._window}]))"

    def _series(self, selector: Selector, *more: Matcher) -> str:
        matchers = (*selector.matchers, *self._question.profile.matchers)
        filled = fill(matchers, self._question.service, self._question.namespace)
        return str(Selector(selector.metric, (*filled, *self._question.matchers, *more)))

    def _is_native(self, selector: Selector) -> bool:
        return any(isinstance(way, LatencyHistogram) and way.native_histogram == selector for way in self._ways)

    def _telling(self, selector: Selector) -> tuple[str, ...]:
        """Name the labels of a metric whose values matter: of buckets, of classes, of failed requests."""
        if selector.metric.endswith("_bucket"):
            return ("le",)
        labels: list[str] = []
        for way in self._ways:
            if isinstance(way, ClassCounter) and way.classes == selector:
                labels.append(way.by)
            if isinstance(way, ErrorCounters) and selector in way.requests:
                labels += telling_labels(way, selector)
        return tuple(dict.fromkeys(label for label in labels if label != self._label))


def read_seen(answer: Sequence[Series], label: str) -> dict[str, Seen]:
    """Read what was seen of a metric, by value of the arm label."""
    parts: dict[str, dict[str, list[Series]]] = {}
    for series in (series for series in answer if len(series.values)):
        by_tag = parts.setdefault(series.labels.get(label, ""), {})
        by_tag.setdefault(series.labels.get(STAT, ""), []).append(series)
    return {arm: _read_arm(rows) for arm, rows in parts.items() if rows.keys() & {"series", "by le"}}


def _read_arm(rows: Mapping[str, Sequence[Series]]) -> Seen:
    numbers = {tag: float(several[0].values[0]) for tag, several in rows.items()}
    targets = rows.get("series", ())  # of a histogram, those with the bucket that counts all
    return Seen(
        series=int(sum(series.values[0] for series in rows.get("by le", targets))),
        targets=frozenset(tuple(series.labels.get(name, "") for name in TARGET_LABELS) for series in targets),
        first=numbers.get("first"),
        last=max((numbers[tag] for tag in ("last", "now") if tag in numbers), default=None),
        counted=numbers.get("counted", 0.0),
        restarts=numbers.get("restarts", 0.0),
        copies={label: int(times) for label in REPLICA_LABELS if (times := numbers.get(f"copies {label}", 0.0)) > 1},
        by=_by_label(rows),
    )


def groups_of(question: DoctorRequest, kinds: Iterable[Kind], profiles: Iterable[Profile]) -> list[Selector]:
    """List what profiles would read, several metrics with the same matchers in one."""
    of_kinds = [(profile, way) for kind in kinds for profile in profiles for way in profile.ways(kind)]
    return in_groups(
        dict.fromkeys(
            scanned(question, profile, selector) for profile, way in of_kinds for selector in traffic_selectors(way)
        )
    )


def scan(groups: Iterable[Selector]) -> str:
    """Write which of these metrics are there now; engines answer with the names of metrics selected by name."""
    named = (
        Selector("", (Matcher("__name__", "=~", selector.metric), *selector.matchers)) if selector.metric else selector
        for selector in groups
    )
    return " or ".join(
        tagged(str(number), f"count by (__name__) ({selector})") for number, selector in enumerate(named)
    )


def read_scan(groups: Sequence[Selector], answer: Iterable[Series]) -> frozenset[Selector]:
    """Read which of these metrics are there."""
    present = set()
    for series in answer:
        group = groups[int(series.labels[STAT])]
        present.add(Selector(series.labels["__name__"], group.matchers if group.metric else group.matchers[1:]))
    return frozenset(present)


def _by_label(rows: Mapping[str, Sequence[Series]]) -> dict[str, dict[str, tuple[float, float]]]:
    by_label: dict[str, dict[str, tuple[float, float]]] = {}
    for tag, several in rows.items():
        what, _, label = tag.partition(" ")
        if what not in ("by", "grown"):
            continue
        values = by_label.setdefault(label, {})
        for sample in several:
            series, grown = values.get(sample.labels.get(label, ""), (0.0, 0.0))
            number = float(sample.values[0])
            values[sample.labels.get(label, "")] = (number, grown) if what == "by" else (series, number)
    return by_label


def read_around(answer: Sequence[Series]) -> Around:
    """Read where a metric is; the locations with the most traffic come first."""
    rows: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    counts: dict[str, float] = {}
    forms = set()
    for series in (series for series in answer if len(series.values)):
        what, _, which = series.labels.get(STAT, "").partition(" ")
        if what == "form":
            forms.add(which)
        elif which:
            labels = tuple(sorted((name, value) for name, value in series.labels.items() if name != STAT))
            rows.setdefault(labels, {})[what] = float(series.values[0])
        else:
            counts[what] = float(series.values[0])
    known = [Location(dict(labels), row.get("series", 0.0), row.get("rate", 0.0)) for labels, row in rows.items()]
    ordered = sorted(known, key=lambda location: (-location.per_second, -location.series))
    return Around(tuple(ordered), counts.get("bare", 0.0), counts.get("near", 0.0), frozenset(forms))


def apart(answer: Iterable[Series]) -> float | None:
    """Tell how far samples are apart, by the median; None: there are too few."""
    gaps = [
        gap
        for series in answer
        for gap in np.diff(series.times if len(series.times) else np.array([moment for moment, _ in series.histograms]))
    ]
    return float(np.median(gaps)) if gaps else None
