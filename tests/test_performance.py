"""Speed of a verdict: Argo asks for one every few seconds, for every rollout at once."""

from bench import judging_time


def test_four_checks_are_judged_in_under_three_milliseconds() -> None:
    """The median of the best of several rounds, with every check undecided."""
    assert judging_time.measure() < judging_time.ALLOWED_SECONDS
