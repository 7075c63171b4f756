"""What a request may say, and how everything else is refused: by field, with the remedy."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import analyzer
from analyzer.errors import AnalyzerError, RequestError
from analyzer.verdict.request import Detail, VerdictRequest, parse_request

ROLLOUT = {"service": "fraud-detector", "canary": "6c5f4d7b9"}


def refused(body: Any) -> dict[str, str]:
    """Tell which fields of a request are refused, with the messages."""
    with pytest.raises(RequestError) as caught:
        parse_request(body)
    return {problem.field: problem.message for problem in caught.value.problems}


# What is read


def test_the_least_that_is_needed() -> None:
    """A service and a canary; everything else has a default."""
    request = parse_request(ROLLOUT)

    assert (request.service, request.canary, request.baseline) == ("fraud-detector", "6c5f4d7b9", None)
    assert (request.checks, request.window, request.window_seconds) == (None, "start", None)
    assert (request.at, request.start, request.detail) == (None, None, Detail.SUMMARY)


def test_data_need_no_names() -> None:
    """With statistics in the request nothing has to be found, so nothing has to be named."""
    assert parse_request({"data": {}}).service is None


def test_everything_may_come_as_text() -> None:
    """Argo passes every argument as text: lists, objects, moments and durations are read from it."""
    request = parse_request(
        ROLLOUT
        | {
            "checks": "error_rate, latency_p99",
            "policy": '{"checks": {"latency_p99": {"rollback": "400ms"}}}',
            "data": ' {"error_rate": {"canary": {"errors": "1", "requests": "20"}}}',
            "at": "2026-01-05T10:00:00Z",
            "start": "1767600000",
            "detail": "full",
        }
    )

    assert request.checks == ("error_rate", "latency_p99")
    assert request.policy == {"checks": {"latency_p99": {"rollback": "400ms"}}}
    assert request.data == {"error_rate": {"canary": {"errors": "1", "requests": "20"}}}
    assert (request.start, request.at) == (1767600000, 1767607200)
    assert request.detail is Detail.FULL


@pytest.mark.parametrize(("checks", "expected"), [("all", None), (None, None), (["a", "b"], ("a", "b"))])
def test_checks_are_a_list_or_all(checks: Any, expected: Any) -> None:
    """The default is every check of the policy."""
    assert parse_request(ROLLOUT | {"checks": checks}).checks == expected


def test_a_window_is_the_start_or_a_duration() -> None:
    """The counts of the last five minutes only, where that is what is asked."""
    assert parse_request(ROLLOUT | {"window": "5m"}).window_seconds == 300


def test_a_window_may_be_a_step() -> None:
    """Everything since the start is read, and a pass must come from the present share; also of data in the request."""
    assert parse_request(ROLLOUT | {"window": "step"}).window_seconds is None
    assert parse_request({"data": {}, "window": "step"}).window == "step"
    assert parse_request(ROLLOUT | {"window": "step", "start": 1767600000}).start == 1767600000


@pytest.mark.parametrize(
    ("weight", "share"),
    [
        (5, 0.05),
        ("5", 0.05),
        ("12.5%", 0.125),
        (" 50 % ", 0.5),
        (0, None),
        ("100%", None),
        (0.5, 0.005),
        ("unknown", None),
    ],
)
def test_a_weight_is_a_percentage(weight: Any, share: float | None) -> None:
    """As Argo writes it; at 0 and 100 one arm has no traffic, and there is no share to compare with."""
    assert parse_request(ROLLOUT | {"weight": weight}).share == share


@pytest.mark.parametrize(
    "name", ["a", "6c5f4d7b9", "fraud-detector", "model_v2.1", "team/model:3", "user@host", "A" * 253]
)
def test_names_of_the_common_stacks_are_read(name: str) -> None:
    """Pod template hashes, revisions, images and the like."""
    assert parse_request({"service": name, "canary": name}).canary == name


# What is refused


@pytest.mark.parametrize("field", ["service", "namespace", "canary", "baseline", "profile"])
@pytest.mark.parametrize(
    "name",
    [
        'x"}',
        'x"} or up{job="y',
        "x'y",
        "x\\y",
        "x\ny",
        "x\n",
        "x y",
        " x",
        "x{y}",
        "x=~y",
        ".*",
        "x|y",
        "$(x)",
        "rate(x[5m])",
        "x\u00e9y",
        "\u0445",
        "x\x00",
        "-x",
        "x-",
        "x" * 254,
        7,
        ["x"],
        {"a": 1},
    ],
)
def test_no_field_can_carry_promql(field: str, name: Any) -> None:
    """Quotes, braces, newlines, operators and letters beyond ASCII are refused, naming the field."""
    problems = refused(ROLLOUT | {field: name})

    assert list(problems) == [field]
    assert "is not a valid name" in problems[field]


@pytest.mark.parametrize("field", list(VerdictRequest.model_fields))
def test_empty_text_is_an_argument_that_was_not_set(field: str) -> None:
    """An AnalysisTemplate argument without a value arrives as empty text: said, not guessed."""
    problems = refused(ROLLOUT | {field: ""})

    assert list(problems) == [field]
    assert "is empty" in problems[field]


def test_several_empty_fields_are_named_together() -> None:
    """All of them in one answer."""
    assert set(refused({"service": "", "canary": "x", "checks": []})) == {"service", "checks"}


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (ROLLOUT | {"polcy": "x"}, "polcy", "did you mean 'policy'?"),
        (ROLLOUT | {"zzz": 1}, "zzz", "known: at, baseline"),
        ({}, "service, canary", "is required"),
        ({"service": "x"}, "canary", "is required"),
        ({"canary": "x"}, "service", "is required"),
        (ROLLOUT | {"baseline": "6c5f4d7b9"}, "baseline", "the same as canary"),
        (ROLLOUT | {"weight": 101}, "weight", "from 0 to 100 or unknown, got 101"),
        (ROLLOUT | {"weight": "-1%"}, "weight", "from 0 to 100 or unknown, got -1"),
        (ROLLOUT | {"weight": "five"}, "weight", "must be a number, got 'five'"),
        (ROLLOUT | {"weight": True}, "weight", "must be a number"),
        (ROLLOUT | {"weight": float("nan")}, "weight", "must be finite"),
        (ROLLOUT | {"baseline_history": [1]}, "baseline_history", "unknown field"),  # it belongs into data
        (ROLLOUT | {"window": "steps"}, "window", "must be start, step or a duration"),
        ({"data": {}, "window": "5m"}, "window", "has no meaning for statistics given in data"),
        (ROLLOUT | {"window": "0s"}, "window", "must be positive"),
        (ROLLOUT | {"window": "soon"}, "window", "5m"),
        (ROLLOUT | {"window": "9" * 400 + "s"}, "window", "must be start, step or a duration"),
        (ROLLOUT | {"window": "5m", "start": 1}, "start", "together with a window"),
        (ROLLOUT | {"start": 2, "at": 1}, "start", "before at"),
        (ROLLOUT | {"start": "yesterday"}, "start", "RFC 3339"),
        (ROLLOUT | {"at": "2026-01-05T10:00:00"}, "at", "time zone"),
        (ROLLOUT | {"at": 1e308}, "at", "is no moment"),
        (ROLLOUT | {"at": float("nan")}, "at", "finite"),
        (ROLLOUT | {"detail": "ful"}, "detail", "did you mean 'full'?"),
        (ROLLOUT | {"checks": ["error_rate", 1]}, "checks.1", "string"),
        (ROLLOUT | {"policy": "{broken"}, "policy", "is no JSON object"),
        ({"data": "{broken"}, "data", "is no JSON object"),
        ({"data": "[1]"}, "data", "dictionary"),
        ({"data": 5}, "data", "dictionary"),
        (None, "", "must be a JSON object"),
        ([ROLLOUT], "", "must be a JSON object"),
        ("x", "", "must be a JSON object"),
    ],
)
def test_what_is_wrong_is_named_with_the_remedy(body: Any, field: str, message: str) -> None:
    """Each problem names its field and says what to do."""
    assert message in refused(body)[field]


def test_every_wrong_field_is_named() -> None:
    """Three mistakes are three problems."""
    assert set(refused(ROLLOUT | {"service": "a b", "at": "x", "foo": 1})) == {"service", "at", "foo"}


@pytest.mark.parametrize("checks", ["error_rat", ["error_rate", "nope"], ",", "error_rate,", "latency"])
def test_an_unknown_check_is_refused(checks: Any) -> None:
    """A check that the policy does not have is never ignored."""
    with pytest.raises(RequestError, match="policy ml-model has no check"):
        analyzer.evaluate({"checks": checks, "data": {}})


ANYTHING = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
        st.sampled_from(["1%", "200ms", "all", "1e400", "NaN", "error_rate", "ml-model", "canary"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.one_of(st.sampled_from(list(VerdictRequest.model_fields)), st.text(max_size=8)), ANYTHING))
def test_no_request_breaks_the_reader(body: dict[str, Any]) -> None:
    """Whatever is sent is either a request or refused as one."""
    try:
        request = parse_request(body)
    except RequestError as error:
        assert error.problems  # noqa: PT017 - either way is right
    else:
        assert request.service or request.data is not None


@given(st.dictionaries(st.sampled_from(["error_rate", "latency_p99", "prediction_drift", "business_proxy"]),
                       st.fixed_dictionaries({"canary": ANYTHING}, optional={"baseline": ANYTHING})))  # fmt: skip
def test_no_data_break_the_analyzer(data: dict[str, Any]) -> None:
    """Whatever statistics are sent are judged or refused, and nothing passes by accident."""
    try:
        answer = analyzer.evaluate({"data": data})
    except AnalyzerError as error:
        assert str(error)  # noqa: PT017
    else:
        assert answer["verdict"] == "inconclusive"
