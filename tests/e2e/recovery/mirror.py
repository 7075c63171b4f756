"""A copy of the objects of a kind in all namespaces, kept up to date by a watch: reading it costs the API nothing."""

import json
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from e2e.cluster import Api, Object

WATCH_SECONDS = 20  # then it is renewed; a thread that should end does so then at the latest


@dataclass
class Mirror:
    """Follows one kind.

    Attributes
    ----------
    api, path, labels : what is followed; `path` is that of the list
    failure : what ended it, if something did
    """

    api: Api
    path: str
    labels: str
    failure: BaseException | None = None
    _objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    _version: str = ""
    _closing: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Read everything, and go on reading what changes."""
        self._read()
        threading.Thread(target=self._follow, daemon=True).start()

    def stop(self) -> None:
        """Follow no longer."""
        self._closing.set()

    def by_namespace(self) -> Mapping[str, list[Object]]:
        """Group the objects as they are now."""
        found: dict[str, list[Object]] = defaultdict(list)
        with self._lock:
            for (namespace, _), each in sorted(self._objects.items()):
                found[namespace].append(each)
        return found

    def _read(self) -> None:
        content = self.api.get(f"{self.path}?labelSelector={self.labels}")
        with self._lock:
            self._objects = {_key(each): each for each in content["items"]}
        self._version = content["metadata"]["resourceVersion"]

    def _follow(self) -> None:
        try:
            while not self._closing.is_set():
                self._watch()
        except BaseException as error:
            if not self._closing.is_set():
                self.failure = error
                raise

    def _watch(self) -> None:
        asked = f"labelSelector={self.labels}&watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}"
        url = f"{self.api.url}{self.path}?{asked}&resourceVersion={self._version}"
        with self.api.session.get(url, stream=True, timeout=2 * WATCH_SECONDS) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines(chunk_size=None):
                event = json.loads(line)
                if event["type"] == "ERROR":  # the version is too old to go on from
                    self._read()
                    return
                self._take(event["type"], event["object"])

    def _take(self, kind: str, changed: Object) -> None:
        self._version = changed["metadata"]["resourceVersion"]
        with self._lock:
            if kind == "DELETED":
                self._objects.pop(_key(changed), None)
            elif kind != "BOOKMARK":
                self._objects[_key(changed)] = changed


def _key(each: Object) -> tuple[str, str]:
    return each["metadata"]["namespace"], each["metadata"]["name"]
