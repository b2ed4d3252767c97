"""How many tasks a second, submission, store and results included?

Everybody runs ``true`` without any argument: with one, it loads its messages' language first and
takes a fifth longer, which has nothing to do with who started it.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.place import used
from benchmarks.table import Bench, Row, not_compared

if TYPE_CHECKING:
    from benchmarks.peers import Peer

TASKS = 10_000
FEW = 3_000  # for peers that take milliseconds a task: their rate does not depend on it
CORES = 2
AIMS = {"C posix_spawn": 0.6, "xargs": 1 / 1.5, "GNU parallel": 1.0, "HyperQueue": 1.0}


def run(bench: Bench) -> list[Row]:
    """Run ``true`` 10,000 times; the floor is measured before and after corral, each round."""
    floor = peers.floor(bench.folder, tasks=TASKS, cores=CORES)
    rest = [
        peers.xargs(bench.folder, tasks=TASKS, cores=CORES),
        peers.parallel(bench.folder, tasks=FEW, cores=CORES),
        peers.hyperqueue(bench.folder, tasks=FEW, cores=CORES),
    ]
    ours: list[float] = []
    theirs: dict[str, list[float]] = {peer.name: [] for peer in (floor, *rest)}
    for number in range(bench.runs):
        before = _rate(floor)
        ours.append(_corral(bench, number))
        if floor.seconds is not None:
            theirs[floor.name].append((before + _rate(floor)) / 2)
        for peer in rest:
            if peer.seconds is not None:
                theirs[peer.name].append(_rate(peer))
    return [_row(peer, ours, theirs[peer.name]) for peer in (floor, *rest)]


def _corral(bench: Bench, number: int) -> float:
    with used(bench.folder / f"run-{number}") as place:
        seconds = place.run("run", "-q", "-j", str(CORES), "-r", str(TASKS), "true")
        done = place.ask("status")["run"]["counts"]["done"]
        if done != TASKS:
            raise SystemExit(f"rate: {done} of {TASKS} tasks are done: the figure means nothing")
        return TASKS / seconds


def _rate(peer: Peer) -> float:
    return 0.0 if peer.seconds is None else peer.tasks / peer.seconds()


def _row(peer: Peer, ours: list[float], theirs: list[float]) -> Row:
    what = f"{TASKS} x true"
    if peer.seconds is None:
        return not_compared(what, peer.name, peer.why)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    return Row(
        what=what,
        figure=f"{statistics.median(ours):.0f}/s",
        spread=f"{min(ratios):.2f}-{max(ratios):.2f}",
        ratio=ratio,
        to=f"{peer.name} ({statistics.median(theirs):.0f}/s)",
        aim=f">= {AIMS[peer.name]:.2f}",
        met=ratio >= AIMS[peer.name],
    )
