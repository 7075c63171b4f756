"""The walk-through of rollouts/fraud-detector: its images without a container, its customers, and what is found."""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from documentation.readmes import PROJECT, Command, blocks
from ports import free_port

from analyzer.config.settings import Settings
from analyzer.model.counts import Counts, by_slice
from analyzer.model.findings import Gap
from analyzer.verdict.answer import render
from analyzer.verdict.case import Case
from analyzer.verdict.judge import Verdict
from analyzer.verdict.request import parse_request
from analyzer.verdict.wiring import build_analyzer

IMAGES = {"1.0.0": "stable", "1.1.0": "good", "1.2.0": "bad"}
ENOUGH = 1500
WITHIN = 60.0


def dockerfiles() -> dict[str, list[tuple[str, str]]]:
    """Read the instructions of each image, by tag."""
    text = "\n".join(block.text for block in blocks("sh", "rollouts/fraud-detector"))
    found = re.findall(
        r"^docker build -t fraud-detector:(\S+) [^\n]*<<'END'\n(.*?)^END$", text, re.MULTILINE | re.DOTALL
    )
    return {tag: [tuple(line.split(" ", 1)) for line in lines.splitlines()] for tag, lines in found}


@pytest.fixture
def models(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Every version, laid out and started as its Dockerfile says; the address of each arm."""
    built: dict[str, Path] = {}
    started: list[subprocess.Popen[bytes]] = []
    urls = {}
    command = ""
    for tag, instructions in dockerfiles().items():
        folder = built[tag] = tmp_path / tag
        folder.mkdir()
        for word, rest in instructions:
            if word == "FROM" and ":" in rest and rest.split(":")[1] in built:
                shutil.copytree(built[rest.split(":")[1]], folder, dirs_exist_ok=True)
            elif word == "COPY":
                for name in rest.split()[:-1]:
                    shutil.copy(PROJECT / "rollouts" / "instrumentation" / name, folder)
            elif word == "RUN" and "pip" not in rest:
                subprocess.run(["/bin/sh", "-c", rest], cwd=folder, check=True)
            elif word == "CMD":
                command = rest
        port = free_port()
        words = [word.replace(":8000", f"127.0.0.1:{port}") for word in json.loads(command)]
        started.append(subprocess.Popen([sys.executable, "-m", *words, "--log-file", str(folder / "log")], cwd=folder))
        urls[IMAGES[tag]] = f"http://127.0.0.1:{port}"
    yield urls
    for process in started:
        process.terminate()
        process.wait(30)


@pytest.fixture
def customers(said: list[Command], models: dict[str, str]) -> Iterator[None]:
    """The customers of the walk-through, in a hurry and at each version."""
    (code,) = (each.words[-1] for each in said if each.words[1:3] == ("create", "deployment"))
    assert "http://fraud-detector.fraud-detector:8000/predict" in code
    hurried = code.replace("time.sleep(0.03)", "time.sleep(0.005)")
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", hurried.replace("http://fraud-detector.fraud-detector:8000", url)],
            env={"no_proxy": "*"},
        )
        for url in models.values()
    ]
    yield
    for process in asking:
        process.kill()
        process.wait(30)


def after_an_hour(case: Case) -> Verdict:
    """Judge as if the baseline had been seen for an hour: before, a rollback takes more evidence than there is here."""
    by_check = {
        name: reading
        if isinstance(reading, Gap) or reading.baseline is None
        else replace(reading, history=hour_of(reading.baseline), history_seconds=60.0)
        for name, reading in case.readings.by_check.items()
    }
    return replace(case, readings=replace(case.readings, by_check=by_check)).verdict()


def hour_of(counts: Counts) -> Counts:
    """Repeat the counts in every minute of an hour."""
    return replace(counts, **{name: np.repeat(one, 60, axis=0) for name, one in by_slice(counts).items()})  # type: ignore[arg-type]


def answered(url: str) -> int:
    """Count what a version has answered well."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as page:
            return int(
                float(re.findall(r'^http_requests_total{status="200"} (.*)$', page.read().decode(), re.MULTILINE)[0])
            )
    except OSError:
        return 0


@pytest.mark.usefixtures("customers")
def test_the_good_version_passes_and_the_bad_one_fails(models: dict[str, str]) -> None:
    """By drift alone, as the walk-through says: the bad one answers every request, in time."""
    ends = time.monotonic() + WITHIN
    while min(map(answered, models.values())) < ENOUGH:
        assert time.monotonic() < ends, "too few requests"
        time.sleep(0.1)
    targets = {arm: [f"{url}/metrics"] for arm, url in models.items()}
    analyzer = build_analyzer(Settings(source="scrape", scrape_targets=targets))
    warm = {"base": "ml-model", "checks": {"latency_p99": {"pod_warmup": "0s"}}}
    asked = {"service": "fraud-detector", "baseline": "stable", "policy": warm}

    good, bad = (
        render(after_an_hour(analyzer.read(parse_request(asked | {"canary": arm})))) for arm in ("good", "bad")
    )

    assert good["verdict"] == "pass"
    assert good["checks"]["business_proxy"]["code"] == "metric_missing"
    assert {name for name, check in bad["checks"].items() if check["verdict"] == "fail"} == {"prediction_drift"}
    assert bad["reason"].startswith("prediction_drift: PSI 0.")
    assert "above the 0.2 rollback limit" in bad["reason"]
