"""The manifests keep what they promise; that Argo and Kubernetes accept them is in tests/argo."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kustomize import render

from analyzer.policy import load_policies
from analyzer.profile import load_profiles
from analyzer.quantity import parse_seconds
from analyzer.version import __version__

PROJECT = Path(__file__).parents[1]
TEMPLATES = PROJECT / "analysis-templates"
ROLLOUTS = PROJECT / "rollouts"
FOLDERS = [TEMPLATES, ROLLOUTS / "analyzer", ROLLOUTS / "fraud-detector"]
TEMPLATE_FILES = sorted(TEMPLATES.glob("ml-model-*.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a file."""
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def the(kind: str, folder: Path, name: str | None = None) -> dict[str, Any]:
    """Find the one object of a kind in a folder."""
    (found,) = (
        each
        for path in folder.glob("*.yaml")
        for each in documents(path)
        if each["kind"] == kind and name in (None, each["metadata"]["name"])
    )
    return found


METRICS = [
    pytest.param(metric, id=f"{path.stem}-{metric['name']}")
    for path in TEMPLATE_FILES
    for metric in documents(path)[0]["spec"]["metrics"]
]


# The templates


@pytest.mark.parametrize("path", TEMPLATE_FILES, ids=lambda path: path.stem)
def test_a_template_has_the_name_of_its_file(path: Path) -> None:
    """A file holds one AnalysisTemplate, found by its name, in no namespace."""
    (template,) = documents(path)

    assert (template["kind"], template["metadata"]["name"]) == ("AnalysisTemplate", path.stem)
    assert "namespace" not in template["metadata"]


def test_each_check_of_the_default_policy_has_its_metric() -> None:
    """The metrics of ml-model-metrics are the checks of the policy, each asking for the one of its name."""
    (template,) = documents(TEMPLATES / "ml-model-metrics.yaml")

    asked = {each["name"]: each["provider"]["web"]["jsonBody"]["checks"] for each in template["spec"]["metrics"]}
    assert asked == {check: check for check in load_policies(None)["ml-model"].checks}


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_leaves_nothing_to_defaults(metric: dict[str, Any]) -> None:
    """Both conditions and every limit are explicit, for Argo's defaults are unsafe or change."""
    web = metric["provider"]["web"]

    assert metric["successCondition"] == 'result.verdict == "pass"'
    assert metric["failureCondition"] == 'result.verdict == "fail"'
    assert (metric["failureLimit"], metric["consecutiveSuccessLimit"]) == (0, 1)
    assert metric["inconclusiveLimit"] == metric["count"] - 1
    assert metric["count"] * parse_seconds(metric["interval"]) == 30 * 60
    assert metric["consecutiveErrorLimit"] >= 20
    assert parse_seconds(metric["initialDelay"]) == 30
    assert (web["method"], web["timeoutSeconds"]) == ("POST", 10)
    assert web["url"] == "{{args.analyzer-url}}/v1/verdict"


@pytest.mark.parametrize("path", TEMPLATE_FILES, ids=lambda path: path.stem)
def test_every_argument_is_used_and_explained(path: Path) -> None:
    """Arguments are the fields of the request; each has a comment, and a row with its default in the README."""
    spec = documents(path)[0]["spec"]
    used = set(re.findall(r"{{args\.([a-z-]+)}}", str(spec["metrics"])))
    lines = [line.strip() for line in path.read_text().splitlines()]
    rows = re.findall(r"^\| `([a-z-]+)` \| (?:none|`([^`]+)`) \|", (TEMPLATES / "README.md").read_text(), re.MULTILINE)

    assert used == {argument["name"] for argument in spec["args"]}
    assert {argument["name"]: argument.get("value", "") for argument in spec["args"]} == dict(rows)
    for argument in spec["args"]:
        assert lines[lines.index(f"- name: {argument['name']}") - 1].startswith("# ")


# The service


def pod_of(workload: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the pod and its only container."""
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


@pytest.mark.parametrize(("kind", "folder"), [("Deployment", "analyzer"), ("Rollout", "fraud-detector")])
def test_pods_have_no_rights(kind: str, folder: str) -> None:
    """No root, no capability, no writable root file system, no token of the Kubernetes API."""
    pod, container = pod_of(the(kind, ROLLOUTS / folder))

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
    assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_the_image_is_of_this_version() -> None:
    """The tag is pinned, and moves with the version of the package."""
    _, container = pod_of(the("Deployment", ROLLOUTS / "analyzer"))

    assert container["image"] == f"rollout-analyzer:{__version__}"
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
    (argument,) = (each for each in documents(TEMPLATE_FILES[0])[0]["spec"]["args"] if each["name"] == "analyzer-url")

    address = f"http://{service['metadata']['name']}.{namespace}.svc.cluster.local:{port['port']}"
    assert argument["value"] == address
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
    values = {argument["name"]: argument.get("value") for argument in documents(path)[0]["spec"]["args"]}

    assert values["policy"] in load_policies(None)
    assert values["profile"] in load_profiles(None)


# The example


def test_the_example_ramps_as_its_readme_says() -> None:
    """5, 25 and 50 percent with pauses, then the analysis; each weight is a whole number of pods."""
    spec = the("Rollout", ROLLOUTS / "fraud-detector")["spec"]
    steps = spec["strategy"]["canary"]["steps"]

    assert [next(iter(step)) for step in steps] == [*["setWeight", "pause"] * 3, "analysis"]
    assert [step["setWeight"] for step in steps if "setWeight" in step] == [5, 25, 50]
    assert [step["pause"]["duration"] for step in steps if "pause" in step] == ["5m", "10m", "10m"]
    assert all(spec["replicas"] * step["setWeight"] % 100 == 0 for step in steps if "setWeight" in step)


def test_the_example_passes_the_arguments_of_its_template() -> None:
    """Every argument without a default is passed, and the hashes are not swapped."""
    analysis = the("Rollout", ROLLOUTS / "fraud-detector")["spec"]["strategy"]["canary"]["steps"][-1]["analysis"]
    (reference,) = analysis["templates"]
    (template,) = documents(TEMPLATES / f"{reference['templateName']}.yaml")
    passed = {argument["name"]: argument["valueFrom"] for argument in analysis["args"]}

    assert set(passed) == {each["name"] for each in template["spec"]["args"] if "value" not in each}
    assert passed["canary-hash"] == {"podTemplateHashValue": "Latest"}
    assert passed["baseline-hash"] == {"podTemplateHashValue": "Stable"}


def test_the_example_labels_its_metrics() -> None:
    """The hash of the pods becomes a label of their metrics, or nothing tells the canary from the baseline."""
    folder = ROLLOUTS / "fraud-detector"
    monitor = the("PodMonitor", folder)["spec"]
    rollout = the("Rollout", folder)
    _, container = pod_of(rollout)

    assert "rollouts-pod-template-hash" in monitor["podTargetLabels"]
    assert monitor["selector"] == rollout["spec"]["selector"]
    assert monitor["podMetricsEndpoints"][0]["port"] in [each["name"] for each in container["ports"]]
    assert container["image"] == "fraud-detector:1.0.0"


# What kustomize makes of them


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_kustomize_has_no_deprecated_words(folder: Path) -> None:
    """The words of kustomize 5 only."""
    used = set(documents(folder / "kustomization.yaml")[0])

    assert used <= {
        "apiVersion", "kind", "namespace", "resources", "patches", "labels", "images", "configMapGenerator",
    }  # fmt: skip


@pytest.mark.parametrize("folder", FOLDERS[1:], ids=lambda folder: folder.name)
def test_the_readme_of_rollouts_lists_the_folder(folder: Path) -> None:
    """Each folder has a README, and a row in the one above."""
    assert f"]({folder.name})" in (ROLLOUTS / "README.md").read_text()
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


@pytest.mark.parametrize("folder", FOLDERS[1:], ids=lambda folder: folder.name)
def test_everything_rendered_is_in_one_namespace(folder: Path) -> None:
    """The namespace is made too, and every object says what it is part of."""
    rendered = rendered_objects(folder)
    (namespace,) = (each["metadata"]["name"] for each in rendered if each["kind"] == "Namespace")

    assert {each["metadata"]["namespace"] for each in rendered if each["kind"] != "Namespace"} == {namespace}
    assert all("app.kubernetes.io/part-of" in each["metadata"]["labels"] for each in rendered)


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
