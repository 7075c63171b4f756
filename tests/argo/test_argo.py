"""The analyzer and its manifests under Argo Rollouts' own code: see main.go for what that is.

The first build takes some minutes, for Argo depends on all of Kubernetes; later ones take seconds.
"""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from argo.model_metrics import MODELS
from click.testing import CliRunner
from kustomize import render
from needs import go_program
from ports import free_port

from analyzer.cli import cli

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
TEMPLATES = PROJECT / "analysis-templates"
METRICS, VERDICT, GUARD, JOB = (TEMPLATES / f"ml-model-{name}.yaml" for name in ("metrics", "verdict", "guard", "job"))
OVERLAYS = sorted(path.parent for path in PROJECT.glob("rollouts/*/overlays/*/kustomization.yaml")) + [
    PROJECT / "rollouts" / name for name in ("kserve-runtime", "seldon-mlserver")
]
EXAMPLES = sorted(PROJECT.glob("rollouts/examples/*.yaml"))
CHECKS = ["error_rate", "latency_p99", "prediction_drift", "business_proxy"]

pytestmark = [pytest.mark.argo, pytest.mark.timeout(900)]

# The models are scraped here, and what was not recorded over time has no step to find.
SCRAPED = {"window": "start"}

Script = Callable[[int], bytes | int]


# The program, and the two kinds of server that it is let loose on


class Argo:
    """Argo's code: each method is a command of the program in this folder."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def validate(self, *files: Path) -> list[dict[str, Any]]:
        """Decode and validate manifests."""
        return self._ask("validate", *map(str, files))

    def measure(self, template: Path, url: str, **arguments: str) -> dict[str, dict[str, str]]:
        """Measure every metric of a template once; by the name of the metric."""
        taken = self._ask("measure", str(template), arguments=arguments_of(url, arguments))
        return {each["metric"]: each for each in taken}

    def run(self, template: Path, url: str, *, ended_after: int = 0, **arguments: str) -> dict[str, Any]:
        """Run a whole analysis; end it from outside after some looks, if it has not ended by then."""
        return self._ask("run", str(template), str(ended_after), arguments=arguments_of(url, arguments))

    def _ask(self, *words: str, arguments: dict[str, str] | None = None) -> Any:
        done = subprocess.run(
            [self.program, *words],
            check=False,
            input=json.dumps(arguments),
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def arguments_of(url: str, given: dict[str, str]) -> dict[str, str]:
    """Complete the arguments as a Rollout does; an underscore stands for a dash."""
    usual = {"service": "fraud-detector", "namespace": "default", "canary-hash": "healthy", "baseline-hash": "stable"}
    return usual | {"analyzer-url": url} | {name.replace("_", "-"): value for name, value in given.items()}


@pytest.fixture(scope="session")
def argo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Argo:
    """Build the program, or skip where there is no Go."""
    return Argo(go_program(request, tmp_path_factory, HERE))


class ScriptedServer(ThreadingHTTPServer):
    """Answers its nth POST with what the script says for n, and every GET with the page of that path."""

    daemon_threads = True

    def __init__(self, *, script: Script | None = None, pages: dict[str, str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.pages = pages or {}
        self.requests: list[tuple[str, str | None, Any]] = []
        self.counting = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: in two, each answer waits for a delayed acknowledgement

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path)
        self._answer(404 if page is None else 200, (page or "").encode(), "text/plain; version=0.0.4")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.counting:
            self.server.requests.append((self.path, self.headers["Content-Type"], body))
            answer = self.server.script(len(self.server.requests)) if self.server.script else 404
        if isinstance(answer, int):
            self._answer(answer, b"", "text/plain")
        else:
            self._answer(200, answer, "text/html" if answer.startswith(b"<") else "application/json")

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: pytest shows what matters."""


@contextmanager
def serving(server: ScriptedServer) -> Iterator[ScriptedServer]:
    """Serve in a thread until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def verdicts(*words: str) -> Script:
    """Script a server that answers these verdicts, and the last one for ever."""
    return lambda n: json.dumps({"verdict": words[min(n, len(words)) - 1]}).encode()


@pytest.fixture(scope="session")
def analyzer_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the analyzer on models that have seen all kinds of traffic; `down` is one that does not answer."""
    folder = tmp_path_factory.mktemp("analyzer")
    with serving(ScriptedServer(pages={f"/{name}/metrics": text for name, text in MODELS.items()})) as models:
        targets = {name: f"{models.url}/{name}/metrics" for name in MODELS}
        targets["down"] = f"http://127.0.0.1:{free_port()}/metrics"
        port = free_port()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANALYZER_")} | {
            "ANALYZER_SOURCE": "scrape",
            "ANALYZER_SCRAPE_TARGETS": ",".join(f"{name}={url}" for name, url in targets.items()),
        }
        with (folder / "output.txt").open("w+") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "analyzer", "serve", "--host", "127.0.0.1", "--port", str(port)],
                env=environment,
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                url = f"http://127.0.0.1:{port}"
                wait_until_alive(url, process, folder / "output.txt")
                yield url
            finally:
                process.terminate()
                process.wait(timeout=30)


def wait_until_alive(url: str, process: subprocess.Popen[bytes], output: Path) -> None:
    """Wait for /healthz, and fail with the output of a service that ends or never answers."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"the analyzer is not alive:\n{output.read_text()}")


def ask(url: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """POST a verdict request without Argo, for the body of an error, which Argo does not show."""
    request = urllib.request.Request(
        f"{url}/v1/verdict", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


# The manifests, in Argo's types


@pytest.mark.parametrize("template", [METRICS, VERDICT, GUARD, JOB], ids=lambda path: path.stem)
def test_plain_templates_are_valid(argo: Argo, template: Path) -> None:
    """A template file is an AnalysisTemplate that Argo accepts, with no field that Argo does not know."""
    (found,) = argo.validate(template)

    assert (found["kind"], found["name"], found["errors"]) == ("AnalysisTemplate", template.stem, [])


def errors_of(found: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Say what is wrong with which object."""
    return {f"{each['kind']} {each['name']}": each["errors"] for each in found if each["errors"]}


@pytest.fixture(scope="session")
def cluster_templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render the templates for the whole cluster, which Rollouts name."""
    file = tmp_path_factory.mktemp("cluster") / "templates.yaml"
    file.write_text(render(TEMPLATES))
    return file


@pytest.mark.parametrize("folder", [PROJECT / "rollouts" / "analyzer", *OVERLAYS], ids=lambda folder: folder.name)
def test_rendered_manifests_are_valid(argo: Argo, cluster_templates: Path, tmp_path: Path, folder: Path) -> None:
    """What kustomize renders is accepted by Kubernetes, the Prometheus operator and Argo, references included."""
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(render(folder))

    found = argo.validate(cluster_templates, rendered)

    assert errors_of(found) == {}
    assert {"ClusterAnalysisTemplate", "Service"} < {each["kind"] for each in found}


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_examples_are_valid(argo: Argo, cluster_templates: Path, file: Path) -> None:
    """Each example is complete but for the templates, those of the cluster and of its namespace."""
    found = argo.validate(cluster_templates, METRICS, VERDICT, GUARD, JOB, file)

    assert errors_of(found) == {}
    assert any(each["file"] == str(file) for each in found)


@pytest.mark.parametrize("rate", ["10", "200"])
def test_the_steps_of_a_planned_ramp_are_valid(argo: Argo, cluster_templates: Path, tmp_path: Path, rate: str) -> None:
    """What `analyzer plan --ramp` prints is accepted in place of the steps of a Rollout, references included."""
    printed = CliRunner().invoke(cli, ["plan", "--ramp", "--rate", rate]).stdout
    manifests = list(yaml.safe_load_all(render(OVERLAYS[0])))
    (rollout,) = (each for each in manifests if each["kind"] == "Rollout")
    rollout["spec"]["strategy"]["canary"] |= yaml.safe_load(printed)
    file = tmp_path / "ramp.yaml"
    file.write_text(yaml.safe_dump_all(manifests))

    assert errors_of(argo.validate(cluster_templates, file)) == {}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"consecutiveErrorLimits": 30}, "unknown field"),
        ({"inconclusiveLimit": 121}, "count must be >= inconclusiveLimit"),
        ({"failureCondition": "{{args.typo}}"}, "failed to resolve"),
    ],
)
def test_mistakes_in_a_template_are_found(argo: Argo, tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    """The validation is no formality: a misspelt field, an impossible limit and an unknown argument are errors."""
    (found,) = argo.validate(changed(VERDICT, tmp_path, change))

    assert complaint in " ".join(found["errors"])


@pytest.mark.parametrize(
    ("file", "was", "becomes", "complaint"),
    [
        (JOB, "values: [1, 2]", "values: [0, 1]", "must not be 0 for the In operator"),
        (JOB, "restartPolicy: Never", "restartPolicy: OnFailure", 'only "Never" is supported'),
        (JOB, "action: FailJob", "action: FailPod", 'Unsupported value: "FailPod"'),
        ("background", "- {name: interval", "- {name: pace", 'declares the argument "pace"'),
        ("background", "ml-model-guard", "ml-model-gard", 'no template "ml-model-gard"'),
        ("inline-step", "ml-model-verdict", "ml-model-guard", "runs indefinitely"),
        ("blue-green", "previewService: blue-green-preview", "previewService: other", 'no Service "other"'),
        ("experiment", "{name: service, ", "{name: svc, ", "args.service was not resolved"),
        ("cluster-template", "    - name: profile\n", "    - {name: profile, value: mine}\n", "with different values"),
        ("istio", "host: fraud-detector-canary", "host: fraud-detector", "Canary Service"),
        (
            "nginx",
            "name: fraud-detector-stable\n            port",
            "name: other\n            port",
            "no rules using",
        ),
        ("gateway-api", "- name: fraud-detector-canary\n      port", "- name: other\n      port", "other backends"),
    ],
)
def test_mistakes_in_what_is_named_are_found(
    argo: Argo, cluster_templates: Path, tmp_path: Path, file: Path | str, was: str, becomes: str, complaint: str
) -> None:
    """References are followed: to templates and through them, to Services, routes and the specification of a job."""
    match file:
        case Path():
            text = file.read_text()
        case "istio" | "nginx" | "gateway-api":
            text = render(PROJECT / "rollouts" / "fraud-detector" / "overlays" / file)
        case _:
            text = (PROJECT / "rollouts" / "examples" / f"{file}.yaml").read_text()
    assert was in text
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace(was, becomes))

    found = argo.validate(cluster_templates, VERDICT, GUARD, wrong)

    assert complaint in " ".join(message for messages in errors_of(found).values() for message in messages)


def changed(template: Path, folder: Path, change: dict[str, Any]) -> Path:
    """Write a copy of a template with other values in its first metric; None takes a field away."""
    content = yaml.safe_load(template.read_text())
    metric = content["spec"]["metrics"][0] | change
    content["spec"]["metrics"][0] = {name: value for name, value in metric.items() if value is not None}
    copy = folder / template.name
    copy.write_text(yaml.safe_dump(content))
    return copy


# What Argo sends


SENT = {
    "service": "fraud-detector",
    "namespace": "default",
    "canary": "healthy",
    "baseline": "stable",
    "labels": "{}",
    "profile": "prometheus-client",
    "start": "unknown",
    "policy": {"base": "ml-model", "role": "gate", "checks": "{}"},
}


@pytest.mark.parametrize(
    ("template", "bodies"),
    [
        (VERDICT, [SENT | {"window": "step", "weight": "unknown"}]),
        (METRICS, [SENT | {"window": "step", "weight": "unknown", "checks": check} for check in CHECKS]),
        (GUARD, [SENT | {"window": "start"}]),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_argo_sends_the_request_of_the_contract(argo: Argo, template: Path, bodies: list[dict[str, Any]]) -> None:
    """As JSON, with the arguments of the Rollout and the defaults; each of several metrics asks for its own check."""
    with serving(ScriptedServer(script=verdicts("pass"))) as server:
        argo.measure(template, server.url)

    assert server.requests == [("/v1/verdict", "application/json", body) for body in bodies]


def test_a_stage_says_what_it_asks_for(argo: Argo) -> None:
    """The role, the limits, the weight and the policy of a step arrive, the limits as the JSON text that they are."""
    limits = '{"latency_p99": {"rollback": "400ms"}}'
    with serving(ScriptedServer(script=verdicts("pass"))) as server:
        argo.measure(VERDICT, server.url, role="guardrail", limits=limits, weight="5", policy="mine", window="start")

    ((_, _, body),) = server.requests
    assert body["policy"] == {"base": "mine", "role": "guardrail", "checks": limits}
    assert (body["weight"], body["window"]) == ("5", "start")


HOSTILE = [
    'with "quotes"',
    "with spaces",
    "größe-模型",
    "{braces}",
    "{{args.namespace}}",
    "back\\slash",
    "two\nlines",
    '"} or {"',
    '", "policy": "mine',
]


@pytest.mark.parametrize("text", HOSTILE)
def test_arguments_arrive_as_they_were(argo: Argo, text: str) -> None:
    """No argument can leave its field, whatever it is made of."""
    with serving(ScriptedServer(script=verdicts("pass"))) as server:
        argo.measure(VERDICT, server.url, service=text, canary_hash=text)

    ((_, _, body),) = server.requests
    assert (body["service"], body["canary"], body["policy"]["base"]) == (text, text, "ml-model")


# What Argo makes of the analyzer's answers


@pytest.mark.parametrize("template", [METRICS, VERDICT, GUARD], ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("canary", "phase"),
    [
        ("healthy", "Successful"),
        ("bad", "Failed"),
        ("little", "Inconclusive"),
        ("silent", "Inconclusive"),
        ("bare", "Inconclusive"),
        ("down", "Inconclusive"),
    ],
)
def test_each_state_of_the_canary_has_its_phase(
    argo: Argo, analyzer_url: str, template: Path, canary: str, phase: str
) -> None:
    """Good is Successful and bad is Failed in every metric; whatever is not known is Inconclusive."""
    taken = argo.measure(template, analyzer_url, canary_hash=canary, **SCRAPED)

    assert {name: each["phase"] for name, each in taken.items()} == dict.fromkeys(taken, phase)


@pytest.mark.parametrize(
    ("arguments", "phase"),
    [
        ({"role": "guardrail"}, "Successful"),
        ({"role": "advisory", "limits": '{"business_proxy": {"role": "advisory"}}'}, "Inconclusive"),
        ({"canary_hash": "bad", "role": "guardrail"}, "Failed"),
        ({"canary_hash": "little", "role": "guardrail"}, "Inconclusive"),
        ({"limits": '{"error_rate": {"promote": "0.05%"}}'}, "Inconclusive"),
    ],
)
def test_the_stage_decides_what_is_enough(argo: Argo, analyzer_url: str, arguments: dict[str, str], phase: str) -> None:
    """Guardrails pass when they have data and are not proved bad; advisory checks decide nothing; limits are heeded."""
    assert argo.measure(VERDICT, analyzer_url, **SCRAPED, **arguments)["verdict"]["phase"] == phase


@pytest.mark.parametrize(("canary", "code"), [("healthy", 0), ("bad", 1), ("little", 3), ("stable", 2)])
def test_the_job_ends_as_its_policy_expects(argo: Argo, canary: str, code: int) -> None:
    """The command of the job that Argo creates, run here on the models themselves: its exit codes are those named."""
    created = argo.measure(JOB, "", canary_hash=canary, **SCRAPED, limits='{"error_rate": {"rollback": "2%"}}')[
        "verdict"
    ]
    (container,) = json.loads(created["value"])["template"]["spec"]["containers"]
    with serving(ScriptedServer(pages={f"/{name}/metrics": text for name, text in MODELS.items()})) as models:
        targets = ",".join(f"{name}={models.url}/{name}/metrics" for name in MODELS)
        done = subprocess.run(
            [sys.executable, "-m", "analyzer", *container["args"]],
            check=False,
            env=os.environ | {"ANALYZER_SOURCE": "scrape", "ANALYZER_SCRAPE_TARGETS": targets},
            capture_output=True,
            text=True,
            timeout=100,
        )

    assert (created["phase"], done.returncode) == ("Running", code), done.stderr


@pytest.mark.parametrize("baseline", ["silent", "bare", "down"])
def test_no_baseline_is_inconclusive_where_it_is_compared(argo: Argo, analyzer_url: str, baseline: str) -> None:
    """Without a baseline nothing can be compared with it, so these checks neither pass nor fail."""
    taken = argo.measure(METRICS, analyzer_url, baseline_hash=baseline, **SCRAPED)

    assert {taken[check]["phase"] for check in ("prediction_drift", "business_proxy")} == {"Inconclusive"}


def test_what_argo_keeps_says_why(argo: Argo, analyzer_url: str) -> None:
    """The value that Argo stores holds the reason, and is short enough to be stored at every look."""
    for check, taken in argo.measure(METRICS, analyzer_url, canary_hash="bad", **SCRAPED).items():
        answer = json.loads(taken["value"])
        assert (answer["verdict"], list(answer["checks"])) == ("fail", [check])
        assert check in answer["reason"]
        assert len(taken["value"]) < 2048


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"canary_hash": "stable"}, "baseline"),
        ({"canary_hash": ""}, "canary"),
        ({"baseline_hash": ""}, "baseline"),
        ({"service": ""}, "service"),
        ({"policy": "ml-modell"}, "policy.base"),
        ({"role": "gatekeeper"}, "policy.role"),
        ({"limits": '{"latency": {"rollback": "400ms"}}'}, "policy.checks.latency"),
        ({"limits": "rollback 400ms"}, "policy.checks"),
        ({"weight": "150"}, "weight"),
        ({"profile": "prometheus"}, "profile"),
        ({"window": "yesterday"}, "window"),
        *[({"canary_hash": text}, "canary") for text in HOSTILE],
        ({"service": 'with "quotes"'}, "service"),
        ({"namespace": "{braces}"}, "namespace"),
    ],
)
def test_a_bad_request_is_an_error(argo: Argo, analyzer_url: str, arguments: dict[str, str], field: str) -> None:
    """A mistake in the arguments is an Error, never Successful, and the answer names the field."""
    with serving(ScriptedServer(script=verdicts("pass"))) as recorder:
        argo.measure(VERDICT, recorder.url, **arguments)
    taken = argo.measure(VERDICT, analyzer_url, **arguments)["verdict"]
    status, answer = ask(analyzer_url, recorder.requests[0][2])

    assert (taken["phase"], taken["message"]) == ("Error", "received non 2xx response code: 400")
    assert (status, answer["error"]["field"]) == (400, field)


def test_an_analyzer_that_is_away_is_an_error(argo: Argo) -> None:
    """A refused connection is an Error, which Argo tries again; it is not a verdict."""
    taken = argo.measure(VERDICT, f"http://127.0.0.1:{free_port()}")

    assert taken["verdict"]["phase"] == "Error"


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"", b'{"verdict": "fail", "value": NaN}'])
def test_argo_takes_a_body_that_is_not_json_for_a_success(argo: Argo, body: bytes) -> None:
    """Argo 1.9.1 looks at no condition then: the reason why the analyzer never answers 200 without valid JSON."""
    with serving(ScriptedServer(script=lambda _: body)) as server:
        taken = argo.measure(VERDICT, server.url)

    assert taken["verdict"]["phase"] == "Successful"


@pytest.mark.parametrize("body", [b"{}", b'{"verdict": null}', b'{"verdict": "PASS"}', b'{"verdict": ["pass"]}'])
def test_an_answer_without_a_known_verdict_is_inconclusive(argo: Argo, body: bytes) -> None:
    """With both conditions in the template an answer that is neither pass nor fail decides nothing."""
    with serving(ScriptedServer(script=lambda _: body)) as server:
        taken = argo.measure(VERDICT, server.url)

    assert taken["verdict"]["phase"] == "Inconclusive"


# Whole runs, in Argo's analysis controller


@pytest.mark.parametrize("template", [METRICS, VERDICT], ids=lambda path: path.stem)
@pytest.mark.parametrize(("verdict", "phase"), [("pass", "Successful"), ("fail", "Failed")])
def test_the_first_proof_ends_the_run(argo: Argo, template: Path, verdict: str, phase: str) -> None:
    """One pass of each metric ends the run Successful, and one fail ends it Failed, at the first look."""
    with serving(ScriptedServer(script=verdicts(verdict))) as server:
        end = argo.run(template, server.url)

    assert (end["phase"], len(server.requests)) == (phase, len(end["metrics"]))
    assert end["seconds"] < 60


@pytest.mark.parametrize("template", [METRICS, VERDICT], ids=lambda path: path.stem)
def test_nothing_proved_in_an_hour_pauses_for_a_person(argo: Argo, template: Path) -> None:
    """120 inconclusive looks end Inconclusive, without a message; never Successful, never Failed."""
    with serving(ScriptedServer(script=verdicts("inconclusive"))) as server:
        end = argo.run(template, server.url)

    assert (end["phase"], end["message"]) == ("Inconclusive", "")
    assert {metric["inconclusive"] for metric in end["metrics"]} == {120}
    assert 59 * 60 < end["seconds"] < 63 * 60


@pytest.mark.parametrize(("last", "phase"), [("pass", "Successful"), ("fail", "Failed")])
def test_the_last_look_still_decides(argo: Argo, last: str, phase: str) -> None:
    """After 119 inconclusive looks the last may end the run either way."""
    with serving(ScriptedServer(script=verdicts(*["inconclusive"] * 119, last))) as server:
        end = argo.run(VERDICT, server.url)

    assert (end["phase"], len(server.requests)) == (phase, 120)


def test_one_failed_check_ends_the_others(argo: Argo) -> None:
    """A proved harm fails the run at once; Argo shows the checks that it ended undecided as Successful."""
    with serving(ScriptedServer()) as server:
        server.script = lambda n: verdict_for(
            server.requests[n - 1][2]["checks"], {"business_proxy": "fail"}, "inconclusive"
        )
        end = argo.run(METRICS, server.url)

    assert (end["phase"], len(server.requests)) == ("Failed", 4)
    assert {metric["name"]: metric["phase"] for metric in end["metrics"]} == dict.fromkeys(CHECKS, "Successful") | {
        "business_proxy": "Failed"
    }


def test_one_undecided_check_holds_the_run(argo: Argo) -> None:
    """Checks that passed are not asked about again, and the run is as good as the worst of its metrics."""
    with serving(ScriptedServer()) as server:
        server.script = lambda n: verdict_for(
            server.requests[n - 1][2]["checks"], {"prediction_drift": "inconclusive"}, "pass"
        )
        end = argo.run(METRICS, server.url)

    assert (end["phase"], len(server.requests)) == ("Inconclusive", 120 + 3)


def verdict_for(check: str, special: dict[str, str], usual: str) -> bytes:
    """Answer for one check."""
    return json.dumps({"verdict": special.get(check, usual)}).encode()


def test_a_restart_of_the_analyzer_aborts_nothing(argo: Argo) -> None:
    """Thirty errors in a row, five minutes, are forgotten at the next answer."""
    with serving(ScriptedServer(script=lambda n: 503 if n <= 30 else b'{"verdict": "pass"}')) as server:
        end = argo.run(VERDICT, server.url)

    assert (end["phase"], end["metrics"][0]["error"]) == ("Successful", 30)


def test_an_analyzer_that_stays_away_aborts(argo: Argo) -> None:
    """The thirty-first error in a row ends the run as Error, which aborts the rollout."""
    with serving(ScriptedServer(script=lambda _: 503)) as server:
        end = argo.run(VERDICT, server.url)

    assert (end["phase"], len(server.requests)) == ("Error", 31)
    assert end["seconds"] >= 5 * 60


@pytest.mark.parametrize(
    ("limit", "phase", "looks"),
    [("consecutiveSuccessLimit", "Successful", 120), ("inconclusiveLimit", "Inconclusive", 1)],
)
def test_the_limits_are_what_makes_nothing_proved_safe(
    argo: Argo, tmp_path: Path, limit: str, phase: str, looks: int
) -> None:
    """By Argo's defaults 120 looks without proof are Successful, or the first one pauses: why both are explicit."""
    lax = changed(VERDICT, tmp_path, {limit: None})
    with serving(ScriptedServer(script=verdicts("inconclusive"))) as server:
        end = argo.run(lax, server.url)

    assert (end["phase"], len(server.requests)) == (phase, looks)


def test_looks_are_an_argument(argo: Argo) -> None:
    """Argo counts by the argument, and waits as the others say."""
    with serving(ScriptedServer(script=verdicts("inconclusive"))) as server:
        end = argo.run(VERDICT, server.url, looks="5", interval="10s", initial_delay="1s")

    assert (end["phase"], len(server.requests)) == ("Inconclusive", 5)
    assert 40 < end["seconds"] < 60


# The guard, which only a fail or the rollout ends


@pytest.mark.parametrize("verdict", ["pass", "inconclusive"])
def test_the_guard_looks_on(argo: Argo, verdict: str) -> None:
    """Neither what is proved good nor what is not decided ends it; the rollout does, and then it is Successful."""
    with serving(ScriptedServer(script=verdicts(verdict))) as server:
        end = argo.run(GUARD, server.url, ended_after=150)

    assert end["phase"] == "Successful"
    assert len(server.requests) > 140
    assert end["seconds"] > 60 * 60


@pytest.mark.parametrize("before", ["pass", "inconclusive"])
def test_the_guard_fails_late(argo: Argo, before: str) -> None:
    """A fail ends it Failed, whatever was answered for as long as before."""
    with serving(ScriptedServer(script=verdicts(*[before] * 70, "fail"))) as server:
        end = argo.run(GUARD, server.url)

    assert (end["phase"], len(server.requests)) == ("Failed", 71)


@pytest.mark.parametrize(
    ("canary", "phase", "looks"), [("healthy", "Successful", 1), ("bad", "Failed", 1), ("silent", "Inconclusive", 120)]
)
def test_a_whole_run_on_the_analyzer(argo: Argo, analyzer_url: str, canary: str, phase: str, looks: int) -> None:
    """The analyzer, the template and Argo's controller together promote, roll back and hold."""
    end = argo.run(VERDICT, analyzer_url, canary_hash=canary, **SCRAPED)

    (metric,) = end["metrics"]
    taken = metric["successful"] + metric["failed"] + metric["inconclusive"]
    assert (end["phase"], taken, metric["error"]) == (phase, looks, 0)
