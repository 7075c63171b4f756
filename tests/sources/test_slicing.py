"""How finely a window is read, and what is known of its slices."""

import numpy as np
import pytest

from analyzer.config.profile import ErrorCounters, ScoreHistogram
from analyzer.config.selector import Selector
from analyzer.model.counts import Errors, Reading
from analyzer.model.findings import Code, Gap
from analyzer.sources.promql import timeline_of
from analyzer.sources.slicing import Limits, in_slices

ERRORS = ErrorCounters(requests=(Selector("all"),), errors=(Selector("some"),))
SCORES = ScoreHistogram(scores=Selector("scores"))


def test_few_series_are_read_as_finely_as_slices_may_be() -> None:
    """An hour in 30 s: 120 slices."""
    timeline, added_up = Limits(values=10_000).fit(0, 3600, {ERRORS: 10})

    assert (timeline.step, timeline.count, added_up) == (30, 120, frozenset())


def test_many_series_are_read_in_longer_slices() -> None:
    """Slices double until the samples asked for fit: 100 series in 30 slices and what is around them."""
    timeline, added_up = Limits(values=3200).fit(0, 3600, {ERRORS: 100})

    assert (timeline.step, timeline.count, added_up) == (120, 30, frozenset())


def test_the_largest_are_added_up_by_the_server_where_slices_would_be_too_few() -> None:
    """The others are read finely again."""
    timeline, added_up = Limits(values=3200).fit(0, 3600, {ERRORS: 20, SCORES: 900})

    assert (timeline.step, timeline.count, added_up) == (30, 120, frozenset({SCORES}))


@pytest.mark.parametrize(("apart", "step", "counts"), [(15.0, 15.0, 8), (30.0, 30.0, 4), (40.0, 45.0, 3)])
def test_slices_are_as_long_as_scrapes_are_apart(apart: float, step: float, counts: int) -> None:
    """Shorter ones are put together, and no request is lost."""
    timeline = timeline_of(0, 120, 120)
    arm = Errors(np.arange(8.0), np.full(8, 10.0))

    found = in_slices(Reading(arm, arm), timeline, ("a note",), apart)

    assert isinstance(found, Reading)
    assert found.canary is not None
    assert (found.slice_seconds, found.scrape_seconds, found.slices) == (step, apart, counts)
    assert (found.canary.errors.sum(), found.canary.requests.sum()) == (28, 80)
    assert found.notes == ("a note",)


def test_a_last_slice_that_is_shorter_is_said_to_be() -> None:
    """50 s are three slices of 15 s and one of 5 s."""
    arm = Errors(np.zeros(4), np.full(4, 10.0))
    found = in_slices(Reading(arm, None), timeline_of(0, 50, 120), (), None)

    assert isinstance(found, Reading)
    assert (found.slice_seconds, found.last_seconds, found.scrape_seconds) == (15, 5, 15)


def test_a_gap_stays_one() -> None:
    """Nothing is known of its slices."""
    gap = Gap(Code.METRIC_MISSING, "none")

    assert in_slices(gap, timeline_of(0, 50, 120), ()) is gap
