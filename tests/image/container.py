"""Builds the image without a registry and runs it without a container runtime: buildah, unshare and chroot.

What a runtime would do with the image's configuration is done here by hand, as strictly as the Deployment asks:
a read-only root, a /tmp, its own network, processes and mounts, the image's user, no capability, no new privileges.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
PROGRAMS = ("buildah", "debootstrap", "unshare", "nsenter", "mount", "chroot", "ip", "tar")
BASE = "localhost/debian-with-python:bookworm"
IMAGE = "localhost/rollout-analyzer:test"
# Where the Dockerfile takes the machine's way to the packages from; what is not there is not needed.
SECRETS = {
    "pip.conf": os.environ.get("PIP_CONFIG_FILE") or "/etc/pip.conf",
    "ca-certificates.crt": os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt",
}

START = """
set -e
root=$1 shared_memory=$2
shift 2
ip link set lo up
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777,size=64m tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
if [ "$shared_memory" = yes ]; then
    mkdir "$root/dev/shm"
    mount -t tmpfs -o mode=1777,size=64m tmpfs "$root/dev/shm"
fi
mount -o remount,bind,ro "$root/dev"
exec chroot "$root" "$@"
"""

ASK = """
import json, sys, urllib.request, urllib.error
path, body = json.load(sys.stdin)
asked = urllib.request.Request(
    "http://127.0.0.1:8080" + path,
    data=None if body is None else json.dumps(body).encode(),
    headers={"Content-Type": "application/json"},
)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    answer = opener.open(asked, timeout=10)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, answer.read().decode()]))
"""


def missing() -> str:
    """Say what this machine lacks; empty: nothing."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    return "" if os.geteuid() == 0 else "only root can mount the image and change into it"


@dataclass(frozen=True)
class Builder:
    """buildah with a storage of its own, which keeps the base between sessions."""

    cache: Path

    def buildah(self, *words: str | Path) -> str:
        """Run a command of buildah; its output."""
        storage = ["--root", self.cache / "storage", "--runroot", self.cache / "run"]
        return _output("buildah", *storage, *words)

    def make_base(self) -> None:
        """Make a plain Debian with Python, unless an earlier session did."""
        if BASE in self.buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
            return
        with tempfile.TemporaryDirectory(dir=self.cache) as folder:
            root, archive = Path(folder, "root"), Path(folder, "root.tar")
            _output("debootstrap", "--variant=minbase", "--include=python3,python3-venv", "bookworm", root)
            unwanted = ["--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*", "--exclude=./dev/*"]
            _output("tar", "-C", root, "--numeric-owner", *unwanted, "-cf", archive, ".")
            container = self.buildah("from", "scratch").strip()
            self.buildah("add", "--quiet", container, archive, "/")
            self.buildah("commit", "--quiet", "--rm", container, BASE)

    def build(self) -> None:
        """Build the image; the health check is none of OCI's, so the format is Docker's."""
        secrets = [f"--secret=id={name},src={path}" for name, path in SECRETS.items() if Path(path).is_file()]
        chosen = ["--isolation=chroot", "--network=host", "--format=docker", f"--build-arg=BASE={BASE}"]
        self.buildah("build", *chosen, *secrets, f"--tag={IMAGE}", PROJECT)

    def remove(self) -> None:
        """Remove the image and leave the base."""
        self.buildah("rmi", IMAGE)

    def inspect(self, name: str) -> dict[str, Any]:
        """Tell all that is recorded in an image."""
        found: dict[str, Any] = json.loads(self.buildah("inspect", "--type=image", name))
        return found

    @contextmanager
    def mounted(self, name: str) -> Iterator[Path]:
        """Mount an image's files."""
        container = self.buildah("from", "--pull-never", name).strip()
        try:
            yield Path(self.buildah("mount", container).strip())
        finally:
            self.buildah("rm", container)


@dataclass(frozen=True)
class Image:
    """An image whose files are mounted at root."""

    root: Path
    record: dict[str, Any] = field(repr=False)
    seconds_to_build: float

    @cached_property
    def config(self) -> dict[str, Any]:
        """What the Dockerfile sets: user, environment, command, health check."""
        found: dict[str, Any] = self.record["Docker"]["config"]
        return found

    def _as_its_user(self, variables: dict[str, str]) -> list[str]:
        user, group = self.config["User"].split(":")
        rights = ["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        named = [f"{name}={value}" for name, value in variables.items()]
        return ["setpriv", f"--reuid={user}", f"--regid={group}", *rights, "env", "-i", *self.config["Env"], *named]

    @contextmanager
    def running(
        self, *command: str, shared_memory: bool = True, variables: dict[str, str] | None = None
    ) -> Iterator["Container"]:
        """Run a command, by default the image's own, and end it.

        Parameters
        ----------
        command : and its arguments
        shared_memory : whether there is a writable /dev/shm, as nearly everywhere; the Deployment promises a /tmp only
        variables : added to the image's environment
        """
        words = list(command) or [*self.config["Entrypoint"], *self.config["Cmd"]]
        alone = ["unshare", "--mount", "--net", "--pid", "--ipc", "--fork"]
        script = ["bash", "-c", START, "start", str(self.root), "yes" if shared_memory else "no"]
        user = self._as_its_user(variables or {})
        process = subprocess.Popen([*alone, *script, *user, *words], stderr=subprocess.PIPE, text=True)
        container = Container(process, user)
        try:
            yield container
        finally:
            container.kill()


@dataclass(frozen=True)
class Container:
    """A running container; its first process is the command itself, as in a pod."""

    process: "subprocess.Popen[str]"
    user: list[str]

    @cached_property
    def pid(self) -> int:
        """The command's process, as the machine numbers it: the one child of unshare, once it has its own root."""
        for _ in range(500):
            if (child := self._child()) and Path(f"/proc/{child}/root").readlink() != Path("/"):
                return child
            time.sleep(0.01)
        raise TimeoutError("the container's first process did not start")

    def _child(self) -> int:
        """Find the child of unshare; 0: there is none, yet or any more."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(next(iter(children.read_text().split()), 0))

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command inside, as `kubectl exec` and health checks do."""
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--ipc", "--root", "--wd=/"]
        return subprocess.run([*inside, *self.user, *command], check=False, capture_output=True, text=True, timeout=60)

    def ask(self, path: str, body: object = None) -> tuple[int, Any]:
        """GET, or POST of a body, over the container's network but from outside: status and JSON.

        Raises
        ------
        ConnectionError : nobody listens
        """
        done = subprocess.run(
            ["nsenter", f"--target={self.pid}", "--net", sys.executable, "-c", ASK],
            check=False,
            input=json.dumps([path, body]),
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise ConnectionError(done.stderr)
        status, text = json.loads(done.stdout)
        return status, json.loads(text)

    def wait_until_alive(self) -> float:
        """Wait for /healthz; the seconds it took."""
        began = time.monotonic()
        while time.monotonic() < began + 30:
            if self.process.poll() is not None:
                raise ChildProcessError(f"ended with {self.process.returncode}: {self.process.communicate()[1]}")
            try:
                self.ask("/healthz")
            except ConnectionError:
                continue
            return time.monotonic() - began
        raise TimeoutError("/healthz did not answer")

    def terminate(self) -> tuple[int, str]:
        """Send SIGTERM, as the kubelet does; the exit code and what it wrote to standard error."""
        os.kill(self.pid, signal.SIGTERM)
        return self.end()

    def end(self) -> tuple[int, str]:
        """Wait for its end; the exit code and what it wrote to standard error."""
        written = self.process.communicate(timeout=30)[1]
        return self.process.returncode, written

    def kill(self) -> None:
        """End what still runs: with the first of its processes all the others end."""
        if self.process.poll() is None and (child := self._child()):
            os.kill(child, signal.SIGKILL)
        self.process.communicate(timeout=30)


def _output(*words: str | Path) -> str:
    done = subprocess.run(list(map(str, words)), check=False, capture_output=True, text=True)
    if done.returncode:
        raise ChildProcessError(f"{' '.join(map(str, words))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout
