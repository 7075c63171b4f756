"""The manifests keep what they promise; that Argo and Kubernetes accept them is in tests/argo."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kustomize import render

from analyzer.config.policy import choose_policy, load_policies
from analyzer.config.profile import load_profiles
from analyzer.model.findings import Role
from analyzer.quantity import parse_seconds
from analyzer.verdict.request import parse_request
from analyzer.version import __version__

PROJECT = Path(__file__).parents[1]
TEMPLATES = PROJECT / "analysis-templates"
ROLLOUTS = PROJECT / "rollouts"
BASE = ROLLOUTS / "fraud-detector" / "base"
OVERLAYS = sorted(path.parent for path in ROLLOUTS.glob("fraud-detector/overlays/*/kustomization.yaml"))
RUNTIMES = [ROLLOUTS / "kserve-runtime", ROLLOUTS / "seldon-mlserver"]
WHOLE = sorted([*OVERLAYS, *RUNTIMES], key=lambda folder: folder.name)
RENDERED = [ROLLOUTS / "analyzer", *WHOLE]
NOTIFICATIONS = ROLLOUTS / "notifications"
FOLDERS = [TEMPLATES, BASE, NOTIFICATIONS, *RENDERED]
EXAMPLES = sorted((ROLLOUTS / "examples").glob("*.yaml"))
GOLDEN = PROJECT / "tests" / "argo" / "golden"
TEMPLATE_FILES = sorted(TEMPLATES.glob("ml-model-*.yaml"))
GUARD = TEMPLATES / "ml-model-guard.yaml"
RENEW = "ANALYZER_RENEW_GOLDEN"


def documents(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a file."""
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def the(kind: str, folder: Path, name: str | None = None) -> dict[str, Any]:
    """Find the one object of a kind in a folder."""
    (found,) = (
        each
        for path in folder.glob("*.yaml")
        for each in documents(path)
        if each.get("kind") == kind and name in (None, each["metadata"]["name"])
    )
    return found


METRICS = [
    pytest.param(path, metric, id=f"{path.stem}-{metric['name']}")
    for path in TEMPLATE_FILES
    for metric in documents(path)[0]["spec"]["metrics"]
    if "web" in metric["provider"]
]


# The templates


@pytest.mark.parametrize("path", TEMPLATE_FILES, ids=lambda path: path.stem)
def test_a_template_has_the_name_of_its_file(path: Path) -> None:
    """A file holds one AnalysisTemplate, found by its name, in no namespace."""
    (template,) = documents(path)

    assert (template["kind"], template["metadata"]["name"]) == ("AnalysisTemplate", path.stem)
    assert "namespace" not in template["metadata"]
    assert f"| `{path.stem}` |" in (TEMPLATES / "README.md").read_text()


def test_each_check_of_the_default_policy_has_its_metric() -> None:
    """The metrics of ml-model-metrics are the checks of the policy, each asking for the one of its name."""
    (template,) = documents(TEMPLATES / "ml-model-metrics.yaml")

    asked = {each["name"]: each["provider"]["web"]["jsonBody"]["checks"] for each in template["spec"]["metrics"]}
    assert asked == {check: check for check in load_policies(None)["ml-model"].checks}


@pytest.mark.parametrize(("path", "metric"), METRICS)
def test_a_metric_leaves_nothing_to_defaults(path: Path, metric: dict[str, Any]) -> None:
    """Both conditions and every limit are explicit, for Argo's defaults are unsafe or change."""
    web = metric["provider"]["web"]

    assert metric["successCondition"] == 'result.verdict == "pass"'
    assert metric["failureCondition"] == 'result.verdict == "fail"'
    assert (metric["failureLimit"], metric["consecutiveErrorLimit"]) == (0, 30)
    assert (metric["initialDelay"], metric["interval"]) == ("{{args.initial-delay}}", "{{args.interval}}")
    assert (web["method"], web["timeoutSeconds"]) == ("POST", 10)
    assert web["url"] == "{{args.analyzer-url}}/v1/verdict"
    if path == GUARD:
        assert not {"count", "consecutiveSuccessLimit"} & set(metric)
        assert metric["inconclusiveLimit"] >= 1_000_000
    else:
        assert metric["consecutiveSuccessLimit"] in (1, "{{args.passes}}")
        assert metric["count"] == metric["inconclusiveLimit"] == "{{args.looks}}"


def arguments_of(path: Path) -> dict[str, str | None]:
    """Read the arguments of a template, with their defaults."""
    return {argument["name"]: argument.get("value") for argument in documents(path)[0]["spec"]["args"]}


def test_an_hour_is_waited_for_proof() -> None:
    """The defaults of the interval and of the looks belong together, and to the deadline of the job."""
    values = arguments_of(TEMPLATES / "ml-model-verdict.yaml")
    (metric,) = documents(TEMPLATES / "ml-model-job.yaml")[0]["spec"]["metrics"]

    assert values["passes"] == "1"
    assert int(values["looks"] or 0) * parse_seconds(values["interval"]) == 60 * 60
    assert metric["provider"]["job"]["spec"]["activeDeadlineSeconds"] == 60 * 60


@pytest.mark.parametrize("path", TEMPLATE_FILES, ids=lambda path: path.stem)
def test_every_argument_is_used_and_explained(path: Path) -> None:
    """Arguments are what is filled in; each has a comment, and a row with its default in the README."""
    spec = documents(path)[0]["spec"]
    used = set(re.findall(r"{{args\.([a-z-]+)}}", str(spec["metrics"])))
    lines = [line.strip() for line in path.read_text().splitlines()]
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", (TEMPLATES / "README.md").read_text(), re.MULTILINE))

    assert used == set(arguments_of(path))
    for name, value in arguments_of(path).items():
        assert rows[name] in (
            "none" if value is None else f"`{value}`",
            f"`step`, in the guard `{value}`" if path == GUARD else f"`{value}`, in the guard `start`",
        )
        assert lines[lines.index(f"- name: {name}") - 1].startswith("# ")


def test_the_same_argument_is_the_same_everywhere() -> None:
    """An argument means one thing: its default is that of the other templates, but for the window of the guard."""
    found: dict[str, set[str | None]] = {}
    for path in TEMPLATE_FILES:
        for name, value in arguments_of(path).items():
            found.setdefault(name, set()).add(value)

    assert {name: values for name, values in found.items() if len(values) > 1} == {"window": {"start", "step"}}
    assert arguments_of(GUARD)["window"] == "start"


def filled_in(content: object, values: dict[str, str | None]) -> object:
    """Replace the arguments in a part of a template, as Argo does."""
    match content:
        case str():
            return re.sub(r"{{args\.([a-z-]+)}}", lambda found: values[found[1]] or found[1], content)
        case dict():
            return {key: filled_in(value, values) for key, value in content.items()}
        case list():
            return [filled_in(each, values) for each in content]
        case _:
            return content


@pytest.mark.parametrize(("path", "metric"), METRICS)
@pytest.mark.parametrize("role", Role)
def test_the_analyzer_understands_the_request(path: Path, metric: dict[str, Any], role: Role) -> None:
    """The body, with the defaults filled in, is a request by the policy, whose gates have the role of the stage."""
    body = filled_in(metric["provider"]["web"]["jsonBody"], arguments_of(path) | {"role": role})
    request = parse_request(body)
    assert request.policy is not None
    policy = choose_policy(load_policies(None), request.policy, "ml-model")

    assert request.window == ("start" if path == GUARD else "step")
    assert (request.weight, request.start, request.labels) == (None, None, {})
    assert policy.role is role
    assert policy.checks == load_policies(None)["ml-model"].checks


@pytest.mark.parametrize(("path", "metric"), METRICS)
def test_a_rollout_may_give_the_start_and_labels(path: Path, metric: dict[str, Any]) -> None:
    """Every template passes on when the canary began, and which cluster it is in."""
    given = {"start": "2026-01-05T10:00:00Z", "labels": '{"cluster": "eu"}', "window": "start"}
    request = parse_request(filled_in(metric["provider"]["web"]["jsonBody"], {**arguments_of(path), **given}))

    assert (request.start, request.labels) == (1_767_607_200.0, {"cluster": "eu"})


def test_the_job_passes_on_the_start_and_labels() -> None:
    """As options of the command, with the names of the fields."""
    (metric,) = documents(TEMPLATES / "ml-model-job.yaml")[0]["spec"]["metrics"]
    (container,) = metric["provider"]["job"]["spec"]["template"]["spec"]["containers"]

    assert {"--start={{args.start}}", "--labels={{args.labels}}"} <= set(container["args"])


def test_the_job_is_undecided_where_the_command_is() -> None:
    """A fail and wrong usage end the job; inconclusive and a missing source are asked again, by another pod."""
    (metric,) = documents(TEMPLATES / "ml-model-job.yaml")[0]["spec"]["metrics"]
    job = metric["provider"]["job"]["spec"]
    rules = {
        code: rule["action"]
        for rule in job["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {}).get("values", [])
    }

    assert rules == {1: "FailJob", 2: "FailJob", 3: "Ignore", 4: "Ignore"}
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert job["template"]["spec"]["enableServiceLinks"] is False


# The service


def pod_of(workload: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the pod and its only container."""
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def job_of_the_template() -> dict[str, Any]:
    """Give the job of ml-model-job, which is a workload like others."""
    (metric,) = documents(TEMPLATES / "ml-model-job.yaml")[0]["spec"]["metrics"]
    job: dict[str, Any] = metric["provider"]["job"]
    return job


@pytest.mark.parametrize(
    "workload",
    [
        pytest.param(the("Deployment", ROLLOUTS / "analyzer"), id="analyzer"),
        pytest.param(the("Rollout", BASE), id="fraud-detector"),
        pytest.param(job_of_the_template(), id="job"),
    ],
)
def test_pods_have_no_rights(workload: dict[str, Any]) -> None:
    """No root, no capability, no writable root file system, no token of the Kubernetes API."""
    pod, container = pod_of(workload)

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"requests", "limits"} == set(container["resources"])


def test_the_image_is_of_this_version() -> None:
    """The tag is pinned, and moves with the version of the package."""
    _, container = pod_of(the("Deployment", ROLLOUTS / "analyzer"))
    _, of_the_job = pod_of(job_of_the_template())

    assert container["image"] == of_the_job["image"] == f"rollout-analyzer:{__version__}"
    assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]
    assert container["args"] == ["serve", "--host", "0.0.0.0", "--port", "8080"]


def test_probes_do_not_depend_on_prometheus() -> None:
    """All probes ask /healthz: with /readyz a Prometheus that is down would abort healthy canaries."""
    _, container = pod_of(the("Deployment", ROLLOUTS / "analyzer"))

    paths = {name: probe["httpGet"]["path"] for name, probe in container.items() if name.endswith("Probe")}
    assert paths == dict.fromkeys(["startupProbe", "readinessProbe", "livenessProbe"], "/healthz")


def test_a_pod_ends_after_its_last_request() -> None:
    """The grace period holds the wait for the Service and a request of ten seconds."""
    pod, container = pod_of(the("Deployment", ROLLOUTS / "analyzer"))

    wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert wait > 0
    assert pod["terminationGracePeriodSeconds"] >= wait + 10


def test_the_service_is_where_the_templates_look() -> None:
    """The default analyzer-url leads to the Service, and the Service to the container."""
    folder = ROLLOUTS / "analyzer"
    service, namespace = the("Service", folder), the("Namespace", folder)["metadata"]["name"]
    _, container = pod_of(the("Deployment", folder))
    (port,) = service["spec"]["ports"]

    address = f"http://{service['metadata']['name']}.{namespace}.svc.cluster.local:{port['port']}"
    assert arguments_of(GUARD)["analyzer-url"] == address
    assert port["targetPort"] in [each["name"] for each in container["ports"]]


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor"])
def test_everything_selects_the_pods(kind: str) -> None:
    """A selector that matches nothing is no error in Kubernetes, so it is one here."""
    labels = the("Deployment", ROLLOUTS / "analyzer")["spec"]["template"]["metadata"]["labels"]
    spec = the(kind, ROLLOUTS / "analyzer")["spec"]
    selector = spec.get("selector", spec.get("podSelector"))

    assert selector.get("matchLabels", selector) == labels


def test_the_network_policy_lets_through_what_is_needed() -> None:
    """In from Argo Rollouts and the monitoring; out to name resolution and Prometheus, and nowhere else."""
    spec = the("NetworkPolicy", ROLLOUTS / "analyzer")["spec"]
    callers = [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in spec["ingress"][0]["from"]
    ]
    _, container = pod_of(the("Deployment", ROLLOUTS / "analyzer"))
    (url,) = (each["value"] for each in container["env"] if each["name"] == "ANALYZER_PROMETHEUS_URL")

    assert callers == ["argo-rollouts", "monitoring"]
    assert url == arguments_of(TEMPLATES / "ml-model-job.yaml")["prometheus-url"]
    assert {port["port"] for rule in spec["egress"] for port in rule["ports"]} == {53, int(url.rsplit(":", 1)[1])}


@pytest.mark.parametrize(("folder", "load"), [("policies", load_policies), ("profiles", load_profiles)])
def test_the_mounted_files_are_valid(folder: str, load: Callable[[Path], dict[str, Any]]) -> None:
    """A file in a ConfigMap that the analyzer refuses would stop its pods from starting; none replaces a built-in."""
    added = [path.stem for path in (ROLLOUTS / "analyzer" / folder).iterdir()]
    (generator,) = (
        each
        for each in documents(ROLLOUTS / "analyzer" / "kustomization.yaml")[0]["configMapGenerator"]
        if each["name"] == f"rollout-analyzer-{folder}"
    )

    assert set(load(ROLLOUTS / "analyzer" / folder)) - set(load(PROJECT / "nothing")) == set(added)
    assert generator["files"] == [f"{folder}/{name}.yaml" for name in sorted(added)]


@pytest.mark.parametrize("path", TEMPLATE_FILES, ids=lambda path: path.stem)
def test_the_defaults_of_a_template_are_built_in(path: Path) -> None:
    """The policy and the profile that a template names by default need no ConfigMap."""
    values = arguments_of(path)

    assert values["policy"] in load_policies(None)
    assert values["profile"] in load_profiles(None)


# The rollouts


def rollout_of(path: Path) -> dict[str, Any]:
    """Give the Rollout of a file or a rendered folder."""
    found = rendered_objects(path) if path.is_dir() else documents(path)
    (rollout,) = (each for each in found if each["kind"] == "Rollout")
    return rollout


def analyses_of(rollout: dict[str, Any]) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """List the analyses of a Rollout's steps, with the weight that each is made at."""
    weight = None
    for step in rollout["spec"]["strategy"].get("canary", {}).get("steps", []):
        weight = step.get("setWeight", weight)
        if "analysis" in step:
            yield weight, step["analysis"]


def values_of(analysis: dict[str, Any]) -> dict[str, Any]:
    """Read the arguments of an analysis that have a value."""
    return {each["name"]: each["value"] for each in analysis["args"] if "value" in each}


WITH_ROLLOUTS = [path for path in EXAMPLES if path.stem != "analysis-run"]


@pytest.mark.parametrize("path", [*WHOLE, *WITH_ROLLOUTS], ids=lambda path: path.stem)
def test_a_step_names_its_weight(path: Path) -> None:
    """The weight that the analyzer compares with is that of the step; without a router it is a number of pods."""
    rollout = rollout_of(path)
    routed = "trafficRouting" in rollout["spec"]["strategy"].get("canary", {})

    for weight, analysis in analyses_of(rollout):
        assert values_of(analysis)["weight"] == str(weight)
        assert routed or rollout["spec"]["replicas"] * (weight or 0) % 100 == 0


@pytest.mark.parametrize("path", [*WHOLE, *WITH_ROLLOUTS], ids=lambda path: path.stem)
def test_the_hashes_are_not_swapped(path: Path) -> None:
    """The canary is the latest, the baseline the stable one."""
    strategy = rollout_of(path)["spec"]["strategy"]
    hashes = re.findall(
        r"'name': '(canary|baseline)-hash', 'value(?:From)?': (?:{'podTemplateHashValue': )?'([^']+)'", str(strategy)
    )

    assert hashes
    assert set(hashes) <= {
        ("canary", "Latest"),
        ("baseline", "Stable"),
        ("canary", "{{templates.canary.podTemplateHash}}"),
        ("baseline", "{{templates.baseline.podTemplateHash}}"),
    }


@pytest.mark.parametrize("path", [*WHOLE, *WITH_ROLLOUTS], ids=lambda path: path.stem)
def test_the_last_thing_asked_for_is_proof(path: Path) -> None:
    """Nothing gets all of the traffic as a guardrail, or by waiting: the last step is an analysis of gates."""
    strategy = rollout_of(path)["spec"]["strategy"]
    if "blueGreen" in strategy:
        last = strategy["blueGreen"]["prePromotionAnalysis"]
    else:
        step = strategy["canary"]["steps"][-1]
        last = step["analysis"] if "analysis" in step else step["experiment"]["analyses"][-1]

    assert values_of(last).get("role", "gate") == "gate"
    assert "guard" not in str(last.get("templates", last.get("templateName")))


def test_the_fraud_detector_ramps_as_its_readme_says() -> None:
    """5, 25 and 50 percent: guardrails, guardrails, gates, without a pause; a guard in the background from 5% on."""
    canary = rollout_of(BASE)["spec"]["strategy"]["canary"]
    asked = [(weight, values_of(analysis)["role"]) for weight, analysis in analyses_of(rollout_of(BASE))]

    assert asked == [(5, "guardrail"), (25, "guardrail"), (50, "gate")]
    assert [next(iter(step)) for step in canary["steps"]] == ["setWeight", "analysis"] * 3
    assert canary["analysis"]["startingStep"] == 1
    assert canary["analysis"]["templates"] == [{"templateName": "ml-model-guard", "clusterScope": True}]


PROFILES = {"istio": "istio", "kserve-runtime": "istio", "seldon-mlserver": "mlserver"}


@pytest.mark.parametrize("folder", WHOLE, ids=lambda folder: folder.name)
def test_the_limits_are_edges_of_the_profile(folder: Path) -> None:
    """All analyses of a Rollout read by one profile; where that fixes the buckets, the limits are among them."""
    rollout = rollout_of(folder)
    background = rollout["spec"]["strategy"]["canary"]["analysis"]
    values = [values_of(analysis) for _, analysis in [(None, background), *analyses_of(rollout)]]
    ((name, limits),) = {(each.get("profile", "prometheus-client"), each.get("limits", "{}")) for each in values}
    policy = choose_policy(load_policies(None), {"base": "ml-model", "checks": limits}, "ml-model")
    check = policy.checks["latency_p99"]

    assert name == PROFILES.get(folder.name, "prometheus-client")
    for way in load_profiles(None)[name].latency:
        limits_there = {check.promote / way.unit.seconds, check.rollback / way.unit.seconds}
        assert way.edges is None or limits_there <= set(way.edges)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_found_by_its_name(path: Path) -> None:
    """Its Rollout or run has the name of the file, everything is in no namespace, and the README has a row for it."""
    found = documents(path)

    assert f"[`{path.name}`]({path.name})" in (path.parent / "README.md").read_text()
    assert [each["metadata"]["name"] for each in found if each["kind"] in ("Rollout", "AnalysisRun")] == [path.stem]
    assert all("namespace" not in each["metadata"] for each in found)


def test_the_example_labels_its_metrics() -> None:
    """The hash of the pods becomes a label of their metrics, or nothing tells the canary from the baseline."""
    monitor = the("PodMonitor", BASE)["spec"]
    rollout = the("Rollout", BASE)
    _, container = pod_of(rollout)

    assert "rollouts-pod-template-hash" in monitor["podTargetLabels"]
    assert monitor["selector"] == rollout["spec"]["selector"]
    assert monitor["podMetricsEndpoints"][0]["port"] in [each["name"] for each in container["ports"]]
    assert container["image"] == "fraud-detector:1.0.0"


@pytest.mark.parametrize("folder", RUNTIMES, ids=lambda folder: folder.name)
def test_a_runtime_is_the_example_with_another_server(folder: Path) -> None:
    """Ramp, gate, guard and the metrics' label as in the fraud detector; no container has rights."""
    rollout, monitor = the("Rollout", folder), the("PodMonitor", folder)["spec"]
    canary, pod = rollout["spec"]["strategy"]["canary"], rollout["spec"]["template"]["spec"]
    containers = [*pod["initContainers"], *pod["containers"]]
    ports = {port["name"] for each in pod["containers"] for port in each["ports"]} | {"http-envoy-prom"}

    assert [values_of(analysis)["role"] for _, analysis in analyses_of(rollout)] == ["guardrail", "guardrail", "gate"]
    assert canary["analysis"]["startingStep"] == 1
    assert canary["analysis"]["templates"] == [{"templateName": "ml-model-guard", "clusterScope": True}]
    assert "rollouts-pod-template-hash" in monitor["podTargetLabels"]
    assert monitor["selector"] == rollout["spec"]["selector"]
    assert {each["port"] for each in monitor["podMetricsEndpoints"]} <= ports
    assert pod["automountServiceAccountToken"] is False
    for each in containers:
        own = each["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} == set(each["resources"])


@pytest.mark.parametrize("folder", RUNTIMES, ids=lambda folder: folder.name)
def test_a_changed_file_of_a_runtime_is_another_version(folder: Path) -> None:
    """The Rollout names the ConfigMap by a hash of its content: stable pods keep the one that they were made with."""
    rendered = rendered_objects(folder)
    (made,) = (each["metadata"]["name"] for each in rendered if each["kind"] == "ConfigMap")
    volumes = rollout_of(folder)["spec"]["template"]["spec"]["volumes"]

    assert re.fullmatch(r"iris-[a-z]+-[a-z0-9]{10}", made)
    assert [each["configMap"]["name"] for each in volumes if "configMap" in each] == [made]


# The alerts


def alerts_of(kind: str) -> dict[str, Any]:
    """Read the triggers, templates or services of the alerts, by name."""
    data = the("ConfigMap", NOTIFICATIONS)["data"]
    parts = {tuple(key.split(".", 1)): yaml.safe_load(value) for key, value in data.items()}
    return {name: value for (found, name), value in parts.items() if found == kind}


def test_the_triggers_send_what_is_there() -> None:
    """Every template is sent, each is there, the address comes first; with a condition Argo would send twice."""
    triggers = alerts_of("trigger")

    assert set(triggers) == {
        f"on-{name}"
        for name in ("analysis-run-failed", "analysis-run-inconclusive", "analysis-run-error", "rollout-aborted")
    }
    assert all(len(each) == 1 and set(each[0]) == {"send"} for each in triggers.values())
    assert {name for (each,) in triggers.values() for name in each["send"]} == set(alerts_of("template"))
    assert {each["send"][0] for (each,) in triggers.values()} == {"analyzer-address"}


def test_the_alerts_of_the_readme_are_those_sent() -> None:
    """Its table has each trigger, and each service is explained."""
    readme = (NOTIFICATIONS / "README.md").read_text()

    assert set(re.findall(r"^\| `(on-[a-z-]+)` \|", readme, re.MULTILINE)) == set(alerts_of("trigger"))
    assert all(f"**`service.{name}`**" in readme for name in alerts_of("service"))


def test_the_alerts_are_where_argo_looks() -> None:
    """One ConfigMap, by Argo's name for it in its own namespace."""
    (rendered,) = rendered_objects(NOTIFICATIONS)
    metadata = rendered["metadata"]

    assert (metadata["namespace"], metadata["name"]) == ("argo-rollouts", "argo-rollouts-notification-configmap")
    assert "app.kubernetes.io/part-of" in metadata["labels"]


# What kustomize makes of them


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_kustomize_has_no_deprecated_words(folder: Path) -> None:
    """The words of kustomize 5 only."""
    used = set(documents(folder / "kustomization.yaml")[0])

    assert used <= {
        "apiVersion", "kind", "namespace", "resources", "patches", "labels", "images", "configMapGenerator",
        "configurations",
    }  # fmt: skip


@pytest.mark.parametrize("folder", [*ROLLOUTS.iterdir(), *OVERLAYS], ids=lambda folder: folder.name)
def test_the_readme_above_lists_the_folder(folder: Path) -> None:
    """Each folder has a README, and a row in that of the whole."""
    if folder.is_dir():
        above = ROLLOUTS / "fraud-detector" if folder in OVERLAYS else ROLLOUTS
        assert f"]({folder.relative_to(above)})" in (above / "README.md").read_text()
        assert (folder / "README.md").is_file()


def rendered_objects(folder: Path) -> list[dict[str, Any]]:
    """Render a folder and read what came out."""
    return [each for each in yaml.safe_load_all(render(folder)) if each]


def test_kustomize_makes_templates_for_the_whole_cluster() -> None:
    """Only the kind differs from the plain files."""
    rendered = {each["metadata"]["name"]: each for each in rendered_objects(TEMPLATES)}

    assert {path.stem for path in TEMPLATE_FILES} == set(rendered)
    for path in TEMPLATE_FILES:
        assert documents(path)[0] | {"kind": "ClusterAnalysisTemplate"} == rendered[path.stem]


@pytest.mark.parametrize("folder", RENDERED, ids=lambda folder: folder.name)
def test_everything_rendered_is_in_one_namespace(folder: Path) -> None:
    """The namespace is made too, and every object says what it is part of."""
    rendered = rendered_objects(folder)
    (namespace,) = (each["metadata"]["name"] for each in rendered if each["kind"] == "Namespace")

    assert {each["metadata"]["namespace"] for each in rendered if each["kind"] != "Namespace"} == {namespace}
    assert all("app.kubernetes.io/part-of" in each["metadata"]["labels"] for each in rendered)


@pytest.mark.parametrize("folder", WHOLE, ids=lambda folder: folder.name)
def test_a_rollout_renders_as_it_did(folder: Path) -> None:
    """The objects are those of the golden file: a change of the base shows what it does to each overlay."""
    objects = sorted(rendered_objects(folder), key=lambda each: (each["kind"], each["metadata"]["name"]))
    golden = GOLDEN / f"{folder.name}.yaml"
    if os.environ.get(RENEW):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(yaml.safe_dump_all(objects, width=120))

    assert objects == documents(golden), (
        f"if this is meant: {RENEW}=1 .venv/bin/pytest -k renders tests/{Path(__file__).name}"
    )


def test_each_golden_file_has_its_folder() -> None:
    """None is left over of a folder that is gone."""
    assert [path.stem for path in sorted(GOLDEN.iterdir())] == [folder.name for folder in WHOLE]


def test_a_changed_policy_restarts_the_pods() -> None:
    """The volumes name the ConfigMaps by a hash of their content."""
    rendered = rendered_objects(ROLLOUTS / "analyzer")
    made = {each["metadata"]["name"] for each in rendered if each["kind"] == "ConfigMap"}
    (deployment,) = (each for each in rendered if each["kind"] == "Deployment")
    pod, container = pod_of(deployment)
    mounted = {each["name"]: each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each}

    assert set(mounted.values()) == made
    assert all(re.fullmatch(rf"rollout-analyzer-{volume}-[a-z0-9]{{10}}", name) for volume, name in mounted.items())
    assert {each["name"]: each["mountPath"] for each in container["volumeMounts"] if each["name"] in mounted} == {
        "policies": "/etc/analyzer/policies",
        "profiles": "/etc/analyzer/profiles",
    }


@pytest.mark.parametrize("folder", ["kserve-inferenceservice", "seldon-deployment"])
def test_the_driver_has_rights_for_one_resource(folder: str) -> None:
    """What can be limited to names is: its resource and its template; no verb, resource or group is a wildcard."""
    roles = [each for each in documents(ROLLOUTS / folder / "rbac.yaml") if "rules" in each]
    rules = {rule["resources"][0]: rule for role in roles for rule in role["rules"]}
    moved = next(kind for kind in rules if kind in ("inferenceservices", "seldondeployments"))
    (job,) = documents(ROLLOUTS / folder / "job.yaml")
    resource = job["spec"]["template"]["spec"]["containers"][0]["args"][2]
    named = {moved: resource, "analysistemplates": "ml-model-verdict", "clusteranalysistemplates": "ml-model-verdict"}

    assert {kind: rule["resourceNames"] for kind, rule in rules.items() if "resourceNames" in rule} == {
        kind: [name] for kind, name in named.items()
    }
    assert {kind: rule["verbs"] for kind, rule in rules.items() if "resourceNames" not in rule} == {
        "analysisruns": ["create", "list"],
        "events": ["create", "get"],
    }
    assert all(len(rule["resources"]) == 1 and "*" not in str(rule) for rule in rules.values())
