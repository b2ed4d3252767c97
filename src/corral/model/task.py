"""A task: one set of parameters of a run, numbered 1..N; the number never changes.

    waiting --> active --> done
       ^          |  \\--> failed --> done (a late valid result while the run is open)
       +----------+   cancelled skipped parked held --> waiting (an operator's verb, a new command)

Nothing leaves ``done`` but an explicit ``rerun``. A result is what the accepted attempt wrote.
"""

from __future__ import annotations

from corral.ids import TaskId
from corral.model.attempt import Attempt, Kind, Outcome
from corral.model.base import Frozen
from corral.model.run import TaskState


class Task(Frozen, frozen=True, kw_only=True):
    """A task as it stands."""

    id: TaskId
    number: int
    position: int | None  # in the latest command, from 1; None: it no longer names this task
    values: tuple[str, ...]  # as texts, in the order of the run's parameter names
    rep: int
    state: TaskState
    reason: str  # why it failed, is parked or held; else ""
    attempts: int  # handed out so far
    charged: int  # failures that count against its retries
    host: str  # of the accepted, else of the latest attempt; "" before the first
    seconds: float | None  # of that attempt
    exit: int | None  # of that attempt


class Captured(Frozen, frozen=True, kw_only=True):
    """Bytes that a task wrote: small ones inline, others in the blob store by their SHA-256."""

    size: int = 0
    inline: bytes = b""
    sha256: str = ""  # "" = inline holds all of it


class ResultFile(Frozen, frozen=True, kw_only=True):
    """A declared file that came home."""

    name: str  # relative, as it stood in the task's folder
    size: int
    sha256: str
    mode: int


class Result(Frozen, frozen=True, kw_only=True):
    """A task with what it left: the accepted attempt's if it is done, else the latest one's.

    ``stdout`` and ``files`` are results only if ``state == "done"``; of a failed task they are
    kept for inspection.
    """

    number: int
    position: int | None
    values: tuple[str, ...]
    rep: int
    state: TaskState
    reason: str
    ticket: str
    attempt: int  # number of that attempt; 0 = there was none
    host: str
    exit: int | None
    signal: int | None
    kind: Kind | None
    outcome: Outcome | None
    seconds: float | None
    cpu_s: float | None = None
    peak_kb: int | None
    stdout: Captured
    stderr: Captured
    told: str = ""  # what it wrote to CORRAL_RESULT: JSON, or k=v lines
    files: tuple[ResultFile, ...] = ()


class TaskDetail(Frozen, frozen=True, kw_only=True):
    """Everything about one task, for `show` and `why`."""

    task: Task
    names: tuple[str, ...]
    command: str  # as its latest attempt got it, for a person to repeat by hand
    attempts: tuple[Attempt, ...]
