"""The rule ``split=SIZE``: results one after the other in parts, never cut through one of them."""

from __future__ import annotations

import os
import tempfile
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO

from corral.errors import UsageError
from corral.model.task import ResultFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from corral.results.tree import Tree

DIGITS = 6  # of a part's number, so that names sort in order
MODE = 0o644


class Split:
    """Fills parts of at most ``limit`` bytes; a result larger than that has one of its own."""

    def __init__(self, tree: Tree, folder: Path, *, limit: int, ending: str) -> None:
        self._tree = tree
        self._folder = folder  # where a part is drafted
        self._limit = limit
        self._ending = ending
        self._draft: BinaryIO | None = None
        self._digest = sha256()
        self._size = 0
        self.count = 0

    def add(self, data: Iterable[bytes], *, size: int) -> None:
        """Append a result of ``size`` bytes."""
        if not size:
            return
        if self._draft is not None and self._size + size > self._limit:
            self.finish()
        if self._draft is None:
            self._draft = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  (`close`)
            self._digest = sha256()
            self._size = 0
        for piece in data:
            self._draft.write(piece)
            self._digest.update(piece)
            self._size += len(piece)

    def finish(self) -> None:
        """Put the part that was begun into its place.

        Raises:
            UsageError: There are more parts than names for them, or a user's file is in the way.
        """
        if self._draft is None:
            return
        self.count += 1
        if self.count >= 10**DIGITS:
            raise UsageError("split: more than 999,999 parts", hint="choose a larger size")
        name = f"part-{self.count:0{DIGITS}d}{self._ending}"
        draft = self._draft
        draft.flush()
        part = ResultFile(name=name, size=self._size, sha256=self._digest.hexdigest(), mode=MODE)
        if self._tree.put(name, part, lambda: _from_its_start(draft)) == "taken":
            raise UsageError(
                f"{name} is there and not corral's, so it is not replaced",
                hint="move it away, or choose another folder with -o",
            )
        self.close()

    def close(self) -> None:
        """Drop a part that was begun and not finished."""
        if self._draft is not None:
            self._draft.close()
            self._draft = None


def _from_its_start(draft: BinaryIO) -> BinaryIO:
    again = open(os.dup(draft.fileno()), "rb")  # noqa: SIM115  (the caller's)
    again.seek(0)
    return again
