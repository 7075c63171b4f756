"""Random requests to the application, and many verdicts of the real service: no fault, and no memory that grows.

`make fuzz` sends 200,000 of the ones and asks for 100,000 of the others.
"""

import json
import logging
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from bench.service_figures import COUNTS, Connection, Service, written
from web.requests_at_random import request_at_random
from web.serving import readable

from analyzer.web.event_log import log

REQUESTS = int(os.environ.get("ANALYZER_FUZZED", "3000"))
VERDICTS = int(os.environ.get("ANALYZER_FUZZED_VERDICTS", "2000"))
PARTS = 10
MOST_GROWTH = 4 * 2**20  # bytes, from the first half of the verdicts to the second
KNOWN, ALL = 50, 5000  # rollouts that are asked about most of the time, and with those that push others out


class Faults(logging.Handler):
    """Keeps the lines that are errors; formats the others, too."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Look at a line."""
        line = json.loads(self.format(record))
        if record.levelno > logging.WARNING or "traceback" in line:
            self.lines.append(str(line))


def refused_constant(word: str) -> None:
    """Fail where an answer has what JSON does not know: Argo takes such a 2xx for a success."""
    pytest.fail(f"{word} in an answer")


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("default")  # one that numpy or pydantic raises is counted below
def test_no_request_meets_a_fault(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    """Every request is answered, none with 500; JSON is JSON; nothing is logged that is no refusal or verdict."""
    client, draw, statuses = readable(), random.Random(17), Counter[int]()
    faults = Faults()
    monkeypatch.setattr(log, "handlers", [faults])  # pytest's would keep every line
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "level", logging.INFO)
    for number in range(REQUESTS):
        request = request_at_random(draw)
        response = client.open(
            request.path, method=request.method, data=request.body, content_type=request.content_type or None,
            headers=request.headers,
        )  # fmt: skip
        statuses[response.status_code] += 1
        what = (number, request, response.text[:300])
        assert response.status_code < 500, what
        if response.content_type == "application/json" and request.method != "HEAD":
            json.loads(response.data, parse_constant=refused_constant)
        assert faults.lines == [], what
    print(f"{REQUESTS:,} requests: {dict(sorted(statuses.items()))}, {len(recwarn)} warnings")

    assert {200, 400, 404, 405, 415} <= set(statuses)
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.timeout(3600)
def test_memory_does_not_grow(tmp_path: Path) -> None:
    """The worker's resident memory after each tenth: that of the second half is at most some MiB above the first's."""
    resident, draw = [], random.Random(17)
    with Service(tmp_path).running() as service, Connection(service.port) as connection:
        for part in range(PARTS + 1):  # of which the first makes it warm
            for _ in range(VERDICTS // PARTS):
                check = "error_rate" if draw.random() < 0.9 else draw.choice(list(COUNTS))
                number = draw.randrange(KNOWN if draw.random() < 0.95 else ALL)
                named = {"service": f"model-{number}", "canary": f"v{draw.randrange(2)}"}
                detail = draw.choice(("summary", "full"))
                body = named | {"detail": detail, "checks": check, "data": {check: COUNTS[check]}}
                status, answer = connection.exchange(written("/v1/verdict", body))
                assert status == 200, answer
            assert connection.ask("/metrics")[0] == 200
            resident += [service.memory.worker_rss] if part else []
        assert "Traceback" not in service.log
    print(f"{VERDICTS:,} verdicts: MiB {[round(bytes_ / 2**20, 1) for bytes_ in resident]}")

    growth = max(resident[PARTS // 2 :]) - max(resident[: PARTS // 2])
    assert growth <= MOST_GROWTH, resident
