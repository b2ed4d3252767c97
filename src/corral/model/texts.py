"""How are a million values kept? As the JSON list that is stored and sent, with the place of each.

As a Python string, seven characters take 64 bytes; in the list they take 10, and their place 4.
"""

from __future__ import annotations

import re
from array import array
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from corral.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

BLOCK = 1_000  # texts that are strings at the same time
_ITEM = re.compile(rb'[\[,]\s*"[^"\\]*(?:\\.[^"\\]*)*"\s*')  # with what stands before it
_END = re.compile(rb"(?:\[\s*)?\]")  # the list may be empty
_FOUR_BYTES = 1 << 32


class Texts:
    """The texts of a JSON list, in order or by index from 0.

    Raises:
        UsageError: There is something else in it.
    """

    def __init__(self, written: msgspec.Raw) -> None:
        self._list = memoryview(written)
        self._ends = array("I" if len(self._list) < _FOUR_BYTES else "Q", [0])
        for item in _ITEM.finditer(self._list):
            if item.start() != self._ends[-1]:
                break
            self._ends.append(item.end())
        if not _END.fullmatch(self._list, self._ends[-1]):
            raise UsageError("the values of an axis are no list of texts")
        self._one = msgspec.json.Decoder(str)
        self._many = msgspec.json.Decoder(list[str])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        return self._one.decode(self._list[self._ends[index] + 1 : self._ends[index + 1]])

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), BLOCK):
            last = min(first + BLOCK, len(self))
            block = self._list[self._ends[first] + 1 : self._ends[last]]
            yield from self._many.decode(b"".join((b"[", block, b"]")))


class Writer:
    """Makes such a list piece by piece."""

    def __init__(self) -> None:
        self._list = bytearray(b"[")

    def add(self, texts: Sequence[str]) -> None:
        if texts:
            self._list += msgspec.json.encode(texts)[1:-1]
            self._list += b","

    def done(self) -> msgspec.Raw:
        """Give the list; nothing is added any more."""
        del self._list[max(1, len(self._list) - 1) :]  # the last comma
        self._list += b"]"
        return msgspec.Raw(self._list)


def written(texts: Iterable[str]) -> msgspec.Raw:
    """Make such a list."""
    writer, left = Writer(), iter(texts)
    while block := list(islice(left, BLOCK)):
        writer.add(block)
    return writer.done()
