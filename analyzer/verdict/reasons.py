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
        rollout="Argo measures again; after `looks` measurements (an hour) the rollout pauses for a person.",
        remedies=(
            "Wait where only requests are missing: `remaining` estimates how many.",
            "Where a check has no data, remove the cause that its code names.",
            f"Measure a paused step again with {MEASURE_AGAIN}.",
            "Or continue without a proof with `kubectl argo rollouts promote NAME`, which skips the step.",
            "Or give up with `kubectl argo rollouts abort NAME`.",
        ),
    ),
}

_DOCTOR = "Run `analyzer doctor --service S --canary C --baseline B`: it reports what is missing."
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
            "its processes were cold, without a `warmup`",
        ),
        remedies=(
            "Look at logs, traces and inputs of the canary since the time in the reason.",
            "Release a corrected version, or the same one with `kubectl argo rollouts retry rollout NAME`.",
            "If a limit seems wrong, try another with `analyzer replay`.",
        ),
    ),
    Code.UNDECIDED: Reason(
        meaning="Not enough evidence either way: too few requests, or a value between the limits.",
        rollout="A gate waits; a guardrail blocks while it looks bad, under `role: guardrail` until `min_requests`.",
        causes=(
            "the canary has had too few requests",
            "the value is near a limit, where a proof takes many",
            "the value lies between the limits, where no number decides",
            "requests are clustered, and carry less evidence",
            "the pass is withheld, since recent data look worse",
        ),
        remedies=(
            "Wait: `remaining` estimates how many more requests are needed, and how long.",
            "Run `analyzer plan --rate R --weight W`: it computes how fast this traffic proves.",
            "Give the step a higher weight, or more time with `looks` of the template.",
            "Or settle it without a proof, with `decide_by` in the policy.",
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
            "Prometheus does not scrape the new pods yet",
            "the canary's pods are not ready, or its weight is still 0",
            "the arm label is not on the metrics, or has another value",
            "the router sends the canary no requests",
        ),
        remedies=(
            "Check that the canary's pods are ready: `kubectl argo rollouts get rollout NAME`.",
            _DOCTOR,
            "Have the PodMonitor set the label: `podTargetLabels: [rollouts-pod-template-hash]`.",
        ),
    ),
    Code.NO_BASELINE_TRAFFIC: Reason(
        meaning="Nothing of the baseline was counted at the same time, so there is nothing to compare with.",
        rollout="Checks that compare stay inconclusive; those with absolute limits are judged.",
        causes=(
            "the request names no baseline, or one that is gone",
            "the canary has all of the traffic",
            "neither arm has had a business event yet",
        ),
        remedies=(
            "Set `baseline-hash` to `podTemplateHashValue: Stable`.",
            "Measure before the canary has 100% of the traffic.",
            _DOCTOR,
        ),
    ),
    Code.METRIC_MISSING: Reason(
        meaning="The metric that the profile names for this check, or a label of it, does not exist.",
        rollout="A gate stays inconclusive until it exists; a guardrail without data does not block the rollout.",
        causes=(
            "the profile is for another model server, or another version of it",
            "the server exports it only after a setting, or the first event",
            "the arm label is not on this metric",
            "only sum and count of the latency exist",
            "the request has `data`, and none for this check",
        ),
        remedies=(
            _DOCTOR,
            "Run `analyzer profiles NAME`: it shows what is read, and how a server exports it.",
            "Use `policy: ml-model-mean` where only sum and count of the latency exist.",
            "Leave the check out with `checks`.",
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
            "Change buckets in a separate release.",
            _WITHOUT,
        ),
    ),
    Code.BUCKET_RESOLUTION: Reason(
        meaning="A limit lies inside a bucket of the histogram, and so does the value: they cannot be distinguished.",
        rollout="The check stays inconclusive, however many requests are counted, and blocks as a guardrail too.",
        causes=("the histogram has no bucket edge at the limit",),
        remedies=(
            "Add the bucket edge that the reason names to the histogram.",
            "Or move the limit to an edge: `analyzer doctor --service S` lists them.",
        ),
    ),
    Code.PARTIAL_DATA: Reason(
        meaning="The source answered, but reports that a part is missing.",
        rollout="The check stays inconclusive: the missing part may be the bad one.",
        causes=(
            "a store, ingester or node behind Thanos, Mimir or VictoriaMetrics is down",
            "a pod did not answer, with `ANALYZER_SOURCE=scrape`",
            "a limit on the query cut its answer off",
        ),
        remedies=(
            "Read the warning in the reason, and check the health of the source.",
            "Wait until the source is complete: no data is lost.",
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
            "Open `/readyz` of the analyzer: it reports what is wrong.",
            "Check address and credentials: `analyzer check-config` shows them.",
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
            "Correct the metric or selector that the reason names: errors must be a part of the requests.",
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
            "Treat it as an incident of the service.",
            "Or set limits that the service always meets: `analyzer calibrate`.",
            "Or judge the change against the baseline only, with `rule: relative`.",
        ),
    ),
    Code.TRAFFIC_SPLIT: Reason(
        meaning="The canary's share of the requests differs from its `weight` (sample-ratio mismatch).",
        rollout="Comparisons are inconclusive; a pass waits for the traffic of this weight, and for missing requests.",
        causes=(
            "the weight has just changed",
            "without a traffic router the split is that of the pods",
            "requests stick to pods, are retried, or take a route that the weight does not cover",
            "requests of the canary hang, and are never counted",
        ),
        remedies=(
            "Wait for two scrapes after a change, with `initial-delay` of the template.",
            "Check the routes, and the split over time in the report.",
            "Leave `weight` out where the split is known to differ.",
        ),
    ),
    Code.PLACEBO_FAILED: Reason(
        meaning="The canary is beyond the limit, but the same test proves pods of the baseline bad as well.",
        rollout="The canary is neither rolled back nor promoted: the rollout waits.",
        causes=(
            "requests depend on each other more than the history shows",
            "single pods or nodes of the baseline have a fault",
            "pods receive different kinds of requests",
        ),
        remedies=(
            "Compare the pods that the reason names with the others.",
            "Or judge the change against the baseline only, with `rule: relative`.",
        ),
    ),
    Code.OVERLOADED: Reason(
        meaning="So many verdicts wait for their source that no thread is left for this one: nothing was read.",
        rollout="The check waits for the next measurement.",
        causes=(
            "Prometheus is slow or hangs",
            "more rollouts ask than one pod can answer",
        ),
        remedies=(
            "Look at the requests to the source, in the dashboard of the analyzer.",
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
