"""Serves ray_serve_app.py on a Ray cluster of its own, as `serve run` does, on ports that can be chosen."""

import sys
import time
from pathlib import Path

import ray
from ray import serve

TRIES = 3


def start(metrics_port: int) -> None:
    """Start a cluster; again where its agent took longer than the 15 s that Ray gives it, as on a busy machine."""
    for left in reversed(range(TRIES)):
        try:
            ray.init(
                address="local",
                num_cpus=2,
                include_dashboard=False,
                object_store_memory=100 * 2**20,
                _metrics_export_port=metrics_port,
                _temp_dir=str(Path.cwd()),
                _system_config={"metrics_report_interval_ms": 1000},  # by default metrics are up to 10 s old
            )
        except Exception:
            if not left:
                raise
            ray.shutdown()
        else:
            return


http, metrics = map(int, sys.argv[1:])
start(metrics)
serve.start(http_options={"host": "127.0.0.1", "port": http})

from ray_serve_app import app  # noqa: E402 - as serve run, which imports it when the cluster is there

serve.run(app)
while True:
    time.sleep(60)
