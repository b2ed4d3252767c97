"""Which files in a results folder are corral's? Those in its index; all else is the user's.

The index is a journal of JSON lines. A file's line is appended before the file takes its place, so
that a crash at any moment leaves no file of ours that looks like the user's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from corral.model.base import Frozen
from corral.results import drafts
from corral.results.paths import INDEX, is_safe

if TYPE_CHECKING:
    from pathlib import Path


class Record(Frozen, frozen=True, kw_only=True, gc=False):
    """A file that corral wrote, and how it looked when it was written."""

    path: str  # relative to the results folder
    size: int = 0
    mtime_ns: int = 0
    mode: int = 0
    sha256: str = ""


class Index:
    """What was written before, and what of it (and beside it) this collection wants there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / INDEX
        self._earlier = _load(self._path)
        self._wanted: dict[str, Record] = {}
        self._changed = False
        self._journal: int | None = None

    def get(self, path: str) -> Record | None:
        """Give what is known of a file; None: corral did not write it."""
        return self._wanted.get(path) or self._earlier.get(path)

    def want(self, path: str) -> None:
        """Say that a file which was written before still belongs here."""
        record = self._earlier.pop(path, None)
        if record is not None:
            self._wanted[path] = record

    def add(self, record: Record) -> None:
        """Say that a file is about to be written."""
        if self._journal is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._journal = os.open(self._path, flags, 0o666)
        # the line end before it: a crash may have torn the line that stands there
        os.write(self._journal, b"\n" + msgspec.json.encode(record) + b"\n")
        self._earlier.pop(record.path, None)
        self._wanted[record.path] = record
        self._changed = True

    def unwanted(self) -> list[str]:
        """List the files written before that nothing wants (so far)."""
        return list(self._earlier)

    def forget(self, path: str) -> None:
        """Say that a file is not corral's any more."""
        self._earlier.pop(path, None)
        self._changed = True

    def save(self) -> None:
        """Write the journal anew, with one line for each file that is there."""
        if not self._changed:
            return
        with drafts.replacing(self._path) as file:
            for known in (self._wanted, self._earlier):
                file.writelines(msgspec.json.encode(record) + b"\n" for record in known.values())

    def close(self) -> None:
        """Let go of the journal."""
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None


def _load(path: Path) -> dict[str, Record]:
    """Read the journal; of a file's lines the last one counts."""
    decoder = msgspec.json.Decoder(Record)
    found: dict[str, Record] = {}
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    record = decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    continue  # blank, or torn by a crash: the file it meant never came
                if is_safe(record.path):
                    found[record.path] = record
    except FileNotFoundError:
        pass
    return found
