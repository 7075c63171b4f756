"""The request of `verdict`, `report` and `replay`: read from a file and from options; the verdict as an exit code."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from cloup import option, option_group

from analyzer.cli.shared import SOURCE_UNAVAILABLE, policy_option, profile_option
from analyzer.errors import Problem, RequestError

if TYPE_CHECKING:
    from analyzer.verdict.judge import Verdict

EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 3}
CANARY = "What tells the canary apart: with Argo, its pod template hash."

labels_option = option(
    "--labels", metavar="LABELS", help="Further labels of every series, such as cluster=eu,region=west."
)
which_canary = option_group(
    "Which canary",
    option("--file", "-f", "file", type=click.File("rb"), help="Request as JSON; - reads standard input."),
    option("--service", metavar="NAME", help="What is being rolled out."),
    option("--namespace", metavar="NAME", help="Its namespace; left out: any."),
    option("--canary", metavar="NAME", help=CANARY),
    option("--baseline", metavar="NAME", help="The same for the baseline; left out: nothing is compared."),
    labels_option,
    profile_option,
)
how_judged = option_group(
    "How it is judged",
    policy_option,
    option("--checks", metavar="NAMES", help="Which checks of the policy, comma-separated; default all."),
    option(
        "--window",
        metavar="WINDOW",
        help="start (default), step (a pass is proved at the present weight), or a duration such as 5m.",
    ),
    option("--weight", metavar="PERCENT", help="The canary's traffic weight, to compare the observed split with."),
    option("--start", metavar="MOMENT", help="Start of the data, RFC 3339 or Unix seconds; default: found."),
    option("--at", metavar="MOMENT", help="When to judge, RFC 3339 or Unix seconds; default now."),
)


def read_body(file: Any, flags: Mapping[str, str | None], nothing: str) -> dict[str, Any]:
    """Read a request from a file, and the options over it.

    Parameters
    ----------
    flags : by field of the request; None: not given
    nothing : what to say where neither gives anything
    """
    import orjson

    body: object = {}
    if file is not None:
        try:
            body = orjson.loads(file.read())
        except orjson.JSONDecodeError as error:
            raise RequestError([Problem("", f"the file is not valid JSON: {error}")]) from error
    if not isinstance(body, dict):
        raise RequestError([Problem("", "the file must hold a JSON object")])
    whole = body | {name: value for name, value in flags.items() if value is not None}
    if not whole:
        raise click.UsageError(f"{nothing}: give --file, or at least --service and --canary")
    return whole


def exit_code(verdict: "Verdict") -> int:
    """Return the exit code of a verdict."""
    from analyzer.model.findings import Code, Outcome

    unavailable = any(finding.code is Code.SOURCE_UNAVAILABLE for finding in verdict.findings.values())
    if verdict.outcome is Outcome.INCONCLUSIVE and unavailable:
        return SOURCE_UNAVAILABLE
    return EXIT_CODES[verdict.outcome.value]
