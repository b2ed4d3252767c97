"""A CSV table whose middle columns are found only while it is written.

Rows go to an unnamed file with the columns known so far; they are padded at the end, if some came
later. So memory does not grow with the rows, and nothing is read twice.
"""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from typing import IO, TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

BUFFER = 1 << 18  # bytes; many small rows make one write
csv.field_size_limit(2**31 - 1)  # a value may be long; the module's own limit is 128 KB


class Csv:
    """A CSV file in UTF-8: a comma, ``\\n``, quotes only where they are needed."""

    def __init__(self, out: IO[bytes], header: Iterable[str] | None = None) -> None:
        self._out = out
        self.row = csv.writer(self).writerow
        if header is not None:
            self.row(header)

    def write(self, line: str) -> None:
        r"""Take a line from the csv module.

        Its lines end with ``\r\n``: before Python 3.13 it quotes a ``\r`` within a field only
        then, and without quotes the field would not come back.
        """
        self._out.write((line[:-2] + "\n").encode("utf-8", "surrogateescape"))


class Sheet:
    """Rows of known columns, then values by name, then known columns again."""

    def __init__(
        self, out: BinaryIO, before: Sequence[str], after: Sequence[str], *, folder: Path | None
    ) -> None:
        self._out = out
        self._before = before
        self._after = after
        self._names: dict[str, str] = {}  # of values: as the task wrote them -> the column's
        self._body = tempfile.TemporaryFile(buffering=BUFFER, dir=folder)  # noqa: SIM115  (`close`)
        self._rows = Csv(self._body)
        self._widest = self._narrowest = len(before) + len(after)
        self._any = False

    def add(
        self, before: Iterable[object], values: Mapping[str, str], after: Iterable[object]
    ) -> None:
        """Append a row."""
        for name in values:
            if name not in self._names:
                self._names[name] = free(name, {*self._before, *self._after, *self._names.values()})
                self._widest += 1
        if not self._any:
            self._narrowest, self._any = self._widest, True
        self._rows.row([*before, *[values.get(name) for name in self._names], *after])

    def finish(self) -> None:
        """Write the header, and below it all rows."""
        Csv(self._out, (*self._before, *self._names.values(), *self._after))
        self._body.seek(0)
        if self._narrowest == self._widest:
            shutil.copyfileobj(self._body, self._out)
        else:
            self._pad()

    def close(self) -> None:
        """Let go of the rows."""
        self._body.close()

    def _pad(self) -> None:
        """Put empty fields in front of the last columns of rows that were written too early."""
        text = io.TextIOWrapper(self._body, "utf-8", "surrogateescape", newline="")
        rows = Csv(self._out)
        cut = len(self._after)
        for row in csv.reader(text, strict=True):
            blank = [""] * (self._widest - len(row))
            rows.row([*row[: len(row) - cut], *blank, *row[len(row) - cut :]])
        text.detach()


def free(name: str, taken: Collection[str]) -> str:
    """Name a column beside others: one that collides gets a ``_``."""
    while name in taken:
        name += "_"
    return name
