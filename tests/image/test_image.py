"""The container image, built on a plain Debian and run as the Deployment runs it: see container.py for how."""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from image.container import BASE, IMAGE, SECRETS, Builder, Container, Image, missing

from analyzer.version import __version__

VENV = "opt/analyzer"
MOST_MEGABYTES = 230  # of what the image adds to its base
SECONDS_TO_END = 5

# The whole file at once, for one line says it.
if os.environ.get("ANALYZER_REQUIRE_IMAGE") != "1":
    pytest.skip(
        "builds and runs the image, as root and in minutes: `make image-test`, or ANALYZER_REQUIRE_IMAGE=1",
        allow_module_level=True,
    )

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def builder() -> Builder:
    """Make the base, once a machine."""
    if problem := missing():
        pytest.fail(f"ANALYZER_REQUIRE_IMAGE is set, but {problem}")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = Path(os.environ.get("IMAGE_TEST_CACHE") or caches / "rollout-analyzer" / "image")
    cache.mkdir(parents=True, exist_ok=True)
    builder = Builder(cache.resolve())
    builder.make_base()
    return builder


@pytest.fixture(scope="session")
def image(builder: Builder) -> Iterator[Image]:
    """Build the image."""
    began = time.monotonic()
    builder.build()
    seconds = time.monotonic() - began
    try:
        with builder.mounted(IMAGE) as root:
            yield Image(root, builder.inspect(IMAGE), seconds)
    finally:
        builder.remove()


@pytest.fixture(scope="session")
def service(image: Image) -> Iterator[Container]:
    """Start the service by the image's own command."""
    with image.running() as container:
        container.wait_until_alive()
        yield container


# What is recorded


def test_configuration(image: Image) -> None:
    """It serves on every interface, as a user whose number Kubernetes can tell from root's."""
    config = image.config

    assert config["Entrypoint"] == ["analyzer"]
    assert config["Cmd"] == ["serve", "--host", "0.0.0.0", "--port", "8080"]
    assert config["User"] == "65532:65532"
    assert list(config["ExposedPorts"]) == ["8080/tcp"]


def test_labels(image: Image) -> None:
    """The labels say what it is, and in which version."""
    labels = image.config["Labels"]

    assert labels["org.opencontainers.image.title"] == "rollout-analyzer"
    assert labels["org.opencontainers.image.description"]
    assert labels["org.opencontainers.image.version"] == __version__


def test_no_secret_is_recorded(image: Image) -> None:
    """The machine's way to the packages leaves no trace: neither a file nor a word of it."""
    recorded = str(image.record)
    secrets = [Path(path).read_text(encoding="utf-8") for path in SECRETS.values() if Path(path).is_file()]
    lines = {line.strip() for text in secrets for line in text.splitlines()}

    assert not [line for line in lines if len(line) > 20 and line in recorded]
    assert not [name for name in ("etc/pip.conf", "run/secrets") if (image.root / name).exists()]


# What is in it


def test_only_the_environment_is_added(builder: Builder, image: Image) -> None:
    """Beside the virtual environment there is nothing new but compiled modules of the standard library."""
    with builder.mounted(BASE) as base:
        before = {path.relative_to(base) for path in base.rglob("*")}
    after = {path.relative_to(image.root) for path in image.root.rglob("*")}

    added = {str(path) for path in after - before if not path.is_relative_to(VENV)}

    # buildah leaves empty files where it mounted its own.
    empty = {"etc/hosts", "etc/resolv.conf"}
    assert {path for path in added if "__pycache__" not in path} <= {VENV} | empty
    assert not [path for path in added & empty if (image.root / path).stat().st_size]


def test_no_tools(image: Image) -> None:
    """Whoever gets in finds nothing there to install or to build with."""
    tools = ("pip", "setuptools", "wheel", "uv", "hatchling", "pytest", "mypy", "ruff")
    installed = {path.name.split("-")[0].lower() for path in (image.root / VENV).glob("lib/*/site-packages/*")}
    programs = {path.name for folder in ("usr/bin", f"{VENV}/bin") for path in (image.root / folder).iterdir()}

    assert not installed & set(tools)
    assert not programs & {"pip", "pip3", "gcc", "cc", "g++", "make", "ld", "curl", "wget", "git"}
    assert not list((image.root / VENV).rglob("tests"))


def test_nothing_can_be_changed_or_raised(image: Image) -> None:
    """All files are root's, nobody else may write them, and none lends the rights of its owner."""
    raised = stat.S_ISUID | stat.S_ISGID | stat.S_IWGRP | stat.S_IWOTH
    files = {path: path.lstat() for path in (image.root / VENV).rglob("*") if not path.is_symlink()}

    assert files
    assert not [path for path, found in files.items() if found.st_uid or found.st_gid or found.st_mode & raised]


def test_all_is_compiled(image: Image) -> None:
    """Every module has its bytecode, marked to be used whatever the times of the files are (PEP 552)."""
    modules = [path for path in (image.root / VENV / "lib").rglob("*.py") if path.stem.isidentifier()]
    compiled = [next((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"), None) for path in modules]

    assert not [path for path, found in zip(modules, compiled, strict=True) if found is None]
    assert {path.read_bytes()[4:8] for path in compiled if path is not None} == {b"\x01\0\0\0"}


def test_size(builder: Builder, image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    """It stays small."""
    files = {found.st_ino: found.st_size for found in (path.lstat() for path in (image.root / VENV).rglob("*"))}
    added = sum(files.values()) / 1e6
    sizes = builder.buildah("images", "--format", "{{.Name}}:{{.Tag}} {{.Size}}").strip().replace("\n", ", ")
    with capsys.disabled():
        print(f"\nbuilt in {image.seconds_to_build:.0f} s; adds {added:.0f} MB; {sizes}")

    assert added < MOST_MEGABYTES


# What it does


def test_alive(service: Container) -> None:
    """The service is alive, in the version of this tree."""
    assert service.ask("/healthz") == (200, {"status": "alive", "version": __version__})


def test_rights(service: Container) -> None:
    """It runs with no right at all: not as root, with no capability, and it can change no file outside /tmp."""
    status = dict(line.split(":\t", 1) for line in service.run("cat", "/proc/1/status").stdout.splitlines())

    assert set(status["Uid"].split()) | set(status["Gid"].split()) == {"65532"}
    assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0000000000000000"}
    assert "Read-only file system" in service.run("touch", f"/{VENV}/file").stderr
    assert service.run("touch", "/tmp/file").returncode == 0


@pytest.mark.parametrize(("errors", "expected"), [(0, "pass"), (200, "fail")])
def test_verdict(service: Container, errors: int, expected: str) -> None:
    """A healthy canary passes and a broken one fails, on counts in the request."""
    arms = {"canary": {"errors": errors, "requests": 5000}, "baseline": {"errors": 5, "requests": 5000}}

    status, answer = service.ask("/v1/verdict", {"checks": "error_rate", "data": {"error_rate": arms}})

    assert (status, answer["verdict"]) == (200, expected)


def test_every_kind_of_check(service: Container) -> None:
    """All that the checks compute with is there: histograms, classes, sums."""
    scores, sales = {"classes": {"fraud": 500, "ok": 9500}}, {"successes": 4000, "trials": 10000}
    data = {
        "latency_p99": {"canary": {"buckets": {"0.1": 9000, "0.2": 9990, "0.5": 10000, "+Inf": 10000}}},
        "prediction_drift": {"canary": scores, "baseline": scores},
        "business_proxy": {"canary": sales, "baseline": sales},
    }

    status, answer = service.ask("/v1/verdict", {"checks": sorted(data), "data": data})

    assert (status, sorted(answer["checks"])) == (200, sorted(data))


def test_health_check(image: Image, service: Container) -> None:
    """The image's own health check agrees, even where a proxy is set."""
    kind, *command = image.config["Healthcheck"]["Test"]

    done = service.run("env", "http_proxy=http://127.0.0.1:9", *command)

    assert (kind, done.returncode, done.stderr) == ("CMD", 0, "")


def test_health_check_of_what_is_not_alive(image: Image) -> None:
    """Where nobody listens the health check says so."""
    with image.running("sleep", "60") as container:
        assert container.run(*image.config["Healthcheck"]["Test"][1:]).returncode == 1


@pytest.mark.parametrize("shared_memory", [True, False], ids=["with /dev/shm", "with /tmp only"])
def test_end(image: Image, capsys: pytest.CaptureFixture[str], *, shared_memory: bool) -> None:
    """SIGTERM ends it soon and in order."""
    with image.running(shared_memory=shared_memory) as container:
        seconds = container.wait_until_alive()
        with capsys.disabled():
            print(f"\nalive after {seconds:.1f} s")
        began = time.monotonic()

        code, written = container.terminate()

        assert (code, "Traceback" in written) == (0, False)
        assert time.monotonic() - began < SECONDS_TO_END


def test_other_commands(image: Image) -> None:
    """The other commands work as well, on a root that is read-only."""
    with image.running("analyzer", "--version") as container:
        assert container.end() == (0, "")
    with image.running("analyzer", "check-config") as container:
        assert container.end() == (0, "")


def test_wrong_settings(image: Image) -> None:
    """A setting that is wrong ends it at once, with a message and without a loop of restarted workers."""
    with image.running(variables={"ANALYZER_POLICY": "strange"}) as container:
        code, written = container.end()

    assert code == 2
    assert "ANALYZER_POLICY" in written
