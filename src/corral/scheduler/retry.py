"""What follows a failure: who is to blame, and does the task get another attempt?"""

from __future__ import annotations

from typing import Literal

from corral.model.base import Frozen

DEFAULT_RETRIES = 2
HOST_KINDS = frozenset({"spawn", "env"})  # these blame the host


class Failure(Frozen, frozen=True, kw_only=True):
    """What the policy must know of an attempt that failed or was rejected."""

    kind: str | None  # None: the result was rejected by a check
    charged: int  # failures charged to the task before this one
    retries: int | None  # as the user gave it; None = the default
    host_succeeded: bool  # this host, in this run
    others_succeeded: bool  # another host, in this run
    untried: int  # other hosts that have not failed this task: usable, or soon to be probed
    others: int  # usable other hosts
    fatal: bool = False  # the program says that no other attempt would help
    grows: bool = False  # it had too little memory, and gets more the next time


class Decision(Frozen, frozen=True, kw_only=True):
    """What to do with the task and whom the failure is charged to."""

    blame: Literal["host", "task"]
    again: bool
    free: bool = False  # it costs the task no retry


def decide(failure: Failure) -> Decision:
    """Apply DESIGN.md section 5, "Failure kinds".

    What is blamed on the host costs the task nothing while a host is left that has not failed it,
    usable or to be probed; after that nobody else can be asked, so the task is charged.
    """
    if failure.fatal:
        return Decision(blame="task", again=False)
    if failure.grows:
        return Decision(blame="task", again=True, free=True)
    by_host = failure.kind in HOST_KINDS or (
        not failure.host_succeeded and failure.others_succeeded
    )
    if by_host and failure.untried:
        return Decision(blame="host", again=True, free=True)
    blame: Literal["host", "task"] = "host" if by_host else "task"
    return Decision(blame=blame, again=failure.charged + 1 <= _allowed(failure))


def _allowed(failure: Failure) -> int:
    """Say how many failures may be charged and still be followed by another attempt."""
    if failure.retries is not None:
        return failure.retries
    return DEFAULT_RETRIES if failure.others else 0
