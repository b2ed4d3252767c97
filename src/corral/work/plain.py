"""Is a shell line so plain that its program can be started without a shell, and the same happens?

Plain words and quotes only: no shell syntax, keyword, builtin, assignment or pattern. When in
doubt the shell reads the line; being wrong here would change what a command means.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import msgspec

from corral.model.command import Line, Mark, Ref, Segment, Shipped, Text
from corral.work.words import KEYWORDS, SHELLS

if TYPE_CHECKING:
    from collections.abc import Sequence

# bash may know exported functions, and any other shell is somebody's wish
_SHELLS = tuple(shell for shell in SHELLS if not shell.endswith("bash"))
_SAFE = frozenset(string.ascii_letters + string.digits + "_./:=,+@%^-")
_BUILT_IN = frozenset(  # but for those that are the same as a program: true, false, test, echo
    [
        ".",
        ":",
        "alias",
        "bg",
        "bind",
        "break",
        "builtin",
        "caller",
        "cd",
        "chdir",
        "command",
        "compgen",
        "complete",
        "compopt",
        "continue",
        "coproc",
        "declare",
        "dirs",
        "disown",
        "enable",
        "eval",
        "exec",
        "exit",
        "export",
        "fc",
        "fg",
        "getopts",
        "hash",
        "help",
        "history",
        "jobs",
        "kill",
        "let",
        "local",
        "logout",
        "mapfile",
        "popd",
        "printf",
        "pushd",
        "pwd",
        "read",
        "readarray",
        "readonly",
        "return",
        "set",
        "shift",
        "shopt",
        "source",
        "suspend",
        "times",
        "trap",
        "type",
        "typeset",
        "ulimit",
        "umask",
        "unalias",
        "unset",
        "wait",
    ]
)


def split(segments: Sequence[Segment], *, shell: str) -> tuple[tuple[Segment, ...], ...] | None:
    """Split a line into the words that start its program; None where only a shell can read it."""
    if shell not in _SHELLS:
        return None
    splitter = _Splitter()
    if not all(splitter.take(part) for part in segments):
        return None
    return splitter.finish()


class _Splitter:
    """Splits text and places into words, as long as no shell syntax comes."""

    def __init__(self) -> None:
        self.words: list[list[Segment]] = []
        self.quote = ""
        self.inside = False  # a word has begun
        self.text = ""

    def take(self, part: Segment) -> bool:
        if isinstance(part, Text):
            return all(self._char(char) for char in part.text)
        if isinstance(part, Line):
            return False  # what it says is known only when a task is made
        place = {"": "bare", "'": "single", '"': "double"}[self.quote]
        if part.place != place or (isinstance(part, Ref) and part.raw):
            return False
        self._begin()
        self._flush()
        self.words[-1].append(_as_word(part))
        return True

    def finish(self) -> tuple[tuple[Segment, ...], ...] | None:
        self._flush()
        if self.quote or not self.words:
            return None
        first = self.words[0]
        if not all(isinstance(part, Text | Shipped) for part in first):
            return None
        program = "".join(part.text for part in first if isinstance(part, Text))
        if "=" in program or program in KEYWORDS or program in _BUILT_IN:
            return None
        return tuple(tuple(word) or (Text(text=""),) for word in self.words)

    def _char(self, char: str) -> bool:
        if char == self.quote:
            self.quote = ""
        elif self.quote == "'":
            self.text += char
        elif self.quote == '"':
            if char in "$`\\":
                return False
            self.text += char
        elif char in " \t":
            self._flush()
            self.inside = False
        elif char in "'\"":
            self._begin()
            self.quote = char
        elif char in _SAFE:
            self._begin()
            self.text += char
        else:
            return False
        return True

    def _begin(self) -> None:
        if not self.inside:
            self.inside = True
            self.words.append([])

    def _flush(self) -> None:
        if self.text:
            self.words[-1].append(Text(text=self.text))
            self.text = ""


def _as_word(part: Ref | Mark | Shipped) -> Segment:
    return msgspec.structs.replace(part, place="word")
