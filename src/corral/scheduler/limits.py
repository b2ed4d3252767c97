"""When is it enough: of failures of a run, of one task's time?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corral.model.limits import Halt

SHARE_OF = 20  # tasks: a share is taken of at least so many, or the first failure were 100 %


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
