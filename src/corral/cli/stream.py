"""``corral run --stream``: the lines of all tasks on stdout, each result as it is accepted.

A result is printed whole and once, in the order in which results came; so no line is ever torn or mixed
with another. New attempts are found by their rising ids, those under way are asked after again: a look
costs no more than what goes on.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from corral.cli import streams
from corral.engine import queries
from corral.results import tagged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from corral.ids import RunId
    from corral.model.task import Captured, Result
    from corral.store.base import Reader, Row
    from corral.store.blobs import Blobs

PAGE = 1_000  # attempts looked at at once
CHUNK = 1 << 20  # bytes


class Stream:
    """Prints what tasks wrote to stdout, one accepted result after the other."""

    def __init__(self, blobs: Blobs, *, tag: bool) -> None:
        self._blobs = blobs
        self._tag = tag
        self._newest: int | None = None  # attempt that was looked at
        self._open: set[int] = set()  # attempts that may still be accepted
        self._closed = False  # nobody reads any more

    def begin(self, reader: Reader) -> None:
        """Note what is there before the run: of that, only what is under way may be printed."""
        if self._newest is None:
            self._newest = reader.value("attempt_newest")
            self._open = {row[0] for row in reader.rows("attempts_open")}

    def show(self, reader: Reader, run: RunId, *, first: Callable[[], None]) -> None:
        """Print what was accepted since the last call; ``first`` clears the terminal's line."""
        if self._closed:
            return
        accepted = sorted(self._accepted(reader, run))
        if accepted:
            first()
        try:
            for _, attempt in accepted:
                self._print(queries.result_of_attempt(reader, attempt))
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            self._closed = True  # `| head`: the work goes on all the same
            streams.stop_printing()

    def _accepted(self, reader: Reader, run: RunId) -> Iterator[tuple[float, int]]:
        """List (when it ended, attempt), and forget what has ended."""
        assert self._newest is not None, "begin() comes first"
        asked = reader.rows("attempts_standing", json.dumps(sorted(self._open)))
        yield from self._sorted_out(asked, run)
        while page := reader.rows("attempts_after", self._newest, PAGE):
            self._newest = page[-1][0]
            self._open.update(row[0] for row in page)
            yield from self._sorted_out(page, run)

    def _sorted_out(self, rows: list[Row], run: RunId) -> Iterator[tuple[float, int]]:
        for attempt, of, outcome, ended in rows:
            if outcome is None or (outcome == "lost" and of == run):
                continue  # a lost one may yet report
            self._open.discard(attempt)
            if outcome == "accepted" and of == run:
                yield ended, attempt

    def _print(self, result: Result) -> None:
        out = sys.stdout.buffer
        if self._tag:
            tagged.tag_lines(out, result.number, self._pieces(result.stdout))
            return
        last = b"\n"
        for last in self._pieces(result.stdout):
            out.write(last)
        if not last.endswith(b"\n"):
            out.write(b"\n")

    def _pieces(self, captured: Captured) -> Iterator[bytes]:
        if not captured.sha256:
            if captured.inline:
                yield captured.inline
            return
        with self._blobs.open(captured.sha256) as file:
            while piece := file.read(CHUNK):
                yield piece
