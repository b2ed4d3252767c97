"""``python -m tests.simulation --seeds N | --seed n``: run worlds, say what was tried, exit 1 if a promise broke."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.simulation.run import simulate


def main() -> int:
    """Run the seeds and print the summary; its last line says how it went."""
    parser = argparse.ArgumentParser(description="Simulate corral under faults.")
    parser.add_argument("--seeds", type=int, default=100, help="how many, from 1")
    parser.add_argument("--seed", type=int, help="only this one, with what it came to")
    parser.add_argument("--faults", choices=("on", "off"), default="on")
    given = parser.parse_args()
    seeds = [given.seed] if given.seed is not None else range(1, given.seeds + 1)
    faults: Counter[str] = Counter()
    hours = 0.0
    tasks = checks = 0
    broken: list[str] = []
    for seed in seeds:
        found = simulate(seed, faults=given.faults == "on")
        faults += found.faults
        hours += found.virtual_s * found.hosts / 3600
        tasks += found.tasks
        checks += found.checks
        if found.broken:
            broken.append(f"seed {seed}: {found.broken}; make sim SEED={seed}")
        if given.seed is not None:
            print(f"seed {seed}: {found.virtual_s:.1f} s, {found.hosts} hosts, {found.digest}")
    for kind, times in sorted(faults.items()):
        print(f"  {times:6} x {kind}")
    for line in broken:
        print(line)
    print(
        f"{len(list(seeds))} seeds, {hours:.1f} host-hours, {tasks} tasks, "
        f"{sum(faults.values())} faults, {checks} checks: {len(broken)} broken"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
