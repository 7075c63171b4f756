"""The service under gunicorn: one worker with threads, which scales by pods and keeps one registry of metrics."""

import logging
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from analyzer.version import __version__

APP_LOAD_ERROR = 4  # gunicorn's exit code for a worker that could not load the application: it is not restarted


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are answered before it ends.

    Raises
    ------
    SystemExit : with code 2 where the configuration is wrong
    """
    master = os.getpid()
    try:
        _Server(host, port).run()
    except SystemExit as error:
        # The worker, forked inside of run, ends here too: its code tells the master not to start another.
        if error.code == APP_LOAD_ERROR and os.getpid() == master:
            raise SystemExit(2) from error
        raise


def _threads() -> int:
    """Read how many threads to start; what is wrong with the setting is said by the worker, with all others."""
    text = os.environ.get("ANALYZER_THREADS", "")
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,2}", text) else 16


def _begin(worker: Any) -> None:
    """Have every signal end the worker alike, and say where it listens."""
    # gunicorn's own handler for these takes a lock of the thread pool, which the code that it interrupts may hold:
    # then nothing would end before `graceful_timeout`.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, worker.handle_exit)
    _announce(worker)


def _announce(worker: Any) -> None:
    """Log the address and the source of the service."""
    from analyzer.web.event_log import log_event  # noqa: PLC0415

    log_event(
        "listening",
        address=", ".join(str(sock) for sock in worker.sockets),
        source=worker.wsgi.config["ANALYZER_SOURCE"],
        version=__version__,
    )


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn with settings from code; the application is loaded in the worker, so the master stays small."""

    def __init__(self, host: str, port: int) -> None:
        self._options: dict[str, Any] = {
            "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "workers": 1,
            "worker_class": "analyzer.web.worker.Worker",
            "threads": _threads(),
            "worker_connections": 4096,
            "timeout": 60,
            "graceful_timeout": 65,  # longer than any verdict may take; with nothing in flight it ends at once
            "keepalive": 75,
            "control_socket_disable": True,  # it would need a writable folder
            "forwarder_headers": "",  # nobody's SCRIPT_NAME or PATH_INFO
            "proc_name": "rollout-analyzer",
            "loglevel": "warning",
            "post_worker_init": _begin,
        }
        if Path("/dev/shm").is_dir() and os.access("/dev/shm", os.W_OK):  # noqa: S108 - for the worker's heartbeat
            self._options["worker_tmp_dir"] = "/dev/shm"  # noqa: S108
        super().__init__()

    def load_config(self) -> None:
        """Hand the options to gunicorn."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Build the application in the worker; a wrong configuration ends the service with its message."""
        from analyzer.config.settings import load_settings  # noqa: PLC0415
        from analyzer.errors import ConfigError  # noqa: PLC0415 - the master needs none of this
        from analyzer.verdict.wiring import build_analyzer  # noqa: PLC0415
        from analyzer.web.app import create_app  # noqa: PLC0415
        from analyzer.web.event_log import EventLog  # noqa: PLC0415
        from analyzer.web.telemetry import Telemetry  # noqa: PLC0415
        from analyzer.web.tracing import Tracing  # noqa: PLC0415

        logging.basicConfig(handlers=[EventLog(sys.stderr)], format="%(message)s", level=logging.INFO)
        try:
            settings = load_settings()
            telemetry = Telemetry(settings.source.value, tracing=Tracing() if settings.tracing else None)
            analyzer = build_analyzer(settings, telemetry.observe_source)
        except ConfigError as error:
            for problem in error.problems:
                line = f"analyzer: {error.where + ': ' if error.where else ''}{problem}"
                sys.stderr.write(" ".join(line.split()) + "\n")
            sys.exit(APP_LOAD_ERROR)
        return create_app(analyzer, settings, telemetry)
