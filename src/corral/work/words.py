"""Where in a shell line does a character stand: bare, in '…', in "…", in a place for no values?

One pass over the line gives each character's `Spot`; a second the words of each simple command,
also of those in ``( )`` and ``$( )``. It knows the shell's quoting and just enough of its grammar
(``case``, here-documents, comments, sums) to quote a value for its place.
"""

from __future__ import annotations

import re
from typing import Literal

from corral.model.base import Frozen
from corral.model.command import Place

Forbidden = Literal["", "a here-document", "a comment", "backquotes"]

KEYWORDS = frozenset(
    "! [[ case do done elif else esac fi for function if in select then time until while { }".split()  # noqa: SIM905  (a column of words reads worse)
)

SHELLS = tuple(
    f"{folder}{name}" for folder in ("", "/bin/", "/usr/bin/") for name in ("sh", "dash", "bash")
)  # whose quoting is known here
_BREAKS = frozenset(" \t\n;&|()<>")
_ENDS_COMMAND = frozenset("\n;&|")
_PARENTHESES = ("$(", "(", "$((", "((")
_NO_WORDS = ("a comment", "a here-document")
_CASE = re.compile(r"(case|esac)(?![^\s;&|()<>])")
_BEFORE_COMMAND = ("do", "then", "else", "elif", "if", "while", "until", "time", "!", "{")


class Spot(Frozen, frozen=True, kw_only=True):
    """How a character stands in its line."""

    place: Place
    quoted: bool  # inside any quotes, however deep
    forbidden: Forbidden  # no value can be put here safely
    shells: bool  # belongs to ${…}, $'…' or is escaped: never a brace of ours
    computed: bool  # inside $((…)): the shell reckons with it


class Word(Frozen, frozen=True, kw_only=True):
    """A word of a simple command."""

    start: int
    end: int
    text: str  # without its quotes; empty if only the shell can know it
    command: int  # which simple command of the line
    target: Literal["", "<", ">"]  # of a redirection: read from, written to


class Line(Frozen, frozen=True, kw_only=True):
    """A shell line with what is known of its characters."""

    text: str
    spots: tuple[Spot, ...]
    words: tuple[Word, ...]
    unclosed: tuple[str, int] | None  # a quote that never ends, and where it begins


def read(text: str, *, shell: str = "/bin/sh") -> Line:
    """Read a line of a shell."""
    reader = _Reader(text, bash=shell.endswith("bash"))
    reader.read()
    return Line(
        text=text,
        spots=tuple(reader.spots),
        words=tuple(_Words(reader).read()),
        unclosed=next((entry for entry in reader.stack if entry[0] in ("'", '"')), None),
    )


_SPOTS: dict[tuple[Place, bool, Forbidden, bool, bool], Spot] = {}


def _spot(place: Place, quoted: bool, forbidden: Forbidden, shells: bool, computed: bool) -> Spot:
    key = (place, quoted, forbidden, shells, computed)
    if key not in _SPOTS:
        _SPOTS[key] = Spot(
            place=place, quoted=quoted, forbidden=forbidden, shells=shells, computed=computed
        )
    return _SPOTS[key]


class _Reader:
    """Walks the line once.

    ``stack`` holds what is open, innermost last, each with where it began: a quote, a parenthesis,
    a backquote, or ``case``, whose patterns end in a ``)`` that closes nothing.
    """

    def __init__(self, text: str, *, bash: bool) -> None:
        self.text = text
        self.bash = bash
        self.spots: list[Spot] = []
        self.frames: list[int] = []  # of each character: the parenthesis it stands in, 0 = none
        self.stack: list[tuple[str, int]] = []
        self.documents: list[tuple[str, bool]] = []  # here-documents that begin at the next line
        self._open = [0]  # the frames around the next character
        self._last_frame = 0

    @property
    def inner(self) -> str:
        return self.stack[-1][0] if self.stack else ""

    def read(self) -> None:
        while len(self.spots) < len(self.text):
            self._step()

    def _step(self) -> None:
        at = len(self.spots)
        char = self.text[at]
        if self.inner == "'":
            self._single(at, char)
        elif char == "\\":
            self._take(2, shells=True)
        elif char == "`":
            self._backquote()
        elif self.text.startswith("${", at):
            # in "${x:-it's}" bash takes the ' for a quote, POSIX shells for a letter
            end = _parameter_end(self.text, at, quotes=self.bash or self.inner != '"')
            self._take(end - at, shells=True)
        elif self.text.startswith("$(", at):
            self._enter("$((" if self.text.startswith("$((", at) else "$(")
        elif char == '"':
            self._double()
        elif self.inner == '"':
            self._take(1)
        else:
            self._bare(at, char)

    def _single(self, at: int, char: str) -> None:
        # sed's \{1,3\} is the shell's business too, even where it is only text
        if char == "\\" and self.text[at + 1 : at + 2] in ("{", "}"):
            self._take(2, shells=True)
            return
        self._take(1)
        if char == "'":
            self.stack.pop()

    def _double(self) -> None:
        if self.inner == '"':
            self._take(1)
            self.stack.pop()
        else:
            self.stack.append(('"', len(self.spots)))
            self._take(1)

    def _bare(self, at: int, char: str) -> None:
        text = self.text
        if text.startswith("$'", at):
            self._take(_ansi_end(text, at) - at, shells=True)
        elif char == "'":
            self.stack.append(("'", at))
            self._take(1)
        elif char == "(":
            self._enter("((" if text.startswith("((", at) else "(")
        elif char == ")":
            self._leave(at)
        elif char == "#" and self._begins_word(at) and not self._in_sum():
            end = text.find("\n", at)
            self._take((len(text) if end < 0 else end) - at, forbidden="a comment")
        elif text.startswith("<<", at) and not text.startswith("<<<", at):
            self._here(at)
        elif char == "\n" and self.documents:
            self._take(1)
            self._documents()
        elif text.startswith("<<<", at):
            self._take(3)
        else:
            self._keyword(at)
            self._take(1)

    def _enter(self, opening: str) -> None:
        """Begin a parenthesis; its own characters belong to what is around it."""
        self._take(len(opening))
        self._last_frame += 1
        self._open.append(self._last_frame)
        self.stack.append((opening, len(self.spots) - len(opening)))

    def _leave(self, at: int) -> None:
        opening = self.inner
        if opening in ("$((", "((") and not self.text.startswith("))", at):
            # not a sum, but a command in parentheses inside others: $((a) | b)
            self.stack[-1] = (opening[:-1], self.stack[-1][1])
            self._take(1)
            return
        if opening in _PARENTHESES:
            self.stack.pop()
            self._open.pop()
        self._take(2 if opening in ("$((", "((") else 1)

    def _keyword(self, at: int) -> None:
        """Keep track of ``case … esac``."""
        word = _CASE.match(self.text, at)
        if word is None or not self._begins_word(at):
            return
        if word[1] == "esac" and self.inner == "case":
            self.stack.pop()
        elif word[1] == "case" and self._begins_command(at):
            self.stack.append(("case", at))

    def _begins_word(self, at: int) -> bool:
        return at == 0 or (self.text[at - 1] in _BREAKS and not self.spots[at - 1].shells)

    def _begins_command(self, at: int) -> bool:
        before = self.text[:at].rstrip(" \t")
        if not before or before[-1] in "\n;&|(":
            return True
        return re.split(r"[\s;&|()]", before)[-1] in _BEFORE_COMMAND

    def _in_sum(self) -> bool:
        return any(entry in ("$((", "((") for entry, _ in self.stack)

    def _take(self, count: int, *, shells: bool = False, forbidden: Forbidden = "") -> None:
        count = min(count, len(self.text) - len(self.spots))
        inner = self.inner
        place: Place = "single" if inner == "'" else "double" if inner == '"' else "bare"
        quoted = any(entry in ("'", '"') for entry, _ in self.stack)
        backquoted = any(entry == "`" for entry, _ in self.stack)
        where: Forbidden = forbidden or ("backquotes" if backquoted else "")
        self.spots += [_spot(place, quoted, where, shells, self._in_sum())] * count
        self.frames += [self._open[-1]] * count

    def _backquote(self) -> None:
        if not any(entry == "`" for entry, _ in self.stack):
            self.stack.append(("`", len(self.spots)))
            self._take(1)
            self._last_frame += 1
            self._open.append(self._last_frame)
            return
        entry = ""
        while entry != "`":
            entry, _ = self.stack.pop()
            if entry in _PARENTHESES or entry == "`":
                self._open.pop()
        self._take(1, forbidden="backquotes")

    def _here(self, at: int) -> None:
        line = self.text[at:].partition("\n")[0]
        if self._in_sum() and "))" in line:  # a shift: $((1 << 4))
            self._take(2)
            return
        tabs = self.text.startswith("<<-", at)
        begin = at + (3 if tabs else 2)
        while self.text[begin : begin + 1] in (" ", "\t"):
            begin += 1
        delimiter, end = _delimiter(self.text, begin)
        if end > begin:
            self.documents.append((delimiter, tabs))
        self._take(max(end - at, 2))

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


def _delimiter(text: str, at: int) -> tuple[str, int]:
    """Read the word after ``<<``: without its quotes, and where it ends."""
    word = ""
    quote = ""
    while at < len(text):
        char = text[at]
        if quote and char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif char == "\\" and quote != "'":
            at += 1
            word += text[at : at + 1]
        elif char == "\n" or (not quote and char in _BREAKS):
            break
        else:
            word += char
        at += 1
    return word, min(at, len(text))


def _parameter_end(text: str, at: int, *, quotes: bool) -> int:
    """Find the end of a ``${…}``, which may hold others; ``quotes``: a ' in it is one."""
    depth = 0
    index = at
    while index < len(text):
        char = text[index]
        if char == "\\":
            index += 1
        elif char == "'" and quotes:
            closing = text.find("'", index + 1)
            index = len(text) if closing < 0 else closing
        elif char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return index + 1
        index += 1
    return len(text)


def _ansi_end(text: str, at: int) -> int:
    """Find the end of a ``$'…'``."""
    index = at + 2
    while index < len(text) and text[index] != "'":
        index += 2 if text[index] == "\\" else 1
    return min(index + 1, len(text))


class _Words:
    """Cuts what was read into words."""

    def __init__(self, reader: _Reader) -> None:
        self.text = reader.text
        self.spots = reader.spots
        self.frames = reader.frames
        self.found: list[Word] = []
        self.commands = 0  # how many have begun

    def read(self) -> list[Word]:
        by_frame: dict[int, list[int]] = {}
        for at, frame in enumerate(self.frames):
            by_frame.setdefault(frame, []).append(at)
        for frame in sorted(by_frame):
            self._frame(by_frame[frame])
        return self.found

    def _frame(self, positions: list[int]) -> None:
        """Cut the characters that stand in one parenthesis."""
        self.commands += 1
        word: list[int] = []
        target: Literal["", "<", ">"] = ""
        for at in positions:
            char, spot = self.text[at], self.spots[at]
            if spot.place != "bare" or spot.shells or char not in _BREAKS:
                word.append(at)
                continue
            self._word(word, target)
            if char in "<>":
                target = ">" if char == ">" else "<"
            elif word or char not in " \t&|":  # >&2 and >| go on
                target = ""
            word = []
            if char in _ENDS_COMMAND and not target and not self.text.startswith("&>", at):
                self.commands += 1
        self._word(word, target)

    def _word(self, positions: list[int], target: Literal["", "<", ">"]) -> None:
        if not positions or self.spots[positions[0]].forbidden in _NO_WORDS:
            return
        text = self._literal(positions) or ""
        start, end = positions[0], positions[-1] + 1
        if self.text[end : end + 1] in ("<", ">") and text.isdigit():
            return  # the number of a redirection: 2>
        self.found.append(
            Word(start=start, end=end, text=text, command=self.commands, target=target)
        )

    def _literal(self, positions: list[int]) -> str | None:
        """Give the text of a word without its quotes; None if the shell would change it."""
        text = ""
        skip = False
        for index, at in enumerate(positions):
            char, spot = self.text[at], self.spots[at]
            if skip:
                skip = False
                text += "" if char == "\n" else char
            elif spot.place == "single":
                text += "" if char == "'" else char
            elif char == "\\":
                follows = self.text[positions[index + 1]] if index + 1 < len(positions) else ""
                text += "\\" if spot.place == "double" and follows not in '$`"\\\n' else ""
                skip = True
            elif char in "$`" or spot.shells or (spot.place == "bare" and char in "*?["):
                return None
            else:
                text += "" if char == '"' else char
        return None if text.startswith("~") else text
