"""The folder ``files/`` on the disk: puts files in and takes its own out, through no link.

Every step down is opened relative to the one before and refuses links, so nothing that stands in
the folder can lead a write or a removal out of it.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO, Literal

from corral.errors import CorralError
from corral.failpoint import around
from corral.results import drafts
from corral.results.index import Record
from corral.results.source import CHUNK, check_size

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from corral.model.task import ResultFile
    from corral.results.index import Index

Put = Literal["copied", "there", "taken"]

KERNEL_CHUNK = 1 << 26  # bytes copied in one call: large, yet a Ctrl-C need not wait long
_NOT_A_FOLDER = (errno.ENOTDIR, errno.ELOOP)  # what opening a link says; systems differ
_NO_KERNEL_COPY = (
    errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM,
)  # fmt: skip
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """A folder of result files. Places are relative to it; the index knows them by ``prefix``."""

    def __init__(self, folder: Path, index: Index, prefix: str) -> None:
        self._folder = folder
        self._index = index
        self._prefix = prefix
        self._draft = drafts.draft_of(index.folder / drafts.ANY_FILE)
        self._root: int | None = None

    def put(self, place: str, file: ResultFile, open_file: Callable[[], BinaryIO]) -> Put:
        """Have a file stand there; ``taken`` if something of the user's is in the way.

        A file that is there as it was written is left alone. One with the same bytes that is not
        ours serves as well, and stays the user's.

        Raises:
            CorralError: The bytes are damaged, or ``files`` itself is no folder.
        """
        path = self._prefix + place
        if self._is_current(path, place, file):
            self._index.want(path)
            return "there"
        put = self._try(place, file, open_file)
        if put == "taken" and self._make_way(path):
            put = self._try(place, file, open_file)
        return put

    def remove_unwanted(self) -> int:
        """Remove what was written before and belongs to no task any more; the number of files."""
        return sum(self._remove(path) for path in self._unwanted())

    def close(self) -> None:
        """Let go of the folder."""
        if self._root is not None:
            os.close(self._root)
            self._root = None

    def _is_current(self, path: str, place: str, file: ResultFile) -> bool:
        record = self._index.get(path)
        if record is None or (record.sha256, record.mode) != (file.sha256, file.mode & 0o777):
            return False
        try:
            return _is_untouched(os.lstat(self._folder / place), record)
        except OSError:
            return False  # it is not there, so it is written; that tells what is wrong

    def _try(self, place: str, file: ResultFile, open_file: Callable[[], BinaryIO]) -> Put:
        try:
            with self._parent(place, make=True) as parent:
                return self._put_in(parent, place, file, open_file)
        except OSError as error:
            if error.errno in _NOT_A_FOLDER:
                return "taken"
            raise

    def _put_in(
        self, parent: int, place: str, file: ResultFile, open_file: Callable[[], BinaryIO]
    ) -> Put:
        name = place.rpartition("/")[2]
        found = _lstat(name, parent)
        if found is not None and stat.S_ISDIR(found.st_mode):
            return "taken"
        if found is not None and self._index.get(self._prefix + place) is None:
            return "there" if _has_bytes(name, parent, found, file) else "taken"
        try:
            facts = self._write_draft(file, open_file)
            self._index.add(
                Record(
                    path=self._prefix + place,
                    size=facts.st_size,
                    mtime_ns=facts.st_mtime_ns,
                    mode=file.mode & 0o777,
                    sha256=file.sha256,
                )
            )
            with around("results.file"):
                os.rename(self._draft, name, dst_dir_fd=parent)
        except BaseException:
            self._draft.unlink(missing_ok=True)
            raise
        return "copied"

    def _write_draft(self, file: ResultFile, open_file: Callable[[], BinaryIO]) -> os.stat_result:
        with open_file() as content, drafts.create(self._draft) as draft:
            copy(content, draft)
            os.fchmod(draft.fileno(), file.mode & 0o777)
        facts = self._draft.lstat()
        check_size(file.sha256, facts.st_size, expected=file.size)
        return facts

    def _make_way(self, path: str) -> bool:
        """Remove what an earlier collection left where a file's folder, or a file, must stand."""
        ours = [
            other
            for other in self._unwanted()
            if other.startswith(f"{path}/") or path.startswith(f"{other}/")
        ]
        return sum(self._remove(other) for other in ours) > 0

    def _unwanted(self) -> list[str]:
        return [path for path in self._index.unwanted() if path.startswith(self._prefix)]

    def _remove(self, path: str) -> bool:
        """Remove a file as it was written, and folders that are empty then; not a changed one."""
        record = self._index.get(path)
        place = path.removeprefix(self._prefix)
        removed = False
        try:
            with self._parent(place, make=False) as parent:
                name = place.rpartition("/")[2]
                found = _lstat(name, parent)
                if found is not None and record is not None and _is_untouched(found, record):
                    os.unlink(name, dir_fd=parent)
                    removed = True
        except OSError as error:
            if error.errno not in (*_NOT_A_FOLDER, errno.ENOENT):
                raise
        self._index.forget(path)
        if removed:
            self._prune(place)
        return removed

    def _prune(self, place: str) -> None:
        while "/" in place:
            place = place.rpartition("/")[0]
            try:
                with self._parent(place, make=False) as parent:
                    os.rmdir(place.rpartition("/")[2], dir_fd=parent)
            except OSError:
                return  # not empty: others need it

    @contextmanager
    def _parent(self, place: str, *, make: bool) -> Generator[int]:
        """Open the folder that holds a place."""
        here = os.dup(self._opened())
        try:
            for step in place.split("/")[:-1]:
                if make:
                    _make_folder(step, here)
                inner = os.open(step, _FOLDER_FLAGS, dir_fd=here)
                os.close(here)
                here = inner
            yield here
        finally:
            os.close(here)

    def _opened(self) -> int:
        if self._root is None:
            self._folder.mkdir(exist_ok=True)
            try:
                self._root = os.open(self._folder, _FOLDER_FLAGS)
            except OSError as error:
                if error.errno not in _NOT_A_FOLDER:
                    raise
                raise CorralError(
                    f"{self._folder}: a link stands where the result files go",
                    hint="move it away, or choose another place with -o",
                ) from error
        return self._root


def copy(source: BinaryIO, target: BinaryIO) -> None:
    """Copy to the end; in the kernel where it can, which shares blocks if the file system does."""
    if not _copied_by_kernel(source, target):
        shutil.copyfileobj(source, target, CHUNK)


def _copied_by_kernel(source: BinaryIO, target: BinaryIO) -> bool:
    """Say whether it did; if not, nothing was copied."""
    if not hasattr(os, "copy_file_range"):
        return False  # not on this system
    try:
        from_file, to_file = source.fileno(), target.fileno()
    except OSError:
        return False  # a stream without a file
    copied = 0
    try:
        while size := os.copy_file_range(from_file, to_file, KERNEL_CHUNK):
            copied += size
    except OSError as error:
        if copied or error.errno not in _NO_KERNEL_COPY:
            raise
        return False
    return copied > 0


def _make_folder(name: str, parent: int) -> None:
    with suppress(FileExistsError):  # what it is shows when it is opened
        os.mkdir(name, dir_fd=parent)


def _lstat(name: str, parent: int) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return None


def _is_untouched(found: os.stat_result, record: Record) -> bool:
    return (
        stat.S_ISREG(found.st_mode)
        and found.st_size == record.size
        and found.st_mtime_ns == record.mtime_ns
    )


def _has_bytes(name: str, parent: int, found: os.stat_result, file: ResultFile) -> bool:
    """Say whether a file holds just the result's bytes: so it does if the index was deleted."""
    if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
        return False
    digest = sha256()
    with open(
        os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent), "rb"
    ) as old:
        while data := old.read(CHUNK):
            digest.update(data)
    return digest.hexdigest() == file.sha256
