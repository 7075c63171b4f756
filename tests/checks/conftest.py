"""Requests with time slices, as sources give them: what the tests of whole checks share."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import analyzer

Look = Callable[..., dict[str, Any]]


@pytest.fixture
def look() -> Look:
    """Judge one check without warm-up on time slices and return its part of the answer, without the counts."""

    def look_once(
        name: str,
        canary: Sequence[Any],
        baseline: Sequence[Any] | None = None,
        *,
        seconds: float | None = 60,
        history: Sequence[Any] | None = None,
        asked: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
        **overrides: Any,
    ) -> dict[str, Any]:
        data: dict[str, Any] = {"canary": list(canary)}
        data |= {} if baseline is None else {"baseline": list(baseline)}
        data |= {} if seconds is None else {"slice_seconds": seconds}
        data |= {} if history is None else {"baseline_history": list(history)}
        body: dict[str, Any] = {"checks": name, "data": {name: data}, "detail": "full", **(asked or {})}
        body["policy"] = {"checks": {name: {"pod_warmup": 0, **overrides}}, **(policy or {})}
        found: dict[str, Any] = analyzer.evaluate(body)["checks"][name]
        return {field: value for field, value in found.items() if field != "counts"}

    return look_once
