"""Where do values come from beside the braces, and which of the combinations are wanted?

`Ways` is what options and run file say of it. `split` reads the habits of GNU parallel: what
follows ``:::`` in the words is values, what follows ``::::`` names files of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from corral.errors import UsageError
from corral.model.base import Frozen
from corral.model.command import Choice, Listed
from corral.work import axes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corral.work.axes import Folder

SEPARATORS = (":::", ":::+", "::::", "::::+")


class Source(Frozen, frozen=True, kw_only=True):
    """Values for ``{1}``, ``{2}``, …: written out, or the lines of a file."""

    values: tuple[str, ...] = ()
    file: str = ""  # "-" = standard input; "" = the values stand here
    linked: bool = False  # turns together with the source before it


class Ways(Frozen, frozen=True, kw_only=True):
    """All ways to say values beside ``-p`` and the braces."""

    sources: tuple[Source, ...] = ()  # ::: and --arg-file
    params: tuple[str, ...] = ()  # files of tables
    commands: str | None = None  # a file of commands, in place of one
    counts: bool = False  # its lines begin with "10x"
    axes: bool = False  # braces are axes too, whatever else gives values
    plain: bool = False  # no brace means anything
    mark: str | None = None  # stands for the value
    zip: bool = False  # all axes turn together
    choice: Choice = Choice()

    @property
    def give_values(self) -> bool:
        """Say whether values stand elsewhere, so that braces only refer."""
        return bool(self.sources or self.params or self.plain)


def split(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[Source, ...]]:
    """Part the words of a command from the sources behind it.

    Raises:
        UsageError: A separator has nothing before or behind it.
    """
    ends = [at for at, word in enumerate(words) if word in SEPARATORS]
    if not ends:
        return tuple(words), ()
    found: list[Source] = []
    for at, stop in zip(ends, [*ends[1:], len(words)], strict=True):
        found += _sources(words[at], words[at + 1 : stop], first=not found)
    return tuple(words[: ends[0]]), tuple(found)


def _sources(separator: str, words: Sequence[str], *, first: bool) -> list[Source]:
    linked = separator.endswith("+")
    if linked and first:
        raise UsageError(f"{separator} has no source before it", hint="begin with :::")
    if not words:
        raise UsageError(
            f"nothing stands behind {separator}",
            hint="values, or a pattern that your shell found no file for",
        )
    if separator.startswith("::::"):
        return [Source(file=word, linked=linked) for word in words]
    return [Source(values=tuple(words), linked=linked)]


def read(
    sources: Sequence[Source],
    folder: Folder,
    is_ours: Callable[[str], bool],
    notes: list[str],
) -> list[Listed]:
    """Give the axes ``arg1``, ``arg2``, … that sources make; values that all name files are files.

    Raises:
        UsageError: A file cannot be read, a source is empty.
    """
    found: list[Listed] = []
    for number, source in enumerate(sources, 1):
        name = f"arg{number}"
        if source.file:
            axis = axes.parse(name, f"@{source.file}", folder, notes)
            assert isinstance(axis, Listed)
        else:
            axis = axes.listed(name, source.values)
            if all(is_ours(value) for value in source.values):
                axis = msgspec.structs.replace(axis, kind="glob")
        found.append(axis)
    return found


def linked(sources: Sequence[Source]) -> list[tuple[str, ...]]:
    """Name the axes of sources that turn together."""
    groups: list[tuple[str, ...]] = []
    for number, source in enumerate(sources, 1):
        if source.linked:
            groups[-1] += (f"arg{number}",)
        else:
            groups.append((f"arg{number}",))
    return [group for group in groups if len(group) > 1]
