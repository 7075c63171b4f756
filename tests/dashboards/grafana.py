"""Asks what a dashboard asks, with its variables put in as Grafana does."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

FOLDER = Path(__file__).parents[2] / "rollouts" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
RATE_INTERVAL = "4s"  # four times that of scraping, where a point of the graph is no longer than that


@dataclass(frozen=True)
class Query:
    """A query of a panel; in a row that repeats, `repeated` names the variable which has one value in it."""

    dashboard: str
    panel: str
    name: str
    expression: str
    repeated: str | None

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel} {self.name}"


def dashboards() -> dict[str, dict[str, Any]]:
    """Read the committed dashboards, by the stem of their files."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in FILES}


def queries() -> list[Query]:
    """List the queries of all panels."""
    found = []
    for name, dashboard in dashboards().items():
        repeated = None
        for panel in dashboard["panels"]:
            if panel["type"] == "row":
                repeated = panel.get("repeat")
            found += [
                Query(name, panel["title"], target["refId"], target["expr"], repeated)
                for target in panel.get("targets", ())
            ]
    return found


def variables() -> list[dict[str, Any]]:
    """List the variables of all dashboards that are queried."""
    every = [each for dashboard in dashboards().values() for each in dashboard["templating"]["list"]]
    return [each for each in every if each["type"] == "query"]


def filled_in(expression: str, **chosen: str) -> str:
    """Put values into an expression: those chosen, escaped for a pattern, and All for the others."""
    every = {each["name"]: each["allValue"] for each in variables()}
    values = every | {name: re.sub(r"([.*+?^${}()|\[\]\\])", r"\\\\\1", value) for name, value in chosen.items()}
    values["__rate_interval"] = RATE_INTERVAL
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expression)


class Api:
    """Prometheus as a data source."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/v1"
        self._session = requests.Session()
        self._session.trust_env = False

    def ask(self, path: str, **parameters: Any) -> Any:
        """Ask, and give the data of the answer."""
        answer = self._session.get(f"{self._url}/{path}", params=parameters, timeout=10)
        assert answer.ok, f"{parameters}: {answer.text}"
        body = answer.json()
        assert not body.get("warnings"), body
        return body["data"]

    def graph(self, expression: str, began: float, ended: float) -> list[dict[str, Any]]:
        """Ask for the series of a graph, second by second; none that has no number."""
        found = self.ask("query_range", query=expression, start=began, end=ended, step=1)["result"]
        return [one for one in found if any(value != "NaN" for _, value in one["values"])]

    def at(self, expression: str, moment: float) -> list[tuple[dict[str, str], float]]:
        """Ask for labels and values of a moment."""
        found = self.ask("query", query=expression, time=moment)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def label_values(self, query: str) -> list[str]:
        """Ask for what a variable may be."""
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert found, query
        values: list[str] = self.ask(f"label/{found[2]}/values", **{"match[]": found[1]})
        return values

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
