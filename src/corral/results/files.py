"""The rule ``files``: every declared file of every done task, in a place of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.errors import CorralError
from corral.results.paths import Layout, is_safe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from corral.model.task import Result, ResultFile
    from corral.results.content import Content
    from corral.results.source import Source
    from corral.results.tree import Tree

SHOWN = 3  # refused names that an error lists


class Files:
    """One collection's way through the declared files."""

    def __init__(self, source: Source, tree: Tree, content: Content | None = None) -> None:
        self._source = source
        self._content = content  # None: all of them
        self._tree = tree
        self._layout = Layout(source.outputs, source.names, source.reps)
        self._refused: list[str] = []
        self.count = 0
        self.size = 0  # bytes
        self.copied = 0
        self.removed = 0

    def add(self, result: Result) -> None:
        """Bring in the files of a done task."""
        for file in self._meant(result):
            if is_safe(file.name):
                self._bring(result, file)
            else:
                self._refused.append(f"{file.name!r} of task {result.number}")

    def finish(self) -> None:
        """Remove files of tasks that are not part of the run any more."""
        self.removed = self._tree.remove_unwanted()

    def check_refused(self) -> None:
        """Tell, once all else is written, of names that would have led out of the folder.

        Raises:
            CorralError: There were some.
        """
        if self._refused:
            more = f" and {len(self._refused) - SHOWN} more" if len(self._refused) > SHOWN else ""
            raise CorralError(
                f"not written, for the name leads out of the results: "
                f"{', '.join(self._refused[:SHOWN])}{more}",
                hint="a host reported it; corral show TASK says which",
            )

    def close(self) -> None:
        """Nothing was begun that is not finished."""

    def _meant(self, result: Result) -> Iterable[ResultFile]:
        if self._content is not None:
            return self._content.files(result)
        return {file.name: file for file in result.files}.values()

    def _bring(self, result: Result, file: ResultFile) -> None:
        for place in self._layout.places(result, file.name):
            put = self._tree.put(place, file, lambda: self._source.open_file(file))
            if put != "taken":
                self._layout.claim(place)
                self.count += 1
                self.size += file.size
                self.copied += put == "copied"
                return
