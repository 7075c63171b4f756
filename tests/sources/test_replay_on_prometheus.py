"""`analyzer replay` on the past of a real Prometheus: each look is the verdict that was answered then."""

import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from prometheus_server import Point, PrometheusServer, StartPrometheus
from sources.pods import CHECKS, OTHER_WAYS, PROFILE, Pod, Process, Scrape, first_sample
from sources.remote_write import write_histograms
from test_exact_counts import NOON, experiment, in_turn, rollout, scenario
from test_victoria_metrics import AS_ASKED, url  # noqa: F401 - a fixture

from analyzer.cli import cli
from analyzer.config.policy import load_policies
from analyzer.config.profile import LatencyHistogram, Profile
from analyzer.config.selector import Selector
from analyzer.errors import RequestError
from analyzer.model.counts import Counts, Reading, by_slice
from analyzer.model.findings import Code, Gap, Outcome
from analyzer.planning.replayed_rollout import _Recorder, replay
from analyzer.sources.prometheus import PrometheusSource
from analyzer.sources.prometheus_api import Connection, PrometheusApi
from analyzer.sources.recorded_window import Recording
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.case import Case
from analyzer.verdict.request import VerdictRequest, parse_request

HOUR = 3600.0
DAY_AGO = NOON - 24 * HOUR
DRAWN = (1, 4, 7, 12, 25)


def steady(arm: str, begin: float, end: float, requests: int, *, later: tuple[float, int] = (NOON, 0)) -> Pod:
    """Let a pod serve about so many requests before each scrape, and from a moment on others, one in 500 badly."""
    draw, pod, process, moment = np.random.default_rng(len(arm)), Pod(arm, f"{arm}-pod"), Process(begin - 3), begin
    while moment <= end:
        count = int(draw.poisson(later[1] if moment > later[0] else requests))
        failed = int(draw.binomial(count, 0.002))
        process.add("http_requests_total", "status", "200", by=count - failed)
        process.add("http_requests_total", "status", "500", by=failed)
        counters = {key: value for key, value in process.counters.items() if key[0] == "http_requests_total"}
        pod.scrapes.append(Scrape(moment, process.start, counters))
        moment += 15
    return pod


def history() -> Iterator[Point]:
    """Write the pods of all tests."""
    weights = {"steps": 150, "steps-base": 2850}
    later = {"steps": (NOON - 1200, 750), "steps-base": (NOON - 1200, 2250)}
    pods = [
        *rollout(),
        *experiment(),
        *in_turn(),
        *(pod for number in DRAWN for pod in scenario(number)),
        *(
            steady(arm, NOON - HOUR * (1 + 2 * (arm != "steps")), NOON, weights[arm], later=later[arm])
            for arm in weights
        ),
        steady("day", DAY_AGO, NOON, 60),
        steady("day-base", DAY_AGO - 7200, NOON, 1000),
    ]
    for pod in pods:
        yield from pod.points()


@pytest.fixture(scope="module")
def prometheus(start_prometheus: StartPrometheus) -> PrometheusServer:
    """A Prometheus with the past of all tests."""
    return start_prometheus(history())


def analyzer_of(url: str, profile: Profile = PROFILE, *, asked: list[float] | None = None, **options: Any) -> Analyzer:  # noqa: F811
    """Build an analyzer that remembers nothing; it lists how long its queries took."""
    observe = (lambda seconds, _: asked.append(seconds)) if asked is not None else (lambda *_: None)
    api = PrometheusApi(Connection(url, timeout=60, parameters=options.pop("parameters", {})), observe=observe)
    return Analyzer(
        policies=load_policies(None),
        profiles={profile.name: profile},
        default_profile=profile.name,
        source=PrometheusSource(api, **options),
        deadline_seconds=60,
    )


def question(canary: str, baseline: str | None = None, **fields: Any) -> VerdictRequest:
    """Ask about a canary of the tests."""
    body = {"service": "fraud", "namespace": "ml", "canary": canary, "baseline": baseline, "at": NOON, **fields}
    return parse_request({name: value for name, value in body.items() if value is not None})


def recorded(analyzer: Analyzer, asked: VerdictRequest) -> tuple[Analyzer, Recording]:
    """Give an analyzer that answers from a recording."""
    assert isinstance(analyzer.source, PrometheusSource)
    profile = analyzer.profiles[analyzer.default_profile]
    recorder = _Recorder(analyzer.source, {kind.value: kind for kind in CHECKS.values() if profile.ways(kind)})
    then = replace(analyzer, source=recorder)
    then.read(asked)
    assert recorder.recording is not None
    return then, recorder.recording


def compare(live: Case, then: Case) -> None:
    """Require the same counts in the same slices, the same history, and the same findings in the same words."""
    assert live.readings.window == then.readings.window
    for name, one in live.readings.by_check.items():
        other = then.readings.by_check[name]
        if isinstance(one, Gap) or isinstance(other, Gap):
            assert one == other, name
            continue
        for field in ("slice_seconds", "last_seconds", "scrape_seconds", "history_seconds", "begin", "notes"):
            assert getattr(one, field) == getattr(other, field), (name, field)
        for arm in ("canary", "baseline", "history"):
            same_counts(getattr(one, arm), getattr(other, arm))
    found, again = live.verdict(), then.verdict()
    assert (found.outcome, found.reason) == (again.outcome, again.reason)
    for name, finding in found.findings.items():
        assert (finding.outcome, finding.code, finding.reason) == (
            again.findings[name].outcome,
            again.findings[name].code,
            again.findings[name].reason,
        )


def same_counts(one: Counts | None, other: Counts | None) -> None:
    """Compare slice by slice; sums of values are no integers, and come near."""
    assert type(one) is type(other)
    if one is None or other is None:
        return
    for name, values in by_slice(one).items():
        np.testing.assert_allclose(by_slice(other)[name], values, rtol=1e-9, atol=1e-6)


def check(url: str, asked: VerdictRequest, profile: Profile = PROFILE, looks: int = 6, **options: Any) -> None:  # noqa: F811
    """Compare looks at drawn moments, the first and the last, with a verdict of an analyzer that knows no more."""
    checks = tuple(name for name, kind in CHECKS.items() if profile.ways(kind))
    asked = asked.model_copy(update={"checks": asked.checks or checks})
    then, recording = recorded(analyzer_of(url, profile, **options), asked)
    assert recording.start is not None
    assert asked.at is not None
    last = int((asked.at - recording.start) // recording.resolution)
    draw = random.Random(f"{asked.canary} {asked.start}")
    places = {1, 2, last, *(draw.randint(1, last) for _ in range(looks))}
    for at in (*(recording.start + place * recording.resolution for place in sorted(places)), asked.at):
        moment = asked.model_copy(update={"at": at})
        compare(analyzer_of(url, profile, **options).read(moment), then.read(moment))


# The same as a verdict of then


@pytest.mark.prometheus
@pytest.mark.parametrize("start", [None, NOON - 6000, NOON - 3333.25])
@pytest.mark.parametrize("profile", [PROFILE, OTHER_WAYS], ids=lambda profile: profile.name)
def test_looks_are_the_verdicts_of_their_moments(
    prometheus: PrometheusServer, profile: Profile, start: float | None
) -> None:
    """Through restarts, newborn series of errors, births, deaths and outages; found or given start."""
    check(prometheus.url, question("canary", "stable", start=start), profile, looks=10)


@pytest.mark.prometheus
@pytest.mark.parametrize("number", DRAWN)
def test_so_they_are_for_drawn_rollouts(prometheus: PrometheusServer, number: int) -> None:
    """Where also the metrics that a check is read from may be others at first."""
    pods = scenario(number)
    begin = first_sample(pods, f"canary-{number}")
    for start in (None, begin - 300):
        check(prometheus.url, question(f"canary-{number}", f"stable-{number}", start=start), looks=4)


@pytest.mark.prometheus
@pytest.mark.parametrize("suffix", ["-fresh", "-slow"])
def test_so_they_are_for_experiments_and_rare_scrapes(prometheus: PrometheusServer, suffix: str) -> None:
    """A baseline that is as young as the canary; scrapes that are further apart than slices."""
    check(prometheus.url, question(f"canary{suffix}", f"stable{suffix}"))


@pytest.mark.prometheus
def test_so_they_are_through_a_change_of_the_weight(prometheus: PrometheusServer) -> None:
    """With a pass that must be proved at the present weight."""
    asked = question("steps", "steps-base", window="step", checks="error_rate")
    check(prometheus.url, asked, looks=10)
    (played,) = replay(analyzer_of(prometheus.url), asked, every=60).policies
    codes = {look.seconds: look.checks["error_rate"] for look in played.measurements}

    assert codes[2400.0].requests > 20_000
    assert codes[2700.0].requests < 20_000  # of those since the change only


@pytest.mark.prometheus
@pytest.mark.parametrize("most_values", [3000, 1])
def test_so_they_nearly_are_where_a_verdict_has_to_save(prometheus: PrometheusServer, most_values: int) -> None:
    """Slices are as long as they would have been; where the server adds up, the replay is the more exact one."""
    asked = question("canary", "stable")
    then, recording = recorded(analyzer_of(prometheus.url, most_values=most_values), asked)
    assert recording.start is not None
    for place in (40, 200, 350):
        moment = asked.model_copy(update={"at": recording.start + 15 * place})
        live = analyzer_of(prometheus.url, most_values=most_values).read(moment)
        for name, one in live.readings.by_check.items():
            other = then.read(moment).readings.by_check[name]
            assert isinstance(one, Reading)
            assert isinstance(other, Reading)
            assert (one.slice_seconds, one.slices) == (other.slice_seconds, other.slices)
            for arm in ("canary", "baseline"):
                for field, values in by_slice(getattr(one, arm)).items():
                    total = by_slice(getattr(other, arm))[field].sum()
                    assert total == pytest.approx(values.sum(), rel=0.03), (name, arm)


@pytest.mark.prometheus
def test_so_they_are_for_native_histograms(start_prometheus: StartPrometheus) -> None:
    """A pod that restarts among them."""
    server = start_prometheus()
    begin = round(time.time()) - 1200.0  # what is written remotely must not be old
    for arm, since in (("new", begin), ("old", begin - 300)):
        for scrape in range(int((begin + 1200 - since) // 15)):
            moment = since + 15 * scrape
            seen = scrape + 1 if moment < begin + 600 or arm == "old" else scrape - 38
            labels = {"job": "fraud", "instance": f"{arm}:1", "namespace": "ml", "rollouts_pod_template_hash": arm}
            write_histograms(server.url, {"__name__": "latency_seconds", **labels}, moment, [8 * seen, 2 * seen, seen])
    native = Profile(
        name="native",
        arm_label="rollouts_pod_template_hash",
        matchers=PROFILE.matchers,
        latency=(LatencyHistogram(native_histogram=Selector("latency_seconds")),),
    )
    check(server.url, question("new", "old", at=begin + 1190), native)


@pytest.mark.victoriametrics
def test_so_they_are_on_victoria_metrics(url: str) -> None:  # noqa: F811
    """With the parameter that it needs."""
    check(url, question("canary", "stable"), looks=4, parameters=AS_ASKED)


@pytest.mark.prometheus
def test_the_past_of_a_baseline_is_that_of_the_metric_that_is_judged(prometheus: PrometheusServer) -> None:
    """A verdict that had to do without conversions leaves nothing behind for one that has them."""
    asked = question("canary-12", "stable-12", checks="business_proxy")
    analyzer = analyzer_of(prometheus.url)
    start = analyzer.read(asked).readings.window.start
    assert start is not None
    remembering = analyzer_of(prometheus.url)
    for moment in (asked.model_copy(update={"at": start + 15}), asked):
        compare(analyzer_of(prometheus.url).read(moment), remembering.read(moment))


# What it costs, and how far it goes


@pytest.mark.prometheus
def test_a_longer_window_takes_no_more_queries(prometheus: PrometheusServer) -> None:
    """Ten minutes and six hours are as many; a day is read in four pieces."""
    taken = {}
    for seconds in (600.0, 6 * HOUR, 24 * HOUR):
        asked: list[float] = []
        found = replay(
            analyzer_of(prometheus.url, asked=asked),
            question("day", "day-base", start=NOON - seconds, checks="error_rate"),
            ["ml-model", {"history": "1h"}],
            every=seconds / 20,
        )
        taken[seconds] = len(asked)
        assert len(found.policies[0].measurements) == 20
    assert taken[600.0] == taken[6 * HOUR] <= 12
    assert taken[24 * HOUR] == taken[600.0] + 3


@pytest.mark.prometheus
def test_a_day_is_replayed_within_a_minute(prometheus: PrometheusServer) -> None:
    """In slices of 15 s, which are 5,760, with looks a minute apart."""
    began = time.monotonic()
    found = replay(analyzer_of(prometheus.url), question("day", "day-base", checks="error_rate"), every=60)
    taken = time.monotonic() - began

    assert (found.resolution, len(found.policies[0].measurements)) == (15, 1441)
    assert found.policies[0].decision.outcome is Outcome.PASS
    assert taken < 60


@pytest.mark.prometheus
def test_too_long_a_window_is_told(prometheus: PrometheusServer) -> None:
    """With the longest that can be read; what is shorter is read less finely."""
    with pytest.raises(RequestError, match=r"start: the window of 30 days is too long .* 22.2 days is the most"):
        replay(analyzer_of(prometheus.url), question("day", "day-base", start=NOON - 30 * 24 * HOUR))
    found = replay(
        analyzer_of(prometheus.url),
        question("day", "day-base", start=NOON - 48 * HOUR, checks="error_rate"),
        every=7200,
    )

    assert found.resolution == 30
    codes = [look.checks["error_rate"].code for look in found.policies[0].measurements[:12]]
    assert codes == [Code.METRIC_MISSING] * 10 + [Code.NO_CANARY_TRAFFIC, Code.UNDECIDED]
    assert found.policies[0].measurements[-1].requests > 100_000


@pytest.mark.prometheus
def test_looks_are_no_nearer_than_scrapes(prometheus: PrometheusServer) -> None:
    """What is used instead is said."""
    rare = replay(analyzer_of(prometheus.url), question("canary-slow", "stable-slow"), every=15)
    uneven = replay(analyzer_of(prometheus.url), question("canary-fresh", "stable-fresh"), every=20)

    assert (rare.every, rare.notes) == (30, ("samples are about 30 s apart: judged every 30 s",))
    assert (uneven.every, uneven.notes) == (30, ("the window was read in slices of 15 s: judged every 30 s",))


@pytest.mark.prometheus
def test_nothing_to_replay_is_told(prometheus: PrometheusServer) -> None:
    """A canary that nobody has seen, and a window before it."""
    for asked in (question("nobody", "stable"), question("canary", "stable", start=NOON - 99_000, at=NOON - 90_000)):
        with pytest.raises(RequestError, match=r"^canary: there is nothing to replay: no s"):
            replay(analyzer_of(prometheus.url), asked)


# The command


@pytest.fixture
def _settings(monkeypatch: pytest.MonkeyPatch, prometheus: PrometheusServer) -> None:
    for name in [*filter(lambda name: name.startswith("ANALYZER_"), os.environ), "COLUMNS"]:
        if not name.startswith("ANALYZER_REQUIRE_"):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANALYZER_SOURCE", "prometheus")
    monkeypatch.setenv("ANALYZER_PROMETHEUS_URL", prometheus.url)


def run(*words: str) -> Result:
    """Run the command in this process."""
    asked = ("--service", "fraud", "--canary", "canary", "--baseline", "stable", "--end", str(NOON))
    return CliRunner().invoke(cli, ["replay", *asked, *words], prog_name="analyzer")


@pytest.mark.prometheus
@pytest.mark.usefixtures("_settings")
def test_the_command_replays_a_rollout() -> None:
    """It needs no more than what tells the arms apart, and says how finely it read."""
    shown = run("--every", "5m")
    answer = json.loads(run("--every", "5m", "--json").stdout)

    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "read in slices of 15 s" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert answer["resolution"] == 15
    assert answer["policies"][0]["decision"]["verdict"] == "fail"
    assert all(query.isprintable() for query in answer["queries"])


@pytest.mark.prometheus
@pytest.mark.usefixtures("_settings")
def test_labels_select_what_is_replayed() -> None:
    """Those that every series has change nothing; others leave nothing to replay."""
    same, none = (run("--every", "5m", "--json", "--labels", f"namespace={name}") for name in ("ml", "other"))

    assert json.loads(same.stdout)["policies"] == json.loads(run("--every", "5m", "--json").stdout)["policies"]
    assert none.exit_code != 0
    assert "nothing to replay" in str(none.exception) + none.output


@pytest.mark.prometheus
@pytest.mark.usefixtures("_settings")
def test_an_answer_that_cannot_be_used_is_4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is replayed on a part of the counts."""
    monkeypatch.setenv("ANALYZER_PROMETHEUS_URL", f"{os.environ['ANALYZER_PROMETHEUS_URL']}/nowhere")
    result = run("--json")

    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith("Error: HTTP 404 without JSON")
