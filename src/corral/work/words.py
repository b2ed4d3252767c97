"""Where in a shell line does a character stand: bare, in '…', in "…", in a place for no values?

One pass over the line gives each character's `Spot` and the plain words of each simple command.
It knows the shell's quoting, not its grammar: enough to quote a value for its place.
"""

from __future__ import annotations

import re
from typing import Literal

from corral.model.base import Frozen
from corral.model.command import Place

Forbidden = Literal["", "a here-document", "a comment", "backquotes"]

_HEREDOC = re.compile(r"<<(-?)\s*(\\?)(['\"]?)([\w.+-]+)\3")
_BREAKS = frozenset(" \t\n;&|()<>")


class Spot(Frozen, frozen=True, kw_only=True):
    """How a character stands in its line."""

    place: Place
    quoted: bool  # inside any quotes, however deep
    forbidden: Forbidden  # no value can be put here safely
    shells: bool  # belongs to ${…}, $'…' or is escaped: never a brace of ours


class Word(Frozen, frozen=True, kw_only=True):
    """An unquoted word of a simple command."""

    start: int
    end: int
    text: str
    command: int  # which simple command of the line
    index: int  # which word of it


class Line(Frozen, frozen=True, kw_only=True):
    """A shell line with what is known of its characters."""

    text: str
    spots: tuple[Spot, ...]
    words: tuple[Word, ...]


def read(text: str) -> Line:
    """Read a shell line."""
    reader = _Reader(text)
    reader.read()
    return Line(text=text, spots=tuple(reader.spots), words=tuple(_words(text, reader.spots)))


_SPOTS: dict[tuple[Place, bool, Forbidden, bool], Spot] = {}


def _spot(place: Place, *, quoted: bool, forbidden: Forbidden, shells: bool) -> Spot:
    key = (place, quoted, forbidden, shells)
    if key not in _SPOTS:
        _SPOTS[key] = Spot(place=place, quoted=quoted, forbidden=forbidden, shells=shells)
    return _SPOTS[key]


class _Reader:
    """Walks the line once; ``stack`` holds the quotes that are open, innermost last."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spots: list[Spot] = []
        self.stack: list[str] = []  # of ' " $( ( `
        self.documents: list[tuple[str, bool]] = []  # here-documents that begin at the next line

    def read(self) -> None:
        while len(self.spots) < len(self.text):
            self._step()

    def _step(self) -> None:
        at = len(self.spots)
        char = self.text[at]
        inner = self.stack[-1] if self.stack else ""
        if inner == "'":
            # sed's \{1,3\} is the shell's business too, even where it is only text
            if char == "\\" and self.text[at + 1 : at + 2] in ("{", "}"):
                self._take(2, shells=True)
                return
            self._take(1)
            if char == "'":
                self.stack.pop()
            return
        if char == "\\":
            self._take(2, shells=True)
        elif char == "`":
            self._backquote(inner)
        elif self.text.startswith("${", at):
            self._take(_parameter_end(self.text, at) - at, shells=True)
        elif self.text.startswith("$(", at):
            self._take(2)
            self.stack.append("$(")
        elif char == '"':
            self._quote(inner)
        elif inner == '"':
            self._take(1)
        else:
            self._bare(at, char, inner)

    def _bare(self, at: int, char: str, inner: str) -> None:
        if self.text.startswith("$'", at):
            self._take(_ansi_end(self.text, at) - at, shells=True)
        elif char == "'":
            self.stack.append("'")
            self._take(1)
        elif char == "(" and inner in ("$(", "("):
            self.stack.append("(")
            self._take(1)
        elif char == ")" and inner in ("$(", "("):
            self.stack.pop()
            self._take(1)
        elif char == "#" and (at == 0 or self.text[at - 1] in _BREAKS):
            end = self.text.find("\n", at)
            self._take((len(self.text) if end < 0 else end) - at, forbidden="a comment")
        elif self.text.startswith("<<", at) and not self.text.startswith("<<<", at):
            self._here(at)
        elif char == "\n" and self.documents:
            self._take(1)
            self._documents()
        else:
            self._take(3 if self.text.startswith("<<<", at) else 1)

    def _take(self, count: int, *, shells: bool = False, forbidden: Forbidden = "") -> None:
        count = min(count, len(self.text) - len(self.spots))
        inner = self.stack[-1] if self.stack else ""
        place: Place = "single" if inner == "'" else "double" if inner == '"' else "bare"
        quoted = any(mark in ("'", '"') for mark in self.stack)
        where: Forbidden = forbidden or ("backquotes" if "`" in self.stack else "")
        self.spots += [_spot(place, quoted=quoted, forbidden=where, shells=shells)] * count

    def _quote(self, inner: str) -> None:
        if inner == '"':
            self._take(1)
            self.stack.pop()
        else:
            self.stack.append('"')
            self._take(1)

    def _backquote(self, inner: str) -> None:
        if "`" in self.stack:
            while self.stack.pop() != "`":
                pass
            self._take(1, forbidden="backquotes")
        else:
            self.stack.append("`")
            self._take(1)
        del inner

    def _here(self, at: int) -> None:
        match = _HEREDOC.match(self.text, at)
        if match is None:
            self._take(2)
            return
        self.documents.append((match[4], bool(match[1])))
        self._take(match.end() - at)

    def _documents(self) -> None:
        """Pass over the here-documents that begin on this line."""
        for delimiter, tabs in self.documents:
            while len(self.spots) < len(self.text):
                at = len(self.spots)
                end = self.text.find("\n", at)
                stop = len(self.text) if end < 0 else end + 1
                line = self.text[at:stop].rstrip("\n")
                self._take(stop - at, forbidden="a here-document")
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    break
        self.documents = []


def _parameter_end(text: str, at: int) -> int:
    """Find the end of a ``${…}``, which may hold others."""
    depth = 0
    for index in range(at, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index + 1
    return len(text)


def _ansi_end(text: str, at: int) -> int:
    """Find the end of a ``$'…'``."""
    index = at + 2
    while index < len(text) and text[index] != "'":
        index += 2 if text[index] == "\\" else 1
    return min(index + 1, len(text))


def _words(text: str, spots: list[Spot]) -> list[Word]:
    """List the words that stand bare and are not inside $(…), by simple command."""
    found: list[Word] = []
    command = index = 0
    start: int | None = None
    depth = 0
    for at in range(len(text) + 1):
        char = text[at] if at < len(text) else "\n"
        plain = at < len(text) and spots[at].place == "bare" and not spots[at].forbidden
        if plain and char == "(":
            depth += 1
        elif plain and char == ")":
            depth = max(0, depth - 1)
        ends = at == len(text) or (plain and not spots[at].shells and char in _BREAKS)
        if not ends:
            start = at if start is None else start
            continue
        if start is not None:
            if not depth:
                found.append(
                    Word(start=start, end=at, text=text[start:at], command=command, index=index)
                )
            index += 1
            start = None
        if plain and char in "\n;&|" and index:
            command, index = command + 1, 0
    return found
