"""Virtual environments of the serving stacks, each with its pinned requirements, made once and kept."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rollout-analyzer" / "stacks"


class NotInstalledError(Exception):
    """The requirements of a stack could not be installed."""


def installed(name: str) -> Path:
    """Return the folder of the environment of a stack, and install it where it is not there yet.

    Raises
    ------
    NotInstalledError : with what the installer said
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(requirements.read_bytes() + version.encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run(name, "venv", "--python", sys.executable, folder)
        _run(name, "pip", "install", "--python", folder, "--requirement", requirements)
        (folder / "complete").touch()
    return folder


def _run(name: str, *command: str | Path) -> None:
    uv = [sys.executable, "-m", "uv", "--quiet"]
    done = subprocess.run([*uv, *command], check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotInstalledError(f"{name} is not installed: {done.stderr[-1500:]}")
