"""How many files may be open at once: all that are allowed for a master, the user's number for others.

A login takes two, and the usual limit is 1024, for the sake of programs that use select(2) or close
whatever might be open. The limit in force ("soft") may be raised up to the allowed one ("hard"); a
process that is started gets both (setrlimit(2), RLIMIT_NOFILE). So what a master starts, programs of
the user above all, gets back what corral itself was started with.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

OPEN_MAX = 10_240  # macOS takes no more, though it names no limit
_STARTED_WITH = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
_GIVE_BACK = 'ulimit -Sn "$0" && exec "$@"'


def room_above(descriptor: int) -> float:
    """Say how many more files may be opened when this is the newest, and thus the highest."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if soft == resource.RLIM_INFINITY else soft - descriptor - 1


def raise_limit() -> None:
    """Let this process open as many files as it is allowed to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_MAX if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def as_started(words: Sequence[str]) -> list[str]:
    """Give the words that start a program with the limit that corral was started with.

    Raises:
        FileNotFoundError: There is no such program; the shell that sets the limit would not tell.
    """
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] == _STARTED_WITH:
        return list(words)
    if shutil.which(words[0]) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), words[0])
    return ["/bin/sh", "-c", _GIVE_BACK, str(_STARTED_WITH), *words]
