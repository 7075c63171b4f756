"""Statistics given in the request itself: every form of the contract, and everything that is wrong with one."""

from typing import Any

import numpy as np
import pytest

from analyzer.config.policy import Check
from analyzer.errors import RequestError
from analyzer.model.counts import Classes, Conversions, Errors, Histogram, MeanOnly, Reading, Values, Window
from analyzer.model.findings import Code, Gap
from analyzer.sources import inline

CHECKS = {
    "error_rate": Check.model_validate({"kind": "error_rate", "promote": "0.5%", "rollback": "1%"}),
    "latency": Check.model_validate({"kind": "latency", "promote": "200ms", "rollback": "500ms"}),
    "mean": Check.model_validate({"kind": "mean_latency", "promote": "100ms", "rollback": "150ms"}),
    "drift": Check.model_validate({"kind": "drift", "promote": 0.1, "rollback": 0.2}),
    "business": Check.model_validate({"kind": "business", "promote": "-1%", "rollback": "-3%"}),
}
WINDOW = Window(None, None)


def read(name: str, canary: Any, baseline: Any = None, **beside: Any) -> Reading[Any]:
    """Read the statistics of one check."""
    arms = {"canary": canary} | ({} if baseline is None else {"baseline": baseline}) | beside
    found = inline.read({name: arms}, {name: CHECKS[name]}, WINDOW).by_check[name]
    assert isinstance(found, Reading)
    return found


def refused(data: Any, field: str, message: str) -> None:
    """Check that data are refused, with one problem that names the field and says what is wrong."""
    with pytest.raises(RequestError) as caught:
        inline.read(data, CHECKS, WINDOW)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert message in problem.message


# Every form


def test_errors() -> None:
    """Errors and requests, as numbers or as text, in one slice or several."""
    one = read("error_rate", {"errors": "14", "requests": 865.5}, {"errors": 1e12, "requests": "1e12"})
    many = read("error_rate", [{"errors": 1, "requests": 2}] * 3, slice_seconds="60")

    assert isinstance(one.canary, Errors)
    assert isinstance(one.baseline, Errors)
    assert isinstance(many.canary, Errors)
    assert (one.canary.errors.tolist(), one.canary.requests.tolist()) == ([14], [865.5])
    assert one.baseline.errors.tolist() == [1e12]
    assert one.slice_seconds is None
    assert (many.canary.errors.tolist(), many.slice_seconds, many.baseline) == ([1, 1, 1], 60, None)


@pytest.mark.parametrize("name", ["latency", "drift"])
def test_buckets(name: str) -> None:
    """Cumulative counts by upper bound become counts a bin, in the order of the bounds."""
    found = read(name, {"buckets": {"+Inf": 10, "0.5": 7, "1e-1": 4.5}}).canary

    assert isinstance(found, Histogram)
    assert found.edges.tolist() == [0.1, 0.5, np.inf]
    assert found.counts.tolist() == [[4.5, 2.5, 3]]
    assert not found.exact


@pytest.mark.parametrize("name", ["latency", "drift"])
def test_samples(name: str) -> None:
    """Samples become a histogram whose edges are their values."""
    found = read(name, [{"samples": [0.3, 0.1, "0.3"]}, {"samples": []}]).canary

    assert isinstance(found, Histogram)
    assert found.edges.tolist() == [0.1, 0.3, np.inf]
    assert found.counts.tolist() == [[1, 2, 0], [0, 0, 0]]
    assert found.exact


def test_classes() -> None:
    """Counts by class; a class that a slice lacks was not predicted in it."""
    found = read("drift", [{"classes": {"ok": 5, "fraud": 1}}, {"classes": {"ok": 6}}]).canary

    assert isinstance(found, Classes)
    assert found.names == ("fraud", "ok")
    assert found.counts.tolist() == [[1, 5], [0, 6]]


def test_conversions() -> None:
    """Successes and trials."""
    found = read("business", {"successes": 40, "trials": 865}).canary

    assert isinstance(found, Conversions)
    assert (found.successes.tolist(), found.trials.tolist()) == ([40], [865])


@pytest.mark.parametrize("form", [{"sum": 2, "sum_of_squares": 10, "count": 2}, {"samples": [3, -1]}])
def test_values(form: dict[str, Any]) -> None:
    """Sums, or samples that are summed up."""
    found = read("business", form).canary

    assert isinstance(found, Values)
    assert found.squares is not None
    assert (found.total.tolist(), found.squares.tolist(), found.count.tolist()) == ([2], [10], [2])


def test_sums_of_latencies() -> None:
    """Sum in seconds and count, one a time slice."""
    found = read("mean", [{"sum": "12.5", "count": 100}, {"sum": 0, "count": 0}], slice_seconds=15).canary

    assert isinstance(found, MeanOnly)
    assert (found.total.tolist(), found.count.tolist()) == ([12.5, 0], [100, 0])
    refused({"mean": {"canary": {"sum": 1.5, "count": 0}}}, "data.mean.canary.sum", "must be 0 where count is, got 1.5")
    refused({"mean": {"canary": {"sum": -1, "count": 2}}}, "data.mean.canary.sum", "must not be negative")
    refused({"mean": {"canary": {"buckets": {"+Inf": 2}}}}, "data.mean.canary", "{count, sum} for mean_latency")


def test_a_check_without_data_is_a_gap() -> None:
    """What the request does not give is missing, and named."""
    found = inline.read({}, CHECKS, WINDOW).by_check

    assert set(found) == set(CHECKS)
    assert all(isinstance(gap, Gap) and gap.code is Code.METRIC_MISSING for gap in found.values())
    assert "data.latency" in str(found["latency"])


# What is wrong


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        ({"eror_rate": {}}, "data.eror_rate", "did you mean 'error_rate'?"),
        ({"error_rate": 3}, "data.error_rate", "must be an object"),
        ({"error_rate": {}}, "data.error_rate.canary", "is required"),
        ({"error_rate": {"canry": {}}}, "data.error_rate.canry", "did you mean 'canary'?"),
        ({"error_rate": {"canary": []}}, "data.error_rate.canary", "is an empty list"),
        ({"error_rate": {"canary": [3]}}, "data.error_rate.canary[0]", "must be an object"),
        ({"error_rate": {"canary": None}}, "data.error_rate.canary", "must be an object"),
    ],
)
def test_what_is_no_statistic_is_refused(data: Any, field: str, message: str) -> None:
    """Unknown checks and fields get the nearest known one, and other shapes say what is expected."""
    refused(data, field, message)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (-1, "must not be negative, got -1"),
        ("-0.5", "must not be negative"),
        (float("nan"), "must be finite"),
        (float("inf"), "must be finite"),
        (1e308, "must be at most 1e+15"),
        (10**400, "must be finite"),
        ("abc", "must be a number, got 'abc'"),
        ("1%", "must be a number"),
        (True, "must be a number, got bool"),
        (None, "must be a number, got NoneType"),
        ([1], "must be a number, got list"),
    ],
)
def test_what_is_no_count_is_refused(part: Any, message: str) -> None:
    """Negative, endless, absurd and unreadable counts, in every form."""
    refused({"error_rate": {"canary": {"errors": part, "requests": 9}}}, "data.error_rate.canary.errors", message)
    refused({"latency": {"canary": {"buckets": {"1": part, "+Inf": 9}}}}, "data.latency.canary.buckets.1", message)
    refused({"drift": {"canary": {"classes": {"a": part}}}}, "data.drift.canary.classes.a", message)
    refused(
        {"business": {"canary": [{"successes": 1, "trials": 9}, {"successes": part, "trials": 9}]}},
        "data.business.canary[1].successes",
        message,
    )


@pytest.mark.parametrize(
    ("name", "canary", "field", "message"),
    [
        ("error_rate", {"errors": 10, "requests": 9}, ".errors", "must not be more than requests"),
        ("business", {"successes": 10, "trials": 9}, ".successes", "must not be more than trials"),
        ("business", {"sum": 10, "sum_of_squares": 9, "count": 10}, ".sum_of_squares", "which no values can give"),
        ("business", {"sum": 1, "sum_of_squares": -1, "count": 1}, ".sum_of_squares", "which no values can give"),
        ("latency", {"buckets": {"0.1": 5, "0.2": 4, "+Inf": 6}}, ".buckets.0.2", "must not decrease: 4 after 5"),
        ("latency", {"buckets": {"0.1": 5, "+Inf": 4}}, ".buckets.inf", "must not decrease: 4 after 5"),
        ("latency", {"buckets": {"0.1": 5, "0.2": 6}}, ".buckets", '"+Inf"'),
        ("latency", {"buckets": {"+Inf": 6}}, ".buckets", "at least one bucket"),
        ("latency", {"buckets": {}}, ".buckets", '"+Inf"'),
        ("latency", {"buckets": {"1": 5, "1.0": 5, "+Inf": 6}}, ".buckets", "bucket 1 twice"),
        ("latency", {"buckets": {"fast": 5, "+Inf": 6}}, ".buckets.fast", "must be a number"),
        ("latency", {"buckets": [1, 2]}, ".buckets", "must be an object"),
        ("latency", {"samples": [0.1, -0.1]}, ".samples", "must not be negative"),
        ("latency", {"samples": [0.1, "slow"]}, ".samples[1]", "must be a number"),
        ("latency", {"samples": 0.1}, ".samples", "must be a list"),
        ("latency", {"p99": 0.1}, "", "{buckets} or {samples}"),
        ("latency", {"samples": [0.1], "buckets": {"+Inf": 1}}, "", "exactly the fields"),
        ("drift", {"classes": ["a"]}, ".classes", "must be an object"),
        ("error_rate", {"errors": 1}, "", "{errors, requests}"),
        ("error_rate", {"errors": 1, "requests": 2, "total": 2}, "", "{errors, requests}"),
    ],
)
def test_statistics_that_cannot_be_are_refused(name: str, canary: Any, field: str, message: str) -> None:
    """Counts that contradict each other, and forms that a kind does not have."""
    refused({name: {"canary": canary}}, f"data.{name}.canary{field}", message)


@pytest.mark.parametrize(
    ("name", "canary", "baseline", "message"),
    [
        ("error_rate", [{"errors": 1, "requests": 2}] * 2, {"errors": 1, "requests": 2}, "equally many time slices"),
        ("business", {"successes": 1, "trials": 2}, {"samples": [1]}, "statistics of the same form"),
        ("drift", {"classes": {"a": 1}}, {"samples": [1]}, "statistics of the same form"),
        ("drift", {"samples": [0.5]}, {"buckets": {"0.5": 1, "+Inf": 1}}, "statistics of the same form"),
        ("latency", {"buckets": {"0.5": 1, "+Inf": 1}}, {"samples": [0.5]}, "statistics of the same form"),
    ],
)
def test_arms_that_do_not_fit_are_refused(name: str, canary: Any, baseline: Any, message: str) -> None:
    """Both arms need as many slices and the same form."""
    refused({name: {"canary": canary, "baseline": baseline}}, f"data.{name}", message)


def test_slices_that_do_not_fit_are_refused() -> None:
    """All slices of an arm need the same form and the same buckets."""
    buckets = [{"buckets": {"0.1": 1, "+Inf": 1}}, {"buckets": {"0.2": 1, "+Inf": 1}}]

    refused({"latency": {"canary": buckets}}, "data.latency.canary", "the same buckets")
    refused({"latency": {"canary": [buckets[0], {"samples": [1]}]}}, "data.latency.canary", "the same form")


@pytest.mark.parametrize("seconds", [0, -60, "abc", float("inf")])
def test_slices_need_a_length(seconds: Any) -> None:
    """The length of a slice is a positive number of seconds."""
    data = {"error_rate": {"canary": {"errors": 1, "requests": 2}, "slice_seconds": seconds}}

    refused(data, "data.error_rate.slice_seconds", "must be")


def test_every_wrong_check_is_named() -> None:
    """Two mistakes are two problems in one answer."""
    with pytest.raises(RequestError) as caught:
        inline.read({"nope": {}, "error_rate": {}, "drift": {"canary": {}}}, CHECKS, WINDOW)

    assert [problem.field for problem in caught.value.problems] == [
        "data.nope",
        "data.error_rate.canary",
        "data.drift.canary",
    ]
