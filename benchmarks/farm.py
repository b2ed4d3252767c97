"""How long does the main job take on hosts that were never seen before?

2,000 echoes over eight hosts behind ssh, from the start of the command until every output stands
in one file, in order; two slots each. The hosts are namespaces of this machine, so everything,
hosts included, shares its cores: what is compared is the work of all together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from benchmarks import farmers, watch
from benchmarks.environments import shared_folder
from benchmarks.farmers import Field
from benchmarks.place import used
from benchmarks.table import Bench, Row, milliseconds_range, not_compared, paired, seconds
from tests.support.hosts import Bed, BedError

if TYPE_CHECKING:
    from benchmarks.peers import Peer

HOSTS = 8
TASKS = 2_000
FEW = 300  # for GNU parallel, whose connections are open before: its time grows with the tasks
AIMS = {
    "C behind ssh": 2.0,
    "HyperQueue": 1 / 1.5,
    "Dask SSHCluster": 1 / 2.5,
    "GNU parallel -S": 1 / 10,
}
WHAT = f"{TASKS} x echo on {HOSTS} ssh hosts"


def run(bench: Bench) -> list[Row]:
    """Run them; the floor is measured before and after corral, each round."""
    try:
        with Bed(HOSTS) as bed, shared_folder() as shared:
            field = Field(
                hosts=tuple(bed.names),
                config=bed.config,
                interface="eth0" if bed.namespaces else "lo",
                folder=bench.folder,
                shared=shared,
                tasks=TASKS,
            )
            return _compare(bench, bed, field)
    except BedError as error:
        return [not_compared(WHAT, peer, error.message) for peer in AIMS]


def _compare(bench: Bench, bed: Bed, field: Field) -> list[Row]:
    floor = farmers.floor(field)
    rest = [
        farmers.hyperqueue(field),
        farmers.dask(field),
        farmers.parallel(msgspec.structs.replace(field, tasks=FEW)),
    ]
    ours: list[float] = []
    theirs: dict[str, list[float]] = {peer.name: [] for peer in (floor, *rest)}
    for number in range(bench.runs):
        before = _seconds(floor, bed)
        ours.append(_corral(bench, bed, number))
        if floor.seconds is not None:
            theirs[floor.name].append((before + _seconds(floor, bed)) / 2)
        for peer in rest:
            if peer.seconds is not None:
                theirs[peer.name].append(_seconds(peer, bed))
    return [_row(peer, ours, theirs[peer.name]) for peer in (floor, *rest)]


def _corral(bench: Bench, bed: Bed, number: int) -> float:
    _wait_for_virgins(bed)
    with used(bench.folder / f"run-{number}", ssh=bed.ssh) as place:
        took = place.run("run", "-q", "-w", f"h[1-{HOSTS}]", f"echo {{1..{TASKS}}}")
        farmers.check(place.folder / "results" / "echo" / "output.txt", tasks=TASKS)
        return took


def _seconds(peer: Peer, bed: Bed) -> float:
    """Run a peer, and give the seconds it would take for all tasks."""
    if peer.seconds is None:
        return 0.0
    _wait_for_virgins(bed)
    return peer.seconds() * TASKS / peer.tasks


def _wait_for_virgins(bed: Bed) -> None:
    """See that nothing runs on any host, whoever was there before."""
    watch.wait_until("the hosts are empty", lambda: not any(host.processes() for host in bed))
    if left := bed.left():
        raise SystemExit(f"farm: the hosts are not empty: {left}")


def _row(peer: Peer, ours: list[float], theirs: list[float]) -> Row:
    if peer.seconds is None:
        return not_compared(WHAT, peer.name, peer.why)
    ratio, aim = paired(ours, theirs), AIMS[peer.name]
    return Row(
        what=WHAT,
        figure=seconds(ours),
        spread=milliseconds_range(ours),
        ratio=ratio,
        to=f"{peer.name} ({seconds(theirs)})",
        aim=f"<= {aim:.2f}",
        met=ratio <= aim,
    )
