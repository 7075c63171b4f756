"""Writes the two dashboards beside this file: `python rollouts/dashboards/build.py`."""
# ruff: noqa: FBT003 - the builder's setters are called so

from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.builders import common as style
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    TextBoxVariable,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.statetimeline import Panel as StateTimeline
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    BigValueTextMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

HERE = Path(__file__).parent
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "rollout-analyzer"
GREEN, ORANGE, RED, BLUE, GREY = "green", "orange", "red", "blue", "#808080"

ROLLOUT = 'namespace=~"$namespace", service=~"$service"'
CANARY = "namespace, service, canary, policy, window"
CHECK = f"{CANARY}, check"
JOB = 'job=~"$job"'
WHICH = "{{window}} {{policy}} {{canary}}"  # in a legend; what was asked since the start has no window
NAME = f"{{{{namespace}}}} {{{{check}}}} {WHICH}"
QUANTILES = (0.5, 0.9, 0.99)
HALF, WHOLE = 12, 24  # widths

OUTCOMES = {"1": ("pass", GREEN), "0": ("inconclusive", ORANGE), "-1": ("fail", RED)}

Panel = TimeSeries | StateTimeline | Stat
Query = tuple[str, str]  # legend and expression


# Expressions


def latest(metric: str, *, by: str = "", where: str = "", unit: str = "") -> str:
    """Give what the replica says that was asked last: the others still show what they found before.

    Parameters
    ----------
    metric : with the labels of a check
    by : further labels to keep
    where : further matchers
    unit : only of checks whose limits have it
    """
    judged = f"analyzer_verdict_timestamp_seconds{{{ROLLOUT}}}"
    of_the_unit = f'\n  and on ({CHECK}, instance) analyzer_check_info{{{ROLLOUT}, unit="{unit}"}}' if unit else ""
    return (
        f"max by ({', '.join(filter(None, (CHECK, by)))}) (\n"
        f"  {metric}{{{', '.join(filter(None, (ROLLOUT, where)))}}}{of_the_unit}\n"
        f"  and on ({CHECK}, instance) ({judged} == on ({CHECK}) group_left () max by ({CHECK}) ({judged}))\n"
        ")"
    )


def latest_share() -> str:
    """Give the canary's share in the same way; it is of the rollout, not of a check."""
    judged = f'analyzer_verdict_timestamp_seconds{{{ROLLOUT}, check="all"}}'
    return (
        f"max by ({CANARY}) (\n"
        f"  analyzer_canary_share{{{ROLLOUT}}}\n"
        f"  and on ({CANARY}, instance) ({judged} == on ({CANARY}) group_left () max by ({CANARY}) ({judged}))\n"
        ")"
    )


def rate(metric: str, by: str) -> str:
    """Give events a second of the selected analyzers."""
    return f"sum by ({by}) (rate({metric}{{{JOB}}}[$__rate_interval]))"


def quantile(level: float, metric: str, by: str = "") -> str:
    """Give a quantile of a histogram of the selected analyzers."""
    return f"histogram_quantile({level}, {rate(f'{metric}_bucket', ', '.join(filter(None, ('le', by))))})"


# Parts of panels


def complete(panel: Panel, title: str, description: str, *queries: Query, width: int = HALF) -> Panel:
    """Fill in what every panel has."""
    panel.title(title).description(description).datasource(SOURCE).span(width).height(8)
    for name, (legend, expression) in zip("ABCDEF", queries, strict=False):
        query = Dataquery().ref_id(name).legend_format(legend).expr(expression).datasource(SOURCE)
        panel.with_target(query.range())
    return panel


def lines(unit: str) -> TimeSeries:
    """Begin a panel of lines, with a legend."""
    legend = style.VizLegendOptions().show_legend(True)
    return TimeSeries().unit(unit).legend(legend).show_points(VisibilityMode.NEVER)


def timeline(texts: dict[str, tuple[str, str]]) -> StateTimeline:
    """Begin a state timeline, with a text and a colour for each value."""
    results = {
        value: ValueMappingResult(text=text, color=color, index=index)
        for index, (value, (text, color)) in enumerate(texts.items())
    }
    legend = style.VizLegendOptions().show_legend(False)
    return StateTimeline().mappings([ValueMap(results)]).legend(legend).merge_values(True)


def line_at(value: float, panel: TimeSeries) -> TimeSeries:
    """Draw a dashed line at a value."""
    dashed = style.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
    steps = [Threshold(None, "transparent"), Threshold(value, RED)]
    return panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)).thresholds_style(dashed)


def dashes(color: str) -> list[DynamicConfigValue]:
    """Draw a query's lines dashed and in one colour: limits."""
    return [
        DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color}),
        DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
    ]


def dots() -> list[DynamicConfigValue]:
    """Draw a query's lines thin and dotted: bounds of an interval."""
    return [
        DynamicConfigValue("custom.lineStyle", {"fill": "dot", "dash": [0, 6]}),
        DynamicConfigValue("custom.lineWidth", 1),
    ]


def values(title: str, what: str, grafana_unit: str, unit: str, *, arms: str, judged: str) -> Panel:
    """Plot the checks whose limits have one unit: values, the interval of the one that is judged, both limits."""
    panel = lines(grafana_unit)
    panel.override_by_query("B", dots()).override_by_query("C", dashes(GREEN)).override_by_query("D", dashes(RED))
    return complete(
        panel,
        title,
        f"{what} Green dashes: the promote limit, on whose good side the value must be proved to be. Red dashes: the "
        "rollback limit. Dots: the interval, which holds at every look.",
        (f"{NAME}: {{{{arm}}}}", latest("analyzer_check_value", by="arm", where=f'arm=~"{arms}"', unit=unit)),
        (f"{NAME}: {{{{bound}}}}", latest("analyzer_check_interval", by="bound", where=f'arm="{judged}"', unit=unit)),
        (f"{NAME}: promote", latest("analyzer_check_limit", where='limit="promote"', unit=unit)),
        (f"{NAME}: rollback", latest("analyzer_check_limit", where='limit="rollback"', unit=unit)),
    )


# The dashboards


def variable(name: str, label: str, query: str) -> QueryVariable:
    """Let several values of a label be chosen, and all of them at first."""
    return (
        QueryVariable(name).label(label).query(query).datasource(SOURCE).multi(True).include_all(True).all_value(".*")
        .current(VariableOption(selected=True, text="All", value="$__all"))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    )  # fmt: skip


def dashboard(name: str, title: str, description: str) -> Dashboard:
    """Begin a dashboard, with a link to the other."""
    others = DashboardLink("Rollout Analyzer").type(DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True)
    return (
        Dashboard(title).uid(f"rollout-analyzer-{name}").description(description).tags([TAG]).timezone("browser")
        .time("now-3h", "now").refresh("30s").tooltip(DashboardCursorSync.CROSSHAIR).link(others)
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )  # fmt: skip


def rollouts() -> Dashboard:
    """Show every rollout that is asked about, and below what was found of each service."""
    built = dashboard(
        "rollouts", "Rollouts", "What the Rollout Analyzer says of canaries; ends 10 min after a last look."
    )
    built.with_variable(variable("namespace", "Namespace", "label_values(analyzer_verdict, namespace)"))
    chosen = 'analyzer_verdict{namespace=~"$namespace"}'
    built.with_variable(variable("service", "Service", f"label_values({chosen}, service)"))
    built.with_variable(
        TextBoxVariable("analyzer").label("Analyzer").default_value("http://localhost:8080").description(
            "Where your browser reaches the analyzer, for links; this is the address of a kubectl port-forward"
        )
    )  # fmt: skip
    ask = DashboardLink("Ask about it").target_blank(True)
    ask.url("${analyzer}/?service=${__field.labels.service}&namespace=${__field.labels.namespace}")
    built.with_row(Row("All rollouts"))
    built.with_panel(
        complete(
            timeline(OUTCOMES).data_links([ask]),
            "Verdicts",
            "The verdict on the whole. pass: every gate is proved good. fail: a check is proved bad. The steps of a "
            "rollout and a guard in the background ask about different windows: each has its line, and so has each "
            "canary and policy. A click leads to the analyzer's page, where the report is.",
            (
                f"{{{{namespace}}}} {{{{service}}}} {WHICH}",
                latest("analyzer_verdict", where='check="all"'),
            ),
            width=WHOLE,
        )
    )
    built.with_row(Row("$service").repeat("service"))
    for panel in panels_of_a_service():
        built.with_panel(panel)
    return built


def panels_of_a_service() -> Iterator[Panel]:
    """Show what was found of one service."""
    yield complete(
        timeline(OUTCOMES),
        "Verdict by check",
        "What each check says by itself. A gate must pass, a guardrail must only not fail.",
        (NAME, latest("analyzer_verdict", where='check!="all"')),
    )
    yield complete(
        timeline({"1": ("", BLUE)}),
        "Reason by check",
        "Why, in one word, for as long as it held. undecided: more requests decide. metric_missing, buckets_differ, "
        "bucket_resolution and inconsistent_data need a person: analyzer doctor says what to change.",
        (f"{NAME}: {{{{code}}}}", latest("analyzer_check_code", by="code")),
    )
    both, canary = "canary|baseline", "canary"
    yield values("Shares", "Such as the error rate.", units.PercentUnit, "ratio", arms=both, judged=canary)
    yield values(
        "Durations", "A quantile of the latency, or its mean.", units.Seconds, "seconds", arms=both, judged=canary
    )
    yield values(
        "Drift", "The predictions' population stability index against the baseline; it has no unit, and 0 is none.",
        units.NoUnit, "psi", arms=canary, judged=canary,
    )  # fmt: skip
    yield values(
        "Changes", "For checks whose limits are changes against the baseline, such as a business metric: -1% is one "
        "hundredth less than the baseline has.", units.PercentUnit, "change", arms="delta", judged="delta",
    )  # fmt: skip
    for towards, what in (("pass", "on the good side of the promote limit"), ("fail", "on its bad side")):
        yield complete(
            line_at(1, lines(units.NoUnit).min(0).axis_soft_max(1.1)),
            f"Evidence towards {towards}",
            f"That the value is {what}: the logarithm of the evidence over that needed. 1, the dashed line, decides; "
            "it holds however often one looks.",
            (NAME, latest("analyzer_check_evidence", where=f'towards="{towards}"')),
        )
    yield complete(
        lines(units.PercentUnit).min(0).axis_soft_max(1),
        "Canary's share of the traffic",
        "Of the requests that reached both arms since their split last changed: about the weight of the step. With "
        "source scrape, whose counts have no past, since the pods started.",
        (f"{{{{namespace}}}} {WHICH}", latest_share()),
    )
    yield complete(
        lines(units.Short).min(0),
        "Requests needed until a decision",
        "About how many more canary requests decide, if the value stays what it is; 0 where it is decided. No line: "
        "no number of them would, because the value lies between the limits or cannot be judged.",
        (NAME, latest("analyzer_check_remaining_requests")),
    )


def analyzer() -> Dashboard:
    """Show the service itself."""
    built = dashboard("analyzer", "Rollout Analyzer", "The service that judges canaries: is it there, and in time?")
    built.with_variable(variable("job", "Job", "label_values(analyzer_build_info, job)"))
    for panel in panels_of_the_service():
        built.with_panel(panel)
    return built


def panels_of_the_service() -> Iterator[Panel]:
    """Show whether it is there and in time, and what it takes."""
    yield complete(
        timeline({"1": ("up", GREEN), "0": ("down", RED)}),
        "Up",
        "Whether Prometheus can scrape each replica. While none answers Argo counts errors, and after five minutes it "
        "aborts the rollouts under analysis.",
        ("{{instance}}", f"up{{{JOB}}}"),
    )
    yield complete(
        Stat().text_mode(BigValueTextMode.VALUE_AND_NAME).graph_mode(BigValueGraphMode.NONE),
        "Versions",
        "Replicas by version: two only while a new one is rolled out.",
        ("{{version}}", f"count by (version) (analyzer_build_info{{{JOB}}})"),
    )
    yield complete(
        lines(units.RequestsPerSecond).min(0),
        "Requests by status",
        "All answers, also those to probes and to Prometheus. 400: the request is wrong, and the answer says what is. "
        "503: too many at once, or the source is away where that is to be an error. 500: the log says more.",
        ("{{status}}", rate("analyzer_http_responses_total", "status")),
    )
    yield complete(
        lines(units.CountsPerSecond).min(0),
        "Verdicts by outcome",
        "Verdicts a second. The counters of a rollout begin with its first verdict, and go ten minutes after the last.",
        ("{{verdict}}", rate("analyzer_verdicts_total", "verdict")),
    )
    yield complete(
        line_at(10, lines(units.Seconds).min(0)),
        "Time to form a verdict",
        "Most of it is the source's. Argo waits ten seconds, the dashed line; the analyzer stops reading after eight.",
        *((f"p{level * 100:g}", quantile(level, "analyzer_verdict_duration_seconds")) for level in QUANTILES),
    )
    yield complete(
        lines(units.Seconds).min(0),
        "Time of a request to the source",
        "One request to Prometheus, or to a pod with source scrape; a verdict takes several.",
        *(
            (f"{{{{source}}}} p{level * 100:g}", quantile(level, "analyzer_source_request_duration_seconds", "source"))
            for level in QUANTILES
        ),
    )
    yield complete(
        lines(units.CountsPerSecond).min(0),
        "Errors of the source",
        "Requests to the source that failed, a second. While it does not answer verdicts are inconclusive, never pass.",
        ("{{source}} {{reason}}", rate("analyzer_source_errors_total", "source, reason")),
        width=WHOLE,
    )
    yield complete(
        lines(units.BytesIEC).min(0),
        "Memory",
        "Resident memory of the process that answers, by replica. It must not grow with time.",
        ("{{instance}}", f"process_resident_memory_bytes{{{JOB}}}"),
    )
    yield complete(
        lines(units.PercentUnit).min(0),
        "CPU",
        "Of one core, by replica: at 100% a core is always busy, and verdicts wait.",
        ("{{instance}}", f"rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval])"),
    )


def text(dashboard: Dashboard) -> str:
    """Write a dashboard as JSON, its panels numbered: without numbers Grafana would choose them anew at each change."""
    built = dashboard.build()
    for number, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number
    return JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"


def files() -> dict[str, str]:
    """Give what is in the files beside this one, by name."""
    return {"rollouts.json": text(rollouts()), "analyzer.json": text(analyzer())}


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_text(content, encoding="utf-8")
