"""How long a report takes to make and how large it is: `python tests/bench/report_figures.py`."""

import sys
import tempfile
import time
from pathlib import Path

from analyzer.config.settings import Settings
from analyzer.verdict.request import parse_request
from analyzer.verdict.wiring import build_analyzer

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser.stories import BEGIN, CANARY, SECONDS, STABLE, STORIES, history
from pace import pace
from prometheus_server import PrometheusServer

ROUNDS = 7
MOST_SECONDS, MOST_BYTES = 1.0, 500_000


def main() -> None:
    """Make the report of a rollout of twenty minutes, read from a real Prometheus; the best round counts."""
    with tempfile.TemporaryDirectory() as folder:
        server = PrometheusServer(Path(folder) / "prometheus")
        server.write_history(history(STORIES["errors"]))
        server.start()
        try:
            analyzer = build_analyzer(Settings(source="prometheus", prometheus_url=server.url))
            began = time.perf_counter()
            from analyzer.report.page import page

            loading = time.perf_counter() - began
            rounds = []
            for _ in range(ROUNDS):
                slowness = pace()
                began = time.perf_counter()
                fields = {"service": "errors", "namespace": "errors", "canary": CANARY, "baseline": STABLE}
                asked = parse_request({**fields, "at": BEGIN + SECONDS})
                text = page(asked, analyzer.read(asked))
                seconds = time.perf_counter() - began
                rounds.append((seconds / slowness, seconds))
        finally:
            server.stop()
    at_ease, seconds = min(rounds)
    print(f"a report on four checks in 80 time slices: {at_ease:.2f} s (asked: {MOST_SECONDS:g}), now {seconds:.2f}")
    print(f"its size: {len(text.encode()) / 1000:.0f} kB (asked: {MOST_BYTES / 1000:.0f} kB)")
    print(f"the first one loads the plots: {loading:.2f} s more")
    # The short form is that of CI: a change for the worse is one by half.
    times = 1.5 if "--short" in sys.argv[1:] else 1.0
    sys.exit(at_ease > MOST_SECONDS * times or len(text.encode()) > MOST_BYTES)


if __name__ == "__main__":
    main()
