"""An attempt: one hand-out of a task to one host; several may live at once.

    leased --> running --> reported --> ended(outcome)
       \\___________________/    ^            |
                                +--- only a lost one, when its report comes late

Outcomes: accepted rejected superseded failed lost killed returned. The same words stand in the
CHECKs of ``attempt`` and in docs/state-machine.md.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from corral.ids import Ticket
from corral.model.base import Frozen

AttemptState = Literal["leased", "running", "reported", "ended"]
Outcome = Literal["accepted", "rejected", "superseded", "failed", "lost", "killed", "returned"]
Reason = Literal["first", "lost", "failed", "straggler", "rejected", "asked"]
Kind = Literal["spawn", "env", "exit", "signal", "oom", "timeout", "output"]


class Attempt(Frozen, frozen=True, kw_only=True):
    """One start of a task, with what is known of it."""

    ticket: Ticket
    task: int  # the task's number
    number: int  # 1, 2, … of its task
    reason: Reason  # why it was handed out
    host: str
    slot: int | None  # None until it is reported
    state: AttemptState
    outcome: Outcome | None
    kind: Kind | None  # of a failure
    exit: int | None
    signal: int | None
    message: str  # what the agent, a check or the engine says of its end
    leased: datetime
    started: datetime | None
    ended: datetime | None
    seconds: float | None
    cpu_s: float | None
    peak_kb: int | None
    progress: str = ""  # the last line it wrote to CORRAL_PROGRESS
