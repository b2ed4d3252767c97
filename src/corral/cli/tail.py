"""``corral logs -f``: what a task writes, printed while it runs, and equal to its result in the end.

While an attempt runs, the master passes on what its host sees; nothing of that is stored. All that comes,
and at the end the result, is held against what was printed before: so nothing is printed twice, nothing is
left out, and an attempt that writes something else than the one before it is named and begun anew.
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
    from corral.model.run import Run
    from corral.model.task import Result, TaskDetail

LOOK_S = 0.1  # between looks while no attempt is under way
PIECE = 1 << 20  # bytes
ON_ITS_WAY = ("waiting", "active")
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
        self._places = [0, 0]  # how much of the attempt's streams has come
        self._attempt: Attempt | None = None  # that is followed
        self._known: set[int] | None = None  # numbers of the attempts that were spoken of
        self._said = ""
        self._master_seen = time.monotonic() if client.folder.served() else -math.inf

    def follow(self) -> None:
        """Print what the task writes until it ends.

        Raises:
            MasterError: There is no master, so nothing more will come; what is stored is printed.
        """
        while (detail := self._look()).task.state in ON_ITS_WAY:
            if not self._served():
                self._print_result()
                raise MasterError(
                    f"no master is there: task {self._number} is {detail.task.state}",
                    hint=f"corral resume {self._run.name} goes on",
                )
            self._choose(detail.attempts)
            if self._attempt is None:
                self._wait(detail)
            else:
                self._read_on(self._attempt)
        self._print_result()
        if detail.task.state != "done":
            talk(f"task {self._number} is {detail.task.state}: {detail.task.reason or 'asked'}")

    def _look(self) -> TaskDetail:
        with self._client.reader() as reader:
            self._run = queries.run(reader, self._run.id)
            detail = queries.task_detail(reader, self._run, self._number)
        self._announce(detail.attempts)
        return detail

    def _announce(self, attempts: Sequence[Attempt]) -> None:
        """Say which attempts have begun since; of what was there before, only what still runs."""
        if self._known is None:
            self._known = {one.number for one in attempts if one.number == 1 or not _lives(one)}
        for one in attempts:
            if one.number not in self._known:
                self._known.add(one.number)
                if one.number > 1:
                    self._say(f"attempt {one.number} on {one.host} ({WHY[one.reason]})")

    def _served(self) -> bool:
        """Say whether a master is there, or may be again: the next one needs its time."""
        if self._client.folder.master() is not None:
            self._master_seen = time.monotonic()
        return time.monotonic() - self._master_seen <= BETWEEN_MASTERS_S

    def _choose(self, attempts: Sequence[Attempt]) -> None:
        """Stay with the attempt that is followed while it lives; else take the first that does."""
        live = [one for one in attempts if _lives(one)]
        if self._attempt is None or self._attempt.number not in {one.number for one in live}:
            self._attempt = live[0] if live else None
            self._places = [0, 0]

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

    def _print_result(self) -> None:
        """Print what is stored of the task, as far as that was not printed before."""
        with self._client.reader() as reader:
            result = queries.result(reader, queries.task(reader, self._run, self._number))
            source = RunSource(reader, self._client.folder.blobs, self._run)
            self._places = [0, 0]
            for n, captured in enumerate((result.stdout, result.stderr)):
                for piece in chunks(source, captured):
                    self._take(n, piece, _whose(result))
                printed = self._printed[n]
                if printed is not None and captured.size < printed.size:
                    self._say(f"{_whose(result)} is the beginning of what stands above:")
                    printed.begin_anew(captured.size)

    def _say(self, text: str) -> None:
        talk(f"task {self._number}: {text}")


def _lives(attempt: Attempt) -> bool:
    return attempt.state in ("leased", "running")


def _whose(result: Result) -> str:
    return f"attempt {result.attempt} ({'the result' if result.state == 'done' else result.state})"
