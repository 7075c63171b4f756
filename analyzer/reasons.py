"""Why a finding is what it is, for whoever is on call: what each code means, where it comes from and what to do.

One place for the report, for ``analyzer explain`` and for the table in the README of the rollouts. What stands between
backticks is a command, a setting or a field.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from analyzer.model import Code, Outcome


@dataclass(frozen=True)
class Reason:
    """What is to be known of a code or an outcome, in sentences.

    Attributes
    ----------
    meaning : what was found
    rollout : what follows for the rollout
    causes : where it comes from, the most likely first
    remedies : what to do, the first thing first
    """

    meaning: str
    rollout: str
    causes: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()


OUTCOMES: Mapping[Outcome, Reason] = {
    Outcome.PASS: Reason(
        meaning="Every gate is proved good, and no guardrail is proved bad.",
        rollout="The rollout goes to its next step; a guard in the background looks on.",
        remedies=("Nothing: Argo Rollouts goes on by itself.",),
    ),
    Outcome.FAIL: Reason(
        meaning="At least one check is proved bad; looking once more would not make it good.",
        rollout="The AnalysisRun fails at once and the rollout is aborted: the canary gets no more traffic.",
        remedies=(
            "Leave the rollout aborted: the baseline serves all requests, and nothing is urgent.",
            "Find the cause with the checks below, then release a corrected version as a new revision.",
        ),
    ),
    Outcome.INCONCLUSIVE: Reason(
        meaning="Nothing is proved either way, or data are missing; missing data are never a pass.",
        rollout="Argo asks again; after the last look, by default after half an hour, the rollout pauses for a person.",
        remedies=(
            "Wait, where only requests are missing: the report says about how many.",
            "Remove what is in the way, where a check has no data: see its code.",
            "Resume a paused rollout with `kubectl argo rollouts promote NAME`: the same step is measured again.",
        ),
    ),
}

_DOCTOR = "Run `analyzer doctor --service S --canary C --baseline B`: it names the missing label, metric or bucket."

REASONS: Mapping[Code, Reason] = {
    Code.PROVED_GOOD: Reason(
        meaning="The value is proved to be on the good side of the promote limit.",
        rollout="A gate with this code passes.",
    ),
    Code.PROVED_BAD: Reason(
        meaning="The value is beyond the rollback limit and proved to be beyond the promote limit (`rule: strict`: "
        "beyond the rollback limit).",
        rollout="A gate or guardrail with this code fails, and the rollout is aborted.",
        causes=(
            "the new version has a fault",
            "it runs with other resources, data or settings than the baseline",
            "its pods were still cold, and the policy sets no `warmup`",
        ),
        remedies=(
            "Look at what the canary's pods did since the moment that the reason names: logs, traces, inputs.",
            "Compare the canary with the baseline in this report: a fault in both is the service's, not the version's.",
            "Release a corrected version; `kubectl argo rollouts retry rollout NAME` tries the same one again.",
            "Believe the limit wrong? Try another on the same past with `analyzer replay --policy A --policy B`.",
        ),
    ),
    Code.UNDECIDED: Reason(
        meaning="There are data, but too few to prove either side, or the value lies between the limits.",
        rollout="A gate with this code waits; a guardrail lets the rollout go on once it has `min_requests`.",
        causes=(
            "the canary has had too few requests yet",
            "the value is near a limit, where proof takes many requests",
            "the value lies between promote and rollback: no number of requests decides that",
            "requests come in bursts, which are worth less than as many independent ones",
        ),
        remedies=(
            "Wait: the report says about how many more requests are needed, and how long that takes.",
            "Run `analyzer plan --rate R --weight W`: it tells what this traffic can prove, and in which time.",
            "Give the step a higher weight or more time (`looks` of the template), or set `decide_by` in the policy.",
        ),
    ),
    Code.DECIDED_BY_POINT: Reason(
        meaning="The estimate alone decided, without proof: by `rule: point`, or because `decide_by` was reached.",
        rollout="It passes or fails as the estimate says.",
        causes=("the policy asks for it",),
        remedies=("Raise `decide_by`, or leave `rule: point` out, to get proof instead.",),
    ),
    Code.NO_CANARY_TRAFFIC: Reason(
        meaning="No request of the canary has been counted.",
        rollout="The verdict stays inconclusive: a canary without traffic is never promoted.",
        causes=(
            "the canary's pods are not ready, or the weight is still 0",
            "Prometheus does not scrape the new pods yet (it takes a scrape interval or two)",
            "the label that tells the arms apart is not on the metrics, or has another value",
            "the router does not send requests to the canary",
        ),
        remedies=(
            "Check that the canary's pods are ready and get requests: `kubectl argo rollouts get rollout NAME`.",
            _DOCTOR,
            "Put `rollouts_pod_template_hash` on the metrics: `podTargetLabels` of the PodMonitor does it.",
        ),
    ),
    Code.NO_BASELINE_TRAFFIC: Reason(
        meaning="No request of the baseline has been counted at the same time, so there is nothing to compare with.",
        rollout="Checks that compare stay inconclusive; those with limits of their own are judged.",
        causes=(
            "the request names a wrong baseline, such as the hash of a revision that is gone",
            "the canary has all of the traffic: the last moments of a rollout",
            "the event is so rare that neither arm has had one",
        ),
        remedies=(
            "Check `baseline-hash`: with Argo it is `podTemplateHashValue: Stable`.",
            "Judge before 100% of the traffic: keep some for the baseline.",
            _DOCTOR,
        ),
    ),
    Code.METRIC_MISSING: Reason(
        meaning="The profile's metric for this check does not exist for these arms.",
        rollout="A gate stays inconclusive until the metric is there; a guardrail without data stops nobody.",
        causes=(
            "the profile is for another model server or version",
            "the server does not export the metric, or only after a setting or the first event",
            "a selector of the profile matches nothing: namespace, service or route",
            "only sum and count of the latency exist, and a quantile is asked for",
        ),
        remedies=(
            _DOCTOR,
            "Run `analyzer profiles NAME`: what the profile reads, and how to make a server export it.",
            "Leave the check out (`checks`), or use policy `ml-model-mean` where there is only a mean latency.",
        ),
    ),
    Code.BUCKETS_DIFFER: Reason(
        meaning="The histograms of the pods, or of the two arms, have different buckets.",
        rollout="The check stays inconclusive.",
        causes=(
            "the new version changed the buckets of its histogram",
            "two kinds of pods stand behind one label",
        ),
        remedies=(
            "Give both versions the same buckets; change buckets in a release of their own.",
            "Or use native histograms of one resolution, whose buckets always fit together.",
        ),
    ),
    Code.BUCKET_RESOLUTION: Reason(
        meaning="A limit lies inside a bucket, and the requests that would decide lie in that bucket.",
        rollout="The check stays inconclusive however many requests come.",
        causes=("the histogram has no bucket edge at the limit",),
        remedies=(
            "Add the bucket edge that the reason names to the histogram of the server.",
            "Or move the limit to an edge that is there: `analyzer check-config` and `analyzer doctor` list them.",
        ),
    ),
    Code.PARTIAL_DATA: Reason(
        meaning="The source answered, but says itself that a part is missing.",
        rollout="The check stays inconclusive: a part might be the good part.",
        causes=(
            "a Thanos store, Mimir ingester or VictoriaMetrics node is away",
            "some of the pods did not answer (source `scrape`)",
            "a limit on samples or series cut the answer off",
        ),
        remedies=(
            "Look at the warning in the reason, and at the health of the source.",
            "Ask again when it is whole: nothing is lost, a verdict is formed anew from the counts.",
        ),
    ),
    Code.SOURCE_UNAVAILABLE: Reason(
        meaning="The source of the counts did not answer in time, or refused to.",
        rollout="The verdict is inconclusive, or an error with `ANALYZER_ON_SOURCE_ERROR=error`; Argo asks again.",
        causes=(
            "Prometheus is down, restarting or overloaded",
            "a network policy, a proxy or a certificate is in the way",
            "the token is wrong or has run out",
        ),
        remedies=(
            "Ask `/readyz` of the analyzer: it tries the source and says what is wrong.",
            "Check `ANALYZER_PROMETHEUS_URL`, the token and the CA file with `analyzer check-config`.",
            "Give slow queries time: `ANALYZER_PROMETHEUS_TIMEOUT`, below `ANALYZER_DEADLINE`.",
        ),
    ),
    Code.INCONSISTENT_DATA: Reason(
        meaning="The numbers contradict each other, so none of them is used.",
        rollout="The check stays inconclusive.",
        causes=(
            "the selector of the errors counts other requests than that of all requests",
            'a histogram has no bucket `le="+Inf"`, or an edge that is no number',
            "a counter is not finite, or a sum is negative",
        ),
        remedies=(
            "Compare the two selectors of the profile: the errors must be a part of the requests.",
            _DOCTOR,
        ),
    ),
    Code.WARMING_UP: Reason(
        meaning="The whole window lies in the warm-up or lag that the policy leaves out.",
        rollout="The check waits until something else is there.",
        causes=("the rollout has only just begun",),
        remedies=("Wait, or shorten `warmup` and `lag` of the check in the policy.",),
    ),
    Code.COMMON_MODE: Reason(
        meaning="The canary is beyond the limit, and so is the baseline of the same time: the service is in trouble.",
        rollout="The canary is not rolled back for it, and not promoted either: the rollout waits.",
        causes=(
            "a database, feature store or upstream that both versions use has an incident",
            "a client sends requests that no version can serve",
            "the service has always been beyond this limit",
        ),
        remedies=(
            "Treat it as an incident of the service: both versions are affected.",
            "Always like this (`analyzer calibrate` tells)? Set limits that the service meets, or `rule: relative`.",
        ),
    ),
    Code.TRAFFIC_SPLIT: Reason(
        meaning="The canary's share of the requests is not what its weight says.",
        rollout="The check waits until the traffic of this weight is seen.",
        causes=(
            "the weight has only just changed, and its traffic is not scraped yet",
            "without a traffic router the split is one of pods, which is coarse",
            "requests stick to pods, are retried, or reach a route that the weight does not govern",
        ),
        remedies=(
            "Wait for two scrapes after a step (`initial-delay` of the template).",
            "Look at the share over time in this report, and at the routes of the service mesh or ingress.",
            "Leave `weight` out, where the split is known to be another.",
        ),
    ),
}


def troubleshooting_table() -> str:
    """Write the table by code that stands in a README: what it means, and what to do first."""
    rows = [
        f"| `{code}` | {reason.meaning} | {'; '.join(reason.causes)} | {' '.join(reason.remedies) or 'Nothing.'} |"
        for code, reason in REASONS.items()
    ]
    return "\n".join(["| code | meaning | likely causes | what to do |", "|---|---|---|---|", *rows])
