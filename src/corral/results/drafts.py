"""Drafts: a file is written beside its place and then renamed, so it is there whole or not at all.

That holds whenever a process dies. Nothing is synced to the disk: what a power cut takes,
`corral collect` writes again from the store.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from corral.errors import CorralError
from corral.failpoint import around
from corral.results.paths import INDEX, WRITTEN
from corral.store import leftovers

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

ANY_FILE = "file"  # stands in a draft's name for any that goes below files/

_NAMES = "|".join(map(re.escape, (*WRITTEN, INDEX, ANY_FILE)))
_DRAFT = re.compile(rf"\.(?:{_NAMES})\.(\d+)\.part")
_BUFFER = 1 << 18  # bytes; many small rows make one write

_FULL = "make room, then: corral collect"
_DENIED = "see whose folder it is, or choose another place with -o"
_IN_THE_WAY = "something else stands there: move it away, then: corral collect"
_NOWHERE = "make the folder that it is to stand in, or choose another place with -o"
_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: _DENIED,
    errno.EISDIR: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOENT: _NOWHERE,
}


def draft_of(path: Path) -> Path:
    """Name the draft of a file; it says which process writes it."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


@contextmanager
def replacing(path: Path) -> Generator[BinaryIO]:
    """Open a draft that takes its place when the block ends; if it fails, the old file stays."""
    draft = draft_of(path)
    try:
        with create(draft) as file:
            yield file
        with around("results.write"):
            draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def writing(path: Path) -> Generator[BinaryIO]:
    """Open a file of the user's choice: a draft in its place, or itself if it is a device or pipe.

    Raises:
        IsADirectoryError: A folder stands there.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as special:
            yield special
        return
    with replacing(path) as file:
        yield file


def create(draft: Path) -> BinaryIO:
    """Open a draft for writing, in place of what a crash may have left under its name."""
    draft.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return open(os.open(draft, flags, 0o666), "wb", buffering=_BUFFER)


def sweep(folder: Path) -> None:
    """Remove the drafts of processes that died."""
    for path in leftovers.of_dead(folder, _DRAFT):
        path.unlink(missing_ok=True)


def cannot_write(folder: Path, error: OSError) -> CorralError:
    """Say what stands in the way of writing results, and the way out."""
    named = [str(name) for name in (error.filename2, error.filename) if name is not None]
    inside = [name for name in named if name.startswith(str(folder)) and not name.endswith(".part")]
    shown = inside[0] if inside else folder
    return CorralError(
        f"{shown}: results cannot be written: {error.strerror or error}",
        hint=_HINTS.get(error.errno or 0),
    )
