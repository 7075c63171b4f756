"""Why nothing was found of a metric under an arm, and what to change: the nearest thing that is there tells."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from analyzer.config.profile import Profile, Way, main_selectors, traffic_selectors
from analyzer.config.selector import Matcher, Selector
from analyzer.doctor.notices import Advice, DoctorCode, Status
from analyzer.doctor.observations import (
    CLASSIC,
    NATIVE,
    SUM_AND_COUNT,
    Around,
    Location,
    Survey,
    fields_of,
    locations_of,
    scanned,
)
from analyzer.doctor.question import DoctorRequest
from analyzer.model.findings import Kind
from analyzer.sources.samples import family_of

MOST_NAMED = 5  # values, profiles
NAMED_BY_POD = "rollouts_pod_template_hash"  # the usual arm label, and who sets it


@dataclass(frozen=True)
class _Explanation:
    """A notice and how near what was found is to what is missing: 0 is nearest."""

    distance: int
    notice: Advice


def why_absent(
    question: DoctorRequest, kind: Kind, words: Iterable[str], observed: Survey, profiles: Mapping[str, Profile]
) -> Advice:
    """Say why a kind of check has no metric under some arms, by what is there instead.

    Parameters
    ----------
    words : names of the arms
    profiles : the loaded ones, to propose another
    """
    arms = {word: question.arms[word] for word in words}
    ways = question.profile.ways(kind)
    metrics = [selector for way in ways for selector in (*main_selectors(way), *traffic_selectors(way))]
    known = [
        (selector, observed.around[selector])
        for selector in dict.fromkeys(metrics)
        if selector in observed.around and not (arms and observed.seen.get(selector, {}).keys() >= set(arms.values()))
    ]
    explained = [_explain(question, kind, selector, around, arms) for selector, around in known]
    best = min(explained, key=lambda explanation: explanation.distance, default=None)
    if best is not None and best.distance <= _ARM:
        return best.notice
    names = " or ".join(dict.fromkeys(metric.metric for metric in dict(known) or metrics))
    what, code = f"no series of {names}", DoctorCode.METRIC_MISSING
    if proposed := _other_profiles(question, kind, observed, profiles):
        return Advice(Status.MISSING, code, f"{what} here", proposed)
    if best is not None and best.distance == _LOCATION:
        return best.notice
    remedy = "check that the pods are scraped (query `up`), and which names they export: `analyzer profiles`"
    return Advice(Status.MISSING, code, what, remedy)


_VALUES, _LABEL, _FORM, _ARM, _LOCATION, _NOTHING = range(6)  # distances


def _explain(
    question: DoctorRequest, kind: Kind, selector: Selector, around: Around, arms: Mapping[str, str]
) -> _Explanation:
    """Explain by one metric."""
    label = question.profile.arm_label
    fields, here = fields_of(question, selector), locations_of(question, selector, around)
    elsewhere = [
        location
        for location in around.locations
        if location not in here and location.labels.get(label) in arms.values()
    ]
    values = list(dict.fromkeys(location.labels.get(label, "") for location in here))
    named = [value for value in values if value]
    wanted = " or ".join(f'{label}="{value}" ({word})' for word, value in arms.items())
    if named:
        what = f"no series of {selector.metric} with {wanted}; there {_are(named)}"
        if elsewhere:
            what += f", and elsewhere one with {_where(fields, elsewhere[:1])[0]}"
        given = " or ".join(f"--{word}" for word in arms)
        remedy = f"give one of them as {given}, or send the arm traffic and check that its pods are scraped"
        return _Explanation(_VALUES, Advice(Status.MISSING, DoctorCode.ARM_UNKNOWN, what, remedy))
    if here:
        what = f"no series of {selector.metric} has the label {label}"
        notice = Advice(Status.MISSING, DoctorCode.ARM_LABEL_MISSING, what, label_remedy(question.profile, here))
        return _Explanation(_LABEL, notice)
    if form := _other_form(kind, selector, around):
        return _Explanation(_FORM, form)
    if around.near:
        conditions = ", ".join(map(str, selector.matchers))
        what = f"{selector.metric} is there, and no series of it meets {conditions}"
        remedy = f"write a profile of your own with matchers that fit: `analyzer profiles {question.profile.name}`"
        return _Explanation(_FORM, Advice(Status.MISSING, DoctorCode.MATCHERS_MISS, what, remedy))
    if elsewhere:
        where = _is_elsewhere(selector, f" with {wanted}", fields, elsewhere)
        return _Explanation(_ARM, Advice(Status.MISSING, DoctorCode.ARM_ELSEWHERE, *where))
    if around.locations:
        where = _is_elsewhere(selector, "", fields, around.locations)
        return _Explanation(_LOCATION, Advice(Status.MISSING, DoctorCode.METRIC_ELSEWHERE, *where))
    return _Explanation(_NOTHING, Advice(Status.MISSING, DoctorCode.METRIC_MISSING, "", ""))


def label_remedy(profile: Profile, locations: Iterable[Location]) -> str:
    """Say who sets the arm label."""
    jobs = list(dict.fromkeys(job for location in locations if (job := location.labels.get("job"))))
    of = f" of job {' or '.join(jobs[:MOST_NAMED])}" if jobs else ""
    if profile.arm_label == NAMED_BY_POD:
        return (
            f"podTargetLabels: [{NAMED_BY_POD.replace('_', '-')}] in the PodMonitor or ServiceMonitor{of}; without the "
            f"operator, relabel_configs from __meta_kubernetes_pod_label_{NAMED_BY_POD}"
        )
    note = f": {profile.about.arms}" if profile.about and profile.about.arms else ""
    return f"let Prometheus set {profile.arm_label} on the targets{of}{note}"


def _is_elsewhere(
    selector: Selector, of: str, fields: tuple[Matcher, ...], locations: Iterable[Location]
) -> tuple[str, str]:
    """Say in which other namespace or service a metric is, and what to do."""
    conditions = ", ".join(map(str, fields))
    what = f"no series of {selector.metric}{of} has {conditions}; there {_are(_where(fields, locations))}"
    return what, "give --namespace and --service as they are there; a label that is empty must be set on the targets"


def _where(fields: tuple[Matcher, ...], locations: Iterable[Location]) -> list[str]:
    """Write the namespaces and services of locations."""
    where = (
        ", ".join(f'{matcher.label}="{location.labels.get(matcher.label, "")}"' for matcher in fields)
        for location in locations
    )
    return list(dict.fromkeys(where))


def _other_form(kind: Kind, selector: Selector, around: Around) -> Advice | None:
    """Say which other form of a histogram is there."""
    name = family_of(selector.metric)
    is_classic, is_latency = selector.metric.endswith("_bucket"), kind is Kind.LATENCY
    own = "a profile of your own with"
    if is_classic and NATIVE in around.forms:
        what = f"{name} is a native histogram, and the profile names a classic one"
        keep = "let Prometheus scrape its classic buckets too (scrape_classic_histograms)"
        remedy = f"{own} native_histogram: {name}, or {keep}" if is_latency else keep
        return Advice(Status.MISSING, DoctorCode.OTHER_FORM, what, remedy)
    if not is_classic and CLASSIC in around.forms:
        what = f"{name} is a classic histogram, and the profile names a native one"
        remedy = f"{own} histogram: {name}, or --enable-feature=native-histograms in Prometheus"
        return Advice(Status.MISSING, DoctorCode.OTHER_FORM, what, remedy)
    if SUM_AND_COUNT in around.forms:
        export = "let the server export the buckets"
        what = f"only {name}_sum and {name}_count are there, and no {name}_bucket"
        remedy = f"judge the mean: a check of kind mean_latency; or {export}" if is_latency else export
        return Advice(Status.MISSING, DoctorCode.MEAN_ONLY, what, remedy)
    return None


def _other_profiles(question: DoctorRequest, kind: Kind, observed: Survey, profiles: Mapping[str, Profile]) -> str:
    """Propose profiles whose metrics are there, those with the most kinds first; empty: there are none."""

    def there(profile: Profile, way: Way) -> bool:
        return any(scanned(question, profile, selector) in observed.elsewhere for selector in traffic_selectors(way))

    kinds = {check.kind for check in question.checks.values()}
    ranked: dict[str, int] = {}
    for name, profile in profiles.items():
        if name != question.profile.name and any(there(profile, way) for way in profile.ways(kind)):
            ranked[name] = sum(any(there(profile, way) for way in profile.ways(each)) for each in kinds)
    if not ranked:
        return ""
    names = sorted(name for name, kinds_there in ranked.items() if kinds_there == max(ranked.values()))[:MOST_NAMED]
    metrics = dict.fromkeys(
        metric.metric
        for name in names
        for way in profiles[name].ways(kind)
        for selector in traffic_selectors(way)
        if (metric := scanned(question, profiles[name], selector)) in observed.elsewhere
    )
    several = " or ".join(f"--profile {name}" for name in names)
    return f"try {several}: there {_are(list(metrics))}"


def _are(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{'is' if len(names) == 1 else 'are'} {', '.join(names[:MOST_NAMED])}{more}"
