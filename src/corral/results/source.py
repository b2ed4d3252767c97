"""What the results room is handed: a run, seen only as streams of rows and ways to open bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Protocol

from corral.errors import CorralError
from corral.model.base import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corral.model.attempt import Attempt
    from corral.model.task import Captured, Result, ResultFile

CHUNK = 1 << 20  # bytes read at a time: large enough for the disk, small enough for the memory


class OutputTemplate(Frozen, frozen=True, kw_only=True):
    """An output as the command declares it, before any task's values stand in it."""

    text: str  # ``{name}`` where a value goes, normalised as rendered names are: "out-{T}.csv"
    names: frozenset[str]  # of the axes and built-ins in it


class Source(Protocol):
    """A run that can be collected; what it gives is one consistent snapshot."""

    names: tuple[str, ...]  # of the parameters, in the order of Result.values
    reps: int
    folder: str  # of the command: where the user's own programs are looked for
    code: str  # digest of the bytes that every task was given; "" = nothing is shipped
    rule: str  # the collecting rule of output.txt
    source: str  # text of run.toml
    outputs: tuple[OutputTemplate, ...]

    def results(self) -> Iterator[Result]:
        """Stream the tasks with what they left, in the order of the latest command."""
        ...

    def printed(self) -> Iterator[tuple[int, bytes, int, str]]:
        """Stream (number, inline stdout, its size, SHA-256 if not inline) of the done tasks.

        In the same order, at a small part of the cost. What printed nothing may be left out.
        """
        ...

    def attempts(self) -> Iterator[Attempt]:
        """Stream all attempts, those of one task in their order."""
        ...

    def open(self, captured: Captured) -> BinaryIO:
        """Open a stdout or stderr that is not inline."""
        ...

    def open_file(self, file: ResultFile) -> BinaryIO:
        """Open a declared file."""
        ...

    def path(self, sha256: str) -> str:
        """Say where content that is not inline lies, for the user's own programs to read."""
        ...


def chunks(source: Source, captured: Captured) -> Iterator[bytes]:
    """Stream what a task wrote; nothing is yielded if it wrote nothing.

    Raises:
        CorralError: There are fewer or more bytes than there should be.
    """
    if not captured.sha256:
        if captured.inline:
            yield captured.inline
        return
    with source.open(captured) as file:
        yield from _pieces(file, captured.sha256, expected=captured.size)


def file_chunks(source: Source, file: ResultFile) -> Iterator[bytes]:
    """Stream a declared file.

    Raises:
        CorralError: There are fewer or more bytes than there should be.
    """
    with source.open_file(file) as content:
        yield from _pieces(content, file.sha256, expected=file.size)


def _pieces(content: BinaryIO, sha256: str, *, expected: int) -> Iterator[bytes]:
    size = 0
    while data := content.read(CHUNK):
        size += len(data)
        yield data
    check_size(sha256, size, expected=expected)


def check_size(sha256: str, size: int, *, expected: int) -> None:
    """Refuse content that is not whole.

    Raises:
        CorralError: It is not.
    """
    if size != expected:
        raise CorralError(
            f"a result's bytes are damaged: {size} instead of {expected} of {sha256[:12]}…",
            hint="look after the disk, then give the task out again: corral rerun",
        )
