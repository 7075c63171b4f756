"""What Argo sends when an analysis does not succeed: the alerts of rollouts/notifications, as received."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests
import yaml
from e2e.cluster import Api, Cluster, Object
from e2e.stage import PROJECT, MakeStage, Stage
from e2e.traffic import Behaviour

ALERTS = PROJECT / "rollouts" / "notifications"
VERDICT = PROJECT / "analysis-templates" / "ml-model-verdict.yaml"
PUBLIC = "https://analyzer.test"
TRIGGERS = ("on-analysis-run-failed", "on-analysis-run-inconclusive", "on-analysis-run-error", "on-rollout-aborted")
EXPECTED = {
    ("failing", "analysis-run-failed"),
    ("failing", "rollout-aborted"),
    ("quiet", "analysis-run-inconclusive"),
    ("unreachable", "analysis-run-error"),
    ("unreachable", "rollout-aborted"),
    ("foreign", "analysis-run-failed"),
    ("foreign", "rollout-aborted"),
    ("experiment", "analysis-run-failed"),
    ("experiment", "rollout-aborted"),
    ("on-its-own", "analysis-run-failed"),
}
ROLLOUTS = ("healthy", "failing", "quiet", "unreachable", "foreign", "experiment")


@dataclass
class Receiver:
    """Takes what is sent to the webhook and to Slack; a web metric that asks here gets an answer that is none of ours.

    Attributes
    ----------
    alerts : the bodies for the webhook
    slack : what was posted to Slack, with the token
    """

    alerts: list[Object] = field(default_factory=list)
    slack: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen on a free port."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def seen(self) -> set[tuple[str, str]]:
        """Tell who has sent what."""
        return {(each["rollout"], each["event"]) for each in self.alerts}

    def alert(self, rollout: str, event: str) -> Object:
        """Give the first alert of a Rollout for an event: Argo may send one again, where its cache is behind."""
        return next(each for each in self.alerts if (each["rollout"], each["event"]) == (rollout, event))


def _handler_of(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({"reason": "of somebody else", "checks": {"none": None, "number": 7, "odd": {"canary": [1]}}})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if self.path == "/alerts":
                assert self.headers["Content-Type"] == "application/json"
                receiver.alerts.append(json.loads(body))
            else:
                receiver.slack.append(dict(parse_qsl(body)) | {"path": self.path})
            self._answer({"ok": True, "channel": "C1", "ts": "1.0"})

        def _answer(self, content: Object) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def receiver(cluster: Cluster) -> Iterator[Receiver]:
    """Install the alerts, sent to here. Argo has one such ConfigMap, so one test alone may do so."""
    receiver = Receiver()
    (alerts,) = cluster.render(ALERTS)
    data = alerts["data"]
    data["service.webhook.alerts"] = replaced(data["service.webhook.alerts"], url=f"{receiver.url}/alerts")
    data["service.slack"] = replaced(data["service.slack"], apiURL=f"{receiver.url}/slack/")
    data["template.analyzer-address"] = data["template.analyzer-address"].replace(
        "https://rollout-analyzer.example.com", PUBLIC
    )
    where = {"name": "argo-rollouts-notification-secret", "namespace": "argo-rollouts"}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": where, "stringData": {"slack-token": "a-token"}}, alerts
    )
    yield receiver
    receiver.close()


def replaced(settings: str, **values: str) -> str:
    """Replace some of the settings of a service."""
    return yaml.safe_dump(yaml.safe_load(settings) | values)


def subscriptions(*slack: str) -> dict[str, str]:
    """Subscribe to everything by the webhook, and to some triggers by Slack."""
    prefix = "notifications.argoproj.io/subscribe"
    return {f"{prefix}.{name}.alerts": "" for name in TRIGGERS} | {f"{prefix}.{name}.slack": "models" for name in slack}


def model(name: str, canary: Object, *slack: str) -> list[Object]:
    """Write a Rollout of four pods that is subscribed, and its Service."""
    labels = {"app.kubernetes.io/name": name}
    container = {"name": "model", "image": "fraud-detector:1.0.0"}
    service = {"selector": labels, "ports": [{"port": 8000}]}
    rollout = {
        "replicas": 4,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        "strategy": {"canary": canary},
    }
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service},
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": name, "annotations": subscriptions(*slack)},
            "spec": rollout,
        },
    ]


def analysis(template: str, *, everywhere: bool = True, **values: str) -> Object:
    """Write an analysis with the arguments that a Rollout passes, and more."""
    own: dict[str, Object] = {
        "service": {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        "namespace": {"valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        "canary-hash": {"valueFrom": {"podTemplateHashValue": "Latest"}},
        "baseline-hash": {"valueFrom": {"podTemplateHashValue": "Stable"}},
    }
    arguments = [{"name": name, **value} for name, value in own.items()]
    return {
        "templates": [{"templateName": template, "clusterScope": everywhere}],
        "args": [*arguments, *({"name": name, "value": value} for name, value in values.items())],
    }


def at_a_quarter(asked: Object) -> Object:
    """Write a canary with one analysis."""
    return {"steps": [{"setWeight": 25}, {"analysis": asked}]}


def never(name: str, provider: Object) -> Object:
    """Write a metric that fails whatever it measures."""
    return {"name": name, "successCondition": "false", "provider": provider}


def templates(prometheus: str, receiver: str) -> list[Object]:
    """Write one template that cannot reach its analyzer, and one that asks others."""
    impatient = yaml.safe_load(VERDICT.read_text())
    impatient["metadata"]["name"] = "impatient"
    (metric,) = impatient["spec"]["metrics"]
    metric["consecutiveErrorLimit"] = 1
    metric["provider"]["web"]["url"] = "http://127.0.0.1:9/v1/verdict"

    def query(text: str) -> Object:
        return {"prometheus": {"address": prometheus, "query": text}}

    others = [
        never("number", query("vector(1)")),
        never("no-json", query("vector(0) / 0")),
        never("web", {"web": {"url": receiver}}),
        never("trial", query("vector(2)")),
    ]
    foreign = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": "foreign"},
        "spec": {"metrics": others},
    }
    run = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisRun",
        "metadata": {"name": "on-its-own", "annotations": subscriptions()},
        "spec": {"metrics": others[:1]},
    }
    return [impatient, foreign, run]


@pytest.fixture
def stage(make_stage: MakeStage, receiver: Receiver) -> Stage:
    """Six models at their first revision, in one namespace; one of them has hardly any requests."""

    def split(_api: Api, _namespace: str) -> dict[str, float]:
        return dict.fromkeys(ROLLOUTS, 1.0) | {"quiet": 0.02}

    stage = make_stage(rate=400, split=split)
    foreign = {"templates": [{"templateName": "foreign"}], "dryRun": [{"metricName": "trial"}]}
    guarded = {
        "analysis": analysis("ml-model-guard") | {"startingStep": 1},
        "steps": [{"setWeight": 25}, {"pause": {}}],
    }
    experiment = {
        "templates": [{"name": "canary", "specRef": "canary"}],
        "analyses": [{"name": "foreign", "templateName": "foreign"}],
        "analysisRunMetadata": {"annotations": subscriptions()},
    }
    stage.apply(
        [
            *templates(stage.prometheus.url, receiver.url),
            *model("healthy", at_a_quarter(analysis("ml-model-verdict", role="guardrail"))),
            *model("failing", guarded, "on-rollout-aborted"),
            *model("quiet", at_a_quarter(analysis("ml-model-verdict", looks="3")), "on-analysis-run-inconclusive"),
            *model("unreachable", at_a_quarter(analysis("impatient", everywhere=False))),
            *model("foreign", at_a_quarter(foreign)),
            *model("experiment", {"steps": [{"experiment": experiment}]}),
        ]
    )
    for stage.name in ROLLOUTS:
        stage.until("Healthy")
    stage.wait(lambda: len(stage.traffic.scraped_at) >= 4 * len(ROLLOUTS), "the first scrape")
    return stage


def test_alerts(stage: Stage, receiver: Receiver) -> None:
    """Whoever does not succeed says why, whatever was measured and by whom; who is healthy says nothing."""
    stage.traffic.behaviours["1.1.0-errors"] = Behaviour(errors=0.05)
    for stage.name in ROLLOUTS:
        stage.release("1.1.0-errors" if stage.name == "failing" else "1.1.0")
    stage.wait(lambda: receiver.seen() >= EXPECTED, f"{EXPECTED} of {ROLLOUTS}")
    stage.name = "healthy"
    stage.until("Healthy")

    names = [run["metadata"]["name"] for run in stage.runs]
    further = receiver.seen() - EXPECTED
    # The run of the experiment; on a busy machine there may be two.
    assert further
    assert further <= {(name, "analysis-run-failed") for name in names if name.startswith("experiment-")}
    for event in ("analysis-run-failed", "rollout-aborted"):
        assert_tells_of_errors(stage, receiver.alert("failing", event))
    assert_slack(receiver)

    quiet = receiver.alert("quiet", "analysis-run-inconclusive")
    assert_of_the_run(stage, quiet, "Inconclusive", "verdict")
    assert {each["verdict"] for each in quiet["metrics"][0]["checks"].values()} <= {"inconclusive", "pass"}
    assert quiet["metrics"][0]["checks"]["error_rate"]["verdict"] == "inconclusive"

    error = receiver.alert("unreachable", "analysis-run-error")
    assert_of_the_run(stage, error, "Error", "verdict")
    assert "connection refused" in error["metrics"][0]["reason"]
    assert error["metrics"] == receiver.alert("unreachable", "rollout-aborted")["metrics"]

    foreign = receiver.alert("foreign", "analysis-run-failed")
    assert_of_the_run(stage, foreign, "Failed", "number", "no-json", "web")
    said = {each["name"]: each["reason"] for each in foreign["metrics"]}
    assert said == {"number": "[1]", "no-json": "[NaN]", "web": "of somebody else"}
    assert "no-json Failed: [NaN]" in foreign["text"].splitlines()
    assert foreign["report"] == ""

    for event in ("analysis-run-failed", "rollout-aborted"):
        unknown = receiver.alert("experiment", event)
        assert (unknown["run"], unknown["metrics"], unknown["report"]) == (None, [], "")
        assert unknown["text"].endswith("one of an experiment, perhaps")

    for run in ("on-its-own", *(name for name, _ in further)):
        alone = receiver.alert(run, "analysis-run-failed")
        assert (alone["run"], alone["phase"]) == (run, "Failed")
        assert "number Failed: [1]" in alone["text"].splitlines()

    words = ["patch", "rollout", "quiet", "--subresource=status", "--type=merge"]
    stage.cluster.kubectl(f"--namespace={stage.namespace}", *words, "-p", '{"status":{"abort":true}}')
    stage.wait(lambda: ("quiet", "rollout-aborted") in receiver.seen(), "the alert of an abort by hand")
    by_hand = receiver.alert("quiet", "rollout-aborted")
    assert (by_hand["run"], by_hand["text"]) == (None, f"{stage.namespace}/quiet: aborted, but not by an analysis")


def assert_of_the_run(stage: Stage, alert: Object, phase: str, *metrics: str) -> None:
    """The alert is of the run that ended so, and of the metrics that decided."""
    (run,) = (run for run in stage.runs if run["metadata"]["name"] == alert["run"])
    assert run["metadata"]["ownerReferences"][0]["name"] == alert["rollout"]
    assert (alert["namespace"], alert["phase"], run["status"]["phase"]) == (stage.namespace, phase, phase)
    assert {each["name"]: each["phase"] for each in alert["metrics"]} == dict.fromkeys(metrics, phase)


def assert_tells_of_errors(stage: Stage, alert: Object) -> None:
    """Reason and numbers are those of the answer, and the link asks for the same rollout."""
    assert_of_the_run(stage, alert, "Failed", "guard")
    (metric,) = alert["metrics"]
    (run,) = (run for run in stage.runs if run["metadata"]["name"] == alert["run"])
    taken = run["status"]["metricResults"][0]["measurements"][-1]
    answer = json.loads(taken["value"])
    found = answer["checks"]["error_rate"]
    assert metric["reason"] == answer["reason"]
    assert metric["reason"].startswith("error_rate: ")
    assert set(metric["checks"]) == set(answer["checks"])
    # An answer near 2 KB leaves numbers out; the reason has them.
    numbers = dict.fromkeys(("value", "low", "high", "n")) | found.get("canary", {})
    assert metric["checks"]["error_rate"] == numbers | {
        key: found[key] for key in ("verdict", "reason", "promote", "rollback")
    }
    if "delta" in answer["checks"]["business_proxy"]:
        assert metric["checks"]["business_proxy"]["value"] == answer["checks"]["business_proxy"]["delta"]["value"]
    first, second, *lines = alert["text"].splitlines()
    assert first.startswith(f"{stage.namespace}/failing: ")
    assert second == f"guard Failed: {answer['reason']}"
    assert any(line.startswith("- error_rate: fail, ") and "rollback 0.01" in line for line in lines)

    stage.name = "failing"
    link = urlsplit(alert["report"])
    query = {name: value for name, (value,) in parse_qs(link.query).items()}
    assert f"{link.scheme}://{link.netloc}{link.path}" == f"{PUBLIC}/report"
    assert query == {
        "service": "failing",
        "namespace": stage.namespace,
        "canary": stage.rollout["status"]["currentPodHash"],
        "baseline": stage.rollout["status"]["stableRS"],
        "profile": "prometheus-client",
        "window": "start",
        "policy": "ml-model",
        "at": taken["finishedAt"],
    }
    page = requests.get(f"{stage.analyzer.url}/report?{link.query}", headers={"Accept": "text/html"}, timeout=60)
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert all(name in page.text for name in ("failing", *answer["checks"]))


def assert_slack(receiver: Receiver) -> None:
    """Slack gets the same text, with the link in a bar of its own."""
    posted: dict[str, dict[str, Any]] = {each["text"].splitlines()[0].split(": ")[1]: each for each in receiver.slack}
    assert {(each["path"], each["token"], each["channel"]) for each in posted.values()} == {
        ("/slack/chat.postMessage", "a-token", "models")
    }
    aborted = receiver.alert("failing", "rollout-aborted")
    (bar,) = json.loads(posted["aborted"]["attachments"])
    assert posted["aborted"]["text"].rstrip() == aborted["text"]
    assert (bar["color"].upper(), bar["title_link"]) == ("#E01E5A", aborted["report"])
    assert len(posted) == 2
