"""Tests of `analyzer calibrate`: pretend rollouts on pasts whose truth is known."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from analyzer.checks.correlation import estimate
from analyzer.cli import cli, main
from analyzer.cli.planning_tables import calibration_as_json
from analyzer.config.policy import Policy, load_policies
from analyzer.config.profile import load_profiles
from analyzer.errors import RequestError, SourceUnavailable
from analyzer.model.counts import (
    Classes,
    Conversions,
    Counts,
    Errors,
    Histogram,
    MeanOnly,
    Pod,
    Reading,
    Readings,
    Values,
    Window,
    by_slice,
    cut,
    requests_by_slice,
    summed,
    together,
)
from analyzer.model.findings import Code, Gap, Kind
from analyzer.planning.calibration import WHOLE, Calibration, calibrate, exact_interval, pretend
from analyzer.planning.past import Past, join, read_past
from analyzer.planning.splits import Dealing, PretendRollout, thin
from analyzer.sources.assembly import Selection

NOON = 1_767_614_400.0
POLICY = load_policies(None)["ml-model"]
PROFILE = load_profiles(None)["prometheus-client"]
EDGES = np.array([0.1, 0.2, 0.5, np.inf])
WHOLE_DAY = 24 * 60


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*filter(lambda name: name.startswith("ANALYZER_"), os.environ), "NO_COLOR", "FORCE_COLOR", "COLUMNS"]:
        monkeypatch.delenv(name, raising=False)


def some(*names: str, **fields: Any) -> Policy:
    """Keep some checks of the default policy, with other fields."""
    kept = {name: POLICY.checks[name].model_dump(mode="json") | fields for name in names}
    return Policy.model_validate({"name": "some", "checks": kept})


def service(
    seed: int = 1, minutes: int = WHOLE_DAY, *, rate: float = 10.0, errors: float = 0.001, slow: float = 0.002,
    icc: float = 0.0, edges: np.ndarray[Any, Any] = EDGES,
) -> Past:  # fmt: skip
    """Draw the past of a service.

    Parameters
    ----------
    rate : requests a second
    errors, slow : shares of the requests
    icc : correlation of requests of one minute, by shares that vary from minute to minute (beta law)
    """
    rng = np.random.default_rng(seed)
    requests = rng.poisson(rate * 60, minutes)

    def events(share: float) -> Any:
        if icc == 0:
            return rng.binomial(requests, share)
        size = (1 - icc) / icc
        return rng.binomial(requests, rng.beta(share * size, (1 - share) * size, minutes))

    failed, late, converted = events(errors), events(slow), events(0.05)
    bins = np.zeros((minutes, len(edges)))
    bins[:, 0], bins[:, -1] = requests - late, late
    counts: dict[str, Counts] = {
        "error_rate": Errors(failed.astype(float), requests.astype(float)),
        "latency_p99": Histogram(edges, bins),
        "prediction_drift": Classes(tuple("abcde"), rng.multinomial(requests, np.full(5, 0.2)).astype(float)),
        "business_proxy": Conversions(converted.astype(float), requests.astype(float)),
    }
    return Past(NOON, minutes, counts)


def found(policy: Policy, past: Past, runs: int = 25, length: int = 30, seed: int = 1) -> Calibration:
    """Calibrate with few runs."""
    return calibrate(policy, past, share=0.05, length=length, runs=runs, seed=seed)


# False alarms


@pytest.mark.statistical
@pytest.mark.parametrize(("icc", "seed"), [(0.0, 1), (0.02, 2)])
def test_a_healthy_service_has_no_false_alarms(icc: float, seed: int) -> None:
    """Neither with independent requests nor with bursts: none is rolled back, and latency passes without them."""
    report = found(POLICY, service(seed, icc=icc), runs=16)

    assert report.whole.rolled_back == 0
    assert not report.whole.too_many
    assert (report.by_check["latency_p99"].share.passed > 0) == (icc == 0)
    assert "were rolled back, 95% interval 0% to 20.6%: consistent with alpha, 5%" in report.conclusion


def test_the_correlation_is_found() -> None:
    """And the design effect of a canary: that of the whole service, for what is seen in a minute may be clusters."""
    report = found(some("error_rate"), service(3, errors=0.003, icc=0.02), runs=1)
    one = report.by_check["error_rate"]

    assert one.per_second == pytest.approx(10, rel=0.02)
    assert one.known.observed_correlation == pytest.approx(0.02, rel=0.5)
    assert one.factor == pytest.approx(1 + one.known.fixed, rel=0.1)
    assert found(some("error_rate"), service(3), runs=1).by_check["error_rate"].factor == pytest.approx(1, abs=0.02)


def test_what_a_split_cannot_show_is_named() -> None:
    """A rate that wanders for a quarter of an hour is in both pretend arms; bursts within a minute are dealt apart."""
    rng = np.random.default_rng(6)
    requests = np.full(480, 6000.0)
    wandering = np.repeat(rng.lognormal(-0.5, 1.0, 32), 15) * 0.003
    pasts = {
        "wandering": Errors(rng.binomial(6000, wandering).astype(float), requests),
        "bursts": Errors(rng.binomial(6000, rng.beta(0.3, 99.7, 480)).astype(float), requests),
        "independent": Errors(rng.binomial(6000, 0.003, 480).astype(float), requests),
    }

    remarks = {
        name: " ".join(
            found(some("error_rate"), Past(0.0, 480, {"error_rate": counts}), runs=1).by_check["error_rate"].remarks
        )
        for name, counts in pasts.items()
    }

    assert "times that of independent requests in 60 s" in remarks["wandering"]
    assert "its rate wanders (memory" in remarks["wandering"]
    assert "times that of independent requests in 60 s" in remarks["bursts"]
    assert "wanders" not in remarks["bursts"]
    assert "independent requests" not in remarks["independent"]


def of_pods(*of_pod: Errors) -> Past:
    """Make a past of what pods counted."""
    pods = tuple(Pod(f"pod-{number}", counts) for number, counts in enumerate(of_pod))
    return Past(NOON, len(of_pod[0].requests), {"error_rate": summed(of_pod)}, {"error_rate": pods})


def test_whole_pods_show_what_dealing_requests_does_not() -> None:
    """Two pods of six fail 5%: dealt by requests both arms share that, by pods a canary may be such a pod."""
    rng = np.random.default_rng(11)
    pods = [
        Errors(rng.binomial(6000, share, 40).astype(float), np.full(40, 6000.0)) for share in (0.05, 0.05, *[0.0] * 4)
    ]
    report = found(some("error_rate", rule="point", promote=0.02, rollback=0.03), of_pods(*pods), 90, length=20)
    by_pods, by_time = report.splits[Dealing.PODS], report.splits[Dealing.TIME]

    assert report.whole.rolled_back == by_time.rolled_back == 0
    assert by_pods.runs == by_time.runs == 30
    assert 4 <= by_pods.rolled_back <= 17  # a third is expected
    assert report.too_many
    assert (
        f"of those by whole pods {by_pods.rolled_back} of 30: more than alpha, 5%. The pods differ" in report.conclusion
    )
    assert calibration_as_json(report)["splits"]["pods"]["rolled_back"] == by_pods.rolled_back


def test_arms_of_different_times_show_a_rate_that_moved() -> None:
    """A tenth of the errors half-way: dealt within the same minutes both arms share that."""
    requests = np.full(240, 6000.0)
    rng = np.random.default_rng(13)
    share = np.where(np.arange(240) < 120, 0.02, 0.002)
    past = Past(NOON, 240, {"error_rate": Errors(rng.binomial(6000, share).astype(float), requests)})
    compared = some("error_rate", rule="relative", promote=0.2, rollback=0.5)

    report = found(compared, past, runs=18, length=90)

    assert report.whole.rolled_back == 0
    assert report.splits[Dealing.TIME].rolled_back > 0
    assert not report.too_many  # the time of day is no false alarm
    assert Dealing.PODS not in report.splits


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("length", [90, 119, 120])
def test_the_other_time_lies_within_the_past(length: int, seed: int) -> None:
    """Both arms have all of their minutes, wherever the rollout begins; none of them is the same."""
    minutes = np.arange(1.0, 241.0)
    past = Past(NOON, 240, {"error_rate": Errors(np.zeros(240), 1e6 * minutes)})
    rng = np.random.default_rng(seed)

    rollout = PretendRollout.drawn(past, Dealing.TIME, length, 0.5, rng, 40, {})
    ours, theirs = (requests_by_slice(arm.counts) for arm in rollout.arms["error_rate"])

    assert len(ours) == len(theirs) == length
    assert not set(np.rint(ours / 5e5)) & set(np.rint(theirs / 5e5))


def test_a_service_beyond_its_limit_is_called_so() -> None:
    """No canary can pass then, and it is said which limit is meant."""
    report = found(some("error_rate", "latency_p99"), service(errors=0.02, slow=0.03), runs=10)
    remarks = [text for one in report.by_check.values() for text in one.remarks]

    assert report.whole.passed == 0
    assert remarks[0] == (
        "error_rate: 2.02% of the service's own requests failed, beyond the promote limit 0.5%: no canary can pass."
    )
    assert any(text.startswith("latency_p99: 3.0") and "slower than 200 ms" in text for text in remarks)


def test_too_many_false_alarms_are_called_so() -> None:
    """The plain table on estimates, which proves nothing, rolls back healthy canaries."""
    report = found(some("error_rate", rule="point"), service(errors=0.004))

    assert report.whole.too_many
    assert report.whole.interval[0] > 0.05
    assert "more than alpha, 5%, most of them by error_rate. The service varies" in report.conclusion
    assert calibration_as_json(report)["too_many"] is True


def test_a_service_that_is_the_reason_is_named() -> None:
    """Where the service itself is beyond the limit, the advice says so."""
    report = found(some("error_rate", rule="point"), service(errors=0.02))

    assert report.whole.rolled_back == report.whole.runs
    assert "The service is beyond its promote limit by itself" in report.conclusion


def test_limits_inside_a_bucket_are_told() -> None:
    """A limit that the service's histogram has no edge at, and the remedy."""
    edges = np.array([0.1, 0.3, 0.5, np.inf])
    report = found(some("latency_p99"), service(edges=edges), runs=2)

    assert any(
        "200 ms is judged at the bucket edge 100 ms; add le=0.2" in text
        for text in report.by_check["latency_p99"].remarks
    )


def test_a_gate_that_takes_days_at_this_traffic_is_told() -> None:
    """With the service's own level, and the canary's part of its traffic."""
    report = found(some("error_rate"), service(rate=0.2, errors=0.003, minutes=600), runs=2)

    assert any(
        "error_rate needs" in text and "days to pass a healthy canary" in text
        for text in report.by_check["error_rate"].remarks
    )
    assert found(some("latency_p99"), service(), runs=2).by_check["latency_p99"].remarks == ()


def test_what_cannot_be_read_is_told() -> None:
    """A gate without data never passes, and the reason is given."""
    past = service(minutes=120)
    blind = replace(past, by_check={**past.by_check, "latency_p99": Gap(Code.METRIC_MISSING, "no series of it")})
    report = found(some("error_rate", "latency_p99"), blind, runs=3)

    assert report.by_check["latency_p99"].remarks == ("latency_p99 is not judged: no series of it.",)
    assert report.whole.undecided == 3


def test_a_metric_that_counts_nothing_is_told() -> None:
    """It is there, but at 0 all the time."""
    past = service(minutes=120)
    silent = replace(past, by_check={**past.by_check, "prediction_drift": Classes(("a",), np.zeros((120, 1)))})
    report = found(some("error_rate", "prediction_drift"), silent, runs=2)

    assert report.by_check["prediction_drift"].remarks == (
        "prediction_drift is not judged: nothing was counted for it.",
    )


def test_a_gate_that_takes_longer_than_the_rollouts_is_told() -> None:
    """With the time that it takes at the service's own level."""
    remarks = found(some("error_rate"), service(errors=0.003), runs=2).by_check["error_rate"].remarks

    assert any("to pass a canary like this service: longer than these rollouts." in text for text in remarks)


def test_the_same_gives_the_same() -> None:
    """Same past and seed, same report; the first runs do not depend on how many there are."""
    past, policy = service(minutes=300), some("error_rate", "latency_p99")
    one, again, other = (found(policy, past, runs=6, seed=seed) for seed in (1, 1, 2))

    assert calibration_as_json(one) == calibration_as_json(again)
    first = pretend(policy, past, 30, 0.05, np.random.default_rng((1, 0)))
    assert found(policy, past, runs=1).whole.passed == len({WHOLE} & first.passed.keys())
    assert calibration_as_json(other) != calibration_as_json(one)


def test_looks_are_fewer_where_nothing_is_near() -> None:
    """About thirty of a long rollout, and up to sixty while a check is half-way to failing."""
    quiet = found(some("error_rate"), service(minutes=470, errors=0.0001), runs=2, length=240)
    busy = found(some("error_rate"), service(minutes=470, errors=0.012), runs=2, length=240)

    assert quiet.looks == 2 * 30
    assert 2 * 45 < busy.looks <= 2 * 61


def test_warmup_is_left_out() -> None:
    """As in a verdict: a rollout that is all warm-up passes nothing."""
    report = found(some("latency_p99", warmup="30m"), service(minutes=120), runs=2)

    assert report.whole.passed == 0
    assert "latency_p99 ended as warming_up in 2 of 2 pretend rollouts." in report.by_check["latency_p99"].remarks


def test_a_past_that_is_too_short_is_refused() -> None:
    """It is said how long it is; one that just holds a rollout will do, without a history before."""
    past = service(minutes=40)
    with pytest.raises(RequestError, match=r"60 min is longer than the past that was found, 40 min"):
        found(POLICY, past, length=60)

    assert found(some("latency_p99"), past, runs=2, length=40).whole.runs == 2


@pytest.mark.parametrize(
    ("hits", "runs", "low", "high"), [(0, 200, 0, 0.01827534), (5, 100, 0.01643188, 0.1128349), (7, 7, 0.5903836, 1)]
)
def test_the_interval_is_clopper_and_pearsons(hits: int, runs: int, low: float, high: float) -> None:
    """R: binom.test(hits, runs)$conf.int."""
    assert exact_interval(hits, runs) == (pytest.approx(low, rel=1e-6), pytest.approx(high, rel=1e-6))


def test_every_kind_of_counts_tells_its_correlation() -> None:
    """Independent requests have about none, and a mean alone tells nothing."""
    past = service(icc=0.0)
    for name, check in POLICY.checks.items():
        counts = past.by_check[name]
        assert not isinstance(counts, Gap)
        assert estimate(check, counts, 60.0).observed_correlation < 0.001
        assert estimate(check, counts, 60.0).batches == WHOLE_DAY
    check = POLICY.checks["business_proxy"]
    values = Values(np.full(100, 60.0), np.full(100, 120.0), np.full(100, 60.0))
    assert estimate(check, values, 60.0).batches == 100
    assert estimate(check, replace(values, squares=None), 60.0).batches == 0
    assert estimate(POLICY.checks["latency_p99"], MeanOnly(np.ones(9), np.ones(9)), 60.0).batches == 0


# Splitting


def numbers(rows: int, columns: int, fractions: bool) -> Any:
    """Draw counts, also fractional ones."""
    one = st.floats(0, 500, allow_nan=False) if fractions else st.integers(0, 5000).map(float)
    return st.lists(st.lists(one, min_size=columns, max_size=columns), min_size=rows, max_size=rows).map(np.array)


def two(kind: Callable[..., Counts]) -> Callable[[Any], Counts]:
    """Make events and trials of two columns; events may exceed trials, as where they are counted late."""
    return lambda table: kind(table[:, 0], table[:, 1])


MAKERS: list[Callable[[Any], Counts]] = [
    two(Errors),
    two(Conversions),
    lambda table: Histogram(np.array([1.0, np.inf]), table),
    lambda table: Classes(("a", "b"), table),
    lambda table: Values(table[:, 1] * 2, table[:, 1] * 5, table[:, 1]),
    lambda table: Values(table[:, 1] * 2, None, table[:, 1]),
]


@given(
    st.booleans().flatmap(lambda fractions: numbers(4, 2, fractions)), st.sampled_from(MAKERS), st.floats(0.01, 0.99)
)
def test_thinning_preserves_totals(table: Any, make: Callable[[Any], Counts], share: float) -> None:
    """Both arms add up to the service, cell by cell, and neither has less than nothing."""
    counts = make(table)
    canary, baseline = thin(counts, share, np.random.default_rng(1))

    for name, value in by_slice(counts).items():
        ours, theirs = by_slice(canary)[name], by_slice(baseline)[name]
        np.testing.assert_allclose(ours + theirs, value, atol=1e-6)
        if not (isinstance(counts, Values) and name == "total"):
            assert min(ours.min(), theirs.min()) >= -1e-9
    for arm in (canary, baseline):
        assert type(arm) is type(counts)
        if isinstance(arm, Errors) and (table[:, 0] <= table[:, 1]).all():
            assert (arm.errors <= arm.requests + 1e-9).all()


def test_thinning_gives_the_canary_its_share() -> None:
    """Means and variances of a draw of single requests, for counts and for sums of values."""
    rng = np.random.default_rng(7)
    rows = 20_000
    errors, _ = thin(Errors(np.full(rows, 40.0), np.full(rows, 1000.0)), 0.1, rng)
    values, _ = thin(Values(np.full(rows, 2000.0), np.full(rows, 8000.0), np.full(rows, 1000.0)), 0.1, rng)
    assert isinstance(errors, Errors)
    assert isinstance(values, Values)

    assert (errors.errors.mean(), errors.errors.var()) == (pytest.approx(4, rel=0.02), pytest.approx(3.6, rel=0.05))
    assert (errors.requests.mean(), errors.requests.var()) == (
        pytest.approx(100, rel=0.01),
        pytest.approx(90, rel=0.05),
    )
    # Of 100 values with mean 2 and variance 4, drawn from 1,000: 400 x 0.9, and 2^2 x 90 for how many there are.
    assert values.total.mean() == pytest.approx(200, rel=0.01)
    assert values.total.var() == pytest.approx(360 + 360, rel=0.05)


def test_sums_are_split_as_those_of_exponential_latencies() -> None:
    """The canary's part of a sum of 1,000 has the mean and the variance of 100 of them drawn without replacement."""
    rows = 20_000
    arms = thin(MeanOnly(np.full(rows, 2000.0), np.full(rows, 1000.0)), 0.1, np.random.default_rng(8))
    ours, theirs = arms
    assert isinstance(ours, MeanOnly)
    assert isinstance(theirs, MeanOnly)

    assert (ours.total + theirs.total).tolist() == pytest.approx([2000.0] * rows)
    assert (ours.count + theirs.count).tolist() == [1000.0] * rows
    # By hand: for n of N exponential latencies of mean 2 the part is beta (n, N - n); 400 x 0.9 and 2^2 x 90 as above.
    assert ours.total.mean() == pytest.approx(200, rel=0.01)
    assert ours.total.var() == pytest.approx(360 + 360, rel=0.05)
    none, whole = thin(MeanOnly(np.zeros(3), np.array([0.0, 1.0, 2.0])), 0.5, np.random.default_rng(9))
    assert np.isfinite([none.total, whole.total]).all()  # type: ignore[union-attr]


def test_a_policy_on_means_is_calibrated() -> None:
    """A service whose load swings: no pretend rollout fails, most pass; what it rests on is said."""
    policy = load_policies(None)["ml-model-mean"]
    rng = np.random.default_rng(31)
    count = rng.poisson(600 * (1.5 + np.sin(np.arange(WHOLE_DAY) / 200))).astype(float)
    mean = 0.08 * (1 + 0.3 * rng.standard_normal(WHOLE_DAY).clip(-2, 2))
    counts = MeanOnly(rng.gamma(count) * mean, count)
    check = Policy(name="mean", checks={"latency_mean": policy.checks["latency_mean"]})
    past = Past(NOON, WHOLE_DAY, {"latency_mean": counts})

    found = calibrate(check, past, share=0.3, length=120, runs=20)

    assert found.whole.rolled_back == 0
    assert found.whole.passed >= 15
    assert calibration_as_json(found)["checks"]["latency_mean"]["correlation"] is None
    assert "exponential" in calibration_as_json(found)["limits"]


def test_a_service_slower_than_its_own_limit_is_told_so() -> None:
    """No canary can pass an absolute limit then."""
    checks = {"latency_mean": {"kind": "mean_latency", "promote": "50ms", "rollback": "90ms"}}
    count = np.full(WHOLE_DAY, 600.0)
    past = Past(NOON, WHOLE_DAY, {"latency_mean": MeanOnly(0.08 * count, count)})

    found = calibrate(Policy.model_validate({"name": "mean", "checks": checks}), past, share=0.3, length=60, runs=2)

    assert "the mean latency of the service's own requests is 80 ms, beyond the promote limit 50 ms" in " ".join(
        found.by_check["latency_mean"].remarks
    )


# Reading


def test_pieces_are_joined() -> None:
    """What is missing counts as no traffic; of several types the last counts."""
    gap = Gap(Code.METRIC_MISSING, "nothing yet")
    joined = join([(2, gap), (1, Errors(np.array([1.0]), np.array([9.0]))), (1, gap)])

    assert isinstance(joined, Errors)
    assert joined.requests.tolist() == [0, 0, 9, 0]
    assert join([(2, gap), (3, gap)]) == gap
    classes = join([(1, Classes(("b",), np.array([[3.0]]))), (1, Classes(("a", "c"), np.array([[1.0, 2.0]])))])
    assert isinstance(classes, Classes)
    assert (classes.names, classes.counts.tolist()) == (("a", "b", "c"), [[0, 3, 0], [1, 0, 2]])
    changed = join([(1, Classes(("b",), np.array([[3.0]]))), (1, Histogram(EDGES, np.ones((1, 4))))])
    assert isinstance(changed, Histogram)
    assert changed.counts.sum(axis=1).tolist() == [0, 4]
    values = Values(np.ones(1), np.ones(1), np.ones(1))
    partly = join([(1, replace(values, squares=None)), (1, values)])
    assert isinstance(partly, Values)
    assert partly.squares is None
    mean = join([(1, MeanOnly(np.ones(1), np.ones(1))), (1, gap)])
    assert isinstance(mean, MeanOnly)
    assert mean.count.tolist() == [1, 0]


def test_buckets_of_native_histograms_are_joined_and_others_not() -> None:
    """Edges that cut no bucket with counts may come and go; a changed bucket is refused."""
    fine = Histogram(np.array([1.0, 2.0, np.inf]), np.array([[0.0, 5.0, 0.0]]))
    finer = Histogram(np.array([2.0, 4.0, np.inf]), np.array([[0.0, 3.0, 0.0]]))
    joined = join([(1, fine), (1, finer)])

    assert isinstance(joined, Histogram)
    assert joined.counts.tolist() == [[0, 5, 0, 0], [0, 0, 3, 0]]
    coarse = Histogram(np.array([1.0, 4.0, np.inf]), np.array([[0.0, 5.0, 0.0]]))
    refused = join([(1, fine), (1, coarse)])
    assert isinstance(refused, Gap)
    assert refused.code is Code.BUCKETS_DIFFER


def test_slices_can_be_taken_together() -> None:
    """The last sum may be of fewer slices, as in a verdict."""
    errors = together(cut(Errors(np.arange(8.0), np.arange(8.0) * 10), 0, 7), 3)

    assert isinstance(errors, Errors)
    assert (errors.errors.tolist(), errors.requests.tolist()) == ([3, 12, 6], [30, 120, 60])


class FakeSource:
    """Counts ten requests a slice from a moment on.

    Parameters
    ----------
    born : before it there is nothing
    most_slices : of one answer; longer windows get longer slices
    gap : what is answered instead
    """

    name = "prometheus"

    def __init__(self, born: float = 0.0, most_slices: int = 120, gap: Gap | None = None) -> None:
        self.born, self.most_slices, self.gap = born, most_slices, gap
        self.asked: list[tuple[float, float]] = []

    def read(self, selection: Selection, _: float) -> Readings:
        """Answer for every check."""
        start = selection.start or 0.0
        self.asked.append((start, selection.at))
        window = Window(start, selection.at)
        if self.gap is not None or selection.at <= self.born:
            gap = self.gap or Gap(Code.METRIC_MISSING, "no series of it")
            return Readings(window, dict.fromkeys(selection.checks, gap))
        step = 15.0
        while (selection.at - start) / step > self.most_slices:
            step *= 2
        times = start + step * np.arange(round((selection.at - start) / step))
        requests = np.where(times >= self.born, 10.0 * step / 15, 0.0)
        pods = tuple(
            Pod(f"pod-{start:.0f}" if part > 0.5 else "pod", Errors(part * requests / 10, part * requests))
            for part in (0.25, 0.75)
        )
        reading: Reading[Counts] = Reading(
            Errors(requests / 10, requests), None, slice_seconds=step, begin=start, canary_pods=pods
        )
        return Readings(window, dict.fromkeys(selection.checks, reading))

    def ready(self, deadline: float) -> None:
        """Be ready."""


def past_of(source: FakeSource, minutes: int) -> Past:
    """Read the last minutes before noon."""
    selection = Selection("fraud", None, "stable", None, PROFILE, {"error_rate": Kind.ERROR_RATE}, NOON)
    return read_past(source, selection, NOON - minutes * 60, 8.0)


def test_the_past_is_read_in_pieces_of_an_hour() -> None:
    """And its slices become minutes."""
    source = FakeSource()
    past = past_of(source, 150)
    counts = past.by_check["error_rate"]
    assert isinstance(counts, Errors)

    assert [end - start for start, end in source.asked] == [3600, 3600, 1800]
    assert (past.begin, past.end, past.minutes) == (NOON - 9000, NOON, 150)
    assert counts.requests.tolist() == [40] * 150


def test_pods_are_joined_by_name() -> None:
    """One lives all the time, the others for a piece each."""
    past = past_of(FakeSource(), 150)
    pods = {pod.name: requests_by_slice(pod.counts) for pod in past.pods["error_rate"]}

    assert len(pods) == 4
    assert pods["pod"].tolist() == [10] * 150
    assert pods[f"pod-{NOON - 9000:.0f}"].tolist() == [30] * 60 + [0] * 90
    np.testing.assert_allclose(sum(pods.values()), 40)


def test_smaller_pieces_are_read_where_slices_are_long() -> None:
    """A service with many series gets longer slices in an hour, not in twelve minutes."""
    source = FakeSource(most_slices=12)
    counts = past_of(source, 60).by_check["error_rate"]
    assert isinstance(counts, Errors)

    assert [end - start for start, end in source.asked] == [3600, *[720] * 5]
    assert counts.requests.tolist() == [40] * 60


def test_slices_longer_than_a_minute_cannot_be_split() -> None:
    """Which is said."""
    with pytest.raises(RequestError, match="no slices of a minute"):
        past_of(FakeSource(most_slices=1), 60)


def test_the_past_begins_with_the_first_request() -> None:
    """A baseline that is younger than the past that was asked for."""
    past = past_of(FakeSource(born=NOON - 4800), 240)

    assert (past.minutes, past.begin) == (80, NOON - 4800)
    assert requests_by_slice(past.by_check["error_rate"]).all()  # type: ignore[arg-type]


def test_a_baseline_that_was_never_seen_is_wrong_usage() -> None:
    """The reason of the source is passed on."""
    with pytest.raises(RequestError, match="'stable' has no traffic in the past that was asked for: no series of it"):
        past_of(FakeSource(born=NOON + 1), 60)


@pytest.mark.parametrize("code", [Code.SOURCE_UNAVAILABLE, Code.PARTIAL_DATA])
def test_a_source_that_does_not_answer_ends_the_reading(code: Code) -> None:
    """What is read is never half of it."""
    with pytest.raises(SourceUnavailable, match="refused"):
        past_of(FakeSource(gap=Gap(code, "connection refused")), 60)


# The command


WRONG = {
    ("--weight", "0"): "Error: --weight: must be above 0 and below 100 percent",
    ("--length", "30s", "--history", "x"): "Error: --length: must be a minute or longer",
    ("--history", "soon"): "Error: --history: must be a number",
    ("--policy", "ml-modl"): "Error: --policy: unknown policy",
    ("--at", "noon"): "Error: --at: 'noon' is no moment",
    ("--runs", "0"): "Error: Invalid value for '--runs'",
    (): "Error: ANALYZER_SOURCE: is scrape, which knows no past: set it to prometheus, and ANALYZER_PROMETHEUS_URL",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_usage_is_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """With the option and the remedy."""
    monkeypatch.setattr("sys.argv", ["analyzer", "calibrate", "--service", "fraud", "--baseline", "canary", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()

    assert (ended.value.code, out) == (2, "")
    assert WRONG[words] in err


def test_a_source_that_is_down_is_4(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a verdict."""
    monkeypatch.setenv("ANALYZER_SOURCE", "prometheus")
    monkeypatch.setenv("ANALYZER_PROMETHEUS_URL", "http://127.0.0.1:9")
    result = CliRunner().invoke(cli, ["calibrate", "--service", "fraud", "--baseline", "stable"], prog_name="analyzer")

    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith("Error: the source's answer is missing: ")
    assert result.stderr.count("\n") == 1
