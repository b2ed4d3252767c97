"""``corral logs -f``: what a task writes, printed while it runs, and equal to its result in the end.

While an attempt runs, the master passes on what its host sees; nothing of that is stored. All that comes,
and at the end the result, is held against what was printed before: so nothing is printed twice, nothing is
left out, and an attempt that writes something else than the one before it is named and begun anew.
Attempts come in their order: what one left that failed comes before anything of the next.
"""

from __future__ import annotations

import math
import tempfile
import time
from typing import TYPE_CHECKING, BinaryIO

from corral.cli.output import talk
from corral.client import BETWEEN_MASTERS_S
from corral.engine import queries
from corral.errors import MasterError
from corral.master.collector import RunSource
from corral.model.asked import Follow
from corral.results.source import chunks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from corral.client import Client
    from corral.model.attempt import Attempt, Reason
    from corral.model.run import Run, TaskState
    from corral.model.task import Result, TaskDetail
    from corral.store.base import Reader

LOOK_S = 0.1  # between looks while no attempt is under way
PIECE = 1 << 20  # bytes
ON_ITS_WAY = ("waiting", "active")
LIVES = ("leased", "running")
BY_ITSELF = ("failed", "rejected", "returned")  # so it ended, and others come after it
WHY: Mapping[Reason, str] = {
    "first": "the first",
    "lost": "the one before was lost",
    "failed": "the one before failed",
    "rejected": "the result of the one before was rejected",
    "straggler": "a twin: the one before is late",
    "asked": "asked for",
}


class Printed:
    """What went to one stream so far, kept to hold against it what comes."""

    def __init__(self, to: BinaryIO) -> None:
        self._to = to
        self._kept = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as this process)
        self.size = 0

    def take(self, offset: int, data: bytes) -> bool:
        """Print what of ``data`` is new; False, and nothing, if it is not what was printed there."""
        known = data[: max(0, self.size - offset)]
        if self._read(offset, len(known)) != known:
            return False
        new = data[len(known) :]
        self._kept.seek(self.size)
        self._kept.write(new)
        self.size += len(new)
        self._write(new)
        return True

    def begin_anew(self, kept: int) -> None:
        """Print the first ``kept`` bytes once more: from there on something else comes."""
        self.size = kept
        for offset in range(0, kept, PIECE):
            self._write(self._read(offset, min(PIECE, kept - offset)))

    def _read(self, offset: int, size: int) -> bytes:
        self._kept.seek(offset)
        return self._kept.read(size)

    def _write(self, data: bytes) -> None:
        self._to.write(data)
        self._to.flush()


class TaskTail:
    """Follows one task; ``stdout`` and ``stderr`` are where its streams go, None: nowhere."""

    def __init__(
        self,
        client: Client,
        run: Run,
        number: int,
        *,
        stdout: BinaryIO | None,
        stderr: BinaryIO | None,
    ) -> None:
        self._client = client
        self._run = run
        self._number = number
        self._printed = (
            None if stdout is None else Printed(stdout),
            None if stderr is None else Printed(stderr),
        )
        self._attempt: Attempt | None = None  # that is followed ...
        self._places = [0, 0]  # ... and how much of its streams has come
        self._announced: set[int] | None = None  # numbers of attempts that were spoken of ...
        self._past: set[int] = set()  # ... and of those that nothing is to be printed of any more
        self._said = ""
        self._master_seen = time.monotonic() if client.folder.served() else -math.inf

    def follow(self) -> TaskState:
        """Print what the task writes until it ends; say how it did.

        Raises:
            MasterError: There is no master, so nothing more will come; what is stored is printed.
        """
        while (detail := self._look()).task.state in ON_ITS_WAY:
            if not self._served():
                self._print_result(detail.attempts)
                raise MasterError(
                    f"no master is there: task {self._number} is {detail.task.state}",
                    hint=f"corral resume {self._run.name} goes on",
                )
            attempt = self._go_through(detail.attempts)
            if attempt is None:
                self._wait(detail)
            else:
                self._read_on(attempt)
        self._print_result(detail.attempts)
        if detail.task.state != "done":
            talk(f"task {self._number} is {detail.task.state}: {detail.task.reason or 'asked'}")
        return detail.task.state

    def _look(self) -> TaskDetail:
        with self._client.reader() as reader:
            self._run = queries.run(reader, self._run.id)
            detail = queries.task_detail(reader, self._run, self._number)
        if self._announced is None:  # of what was there before, only what still runs is news
            self._announced = {1} | {
                one.number for one in detail.attempts if one.state not in LIVES
            }
            self._past = {one.number for one in detail.attempts if one.state == "ended"}
        return detail

    def _go_through(self, attempts: Sequence[Attempt]) -> Attempt | None:
        """Print what those that ended left, each before the next; give the first that still runs.

        None: there is none, or it is not known yet what becomes of the one before.
        """
        current: Attempt | None = None
        for one in attempts:
            if one.number in self._past:
                continue
            self._announce(one)
            if current is not None or one.state != "ended":
                current = current or one  # its twins wait until it has ended
                continue
            self._past.add(one.number)
            if one.outcome in BY_ITSELF:
                self._print_attempt(one)
        return current if current is not None and current.state in LIVES else None

    def _announce(self, attempt: Attempt) -> None:
        assert self._announced is not None
        if attempt.number not in self._announced:
            self._announced.add(attempt.number)
            self._say(f"attempt {attempt.number} on {attempt.host} ({WHY[attempt.reason]})")

    def _served(self) -> bool:
        """Say whether a master is there, or may be again: the next one needs its time."""
        if self._client.folder.master() is not None:
            self._master_seen = time.monotonic()
        return time.monotonic() - self._master_seen <= BETWEEN_MASTERS_S

    def _wait(self, detail: TaskDetail) -> None:
        """Let a moment pass; say what is waited for, once."""
        if not any(one.state == "reported" for one in detail.attempts):
            begun = "waits for another attempt" if detail.attempts else "has not begun"
            why = "" if self._run.state == "open" else f": its run is {self._run.state}"
            if self._said != begun + why:
                self._said = begun + why
                self._say(self._said)
        time.sleep(LOOK_S)

    def _read_on(self, attempt: Attempt) -> None:
        """Print what has come of the attempt since."""
        if self._attempt is None or self._attempt.number != attempt.number:
            self._places = [0, 0]
        self._attempt = attempt
        places = [
            None if printed is None else place
            for printed, place in zip(self._printed, self._places, strict=True)
        ]
        try:
            followed = self._client.follow(
                Follow(ticket=attempt.ticket, offsets=(places[0], places[1]))
            )
        except MasterError:  # it ends; the next one may take its place
            time.sleep(LOOK_S)
            return
        for n, data in enumerate((followed.stdout, followed.stderr)):
            self._take(n, data, f"attempt {attempt.number}")

    def _take(self, n: int, data: bytes, whose: str) -> None:
        printed = self._printed[n]
        if printed is None or not data:
            return
        if not printed.take(self._places[n], data):
            self._say(f"{whose} wrote something else than what stands above; from its beginning:")
            printed.begin_anew(self._places[n])
            printed.take(self._places[n], data)
        self._places[n] += len(data)

    def _print_attempt(self, attempt: Attempt) -> None:
        """Print what an attempt left that was not the last."""
        with self._client.reader() as reader:
            task = queries.task(reader, self._run, self._number)
            number = queries.attempt(reader, task, attempt.number)
            result = queries.result_of_attempt(reader, number)
            self._print_left(reader, result, f"attempt {attempt.number} ({attempt.outcome})")

    def _print_result(self, attempts: Sequence[Attempt]) -> None:
        """Print what is stored of the task, and of the attempts before."""
        with self._client.reader() as reader:
            result = queries.result(reader, queries.task(reader, self._run, self._number))
            self._go_through([one for one in attempts if one.number <= result.attempt])
            said = "the result" if result.state == "done" else result.state
            self._print_left(reader, result, f"attempt {result.attempt} ({said})")

    def _print_left(self, reader: Reader, result: Result, whose: str) -> None:
        """Print what an attempt left, as far as that was not printed before."""
        source = RunSource(reader, self._client.folder.blobs, self._run)
        self._places = [0, 0]
        for n, captured in enumerate((result.stdout, result.stderr)):
            for piece in chunks(source, captured):
                self._take(n, piece, whose)
            printed = self._printed[n]
            if printed is not None and captured.size < printed.size:
                self._say(f"{whose} is the beginning of what stands above:")
                printed.begin_anew(captured.size)

    def _say(self, text: str) -> None:
        talk(f"task {self._number}: {text}")
