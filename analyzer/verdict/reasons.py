"""What each code and outcome means, its causes and remedies, for whoever is on call.

Read by the report, by ``analyzer explain`` and for the table in the README of the rollouts. Text between backticks is
a command, a setting or a field.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from analyzer.model.findings import Code, Outcome


@dataclass(frozen=True)
class Reason:
    """The explanation of a code or an outcome, in sentences.

    Attributes
    ----------
    meaning : what was found
    rollout : the consequence for the rollout
    causes : the most likely first
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
        rollout="The rollout goes to its next step; a guard in the background keeps watching.",
        remedies=("Do nothing: Argo Rollouts continues by itself.",),
    ),
    Outcome.FAIL: Reason(
        meaning="At least one check is proved bad; another measurement would not make it good.",
        rollout="The analysis fails at once and the rollout is aborted: the canary gets no more traffic.",
        remedies=(
            "Leave the rollout aborted: the baseline serves all requests, and nothing is urgent.",
            "Find the cause by the codes of the failed checks, and release a corrected version.",
        ),
    ),
    Outcome.INCONCLUSIVE: Reason(
        meaning="Not enough evidence either way, or data are missing; a gate never passes on missing data.",
        rollout="Argo measures again; after `looks` measurements (half an hour) the rollout pauses for a person.",
        remedies=(
            "Wait where only requests are missing: `remaining` estimates how many.",
            "Where a check has no data, remove the cause that its code names.",
            f"Measure a paused step again with {MEASURE_AGAIN}.",
            "Or continue without a proof with `kubectl argo rollouts promote NAME`, which skips the step.",
            "Or give up with `kubectl argo rollouts abort NAME`.",
        ),
    ),
}

_DOCTOR = "Run `analyzer doctor --service S --canary C --baseline B`: it reports missing metrics, labels and buckets."
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
            "its processes were cold, and the check has no `warmup`",
        ),
        remedies=(
            "Look at logs, traces and inputs of the canary since the time that the reason names.",
            "Release a corrected version; `kubectl argo rollouts retry rollout NAME` retries the same one.",
            "If a limit seems wrong, try another on the same hours with `analyzer replay`.",
        ),
    ),
    Code.UNDECIDED: Reason(
        meaning="Not enough evidence either way: too few requests, or a value between the limits.",
        rollout="A gate waits; a guardrail blocks while it looks bad, under `role: guardrail` until `min_requests`.",
        causes=(
            "the canary has had too few requests",
            "the value is near a limit, where a proof takes many requests",
            "the value lies between promote and rollback, where no number of requests decides",
            "requests are clustered, and carry less evidence than as many independent ones",
            "the pass is withheld, since recent data look worse",
        ),
        remedies=(
            "Wait: `remaining` estimates how many more requests are needed, and for how long.",
            "Run `analyzer plan --rate R --weight W`: it computes what this traffic can prove, and how fast.",
            "Give the step a higher weight, or more time with `looks` of the template.",
            "Or settle it by the point estimate, without a proof, with `decide_by` in the policy.",
        ),
    ),
    Code.DECIDED_BY_POINT: Reason(
        meaning="The point estimate decided, without a proof: by `rule: point`, or because `decide_by` was reached.",
        rollout="The check passes or fails by its point estimate; `alpha` does not hold for it.",
        causes=("the policy asks for it",),
        remedies=("Raise `decide_by`, or leave `rule: point` out, to get a proof instead.",),
    ),
    Code.NO_CANARY_TRAFFIC: Reason(
        meaning="No request of the canary was counted; with `window: step`, none since the weight last changed.",
        rollout="The verdict stays inconclusive: a canary without traffic is never promoted.",
        causes=(
            "Prometheus does not scrape the new pods yet, which takes a scrape interval or two",
            "the canary's pods are not ready, or its weight is still 0",
            "the arm label is not on the metrics, or has another value",
            "the router sends the canary no requests",
        ),
        remedies=(
            "Check that the canary's pods are ready and get requests: `kubectl argo rollouts get rollout NAME`.",
            _DOCTOR,
            "Have the PodMonitor set the label: `podTargetLabels: [rollouts-pod-template-hash]`.",
        ),
    ),
    Code.NO_BASELINE_TRAFFIC: Reason(
        meaning="Nothing of the baseline was counted at the same time, so there is nothing to compare with.",
        rollout="Checks that compare stay inconclusive; those with absolute limits are judged.",
        causes=(
            "the request names no baseline, or a wrong one, such as the hash of a revision that is gone",
            "the canary has all of the traffic, as in the last moments of a rollout",
            "neither arm has had a business event yet",
        ),
        remedies=(
            "Check `baseline-hash` of the template: it is `podTemplateHashValue: Stable`.",
            "Measure before the canary has 100% of the traffic.",
            _DOCTOR,
        ),
    ),
    Code.METRIC_MISSING: Reason(
        meaning="The metric that the profile names for this check, or a label of it, does not exist.",
        rollout="A gate stays inconclusive until it exists; a guardrail without data does not block the rollout.",
        causes=(
            "the profile is for another model server, or another version of it",
            "the server exports the metric only after a setting, or after the first event",
            "the arm label is not on this metric",
            "only sum and count of the latency exist, and the check asks for a quantile",
            "the request has `data`, and none for this check",
        ),
        remedies=(
            _DOCTOR,
            "Run `analyzer profiles NAME`: it shows what the profile reads, and how a server exports it.",
            "Use `policy: ml-model-mean` where only sum and count of the latency exist.",
            "Leave the check out with `checks`, where the model has no such metric.",
        ),
    ),
    Code.BUCKETS_DIFFER: Reason(
        meaning="The histograms of the two arms, or of the pods of one arm, have different buckets.",
        rollout="The check stays inconclusive as long as both versions run.",
        causes=(
            "the new version changed the buckets of its histogram",
            "pods of two versions or settings stand behind one arm",
        ),
        remedies=(
            "Give both versions the same buckets, and change buckets in a separate release.",
            _WITHOUT,
        ),
    ),
    Code.BUCKET_RESOLUTION: Reason(
        meaning="A limit lies inside a bucket of the histogram, and so does the value: they cannot be distinguished.",
        rollout="The check stays inconclusive, however many requests are counted, and blocks as a guardrail too.",
        causes=("the histogram has no bucket edge at the limit",),
        remedies=(
            "Add the bucket edge that the reason names to the histogram of the server.",
            "Or move the limit to an existing edge: `analyzer doctor --service S` lists the edges.",
        ),
    ),
    Code.PARTIAL_DATA: Reason(
        meaning="The source answered, but reports that a part is missing.",
        rollout="The check stays inconclusive: the missing part may be the bad one.",
        causes=(
            "a store, ingester or node behind Thanos, Mimir or VictoriaMetrics is down",
            "some of the pods did not answer, with `ANALYZER_SOURCE=scrape`",
            "a limit on the query cut its answer off",
        ),
        remedies=(
            "Read the warning in the reason, and check the health of the source.",
            "Wait until the source is complete: no data is lost, every verdict is recomputed from the counters.",
        ),
    ),
    Code.SOURCE_UNAVAILABLE: Reason(
        meaning="The source of the counts did not answer in time, or its answer cannot be used.",
        rollout="The check is inconclusive and Argo measures again; `ANALYZER_ON_SOURCE_ERROR=error` makes it an "
        "error, which aborts the rollout after about five minutes.",
        causes=(
            "Prometheus is down, restarting or overloaded",
            "the address is wrong, or a network policy or proxy is in the way",
            "a token, password or certificate is wrong or has expired",
            "the query takes too long, or reads more than the server allows",
        ),
        remedies=(
            "Open `/readyz` of the analyzer: it tries the source and reports what is wrong.",
            "Check `ANALYZER_PROMETHEUS_URL` and the files of the credentials: `analyzer check-config` shows them.",
            "Give slow queries more time with `ANALYZER_PROMETHEUS_TIMEOUT`, below `ANALYZER_DEADLINE`.",
        ),
    ),
    Code.INCONSISTENT_DATA: Reason(
        meaning="The counts contradict each other, so none of them is used.",
        rollout="The check stays inconclusive.",
        causes=(
            "the profile's selector for errors matches requests that its selector for requests does not",
            'the histogram has no bucket `le="+Inf"`, or an edge that is not a number',
            "the sum of latencies stays at 0 while their number grows",
        ),
        remedies=(
            "Correct the metric or the selector that the reason names: the errors must be a part of the requests.",
            _DOCTOR,
        ),
    ),
    Code.WARMING_UP: Reason(
        meaning="All counts so far lie in the `warmup` or `lag` that the check leaves out.",
        rollout="The check waits for later counts.",
        causes=("the rollout has just started",),
        remedies=("Wait, or shorten `warmup` and `lag` of the check in the policy.",),
    ),
    Code.COMMON_MODE: Reason(
        meaning="The canary is beyond the limit, and so is the baseline at the same time: a service-wide incident.",
        rollout="The canary is neither rolled back nor promoted: the rollout waits.",
        causes=(
            "an incident of a database, feature store or upstream that both versions use",
            "clients send requests that no version can serve",
            "the service has always been beyond this limit",
        ),
        remedies=(
            "Treat it as an incident of the service: both versions are affected.",
            "If it is always beyond the limit, set limits that the service meets: `analyzer calibrate` measures it.",
            "Or judge the change against the baseline only, with `rule: relative`.",
        ),
    ),
    Code.TRAFFIC_SPLIT: Reason(
        meaning="The canary's share of the requests differs from its `weight` (sample-ratio mismatch).",
        rollout="Comparisons are inconclusive; a pass waits for the traffic of this weight, and for missing requests.",
        causes=(
            "the weight has just changed, and its traffic is not scraped yet",
            "without a traffic router the split is that of the pods, which is coarse",
            "requests stick to pods, are retried, or take a route that the weight does not cover",
            "requests of the canary hang or their clients leave, so they are never counted",
        ),
        remedies=(
            "Wait for two scrapes after a change of the weight, with `initial-delay` of the template.",
            "Check the routes of the service mesh or ingress, and the split over time in the report.",
            "Leave `weight` out where the split is known to differ.",
        ),
    ),
    Code.PLACEBO_FAILED: Reason(
        meaning="The canary is beyond the limit, but the same test proves pods of the baseline bad as well.",
        rollout="The canary is neither rolled back nor promoted: the rollout waits.",
        causes=(
            "requests depend on each other more than the baseline's history shows",
            "single pods or nodes of the baseline have a fault",
            "pods receive different kinds of requests",
        ),
        remedies=(
            "Compare the pods that the reason names with the others: logs, nodes, inputs.",
            "Or judge the change against the baseline only, with `rule: relative`.",
        ),
    ),
    Code.OVERLOADED: Reason(
        meaning="So many verdicts wait for their source that no thread is left for this one: nothing was read.",
        rollout="The check waits for the next measurement.",
        causes=(
            "Prometheus is slow or hangs, so that every verdict takes all of its time",
            "more rollouts ask than one pod can answer",
        ),
        remedies=(
            "Look at the time and the errors of requests to the source, in the dashboard of the analyzer.",
            "Give the analyzer more pods, or `ANALYZER_THREADS`.",
        ),
    ),
}


def troubleshooting_table() -> str:
    """Return the table for a README: meaning, causes and remedies of each code that has remedies."""
    rows = [
        f"| `{code}` | {reason.meaning} | {'; '.join(reason.causes)} | {' '.join(reason.remedies)} |"
        for code, reason in REASONS.items()
        if reason.remedies
    ]
    return "\n".join(["| code | meaning | likely causes | what to do |", "|---|---|---|---|", *rows])
