"""A file system of a few megabytes that a test can fill: a tmpfs, mounted and removed by it."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILLER = "filler"


class SmallDisk:
    """The file system at ``path``; a file takes as much of it as a test wants."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def leave(self, free: int) -> None:
        """Make so many bytes free, or nearly so."""
        filler = self.path / FILLER
        filler.unlink(missing_ok=True)
        space = os.statvfs(self.path)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, space.f_bavail * space.f_frsize - free))

    def fill(self) -> None:
        """Leave not a page, whatever became free meanwhile."""
        with (self.path / FILLER).open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def clear(self) -> None:
        """Take the filler away."""
        (self.path / FILLER).unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, *, size: int) -> Iterator[SmallDisk]:
    """Mount one at ``path``, which is there; needs root."""
    options = f"size={size},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "corral-test", path], check=True)
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)  # a failed test may hold it
