"""One world from one seed: hosts, tasks, faults; run to its end and checked."""

from __future__ import annotations

import hashlib
from collections import Counter
from random import Random
from typing import NamedTuple

from tests.simulation.events import Loop
from tests.simulation.host import Host
from tests.simulation.invariants import BrokenError, check
from tests.simulation.master import Master
from tests.support.world import World

LONGEST_S = 20_000.0  # virtual; a world that is not done by then hangs
FAULT_EVERY_S = 30.0


class Outcome(NamedTuple):
    """What a seed came to."""

    seed: int
    virtual_s: float
    hosts: int
    tasks: int
    faults: Counter[str]
    checks: int
    digest: str  # of the event log: the same seed has the same
    broken: str  # "" = every promise was kept


def simulate(seed: int, *, faults: bool = True) -> Outcome:
    """Run the world of a seed."""
    chance = Random(seed)
    loop = Loop()
    world = World()
    master = Master(world, loop=loop, chance=chance, faults=0.03 if faults else 0.0)
    plan = _Plan(seed, chance.choice((5, 20, 60)))
    count = chance.choice((1, 1, 2, 4))
    master.hosts = [
        Host(f"h{n}", loop=loop, chance=chance, master=master, tasks=plan.of_ticket)
        for n in range(count)
    ]
    world.now = loop.now + loop.wall_offset
    world.hosts = [host.name for host in master.hosts]
    world.submit(f"true {{1..{plan.tasks}}}")
    if faults:
        loop.after(chance.expovariate(1 / FAULT_EVERY_S), _inject, loop, chance, master)
    broken, checks = "", 0
    try:
        if not loop.run(LONGEST_S, lambda: world.run().state == "done"):
            raise BrokenError(f"not done after {LONGEST_S} s: {world.run().counts}")
        master.faults = 0.0
        master.up = True
        master.end()
        if not loop.run(loop.now + 5_000, lambda: all(_is_gone(host) for host in master.hosts)):
            raise BrokenError("an agent did not end")
        strays = [pid for host in master.hosts for pid in host.alive]
        if strays:
            raise BrokenError(f"{len(strays)} processes were left")
        starts = [ticket for host in master.hosts for ticket in host.starts]
        checks = check(world, starts=starts, expected=plan.of_task)
    except AssertionError as error:  # ours, or one that the engine itself did not believe
        broken = str(error) or type(error).__name__
    return Outcome(
        seed, loop.now - 1000.0, count, plan.tasks, master.injected, checks, _digest(world), broken
    )


class _Plan:
    """What every task does, whatever happens to it: follows from the seed and its number."""

    def __init__(self, seed: int, tasks: int) -> None:
        self.tasks = tasks
        self._seed = seed
        self._scale = Random(seed).choice((0.005, 0.5, 20.0))

    def of_task(self, number: int) -> tuple[int, bytes]:
        """Give exit code and output."""
        chance = Random(f"{self._seed}/{number}")
        return int(chance.random() < 0.1), f"out {number}\n".encode()

    def of_ticket(self, ticket: str) -> tuple[float, int, bytes]:
        """Give seconds, exit code and output of an attempt."""
        number = int(ticket.split("-")[2])
        code, out = self.of_task(number)
        return Random(f"{self._seed}/{number}/s").expovariate(1 / self._scale), code, out


def _inject(loop: Loop, chance: Random, master: Master) -> None:
    """Do some harm, and again later."""
    host = chance.choice(master.hosts)
    kind = chance.choice(
        ("master dies", "link dies", "supervisor dies", "both die", "wall clock jumps")
    )
    if not master.ending:
        master.injected[kind] += 1
        match kind:
            case "master dies":
                master.crash()
            case "link dies":
                host.kill_link()
            case "supervisor dies":
                host.kill_supervisor()
            case "both die":
                host.kill_both()
            case _:
                loop.wall_offset += chance.choice((-86_400.0, 86_400.0))
    loop.after(chance.expovariate(1 / FAULT_EVERY_S), _inject, loop, chance, master)


def _is_gone(host: Host) -> bool:
    return host.dead and not host.incarnation


def _digest(world: World) -> str:
    """Digest everything that was decided and done."""
    text: list[str] = []
    for table in ("event", "attempt", "task"):
        text += map(str, world.store._connection.execute(f"select * from {table}").fetchall())
    return hashlib.sha256("\n".join(text).encode()).hexdigest()
