"""The command ``analyzer plan``: how long a rollout will take."""

from typing import TYPE_CHECKING, Any

from cloup import command, option, option_group

from analyzer.cli.manual import FILES, Manual
from analyzer.cli.shared import console, json_option, options_named, policy_option, print_json, read_option
from analyzer.errors import Problem, RequestError

if TYPE_CHECKING:
    from analyzer.config.policy import Policy
    from analyzer.verdict.analysis import Analyzer


@command(
    cls=Manual,
    environment=FILES,
    examples="""
        analyzer plan --rate 10 --weight 5
        analyzer plan --rate 200 --healthy error_rate=0.1% --fault error_rate=2% --fault latency_p99=3%
        analyzer plan --rate 200 --ramp --within 30m
    """,
)
@option_group(
    "The traffic",
    option("--rate", metavar="NUMBER", required=True, help="Requests a second of the whole service."),
    option("--weight", metavar="PERCENT", default="5", show_default=True, help="The canary's part of them."),
)
@option_group(
    "What is assumed",
    policy_option,
    option("--healthy", multiple=True, metavar="CHECK=VALUE", help="Value of a healthy canary: error_rate=0.1%."),
    option("--fault", multiple=True, metavar="CHECK=VALUE", help="Value of a faulty one, up to three a check."),
    option(
        "--conversion",
        metavar="SHARE",
        default="5%",
        show_default=True,
        help="Part of the baseline's requests that convert.",
    ),
    option("--level", multiple=True, metavar="CHECK=RATE", help="The baseline's rate, for rule relative."),
    option(
        "--correlation",
        multiple=True,
        metavar="CHECK=VALUE",
        help="Of requests of the same minute, which `analyzer calibrate` measures.",
    ),
)
@option_group(
    "The steps of a Rollout",
    option("--ramp", is_flag=True, help="Print those that harm least, as YAML to paste; they choose the weights."),
    option(
        "--within",
        metavar="DURATION",
        default="1h",
        show_default=True,
        help="With --ramp: until a healthy canary is to be promoted.",
    ),
)
@option_group("Output", json_option)
def plan(
    rate: str,
    weight: str,
    policy: str | None,
    conversion: str,
    ramp: bool,  # noqa: FBT001
    within: str,
    as_json: bool,  # noqa: FBT001
    **options: Any,
) -> None:
    """Estimate how long each check takes at this traffic.

    For a healthy canary until it passes, for small, medium and large faults until they are rolled back. It computes,
    and asks no source. Values are in the check's unit: a share of failed requests, a share of requests slower than the
    limit of the latency, a PSI, a change against the baseline.

    With --ramp: the weights and pauses at which a faulty canary serves the fewest bad requests until it is rolled back,
    on average over the faults, and a healthy one is promoted in time.
    """
    from analyzer.cli.planning_tables import plan_as_json, print_plan, ramp_as_json, ramp_as_yaml
    from analyzer.config.settings import load_settings
    from analyzer.planning.assumptions import read_assumptions
    from analyzer.planning.forecast import plan as compute
    from analyzer.planning.ramp import ramps
    from analyzer.quantity import parse_number, parse_ratio, parse_seconds
    from analyzer.verdict.wiring import build_analyzer

    analyzer = build_analyzer(load_settings())
    with options_named():
        chosen, share = chosen_policy(analyzer, policy, weight)
        per_second = read_option("rate", parse_number, rate)
        if per_second <= 0:
            raise RequestError([Problem("rate", f"must be above 0, got {rate}: give the requests a second")])
        converting = read_option("conversion", parse_ratio, conversion)
        assumptions = read_assumptions(chosen, options, converting)
        if ramp and policy is not None and policy.lstrip().startswith("{"):
            text = "must be a name with --ramp, because the steps name it; write a file, and set ANALYZER_CONFIG_DIR"
            raise RequestError([Problem("policy", text)])
        if ramp:
            best, usual = ramps(chosen, per_second, read_option("within", parse_seconds, within), assumptions)
        else:
            rows = compute(chosen, per_second, share, assumptions)
    if ramp and as_json:
        print_json(ramp_as_json(best, usual, chosen, per_second))
    elif ramp:
        print(ramp_as_yaml(best, usual, chosen, per_second), end="")
    elif as_json:
        print_json(plan_as_json(rows, chosen, per_second, share))
    else:
        print_plan(rows, chosen, per_second, share, console())


def chosen_policy(analyzer: "Analyzer", policy: str | None, weight: str) -> tuple["Policy", float]:
    """Return the policy and the canary's share of the traffic, read as in a request."""
    from analyzer.config.policy import choose_policy
    from analyzer.model.findings import Role
    from analyzer.verdict.request import parse_request

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
