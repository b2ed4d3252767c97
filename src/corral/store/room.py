"""Is there room for what is stored: how much is free, and a ballast to drop when nothing is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from corral.model.base import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LOW_BYTES = 64 << 20  # free; with less nothing new is begun …
LOW_SHARE = 0.01  # … or with less than this of the whole disk
BALLAST = (
    4 << 20
)  # bytes: the last reports and the end of some runs; the database needs pages for each


class Room(Frozen, frozen=True, kw_only=True):
    """What is free on the fuller one of a state folder's file systems."""

    free: int  # bytes
    low_mark: int  # bytes; below it nothing new is begun

    @property
    def is_low(self) -> bool:
        return self.free < self.low_mark


def room(folders: Iterable[Path]) -> Room:
    """Look at the file systems of some folders."""
    return min((_room(folder) for folder in folders), key=lambda found: found.free - found.low_mark)


class Ballast:
    """A file that takes up room so that it can be given back when there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lay(self) -> None:
        """Take up the room.

        Raises:
            OSError: There is none.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, BALLAST)
        finally:
            os.close(descriptor)

    def drop(self) -> bool:
        """Give the room back; says whether there was any to give."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True

    @property
    def is_laid(self) -> bool:
        return self._path.exists()


def _room(folder: Path) -> Room:
    space = os.statvfs(folder)
    whole = space.f_blocks * space.f_frsize
    return Room(
        free=space.f_bavail * space.f_frsize,
        low_mark=max(LOW_BYTES, int(whole * LOW_SHARE)),
    )
