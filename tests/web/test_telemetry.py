"""Tests of `analyzer.web.telemetry`: what stands on /metrics after verdicts, for how long, and how much of it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from analyzer.config.policy import load_policies
from analyzer.config.profile import load_profiles
from analyzer.config.settings import Settings
from analyzer.model.findings import Code, Gap, Outcome
from analyzer.sources.scrape import ScrapeSource
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.judge import Verdict
from analyzer.verdict.request import VerdictRequest, parse_request
from analyzer.verdict.wiring import build_analyzer
from analyzer.version import __version__
from analyzer.web.app import create_app
from analyzer.web.telemetry import KEPT_SECONDS, MOST_OF_A_SERVICE, MOST_QUESTIONS, MOST_ROLLOUTS, Telemetry

CANARY, BASELINE = {"errors": 14, "requests": 865}, {"errors": 52, "requests": 16435}
BUSINESS = {"canary": {"successes": 100, "trials": 1000}, "baseline": {"successes": 1000, "trials": 10000}}
BODY: dict[str, Any] = {
    "namespace": "ml",
    "service": "fraud",
    "canary": "6d8f9c7b5d",
    "baseline": "75d4f8b9c8",
    "checks": "error_rate,business_proxy",
    "data": {"error_rate": {"canary": CANARY, "baseline": BASELINE}, "business_proxy": BUSINESS},
}
FRAUD = {"namespace": "ml", "service": "fraud", "policy": "ml-model"}

LENIENT = {"base": "ml-model", "checks": {"error_rate": {"promote": "50%", "rollback": "60%"}}}

Labels = frozenset[tuple[str, str]]


class Clock:
    """Seconds that go on only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of `telemetry`."""
    return Clock()


@pytest.fixture
def telemetry(clock: Clock) -> Telemetry:
    """Metrics of a service with source scrape, before anything was asked."""
    return Telemetry("scrape", clock, lambda: 1e9 + clock())


@pytest.fixture(scope="module")
def fraud() -> Verdict:
    """The verdict on `BODY`."""
    analyzer = Analyzer(load_policies(None), load_profiles(None), ScrapeSource({}))
    return analyzer.verdict(parse_request(BODY))


def samples(telemetry: Telemetry, metric: str) -> dict[Labels, float]:
    """Read the samples of one name from the page, by their labels."""
    families = text_string_to_metric_families(generate_latest(telemetry.registry).decode())
    return {
        frozenset(one.labels.items()): one.value for family in families for one in family.samples if one.name == metric
    }


def value(telemetry: Telemetry, metric: str, **labels: str) -> float:
    """Read the one sample of these labels."""
    return samples(telemetry, metric)[frozenset(labels.items())]


def test_the_verdict_of_each_check_and_of_all(telemetry: Telemetry, fraud: Verdict) -> None:
    """1 is pass, 0 inconclusive and -1 fail; check "all" is the whole."""
    telemetry.rollouts.record("ml", "fraud", fraud)
    found = samples(telemetry, "analyzer_verdict")

    assert fraud.outcome is Outcome.FAIL
    assert found == {
        frozenset((FRAUD | {"check": "all"}).items()): -1.0,
        frozenset((FRAUD | {"check": "error_rate"}).items()): -1.0,
        frozenset((FRAUD | {"check": "business_proxy"}).items()): 0.0,
    }


def test_a_pass_is_one(telemetry: Telemetry, fraud: Verdict) -> None:
    """A later verdict replaces the earlier."""
    telemetry.rollouts.record("ml", "fraud", fraud)
    telemetry.rollouts.record("ml", "fraud", replace(fraud, outcome=Outcome.PASS))

    assert value(telemetry, "analyzer_verdict", **FRAUD, check="all") == 1.0


def test_values_limits_and_evidence(telemetry: Telemetry, fraud: Verdict) -> None:
    """What a dashboard draws is what the verdict found, in ratios and seconds."""
    telemetry.rollouts.record("ml", "fraud", fraud)
    error_rate = FRAUD | {"check": "error_rate"}
    business = FRAUD | {"check": "business_proxy"}
    evidence = fraud.findings["error_rate"].evidence

    assert value(telemetry, "analyzer_check_value", **error_rate, arm="canary") == pytest.approx(14 / 865)
    assert value(telemetry, "analyzer_check_value", **error_rate, arm="baseline") == pytest.approx(52 / 16435)
    assert value(telemetry, "analyzer_check_value", **business, arm="delta") == pytest.approx(0.0, abs=1e-9)
    assert value(telemetry, "analyzer_check_limit", **error_rate, limit="promote") == 0.005
    assert value(telemetry, "analyzer_check_limit", **error_rate, limit="rollback") == 0.01
    assert value(telemetry, "analyzer_check_limit", **business, limit="rollback") == -0.03
    assert value(telemetry, "analyzer_check_evidence", **error_rate, towards="fail") == evidence.towards_fail >= 1
    assert value(telemetry, "analyzer_check_evidence", **error_rate, towards="pass") == evidence.towards_pass


def test_why_what_and_since_when(telemetry: Telemetry, clock: Clock, fraud: Verdict) -> None:
    """Each check has one code, one role and unit, and the moment of its latest verdict."""
    telemetry.rollouts.record("ml", "fraud", fraud)
    first = clock.now
    clock.now += 60
    telemetry.rollouts.record("ml", "fraud", replace(fraud, findings={"error_rate": fraud.findings["error_rate"]}))
    error_rate, business = FRAUD | {"check": "error_rate"}, FRAUD | {"check": "business_proxy"}

    assert samples(telemetry, "analyzer_check_code") == {
        frozenset((error_rate | {"code": "proved_bad"}).items()): 1.0,
        frozenset((business | {"code": "undecided"}).items()): 1.0,
    }
    assert samples(telemetry, "analyzer_check_info") == {
        frozenset((error_rate | {"role": "gate", "unit": "ratio"}).items()): 1.0,
        frozenset((business | {"role": "guardrail", "unit": "change"}).items()): 1.0,
    }
    assert value(telemetry, "analyzer_verdict_timestamp_seconds", **error_rate) == 1e9 + first + 60
    assert value(telemetry, "analyzer_verdict_timestamp_seconds", **business) == 1e9 + first
    assert value(telemetry, "analyzer_verdict_timestamp_seconds", **FRAUD, check="all") == 1e9 + first + 60


def test_a_gate_has_the_role_of_the_stage(telemetry: Telemetry) -> None:
    """While ramping the gates are guardrails; a check that is a guardrail anyway stays one."""
    analyzer = Analyzer(load_policies(None), load_profiles(None), ScrapeSource({}))
    body = BODY | {"policy": {"base": "ml-model", "role": "advisory"}}
    telemetry.rollouts.record("ml", "fraud", analyzer.verdict(parse_request(body)))

    assert value(telemetry, "analyzer_check_info", **FRAUD, check="error_rate", role="advisory", unit="ratio") == 1
    assert (
        value(telemetry, "analyzer_check_info", **FRAUD, check="business_proxy", role="guardrail", unit="change") == 1
    )


def test_intervals_and_requests_needed(telemetry: Telemetry, fraud: Verdict) -> None:
    """Bounds as in the answer, of all arms; what is decided needs no more."""
    found = fraud.findings["error_rate"]
    telemetry.rollouts.record("ml", "fraud", fraud)
    error_rate = FRAUD | {"check": "error_rate"}
    remaining = {
        dict(labels)["check"]: n for labels, n in samples(telemetry, "analyzer_check_remaining_requests").items()
    }

    for arm, estimate in (("canary", found.canary), ("baseline", found.baseline)):
        for bound in ("low", "high"):
            assert value(telemetry, "analyzer_check_interval", **error_rate, arm=arm, bound=bound) == getattr(
                estimate, bound
            )
    assert remaining["error_rate"] == 0
    assert remaining["business_proxy"] == fraud.findings["business_proxy"].remaining_requests != 0


def test_a_bound_that_is_infinite_is_not_exported(telemetry: Telemetry, fraud: Verdict) -> None:
    """No axis has a place for it."""
    found = fraud.findings["error_rate"]
    wide = replace(found, canary=replace(found.canary, high=float("inf")), remaining_requests=None)
    telemetry.rollouts.record("ml", "fraud", replace(fraud, findings={"error_rate": wide}))
    bounds = [dict(labels) for labels in samples(telemetry, "analyzer_check_interval")]

    assert [one["bound"] for one in bounds if one["arm"] == "canary"] == ["low"]
    assert samples(telemetry, "analyzer_check_remaining_requests") == {}


def test_answers_about_different_windows_do_not_take_turns(telemetry: Telemetry, fraud: Verdict) -> None:
    """A guard that looks since the start and a step that looks since the last weight are shown side by side."""
    telemetry.rollouts.record("ml", "fraud", fraud, "start")
    telemetry.rollouts.record("ml", "fraud", replace(fraud, outcome=Outcome.PASS), "step")
    telemetry.rollouts.record("ml", "fraud", replace(fraud, outcome=Outcome.INCONCLUSIVE), "5m")
    found = {
        dict(labels).get("window"): number
        for labels, number in samples(telemetry, "analyzer_verdict").items()
        if dict(labels)["check"] == "all"
    }

    assert found == {None: -1.0, "step": 1.0, "last": 0.0}


def verdicts(telemetry: Telemetry, check: str = "all") -> dict[tuple[str, ...], float]:
    """Read the verdicts by canary and policy."""
    found = {tuple(sorted(labels)): number for labels, number in samples(telemetry, "analyzer_verdict").items()}
    return {
        (dict(labels).get("canary", ""), dict(labels)["policy"]): number
        for labels, number in found.items()
        if dict(labels)["check"] == check
    }


@pytest.mark.parametrize(
    ("earlier", "later", "shown"),
    [
        ({}, {"policy": "ml-model-mean"}, {("v2", "ml-model"): -1.0, ("v2", "ml-model-mean"): 1.0}),
        ({}, {"canary": "v3"}, {("v2", "ml-model"): -1.0, ("v3", "ml-model"): 1.0}),
        ({}, {"policy": LENIENT}, {("v2", "ml-model"): -1.0}),
        ({}, {"profile": "istio"}, {("v2", "ml-model"): -1.0}),
        ({"labels": {"cluster": "eu"}}, {"labels": {"cluster": "us"}}, {("v2", "ml-model"): -1.0}),
        ({"checks": "error_rate"}, {"checks": "latency_p99"}, {("v2", "ml-model"): -1.0}),
        ({}, {}, {("v2", "ml-model"): 1.0}),
    ],
    ids=["policy", "canary", "overrides", "profile", "labels", "checks", "the same"],
)
def test_a_fail_is_not_hidden_by_the_answer_to_another_question(
    fraud: Verdict, earlier: dict[str, Any], later: dict[str, Any], shown: dict[tuple[str, ...], float]
) -> None:
    """What differs in canary or policy stands beside it; a fail stays beside what else differs, of a check as well."""
    settings, telemetry = Settings(), Telemetry("scrape")
    outcomes = [Outcome.FAIL, Outcome.PASS]

    class Judging(Analyzer):
        def verdict(self, request: VerdictRequest) -> Verdict:
            gap = self.without(request, Gap(Code.NO_CANARY_TRAFFIC, "none"))
            outcome = outcomes.pop(0)
            findings = {name: replace(finding, outcome=outcome) for name, finding in gap.findings.items()}
            return replace(gap, outcome=outcome, findings=findings)

    analyzer = Judging(load_policies(None), load_profiles(None), ScrapeSource({}))
    client = create_app(analyzer, settings, telemetry).test_client()
    body = {"namespace": "ml", "service": "fraud", "canary": "v2", "baseline": "v1"}
    for fields in (earlier, later):
        assert client.post("/v1/verdict", json=body | fields).status_code == 200

    assert verdicts(telemetry) == shown
    if "checks" not in later:
        assert verdicts(telemetry, "error_rate") == shown


def test_the_canaries_and_policies_of_a_service_are_bounded(telemetry: Telemetry, clock: Clock, fraud: Verdict) -> None:
    """A caller who makes them up forgets neither another service's, nor one that failed."""
    passed = replace(fraud, outcome=Outcome.PASS, findings={})
    telemetry.rollouts.record("ml", "spam", passed, canary="v2")
    telemetry.rollouts.record("ml", "fraud", fraud, canary="v2")
    for number in range(3 * MOST_OF_A_SERVICE):
        clock.now += 0.001
        telemetry.rollouts.record("ml", "fraud", passed, canary=f"made-up-{number}")
    for number in range(3 * MOST_QUESTIONS):
        telemetry.rollouts.record("ml", "fraud", passed, canary="v2", question=number)
    found = {(dict(labels)["service"], dict(labels)["canary"]): number
             for labels, number in samples(telemetry, "analyzer_verdict").items()
             if dict(labels)["check"] == "all"}  # fmt: skip

    assert len(found) == 1 + MOST_OF_A_SERVICE
    assert found["spam", "v2"] == 1.0
    assert found["fraud", "v2"] == -1.0


def verdict_on(data: dict[str, Any], checks: str = "all") -> Verdict:
    """Judge statistics of time slices."""
    analyzer = Analyzer(load_policies(None), load_profiles(None), ScrapeSource({}))
    return analyzer.verdict(parse_request({"service": "fraud", "data": data, "checks": checks}))


def errors(*requests: int) -> list[dict[str, int]]:
    """Write time slices without an error."""
    return [{"errors": 0, "requests": count} for count in requests]


def test_the_canarys_share_is_that_of_the_present_split(telemetry: Telemetry) -> None:
    """Slices before the weight moved from 10% to 50% do not count."""
    arms = {"canary": errors(100, 100, 500, 500), "baseline": errors(900, 900, 500, 500)}
    telemetry.rollouts.record("ml", "fraud", verdict_on({"error_rate": arms}))

    assert value(telemetry, "analyzer_canary_share", **FRAUD) == 0.5


@pytest.mark.parametrize(
    ("data", "checks", "share"),
    [
        ({"error_rate": {"canary": errors(100), "baseline": errors(300)}}, "all", 0.25),
        ({"error_rate": {"canary": errors(0), "baseline": errors(300)}}, "all", 0.0),
        ({"error_rate": {"canary": errors(100)}}, "all", None),
        ({}, "all", None),
        ({"prediction_drift": {"canary": {"classes": {"a": 10}}, "baseline": {"classes": {"a": 90}}}}, "all", 0.1),
        ({"business_proxy": BUSINESS}, "business_proxy", 0.75),
    ],
    ids=["known", "no canary traffic", "no baseline", "nothing", "by predictions", "kept"],
)
def test_the_canarys_share_is_of_requests(
    telemetry: Telemetry, data: dict[str, Any], checks: str, share: float | None
) -> None:
    """By the first check that has both arms; business events are no requests, so asking for them changes nothing."""
    before = {"error_rate": {"canary": errors(300), "baseline": errors(100)}}
    telemetry.rollouts.record("ml", "fraud", verdict_on(before))
    telemetry.rollouts.record("ml", "fraud", verdict_on(data, checks))

    assert list(samples(telemetry, "analyzer_canary_share").values()) == ([] if share is None else [share])


def test_what_is_not_known_is_not_exported(telemetry: Telemetry) -> None:
    """A value that is absent is no sample, rather than NaN or zero."""
    analyzer = Analyzer(load_policies(None), load_profiles(None), ScrapeSource({}))
    empty = analyzer.verdict(parse_request({"service": "fraud", "data": {}}))
    telemetry.rollouts.record(None, "fraud", empty)

    assert samples(telemetry, "analyzer_check_value") == {}
    assert set(samples(telemetry, "analyzer_verdict").values()) == {0.0}
    assert "NaN" not in generate_latest(telemetry.registry).decode()


def test_verdicts_are_counted_by_outcome(telemetry: Telemetry, fraud: Verdict) -> None:
    """Every outcome has its counter from the first verdict on."""
    for _ in range(3):
        telemetry.rollouts.record("ml", "fraud", fraud)

    assert value(telemetry, "analyzer_verdicts_total", **FRAUD, verdict="fail") == 3
    assert value(telemetry, "analyzer_verdicts_total", **FRAUD, verdict="pass") == 0
    assert value(telemetry, "analyzer_verdicts_total", **FRAUD, verdict="inconclusive") == 0


def test_checks_asked_for_one_by_one_stand_side_by_side(telemetry: Telemetry, fraud: Verdict) -> None:
    """A template that asks for each check by itself gets the same gauges as one that asks for all."""
    for name, found in fraud.findings.items():
        telemetry.rollouts.record("ml", "fraud", replace(fraud, findings={name: found}))

    assert {dict(labels)["check"] for labels in samples(telemetry, "analyzer_verdict")} == {
        "all",
        "error_rate",
        "business_proxy",
    }


def test_a_verdict_on_no_service_is_not_exported(telemetry: Telemetry, fraud: Verdict) -> None:
    """Statistics in the request need no name, and gauges do."""
    telemetry.rollouts.record(None, None, fraud)

    assert samples(telemetry, "analyzer_verdict") == {}


def test_gauges_disappear_some_minutes_after_the_last_question(
    telemetry: Telemetry, clock: Clock, fraud: Verdict
) -> None:
    """A rollout that nobody asks about any more leaves the page, and one that is asked about stays."""
    telemetry.rollouts.record("ml", "fraud", fraud)
    telemetry.rollouts.record("ml", "spam", fraud)
    clock.now += KEPT_SECONDS
    telemetry.rollouts.record("ml", "spam", fraud)
    at_the_end = {dict(labels)["service"] for labels in samples(telemetry, "analyzer_verdict")}
    clock.now += 1
    after = {dict(labels)["service"] for labels in samples(telemetry, "analyzer_verdict")}

    assert at_the_end == {"fraud", "spam"}
    assert after == {"spam"}
    assert value(telemetry, "analyzer_verdicts_total", **FRAUD | {"service": "spam"}, verdict="fail") == 2


def test_a_check_that_is_no_longer_asked_for_disappears(telemetry: Telemetry, clock: Clock, fraud: Verdict) -> None:
    """Even while the rollout is asked about with other checks."""
    telemetry.rollouts.record("ml", "fraud", fraud)
    clock.now += KEPT_SECONDS + 1
    telemetry.rollouts.record("ml", "fraud", replace(fraud, findings={"error_rate": fraud.findings["error_rate"]}))

    assert {dict(labels)["check"] for labels in samples(telemetry, "analyzer_verdict")} == {"all", "error_rate"}


def test_the_number_of_rollouts_is_bounded(telemetry: Telemetry, clock: Clock, fraud: Verdict) -> None:
    """The rollouts asked about longest ago make place for new ones."""
    telemetry.rollouts.record("ml", "first", fraud)
    for place in range(MOST_ROLLOUTS - 1):
        clock.now += 0.001
        telemetry.rollouts.record("ml", f"service-{place}", fraud)
    telemetry.rollouts.record("ml", "first", fraud)
    telemetry.rollouts.record("ml", "one-more", fraud)
    names = {dict(labels)["service"] for labels in samples(telemetry, "analyzer_verdict")}

    assert MOST_ROLLOUTS == 1000
    assert len(names) == MOST_ROLLOUTS
    assert {"first", "one-more"} <= names
    assert "service-0" not in names


def test_made_up_names_do_not_push_a_rollout_out(telemetry: Telemetry, clock: Clock, fraud: Verdict) -> None:
    """Who is asked about again and again stays, however many others are asked about once."""
    for name in ("guarded", "guarded", *(f"made-up-{number}" for number in range(2 * MOST_ROLLOUTS))):
        clock.now += 0.001
        telemetry.rollouts.record("ml", name, fraud)
    names = {dict(labels)["service"] for labels in samples(telemetry, "analyzer_verdict")}

    assert len(names) == MOST_ROLLOUTS
    assert {"guarded", f"made-up-{2 * MOST_ROLLOUTS - 1}"} <= names


def test_a_new_rollout_is_exported_beside_many_others(telemetry: Telemetry, clock: Clock, fraud: Verdict) -> None:
    """Where all others are asked about again and again, it takes the place of the one that was silent longest."""
    for name in (*(f"rollout-{number // 2}" for number in range(2 * MOST_ROLLOUTS)), "new"):
        clock.now += 0.001
        telemetry.rollouts.record("ml", name, fraud)
    names = {dict(labels)["service"] for labels in samples(telemetry, "analyzer_verdict")}

    assert "new" in names
    assert "rollout-0" not in names


def test_requests_to_the_source_are_timed_and_their_errors_counted(telemetry: Telemetry) -> None:
    """Every reason has a counter from the start, so that an alert sees its first increase."""
    before = samples(telemetry, "analyzer_source_errors_total")
    telemetry.observe_source(0.02, None)
    telemetry.observe_source(0.2, "timeout")

    assert set(before.values()) == {0.0}
    assert value(telemetry, "analyzer_source_request_duration_seconds_count", source="scrape") == 2
    assert value(telemetry, "analyzer_source_request_duration_seconds_sum", source="scrape") == pytest.approx(0.22)
    assert value(telemetry, "analyzer_source_request_duration_seconds_bucket", source="scrape", le="0.025") == 1
    assert value(telemetry, "analyzer_source_errors_total", source="scrape", reason="timeout") == 1
    assert value(telemetry, "analyzer_source_errors_total", source="scrape", reason="unavailable") == 0


def test_the_build_is_named(telemetry: Telemetry) -> None:
    """The version is a label of a gauge that is 1."""
    assert samples(telemetry, "analyzer_build_info") == {frozenset({("version", __version__)}): 1.0}


@pytest.fixture
def garbage() -> Iterator[str]:
    """Address of a page that is none, with an error text that must not come into a label."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>LEAKED TEXT</html>")

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/metrics"
    server.shutdown()
    thread.join()
    server.server_close()


def page_after_questions(garbage: str, clock: Clock) -> str:
    """Ask the real application good, bad and failing questions, and return its page of metrics."""
    closed = "http://127.0.0.1:9/metrics"
    settings = Settings(scrape_targets={"6d8f9c7b5d": [garbage], "75d4f8b9c8": [closed]})
    telemetry = Telemetry("scrape", clock)
    client = create_app(build_analyzer(settings, telemetry.observe_source), settings, telemetry).test_client()
    arms = {name: BODY[name] for name in ("namespace", "service", "canary", "baseline")}
    statuses = [
        client.post("/v1/verdict", json=body).status_code
        for body in (arms, BODY, arms | {"checks": "wrong-check"}, {"service": "wrong service"}, {"data": 5})
    ]
    assert statuses == [200, 200, 400, 400, 400]
    return client.get("/metrics").text


def test_labels_are_closed_lists_or_validated_names(garbage: str, clock: Clock) -> None:
    """No label holds an error text, an address, or a name that was refused."""
    families = list(text_string_to_metric_families(page_after_questions(garbage, clock)))
    found: dict[str, set[str]] = {}
    for sample in (one for family in families for one in family.samples if one.name.startswith("analyzer_")):
        for label, text in sample.labels.items():
            found.setdefault(label, set()).add(text)
    policy = load_policies(None)["ml-model"]

    assert found.pop("le")
    assert found == {
        "namespace": {"ml"},
        "service": {"fraud"},
        "canary": {"6d8f9c7b5d"},
        "policy": {"ml-model"},
        "check": {"all", *policy.checks},
        "arm": {"canary", "baseline", "delta"},
        "bound": {"low", "high"},
        "limit": {"promote", "rollback"},
        "role": {"gate", "guardrail"},
        "unit": {"ratio", "seconds", "psi", "change"},
        "code": {"proved_bad", "undecided", "source_unavailable"},
        "towards": {"pass", "fail"},
        "verdict": {outcome.value for outcome in Outcome},
        "source": {"scrape"},
        "reason": {"unavailable", "timeout", "bad_response", "partial"},
        "status": {"200", "400"},
        "version": {__version__},
    }


def test_the_application_fills_every_metric_of_the_contract(garbage: str, clock: Clock) -> None:
    """One page holds them all, with what was asked before it."""
    page = page_after_questions(garbage, clock)
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    total = ("analyzer_verdicts_total", ("canary", "6d8f9c7b5d"), ("namespace", "ml"), ("policy", "ml-model"),
             ("service", "fraud"))  # fmt: skip

    assert found["analyzer_verdict_duration_seconds_count",] == 3
    assert found[*total, ("verdict", "fail")] == 1
    assert found[*total, ("verdict", "inconclusive")] == 1
    assert found["analyzer_source_request_duration_seconds_count", ("source", "scrape")] == 2
    assert found["analyzer_source_errors_total", ("reason", "bad_response"), ("source", "scrape")] == 1
    assert found["analyzer_source_errors_total", ("reason", "unavailable"), ("source", "scrape")] == 1
    assert found["analyzer_http_responses_total", ("status", "400")] == 3
    assert "LEAKED" not in page
    assert re.search(r"^process_resident_memory_bytes [0-9.e+]+$", page, re.MULTILINE)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_say(garbage: str, clock: Clock) -> None:
    """Names, units, types and help texts are as Prometheus wants them."""
    page = page_after_questions(garbage, clock)
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
