"""The rule ``concat``: what the tasks wrote, one after the other, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from corral.results.source import chunks

if TYPE_CHECKING:
    from corral.model.task import Result
    from corral.results.source import Source


def add(out: BinaryIO, source: Source, result: Result) -> None:
    """Append a result."""
    out.writelines(chunks(source, result.stdout))
