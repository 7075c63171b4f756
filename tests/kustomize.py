"""Renders a folder of manifests with whichever of kubectl and kustomize is installed."""

import shutil
import subprocess
from pathlib import Path

from needs import lacking


def render(folder: Path) -> str:
    """Render a folder; skip where neither tool is there, unless ANALYZER_REQUIRE_GO asks for everything."""
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize", str(folder)]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build", str(folder)]
    else:
        lacking("GO", "needs kubectl or kustomize, to render the folders")
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout
