"""The pages as people see them: in a real Chromium, on a real Prometheus with rollouts of the past."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser.stories import BEGIN, CANARY, END, STABLE
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.prometheus

ARMS = {"canary": CANARY, "baseline": STABLE}
SHOWN = {
    "healthy": ("pass", "proved good: error_rate, latency_p99, prediction_drift"),
    "errors": ("fail", "canary requests failed since 10:0"),
    "slow": ("fail", "latency_p99: p99 of"),
    "drift": ("fail", "prediction_drift: PSI"),
    "business": ("fail", "requests converted"),
    "young": ("inconclusive", "all pods of the canary are younger than 2 min"),
    "absent": ("inconclusive", "the canary has no traffic, or its pods are not scraped"),
}
Open = Callable[..., Page]


def address(url: str, service: str, **more: Any) -> str:
    """Write the address of a report."""
    seconds = 45 if service == "young" else END - BEGIN
    return (
        f"{url}/report?{urlencode({**ARMS, 'service': service, 'namespace': service, 'at': BEGIN + seconds, **more})}"
    )


@pytest.fixture
def show(browser: Browser) -> Iterator[Open]:
    """Open a page; nothing may go wrong on it: no error on the console, no request to anywhere else."""
    wrong: list[str] = []
    contexts = []

    def open_page(url: str, status: int = 200, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": 1180, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if "status of" not in message.text else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: wrong.append(request.url) if not _own(request.url, url) else None)
        response = page.goto(url)
        assert response is not None
        assert response.status == status
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def _own(requested: str, page: str) -> bool:
    return requested.startswith("data:") or urlsplit(requested).netloc == urlsplit(page).netloc


@pytest.mark.parametrize("service", SHOWN)
def test_the_report_of_every_story(show: Open, analyzer_url: str, service: str) -> None:
    """The verdict and its reason are at the top, and what to do stands below."""
    page = show(address(analyzer_url, service))
    outcome, reason = SHOWN[service]

    expect(page.locator("h1")).to_have_text(f"{outcome} {service}")
    expect(page.locator(".box").first).to_contain_text(reason)
    expect(page.get_by_role("heading", name="What to do next")).to_be_visible()
    assert len(page.content()) < 500_000


def test_a_stranger_sees_why_it_was_rolled_back(show: Open, analyzer_url: str) -> None:
    """When it failed, since when errors came, both limits, and the pictures that show it."""
    page = show(address(analyzer_url, "errors"))
    box = page.locator(".box").first.inner_text()

    assert re.search(r"error_rate: [34]\.\d+% of [\d,]+ canary requests failed since 10:0[23]:\d\dZ", box)
    assert "above the 1% rollback limit and proved above 0.5%" in box
    assert re.search(r"It first failed 2026-01-05T10:0[34]:\d\dZ, [34][.\d]* min after the start", box)
    assert "the canary gets no more traffic" in box
    headings = page.locator("figure h3").all_inner_texts()
    assert headings[:2] == ["Verdicts over time", "The canary's share of the traffic"]
    assert {
        "Where it stands",
        "Evidence over time",
        "Value over time",
        "Latency of all requests",
        "Predictions",
    } <= set(headings)
    evidence = page.locator("#check-1 ~ .plots svg").nth(1)
    assert re.search(r"fail at 10:0[34]:\d\d", evidence.text_content() or "")
    split = page.locator("svg").nth(1).text_content() or ""
    assert [text for text in ("5%", "25%", "50%") if text not in split] == []
    links = [link.get_attribute("href") or "" for link in page.locator("a", has_text="Open it in Prometheus").all()]
    assert all("/graph?g0.expr=" in link for link in links)
    assert links


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["errors", "young", "absent", "/", "/docs", "/?service=a&canary=b&weight=500"])
def test_everybody_can_use_it(show: Open, analyzer_url: str, path: str, scheme: str) -> None:
    """No violation of WCAG 2.2 A and AA that axe finds: contrast, names, headings, tables, keyboard, both schemes."""
    url = f"{analyzer_url}{path}" if path.startswith("/") else address(analyzer_url, path)
    page = show(url, status=400 if "weight=500" in path else 200, color_scheme=scheme, bypass_csp=True)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    found = Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    )

    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("width", [390, 800, 1400])
def test_nothing_is_wider_than_the_screen(show: Open, analyzer_url: str, width: int) -> None:
    """On a telephone as on a large screen: what is wide scrolls by itself."""
    for url in (address(analyzer_url, "errors"), analyzer_url + "/", analyzer_url + "/docs"):
        page = show(url)
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_prints(show: Open, analyzer_url: str) -> None:
    """On paper: some pages, dark ink on white whatever the screen's scheme, nothing to click."""
    page = show(address(analyzer_url, "errors"), color_scheme="dark")
    page.emulate_media(media="print")

    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 36)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".skip").is_visible()
    pages = page.pdf(format="A4").count(b"/Type /Page\n") or page.pdf(format="A4").count(b"/Type /Page")
    assert 2 <= pages <= 12


def test_by_keyboard(show: Open, analyzer_url: str) -> None:
    """The first stop leads to the content; the form can be filled in and sent without a mouse."""
    page = show(analyzer_url + "/")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    filled = {"service": "errors", "namespace": "errors", "canary": CANARY, "baseline": STABLE, "at": str(END)}
    for _ in range(30):
        page.keyboard.press("Tab")
        page.keyboard.type(filled.pop(page.locator(":focus").get_attribute("name") or "", ""))
        if not filled:
            break
    page.keyboard.press("Enter")

    expect(page.locator("h1")).to_have_text("fail errors")


def test_the_form_shows_the_command(show: Open, analyzer_url: str) -> None:
    """What was filled in stays, and the command asks the same."""
    page = show(analyzer_url + "/")
    page.locator("#f-service").fill("errors")
    page.locator("#f-canary").fill(CANARY)
    page.get_by_role("button", name="Show the command").click()

    expect(page.locator("#curl")).to_contain_text(f"curl -sG {analyzer_url}/v1/verdict")
    expect(page.locator("#curl")).to_contain_text(f"--data-urlencode canary={CANARY}")
    expect(page.locator("#f-service")).to_have_value("errors")


def test_a_source_that_is_down(show: Open, lost_url: str) -> None:
    """A page that says so and what to do; no traceback, no pass."""
    page = show(address(lost_url, "errors"))

    expect(page.locator("h1")).to_have_text("inconclusive errors")
    expect(page.locator("main")).to_contain_text("source_unavailable")
    expect(page.locator("main")).to_contain_text("Open /readyz of the analyzer")


def test_a_wrong_request_can_be_corrected(show: Open, analyzer_url: str) -> None:
    """The page of the error has the form, with what is wrong at its field."""
    page = show(
        f"{analyzer_url}/report?service=errors&namespace=errors&canary={CANARY}&baseline={STABLE}&weight=500",
        status=400,
    )

    expect(page.locator("#h-weight")).to_contain_text("must be a percentage from 0 to 100")
    page.locator("#f-weight").fill("")
    page.locator("#f-at").fill(str(END))
    page.get_by_role("button", name="Show the report").click()
    expect(page.locator("h1")).to_have_text("fail errors")


def test_no_script_runs(browser: Browser, analyzer_url: str) -> None:
    """The browser itself refuses a script that would get into a page."""
    page, refused = browser.new_page(), []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(address(analyzer_url, "young"))
    page.evaluate(
        "const one = document.createElement('script'); one.textContent = 'window.got = 1'; document.body.append(one)"
    )

    assert page.evaluate("window.got") is None
    assert any("Content Security Policy" in text for text in refused)
    page.close()
