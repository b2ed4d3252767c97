"""What did dead processes leave? Files that stand in no place yet are named by who writes them."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path


def of_dead(folder: Path, name: re.Pattern[str]) -> list[Path]:
    """List this user's files in a folder under such a name, whose group is the pid of a dead process."""
    matches = [name.fullmatch(path.name) for path in folder.iterdir()]
    return [
        folder / match[0]
        for match in matches
        if match and not _lives(int(match[1])) and _is_ours(folder / match[0])
    ]


def temporary(kind: str) -> tempfile.TemporaryDirectory[str]:
    """Make a folder for the time of a ``with``; first remove those that dead processes of ours left."""
    unfinished = re.compile(rf"corral-{kind}-(\d+)-\w+")
    for path in of_dead(Path(tempfile.gettempdir()), unfinished):
        shutil.rmtree(path, ignore_errors=True)  # another did so, too
    return tempfile.TemporaryDirectory(prefix=f"corral-{kind}-{os.getpid()}-")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _is_ours(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.getuid()
    except FileNotFoundError:
        return False  # another process removed it
