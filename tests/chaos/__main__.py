"""``python -m tests.chaos``: break hosts under a run, say what came of it, exit 1 if a promise broke.

The same seed draws the same faults; what they hit depends on the machine, so a failure may need
several tries to come again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests import parts
from tests.chaos import chaos
from tests.chaos.plan import Plan

NEEDED = ("sshd", "nft", "root")


def main() -> int:
    """Carry out what was asked for and print the summary; its last line says how it went."""
    parser = argparse.ArgumentParser(prog="chaos", description="Break hosts under a run.")
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--tasks", type=int, default=120)
    parser.add_argument("--faults", type=int, default=16)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    if missing := [part for part in NEEDED if part in parts.missing()]:
        parser.error(f"this machine has no {', '.join(missing)}; try: make system-deps, as root")
    if given.hosts < 2 or given.tasks < 2 or given.faults < 0:
        parser.error("at least 2 hosts and 2 tasks")
    plan = Plan(seed=given.seed, hosts=given.hosts, tasks=given.tasks, faults=given.faults)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        return report(plan, chaos.run(plan, Path(folder)))


def report(plan: Plan, found: chaos.Outcome) -> int:
    """Print what was done and what broke; gives the exit code."""
    print(f"seed {plan.seed}: {plan.hosts} hosts, {plan.tasks} tasks, {plan.faults} faults")
    for kind, times in sorted(found.faults.items()):
        print(f"  {times:6} x {kind}")
    again = ", ".join(f"{times} {reason}" for reason, times in sorted(found.again.items()))
    print(
        f"starts: {found.starts} of {plan.tasks} tasks; attempts after the first: {again or 'none'}"
    )
    for line in found.broken:
        print(line)
    print(
        f"seed {plan.seed}: {sum(found.faults.values())} faults in {found.seconds:.0f} s,"
        f" {len(found.lost)} results lost, {len(found.needless)} needless starts,"
        f" {len(found.strays)} strays: {len(found.broken)} broken"
    )
    return 1 if found.broken else 0


if __name__ == "__main__":
    sys.exit(main())
