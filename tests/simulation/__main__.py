"""``python -m tests.simulation``: run worlds, say what was tried, exit 1 if a promise broke.

``--seeds N`` of them on all cores, ``--seed n`` alone, ``--planted`` to see each planted bug found.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from tests.simulation import planted
from tests.simulation.run import simulate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.simulation.run import Outcome


def main() -> int:
    """Run what was asked for and print the summary; its last line says how it went."""
    parser = argparse.ArgumentParser(description="Simulate corral under faults.")
    parser.add_argument("--seeds", type=int, default=100, help="how many, from 1")
    parser.add_argument("--seed", type=int, help="only this one, with what it came to")
    parser.add_argument("--planted", action="store_true", help="search a seed for each planted bug")
    given = parser.parse_args()
    if given.planted:
        return search_planted()
    if given.seed is not None:
        found = simulate(given.seed)
        print(f"seed {found.seed}: {found.virtual_s:.1f} s, {found.hosts} hosts, {found.digest}")
        return summarize([found])
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return summarize(pool.map(simulate, range(1, given.seeds + 1), chunksize=4))


def summarize(outcomes: Iterable[Outcome]) -> int:
    """Print what was tried and what broke; gives the exit code."""
    faults: Counter[str] = Counter()
    hours = 0.0
    seeds = tasks = checks = 0
    broken: list[str] = []
    for found in outcomes:
        seeds += 1
        faults += found.faults
        hours += found.virtual_s * found.hosts / 3600
        tasks += found.tasks
        checks += found.checks
        if found.broken:
            broken.append(f"seed {found.seed}: {found.broken}; make sim SEED={found.seed}")
    for kind, times in sorted(faults.items()):
        print(f"  {times:6} x {kind}")
    for line in broken:
        print(line)
    print(
        f"{seeds} seeds, {hours:.1f} host-hours, {tasks} tasks, "
        f"{sum(faults.values())} faults, {checks} checks: {len(broken)} broken"
    )
    return 1 if broken else 0


def search_planted() -> int:
    """Print a finding seed of every planted bug; gives the exit code."""
    missed = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for bug, found in zip(planted.BUGS, pool.map(planted.search, planted.BUGS), strict=True):
            if found is None:
                missed += 1
                print(f"{bug}: not found in {planted.PATIENCE_S:.0f} CPU-seconds")
            else:
                print(
                    f"{bug}: seed {found.seed} after {found.cpu_s:.1f} CPU-seconds: {found.broken}"
                )
    print(f"{len(planted.BUGS)} planted bugs: {missed} not found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
