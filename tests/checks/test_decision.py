"""What settles a check that stays undecided: decide_by, at the price of its proof."""

from typing import Any

import pytest

import analyzer
from analyzer.errors import RequestError


def judged(errors: int, slices: int, **decide_by: Any) -> dict[str, Any]:
    """Judge an error rate by rule strict on slices of a minute with 500 requests each."""
    data = {"canary": [{"errors": errors, "requests": 500}] * slices, "slice_seconds": 60}
    answer = analyzer.evaluate(
        {
            "checks": "error_rate",
            "policy": {"checks": {"error_rate": {"rule": "strict", "decide_by": decide_by}}},
            "data": {"error_rate": data},
        }
    )
    found: dict[str, Any] = answer["checks"]["error_rate"]
    return found


@pytest.mark.parametrize("decide_by", [{"after": "4m"}, {"requests": 2000}, {"after": "1h", "requests": "2000"}])
def test_past_either_limit_the_estimate_decides(decide_by: dict[str, Any]) -> None:
    """Below promote passes, above rollback fails, and the reason says how little that proves."""
    good, bad = judged(2, 4, **decide_by), judged(6, 4, **decide_by)

    assert (good["verdict"], good["code"]) == ("pass", "decided_by_point")
    assert (bad["verdict"], bad["code"]) == ("fail", "decided_by_point")
    assert "as an estimate, which proves little" in good["reason"]


def test_between_the_limits_nothing_is_settled() -> None:
    """The plain table has no answer there either."""
    assert (judged(3, 4, after="1m")["verdict"], judged(3, 4, after="1m")["code"]) == ("inconclusive", "undecided")


def test_before_the_limits_nothing_is_settled() -> None:
    """Neither after nor requests is reached."""
    assert judged(2, 4, after="5m", requests=2001)["code"] == "undecided"


def test_what_is_proved_stays_proved() -> None:
    """Past the limits too, evidence goes before estimates."""
    assert judged(0, 4, after="1m")["code"] == "proved_good"
    assert judged(50, 4, after="1m")["code"] == "proved_bad"


def test_a_limit_without_limits_is_refused() -> None:
    """decide_by needs at least one of its fields; the message names it and shows both."""
    with pytest.raises(RequestError, match=r"error_rate\.decide_by: needs after, requests or both"):
        judged(1, 1)
