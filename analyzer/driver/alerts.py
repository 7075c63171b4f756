"""What the driver tells others: Events on the resource, and an alert to a webhook when people are needed."""

import hashlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import requests

from analyzer.driver.cluster import Changed, Cluster, Denied, Missing, Unreachable
from analyzer.driver.judges import Opinion
from analyzer.driver.resource import MANAGER, Object, ResourceKind

EVENT = ResourceKind("", "v1", "Event", "events")
TRIES = 3
TIMEOUT_SECONDS = 3.0


class Form(StrEnum):
    """What a webhook expects."""

    SLACK = "slack"
    ALERTMANAGER = "alertmanager"


@dataclass(frozen=True)
class Alert:
    """Something that happened.

    Attributes
    ----------
    reason : one word, as Events have it
    text : what happened and why
    alert : people are needed
    """

    reason: str
    text: str
    alert: bool = False


@dataclass
class Alerts:
    """Tells each thing once, by Events whose names are made of the resource's generation.

    None of it may stop a rollout, so whoever does not listen is only named.
    """

    cluster: Cluster
    webhook: str | None = None
    form: Form = Form.SLACK

    def tell(self, resource: Object, notice: Alert, opinion: Opinion | None = None) -> str:
        """Publish the alert once; return an error message, or an empty string."""
        metadata = resource["metadata"]
        key = f"{metadata['uid']} {metadata['generation']} {notice.reason}"
        name = f"{metadata['name'][:200]}.{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        wrong = []
        try:
            self.cluster.get(EVENT, name)
        except (Missing, Unreachable):
            pass
        except Denied as error:
            wrong.append(str(error))
        else:
            return ""
        if notice.alert and self.webhook and (trouble := self._alert(resource, notice, opinion)):
            wrong.append(trouble)
        try:
            self.cluster.create(EVENT, _event(resource, name, notice))
        except Changed:
            pass
        except (Denied, Unreachable) as error:
            wrong.append(str(error))
        return "; ".join(wrong)

    def _alert(self, resource: Object, notice: Alert, opinion: Opinion | None) -> str:
        """Send the alert, a few times if need be."""
        body = (_slack if self.form is Form.SLACK else _alertmanager)(resource, notice, opinion)
        trouble = ""
        for attempt in range(TRIES):
            try:
                answer = requests.post(self.webhook or "", json=body, timeout=TIMEOUT_SECONDS)
                if answer.ok:
                    return ""
                trouble = f"HTTP {answer.status_code}"
                if answer.status_code < 500 and answer.status_code != 429:
                    break
            except requests.RequestException as error:
                trouble = type(error).__name__  # its text may hold the address, which is a secret
            if attempt + 1 < TRIES:
                time.sleep(0.5 * 2**attempt)
        return f"the webhook was not told: {trouble}"


def _event(resource: Object, name: str, notice: Alert) -> Object:
    metadata, now = resource["metadata"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "reason": notice.reason,
        "message": notice.text[:1024],
        "type": "Warning" if notice.alert else "Normal",
        "source": {"component": MANAGER},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def _title(resource: Object) -> str:
    metadata = resource["metadata"]
    return f"{resource['kind']} {metadata['namespace']}/{metadata['name']}"


def _slack(resource: Object, notice: Alert, opinion: Opinion | None) -> dict[str, Any]:
    lines = [f"*{notice.reason}: {_title(resource)}*", notice.text]
    if opinion is not None and opinion.numbers:
        lines.append(", ".join(f"{name}: {value}" for name, value in opinion.numbers.items()))
    text = "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": text}


def _alertmanager(resource: Object, notice: Alert, opinion: Opinion | None) -> list[dict[str, Any]]:
    metadata = resource["metadata"]
    numbers = {} if opinion is None else {str(name): str(value) for name, value in opinion.numbers.items()}
    return [
        {
            "labels": {
                "alertname": notice.reason,
                "severity": "warning",
                "namespace": metadata["namespace"],
                "kind": resource["kind"],
                "name": metadata["name"],
            },
            "annotations": {"summary": _title(resource), "description": notice.text, **numbers},
            "startsAt": datetime.now(UTC).isoformat(),
        }
    ]
