"""The command ``analyzer serve``: the HTTP service."""

import click
from cloup import command, option

from analyzer.cli.manual import FILES, SOURCE, Manual


@command(
    cls=Manual,
    environment=SOURCE | FILES | {"ANALYZER_...": "all others: `analyzer check-config` lists them"},
    examples="""
        analyzer serve
        ANALYZER_SOURCE=prometheus ANALYZER_PROMETHEUS_URL=http://prometheus:9090 analyzer serve
    """,
)
@option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
def serve(host: str, port: int) -> None:
    """Serve verdicts over HTTP.

    Argo Rollouts asks at /v1/verdict; a browser finds a form, reports and the description of the API at /. The server
    is gunicorn, one worker with threads. SIGTERM answers what is in flight, then ends.
    """
    from analyzer.web.server import serve as run

    run(host, port)
