"""The model of an outage: no healthy rollout is aborted, and it would show where one were."""

import pytest
from chaos.outage import Argo, Outage, simulated


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "refuses"])
@pytest.mark.parametrize("minutes", [10, 60])
def test_an_outage_aborts_no_rollout(hangs: bool, minutes: int) -> None:
    """By Argo's own limit of errors, which is tighter than that of the templates: none is an error."""
    outcome = simulated(Argo(consecutive_errors=4), Outage(hangs=hangs, lasts=60.0 * minutes), rollouts=300)

    assert (outcome.aborted, outcome.errors) == (0, 0)
    assert outcome.answers["at once"] > 50 * outcome.answers["held"]


def test_after_half_an_hour_all_go_on_by_themselves() -> None:
    """None is paused: the measurements of the outage leave time for a proof. A longer one waits for a person."""
    short, long = (
        simulated(Argo(consecutive_errors=4), Outage(lasts=60.0 * minutes), rollouts=300) for minutes in (30, 60)
    )

    assert (short.aborted, short.paused, short.promoted) == (0, 0, 300)
    assert long.paused > 200


def test_it_would_where_an_outage_were_an_error() -> None:
    """The control: 503 for what cannot be read ends the analyses of all rollouts, or of most."""
    outcome = simulated(Argo(consecutive_errors=4), Outage(is_error=True), rollouts=300)

    assert outcome.aborted > 200


def test_without_an_outage_all_are_promoted() -> None:
    """And none waits for a person."""
    outcome = simulated(Argo(consecutive_errors=4), Outage(lasts=0.0), rollouts=300)

    assert (outcome.promoted, outcome.aborted, outcome.paused) == (300, 0, 0)
