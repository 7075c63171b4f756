"""Tests that no page runs, loads or believes anything: headers, markup, and text that looks like markup."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape
from web.markup import BROWSER, Markup
from web.serving import COUNTS, Pages, client_of
from werkzeug.test import TestResponse

from analyzer.config.policy import load_policies
from analyzer.config.profile import load_profiles
from analyzer.config.settings import Settings
from analyzer.model.counts import Readings, Window
from analyzer.model.findings import Code, Gap
from analyzer.sources.assembly import Selection
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.request import VerdictRequest
from analyzer.web.app import create_app
from analyzer.web.telemetry import Telemetry

REPORT = "/report?checks=error_rate&data=" + json.dumps(COUNTS)
PATHS = [REPORT, "/", "/?service=a&canary=b", "/docs", "/report?service=<b>", "/nothing", "/<script>alert(1)</script>"]
# Whose values are addresses, scripts or styles.
LOADING = {"src", "srcset", "data", "poster", "background", "style", "srcdoc", "ping", "manifest", "archive"}
ELEMENTS = {
    "html", "head", "meta", "title", "link", "style", "body", "header", "main", "footer", "section", "nav", "h1", "h2",
    "h3", "h4", "p", "a", "span", "strong", "code", "pre", "br", "ul", "ol", "li", "div", "details", "summary", "table",
    "caption", "thead", "tbody", "tr", "th", "td", "form", "label", "input", "select", "option", "button", "meter",
    "figure", "figcaption", "svg", "g", "path", "text", "defs", "clippath", "rect", "use",
}  # fmt: skip


def strict(response: TestResponse) -> Markup:
    """Hold a page against what all of them promise; gives it taken apart."""
    page = Markup(response.text)
    (sheet,) = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    policy = response.headers["Content-Security-Policy"]

    assert response.content_type == "text/html; charset=utf-8"
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
    assert f'content="{escape(policy.split("; frame")[0])}"' in response.text
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response.headers["Vary"] == "Accept"
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    for tag, attributes in page.elements:
        assert [name for name in attributes if name.startswith("on") or name in LOADING] == []
        for name in attributes.keys() & {"href", "xlink:href", "action", "formaction"}:
            value = attributes[name] or ""
            local = re.match(r"[/#]|https?://localhost/", value) is not None
            assert local or (tag == "link" and value.startswith("data:image/svg+xml,")), value
    assert re.findall(r"@import|url\(\s*['\"]?(?!#)", sheet) == []
    return page


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_strict(client: FlaskClient, path: str) -> None:
    """No script, no style but the sheet whose hash is named, nothing loaded; said in the header and in the page."""
    strict(client.get(path, headers=BROWSER))


def test_a_report_of_every_kind_of_plot_is_strict(pages: Pages) -> None:
    """Also with histograms, classes and time slices."""
    client = client_of(scrape_targets=pages.targets(v1="/old", v2="/bad"))
    slices = {arm: [{"classes": {"a": 50 + one, "b": 60}} for one in range(5)] for arm in ("canary", "baseline")}
    data = {"prediction_drift": slices | {"slice_seconds": 60}}

    strict(client.get("/report?service=fraud&canary=v2&baseline=v1", headers=BROWSER))
    strict(client.post("/report", json={"checks": "prediction_drift", "data": data}, headers=BROWSER))


@pytest.mark.parametrize("path", [REPORT, "/report", "/report.png?service=a"])
@pytest.mark.parametrize("headers", [BROWSER, {}])
def test_what_is_said_of_a_moment_is_not_kept(client: FlaskClient, path: str, headers: dict[str, str]) -> None:
    """Neither by browsers nor on the way; also errors."""
    assert client.get(path, headers=headers).headers["Cache-Control"] == "no-store"


# Text that looks like markup

EVIL = "x-evil"
PIECES = st.sampled_from(
    [
        *(f"<{EVIL} onx=1>", f"</{EVIL}>", f'"><{EVIL}>', f"'><{EVIL}>", f'" {EVIL}="', f"' {EVIL}='", f" {EVIL}=1 "),
        *(f"</title><{EVIL}>", f"</style><{EVIL}>", f"</pre><{EVIL}>", f"</text><{EVIL}/>", f"--><{EVIL}>"),
        *(f"<![CDATA[<{EVIL}>", f"]]><{EVIL}>", f"&lt;{EVIL}&gt;", f"%3C{EVIL}%3E", f"`<{EVIL}>`", "{{7*191}}", "`"),
        *("javascript:alert(1)", "&", "<", ">", "\\", "\n", "\x00", "$x$", "é", "\u202e", "a"),
    ]
)
TEXTS = st.lists(PIECES, min_size=1, max_size=5).map("".join)


def harmless(response: TestResponse) -> None:
    """Nothing of the text became an element or an attribute, and nothing in it was computed."""
    page = strict(response)

    assert [one for one in page.elements if EVIL in one[0] or any(EVIL in name for name in one[1])] == []
    assert "1337" not in response.text


@pytest.mark.parametrize("path", ["/", "/report"])
@given(data=st.data())
def test_text_in_a_field_stays_text(path: str, data: st.DataObject) -> None:
    """In every field, alone and together with right ones: in messages, inputs, options and commands."""
    client = client_of()
    names = st.sampled_from([*VerdictRequest.model_fields, "srvice"])
    query: dict[str, str] = {"service": "a", "canary": "b"} if data.draw(st.booleans()) else {}
    query |= data.draw(st.dictionaries(names, TEXTS, min_size=1, max_size=3))
    query |= data.draw(st.dictionaries(TEXTS, TEXTS, max_size=1))

    harmless(client.get(path, query_string=query, headers=BROWSER))


@given(TEXTS, st.sampled_from(["base", "checks", "role", "alpha", "unknown"]), st.booleans())
def test_text_in_a_policy_stays_text(text: str, field: str, key: bool) -> None:
    """In its fields and in the names of its checks."""
    policy: dict[str, Any] = {field: {text: {"promote": text}} if field == "checks" else text}
    if key:
        policy[text] = text
    query = {"service": "a", "canary": "b", "policy": json.dumps(policy)}

    for path in ("/", "/report"):
        harmless(client_of().get(path, query_string=query, headers=BROWSER))


@settings(max_examples=10)
@given(TEXTS, TEXTS)
def test_text_in_counts_stays_text(name: str, other: str) -> None:
    """Names of classes stand in the report's tables and plots, and in the commands of the form."""
    arm = {"classes": {name: 500, other + "2": 300}}
    body = {"checks": "prediction_drift", "data": {"prediction_drift": {"canary": arm, "baseline": arm}}}
    client = client_of()
    report = client.post("/report", json=body, headers=BROWSER)
    command = client.get("/", query_string=body | {"data": json.dumps(body["data"])}, headers=BROWSER)

    assert (report.status_code, command.status_code) == (200, 200)
    harmless(report)
    harmless(command)


@given(TEXTS, TEXTS)
def test_text_in_data_stays_text(check: str, field: str) -> None:
    """Names of checks and statistics that are not there are refused by name."""
    for body in ({"data": {check: {"canary": {"errors": 1}}}}, {"data": {"error_rate": {"canary": {field: check}}}}):
        page = client_of().post("/report", json=body, headers=BROWSER)
        assert page.status_code == 400
        harmless(page)


@given(TEXTS, st.sampled_from(["GET", "POST", "DELETE"]))
def test_text_in_a_path_stays_text(text: str, method: str) -> None:
    """Of paths that are not there."""
    harmless(client_of().open(f"/{quote('x' + text)}", method=method, headers=BROWSER))


@given(TEXTS.filter(lambda text: not {"\n", "\x00"} & set(text) and text.isascii()))
def test_text_in_a_header_stays_text(text: str) -> None:
    """The host, which the page shows, the token, and what the client says of itself."""
    client = client_of()
    for headers in ({"Host": text}, {"Authorization": f"Bearer {text}", "User-Agent": text}):
        harmless(client.get("/?service=a&canary=b", headers=BROWSER | headers))


class NamedSource:
    """A source with a name that looks like markup, and that gives a reason of the same kind."""

    name = f"<{EVIL}>"

    def read(self, selection: Selection, deadline: float) -> Readings:  # noqa: ARG002
        """Say that there is nothing."""
        gap = Gap(Code.SOURCE_UNAVAILABLE, f"<{EVIL}>")
        return Readings(Window(0, 60), dict.fromkeys(selection.checks, gap), queries=(f"<{EVIL}>",))

    def ready(self, deadline: float) -> None:
        """Never asked."""
        raise NotImplementedError


def test_names_of_the_installation_stay_text(tmp_path: Path) -> None:
    """Those of the source and of profiles, what the source was asked and what it answered."""
    name = f"<{EVIL}>'\\\"><{EVIL}>"
    file = tmp_path / "own.yaml"
    file.write_text(f'name: "{name}"\narm_label: arm\nerror_rate: [{{requests: a, errors: b}}]\n')
    analyzer = Analyzer(
        policies=load_policies(None),
        profiles=load_profiles(tmp_path),
        source=NamedSource(),
        default_profile=json.loads(f'"{name}"'),
    )
    client = create_app(analyzer, Settings(), Telemetry("named")).test_client()

    for path in ("/", "/docs", "/report", "/report?service=a&canary=b"):
        page = client.get(path, headers=BROWSER)
        harmless(page)
        assert f"&lt;{EVIL}&gt;" in page.text
