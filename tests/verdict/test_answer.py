"""The answer as JSON: what it holds, that every number is finite, and that it stays short."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import analyzer
from analyzer import checks
from analyzer.config.policy import Policy, load_policies
from analyzer.model.counts import Counts, Errors, Reading, Readings, Window
from analyzer.model.findings import Code
from analyzer.sources import inline
from analyzer.verdict.answer import number, render, shortened
from analyzer.verdict.case import Case
from analyzer.verdict.judge import Verdict

LIMIT = 2048  # bytes: Argo keeps the answer of every measurement in the AnalysisRun


def buckets(*counts: float) -> dict[str, Any]:
    """Give a histogram with the usual edges of a web server, cumulative."""
    edges = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")
    return {"buckets": dict(zip(edges, np.cumsum(counts).tolist(), strict=True))}


SCORES = {"buckets": {"0.2": 17_333.25, "0.5": 30_111.5, "+Inf": 86_543.21}}
WORST = {
    "undecided": {
        "error_rate": {
            "canary": {"errors": 543.21, "requests": 86_543.21},
            "baseline": {"errors": 5432.1, "requests": 1_643_521.7},
        },
        "latency_p99": {
            "canary": buckets(1, 2, 3, 40_000, 40_000, 5543.21, 300, 300, 300, 90, 3, 1),
            "baseline": buckets(10, 20, 30, 400_000, 400_000, 55_430, 3000, 3000, 3000, 900, 30, 10),
        },
        "prediction_drift": {
            "canary": SCORES,
            "baseline": {"buckets": {"0.2": 123_456.7, "0.5": 456_789.1, "+Inf": 1_643_521.7}},
        },
        "business_proxy": {
            "canary": {"successes": 3543.21, "trials": 86_543.21},
            "baseline": {"successes": 68_765.4, "trials": 1_643_521.7},
        },
    },
    "failed": {
        "error_rate": {
            "canary": {"errors": 5432.1, "requests": 86_543.21},
            "baseline": {"errors": 5432.1, "requests": 1_643_521.7},
        },
        "latency_p99": {
            "canary": buckets(1, 2, 3, 4, 5, 5543.21, 3000, 30_000, 30_000, 9000, 3, 1),
            "baseline": buckets(10, 20, 30, 400_000, 400_000, 55_430, 3000, 3000, 3000, 900, 30, 10),
        },
        "prediction_drift": {
            "canary": SCORES,
            "baseline": {"buckets": {"0.2": 1_234_567.8, "0.5": 1_456_789.1, "+Inf": 1_643_521.7}},
        },
        "business_proxy": {
            "canary": {"sum": 54_321.98, "sum_of_squares": 9_876_543.2, "count": 86_543.21},
            "baseline": {"sum": 1_654_321.98, "sum_of_squares": 98_765_432.1, "count": 1_643_521.7},
        },
    },
    "nothing": {},
}
WORST |= {
    "blind": WORST["undecided"]
    | {
        "latency_p99": {
            "canary": buckets(1, 2, 3, 40_000, 40_000, 5543.21, 300, 3, 3, 0, 0, 0),
            "baseline": buckets(10, 20, 30, 400_000, 400_000, 55_430, 3000, 3000, 3000, 900, 30, 10),
        },
    },
    "other buckets": WORST["undecided"]
    | {
        name: {"canary": {"buckets": {f"{0.123456 * i:g}": i for i in range(1, 30)} | {"+Inf": 99}}, "baseline": SCORES}
        for name in ("latency_p99", "prediction_drift")
    },
}
WITHOUT_WARMUP = {"checks": {"latency_p99": {"pod_warmup": 0}}}  # which these counts, without slices, have a note of
WHEN = {"start": "2026-01-05T10:00:00Z", "at": "2026-01-05T23:14:30.123Z"}


def strict_json(answer: dict[str, Any]) -> bytes:
    """Write an answer as JSON, refusing NaN and Infinity, and check that it reads back."""
    text = json.dumps(answer, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()
    assert orjson.loads(text) == answer
    return text


@pytest.mark.parametrize("name", WORST)
def test_a_summary_stays_under_two_kilobytes(name: str) -> None:
    """Four checks with long numbers, in every state that has much to say."""
    answer = analyzer.evaluate({"data": WORST[name], "policy": WITHOUT_WARMUP, **WHEN})

    assert len(answer["checks"]) == 4
    assert len(strict_json(answer)) < LIMIT


def test_the_answer_has_the_fields_of_the_contract() -> None:
    """No more and no fewer, in short."""
    answer = analyzer.evaluate({"data": WORST["undecided"], "policy": WITHOUT_WARMUP, **WHEN})

    assert set(answer) == {
        "verdict", "reason", "checks", "summary", "window", "policy", "policy_digest", "version",
    }  # fmt: skip
    assert answer["window"] == {"start": "2026-01-05T10:00:00Z", "end": "2026-01-05T23:14:30Z", "seconds": 47_700}
    assert answer["policy"] == "ml-model"
    assert answer["version"] == analyzer.__version__
    assert set(answer["summary"]) == {"canary_error_rate", "canary_p99_latency_ms", "psi", "business_metric_delta"}
    for check in answer["checks"].values():
        assert {
            "verdict",
            "code",
            "reason",
            "canary",
            "baseline",
            "promote",
            "rollback",
            "evidence",
            "remaining",
        } <= set(check)
        assert check["verdict"] in {"pass", "fail", "inconclusive"}
        assert check["code"] in set(Code)
        assert set(check["evidence"]) == {"pass", "fail"}


def test_the_summary_has_the_flat_numbers() -> None:
    """Error rate as a ratio, latency in milliseconds, PSI, and the relative change of the business proxy."""
    data = {
        "error_rate": {"canary": {"errors": 14, "requests": 1000}},
        "latency_p99": {"canary": {"samples": [0.1] * 98 + [0.3, 0.4]}},
        "prediction_drift": {
            "canary": {"classes": {"a": 300, "b": 700}},
            "baseline": {"classes": {"a": 6000, "b": 14_000}},
        },
        "business_proxy": {
            "canary": {"successes": 45, "trials": 100},
            "baseline": {"successes": 1000, "trials": 2000},
        },
    }

    summary = analyzer.evaluate({"data": data})["summary"]

    assert summary == {
        "canary_error_rate": 0.014,
        "canary_p99_latency_ms": 300,
        "psi": 0,
        "business_metric_delta": -0.1,
    }


def test_full_detail_adds_what_explains_the_verdict() -> None:
    """The policy with its overrides, the queries, and for each check its role, rule, notes and counts."""
    body = {"data": WORST["undecided"], "policy": {"checks": {"error_rate": {"rule": "strict"}}}, "detail": "full"}

    answer = analyzer.evaluate(body)

    assert answer["effective_policy"]["checks"]["error_rate"]["rule"] == "strict"
    assert answer["queries"] == []
    assert {"kind", "role", "rule", "notes", "counts"} <= set(answer["checks"]["latency_p99"])
    strict_json(answer)


def test_the_window_of_data_without_moments_is_not_known() -> None:
    """No clock is read: without `at` the answer has no end, and so the same input gives the same bytes."""
    first, second = (strict_json(analyzer.evaluate({"data": WORST["undecided"]})) for _ in range(2))

    assert first == second
    assert json.loads(first)["window"] == {"start": None, "end": None, "seconds": None}


def test_what_remains_is_told_in_requests_and_in_seconds() -> None:
    """At the rate of the window, where it is known."""
    data = {"error_rate": {"canary": {"errors": 0, "requests": 100}}}
    body = {"data": data, "checks": "error_rate"}

    known = analyzer.evaluate(body | {"start": 0, "at": 50})["checks"]["error_rate"]["remaining"]
    unknown = analyzer.evaluate(body)["checks"]["error_rate"]["remaining"]

    assert known["requests"] == unknown["requests"] > 0
    assert known["seconds"] == pytest.approx(known["requests"] / 2, rel=0.01)
    assert unknown["seconds"] is None


def test_evidence_just_below_enough_never_looks_like_enough() -> None:
    """A bar of 1 decides: what does not decide is shown below 1, however it is rounded."""
    for requests in range(830, 845):
        data = {"error_rate": {"canary": {"errors": 0, "requests": requests}}}
        found = analyzer.evaluate({"data": data, "checks": "error_rate"})["checks"]["error_rate"]

        assert (found["evidence"]["pass"] >= 1) == (found["verdict"] == "pass")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), (math.nan, None), (math.inf, None), (-math.inf, None), (0.0, 0), (-0.0, 0), (1234.5, 1230)],
)
def test_numbers_are_finite_and_short(value: float | None, expected: float | None) -> None:
    """What JSON cannot say is null; the rest has three digits, and whole numbers no fraction."""
    assert number(value) == expected
    assert str(number(value)) == str(expected)


@given(st.floats())
@example(1.797e308)  # rounded up it would be infinite
def test_every_number_can_be_written(value: float) -> None:
    """No float gives a number that JSON cannot hold, and none moves by more than half a percent."""
    found = number(value)

    json.dumps(found, allow_nan=False)
    if math.isfinite(value):
        assert found == pytest.approx(value, rel=0.0051)


counts = st.one_of(st.just(0.0), st.floats(0, 1e12), st.integers(0, 10**12).map(float))


@given(counts, counts, counts, counts, st.sampled_from(["zone", "strict", "point", "relative"]))
def test_every_count_gives_an_answer(errors: float, good: float, base: float, base_good: float, rule: str) -> None:
    """Error rates and conversions from nothing to a trillion: valid JSON, and no warning from the maths."""
    limits = {"rule": rule, "promote": "10%", "rollback": "20%"}
    body = {
        "checks": "error_rate,business_proxy",
        "policy": {"checks": {"error_rate": limits}},
        "data": {
            "error_rate": {
                "canary": {"errors": errors, "requests": errors + good},
                "baseline": {"errors": base, "requests": base + base_good},
            },
            "business_proxy": {
                "canary": {"successes": errors, "trials": errors + good},
                "baseline": {"successes": base, "trials": base + base_good},
            },
        },
        "detail": "full",
    }

    strict_json(analyzer.evaluate(body))


@given(st.lists(st.tuples(counts, counts), min_size=3, max_size=3), st.sampled_from(["zone", "strict", "point"]))
def test_every_histogram_gives_an_answer(bins: list[tuple[float, float]], rule: str) -> None:
    """Latency and drift from nothing to a trillion, in one slice."""
    arms = [
        {"buckets": dict(zip(("0.2", "0.5", "+Inf"), np.cumsum([pair[arm] for pair in bins]).tolist(), strict=True))}
        for arm in (0, 1)
    ]
    names = ("latency_p99", "prediction_drift")
    body = {
        "checks": list(names),
        "policy": {"checks": {name: {"rule": rule} for name in names}},
        "data": {name: {"canary": arms[0], "baseline": arms[1]} for name in names},
        "detail": "full",
    }

    strict_json(analyzer.evaluate(body))


def test_how_the_counts_were_read_is_said_in_short_answers_too() -> None:
    """What the source noted stands in the answer once, and the field is absent where nothing was noted."""
    policy = load_policies(None)["ml-model"]
    counts = Errors(errors=np.array([0.0]), requests=np.array([2000.0]))

    def answered(*notes: str) -> dict[str, Any]:
        reading: Reading[Counts] = Reading(counts, counts, notes=notes)
        finding = checks.judge(policy.checks["error_rate"], reading, policy)
        readings = Readings(Window(None, None), {"error_rate": reading})
        return render(Verdict(finding.outcome, "", {"error_rate": finding}, policy, readings))

    assert answered("the source added them up", "the source added them up")["notes"] == ["the source added them up"]
    assert "notes" not in answered()


def test_what_fails_keeps_its_numbers_where_others_make_the_answer_long() -> None:
    """The notes on how counts were read fill the answer: the checks that do not fail are codes then."""
    policy = load_policies(None)["ml-model"]
    bad, good = ({"errors": errors, "requests": 2000} for errors in (200, 1))
    latency = buckets(1900, 1950, 1990, 1995, 1999, 2000, 2000, 2000, 2000, 2000, 2000, 2000)
    names = {"error_rate": policy.checks["error_rate"], "latency_p99": policy.checks["latency_p99"]}
    data = {"error_rate": {"canary": bad, "baseline": good}, "latency_p99": {"canary": latency, "baseline": latency}}
    readings = inline.read(data, names, Window(None, None))
    noted = {name: replace(reading, notes=("how it was read " * 65,)) for name, reading in readings.by_check.items()}
    answer = render(Case(names, policy, Readings(Window(None, None), noted)).verdict())

    assert len(strict_json(answer)) < LIMIT
    assert answer["verdict"] == "fail"
    assert answer["checks"]["error_rate"]["canary"]["value"] == 0.1
    assert set(answer["checks"]["latency_p99"]) == {"verdict", "code"}


def many_checks(count: int, name: str) -> dict[str, Any]:
    """Build a request whose policy has so many checks, which is more than overrides can give."""
    policy = {
        "name": "many",
        "checks": {f"{name}{number}": {"kind": "latency", "promote": "200ms", "rollback": "500ms"}
                   for number in range(count)},
    }  # fmt: skip
    arm = buckets(1, 2, 3, 40_000, 40_000, 5543.21, 300, 300, 300, 90, 3, 1)
    data = {check: {"canary": arm, "baseline": arm} for check in policy["checks"]}
    return {"policy": policy, "data": data}


@pytest.mark.parametrize(
    ("count", "name", "all_there"),
    [
        (4, "p", True),
        (10, "latency_of_path_", True),
        (20, "latency_", True),
        (100, "n" * 60, False),
        (3, "x" * 60, True),
    ],
)
def test_summaries_of_any_policy_stay_short(count: int, name: str, all_there: bool) -> None:
    """However many checks there are and however long their names: verdict and code of each, as long as they fit."""
    request = many_checks(count, name)
    policy = Policy.model_validate(request["policy"])
    readings = inline.read(request["data"], policy.checks, Window(None, None))
    verdict = Case(policy.checks, policy, readings).verdict()
    answer = render(verdict)

    assert len(strict_json(answer)) < LIMIT
    assert answer["verdict"] == verdict.outcome
    assert all({"verdict", "code"} <= set(check) for check in answer["checks"].values())
    assert (list(answer["checks"]) == list(policy.checks)) is all_there
    assert all_there or "do not fit into a summary" in answer["notes"][-1]
    assert shortened(policy) is (count >= 10)


def test_the_next_requests_decide_where_less_than_one_is_missing() -> None:
    """Never "about 0 more requests"."""
    reasons = [
        analyzer.evaluate({"checks": "error_rate", "data": {"error_rate": {"canary": {"errors": 0, "requests": n}}}})[
            "reason"
        ]
        for n in np.arange(835, 845, 0.1).tolist()
    ]

    assert not [reason for reason in reasons if "about 0" in reason]
    assert any("the next requests are likely to decide" in reason for reason in reasons)
