"""The embedded demonstration: a good model version is promoted and a bad one is caught, on one machine.

Two versions of a small fraud model are served over HTTP, customers' traffic is sent to both, and the real
analyzer service judges the canary by what the two report. Only Argo's part is simulated: see `rollout`.
"""

from analyzer.demo.scenarios import DEFAULT_SCENARIOS, SCENARIOS
from analyzer.demo.stage import run

__all__ = ["DEFAULT_SCENARIOS", "SCENARIOS", "run"]
