"""Where in the text of a run file does a key stand, and where its value?

It walks a text that `tomllib` has taken, so it need not doubt it: only names, brackets and strings
are told apart.
"""

from __future__ import annotations

import re
from typing import NamedTuple

Path = tuple[str | int, ...]  # ("sweep", "T"), ("source", 0, "values", 2)

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"[ \t]*")
_BETWEEN = re.compile(r"(?:[\s,]|#[^\n]*)*")  # what may stand between the items of an array
_SCALAR = re.compile(r"[^\s,\]}#]+(?: [0-9][^\s,\]}#]*)?")  # a date may hold a blank


class Spot(NamedTuple):
    """A stretch of the text."""

    start: int
    end: int


class Positions:
    """Keys and values of a TOML text by their path."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.keys: dict[Path, Spot] = {}
        self.values: dict[Path, Spot] = {}
        self._table: Path = ()
        self._lengths: dict[Path, int] = {}  # of arrays of tables
        at = 0
        while at < len(text):
            at = self._line(at)

    def line_and_column(self, at: int) -> tuple[int, int]:
        """Give line and column of a character, both from 1."""
        return self.text.count("\n", 0, at) + 1, at - (self.text.rfind("\n", 0, at) + 1) + 1

    def _line(self, at: int) -> int:
        at = self._blank(at)
        if self.text.startswith("[", at):
            at = self._header(at)
        elif at < len(self.text) and self.text[at] not in "#\r\n":
            at = self._pair(at, self._table)
        end = self.text.find("\n", at)
        return len(self.text) if end < 0 else end + 1

    def _header(self, at: int) -> int:
        """Read ``[table]`` or ``[[table]]``: what follows is in it."""
        double = self.text.startswith("[[", at)
        path, at = self._key(at + (2 if double else 1), ())
        if double:
            number = self._lengths.get(path, 0)
            self._lengths[path] = number + 1
            path = (*path, number)
        self._table = path
        return at

    def _pair(self, at: int, inside: Path) -> int:
        path, at = self._key(at, inside)
        return self._value(self._blank(self.text.index("=", at) + 1), path)

    def _key(self, at: int, inside: Path) -> tuple[Path, int]:
        """Read a dotted key; each of its parts is noted."""
        path = inside
        while True:
            at = self._blank(at)
            start = at
            if self.text[at] in "\"'":
                at = self._string(at)
                name = self.text[start + 1 : at - 1]
            else:
                match = _BARE.match(self.text, at)
                assert match is not None, "tomllib took what is no key"
                at, name = match.end(), match[0]
            path = (*path, name)
            quoted = self.text[start] in "\"'"
            self.keys.setdefault(path, Spot(start + quoted, at - quoted))
            at = self._blank(at)
            if not self.text.startswith(".", at):
                return path, at
            at += 1

    def _value(self, at: int, path: Path) -> int:
        start = at
        char = self.text[at]
        if char in "\"'":
            at = self._string(at)
        elif char == "[":
            at = self._array(at, path)
        elif char == "{":
            at = self._inline_table(at, path)
        elif match := _SCALAR.match(self.text, at):
            at = match.end()
        self.values[path] = Spot(start, at)
        return at

    def _array(self, at: int, path: Path) -> int:
        number = 0
        at = self._between(at + 1)
        while self.text[at] != "]":
            at = self._between(self._value(at, (*path, number)))
            number += 1
        return at + 1

    def _inline_table(self, at: int, path: Path) -> int:
        at = self._between(at + 1)
        while self.text[at] != "}":
            at = self._between(self._pair(at, path))
        return at + 1

    def _string(self, at: int) -> int:
        quote = self.text[at]
        long = self.text.startswith(quote * 3, at)
        closing = quote * 3 if long else quote
        at += len(closing)
        while not self.text.startswith(closing, at):
            at += 2 if self.text[at] == "\\" and quote == '"' else 1
        at += len(closing)
        while long and self.text.startswith(quote, at):  # quotes of the text stand before the end
            at += 1
        return at

    def _blank(self, at: int) -> int:
        match = _BLANK.match(self.text, at)
        return match.end() if match else at

    def _between(self, at: int) -> int:
        match = _BETWEEN.match(self.text, at)
        return match.end() if match else at
