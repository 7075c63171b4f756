"""The command ``analyzer profiles``: list and explain profiles."""

from cloup import argument, command

from analyzer.cli.completion import complete_profiles
from analyzer.cli.manual import FILES, Manual
from analyzer.cli.shared import console, json_option, print_json


@command(
    cls=Manual,
    environment=FILES,
    examples="""
        analyzer profiles
        analyzer profiles triton
    """,
)
@argument("name", required=False, shell_complete=complete_profiles)
@json_option
def profiles(name: str | None, as_json: bool) -> None:  # noqa: FBT001 - click calls by name
    """List the profiles, or explain one.

    A profile says which metrics of a model server, mesh or ingress are read. With its NAME it is explained: what it
    reads, what it cannot tell, and where its facts come from.
    """
    from analyzer.cli.profile_list import details, print_details, print_summaries, summary
    from analyzer.config.profile import choose_profile, load_profiles
    from analyzer.config.settings import load_settings

    folder = load_settings().config_dir
    loaded = load_profiles(folder / "profiles" if folder else None)
    if name is not None:
        chosen = choose_profile(loaded, name)
        if as_json:
            print_json(details(chosen))
        else:
            print_details(chosen, console())
    elif as_json:
        print_json({"profiles": [summary(loaded[known]) for known in sorted(loaded)]})
    else:
        print_summaries(loaded, console())
