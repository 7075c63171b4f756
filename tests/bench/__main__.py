"""All measured figures, one after the other: `python tests/bench`. Ends with 1 when one is not met."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FIGURES = {
    "Judging": "judging_time.py",
    "The service": "service_figures.py",
    "A verdict over a real Prometheus": "verdict_latency.py",
}


def main() -> None:
    """Run every script and pass on what it prints."""
    failed = []
    for title, name in FIGURES.items():
        print(f"\n{title} (tests/bench/{name})", flush=True)
        if subprocess.run([sys.executable, HERE / name], check=False).returncode != 0:
            failed.append(name)
    print(f"\nnot met: {', '.join(failed)}" if failed else "\nall met")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
