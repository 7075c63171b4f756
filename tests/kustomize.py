"""Renders a folder of manifests with whichever of kubectl and kustomize is installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def render(folder: Path) -> str:
    """Render a folder; skip where neither tool is there, unless ANALYZER_REQUIRE_GO asks for everything."""
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize", str(folder)]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build", str(folder)]
    elif os.environ.get("ANALYZER_REQUIRE_GO"):
        pytest.fail("needs kubectl or kustomize, to render the folders")
    else:
        pytest.skip("needs kubectl or kustomize, to render the folders")
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout
