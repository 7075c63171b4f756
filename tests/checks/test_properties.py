"""Laws that hold for every kind of check, whatever the counts, in several slices and under every circumstance."""

import math
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from analyzer import checks
from analyzer.checks import Moment
from analyzer.config.policy import Check, Policy
from analyzer.model.counts import Classes, Conversions, Counts, Errors, Histogram, MeanOnly, Reading, Values, by_slice
from analyzer.model.findings import Finding, Outcome, Rule

Floats = NDArray[np.float64]
EDGES = np.array([0.1, 0.2, 0.5, 1.0, np.inf])
FORMS = ("errors", "latency", "means", "scores", "classes", "conversions", "values")
RULES: dict[str, list[dict[str, Any]]] = {
    "errors": [{}, {"rule": "strict"}, {"rule": "relative", "promote": "10%", "rollback": "50%"}, {"rule": "point"}],
    "latency": [
        {}, {"rule": "strict"}, {"promote": "150ms", "rollback": "700ms"}, {"rule": "point"},
        {"rule": "relative", "promote": "10%", "rollback": "50%", "edge": "200ms"},
        {"rule": "relative", "promote": "10%", "rollback": "50%"},
    ],
    "means": [{}, {"rule": "strict"}, {"rule": "point"}, {"rule": "relative", "promote": "10%", "rollback": "30%"}],
    "scores": [{}, {"rule": "strict"}, {"rule": "point"}],
    "classes": [{}, {"rule": "strict"}],
    "conversions": [{}, {"rule": "strict"}, {"rule": "point"}],
    "values": [{}, {"rule": "strict"}],
}  # fmt: skip
BASE: dict[str, dict[str, Any]] = {
    "errors": {"kind": "error_rate", "promote": "0.5%", "rollback": "1%"},
    "latency": {"kind": "latency", "promote": "200ms", "rollback": "500ms"},
    "means": {"kind": "mean_latency", "promote": "100ms", "rollback": "300ms"},
    "scores": {"kind": "drift", "promote": 0.1, "rollback": 0.2},
    "classes": {"kind": "drift", "promote": 0.1, "rollback": 0.2},
    "conversions": {"kind": "business", "promote": "-1%", "rollback": "-3%"},
    "values": {"kind": "business", "promote": "-1%", "rollback": "-3%"},
}


def policy_of(form: str, **changes: Any) -> tuple[Check, Policy]:
    """Put one check beside three others, which take their parts of alpha."""
    row = BASE[form] | changes
    others = {f"other{place}": {"kind": "error_rate", "promote": "1%", "rollback": "2%"} for place in range(3)}
    policy = Policy.model_validate({"name": "test", "checks": {"it": row} | others})
    return policy.checks["it"], policy


def arm_of(form: str, slices: int, rng: np.random.Generator) -> Counts:
    """Draw the counts of one arm: slices with none, few, fractions, and as many as there may be."""
    size = 10 ** rng.uniform(-2, rng.choice([2, 4, 7, 12]))
    total = size * rng.choice([0.0, 0.01, 1.0, 1.0, rng.uniform(0, 3)], slices)
    total = np.round(total) if rng.random() < 0.5 else total
    part = rng.choice([0.0, 0.001, 0.01, 0.1, 0.5, 1.0]) * rng.choice([0.0, 1.0, rng.random()], slices)
    if form in ("errors", "conversions"):
        events = np.minimum(np.round(total * part) if rng.random() < 0.5 else total * part, total)
        return Errors(events, total) if form == "errors" else Conversions(events, total)
    if form == "values":
        mean = 10 ** rng.uniform(-2, 3, slices)
        return Values(mean * total, rng.uniform(1, 30) * mean**2 * total, total)
    if form == "means":
        return MeanOnly(
            rng.choice([0.0, 1e-9, 0.1, 1e3], p=[0.1, 0.1, 0.7, 0.1]) * rng.lognormal(0, 1, slices) * total, total
        )
    shares = rng.dirichlet(np.full(len(EDGES), rng.choice([0.05, 1.0, 50.0])), slices) + 1e-300
    counts = total[:, np.newaxis] * shares
    return Classes(("a", "b", "c", "d", "e"), counts) if form == "classes" else Histogram(EDGES, counts)


@st.composite
def readings(draw: st.DrawFn, form: str) -> Reading[Counts]:
    """Draw both arms in time slices, with or without baseline and history."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    slices = draw(st.sampled_from([1, 2, 7, 30, 120]))
    seconds = draw(st.sampled_from([15.0, 30.0, 60.0, 240.0])) if slices > 1 else draw(st.sampled_from([None, 60.0]))
    baseline = arm_of(form, slices, rng) if draw(st.sampled_from([True, True, False])) else None
    history = arm_of(form, draw(st.sampled_from([1, 20, 80])), rng) if draw(st.booleans()) else None
    begin = draw(st.sampled_from([None, 1767607200.0]))
    return Reading(arm_of(form, slices, rng), baseline, seconds, begin, history=history, history_seconds=60.0)


@st.composite
def questions(draw: st.DrawFn, form: str) -> tuple[Check, Policy, Moment]:
    """Draw a rule, a warm-up, a lag, a deadline and what is known of the moment."""
    changes = dict(draw(st.sampled_from(RULES[form])))
    changes |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "warmup": st.sampled_from([0, 20, 120]), "lag": st.sampled_from([0, 45]),
                "decide_by": st.sampled_from([{"requests": 500}, {"after": "5m"}]),
                "min_requests": st.sampled_from([1, 1e6]),
            },
        )
    )  # fmt: skip
    moment = Moment(
        elapsed_seconds=draw(st.sampled_from([None, 600.0])),
        at_this_weight=draw(st.booleans()),
        weight=draw(st.sampled_from([None, 0.05, 0.5])),
    )
    return *policy_of(form, **changes), moment


def numbers(value: object) -> list[float]:
    """Collect all numbers of a finding."""
    if is_dataclass(value):
        return [number for one in fields(value) for number in numbers(getattr(value, one.name))]
    if isinstance(value, tuple):
        return [number for one in value for number in numbers(one)]
    return [float(value)] if isinstance(value, float | int) else []


def judged(check: Check, reading: Reading[Counts], policy: Policy, moment: Moment = checks.NOW) -> Finding:
    """Judge as a verdict does: after warm-up and lag are left out."""
    return checks.judge(check, checks.trim(reading, check, moment.elapsed_seconds), policy, moment)


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
@examples(60)
def test_no_counts_break_a_check(form: str, data: st.DataObject) -> None:
    """Every finding has numbers that are numbers, an interval around its value and a range around its forecast."""
    reading, (check, policy, moment) = data.draw(readings(form)), data.draw(questions(form))

    found = judged(check, reading, policy, moment)

    assert not any(math.isnan(number) for number in numbers(found))
    assert "nan" not in found.reason + found.headline
    for estimate in (found.canary, found.baseline, found.delta):
        if estimate is not None and estimate.value is not None and estimate.low is not None:
            assert estimate.high is not None
            assert estimate.low <= estimate.value * (1 + 1e-9) + 1e-9
            assert estimate.value <= estimate.high * (1 + 1e-9) + 1e-9
    few, many = found.remaining_range
    if found.remaining_requests is None:
        assert many is None
    else:
        assert 0 <= found.remaining_requests < math.inf
        assert few is None or few <= found.remaining_requests * (1 + 1e-9)
        assert many is None or found.remaining_requests <= many * (1 + 1e-9)
    bars = found.evidence
    assert 0 <= bars.towards_pass < math.inf
    assert 0 <= bars.towards_fail < math.inf
    if found.outcome is Outcome.INCONCLUSIVE and check.rule is not Rule.POINT:
        assert max(bars.towards_pass, bars.towards_fail) < 1


# Monotone in what goes wrong


@given(st.integers(0, 2**32 - 1), st.sampled_from(["zone", "strict"]))
@examples(80)
def test_an_error_more_never_helps(seed: int, rule: str) -> None:
    """In whichever slice it happens: the evidence towards a fail does not shrink, that towards a pass does not grow."""
    rng = np.random.default_rng(seed)
    slices = int(rng.choice([1, 2, 8, 40]))
    requests = np.round(10 ** rng.uniform(1, 5) * rng.uniform(0.1, 2, slices)) + 1
    errors = rng.binomial(requests.astype(int), rng.choice([0.0, 0.002, 0.01, 0.05])).astype(float)
    place = int(rng.integers(slices))
    errors[place] = min(errors[place], requests[place] - 1)
    more = errors.copy()
    more[place] += 1
    check, policy = policy_of("errors", rule=rule)

    fewer, worse = (judged(check, Reading(Errors(one, requests), None, 60.0), policy) for one in (errors, more))

    assert worse.evidence.towards_fail >= fewer.evidence.towards_fail - 1e-9
    assert worse.evidence.towards_pass <= fewer.evidence.towards_pass + 1e-9


@given(st.integers(0, 2**32 - 1), st.sampled_from([{}, {"rule": "strict"}]))
@examples(80)
def test_a_slow_request_more_never_helps(seed: int, changes: dict[str, Any]) -> None:
    """Moved to any slower bucket, in any slice."""
    rng = np.random.default_rng(seed)
    slices = int(rng.choice([1, 2, 8, 40]))
    counts = rng.multinomial(int(10 ** rng.uniform(1, 4)), [0.5, 0.45, 0.03, 0.01, 0.01], slices).astype(float)
    place, bucket = int(rng.integers(slices)), int(rng.integers(2))
    counts[place, bucket] += 1
    slower = counts.copy()
    slower[place, bucket] -= 1
    slower[place, int(rng.integers(bucket + 1, len(EDGES)))] += 1
    check, policy = policy_of("latency", **changes)

    before, after = (judged(check, Reading(Histogram(EDGES, one), None, 60.0), policy) for one in (counts, slower))

    assert after.evidence.towards_fail >= before.evidence.towards_fail - 1e-9
    assert after.evidence.towards_pass <= before.evidence.towards_pass + 1e-9


@given(st.integers(0, 2**32 - 1))
@examples(80)
def test_a_sale_less_never_helps(seed: int) -> None:
    """With one slice: the canary's conversions, beside a baseline that stays."""
    rng = np.random.default_rng(seed)
    n, m = (int(10 ** rng.uniform(1.5, 5)) for _ in range(2))
    share = rng.choice([0.02, 0.2, 0.6])
    successes, baseline = float(rng.binomial(n, share)) + 1, Conversions(np.array([share * m]), np.array([float(m)]))
    check, policy = policy_of("conversions")

    more, fewer = (
        judged(check, Reading(Conversions(np.array([min(one, float(n))]), np.array([float(n)])), baseline), policy)
        for one in (successes, successes - 1)
    )

    assert fewer.evidence.towards_fail >= more.evidence.towards_fail - 1e-9
    assert fewer.evidence.towards_pass <= more.evidence.towards_pass + 1e-9


# Nested in alpha


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
def test_who_allows_fewer_errors_decides_later(form: str, data: st.DataObject) -> None:
    """What is decided at a tenth of alpha is so at alpha, unless held back; where nothing is, the interval is wider."""
    reading = data.draw(readings(form))
    check, policy = policy_of(form)
    strict = policy.model_copy(update={"alpha": policy.alpha / 10})

    likely, sure = judged(check, reading, policy), judged(check, reading, strict)

    held = likely.outcome is Outcome.INCONCLUSIVE and likely.evidence.towards_fail >= 0.5  # or excused
    assert held or sure.outcome in (likely.outcome, Outcome.INCONCLUSIVE)
    if likely.outcome is sure.outcome is Outcome.INCONCLUSIVE and likely.since == sure.since:
        for wide, narrow in ((sure.canary, likely.canary), (sure.delta or sure.canary, likely.delta or likely.canary)):
            if narrow.low is not None and narrow.high is not None and wide.low is not None and wide.high is not None:
                assert wide.low <= narrow.low + 1e-9
                assert narrow.high <= wide.high + 1e-9


# Slices


def halved(counts: Counts) -> Counts:
    """Cut every slice into two equal ones."""
    return replace(counts, **{name: np.repeat(one, 2, axis=0) / 2 for name, one in by_slice(counts).items()})  # type: ignore[arg-type]


@pytest.mark.parametrize("form", [form for form in FORMS if form != "means"])  # of which slices are what is judged
@given(data=st.data())
def test_slices_cut_in_two_tell_the_same(form: str, data: st.DataObject) -> None:
    """The value, its evidence towards a pass and every start that was there: the length of slices is no statistic."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    slices = data.draw(st.sampled_from([20, 60]))  # fewer make shorter batches for the design effect
    canary, baseline = (arm_of(form, slices, rng) for _ in range(2))
    enough = [replace(one, **{n: v + 400.0 for n, v in by_slice(one).items()}) for one in (canary, baseline)]  # type: ignore[arg-type]
    if form == "values":
        enough = [replace(one, squares=3 * one.total**2 / one.count) for one in enough if isinstance(one, Values)]
    # A delay is estimated in slices, whose length it depends on.
    check, policy = policy_of(form, rule="strict", **({"delay": 0} if form == "conversions" else {}))
    # A baseline in trouble as well excuses an arm that is held against limits, which depends on slices.
    ours, theirs = enough[0], None if form in ("errors", "latency") else enough[1]
    whole = Reading(ours, theirs, 60.0)
    cut = Reading(halved(ours), None if theirs is None else halved(theirs), 30.0)

    one, two = judged(check, whole, policy), judged(check, cut, policy)

    if one.outcome is not Outcome.FAIL and two.outcome is not Outcome.FAIL and one.since is two.since is None:
        assert (two.canary.value or 0.0) == pytest.approx(one.canary.value or 0.0, rel=1e-3, abs=1e-4)
        if max(one.evidence.towards_fail, two.evidence.towards_fail) < 0.5:
            assert two.evidence.towards_pass == pytest.approx(one.evidence.towards_pass, rel=0.01, abs=0.01)
    # The rate around a request, which the design effect depends on, is told by slices: nearly the same.
    assert two.evidence.towards_fail >= 0.9 * one.evidence.towards_fail - 0.01


# Symmetry


@given(st.integers(0, 2**32 - 1))
@examples(60)
def test_a_drift_is_the_same_from_both_sides(seed: int) -> None:
    """Which arm is the canary does not matter to the PSI, while the split stays."""
    rng = np.random.default_rng(seed)
    slices, size = int(rng.choice([1, 5, 30])), 10 ** rng.uniform(1, 5)
    shares = rng.dirichlet(np.full(5, 5.0), 2)
    ours, theirs = (
        np.outer(size * scale * np.ones(slices), share) for scale, share in zip((1, 7), shares, strict=True)
    )
    check, policy = policy_of("classes", min_requests=1)
    names = ("a", "b", "c", "d", "e")
    past = {"history": Classes(names, np.outer(size * np.ones(120), shares[0])), "history_seconds": 60.0}

    found, back = (
        judged(check, Reading(Classes(names, one), Classes(names, other), 60.0, **past), policy)
        for one, other in ((ours, theirs), (theirs, ours))
    )

    assert back.outcome is found.outcome
    assert (back.canary.value or 0.0) == pytest.approx(found.canary.value or 0.0, rel=1e-6, abs=1e-9)
    assert back.evidence.towards_fail == pytest.approx(found.evidence.towards_fail, rel=0.01, abs=1e-6)


@given(st.integers(0, 2**32 - 1))
@examples(60)
def test_the_order_of_the_classes_does_not_matter(seed: int) -> None:
    """Classes are known by name."""
    rng = np.random.default_rng(seed)
    ours, theirs = (rng.integers(0, 500, (3, 5)).astype(float) for _ in range(2))
    order = rng.permutation(5)
    names = np.array(["a", "b", "c", "d", "e"])
    check, policy = policy_of("classes")

    found, other = (
        judged(check, Reading(Classes(tuple(names[one]), ours[:, one]), Classes(tuple(names), theirs), 60.0), policy)
        for one in (np.arange(5), order)
    )

    assert other == found
