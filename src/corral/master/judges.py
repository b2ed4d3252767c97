"""Runs the checks of reported attempts, outside any transaction, then tells the engine.

What cannot be checked now stays ``reported`` and is looked at again; nothing is lost by a crash here.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from corral.engine import judge
from corral.engine.judge import Verdict
from corral.ids import AttemptId, RunId
from corral.model.task import ResultFile
from corral.results import checks
from corral.work.render import Setting

if TYPE_CHECKING:
    from corral.clock import Clock
    from corral.engine.parts import Parts
    from corral.store.base import Reader, Row, Store

BATCH = 200  # attempts judged between two looks at the queue


class Judges:
    """Judges attempts as they are reported."""

    def __init__(self, store: Store, parts: Parts, clock: Clock) -> None:
        self._store = store
        self._parts = parts
        self._clock = clock
        self._wanted = asyncio.Event()
        self._wanted.set()  # a master before this one may have left some

    def wake(self) -> None:
        """Look for attempts to judge."""
        self._wanted.set()

    async def work(self) -> None:
        """Judge for as long as the master lives."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while await self._judge_some():
                pass

    async def _judge_some(self) -> bool:
        verdicts = await asyncio.to_thread(self._look)
        pending = [
            asyncio.wrap_future(self._store.write(judge.judge, attempt, verdict, self._clock.now()))
            for attempt, verdict in verdicts
        ]
        for done in pending:
            await done
        return bool(pending)

    def _look(self) -> list[tuple[AttemptId, Verdict]]:
        with self._store.reader() as reader:
            rows = reader.rows("attempts_to_judge", 0, BATCH)
            return [(AttemptId(row[0]), self._verdict(reader, row)) for row in rows]

    def _verdict(self, reader: Reader, row: Row) -> Verdict:
        attempt, run, generation, number, params, rep, k, ticket, host = row
        part = self._parts.get(reader, RunId(run), generation)
        expected = part.renderer.outputs(
            Setting(tuple(json.loads(params)), rep, k, number, ticket, host, part.message.cpus)
        )
        files = [
            ResultFile(name=name, size=size, sha256=sha256, mode=mode)
            for name, size, sha256, mode in reader.rows("files_of_attempt", attempt)
        ]
        reason = checks.missing(
            [(output.name, output.kind) for output in expected], [file.name for file in files]
        )
        return Verdict(ok=not reason, reason=reason)
