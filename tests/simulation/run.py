"""One world from one seed: hosts, tasks, faults; run to its end and checked."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import sqlite3
import tempfile
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

from corral import agent, ids
from corral.errors import StoreError
from corral.ids import TaskId
from corral.model.run import Input
from corral.server import agents
from corral.store import sqlite
from corral.store.blobs import Blobs
from corral.store.sqlite import SqliteStore
from tests.simulation import faults as kinds
from tests.simulation.events import Loop
from tests.simulation.host import Host
from tests.simulation.master import SECRET, Durable, Life
from tests.simulation.plan import LONG, Plan
from tests.simulation.watch import Watch
from tests.support.invariants import BrokenError, Expected
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

IN_MEMORY = next((name for name in ("/dev/shm",) if Path(name).is_dir()), None)
LONGEST_S = 60_000.0  # virtual; a world that is not done by then hangs
ALONE_S = 200.0  # without a master in the end: more than any agent waits for one
MOST_PAGES = (1 << 32) - 2  # of a database in SQLite
ASK_AGAIN_S = 5.0
UNSYNCED = 0.5  # of what came in part, as the master's machine goes down
DEADLY_S = 5_000.0  # from then on masters live long enough for a hang to be seen
CLEAN_S = 10_000.0  # to do what is left when all is mended, by hosts that have become few


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
    with _own_randomness(seed), tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        simulation = Simulation(seed, Path(folder), faults=faults)
        chunk = simulation.plan.chunk
        with mock.patch.object(agent, "CHUNK", chunk), mock.patch.object(agents, "CHUNK", chunk):
            return simulation.run()


class Simulation:
    """A world: its hosts, its store, the master that lives in it now."""

    secret = SECRET

    def __init__(self, seed: int, folder: Path, *, faults: bool) -> None:
        self.seed = seed
        self.chance = Random(f"{seed}/world")
        self.plan = Plan(seed)
        self.loop = Loop()
        self.connection = _database()
        self.world = World(SqliteStore(None, self.connection))
        self.watch = Watch(self.loop, self.plan, self.connection)
        self.folder = folder  # its content lies there
        self.wall_offset = 1e9  # of the master's machine
        self.deadly = self.chance.choice((0.0, 0.0005, 0.004)) if faults else 0.0
        self.life: Life | None = None
        self.operator_holds = False  # the run is halted by hand
        self._lives = 0
        self._numbers = 0
        self._mending: list[Callable[[], None]] = []
        self.hosts = [
            Host(name, loop=self.loop, seed=seed, plan=self.plan, watch=self.watch)
            for name in self.plan.hosts
        ]
        self.watch.hosts = self.hosts
        self._faults_left = self.chance.choice((10, 25, 60)) if faults else 0
        self._pace_s = self._expected_s() / self.chance.choice((5, 20, 40))

    def host(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    # ---------------------------------------------------------------- its story

    def run(self) -> Outcome:
        """Submit, serve, strike; then mend everything, and see what is left."""
        broken = ""
        try:
            self._submit()
            self._live()
            self._finish()
            self._clean_up()
            self._check()
        except AssertionError as error:  # ours, or one that the engine itself did not believe
            broken = self.watch.first_broken or str(error) or type(error).__name__
        except Exception as error:  # noqa: BLE001  (an agent would have ended with a traceback)
            broken = self.watch.first_broken or repr(error)
        finally:
            self.loop.after = _no_more  # type: ignore[method-assign,assignment]  # nothing happens after the end
            if self.life is not None and not self.life.dead:
                self.life.kill()
        return Outcome(
            self.seed, self.loop.now - 1000.0, len(self.hosts), self.plan.tasks,
            self.watch.injected, self.watch.checks.count, self._digest(), broken,
        )  # fmt: skip

    def _submit(self) -> None:
        self.world.now = self.loop.now + self.wall_offset
        self.world.hosts = [host.name for host in self.hosts]
        self.world.submit(self.plan.command)

    def _live(self) -> None:
        for host in self.hosts:
            host.way.note = self.watch.note
            host.die_of_task = partial(kinds.host_dies_of_task, self)
            if host.manner.joins_s:
                host.way.refuses = True
                self.heal_later(host.manner.joins_s, host, self._join_of(host))
        self.world.store.listen(self._hear)
        self.watch.sample()
        self.start_master()
        self.loop.after(DEADLY_S, self._calm_down)
        if self._faults_left:
            self.loop.after(self.chance.expovariate(1 / self._pace_s), self._strike)

    def _join_of(self, host: Host) -> Callable[[], None]:
        def join() -> None:
            host.way.refuses = False

        return join

    def _finish(self) -> None:
        if not self.loop.run(LONGEST_S, lambda: self._is_over() or bool(self.watch.first_broken)):
            raise BrokenError(f"not done after {LONGEST_S} s: {self.world.run().counts}")
        self._hold()

    def _clean_up(self) -> None:
        """Mend all; a last master ends what the one before it could not reach."""
        self._faults_left = 0
        self.deadly = 0.0
        for mend in list(self._mending):
            mend()
        self._mending.clear()
        for host in self.hosts:
            host.trap = None
            host.die_of_task = _survive
        if self.life is not None and not self.life.dead:
            self.life.kill()
        lives = self._lives
        self.loop.run(self.loop.now + ALONE_S, lambda: bool(self.watch.first_broken))
        if lives == self._lives:
            self._check_alone()
        self.start_master()
        until = self.loop.now + CLEAN_S
        if not self.loop.run(until, lambda: self._is_over() or bool(self.watch.first_broken)):
            raise BrokenError("the last master does not come to its end")
        self._hold()

    def _check_alone(self) -> None:
        """Nobody came back: an agent that has nothing left to do has ended by itself."""
        for host in self.hosts:
            at_work = {process.agent for process in host.alive.values()}
            for one in host.agents.values():
                over = one.dead or one in at_work
                self.watch.checks.hold(over, f"{one.incarnation} waits for a master for ever")

    def _check(self) -> None:
        """Look at what there is in the end."""
        for host in self.hosts:
            self.watch.checks.hold(not host.alive, f"processes were left on {host.name}")
            known = sorted(name for name in host.agents if not name.startswith(kinds.STRANGER))
            living = sorted(name for name, agent in host.agents.items() if not agent.dead)
            for left in (known, living):
                self.watch.checks.hold(host.gone or not left, f"{host.name} still has {left}")
        checks = self.watch.checks
        checks.everything()
        checks.at_rest()
        checks.results(self._expected)
        checks.content(Blobs(self.folder))
        left = sorted(self._left_in_part())
        checks.hold(not left, f"files that came in part were left: {left}")
        checks.starts(self.watch.starts)
        checks.acknowledged(self.watch.acknowledged.values())

    def _left_in_part(self) -> Iterator[str]:
        """List attempts of which a file came in part; from a host that is gone the rest may come."""
        for ticket in Blobs(self.folder).begun():
            row = self.connection.execute(
                "select h.name from attempt a join host h on h.id = a.host_id where a.ticket = ?",
                (ticket,),
            ).fetchone()
            if row is None or not self.host(row[0]).gone:
                yield ticket

    def _hold(self) -> None:
        if self.watch.first_broken:
            raise BrokenError(self.watch.first_broken)

    def _expected(self, task: int) -> Expected:
        """Say what a task comes to; it fails if its host did and all others were lost meanwhile."""
        number, generation = self.connection.execute(
            "select t.id, t.generation from task t join run r on r.generation = t.generation"
            " where t.number = ?", (task,)
        ).fetchone()  # fmt: skip
        if number in self.watch.helpless:
            return Expected(1, b"")
        if self.plan.omits(task):
            return Expected(1, b"")
        files = {}
        if self.plan.declares and not self.plan.code(task):
            data = self.plan.file(task, generation)
            files = {f"o{task}.txt": hashlib.sha256(data).hexdigest()}
        return Expected(self.plan.code(task), self.plan.out(task, generation), files)

    def _is_over(self) -> bool:
        if self.life is None or not self.life.over or self.operator_holds:
            return False
        if self._given_up():  # a master that stood still has cancelled them only now
            self._operator_retries()
            return False
        return True

    def _expected_s(self) -> float:
        slots = sum(host.manner.slots for host in self.hosts)
        return 2.0 + self.plan.tasks * (self.plan.scale_s + LONG * self.plan.long_s) / slots

    # ---------------------------------------------------------------- its faults

    def _strike(self) -> None:
        if self._faults_left and not self._is_over():
            self._faults_left -= 1
            kinds.strike(self, self.chance)
            self.loop.after(self.chance.expovariate(1 / self._pace_s), self._strike)

    def _calm_down(self) -> None:
        self.deadly = 0.0

    def heal_later(self, seconds: float, host: Host, mend: Callable[[], None]) -> None:
        """Mend something after a while, at the latest when everything is mended."""

        def once() -> None:
            if once in self._mending:
                self._mending.remove(once)
                mend()
                host.touch()

        self._mending.append(once)
        self.loop.after(seconds, once)

    def start_master(self) -> None:
        """Start a master, as `corral resume` does, unless one lives."""
        if self.life is not None and not self.life.dead and not self.life.over:
            return
        if self.life is not None and not self.life.dead:
            self.life.kill()
        self._lives += 1
        self.life = self.watch.life = Life(self, Random(f"{self.seed}/life {self._lives}"))
        self.watch.life_troubled_at = self.loop.now

    @property
    def serves(self) -> bool:
        """Say whether a master is there and has not come to its end."""
        return self.life is not None and not self.life.dead and not self.life.over

    def operator_halts(self, verb: str, seconds: float) -> None:
        """Have an operator halt the run, and go on with it after a while."""
        if not self.serves or self.operator_holds:
            return
        assert self.life is not None
        self.operator_holds = True
        self.watch.killed = verb == "kill"
        self.life.ask(verb)
        self.heal_later(seconds, self.hosts[0], self._operator_resumes)

    def _operator_resumes(self) -> None:
        self.operator_holds = self.watch.killed = False
        if self.serves:
            assert self.life is not None
            self.life.ask("resume")
        else:
            self.start_master()

    def operator_cancels(self, tasks: Sequence[TaskId], seconds: float) -> None:
        """Have an operator cancel some tasks, and want them after all a while later."""
        if not self.serves or self.operator_holds:
            return
        assert self.life is not None
        self.operator_holds = True
        self.life.ask("cancel", tasks)
        self.heal_later(seconds, self.hosts[0], self._operator_retries)

    def _operator_retries(self) -> None:
        """Ask until none is cancelled, or parked by bad luck: a master may die over it."""
        given_up = self._given_up()
        if not given_up:
            self._operator_resumes()
            return
        self.operator_holds = True
        self.start_master()
        assert self.life is not None
        self.life.ask("retry", given_up)
        self.heal_later(ASK_AGAIN_S, self.hosts[0], self._operator_retries)

    def _given_up(self) -> list[TaskId]:
        return self.tasks("cancelled", "parked")

    def tasks(self, *states: str) -> list[TaskId]:
        """List the tasks of the latest generation, those in some states or all."""
        rows = self.connection.execute(
            "select t.id, t.state from task t join run r on r.generation = t.generation order by t.id"
        ).fetchall()
        return [TaskId(number) for number, state in rows if not states or state in states]

    def tasks_on(self, host: Host) -> list[TaskId]:
        """List the tasks that a host is said to have."""
        rows = self.connection.execute(
            "select distinct a.task_id from attempt a join host h on h.id = a.host_id"
            " where h.name = ? and a.state in ('leased', 'running') order by a.task_id", (host.name,)
        ).fetchall()  # fmt: skip
        return [TaskId(row[0]) for row in rows]

    def submit_again(self, program: bytes) -> None:
        """Have the same command given once more, with other bytes of what it ships."""
        if self.connection.in_transaction:
            self.loop.after(0.001, self.submit_again, program)
            return
        if self.operator_holds or (self.life is not None and self.life.timeline.frozen):
            return
        source = self.folder / "program"
        source.write_bytes(program)
        sha256, size = Blobs(self.folder).add(source)
        shipped = Input(path="program", sha256=sha256, size=size, mode=0o644)
        self.world.now = self.loop.now + self.wall_offset
        try:
            self.world.submit(self.plan.command, inputs=(shipped,))
        except StoreError:
            if not self.watch.disk_full:
                raise
            return
        if self.serves:
            assert self.life is not None
            self.life.serve_run()
        else:
            self.start_master()

    def operator_reruns(self, tasks: Sequence[TaskId]) -> None:
        """Have an operator want other results of some tasks."""
        if self.serves and not self.operator_holds:
            assert self.life is not None
            self.watch.rerun.update(tasks)
            self.life.ask("rerun", tasks)

    def fill_disk(self, seconds: float) -> None:
        """Have no room left for the database, for a while."""
        self.watch.disk_full = True
        pages = self.connection.execute("pragma page_count").fetchone()[0]
        self.connection.execute(f"pragma max_page_count = {pages}")
        self.heal_later(seconds, self.hosts[0], self._empty_disk)

    def _empty_disk(self) -> None:
        self.connection.execute(f"pragma max_page_count = {MOST_PAGES}")
        self.watch.disk_full = False
        self.watch.life_troubled_at = self.loop.now

    def kill_master(self) -> None:
        """End the master by kill -9; somebody starts another after a while."""
        if self.life is not None and not self.life.dead and not self.life.over:
            self.life.kill()
            self._lose_unsynced()
            self.loop.after(kinds.away_s(self.chance), self.start_master)

    def _lose_unsynced(self) -> None:
        """Its machine may have gone down with it: of files that came in part the end is lost."""
        for part in sorted(self.folder.glob("part/*")):
            size = part.stat().st_size
            if self.chance.random() < UNSYNCED and size:
                os.truncate(part, self.chance.randrange(size))
                if self.chance.random() < UNSYNCED:  # the size was written, the bytes were not
                    os.truncate(part, size)

    def freeze_master(self, seconds: float, *, clock_runs: bool) -> None:
        """Let the master's process stand still."""
        life = self.life
        if life is None or life.dead or life.timeline.frozen:
            return
        life.timeline.freeze(clock_runs=clock_runs)

        def thaw() -> None:
            life.timeline.thaw()
            self.watch.life_troubled_at = self.loop.now

        self.heal_later(seconds, self.hosts[0], thaw)

    def _hear(self, topics: frozenset[str]) -> None:
        if self.life is not None:
            self.life.hear(topics)

    def _digest(self) -> str:
        """Digest everything that was decided and done."""
        text: list[str] = []
        for table in ("event", "attempt", "task", "history"):
            text += map(str, sqlite3.Connection.execute(self.connection, f"select * from {table}"))
        return hashlib.sha256("\n".join(text).encode()).hexdigest()


def _survive(host: Host) -> None:
    """What kills its host kills none any more."""


def _no_more(*_: object) -> None:
    """The world has ended."""


def _database() -> Durable:
    connection = sqlite3.connect(
        ":memory:", isolation_level=None, check_same_thread=False, factory=Durable
    )
    connection.execute("pragma foreign_keys=on")
    sqlite._migrate(connection)
    return connection


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Have names and jitter follow from the seed, and nothing logged."""
    count = iter(range(1, 1_000_000))
    state = random.getstate()
    random.seed(seed)
    logging.disable(logging.CRITICAL)
    try:
        with mock.patch.object(ids, "new_incarnation", side_effect=lambda: f"i{next(count)}"):
            yield
    finally:
        logging.disable(logging.NOTSET)
        random.setstate(state)
