"""Write the SBOM of the image's Python packages as CycloneDX: `make sbom`, which `make image` runs first.

The packages are those of requirements.lock, which the image installs by hash, where their markers hold. The base image,
with Python itself, has an SBOM of its own.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from packaging.markers import Marker

PROJECT = Path(__file__).parents[1]
PINNED = re.compile(r"^([a-z0-9][^ ;]*==[^ ;]+)(?: ; ([^\\\n]+?))?((?: \\\n +--hash=\S+)+)", re.MULTILINE)


def held_by_the_image(lock: str, python: str) -> str:
    """Return the pinned requirements of a lock that a Linux image with this CPython installs, with their hashes."""
    image = {
        "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "implementation_name": "cpython",
        "platform_python_implementation": "CPython", "python_version": python, "python_full_version": f"{python}.0",
    }  # fmt: skip
    kept = [match for match in PINNED.finditer(lock) if match[2] is None or Marker(match[2]).evaluate(image)]
    return "".join(f"{match[1]}{match[3]}\n" for match in kept)


def main(target: str, python: str, version: str) -> None:
    """Write the SBOM of a version of the analyzer, for an image with a version of Python."""
    requirements = held_by_the_image((PROJECT / "requirements.lock").read_text(encoding="utf-8"), python)
    words = ["requirements", "--pyproject", str(PROJECT / "pyproject.toml"), "--output-reproducible", "-"]
    command = [sys.executable, "-m", "cyclonedx_py", *words]
    made = subprocess.run(command, input=requirements, capture_output=True, text=True, check=False)
    if made.returncode:
        sys.exit(made.stderr)
    document = json.loads(made.stdout)
    document["metadata"]["component"] |= {"version": version, "type": "container"}
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"{path}: {len(document['components'])} packages, CycloneDX {document['specVersion']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
