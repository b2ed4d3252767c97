"""Does a state folder keep every promise? Each check is a query for what breaks it.

The same checks serve ``corral db check`` and the tests after each fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.model.base import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corral.store.base import Reader
    from corral.store.blobs import Blobs

SHOWN = 20  # of each kind

CHECKS = {
    "audit_file": "the database file is damaged",
    "audit_references": "a row refers to one that is not there",
    "audit_done": "a done task has no accepted attempt of its own",
    "audit_accepted": "an accepted attempt is not its task's result",
    "audit_failed_result": "an accepted attempt did not end well",
    "audit_active": "an active task is with nobody",
    "audit_waiting": "a waiting task is with somebody",
    "audit_leases": "an attempt is with an agent that has ended",
    "audit_numbers": "a task's attempts are not numbered 1, 2, …",
    "audit_reasons": "an attempt has a reason that cannot be",
    "audit_counts": "a counter differs from a recount",
    "audit_finished": "a done run has tasks left",
    "audit_ends": "an attempt ended at no time",
}


class Breach(Frozen, frozen=True, kw_only=True):
    """A promise that is not kept, and where."""

    check: str
    what: str
    where: str  # the row that shows it: run, task, attempt, …


def database(reader: Reader) -> list[Breach]:
    """List what is wrong in the database, at most `SHOWN` of each kind."""
    return [
        Breach(check=check.removeprefix("audit_"), what=what, where=_where(row))
        for check, what in CHECKS.items()
        for row in reader.rows(check)[:SHOWN]
        if row != ("ok",)
    ]


def contents(reader: Reader, blobs: Blobs, *, deep: bool) -> Iterator[Breach]:
    """List content that is missing, cut short or, looked at ``deep``, altered."""
    for sha256, size in reader.rows("blobs_expected"):
        found = blobs.size(sha256)
        if found is None:
            yield Breach(check="content", what="bytes are missing", where=sha256)
        elif found != size:
            where = f"{sha256}: {found} bytes instead of {size}"
            yield Breach(check="content", what="bytes were cut short", where=where)
        elif deep and not blobs.intact(sha256):
            yield Breach(check="content", what="bytes were altered", where=sha256)


def _where(row: tuple[object, ...]) -> str:
    return ", ".join("-" if value is None else str(value) for value in row)
