"""Properties of `analyzer.sources.counters`: growth from samples, with and without restarts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analyzer.sources.counters import Grid, Track, followed, increments, restarts

COUNTS = st.integers(0, 10**9)


def grid(base: Any, last: Any, target: Any = None, may_fall: Any = None) -> Grid:
    """Build a grid; every series is of its own target where none is given."""
    rows = np.asarray(last, dtype=float)
    return Grid(
        base=np.asarray(base, dtype=float),
        last=rows,
        may_fall=np.asarray(np.zeros(len(rows)) if may_fall is None else may_fall, dtype=bool),
        target=np.arange(len(rows)) if target is None else np.asarray(target),
    )


def grown(of: Grid, *, before: bool = True, new: bool = False) -> Any:
    """Tell the growth where all targets were scraped before, or are all new."""
    targets = int(of.target.max()) + 1
    return increments(of, scraped_before=np.full(targets, before), begins_at_zero=np.full(targets, new))


@st.composite
def rising(draw: st.DrawFn) -> tuple[Any, Any]:
    """Draw counters that never restart, with slices in which they were not scraped."""
    steps = draw(arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 8)), elements=st.integers(0, 10**6)))
    start = np.array(draw(st.lists(COUNTS, min_size=len(steps), max_size=len(steps))), dtype=float)
    last = start[:, np.newaxis] + np.cumsum(steps, axis=1)
    gaps = draw(arrays(np.bool_, last.shape))
    return start, np.where(gaps, np.nan, last)


@given(rising())
def test_without_restarts_the_sum_is_last_minus_base(drawn: tuple[Any, Any]) -> None:
    """What a counter grew by in all slices is its last value less its base."""
    base, last = drawn
    final = [
        row[~np.isnan(row)][-1] if (~np.isnan(row)).any() else first for first, row in zip(base, last, strict=True)
    ]

    assert grown(grid(base, last)).sum(axis=1).tolist() == (np.array(final) - base).tolist()


@given(rising(), st.integers(1, 7))
def test_splitting_the_window_never_changes_the_sum(drawn: tuple[Any, Any], every: int) -> None:
    """Coarser slices add up to the same."""
    base, last = drawn
    ends = sorted({*range(every - 1, last.shape[1], every), last.shape[1] - 1})
    filled = np.array([[next((v for v in row[end::-1] if v == v), np.nan) for end in ends] for row in last])

    assert grown(grid(base, filled)).sum() == grown(grid(base, last)).sum()


@given(st.lists(st.one_of(st.none(), COUNTS), min_size=1, max_size=10), st.one_of(st.none(), COUNTS), st.booleans())
def test_growth_is_never_negative(row: list[int | None], base: int | None, new: bool) -> None:
    """Whatever a counter does, it does not ungrow, and it never counts more than its values."""
    values = [[np.nan if one is None else one for one in row]]
    found = grown(grid([np.nan if base is None else base], values), before=base is not None, new=new)

    assert (found >= 0).all()
    assert (found <= np.nan_to_num(values)).all()


@given(rising())
def test_a_returning_target_never_contributes_its_past(drawn: tuple[Any, Any]) -> None:
    """A target that is neither known nor new counts from its first sample on."""
    base, last = drawn
    last = last + 1e9
    found = grown(grid(np.full(len(base), np.nan), last), before=False)

    assert (found.sum(axis=1) < 1e8).all()


def test_a_new_label_set_of_a_known_target_counts_from_zero() -> None:
    """The first error is counted, though its series was not there before."""
    found = grown(grid([100, np.nan], [[110, 120], [np.nan, 3]], target=[0, 0]))

    assert found.tolist() == [[10, 10], [0, 3]]


def test_a_new_label_set_of_an_old_target_that_returned_counts_from_zero() -> None:
    """From its second slice on, a target that returned is known."""
    found = grown(grid([np.nan, np.nan], [[1e6, 1e6 + 5], [np.nan, 2]], target=[0, 0]), before=False)

    assert found.tolist() == [[0, 5], [0, 2]]


def test_a_newborn_target_counts_from_zero() -> None:
    """The first sample of a new process counts whole."""
    assert grown(grid([np.nan], [[7, 9]]), before=False, new=True).tolist() == [[7, 2]]


def test_a_fallen_counter_restarted() -> None:
    """A counter that fell counts from 0."""
    assert grown(grid([100], [[130, 20, 25]])).tolist() == [[30, 20, 5]]


def test_a_sum_may_fall() -> None:
    """The sum of values that may be negative goes down without a restart."""
    assert grown(grid([100], [[90, 120]], may_fall=[True])).tolist() == [[-10, 30]]


def track(values: list[float], times: list[float] | None = None, family: str = "f", **kind: bool) -> Track:
    """Build a track with a sample a second."""
    moments = list(range(len(values))) if times is None else times
    return Track(family, np.array(moments, dtype=float), np.array(values, dtype=float), **kind)


@given(st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=5), min_size=1, max_size=4), st.booleans())
def test_followed_counts_every_life(lives: list[list[int]], from_zero: bool) -> None:
    """With its restarts known, a counter's growth is the sum of the last values of its lives."""
    counters = [np.cumsum(life) for life in lives]
    begins = np.cumsum([0, *map(len, lives)])[1:-1]
    found = followed(track(np.concatenate(counters).tolist()), begins.astype(float), from_zero=from_zero)

    assert found.sum() == sum(one[-1] for one in counters) - (0 if from_zero else counters[0][0])


def test_the_gauge_shows_a_restart_that_the_counters_hide() -> None:
    """A process that counted more than before within one scrape restarted all the same."""
    found = restarts([track([5, 6, 9])], track([100, 100, 102]))

    assert found.by_family["f"].tolist() == [2]


def test_counters_of_a_family_restart_together() -> None:
    """Where most of what was counted fell, a counter that grew past its old value restarted too."""
    found = restarts([track([100, 110, 4]), track([2, 3, 5])], None)

    assert found.by_family["f"].tolist() == [2]


def test_a_small_label_set_that_begins_anew_is_no_restart_of_the_large() -> None:
    """A program that removes one label set does not make a million requests count again."""
    found = restarts([track([1e6, 1e6 + 1, 1e6 + 2]), track([5, 6, 1])], None)

    assert found.by_family["f"].tolist() == []


def test_families_are_told_apart() -> None:
    """What fell in one family says nothing about another, without the gauge."""
    found = restarts([track([9, 1], family="a"), track([9, 10], family="b")], None)

    assert (found.by_family["a"].tolist(), found.by_family["b"].tolist()) == ([1], [])


@pytest.mark.parametrize("values", [[], [5.0]])
def test_next_to_no_samples(values: list[float]) -> None:
    """No sample is no growth, a single one is a base or a beginning."""
    assert followed(track(values), np.empty(0), from_zero=False).sum() == 0
    assert followed(track(values), np.empty(0), from_zero=True).sum() == sum(values)


def test_the_start_of_one_process_may_seem_to_vary() -> None:
    """A gauge that moves by less than a second, while no counter falls, is no restart."""
    found = restarts([track([5, 6, 9, 12, 13], [1000, 1015, 1030, 1045, 1060])], gauge([100, 100.01, 100, 99.9, 100]))

    assert found.by_family["f"].tolist() == []
    assert not found.several


def test_several_processes_are_found_by_a_start_that_goes_back_and_forth() -> None:
    """Counters of one fall below those of another with each scrape."""
    found = restarts([track([50, 30, 51, 32], [1000, 1015, 1030, 1045])], gauge([100, 100.5, 100, 100.5]))

    assert found.several


def test_several_processes_are_found_without_the_gauge() -> None:
    """Counters that fall and rise again and again are those of several processes."""
    values = [100, 50, 80, 20, 101, 51, 81, 21, 102, 52]

    assert restarts([track(values)], None).several


def test_a_crash_loop_is_no_several_processes() -> None:
    """Its counters begin anew each time, and so does the start of its process."""
    values, starts = [5, 9, 2, 4, 1, 3, 2, 5], [990, 990, 1020, 1020, 1050, 1050, 1080, 1080]
    times = [1000.0 + 15 * number for number in range(len(values))]
    found = restarts([track(values, times)], gauge(starts, times))

    assert not found.several
    assert found.by_family["f"].tolist() == [times[2], times[4], times[6]]


@pytest.mark.parametrize("known", [True, False], ids=["with the gauge", "without it"])
def test_a_copy_that_lags_behind_is_no_restart(known: bool) -> None:
    """One sample of a querier that deduplicates is 2 lower."""
    values = [float(number) for number in range(10, 40)]
    values[15] -= 2
    found = restarts([track(values)], gauge([5] * 30) if known else None)
    growth = followed(track(values), found.by_family["f"], from_zero=False, steady=known)

    assert growth.sum() == 29
    assert (growth >= 0).all()


def test_a_copy_may_lag_for_several_samples() -> None:
    """What it counts again until it has caught up is not new."""
    values = [100, 110, 120, 100, 110, 120, 130]

    assert followed(track(values), np.empty(0), from_zero=False, steady=True).tolist() == [0, 10, 10, 0, 0, 0, 10]


def gauge(starts: list[float], times: list[float] | None = None) -> Track:
    """Build the starts of processes, with a sample at the times of `track`, or every 15 s from 1,000 on."""
    moments = times if times is not None else [1000.0 + 15 * number for number in range(len(starts))]
    return Track("g", np.array(moments, dtype=float), np.array(starts, dtype=float))


def test_a_series_without_samples_is_no_restart() -> None:
    """Beside one that fell."""
    found = restarts([track([5, 6, 1]), track([])], gauge([100] * 3))

    assert found.by_family["f"].tolist() == [2]


def test_a_start_that_varies_beside_a_lagging_copy_is_no_restart() -> None:
    """One sample is 2 lower while the start seems 10 ms later, on a clock that is ahead of the samples."""
    values, starts = [30, 34, 38, 36, 41, 44], [2000, 2000.01, 2000, 2000.01, 2000, 2000]
    counter = track(values, [1000 + 15 * number for number in range(6)])
    found = restarts([counter], gauge(starts))
    growth = followed(counter, found.by_family["f"], from_zero=False, steady=True)

    assert not found.several
    assert growth.sum() == 14


def test_a_series_that_its_exporter_forgot_begins_anew() -> None:
    """After five minutes without a change it is dropped, and comes back lower; a lagging copy is not absent before."""
    times = [0.0, 15, 30, 45, 360, 375]
    track_ = Track("f", np.array(times), np.array([1.0, 2, 3, 3, 2, 4]))
    found = restarts([track_], gauge([5] * 6, times))

    assert followed(track_, found.by_family["f"], from_zero=False, steady=True).sum() == 2 + 4


def test_a_series_that_goes_on_while_others_of_its_family_begin_anew_is_not_counted_again() -> None:
    """An exporter forgot the many answered requests; the failed ones go on from 40, which one scrape cannot bring."""
    answered, failed = track([500, 500, 7, 9]), track([40, 40, 41, 41])
    found = restarts([answered, failed], gauge([5] * 4, [0, 1, 2, 3]))
    both = [
        followed(one, found.by_family["f"], from_zero=False, steady=True, sure=found.sure).sum()
        for one in (answered, failed)
    ]

    assert both == [9, 1]


def test_a_series_that_begins_anew_by_itself_counts_from_zero() -> None:
    """The program removed a label set and took it up again, while its process went on for all that is known."""
    assert followed(track([90, 100, 3, 5]), np.empty(0), from_zero=False, steady=True).tolist() == [0, 10, 3, 2]
