"""Rollout Analyzer: is the canary model healthy? Verdicts for Argo Rollouts that are right at every look.

>>> import analyzer
>>> answer = analyzer.evaluate({
...     "checks": "error_rate",
...     "data": {"error_rate": {"canary": {"errors": 14, "requests": 865},
...                             "baseline": {"errors": 52, "requests": 16435}}},
... })
>>> answer["verdict"]
'fail'
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from analyzer.version import __version__

if TYPE_CHECKING:
    from analyzer.verdict.analysis import Analyzer


def evaluate(body: dict[str, Any]) -> dict[str, Any]:
    """Judge a canary without a server: the body and the answer are those of ``POST /v1/verdict``.

    Parameters
    ----------
    body : the request; with ``data`` nothing else is read, without it the source that the settings name

    Raises
    ------
    analyzer.errors.RequestError : names every field that is wrong, with the remedy
    analyzer.errors.ConfigError : a setting, policy or profile is wrong
    """
    from analyzer.verdict.answer import render  # noqa: PLC0415 - `import analyzer` stays quick
    from analyzer.verdict.request import parse_request  # noqa: PLC0415

    request = parse_request(body)
    return render(_analyzer().verdict(request), request.detail)


@cache
def _analyzer() -> "Analyzer":
    from analyzer.config.settings import load_settings  # noqa: PLC0415
    from analyzer.verdict.wiring import build_analyzer  # noqa: PLC0415

    return build_analyzer(load_settings())


__all__ = ["__version__", "evaluate"]
