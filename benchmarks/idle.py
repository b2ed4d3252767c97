"""What do our processes use while tasks sleep, or while there are none?

Agents live as long as a run that may use their hosts, so that a sleeping task keeps them. One that
holds a task tells the master every two seconds that it is there, an idle one every twenty.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks import watch
from benchmarks.place import used
from benchmarks.table import Bench, Row, not_compared
from corral.client import Client
from corral.engine import queries
from corral.store.folder import StateFolder
from tests.support.hosts import Bed, BedError

if TYPE_CHECKING:
    from benchmarks.place import Place

SETTLE_S = 8.0  # after the start: beyond three beats, when silence has been judged
WATCH_S = 20.0
MB = 1e6
HOSTS = 64
FARM = f"{HOSTS} ssh hosts"


def run(bench: Bench) -> list[Row]:
    """Watch for 20 s: this machine alone beside two sleeping tasks, then many hosts."""
    return [*_here(bench), *_hosts(bench)]


def _here(bench: Bench) -> list[Row]:
    with used(bench.folder / "idle") as place:
        place.run("run", "-q", "-d", "-j", "2", "sleep {601,602}")
        watch.wait_until("two tasks run", lambda: _active(place) == 2)
        time.sleep(SETTLE_S)
        master, agent = place.master(), place.agent()
        *agents_s, master_s = _cpu_s([*agent, master])
        agent_bytes = sum(map(watch.pss, agent))
        share = sum(agents_s) / WATCH_S
        return [
            Row(
                what="link + supervisor, idle: Pss",
                figure=f"{agent_bytes / MB:.1f} MB",
                aim="< 30 MB",
                met=agent_bytes < 30 * MB,
            ),
            Row(
                what="link + supervisor, idle: CPU",
                figure=f"{share:.3%} of a core",
                aim="< 0.1 %",
                met=share < 0.001,
            ),
            Row(
                what="master, idle: Pss",
                figure=f"{watch.pss(master) / MB:.1f} MB",
                aim="< 80 MB",
                met=watch.pss(master) < 80 * MB,
            ),
            Row(what="master, idle: CPU", figure=f"{master_s / WATCH_S:.3%} of a core"),
        ]


def _hosts(bench: Bench) -> list[Row]:
    try:
        with Bed(HOSTS) as bed, used(bench.folder / "farm", ssh=bed.ssh) as place:
            return _watch_hosts(place)
    except BedError as error:
        return [not_compared(FARM, "", error.message)]


def _watch_hosts(place: Place) -> list[Row]:
    """Watch the farm twice: while one task keeps it, then with a task on each host."""
    where = ("-q", "-d", "-j", "1", "-w", f"h[1-{HOSTS}]")
    place.run("run", *where, "--name", "keep", "sleep 600")
    watch.wait_until("all agents have come", lambda: _agents(place) == HOSTS)
    time.sleep(SETTLE_S)
    master = place.master()
    logins = watch.children(master)
    master_s, *logins_s = _cpu_s([master, *logins])
    master_bytes, login_bytes = watch.pss(master), sum(map(watch.pss, logins))
    per_host = [watch.alone(pids) for pids in _by_agent(place.agent() + place.relays())]
    place.run("run", *where, "--name", "each", f"sleep {{601..{599 + HOSTS}}}")
    watch.wait_until("a task runs on each", lambda: _active(place) == HOSTS - 1)
    time.sleep(SETTLE_S)
    (busy_s,) = _cpu_s([master])
    return [
        Row(
            what=f"{FARM}, idle: master's CPU",
            figure=f"{master_s / WATCH_S:.2%} of a core",
            aim="< 2 %",
            met=master_s / WATCH_S < 0.02,
        ),
        Row(
            what="… with a sleeping task on each",
            figure=f"{busy_s / WATCH_S:.2%} of a core",
        ),
        Row(
            what="… master's Pss",
            figure=f"{master_bytes / MB:.1f} MB",
            aim="< 120 MB",
            met=master_bytes < 120 * MB,
        ),
        Row(
            what=f"… its {len(logins)} ssh clients: Pss, CPU",
            figure=f"{login_bytes / MB:.1f} MB, {sum(logins_s) / WATCH_S:.2%} of a core",
        ),
        Row(
            what="… link + supervisor + relay of a host",
            figure=f"{statistics.median(per_host) / MB:.1f} MB",
            spread=f"{min(per_host) / MB:.1f}-{max(per_host) / MB:.1f} MB",
            aim="< 35 MB",
            met=max(per_host) < 35 * MB,
        ),
    ]


def _agents(place: Place) -> int:
    """Count the agents that have spoken with the master."""
    state = StateFolder.find(place.folder)
    assert state, "the run has made it"
    client = Client(state)
    with contextlib.closing(client), client.reader() as reader:
        return sum(host.cores > 0 for host in queries.hosts(reader))


def _by_agent(pids: list[int]) -> list[list[int]]:
    """Put the processes of each agent together: their titles end with its name."""
    agents: dict[str, list[int]] = {}
    for pid in pids:
        agents.setdefault(watch.title(pid).split()[-1], []).append(pid)
    return list(agents.values())


def _cpu_s(pids: list[int]) -> list[float]:
    """Give what each uses in `WATCH_S`."""
    before = list(map(watch.cpu_s, pids))
    time.sleep(WATCH_S)
    return [watch.cpu_s(pid) - used_s for pid, used_s in zip(pids, before, strict=True)]


def _active(place: Place) -> int:
    count: int = place.ask("status")["run"]["counts"]["active"]
    return count
