"""All measured figures, one after the other: `python tests/bench`. Ends with 1 when one is not met.

With `--short` the verdicts are simulated in a minute instead of a quarter of an hour, nothing is written, and the
times to judge and to report may be longer by half, for machines that others use too.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FIGURES = {
    "Judging": "judging_time.py",
    "The service": "service_figures.py",
    "A verdict over a real Prometheus": "verdict_latency.py",
    "A report": "report_figures.py",
    "Verdicts, simulated": "simulation",
    "Verdicts on dependent requests, simulated": "processes",
}


def main() -> None:
    """Run every script and pass on what it prints."""
    failed = []
    short = ["--short"] if "--short" in sys.argv[1:] else []
    for title, name in FIGURES.items():
        print(f"\n{title} (tests/bench/{name})", flush=True)
        options = short if name in ("simulation", "processes", "judging_time.py", "report_figures.py") else []
        if subprocess.run([sys.executable, HERE / name, *options], check=False).returncode != 0:
            failed.append(name)
    print(f"\nnot met: {', '.join(failed)}" if failed else "\nall met")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
