"""The tables: ``results.csv``, ``attempts.csv``, ``failed.csv``; which columns, what stands in them."""

from __future__ import annotations

from array import array
from datetime import UTC
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO

from corral.results.sheet import Csv, Sheet, free
from corral.results.source import chunks

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

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

NO_VALUES: Mapping[str, str] = MappingProxyType({})

TAIL_LINES = 3  # of stderr that failed.csv shows
TAIL_CHARS = 500  # … at most
TAIL_BYTES = 4096  # that surely hold them


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
    """``results.csv``: a row per task, with a column per value that was found in what they wrote."""

    def __init__(self, out: BinaryIO, names: Sequence[str], *, folder: Path | None = None) -> None:
        ours = (*BEFORE, *STATE, *CIRCUMSTANCES)
        before = (*BEFORE, *yielding(names, to=ours), STATE[0])
        self._sheet = Sheet(out, before, (*STATE[1:], *CIRCUMSTANCES), folder=folder)

    def add(self, result: Result, values: Mapping[str, str] = NO_VALUES) -> None:
        """Append a task. Of one that goes on, an earlier attempt's exit code would say nothing."""
        ended = result.state in ("done", "failed")
        self._sheet.add(
            (result.number, *result.values, result.rep),
            values,
            (
                result.state,
                exit_code(result) if ended else None,
                None if result.seconds is None else f"{result.seconds:.3f}",
                megabytes(result.peak_kb),
                result.host,
                result.attempt or None,
            ),
        )

    def finish(self) -> None:
        """Write them all."""
        self._sheet.finish()

    def close(self) -> None:
        """Let go of them."""
        self._sheet.close()


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
                exit_code(result),
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
                exit_code(attempt),
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
        column = free(name, taken) if name in to else name
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


def exit_code(ended: Result | Attempt) -> int | None:
    """Give the exit code, -9 of what signal 9 ended; None if it came to neither."""
    if ended.exit is None and ended.signal is not None:
        return -ended.signal
    return ended.exit


def megabytes(peak_kb: int | None) -> str | None:
    """Write a peak of memory."""
    return None if peak_kb is None else f"{peak_kb / 1024:.1f}"


def _instant(attempt: Attempt) -> str | None:
    """Write when it started, as in ``2026-11-21T04:46:45.120Z``; None if it did not."""
    if attempt.started is None:
        return None
    utc = attempt.started.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="milliseconds") + "Z"
