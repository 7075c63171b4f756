"""The command ``analyzer rollout``: canaries of KServe and Seldon Core."""

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from cloup import argument, group, option, option_group

from analyzer.cli.completion import complete_policies, complete_profiles
from analyzer.cli.manual import Manual, ManualGroup
from analyzer.cli.shared import Duration
from analyzer.errors import NotInstalled

if TYPE_CHECKING:
    from analyzer.driver.resource import Object, ResourceKind, Stack

IN_CLUSTER = "http://rollout-analyzer.rollout-analyzer.svc.cluster.local:8080"
LAST = 100


class _Steps(click.ParamType[tuple[int, ...]]):
    name = "weights"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Read weights in percent."""
        if isinstance(value, tuple):
            return value
        try:
            steps = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of percentages: write 5,25,50,100", param, ctx)
        if steps[-1] != LAST or len(steps) < 2 or min(steps) < 1 or list(steps) != sorted(set(steps)):
            self.fail(f"{value!r} must ascend from at least 1 and end at 100, such as 5,25,50,100", param, ctx)
        return steps


class _Limits(click.ParamType[str]):
    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text of a JSON object; the analyzer validates its fields."""
        try:
            limits = json.loads(value)
        except ValueError:
            limits = None
        if not isinstance(limits, dict):
            example = '{"latency_p99": {"promote": "250ms"}}'
            self.fail(f"{value!r} is not a JSON object by check: write for example {example}", param, ctx)
        return str(value)


RESOURCE = (
    option("--namespace", "-n", metavar="NAME",
           help="Of the resource; default that of the kubeconfig's context, or of the pod."),
    option("--context", metavar="NAME", help="Of the kubeconfig; default the current one."),
)  # fmt: skip
THE_WALK = option_group(
    "The rollout",
    option("--model", metavar="ADDRESS",
           help="Of the new model: put into the resource together with the first weight."),
    option("--steps", type=_Steps(), default="5,10,25,50,100", show_default=True, help="Weights in percent."),
    option("--settle", type=Duration(), default="0s", show_default=True, help="How long a step must look good."),
    option("--ready-timeout", type=Duration(), default="10m", show_default=True, help="For pods to be ready."),
    option("--poll", type=Duration(), default="2s", show_default=True, help="Between two reads of the resource."),
    option("--again", is_flag=True, help="Start again with a canary that was rolled back, or moved by others."),
    option("--dry-run", is_flag=True, help="Print every patch, change nothing."),
)  # fmt: skip
JUDGING = option_group(
    "How it is judged",
    option("--service", metavar="NAME", help="What the metrics call it, where that is another name."),
    option("--profile", metavar="NAME", shell_complete=complete_profiles,
           help="Which metrics are read; default that of the stack."),
    option("--policy", metavar="NAME", shell_complete=complete_policies, default="ml-model", show_default=True,
           help="Which checks there are, and their limits."),
    option("--limits", type=_Limits(), default="{}", help="What differs from the policy, as JSON by check."),
    option("--template", metavar="NAME", default="ml-model-verdict", show_default=True,
           help="AnalysisTemplate of each step's run."),
    option("--direct", is_flag=True, help="Ask the analyzer from here, without Argo's AnalysisRuns."),
    option("--analyzer-url", metavar="URL", default=IN_CLUSTER, help="Address of the analyzer; default its Service."),
    option("--interval", type=Duration(), default="30s", show_default=True, help="Between two measurements."),
    option("--initial-delay", type=Duration(), default="30s", show_default=True,
           help="From the start of a step to its first measurement."),
    option("--looks", type=click.IntRange(1), default=120, show_default=True,
           help="Measurements before a step is held."),
)  # fmt: skip
ALERTS = option_group(
    "Alerts",
    option("--webhook", metavar="URL", envvar="ROLLOUT_WEBHOOK", help="Receives rollbacks and holds."),
    option("--webhook-form", type=click.Choice(["slack", "alertmanager"]), default="slack", show_default=True,
           help="What the webhook expects."),
)  # fmt: skip
EXITS = {
    0: "promoted",
    1: "rolled back",
    2: "refused, or wrong usage",
    3: "held: call again to continue",
    4: "cluster or analyzer unavailable: call again",
}
ENVIRONMENT = {
    "KUBECONFIG": "how to reach the cluster; in a pod its service account is used",
    "ROLLOUT_WEBHOOK": "the same as --webhook, for an address that is a secret",
}


@group(
    cls=ManualGroup,
    exits=EXITS,
    environment=ENVIRONMENT,
    examples="""
        analyzer rollout kserve fraud --model gs://models/fraud/v2
        analyzer rollout seldon fraud --model gs://models/fraud/v2
    """,
)
def rollout() -> None:
    """Roll out a canary of KServe or Seldon Core, step by step.

    For KServe's InferenceService and Seldon's SeldonDeployment or Experiment, which split the traffic themselves, so
    that Argo Rollouts cannot shift it. Each step asks for a verdict. The state of a rollout is kept in the resource
    alone: whatever happened, call again and it continues from there.
    """


@rollout.command(
    cls=Manual,
    exits=EXITS,
    environment=ENVIRONMENT,
    examples="""
        analyzer rollout kserve fraud --model gs://models/fraud/v2 --steps 5,25,50,100 --settle 5m
        analyzer rollout kserve fraud --dry-run
    """,
)
@argument("name")
@option_group("Which resource", *RESOURCE)
@THE_WALK
@JUDGING
@ALERTS
def kserve(name: str, **given: Any) -> None:
    """Roll out an InferenceService, in Knative or Standard mode.

    NAME is that of the InferenceService. Which mode it is in, the resource says.
    """
    from analyzer.driver.kserve import KIND, Knative, Standard, is_standard

    cluster = _cluster(given)
    stack = Standard() if is_standard(_read(cluster, KIND, name)) else Knative()
    _walk(stack, name, cluster, given)


@rollout.command(
    cls=Manual,
    exits=EXITS,
    environment=ENVIRONMENT,
    examples="""
        analyzer rollout seldon fraud --model gs://models/fraud/v2 --steps 5,25,50,100
        analyzer rollout seldon experiment/fraud --canary fraud-v2 --canary-arm fraud-v2_3
    """,
)
@argument("name")
@option_group(
    "Which resource",
    option(
        "--canary",
        metavar="NAME",
        help="Predictor or candidate; default the second, or the one that is not the default.",
    ),
    option(
        "--canary-arm", metavar="NAME", help="Experiment of models: what the metrics call the canary; default NAME_1."
    ),
    option("--baseline-arm", metavar="NAME", help="The same for the baseline."),
    *RESOURCE,
)
@THE_WALK
@JUDGING
@ALERTS
def seldon(name: str, canary: str | None, canary_arm: str | None, baseline_arm: str | None, **given: Any) -> None:
    """Roll out a SeldonDeployment or an Experiment.

    NAME is that of a SeldonDeployment (Seldon Core v1), which may be written seldondeployment/NAME, or experiment/NAME
    that of an Experiment (v2).
    """
    from analyzer.driver.seldon import Deployment, Experiment

    kind, _, rest = name.rpartition("/")
    if kind not in ("", "seldondeployment", "experiment"):
        raise click.BadParameter(f"{name!r}: write NAME, seldondeployment/NAME or experiment/NAME", param_hint="NAME")
    stack: Stack = Experiment(canary, canary_arm, baseline_arm) if kind == "experiment" else Deployment(canary)
    _walk(stack, rest, _cluster(given), given)


def _cluster(given: dict[str, Any]) -> Any:
    try:
        from analyzer.driver.cluster import Cluster
    except ImportError as error:
        raise NotInstalled(error.name, "kubernetes") from error
    return Cluster(given["namespace"], given["context"])


def _read(cluster: Any, kind: "ResourceKind", name: str) -> "Object":
    from analyzer.driver.cluster import Unreachable
    from analyzer.driver.walk import Ending

    try:
        resource: Object = cluster.get(kind, name)
    except Unreachable as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(Ending.UNAVAILABLE)
    return resource


def _walk(stack: "Stack", name: str, cluster: Any, given: dict[str, Any]) -> None:
    from analyzer.driver.alerts import Alerts, Form
    from analyzer.driver.judges import ByAnalysisRun, ByAnalyzer, VerdictQuestion
    from analyzer.driver.walk import Plan, Walk

    plan = Plan(
        given["steps"], given["model"], given["again"],
        ready_seconds=given["ready_timeout"], poll_seconds=given["poll"],
    )  # fmt: skip
    resource = _read(cluster, stack.kind, name)
    question = VerdictQuestion(
        service=given["service"] or stack.service(resource),
        namespace=cluster.namespace,
        profile=given["profile"] or stack.profile(resource),
        policy=given["policy"],
        limits=given["limits"],
        analyzer_url=given["analyzer_url"].rstrip("/"),
        interval=max(given["interval"], 0.1),
        settle=given["settle"],
        delay=given["initial_delay"],
        looks=given["looks"],
    )
    judge = ByAnalyzer(question) if given["direct"] else ByAnalysisRun(cluster, given["template"], question)
    notices = Alerts(cluster, given["webhook"], Form(given["webhook_form"]))
    walk = Walk(stack, cluster, name, plan, judge, notices, _say)
    if given["dry_run"]:
        for text, patch in walk.preview():
            click.echo(f"# {text}\n{json.dumps(patch)}")
        return
    sys.exit(walk.run())


def _say(text: str) -> None:
    """Print a line with the time, at once: what reads it may be a pod's log."""
    click.echo(f"{datetime.now(UTC):%H:%M:%S}Z  {text}")
    sys.stdout.flush()
