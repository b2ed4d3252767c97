"""One life of the master: its real farm, keepers, counter, judges and channel on virtual time.

A life ends by a kill -9 between any two steps, before or after a commit or an answer; or in order,
when its job is done and its agents are gone. The world's store outlives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from corral.engine import control, queries
from corral.errors import CorralError, StateError, StoreError
from corral.fleet.base import Doors
from corral.ids import Owner, RunId
from corral.master.exchanges import Exchanges
from corral.master.farm import Farm
from corral.master.judges import Judges
from corral.master.master import Master
from corral.protocol import Exchange, Reply
from corral.server.agents import AgentChannel
from corral.store.blobs import Blobs
from corral.store.sqlite import _Work
from tests.simulation.asyncloop import VirtualLoop
from tests.simulation.events import Timeline
from tests.simulation.network import SimLauncher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from corral.fleet.base import Launcher
    from corral.ids import TaskId
    from corral.model.host import HostSpec
    from corral.store.base import Reader
    from tests.simulation.run import Simulation

T = TypeVar("T")

SECRET = b"s" * 32
GROUP = 200
GATHER_S = (0.0001, 0.002)  # until the writer takes up what is queued
FSYNC_S = (0.0002, 0.004)
THREAD_S = (0.0001, 0.002)
DECIDE_S = 0.5  # from a decision to its commit
INSIST_S = 2.0  # until an operator tries again what a full disk has prevented
RUN = RunId(1)
AT_REST = ("done", "halted", "paused", "cancelled")


class KilledError(BaseException):
    """The process ends in the middle of a commit."""


class Durable(sqlite3.Connection):
    """The database in memory; a commit takes time, and the process may die before it is through."""

    syncing: Callable[[], None] | None = None
    synced: Callable[[], None] | None = None

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql != "commit" or self.syncing is None:
            return super().execute(sql, *values)
        self.syncing()
        done = super().execute(sql)
        if self.synced is not None:
            self.synced()
        return done


class LifeStore:
    """The store as one life of the master has it: what it hands in after its end is nobody's."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._store = life.world.store
        self._queue: list[_Work] = []
        self._busy = False

    def write(self, change: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
        work = _Work(change, args, kwargs)
        if not self._life.dead:
            self._queue.append(work)
            self._look()
        return work.future

    def reader(self) -> AbstractContextManager[Reader]:
        return self._store.reader()

    def listen(self, listener: Callable[[frozenset[str]], None]) -> None:
        raise AssertionError(f"a life hears by itself, not by {listener}")

    def close(self) -> None:
        """Nothing is open: the store is the world's."""

    def _look(self) -> None:
        if self._queue and not self._busy:
            self._busy = True
            self._life.timeline.after(self._life.chance.uniform(*GATHER_S), self._flush)

    def _flush(self) -> None:
        """Commit what is queued; others may be served, and the process may die, meanwhile."""
        group, self._queue = self._queue[:GROUP], self._queue[GROUP:]
        life = self._life
        connection = life.simulation.connection
        connection.syncing = life.sync
        connection.synced = life.after_commit
        try:
            self._store._commit(group)
        except KilledError:
            connection.rollback()
            return
        finally:
            connection.syncing = connection.synced = None
        self._busy = False
        for work in group:
            self._look_at(work)
        watch = life.simulation.watch
        stored = [work for work in group if not _failed(work)]
        watch.committed([work._args for work in stored])
        for work in stored:
            self._show(work)
        self._look()

    def _show(self, work: _Work) -> None:
        """Let the watch see an exchange with the reply to it."""
        request = work._args[0] if work._args else None
        if isinstance(request, Exchange) and not work.future.exception():
            reply = work.future.result()
            if isinstance(reply, Reply):
                self._life.simulation.watch.replied(request, reply)

    def _look_at(self, work: _Work) -> None:
        """An error that is not meant for a user is a bug, whoever may swallow it."""
        future = work.future
        if future.done() and not future.cancelled():
            error = future.exception()
            watch = self._life.simulation.watch
            meant = isinstance(error, StoreError) and watch.disk_full
            meant = meant or (isinstance(error, CorralError) and not isinstance(error, StoreError))
            if error is not None and not meant:
                name = getattr(work._change, "__name__", "?")
                watch.broken(f"{name}: {error!r}")


def _failed(work: _Work) -> bool:
    """Say whether the whole commit failed, and with it what this one had written."""
    future = work.future
    return future.done() and not future.cancelled() and isinstance(future.exception(), StoreError)


class SimFarm(Farm):
    """The farm with virtual hosts behind it."""

    def __init__(self, life: Life) -> None:
        super().__init__(
            life.folder,  # type: ignore[arg-type]  # all it needs of a state folder
            life.store,
            exchanges=life.exchanges,
            doors=Doors(_no_listener, _no_connection),
            clock=life,
        )
        self._life = life

    def _launcher(self, spec: HostSpec) -> Launcher:
        host = self._life.simulation.host(spec.name)
        return SimLauncher(host, self._life, self._life.chance, self._life.words)


class Folder:
    """What of a state folder the master's parts ask for."""

    owner = Owner("o")
    secret = SECRET


class Life:
    """One process that serves the world's state folder; the clock of that process, too."""

    def __init__(self, simulation: Simulation, chance: Random) -> None:
        self.simulation = simulation
        self.world = simulation.world
        self.chance = chance
        self.words = Random(f"{simulation.seed}/words")
        self.timeline = Timeline(simulation.loop)
        self.loop = VirtualLoop(self.timeline, thread_s=self._thread_s)  # type: ignore[abstract]  # what the master uses is there
        self._born_s = self.timeline.awake_s
        self.dead = False
        self.over = False  # it ended in order
        self.judges_hang_s = 0.0
        self.judges_crash = False
        self.folder = Folder()
        self.blobs = Blobs(simulation.folder)
        self.store = LifeStore(self)
        self.surplus: set[str] = set()
        self._heard: dict[str, tuple[float, int]] = {}  # awake seconds and freezes at its last word
        self._before: dict[str, tuple[float, float]] = {}  # when a silence ended, how long it was
        self._in_hand: Counter[str] = Counter()  # exchanges of each that are not answered yet
        self._changed = self._in_loop(asyncio.Event)
        self.exchanges: Exchanges = self._in_loop(lambda: Exchanges(self.store, self))
        terms = self.exchanges.parts.terms
        self.exchanges.parts.terms = msgspec.structs.replace(
            terms, silence_counts=simulation.plan.silence_counts
        )
        self._judges: Judges = self._in_loop(
            lambda: Judges(self.store, self.exchanges.parts, self.blobs, self)
        )
        self.farm: SimFarm = self._in_loop(lambda: SimFarm(self))
        self._channel = AgentChannel(self)  # type: ignore[arg-type]  # all it needs of a master
        self._main = self._spawn(self._run())
        self._main.add_done_callback(self._ended)

    # ---------------------------------------------------------------- its clock

    @property
    def clock(self) -> Life:
        return self

    def now(self) -> float:
        return self.timeline.now + self.simulation.wall_offset

    def ticks(self) -> float:
        return self.timeline.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _thread_s(self) -> float:
        return self.chance.uniform(*THREAD_S)

    # ---------------------------------------------------------------- what it does

    async def _run(self) -> None:
        """Serve until the run is at rest, then see the agents gone: as ``Master.run`` does."""
        self.simulation.watch.ending = False
        self._sweep_parts()
        self.surplus = self._look_for_surplus()
        self.farm.adopt()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.farm.keep(), name="keep hosts"),
                group.create_task(self._judge(), name="judge"),
            ]
            await self._insist(self._serve_run)
            if not self.simulation.operator_holds:
                await self.change("resume")
            while not await self._is_at_rest():
                await self._changed.wait()
                self._changed.clear()
            self.simulation.watch.ending = True
            await asyncio.shield(self.farm.stop())
            self._sweep_parts()
            for task in tasks:
                task.cancel()

    def _look_for_surplus(self) -> set[str]:
        """Find the agents on hosts that have an older one."""
        with self.store.reader() as reader:
            rows = reader.rows("agents_live")
        oldest = {row[1]: row[0] for row in reversed(rows)}
        return {row[0] for row in rows} - set(oldest.values())

    def _sweep_parts(self) -> None:
        Master._sweep_parts(self)  # type: ignore[arg-type]  # all it needs of a master

    def serve_run(self) -> None:
        """See to it that what was submitted just now has agents."""
        self._spawn(self._insist(self._serve_run))

    def ask(self, verb: str, tasks: Sequence[TaskId] | None = None) -> None:
        """Have an operator's verb carried out."""
        self._spawn(self.change(verb, tasks))

    async def change(self, verb: str, tasks: Sequence[TaskId] | None = None) -> None:
        """Carry out an operator's verb, if it makes sense: as ``Master.change`` does."""

        async def apply() -> None:
            with contextlib.suppress(StateError):
                await asyncio.wrap_future(
                    self.store.write(control.apply, verb, RUN, tasks, self.now())
                )
            await self._serve_run()

        await self._insist(apply)

    async def _insist(self, do: Callable[[], Awaitable[None]]) -> None:
        """Do something again and again while the disk is full, as an operator would."""
        while True:
            try:
                await do()
            except StoreError:
                await asyncio.sleep(INSIST_S)
            else:
                return

    async def _serve_run(self) -> None:
        with self.store.reader() as reader:
            state = queries.run(reader, RUN).state
            hosts = queries.hosts_of(reader, RUN)
        if state in ("open", "preparing"):
            await self.farm.want(host.spec for host in hosts)

    async def _is_at_rest(self) -> bool:
        """Look at the run; one that paused by itself goes on, as an operator would have it."""
        with self.store.reader() as reader:
            state = queries.run(reader, RUN).state
            live = reader.value("run_live_attempts", RUN)
        if state == "paused":
            await asyncio.sleep(self.chance.uniform(1, 60))
            await self.change("unpause")
            return False
        return state in AT_REST and not live

    async def _judge(self) -> None:
        """Judge what is reported; a check may hang, or take the master with it."""
        find, judge_some = self._judges._find, self._judges._judge_some

        def crash() -> Any:
            if self.judges_crash:
                self.judges_crash = False
                self.simulation.watch.note("judge takes the master along")
                self.timeline.after(0, self.simulation.kill_master)
            return find()

        async def hang(group: asyncio.TaskGroup) -> bool:
            if self.judges_hang_s:
                seconds, self.judges_hang_s = self.judges_hang_s, 0.0
                await asyncio.sleep(seconds)
            return await judge_some(group)

        self._judges._find = crash  # type: ignore[method-assign]  # faults of a check
        self._judges._judge_some = hang  # type: ignore[method-assign]
        await self._judges.work()

    def hear(self, topics: frozenset[str]) -> None:
        """Pass on what a commit told: as ``Master._hear`` does."""
        if not self.dead:
            self.loop.call_soon(self._hear, topics)

    def _hear(self, topics: frozenset[str]) -> None:
        if "work" in topics:
            self.exchanges.wake()
        if "judge" in topics:
            self._judges.wake()
        if "host" in topics:
            self.farm.wake()
        if "run" in topics:
            self._changed.set()

    # ---------------------------------------------------------------- agents

    def serve(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        reply: Callable[[int, str, bytes], None],
    ) -> None:
        """Take a request off the wire."""
        if self._may_die("before a request"):
            return
        incarnation = headers["corral-agent"]
        self._note_word(incarnation)
        place, _, query = path.partition("?")
        scope = {
            "method": method, "path": place, "query_string": query.encode(),
            "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
        }  # fmt: skip
        said: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"body": body}

        async def send(message: Any) -> None:
            said.append(message)
            if message["type"] == "http.response.body":
                self.timeline.after(0, answer)

        def answer() -> None:
            if self._may_die("before an answer"):
                return
            sealed = dict(said[0]["headers"]).get(b"corral-signature", b"").decode()
            reply(said[0]["status"], sealed, said[1]["body"])
            self._may_die("after an answer")

        task = self._spawn(self._channel(scope, receive, send))
        if path.endswith("/exchange"):
            self._in_hand[incarnation] += 1
            task.add_done_callback(lambda _: self._in_hand.subtract({incarnation: 1}))

    def _note_word(self, incarnation: str) -> None:
        self._before[incarnation] = (self.timeline.awake_s, self.silent_s(incarnation))
        self._heard[incarnation] = (self.timeline.awake_s, self.timeline.freezes)

    def silent_s(self, incarnation: str) -> float:
        """Say how long at the most an agent's silence can count: while this process was awake.

        What was decided may be written down just after the silence has ended.
        """
        ended_s, before_s = self._before.get(incarnation, (0.0, 0.0))
        now_s = self._since_word_s(incarnation)
        return max(now_s, before_s) if self.timeline.awake_s - ended_s < DECIDE_S else now_s

    def _since_word_s(self, incarnation: str) -> float:
        """Count from its last word; a freeze is worth two beats, whatever the agent was told.

        Who is not answered yet is not silent.
        """
        if self._in_hand[incarnation]:
            return 0.0
        awake_s, freezes = self._heard.get(incarnation, (self._born_s, 0))
        beat_s = 2 * self.exchanges.parts.terms.beat(holds_tickets=False)
        return self.timeline.awake_s - awake_s + beat_s * (self.timeline.freezes - freezes)

    # ---------------------------------------------------------------- its end

    def sync(self) -> None:
        """A commit is being made durable."""
        self.simulation.loop.spend(self.chance.uniform(*FSYNC_S))
        if self.dead or self._may_die("before a commit"):
            raise KilledError

    def after_commit(self) -> None:
        self._may_die("after a commit")

    def _may_die(self, when: str) -> bool:
        if self.dead:
            return True
        if self.simulation.deadly and self.chance.random() < self.simulation.deadly:
            self.simulation.watch.note(f"master dies {when}")
            self.simulation.kill_master()
        return self.dead

    def kill(self) -> None:
        """End by kill -9: connections end, nobody is answered, what was committed stays."""
        self.dead = True
        for host in self.simulation.hosts:
            host.way.leave(self)
        self.loop.kill()

    def _spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        task = self._in_loop(lambda: self.loop.create_task(coroutine))
        if getattr(task.get_coro(), "__qualname__", "").startswith("AgentChannel"):
            task.add_done_callback(self._look_at)
        return task

    def _look_at(self, task: asyncio.Task[Any]) -> None:
        if not self.dead and not task.cancelled() and task.exception() is not None:
            error = task.exception()
            if not isinstance(error, CorralError):
                self.simulation.watch.broken(f"a request ended in {error!r}")

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if self.dead or task.cancelled():
            return
        if task.exception() is not None:
            self.simulation.watch.broken(f"the master ended in {task.exception()!r}")
        self.over = True

    def _in_loop(self, make: Callable[[], T]) -> T:
        """Make something that wants to be born in a running loop."""
        before = asyncio.events._get_running_loop()
        asyncio.events._set_running_loop(self.loop)
        try:
            return make()
        finally:
            asyncio.events._set_running_loop(before)


async def _no_listener(path: object) -> Callable[[], None]:
    raise AssertionError(f"virtual hosts have no sockets: {path}")


def _no_connection() -> asyncio.Protocol:
    raise AssertionError("virtual hosts have no sockets")
