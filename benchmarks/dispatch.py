"""How soon does a task that is submitted to an idle farm start on a host?

A run of one long task keeps nine hosts, on one of which it runs; the others have shown that they
work and are idle. Then a run of one task is submitted to the living master, as ``corral run`` does
it, and the next when that one is done. The task is ``date``, which says when it started; the hosts
share this machine's clock. So the time has in it: connection and request to the master, the commit
of run and task, the commit of the lease, its way through ssh and relay to the agent, the start of
the process. The start of ``corral run`` itself is not in it (`start` tells that), nor is the
result's way back.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from benchmarks import watch
from benchmarks.place import used
from benchmarks.table import Bench, Row, milliseconds_range, not_compared
from corral.cli.folder import RealFolder
from corral.client import Client
from corral.engine import queries
from corral.model.run import Options, Submission
from corral.store.folder import StateFolder
from corral.work import identity
from corral.work.command import parse
from tests.support.hosts import Bed, BedError

if TYPE_CHECKING:
    from benchmarks.place import Place
    from corral.ids import RunId
    from corral.model.host import HostSpec

HOSTS = 8
SAMPLES = 100  # per run asked for
WARM = 64  # tasks; every host gets some, and has shown then that it works
WHAT = f"dispatch on {HOSTS} idle ssh hosts"
AIMS_S = {50: 0.010, 99: 0.040}


def run(bench: Bench) -> list[Row]:
    """Submit one task after the other."""
    try:
        with Bed(HOSTS + 1) as bed, used(bench.folder / "farm", ssh=bed.ssh) as place:
            took = _submit_all(place, bench.runs * SAMPLES)
    except BedError as error:
        return [not_compared(WHAT, "", error.message)]
    return [_row(took, percent, aim_s) for percent, aim_s in AIMS_S.items()]


def _submit_all(place: Place, samples: int) -> list[float]:
    where = ("-q", "-d", "-w", f"h[1-{HOSTS + 1}]")
    place.run("run", *where, "--name", "hold", "sleep 3600")
    place.run("run", *where, "--name", "warm", f"sleep 0.1; echo {{1..{WARM}}}")
    state = StateFolder.find(place.folder)
    assert state, "the runs have made it"
    client = Client(state)
    try:
        watch.wait_until("all hosts have worked", lambda: _have_worked(client) == HOSTS)
        watch.wait_until("the farm is idle", lambda: client.run("warm").state == "done")
        with client.reader() as reader:
            specs = tuple(host.spec for host in queries.hosts_of(reader, client.run("hold").id))
        took = [_submit(client, place, specs, number) for number in range(samples)]
        client.change("cancel", client.run("hold").id)
        return took
    finally:
        client.close()


def _have_worked(client: Client) -> int:
    with client.reader() as reader:
        return sum(host.done > 0 for host in queries.hosts(reader))


def _submit(client: Client, place: Place, hosts: tuple[HostSpec, ...], number: int) -> float:
    """Submit a run of one task; give the seconds until it started."""
    words = ("date", f"+{number} %s.%N")  # another text is another run
    command = parse(words, folder=RealFolder(place.folder)).command
    name = f"date-{number}"
    submission = Submission(
        name=name,
        named=True,
        folder=str(place.folder),
        skeleton=identity.skeleton(command),
        words=words,
        command=command,
        options=Options(out=str(place.folder / "results" / name), out_given=False),
        hosts=hosts,
        detached=True,
    )
    began = time.time()
    run = client.submit(submission).run
    watch.wait_until("the task is done", lambda: client.run(str(run)).state == "done")
    return _said(client, run) - began


def _said(client: Client, run: RunId) -> float:
    with client.reader() as reader:
        (result,) = queries.results(reader, queries.run(reader, run))
    return float(result.stdout.inline.split()[1])


def _row(took: list[float], percent: int, aim_s: float) -> Row:
    value = statistics.quantiles(took, n=100, method="inclusive")[percent - 1]
    return Row(
        what=f"{WHAT}: p{percent}",
        figure=f"{value * 1000:.1f} ms",
        spread=milliseconds_range(took),
        aim=f"< {aim_s * 1000:.0f} ms",
        met=value < aim_s,
    )
