"""What must hold in a state folder's database after any history of faults, simulated or real.

`Checks` collects how often it looked and raises `BrokenError` at the first promise that is broken.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from corral.engine import audit
from corral.store.sqlite import SqliteReader

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping

    from corral.store.blobs import Blobs


class BrokenError(AssertionError):
    """A promise was broken."""


class Expected(NamedTuple):
    """What a task comes to, whatever happens: the plan of the quiet run."""

    exit: int
    stdout: bytes
    files: Mapping[str, str] = {}  # name -> SHA-256


class Acknowledged(NamedTuple):
    """A report that an agent was told is stored."""

    ticket: str
    ended: str
    exit: int | None
    digest_known: bool = True


# before -> after, as docs/state-machine.md draws them
TASK_STEPS = {
    "waiting": {"active", "done", "failed", "cancelled", "skipped", "parked", "held"},
    "active": {"waiting", "done", "failed", "cancelled", "parked"},
    "failed": {"done", "waiting", "active"},
    "cancelled": {"waiting", "active"},
    "skipped": {"waiting", "active"},
    "parked": {"done", "waiting", "active", "cancelled"},
    "held": {"waiting", "active", "cancelled"},
    "done": set(),  # nothing leaves it but an operator's `rerun`
}
ATTEMPT_STEPS = {
    "leased": {"running", "reported", "ended"},
    "running": {"reported", "ended"},
    "reported": {"ended"},
    "ended": {"reported"},  # only a lost one
}
WHY = {  # reason of an attempt -> how some attempt before it must have ended
    "lost": {"lost", "returned", "killed", "superseded"},
    "failed": {"failed"},
    "rejected": {"rejected"},
}
HOST_KINDS = ("spawn", "env")


class Checks:
    """Looks at a database, of one run or several, and counts how often it looked."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.count = 0

    def hold(self, true: object, what: str) -> None:
        """Count one check.

        Raises:
            BrokenError: It does not hold.
        """
        self.count += 1
        if not true:
            raise BrokenError(what)

    # ---------------------------------------------------------------- at any time

    def database(self) -> None:
        """The engine's own audit finds nothing."""
        found = audit.database(SqliteReader(self._connection))
        self.count += len(audit.CHECKS) - 1
        self.hold(not found, "; ".join(f"{breach.what}: {breach.where}" for breach in found))

    def starts_have_reasons(self) -> None:
        """Each attempt's reason is true: an attempt before it ended that way, or an event says so.

        A first one may come after others as long as all of these came back unstarted, also if one
        was given up for lost before it did; `starts` holds that against what was started.
        """
        twins = self._told_of("twin")
        lost = self._told_of("lost") | self._told_of("late")
        before: dict[int, set[str]] = {}
        begun: dict[int, str] = {}  # task -> an attempt of it that may have been started
        rows = self._connection.execute(
            "select task_id, ticket, number, reason, outcome, started from attempt"
            " order by task_id, number"
        )
        for task, ticket, number, reason, outcome, started in rows:
            past = before.setdefault(task, set())
            if reason == "first":
                self.hold(task not in begun, f"{ticket} is not the first: {begun.get(task)} was")
            elif reason == "straggler":
                self.hold(ticket in twins or "returned" in past, f"{ticket} is no twin on record")
            elif reason in WHY:
                self.hold(past & WHY[reason], f"{ticket} was started as {reason}: {past}")
            past.add(outcome or "live")
            if outcome != "returned" or started is not None:
                begun.setdefault(task, ticket)
            if ticket in lost:
                past.add("lost")
            self.hold(number >= 1, f"{ticket} has no number")

    def _told_of(self, kind: str) -> set[str]:
        """Give the tickets that events of a kind name."""
        rows = self._connection.execute("select tickets from event where kind = ?", (kind,))
        return {ticket for (text,) in rows for ticket in json.loads(text)}

    # ---------------------------------------------------------------- at rest

    def at_rest(self) -> None:
        """Nothing of any run is under way."""
        rows = self._connection.execute(
            "select ticket, state from attempt where state != 'ended'"
        ).fetchall()
        self.hold(not rows, f"{rows} have not ended")

    def results(self, expected: Callable[[int], Expected]) -> None:
        """Every task came to what it comes to in a quiet run, byte for byte."""
        rows = self._connection.execute(
            "select t.number, t.state, a.id, a.exit, o.stdout from task t"
            " join run r on r.id = t.run_id and r.generation = t.generation"
            " left join attempt a on a.id = t.accepted left join output o on o.attempt_id = a.id"
            " order by t.number"
        ).fetchall()
        for number, state, attempt, code, stdout in rows:
            plan = expected(number)
            wanted = "failed" if plan.exit else "done"
            self.hold(state == wanted, f"task {number} is {state}, not {wanted}")
            if state != "done":
                continue
            self.hold((code, stdout or b"") == (0, plan.stdout), f"task {number} has other output")
            files = self._connection.execute(
                "select name, sha256 from file where attempt_id = ?", (attempt,)
            ).fetchall()
            self.hold(dict(files) == plan.files, f"task {number} has other files: {files}")

    def starts(self, started: Iterable[str]) -> None:
        """No ticket was started twice, each that was is on record, and so is each task's first."""
        times = Counter(started)
        rows = self._connection.execute(
            "select ticket, task_id, reason from attempt order by task_id, number"
        ).fetchall()
        known = {ticket for ticket, *_ in rows}
        for ticket, often in times.items():
            self.hold(often == 1, f"{ticket} was started {often} times")
            self.hold(ticket in known, f"{ticket} was started and is not on record")
        before: dict[int, str] = {}  # task -> an attempt of it that was started
        for ticket, task, reason in rows:
            if reason == "first":
                self.hold(task not in before, f"{ticket} is not the first: {before.get(task)} was")
            if times[ticket]:
                before.setdefault(task, ticket)

    def acknowledged(self, reports: Iterable[Acknowledged]) -> None:
        """Whatever an agent was told is stored, is stored."""
        stored = {
            row[0]: row[1:]
            for row in self._connection.execute("select ticket, digest, exit from attempt")
        }
        for report in reports:
            digest, code = stored.get(report.ticket, (None, None))
            self.hold(digest is not None, f"{report.ticket} was acknowledged and is not stored")
            self.hold(code == report.exit, f"{report.ticket} is stored as exit {code}")

    def content(self, blobs: Blobs) -> None:
        """The bytes of every file that a row tells of are there, and are what its name says."""
        found = list(audit.contents(SqliteReader(self._connection), blobs, deep=True))
        self.hold(not found, "; ".join(f"{breach.what}: {breach.where}" for breach in found))

    def charges(self) -> None:
        """A task is charged for its own failures, each once."""
        rows = self._connection.execute(
            "select t.number, t.charged, count(a.id) from task t left join attempt a"
            " on a.task_id = t.id and a.outcome in ('failed', 'rejected') group by t.id"
        ).fetchall()
        for number, charged, failures in rows:
            self.hold(charged <= failures, f"task {number}: {failures} failures, charged {charged}")

    def everything(self) -> None:
        """What holds at any time."""
        self.database()
        self.charges()
        self.starts_have_reasons()
