"""Why a finding is what it is, for whoever is on call: what each code means, where it comes from and what to do.

One place for the report, for ``analyzer explain`` and for the table in the README of the rollouts. What stands between
backticks is a command, a setting or a field.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from analyzer.model.findings import Code, Outcome


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


MEASURE_AGAIN = (
    '`kubectl patch rollout NAME --subresource=status --type=merge -p \'{"status":{"pauseConditions":null}}\'`'
)

OUTCOMES: Mapping[Outcome, Reason] = {
    Outcome.PASS: Reason(
        meaning="Every gate is proved good and no guardrail is proved bad; under `role: guardrail`, none is proved bad "
        "and each gate has `min_requests`.",
        rollout="The rollout goes to its next step; the background analysis keeps watching.",
        remedies=("Do nothing: Argo Rollouts goes on by itself.",),
    ),
    Outcome.FAIL: Reason(
        meaning="At least one check is proved bad; looking once more would not make it good.",
        rollout="The analysis fails at once and the rollout is aborted: the canary gets no more traffic.",
        remedies=(
            "Leave the rollout aborted: the baseline serves all requests, and nothing is urgent.",
            "Find the cause by the codes of the checks that failed, and release a corrected version.",
        ),
    ),
    Outcome.INCONCLUSIVE: Reason(
        meaning="Nothing is proved either way, or data are missing; missing data are never a pass.",
        rollout="Argo asks again; after the last look, by default after half an hour, the rollout pauses for a person.",
        remedies=(
            "Wait where only requests are missing: `remaining` says about how many.",
            "Remove what is in the way where a check has no data: its code says what.",
            f"Measure a paused step again with {MEASURE_AGAIN}.",
            "Or go on without a proof with `kubectl argo rollouts promote NAME`, which skips the step.",
            "Or give up with `kubectl argo rollouts abort NAME`.",
        ),
    ),
}

_DOCTOR = (
    "Run `analyzer doctor --service S --canary C --baseline B`: it names the metric, label or bucket that is missing."
)
_WITHOUT = 'Or only show the check for now: `limits` with `{"latency_p99": {"role": "advisory"}}`.'

REASONS: Mapping[Code, Reason] = {
    Code.PROVED_GOOD: Reason(
        meaning="The value is proved to be on the good side of the promote limit.",
        rollout="The check passes.",
    ),
    Code.PROVED_BAD: Reason(
        meaning="The value is beyond the rollback limit and proved to be beyond the promote limit; under "
        "`rule: strict`, proved to be beyond the rollback limit.",
        rollout="A gate or guardrail with this code aborts the rollout.",
        causes=(
            "the new version has a fault",
            "it runs with other resources, data or settings than the baseline",
            "its processes were still cold, and the check has no `warmup`",
        ),
        remedies=(
            "Look at what the canary did since the moment that the reason names: logs, traces, inputs.",
            "Release a corrected version; `kubectl argo rollouts retry rollout NAME` tries the same one again.",
            "Try other limits on the same hours with `analyzer replay` before you trust them.",
        ),
    ),
    Code.UNDECIDED: Reason(
        meaning="Not enough evidence either way: too few requests, or a value between the limits.",
        rollout="A gate waits; a guardrail stops nobody, or under `role: guardrail` only until it has `min_requests`.",
        causes=(
            "the canary has had too few requests yet",
            "the value is near a limit, where a proof takes many requests",
            "the value lies between promote and rollback, where no number of requests decides",
            "requests come in bursts, which are worth less than as many independent ones",
            "it was proved good, but lately looks worse",
        ),
        remedies=(
            "Wait: `remaining` says about how many more requests are needed, and for how long.",
            "Run `analyzer plan --rate R --weight W`: it tells what this traffic can prove, and in which time.",
            "Give the step a higher weight, or more time with `looks` of the template.",
            "Settle it by the estimate with `decide_by` in the policy, at the price of the proof.",
        ),
    ),
    Code.DECIDED_BY_POINT: Reason(
        meaning="The estimate alone decided, without a proof: by `rule: point`, or because `decide_by` was reached.",
        rollout="The check passes or fails as the estimate says; the promise of `alpha` does not hold for it.",
        causes=("the policy asks for it",),
        remedies=("Raise `decide_by`, or leave `rule: point` out, to get a proof instead.",),
    ),
    Code.NO_CANARY_TRAFFIC: Reason(
        meaning="No request of the canary has been counted; with `window: step`, none since the weight last changed.",
        rollout="The verdict stays inconclusive: a canary without traffic is never promoted.",
        causes=(
            "Prometheus does not scrape the new pods yet, which takes a scrape interval or two",
            "the canary's pods are not ready, or its weight is still 0",
            "the label that tells the arms apart is not on the metrics, or has another value",
            "the router sends the canary no requests",
        ),
        remedies=(
            "Check that the canary's pods are ready and get requests: `kubectl argo rollouts get rollout NAME`.",
            _DOCTOR,
            "Have the PodMonitor set the label: `podTargetLabels: [rollouts-pod-template-hash]`.",
        ),
    ),
    Code.NO_BASELINE_TRAFFIC: Reason(
        meaning="Nothing of the baseline has been counted at the same time, so there is nothing to compare with.",
        rollout="Checks that compare stay inconclusive; those with limits of their own are judged.",
        causes=(
            "the request names no baseline, or a wrong one, such as the hash of a revision that is gone",
            "the canary has all of the traffic, as in the last moments of a rollout",
            "neither arm has had a business event yet",
        ),
        remedies=(
            "Check `baseline-hash` of the template: it is `podTemplateHashValue: Stable`.",
            "Judge before the canary has 100% of the traffic.",
            _DOCTOR,
        ),
    ),
    Code.METRIC_MISSING: Reason(
        meaning="The metric that the profile names for this check, or a label of it, does not exist.",
        rollout="A gate stays inconclusive until it is there; a guardrail without data does not block the rollout.",
        causes=(
            "the profile is for another model server, or another version of it",
            "the server exports the metric only after a setting, or after the first event",
            "the label that tells the arms apart is not on this metric",
            "only sum and count of the latency exist, and the check asks for a quantile",
            "the request has `data`, and none for this check",
        ),
        remedies=(
            _DOCTOR,
            "Run `analyzer profiles NAME`: it says what the profile reads, and how a server is made to export it.",
            "Use `policy: ml-model-mean` where only sum and count of the latency exist.",
            "Leave the check out with `checks`, where the model has no such metric.",
        ),
    ),
    Code.BUCKETS_DIFFER: Reason(
        meaning="The histograms of the two arms, or of the pods of one, have different buckets.",
        rollout="The check stays inconclusive as long as both versions run.",
        causes=(
            "the new version changed the buckets of its histogram",
            "pods of two versions or settings stand behind one arm",
        ),
        remedies=(
            "Give both versions the same buckets, and change buckets in a release of their own.",
            _WITHOUT,
        ),
    ),
    Code.BUCKET_RESOLUTION: Reason(
        meaning="A limit lies inside a bucket of the histogram, and so does the value: no bucket can tell them apart.",
        rollout="The check stays inconclusive, however many requests come.",
        causes=("the histogram has no bucket edge at the limit",),
        remedies=(
            "Add the bucket edge that the reason names to the histogram of the server.",
            "Or move the limit to an edge that is there: `analyzer doctor --service S` lists the edges.",
        ),
    ),
    Code.PARTIAL_DATA: Reason(
        meaning="The source answered, but a part is missing, as it says itself.",
        rollout="The check stays inconclusive: what is missing might be the bad part.",
        causes=(
            "a store, ingester or node behind Thanos, Mimir or VictoriaMetrics is away",
            "some of the pods did not answer, with `ANALYZER_SOURCE=scrape`",
            "a limit on the query cut its answer off",
        ),
        remedies=(
            "Check the warning in the reason, and the health of the source.",
            "Wait until the source is healthy: no data is lost: every verdict is recomputed from the counters.",
        ),
    ),
    Code.SOURCE_UNAVAILABLE: Reason(
        meaning="The source of the counts gave no answer in time, or none that can be used.",
        rollout="The check is inconclusive and Argo asks again; `ANALYZER_ON_SOURCE_ERROR=error` makes it an error, "
        "which aborts the rollout after five minutes or so.",
        causes=(
            "Prometheus is down, restarting or overloaded",
            "the address is wrong, or a network policy or proxy is in the way",
            "a token, password or certificate is wrong or has expired",
            "the query takes longer than it may, or reads more than the server allows",
        ),
        remedies=(
            "Ask `/readyz` of the analyzer: it tries the source and says what is wrong.",
            "Check `ANALYZER_PROMETHEUS_URL` and the files of the credentials: `analyzer check-config` shows them.",
            "Give slow queries more time with `ANALYZER_PROMETHEUS_TIMEOUT`, which must fit into `ANALYZER_DEADLINE`.",
        ),
    ),
    Code.INCONSISTENT_DATA: Reason(
        meaning="The numbers of the source contradict each other, so none of them is used.",
        rollout="The check stays inconclusive.",
        causes=(
            "the profile's selector for errors matches requests that its selector for requests does not",
            'the histogram has no bucket `le="+Inf"`, or an edge that is no number',
            "the sum of latencies stays at 0 while their number grows",
        ),
        remedies=(
            "Correct the metric or the selector that the reason names: the errors must be a part of the requests.",
            _DOCTOR,
        ),
    ),
    Code.WARMING_UP: Reason(
        meaning="Everything counted so far lies in the `warmup` or `lag` that the check leaves out.",
        rollout="The check waits until there is more.",
        causes=("the rollout has only just begun",),
        remedies=("Wait, or shorten `warmup` and `lag` of the check in the policy.",),
    ),
    Code.COMMON_MODE: Reason(
        meaning="The canary is beyond the limit, and so is the baseline of the same time: the service is in trouble.",
        rollout="The canary is neither rolled back for it nor promoted: the rollout waits.",
        causes=(
            "a database, feature store or upstream that both versions use has an incident",
            "clients send requests that no version can serve",
            "the service has always been beyond this limit",
        ),
        remedies=(
            "Treat it as an incident of the service: both versions are affected.",
            "If this persists, set limits that the service meets: `analyzer calibrate` measures its own level.",
            "Or judge the change only, with `rule: relative`.",
        ),
    ),
    Code.TRAFFIC_SPLIT: Reason(
        meaning="The canary's part of the requests is not that of its `weight`.",
        rollout="A comparison says nothing then; with `window: step` a pass waits for the traffic of this weight.",
        causes=(
            "the weight has only just changed, and its traffic is not scraped yet",
            "without a traffic router the split is that of the pods, which is coarse",
            "requests stick to pods, are tried again, or take a route that the weight does not govern",
        ),
        remedies=(
            "Wait for two scrapes after a change of the weight: `initial-delay` of the template does.",
            "Check the routes of the service mesh or ingress, and the split over time in the report.",
            "Leave `weight` out where the split is known to be another.",
        ),
    ),
}


def troubleshooting_table() -> str:
    """Return the table of a README: for each code with something to do the meaning, causes and remedies."""
    rows = [
        f"| `{code}` | {reason.meaning} | {'; '.join(reason.causes)} | {' '.join(reason.remedies)} |"
        for code, reason in REASONS.items()
        if reason.remedies
    ]
    return "\n".join(["| code | meaning | likely causes | what to do |", "|---|---|---|---|", *rows])
