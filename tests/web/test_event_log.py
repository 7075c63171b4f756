"""Tests of the log: whole lines of JSON, which never hold up who writes them."""

import json
import logging
import os
import time
from typing import Any

from analyzer.web.event_log import EventLog

LINES = 60_000  # several times what a pipe and the queue take together


def test_nobody_waits_for_an_unread_pipe() -> None:
    """Lines that nobody takes are dropped and counted; the others come once somebody reads."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        log = logging.getLogger("of this test")
        handler = EventLog(stream)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        began = time.process_time()
        for number in range(LINES):
            log.info('{"event": "verdict", "number": %d, "reason": "%s"}', number, "x" * 50)
        assert time.process_time() - began < 20  # of the processor; a write to the pipe would never end

        seen: list[dict[str, Any]] = []
        with os.fdopen(reading, "rb") as other:
            while not any(line["event"] == "dropped" for line in seen):
                seen += [json.loads(line) for line in other.readline().splitlines()]
                if len(seen) > 100:
                    log.info('{"event": "last"}')
            dropped = next(line for line in seen if line["event"] == "dropped")
            assert (dropped["level"], dropped["lines"]) == ("warning", dropped["lines"])
            numbers = [line["number"] for line in seen if line["event"] == "verdict"]
            assert numbers == list(range(len(numbers)))
            assert len(numbers) + dropped["lines"] >= LINES
