"""Tests of `analyzer.report` without a browser: what stands on a page, whatever was counted."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape
from pace import pace

from analyzer.checks.drift import bins_of
from analyzer.config.policy import Check, Policy, load_policies
from analyzer.config.profile import load_profiles
from analyzer.config.settings import Settings
from analyzer.errors import SourceUnavailable
from analyzer.model.counts import Classes, Histogram, Reading, Readings, Window
from analyzer.model.findings import Code, Gap, Kind, Outcome
from analyzer.planning.replayed_rollout import replay
from analyzer.report.axes import Clock, scale_of
from analyzer.report.page import page
from analyzer.report.picture import picture
from analyzer.report.replay_page import page as replay_page
from analyzer.report.svg import Colour
from analyzer.sources.assembly import Selection
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.case import decided_at
from analyzer.verdict.request import parse_request
from analyzer.verdict.wiring import build_analyzer

PASS, FAIL, OPEN = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
ANALYZER = build_analyzer(Settings())
SLICES = [{"errors": 0, "requests": 300}] * 10 + [{"errors": 15, "requests": 300}] * 10
BASELINE = [{"errors": 3, "requests": 6000}] * 20
MARKUP = "<script>alert(1)</script>"


def sliced(**fields: Any) -> dict[str, Any]:
    """Build a request of an error rate in twenty slices of a minute, which goes wrong after ten."""
    data = {"error_rate": {"canary": SLICES, "baseline": BASELINE, "slice_seconds": 60}}
    return {"checks": "error_rate", "data": data, "start": 1_767_607_200, "at": 1_767_608_400, **fields}


def page_of(body: Mapping[str, Any], analyzer: Analyzer = ANALYZER, **options: Any) -> str:
    """Write the page of a request."""
    asked = parse_request(body)
    return page(asked, analyzer.read(asked), **options)


def plots_of(text: str) -> list[ET.Element]:
    """Find the plots; each must be well-formed by itself."""
    return [ET.fromstring(one) for one in re.findall(r"<svg .*?</svg>", text, re.DOTALL)]


class Refusing:
    """A source whose errors have markup in them, as the pages of proxies do."""

    name = "refusing"

    def read(self, selection: Selection, deadline: float) -> Readings:  # noqa: ARG002
        """Give gaps."""
        gap = Gap(Code.SOURCE_UNAVAILABLE, f"the source's answer is missing: 502 {MARKUP}")
        return Readings(Window(None, selection.at), dict.fromkeys(selection.checks, gap), (f'up{{a="{MARKUP}"}}',))

    def ready(self, deadline: float) -> None:  # noqa: ARG002
        """Refuse."""
        raise SourceUnavailable(MARKUP)


def test_it_says_when_it_was_decided() -> None:
    """The moment at which a verdict first failed, the same as the verdicts of that time say."""
    text = page_of(sliced())
    first = next(
        minutes
        for minutes in range(1, 21)
        if ANALYZER.verdict(
            parse_request(
                sliced(
                    data={
                        "error_rate": {"canary": SLICES[:minutes], "baseline": BASELINE[:minutes], "slice_seconds": 60}
                    },
                    at=1_767_607_200 + 60 * minutes,
                )
            )
        ).outcome
        is FAIL
    )

    assert first == 13
    assert "It first failed 2026-01-05T10:13:00Z, 13 min after the start." in text
    assert "fail at 10:13:00" in text


@pytest.mark.parametrize(
    ("outcomes", "place"),
    [
        ([], None),
        ([OPEN], None),
        ([PASS, OPEN], None),
        ([OPEN, PASS, PASS], 1),
        ([PASS, OPEN, PASS], 2),
        ([PASS, FAIL, OPEN, FAIL], 1),
        ([FAIL, PASS], 1),
    ],
)
def test_the_look_that_decided(outcomes: list[Outcome], place: int | None) -> None:
    """The first that failed, for Argo ends there; or since when all have passed."""
    assert decided_at(outcomes) == place


def test_every_plot_fits_into_the_page() -> None:
    """Said in words for those who do not see it, coloured by classes, with identifiers that no other plot has."""
    text = page_of(sliced())
    plots = plots_of(text)
    names = re.findall(r'\bid="([^"]+)"', text)
    colours = {colour.value for colour in Colour}

    assert len(plots) == 5  # verdicts, traffic; limits, evidence, course
    assert len(names) == len(set(names))
    for plot in plots:
        title = plot.find("{http://www.w3.org/2000/svg}title")
        assert title is not None
        assert title.text
        assert plot.get("role") == "img"
        assert plot.get("aria-labelledby") == title.get("id")
        for element in plot.iter():
            assert "style" not in element.attrib
            assert {element.get("fill"), element.get("stroke")} & colours == set()
            used = element.get("{http://www.w3.org/1999/xlink}href") or element.get("clip-path") or ""
            assert used.removeprefix("url(").rstrip(")").lstrip("#") in {"", *names}
    classes = set(" ".join(re.findall(r'<(?:path|g|use|text)[^>]* class="([^"]+)"', text)).split())
    assert {"s-canary", "s-baseline", "s-pass", "s-fail"} <= classes
    assert all(f"svg.plot .{name} " in text for name in classes)


def test_the_same_counts_give_the_same_page() -> None:
    """No clock and no chance in it."""
    assert page_of(sliced()) == page_of(sliced())


def test_counts_without_slices_have_no_curves() -> None:
    """The page says so, and shows the rest."""
    data = {"error_rate": {"canary": {"errors": 14, "requests": 865}, "baseline": {"errors": 52, "requests": 16_435}}}
    text = page_of({"checks": "error_rate", "data": data})

    assert len(plots_of(text)) == 1
    assert "nothing can be drawn over time" in text
    assert "promote &lt; 0.5%" in text


def test_markup_stays_text() -> None:
    """In names of classes, in errors of the source, in queries; on the page and in its plots."""
    classes = {"prediction_drift": {side: {"classes": {MARKUP: 300, "b": 200}} for side in ("canary", "baseline")}}
    shown = page_of({"checks": "prediction_drift", "data": classes})
    policies, profiles = load_policies(None), load_profiles(None)
    refused = page_of(
        {"service": "a", "canary": "b"}, Analyzer(policies=policies, profiles=profiles, source=Refusing())
    )

    for text in (shown, refused):
        assert "<script" not in text
        assert str(escape(MARKUP)) in text
    assert len(plots_of(shown)) == 2


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_any_text_stays_text(text: str) -> None:
    """Whatever a model calls its classes, the page stays one page, and its plots are well-formed."""
    classes = {"classes": {text: 300, "other": 200}}
    body = {"checks": "prediction_drift", "data": {"prediction_drift": {"canary": classes, "baseline": classes}}}
    shown = page_of(body)

    assert shown.count("<html") == shown.count("</html>") == 1
    assert "<script" not in shown
    assert len(plots_of(shown)) == 2


def test_two_hundred_checks() -> None:
    """All are in the table; those that tell most are drawn, and the page stays small and quick."""
    checks = {f"check-{number}": Check(kind=Kind.ERROR_RATE, promote=0.005, rollback=0.01) for number in range(200)}
    analyzer = Analyzer(
        policies={"many": Policy(name="many", checks=checks)}, profiles=load_profiles(None), source=ANALYZER.source,
        default_policy="many",
    )  # fmt: skip
    bad = {"canary": SLICES, "baseline": BASELINE, "slice_seconds": 60}
    good = {"canary": SLICES[:10] * 2, "baseline": BASELINE, "slice_seconds": 60}
    data = {name: bad if name in ("check-7", "check-150") else good for name in checks}
    began = time.perf_counter()
    text = page_of({"data": data, "start": 1_767_607_200, "at": 1_767_608_400}, analyzer)

    assert time.perf_counter() - began < 10
    assert len(text) < 500_000
    assert len(re.findall(r'<th scope="row">', text)) >= 200
    assert "192 are left out" in text
    drawn = re.findall(r'<a href="#check-\d+">(check-\d+)</a>', text)
    assert len(drawn) == 8
    assert {"check-7", "check-150"} <= set(drawn)


def test_it_is_quick_and_small() -> None:
    """Four checks in eighty slices: under 500 kB, and about the second that `make bench` measures."""
    rng = np.random.default_rng(5)
    edges, arms = ("0.05", "0.1", "0.2", "0.5"), ("canary", "baseline")
    buckets = {arm: [dict(zip(edges, sorted(rng.integers(0, 3000, 4).tolist()), strict=True)) for _ in range(80)]
               for arm in arms}  # fmt: skip
    histograms = {arm: [{"buckets": one | {"+Inf": 3000}} for one in slices] for arm, slices in buckets.items()}
    data: dict[str, dict[str, Any]] = {
        "error_rate": {arm: [{"errors": 2, "requests": 3000}] * 80 for arm in arms},
        "latency_p99": histograms,
        "prediction_drift": histograms,
        "business_proxy": {arm: [{"successes": 150, "trials": 3000}] * 80 for arm in arms},
    }
    body = {"data": {name: {**sides, "slice_seconds": 15} for name, sides in data.items()}}
    seconds = []
    for _ in range(3):
        slowness = pace()
        began = time.process_time()  # other tests run beside
        text = page_of(body)
        seconds.append((time.process_time() - began) / slowness)

    assert len(plots_of(text)) == 16
    assert len(text) < 500_000
    assert min(seconds) < 2


def test_queries_lead_to_prometheus() -> None:
    """Escaped into the address of its page, at the moment that was judged."""
    analyzer = Analyzer(policies=load_policies(None), profiles=load_profiles(None), source=Refusing())
    body = {"service": "a", "canary": "b", "at": "2026-01-05T10:00:00Z"}
    text = page_of(body, analyzer, prometheus_url="https://prometheus.example.com")

    assert (
        'href="https://prometheus.example.com/graph?g0.expr=up%7Ba%3D%22%3Cscript%3Ealert%281%29%3C%2Fscript%3E%22%7D'
        '&amp;g0.tab=1&amp;g0.moment_input=2026-01-05+10%3A00%3A00"'
    ) in text
    assert "Open it in Prometheus" not in page_of(body, analyzer)


def test_the_link_asks_the_same_again() -> None:
    """The JSON that the page links to is that of the moment it shows."""
    analyzer = Analyzer(policies=load_policies(None), profiles=load_profiles(None), source=Refusing())
    body = {"service": "a", "canary": "b", "checks": "error_rate,latency_p99", "at": 1_767_607_200,
            "policy": {"checks": {"error_rate": {"rollback": "2%"}}}, "window": "step", "weight": 5}  # fmt: skip
    text = page_of(body, analyzer, address="http://localhost:8080")
    link = re.search(r'href="http://localhost:8080/v1/verdict\?([^"]+)&amp;detail=full"', text)
    assert link is not None
    again = parse_request(dict(parse_qsl(link[1].replace("&amp;", "&"))))

    assert again == parse_request(body)


def test_the_numbers_are_those_counted() -> None:
    """By arm, for people who check a verdict by hand; and the whole answer as JSON."""
    text = page_of(sliced())
    rows = dict(re.findall(r'<th scope="row">([a-z ]+)</th>(<td.*?</td><td.*?</td>)</tr>', text))
    answer = json.loads(re.findall(r"<pre[^>]*>(\{.*?\})</pre>", text, re.DOTALL)[-1].replace("&#34;", '"'))

    assert re.findall(r">([\d,]+)<", rows["requests"]) == ["6,000", "120,000"]
    assert re.findall(r">([\d,]+)<", rows["failed requests"]) == ["150", "60"]
    assert answer["verdict"] == "fail"
    assert len(answer["checks"]["error_rate"]["counts"]["canary"]["errors"]) == 20


def test_bins_add_up() -> None:
    """Shares add up to one, and what the bins add is the PSI with its bias."""
    rng = np.random.default_rng(1)
    edges = np.array([0.25, 0.5, 0.75, np.inf])
    canary = Histogram(edges, rng.multinomial(500, [0.4, 0.3, 0.2, 0.1], 6).astype(float))
    baseline = Histogram(edges, rng.multinomial(9500, [0.25] * 4, 6).astype(float))
    check = load_policies(None)["ml-model"].checks["prediction_drift"]
    found = bins_of(check, Reading(canary, baseline, slice_seconds=15.0))
    assert found is not None

    assert found.labels == ("≤ 0.25", "0.25 to 0.5", "0.5 to 0.75", "> 0.75")
    assert found.canary.sum() == pytest.approx(1)
    assert found.baseline.sum() == pytest.approx(1)
    by_hand = (found.canary - found.baseline) * np.log(found.canary / found.baseline)
    assert found.psi == pytest.approx(by_hand, rel=0.02)
    assert bins_of(check, Reading(None, baseline)) is None
    classes = Classes(("a",), np.zeros((1, 1)))
    assert bins_of(check, Reading(classes, classes)) is None


@given(
    st.sampled_from(list(load_policies(None)["ml-model"].checks.values())),
    st.lists(st.floats(-1e6, 1e6) | st.sampled_from([float("inf"), -float("inf"), float("nan"), 0.0]), max_size=6),
)
def test_an_axis_shows_both_limits(check: Check, values: list[float]) -> None:
    """Whatever the values are, however far away."""
    scale = scale_of(check, values)

    assert scale.low < min(check.promote, check.rollback)
    assert max(check.promote, check.rollback) < scale.high
    assert 2 <= len(scale.ticks) <= 40
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)


@given(st.floats(0.1, 3e7), st.sampled_from([None, 1_767_607_207.3]), st.integers(3, 12))
def test_a_time_axis_has_few_round_ticks(seconds: float, begin: float | None, most: int) -> None:
    """At round moments inside the window, each with a text of its own."""
    places, texts = Clock(begin, seconds).ticks(most)

    assert len(places) <= most + 1
    assert all(0 <= place <= seconds for place in places)
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_a_picture_has_its_size(count: int) -> None:
    """With one check, and with more than there is room for."""
    checks = {f"check-{number}": Check(kind=Kind.ERROR_RATE, promote=0.005, rollback=0.01) for number in range(count)}
    analyzer = Analyzer(
        policies={"some": Policy(name="some", checks=checks)}, profiles=load_profiles(None), source=ANALYZER.source,
        default_policy="some",
    )  # fmt: skip
    data = {name: {"canary": SLICES, "baseline": BASELINE, "slice_seconds": 60} for name in checks}
    asked = parse_request({"data": data})
    drawn = picture(asked, analyzer.read(asked))

    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(drawn[16:20]), int.from_bytes(drawn[20:24])) == (1200, 630)


def test_the_service_starts_without_it() -> None:
    """What draws is loaded by the first report only."""
    code = "import sys, analyzer.web.app, analyzer.web.server; print({'matplotlib', 'PIL'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "set()\n"


def replayed(**more: Any) -> str:
    """Write the page of a replay of the same slices, by two policies."""
    asked = parse_request(sliced(**more))
    policies = ["ml-model", {"checks": {"error_rate": {"promote": "6%", "rollback": "9%"}}}]
    return replay_page(replay(ANALYZER, asked, policies, every=60.0))


def test_a_replay_shows_its_policies_side_by_side() -> None:
    """What each would have decided and when, its limits, and the same plots for both."""
    text = replayed()
    plots = plots_of(text)

    assert "would have been rolled back at 2026-01-05T10:13:00Z, 13 min after the start, after 3,900 canary" in text
    assert "would have passed at 2026-01-05T10:0" in text
    assert "ml-model: promote 0.5%, roll back 1%; ml-model with error_rate promote 6%, error_rate rollback 9%" in text
    assert len(plots) == 2 + 4  # a strip each; evidence and value by each
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names))
    assert "<script" not in text


def test_a_long_replay_stays_small() -> None:
    """Of three thousand looks no more are drawn than can be told apart; none of what changed is lost."""
    errors = [{"errors": int(place % 700 > 600), "requests": 20} for place in range(3000)]
    data = {"error_rate": {"canary": errors, "baseline": [{"errors": 0, "requests": 400}] * 3000, "slice_seconds": 30}}
    text = replayed(data=data, at=1_767_607_200 + 3000 * 30)

    assert len(text) < 500_000
    assert "judged every 60 s" in text or "judged every 1 min" in text
