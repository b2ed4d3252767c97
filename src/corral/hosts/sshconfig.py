"""Which hosts does the user's ssh know by name, and which file says so?

Only names are read here. What they mean (user, port, key, jump host) is ssh's own business: it is
given the name.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import TYPE_CHECKING, Protocol

from corral.errors import UsageError
from corral.hosts import name

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS = "~/.ssh/config"
DEEPEST = 16  # includes in includes; ssh stops there too
_LINE = re.compile(r"\s*([A-Za-z]+)(?:\s*=\s*|\s+)(.*?)\s*")


class Files(Protocol):
    """What of the file system is looked at; a leading ``~/`` is the user's home."""

    def read(self, path: str) -> str | None:
        """Read a file; None = there is none that can be read."""
        ...

    def glob(self, pattern: str) -> list[str]:
        """List the files that match, in the order of their names."""
        ...


def check(command: str) -> str:
    """Give an ssh command back that can be split into words.

    Raises:
        UsageError: It is empty, or a quote in it is open.
    """
    try:
        if shlex.split(command):
            return command
    except ValueError as error:
        raise UsageError(
            f"the ssh command {command!r} cannot be split into words: {str(error).lower()}",
            hint="write it as for a shell: ssh -F 'my file'",
        ) from error
    raise UsageError("the ssh command is empty", hint="write ssh -F file")


def config(command: str | None) -> str | None:
    """Say which file an ssh command reads for the user: that after -F; None = none."""
    words = shlex.split(command) if command else []
    for place, word in enumerate(words):
        file = word[2:] or "".join(words[place + 1 : place + 2]) if word.startswith("-F") else ""
        if file:
            return None if file.lower() == "none" else file
    return USERS


def names(path: str | None, files: Files) -> tuple[str, ...]:
    """List the concrete names after ``Host`` in a file and those it includes, each once.

    Patterns, negations and what is no host's name are left out.
    """
    found = _names(path, files, DEEPEST, set()) if path is not None else iter(())
    return tuple(dict.fromkeys(found))


def _names(path: str, files: Files, depth: int, seen: set[str]) -> Iterator[str]:
    if path in seen:
        return  # files that include one another would be read without end
    seen.add(path)
    text = files.read(path)
    for line in (text or "").splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        keyword, words = match[1].lower(), _words(match[2])
        if keyword == "host":
            yield from filter(_is_concrete, words)
        elif keyword == "include" and depth:
            for pattern in words:
                for included in files.glob(_from_home(pattern)):
                    yield from _names(included, files, depth - 1, seen)


def _words(text: str) -> list[str]:
    """Split the rest of a line; a quote that stays open ends with it, as a comment does."""
    words: list[str] = []
    for match in re.finditer(r'"([^"]*)"?|([^\s"]+)', text):
        if match[2] is not None and match[2].startswith("#"):
            break
        words.append(match[1] if match[2] is None else match[2])
    return words


def _from_home(pattern: str) -> str:
    """Say where an include lies; a relative one is beside the user's own file, as ssh has it."""
    if pattern.startswith(("/", "~")):
        return pattern
    return posixpath.join(posixpath.dirname(USERS), pattern)


def _is_concrete(word: str) -> bool:
    if any(sign in word for sign in "*?!@:"):
        return False
    try:
        name.parse(word)
    except UsageError:
        return False
    return True
