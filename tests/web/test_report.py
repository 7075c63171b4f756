"""Tests of /report: a verdict for people, and never a page for Argo."""

import json
from pathlib import Path

import pytest
from prometheus_server import Point, PrometheusServer
from web.markup import BROWSER, page_of
from web.serving import ARMS, FAILING, Counted, Pages, client_of, json_of

from analyzer.config.settings import SourceName

NOON = 1_767_614_400
QUERY = "/report?checks=error_rate&data=" + json.dumps(FAILING["data"])


def test_a_browser_sees_the_verdict() -> None:
    """The outcome, the reason, the numbers with their interval, the limits and the evidence."""
    page = client_of().get(QUERY, headers=BROWSER)

    assert page.status_code == 200
    assert page.content_type == "text/html; charset=utf-8"
    shown = (
        "fail",
        "1.62% of 865 canary requests failed",
        "0.572% to 3.18%",
        "0.5% / 1%",
        "of 865",
        "of 16,435",
        "fail 100%",
        "proved_bad",
        "What to do next",
    )
    assert [text for text in shown if text not in page.text] == []


def test_a_mean_has_its_unit() -> None:
    """Milliseconds against limits, a change against the baseline; the first two minutes are left out."""
    slices = {"canary": [{"sum": 8, "count": 100}] * 12, "baseline": [{"sum": 160, "count": 2000}] * 12}
    data = json.dumps({"latency_mean": slices | {"slice_seconds": 60}})
    limits = {"rule": "zone", "promote": "100ms", "rollback": "150ms"}
    shown = {
        "ml-model-mean": ("pass", "mean latency of 1,000 canary requests is 80 ms", "+10% / +30%"),
        json.dumps({"base": "ml-model-mean", "checks": {"latency_mean": limits}}): ("pass", "80 ms", "100 ms / 150 ms"),
    }
    for policy, texts in shown.items():
        asked = {"policy": policy, "checks": "latency_mean", "data": data}
        page = client_of().get("/report", query_string=asked, headers=BROWSER)
        assert [text for text in texts if text not in page.text] == []


def test_it_names_what_was_asked_about(pages: Pages) -> None:
    """The link of an alert leads to the arms that it was about, with every check of the policy."""
    pages.texts |= {"/v1": str(Counted()), "/v2": str(Counted(errors=2_000))}
    client = client_of(scrape_targets=pages.targets(v1="/v1", v2="/v2"))

    page = client.get("/report", query_string=ARMS | {"namespace": "ml"}, headers=BROWSER)

    shown = (
        "fraud",
        "<strong>ml</strong>",
        "<strong>v2</strong>",
        "<strong>v1</strong>",
        "error_rate",
        "latency_p99",
        "prediction_drift",
    )
    assert [text for text in shown if text not in page.text] == []


def test_a_wrong_request_is_told_with_the_form_to_correct_it() -> None:
    """To people as a page with what they had filled in, to programs as everywhere."""
    query = "/report?service=<script>&canary=v2&baseline=v2"
    page, refused = client_of().get(query, headers=BROWSER), client_of().get(query)

    assert (refused.status_code, json_of(refused)["error"]["field"]) == (400, "service")
    assert (page.status_code, page.content_type) == (400, "text/html; charset=utf-8")
    assert "<script" not in page.text
    assert 'value="&lt;script&gt;"' in page.text
    assert "is not a valid name: use letters" in page.text
    assert page.text.count('aria-invalid="true"') == 1


def test_a_form_sends_empty_fields_that_mean_nothing(pages: Pages) -> None:
    """To a program an empty field stays an argument that was not set."""
    pages.texts |= {"/v1": str(Counted()), "/v2": str(Counted())}
    client = client_of(scrape_targets=pages.targets(v1="/v1", v2="/v2"))
    query = ARMS | {"namespace": "", "weight": "", "at": ""}

    assert client.get("/report", query_string=query, headers=BROWSER).status_code == 200
    assert json_of(client.get("/report", query_string=query))["error"]["field"] == "namespace"
    assert json_of(client.get("/report.png", query_string=query, headers=BROWSER))["error"]["field"] == "namespace"
    assert client.post("/report", json=FAILING | {"namespace": ""}, headers=BROWSER).status_code == 400


def test_data_can_be_posted() -> None:
    """What does not fit into an address."""
    page = client_of().post("/report", json=FAILING, headers=BROWSER)

    assert (page.status_code, "1.62% of 865 canary requests failed" in page.text) == (200, True)


def test_its_picture() -> None:
    """A PNG of the size that chats show; errors stay JSON, whoever asks."""
    client = client_of()
    picture, posted = client.get(QUERY.replace("/report", "/report.png")), client.post("/report.png", json=FAILING)

    assert picture.content_type == posted.content_type == "image/png"
    assert picture.data[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(picture.data[16:20]), int.from_bytes(picture.data[20:24])) == (1200, 630)
    assert json_of(client.get("/report.png?service=a", headers=BROWSER))["error"]["field"] == "canary"


@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
def test_argo_never_gets_a_page(accept: str | None) -> None:
    """A 2xx that is no JSON is a success to Argo, whatever it says: everybody but a browser gets the answer."""
    response = client_of().get(QUERY, headers={} if accept is None else {"Accept": accept})

    answer = json_of(response)
    assert (answer["verdict"], answer["effective_policy"]["name"]) == ("fail", "ml-model")


def test_a_look_at_a_report_exports_nothing() -> None:
    """A page about the past must not move the gauges of the present."""
    client = client_of()
    client.get(QUERY + "&service=fraud", headers=BROWSER)

    assert "analyzer_verdict{" not in client.get("/metrics").text


@pytest.mark.prometheus
def test_queries_link_to_the_page_of_prometheus(tmp_path: Path) -> None:
    """By the address that people have, which need not be the one that the service has."""
    server = PrometheusServer(tmp_path)
    arms = [{"rollouts_pod_template_hash": arm, "service": "fraud", "instance": arm} for arm in ("v1", "v2")]
    server.write_history(
        Point("http_requests_total", labels | {"status": "200"}, NOON - 600 + 15 * scrape, 5.0 * scrape)
        for labels in arms
        for scrape in range(41)
    )
    server.start()
    try:
        service = {"source": SourceName.PROMETHEUS, "prometheus_url": server.url}
        people = "https://prometheus.example/team"
        for settings, begin in ((service, server.url), (service | {"prometheus_ui_url": people}, people)):
            page = page_of(client_of(**settings), f"/report?service=fraud&canary=v2&baseline=v1&at={NOON}")
            links = [one["href"] or "" for one in page.all("a") if "/graph?" in (one.get("href") or "")]
            assert links
            assert all(link.startswith(f"{begin}/graph?g0.expr=") for link in links)
    finally:
        server.stop()
