"""What Prometheus answered, as values: what was seen under the arms, and what there is around."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from analyzer.config.profile import ErrorCounters, Profile, Way
from analyzer.config.selector import FIELD, Matcher, Selector, fill
from analyzer.doctor.question import DoctorRequest
from analyzer.doctor.series import SeriesFacts
from analyzer.errors import SourceError
from analyzer.model.findings import Kind
from analyzer.sources.samples import family_of
from analyzer.stats.search import Floats

NATIVE, CLASSIC, SUM_AND_COUNT = "native", "classic", "sum and count"


@dataclass(frozen=True)
class Engine:
    """What answers, and its version; empty: it does not say."""

    name: str
    version: str = ""


@dataclass(frozen=True)
class Seen:
    """One metric of one arm in the window.

    Attributes
    ----------
    series : how many there are
    targets : labels of the scrape targets that they come from
    first, last : when the first and the last sample were, to a step
    counted : by how much it grew; of a histogram its observations
    restarts : resets of counters
    copies : how often each series is there but for a label of replicas, by that label; 1 is left out
    by : series and growth by the value of each label that tells buckets, classes or failed requests apart
    """

    series: int
    targets: frozenset[tuple[str, ...]]
    first: float | None = None
    last: float | None = None
    counted: float = 0.0
    restarts: float = 0.0
    copies: Mapping[str, int] = field(default_factory=dict)
    by: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Location:
    """Where else a metric is: some labels, the series with them, and by how much they grow in a second."""

    labels: Mapping[str, str]
    series: float
    per_second: float


@dataclass(frozen=True)
class Around:
    """What there is of a metric under any arm, namespace and service.

    Attributes
    ----------
    locations : with the matchers that the profile gives to this metric alone
    bare, near : series without these, anywhere and where the profile looks
    forms : what of a histogram is there: `NATIVE`, `CLASSIC`, `SUM_AND_COUNT`
    """

    locations: tuple[Location, ...] = ()
    bare: float = 0.0
    near: float = 0.0
    forms: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Survey:
    """What Prometheus answered.

    Attributes
    ----------
    engine : what it is
    ways : by kind of check the way of the profile that is read, and the arms that it was found for
    seen : by metric and value of the arm label
    gaps : metrics that could not be asked for
    around : of metrics that were not found under every arm
    labels : names of the labels of counters that lack the one by which failed requests are told
    intervals : seconds between samples, by metric and value of the arm label
    elsewhere : what other profiles would read and is there, where something was not found
    series : of the metrics that tell traffic, one by one
    growth : of the counters of conversions and their requests in each slice of the window, in the baseline
    processes : how often the start of a process went back, by value of the arm label
    moved : range queries are answered for other times than those that were asked for
    """

    engine: Engine | None
    ways: Mapping[Kind, tuple[Way | None, frozenset[str]]] = field(default_factory=dict)
    seen: Mapping[Selector, Mapping[str, Seen]] = field(default_factory=dict)
    gaps: Mapping[Selector, SourceError] = field(default_factory=dict)
    around: Mapping[Selector, Around] = field(default_factory=dict)
    labels: Mapping[Selector, tuple[str, ...]] = field(default_factory=dict)
    intervals: Mapping[tuple[Selector, str], float] = field(default_factory=dict)
    elsewhere: frozenset[Selector] = frozenset()
    series: Mapping[Selector, tuple[SeriesFacts, ...]] = field(default_factory=dict)
    growth: Mapping[Selector, Floats] = field(default_factory=dict)
    processes: Mapping[str, float] = field(default_factory=dict)
    moved: bool = False


def telling_labels(way: ErrorCounters, requests: Selector) -> list[str]:
    """Name the labels by which failed requests are told among those of a counter."""
    return [
        matcher.label
        for errors in way.errors
        if errors.metric == requests.metric
        for matcher in errors.matchers
        if matcher not in requests.matchers and not matcher.matches({})
    ]


def has_label(seen: Seen, label: str) -> bool:
    """Whether any series of a metric has a label that was asked for."""
    return any(seen.by.get(label, {}))


def location_labels(profile: Profile, selector: Selector) -> list[str]:
    """Name the labels that say whose series of a metric are: the arm, what the request's fields match, the job."""
    fields = [matcher.label for matcher in (*selector.matchers, *profile.matchers) if FIELD.search(matcher.value)]
    return list(dict.fromkeys([profile.arm_label, *fields, "job"]))


def fields_of(question: DoctorRequest, selector: Selector) -> tuple[Matcher, ...]:
    """Give the matchers of a metric that come from the request's fields."""
    matchers = (*selector.matchers, *question.profile.matchers)
    return fill(
        tuple(matcher for matcher in matchers if FIELD.search(matcher.value)), question.service, question.namespace
    )


def locations_of(question: DoctorRequest, selector: Selector, around: Around) -> list[Location]:
    """Return the locations that are in the namespace and the service of the request."""
    fields = fields_of(question, selector)
    return [location for location in around.locations if all(field.matches(dict(location.labels)) for field in fields)]


def scanned(question: DoctorRequest, profile: Profile, selector: Selector) -> Selector:
    """Give what a scan looks for to know whether a profile could read a metric: of a histogram, its count."""
    name = selector.metric
    matchers = fill((*selector.matchers, *profile.matchers), question.service, question.namespace)
    return Selector(family_of(name) + "_count" if name.endswith("_bucket") else name, matchers)


def edges_of(seen: Seen) -> dict[float, tuple[float, float]]:
    """Give the series and the cumulative growth of a histogram by edge; one edge may be written in two ways."""
    edges: dict[float, tuple[float, float]] = {}
    for text, (series, grown) in seen.by.get("le", {}).items():
        try:
            edge = float(text)
        except ValueError:
            continue
        before = edges.get(edge, (0.0, 0.0))
        edges[edge] = max(series, before[0]), grown + before[1]
    return dict(sorted(edges.items()))
