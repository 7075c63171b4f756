"""The command ``analyzer check-config``: validate the configuration and list it."""

from cloup import command

from analyzer.cli.manual import Manual
from analyzer.cli.shared import console


@command(
    "check-config",
    cls=Manual,
    exits={0: "valid", 2: "wrong"},
    environment={"ANALYZER_...": "the settings, which it lists"},
    examples="""
        analyzer check-config
        ANALYZER_CONFIG_DIR=./config analyzer check-config
    """,
)
def check_config() -> None:
    """Check settings, policies and profiles, and list them.

    It reads what the service would read, refuses what it would refuse, and warns of limits that the buckets of a
    profile cannot resolve. It asks no source: that is what `analyzer doctor` does.
    """
    from analyzer.cli.config_table import report
    from analyzer.config.settings import load_settings
    from analyzer.verdict.wiring import build_analyzer

    settings = load_settings()
    report(settings, build_analyzer(settings), console())
