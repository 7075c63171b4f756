"""The analyzer with the policies and profiles that the mounted folder holds now."""

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path

from analyzer.config.settings import Settings
from analyzer.errors import ConfigError
from analyzer.verdict.analysis import Analyzer
from analyzer.verdict.wiring import load_config
from analyzer.web.event_log import log_event

CHECKED_SECONDS = 2.0

Stamp = frozenset[tuple[str, int, int, int]]


class LiveConfig:
    """Reads the folder again when its files change, as the kubelet does to a mounted ConfigMap.

    Valid files take effect with the next request. Invalid ones leave what was loaded before, and the log says why, once
    for each change.
    """

    def __init__(self, analyzer: Analyzer, settings: Settings) -> None:
        self._analyzer, self._settings = analyzer, settings
        self._lock = threading.Lock()
        self._stamp: Stamp = frozenset()  # not that of now: the files may have changed since they were loaded
        self._checked_at = time.monotonic()

    @property
    def analyzer(self) -> Analyzer:
        """The analyzer for one request; the folder is looked at every few seconds, by one request at a time."""
        late = time.monotonic() - self._checked_at >= CHECKED_SECONDS
        if self._settings.config_dir is not None and late and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._checked_at = time.monotonic()
                self._lock.release()
        return self._analyzer

    def _look(self) -> None:
        stamp = _stamp(self._settings.config_dir)
        if stamp == self._stamp:
            return
        self._stamp = stamp  # of before the files are read: a change meanwhile is seen the next time
        try:
            policies, profiles = load_config(self._settings)
        except ConfigError as error:
            log_event("config_refused", logging.WARNING, message=str(error), where=error.where)
            return
        self._analyzer = replace(self._analyzer, policies=policies, profiles=profiles)
        log_event("config_loaded", policies={name: policy.digest for name, policy in policies.items()})


def _stamp(folder: Path | None) -> Stamp:
    """Return what changes with any file of the folder: names, inodes, times and sizes, symbolic links followed."""
    stamp = set()
    for path in folder.glob("*/*.y*ml") if folder else ():
        try:
            status = path.stat()
        except OSError:  # swapped just now
            continue
        stamp.add((str(path), status.st_ino, status.st_mtime_ns, status.st_size))
    return frozenset(stamp)
