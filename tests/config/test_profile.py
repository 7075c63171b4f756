"""Tests of `analyzer.config.profile`: selectors and matchers, fields of the request, files and their mistakes."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import analyzer.config.profile
from analyzer.config.profile import (
    ClassCounter,
    ConversionCounters,
    ErrorCounters,
    LatencyHistogram,
    Profile,
    ScoreHistogram,
    ValueHistogram,
    choose_profile,
    load_profiles,
    main_selector,
    main_selectors,
    selectors,
    traffic_selectors,
)
from analyzer.config.selector import Matcher, Selector, arms_matcher, fill, parse_matchers, parse_selector
from analyzer.errors import ConfigError, RequestError
from analyzer.model.findings import Kind

FOLDER = Path(analyzer.config.profile.__file__).parent / "profiles"
LABELS = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)
METRICS = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,12}", fullmatch=True)
EXACT = st.builds(Matcher, LABELS, st.sampled_from(["=", "!="]), st.text(max_size=12))
PATTERN = st.builds(Matcher, LABELS, st.sampled_from(["=~", "!~"]), st.text(max_size=12).map(re.escape))


@given(METRICS, st.lists(st.one_of(EXACT, PATTERN), max_size=4))
def test_selectors_survive_printing_and_parsing(metric: str, matchers: list[Matcher]) -> None:
    """What is printed as PromQL reads back as the same selector, whatever characters a value has."""
    selector = Selector(metric, tuple(matchers))

    assert parse_selector(str(selector)) == selector


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('a="plain"', "plain"),
        (r'a="a\"b"', 'a"b'),
        (r'a="a\\b"', r"a\b"),
        (r'a="a\\\"b"', r"a\"b"),
        (r'a="a\\n"', r"a\n"),
        (r'a="a\nb"', "a\nb"),
        (r'a=~"5\\d\\d"', r"5\d\d"),
        (r'a=~"5\d\d"', r"5\d\d"),
        ('a="x,y={z}"', "x,y={z}"),
        ('a=""', ""),
    ],
)
def test_values_are_quoted_as_in_promql(text: str, value: str) -> None:
    """Backslashes, quotes and line breaks are written as in PromQL."""
    assert [one.value for one in parse_matchers(text)] == [value]


def test_spaces_and_a_last_comma_do_no_harm() -> None:
    """PromQL allows spaces around everything, and a comma at the end."""
    assert parse_selector(' m { a = "1" , b !~ "2" , } ') == Selector(
        "m", (Matcher("a", "=", "1"), Matcher("b", "!~", "2"))
    )


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "1m", "a-b", "m{", "m}", "m{a}", "m{a=}", "m{a=b}", "m{a='b'}", 'm{a=="b"}', 'm{a="b" c="d"}',
        'm{,a="b"}', 'm{a="b",,}', 'm{a="b"} 5', 'm{a="b"}[5m]', "sum(m)", 'm{1a="b"}', 'm{a=~"("}', 'm{a="b}', 7,
        None, ["m"],
    ],
)  # fmt: skip
def test_wrong_selectors_are_refused(text: object) -> None:
    """What is no selector is refused: an expression, a range, a wrong matcher, a broken regular expression."""
    with pytest.raises(ValueError, match=r"is no (selector|matcher|regular expression)"):
        parse_selector(text)


@pytest.mark.parametrize(
    ("matcher", "labels", "matches"),
    [
        ('a="1"', {"a": "1"}, True),
        ('a="1"', {"a": "11"}, False),
        ('a=""', {}, True),
        ('a!="1"', {}, True),
        ('a!="1"', {"a": "1"}, False),
        ('a=~"1|2"', {"a": "2"}, True),
        ('a=~"1|2"', {"a": "12"}, False),
        ('a=~".*"', {}, True),
        ('a=~".+"', {}, False),
        ('a!~"5.."', {"a": "500"}, False),
        ('a!~"5.."', {"a": "200"}, True),
    ],
)
def test_matchers_match_as_in_promql(matcher: str, labels: dict[str, str], *, matches: bool) -> None:
    """A regular expression is matched as a whole, and an absent label is empty."""
    assert parse_matchers(matcher)[0].matches(labels) is matches


def test_fields_of_the_request_are_filled_in() -> None:
    """A field stands for its value, in a regular expression literally."""
    matchers = parse_matchers('namespace="{namespace}",app=~"{service}-.*",x="1"')

    assert fill(matchers, "a.b", "ml") == (
        Matcher("namespace", "=", "ml"),
        Matcher("app", "=~", "a[.]b-.*"),
        Matcher("x", "=", "1"),
    )


def test_matchers_without_their_field_are_left_out() -> None:
    """A matcher whose field the request does not give is no condition."""
    matchers = parse_matchers('namespace="{namespace}",both="{service}/{namespace}",app="{service}"')

    assert fill(matchers, "fraud", None) == (Matcher("app", "=", "fraud"),)
    assert fill(matchers, None, "") == ()


def test_other_braces_stay() -> None:
    """Only the two fields are replaced: a quantifier of a regular expression is none."""
    matchers = parse_matchers('a=~"x{2}",b="{other}"')

    assert fill(matchers, "s", "n") == matchers


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=3), st.text(max_size=8))
@example(["[["], "[")
def test_arms_are_matched_literally(arms: list[str], other: str) -> None:
    """The matcher of the arms matches each of them and nothing else, whatever characters they have."""
    matcher = arms_matcher("arm", tuple(arms))

    assert all(matcher.matches({"arm": arm}) for arm in arms)
    assert matcher.matches({"arm": other}) is (other in arms)
    assert parse_matchers(str(matcher)) == (matcher,)


PACKAGED = load_profiles(None)


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_profile_says_what_it_cannot_read(name: str) -> None:
    """Each kind of check can be read, or it is said why not and what to do; the file has the profile's name."""
    profile = PACKAGED[name]
    about = profile.about
    assert about is not None

    assert (FOLDER / f"{name}.yaml").is_file()
    assert {kind for kind in Kind if not profile.ways(kind)} <= {one.check for one in about.cannot}
    assert all((about.stack, about.versions, about.arms, about.cannot, about.sources))


def test_the_first_kind_tells_when_a_canary_began() -> None:
    """Requests where they are counted, succeeded and failed ones alike; or else the next kind."""
    assert [str(one) for one in PACKAGED["istio"].presence] == ['istio_requests_total{reporter="destination"}']
    assert [one.metric for one in PACKAGED["triton"].presence] == [
        "nv_inference_request_success",
        "nv_inference_request_failure",
    ]
    assert [one.metric for one in PACKAGED["kserve-python"].presence] == ["request_predict_seconds_bucket"]


def test_a_profile_need_not_be_about_anything() -> None:
    """What is for people is not required."""
    assert Profile(name="mine", arm_label="a", latency=[{"histogram": "h"}]).about is None


WAYS = [
    (ErrorCounters(requests=["a", "b"], errors=["c", "a"]), ["a", "b", "c"], ["a", "b"], ["a", "b"]),
    (LatencyHistogram(histogram="h"), ["h_bucket"], ["h_bucket"], ["h_bucket"]),
    (LatencyHistogram(native_histogram="h"), ["h"], ["h"], ["h"]),
    (LatencyHistogram(sum="s", count=["c", "d"]), ["s", "c", "d"], ["c", "d"], ["c", "d"]),
    (ScoreHistogram(scores="h"), ["h_bucket"], ["h_bucket"], ["h_bucket"]),
    (ClassCounter(classes="c", by="x"), ["c"], ["c"], ["c"]),
    (ConversionCounters(successes="s", trials=["t", "u"]), ["s", "t", "u"], ["s"], ["t", "u"]),
    (ValueHistogram(values="v"), ["v_bucket", "v_sum"], ["v_bucket"], ["v_bucket"]),
]


@pytest.mark.parametrize(("way", "needed", "main", "traffic"), WAYS, ids=lambda one: type(one).__name__)
def test_every_way_names_its_metrics(way: object, needed: list[str], main: list[str], traffic: list[str]) -> None:
    """A way of reading names what it needs, what it cannot do without, and what tells that there is traffic."""
    assert [str(one) for one in selectors(way)] == needed
    assert [str(one) for one in main_selectors(way)] == main
    assert str(main_selector(way)) == main[0]
    assert [str(one) for one in traffic_selectors(way)] == traffic


def loaded(folder: Path, text: str) -> ConfigError:
    """Load a folder with one wrong profile and return the error."""
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_profiles(folder)
    return caught.value


ABOUT = "name: a\narm_label: b\nlatency: [{histogram: m}]\nabout: "


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        ("name: a\narm_label: b\nerror_rate: [{requests: m}]", "error_rate.0.errors", "is required"),
        ("name: a\narm_label: b\nerror_rat: []", "error_rat", "did you mean 'error_rate'"),
        ("name: a\narm_label: b\nerror_rate: [{requests: 'sum(m)', errors: m}]", "requests", "write a metric's name"),
        ("name: a\narm_label: b\nerror_rate: [{requests: 'm{a=b}', errors: m}]", "requests", 'write label="value"'),
        ("name: a\narm_label: b\nerror_rate: [{requests: [], errors: m}]", "requests", "at least 1"),
        ("name: a\narm_label: b-c\nlatency: [{histogram: m}]", "arm_label", "pattern"),
        ("name: a\narm_label: b\nmatchers: 'x'\nlatency: [{histogram: m}]", "matchers", 'write label="value"'),
        ("name: a\narm_label: b\nlatency: [{histogram: m, sum: s, count: c}]", "latency.0", "exactly one of"),
        ("name: a\narm_label: b\nlatency: [{sum: s}]", "latency.0", "sum together with count"),
        ("name: a\narm_label: b\nlatency: [{histogram: m, unit: minutes}]", "unit", "known: "),
        ("name: a\narm_label: b", "", "names no metric: give at least one of error_rate"),
        (ABOUT + "{stak: x}", "about.stak", "did you mean 'stack'"),
        (ABOUT + "{versions: x}", "about.stack", "is required"),
        (ABOUT + "{stack: x, cannot: [{what: y}]}", "about.cannot.0.remedy", "is required"),
        (ABOUT + "{stack: x, cannot: [{what: y, remdy: z, remedy: z}]}", "about.cannot.0.remdy", "mean 'remedy'"),
        (ABOUT + "{stack: x, cannot: [{what: y, remedy: z, check: drft}]}", "cannot.0.check", "did you mean 'drift'"),
        (ABOUT + "{stack: x, sources: [example.org]}", "about.sources.0", "is no link: write https://"),
        ("- a\n- b", "", "must be a mapping"),
        ("name: [", "", "cannot be read"),
    ],
)
def test_wrong_profiles_name_file_key_and_remedy(tmp_path: Path, text: str, key: str, remedy: str) -> None:
    """A mistake in a profile is told with the file, the key and what to do."""
    error = loaded(tmp_path, text)

    assert str(tmp_path / "mine.yaml") in str(error)
    assert any(key in problem.field and remedy in problem.message for problem in error.problems), error


def test_a_mounted_profile_replaces_a_packaged_one(tmp_path: Path) -> None:
    """A file of the mounted folder wins over the packaged profile of the same name; others stay."""
    text = "name: istio\narm_label: version\nerror_rate: [{requests: m, errors: 'm{e=\"1\"}'}]"
    (tmp_path / "istio.yml").write_text(text, encoding="utf-8")
    profiles = load_profiles(tmp_path)

    assert profiles["istio"].arm_label == "version"
    assert "prometheus-client" in profiles


def test_an_unknown_profile_names_the_nearest() -> None:
    """A request that names an unknown profile is told which one may be meant."""
    profiles = load_profiles(None)

    assert choose_profile(profiles, "istio") is profiles["istio"]
    with pytest.raises(RequestError, match="did you mean 'istio'") as caught:
        choose_profile(profiles, "isto")
    assert [one.field for one in caught.value.problems] == ["profile"]


def test_the_mean_is_read_from_what_the_latency_is() -> None:
    """Sum and count as they are, those of a classic histogram, none of a native one; in the same unit and order."""
    profile = Profile.model_validate(
        {
            "name": "own", "arm_label": "version",
            "latency": [
                {"native_histogram": "a"},
                {"histogram": 'b{code="200"}', "unit": "ms", "edges": [1]},
                {"sum": ["c", "d"], "count": "e", "unit": "us"},
            ],
        }
    )  # fmt: skip

    found = [([str(one) for one in selectors(way)], way.unit) for way in profile.ways(Kind.MEAN_LATENCY)]  # type: ignore[union-attr]

    assert found == [(['b_sum{code="200"}', 'b_count{code="200"}'], "ms"), (["c", "d", "e"], "us")]
    assert [str(one) for one in profile.presence] == ["a"]


def test_most_stacks_tell_a_mean() -> None:
    """All packaged profiles that read a latency."""
    for profile in load_profiles(None).values():
        assert bool(profile.ways(Kind.MEAN_LATENCY)) is bool(profile.ways(Kind.LATENCY)), profile.name
