"""What can be played: a healthy canary, and one for each kind of fault."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """A canary and how its rollout must end.

    Parameters
    ----------
    fault : built into the canary, a key of `model_server.FAULTS`
    story : what is wrong, for people
    failing_check : the check that must catch it; empty when the canary must be promoted
    """

    fault: str
    story: str
    failing_check: str = ""


SCENARIOS = {
    "healthy": Scenario("none", "v2 is v1 retrained on more data: nothing is wrong"),
    "errors": Scenario("errors", "6% of v2's answers are HTTP 500", "error_rate"),
    "slow": Scenario("slow", "5% of v2's answers take 0.7 s longer", "latency_p99"),
    "drift": Scenario("drift", "v2 takes kilometres for metres: its scores move", "prediction_drift"),
    "business": Scenario(
        "business", "v2 declines good customers at unchanged scores: 60% fewer conversions", "business_proxy"
    ),
}
DEFAULT_SCENARIOS = ("healthy", "errors")
