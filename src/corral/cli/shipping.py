"""Takes in what a command ships: each file copied once into the blob store, named by its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.errors import UsageError
from corral.model.run import Input
from corral.work.render import place, value_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from corral.model.command import Command
    from corral.store.blobs import Blobs


def fixed(paths: Iterable[str], root: Path, blobs: Blobs) -> tuple[Input, ...]:
    """Take in the files that every task gets.

    Raises:
        UsageError: One cannot be read, or two would stand in one place.
    """
    return _distinct([(path, _take(path, place(path), root, blobs)) for path in paths])


def of_values(command: Command, root: Path, blobs: Blobs) -> tuple[Input, ...]:
    """Take in the files that belong to single values."""
    if command.here:
        return ()
    return _distinct(
        [
            (file.source, _take(file.source, file.place, root, blobs))
            for file in value_inputs(command)
        ]
    )


def refuse_doubles(command: Command, paths: Iterable[str]) -> None:
    """See to it that no shipped file stands where a file of a template is to stand.

    Raises:
        UsageError: One does.
    """
    made = {template.path for template in command.templates}
    for path in paths:
        if place(path).removeprefix("./") in made:
            raise UsageError(
                f"{path} is shipped, and made from a template as well", hint="rename one of them"
            )


def sizes(paths: Iterable[str], root: Path) -> list[tuple[str, int]]:
    """Say how large the files are that would be shipped."""
    found = []
    for path in paths:
        try:
            found.append((path, (root / path).stat().st_size))
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    return found


def _take(path: str, where: str, root: Path, blobs: Blobs) -> Input:
    source = root / path
    try:
        executable = bool(source.stat().st_mode & 0o111)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be shipped: {error.strerror}", hint="check the name and its rights"
        ) from error
    sha256, size = blobs.add(source)
    return Input(path=where, sha256=sha256, size=size, mode=0o755 if executable else 0o644)


def _distinct(taken: list[tuple[str, Input]]) -> tuple[Input, ...]:
    by_place: dict[str, tuple[str, Input]] = {}
    for source, file in taken:
        clean = file.path.removeprefix("./")
        other = by_place.setdefault(clean, (source, file))
        if other[1].sha256 != file.sha256:
            raise UsageError(
                f"{other[0]} and {source} would both stand at {clean} in a task's folder",
                hint="rename one, or run corral in the folder above both",
            )
    return tuple(file for _, file in by_place.values())
