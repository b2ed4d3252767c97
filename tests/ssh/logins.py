"""Which processes of ssh on this machine log in to a bed's hosts?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.hosts import Bed


def logins(bed: Bed, host: str | None = None) -> list[int]:
    """List their pids, of those to one host or to any."""
    return [pid for pid in _pids() if _goes_to(_words(pid), str(bed.config), host)]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []  # it has ended


def _goes_to(words: list[str], config: str, host: str | None) -> bool:
    return config in words and (host is None or host in words)
