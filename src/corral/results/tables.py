"""The rows of results.csv, attempts.csv and failed.csv."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from corral.model.attempt import Attempt
    from corral.model.task import Result

OURS = ("task", "rep", "state", "exit", "seconds", "peak_mb", "host", "attempt")
ATTEMPTS = (
    "task", "attempt", "host", "slot", "start", "seconds", "exit", "outcome", "kind", "reason",
)  # fmt: skip
LAST_LINES, LAST_CHARACTERS = 3, 500  # of stderr, in failed.csv


class Table:
    """Rows going into a CSV file: ``\\n`` line ends, quoted where needed."""

    def __init__(self, file: TextIO, heads: Sequence[str]) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(heads)

    def add(self, row: Sequence[object]) -> None:
        self._writer.writerow(row)


def columns(names: Sequence[str]) -> list[str]:
    """Name the columns of the parameters; one that is called like a column of ours gets a ``_``."""
    return [f"{name}_" if name in OURS else name for name in names]


def result_heads(names: Sequence[str]) -> list[str]:
    """Name the columns of results.csv; those up to ``exit`` depend on the results alone."""
    return ["task", *columns(names), "rep", "state", "exit", *OURS[4:]]


def result_row(result: Result) -> list[object]:
    """Write one task; what a task without a result never had stays empty."""
    return [
        result.number,
        *result.values,
        result.rep,
        result.state,
        _exit(result),
        _seconds(result.seconds),
        "" if result.peak_kb is None else f"{result.peak_kb / 1024:.1f}",
        result.host,
        result.attempt or "",
    ]


def attempt_row(attempt: Attempt) -> list[object]:
    """Write one start of a task."""
    started = attempt.started or attempt.leased
    return [
        attempt.task,
        attempt.number,
        attempt.host,
        "" if attempt.slot is None else attempt.slot,
        started.isoformat(timespec="milliseconds"),
        _seconds(attempt.seconds),
        "" if attempt.exit is None else attempt.exit,
        attempt.outcome or attempt.state,
        attempt.kind or "",
        attempt.reason,
    ]


def failed_heads(names: Sequence[str]) -> list[str]:
    """Name the columns of failed.csv; the parameters feed back with ``--params``."""
    return ["task", *columns(names), "rep", "reason", "exit", "stderr", "hosts", "attempts"]


def failed_row(result: Result, stderr: bytes, hosts: Sequence[str], attempts: int) -> list[object]:
    """Write one task that failed for good."""
    lines = stderr.decode(errors="replace").rstrip("\n").split("\n")[-LAST_LINES:]
    last = "\n".join(lines)[-LAST_CHARACTERS:]
    return [
        result.number,
        *result.values,
        result.rep,
        result.reason,
        _exit(result),
        last,
        " ".join(hosts),
        attempts,
    ]




def _exit(result: Result) -> object:
    if result.exit is not None:
        return result.exit
    return "" if result.signal is None else -result.signal


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
