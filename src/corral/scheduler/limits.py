"""When is it enough: of failures of a run, of one task's time?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.model.limits import Halt

LEARNED = 3  # successes, before a task's time is held against the median
LEAST_S = (
    1.0  # a task is never ended sooner by a share of the median: starts of programs vary so much
)
SHARE_OF = 20  # tasks: a share is taken of at least so many, or the first failure were 100 %


def timeout_s(percent: float, *, median_s: float, successes: int) -> float | None:
    """Say after how many seconds a task is ended; None while too little is known."""
    if successes < LEARNED:
        return None
    return max(LEAST_S, median_s * percent / 100)


def memory(steps: Sequence[int], *, ooms: int) -> int | None:
    """Give the bytes of a task that had too little ``ooms`` times before; None = no limit."""
    return steps[min(ooms, len(steps) - 1)] if steps else None


def may_grow(steps: Sequence[int], *, ooms: int) -> bool:
    """Say whether a task that had too little for the ``ooms``-th time gets more the next time."""
    return ooms < len(steps)


def has_failed_enough(halt: Halt, *, failed: int, ended: int, tasks: int) -> bool:
    """Say whether a run of ``tasks`` is to halt after ``failed`` of the ``ended`` ones.

    A share is of the tasks that have ended; while these are few, as if `SHARE_OF` had.
    """
    if not failed:
        return False
    if halt.failures is not None:
        return failed >= halt.failures
    assert halt.percent is not None
    return failed * 100 >= halt.percent * max(ended, min(SHARE_OF, tasks))
