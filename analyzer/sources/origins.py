"""Where the series of an arm come from, by labels that nothing may silently add up: clusters, regions, models."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from analyzer.config.profile import Profile
from analyzer.config.selector import Matcher, literal
from analyzer.model.findings import Code, Gap, Kind
from analyzer.sources.assembly import ARM_WORDS, Selection, listed

Values = Mapping[str, Mapping[str, frozenset[str]]]
"""Values of each label, without the empty one, by the arm's word and the label."""


def origin_labels(profile: Profile) -> tuple[str, ...]:
    """Return the labels by which series must be counted to know where they come from, but for the arm's."""
    several = (*profile.cluster_labels, *filter(None, [profile.model_label]))
    return tuple(dict.fromkeys(label for label in several if label != profile.arm_label))


def values_of(selection: Selection, series: Iterable[tuple[str, Mapping[str, str]]]) -> Values:
    """Collect the values of the labels that tell where series come from.

    Parameters
    ----------
    series : the arm and the labels of each
    """
    words = dict(zip(selection.arms, ARM_WORDS, strict=False))
    by_word: dict[str, dict[str, set[str]]] = {word: {} for word in words.values()}
    for arm, labels in series:
        word = words.get(arm)
        for label in origin_labels(selection.profile) if word else ():
            if value := labels.get(label):
                by_word[word or ""].setdefault(label, set()).add(value)
    return {word: {label: frozenset(values) for label, values in by.items()} for word, by in by_word.items()}


@dataclass(frozen=True)
class Origins:
    """What follows from where the series of one way of reading come from.

    Attributes
    ----------
    gap : why they cannot be added up; None: they can
    matchers : that select the model of the service among those of its processes
    notes : what should be known
    """

    gap: Gap | None = None
    matchers: tuple[Matcher, ...] = ()
    notes: tuple[str, ...] = ()


def origins_of(selection: Selection, values: Mapping[Kind, Values]) -> dict[Kind, Origins]:
    """Find the origins of several kinds of checks.

    A label that some of their metrics do not have at all is none of clusters, which all series of a target have: it is
    one of the application, such as the region of a customer.
    """
    shared = [
        label
        for label in selection.profile.cluster_labels
        if all(any(label in by_label for by_label in of_kind.values()) for of_kind in values.values())
    ]
    profile = selection.profile.model_copy(update={"cluster_labels": tuple(shared)})
    return {kind: origins(profile, selection.service, of_kind) for kind, of_kind in values.items()}


def origins(profile: Profile, service: str, values: Values) -> Origins:
    """Refuse to add up several clusters or models, or choose the model that is named like the service."""
    for word, by_label in values.items():
        for label in profile.cluster_labels:
            if label != profile.arm_label and len(by_label.get(label, ())) > 1:
                named = sorted(by_label[label])
                what = f"series of the {word} come from several places: {label} is {listed(named)}"
                remedy = f'give labels={{"{label}": "{named[0]}"}} in the request, and ask once for each'
                return Origins(Gap(Code.INCONSISTENT_DATA, f"{what}; {remedy}"))
    model = profile.model_label
    if model is None or all(len(by_label.get(model, ())) < 2 for by_label in values.values()):
        return Origins()
    known = sorted({value for by_label in values.values() for value in by_label.get(model, ())})
    if service in known:
        matcher = Matcher(model, "=~", f"{literal(service, regex=True)}|")
        return Origins(matchers=(matcher,), notes=(f"only {model}={service} is judged, of {listed(known)}",))
    what = f"one process serves several models: {model} is {listed(known)}, and none is named like the service"
    remedy = f'give labels={{"{model}": "{known[0]}"}} in the request; of an ensemble, name the ensemble'
    return Origins(Gap(Code.INCONSISTENT_DATA, f"{what}; {remedy}"))
