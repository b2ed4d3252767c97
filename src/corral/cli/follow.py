"""Follows a run to its end: as the master itself if nobody is, else beside the one that is.

When the master's own command is done while others go on, it leaves its agents to the next master:
the first follower takes the lock, or, for a detached run, a process in the background.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from corral import environment, openfiles
from corral.cli import hostnews
from corral.cli.hostnews import HostNews
from corral.cli.output import counted, plain, talk
from corral.cli.progress import Progress
from corral.cli.stream import Stream
from corral.client import Client
from corral.engine import queries
from corral.errors import CorralError, MasterError, NoHostError
from corral.failpoint import around
from corral.hosts import hostset
from corral.ids import RunId
from corral.model.base import Frozen
from corral.model.run import Submission

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from contextlib import AbstractContextManager

    from corral.master.farm import Farm
    from corral.master.master import Master
    from corral.model.host import RunHost
    from corral.model.run import Run, Submitted
    from corral.store.base import Reader
    from corral.store.folder import StateFolder

T = TypeVar("T")

WAIT_S = 2.0  # the end may wait so long for hosts without a word
EVERY_S = 0.1  # between looks at the run for the progress line
ENDING_S = 2.0  # a master that broke off an answer is gone within this
PATIENCE_S = 30.0  # for a lock that somebody holds without ever saying where
LOOK_S = 0.02


class Wish(Frozen, frozen=True, kw_only=True):
    """What a command wants followed: a new submission, or a run that is there."""

    submission: Submission | None = None
    run: RunId | None = None
    verb: str = ""  # to carry out first: resume
    watch: bool = False  # only look on: Ctrl-C leaves the run alone
    quiet: bool = False
    stream: Stream | None = None  # prints results as they are accepted


class Session(Protocol):
    """A run's master, in this process or another."""

    async def submit(self, submission: Submission) -> Submitted:
        """Take in a command."""
        ...

    async def change(self, verb: str, run: RunId) -> None:
        """Carry out a verb."""
        ...

    async def serve(self, run: RunId) -> None:
        """See to it that the run has agents."""
        ...

    async def rest(self, run: RunId) -> Run | None:
        """Wait a moment; the run if nothing of it is under way."""
        ...

    async def look(self, run: RunId) -> Run:
        """Give the run as it stands."""
        ...

    async def hosts(self, run: RunId) -> list[RunHost]:
        """Give the hosts that the run may use."""
        ...

    async def collect(self, run: RunId) -> None:
        """Bring the results folder up to date."""
        ...

    def reader(self) -> AbstractContextManager[Reader]:
        """Open a snapshot of the database."""
        ...


class MasterGoneError(Exception):
    """The master ended while we followed: one of us takes over."""


def follow(folder: StateFolder, wish: Wish) -> tuple[int, RunId]:
    """See a wish through; gives the exit code and the run."""
    deadline = time.monotonic() + PATIENCE_S
    told: list[Submitted] = []
    while True:
        lock = folder.try_lock()
        if lock is not None:
            try:
                return _as_master(folder, wish, told)
            finally:
                lock.close()
                _last_one_out(folder)
        if folder.master() is not None:
            try:
                return _as_follower(folder, wish, told)
            except MasterGoneError:
                deadline = time.monotonic() + PATIENCE_S
        if told:
            wish = Wish(run=told[0].run, quiet=wish.quiet, stream=wish.stream)
        if time.monotonic() > deadline:
            raise MasterError(
                f"{folder.path}: a process holds the lock and does not say where it listens",
                hint="look for a hanging corral process with ps",
            )
        time.sleep(LOOK_S)


def _as_master(folder: StateFolder, wish: Wish, told: list[Submitted]) -> tuple[int, RunId]:
    from corral.server.app import serve

    store = folder.open_store()
    signals = Signals()
    waiting: list[asyncio.Task[None]] = []  # it ends with the loop

    async def job(master: Master) -> tuple[int, RunId]:
        own: RunId | None = None
        try:
            ended = await _Follower(folder, _Inside(master), wish, told, signals).see_through()
        except BaseException:  # ours cannot go on, and says why; others can
            own = told[0].run if told else wish.run
            raise
        finally:
            _hand_over(folder, master, but=own)
            signals.at_the_end(master.farm.give_up)
        if not wish.quiet:
            waiting.append(asyncio.create_task(_tell_of_waiting(master.farm), name="tell"))
        return ended

    try:
        return asyncio.run(unwrapped(signals.heeded(serve(folder, store, job))))
    finally:
        store.close()


async def _tell_of_waiting(farm: Farm) -> None:
    """Say for whom the end waits, if it does: an agent that does not answer is given its time."""
    await asyncio.sleep(WAIT_S)
    if names := farm.staying():
        talk(f"{hostset.fold(names)}: waiting until nothing of ours runs there (Ctrl-C leaves it)")


def _as_follower(folder: StateFolder, wish: Wish, told: list[Submitted]) -> tuple[int, RunId]:
    mark = folder.follow()
    client = Client(folder)
    signals = Signals()
    try:
        follower = _Follower(folder, _Beside(client), wish, told, signals)
        return asyncio.run(unwrapped(signals.heeded(follower.see_through())))
    finally:
        client.close()
        mark.close()
        _last_one_out(folder)


def _hand_over(folder: StateFolder, master: Master, *, but: RunId | None) -> None:
    """Leave the agents to the next master, if anything other than ``but`` goes on here."""
    if not master.busy(but=but):
        return
    master.leave_agents()
    if not folder.followed():
        start_detached(folder)


def _last_one_out(folder: StateFolder) -> None:
    """See that agents which were left to another master have one.

    It may have ended in the same moment; a master in the background then sends them home.
    """
    if folder.served() or folder.followed() or not folder.database.exists():
        return
    client = Client(folder)
    try:
        with client.reader() as reader:
            left = reader.value("agents_left")
    finally:
        client.close()
    if left:
        start_detached(folder)


def start_detached(folder: StateFolder) -> None:
    """Start a master in the background; it ends when nothing is left to do."""
    log = folder.path / "logs" / "master.log"
    with log.open("ab") as out, around("follow.detach"):
        subprocess.Popen(
            # -P: never a json.py of the user's
            openfiles.as_started([sys.executable, "-P", "-m", "corral", "_master"]),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd=folder.path.parent,
        )


async def unwrapped(going: Awaitable[T]) -> T:
    """Take one error of ours out of the group that a task group makes of it."""
    try:
        return await going
    except BaseExceptionGroup as group:
        ours, rest = group.split(CorralError)
        if ours is not None and rest is None:
            raise _first(ours) from group
        raise


def _first(group: BaseExceptionGroup[CorralError]) -> CorralError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, CorralError)
    return error


class Signals:
    """What is asked by signals, from the first moment to the last."""

    def __init__(self) -> None:
        self._asked: collections.deque[str] = collections.deque()
        self._leave: Callable[[], None] | None = None
        self._busy = ""  # what is said at once, for the word is taken late

    async def heeded(self, going: Awaitable[T]) -> T:
        """Take signals for words while something goes on."""
        loop = asyncio.get_running_loop()
        words = {
            signal.SIGINT: "interrupt",
            signal.SIGTERM: "terminate",
            signal.SIGHUP: "hangup",
        }
        for number, word in words.items():
            loop.add_signal_handler(number, self._hear, word)
        try:
            return await going
        finally:
            for number in words:
                loop.remove_signal_handler(number)

    @contextlib.contextmanager
    def late(self, why: str) -> Generator[None]:
        """Say why nothing happens yet to whoever asks meanwhile."""
        self._busy = why
        try:
            yield
        finally:
            self._busy = ""

    def take(self) -> str:
        """Give the next word, "" if there is none."""
        return self._asked.popleft() if self._asked else ""

    def at_the_end(self, leave: Callable[[], None]) -> None:
        """Nobody takes words any more: whoever wants to go has no more to wait for."""
        self._leave = leave

    def _hear(self, word: str) -> None:
        if self._leave is None:
            self._asked.append(word)
            if self._busy and word != "hangup":
                talk(self._busy)
        elif word != "hangup":  # what is left to do needs no terminal
            self._leave()


class _Follower:
    """Follows one run: progress, signals, exit code."""

    def __init__(
        self,
        folder: StateFolder,
        session: Session,
        wish: Wish,
        told: list[Submitted],
        signals: Signals,
    ) -> None:
        self._folder = folder
        self._was_short = False
        self._session = session
        self._wish = wish
        self._told = told
        self._progress = Progress(quiet=wish.quiet)
        self._news = HostNews()
        self._signals = signals
        self._interrupts = 0
        self._code: int | None = None  # decided by a signal

    async def see_through(self) -> tuple[int, RunId]:
        if self._wish.stream is not None:
            with self._session.reader() as reader:
                self._wish.stream.begin(reader)
        run = await self._begin()
        if not self._wish.watch:
            await self._session.serve(run)
        try:
            ended = await self._wait(run)
        except NoHostError:
            hosts = await self._session.hosts(run)
            self._tell_hosts(hosts if len(hosts) > 1 else [])  # one alone is the error itself
            raise
        self._tell_hosts(await self._session.hosts(run), at_the_end=True)
        self._progress.clear()
        if self._code == DETACHED:
            return 0, run
        await self._session.collect(run)
        self._tell_of_another_command(ended)
        return self._exit_code(ended), run

    async def _begin(self) -> RunId:
        wish = self._wish
        if wish.run is not None:
            if wish.verb:
                await self._session.change(wish.verb, wish.run)
            return wish.run
        assert wish.submission is not None
        with self._signals.late("the tasks are being written down; it stops when they are"):
            submitted = await self._session.submit(wish.submission)
        self._told.append(submitted)
        if not wish.quiet and (words := news(submitted, wish.submission.name)):
            talk(words)
        return submitted.run

    async def _wait(self, run: RunId) -> Run:
        while True:
            await self._obey_signals(run)
            if self._code == DETACHED:
                return await self._session.look(run)
            rested = await self._session.rest(run)
            if self._wish.stream is not None:
                await asyncio.to_thread(self._print_new, self._wish.stream, run)
            hosts = await self._session.hosts(run)
            self._tell_hosts(hosts)
            self._tell_room()
            if rested is not None and not self._waits_for_unpause(rested):
                return rested
            if self._progress.due():
                seen = rested or await self._session.look(run)
                self._progress.show(seen, hosts=hostnews.summary(hosts), note=self._note())
            if rested is not None:
                await asyncio.sleep(EVERY_S)

    def _tell_hosts(self, hosts: list[RunHost], *, at_the_end: bool = False) -> None:
        """Say what has become of hosts since the last look."""
        if self._wish.quiet:
            return
        lines = self._news.lines(hosts)
        if at_the_end:
            lines += hostnews.unreached(hosts)
        if lines:
            self._progress.clear()
        for line in lines:
            talk(line)

    def _tell_of_another_command(self, ended: Run) -> None:
        """Say that tasks of this command were left, for another one no longer names them."""
        submission = self._wish.submission
        if submission is None:
            return
        with self._session.reader() as reader:
            if queries.source(reader, ended.id) == submission.source:
                return
            every = queries.tasks(reader, ended, everything=True)
            left = any(task.position is None and task.state == "skipped" for task in every)
        if left:
            talk(
                f"{ended.name}: another command has taken its place, which names "
                f"{counted(ended.tasks, 'task')}; the rest of this one runs when it is given again"
            )

    def _print_new(self, stream: Stream, run: RunId) -> None:
        with self._session.reader() as reader:
            stream.show(reader, run, first=self._progress.clear)

    def _tell_room(self) -> None:
        """Say that the disk is nearly full, and when it is not any more."""
        shortage = self._folder.shortage()
        if self._wish.quiet or bool(shortage) == self._was_short:
            return
        self._was_short = bool(shortage)
        self._progress.clear()
        talk(shortage or f"there is room again for {self._folder.path}")

    def _waits_for_unpause(self, run: Run) -> bool:
        """Say whether a paused run is worth staying for: a person may see it and unpause."""
        by_itself = run.reason != "asked"
        return run.state == "paused" and (self._progress.live or not by_itself)

    def _note(self) -> str:
        if self._interrupts == 1:
            return "finishing what runs (Ctrl-C again kills it)"
        return "killing what runs" if self._interrupts else ""

    # ---------------------------------------------------------------- signals

    async def _obey_signals(self, run: RunId) -> None:
        while word := self._signals.take():
            match word:
                case "interrupt":
                    await self._interrupt(run)
                case "terminate":
                    self._code = 143
                    await self._session.change("kill", run)
                case _:
                    await self._hang_up(run)

    async def _interrupt(self, run: RunId) -> None:
        if self._wish.watch:
            self._code = DETACHED
            return
        self._interrupts += 1
        self._progress.clear()
        try:
            if self._interrupts == 1:
                self._code = 75
                talk("no new tasks; those that run may finish (Ctrl-C again kills them)")
                await self._session.change("stop", run)
            else:
                self._code = 130
                await self._session.change("kill", run)
        except CorralError:
            self._code = None  # it has just ended by itself

    async def _hang_up(self, run: RunId) -> None:
        """The terminal is gone, the work goes on: nobody reads us any more."""
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.close(null)
        self._progress = Progress(quiet=True)
        await self._session.change("detach", run)
        if isinstance(self._session, _Beside):
            self._code = DETACHED

    # ---------------------------------------------------------------- the end

    def _exit_code(self, run: Run) -> int:
        if run.state == "done":
            unfinished = ("failed", "cancelled", "parked")
            return 1 if any(run.counts[state] for state in unfinished) else 0
        if self._code is not None:
            return self._code
        return 1 if run.state == "cancelled" else 5


DETACHED = -1  # not an exit code: the run goes on without us


class _Inside:
    """The master is this process."""

    def __init__(self, master: Master) -> None:
        self._master = master

    async def submit(self, submission: Submission) -> Submitted:
        return await self._master.submit(submission, environment.own())

    async def change(self, verb: str, run: RunId) -> None:
        await self._master.change(verb, run)

    async def serve(self, run: RunId) -> None:
        await self._master.serve_run(run, environment.own())

    async def rest(self, run: RunId) -> Run | None:
        return await self._master.rest(run, every_s=EVERY_S)

    async def look(self, run: RunId) -> Run:
        with self._master.store.reader() as reader:
            return queries.run(reader, run)

    async def hosts(self, run: RunId) -> list[RunHost]:
        return self._master.hosts(run)

    async def collect(self, run: RunId) -> None:
        self._master.release_agents()  # they go while the results are put in order
        await self._master.collect(run)

    def reader(self) -> AbstractContextManager[Reader]:
        return self._master.store.reader()


class _Beside:
    """The master is another process; what is looked at comes from the database."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def submit(self, submission: Submission) -> Submitted:
        return await self._ask(lambda: self._client.submit(submission))

    async def change(self, verb: str, run: RunId) -> None:
        await self._ask(lambda: self._client.change(verb, run))

    async def serve(self, run: RunId) -> None:
        await self._ask(lambda: self._client.serve_run(run))

    async def rest(self, run: RunId) -> Run | None:
        await asyncio.sleep(EVERY_S)
        with self._client.reader() as reader:
            found = queries.run(reader, run)
            busy = reader.value("run_live_attempts", run)
            hosts = queries.hosts_of(reader, run)
            if found.state not in ("open", "preparing") and not busy:
                return found
            unusable = queries.unusable(reader, found, hosts)
        if unusable is not None:
            raise unusable
        if self._client.folder.master() is None:
            raise MasterGoneError
        return None

    async def look(self, run: RunId) -> Run:
        with self._client.reader() as reader:
            return queries.run(reader, run)

    async def hosts(self, run: RunId) -> list[RunHost]:
        with self._client.reader() as reader:
            return queries.hosts_of(reader, run)

    async def collect(self, run: RunId) -> None:
        if not await self._ask(lambda: self._client.collect(run)):
            raise MasterGoneError

    def reader(self) -> AbstractContextManager[Reader]:
        return self._client.reader()

    async def _ask(self, call: Callable[[], T]) -> T:
        """Ask in a thread; a master that ended meanwhile, or is about to, is no error."""
        try:
            return await asyncio.to_thread(call)
        except MasterError:
            deadline = time.monotonic() + ENDING_S
            while self._client.folder.master() is not None:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(LOOK_S)
            raise MasterGoneError from None


def summary(submitted: Submitted) -> str:
    """Say in a line what became of a submission."""
    parts = [f"{submitted.name}: {counted(submitted.tasks, 'task')}"]
    if submitted.why_fresh:
        parts.append(f"{plain(submitted.why_fresh)}: all start afresh")
    elif submitted.kept or submitted.again:
        parts += [
            f"{number} {word}"
            for number, word in (
                (submitted.kept, "kept"),
                (submitted.again, "again"),
                (submitted.new, "new"),
            )
            if number
        ]
        if submitted.unfinished:
            parts.append(f"{submitted.unfinished + submitted.again + submitted.new} to do")
        elif not submitted.again and not submitted.new:
            parts.append("nothing to do")
    return ", ".join(parts)


def news(submitted: Submitted, name: str) -> str:
    """Say what the preview could not know: the name it got, what is kept, why all is fresh."""
    known = submitted.why_fresh or submitted.kept or submitted.again or submitted.name != name
    return summary(submitted) if known else ""


def relative(path: str) -> str:
    """Write a path as seen from here, if that is shorter."""
    with contextlib.suppress(ValueError, OSError):
        return str(Path(path).relative_to(Path.cwd()))
    return path
