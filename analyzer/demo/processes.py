"""The subprocesses of the demonstration: started on free ports, stopped whatever happens.

Knows how to start the two model servers, the analyzer service and Prometheus; not what they say.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from analyzer.demo import interrupts
from analyzer.demo.deadline import Deadline, DemoError
from analyzer.demo.load import Address

_HOST = "127.0.0.1"
_POLL_SECONDS = 0.05
_STOP_SECONDS = 3.0
_LOG_LINES = 8

PROMETHEUS_CONFIG = """\
global:
  scrape_interval: 1s
  scrape_timeout: 1s
scrape_configs:
  - job_name: demo
    static_configs:
"""
PROMETHEUS_TARGET = """\
      - targets: ["{host}:{port}"]
        labels: {{rollouts_pod_template_hash: "{version}"}}
"""


@dataclass(frozen=True)
class Process:
    """A subprocess and the file that its messages go to."""

    name: str
    popen: subprocess.Popen[str]
    log: Path

    def last_words(self) -> str:
        """Return the end of what it said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:])


class Processes:
    """Every subprocess that runs; each is the leader of its own group, so that its children end with it.

    Parameters
    ----------
    folder : for logs, configuration and data; exists
    deadline : nothing is started after it
    """

    def __init__(self, folder: Path, deadline: Deadline) -> None:
        self.folder = folder
        self.deadline = deadline
        self._running: list[Process] = []
        self._lock = threading.Lock()

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        announces: bool = False,
    ) -> Process:
        """Start one; what it says goes to a log file, or to a pipe when it announces something."""
        self.deadline.check()
        log = self.folder / f"{name}.log"
        with interrupts.held(), self._lock, log.open("a") as errors:
            popen = subprocess.Popen(  # noqa: S603 - the commands are our own
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if announces else errors,
                stderr=errors,
                env={**_clean_environment(), **(environment or {})},
                text=True,
                start_new_session=True,
            )
            process = Process(name, popen, log)
            self._running.append(process)
        return process

    def stop(self) -> None:
        """Stop all of them: politely first, for certain after three seconds."""
        with interrupts.held(), self._lock:
            running, self._running = self._running, []
            for process in running:
                process.popen.terminate()
            until = time.monotonic() + _STOP_SECONDS
            for process in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.popen.wait(max(0.0, until - time.monotonic()))
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.popen.pid, signal.SIGKILL)
                process.popen.wait()
                if process.popen.stdout is not None:
                    process.popen.stdout.close()


def start_model_servers(processes: Processes, faults: dict[str, str]) -> dict[str, Address]:
    """Start one model server a version, each with its fault, and return where they listen."""
    module = [sys.executable, "-m", "analyzer.demo.model_server"]
    started = {
        version: processes.start(f"model-{version}", [*module, "--version", version, "--fault", fault], announces=True)
        for version, fault in faults.items()
    }
    return {version: _announced(process, processes.deadline) for version, process in started.items()}


def _announced(process: Process, deadline: Deadline) -> Address:
    """Return the address that a model server announces in its first line."""
    line = process.popen.stdout.readline() if process.popen.stdout else ""
    port = line.strip().rpartition(":")[2]
    if not port.isdigit():
        deadline.check()
        raise DemoError(f"the {process.name} did not start:\n{process.last_words()}")
    return Address(_HOST, int(port))


def serve_command(port: int) -> list[str]:
    """Return the command that starts the analyzer service."""
    return [sys.executable, "-m", "analyzer", "serve", "--host", _HOST, "--port", str(port)]


def start_prometheus(processes: Processes, servers: dict[str, Address]) -> str:
    """Start Prometheus, wait until it has scraped every model server once, and return its URL."""
    port = free_port()
    url = f"http://{_HOST}:{port}"
    targets = (PROMETHEUS_TARGET.format(host=a.host, port=a.port, version=v) for v, a in servers.items())
    config = processes.folder / f"prometheus-{port}.yml"
    config.write_text(PROMETHEUS_CONFIG + "".join(targets))
    process = processes.start(
        "prometheus",
        [
            find_prometheus(),
            f"--config.file={config}",
            f"--storage.tsdb.path={processes.folder / f'tsdb-{port}'}",
            f"--web.listen-address={_HOST}:{port}",
            "--log.level=warn",
        ],
    )
    wait_for(f"{url}/api/v1/query?query=count(up==1)=={len(servers)}", processes, process, says='"value"')
    return url


def find_prometheus() -> str:
    """Return the path of the binary; empty when there is none."""
    return shutil.which("prometheus") or ""


def wait_for(url: str, processes: Processes, process: Process, *, says: str = "") -> None:
    """Wait until the URL answers 200 with this text in it.

    Raises
    ------
    DemoError : the process has ended, or the time is up
    """
    with local_session() as session:
        while True:
            processes.deadline.check()
            if process.popen.poll() is not None:
                raise DemoError(f"the {process.name} did not start:\n{process.last_words()}")
            with contextlib.suppress(requests.RequestException):
                answer = session.get(url, timeout=1.0)
                if answer.status_code == requests.codes.ok and says in answer.text:
                    return
            time.sleep(_POLL_SECONDS)


def local_session() -> requests.Session:
    """Return a session that never asks a proxy: everything here is on this machine."""
    session = requests.Session()
    session.trust_env = False
    return session


def free_port() -> int:
    """Return a TCP port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        return int(listener.getsockname()[1])


def _clean_environment() -> dict[str, str]:
    """Return our environment without settings of another analyzer, and without a proxy for this machine."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANALYZER_")}
    return {**own, "NO_PROXY": _HOST, "no_proxy": _HOST}
