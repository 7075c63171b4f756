"""The command ``analyzer``: serve, verdict, check-config, profiles, doctor, rollout, plan, calibrate, demo."""

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from analyzer.errors import AnalyzerError, Problem, RequestError, SourceError
from analyzer.rollout.commands import rollout
from analyzer.version import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from analyzer.analysis import Analyzer
    from analyzer.judge import Verdict
    from analyzer.policy import Policy

SCENARIOS = ("healthy", "errors", "slow", "drift", "business")
EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 3}
SOURCE_UNAVAILABLE = 4
WRONG_USAGE = 2
TOO_MANY_FALSE_ALARMS = 1
UNEXPECTED = 70
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="analyzer")
def cli() -> None:
    """Is the canary model healthy? Verdicts for Argo Rollouts that are right at every look.

    Settings come from environment variables that begin with ANALYZER_; `analyzer check-config` lists them.
    """


cli.add_command(rollout)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
def serve(host: str, port: int) -> None:
    """Serve verdicts over HTTP (gunicorn, one worker with threads).

    The settings of the environment say where counts come from. SIGTERM answers what is in flight, then ends.
    """
    from analyzer.web.server import serve as run

    run(host, port)


@cli.command()
@click.option("--file", "-f", "file", type=click.File("rb"), help="Request as JSON; - reads standard input.")
@click.option("--service", help="What is being rolled out.")
@click.option("--namespace", help="Its namespace; left out: any.")
@click.option("--canary", help="What tells the canary apart: with Argo, its pod template hash.")
@click.option("--baseline", help="The same for the baseline.")
@click.option("--profile", help="Which metrics to read.")
@click.option("--policy", help="Name of a policy, or a JSON object of overrides.")
@click.option("--checks", help="Which checks to run, comma-separated; default all.")
@click.option("--window", help="start (default), step (a pass is proved at the present weight), or a duration: 5m.")
@click.option("--weight", help="The canary's traffic weight in percent, to compare the observed split with.")
@click.option("--start", help="Begin of the data: RFC 3339 or Unix seconds.")
@click.option("--at", help="Moment to judge at: RFC 3339 or Unix seconds; default now.")
@click.option("--detail", type=click.Choice(["summary", "full"]), help="How much the JSON answer says.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON answer instead of a table.")
def verdict(file: Any, as_json: bool, **flags: str | None) -> None:  # noqa: FBT001 - click calls by name
    """Judge a canary once, and say so by the exit code.

    The request comes from a file, from standard input or from the flags, which override fields of the file.

    \b
    Exit codes: 0 pass, 1 fail, 3 inconclusive, 4 the source is unavailable, 2 wrong usage.

    \b
    Examples:
      analyzer verdict --service fraud-detector --canary 6d8f9c7b5d --baseline 75d4f8b9c8
      analyzer verdict --file request.json --json
      echo '{"checks": "error_rate", "data": {"error_rate": {"canary": {"errors": 0, "requests": 2000}}}}' |
        analyzer verdict -f -
    """
    import orjson

    from analyzer.answer import render
    from analyzer.request import parse_request
    from analyzer.settings import build_analyzer, load_settings

    body = _read_body(file) | {name: value for name, value in flags.items() if value is not None}
    if not body:
        raise click.UsageError("nothing to judge: give --file, or at least --service and --canary")
    request = parse_request(body)
    found = build_analyzer(load_settings()).verdict(request)
    if as_json:
        answer = orjson.dumps(render(found, request.detail), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        click.echo(answer, nl=False)
    else:
        _print_verdict(found, _console())
    sys.exit(_exit_code(found))


@cli.command("check-config")
def check_config() -> None:
    """Check settings, policies and profiles, and warn of limits that a profile's buckets cannot resolve.

    Exit codes: 0 valid, 2 wrong.
    """
    from analyzer.configcheck import report
    from analyzer.settings import build_analyzer, load_settings

    settings = load_settings()
    report(settings, build_analyzer(settings), _console())


@cli.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def profiles(name: str | None, as_json: bool) -> None:  # noqa: FBT001 - click calls by name
    """List the profiles, or explain one: what it reads, what it cannot tell, where its facts come from.

    Those of the folder ANALYZER_CONFIG_DIR are among them.

    \b
    Examples:
      analyzer profiles
      analyzer profiles triton
    """
    from analyzer.catalogue import details, print_details, print_summaries, summary
    from analyzer.profile import choose_profile, load_profiles
    from analyzer.settings import load_settings

    folder = load_settings().config_dir
    loaded = load_profiles(folder / "profiles" if folder else None)
    if name is not None:
        chosen = choose_profile(loaded, name)
        if as_json:
            _print_json(details(chosen))
        else:
            print_details(chosen, _console())
    elif as_json:
        _print_json({"profiles": [summary(loaded[one]) for one in sorted(loaded)]})
    else:
        print_summaries(loaded, _console())


@cli.command()
@click.option("--service", required=True, help="What will be rolled out.")
@click.option("--canary", help="What tells the canary apart: with Argo, its pod template hash; left out: none yet.")
@click.option("--baseline", help="The same for the baseline; with neither, the values to choose from are listed.")
@click.option("--namespace", help="Its namespace; left out: any.")
@click.option("--profile", help="Which metrics to read.")
@click.option("--policy", help="Name of a policy, or a JSON object of overrides.")
@click.option("--checks", help="Which checks to look at, comma-separated; default all.")
@click.option("--window", default="1h", show_default=True, help="How much of the past to look at.")
@click.option("--at", help="Its end: RFC 3339 or Unix seconds; default now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def doctor(as_json: bool, **fields: str | None) -> None:  # noqa: FBT001 - click calls by name
    """Try a profile on your Prometheus before any rollout: what is there, what is missing, what to change.

    Without --canary and --baseline it lists what can be given there. It needs the source prometheus.

    \b
    Exit codes: 0 all that the policy needs is there, 1 something is missing, 4 the source is unavailable,
    2 wrong usage.

    \b
    Examples:
      analyzer doctor --service fraud-detector --namespace ml
      analyzer doctor --service fraud-detector --namespace ml --baseline 75d4f8b9c8 --canary 6d8f9c7b5d
    """
    from analyzer.doctor import run

    with _options_named():
        code = run(fields, _console(), json=as_json)
    sys.exit(code)


@cli.command()
@click.option("--rate", required=True, help="Requests a second of the whole service.")
@click.option("--weight", default="5", show_default=True, help="The canary's part of them, in percent.")
@click.option("--policy", help="Name of a policy, or a JSON object of overrides.")
@click.option("--healthy", multiple=True, metavar="CHECK=VALUE", help="Value of a healthy canary: error_rate=0.1%.")
@click.option("--fault", multiple=True, metavar="CHECK=VALUE", help="Value of a faulty one, up to three a check.")
@click.option("--conversion", default="5%", show_default=True, help="Part of the baseline's requests that convert.")
@click.option("--level", multiple=True, metavar="CHECK=RATE", help="The baseline's rate, for rule relative.")
@click.option("--correlation", multiple=True, metavar="CHECK=VALUE", help="Of requests of a minute, see calibrate.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def plan(rate: str, weight: str, policy: str | None, conversion: str, as_json: bool, **options: Any) -> None:  # noqa: FBT001
    """Tell, before a rollout, about how long each check will take at this traffic.

    Values are in the check's unit: a share of failed requests, a share of requests slower than the limit of the
    latency, a PSI, a change against the baseline.

    \b
    Examples:
      analyzer plan --rate 10 --weight 5
      analyzer plan --rate 200 --healthy error_rate=0.1% --fault error_rate=2% --fault latency_p99=3%
    """
    from analyzer.planning.assumptions import read_assumptions
    from analyzer.planning.plan import plan as compute
    from analyzer.planning.tables import plan_as_json, print_plan
    from analyzer.quantity import parse_number, parse_ratio
    from analyzer.settings import build_analyzer, load_settings

    analyzer = build_analyzer(load_settings())
    with _options_named():
        chosen, share = _asked(analyzer, policy, weight)
        per_second = _read_option("rate", parse_number, rate)
        if per_second <= 0:
            raise RequestError([Problem("rate", f"must be above 0, got {rate}: give the requests a second")])
        converting = _read_option("conversion", parse_ratio, conversion)
        rows = compute(chosen, per_second, share, read_assumptions(chosen, options, converting))
    if as_json:
        _print_json(plan_as_json(rows, chosen, per_second, share))
    else:
        print_plan(rows, chosen, per_second, share, _console())


@cli.command()
@click.option("--service", required=True, help="Whose past is read.")
@click.option("--baseline", required=True, help="What tells its pods apart: with Argo, the pod template hash.")
@click.option("--namespace", help="Its namespace; left out: any.")
@click.option("--profile", help="Which metrics to read.")
@click.option("--policy", help="Name of a policy, or a JSON object of overrides.")
@click.option("--weight", default="5", show_default=True, help="The pretend canary's part of the traffic, in percent.")
@click.option("--history", default="24h", show_default=True, help="How much of the past to read.")
@click.option("--length", default="1h", show_default=True, help="How long a pretend rollout lasts.")
@click.option("--runs", default=200, show_default=True, type=click.IntRange(1, 100_000), help="How many to pretend.")
@click.option("--at", help="End of the past: RFC 3339 or Unix seconds; default now.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="The same gives the same.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def calibrate(history: str, length: str, runs: int, seed: int, as_json: bool, **fields: str | None) -> None:  # noqa: FBT001
    """Try a policy on the service's own past, where canary and baseline are the same (A/A).

    The past of the baseline is split many times into a pretend canary and a baseline, and judged as a real rollout
    is. What is rolled back is a false alarm. It needs the source prometheus.

    \b
    Exit codes: 0 no more false alarms than alpha allows, 1 significantly more, 4 the source is unavailable,
    2 wrong usage.

    \b
    Example:
      analyzer calibrate --service fraud-detector --baseline 75d4f8b9c8 --history 24h --length 1h
    """
    from analyzer.planning.calibration import calibrate as compute
    from analyzer.planning.past import read_past_of
    from analyzer.planning.tables import calibration_as_json, print_calibration
    from analyzer.settings import build_analyzer, load_settings

    analyzer = build_analyzer(load_settings())
    with _options_named():
        chosen, share = _asked(analyzer, fields.pop("policy"), fields.pop("weight") or "")
        minutes, back = _minutes("length", length), _minutes("history", history)
        try:
            past = read_past_of(analyzer, chosen, fields, back, _watched("reading the past"))
        except SourceError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(SOURCE_UNAVAILABLE)
        watch = _watched("pretend rollouts")
        found = compute(chosen, past, share=share, length=minutes, runs=runs, seed=seed, watch=watch)
    if as_json:
        _print_json(calibration_as_json(found))
    else:
        print_calibration(found, _console())
    sys.exit(TOO_MANY_FALSE_ALARMS if found.whole.too_many else 0)


@cli.command()
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice(SCENARIOS),
    help="What to play; may be given several times. Default: healthy, then errors.",
)
@click.option("--prometheus", "use_prometheus", is_flag=True, help="Read from a real Prometheus instead of the pods.")
def demo(scenarios: tuple[str, ...], use_prometheus: bool) -> None:  # noqa: FBT001
    """Watch a good model version being promoted and a bad one being caught, on this machine.

    Two versions of a small model are served, traffic is sent to both, and a simulated rollout asks the real
    analyzer between its steps. It takes less than a minute and needs neither network nor Kubernetes.
    """
    from analyzer.demo import DEFAULT_SCENARIOS, run

    sys.exit(run(scenarios or DEFAULT_SCENARIOS, use_prometheus=use_prometheus, console=_console()))


def main() -> None:
    """Run the command; code 1 is an answer (a failed canary, false alarms, something missing), never an error."""
    try:
        sys.exit(cli.main(standalone_mode=False))
    except AnalyzerError as error:
        where = getattr(error, "where", "")
        for problem in getattr(error, "problems", [error]):
            line = f"Error: {where + ': ' if where else ''}{problem}"
            click.echo(" ".join(line.split()), err=True)  # a YAML parser says where in several lines
        sys.exit(WRONG_USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(WRONG_USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except OSError as error:  # such as a full disk behind standard output
        click.echo(f"Error: input or output failed: {error.strerror}", err=True)
        os._exit(WRONG_USAGE)  # without another attempt to write what is left
    except Exception:  # noqa: BLE001 - Python's own code for these would be 1
        traceback.print_exc()
        os._exit(UNEXPECTED)


def _console() -> "Console":
    """Build the console for people; NO_COLOR is taken to mean no escape codes at all."""
    from rich.console import Console

    return Console(color_system=None if os.environ.get("NO_COLOR") else "auto")


def _watched(what: str) -> Callable[[Sequence[int]], Iterable[int]]:
    """Show the progress on standard error, if that is a terminal."""

    def watch(numbers: Sequence[int]) -> Iterable[int]:
        if not sys.stderr.isatty():
            return numbers
        from rich.console import Console
        from rich.progress import track

        return track(numbers, description=what, console=Console(stderr=True), transient=True)

    return watch


@contextmanager
def _options_named() -> Iterator[None]:
    """Name options where a request would name its fields."""
    try:
        yield
    except RequestError as error:
        named = [replace(one, field=f"--{one.field}" if one.field else "") for one in error.problems]
        raise RequestError(named) from error


def _asked(analyzer: "Analyzer", policy: str | None, weight: str) -> tuple["Policy", float]:
    """Read the policy and the canary's share of the traffic, as a verdict does."""
    from analyzer.model import Role
    from analyzer.policy import choose_policy
    from analyzer.request import parse_request

    request = parse_request({"data": {}, "weight": weight, **({} if policy is None else {"policy": policy})})
    if request.share is None:
        raise RequestError([Problem("weight", f"must be above 0 and below 100 percent, got {weight}")])
    wanted = request.policy or analyzer.default_policy
    chosen = choose_policy(dict(analyzer.policies), wanted, analyzer.default_policy)
    if chosen.role is not Role.GATE:
        raise RequestError(
            [Problem("policy.role", "is that of one stage, and this is about all of them; leave it out")]
        )
    return chosen, request.share


def _read_option(name: str, read: Callable[[object], float], text: str) -> float:
    try:
        return read(text)
    except ValueError as error:
        raise RequestError([Problem(name, str(error))]) from error


def _minutes(name: str, text: str) -> int:
    """Read a duration in whole minutes, at least one."""
    from analyzer.quantity import parse_seconds

    minutes = round(_read_option(name, parse_seconds, text) / 60)
    if minutes < 1:
        raise RequestError([Problem(name, f"must be a minute or longer, such as 1h, got {text[:40]!r}")])
    return minutes


def _print_json(answer: dict[str, Any]) -> None:
    import orjson

    click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE), nl=False)


def _read_body(file: Any) -> dict[str, Any]:
    import orjson

    if file is None:
        return {}
    try:
        body = orjson.loads(file.read())
    except orjson.JSONDecodeError as error:
        raise RequestError([Problem("", f"the file is not valid JSON: {error}")]) from error
    if not isinstance(body, dict):
        raise RequestError([Problem("", "the file must hold a JSON object")])
    return body


def _exit_code(found: "Verdict") -> int:
    from analyzer.model import Code, Outcome

    unavailable = any(finding.code is Code.SOURCE_UNAVAILABLE for finding in found.findings.values())
    if found.outcome is Outcome.INCONCLUSIVE and unavailable:
        return SOURCE_UNAVAILABLE
    return EXIT_CODES[found.outcome.value]


def _print_verdict(found: "Verdict", console: "Console") -> None:
    from rich.table import Column, Table
    from rich.text import Text

    colours = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
    console.print(Text.assemble((found.outcome.value, f"bold {colours[found.outcome.value]}"), f"  {found.reason}"))
    others = [Column(name, overflow="fold") for name in ("finding", "promote", "roll back", "evidence", "why")]
    table = Table(Column("check", no_wrap=True), *others, box=None, pad_edge=False)
    for name, finding in found.findings.items():
        check = found.policy.checks[name]
        outcome = finding.outcome.value
        towards = finding.evidence
        table.add_row(
            Text(name),
            Text(outcome, style=colours[outcome]),
            check.shown(finding.promote),
            check.shown(finding.rollback),
            f"pass {min(towards.towards_pass, 9.99):.0%}, fail {min(towards.towards_fail, 9.99):.0%}",
            Text("; ".join([finding.reason, *finding.notes])),
        )
    console.print(table)
