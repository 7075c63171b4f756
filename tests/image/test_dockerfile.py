"""What can be seen of the image without building it."""

import re

from image.container import PROJECT

from analyzer.version import __version__

DOCKERFILE = (PROJECT / "Dockerfile").read_text(encoding="utf-8")


def test_version() -> None:
    """A build that is told no version labels the image with this one."""
    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE) == [__version__]


def test_every_stage_starts_from_the_same_base() -> None:
    """The virtual environment links to the Python of the base, so no stage may have another."""
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]


def test_all_that_is_copied_is_sent() -> None:
    """The allow-list of .dockerignore names what the Dockerfile copies, and no more."""
    copies = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    ignore = (PROJECT / ".dockerignore").read_text(encoding="utf-8")

    assert sorted(re.findall(r"^!(.*)$", ignore, re.MULTILINE)) == sorted(" ".join(copies).split())
