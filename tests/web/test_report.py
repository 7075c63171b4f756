"""Tests of /report: a verdict for people, and never a page for Argo."""

import json

import pytest
from serving import ARMS, FAILING, Counted, Pages, client_of, json_of

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
QUERY = "/report?checks=error_rate&data=" + json.dumps(FAILING["data"])


def test_a_browser_sees_the_verdict() -> None:
    """The outcome, the reason, the numbers with their interval, the limits and the evidence."""
    page = client_of().get(QUERY, headers=BROWSER)

    assert page.status_code == 200
    assert page.content_type == "text/html; charset=utf-8"
    shown = ("fail", "1.62% of 865 canary requests failed", "0.572% to 3.18%", "0.5% / 1%", "865 / 16,435", "fail 100%")
    assert [text for text in shown if text not in page.text] == []


def test_a_mean_has_its_unit() -> None:
    """Milliseconds against limits, a change against the baseline."""
    slices = {"canary": [{"sum": 8, "count": 100}] * 12, "baseline": [{"sum": 160, "count": 2000}] * 12}
    data = json.dumps({"latency_mean": slices | {"slice_seconds": 60}})
    limits = {"rule": "zone", "promote": "100ms", "rollback": "150ms"}
    shown = {
        "ml-model-mean": ("pass", "mean latency of 1,200 canary requests is 80 ms", "+10% / +30%"),
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

    shown = ("fraud", "namespace ml", "canary v2", "baseline v1", "error_rate", "latency_p99", "prediction_drift")
    assert [text for text in shown if text not in page.text] == []


def test_a_wrong_request_is_told_as_everywhere() -> None:
    """With the status and the field, and nothing of the request becomes part of a page."""
    refused = client_of().get("/report?service=<script>&canary=v2", headers=BROWSER)

    assert (refused.status_code, json_of(refused)["error"]["field"]) == (400, "service")


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
