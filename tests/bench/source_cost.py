"""What a verdict and `doctor` cost, beside what an earlier commit's verdict costs on the same Prometheus.

Run it with `python tests/bench/source_cost.py`; another commit than the usual may follow. Verdicts are over 20 pods and
four hours, turn by turn in a process for each commit: one of a rollout that is not known yet, then later ones. The
least of all rounds counts, for other work on the machine only adds.
"""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent), str(PROJECT)]

from bench.verdict_latency import END, history  # noqa: E402
from pace import pace  # noqa: E402
from prometheus_server import Point, PrometheusServer  # noqa: E402

BEFORE = "608f2b0"
HOURS, PODS = 4.0, {"canary-7f9c": 10, "stable-5d4b": 10}
LARGE = {"canary-large": 50, "stable-large": 50}
LARGE_SECONDS = 1800.0
ROUNDS, LATER = 7, 4
MOST, DOCTOR_SECONDS = 1.2, 5.0
WORKER = """
import json, sys, time
import analyzer
for line in sys.stdin:
    body = json.loads(line)
    if body.pop("forget"):
        analyzer._analyzer.cache_clear()
        analyzer._analyzer()
    began, worked = time.perf_counter(), time.process_time()
    answer = analyzer.evaluate(body)
    took = {"seconds": time.perf_counter() - began, "processor": time.process_time() - worked}
    took["codes"] = sorted(check["code"] for check in answer["checks"].values())
    took["requests"] = answer["checks"]["error_rate"]["canary"]["n"]
    print(json.dumps(took), flush=True)
"""


@dataclass
class Costs:
    """Of verdicts on a rollout that is not known yet, or of later ones: queries, seconds and seconds of a processor."""

    queries: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


class Judge:
    """A process that judges with the code of one tree."""

    def __init__(self, tree: Path, url: str) -> None:
        self._url = url
        variables = os.environ | {
            "PYTHONPATH": str(tree), "ANALYZER_SOURCE": "prometheus", "ANALYZER_PROMETHEUS_URL": url,
            "ANALYZER_DEADLINE": "60", "ANALYZER_PROMETHEUS_TIMEOUT": "60",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=tree,
            env=variables,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.first, self.later = Costs(), Costs()

    def round(self) -> set[str]:
        """Judge a rollout for the first time, and some more times; return the counts."""
        results = {self._judge(self.first, END - 15.0 * LATER, forget=True)}
        return results | {self._judge(self.later, END - 15.0 * number, forget=False) for number in range(LATER)[::-1]}

    def _judge(self, costs: Costs, at: float, *, forget: bool) -> str:
        canary, baseline = PODS
        body = {
            "service": "fraud",
            "canary": canary,
            "baseline": baseline,
            "at": at,
            "policy": {"history": "1h"},
            "detail": "full",
        }
        before = _queries(self._url)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(body | {"forget": forget}) + "\n")
        self._process.stdin.flush()
        took: dict[str, Any] = json.loads(self._process.stdout.readline())
        costs.queries.append(_queries(self._url) - before)
        costs.seconds.append(took["seconds"])
        costs.processor.append(took["processor"])
        return f"{took['requests']:.0f} requests"

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait(10)


def _queries(url: str) -> float:
    """Return how many queries Prometheus has answered."""
    with requests.Session() as session:
        session.trust_env = False
        page = session.get(f"{url}/metrics", timeout=10).text
    counts = re.findall(
        r'^prometheus_http_requests_total\{code="\d+",handler="/api/v1/query\w*"\} (\S+)', page, re.MULTILINE
    )
    return sum(map(float, counts))


def _tree(folder: Path, commit: str) -> Path | None:
    """Write the package of an earlier commit into a folder; None where the repository has no such commit."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", commit, "analyzer"], cwd=PROJECT, capture_output=True, check=False
    )
    if archive.returncode:
        return None
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


def _points() -> Iterator[Point]:
    """Write 20 pods over four hours, the baseline's for one more, and 100 pods over half an hour."""
    yield from history(PODS, HOURS * 3600, more=3600)
    yield from history(LARGE, LARGE_SECONDS, more=LARGE_SECONDS)


def doctor(url: str) -> float:
    """Return the seconds that `analyzer doctor` takes on 100 pods, with its start: the least of five, by the pace."""
    canary, baseline = LARGE
    command = [
        sys.executable,
        "-m",
        "analyzer",
        "doctor",
        "--service",
        "fraud",
        "--canary",
        canary,
        "--baseline",
        baseline,
    ]
    variables = os.environ | {
        "PYTHONPATH": str(PROJECT),
        "ANALYZER_SOURCE": "prometheus",
        "ANALYZER_PROMETHEUS_URL": url,
    }
    times = []
    for _ in range(5):
        began = time.perf_counter()
        done = subprocess.run(
            [*command, "--at", f"{END:.0f}"], env=variables, capture_output=True, text=True, check=False
        )
        took = (time.perf_counter() - began) / pace()
        times += [] if done.returncode else [took]  # what is not answered in its time it says, and ends with 1
    return min(times, default=math.inf)


def compare(now: Judge, before: Judge, commit: str) -> bool:
    """Print the cost of verdicts now over that before; return whether it is within the bound."""
    results = [judge.round() for _ in range(ROUNDS) for judge in (now, before)]
    if any(counts != results[0] for counts in results):
        raise RuntimeError(f"the counts differ: {results}")
    met = True
    for words in ("first", "later"):
        ours, theirs = getattr(now, words), getattr(before, words)
        for what, unit, scale in (("queries", "", 1), ("seconds", " ms", 1000), ("processor", " ms", 1000)):
            mine, other = (min(getattr(costs, what)) * scale for costs in (ours, theirs))
            within = mine <= MOST * other
            met &= within
            print(
                f"{words} verdict, {what}: {mine:.0f}{unit}, {other:.0f}{unit} at {commit}; ratio {mine / other:.2f}, "
                f"asked at most {MOST}{'' if within else ' NOT MET'}"
            )
    return met


def main() -> None:
    """Print ratios and the time of `doctor`, and end with 1 where a bound is broken."""
    if not shutil.which("prometheus"):
        sys.exit("needs prometheus: apt install prometheus")
    commit = next(iter(sys.argv[1:]), BEFORE)
    with tempfile.TemporaryDirectory() as folder:
        server = PrometheusServer(Path(folder) / "prometheus")
        server.write_history(_points())
        server.start()
        judges: list[Judge] = []
        try:
            took = doctor(server.url)
            met = took <= DOCTOR_SECONDS
            print(f"doctor on 100 pods: {took:.1f} s, asked at most {DOCTOR_SECONDS:.0f} s{'' if met else ' NOT MET'}")
            tree = _tree(Path(folder) / "before", commit)
            if tree is None:
                print(f"not compared: {commit} is not in this repository (a shallow clone has no history)")
            else:
                judges = [Judge(PROJECT, server.url), Judge(tree, server.url)]
                met &= compare(judges[0], judges[1], commit)
        finally:
            for judge in judges:
                judge.stop()
            server.stop()
    sys.exit(not met)


if __name__ == "__main__":
    main()
