"""The tables: ``results.csv``, ``attempts.csv``, ``failed.csv``; which columns, what stands in them."""

from __future__ import annotations

import csv
from array import array
from datetime import UTC
from typing import TYPE_CHECKING, BinaryIO

from corral.results.source import chunks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from corral.model.attempt import Attempt
    from corral.model.task import Captured, Result
    from corral.results.source import Source

BEFORE = ("task",)  # columns of results.csv before the parameters
STATE = ("rep", "state", "exit")  # after them; so far the table is the same whatever went wrong
CIRCUMSTANCES = ("seconds", "peak_mb", "host", "attempt")
ATTEMPT = (
    "task", "attempt", "host", "slot", "start", "seconds", "exit", "outcome", "kind", "reason",
)  # fmt: skip
FAILURE = ("task", "rep", "reason", "exit", "stderr", "hosts", "attempts")

TAIL_LINES = 3  # of stderr that failed.csv shows
TAIL_CHARS = 500  # … at most
TAIL_BYTES = 4096  # that surely hold them


class Csv:
    """A CSV file in UTF-8: a comma, ``\\n``, quotes only where they are needed."""

    def __init__(self, out: BinaryIO, header: Iterable[str]) -> None:
        self._out = out
        self.row = csv.writer(self).writerow
        self.row(header)

    def write(self, line: str) -> None:
        r"""Take a line from the csv module.

        Its lines end with ``\r\n``: before Python 3.13 it quotes a ``\r`` within a field only
        then, and without quotes the field would not come back.
        """
        self._out.write((line[:-2] + "\n").encode("utf-8", "surrogateescape"))


class HostsTried:
    """Remembers which hosts had each task: four bytes a task, however many there are."""

    def __init__(self) -> None:
        self._lists: list[tuple[str, ...]] = [()]
        self._ids: dict[tuple[str, ...], int] = {(): 0}
        self._of_task = array("I")  # index: the task's number

    def add(self, attempt: Attempt) -> None:
        """Note an attempt, unless it was given back."""
        if attempt.outcome == "returned":
            return
        so_far = self.of(attempt.task)
        if attempt.host in so_far:
            return
        if attempt.task >= len(self._of_task):
            self._of_task.extend([0] * (attempt.task + 1 - len(self._of_task)))
        self._of_task[attempt.task] = self._id((*so_far, attempt.host))

    def of(self, task: int) -> tuple[str, ...]:
        """Name the hosts, the first one first."""
        return self._lists[self._of_task[task]] if task < len(self._of_task) else ()

    def _id(self, hosts: tuple[str, ...]) -> int:
        found = self._ids.setdefault(hosts, len(self._lists))
        if found == len(self._lists):
            self._lists.append(hosts)
        return found


class Results:
    """``results.csv``: a row per task."""

    def __init__(self, out: BinaryIO, names: Sequence[str]) -> None:
        ours = (*BEFORE, *STATE, *CIRCUMSTANCES)
        self._csv = Csv(out, (*BEFORE, *yielding(names, to=ours), *STATE, *CIRCUMSTANCES))

    def add(self, result: Result) -> None:
        """Append a task. Of one that goes on, an earlier attempt's exit code would say nothing."""
        ended = result.state in ("done", "failed")
        self._csv.row(
            (
                result.number,
                *result.values,
                result.rep,
                result.state,
                _exit(result) if ended else None,
                None if result.seconds is None else f"{result.seconds:.3f}",
                None if result.peak_kb is None else f"{result.peak_kb / 1024:.1f}",
                result.host,
                result.attempt or None,
            )
        )


class Failures:
    """``failed.csv``: a row per failed task; with ``--params`` its parameters go in again.

    So here a parameter keeps its name, and a column of ours gives way.
    """

    def __init__(self, out: BinaryIO, source: Source, tried: HostsTried) -> None:
        self._source = source
        self._tried = tried
        task, *others = yielding(FAILURE, to=source.names)
        self._csv = Csv(out, (task, *source.names, *others))

    def add(self, result: Result) -> None:
        """Append a failed task."""
        self._csv.row(
            (
                result.number,
                *result.values,
                result.rep,
                result.reason,
                _exit(result),
                last_lines(self._source, result.stderr),
                " ".join(self._tried.of(result.number)),
                result.attempt,
            )
        )


class Attempts:
    """``attempts.csv``: who did what, and why it was handed out."""

    def __init__(self, out: BinaryIO) -> None:
        self._csv = Csv(out, ATTEMPT)

    def add(self, attempt: Attempt) -> None:
        """Append an attempt."""
        self._csv.row(
            (
                attempt.task,
                attempt.number,
                attempt.host,
                attempt.slot,
                _instant(attempt),
                None if attempt.seconds is None else f"{attempt.seconds:.3f}",
                _exit(attempt),
                attempt.outcome or attempt.state,
                attempt.kind,
                attempt.reason,
            )
        )


def yielding(names: Sequence[str], *, to: Collection[str]) -> list[str]:
    """Name columns beside others that have their names already: who collides gets a ``_``."""
    taken = {*names, *to}
    found = []
    for name in names:
        column = name
        while column in to or (column != name and column in taken):
            column += "_"
        taken.add(column)
        found.append(column)
    return found


def last_lines(source: Source, captured: Captured) -> str:
    """Give the end of what a task wrote, as text."""
    end = b""
    for data in chunks(source, captured):
        end = (end + data)[-TAIL_BYTES:]
    lines = end.decode("utf-8", "replace").rstrip().splitlines()
    return "\n".join(lines[-TAIL_LINES:])[-TAIL_CHARS:]


def _exit(ended: Result | Attempt) -> int | None:
    """Give the exit code, -9 of what signal 9 ended; None if it came to neither."""
    if ended.exit is None and ended.signal is not None:
        return -ended.signal
    return ended.exit


def _instant(attempt: Attempt) -> str | None:
    """Write when it started, as in ``2026-11-21T04:46:45.120Z``; None if it did not."""
    if attempt.started is None:
        return None
    utc = attempt.started.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="milliseconds") + "Z"
