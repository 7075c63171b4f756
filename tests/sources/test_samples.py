"""How far apart the samples of targets are, told from where there are any."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.sources.timeline import slices_apart


def flags(*rows: str) -> np.ndarray:
    """Write targets as rows, a letter a slice: x where there is a sample."""
    return np.array([[letter == "x" for letter in row] for row in rows])


@pytest.mark.parametrize(
    ("rows", "apart"),
    [
        (["xxxxxxxx", "xxxxxxxx"], 1),
        (["x.x.x.x.", ".x.x.x.x"], 2),
        (["xxxxxxxx", "x...x..."], 4),
        (["xxxxxxxx", "xxx..xxx"], 1),
        (["x...x...x...x...x"], 4),
        (["........", "........"], 1),
        (["...x...."], 1),
    ],
    ids=["every slice", "in turn", "the rarest counts", "an outage of one", "alone", "nothing", "once"],
)
def test_the_usual_gap_counts(rows: list[str], apart: int) -> None:
    """Of the target with the fewest samples."""
    assert slices_apart(flags(*rows)) == apart


def test_a_young_target_is_not_taken_for_a_rare_one_after_an_outage() -> None:
    """It has but three gaps, and one of them is that of the source, in which nothing was seen of anybody."""
    old, young = "xxxxxxxxxx....xx", "........xx....xx"

    assert slices_apart(flags(old, young)) == 1


def test_a_target_that_was_away_alone_has_its_gap() -> None:
    """While the others were seen: then it may be one that is scraped rarely."""
    assert slices_apart(flags("xxxxxxxxxxxxxxxx", "........xx....xx")) == 5


@given(st.integers(1, 6), st.integers(1, 4), st.integers(8, 12))
def test_regular_scrapes_are_told(interval: int, targets: int, scrapes: int) -> None:
    """Whatever the phases of the targets."""
    seen = np.zeros((targets, interval * scrapes), bool)
    for target in range(targets):
        seen[target, target % interval :: interval] = True

    assert slices_apart(seen) == interval
