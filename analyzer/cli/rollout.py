"""The commands ``analyzer rollout``."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.completion import complete_policies, complete_profiles
from analyzer.cli.manual import Manual, ManualGroup
from analyzer.cli.shared import Duration

if TYPE_CHECKING:
    from analyzer.driver.resource import Kind, Object, Stack

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
            self.fail(f"{value!r} is no list of percentages: write 5,25,50,100", param, ctx)
        if steps[-1] != LAST or len(steps) < 2 or min(steps) < 1 or list(steps) != sorted(set(steps)):
            self.fail(f"{value!r} must ascend from at least 1 and end at 100, such as 5,25,50,100", param, ctx)
        return steps


class _Limits(click.ParamType[str]):
    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Make sure that it is an object; what may stand in it the analyzer knows."""
        try:
            found = json.loads(value)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            example = '{"latency_p99": {"promote": "250ms"}}'
            self.fail(f"{value!r} is no JSON object by check: write such as {example}", param, ctx)
        return str(value)


OPTIONS = (
    click.option("--namespace", "-n", metavar="NAME",
                 help="Of the resource; default that of the kubeconfig's context, or of the pod."),
    click.option("--context", metavar="NAME", help="Of the kubeconfig; default the current one."),
    click.option("--model", metavar="ADDRESS",
                 help="Of the new model: put into the resource together with the first weight."),
    click.option("--steps", type=_Steps(), default="5,10,25,50,100", show_default=True, help="Weights in percent."),
    click.option("--settle", type=Duration(), default="0s", show_default=True, help="How long a step must look good."),
    click.option("--ready-timeout", type=Duration(), default="10m", show_default=True, help="For pods to be ready."),
    click.option("--poll", type=Duration(), default="2s", show_default=True, help="Between two reads of the resource."),
    click.option("--again", is_flag=True, help="Begin anew with a canary that was rolled back, or moved by others."),
    click.option("--dry-run", is_flag=True, help="Print every patch, change nothing."),
    click.option("--service", metavar="NAME", help="What the metrics call it, where that is another name."),
    click.option("--profile", metavar="NAME", shell_complete=complete_profiles,
                 help="Which metrics are read; default that of the stack."),
    click.option("--policy", metavar="NAME", shell_complete=complete_policies, default="ml-model", show_default=True,
                 help="Which checks there are, and their limits."),
    click.option("--limits", type=_Limits(), default="{}", help="What differs from the policy, as JSON by check."),
    click.option("--template", metavar="NAME", default="ml-model-verdict", show_default=True,
                 help="AnalysisTemplate of each step's run."),
    click.option("--direct", is_flag=True, help="Ask the analyzer from here, without Argo's AnalysisRuns."),
    click.option("--analyzer-url", metavar="URL", default=IN_CLUSTER,
                 help="Where the analyzer listens; default its Service."),
    click.option("--interval", type=Duration(), default="30s", show_default=True, help="Between two looks."),
    click.option("--initial-delay", type=Duration(), default="30s", show_default=True, help="To a step's first look."),
    click.option("--looks", type=click.IntRange(1), default=60, show_default=True, help="Before a step is held."),
    click.option("--webhook", metavar="URL", envvar="ROLLOUT_WEBHOOK", help="Told of rollbacks and holds."),
    click.option("--webhook-form", type=click.Choice(["slack", "alertmanager"]), default="slack", show_default=True,
                 help="What the webhook expects."),
)  # fmt: skip
HEADINGS = {"model": "The walk", "service": "How it is judged", "webhook": "Alerts"}
EXITS = {
    0: "promoted",
    1: "rolled back",
    2: "refused, or wrong usage",
    3: "held: call again to go on",
    4: "cluster or analyzer unavailable: call again",
}
ENVIRONMENT = {
    "KUBECONFIG": "how to reach the cluster; in a pod its service account is used",
    "ROLLOUT_WEBHOOK": "the same as --webhook, for an address that is a secret",
}


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.group(
    cls=ManualGroup,
    exits=EXITS,
    environment=ENVIRONMENT,
    examples="""
        analyzer rollout kserve fraud --model gs://models/fraud/v2
        analyzer rollout seldon fraud --model gs://models/fraud/v2
    """,
)
def rollout() -> None:
    """Walk a canary of KServe or Seldon Core, step by step.

    For KServe's InferenceService and Seldon's SeldonDeployment or Experiment, which split the traffic themselves, so
    that Argo Rollouts cannot shift it. Each step asks for a verdict. Where a rollout stands is kept in the resource
    alone: call again after whatever happened, and it goes on from there.
    """


@rollout.command(
    cls=Manual,
    headings={"namespace": "Which resource"} | HEADINGS,
    exits=EXITS,
    environment=ENVIRONMENT,
    examples="""
        analyzer rollout kserve fraud --model gs://models/fraud/v2 --steps 5,25,50,100 --settle 5m
        analyzer rollout kserve fraud --dry-run
    """,
)
@click.argument("name")
@_options
def kserve(name: str, **given: Any) -> None:
    """Walk an InferenceService, in Knative or Standard mode.

    NAME is that of the InferenceService. Which mode it is in, the resource says.
    """
    from analyzer.driver.kserve import KIND, Knative, Standard, is_standard

    cluster = _cluster(given)
    stack = Standard() if is_standard(_read(cluster, KIND, name)) else Knative()
    _walk(stack, name, cluster, given)


@rollout.command(
    cls=Manual,
    headings={"canary": "Which resource"} | HEADINGS,
    exits=EXITS,
    environment=ENVIRONMENT,
    examples="""
        analyzer rollout seldon fraud --model gs://models/fraud/v2 --steps 5,25,50,100
        analyzer rollout seldon experiment/fraud --canary fraud-v2 --canary-arm fraud-v2_3
    """,
)
@click.argument("name")
@click.option(
    "--canary",
    metavar="NAME",
    help="Predictor or candidate; default the second, or the one that is not the default.",
)
@click.option(
    "--canary-arm", metavar="NAME", help="Experiment of models: what the metrics call the canary; default NAME_1."
)
@click.option("--baseline-arm", metavar="NAME", help="The same for the baseline.")
@_options
def seldon(name: str, canary: str | None, canary_arm: str | None, baseline_arm: str | None, **given: Any) -> None:
    """Walk a SeldonDeployment or an Experiment.

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
        raise click.ClickException(
            f"{error.name} is not installed: pip install 'rollout-analyzer[kubernetes]'"
        ) from error
    return Cluster(given["namespace"], given["context"])


def _read(cluster: Any, kind: "Kind", name: str) -> "Object":
    from analyzer.driver.cluster import Unreachable
    from analyzer.driver.walk import Ending

    try:
        found: Object = cluster.get(kind, name)
    except Unreachable as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(Ending.UNAVAILABLE)
    return found


def _walk(stack: "Stack", name: str, cluster: Any, given: dict[str, Any]) -> None:
    from analyzer.driver.alerts import Form, Notices
    from analyzer.driver.judges import ByAnalysisRun, ByAnalyzer, Question
    from analyzer.driver.walk import Plan, Walk

    plan = Plan(
        given["steps"], given["model"], given["again"],
        ready_seconds=given["ready_timeout"], poll_seconds=given["poll"],
    )  # fmt: skip
    resource = _read(cluster, stack.kind, name)
    question = Question(
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
    notices = Notices(cluster, given["webhook"], Form(given["webhook_form"]))
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
