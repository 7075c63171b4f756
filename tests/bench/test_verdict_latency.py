"""A test that a verdict over loopback takes little longer than the slowest of its own queries."""

from pathlib import Path

import pytest
from bench.verdict_latency import measure_fairly


@pytest.mark.prometheus
def test_a_verdict_takes_little_longer_than_its_slowest_query(tmp_path: Path) -> None:
    """The median verdict takes at most 1.5 times its slowest query alone, and 5 ms."""
    found = measure_fairly(tmp_path, verdicts=100)

    assert found.verdict <= found.allowed
