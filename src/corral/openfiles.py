"""How many files may this process still open? See setrlimit(2), RLIMIT_NOFILE."""

from __future__ import annotations

import resource


def room_above(descriptor: int) -> float:
    """Say how many more files may be opened when this is the newest, and thus the highest."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if soft == resource.RLIM_INFINITY else soft - descriptor - 1
