"""Every expression of the dashboards and of the rules, on a real Prometheus that scrapes real analyzers."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from dashboards.grafana import FOLDER, Api, Query, filled_in, queries, variables
from dashboards.live import CUT_OFF, SERVICES, Played, played
from prometheus_server import require_prometheus

pytestmark = pytest.mark.prometheus

GROUPS = yaml.safe_load((FOLDER / "prometheus-rule.yaml").read_text(encoding="utf-8"))["spec"]["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]


@pytest.fixture(scope="module")
def rollout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Play the rollout once."""
    require_prometheus()
    folder = tmp_path_factory.mktemp("live")
    rules = folder / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": GROUPS}), encoding="utf-8")
    with played(folder, rules) as done:
        yield done


@pytest.fixture(scope="module")
def api(rollout: Played) -> Iterator[Api]:
    """Prometheus, after the rollout."""
    source = Api(rollout.prometheus.url)
    yield source
    source.close()


def expression(panel: str, name: str = "A") -> str:
    """Find the expression of a panel, for all values of the variables."""
    (found,) = (one.expression for one in queries() if (one.panel, one.name) == (panel, name))
    return filled_in(found)


@pytest.mark.parametrize("query", queries(), ids=str)
def test_a_panel_has_data(rollout: Played, api: Api, query: Query) -> None:
    """For all rollouts, and in a row that repeats for one of them; an unknown variable would be an error."""
    chosen = [{}, {"service": "healthy"}] if query.repeated == "service" else [{}]

    for values in chosen:
        assert api.graph(filled_in(query.expression, **values), rollout.began, rollout.ended), values


@pytest.mark.parametrize("variable", variables(), ids=lambda variable: variable["name"])
def test_a_variable_has_values(api: Api, variable: dict[str, Any]) -> None:
    """What can be chosen is what there is."""
    found = set(api.label_values(filled_in(variable["query"])))

    match variable["name"]:
        case "namespace":
            assert found == {"ml"}
        case "service":
            assert found == {CUT_OFF, *(one.name for one in SERVICES)}
        case "job":
            assert found == {"rollout-analyzer"}
        case name:
            pytest.fail(f"variable {name} is not expected")


def by_service(found: list[tuple[dict[str, str], float]]) -> dict[str, float]:
    """Give the value of each service when asked since the start; fail where there are two."""
    series = [(labels["service"], value) for labels, value in found if "window" not in labels]
    assert len(dict(series)) == len(series), series
    return dict(series)


def test_the_verdicts_are_those_of_the_rollout(rollout: Played, api: Api) -> None:
    """One line for each, though two replicas have answered: pass, fail and inconclusive."""
    found = by_service(api.at(expression("Verdicts"), rollout.ended))

    assert found == {"healthy": 1.0, "failing": -1.0, "undecided": 0.0, "blind": 0.0, CUT_OFF: 0.0}


def test_a_replica_that_is_no_longer_asked_does_not_count(rollout: Played, api: Api) -> None:
    """It still shows what it found early on; the panels show what the other one found since."""
    raw = api.at('analyzer_verdict{service="failing", check="all", window=""}', rollout.ended)

    assert sorted(value for _, value in raw) == [-1.0, 0.0]


def test_the_reasons(rollout: Played, api: Api) -> None:
    """One code for each check: a metric that is missing, a source that does not answer, proofs and none yet."""
    found = api.at(expression("Reason by check"), rollout.ended)
    codes = {(labels["service"], labels["check"]): labels["code"] for labels, _ in found if "window" not in labels}

    assert len([1 for labels, _ in found if "window" not in labels]) == len(codes)
    assert codes["blind", "latency_p99"] == "metric_missing"
    assert codes["failing", "error_rate"] == "proved_bad"
    assert codes["undecided", "error_rate"] == "undecided"
    assert codes["healthy", "latency_p99"] == "proved_good"
    assert {code for (service, _), code in codes.items() if service == CUT_OFF} == {"source_unavailable"}


def test_each_check_is_in_the_panel_of_its_unit(rollout: Played, api: Api) -> None:
    """A duration is not drawn as a share."""
    panels = {
        "Shares": "error_rate",
        "Durations": "latency_p99",
        "Drift": "prediction_drift",
        "Changes": "business_proxy",
    }

    for panel, check in panels.items():
        for name in "ABCD":
            found = api.at(expression(panel, name), rollout.ended)
            assert {labels["check"] for labels, _ in found} == {check}, (panel, name)


def test_the_canarys_share(rollout: Played, api: Api) -> None:
    """A fifth of the requests; a little less, as the window begins up to two scrapes before the canary's first."""
    found = by_service(
        api.at(expression("Canary's share of the traffic").replace("max by (", "max by (service, "), rollout.ended)
    )

    assert 0.1 < found["healthy"] < 0.21
    assert CUT_OFF not in found


def test_the_error_of_the_source_is_counted(rollout: Played, api: Api) -> None:
    """The analyzer without a source fails at each request, the others at none."""
    found = {labels["reason"]: value for labels, value in api.at(expression("Errors of the source"), rollout.ended - 1)}

    assert found["unavailable"] > 0
    assert {value for reason, value in found.items() if reason != "unavailable"} == {0.0}


def test_the_rules_are_evaluated(api: Api) -> None:
    """Prometheus takes all of them, and none has an error."""
    rules = [rule for group in api.ask("rules")["groups"] for rule in group["rules"]]

    assert {rule["name"] for rule in rules} == {rule.get("record") or rule["alert"] for rule in RULES}
    assert {rule["health"] for rule in rules} == {"ok"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("record") or rule["alert"])
def test_a_rule_has_data(rollout: Played, api: Api, rule: dict[str, Any]) -> None:
    """Each expression finds something in this rollout, but for the limit of an alert that it did not reach."""
    of_a_slow_one = {"RolloutAnalyzerSlow": r" > 5$"}
    text = re.sub(of_a_slow_one.get(rule.get("alert", ""), "$^"), "", rule["expr"])

    assert api.graph(text, rollout.began, rollout.ended)


def test_what_alerts_would_say_of_this_rollout(rollout: Played, api: Api) -> None:
    """The failed canary alerts at once; what must last for some minutes is pending, of the right services."""
    found = {
        (labels["alertname"], labels["alertstate"], labels.get("service") or labels.get("job", ""))
        for labels, _ in api.at("ALERTS", rollout.ended)
    }

    assert found == {
        ("RolloutCanaryFailed", "firing", "failing"),
        ("RolloutInconclusive", "pending", "undecided"),
        ("RolloutInconclusive", "pending", "blind"),
        ("RolloutInconclusive", "pending", CUT_OFF),
        ("RolloutMetricsMissing", "pending", "blind"),
        ("RolloutAnalyzerSourceErrors", "pending", "rollout-analyzer"),
    }


def test_the_texts_of_alerts_are_filled_in(rollout: Played) -> None:
    """With what is known of the rollout, in units for people."""
    found = {one["labels"]["alertname"]: one["annotations"]["summary"] for one in rollout.alerts}

    assert found["RolloutCanaryFailed"] == "The canary of ml/failing is proved bad."
    assert found["RolloutMetricsMissing"] == "latency_p99 of ml/blind cannot be judged: metric_missing."
    assert re.match(
        r"100% of the requests of .+ to prometheus fail \(unavailable\)\.", found["RolloutAnalyzerSourceErrors"]
    )
    assert not any(word in str(found) for word in ("no value", "error", "{{"))


def test_answers_to_other_questions_hide_no_fail(rollout: Played, api: Api) -> None:
    """The first replica was asked later with lenient limits, which passed; another policy has series of its own."""
    raw = 'analyzer_verdict{service="failing", check=~"all|error_rate"} == -1'
    series = {(labels["check"], labels["policy"], labels["canary"]) for labels, _ in api.at(raw, rollout.ended)}

    assert series == {
        (check, policy, "failing-canary") for check in ("all", "error_rate") for policy in ("ml-model", "ml-model-mean")
    }
