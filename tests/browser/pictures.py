"""The pictures of the READMEs, by `make pictures`: a report as Chromium shows it, of a rollout in a real Prometheus."""

import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

HERE = Path(__file__).parent
sys.path[0] = str(HERE.parent)

from browser.conftest import chromium, serving  # noqa: E402
from browser.stories import BEGIN, CANARY, STABLE, Story, history  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402
from prometheus_server import PrometheusServer  # noqa: E402

from analyzer.config.settings import Settings  # noqa: E402

FOLDER = HERE / "pictures"
WIDTH = 1100
STORY = Story("fraud-detector", "errors", since=600, seconds=690, namespace="ml")  # found in its second step


def main() -> None:
    """Take every picture anew."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        server = PrometheusServer(Path(folder) / "prometheus")
        server.write_history(history(STORY))
        server.start()
        try:
            with serving(Settings(source="prometheus", prometheus_url=server.url)) as url, sync_playwright() as play:
                browser = play.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
                _take(browser.new_page(viewport={"width": WIDTH, "height": 800}), url)
                browser.close()
        finally:
            server.stop()
    for path in sorted(FOLDER.glob("*.png")):
        print(f"{path.relative_to(HERE.parents[1])}: {path.stat().st_size / 1000:.0f} kB")


def _take(page: Page, url: str) -> None:
    """Take the report's begin, its part on the check that decided, and the picture for chats."""
    fields = {"service": STORY.service, "namespace": STORY.namespace, "canary": CANARY, "baseline": STABLE}
    asked = urlencode({**fields, "at": BEGIN + STORY.seconds})
    page.goto(f"{url}/report?{asked}")
    below = page.get_by_role("heading", name="What to do next").bounding_box()
    assert below is not None
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": below["y"] - 12}
    page.screenshot(path=FOLDER / "report.png", clip=clip)  # type: ignore[arg-type]
    page.locator("section").first.screenshot(path=FOLDER / "report-check.png")
    (FOLDER / "chat.png").write_bytes(page.request.get(f"{url}/report.png?{asked}").body())


if __name__ == "__main__":
    main()
