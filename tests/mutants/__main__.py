"""Put faults of one line each into a copy of the tree and see whether the tests notice: `make mutants`.

Ends with 1 where more than 5% survive, where the tests named do not pass without a fault, or where a fault no longer
fits the code: its old text must be there once. Words on the command line choose the mutants whose file or text has one.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from listed import MUTANTS, Mutant

PROJECT = Path(__file__).parents[2]
MOST_ALIVE = 0.05
SECONDS = 900  # for the tests of a mutant; all of them together may take three times as long
AT_ONCE = int(os.environ.get("WORKERS", "2"))
PASSED, FAILED, LATE = 0, 1, -1


def main(words: list[str]) -> int:
    """Run the mutants, print those that survive at once, then the numbers."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in str(mutant) for word in words)]
    if wrong := [mutant for mutant in chosen if (PROJECT / mutant.file).read_text().count(mutant.old) != 1]:
        for mutant in wrong:
            print(f"{mutant.file}: {mutant.old!r} is not there once: write the mutant anew")
        return 1
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(AT_ONCE):
            copies.put(_copy(Path(folder) / str(number)))
        files = sorted({file for mutant in chosen for file in mutant.tests.split()})
        copy = copies.get()
        if (code := _test(copy, files, "-n", str(AT_ONCE), seconds=3 * SECONDS)) != PASSED:
            print(f"without any mutant pytest ends with {code}: {' '.join(files)}")
            return 1
        copies.put(copy)

        def survives(mutant: Mutant) -> bool:
            copy = copies.get()
            try:
                path = copy / mutant.file
                source = path.read_text()
                path.write_text(source.replace(mutant.old, mutant.new))
                code = _test(copy, mutant.tests.split())
                path.write_text(source)
            finally:
                copies.put(copy)
            if code != FAILED:
                how = {PASSED: "survived", LATE: "killed without an end"}.get(code, f"pytest ended with {code}")
                print(f"{how}: {mutant}{f' ({mutant.equivalent})' if mutant.equivalent else ''}", flush=True)
            return code not in (FAILED, LATE)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            alive = [mutant for mutant, lives in zip(chosen, pool.map(survives, chosen), strict=True) if lives]
    print(f"{len(chosen) - len(alive)} of {len(chosen)} mutants killed in {time.monotonic() - began:.0f} s")
    return 1 if len(alive) > MOST_ALIVE * len(chosen) or not chosen else 0


def _copy(folder: Path) -> Path:
    """Copy what the tests need."""
    ignored = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "__pycache__", ".hypothesis", "dist")
    return Path(shutil.copytree(PROJECT, folder, ignore=ignored))


def _test(copy: Path, files: list[str], *options: str, seconds: float = SECONDS) -> int:
    """Run test files on a copy until the first failure; pytest's exit code, or `LATE`."""
    without = "not (statistical or prometheus or victoriametrics or argo)"
    words = [sys.executable, "-B", "-m", "pytest", "-qx", "-p", "no:cacheprovider", "-m", without, *options, *files]
    environment = {**os.environ, "PYTHONPATH": str(copy), "HYPOTHESIS_PROFILE": "quick"}
    try:
        done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return LATE
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
