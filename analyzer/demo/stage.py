"""The demonstration as a whole: start everything, play the scenarios, stop everything."""

import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from analyzer.demo import display
from analyzer.demo.answers import ask
from analyzer.demo.deadline import Deadline, DemoError
from analyzer.demo.interrupts import as_keyboard_interrupt
from analyzer.demo.load import Address, CustomerTraffic, Load
from analyzer.demo.processes import (
    Processes,
    find_prometheus,
    free_port,
    local_session,
    serve_command,
    start_model_servers,
    start_prometheus,
    wait_for,
)
from analyzer.demo.scenarios import SCENARIOS, Scenario
from analyzer.demo.simulated_rollout import Rollout, RolloutEnd, roll_out
from analyzer.demo.time_slices import CountsRecorder

AS_EXPECTED, NOT_AS_EXPECTED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
ServeCommand = Callable[[int], Sequence[str]]
_GRACE_SECONDS = 2.0

_INTRODUCTION = """\
Two versions of a small fraud model are served here, v1 (baseline) and v2 (canary), with real traffic between
them and a real analyzer service that judges v2 by their metrics{source}. Only the part of Argo Rollouts is
simulated: it moves the weight 5, 25, 50, 100%, or back to 0.
"""
_TRY_IT = """\
Everything is stopped again. To ask the service yourself, run this in one terminal
  {command} serve
and this in another:
  curl -s localhost:8080/v1/verdict -H 'content-type: application/json' -d '{{"data": {{"error_rate": {{\
"canary": {{"errors": 14, "requests": 865}}, "baseline": {{"errors": 52, "requests": 16435}}}}}}}}'
"""


@dataclass(frozen=True)
class Stage:
    """What every scenario is played with.

    Parameters
    ----------
    console : where it is shown
    processes : everything that is started
    command : returns the command that starts a service on a given port
    use_prometheus : whether the service reads a Prometheus server
    reports : folder for the report of each scenario; None: none is written
    """

    console: Console
    processes: Processes
    command: ServeCommand
    use_prometheus: bool
    reports: Path | None = None


def run(scenarios: tuple[str, ...], *, use_prometheus: bool, console: Console, reports: Path | None = None) -> int:
    """Play the scenarios and say what happened.

    Parameters
    ----------
    scenarios : keys of `SCENARIOS`, in the order to play
    use_prometheus : the analyzer reads a Prometheus server instead of the model servers themselves
    console : where to show it; plain lines when it is not a terminal
    reports : folder for the report of each scenario; None: none is written

    Returns
    -------
    int : exit code: 0 when every scenario ended as it must, 1 when not or when the time was up,
        2 when Prometheus is wanted but not installed, 130 after Ctrl-C
    """
    return play(scenarios, use_prometheus=use_prometheus, console=console, command=serve_command, reports=reports)


def play(
    scenarios: tuple[str, ...],
    *,
    use_prometheus: bool,
    console: Console,
    command: ServeCommand,
    limit_seconds: float | None = None,
    reports: Path | None = None,
) -> int:
    """Do the same as `run` with any service that `command` starts, within a time limit."""
    if use_prometheus and not find_prometheus():
        _say(console, "There is no prometheus binary on this machine: apt install prometheus")
        return WRONG_USAGE
    if limit_seconds is None:
        limit_seconds = max(60.0, 30.0 * len(scenarios))
    _say(console, _INTRODUCTION.format(source=" (through Prometheus)" if use_prometheus else ""))
    try:
        with _processes(limit_seconds) as processes:
            stage = Stage(console, processes, command, use_prometheus, reports)
            as_expected = [_play_one(stage, scenarios, number) for number in range(len(scenarios))]
    except DemoError as error:
        _say(console, f"[bold red]stopped[/bold red]: {escape(str(error))}")
        return NOT_AS_EXPECTED
    except KeyboardInterrupt:
        _say(console, "[bold]interrupted[/bold]: everything is stopped")
        return INTERRUPTED
    _say(console, escape(_TRY_IT.format(command=_installed_command())))
    return AS_EXPECTED if all(as_expected) else NOT_AS_EXPECTED


def _play_one(stage: Stage, scenarios: tuple[str, ...], number: int) -> bool:
    """Play one scenario and return whether it ended as it must."""
    name = scenarios[number]
    scenario = SCENARIOS[name]
    _say(stage.console, display.describe(name, scenario, number + 1, len(scenarios)))
    processes = stage.processes
    try:
        servers = start_model_servers(processes, {"v1": "none", "v2": scenario.fault})
        service_url = _start_service(stage, servers)
        with local_session() as session, CustomerTraffic(servers["v2"], servers["v1"], Load()) as traffic:
            ask(session, service_url)  # the analyzer sees the counters at zero before there is traffic
            recording = CountsRecorder(service_url)
            with display.show_progress(stage.console) as show, recording if stage.reports else nullcontext():
                rollout = Rollout(traffic, lambda: ask(session, service_url), show, processes.deadline)
                outcome = roll_out(rollout)
            report = _write_report(stage.reports, name, recording) if stage.reports else ""
    finally:
        processes.stop()
    as_expected = _is_expected(scenario, outcome)
    for line in display.conclude(scenario, outcome, as_expected=as_expected):
        _say(stage.console, line)
    _say(stage.console, f"{report}\n" if report else "")
    return as_expected


def _write_report(folder: Path, scenario: str, recording: CountsRecorder) -> str:
    """Write the report of a scenario into the folder for them, and say where."""
    path = folder / f"report-{scenario}.html"
    try:
        recording.write(path)
    except OSError as error:  # as those of requests are
        return f"  [bold red]no report[/bold red]: {escape(str(error))}"
    return f"  the report: {escape(str(path))}"


def _is_expected(scenario: Scenario, outcome: RolloutEnd) -> bool:
    if scenario.failing_check:
        return not outcome.promoted and scenario.failing_check in outcome.answer.failing
    return outcome.promoted


def _start_service(stage: Stage, servers: dict[str, Address]) -> str:
    """Start the analyzer service, wait until it is alive, and return its URL."""
    if stage.use_prometheus:
        source = {
            "ANALYZER_SOURCE": "prometheus",
            "ANALYZER_PROMETHEUS_URL": start_prometheus(stage.processes, servers),
        }
    else:
        targets = (f"{version}=http://{a.host}:{a.port}/metrics" for version, a in servers.items())
        source = {"ANALYZER_SOURCE": "scrape", "ANALYZER_SCRAPE_TARGETS": ",".join(targets)}
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = stage.processes.start("analyzer", stage.command(port), source)
    wait_for(f"{url}/healthz", stage.processes, process)
    return url


@contextmanager
def _processes(limit_seconds: float) -> Iterator[Processes]:
    """Yield the subprocesses; stop them at the end, after Ctrl-C or SIGTERM, and when the time is up."""
    with as_keyboard_interrupt(), tempfile.TemporaryDirectory(prefix="analyzer-demo-") as folder:
        processes = Processes(Path(folder), Deadline.after(limit_seconds))
        # Should a call hang in spite of its own time limit, its other end goes away.
        watchdog = threading.Timer(limit_seconds + _GRACE_SECONDS, processes.stop)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield processes
        finally:
            watchdog.cancel()
            processes.stop()


def _installed_command() -> str:
    """Name the command as it can be typed here: by its path where the shell does not find it."""
    beside_python = Path(sys.executable).with_name("analyzer")
    if shutil.which("analyzer") or not beside_python.exists():
        return "analyzer"
    here = Path.cwd()
    return str(beside_python.relative_to(here) if beside_python.is_relative_to(here) else beside_python)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
