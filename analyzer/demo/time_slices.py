"""A demonstration as one request in time slices: what its report is made of.

The pods only tell what they have counted so far. Looked at many times a second, the differences from look to look are
slices of time, from which the report can show how the evidence came about.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import requests

from analyzer.demo.answers import QUESTION
from analyzer.demo.processes import local_session

_EVERY_SECONDS = 0.1
_TIMEOUT_SECONDS = 20.0
_ARMS = ("canary", "baseline")
Totals = dict[str, Any]


class CountsRecorder:
    """Looks at the counts all the while, in a thread of its own.

    Parameters
    ----------
    service_url : of the analyzer
    """

    def __init__(self, service_url: str) -> None:
        self._url = service_url
        self._moments: list[float] = []
        self._looks: list[Mapping[str, Any]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="recording", daemon=True)

    def __enter__(self) -> "CountsRecorder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(_TIMEOUT_SECONDS)

    def _look(self) -> None:
        due = time.monotonic()
        with local_session() as session:
            while not self._ended.wait(max(0.0, due - time.monotonic())):
                due += _EVERY_SECONDS
                with suppress(requests.RequestException, ValueError):  # one look less
                    body = QUESTION | {"detail": "full"}
                    self._add(session.post(f"{self._url}/v1/verdict", json=body, timeout=_TIMEOUT_SECONDS).json())

    def _add(self, answer: Mapping[str, Any]) -> None:
        counts = {name: check.get("counts") for name, check in answer.get("checks", {}).items()}
        self._moments.append(time.time())
        self._looks.append({name: count for name, count in counts.items() if count is not None})

    def request(self) -> dict[str, Any]:
        """Return the counts since the first measurement as a request with data."""
        seconds = (self._moments[-1] - self._moments[0]) / max(1, len(self._moments) - 1)
        data = {}
        for name in self._looks[-1]:
            looks = [look.get(name) for look in self._looks]
            arms = {arm: _slices([None if look is None else look.get(arm) for look in looks]) for arm in _ARMS}
            data[name] = {**arms, "slice_seconds": round(seconds, 3)}
        return {**QUESTION, "start": self._moments[0], "at": self._moments[-1], "data": data}

    def write(self, path: Path) -> None:
        """Have the service write the report of what was recorded; raises OSError, as RequestException is one."""
        with local_session() as session:
            response = session.post(
                f"{self._url}/report", json=self.request(), headers={"Accept": "text/html"}, timeout=_TIMEOUT_SECONDS
            )
        response.raise_for_status()
        path.write_text(response.text, encoding="utf-8")


def _slices(looks: Sequence[Mapping[str, Any] | None]) -> list[dict[str, Any]]:
    """Return what was counted between measurements; an arm that is not known yet has counted nothing."""
    known = next(look for look in reversed(looks) if look is not None)
    totals = [_totals(known, zero=True) if look is None else _totals(look) for look in looks]
    return [
        _object(known, {key: np.maximum(now[key] - before[key], 0.0) for key in now})
        for before, now in pairwise(totals)
    ]


def _totals(counts: Mapping[str, Any], *, zero: bool = False) -> Totals:
    """Add up the slices of an answer."""
    numbers = {key: np.asarray(value, float) for key, value in counts.items() if key not in ("edges", "names", "exact")}
    return {key: value.sum(axis=0) * (0.0 if zero else 1.0) for key, value in numbers.items()}


def _object(like: Mapping[str, Any], part: Totals) -> dict[str, Any]:
    """Return counts in the form of a request."""
    if "edges" in like:
        edges = [*(f"{edge:g}" for edge in like["edges"]), "+Inf"]
        return {"buckets": dict(zip(edges, np.cumsum(part["counts"]).tolist(), strict=True))}
    if "names" in like:
        return {"classes": dict(zip(like["names"], part["counts"].tolist(), strict=True))}
    names = {"total": "sum", "squares": "sum_of_squares"}
    return {names.get(key, key): float(value) for key, value in part.items()}
