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

    def inside(self, path: str) -> list[str]:
        root = self.root / path
        return sorted(str(file.relative_to(root)) for file in _walk(root))

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
            return [str(Path(name) / file) for file in self.inside(name)]
        return [name] if path.is_file() else []


def _walk(root: Path) -> Iterator[Path]:
    """Find the files of a folder, behind links too, but not what is corral's own."""
    for place, folders, files in os.walk(root, followlinks=True):
        folder = Path(place)
        folders[:] = [
            name
            for name in folders
            if not (_is_ours(folder / name) or _turns_back(folder / name, root))
        ]
        yield from (folder / name for name in files if (folder / name).is_file())


def _is_ours(folder: Path) -> bool:
    """Say whether a folder holds corral's state, or earlier results."""
    return folder.name == STATE or (folder / paths.INDEX).exists()


def _turns_back(folder: Path, root: Path) -> bool:
    """Say whether a folder is a link to one that it lies in, or was come to through: no end of it."""
    if not folder.is_symlink():
        return False
    target = folder.resolve()
    way = [place for place in folder.parents if place.is_relative_to(root)]
    return any(place.resolve().is_relative_to(target) for place in way)
