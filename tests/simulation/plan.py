"""What is there in the world of a seed: hosts, what is odd about them, and what every task does."""

from __future__ import annotations

import hashlib
from random import Random
from typing import NamedTuple

OPERATED = 0.3  # of the worlds have an operator who meddles, and a master's disk that fills up
LONG = 0.1  # of the tasks of a world that has long ones
BAD = 0.1  # of the tasks fail, wherever they run …
HOPELESS = 0.04  # of the worlds have a command that always fails
MOST_BAD = 0.8  # … or so many: then a host may see none succeed


class Act(NamedTuple):
    """What one attempt does on its host."""

    seconds: float
    exit: int | None
    signal: int | None
    out: bytes
    unspawnable: bool = False  # there is no such program here
    helper_s: float | None = None  # a process it leaves behind lives so long, if nobody ends it
    kills_host: bool = False


class Manner(NamedTuple):
    """What is odd about a host."""

    slots: int
    joins_s: float = 0.0  # it can be reached only from then on
    slow: float = 1.0  # times slower
    black_hole: str = ""  # fails everything at once: "exit", "spawn"
    local: bool = False  # this machine: no login, no network
    keepalive: bool = True  # its ssh notices a dead connection


class Plan:
    """Follows from the seed alone, whatever happens."""

    def __init__(self, seed: int) -> None:
        chance = Random(f"{seed}/plan")
        self.seed = seed
        self.tasks = chance.choice((5, 20, 60))
        self.scale_s = chance.choice((0.005, 0.5, 20.0))
        self.silence_counts = chance.random() < 0.9
        self.declares = chance.random() < 0.25  # each task has a file to bring home
        self.hosts = self._hosts(chance, chance.choice((1, 2, 2, 3, 4, 5)))
        self.long_s = Random(f"{seed}/long").choice((0.0,) * 3 + (400.0,))  # what a few tasks take
        self.bad = Random(f"{seed}/bad").choice((BAD,) * 5 + (MOST_BAD,))
        if Random(f"{seed}/hopeless").random() < HOPELESS:
            self.bad = 1.0
        some = chance.randrange(1, self.tasks + 1)  # a task that kills the hosts it runs on
        self.poison = some if chance.random() < 0.1 and not self.gentle else 0
        self.operated = Random(f"{seed}/operated").random() < OPERATED
        self.chunk = Random(f"{seed}/chunk").choice((50, 100, 1 << 20))  # bytes of files at a time
        self.careless = Random(f"{seed}/careless").choice((0.0, 0.0, BAD))

    @property
    def command(self) -> str:
        out = " -o {>o{1}.txt}" if self.declares else ""
        return f"sim {{1..{self.tasks}}}{out}"

    def _hosts(self, chance: Random, count: int) -> dict[str, Manner]:
        """Choose the hosts; the first is the one that can be relied on when others are sick."""
        hosts = {"h0": Manner(chance.choice((1, 2, 4)), local=count == 1 or chance.random() < 0.2)}
        exits = 0
        for n in range(1, count):
            joins_s = chance.uniform(30, 300) if chance.random() < 0.15 else 0.0
            slow = 20.0 if chance.random() < 0.1 else 1.0
            hole = chance.choice(("exit", "spawn")) if chance.random() < 0.2 else ""
            exits += hole == "exit"
            if exits > 2:  # a third would use up a task's retries before anybody has succeeded
                hole = "spawn"
            hosts[f"h{n}"] = Manner(
                chance.choice((1, 2, 4)), joins_s, slow, hole, keepalive=chance.random() < 0.5
            )
        return hosts

    @property
    def gentle(self) -> bool:
        """Say whether the first host must stay usable, for others to be found sick beside it."""
        return any(manner.black_hole for manner in self.hosts.values())

    def code(self, task: int) -> int:
        return int(Random(f"{self.seed}/{task}").random() < self.bad and task != self.poison)

    def omits(self, task: int) -> bool:
        """Say whether it never writes the file that it has declared."""
        return self.declares and Random(f"{self.seed}/{task}/omits").random() < self.careless

    def out(self, task: int, generation: int) -> bytes:
        return f"out {task} of {generation}\n".encode()

    def file(self, task: int, generation: int) -> bytes:
        """Give what its declared file holds; of an ungainly size."""
        text = f"{self.seed}/{generation}/{task}"
        return hashlib.sha256(text.encode()).digest() * (task % 7 + 1)

    def act(self, ticket: str, host: str) -> Act:
        """Tell what an attempt does there."""
        _, generation, task, attempt = map(int, ticket.split("-"))
        chance = Random(f"{self.seed}/{task}/{attempt}")
        manner = self.hosts[host]
        if manner.black_hole:
            spawn = manner.black_hole == "spawn"
            return Act(0.003, None if spawn else 7, None, b"", unspawnable=spawn)
        length = Random(f"{self.seed}/{task}/s")
        seconds = length.expovariate(1 / self.scale_s) * manner.slow
        if length.random() < LONG:
            seconds += self.long_s
        return Act(
            seconds,
            self.code(task),
            None,
            self.out(task, generation),
            helper_s=chance.uniform(0.1, 100.0) if chance.random() < 0.1 else None,
            kills_host=task == self.poison and attempt <= 2 and len(self.hosts) > 1,
        )
