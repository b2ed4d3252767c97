"""The rule ``tagged``: each line led by its task's number and a tab; every line ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from corral.results.source import chunks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from corral.model.task import Result
    from corral.results.source import Source


def add(out: BinaryIO, source: Source, result: Result, data: Iterable[bytes]) -> None:
    """Append a result."""
    del source
    tag_lines(out, result.number, data)


def add_errors(out: BinaryIO, source: Source, result: Result) -> None:
    """Append a task's stderr."""
    tag_lines(out, result.number, chunks(source, result.stderr))


def tag_lines(out: BinaryIO, number: int, data: Iterable[bytes]) -> None:
    """Write lines with their tag; how the bytes are cut into pieces does not matter."""
    tag = b"%d\t" % number
    line_end = b"\n" + tag
    ended = True
    for piece in data:
        if ended:
            out.write(tag)
        ended = piece.endswith(b"\n")
        out.write((piece[:-1] if ended else piece).replace(b"\n", line_end))
        if ended:
            out.write(b"\n")
    if not ended:
        out.write(b"\n")
