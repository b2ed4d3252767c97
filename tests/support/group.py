"""Does anything of a process group live?"""

from __future__ import annotations

import contextlib
from pathlib import Path


def group_lives(group: int) -> bool:
    """Say whether any process of a group does, zombies left out."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False
