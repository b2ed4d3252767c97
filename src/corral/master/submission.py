"""Carries out a submission: expands the command batch by batch and hands the rows to the engine.

Other runs' exchanges are served between the batches.
"""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from corral.engine import submit
from corral.engine.submit import Begun, Filled, NewTask
from corral.work import identity
from corral.work.render import Renderer, Setting
from corral.work.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from corral.ids import RunId
    from corral.model.run import Submission, Submitted
    from corral.store.base import Store, Tx
    from corral.work.sweep import Row


def carry_out(
    store: Store,
    submission: Submission,
    now: Callable[[], float],
    *,
    begun: Callable[[RunId], None],
) -> Submitted:
    """Submit, from a thread that may wait; gives what became of it.

    ``begun`` is called, in whatever thread, before any task of the run can be handed out.

    Raises:
        UsageError: The name is taken, …
        StoreError: The database cannot be written.
    """
    sweep = Sweep.of(submission.command, reps=submission.options.reps)
    rows = _Rows(submission)
    named = iter(sweep)
    batch = [rows.make(row) for row in islice(named, submit.BATCH)]
    following = [rows.make(row) for row in islice(named, submit.BATCH)]
    if not following:
        return store.write(_at_once, submission, batch, now(), begun).result()
    place = store.write(submit.begin, submission, now()).result()
    begun(place.run)
    filled = Filled()
    last_number = place.last_number
    tasks = 0
    while batch:
        pending = _add(store, place, batch, tasks, last_number)
        tasks += len(batch)
        batch, following = following, [rows.make(row) for row in islice(named, submit.BATCH)]
        done, last_number = pending.result()
        filled = filled.plus(done)
    return store.write(submit.finish, place, filled, tasks=tasks, now=now()).result()


def _at_once(
    tx: Tx,
    submission: Submission,
    batch: list[NewTask],
    now: float,
    begun: Callable[[RunId], None],
) -> Submitted:
    submitted = submit.at_once(tx, submission, batch, now)
    begun(submitted.run)
    return submitted


def _add(
    store: Store, place: Begun, batch: list[NewTask], start: int, last_number: int
) -> Future[tuple[Filled, int]]:
    return store.write(submit.add, place, batch, first_position=start + 1, last_number=last_number)


class _Rows:
    """Turns a sweep's rows into what is stored."""

    def __init__(self, submission: Submission) -> None:
        self._names = submission.command.names
        self._renderer = Renderer(submission.command)
        self._digests = {file.path: file.sha256 for file in submission.value_inputs}
        self._values: tuple[str, ...] | None = None
        self._params = ""

    def make(self, row: Row) -> NewTask:
        if row.values is not self._values:  # replicates share their values
            self._values = row.values
            self._params = msgspec.json.encode(row.values).decode()
        return NewTask(
            key=identity.task_key(self._names, row.values, row.rep, row.k),
            params=self._params,
            rep=row.rep,
            k=row.k,
            input_digest=self._digest(row) if self._renderer.ships_values else "",
        )

    def _digest(self, row: Row) -> str:
        """Digest the files that only this task gets: other bytes make it fresh."""
        setting = Setting(row.values, row.rep, row.k, 0, "", "", 1)
        lines = list(self._lines(setting))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]

    def _lines(self, setting: Setting) -> Iterator[str]:
        for file in self._renderer.inputs(setting):
            yield f"{file.place}\0{self._digests[file.place]}"
        for text in self._renderer.texts(setting):
            yield f"{text.path}\0{int(text.executable)}{text.text}"
