"""Attacks on the service, and what they left of it: `make chaos`, or `FORM=--short make chaos`; names choose some.

Each scenario runs on the real process before a real Prometheus. The table says how much was tried in it, what held, and
what was lost; and how long /healthz and /metrics took at most meanwhile. Exit code 1 where anything is lost.
In the short form, which shares its machine with others, times count from four times the promise on.
"""

import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.service_figures import Service
from chaos.rotation import ROTATIONS
from chaos.scenarios import LONG, RECOVERED, SCENARIOS, worker_of
from chaos.stage import PROMISED, staged

HEAD = f"{'scenario':<21}{'tried':>7}{'held':>7}{'lost':>6}{'/healthz':>10}{'/metrics':>10}{'memory':>9}  notes"
MOST_MEBIBYTES = 256
SHARED = 4.0  # times as long may anything take on a machine that others use
TOOK = re.compile(r"recovery took ([\d.]+) s")


def peak(service: Service) -> float:
    """Read the most resident memory of the worker since this was asked last, in MiB."""
    process = Path(f"/proc/{worker_of(service)}")
    status = (process / "status").read_text(encoding="utf-8")
    (process / "clear_refs").write_text("5", encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def main(words: list[str]) -> int:
    """Run the scenarios and print the table."""
    short, names = "--short" in words, [word for word in words if not word.startswith("--")]
    plays = SCENARIOS | ROTATIONS
    chosen = {name: plays[name] for name in names or plays if not short or name in names or name not in LONG}
    broken, began = [], time.monotonic()
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as folder, staged(Path(folder)) as stage:
        for name, play in chosen.items():
            row = play(stage, short)
            memory = peak(stage.service)
            probes = [f"{row.watched[path]:.2f} s" if path in row.watched else "" for path in ("/healthz", "/metrics")]
            print(f"{name:<21}{row.tried:>7,}{row.held:>7,}{row.lost:>6,}{probes[0]:>10}{probes[1]:>10}"
                  f"{memory:>5.0f} MiB  {row.notes}", flush=True)  # fmt: skip
            slack = SHARED if short else 1.0
            late = {
                text for text in row.broken if (took := TOOK.fullmatch(text)) and float(took[1]) <= RECOVERED * slack
            }
            faults = [*(text for text in row.broken if text not in late), *[f"{row.lost} lost"] * bool(row.lost)]
            faults += [
                f"{path} took {seconds:.1f} s" for path, seconds in row.watched.items() if seconds > PROMISED * slack
            ]
            faults += ["memory"] * (memory > MOST_MEBIBYTES)
            broken += [f"{name}: {', '.join(faults)}"] * bool(faults)
        traceback = stage.service.log.count("Traceback")
    broken += [f"{traceback} tracebacks in the log"] * bool(traceback)
    print(f"{len(chosen)} scenarios in {time.monotonic() - began:.0f} s, {len(broken)} not held")
    print("".join(f"  {text}\n" for text in broken), end="")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
