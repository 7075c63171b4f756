"""The report without matplotlib, which is an extra: pages without plots, and a clear message for pictures."""

import json
import subprocess
import sys
from pathlib import Path

WITHOUT = "import sys; sys.modules['matplotlib'] = None; "
REMEDY = "matplotlib is not installed: pip install 'rollout-analyzer[report]'"
SLICES = [{"errors": 1, "requests": 600}] * 20
ARMS = {"canary": SLICES, "baseline": SLICES, "slice_seconds": 60}
BODY = {"checks": "error_rate", "data": {"error_rate": ARMS}}


def run(code: str, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python without matplotlib in a folder that has a request."""
    (folder / "request.json").write_text(json.dumps(BODY))
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code, *words],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_pages_are_written_without_plots(tmp_path: Path) -> None:
    """The verdict, the checks and the counts are there; a line says what to install for the plots."""
    command = "from analyzer.cli import main; main()"
    report = run(command, "report", "--file", "request.json", "--out", "report.html", folder=tmp_path)
    replay = run(command, "replay", "--file", "request.json", "--out", "replay.html", folder=tmp_path)

    assert (report.returncode, report.stderr, replay.returncode, replay.stderr) == (0, "", 0, "")
    for name in ("report.html", "replay.html"):
        text = (tmp_path / name).read_text()
        assert "pip install 'rollout-analyzer[report]'" in text
        assert "error_rate" in text
        assert "<svg" not in text


def test_a_picture_is_refused(tmp_path: Path) -> None:
    """By the command before anything is read, and by the service with 501."""
    command = run(
        "from analyzer.cli import main; main()", "report", "-f", "request.json", "--out", "x.png", folder=tmp_path
    )
    service = run(
        "import json; from analyzer.config.settings import Settings;"
        "from analyzer.verdict.wiring import build_analyzer;"
        "from analyzer.web.app import create_app; from analyzer.web.telemetry import Telemetry;"
        "client = create_app(build_analyzer(Settings()), Settings(), Telemetry('scrape')).test_client();"
        "body = json.load(open('request.json'));"
        "refused = client.post('/report.png', json=body); "
        "page = client.post('/report', json=body, headers={'Accept': 'text/html'});"
        "print(json.dumps([refused.status_code, refused.json, page.status_code, page.text]))",
        folder=tmp_path,
    )  # fmt: skip
    status, body, page_status, page = json.loads(service.stdout)

    assert (command.returncode, command.stderr) == (2, f"Error: {REMEDY}\n")
    assert (status, body["error"]["code"], body["error"]["message"]) == (501, "not_installed", REMEDY)
    assert page_status == 200
    assert "pip install 'rollout-analyzer[report]'" in page


def test_with_matplotlib_nothing_is_said(tmp_path: Path) -> None:
    """The plots are there instead."""
    code = "del sys.modules['matplotlib']; from analyzer.cli import main; main()"
    done = run(code, "report", "--file", "request.json", "--out", "report.html", folder=tmp_path)
    text = (tmp_path / "report.html").read_text()

    assert (done.returncode, done.stderr) == (0, "")
    assert "<svg" in text
    assert "rollout-analyzer[report]" not in text
