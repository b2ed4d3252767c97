"""What names what: each id its own type, and how the random ones are made."""

from __future__ import annotations

import secrets
from typing import NewType

RunId = NewType("RunId", int)
TaskId = NewType("TaskId", int)  # the row; what a user sees is the task's number within its run
AttemptId = NewType("AttemptId", int)
HostId = NewType("HostId", int)
Ticket = NewType("Ticket", str)  # the never-reused name of one attempt: a name, not a secret
Incarnation = NewType("Incarnation", str)  # one start of an agent
Owner = NewType("Owner", str)  # a state folder's own name, on hosts and in environments


def new_owner() -> Owner:
    """Name a state folder; 48 random bits, safe in file names."""
    return Owner(secrets.token_hex(6))


def new_incarnation() -> Incarnation:
    """Name one start of an agent; 64 random bits, safe in file names."""
    return Incarnation(secrets.token_hex(8))


def ticket(run: RunId, generation: int, task: int, attempt: int) -> Ticket:
    """Name attempt number ``attempt`` of task number ``task``; unique within a state folder.

    Run ids are never given twice (AUTOINCREMENT) and attempt numbers only rise, so a ticket is
    never reused, not even after ``rm`` or ``rerun``.
    """
    return Ticket(f"{run}-{generation}-{task}-{attempt}")


def run_of(ticket: str) -> tuple[RunId, int]:
    """Read run and generation off a ticket that `ticket` made."""
    run, generation, _ = ticket.split("-", 2)
    return RunId(int(run)), int(generation)
