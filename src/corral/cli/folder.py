"""The real file system behind the grammar: what stands in the folder of the command."""

from __future__ import annotations

import glob
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from corral.errors import UsageError
from corral.results import paths
from corral.store.folder import NAME as STATE

if TYPE_CHECKING:
    from collections.abc import Iterator


class RealFolder:
    """See `corral.work.axes.Folder`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stdin: bytes | None = None  # once it was read, or a run file said what it is

    def is_file(self, path: str) -> bool:
        # a Path takes three times as long, and a list of commands asks this of a million words
        return os.path.isfile(os.path.join(self.root, path))  # noqa: PTH113, PTH118

    def glob(self, pattern: str) -> list[str]:
        return glob.glob(pattern, root_dir=self.root, recursive=True)  # noqa: PTH207  (typed form)

    def read(self, path: str) -> bytes:
        if path == "-":
            read = sys.stdin.buffer.read() if self.stdin is None else self.stdin
            self.stdin = read
            return read
        try:
            return (self.root / path).read_bytes()
        except OSError as error:
            raise UsageError(
                f"{path}: cannot be read: {error.strerror}", hint="check the name and its rights"
            ) from error

    def pushed(self, names: tuple[str, ...]) -> list[str]:
        """Name the files that ``--push`` means: files, all in a folder, what a pattern matches.

        Raises:
            UsageError: There is nothing of that name.
        """
        found: list[str] = []
        for name in names:
            matches = sorted(self.glob(name)) if any(c in name for c in "*?[") else [name]
            files = [file for match in matches for file in self._files(match)]
            if not files:
                raise UsageError(
                    f"--push {name}: there is no such file here", hint="check the name"
                )
            found += files
        return found

    def _files(self, name: str) -> list[str]:
        path = self.root / name
        if name and path.is_dir():
            return sorted(str(Path(name) / file) for file in _inside(path))
        return [name] if path.is_file() else []


def _inside(root: Path) -> Iterator[Path]:
    """Walk the files of a folder, without what is corral's own: its state, earlier results."""
    for place, folders, files in os.walk(root):
        folder = Path(place)
        folders[:] = [
            name for name in folders if name != STATE and not (folder / name / paths.INDEX).exists()
        ]
        for name in files:
            if (folder / name).is_file():
                yield (folder / name).relative_to(root)
