"""The process that serves a state folder: everything that goes on at once, in one task group."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING, TypeVar

from corral.engine import control, queries, submit
from corral.errors import CorralError
from corral.ids import RunId
from corral.master.collector import collect_run
from corral.master.exchanges import Exchanges
from corral.master.farm import Farm
from corral.master.judges import Judges
from corral.master.limits import LimitKeeper
from corral.master.submission import carry_out
from corral.model.asked import Followed
from corral.results.collect import Refresher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from corral.clock import Clock
    from corral.engine.control import Changed
    from corral.fleet.base import Doors
    from corral.ids import TaskId
    from corral.model.asked import Follow
    from corral.model.host import RunHost
    from corral.model.run import Run, Submission, Submitted
    from corral.results.collect import Collected
    from corral.store.base import Store
    from corral.store.folder import StateFolder

log = logging.getLogger(__name__)
T = TypeVar("T")
Ending = tuple[RunId, int, str, float, float]  # a run, its generation and state, opened and ended

REFRESH_LOOK_S = 1.0  # between looks whether some results folder is due
FOLLOW_S = 1.0  # between looks of a follower whether the task has ended
AT_REST = frozenset({"done", "halted", "paused", "cancelled"})


class Master:
    """Serves one state folder; `run` it with a job, and it lives as long as the job."""

    def __init__(self, folder: StateFolder, store: Store, *, clock: Clock, doors: Doors) -> None:
        self.folder = folder
        self.store = store
        self.clock = clock
        self.exchanges = Exchanges(store, clock)
        self.blobs = folder.blobs
        self._judges = Judges(store, self.exchanges.parts, self.blobs, clock)
        self.farm = Farm(folder, store, exchanges=self.exchanges, doors=doors, clock=clock)
        self._limits = LimitKeeper(folder, store, exchanges=self.exchanges, clock=clock)
        self._submitting: dict[tuple[str, str], asyncio.Lock] = {}
        self._collecting: dict[RunId, asyncio.Lock] = {}
        self._changed = asyncio.Event()
        self._stop_agents = True
        self._collected: set[Ending] = set()
        self._rested = True  # a run may have come to rest since the last look
        self._host_changes = 0
        self._hosts: dict[RunId, tuple[int, list[RunHost]]] = {}  # as of which change

    async def run(self, job: Callable[[Master], Awaitable[T]]) -> T:
        """Serve while ``job`` goes on; then see the agents gone and give what it gave."""
        loop = asyncio.get_running_loop()

        def told(topics: frozenset[str]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has just closed: nobody waits
                loop.call_soon_threadsafe(self._hear, topics)

        self.store.listen(told)
        self._collected = set(self._settled())
        self._sweep_parts()
        self.farm.adopt()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.farm.keep(), name="keep hosts"),
                group.create_task(self._judges.work(), name="judge"),
                group.create_task(self._refresh(), name="refresh results"),
                group.create_task(self._limits.keep(), name="keep limits"),
            ]
            try:
                await self._finish_half_written()
                return await job(self)
            finally:
                try:
                    await self.collect_settled()
                finally:
                    if self._stop_agents:  # whatever the job came to: no process of ours stays
                        await asyncio.shield(self.farm.stop())
                        self._sweep_parts()
                    for task in tasks:
                        task.cancel()

    def release_agents(self) -> None:
        """Send the agents home ahead of the end, unless a run goes on, or goes on again."""
        if not self.busy():
            self.farm.release()

    def leave_agents(self) -> None:
        """Let the agents live on at the end: another master is about to take over."""
        self._stop_agents = False

    # ---------------------------------------------------------------- what may be asked of it

    async def submit(self, submission: Submission, environment: bytes | None = None) -> Submitted:
        """Take in a command; its tasks on this machine start from ``environment``."""
        key = (submission.folder, submission.skeleton)
        reached = self.farm.reaches(submission.hosts)
        if not reached and await asyncio.to_thread(self._is_new, submission):
            await self.farm.want(submission.hosts)  # log in while the tasks are written

        def begun(run: RunId) -> None:
            if environment is not None:
                self.exchanges.lend_environment(run, environment)

        async with self._submitting.setdefault(key, asyncio.Lock()):
            submitted = await asyncio.to_thread(
                carry_out, self.store, submission, self.clock.now, begun=begun
            )
        await self.serve_run(submitted.run)
        return submitted

    def _is_new(self, submission: Submission) -> bool:
        """Say whether nothing of this run is known yet, so that there surely is work."""
        with self.store.reader() as reader:
            return reader.row("run_of_skeleton", submission.folder, submission.skeleton, "") is None

    async def change(self, verb: str, run: RunId, tasks: Sequence[TaskId] | None = None) -> Changed:
        """Carry out an operator's verb.

        Raises:
            StateError: It makes no sense for the run's state.
        """
        changed = await asyncio.wrap_future(
            self.store.write(control.apply, verb, run, tasks, self.clock.now())
        )
        if changed.state == "open":
            await self.serve_run(run)
        if verb in ("kill", "cancel"):
            self._judges.let_go(run)
        if verb == "rm":
            await asyncio.to_thread(self._sweep_blobs)
        return changed

    async def serve_run(self, run: RunId, environment: bytes | None = None) -> None:
        """See to it that a run which may go on has agents."""
        with self.store.reader() as reader:
            found = queries.run(reader, run)
            hosts = queries.hosts_of(reader, run)
        self._judges.wake()  # what could not be judged may be now
        if environment is not None:
            self.exchanges.lend_environment(run, environment)
        if found.state in ("open", "preparing"):
            options = found.options
            self.exchanges.agree(
                beat_s=options.beat_s,
                lost_after_s=options.lost_after_s,
                silence_counts=options.silence_counts,
            )
            await self.farm.want(host.spec for host in hosts)

    async def rest(self, run: RunId, *, every_s: float | None = None) -> Run | None:
        """Wait until nothing of the run is under way; None when ``every_s`` is over before.

        Raises:
            NoHostError: No host can be used.
        """
        changed = self._changed
        found = await asyncio.to_thread(self._look, run)
        if found is not None:
            return found
        try:
            async with asyncio.timeout(every_s):
                await changed.wait()
        except TimeoutError:
            return None
        return await asyncio.to_thread(self._look, run)

    def hosts(self, run: RunId) -> list[RunHost]:
        """List the hosts that a run may use, read anew only when one of them has changed."""
        changes = self._host_changes
        known = self._hosts.get(run)
        if known is None or known[0] != changes:
            with self.store.reader() as reader:
                known = self._hosts[run] = (changes, queries.hosts_of(reader, run))
        return known[1]

    def is_stuck(self, run: RunId) -> bool:
        """Say whether no host of a run can be used, and no time will mend that."""
        hosts = self.hosts(run)
        return self.farm.refused(host.name for host in hosts if not host.is_out)

    async def collect(self, run: RunId) -> Collected:
        """Bring the run's results folder up to date."""
        async with self._collecting.setdefault(run, asyncio.Lock()):
            return await self._collect(run)

    async def collect_settled(self) -> None:
        """Collect every run that came to rest and that nobody has collected since."""
        self._rested = False
        for ending in self._settled() - self._collected:
            run = ending[0]
            try:
                async with self._collecting.setdefault(run, asyncio.Lock()):
                    if ending in self._collected:
                        continue  # somebody was just doing it
                    if await asyncio.to_thread(self._look, run) is not None:
                        await self._collect(run)
                    else:  # an attempt of it goes on
                        self._rested = True
            except CorralError as error:  # removed meanwhile, or its folder cannot be written
                log.warning("results not collected run=%s reason=%s", run, error)
                self._collected.add(ending)

    def busy(self, *, but: RunId | None = None) -> list[tuple[RunId, bool]]:
        """List runs other than ``but`` that go on, each with whether it is detached."""
        with self.store.reader() as reader:
            return [
                (number, bool(detached))
                for number, _, detached in reader.rows("runs_busy")
                if number != but
            ]

    def takes_in(self) -> bool:
        """Say whether a command is being taken in; until its first tasks are, no run is busy with it."""
        return any(lock.locked() for lock in self._submitting.values())

    async def follow(self, asked: Follow) -> Followed:
        """Give what a running attempt has written beyond the offsets, when there is more.

        Raises:
            StateError: Too many tasks are followed already.
        """
        with self.store.reader() as reader:
            holder = reader.value("ticket_holder", asked.ticket)
        if holder is None:
            return Followed()  # it has ended: its result says all
        tails = self.exchanges.tails
        if tails.ask(asked.ticket, holder, asked.offsets):
            self.exchanges.nudge(holder)
        out, err = await tails.read(asked.ticket, asked.offsets, within_s=FOLLOW_S)
        return Followed(stdout=out, stderr=err)

    async def end_now(self) -> None:
        """Kill whatever runs and see the agents gone."""
        await self.farm.stop(now=True)

    # ---------------------------------------------------------------- what goes on by itself

    def _hear(self, topics: frozenset[str]) -> None:
        """Pass on what a commit told."""
        if "work" in topics:
            self.exchanges.wake()
        if "judge" in topics:
            self._judges.wake()
        if "full" in topics:
            self.exchanges.parts.doubt()  # what was undone to make room has been done once more
            self._limits.wake()
        if "host" in topics:
            self._host_changes += 1
            self.farm.wake()
        if "run" in topics:
            self._rested = True
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def _look(self, run: RunId) -> Run | None:
        with self.store.reader() as reader:
            found = queries.run(reader, run)
            if found.state in AT_REST and not reader.value("run_live_attempts", run):
                return found
            unusable = queries.unusable(reader, found, self.hosts(run))
        if unusable is not None:
            raise unusable
        return None

    def _settled(self) -> set[Ending]:
        """Name the runs that are not open, each with what it came to: another time is another ending."""
        with self.store.reader() as reader:
            return set(reader.rows("runs_at_rest"))

    async def _collect(self, run: RunId) -> Collected:
        """Collect, for who has the run's lock."""
        with self.store.reader() as reader:
            ending = reader.row("run_at_rest", run)
            found = queries.run(reader, run)
        collected = await asyncio.to_thread(collect_run, self.store, self.blobs, found)
        if ending is not None:
            self._collected.add(ending)
        return collected

    async def _refresh(self) -> None:
        """Keep the results folders of open runs fresh, without spending much on it."""
        refreshers: dict[RunId, Refresher] = {}
        while True:
            await self.clock.sleep(REFRESH_LOOK_S)
            if self._rested:
                await self.collect_settled()
            for run, _ in self.busy():
                refresher = refreshers.setdefault(run, Refresher(self.clock.ticks()))
                if not refresher.due(self.clock.ticks()):
                    continue
                try:
                    await self.collect(run)
                except CorralError as error:
                    log.warning("results not refreshed run=%s reason=%s", run, error)
                refresher.done(self.clock.ticks())

    async def _finish_half_written(self) -> None:
        """Finish what a master before this one began to submit, and serve what is open."""
        with self.store.reader() as reader:
            left = submit.half_written(reader)
        for submission in left:
            await self.submit(submission)
        if self.busy():
            for run, _ in self.busy():
                await self.serve_run(run)

    def _sweep_parts(self) -> None:
        """Drop what came in part from agents of which nothing is left: the rest never comes."""
        begun = self.blobs.begun()
        if not begun:
            return
        with self.store.reader() as reader:
            rows = reader.rows("tickets_kept", json.dumps(sorted(begun)))
        for ticket in begun - {row[0] for row in rows}:
            self.blobs.forget(ticket)

    def _sweep_blobs(self) -> None:
        """Free what a removed run alone had; not while bytes may be on their way."""
        if self.busy() or self.takes_in():
            return
        with self.store.reader() as reader:
            used = {row[0] for row in reader.rows("blobs_used")}
        self.blobs.sweep(used)
