"""Tests of `analyzer plan`: forecasts against simulated rollouts, and what its options say."""

import json
import os
import re
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer import checks
from analyzer.cli import cli, main
from analyzer.config.policy import Check, Policy, load_policies
from analyzer.errors import RequestError
from analyzer.model.counts import Classes, Conversions, Counts, Errors, Histogram, Reading, Values
from analyzer.model.findings import Kind, Outcome
from analyzer.planning.assumptions import Assumption, read_assumptions
from analyzer.planning.forecast import Need, PlanRow, RequestRates, plan, plan_check
from analyzer.quantity import format_ratio

POLICY = load_policies(None)["ml-model"]
RATE, SHARE = 10.0, 0.05
RUNS, LOOKS_UNTIL, LOOKS = 21, 10, 60  # a look at every tenth of the forecast, up to six times the forecast
BINS = 10
HISTORY = 120  # minutes before the canary


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*filter(lambda name: name.startswith("ANALYZER_"), os.environ), "NO_COLOR", "FORCE_COLOR", "COLUMNS"]:
        monkeypatch.delenv(name, raising=False)


def policy(**fields: Any) -> Policy:
    """Build a policy of one check."""
    return Policy.model_validate({"name": "one", "checks": {"check": fields}})


def row(assumption: Assumption | None = None, rate: float = RATE, **fields: Any) -> PlanRow:
    """Plan one check."""
    one = policy(**fields)
    return plan(one, rate, SHARE, None if assumption is None else {"check": assumption})["check"]


ERRORS = {"kind": "error_rate", "promote": "0.5%", "rollback": "1%"}
LATENCY = {"kind": "latency", "promote": "200ms", "rollback": "500ms"}
DRIFT = {"kind": "drift", "promote": 0.1, "rollback": 0.2}
BUSINESS = {"kind": "business", "promote": "-1%", "rollback": "-3%"}


# Against simulated rollouts


def drifted(distance: float) -> np.ndarray[Any, Any]:
    """Find shares of the bins whose PSI from equal ones is a given one."""
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        shares = np.exp(middle * np.linspace(-1, 0, BINS))
        shares /= shares.sum()
        low, high = (middle, high) if ((shares - 0.1) * np.log(shares * 10)).sum() < distance else (low, middle)
    return shares


def draw(kind: Kind, value: float, requests: Any, rng: np.random.Generator) -> Counts:
    """Draw the counts of one arm in slices."""
    match kind:
        case Kind.ERROR_RATE:
            return Errors(rng.binomial(requests, value).astype(float), requests.astype(float))
        case Kind.LATENCY:
            slow = rng.binomial(requests, value)
            bins = np.column_stack([requests - slow, 0 * slow, slow]).astype(float)
            return Histogram(np.array([0.2, 0.5, np.inf]), bins)
        case Kind.DRIFT:
            return Classes(tuple(map(str, range(BINS))), rng.multinomial(requests, drifted(value)).astype(float))
        case Kind.BUSINESS:
            return Conversions(rng.binomial(requests, 0.05 * (1 + value)).astype(float), requests.astype(float))
        case _:
            raise TypeError(kind)


def median_requests(check: Check, value: float, healthy: float, wanted: Outcome, forecast: float, seed: int) -> float:
    """Simulate rollouts with looks as they go on; give the median of the canary requests that decided."""
    found = []
    for run in range(RUNS):
        rng = np.random.default_rng((seed, run))
        each = forecast / LOOKS_UNTIL
        ours, theirs = rng.poisson(each, LOOKS), rng.poisson(each * (1 - SHARE) / SHARE, LOOKS)
        before = rng.poisson(each * (1 - SHARE) / SHARE, HISTORY)
        canary, baseline = draw(check.kind, value, ours, rng), draw(check.kind, healthy, theirs, rng)
        history = draw(check.kind, healthy, before, rng)
        decided = np.inf
        for look in range(3, LOOKS + 1):
            reading = Reading(first(canary, look), first(baseline, look), 60.0, history=history, history_seconds=60.0)
            if checks.judge(check, reading, POLICY).outcome is wanted:
                decided = float(ours[:look].sum())
                break
        found.append(decided)
    return float(np.median(found))


def first(counts: Counts, slices: int) -> Counts:
    """Cut off what came later."""
    match counts:
        case Errors(errors, requests):
            return Errors(errors[:slices], requests[:slices])
        case Conversions(successes, trials):
            return Conversions(successes[:slices], trials[:slices])
        case Histogram(edges, bins):
            return Histogram(edges, bins[:slices])
        case Classes(names, bins):
            return Classes(names, bins[:slices])
        case _:
            raise TypeError(counts)


CASES = [
    ("error_rate", None), ("error_rate", 0), ("error_rate", 1), ("latency_p99", None), ("latency_p99", 1),
    ("prediction_drift", None), ("prediction_drift", 0), ("prediction_drift", 2), ("business_proxy", 1),
]  # fmt: skip


@pytest.mark.statistical
@pytest.mark.parametrize(("name", "fault"), CASES)
def test_a_forecast_is_near_the_median(name: str, fault: int | None) -> None:
    """Simulated rollouts, judged again and again in slices, decide within a factor of 1.5 of the forecast."""
    planned = plan(POLICY, RATE, SHARE)[name]
    need = planned.healthy if fault is None else planned.faults[fault]
    wanted = Outcome.PASS if fault is None else Outcome.FAIL
    assert need.requests is not None

    check = planned.check.model_copy(update={"delay": 0.0})  # the conversions drawn are there at once
    median = median_requests(check, need.value, planned.assumption.healthy, wanted, need.requests, seed=1)

    assert 1 / 1.5 < median / need.requests < 1.5


def test_forecasts_are_the_figures_of_the_readme() -> None:
    """Requests that prove a limit when none is bad, nor was before, as the README names them for the default policy."""
    spotless = {"error_rate": "0", "latency_p99": "0", "prediction_drift": "0"}
    supposed = read_assumptions(POLICY, {"healthy": [f"{name}={value}" for name, value in spotless.items()]})
    found = {name: one.healthy.requests for name, one in plan(POLICY, RATE, SHARE, supposed).items()}

    assert found["error_rate"] == pytest.approx(720, rel=0.02)
    assert found["latency_p99"] == pytest.approx(360, rel=0.02)
    assert found["prediction_drift"] == pytest.approx(240, rel=0.05)
    assert 1e6 < (found["business_proxy"] or 0) < 3e6


# How it depends on what


@settings(max_examples=12)
@given(st.floats(0.1, 1e4), st.floats(1.1, 100), st.sampled_from(sorted(POLICY.checks)))
def test_more_traffic_takes_less_time_and_as_many_requests(rate: float, times: float, name: str) -> None:
    """Requests do not depend on the rate; time is inversely proportional to it, but for a warm-up."""
    check = POLICY.checks[name].model_copy(update={"pod_warmup": 0.0})
    supposed = Assumption(0.0, Assumption.of(check).faults[-1:])
    slow, fast = (
        plan_check(check, POLICY, RequestRates.split(one, SHARE), supposed).faults[-1] for one in (rate, rate * times)
    )

    assert slow.requests == fast.requests
    assert slow.seconds == pytest.approx((fast.seconds or 0) * times)


def test_worse_faults_are_found_sooner() -> None:
    """In every check of the default policy."""
    for one in plan(POLICY, RATE, SHARE).values():
        needed = [need.requests or 0 for need in one.faults]

        assert needed == sorted(needed, reverse=True)
        assert needed[-1] > 0


def test_a_value_between_the_limits_never_decides() -> None:
    """Neither outcome is wrong there, so neither comes."""
    for fields, value in ((ERRORS, 0.007), (DRIFT, 0.15), (BUSINESS, -0.02)):
        found = row(Assumption(healthy=value, faults=(value,)), **fields)

        assert (found.healthy, found.faults[0]) == (Need(value, None, None), Need(value, None, None))


def test_a_share_that_the_quantile_allows_never_fails() -> None:
    """For latency both limits allow the same share of slow requests."""
    found = row(Assumption(healthy=0.002, faults=(0.009, 0.02)), **LATENCY)

    assert (found.faults[0].requests, found.faults[1].requests is None) == (None, False)
    assert row(Assumption(healthy=0.02, faults=()), **LATENCY).healthy.requests is None


def test_a_fault_that_the_baseline_shares_never_fails() -> None:
    """Where the healthy value is as bad, the service is in trouble and not the canary."""
    assert row(Assumption(healthy=0.02, faults=(0.02,)), **ERRORS).faults[0].requests is None


def test_correlated_requests_take_as_many_times_more() -> None:
    """Counts are divided by 1 + (n - 1) rho, n being the canary's requests of a minute; of both arms if compared."""
    assert (RATE * SHARE * 60, RATE * (1 - SHARE) * 60) == (30, 570)
    for fields, factor in ((ERRORS, 1.29), (BUSINESS, 1.29 * 0.95 + 6.69 * 0.05)):
        plain = Assumption.of(policy(**fields).checks["check"])
        alone, together = (
            row(Assumption(plain.healthy, plain.faults, correlation=rho), **fields).faults[0].requests
            for rho in (0.0, 0.01)
        )

        assert together == pytest.approx((alone or 0) * factor)


def test_min_requests_warmup_and_lag_count() -> None:
    """No pass below min_requests; what is left out comes on top of the time."""
    plain, more = row(**DRIFT), row(**DRIFT, min_requests=5000, warmup="5m", lag="1m")

    assert more.healthy.requests == 5000
    assert more.healthy.seconds == pytest.approx(5000 / 0.5 + 360)
    assert more.faults[0].requests == plain.faults[0].requests
    assert more.faults[0].seconds == pytest.approx((plain.faults[0].seconds or 0) + 360)


def test_a_deadline_settles_what_is_not_proved() -> None:
    """The plan says that the estimate alone decides then, and never between the limits."""
    found = row(Assumption(0.004, (0.007, 0.012)), **ERRORS, decide_by={"after": "30m", "requests": 20_000})

    assert found.healthy == Need(0.004, 900.0, 1800.0, by_estimate=True)
    assert found.faults == (Need(0.007, None, None), Need(0.012, 900.0, 1800.0, by_estimate=True))


def test_a_deadline_in_requests_may_come_first() -> None:
    """And never before min_requests, where it is to pass."""
    found = row(Assumption(0.004, (0.012,)), **ERRORS, decide_by={"after": "9h", "requests": 50})

    assert (found.healthy.requests, found.faults[0].requests) == (100, 50)


def test_rules_differ() -> None:
    """Strict takes longer to fail than zone; point passes with min_requests and proves nothing."""
    zone, strict, point = (row(**ERRORS, rule=rule) for rule in ("zone", "strict", "point"))

    assert (strict.faults[0].requests or 0) > 3 * (zone.faults[0].requests or 0)
    assert point.healthy.requests == 100
    assert (point.faults[0].requests or 0) <= 2


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "error_rate", "rule": "relative", "promote": "10%", "rollback": "50%"},
        {"kind": "latency", "rule": "relative", "promote": "10%", "rollback": "50%", "edge": "250ms"},
        {"kind": "latency", "rule": "relative", "promote": "30%", "rollback": "60%"},
    ],
)
def test_changes_against_the_baseline_can_be_planned(fields: dict[str, Any]) -> None:
    """No change passes, and larger changes fail sooner, for every kind that compares."""
    found = row(**fields)

    assert found.healthy.value == 0
    assert found.healthy.requests is not None
    assert [need.requests for need in found.faults] == sorted(
        (need.requests or 0 for need in found.faults), reverse=True
    )
    assert found.faults[0].value > 0.5


def test_buckets_that_are_too_wide_for_a_ratio_never_pass() -> None:
    """A quantile that may be 10% larger cannot be told in buckets 9% wide, however many requests there are."""
    assert row(kind="latency", rule="relative", promote="10%", rollback="50%").healthy.requests is None


def test_means_take_time_rather_than_requests() -> None:
    """Ten times the traffic: as many slices; no fault is found before there are enough of them."""
    mean = {"kind": "mean_latency", "promote": "100ms", "rollback": "150ms"}
    change = {"kind": "mean_latency", "rule": "relative", "promote": "10%", "rollback": "30%"}
    for fields, most in ((mean, 1200), (change, 300)):
        found = [row(rate=rate, **fields) for rate in (400.0, 4000.0)]
        for one in found:
            assert one.healthy.seconds is not None
            assert 60 < one.healthy.seconds < most
            assert all(60 < (fault.seconds or 0) < most for fault in one.faults)
        assert found[1].faults[2].seconds == pytest.approx(found[0].faults[2].seconds, rel=0.1)
    assert row(rate=1.0, **change).healthy.requests > 500  # type: ignore[operator]  # six slices of a hundred


def test_a_mean_is_supposed_in_its_own_unit() -> None:
    """Half the promote limit is healthy; a level and a correlation have no meaning."""
    assert row(kind="mean_latency", promote="100ms", rollback="150ms").assumption.meaning(
        policy(kind="mean_latency", promote="100ms", rollback="150ms").checks["check"]
    ) == ("healthy is 50 ms, faults are 225 ms, 450 ms, 1.5 s, of latencies that vary by 1 times their mean")
    means = policy(kind="mean_latency", promote="100ms", rollback="150ms")
    found = read_assumptions(means, {"healthy": ["check=80ms"], "fault": ["check=0.3"]})["check"]
    assert (found.healthy, found.faults, found.variation) == (0.08, (0.3,), 1.0)
    for option in ("level", "correlation"):
        with pytest.raises(RequestError, match="compares means of slices"):
            read_assumptions(means, {option: ["check=1%"]})


def test_values_take_longer_the_more_they_vary() -> None:
    """Revenue instead of conversions: requests grow with the squared coefficient of variation."""
    tame, wild = (
        row(Assumption(0.0, (-0.1,), variation=variation), **BUSINESS).faults[0].requests for variation in (1.0, 4.0)
    )

    assert wild == pytest.approx(4 * (tame or 0), rel=0.1)


def test_the_expected_counts_of_values_have_their_variation() -> None:
    """Values whose variation is assumed are judged by just that variation."""
    from analyzer.planning.forecast import _expected

    check = policy(**BUSINESS).checks["check"]
    reading = _expected(check, Assumption(0.0, (), variation=3.0), 0.0, 50.0, 950.0, 0.0, 0.0)
    assert isinstance(reading.canary, Values)
    assert reading.canary.squares is not None

    assert reading.canary.squares / reading.canary.count - 1 == pytest.approx(3.0)


# Options


def run(*words: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(cli, ["plan", *words], prog_name="analyzer")


def run_wrong(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run the command as a process would, expect exit code 2, and return the message."""
    monkeypatch.setattr("sys.argv", ["analyzer", "plan", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    return err


def test_the_table_is_for_people() -> None:
    """One row a check, what healthy and each fault mean, and what follows for the rollout."""
    result = run("--rate", "10", "--weight", "5")
    text = " ".join(result.stdout.split())

    assert result.exit_code == 0
    for name in POLICY.checks:
        assert re.search(rf"^{name} ", result.stdout, re.MULTILINE)
    assert "0.5 canary requests/s" in text
    assert "error_rate: healthy is 0.1% of the requests failed, faults are 1.5%, 3%, 10%." in text
    assert "latency_p99: healthy is 0.2% of the requests slower than 200 ms, faults are 1.8%, 5%, 20%" in text
    assert "prediction_drift: healthy is PSI 0, faults are PSI 0.25, PSI 0.5, PSI 1, over 10 bins." in text
    assert "converted, faults are -5%, -10%, -30%." in text
    assert "A healthy canary passes every gate after about 1,400 requests, 48 min." in text


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_every_width_will_do(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Nothing is cut from 80 columns on."""
    monkeypatch.setenv("COLUMNS", str(columns))
    result = run("--rate", "10")

    assert result.exit_code == 0
    assert columns < 80 or "…" not in result.stdout


def test_json_has_the_same_numbers() -> None:
    """For programs, in requests and seconds; null is never."""
    result = run("--rate", "10", "--json", "--fault", "error_rate=0.7%")
    answer = json.loads(result.stdout)
    planned = plan(POLICY, RATE, SHARE)

    assert (answer["policy"], answer["weight"], answer["canary_rate"]) == ("ml-model", 5, 0.5)
    assert answer["checks"]["error_rate"]["faults"] == {
        "small": {"value": 0.007, "requests": None, "seconds": None, "by_estimate": False}
    }
    healthy = answer["checks"]["latency_p99"]["healthy"]
    assert healthy["requests"] == pytest.approx(planned["latency_p99"].healthy.requests, rel=0.01)
    assert healthy["seconds"] == pytest.approx(planned["latency_p99"].healthy.seconds, rel=0.01)
    assert answer["checks"]["business_proxy"]["role"] == "guardrail"


def test_a_gate_that_takes_days_is_called_so() -> None:
    """With the remedy; a guardrail is not, because nothing waits for it."""
    gate = '{"checks": {"business_proxy": {"role": "gate"}}}'
    shown = " ".join(run("--rate", "10", "--policy", gate).stdout.split())

    assert "business_proxy needs 46 days to pass a healthy canary: make it a guardrail or raise the limit." in shown
    assert "make it a guardrail" not in run("--rate", "10").stdout


def test_a_gate_that_never_passes_is_called_so() -> None:
    """A healthy value that is not within the promote limit."""
    shown = " ".join(run("--rate", "10", "--healthy", "error_rate=0.6%").stdout.split())

    assert "error_rate can never pass at this value" in shown
    assert "A canary like the healthy one never passes every gate." in shown


def test_people_suppose_what_they_like() -> None:
    """Values by check, in its unit."""
    options = {
        "healthy": ["latency_p99=0.1%", "business_proxy=+1%", "prediction_drift=0.02"],
        "fault": ["error_rate=2%", "error_rate = 0.04"],
        "correlation": ["error_rate=0.01"],
    }
    found = read_assumptions(POLICY, options, conversion=0.2)

    assert found["latency_p99"].healthy == pytest.approx(0.001)
    assert (found["business_proxy"].healthy, found["business_proxy"].level) == (pytest.approx(0.01), 0.2)
    assert found["prediction_drift"].healthy == 0.02
    assert found["error_rate"].faults == (0.02, 0.04)
    assert found["error_rate"].correlation == 0.01


WRONG = {
    ("--rate", "0"): "Error: --rate: must be above 0, got 0",
    ("--rate", "fast"): "Error: --rate: must be a number, got 'fast'",
    ("--rate", "10", "--weight", "0"): "Error: --weight: must be above 0 and below 100 percent",
    ("--rate", "10", "--policy", '{"role": "guardrail"}'): "Error: --policy.role: is that of one stage",
    ("--rate", "10", "--weight", "150"): "Error: --weight: must be a percentage from 0 to 100",
    ("--rate", "10", "--policy", "ml-modl"): "did you mean 'ml-model'?",
    ("--rate", "10", "--conversion", "0"): "Error: --conversion: must be above 0% and at most 100%",
    ("--rate", "10", "--healthy", "error_rate"): "Error: --healthy: 'error_rate' lacks a check or a value: write",
    ("--rate", "10", "--healthy", "eror_rate=1%"): "did you mean 'error_rate'?",
    ("--rate", "10", "--fault", "error_rate=200%"): "Error: --fault: error_rate: must be a share from 0% to 100%",
    ("--rate", "10", "--fault", "latency_p99=300ms"): "write their share, such as 2%",
    ("--rate", "10", "--fault", "prediction_drift=-1"): "a PSI is not negative",
    ("--rate", "10", "--fault", "business_proxy=-101%"): "no change is below -100%",
    ("--rate", "10", "--level", "error_rate=1%"): "has no limits that are changes against the baseline",
    ("--rate", "10", "--level", "business_proxy=0"): "must be above 0 and at most 1",
    ("--rate", "10", "--correlation", "error_rate=2"): "must be from 0 and at most 1",
    ("--rate", "10", *["--fault", "error_rate=2%"] * 4): "error_rate may be given three times at most, is 4 times",
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_option_is_one_line_with_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """Exit code 2, and the remedy on standard error."""
    err = run_wrong(monkeypatch, capsys, *words)

    assert err.count("\n") == 1
    assert WRONG[words] in err


def test_every_wrong_option_is_told() -> None:
    """Several mistakes at once."""
    with pytest.raises(RequestError) as caught:
        read_assumptions(POLICY, {"healthy": ["x=1"], "fault": ["error_rate=much"]}, conversion=2)

    assert [one.field for one in caught.value.problems] == ["conversion", "healthy", "fault"]


def test_faults_suit_odd_limits() -> None:
    """A rollback limit of no change at all, and limits near their end, give faults that are possible."""
    even = policy(kind="business", promote="1%", rollback="0%").checks["check"]
    high = policy(kind="error_rate", promote="50%", rollback="80%").checks["check"]
    median = policy(kind="latency", quantile=0.5, promote="50ms", rollback="100ms").checks["check"]

    assert all(-1 <= value < 0 for value in Assumption.of(even).faults)
    assert Assumption.of(high).faults == (1.0, 1.0, 1.0)
    assert Assumption.of(median).faults == pytest.approx((0.9, 1.0, 1.0))
    assert format_ratio(Assumption.of(median).healthy) == "10%"
