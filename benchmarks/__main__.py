"""Run the benchmarks and print one table."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import collecting, dispatch, farm, faults, first, idle, million, rate, start
from benchmarks.table import Bench, lines

BENCHMARKS = {
    "start": start,
    "rate": rate,
    "farm": farm,
    "dispatch": dispatch,
    "first": first,
    "idle": idle,
    "million": million,
    "collecting": collecting,
    "faults": faults,
}


def main() -> None:
    """Run what was asked for; the exit code tells only whether it could be measured."""
    asked = _asked()
    load = os.getloadavg()[0]
    print(f"{_machine()}; load before: {load:.1f}", flush=True)
    began = time.monotonic()
    rows = []
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as folder:
        for name in asked.names or BENCHMARKS:
            print(f"  {name} …", file=sys.stderr, flush=True)
            place = Path(folder) / name
            place.mkdir()
            rows += BENCHMARKS[name].run(Bench(folder=place, runs=asked.runs))
    print("\n".join(lines(rows)))
    if load > 0.5:
        print(f"other work was going on (load {load:.1f}): seconds are too high, ratios are noisy")
    print(f"took {time.monotonic() - began:.0f} s, {asked.runs} runs of each")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="medians of N (3)")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(BENCHMARKS):
        parser.error(
            f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}"
        )
    if asked.runs < 1:
        parser.error("--runs: at least 1")
    return asked


def _machine() -> str:
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
