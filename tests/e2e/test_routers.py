"""The overlays of the complete example, each with its router: the traffic follows what Argo writes for the router."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby

import pytest
from e2e.cluster import Api, Cluster, Object
from e2e.stage import PROJECT, MakeStage, Stage
from e2e.traffic import Behaviour, Pod, SidecarPod, by_virtual_service

ROLLOUTS = PROJECT / "rollouts"
OVERLAYS = ROLLOUTS / "fraud-detector" / "overlays"
NEW = "1.1.0"
CANARY = "fraud-detector-canary"
NGINX = "nginx.ingress.kubernetes.io"
# Their plugin is not among the components: without it Argo makes no pods.
NEEDS_A_PLUGIN = {"gateway-api"}


@dataclass(frozen=True)
class Router:
    """What splits the traffic of an overlay.

    Attributes
    ----------
    overlay : the name of its folder
    api, kind : the objects that it goes by
    shares : reads in some of these which part of the requests each Service gets
    new_pod : makes the counters of a pod behind it
    """

    overlay: str
    api: str
    kind: str
    shares: Callable[[Iterable[Object]], dict[str, float]]
    new_pod: type[Pod] = Pod

    def split(self, api: Api, namespace: str) -> dict[str, float]:
        """Send requests as the objects say now."""
        return self.shares(api.items(self.path(namespace)))

    def path(self, namespace: str) -> str:
        """Where the objects are."""
        return f"/apis/{self.api}/namespaces/{namespace}/{self.kind}"


def by_ingress(found: Iterable[Object]) -> dict[str, float]:
    """Split as ingress-nginx does: a canary Ingress takes its weight, the main one has the rest."""
    main, canaries = "", {}
    for each in found:
        (rule,) = each["spec"]["rules"]
        (path,) = rule["http"]["paths"]
        service = path["backend"]["service"]["name"]
        notes = each["metadata"].get("annotations", {})
        if notes.get(f"{NGINX}/canary") == "true":
            canaries[service] = int(notes[f"{NGINX}/canary-weight"]) / 100
        else:
            main = service
    return {main: 1 - sum(canaries.values()), **canaries}


ROUTERS = [
    Router("istio", "networking.istio.io/v1", "virtualservices", by_virtual_service, SidecarPod),
    Router("nginx", "networking.k8s.io/v1", "ingresses", by_ingress),
]


@pytest.fixture(params=ROUTERS, ids=lambda router: router.overlay)
def router(request: pytest.FixtureRequest) -> Router:
    """Each of the routers."""
    return request.param


@pytest.fixture
def stage(make_stage: MakeStage, router: Router) -> Stage:
    """The example behind the router, at its first revision."""
    stage = make_stage(rate=2000, split=router.split)
    stage.traffic.new_pod = router.new_pod
    stage.deploy(stage.cluster.render(OVERLAYS / router.overlay))
    return stage


@dataclass(frozen=True)
class Written:
    """Remembers a moment; tells later which weights of the canary were written for the router since."""

    stage: Stage
    router: Router
    since: str

    def weights(self) -> list[int]:
        """In percent and in order."""
        states = self.stage.cluster.api.changes(self.router.path(self.stage.namespace), self.since)
        shares = [self.router.shares([state]) for state in states]
        return [weight for weight, _ in groupby(round(100 * each[CANARY]) for each in shares if CANARY in each)]


@pytest.fixture
def written(stage: Stage, router: Router) -> Written:
    """From the end of the first deployment on."""
    path = router.path(stage.namespace)
    return Written(stage, router, stage.cluster.api.get(path)["metadata"]["resourceVersion"])


def test_a_healthy_canary_gets_the_weights_of_the_steps(stage: Stage, written: Written) -> None:
    """The router sends it 5, 25, 50 and 100 percent; in the end its pods are the stable ones."""
    stage.release(NEW)

    assert stage.until("Healthy", "Degraded") == "Healthy"
    stage.until_weight(100, NEW)
    stage.wait(lambda: written.weights()[-1:] == [0], "the router's reset")
    assert written.weights() == [5, 25, 50, 100, 0]
    assert [weight for weight, _ in groupby(each for each in stage.weights(NEW) if each in (5, 25, 50))] == [5, 25, 50]
    stage.wait(lambda: {phase for _, phase in stage.phases()} == {"Successful"}, "the end of the guard")
    assert stage.phases().count(("Step", "Successful")) == 3
    assert stage.answers()[-1]["verdict"] == "pass"


def test_a_bad_canary_loses_the_router_s_weight(stage: Stage, written: Written) -> None:
    """The router's weight is 0 again, and the reason names the errors."""
    stage.traffic.behaviours[NEW] = Behaviour(errors=0.05)
    stage.release(NEW)

    assert stage.until("Healthy", "Degraded") == "Degraded"
    stage.until_weight(0, NEW)
    weights = written.weights()
    assert (weights[0], weights[-1]) == (5, 0)
    assert not {50, 100} & set(weights)
    assert "Failed" in {phase for _, phase in stage.phases()}
    failed = [answer["reason"] for answer in stage.answers() if answer["verdict"] == "fail"]
    assert any("canary requests failed, above the 1% rollback limit" in reason for reason in failed)


def test_what_users_apply_is_accepted(cluster: Cluster) -> None:
    """Each folder as it is: the API server takes it, and its pods may run in the namespaces that it makes."""
    cluster.kubectl("apply", "--server-side", "-k", str(ROLLOUTS / "analyzer"))
    for overlay in sorted(path.parent for path in OVERLAYS.glob("*/kustomization.yaml")):
        cluster.kubectl("apply", "--server-side", "-k", str(overlay))
        if overlay.name not in NEEDS_A_PLUGIN:
            healthy = "--for=jsonpath={.status.phase}=Healthy"
            cluster.kubectl("wait", "--namespace=fraud-detector", healthy, "rollout/fraud-detector", "--timeout=50s")
        # The next one has the same names. Server-side it could not take over the Services, whose selectors are Argo's.
        cluster.kubectl("delete", "--namespace=fraud-detector", "rollout,service", "--all")
    cluster.kubectl("rollout", "status", "--namespace=rollout-analyzer", "deployment/rollout-analyzer", "--timeout=50s")
