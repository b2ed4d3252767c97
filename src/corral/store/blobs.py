"""Where large bytes lie: one file per content, named by its SHA-256; arriving ones in ``part/``.

The order is write, fsync, rename, fsync of the folder, then the commit that refers to it: a file
without a row is rubbish that `Blobs.sweep` finds; a row without its file cannot be.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, BinaryIO, Protocol

from corral.errors import StoreError, UsageError
from corral.failpoint import around
from corral.store import leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK = 1 << 20
_COPY = re.compile(r"in\.(\d+)\.[0-9a-f]+")


class Hash(Protocol):
    """A running SHA-256."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class Blobs:
    """The ``blobs/`` of a state folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts = folder / "part"
        self._tidy = False  # it was looked for what dead processes left
        self._hashes: dict[tuple[str, int], tuple[int, Hash]] = {}

    def path(self, sha256: str) -> Path:
        """Say where the content lies, whether or not it is there."""
        return self._folder / sha256[:2] / sha256[2:]

    def open(self, sha256: str) -> BinaryIO:
        """Open content for reading.

        Raises:
            StoreError: It is not there.
        """
        try:
            return self.path(sha256).open("rb")
        except OSError as error:
            raise StoreError(f"a result's bytes are gone: {error}") from error

    def size(self, sha256: str) -> int | None:
        """Say how many bytes lie under that name, None if there is no such content."""
        try:
            return self.path(sha256).stat().st_size
        except OSError:
            return None

    def intact(self, sha256: str) -> bool:
        """Read content to its end and say whether it is what its name says."""
        with self.open(sha256) as file:
            return _digest(file)[0] == sha256

    def add(self, source: Path) -> tuple[str, int]:
        """Copy a file in; gives its SHA-256 and size. Content that is here already costs a read.

        Raises:
            UsageError: It cannot be read.
            StoreError: There is no room for it.
        """
        try:
            with source.open("rb") as file:
                sha256, size = _digest(file)
                if not self.path(sha256).exists():
                    file.seek(0)
                    sha256, size = self._copy_in(file, sha256)
        except OSError as error:
            raise UsageError(f"{source}: cannot be read: {error.strerror}") from error
        return sha256, size

    def part_size(self, ticket: str, n: int) -> int:
        """Say how much of file ``n`` of an attempt has arrived."""
        try:
            return self._part(ticket, n).stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, ticket: str, n: int, offset: int, data: bytes) -> int | None:
        """Add a piece; gives the size now, None if ``offset`` is not where the part ends."""
        path = self._part(ticket, n)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            if file.tell() != offset:
                return None
            file.write(data)
        size, running = self._hashes.get((ticket, n), (0, hashlib.sha256()))
        if size == offset:
            running.update(data)
            self._hashes[ticket, n] = (offset + len(data), running)
        return offset + len(data)

    def land(self, ticket: str, n: int, *, sha256: str, size: int) -> bool:
        """Make an arrived part content, if its bytes are those of the manifest; else drop it."""
        if self.path(sha256).exists():
            self.drop(ticket, n)
            return True
        path = self._part(ticket, n)
        if size == 0 and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if self.part_size(ticket, n) != size or self._hash_of_part(ticket, n) != sha256:
            self.drop(ticket, n)
            return False
        with path.open("rb") as file, around("blobs.land"):
            os.fsync(file.fileno())
        self._place(path, sha256)
        self._hashes.pop((ticket, n), None)
        return True

    def drop(self, ticket: str, n: int) -> None:
        """Forget what has arrived of a file."""
        self._hashes.pop((ticket, n), None)
        self._part(ticket, n).unlink(missing_ok=True)

    def begun(self) -> set[str]:
        """List the attempts of which some file has arrived in part."""
        parts = self._parts.glob("*-*.*")  # copies that are being made have no dash
        return {path.name.rpartition(".")[0] for path in parts}

    def forget(self, ticket: str) -> None:
        """Drop all that has arrived in part of an attempt."""
        for path in self._parts.glob(f"{ticket}.*"):
            self.drop(ticket, int(path.suffix[1:]))

    def sweep(self, used: set[str]) -> int:
        """Remove content that nothing refers to; gives the bytes that were freed.

        Only while no submission and no upload is under way.
        """
        freed = 0
        for path in self._all():
            if path.parent.name + path.name not in used:
                freed += path.stat().st_size
                path.unlink()
        return freed

    def _all(self) -> Iterator[Path]:
        for folder in self._folder.glob("??"):
            yield from folder.iterdir()

    def _part(self, ticket: str, n: int) -> Path:
        return self._parts / f"{ticket}.{n}"

    def _hash_of_part(self, ticket: str, n: int) -> str:
        size, running = self._hashes.get((ticket, n), (-1, None))
        if running is not None and size == self.part_size(ticket, n):
            return running.hexdigest()
        with self._part(ticket, n).open("rb") as file:  # the master was restarted meanwhile
            return _digest(file)[0]

    def _copy_in(self, file: BinaryIO, sha256: str) -> tuple[str, int]:
        """Copy while hashing again: the file may have changed since it was hashed."""
        self._parts.mkdir(parents=True, exist_ok=True)
        if not self._tidy:
            self._tidy = True
            for unfinished in leftovers.of_dead(self._parts, _COPY):
                unfinished.unlink(missing_ok=True)
        path = self._parts / f"in.{os.getpid()}.{sha256}"
        running = hashlib.sha256()
        size = 0
        try:
            with path.open("wb") as copy:
                while data := file.read(CHUNK):
                    running.update(data)
                    size += len(data)
                    copy.write(data)
                copy.flush()
                with around("blobs.add"):
                    os.fsync(copy.fileno())
            self._place(path, running.hexdigest())
        except OSError as error:
            path.unlink(missing_ok=True)
            raise StoreError(
                f"{self._folder}: cannot keep a copy of what is shipped: {error.strerror}",
                hint="make room, or work in a folder on another disk",
            ) from error
        return running.hexdigest(), size

    def _place(self, path: Path, sha256: str) -> None:
        final = self.path(sha256)
        final.parent.mkdir(parents=True, exist_ok=True)
        with around("blobs.place"):
            path.replace(final)
        for folder in (final.parent, self._folder):
            _sync_folder(folder)


def _digest(file: BinaryIO) -> tuple[str, int]:
    running = hashlib.sha256()
    size = 0
    while data := file.read(CHUNK):
        running.update(data)
        size += len(data)
    return running.hexdigest(), size


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with around("blobs.sync"):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
