"""What watches a canary in the background: the project's guard, and thresholds as most people write them.

The thresholds stand on Argo's own Prometheus provider, with the rollback limits of the policy `ml-model`.
"""

import copy
from collections.abc import Sequence

from e2e.cluster import Object
from e2e.traffic import SCORE_EDGES

GUARD = "guard"
WINDOW = "5m"
THRESHOLDS = {
    "threshold": {},
    "threshold, 3 failures": {"failure-limit": "3"},
    "threshold, after 5 min": {"initial-delay": WINDOW},
}
"""Rivals by name, with what differs from the first."""
METHODS = (GUARD, *THRESHOLDS)

TEMPLATE = "threshold"
SHARES = "model_prediction_score:share5m"


def threshold_template() -> Object:
    """Write the rival: three values of the last five minutes, each against its limit at every look."""
    failed = _rate("http_requests_total", "canary", ',status=~"5.."')
    requests = _rate("http_requests_total", "canary")
    latencies = _rate("http_request_duration_seconds_bucket", "canary")
    asked = {
        "error-rate": (f"sum({failed}) / sum({requests})", 0.01),
        "latency-p99": (f"histogram_quantile(0.99, sum by (le) ({latencies}))", 0.5),
        "prediction-drift": (_psi(), 0.2),
    }
    arguments = ("service", "namespace", "canary-hash", "baseline-hash", "prometheus-url", "failure-limit")
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ClusterAnalysisTemplate",
        "metadata": {"name": TEMPLATE},
        "spec": {
            "args": [{"name": name} for name in (*arguments, "initial-delay", "interval")],
            "metrics": [
                {
                    "name": name,
                    "initialDelay": "{{args.initial-delay}}",
                    "interval": "{{args.interval}}",
                    "failureLimit": "{{args.failure-limit}}",
                    # No sample yet, or 0/0: no failure, which is how the thresholds fare best.
                    "failureCondition": f"len(result) > 0 && result[0] > {limit}",
                    "provider": {"prometheus": {"address": "{{args.prometheus-url}}", "query": query}},
                }
                for name, (query, limit) in asked.items()
            ],
        },
    }


def guarded_by(method: str, guard: Object, arguments: dict[str, str]) -> Object:
    """Write the background analysis of a Rollout.

    Parameters
    ----------
    method : one of `METHODS`
    guard : the example's own, with the project's guard
    arguments : in place of those of the same name; a method takes those that its template has
    """
    analysis = copy.deepcopy(guard)
    names = ["analyzer-url", "interval", "initial-delay"]
    if method != GUARD:
        analysis["templates"] = [{"templateName": TEMPLATE, "clusterScope": True}]
        arguments = arguments | {"failure-limit": "0"} | THRESHOLDS[method]
        names = ["prometheus-url", "interval", "initial-delay", "failure-limit"]
    own = [each for each in analysis["args"] if each["name"] not in names]
    return analysis | {"args": [*own, *({"name": name, "value": arguments[name]} for name in names)]}


def _rate(metric: str, arm: str, more: str = "") -> str:
    return f"rate({metric}{_labels(arm, more)}[{WINDOW}])"


def rules(edges: Sequence[float] = SCORE_EDGES) -> Object:
    """Write recording rules: which part of a version's predictions is in each bin of scores."""
    return {
        "groups": [
            {
                "name": "scores",
                "interval": "5s",  # more often than samples come, so that the index is hardly later than the others
                "rules": [
                    {"record": SHARES, "labels": {"bin": str(edge)}, "expr": f"({_inside(below, edge)}) / {_scores()}"}
                    for below, edge in zip((None, *edges), edges, strict=False)
                ],
            }
        ]
    }


def _inside(below: float | None, edge: float) -> str:
    buckets = [f'{{le="{each}"}}' for each in (edge, below) if each is not None]
    return " - ".join(_scores("bucket", labels) for labels in buckets)


def _scores(part: str = "count", labels: str = "") -> str:
    by = "namespace, rollouts_pod_template_hash"
    return f"sum by ({by}) (rate(model_prediction_score_{part}{labels}[{WINDOW}]))"


def _psi() -> str:
    """Write the index over the recorded bins; one without predictions counts as 0.0001, as is usual."""
    canary, baseline = (f"clamp_min({SHARES}{_labels(arm)}, 0.0001)" for arm in ("canary", "baseline"))
    return f"sum(({canary} - on (bin) {baseline}) * on (bin) ln({canary} / on (bin) {baseline}))"


def _labels(arm: str, more: str = "") -> str:
    return f'{{namespace="{{{{args.namespace}}}}",rollouts_pod_template_hash="{{{{args.{arm}-hash}}}}"{more}}}'
