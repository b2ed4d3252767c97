"""Runs the checks of reported attempts, outside any transaction, then tells the engine.

What cannot be checked now stays ``reported`` and is looked at again; nothing is lost by a crash here.
Checks that are the user's own programs run beside the others, a few at a time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from corral.engine import judge, queries
from corral.engine.judge import Verdict
from corral.errors import StoreError
from corral.ids import AttemptId, RunId
from corral.master.collector import RunSource
from corral.results import checks
from corral.results.checks import NoVerdictError
from corral.work.render import Setting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.clock import Clock
    from corral.engine.parts import Parts
    from corral.model.task import Result
    from corral.results.checks import Check
    from corral.store.base import Reader, Row, Store
    from corral.store.blobs import Blobs

    Answer = tuple[AttemptId, Verdict | NoVerdictError]

log = logging.getLogger(__name__)

AGAIN_S = 1.0  # until verdicts that could not be stored are found anew
BATCH = 100  # attempts judged between two looks at the queue; their outputs are in memory
PAGE = 1_000  # rows looked at in one query
WAITING = 64  # attempts that wait for a seat: enough to keep all seats taken


class Judges:
    """Judges attempts as they are reported."""

    def __init__(self, store: Store, parts: Parts, blobs: Blobs, clock: Clock) -> None:
        self._store = store
        self._parts = parts
        self._blobs = blobs
        self._clock = clock
        self._wanted = asyncio.Event()
        self._wanted.set()  # a master before this one may have left some
        self._busy: dict[AttemptId, _Looking] = {}  # that a program looks at, or soon will
        self._seats = asyncio.Semaphore(os.cpu_count() or 1)

    def wake(self) -> None:
        """Look for attempts to judge."""
        self._wanted.set()

    def let_go(self, run: RunId | None = None) -> None:
        """End the programs that look at results of a run, or of all; they look again later."""
        for looking in self._busy.values():
            if run in (None, looking.run):
                looking.stop.set()

    async def work(self) -> None:
        """Judge for as long as the master lives."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._wanted.wait()
                    self._wanted.clear()
                    try:
                        while await self._judge_some(group):
                            pass
                    except StoreError as error:  # the disk is full, say: nothing is judged yet
                        await self._try_later(error)
        finally:
            self.let_go()

    async def _judge_some(self, group: asyncio.TaskGroup) -> bool:
        """Judge a batch; what a program must see is begun, and goes on by itself."""
        quick, slow = await asyncio.to_thread(self._find)
        for row in slow:
            looking = _Looking(RunId(row[1]), threading.Event())
            self._busy[AttemptId(row[0])] = looking
            group.create_task(self._judge_slowly(row, looking.stop), name=f"check {row[7]}")
        await self._tell(await asyncio.to_thread(self._answers, quick, None))
        return bool(quick or slow)

    async def _judge_slowly(self, row: Row, stop: threading.Event) -> None:
        try:
            async with self._seats:
                await self._tell(await asyncio.to_thread(self._answers, [row], stop))
        except asyncio.CancelledError:
            stop.set()  # the master ends, but the thread would go on
            raise
        except StoreError as error:
            await self._try_later(error)
        del self._busy[AttemptId(row[0])]
        self.wake()

    async def _try_later(self, error: StoreError) -> None:
        log.warning("verdicts not recorded reason=%s", error)
        await self._clock.sleep(AGAIN_S)
        self.wake()

    async def _tell(self, answers: Sequence[Answer]) -> None:
        now = self._clock.now()
        pending = [
            self._store.write(judge.judge, attempt, answer, now)
            if isinstance(answer, Verdict)
            else self._store.write(judge.no_verdict, attempt, str(answer), now)
            for attempt, answer in answers
        ]
        for written in pending:
            await asyncio.wrap_future(written)

    def _find(self) -> tuple[list[Row], list[Row]]:
        """List attempts to judge: those that are quickly done, and those that a program must see.

        However many wait for a program, those behind them that need none are found.
        """
        quick: list[Row] = []
        slow: list[Row] = []
        programs: dict[tuple[int, int], bool] = {}
        after = 0
        with self._store.reader() as reader:
            while len(quick) < BATCH and (page := reader.rows("attempts_to_judge", after, PAGE)):
                after = page[-1][0]
                for row in page:
                    if (row[1], row[2]) not in programs:
                        programs[row[1], row[2]] = self._has_program(reader, RunId(row[1]), row[2])
                    if not programs[row[1], row[2]]:
                        quick.append(row)
                    elif row[0] not in self._busy and len(self._busy) + len(slow) < WAITING:
                        slow.append(row)
        return quick[:BATCH], slow

    def _has_program(self, reader: Reader, run: RunId, generation: int) -> bool:
        command = self._parts.get(reader, run, generation).command
        return any(checks.read(text).kind == "program" for text in command.checks)

    def _answers(self, rows: Sequence[Row], stop: threading.Event | None) -> list[Answer]:
        """Judge, with no snapshot of the database open: a program may take its time."""
        with self._store.reader() as reader:
            subjects = [self._subject(reader, row) for row in rows]
        found: list[Answer] = []
        for subject in subjects:
            try:
                verdict = subject.judge(stop)
            except NoVerdictError as error:
                if stop is not None and stop.is_set():
                    continue  # it was us who ended the program: it will look again
                found.append((subject.attempt, error))
            else:
                found.append((subject.attempt, verdict))
        return found

    def _subject(self, reader: Reader, row: Row) -> _Subject:
        attempt, number, generation, task, params, rep, k, ticket, host, said = row
        part = self._parts.get(reader, RunId(number), generation)
        result = queries.result_of_attempt(reader, attempt)
        expected = part.renderer.outputs(
            Setting(tuple(json.loads(params)), rep, k, task, ticket, host, part.message.cpus)
        )
        run = queries.run(reader, RunId(number)) if part.command.checks else None
        counts = run is not None and run.generation == generation  # else it needs no check
        missing = checks.missing(
            [(output.name, output.kind) for output in expected],
            [file.name for file in result.files],
        )
        return _Subject(
            attempt=AttemptId(attempt),
            result=result,
            missing=f"{missing}: {said}" if missing and said else missing,
            source=RunSource(reader, self._blobs, run) if run is not None and counts else None,
            checks=tuple(checks.read(text) for text in part.command.checks),
        )


class _Looking(NamedTuple):
    """A program that looks at a result, or waits for a seat."""

    run: RunId
    stop: threading.Event


class _Subject(NamedTuple):
    """An attempt with all that judging it needs."""

    attempt: AttemptId
    result: Result
    missing: str  # of the declared outputs, and what the host said of it; "" = none
    source: RunSource | None  # None: there is nothing more to check
    checks: tuple[Check, ...]

    def judge(self, stop: threading.Event | None) -> Verdict:
        """Carry out the checks.

        Raises:
            NoVerdictError: One could not say.
        """
        if self.missing or self.source is None:
            return Verdict(ok=not self.missing, reason=self.missing)
        found = checks.judge(self.checks, self.source, self.result, stop=stop)
        return Verdict(ok=found.ok, reason=found.reason)
