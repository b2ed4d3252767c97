"""Takes in what a command ships: each file copied once into the blob store, named by its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from corral.errors import UsageError
from corral.model.base import Frozen
from corral.model.run import Input
from corral.work.axes import check_text
from corral.work.programs import LEFT
from corral.work.render import place, value_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from corral.cli.folder import RealFolder
    from corral.model.command import Command
    from corral.store.blobs import Blobs
    from corral.work.runfile import Push, RunFile


class File(Frozen, frozen=True, kw_only=True):
    """A file here that travels, and where it is to stand in a task's folder."""

    source: str
    place: str


class Load(Frozen, frozen=True, kw_only=True):
    """What every task gets on hosts of a platform; "" = of those that have no load of their own."""

    platform: str = ""
    files: tuple[File, ...] = ()


def loads(file: RunFile, automatic: Iterable[str], folder: RealFolder) -> tuple[Load, ...]:
    """Say what travels whereto: what does by itself, and what the user pushes, for each platform.

    There is none for other platforms than those given, if nothing is pushed to all and none of
    their files stands in the place of one that travels by itself.

    Raises:
        UsageError: There is no such file, or none would travel at all.
    """
    if file.here:
        if file.platform:
            raise UsageError("[platform] ships files, and `here` none", hint="leave one out")
        return ()
    own = _placed(automatic)
    pushed = _pushed(file.push, folder)
    special = {platform: _pushed(push, folder) for platform, push in file.platform.items()}
    found = [
        Load(platform=platform, files=(*_others(own, files), *files))
        for platform, files in special.items()
    ]
    if (
        not special
        or pushed
        or any(len(_others(own, files)) < len(own) for files in special.values())
    ):
        found.append(Load(files=(*_others(own, pushed), *pushed)))
    return tuple(found)


def _pushed(push: Push, folder: RealFolder) -> list[File]:
    if isinstance(push, tuple):
        return _placed(folder.pushed(push))
    for source in push.values():
        if not folder.is_file(source):
            raise UsageError(f"push {source}: there is no such file here", hint="check the name")
    return [File(source=source, place=where) for where, source in push.items()]


def _placed(sources: Iterable[str]) -> list[File]:
    """Give each file its place, and refuse a name that no command could hold."""
    for source in (sources := tuple(dict.fromkeys(sources))):
        check_text(source, "the name of a shipped file")
    return [File(source=source, place=place(source)) for source in sources]


def _others(own: Sequence[File], files: Iterable[File]) -> list[File]:
    """List those of ``own`` in whose places no other file is to stand."""
    places = {_clean(file.place) for file in files}
    return [file for file in own if _clean(file.place) not in places]


def _clean(path: str) -> str:
    return path.removeprefix("./")


def fixed(loads: Iterable[Load], root: Path, blobs: Blobs) -> tuple[Input, ...]:
    """Take in the files that every task gets.

    Raises:
        UsageError: One cannot be read, or two would stand in one place.
    """
    taken: dict[str, Input] = {}
    found: list[Input] = []
    for load in loads:
        for file in load.files:
            if file.source not in taken:
                taken[file.source] = _take(file.source, file.place, root, blobs)
        found += _distinct(
            [
                (
                    file.source,
                    msgspec.structs.replace(
                        taken[file.source], path=file.place, platform=load.platform
                    ),
                )
                for file in load.files
            ]
        )
    return tuple(found)


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


def refuse_doubles(command: Command, loads: Iterable[Load]) -> None:
    """See to it that no shipped file stands where a file of a template is to stand.

    Raises:
        UsageError: One does.
    """
    made = {template.path for template in command.templates}
    for file in (file for load in loads for file in load.files):
        if _clean(file.place) in made:
            raise UsageError(
                f"{file.source} is shipped, and made from a template as well",
                hint="rename one of them",
            )


def without_shipped(notes: Iterable[str], loads: Iterable[Load]) -> tuple[str, ...]:
    """Leave out the notes of files that stay here, if they do not: a mark or ``--push`` takes them."""
    places = {_clean(file.place) for load in loads for file in load.files}
    return tuple(
        note
        for note in notes
        if LEFT not in note or _clean(place(note.partition(LEFT)[0])) not in places
    )


def sizes(loads: Iterable[Load], root: Path) -> list[tuple[str, int]]:
    """Say how large the files are that would be shipped, those for one platform with its name."""
    found = []
    for load in loads:
        for file in load.files:
            try:
                size = (root / file.source).stat().st_size
            except OSError as error:
                raise UsageError(f"{file.source}: cannot be read: {error.strerror}") from error
            found.append(
                (f"{file.source} to {load.platform}" if load.platform else file.source, size)
            )
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
        clean = _clean(file.path)
        other = by_place.setdefault(clean, (source, file))
        if other[1].sha256 != file.sha256:
            raise UsageError(
                f"{other[0]} and {source} would both stand at {clean} in a task's folder",
                hint="rename one, or run corral in the folder above both",
            )
    return tuple(file for _, file in by_place.values())
