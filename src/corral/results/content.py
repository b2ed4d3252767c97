"""Which of the things that a task left is collected: its stdout, its stderr or declared files."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from corral.errors import UsageError
from corral.results import paths
from corral.results.source import chunks, file_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from corral.model.task import Captured, Result, ResultFile
    from corral.results.source import OutputTemplate, Source

STDOUT = "stdout"
STDERR = "stderr"


class Content:
    """One kind of what all tasks left.

    ``of`` is ``stdout``, ``stderr``, or a declared file as it was declared (``out-{T}.csv``), as
    it is called (``out-1.csv``) or as a pattern (``out-*.csv``).

    Raises:
        UsageError: The run declares no such file.
    """

    def __init__(self, source: Source, of: str = STDOUT) -> None:
        self.of = of
        self._source = source
        self._pattern = "" if of in (STDOUT, STDERR) else posixpath.normpath(of)
        if self._pattern:
            check_declared(source.outputs, self._pattern)

    @property
    def declared(self) -> bool:
        """Say whether it is files that the command declares."""
        return bool(self._pattern)

    @property
    def ending(self) -> str:
        """Give the ending that a file of such content has: ``.txt``."""
        return (posixpath.splitext(self._pattern)[1] if self._pattern else "") or ".txt"

    def chunks(self, result: Result) -> Iterator[bytes]:
        """Stream the bytes; of several files one after the other, by name."""
        if not self._pattern:
            yield from chunks(self._source, self.captured(result))
            return
        for file in self.files(result):
            yield from file_chunks(self._source, file)

    def size(self, result: Result) -> int:
        """Count the bytes."""
        if not self._pattern:
            return self.captured(result).size
        return sum(file.size for file in self.files(result))

    def captured(self, result: Result) -> Captured:
        """Give the stdout or stderr."""
        return result.stderr if self.of == STDERR else result.stdout

    def files(self, result: Result) -> list[ResultFile]:
        """List the declared files that are meant, by name; none of stdout and stderr."""
        if not self._pattern:
            return []
        known = paths.known(result, self._source.names)
        wanted = paths.filled(self._pattern, known)
        named = {file.name: file for file in result.files}
        return [
            named[name]
            for name in sorted(named)
            if name == self._pattern
            or paths.is_of(name, wanted)
            or paths.is_of(name, self._pattern)
        ]


def check_declared(outputs: Sequence[OutputTemplate], pattern: str) -> None:
    """See that a pattern can mean a declared file.

    Raises:
        UsageError: It cannot.
    """
    loose = paths.filled(pattern, {})
    for output in outputs:
        if output.text == pattern or paths.is_of(loose, paths.filled(output.text, {})):
            return
    declared = dict.fromkeys(output.text for output in outputs)
    raise UsageError(
        f"{pattern}: no such file is declared",
        hint=f"one of: {', '.join((STDOUT, STDERR, *declared))}",
    )
