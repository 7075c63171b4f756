"""A real Prometheus for tests: its own configuration and storage, loopback, a free port, history made by promtool."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests
from needs import lacking
from ports import free_port

READY_SECONDS = 90.0  # a process that ends is noticed at once; this is for one that hangs


@dataclass(frozen=True)
class Point:
    """One sample of history; `moment` in Unix seconds."""

    metric: str
    labels: Mapping[str, str]
    moment: float
    value: float

    def __str__(self) -> str:
        labels = ",".join(f'{name}="{value}"' for name, value in self.labels.items())
        return f"{self.metric}{{{labels}}} {self.value!r} {self.moment:.3f}"


@dataclass
class PrometheusServer:
    """Starts and stops Prometheus in a folder; `url` is where it answers.

    Attributes
    ----------
    folder : for its configuration, storage and log
    scrape_configs : YAML lines under `scrape_configs`, or nothing
    """

    folder: Path
    scrape_configs: str = "[]"
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        """Choose a port."""
        self.port = self.port or free_port()

    @property
    def url(self) -> str:
        """Address up to and without /api/v1."""
        return f"http://127.0.0.1:{self.port}"

    def write_history(self, points: Iterable[Point]) -> None:
        """Write samples into the storage; before the start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "history.txt"
        # By series, because promtool takes a block at a time and is quickest with neighbours side by side.
        lines = sorted(map(str, points), key=lambda line: line.partition("} ")[0])
        path.write_text("\n".join([*lines, "# EOF", ""]), encoding="utf-8")
        options = ["tsdb", "create-blocks-from", "--max-block-duration=384h", "openmetrics"]
        subprocess.run(["promtool", *options, path, self.folder / "data"], check=True, capture_output=True)
        path.unlink()

    def start(self) -> None:
        """Start, and wait until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "prometheus.yml"
        config.write_text(f"scrape_configs: {self.scrape_configs}\n", encoding="utf-8")
        log = (self.folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--storage.tsdb.retention.time=20y",
                "--web.enable-remote-write-receiver",
                "--enable-feature=native-histograms",
                "--log.level=warn",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        wait_until_ready(self._process, f"{self.url}/-/ready", self.folder / "log")

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


StartPrometheus = Callable[..., PrometheusServer]
"""Starts one with a `history`, or with targets to scrape (`scrape_configs`)."""


def require_prometheus() -> None:
    """Skip where the binaries are missing, or fail where the environment says that they must be there."""
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing:
        lacking("PROMETHEUS", f"{' and '.join(missing)} not installed: install the package prometheus")


def wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until a server that was started answers; RuntimeError with the end of its log where it does not."""
    ends = time.monotonic() + READY_SECONDS
    with requests.Session() as session:
        session.trust_env = False
        while not _ready(session, url):
            if process.poll() is not None or time.monotonic() > ends:
                text = log.read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"{url} does not answer: {text[-2000:]}")
            time.sleep(0.02)


def _ready(session: requests.Session, url: str) -> bool:
    try:
        return session.get(url, timeout=2).status_code == 200
    except requests.RequestException:
        return False
