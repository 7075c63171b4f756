"""What to read: profiles, which name the metrics of a serving stack, and the files that they come from."""

from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from analyzer.config.selector import Matcher, Selector, parse_matchers, parse_selector
from analyzer.config.validation import NamedModel, load_named
from analyzer.errors import Problem, RequestError
from analyzer.model.findings import Kind
from analyzer.quantity import Number, nearest

PACKAGED = Path(__file__).parent / "profiles"
SECTIONS = tuple(kind for kind in Kind if kind is not Kind.MEAN_LATENCY)  # of a file; means are read by the latency's


def _selectors(value: object) -> tuple[Selector, ...]:
    return tuple(map(parse_selector, value if isinstance(value, list | tuple) else [value]))


SingleSelector = Annotated[Selector, BeforeValidator(parse_selector)]
Several = Annotated[tuple[Selector, ...], BeforeValidator(_selectors), Field(min_length=1)]
LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
AnyNumber = Annotated[tuple[Selector, ...], BeforeValidator(_selectors)]


class Unit(StrEnum):
    """Unit of a latency metric."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"

    @property
    def seconds(self) -> float:
        """How many seconds one unit is."""
        return {"s": 1.0, "ms": 1e-3, "us": 1e-6}[self.value]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class ErrorCounters(_Part):
    """Counters of requests and of failed ones; several are added up, and a series that several select counts once.

    Attributes
    ----------
    requests, errors : all requests, and those that failed
    gone : those whose client hung up before the answer: what exceeds the baseline's share of them counts as failed
    responses : everything that the server answered, where errors are counted among it, and not among the requests of
        users: as many failed responses as there are responses beyond the requests may be those of probes
    """

    requests: Several
    errors: Several
    gone: AnyNumber = ()
    responses: AnyNumber = ()


class RoutedRequests(_Part):
    """Counters of the requests that a router or mesh sent to the pods of an arm; several are added up.

    It sees what pods do not count: requests that hang, or whose client leaves.
    """

    requests: Several


class LatencyHistogram(_Part):
    """A histogram of the latency: classic (named without ``_bucket``) or native, or sum and count alone.

    Each but a native histogram also gives the mean.

    Attributes
    ----------
    unit : of the metric
    edges : the bucket edges in that unit, where the stack fixes them: check-config compares limits with them
    """

    histogram: SingleSelector | None = None
    native_histogram: SingleSelector | None = None
    sum: Several | None = None
    count: Several | None = None
    unit: Unit = Unit.SECONDS
    edges: tuple[Number, ...] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("histogram", "native_histogram", "sum") if getattr(self, name) is not None]
        if len(given) != 1 or (self.sum is None) != (self.count is None):
            raise ValueError("needs exactly one of histogram, native_histogram, or sum together with count")
        return self

    @property
    def mean(self) -> "LatencyHistogram | None":
        """The sum and the count of it alone; None for a native histogram, whose samples have no such parts."""
        if self.histogram is None:
            return self if self.sum is not None else None
        parts = {part: (self.histogram.suffixed(f"_{part}"),) for part in ("sum", "count")}
        return LatencyHistogram(**parts, unit=self.unit)


class ScoreHistogram(_Part):
    """A classic histogram of prediction scores, named without ``_bucket``."""

    scores: SingleSelector


class ClassCounter(_Part):
    """A counter of predictions with the class in a label."""

    classes: SingleSelector
    by: str


class ConversionCounters(_Part):
    """Counters of successes and of trials; several are added up."""

    successes: Several
    trials: Several


class ValueHistogram(_Part):
    """A classic histogram of values such as revenue, named without ``_bucket``; its edges bound the spread."""

    values: SingleSelector


def _link(value: object) -> object:
    if not isinstance(value, str) or not value.startswith("https://"):
        raise ValueError(f"{str(value)[:60]!r} is no link: write https://...")
    return value


class Limitation(_Part):
    """Something that a profile cannot tell, and what to do about it.

    Attributes
    ----------
    what, remedy : a sentence each
    check : the kind of check that is concerned; None: any
    """

    what: str
    remedy: str
    check: Kind | None = None


class About(_Part):
    """What people should know of a profile; nothing of it changes what is read.

    Attributes
    ----------
    stack, versions : whose metrics are read
    arms : what the values of the arm label are, and who sets the label
    cannot : what the profile cannot tell
    sources : links to where its facts come from
    """

    stack: str
    versions: str = ""
    arms: str = ""
    cannot: tuple[Limitation, ...] = ()
    sources: tuple[Annotated[str, BeforeValidator(_link)], ...] = ()


class Profile(NamedModel, _Part):
    """Which metrics tell how a service is, and which label tells its arms apart.

    For each kind of check there is a list of ways to read it: the first whose metrics exist is used.

    Attributes
    ----------
    name : label-safe
    arm_label : whose values are the request's canary and baseline; set on the targets by Prometheus
    matchers : that every selector gets, on labels set on the targets by Prometheus
    model_label : whose values are the models of a process, where it may serve several: the one that is named like the
        service is judged, and nothing where none is
    cluster_labels : that tell clusters or regions apart, whose equal arms are never added up
    process_start : gauge with the Unix time at which a process started, where the pods export it: it tells a
        new pod from one that Prometheus could not reach for a while
    routed : the requests of the same pods by a router or mesh, beside their own counts; the first way that both arms
        have is used
    about : for people
    """

    name: str
    about: About | None = None
    arm_label: LabelName
    matchers: Annotated[
        tuple[Matcher, ...], BeforeValidator(lambda x: parse_matchers(x) if isinstance(x, str) else x)
    ] = ()
    model_label: LabelName | None = None
    cluster_labels: tuple[LabelName, ...] = ("cluster", "region", "k8s_cluster_name")
    process_start: SingleSelector | None = None
    routed: tuple[RoutedRequests, ...] = ()
    error_rate: tuple[ErrorCounters, ...] = ()
    latency: tuple[LatencyHistogram, ...] = ()
    drift: tuple[ScoreHistogram | ClassCounter, ...] = ()
    business: tuple[ConversionCounters | ValueHistogram, ...] = ()

    def ways(self, kind: Kind) -> tuple["Way", ...]:
        """List the ways to read a kind of check, the preferred one first."""
        if kind is Kind.MEAN_LATENCY:
            return tuple(mean for way in self.latency if (mean := way.mean) is not None)
        in_order: tuple[Way, ...] = getattr(self, kind.value)
        return in_order

    @cached_property
    def presence(self) -> tuple[Selector, ...]:
        """The metrics of which the first sample tells when the canary began."""
        return main_selectors(next(way for kind in Kind for way in self.ways(kind)))

    def presence_of(self, kinds: Iterable[Kind]) -> tuple[tuple[Selector, ...], ...]:
        """List the metrics of which the first sample tells when the canary began, in the order to look for them.

        Where the usual ones were never seen, those of every way to read the kinds that are asked for tell it. Of a
        histogram the last bucket does, which every observation is in.
        """
        every = (
            selector for kind in sorted(set(kinds)) for way in self.ways(kind) for selector in traffic_selectors(way)
        )
        others = dict.fromkeys(map(counting, every))
        for selector in map(counting, self.presence):
            others.pop(selector, None)
        return tuple(filter(None, (tuple(map(counting, self.presence)), tuple(others))))

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not any(self.ways(kind) for kind in Kind):
            raise ValueError(f"names no metric: give at least one of {', '.join(SECTIONS)}")
        return self


Way = ErrorCounters | LatencyHistogram | ScoreHistogram | ClassCounter | ConversionCounters | ValueHistogram


def main_selector(way: Way) -> Selector:
    """Name the metric that stands for a way of reading: the one with the most series."""
    return main_selectors(way)[0]


def main_selectors(way: Way) -> tuple[Selector, ...]:
    """List the metrics of which one must exist for a way of reading to be usable.

    Where requests are counted as succeeded and as failed ones, either may not have occurred yet.
    """
    match way:
        case ErrorCounters():
            return way.requests
        case LatencyHistogram(histogram=Selector() as histogram):
            return (histogram.suffixed("_bucket"),)
        case LatencyHistogram(native_histogram=Selector() as histogram):
            return (histogram,)
        case LatencyHistogram():
            return way.count or ()
        case ScoreHistogram():
            return (way.scores.suffixed("_bucket"),)
        case ClassCounter():
            return (way.classes,)
        case ConversionCounters():
            return way.successes
        case ValueHistogram():
            return (way.values.suffixed("_bucket"),)


def traffic_selectors(way: Way) -> tuple[Selector, ...]:
    """List the metrics of which an arm has one as soon as it has traffic: not successes, which may not occur yet."""
    return way.trials if isinstance(way, ConversionCounters) else main_selectors(way)


def counting(selector: Selector) -> Selector:
    """Select what counts each observation once: of the buckets of a histogram, the last one."""
    if not selector.metric.endswith("_bucket"):
        return selector
    return Selector(selector.metric, (*selector.matchers, Matcher("le", "=", "+Inf")))


def selectors(way: Way) -> tuple[Selector, ...]:
    """List every metric that a way of reading needs, each once."""
    match way:
        case ErrorCounters():
            read = (*way.requests, *way.errors, *way.gone, *way.responses)
        case LatencyHistogram(sum=tuple() as total, count=tuple() as count):
            read = (*total, *count)
        case ConversionCounters():
            read = (*way.successes, *way.trials)
        case ValueHistogram():
            read = (way.values.suffixed("_bucket"), way.values.suffixed("_sum"))
        case _:
            read = (main_selector(way),)
    return tuple(dict.fromkeys(read))


def load_profiles(folder: Path | None) -> dict[str, Profile]:
    """Read the packaged profiles and those of a mounted folder, by name; raises ConfigError."""
    return load_named(Profile, PACKAGED, folder)


def choose_profile(profiles: dict[str, Profile], name: str) -> Profile:
    """Find the profile that a request names; raises RequestError."""
    if name not in profiles:
        raise RequestError([Problem("profile", f"unknown profile {name[:60]!r}; {nearest(name, profiles)}")])
    return profiles[name]
